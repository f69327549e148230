//! Which relays stand on circuits: never two that are related, behind guards and second hops that stay for days.

use std::collections::BTreeSet;
use std::time::Duration;

use allium_shared::client::api::{Command, Event};
use allium_shared::crypto::keys::RelayIdentity;
use allium_tests::sim::checks::{Leak, circuits, relatives};
use allium_tests::sim::outsider::Origin;
use allium_tests::sim::seeds::for_seeds;
use allium_tests::sim::{Land, Sim, Weather};
use serde_json::Value;

use crate::people::{ALICE, BOB, LONG, befriend, both_connected, contacts, get_ready, path, received, send};

/// Twenty relays in pairs of one subnet, some of them in families that reach over subnets.
fn relatives_land() -> Land {
    Land {
        relays: 20,
        subnet: |n| u16::try_from(n / 2).unwrap(),
        family: |n| n.is_multiple_of(4).then(|| u8::try_from(n / 8).unwrap()),
        parameters: vec![("path-length-max", 5)],
    }
}

fn lists_circuits(sim: &mut Sim, n: usize) -> Vec<Vec<String>> {
    sim.command(n, Command::Circuits);
    let Some(Event::Circuits { list }) = sim.events(n).last() else { panic!("no circuits were listed") };
    list.iter().map(|circuit| circuit.path.clone()).collect()
}

/// The relays of the conversation as a client's events have told them last.
fn shown_path(sim: &Sim, n: usize) -> Vec<String> {
    let path = |event: &Event| match event {
        Event::Path { relays, .. } => Some(relays.clone()),
        _ => None,
    };
    sim.events(n).iter().rev().find_map(path).unwrap_or_default()
}

#[test]
fn each_change_of_a_conversations_path_is_shown() {
    for_seeds(0..3, |seed| {
        let mut sim = contacts(seed, 10);
        for round in 0..3 {
            for n in [ALICE, BOB] {
                assert_eq!(shown_path(&sim, n), path(&mut sim, n), "round {round}");
            }
            let rendezvous = path(&mut sim, BOB).pop().unwrap();
            let relay = sim.relay_named(&rendezvous).unwrap();
            sim.kill_relay(relay);
            let is_elsewhere =
                |sim: &Sim, n| !shown_path(sim, n).is_empty() && !shown_path(sim, n).contains(&rendezvous);
            assert!(sim.run_until(LONG, |sim| is_elsewhere(sim, ALICE) && is_elsewhere(sim, BOB)), "round {round}");
        }
        sim.kill_client(BOB);
        assert!(sim.run_until(LONG, |sim| shown_path(sim, ALICE).is_empty()), "nobody is there any more");
    });
}

#[test]
fn no_circuit_has_two_relays_that_are_related() {
    for_seeds(0..3, |seed| {
        let mut sim = Sim::in_land(seed, relatives_land(), 2, Weather::default());
        sim.observe();
        get_ready(&mut sim);
        befriend(&mut sim);
        for round in 0..4 {
            // They lose the relay where they met, or one of them its guard, or all that it had in memory.
            let name =
                if round % 2 == 0 { path(&mut sim, BOB).pop() } else { path(&mut sim, ALICE).into_iter().next() };
            let relay = sim.relay_named(&name.unwrap()).unwrap();
            sim.kill_relay(relay);
            sim.run_for(Duration::from_secs(1));
            if round == 3 {
                sim.kill_client(BOB);
                sim.run_for(Duration::from_secs(1));
                sim.start_client(BOB);
            }
            assert!(sim.run_until(LONG, both_connected), "round {round}");
            send(&mut sim, ALICE, "still there?");
            let came = |sim: &Sim| received(sim, BOB).len() > round;
            assert!(sim.run_until(LONG, came), "round {round}");
            sim.restart_relay(relay);
        }
        let land = sim.land().clone();
        assert_eq!(relatives(sim.observer(), |a, b| land.related(a, b)), []);
        let circuits = circuits(sim.observer());
        let lengths: BTreeSet<usize> = circuits.iter().map(BTreeSet::len).collect();
        assert!(circuits.len() > 30, "only {} circuits were looked at", circuits.len());
        assert!(lengths.contains(&3) && lengths.iter().any(|len| *len >= 5), "{lengths:?}");
    });
}

