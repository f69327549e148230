//! What the attacks stand on: a small network, and an exchange that can be repeated on any circuit.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use allium_shared::cell::fragment::{FRAGMENTS, split};
use allium_shared::cell::message::{Cookie, RelayMessage};
use allium_shared::cell::{Cell, CircId, Command};
use allium_shared::crypto::cgo::ClientForward;
use allium_shared::crypto::handshake::{CircuitKeys, ClientHandshake, SERVER_MESSAGE_LEN, ServerPublic};
use allium_tests::sim::outsider::Origin;
use allium_tests::sim::{Mischief, Node, Sim};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

/// Long enough for anything that is under way to arrive.
pub const A_WHILE: Duration = Duration::from_millis(300);

/// Entries in the tables of all relays for one circuit of three hops: two at each relay on the way, one at the last.
pub const ENTRIES: usize = 5;

/// A network without clients, and nothing in any table.
pub fn network(seed: u64, relays: usize) -> Sim {
    let mut sim = Sim::new(seed, relays, 0);
    sim.observe();
    sim
}

/// A circuit that is open.
pub fn open(sim: &mut Sim, origin: &mut Origin, path: &[usize]) -> CircId {
    let circ = origin.build(sim, path);
    assert!(origin.is_open(circ), "an honest circuit along {path:?} opens");
    circ
}

/// Asks the last hop for somebody who is not there, in three cells, and says whether it answered.
pub fn exchange(sim: &mut Sim, origin: &mut Origin, circ: CircId) -> bool {
    let answers = |origin: &Origin| origin.messages(circ).filter(|m| **m == RelayMessage::RendezvousUnknown).count();
    let before = answers(origin);
    for cell in question(origin, circ) {
        origin.send_cells(sim, &[cell]);
    }
    origin.wait(sim, |origin| answers(origin) > before || origin.is_gone(circ));
    answers(origin) > before
}

/// The cells of a question, with all their layers on.
pub fn question(origin: &mut Origin, circ: CircId) -> Vec<Cell> {
    let fragments = split(&[9; 1300]);
    let messages = fragments.map(|fragment| {
        let cookie = (fragment.index == 0).then_some(Cookie([0x77; 20]));
        RelayMessage::Rendezvous1 { cookie, fragment }
    });
    messages.iter().filter_map(|message| origin.cell(circ, message)).collect()
}

/// Somebody who does `act` to the next cell that passes towards `towards`, and is honest with all others; and a handle that says how
/// many cells it has spoilt.
pub fn once(towards: Node, act: impl Fn(Cell) -> Vec<Cell> + 'static) -> (Mischief, Rc<RefCell<usize>>) {
    let spoilt = Rc::new(RefCell::new(0));
    let count = spoilt.clone();
    let mischief: Mischief = Box::new(move |to, cell| {
        if to != towards || *count.borrow() > 0 {
            return vec![cell];
        }
        *count.borrow_mut() += 1;
        act(cell)
    });
    (mischief, spoilt)
}

/// A circuit of one hop whose cells are made by hand, so that they can say what an honest origin never says.
pub struct HandMade {
    /// The link.
    pub origin: Origin,
    /// The circuit.
    pub circ: CircId,
    forward: ClientForward,
}

impl HandMade {
    /// Builds it to a relay.
    pub fn build(sim: &mut Sim, relay: usize) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(5);
        let mut origin = Origin::connect(sim, relay);
        origin.keep_raw();
        let circ = origin.new_circ();
        let hop = sim.hop(relay);
        let server = ServerPublic { identity: *hop.identity.as_bytes(), onion_key: *hop.onion_key.as_bytes() };
        let (handshake, message) = ClientHandshake::start(&mut rng, &server, b"").unwrap();
        let cells = split(&message).map(|fragment| fragment.to_cell(circ, Command::Create));
        origin.send_cells(sim, &cells);
        sim.run_for(A_WHILE);
        origin.look(sim);
        let answer: Vec<Cell> = std::iter::from_fn(|| origin.take_cell()).collect();
        assert_eq!(answer.len(), usize::from(FRAGMENTS));
        let answer: Vec<u8> = answer.iter().flat_map(|cell| cell.body[1..456].to_vec()).collect();
        let mut stream = handshake.finish(&answer[..SERVER_MESSAGE_LEN]).unwrap();
        let forward = ClientForward::new(&CircuitKeys::from(&mut stream).forward);
        Self { origin, circ, forward }
    }

    /// Sends a message to the relay in a cell with any command.
    pub fn send(&mut self, sim: &mut Sim, message: &RelayMessage, command: Command) {
        let mut cell = message.to_cell(self.circ, command);
        self.forward.originate(command as u8, &mut cell.body);
        self.origin.send_cells(sim, &[cell]);
    }

    /// What has come meanwhile.
    pub fn answers(&mut self, sim: &mut Sim) -> Vec<Command> {
        sim.run_for(A_WHILE);
        self.origin.look(sim);
        std::iter::from_fn(|| self.origin.take_cell()).map(|cell| cell.command).collect()
    }
}
