//! Computers whose clocks are wrong, and relays whose clocks are.

use std::time::Duration;

use allium_shared::client::api::{Event, Progress};
use allium_tests::sim::Sim;
use allium_tests::sim::seeds::for_seeds;

use crate::directory::{complaints, progress};
use crate::people::{ALICE, BOB, LONG, both_connected, contacts, ready};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: i64 = 60 * 60 * 1000;

/// What a client was told of its clock, in seconds.
fn told(sim: &Sim, n: usize) -> Vec<i64> {
    let skew = |event: &Event| match event {
        Event::Clock { skew_secs, .. } => Some(*skew_secs),
        _ => None,
    };
    sim.events(n).iter().filter_map(skew).collect()
}

#[test]
fn a_wrong_clock_is_noticed_and_told_once() {
    for_seeds(0..3, |seed| {
        for ahead in [3 * HOUR, -3 * HOUR] {
            let mut sim = ready(seed, 8, 1);
            sim.run_for(MINUTE);
            assert!(told(&sim, ALICE).is_empty(), "seed {seed}: its clock is right");
            sim.kill_client(ALICE);
            sim.set_clock(ALICE, ahead);
            sim.start_client(ALICE);
            sim.run_for(Duration::from_secs(3 * 60 * 60));
            let told = told(&sim, ALICE);
            assert_eq!(told.len(), 1, "seed {seed}: {told:?}");
            assert!((told[0] + ahead / 1000).abs() <= 1, "seed {seed}: {told:?}");
            assert_eq!(progress(&sim, ALICE), Some(Progress::Ready), "seed {seed}");
            // Not again after the next start.
            sim.kill_client(ALICE);
            sim.start_client(ALICE);
            sim.run_for(MINUTE);
            assert_eq!(self::told(&sim, ALICE).len(), 1, "seed {seed}");
        }
    });
}

#[test]
fn one_relay_that_lies_about_the_time_changes_nothing() {
    for_seeds(0..4, |seed| {
        let mut sim = ready(seed, 6, 1);
        sim.set_relay_clock(usize::try_from(seed).unwrap() % 6, 5 * HOUR);
        sim.run_for(Duration::from_secs(6 * 60 * 60));
        assert!(told(&sim, ALICE).is_empty(), "seed {seed}");
        assert_eq!(complaints(&sim, ALICE, "directory").count(), 0, "seed {seed}");
        assert_eq!(progress(&sim, ALICE), Some(Progress::Ready), "seed {seed}");
    });
}

#[test]
fn a_clock_that_is_set_anew_is_noticed_and_nothing_breaks() {
    for_seeds(0..4, |seed| {
        let mut sim = contacts(seed, 8);
        sim.run_for(MINUTE);
        let before = sim.client(BOB).circuit_counts().lost;
        for (ahead, count) in [(3 * HOUR, 1), (0, 1), (-40 * HOUR, 2), (-40 * HOUR, 2)] {
            sim.set_clock(BOB, ahead);
            sim.run_for(MINUTE);
            let told = told(&sim, BOB);
            assert_eq!(told.len(), count, "seed {seed}: {told:?}");
            if ahead != 0 {
                assert!((told[count - 1] + ahead / 1000).abs() <= 1, "seed {seed}: {told:?}");
            }
        }
        assert!(told(&sim, ALICE).is_empty(), "seed {seed}");
        assert_eq!(sim.client(BOB).circuit_counts().lost, before, "seed {seed}");
        assert!(both_connected(&sim), "seed {seed}");
        assert_eq!(complaints(&sim, BOB, "directory").count(), 0, "seed {seed}");
    });
}

#[test]
fn a_wrong_clock_makes_no_list_last_longer() {
    for_seeds(0..3, |seed| {
        for ahead in [3 * HOUR, -3 * HOUR] {
            let mut sim = Sim::new(seed, 8, 0);
            sim.set_lifetimes(10 * MINUTE, 30 * MINUTE);
            sim.publish();
            let alice = sim.add_client();
            sim.kill_client(alice);
            sim.set_clock(alice, ahead);
            sim.start_client(alice);
            assert!(sim.run_until(LONG, |sim| progress(sim, alice) == Some(Progress::Ready)), "seed {seed}");
            sim.run_for(29 * MINUTE);
            assert_eq!(progress(&sim, alice), Some(Progress::Ready), "seed {seed}: given up too early");
            sim.run_for(3 * MINUTE);
            assert_eq!(progress(&sim, alice), Some(Progress::FetchingDirectory), "seed {seed}");
            sim.publish();
            assert!(sim.run_until(LONG, |sim| progress(sim, alice) == Some(Progress::Ready)), "seed {seed}");
        }
    });
}
