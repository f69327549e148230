//! Tagging: a relay marks a cell, to know it again elsewhere. Whatever it changes, the endpoint gets nothing and the
//! circuit ends; the others on the same links go on.

use allium_shared::cell::{Cell, CircId, Command};
use allium_tests::sim::outsider::{Meeting, Origin};
use allium_tests::sim::seeds::for_seeds;
use allium_tests::sim::{Node, Sim};

use crate::ground::{A_WHILE, ENTRIES, exchange, network, once, open};

const PATH: [usize; 3] = [0, 1, 2];

/// Bytes of a cell's body: the tag's first, middle and last; the message's command, stream and length; its data.
const PLACES: [usize; 9] = [0, 7, 15, 16, 18, 20, 40, 300, 508];

/// Who can change a cell on its way along [`PATH`], and whether away from the origin.
const TAGGERS: [(usize, bool); 4] = [(0, true), (1, true), (0, false), (1, false)];

fn flip(at: usize, bit: u8) -> impl Fn(Cell) -> Vec<Cell> + 'static {
    move |mut cell| {
        cell.body[at] ^= 1 << bit;
        vec![cell]
    }
}

/// A circuit that is under attack, and one on the same links that is not.
struct Scene {
    sim: Sim,
    origin: Origin,
    bystander: CircId,
}

impl Scene {
    fn new(seed: u64) -> Self {
        let mut sim = network(seed, 4);
        let mut origin = Origin::connect(&mut sim, PATH[0]);
        let bystander = open(&mut sim, &mut origin, &PATH);
        Self { sim, origin, bystander }
    }

    /// Lets one relay change one cell of a circuit in one direction, and checks who suffers for it.
    fn attack(&mut self, (tagger, outwards): (usize, bool), act: impl Fn(Cell) -> Vec<Cell> + 'static) {
        let Self { sim, origin, bystander } = self;
        let victim = open(sim, origin, &PATH);
        assert!(exchange(sim, origin, victim), "without an attack the exchange succeeds");
        assert_eq!(sim.circuits(), 2 * ENTRIES);
        let towards = match (outwards, tagger.checked_sub(1)) {
            (true, _) => Node::Relay(tagger + 1),
            (false, Some(before)) => Node::Relay(before),
            (false, None) => origin.node(),
        };
        let (mischief, spoilt) = once(towards, act);
        sim.bribe(tagger, Some(mischief));
        assert!(!exchange(sim, origin, victim), "the endpoint got something");
        assert_eq!(*spoilt.borrow(), 1, "the attack took place");
        sim.bribe(tagger, None);
        if !origin.is_gone(victim) {
            // What the origin was to get never came, and it cannot know. The next cell shows it.
            assert!(!exchange(sim, origin, victim), "the circuit goes on");
        }
        assert!(origin.is_gone(victim), "the circuit goes on");
        sim.run_for(A_WHILE);
        assert!(exchange(sim, origin, *bystander), "another circuit on the same links suffers");
        assert_eq!(sim.circuits(), ENTRIES, "something of the circuit is left");
    }
}

#[test]
fn a_flipped_bit_ends_the_circuit_wherever_it_is_and_whoever_flips_it() {
    for_seeds(0..2, |seed| {
        for tagger in TAGGERS {
            let mut scene = Scene::new(seed);
            for (n, at) in (0..).zip(PLACES) {
                scene.attack(tagger, flip(at, ((n + seed * 3) % 8) as u8));
            }
        }
    });
}

#[test]
fn every_bit_of_the_tag_counts() {
    let mut scene = Scene::new(1);
    // A circuit answers so many questions; one bit of each byte, another one each time.
    for at in 0..16_u8 {
        scene.attack(TAGGERS[usize::from(at) % 4], flip(usize::from(at), at % 8));
    }
}

#[test]
fn a_changed_header_ends_the_circuit() {
    for tagger in TAGGERS {
        let mut scene = Scene::new(2);
        for command in [Command::RelayEarly, Command::Created, Command::Create] {
            scene.attack(tagger, move |cell| vec![Cell { command, ..cell }]);
        }
        // To an id that nobody has; that it gets there is the same as if it were lost.
        scene.attack(tagger, |cell| vec![Cell { circ: CircId(cell.circ.0 ^ 0x0400_0000), ..cell }]);
    }
}

#[test]
fn a_cell_that_is_left_out_ends_the_circuit_with_the_next() {
    for outwards in [(0, true), (1, true)] {
        Scene::new(3).attack(outwards, |_| Vec::new());
    }
}

/// What two clients say to each other through a rendezvous: five relays could change it, in each direction.
#[test]
fn a_flipped_bit_between_two_clients_ends_both_their_circuits() {
    let [visitor_path, host_path] = [PATH, [3, 4, 2]];
    for_seeds(0..2, |seed| {
        let places = [0, 16, 21 + usize::try_from(seed).unwrap(), 508];
        for at in places {
            for to_host in [true, false] {
                for (n, tagger) in [0, 1, 2, 4, 3].into_iter().enumerate() {
                    let mut sim = network(seed, 5);
                    let mut meeting = Meeting::arrange(&mut sim, &host_path, &visitor_path).unwrap();
                    assert!(meeting.visitor_says(&mut sim, b"before"), "without an attack it arrives");
                    assert!(meeting.host_says(&mut sim, b"before"), "without an attack it arrives");
                    let bystander = open(&mut sim, &mut meeting.visitor.0, &visitor_path);
                    let (host, visitor) = (meeting.host.0.node(), meeting.visitor.0.node());
                    let way =
                        [visitor, Node::Relay(0), Node::Relay(1), Node::Relay(2), Node::Relay(4), Node::Relay(3), host];
                    let towards = if to_host { way[n + 2] } else { way[n] };
                    let (mischief, spoilt) = once(towards, flip(at, 3));
                    sim.bribe(tagger, Some(mischief));
                    let arrived = if to_host {
                        meeting.visitor_says(&mut sim, b"a word")
                    } else {
                        meeting.host_says(&mut sim, b"a word")
                    };
                    assert_eq!(*spoilt.borrow(), 1, "the attack took place");
                    assert!(!arrived, "relay {tagger} flipped a bit of byte {at}, and the word arrived");
                    assert!(meeting.wait_for_end(&mut sim), "a circuit goes on");
                    assert!(exchange(&mut sim, &mut meeting.visitor.0, bystander), "another circuit suffers");
                    sim.run_for(A_WHILE);
                    assert_eq!(sim.circuits(), ENTRIES, "something of the two is left");
                }
            }
        }
    });
}
