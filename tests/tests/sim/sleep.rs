//! Laptops that sleep, and tabs that nobody looks at: their clients do nothing for a while, or only now and then, and lose
//! nothing by it.

use std::time::Duration;

use allium_shared::client::api::DeliveryState;
use allium_tests::sim::seeds::for_seeds;
use allium_tests::sim::{Node, Sim};

use crate::people::{ALICE, BOB, LONG, both_connected, connected, contacts, outgoing, path, received, send};

const SECOND: Duration = Duration::from_secs(1);

/// How long a laptop sleeps here: longer than every time limit.
const SLEEP: Duration = Duration::from_secs(10 * 60);

/// Within this time after it has woken everything is as it was.
const AWAKE_WITHIN: Duration = Duration::from_secs(5);

/// How often a browser lets the timers of a tab run that nobody has looked at for a while.
const HIDDEN: Duration = Duration::from_secs(60);

/// Checks that all these have arrived at `n`, once and in order, and that their sender knows.
#[track_caller]
fn assert_arrived(sim: &mut Sim, n: usize, limit: Duration, texts: &[String]) {
    let arrived = sim.run_until(limit, |sim| {
        received(sim, n).len() >= texts.len() && outgoing(sim, 1 - n, DeliveryState::Delivered).len() >= texts.len()
    });
    assert_eq!(received(sim, n), texts, "at {n}");
    assert!(arrived, "the sender does not know");
}

#[test]
fn a_laptop_that_slept_for_ten_minutes_goes_on_where_it_was() {
    for_seeds(0..6, |seed| {
        for counted in [true, false] {
            let mut sim = contacts(seed, 8);
            sim.run_for(5 * SECOND);
            let (mut there, mut back) = (Vec::new(), Vec::new());
            let mut say = |sim: &mut Sim, n: usize| {
                let texts = if n == ALICE { &mut there } else { &mut back };
                texts.push(format!("{n} says {}", texts.len()));
                send(sim, n, texts.last().unwrap());
            };
            // In the middle of a talk: some is on no disk yet, some on its way.
            for _ in 0..5 {
                say(&mut sim, ALICE);
                say(&mut sim, BOB);
                sim.run_for(Duration::from_millis(sim.now().as_millis() % 7));
            }
            sim.suspend_client(BOB);
            let links = sim.links_of_clients();
            for _ in 0..10 {
                say(&mut sim, ALICE);
                sim.run_for(SLEEP / 10);
            }
            assert!(!connected(&sim, ALICE), "seed {seed}: nobody has noticed");
            assert!(sim.links_of_clients() <= links, "seed {seed}: a sleeper opens links");
            assert!(received(&sim, BOB).len() < 10, "seed {seed}: a sleeper hears");
            sim.resume_client(BOB, counted);
            say(&mut sim, BOB);
            assert_arrived(&mut sim, BOB, AWAKE_WITHIN, &there);
            assert_arrived(&mut sim, ALICE, AWAKE_WITHIN, &back);
            assert!(both_connected(&sim), "seed {seed}");
        }
    });
}

/// Both at once, as when a power cut takes the network's switch and the laptops are closed.
#[test]
fn two_laptops_that_slept_find_each_other() {
    for_seeds(0..6, |seed| {
        let mut sim = contacts(seed, 8);
        sim.run_for(5 * SECOND);
        sim.suspend_client(ALICE);
        sim.run_for(3 * SECOND);
        sim.suspend_client(BOB);
        sim.run_for(SLEEP);
        sim.resume_client(BOB, seed % 2 == 0);
        send(&mut sim, BOB, "awake");
        let pause = Duration::from_secs(sim.random() % 90);
        sim.run_for(pause);
        sim.resume_client(ALICE, seed % 3 == 0);
        assert_arrived(&mut sim, ALICE, AWAKE_WITHIN, &["awake".to_owned()]);
        send(&mut sim, ALICE, "me too");
        assert_arrived(&mut sim, BOB, AWAKE_WITHIN, &["me too".to_owned()]);
    });
}

