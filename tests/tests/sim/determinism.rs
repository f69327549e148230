//! One seed is one run.

use std::time::Duration;

use allium_shared::client::api::Command;
use allium_tests::sim::seeds::for_seeds;
use allium_tests::sim::trace::Happened;
use allium_tests::sim::{Sim, Weather};

use crate::people::{ALICE, BOB, contacts_in, send};

fn storm() -> Weather {
    Weather {
        latency: 1..=30,
        jitter: 10,
        link_breaks: Some(Duration::from_millis(800)),
        relay_crashes: Some(Duration::from_secs(4)),
        client_crashes: Some(Duration::from_secs(6)),
        down: 200..=2000,
    }
}

/// Three quarters of a minute in which nearly everything happens that can; gives its hash and all that happened.
fn run(seed: u64) -> (u64, Vec<Happened>) {
    let mut sim: Sim = contacts_in(seed, 10, Weather { latency: 1..=30, jitter: 10, ..Weather::default() });
    sim.trace_mut().keep_list();
    sim.set_weather(storm());
    for n in 0..30 {
        for from in [ALICE, BOB] {
            if sim.is_running(from) {
                send(&mut sim, from, &format!("{n} {}", "x".repeat(n * 100)));
            }
        }
        if n == 20 && sim.is_running(ALICE) {
            sim.command(ALICE, Command::invite());
        }
        sim.run_for(Duration::from_millis(1500));
    }
    let totals = sim.totals();
    assert!(totals.links_broken > 10 && totals.relays_crashed > 3 && totals.clients_crashed > 2, "{totals:?}");
    (sim.trace().hash(), sim.trace().list().to_vec())
}

#[test]
fn one_seed_gives_one_trace() {
    for_seeds(0..2, |seed| {
        let (first, second) = (run(seed), run(seed));
        let parting = first.1.iter().zip(&second.1).position(|(a, b)| a != b);
        let around = parting.map(|at| (&first.1[at.saturating_sub(3)..=at], &second.1[at]));
        assert_eq!(parting, None, "the runs part: {around:?}");
        assert_eq!(first.1.len(), second.1.len());
        assert_eq!(first.0, second.0);
        assert!(first.1.len() > 5000, "only {} things happened", first.1.len());
    });
}

#[test]
fn another_seed_gives_another_trace() {
    assert_ne!(run(1).0, run(2).0);
}
