//! Invites: for one person, and clear about what is wrong.

use std::time::Duration;

use allium_shared::client::api::{Command, Event};
use allium_tests::sim::seeds::for_seeds;

use crate::people::{ALICE, BOB, LONG, both_connected, connected, contacts, invite, ready, received, send};

fn errors(sim: &allium_tests::sim::Sim, n: usize) -> Vec<String> {
    let message = |event: &Event| match event {
        Event::Error { about, message } if about == "add" => Some(message.clone()),
        _ => None,
    };
    sim.events(n).iter().filter_map(message).collect()
}

fn add(link: &str) -> Command {
    Command::add(link, "Alice", Some("Bob"))
}

#[test]
fn an_invite_serves_one_person() {
    const EVE: usize = 2;
    for_seeds(0..4, |seed| {
        let mut sim = ready(seed, 8, 3);
        let link = invite(&mut sim, ALICE);
        sim.command(BOB, add(&link));
        assert!(sim.run_until(LONG, both_connected), "seed {seed}");
        sim.command(EVE, add(&link));
        sim.run_for(LONG);
        assert!(!connected(&sim, EVE), "seed {seed}: a second person came in by the same invite");
        assert_eq!(errors(&sim, EVE).len(), 1, "seed {seed}: {:?}", errors(&sim, EVE));
        send(&mut sim, ALICE, "still here");
        assert!(sim.run_until(LONG, |sim| received(sim, BOB) == ["still here"]), "seed {seed}");
    });
}

#[test]
fn two_who_come_at_once_do_not_both_come_in() {
    for_seeds(0..6, |seed| {
        let mut sim = ready(seed, 8, 3);
        let link = invite(&mut sim, ALICE);
        sim.command(1, add(&link));
        sim.command(2, add(&link));
        assert!(sim.run_until(LONG, |sim| connected(sim, 1) || connected(sim, 2)), "seed {seed}: nobody came in");
        sim.run_for(Duration::from_secs(30));
        assert!(connected(&sim, 1) != connected(&sim, 2), "seed {seed}: both came in");
    });
}

#[test]
fn links_that_do_not_work_are_named() {
    let mut sim = contacts(1, 8);
    let own = invite(&mut sim, ALICE);
    sim.command(ALICE, add(&own));
    assert!(errors(&sim, ALICE)[0].contains("your own"), "{:?}", errors(&sim, ALICE));
    sim.command(BOB, add(&own[..own.len() - 7]));
    assert!(errors(&sim, BOB)[0].contains("isn't a complete"), "{:?}", errors(&sim, BOB));
    let elsewhere = invite(&mut ready(2, 8, 1), ALICE);
    sim.command(BOB, add(&elsewhere));
    assert!(errors(&sim, BOB)[1].contains("another network"), "{:?}", errors(&sim, BOB));
}

#[test]
fn a_used_link_is_known_again() {
    let mut sim = ready(3, 8, 2);
    let link = invite(&mut sim, ALICE);
    sim.command(BOB, add(&link));
    assert!(sim.run_until(LONG, both_connected));
    sim.command(BOB, add(&link));
    assert!(errors(&sim, BOB)[0].contains("already added this invite as \"Alice\""), "{:?}", errors(&sim, BOB));
}
