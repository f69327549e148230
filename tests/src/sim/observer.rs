//! What each place of the network sees: every link its bytes, every relay the cells on its links and which circuits it
//! joins. Questions about that, and the checks that tests make of it, are in [`checks`](super::checks).
//!
//! The observer holds a copy of each relay's randomness and so opens the records of its links beside it: what it calls a
//! relay's view is what the relay's own code has in hand once the link encryption is off.

use std::collections::{BTreeMap, BTreeSet};

use allium_shared::cell::{Cell, CircId};
use allium_shared::link::{CELL_LEN, Initiator, Link, LinkStep, RelayAddressee, Responder};
use allium_shared::relay::link::LinkKeys;
use rand_chacha::ChaCha20Rng;

use super::Node;
use super::schedule::End;

/// A circuit on a link: both ends of the link call it the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hose {
    /// The WebSocket's number.
    pub socket: usize,
    /// The circuit's id on it.
    pub circ: CircId,
}

/// Why two circuits of a relay belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Joint {
    /// One extends the other.
    Extension,
    /// Two people meet here.
    Rendezvous,
}

/// A message on a link, as anybody on the way sees it.
#[derive(Clone, Debug)]
pub struct Passed {
    /// The WebSocket's number.
    pub socket: usize,
    /// Who sent it.
    pub from: Node,
    /// Who received it.
    pub to: Node,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// A cell that a relay received or sent.
#[derive(Clone, Debug)]
pub struct SeenCell {
    /// The circuit on the link.
    pub hose: Hose,
    /// Whether it came in.
    pub incoming: bool,
    /// The cell, with the link encryption off.
    pub cell: Cell,
}

/// What one relay knows.
#[derive(Debug, Default)]
pub struct RelayView {
    /// Who is at the other end of each of its links: an address, or a relay's identity.
    pub peers: BTreeMap<usize, Node>,
    /// Its circuits that belong together.
    pub joints: BTreeSet<(Joint, Hose, Hose)>,
    /// Circuits that end here and wait for somebody.
    pub waiting: BTreeSet<Hose>,
    /// All cells on its links, padding too.
    pub cells: Vec<SeenCell>,
}

/// Sees everything, and keeps apart who has seen what.
#[derive(Debug, Default)]
pub struct Observer {
    passed: Vec<Passed>,
    relays: BTreeMap<usize, RelayView>,
    shadows: BTreeMap<End, Shadow>,
    plain: BTreeSet<usize>,
    plain_relay: Option<usize>,
}

/// A copy of a relay's end of a link.
#[derive(Debug)]
enum Shadow {
    Responding(Box<Responder>),
    Initiating(Box<Initiator>),
    Open(Box<Link>),
    Over,
}

impl Observer {
    /// All messages that have arrived, in their order.
    pub fn passed(&self) -> &[Passed] {
        &self.passed
    }

    /// What one relay knows; nothing, if it has never been spoken to.
    pub fn relay(&self, n: usize) -> Option<&RelayView> {
        self.relays.get(&n)
    }

    /// The relays that know anything.
    pub fn relays(&self) -> impl Iterator<Item = usize> + '_ {
        self.relays.keys().copied()
    }

    /// From now on records to this relay are shown as if its links had no encryption: for tests of the checks.
    pub fn strip_links_of(&mut self, relay: usize) {
        self.plain_relay = Some(relay);
    }

    /// The sockets whose records were shown without encryption.
    pub fn stripped(&self) -> &BTreeSet<usize> {
        &self.plain
    }

    pub(super) fn relay_responds(&mut self, end: End, mut rng: ChaCha20Rng, keys: &LinkKeys) {
        let responder = Responder::new(&mut rng, &keys.network, &keys.circuits.identity, &keys.link);
        self.shadows.insert(end, Shadow::Responding(Box::new(responder)));
    }