#[test]
fn a_circuit_with_two_relays_that_are_related_is_reported() {
    let mut sim = Sim::in_land(1, relatives_land(), 0, Weather::default());
    sim.observe();
    let mut origin = Origin::connect(&mut sim, 0);
    let land = sim.land().clone();
    let circ = origin.build(&mut sim, &[0, 2, 19]);
    assert!(origin.is_open(circ));
    assert_eq!(relatives(sim.observer(), |a, b| land.related(a, b)), []);
    // 5 and 4 stand in one subnet, 4 and 0 have one operator.
    let circ = origin.build(&mut sim, &[0, 5, 2, 4]);
    assert!(origin.is_open(circ));
    assert_eq!(relatives(sim.observer(), |a, b| land.related(a, b)), [Leak::Related(0, 4), Leak::Related(4, 5)]);
}

/// The second hops on a client's disk, with their ends.
fn second_hops(sim: &Sim, n: usize) -> Vec<(String, u64)> {
    let profile = sim.disk(n).find(|(key, _)| *key == "profile").expect("a profile").1;
    let profile: Value = serde_json::from_slice(profile).unwrap();
    let hops = profile["second_hops"].as_array().unwrap().iter().map(|hop| {
        let relay: RelayIdentity = hop["relay"].as_str().unwrap().parse().unwrap();
        let relay = sim.relay(sim.relay_known_as(&relay).unwrap());
        (relay.nickname.to_string(), hop["expires"].as_u64().unwrap())
    });
    hops.collect()
}

/// A contact comes and goes for a week or more: however many circuits that takes, few relays ever stand behind the guard.
#[test]
fn second_hops_stay_for_days_whatever_a_contact_does() {
    const RELAYS: usize = 40;
    const PAUSE: u64 = 4 * 3600;
    let mut sim = Sim::new(8, RELAYS, 2);
    get_ready(&mut sim);
    befriend(&mut sim);
    let (mut guards, mut seconds, mut others) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    let mut members = BTreeSet::new();
    let mut before: Vec<(String, u64)> = Vec::new();
    let (mut expired, mut seen) = (0, 0);
    let unix = |sim: &Sim| 1_800_000_000 + sim.now().as_millis() / 1000;
    // Until one has run out: the longest does after three weeks.
    let days = |sim: &Sim| sim.now().as_millis() / 86_400_000;
    while days(&sim) < 7 || (expired == 0 && days(&sim) < 22) {
        for _ in 0..4 {
            assert!(sim.run_until(LONG, both_connected), "not connected");
            sim.run_for(Duration::from_secs(2));
            let set = second_hops(&sim, ALICE);
            assert_eq!(set.len(), 4);
            // Those that were there and have not run out are still there.
            assert!(before.iter().all(|hop| hop.1 <= unix(&sim) || set.contains(hop)), "{before:?} became {set:?}");
            expired += before.iter().filter(|hop| !set.contains(hop)).count();
            for path in lists_circuits(&mut sim, ALICE) {
                assert!(set.iter().any(|(name, _)| *name == path[1]), "{path:?} has no second hop of {set:?}");
                guards.insert(path[0].clone());
                seconds.insert(path[1].clone());
                others.extend(path[2..].iter().cloned());
                seen += 1;
            }
            members.extend(set.iter().map(|(name, _)| name.clone()));
            before = set;
            sim.kill_client(BOB);
            sim.run_for(Duration::from_secs(6));
            sim.start_client(BOB);
        }
        // All sleep for a while, so that the week costs nothing.
        (0..2).for_each(|n| sim.kill_client(n));
        (0..RELAYS).for_each(|n| sim.kill_relay(n));
        sim.run_for(Duration::from_secs(PAUSE));
        (0..RELAYS).for_each(|n| sim.restart_relay(n));
        sim.publish();
        (0..2).for_each(|n| sim.start_client(n));
    }
    assert!(seen > 500, "only {seen} circuits were looked at");
    assert!(guards.len() <= 2, "{guards:?}");
    assert_eq!(seconds, members, "all members serve, and nobody else");
    // Each of four places changes at most every day, and about every eighth on average.
    assert!(expired >= 1 && seconds.len() <= 4 + expired && seconds.len() <= 12, "{expired}, {seconds:?}");
    assert!(others.len() > 30, "all others may be anywhere: {others:?}");
}
