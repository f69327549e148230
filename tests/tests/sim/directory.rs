//! The list of relays: kept from start to start, renewed over circuits, and never used when it has run out.

use std::time::Duration;

use allium_shared::client::api::{Command, DeliveryState, Event, Progress};
use allium_tests::sim::Sim;
use allium_tests::sim::seeds::for_seeds;

use crate::people::{ALICE, BOB, LONG, both_connected, contacts, get_ready, outgoing, ready, received, send};

const MINUTE: Duration = Duration::from_secs(60);

/// For how long lists are fresh here, and for how long they count.
const LIFETIMES: (Duration, Duration) = (Duration::from_secs(600), Duration::from_secs(1800));

/// How far a client has come, in the life that it has now.
pub fn progress(sim: &Sim, n: usize) -> Option<Progress> {
    sim.lives(n).last()?.iter().rev().find_map(|event| match event {
        Event::Progress { step } => Some(*step),
        _ => None,
    })
}

/// What a client was told about something that went wrong.
pub fn complaints<'a>(sim: &'a Sim, n: usize, about: &'a str) -> impl Iterator<Item = &'a str> {
    sim.events(n).iter().filter_map(move |event| match event {
        Event::Error { about: what, message } if what == about => Some(message.as_str()),
        _ => None,
    })
}

/// How old the list is that a client uses.
fn age(sim: &Sim, n: usize) -> Duration {
    let consensus = sim.client(n).consensus().expect("a list of relays");
    Duration::from_secs(sim.clock().as_secs().saturating_sub(consensus.validity().valid_after))
}

/// A network with short-lived lists, whose relays come and go.
fn lively(seed: u64, relays: usize, clients: usize) -> Sim {
    let mut sim = Sim::new(seed, relays, 0);
    sim.set_lifetimes(LIFETIMES.0, LIFETIMES.1);
    sim.publish();
    sim.publish_every(Some(LIFETIMES.0 - MINUTE));
    for _ in 0..clients {
        sim.add_client();
    }
    get_ready(&mut sim);
    sim
}

#[test]
fn a_start_needs_nobody_who_is_asked_directly() {
    for_seeds(0..4, |seed| {
        let mut sim = contacts(seed, 8);
        sim.set_reachable(false);
        for _ in 0..3 {
            for n in [ALICE, BOB] {
                sim.kill_client(n);
                sim.start_client(n);
            }
            assert!(sim.run_until(LONG, both_connected), "seed {seed}");
            sim.run_for(MINUTE);
        }
        for n in [ALICE, BOB] {
            assert_eq!(sim.direct_fetches(n), 1, "seed {seed}");
            assert_eq!(complaints(&sim, n, "directory").count(), 0);
        }
    });
}

#[test]
fn new_lists_come_over_circuits() {
    for_seeds(0..3, |seed| {
        let mut sim = lively(seed, 9, 2);
        let mut seen = std::collections::BTreeSet::new();
        for step in 0..36 {
            // One relay after another leaves the list and comes back.
            sim.list_relay(step % 9, true);
            sim.list_relay((step + 1) % 9, false);
            sim.run_for(5 * MINUTE);
            for n in [ALICE, BOB] {
                // Fetched at the latest halfway to its end, and made as long before that as a list is the newest.
                let longest = (LIFETIMES.0 + LIFETIMES.1) / 2 + MINUTE;
                assert!(age(&sim, n) <= longest, "seed {seed}: {:?} old", age(&sim, n));
                seen.insert((n, sim.client(n).consensus().unwrap().digest().to_string()));
            }
        }
        assert!(seen.len() >= 2 * 8, "seed {seed}: {} lists", seen.len());
        for n in [ALICE, BOB] {
            assert_eq!(sim.direct_fetches(n), 1, "seed {seed}");
            assert_eq!(complaints(&sim, n, "directory").count(), 0, "seed {seed}");
            assert_eq!(progress(&sim, n), Some(Progress::Ready));
        }
    });
}

#[test]
fn mirrors_that_are_behind_hold_nobody_back() {
    for_seeds(0..4, |seed| {
        let mut sim = lively(seed, 8, 1);
        for n in 0..6 {
            sim.keep_behind(n, true);
        }
        for _ in 0..24 {
            sim.run_for(5 * MINUTE);
            assert!(age(&sim, ALICE) < LIFETIMES.1, "seed {seed}: {:?} old", age(&sim, ALICE));
        }
        assert_eq!(complaints(&sim, ALICE, "directory").count(), 0, "seed {seed}");
        // All of them: only then somebody is asked directly.
        let before = sim.direct_fetches(ALICE);
        for n in 0..8 {
            sim.keep_behind(n, true);
        }
        for _ in 0..12 {
            sim.run_for(5 * MINUTE);
            assert!(age(&sim, ALICE) < LIFETIMES.1, "seed {seed}: {:?} old", age(&sim, ALICE));
        }
        assert!(sim.direct_fetches(ALICE) > before, "seed {seed}");
        assert_eq!(progress(&sim, ALICE), Some(Progress::Ready));
    });
}

