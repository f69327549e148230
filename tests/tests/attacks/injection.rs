//! Cells on circuits that are not the sender's.

use std::cell::RefCell;
use std::rc::Rc;

use allium_shared::cell::{BODY_LEN, Cell, CircId, Command, DestroyReason};
use allium_tests::sim::Node;
use allium_tests::sim::outsider::{Heard, Origin};

use crate::ground::{A_WHILE, ENTRIES, exchange, network, open, question};

const PATH: [usize; 3] = [0, 1, 2];

/// Ids are per link: a stranger who uses another client's id on a link of its own reaches nothing.
#[test]
fn an_id_of_another_link_names_nothing() {
    let mut sim = network(1, 4);
    let mut victim = Origin::connect(&mut sim, PATH[0]);
    let circ = open(&mut sim, &mut victim, &PATH);
    assert!(exchange(&mut sim, &mut victim, circ), "the circuit works");
    let mut stranger = Origin::connect(&mut sim, PATH[0]);
    let forged = [
        Cell { circ, command: Command::Relay, body: [3; BODY_LEN] },
        Cell { circ, command: Command::RelayEarly, body: [3; BODY_LEN] },
        Cell { circ, command: Command::Created, body: [0; BODY_LEN] },
        Cell::destroy(circ, DestroyReason::Requested),
    ];
    stranger.send_cells(&mut sim, &forged);
    sim.run_for(A_WHILE);
    stranger.look(&mut sim);
    let answers: Vec<_> = stranger.heard(circ).collect();
    assert_eq!(
        answers,
        vec![&Heard::Stray(Command::Destroy); 3],
        "each but the Destroy is told that there is no such circuit"
    );
    assert_eq!(sim.circuits(), ENTRIES);
    assert!(exchange(&mut sim, &mut victim, circ), "the circuit suffers");
    // The victim's very own cells are of no use either.
    let cells = question(&mut victim, circ);
    stranger.send_cells(&mut sim, &cells);
    sim.run_for(A_WHILE);
    assert_eq!(sim.circuits(), ENTRIES);
    victim.send_cells(&mut sim, &cells);
    assert!(victim.wait(&mut sim, |victim| victim.messages(circ).count() == 3), "the circuit suffers");
}

/// A client can only harm itself by using an id again, or one that is the relay's to choose.
#[test]
fn ids_that_are_taken_or_not_the_clients_to_choose_are_refused() {
    let mut sim = network(2, 4);
    let mut origin = Origin::connect(&mut sim, PATH[0]);
    let (first, second) = (open(&mut sim, &mut origin, &PATH), open(&mut sim, &mut origin, &PATH));
    let create = |circ| Cell { circ, command: Command::Create, body: [0; BODY_LEN] };
    origin.send_cells(&mut sim, &[create(first)]);
    assert!(origin.wait(&mut sim, |origin| origin.is_gone(first)), "a Create on an id that is taken ends the circuit");
    let foreign = CircId(7);
    origin.send_cells(&mut sim, &[create(foreign)]);
    sim.run_for(A_WHILE);
    origin.look(&mut sim);
    assert_eq!(origin.heard(foreign).collect::<Vec<_>>(), [&Heard::Stray(Command::Destroy)]);
    assert!(exchange(&mut sim, &mut origin, second), "another circuit suffers");
    assert_eq!(sim.circuits(), ENTRIES);
}

/// A relay can write on any circuit that passes it. What it writes, nobody takes for the origin's or the relay's.
#[test]
fn cells_that_a_relay_writes_on_another_circuit_are_taken_by_nobody() {
    for outwards in [true, false] {
        let mut sim = network(3, 4);
        let mut attacker = Origin::connect(&mut sim, PATH[0]);
        let mut victim = Origin::connect(&mut sim, PATH[0]);
        let (own, other) = (open(&mut sim, &mut attacker, &PATH), open(&mut sim, &mut victim, &PATH));
        let bystander = open(&mut sim, &mut victim, &PATH);
        // The guard learns on which id each circuit goes on: it moves the attacker's next cell there.
        let ids: Rc<RefCell<Vec<CircId>>> = Rc::default();
        let armed = Rc::new(RefCell::new(false));
        let (seen, now) = (ids.clone(), armed.clone());
        let towards = if outwards { Node::Relay(1) } else { victim.node() };
        let source = if outwards { Node::Relay(1) } else { attacker.node() };
        sim.bribe(
            0,
            Some(Box::new(move |to, cell| {
                if to == towards && !seen.borrow().contains(&cell.circ) {
                    seen.borrow_mut().push(cell.circ);
                }
                if to == source && *now.borrow() {
                    *now.borrow_mut() = false;
                    let victim = if to == towards { seen.borrow()[1] } else { seen.borrow()[0] };
                    return vec![Cell { circ: victim, ..cell }];
                }
                vec![cell]
            })),
        );
        assert!(exchange(&mut sim, &mut attacker, own), "the attacker's circuit works");
        assert!(exchange(&mut sim, &mut victim, other), "the victim's circuit works");
        *armed.borrow_mut() = true;
        exchange(&mut sim, &mut attacker, own);
        assert!(!*armed.borrow(), "the attack took place");
        if outwards {
            assert!(victim.wait(&mut sim, |victim| victim.is_gone(other)), "a forged cell is no cell of the victim's");
        }
        sim.bribe(0, None);
        assert!(exchange(&mut sim, &mut victim, bystander), "a circuit that nobody wrote on suffers");
    }
}
