//! A relay that changes the order of a circuit's cells, or gives some twice.

use std::cell::RefCell;
use std::rc::Rc;

use allium_shared::cell::Cell;
use allium_tests::sim::outsider::{Meeting, Origin};
use allium_tests::sim::{Mischief, Node};

use crate::ground::{A_WHILE, ENTRIES, exchange, network, once, open};

const PATH: [usize; 3] = [0, 1, 2];

/// Holds the first cell towards `towards` back until the second has passed, while `armed` says so.
fn swapper(towards: Node, armed: Rc<RefCell<bool>>) -> Mischief {
    let mut held: Option<Cell> = None;
    Box::new(move |to, cell| {
        if to != towards || !*armed.borrow() {
            return vec![cell];
        }
        match held.take() {
            None => {
                held = Some(cell);
                Vec::new()
            }
            Some(first) => {
                *armed.borrow_mut() = false;
                vec![cell, first]
            }
        }
    })
}

#[test]
fn a_middle_relay_that_swaps_two_cells_ends_the_circuit() {
    let mut sim = network(1, 4);
    let mut origin = Origin::connect(&mut sim, PATH[0]);
    let (victim, bystander) = (open(&mut sim, &mut origin, &PATH), open(&mut sim, &mut origin, &PATH));
    let armed = Rc::new(RefCell::new(false));
    sim.bribe(1, Some(swapper(Node::Relay(2), armed.clone())));
    assert!(exchange(&mut sim, &mut origin, victim), "without an attack the exchange succeeds");
    *armed.borrow_mut() = true;
    assert!(!exchange(&mut sim, &mut origin, victim), "the endpoint took swapped cells");
    assert!(!*armed.borrow(), "the attack took place");
    assert!(origin.is_gone(victim), "the circuit goes on");
    sim.run_for(A_WHILE);
    assert!(exchange(&mut sim, &mut origin, bystander), "another circuit suffers");
    assert_eq!(sim.circuits(), ENTRIES);
}

#[test]
fn swapped_cells_between_two_clients_end_both_circuits() {
    for (tagger, towards) in [(1, Node::Relay(2)), (2, Node::Relay(4)), (4, Node::Relay(3))] {
        let mut sim = network(2, 5);
        let mut meeting = Meeting::arrange(&mut sim, &[3, 4, 2], &PATH).unwrap();
        let armed = Rc::new(RefCell::new(false));
        sim.bribe(tagger, Some(swapper(towards, armed.clone())));
        for text in [b"one", b"two"] {
            assert!(meeting.visitor_says(&mut sim, text), "without an attack it arrives");
        }
        *armed.borrow_mut() = true;
        let (visitor, circ) = (&mut meeting.visitor.0, meeting.visitor.1);
        for text in [b"three", b"fours"] {
            visitor.say(&mut sim, circ, text);
        }
        assert!(meeting.wait_for_end(&mut sim), "a circuit goes on");
        assert_eq!(meeting.host.0.texts(meeting.host.1), [b"one", b"two"], "swapped cells were taken");
        assert!(!*armed.borrow(), "the attack took place");
    }
}

#[test]
fn a_cell_that_is_given_twice_is_taken_once_and_ends_the_circuit() {
    for (tagger, towards) in [(0, Node::Relay(1)), (1, Node::Relay(2)), (1, Node::Relay(0))] {
        let mut sim = network(3, 4);
        let mut origin = Origin::connect(&mut sim, PATH[0]);
        let (victim, bystander) = (open(&mut sim, &mut origin, &PATH), open(&mut sim, &mut origin, &PATH));
        assert!(exchange(&mut sim, &mut origin, victim), "without an attack the exchange succeeds");
        let (mischief, spoilt) = once(towards, |cell| vec![cell.clone(), cell]);
        sim.bribe(tagger, Some(mischief));
        exchange(&mut sim, &mut origin, victim);
        assert_eq!(*spoilt.borrow(), 1, "the attack took place");
        sim.bribe(tagger, None);
        assert!(origin.wait(&mut sim, |origin| origin.is_gone(victim)), "the circuit goes on");
        sim.run_for(A_WHILE);
        assert!(exchange(&mut sim, &mut origin, bystander), "another circuit suffers");
        assert_eq!(sim.circuits(), ENTRIES);
    }
}

#[test]
fn what_one_client_says_to_another_is_not_heard_twice() {
    for (tagger, towards) in [(0, Node::Relay(1)), (2, Node::Relay(4)), (4, Node::Relay(3))] {
        let mut sim = network(4, 5);
        let mut meeting = Meeting::arrange(&mut sim, &[3, 4, 2], &PATH).unwrap();
        assert!(meeting.visitor_says(&mut sim, b"one"), "without an attack it arrives");
        let (mischief, spoilt) = once(towards, |cell| vec![cell.clone(), cell]);
        sim.bribe(tagger, Some(mischief));
        meeting.visitor_says(&mut sim, b"two");
        assert_eq!(*spoilt.borrow(), 1, "the attack took place");
        assert!(meeting.wait_for_end(&mut sim), "a circuit goes on");
        let heard = meeting.host.0.texts(meeting.host.1);
        assert!(heard == [b"one"] || heard == [b"one", b"two"], "heard {heard:?}");
    }
}

/// A cell of long ago, given again when others have passed since.
#[test]
fn an_old_cell_is_not_taken_again() {
    let mut sim = network(5, 4);
    let mut origin = Origin::connect(&mut sim, PATH[0]);
    let victim = open(&mut sim, &mut origin, &PATH);
    let kept: Rc<RefCell<Vec<Cell>>> = Rc::default();
    let notes = kept.clone();
    let again = Rc::new(RefCell::new(false));
    let now = again.clone();
    sim.bribe(
        1,
        Some(Box::new(move |to, cell| {
            if to != Node::Relay(2) {
                return vec![cell];
            }
            if *now.borrow() {
                return vec![notes.borrow()[0].clone()];
            }
            notes.borrow_mut().push(cell.clone());
            vec![cell]
        })),
    );
    for _ in 0..3 {
        assert!(exchange(&mut sim, &mut origin, victim), "without an attack the exchange succeeds");
    }
    *again.borrow_mut() = true;
    assert!(!exchange(&mut sim, &mut origin, victim), "an old cell was taken again");
    assert!(origin.is_gone(victim), "the circuit goes on");
    assert!(kept.borrow().len() >= 9);
}
