//! Keys that are published at relays and looked up by others.

use std::time::Duration;

use allium_shared::client::api::{Command, Event};
use allium_shared::client::key_servers;
use allium_shared::services::UserId;
use allium_shared::time::UnixTime;
use allium_tests::sim::Sim;
use allium_tests::sim::seeds::for_seeds;

use crate::directory::complaints;
use crate::people::{ALICE, BOB, ready};

/// Long enough for waiting for circuits, the time, and relays that do not answer.
const PATIENCE: Duration = Duration::from_secs(200);

fn publish(sim: &mut Sim, n: usize) -> UserId {
    let published = |sim: &Sim| {
        sim.events(n).iter().rev().find_map(|event| match event {
            Event::KeyPublished { id } => Some(*id),
            _ => None,
        })
    };
    sim.command(n, Command::PublishKey);
    assert!(sim.run_until(PATIENCE, |sim| published(sim).is_some()), "not published");
    published(sim).expect("it is there")
}

/// The key that a client finds, or what it is told instead.
fn find(sim: &mut Sim, n: usize, id: UserId) -> Result<[u8; 32], String> {
    let before = sim.events(n).len();
    let found = |sim: &Sim| {
        sim.events(n).get(before..).unwrap_or_default().iter().find_map(|event| match event {
            Event::KeyFound { id: of, key } if *of == id => Some(Ok(*key.as_bytes())),
            Event::Error { about, message } if about == "key" => Some(Err(message.clone())),
            _ => None,
        })
    };
    sim.command(n, Command::FindKey { id });
    assert!(sim.run_until(PATIENCE, |sim| found(sim).is_some()), "neither found nor not");
    found(sim).expect("it is there")
}

#[test]
fn what_one_publishes_others_find() {
    for_seeds(0..3, |seed| {
        let mut sim = ready(seed, 8, 2);
        let (alice, bob) = (publish(&mut sim, ALICE), publish(&mut sim, BOB));
        assert_ne!(alice, bob, "seed {seed}");
        let key = find(&mut sim, BOB, alice).expect("it was published");
        assert_eq!(find(&mut sim, ALICE, alice), Ok(key), "seed {seed}");
        assert_ne!(find(&mut sim, ALICE, bob), Ok(key), "seed {seed}");
        assert!(find(&mut sim, ALICE, UserId([7; 32])).unwrap_err().contains("Nobody has published"), "seed {seed}");
        // The same profile has the same key after a restart, and everybody may publish theirs again.
        sim.kill_client(ALICE);
        sim.start_client(ALICE);
        assert_eq!(publish(&mut sim, ALICE), alice, "seed {seed}");
    });
}

#[test]
fn relays_that_are_gone_hide_nothing() {
    for_seeds(0..3, |seed| {
        let mut sim = ready(seed, 9, 2);
        let alice = publish(&mut sim, ALICE);
        let key = find(&mut sim, BOB, alice);
        let servers = key_servers(sim.consensus(), &alice);
        assert_eq!(servers.len(), 3);
        for server in &servers[..2] {
            let n = sim.relay_known_as(server).expect("a relay");
            sim.kill_relay(n);
        }
        assert_eq!(find(&mut sim, BOB, alice), key, "seed {seed}");
        assert_eq!(complaints(&sim, BOB, "key").count(), 0, "seed {seed}");
        // With fewer it is still published.
        assert_eq!(publish(&mut sim, ALICE), alice, "seed {seed}");
    });
}

#[test]
fn the_day_of_a_wrong_clock_is_told_to_nobody() {
    let mut sim = ready(5, 8, 2);
    sim.kill_client(ALICE);
    // Ten days off: relays take no work for such a day.
    sim.set_clock(ALICE, 10 * 24 * 60 * 60 * 1000);
    sim.forget_record(ALICE, "consensus");
    sim.set_lifetimes(Duration::from_secs(30 * 86_400), Duration::from_secs(60 * 86_400));
    sim.publish();
    sim.start_client(ALICE);
    let id = publish(&mut sim, ALICE);
    assert!(find(&mut sim, BOB, id).is_ok());
}

