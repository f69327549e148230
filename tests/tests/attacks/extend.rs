//! EXTEND: it names a relay by identity only, may not go round in circles, and travels in few cells of its own kind.

use allium_shared::cell::Command;
use allium_shared::cell::fragment::split;
use allium_shared::cell::message::RelayMessage;
use allium_shared::circuit::Hop;
use allium_shared::crypto::keys::RelayIdentity;
use allium_tests::sim::Sim;
use allium_tests::sim::outsider::Origin;

use crate::ground::{A_WHILE, ENTRIES, HandMade, exchange, network, open};

/// Extends an open circuit of two hops to `hop`, and checks that it ends and that nobody dials anybody.
fn refused(sim: &mut Sim, origin: &mut Origin, hop: Hop) {
    let victim = open(sim, origin, &[0, 1]);
    let dials = sim.totals().dials;
    let links: Vec<usize> = (0..sim.relay_count()).map(|n| sim.kept_by(n).links).collect();
    assert!(!origin.extend(sim, victim, hop), "the circuit was extended");
    assert!(origin.is_gone(victim), "the circuit goes on");
    sim.run_for(A_WHILE);
    assert_eq!(sim.totals().dials, dials, "somebody dialled");
    assert_eq!(links, (0..sim.relay_count()).map(|n| sim.kept_by(n).links).collect::<Vec<_>>());
}

#[test]
fn an_identity_outside_the_consensus_is_never_dialled() {
    let mut sim = network(1, 5);
    let mut origin = Origin::connect(&mut sim, 0);
    let bystander = open(&mut sim, &mut origin, &[0, 1, 2]);
    // To a relay that is in it, the same relay dials.
    let dials = sim.totals().dials;
    let control = open(&mut sim, &mut origin, &[0, 1, 3]);
    assert_eq!(sim.totals().dials, dials + 1);
    origin.destroy(&mut sim, control);

    // An identity is 32 bytes: an address written into it leads nowhere.
    let mut address = [0; 32];
    address[..21].copy_from_slice(b"ws://127.0.0.1:1/link");
    for identity in [[0; 32], [0xff; 32], address] {
        let identity = RelayIdentity::from(identity);
        let hop = Hop { identity, onion_key: sim.hop(4).onion_key };
        refused(&mut sim, &mut origin, hop);
        assert_eq!(sim.strangers(1).last(), Some(&identity), "the relay was asked for it");
    }
    assert!(exchange(&mut sim, &mut origin, bystander), "another circuit suffers");
    assert_eq!(sim.circuits(), ENTRIES);
}

#[test]
fn a_relay_is_not_extended_to_itself_nor_back_to_the_one_before() {
    let mut sim = network(2, 5);
    let mut origin = Origin::connect(&mut sim, 0);
    let control = open(&mut sim, &mut origin, &[0, 1, 2]);
    for hop in [sim.hop(1), sim.hop(0)] {
        refused(&mut sim, &mut origin, hop);
    }
    assert!(sim.strangers(1).is_empty(), "nobody was asked for a link");
    assert!(exchange(&mut sim, &mut origin, control), "another circuit suffers");
    assert_eq!(sim.circuits(), ENTRIES);
}

/// Eight early cells make a circuit of nine hops; a ninth ends it.
#[test]
fn a_ninth_early_cell_ends_the_circuit() {
    let mut sim = network(3, 5);
    let mut origin = Origin::connect(&mut sim, 0);
    let nine: Vec<usize> = (0..9).map(|n| n % 3).collect();
    let circ = open(&mut sim, &mut origin, &nine);
    assert!(exchange(&mut sim, &mut origin, circ), "a circuit of nine hops works");
    let hop = sim.hop(3);
    assert!(!origin.extend(&mut sim, circ, hop), "a circuit of ten hops was built");
    assert!(origin.is_gone(circ), "the circuit goes on");
    sim.run_for(A_WHILE);
    assert_eq!(sim.circuits(), 0, "something of the circuit is left");
}

fn extend(sim: &Sim, index: usize) -> RelayMessage {
    let relay = (index == 0).then_some(*sim.hop(1).identity.as_bytes());
    RelayMessage::Extend { relay, fragment: split(&[1; 1300])[index].clone() }
}

#[test]
fn an_extend_has_to_be_early_and_nothing_else_may() {
    let first = |sim: &Sim| extend(sim, 0);
    // As it has to be, it is taken, and the relay waits for the rest.
    let mut sim = network(4, 3);
    let mut hand_made = HandMade::build(&mut sim, 0);
    let message = first(&sim);
    hand_made.send(&mut sim, &message, Command::RelayEarly);
    assert_eq!(hand_made.answers(&mut sim), []);
    for index in [1, 2] {
        let message = extend(&sim, index);
        hand_made.send(&mut sim, &message, Command::Relay);
    }
    sim.run_for(A_WHILE);
    assert_eq!(sim.totals().dials, 1, "the relay dials once the handshake is whole");

    for (message, command) in [
        (first(&sim), Command::Relay),
        (RelayMessage::Drop, Command::RelayEarly),
        (RelayMessage::EstablishRendezvous(allium_shared::cell::message::Cookie([1; 20])), Command::RelayEarly),
    ] {
        let mut sim = network(5, 3);
        let mut hand_made = HandMade::build(&mut sim, 0);
        let mut origin = Origin::connect(&mut sim, 0);
        let bystander = open(&mut sim, &mut origin, &[0, 1, 2]);
        let dials = sim.totals().dials;
        hand_made.send(&mut sim, &message, command);
        assert_eq!(hand_made.answers(&mut sim), [Command::Destroy], "{message:?} in {command:?}");
        assert_eq!((sim.totals().dials, sim.kept_by(0).waiting), (dials, 0));
        assert!(exchange(&mut sim, &mut origin, bystander), "another client suffers");
        assert_eq!(sim.circuits(), ENTRIES);
    }
}

/// Fragments of an EXTEND that do not follow each other end the circuit before anybody dials.
#[test]
fn an_extend_in_the_wrong_order_dials_nobody() {
    for order in [&[1][..], &[0, 2], &[0, 0], &[0, 1, 1]] {
        let mut sim = network(6, 3);
        let mut hand_made = HandMade::build(&mut sim, 0);
        for index in order {
            let message = extend(&sim, *index);
            let command = if message.is_early() { Command::RelayEarly } else { Command::Relay };
            hand_made.send(&mut sim, &message, command);
        }
        assert_eq!(hand_made.answers(&mut sim), [Command::Destroy], "{order:?}");
        assert_eq!((sim.totals().dials, sim.circuits()), (0, 0));
    }
}
