//! What was recorded on its way is of no use a second time.

use std::time::Duration;

use allium_shared::cell::{Cell, Command};
use allium_tests::sim::outsider::{Heard, Origin, Wire};
use allium_tests::sim::{Node, Sim};

use crate::ground::{A_WHILE, ENTRIES, exchange, network, open};

const PATH: [usize; 3] = [0, 1, 2];

/// All messages that went from one node to another.
fn recorded(sim: &Sim, from: Node, to: Node) -> Vec<Vec<u8>> {
    let passed = sim.observer().passed().iter();
    passed.filter(|passed| (passed.from, passed.to) == (from, to)).map(|passed| passed.bytes.clone()).collect()
}

/// Sends recorded messages to a relay again, and checks that it ends the link at the one that should have been unique.
fn play_again(sim: &mut Sim, relay: usize, messages: &[Vec<u8>]) {
    let before = sim.kept_by(relay);
    let wire = Wire::open(sim, relay);
    for message in messages {
        assert!(!wire.is_closed(sim));
        wire.send(sim, message.clone());
        sim.run_for(Duration::from_millis(50));
    }
    sim.run_for(A_WHILE);
    assert!(wire.is_closed(sim), "the relay goes on with a replayed link");
    let after = sim.kept_by(relay);
    assert_eq!((before.circuits, before.links), (after.circuits, after.links));
}

#[test]
fn a_clients_link_cannot_be_replayed() {
    let mut sim = network(1, 4);
    let mut origin = Origin::connect(&mut sim, PATH[0]);
    let circ = open(&mut sim, &mut origin, &PATH);
    assert!(exchange(&mut sim, &mut origin, circ));
    let messages = recorded(&sim, origin.node(), Node::Relay(0));
    assert!(messages.len() > 4, "a handshake, circuits, an exchange");
    // The handshake's first message has nothing in it, so it may be answered; the first record shows that it is old.
    play_again(&mut sim, 0, &messages[..2]);
    assert!(exchange(&mut sim, &mut origin, circ), "the recorded circuit suffers");
    assert_eq!(sim.circuits(), ENTRIES);
}

#[test]
fn a_relays_link_cannot_be_replayed() {
    let mut sim = network(2, 4);
    let mut origin = Origin::connect(&mut sim, PATH[0]);
    let circ = open(&mut sim, &mut origin, &PATH);
    let messages = recorded(&sim, Node::Relay(0), Node::Relay(1));
    assert_eq!((messages[0].len(), messages[1].len()), (51, 64), "what opens the link, and the proof of who did");
    // To the relay that it was made for, and to another.
    for relay in [1, 3] {
        let proof = if relay == 1 { 2 } else { 1 };
        play_again(&mut sim, relay, &messages[..proof]);
    }
    assert!(exchange(&mut sim, &mut origin, circ), "the recorded circuit suffers");
    assert_eq!(sim.circuits(), ENTRIES);
}

/// The guard, or whoever has its link key, plays a client's CREATE again. The relay answers, since it cannot know; but
/// the answer is another one, and only the client could make anything of it.
#[test]
fn a_replayed_create_gives_nothing_to_who_replays_it() {
    let mut sim = network(3, 4);
    let mut origin = Origin::connect(&mut sim, 0);
    let circ = open(&mut sim, &mut origin, &[0]);
    assert!(exchange(&mut sim, &mut origin, circ), "the client can use its circuit");
    let view = sim.observer().relay(0).unwrap();
    let of_victim = |command, incoming| {
        let cells = view.cells.iter().filter(move |seen| seen.incoming == incoming && seen.cell.command == command);
        cells.map(|seen| seen.cell.clone()).collect::<Vec<Cell>>()
    };
    let (creates, relays) = (of_victim(Command::Create, true), of_victim(Command::Relay, true));
    let answers = of_victim(Command::Created, false);
    assert_eq!((creates.len(), answers.len(), relays.len()), (3, 3, 3));

    let mut attacker = Origin::connect(&mut sim, 0);
    attacker.keep_raw();
    let own = attacker.new_circ();
    let moved = |cells: &[Cell]| cells.iter().map(|cell| Cell { circ: own, ..cell.clone() }).collect::<Vec<_>>();
    attacker.send_cells(&mut sim, &moved(&creates));
    sim.run_for(A_WHILE);
    attacker.look(&mut sim);
    let replies: Vec<Cell> = std::iter::from_fn(|| attacker.take_cell()).collect();
    assert_eq!(replies.len(), 3);
    assert!(replies.iter().zip(&answers).any(|(reply, before)| reply.body != before.body), "the same keys as before");
    // What the client once said on its circuit means nothing on this one.
    attacker.send_cells(&mut sim, &moved(&relays));
    sim.run_for(A_WHILE);
    attacker.look(&mut sim);
    let replies: Vec<Command> = std::iter::from_fn(|| attacker.take_cell()).map(|cell| cell.command).collect();
    assert_eq!(replies[0], Command::Destroy, "replayed cells were recognised");
    assert!(exchange(&mut sim, &mut origin, circ), "the client's circuit suffers");
    // The client's circuit is all that is left.
    assert_eq!(sim.circuits(), 1);
}

/// A record that is played again within its own link ends the link.
#[test]
fn a_record_cannot_be_replayed_on_its_own_link() {
    let mut sim = network(4, 4);
    let mut origin = Origin::connect(&mut sim, 0);
    let mut other = Origin::connect(&mut sim, 0);
    let (circ, bystander) = (open(&mut sim, &mut origin, &PATH), open(&mut sim, &mut other, &PATH));
    let last = recorded(&sim, origin.node(), Node::Relay(0)).pop().unwrap();
    assert!(exchange(&mut sim, &mut origin, circ));
    origin.send_bytes(&mut sim, last);
    sim.run_for(A_WHILE);
    assert!(origin.is_closed(&sim), "the relay takes old records");
    assert!(exchange(&mut sim, &mut other, bystander), "another link suffers");
    assert_eq!(sim.circuits(), ENTRIES);
}

/// An answer that is played to another client is none.
#[test]
fn a_replayed_created_is_no_answer() {
    let mut sim = network(5, 4);
    let mut first = Origin::connect(&mut sim, 0);
    open(&mut sim, &mut first, &[0, 1]);
    let old: Vec<Cell> = {
        let view = sim.observer().relay(1).unwrap();
        let created = view.cells.iter().filter(|seen| !seen.incoming && seen.cell.command == Command::Created);
        created.map(|seen| seen.cell.clone()).collect()
    };
    assert_eq!(old.len(), 3);
    // Relay 1 has its neighbour's link key stolen: it answers the next CREATE with the old answer. Here the thief
    // is whoever sits between them, with the link key of relay 0.
    let key = sim.relay_keys(0).link.clone();
    let mut thief = Origin::connect_as(&mut sim, 2, &key).expect("whoever has the key is taken for the relay");
    thief.keep_raw();
    let mut second = Origin::connect(&mut sim, 2);
    // Relay 2 now takes the thief for relay 0, and extends to it.
    let victim = second.begin(&mut sim, &[2, 0]);
    second.wait(&mut sim, |_| false);
    thief.look(&mut sim);
    let create = thief.take_cell().expect("relay 2 extends to the thief");
    assert_eq!(create.command, Command::Create);
    let answer: Vec<Cell> = old.into_iter().map(|cell| Cell { circ: create.circ, ..cell }).collect();
    thief.send_cells(&mut sim, &answer);
    assert!(second.wait(&mut sim, |second| second.is_gone(victim)), "an old answer was taken");
    assert!(second.heard(victim).any(|heard| matches!(heard, Heard::Failed(_))));
}