/// When a client will publish its key again, by what it has stored.
fn renewal(sim: &Sim, n: usize) -> Option<UnixTime> {
    let profile = sim.disk(n).find(|(key, _)| *key == "profile")?.1;
    let profile: serde_json::Value = serde_json::from_slice(profile).ok()?;
    serde_json::from_value(profile["publish_key_at"].clone()).ok()?
}

/// Publishes a client's key, and has it due again in so long: days of virtual time take minutes. Gives when.
fn publish_for(sim: &mut Sim, n: usize, time: Duration) -> (UserId, UnixTime) {
    const DAY: Duration = Duration::from_secs(86_400);
    assert_eq!(renewal(sim, n), None, "nobody publishes what was never asked for");
    let id = publish(sim, n);
    sim.run_for(Duration::from_secs(5));
    let due = renewal(sim, n).expect("it was published");
    let after = Duration::from_millis(due.as_millis() - sim.clock().as_millis());
    assert!(after > DAY * 2 - PATIENCE && after < DAY * 3, "{after:?}");

    sim.kill_client(n);
    let profile = sim.disk(n).find(|(key, _)| *key == "profile").expect("there is one").1;
    let mut profile: serde_json::Value = serde_json::from_slice(profile).expect("it is JSON");
    let due = UnixTime::from_millis(sim.clock().as_millis() + u64::try_from(time.as_millis()).expect("short"));
    profile["publish_key_at"] = serde_json::to_value(due).expect("a number");
    sim.store_record(n, "profile", profile.to_string().into_bytes());
    sim.start_client(n);
    (id, due)
}

/// The relays that keep what a user publishes.
fn servers(sim: &Sim, id: UserId) -> Vec<usize> {
    let servers = key_servers(sim.consensus(), &id);
    servers.iter().map(|server| sim.relay_known_as(server).expect("a relay")).collect()
}

#[test]
fn a_key_that_was_published_once_stays_to_be_found() {
    let mut sim = ready(6, 11, 2);
    let (alice, due) = publish_for(&mut sim, ALICE, Duration::from_secs(400));
    // Those that keep it are gone, and others come first that know nothing of it.
    for n in servers(&sim, alice) {
        sim.kill_relay(n);
        sim.list_relay(n, false);
    }
    sim.publish();
    for n in [ALICE, BOB] {
        sim.kill_client(n);
        sim.forget_record(n, "consensus");
        sim.start_client(n);
    }
    assert!(find(&mut sim, BOB, alice).unwrap_err().contains("Nobody has published"));
    let left = Duration::from_millis(due.as_millis() - sim.clock().as_millis());
    sim.run_for(left - Duration::from_secs(1));
    assert_eq!(renewal(&sim, ALICE), Some(due), "too early");
    let renewed = |sim: &Sim| renewal(sim, ALICE).is_some_and(|next| next.as_millis() > due.as_millis() + 86_400_000);
    assert!(sim.run_until(PATIENCE, renewed), "not published again");
    assert!(find(&mut sim, BOB, alice).is_ok());
    let told = sim.lives(ALICE).flatten().filter(|event| matches!(event, Event::KeyPublished { .. })).count();
    assert_eq!(told, 1, "nobody has asked for the second time");
}

#[test]
fn a_key_that_nobody_takes_again_is_tried_later_and_nobody_is_bothered() {
    let mut sim = ready(7, 8, 2);
    let (alice, due) = publish_for(&mut sim, ALICE, Duration::from_secs(30));
    let gone = servers(&sim, alice);
    gone.iter().for_each(|n| sim.kill_relay(*n));
    sim.run_for(Duration::from_secs(600));
    assert_eq!((renewal(&sim, ALICE), complaints(&sim, ALICE, "key").count()), (Some(due), 0));
    gone.iter().for_each(|n| sim.restart_relay(*n));
    assert!(sim.run_until(Duration::from_secs(3600 + 300), |sim| renewal(sim, ALICE) > Some(due)), "given up");
    assert!(find(&mut sim, BOB, alice).is_ok());
    assert_eq!(complaints(&sim, ALICE, "key").count(), 0);
}
