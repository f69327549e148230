//! Whatever the weather, what is sent arrives, once and in its turn.

use std::collections::BTreeSet;
use std::time::Duration;

use allium_shared::client::api::{Command, DeliveryState, Event};
use allium_shared::services::UserId;
use allium_tests::sim::seeds::for_seeds;
use allium_tests::sim::{Node, Sim, Weather};

use crate::people::{ALICE, BOB, LONG, contacts, contacts_in, outgoing, path, received, send};

/// Both send, one message a second, while it storms; then all that reached a disk arrives.
fn survive(seed: u64, fair: &Weather, storm: Weather) -> Sim {
    let mut sim = contacts_in(seed, 10, fair.clone());
    sim.set_weather(storm);
    for n in 0..25 {
        for from in [ALICE, BOB] {
            if sim.is_running(from) {
                send(&mut sim, from, &n.to_string());
            }
        }
        sim.run_for(Duration::from_millis(900));
    }
    sim.set_weather(fair.clone());
    for (from, to) in [(ALICE, BOB), (BOB, ALICE)] {
        let arrived = sim.run_until(LONG, |sim| {
            let got: BTreeSet<_> = received(sim, to).into_iter().collect();
            sim.is_running(from) && outgoing(sim, from, DeliveryState::Queued).iter().all(|text| got.contains(text))
        });
        assert!(arrived, "{:?} of {:?}", received(&sim, to), outgoing(&sim, from, DeliveryState::Queued));
        for life in sim.lives(to) {
            let ids = life.iter().filter_map(|event| match event {
                Event::Message { id, .. } => Some(*id),
                _ => None,
            });
            let mut seen = BTreeSet::new();
            assert!(ids.into_iter().all(|id| seen.insert(id)), "a message came twice");
        }
        let mut seen = BTreeSet::new();
        let numbers = received(&sim, to).into_iter().map(|text| text.parse::<u64>().unwrap());
        let first_time: Vec<_> = numbers.filter(|number| seen.insert(*number)).collect();
        assert!(first_time.is_sorted(), "out of order: {first_time:?}");
    }
    sim
}

fn distant() -> Weather {
    Weather { latency: 5..=120, jitter: 40, ..Weather::default() }
}

#[test]
fn distant_relays_and_jitter_lose_nothing() {
    for_seeds(0..2, |seed| {
        survive(seed, &distant(), distant());
    });
}

#[test]
fn links_that_break_lose_nothing() {
    for_seeds(0..4, |seed| {
        let storm = Weather { link_breaks: Some(Duration::from_millis(400)), ..Weather::default() };
        let sim = survive(seed, &Weather::default(), storm);
        assert!(sim.totals().links_broken > 20, "{:?}", sim.totals());
    });
}

#[test]
fn relays_that_crash_and_start_again_lose_nothing() {
    for_seeds(0..4, |seed| {
        let storm = Weather { relay_crashes: Some(Duration::from_millis(1500)), ..Weather::default() };
        let sim = survive(seed, &Weather::default(), storm);
        assert!(sim.totals().relays_crashed > 5, "{:?}", sim.totals());
    });
}

#[test]
fn clients_that_crash_around_a_write_lose_nothing() {
    for_seeds(0..6, |seed| {
        let storm =
            Weather { client_crashes: Some(Duration::from_millis(1500)), down: 100..=1500, ..Weather::default() };
        let sim = survive(seed, &Weather::default(), storm);
        assert!(sim.totals().clients_crashed > 5, "{:?}", sim.totals());
    });
}

#[test]
fn everything_at_once_loses_nothing() {
    for_seeds(0..4, |seed| {
        let storm = Weather {
            link_breaks: Some(Duration::from_millis(1500)),
            relay_crashes: Some(Duration::from_secs(4)),
            client_crashes: Some(Duration::from_secs(4)),
            down: 100..=1500,
            ..distant()
        };
        survive(seed, &distant(), storm);
    });
}

