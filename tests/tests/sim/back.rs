//! Whoever comes back after having been away is soon joined to their contacts again, whoever of the two invited the other.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use allium_shared::client::api::{Command, ContactState, Event, Progress};
use allium_tests::artifacts;
use allium_tests::sim::seeds::for_seeds;
use allium_tests::sim::{Sim, Weather};

use crate::people::{ALICE, BOB, LONG, both_connected, contacts_in, ready, received, send};

/// Whether a client is ready in its present life.
fn is_ready(sim: &Sim, n: usize) -> bool {
    sim.lives(n).last().is_some_and(|life| life.contains(&Event::Progress { step: Progress::Ready }))
}

/// Kills one of two contacts and starts it again after `away`; gives how long it takes from being ready to being joined.
fn come_back(sim: &mut Sim, n: usize, away: Duration) -> Duration {
    sim.kill_client(n);
    sim.run_for(away);
    sim.start_client(n);
    assert!(sim.run_until(LONG, |sim| is_ready(sim, n)), "not ready");
    let ready = sim.now();
    assert!(sim.run_until(LONG, both_connected), "never joined again");
    let took = sim.now().saturating_since(ready);
    // Neither undoes it: there is one circuit, and it stays.
    sim.run_for(Duration::from_secs(2));
    assert!(both_connected(sim), "joined, and parted again");
    took
}

/// The median and the longest of many, for whoever comes back.
fn measure(n: usize, weather: &Weather) -> (Duration, Duration) {
    let times = RefCell::new(Vec::new());
    let seeds = if artifacts::full() { 100 } else { 12 };
    for_seeds(0..seeds, |seed| {
        let mut sim = contacts_in(seed, 10, weather.clone());
        sim.run_for(Duration::from_secs(5));
        // As long as a page takes to load anew, up to minutes: at any moment of the other's own search.
        for (least, most) in [(50, 400), (400, 2_000), (5_000, 10_000), (10_000, 110_000)] {
            let away = Duration::from_millis(least + sim.random() % (most - least));
            let took = come_back(&mut sim, n, away);
            times.borrow_mut().push(took);
        }
        send(&mut sim, ALICE, "welcome back");
        send(&mut sim, BOB, "here I am");
        let said = |sim: &Sim| received(sim, BOB) == ["welcome back"] && received(sim, ALICE) == ["here I am"];
        assert!(sim.run_until(LONG, said), "nothing arrives");
    });
    let mut times = times.into_inner();
    times.sort_unstable();
    (times[times.len() / 2], times[times.len() - 1])
}

/// A link's latency, its jitter, and the median and the longest time that are allowed: what building and handing over takes,
/// some fifty ways over one link, and once in a while another try.
const WEATHERS: [(RangeInclusive<u64>, u64, Duration, Duration); 3] = [
    (1..=1, 4, Duration::from_millis(250), Duration::from_millis(500)),
    (5..=40, 10, Duration::from_millis(2000), Duration::from_secs(4)),
    (5..=120, 40, Duration::from_millis(5000), Duration::from_secs(15)),
];

#[test]
fn whoever_comes_back_is_joined_at_once() {
    for (latency, jitter, usual, most) in WEATHERS {
        let weather = Weather { latency, jitter, ..Weather::default() };
        for n in [ALICE, BOB] {
            let (median, longest) = measure(n, &weather);
            let what =
                format!("{:?} ms a link, {n} comes back: median {median:?}, longest {longest:?}", weather.latency);
            println!("{what}");
            assert!(median <= usual && longest <= most, "{what}");
        }
    }
}

/// How many contacts a client knows to be there, in its present life.
fn there(sim: &Sim, n: usize) -> usize {
    let mut states = BTreeMap::new();
    for event in sim.lives(n).last().into_iter().flatten() {
        if let Event::Contact { id, state, .. } = event {
            states.insert(*id, *state);
        }
    }
    states.values().filter(|state| **state == ContactState::Connected).count()
}

/// Many more than circuits may be under construction at once.
const MANY: usize = 30;

#[test]
fn whoever_has_many_contacts_is_soon_joined_to_all_of_them() {
    for_seeds(0..2, |seed| {
        let mut sim = ready(seed, 12, MANY + 1);
        sim.command(ALICE, Command::Invite { reusable: true, expires_in: None, note: String::new() });
        let link = |sim: &Sim| {
            sim.events(ALICE).iter().find_map(|event| match event {
                Event::Invite { fragment, .. } => Some(fragment.clone()),
                _ => None,
            })
        };
        assert!(sim.run_until(LONG, |sim| link(sim).is_some()), "seed {seed}: no invite");
        let link = link(&sim).unwrap();
        for n in 1..=MANY {
            sim.command(n, Command::add(link.clone(), "Alice", Some(&format!("Guest {n}"))));
            sim.run_for(Duration::from_millis(700));
        }
        assert!(sim.run_until(LONG, |sim| there(sim, ALICE) == MANY), "seed {seed}: {} of {MANY}", there(&sim, ALICE));
        sim.kill_client(ALICE);
        sim.run_for(Duration::from_secs(30));
        sim.start_client(ALICE);
        assert!(sim.run_until(LONG, |sim| is_ready(sim, ALICE)), "seed {seed}: not ready");
        let begin = sim.now();
        let all = |sim: &Sim| there(sim, ALICE) == MANY;
        assert!(sim.run_until(LONG, all), "seed {seed}: {} of {MANY}", there(&sim, ALICE));
        let took = sim.now().saturating_since(begin);
        assert!(took < Duration::from_secs(5), "seed {seed}: {took:?}");
        println!("seed {seed}: joined to {MANY} contacts after {took:?}");
    });
}