/// Shorter than some time limits and longer than others.
#[test]
fn naps_lose_nothing() {
    for_seeds(0..12, |seed| {
        let mut sim = contacts(seed, 8);
        sim.run_for(5 * SECOND);
        let mut texts = [Vec::new(), Vec::new()];
        for round in 0..8 {
            let sleeper = usize::from(sim.random().is_multiple_of(2));
            let nap = Duration::from_millis(500 + sim.random() % 20_000);
            sim.suspend_client(sleeper);
            for _ in 0..5 {
                let text = format!("{round} {}", texts[1 - sleeper].len());
                send(&mut sim, 1 - sleeper, &text);
                texts[1 - sleeper].push(text);
                sim.run_for(nap / 5);
            }
            let counted = sim.random().is_multiple_of(2);
            sim.resume_client(sleeper, counted);
            let text = format!("{round} {}", texts[sleeper].len());
            send(&mut sim, sleeper, &text);
            texts[sleeper].push(text);
            let pause = Duration::from_millis(sim.random() % 2000);
            sim.run_for(pause);
        }
        assert_arrived(&mut sim, BOB, LONG, &texts[ALICE]);
        assert_arrived(&mut sim, ALICE, LONG, &texts[BOB]);
    });
}

/// Sends one message and gives how long it takes until the other has it.
#[track_caller]
fn time_of_one(sim: &mut Sim, from: usize, texts: &mut Vec<String>) -> Duration {
    let text = texts.len().to_string();
    send(sim, from, &text);
    texts.push(text);
    let begun = sim.now();
    let count = texts.len();
    assert!(sim.run_until(LONG, |sim| received(sim, 1 - from).len() >= count), "message {count} is not there");
    sim.now().saturating_since(begun)
}

#[test]
fn a_tab_that_is_hidden_for_an_hour_stays_reachable() {
    for_seeds(0..4, |seed| {
        // Whoever made the invite, or the guest, or both.
        for hidden in [&[ALICE][..], &[BOB], &[ALICE, BOB]] {
            let mut sim = contacts(seed, 10);
            sim.run_for(5 * SECOND);
            hidden.iter().for_each(|n| sim.throttle_client(*n, Some(HIDDEN)));
            let (mut there, mut back) = (Vec::new(), Vec::new());
            for minute in 0..60 {
                for (from, texts) in [(ALICE, &mut there), (BOB, &mut back)] {
                    let took = time_of_one(&mut sim, from, texts);
                    assert!(took <= SECOND, "seed {seed}: {hidden:?} hidden, minute {minute}: {took:?}");
                }
                let pause = Duration::from_millis(30_000 + sim.random() % 60_000);
                sim.run_for(pause);
                assert!(both_connected(&sim), "seed {seed}: {hidden:?} hidden, minute {minute}");
            }
            assert_arrived(&mut sim, BOB, SECOND, &there);
            assert_arrived(&mut sim, ALICE, SECOND, &back);
        }
    });
}

/// What has gone wrong in a network while a tab is hidden.
#[derive(Clone, Copy, Debug)]
enum Trouble {
    /// All its links break.
    Links,
    /// The relay where the two meet dies, and comes back after a minute.
    Meeting,
    /// The other one is away for a minute.
    Other,
}

#[test]
fn a_hidden_tab_gets_over_trouble() {
    for_seeds(0..4, |seed| {
        for hidden in [ALICE, BOB] {
            let mut sim = contacts(seed, 10);
            sim.run_for(5 * SECOND);
            sim.throttle_client(hidden, Some(HIDDEN));
            let mut texts = Vec::new();
            for trouble in [Trouble::Links, Trouble::Meeting, Trouble::Other, Trouble::Links, Trouble::Other] {
                let pause = Duration::from_millis(100_000 + sim.random() % 100_000);
                sim.run_for(pause);
                match trouble {
                    Trouble::Links => {
                        for relay in 0..sim.relay_count() {
                            sim.break_links(Node::Client(hidden), Node::Relay(relay));
                        }
                    }
                    Trouble::Meeting => {
                        let name = path(&mut sim, BOB).pop().unwrap();
                        let relay = sim.relay_named(&name).unwrap();
                        sim.kill_relay(relay);
                        sim.run_for(60 * SECOND);
                        sim.restart_relay(relay);
                    }
                    Trouble::Other => {
                        sim.kill_client(1 - hidden);
                        sim.run_for(60 * SECOND);
                        sim.start_client(1 - hidden);
                    }
                }
                let took = time_of_one(&mut sim, 1 - hidden, &mut texts);
                assert!(took <= 10 * SECOND, "seed {seed}: {hidden} hidden, {trouble:?}: {took:?}");
                assert!(sim.run_until(10 * SECOND, both_connected), "seed {seed}: {hidden} hidden, {trouble:?}");
            }
            assert_eq!(received(&sim, hidden), texts, "seed {seed}");
        }
    });
}