#[test]
fn a_list_that_ran_out_is_dropped_and_all_heals_with_the_next() {
    for_seeds(0..4, |seed| {
        let mut sim = contacts(seed, 8);
        sim.set_lifetimes(LIFETIMES.0, LIFETIMES.1);
        // The first one is good for a day: it has to be replaced by a short one.
        for n in [ALICE, BOB] {
            sim.kill_client(n);
            sim.forget_record(n, "consensus");
        }
        sim.publish();
        let end = sim.now() + LIFETIMES.1;
        for n in [ALICE, BOB] {
            sim.start_client(n);
        }
        assert!(sim.run_until(LONG, both_connected), "seed {seed}");
        let left = Duration::from_millis(end.as_millis() - sim.now().as_millis());
        sim.run_for(left);
        assert!(both_connected(&sim), "seed {seed}: given up too early");
        // As wrong as the time may be that relays have told.
        sim.run_for(2 * MINUTE);
        for n in [ALICE, BOB] {
            assert_eq!(progress(&sim, n), Some(Progress::FetchingDirectory), "seed {seed}");
            assert_eq!((sim.client(n).circuits(), sim.client(n).consensus().is_some()), (0, false), "seed {seed}");
            let told: Vec<_> = complaints(&sim, n, "directory").collect();
            assert!(told.len() == 1 && told[0].contains("ran out at 20"), "seed {seed}: {told:?}");
        }
        assert_eq!(sim.links_of_clients(), 0, "seed {seed}");
        send(&mut sim, ALICE, "still there?");
        sim.run_for(10 * MINUTE);
        assert!(received(&sim, BOB).is_empty(), "seed {seed}");

        sim.publish();
        assert!(sim.run_until(LONG, both_connected), "seed {seed}: not healed");
        let arrived = |sim: &Sim| outgoing(sim, ALICE, DeliveryState::Delivered).len() == 1;
        assert!(sim.run_until(LONG, arrived), "seed {seed}");
        assert_eq!(received(&sim, BOB), ["still there?"], "seed {seed}");
        assert_eq!(complaints(&sim, ALICE, "directory").count(), 1, "seed {seed}");
    });
}

#[test]
fn a_stored_list_that_is_broken_or_of_another_network_is_no_obstacle() {
    let mut sim = ready(1, 6, 1);
    let other = ready(2, 6, 1);
    let foreign = other.disk(ALICE).find(|(key, _)| *key == "consensus").expect("it is kept").1.to_vec();
    for bytes in [foreign, b"broken".to_vec(), Vec::new()] {
        sim.kill_client(ALICE);
        sim.store_record(ALICE, "consensus", bytes);
        let before = sim.direct_fetches(ALICE);
        sim.start_client(ALICE);
        assert!(sim.run_until(LONG, |sim| progress(sim, ALICE) == Some(Progress::Ready)));
        assert_eq!(sim.direct_fetches(ALICE), before + 1);
    }
}

#[test]
fn relays_that_are_all_gone_are_noticed_before_the_list_grows_old() {
    let mut sim = ready(3, 12, 1);
    sim.kill_client(ALICE);
    // The network has moved to other machines.
    for n in 0..6 {
        sim.kill_relay(n);
        sim.list_relay(n, false);
    }
    for n in 6..12 {
        sim.keep_behind(n, false);
    }
    sim.publish();
    sim.start_client(ALICE);
    assert!(sim.run_until(5 * MINUTE, |sim| progress(sim, ALICE) == Some(Progress::Ready)));
}

#[test]
fn who_looks_at_the_network_is_shown_each_new_list_until_they_stop() {
    /// For each list that was shown, its digest and the names of its relays.
    fn shown(sim: &Sim) -> Vec<(String, Vec<String>)> {
        let mut lists: Vec<(String, Vec<String>)> = Vec::new();
        for event in sim.events(ALICE) {
            match event {
                Event::Network { network } => lists.push((network.digest.clone(), Vec::new())),
                Event::Relays { list } => {
                    let names = list.iter().map(|relay| relay.nickname.to_string());
                    lists.last_mut().expect("the whole comes first").1.extend(names);
                }
                _ => {}
            }
        }
        lists
    }
    for_seeds(0..3, |seed| {
        let mut sim = lively(seed, 8, 1);
        assert!(shown(&sim).is_empty(), "seed {seed}: nobody has asked");
        sim.command(ALICE, Command::Network { watch: true });
        let held = |sim: &Sim| sim.client(ALICE).consensus().expect("a list of relays").digest().to_string();
        assert!(sim.run_until(MINUTE, |sim| !shown(sim).is_empty()), "seed {seed}: nothing is shown");
        assert_eq!(shown(&sim).pop(), Some((held(&sim), names_in_use(&sim))), "seed {seed}");

        sim.list_relay(3, false);
        let gone = sim.relay(3).nickname.to_string();
        let without = |sim: &Sim| shown(sim).last().is_some_and(|(_, names)| !names.contains(&gone));
        assert!(sim.run_until(LIFETIMES.1 * 2, without), "seed {seed}: the next list is not shown");
        assert_eq!(shown(&sim).pop(), Some((held(&sim), names_in_use(&sim))), "seed {seed}");

        sim.command(ALICE, Command::Network { watch: false });
        let (count, last) = (shown(&sim).len(), held(&sim));
        assert!(sim.run_until(LIFETIMES.1 * 2, |sim| held(sim) != last), "seed {seed}: there is no other list");
        assert_eq!(shown(&sim).len(), count, "seed {seed}: nobody looks any more");
    });
}

/// The names of the relays in the list that Alice uses, in its order.
fn names_in_use(sim: &Sim) -> Vec<String> {
    let consensus = sim.client(ALICE).consensus().expect("a list of relays");
    consensus.relays().iter().map(|relay| relay.nickname.to_string()).collect()
}