/// Killed between the write of the message and the news of it, again and again: it is on the disk, so it arrives.
#[test]
fn what_was_written_when_its_client_was_killed_arrives() {
    for_seeds(0..4, |seed| {
        let mut sim = contacts(seed, 8);
        for n in 0..6 {
            sim.doom_client(ALICE);
            send(&mut sim, ALICE, &n.to_string());
            assert!(sim.run_until(LONG, |sim| !sim.is_running(ALICE)), "its disk wrote nothing");
            sim.start_client(ALICE);
            sim.run_for(Duration::from_millis(sim.now().as_millis() % 700));
        }
        let all: Vec<_> = (0..6).map(|n| n.to_string()).collect();
        assert!(sim.run_until(LONG, |sim| received(sim, BOB) == all), "{:?}", received(&sim, BOB));
    });
}

/// The same at the recipient: what was stored and never acknowledged is not stored twice.
#[test]
fn what_was_stored_when_its_recipient_was_killed_is_shown_once() {
    for_seeds(0..4, |seed| {
        let mut sim = contacts(seed, 8);
        send(&mut sim, ALICE, "one");
        sim.doom_client(BOB);
        assert!(sim.run_until(LONG, |sim| !sim.is_running(BOB)), "its disk wrote nothing");
        assert_eq!(received(&sim, BOB), Vec::<String>::new(), "shown before the news of the write");
        sim.start_client(BOB);
        assert!(sim.run_until(LONG, |sim| received(sim, BOB) == ["one"]));
        send(&mut sim, ALICE, "two");
        assert!(sim.run_until(LONG, |sim| received(sim, BOB) == ["one", "two"]), "{:?}", received(&sim, BOB));
        sim.run_for(Duration::from_secs(20));
        assert_eq!(received(&sim, BOB), ["one", "two"]);
    });
}

/// A relay that crashed comes back under its old keys and knows nothing of what was.
#[test]
fn a_relay_that_starts_again_has_its_keys_and_empty_tables() {
    let mut sim = contacts(1, 8);
    let first = path(&mut sim, BOB).swap_remove(0);
    let guard = sim.relay_named(&first).unwrap();
    assert!(sim.kept_by(guard).circuits > 0);
    let before = sim.relay(guard).clone();
    sim.kill_relay(guard);
    sim.run_for(Duration::from_secs(3));
    sim.restart_relay(guard);
    let kept = sim.kept_by(guard);
    assert_eq!((kept.circuits, kept.links, kept.waiting, kept.queued), (0, 0, 0, 0));
    assert_eq!(*sim.relay(guard), before);
    let returned = sim.run_until(LONG, |sim| sim.links_between(Node::Client(BOB), Node::Relay(guard)) == 1);
    assert!(returned, "its client never came back");
    sim.run_for(Duration::from_secs(1));
    sim.command(BOB, Command::FindKey { id: UserId([7; 32]) });
    let used = sim.run_until(LONG, |sim| sim.kept_by(guard).circuits > 0);
    assert!(used, "its client builds no circuits over it any more");
}

#[test]
fn a_link_that_breaks_ends_at_both_ends() {
    let mut sim = contacts(1, 8);
    let relays = sim.relay_count();
    let guard = (0..relays).find(|n| sim.links_between(Node::Client(ALICE), Node::Relay(*n)) == 1).unwrap();
    let before = sim.kept_by(guard).links;
    assert_eq!(sim.break_links(Node::Client(ALICE), Node::Relay(guard)), 1);
    sim.run_for(Duration::from_millis(30));
    assert_eq!(sim.links_between(Node::Client(ALICE), Node::Relay(guard)), 0);
    assert_eq!(sim.kept_by(guard).links, before - 1);
    assert!(sim.run_until(LONG, |sim| sim.links_between(Node::Client(ALICE), Node::Relay(guard)) == 1), "no new link");
}
