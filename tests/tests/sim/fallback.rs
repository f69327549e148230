//! Contacts who lose the relay where they are joined meet again where they had agreed to.

use std::time::Duration;

use allium_shared::client::api::{Event, Purpose};
use allium_tests::sim::seeds::for_seeds;
use allium_tests::sim::{Sim, Weather};

use crate::people::{ALICE, BOB, LONG, both_connected, contacts, contacts_in, path, received, send};

/// Where one of the two waits for the case that they lose each other.
fn waiting_at(sim: &mut Sim) -> Vec<String> {
    let mut relays = Vec::new();
    for n in [ALICE, BOB] {
        sim.command(n, allium_shared::client::api::Command::Circuits);
        let Some(Event::Circuits { list }) = sim.events(n).last() else { panic!("no circuits were listed") };
        let waiting = list.iter().filter(|circuit| circuit.purpose == Purpose::Meeting);
        relays.extend(waiting.filter_map(|circuit| circuit.path.last().cloned()));
    }
    relays
}

fn relay(sim: &Sim, name: &str) -> usize {
    sim.relay_named(name).expect("a relay of this name")
}

/// The two are joined at this relay.
fn joined_at(sim: &mut Sim, name: &str) -> bool {
    let wanted = Some(name.to_owned());
    both_connected(sim) && [ALICE, BOB].into_iter().all(|n| conversation(sim, n).last() == wanted.as_ref())
}

/// The relays of a client's conversation; none while there is none.
fn conversation(sim: &mut Sim, n: usize) -> Vec<String> {
    sim.command(n, allium_shared::client::api::Command::Circuits);
    let Some(Event::Circuits { list }) = sim.events(n).last() else { return Vec::new() };
    let conversation = list.iter().find(|circuit| circuit.purpose == Purpose::Conversation);
    conversation.map(|circuit| circuit.path.clone()).unwrap_or_default()
}

/// Waits until the two are joined at a relay; gives how long that took.
fn until_joined_at(sim: &mut Sim, name: &str, limit: Duration) -> Option<Duration> {
    let begin = sim.now();
    while sim.now().saturating_since(begin) < limit {
        if joined_at(sim, name) {
            return Some(sim.now().saturating_since(begin));
        }
        sim.run_for(Duration::from_millis(5));
    }
    None
}

#[test]
fn when_their_relay_dies_they_meet_where_one_waits_already() {
    for_seeds(0..8, |seed| {
        let mut sim = contacts(seed, 10);
        sim.run_for(Duration::from_secs(5));
        let agreed = waiting_at(&mut sim);
        assert_eq!(agreed.len(), 1, "seed {seed}: one of them waits, at one relay: {agreed:?}");
        let lost = path(&mut sim, ALICE).pop().unwrap();
        assert_ne!(agreed[0], lost, "seed {seed}: it would be lost with the circuit");
        let relay = relay(&sim, &lost);
        sim.kill_relay(relay);
        let took = until_joined_at(&mut sim, &agreed[0], LONG);
        assert!(
            took.is_some(),
            "seed {seed}: not joined at {agreed:?}, but at {:?}; lost {lost}",
            [conversation(&mut sim, ALICE), conversation(&mut sim, BOB)]
        );
        for n in [ALICE, BOB] {
            send(&mut sim, n, "there again");
        }
        let arrived = |sim: &Sim| [ALICE, BOB].iter().all(|n| received(sim, *n) == ["there again"]);
        assert!(sim.run_until(LONG, arrived), "seed {seed}");
        // And they are prepared for the next time.
        sim.run_for(Duration::from_secs(5));
        let next = waiting_at(&mut sim);
        assert!(next.len() == 1 && next != agreed, "seed {seed}: {next:?}");
    });
}

#[test]
fn so_they_do_when_it_only_falls_silent() {
    for_seeds(0..4, |seed| {
        let mut sim = contacts(seed, 10);
        sim.run_for(Duration::from_secs(5));
        let agreed = waiting_at(&mut sim);
        let lost = path(&mut sim, BOB).pop().unwrap();
        let relay = relay(&sim, &lost);
        sim.freeze_relay(relay);
        assert!(until_joined_at(&mut sim, &agreed[0], LONG).is_some(), "seed {seed}: not joined at {agreed:?}");
    });
}

#[test]
fn when_both_relays_die_they_find_a_third() {
    for_seeds(0..8, |seed| {
        let mut sim = contacts(seed, 10);
        sim.run_for(Duration::from_secs(5));
        let mut dead = waiting_at(&mut sim);
        dead.push(path(&mut sim, ALICE).pop().unwrap());
        // At once, or the one where they wait a while before, so that another takes its place.
        for name in dead {
            let relay = relay(&sim, &name);
            sim.kill_relay(relay);
            sim.run_for(Duration::from_secs(seed % 2 * 10));
        }
        send(&mut sim, ALICE, "still here");
        assert!(sim.run_until(LONG, |sim| received(sim, BOB) == ["still here"]), "seed {seed}");
        assert!(sim.run_until(LONG, both_connected), "seed {seed}");
    });
}

/// Each message between two nodes takes so long; nothing else takes time.
const STEP: u64 = 50;

#[test]
fn no_introduction_has_to_travel_first() {
    let mut times = Vec::new();
    for seed in 0..9 {
        let mut sim = contacts_in(seed, 12, Weather { latency: STEP..=STEP, jitter: 0, ..Weather::default() });
        sim.run_for(Duration::from_secs(10));
        let agreed = waiting_at(&mut sim);
        let lost = path(&mut sim, ALICE).pop().unwrap();
        let relay = relay(&sim, &lost);
        sim.kill_relay(relay);
        times.push(until_joined_at(&mut sim, &agreed[0], LONG).expect("joined again"));
    }
    times.sort_unstable();
    let median = times[times.len() / 2];
    println!("from the loss to both being joined again, with {STEP} ms for each step: median {median:?} of {times:?}");
    // The loss becomes known (3 steps), the host's circuit grows by a hop (8), its answer goes through (7), each says how
    // far it has come (14). An introduction would be 12 steps more.
    assert!(median < Duration::from_millis(STEP * 40), "{times:?}");
}
