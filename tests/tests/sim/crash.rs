//! Clients are killed at any moment: what was queued arrives, once, in order.

use std::collections::BTreeSet;
use std::time::Duration;

use allium_shared::client::api::{Command, DeliveryState, Event};
use allium_shared::client::history_entry;
use allium_tests::sim::seeds::for_seeds;
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

use crate::people::{ALICE, BOB, LONG, both_connected, contacts, invite, outgoing, ready, received, send};

/// Kills `n`, lets the other go on for a while, and starts it again from its disk.
fn kill_and_restart(sim: &mut allium_tests::sim::Sim, n: usize, pause: Duration) {
    sim.kill_client(n);
    sim.run_for(pause);
    sim.start_client(n);
}

#[test]
fn messages_survive_kills_of_both_sides() {
    for_seeds(0..16, |seed| {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let mut sim = contacts(seed, 8);
        let mut sent = [0, 0];
        for _ in 0..30 {
            for n in [ALICE, BOB] {
                send(&mut sim, n, &sent[n].to_string());
                sent[n] += 1;
            }
            sim.run_for(Duration::from_millis(rng.next_u64() % 120));
            if rng.next_u64() % 3 == 0 {
                let pause = Duration::from_millis(rng.next_u64() % 2000);
                let n = usize::from(rng.next_u64() % 2 == 0);
                // A command counts from the moment that its client says so.
                sent[n] = outgoing(&sim, n, DeliveryState::Queued).len();
                kill_and_restart(&mut sim, n, pause);
            }
        }
        for (from, to) in [(ALICE, BOB), (BOB, ALICE)] {
            let arrived = sim.run_until(LONG, |sim| {
                let queued = outgoing(sim, from, DeliveryState::Queued);
                received(sim, to).iter().filter(|text| queued.contains(text)).count() >= queued.len()
            });
            let (queued, got) = (outgoing(&sim, from, DeliveryState::Queued), received(&sim, to));
            assert!(arrived, "seed {seed}: {queued:?} were queued by {from}, {got:?} arrived");
            // What was killed between its disk and its word may arrive too. A message that was shown just before a kill may
            // be shown again, under its old id; in one life nothing comes twice, and nothing before its turn.
            for life in sim.lives(to) {
                let ids = message_ids(life);
                let distinct: BTreeSet<_> = ids.iter().collect();
                assert_eq!(ids.len(), distinct.len(), "seed {seed}: {to} was given a message twice");
            }
            let mut seen = BTreeSet::new();
            let first_time = message_ids(sim.events(to)).into_iter().map(|id| seen.insert(id));
            let numbers = got.iter().zip(first_time).filter(|(_, first)| *first).map(|(text, _)| text.parse::<u64>());
            let numbers: Vec<_> = numbers.map(|number| number.expect("a number")).collect();
            assert!(numbers.is_sorted(), "seed {seed}: out of order: {numbers:?}");
        }
        for n in [ALICE, BOB] {
            // On its disk: one that dies between that and its word does not say it later.
            let done = sim.run_until(LONG, |sim| {
                let entries = sim.disk(n).filter_map(|(key, value)| history_entry(key, value));
                let states: Vec<_> = entries.filter_map(|entry| entry.outgoing).collect();
                states.len() >= sent[n] && states.iter().all(|state| *state == DeliveryState::Delivered)
            });
            assert!(done, "seed {seed}: {n} never heard of the delivery");
        }
    });
}

fn message_ids(events: &[Event]) -> Vec<[u8; 16]> {
    let id = |event: &Event| match event {
        Event::Message { id, .. } => Some(id.0),
        _ => None,
    };
    events.iter().filter_map(id).collect()
}

/// Whoever is killed while the two become contacts, they become contacts.
#[test]
fn becoming_contacts_survives_kills() {
    for_seeds(0..40, |seed| {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let mut sim = ready(seed, 8, 2);
        let link = invite(&mut sim, ALICE);
        sim.command(BOB, Command::add(link, "Alice", Some("Bob")));
        // The command counts from the moment that Bob's disk has it.
        sim.run_for(Duration::from_millis(10));
        for _ in 0..3 {
            sim.run_for(Duration::from_millis(rng.next_u64() % 250));
            let pause = Duration::from_millis(rng.next_u64() % 300);
            kill_and_restart(&mut sim, usize::from(rng.next_u64() % 2 == 0), pause);
        }
        let connected = sim.run_until(LONG, both_connected);
        assert!(connected, "seed {seed}: not connected\n{:?}\n{:?}", sim.events(ALICE), sim.events(BOB));
        for n in [ALICE, BOB] {
            send(&mut sim, n, "hello");
        }
        let arrived = sim.run_until(LONG, |sim| [ALICE, BOB].iter().all(|n| received(sim, *n) == ["hello"]));
        assert!(arrived, "seed {seed}: connected, but nothing arrives");
    });
}
