//! Keys that are published at relays and looked up by others.

use std::time::Duration;

use allium_shared::client::api::{Command, Event};
use allium_shared::client::key_servers;
use allium_shared::services::UserId;
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
