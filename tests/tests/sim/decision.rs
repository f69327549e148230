//! Decisions about requests: whenever they are made, and whoever is there then.

use std::time::Duration;

use allium_shared::client::api::{Command, ContactId, ContactState, Event};
use allium_tests::sim::Sim;
use allium_tests::sim::seeds::for_seeds;

use crate::people::{ALICE, BOB, LONG, both_connected, contacts, invite, other, ready, received, send};

/// Bob has asked Alice, who has not decided.
fn asked(seed: u64) -> (Sim, ContactId) {
    let mut sim = ready(seed, 8, 2);
    sim.decide_by_hand(ALICE);
    let link = invite(&mut sim, ALICE);
    sim.command(BOB, Command::add(link, "Alice", Some("Bob")));
    let request = |sim: &Sim| {
        sim.events(ALICE).iter().find_map(|event| match event {
            Event::Request { id, .. } => Some(*id),
            _ => None,
        })
    };
    assert!(sim.run_until(LONG, |sim| state(sim) == Some(ContactState::Requested)), "seed {seed}: nothing was asked");
    let id = request(&sim).expect("a request");
    (sim, id)
}

/// What Bob knows of Alice.
fn state(sim: &Sim) -> Option<ContactState> {
    sim.events(BOB).iter().rev().find_map(|event| match event {
        Event::Contact { state, .. } => Some(*state),
        _ => None,
    })
}

/// Circuits of both that somebody ended because the other broke the protocol.
fn violations(sim: &Sim) -> u64 {
    [ALICE, BOB].iter().map(|n| sim.client(*n).circuit_counts().lost.protocol).sum()
}

#[test]
fn who_was_approved_meanwhile_comes_in_with_the_first_circuit() {
    for_seeds(0..4, |seed| {
        let (mut sim, id) = asked(seed);
        sim.kill_client(BOB);
        sim.run_for(Duration::from_secs(10));
        sim.command(ALICE, Command::Accept { id });
        sim.run_for(Duration::from_secs(1));
        sim.start_client(BOB);
        assert!(sim.run_until(LONG, both_connected), "seed {seed}: they do not find each other");
        assert_eq!(violations(&sim), 0, "seed {seed}: a circuit was spent for nothing");
        send(&mut sim, ALICE, "welcome");
        assert!(sim.run_until(LONG, |sim| received(sim, BOB) == ["welcome"]), "seed {seed}");
    });
}

#[test]
fn who_is_declined_is_told_and_asks_no_more() {
    for_seeds(0..4, |seed| {
        let (mut sim, id) = asked(seed);
        sim.command(ALICE, Command::Decline { id });
        assert!(sim.run_until(LONG, |sim| state(sim) == Some(ContactState::Declined)), "seed {seed}: nothing was said");
        sim.run_for(LONG);
        assert_eq!(state(&sim), Some(ContactState::Declined), "seed {seed}");
        assert_eq!(sim.disk(ALICE).filter(|(key, _)| key.starts_with("contact/")).count(), 0, "seed {seed}");
        assert_eq!(violations(&sim), 0, "seed {seed}");
    });
}

/// Whoever goes on with an older copy of their profile has an older session, and begins a new one.
#[test]
fn an_older_profile_is_no_obstacle() {
    for_seeds(0..6, |seed| {
        let mut sim = contacts(seed, 8);
        let key = format!("contact/{:016x}", other(&sim, BOB).0);
        let copy = |sim: &Sim| sim.disk(BOB).find(|(name, _)| *name == key).map(|(_, record)| record.to_vec());
        let old = copy(&sim).expect("a record");
        // What has come or gone since then, in all combinations.
        let (to_bob, to_alice) = (seed % 3 != 0, seed % 3 != 1);
        if to_bob {
            send(&mut sim, ALICE, "one");
            assert!(sim.run_until(LONG, |sim| received(sim, BOB) == ["one"]), "seed {seed}");
        }
        if to_alice {
            send(&mut sim, BOB, "two");
            assert!(sim.run_until(LONG, |sim| received(sim, ALICE) == ["two"]), "seed {seed}");
        }
        sim.run_for(Duration::from_secs(5));
        sim.kill_client(BOB);
        sim.store_record(BOB, &key, old);
        sim.run_for(Duration::from_secs(10));
        sim.start_client(BOB);
        assert!(sim.run_until(LONG, both_connected), "seed {seed}: they do not find each other");
        for (n, text) in [(ALICE, "three"), (BOB, "four")] {
            send(&mut sim, n, text);
        }
        let has = |sim: &Sim, n, text: &str| received(sim, n).iter().any(|known| known == text);
        assert!(
            sim.run_until(LONG, |sim| has(sim, BOB, "three") && has(sim, ALICE, "four")),
            "seed {seed}: {:?} {:?}",
            received(&sim, ALICE),
            received(&sim, BOB)
        );
        assert_eq!(
            received(&sim, ALICE).iter().filter(|text| *text == "two").count(),
            usize::from(to_alice),
            "seed {seed}"
        );
    });
}