    pub(super) fn relay_initiates(&mut self, end: End, mut rng: ChaCha20Rng, keys: &LinkKeys, to: &RelayAddressee) {
        if let Ok((initiator, _)) = Initiator::new_relay(&mut rng, &keys.network, to, &keys.link) {
            self.shadows.insert(end, Shadow::Initiating(Box::new(initiator)));
        }
    }

    /// A message arrives.
    pub(super) fn arrives(&mut self, end: End, from: Option<Node>, to: Node, message: &[u8]) {
        let socket = end.socket();
        let from = from.unwrap_or(to);
        let mut bytes = message.to_vec();
        if let Node::Relay(n) = to {
            self.relays.entry(n).or_default().peers.insert(socket, from);
            if let Some(open) = self.receive(end, message) {
                for cell in open.as_chunks::<CELL_LEN>().0 {
                    self.see(n, socket, true, cell);
                }
                if self.plain_relay == Some(n) {
                    self.plain.insert(socket);
                    bytes = open;
                }
            }
        }
        self.passed.push(Passed { socket, from, to, bytes });
    }

    /// Opens a message beside the relay that receives it: gives the cells, if it was a record.
    fn receive(&mut self, end: End, message: &[u8]) -> Option<Vec<u8>> {
        let shadow = self.shadows.get_mut(&end)?;
        let step = match std::mem::replace(shadow, Shadow::Over) {
            Shadow::Responding(mut responder) => {
                let step = responder.receive(message);
                if matches!(step, Ok(LinkStep::Send(_))) {
                    *shadow = Shadow::Responding(responder);
                }
                step
            }
            Shadow::Initiating(mut initiator) => initiator.receive(message),
            Shadow::Open(mut link) => {
                let mut record = message.to_vec();
                let cells = link.opener.open(&mut record).ok().map(|cells| cells.as_flattened().to_vec());
                if cells.is_some() {
                    *shadow = Shadow::Open(link);
                }
                return cells;
            }
            Shadow::Over => return None,
        };
        if let Ok(LinkStep::Established { link, .. }) = step {
            *shadow = Shadow::Open(link);
        }
        None
    }

    /// A relay sends a message.
    pub(super) fn relay_sends(&mut self, n: usize, end: End, message: &[u8]) {
        let Some(Shadow::Open(link)) = self.shadows.get_mut(&end) else { return };
        let Some(len) = message.len().checked_sub(16).filter(|len| *len > 0 && len.is_multiple_of(CELL_LEN)) else {
            return;
        };
        // Both ciphers add a key stream: sealing zeros shows it.
        let mut stream = vec![0; len];
        if link.sealer.seal(&mut stream).is_err() {
            return;
        }
        let cells: Vec<u8> = message.iter().zip(&stream).map(|(a, b)| a ^ b).take(len).collect();
        for cell in cells.as_chunks::<CELL_LEN>().0 {
            self.see(n, end.socket(), false, cell);
        }
    }

    fn see(&mut self, n: usize, socket: usize, incoming: bool, bytes: &[u8; CELL_LEN]) {
        // A relay's own cells always decode, so this also shows that the copy of its randomness is a true one.
        let decoded = Cell::decode(bytes);
        assert!(incoming || decoded.is_ok(), "the observer's copy of relay {n}'s link does not open its records");
        let Ok(cell) = decoded else { return };
        let hose = Hose { socket, circ: cell.circ };
        self.relays.entry(n).or_default().cells.push(SeenCell { hose, incoming, cell });
    }

    pub(super) fn joins(&mut self, n: usize, joint: Joint, one: (End, CircId), other: (End, CircId)) {
        let hose = |(end, circ): (End, CircId)| Hose { socket: end.socket(), circ };
        self.relays.entry(n).or_default().joints.insert((joint, hose(one), hose(other)));
    }

    pub(super) fn waits(&mut self, n: usize, (end, circ): (End, CircId)) {
        self.relays.entry(n).or_default().waiting.insert(Hose { socket: end.socket(), circ });
    }
}
