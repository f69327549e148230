//! Relays die or freeze: both sides notice, meet elsewhere, and no message is lost, doubled or out of order.

use std::time::Duration;

use allium_shared::client::api::DeliveryState;
use allium_tests::sim::seeds::for_seeds;

use crate::people::{ALICE, BOB, LONG, both_connected, connected, contacts, outgoing, path, received, send};

/// How long after a relay froze both sides have to know.
const NOTICE: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug)]
enum Harm {
    Kill,
    Freeze,
}

/// Harms the relay at `position` of Bob's path, three times in a row, while both talk.
fn survive(seed: u64, harm: Harm, position: usize) {
    let mut sim = contacts(seed, 10);
    let mut sent = 0;
    let mut talk = |sim: &mut allium_tests::sim::Sim| {
        for n in [ALICE, BOB] {
            send(sim, n, &format!("{sent}"));
        }
        sent += 1;
    };
    for _ in 0..3 {
        for _ in 0..5 {
            talk(&mut sim);
            sim.run_for(Duration::from_millis(100));
        }
        assert!(sim.run_until(LONG, both_connected), "seed {seed}: never again connected");
        let mut hops = path(&mut sim, BOB);
        let name = hops.swap_remove(position.min(hops.len() - 1));
        let relay = sim.relay_named(&name).expect("a relay");
        match harm {
            Harm::Kill => sim.kill_relay(relay),
            Harm::Freeze => sim.freeze_relay(relay),
        }
        talk(&mut sim);
        let noticed =
            sim.run_until(NOTICE, |sim| !connected(sim, ALICE) && !connected(sim, BOB)) || both_connected(&sim);
        assert!(noticed, "seed {seed}: one side did not notice within {NOTICE:?}");
    }
    let all: Vec<_> = (0..sent).map(|n| n.to_string()).collect();
    let done = sim.run_until(LONG, |sim| {
        [ALICE, BOB].iter().all(|n| outgoing(sim, *n, DeliveryState::Delivered).len() == all.len())
    });
    assert!(done, "seed {seed}: not all was delivered");
    for n in [ALICE, BOB] {
        assert_eq!(received(&sim, n), all, "seed {seed}, client {n}");
    }
}

/// The last of one's own hops, however many there are.
const RENDEZVOUS: usize = usize::MAX;

#[test]
fn rendezvous_relays_die() {
    for_seeds(0..6, |seed| survive(seed, Harm::Kill, RENDEZVOUS));
}

#[test]
fn rendezvous_relays_freeze() {
    for_seeds(0..4, |seed| survive(seed, Harm::Freeze, RENDEZVOUS));
}

#[test]
fn guards_die() {
    for_seeds(0..4, |seed| survive(seed, Harm::Kill, 0));
}

#[test]
fn guards_freeze() {
    for_seeds(0..4, |seed| survive(seed, Harm::Freeze, 0));
}

#[test]
fn middle_relays_die_and_freeze() {
    for_seeds(0..3, |seed| survive(seed, Harm::Kill, 1));
    for_seeds(0..3, |seed| survive(seed, Harm::Freeze, 2));
}
