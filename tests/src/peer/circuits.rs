//! Circuits of a peer: as a client's, but with nothing done that a test does not ask for.

use std::collections::HashMap;

use allium_shared::cell::fragment::split;
use allium_shared::cell::message::{EndReason, RelayMessage, Service, StreamId};
use allium_shared::cell::{Cell, CircId, Command, LinkEnd, MAX_EARLY};
use allium_shared::circuit::{Circuit, Hop, Received};
use allium_shared::crypto::handshake::{ClientHandshake, ServerPublic};
use allium_shared::netdir::RelayEntry;

use super::{Directory, Peer};

impl Peer {
    /// Opens a circuit along these relays.
    #[track_caller]
    pub fn open_circuit(&mut self, directory: &Directory, path: &[&str]) -> CircId {
        let hops = path
            .iter()
            .map(|nickname| directory.relay(nickname))
            .map(|relay| Hop { identity: relay.identity, onion_key: relay.onion_key })
            .collect();
        match self.try_circuit(hops) {
            (circ, Received::Open) => circ,
            (_, other) => panic!("the circuit does not open: {other:?}"),
        }
    }

    /// Builds a circuit along these hops; gives it with what came of it, [`Received::Open`] at best.
    #[track_caller]
    pub fn try_circuit(&mut self, hops: Vec<Hop>) -> (CircId, Received) {
        let circ = LinkEnd::Initiator.circ_id(self.next_id);
        self.next_id += 1;
        let mut cells = Vec::new();
        let circuit = Circuit::build(&mut self.rng, circ, hops, &mut cells).expect("keys of the consensus");
        self.circuits.insert(circ, circuit);
        self.send_cells(&cells);
        (circ, self.await_received(circ))
    }

    /// Does something with a circuit, and sends the cells that come of it.
    #[track_caller]
    pub fn with<T>(&mut self, circ: CircId, act: impl FnOnce(&mut Circuit, &mut Vec<Cell>) -> T) -> T {
        let mut cells = Vec::new();
        let circuit = self.circuits.get_mut(&circ).expect("a circuit that was opened");
        let outcome = act(circuit, &mut cells);
        self.send_cells(&cells);
        outcome
    }

    /// Sends a message to the last hop of a circuit.
    #[track_caller]
    pub fn send_message(&mut self, circ: CircId, message: &RelayMessage) {
        self.with(circ, |circuit, out| circuit.send(message, out));
    }

    /// Sends more early cells on a circuit than it may carry.
    #[track_caller]
    pub fn send_too_many_early(&mut self, circ: CircId) {
        for _ in 0..=MAX_EARLY {
            self.send_cells(&[Cell { circ, command: Command::RelayEarly, body: [0; 509] }]);
        }
    }

    /// Sends so many handshakes at once, each for a circuit of its own; gives how many the relay refuses.
    #[track_caller]
    pub fn send_handshakes(&mut self, relay: &RelayEntry, count: u32) -> usize {
        let server = ServerPublic { identity: *relay.identity.as_bytes(), onion_key: *relay.onion_key.as_bytes() };
        let (_, message) = ClientHandshake::start(&mut self.rng, &server, b"").expect("a key of the consensus");
        let fragments = split(&message);
        // How many cells of its answer each one still waits for.
        let mut waiting = HashMap::new();
        let mut cells = Vec::new();
        for _ in 0..count {
            let circ = LinkEnd::Initiator.circ_id(self.next_id);
            self.next_id += 1;
            waiting.insert(circ, fragments.len());
            cells.extend(fragments.iter().map(|fragment| fragment.to_cell(circ, Command::Create)));
        }
        self.send_cells(&cells);
        let mut refused = 0;
        while !waiting.is_empty() {
            for cell in self.read_cells() {
                match (cell.command, waiting.get_mut(&cell.circ)) {
                    (Command::Created, Some(left)) if *left > 1 => *left -= 1,
                    (Command::Created, Some(_)) => drop(waiting.remove(&cell.circ)),
                    (Command::Destroy, Some(_)) => {
                        refused += 1;
                        waiting.remove(&cell.circ);
                    }
                    _ => {}
                }
            }
        }
        refused
    }

    /// Asks the last hop of a circuit for bytes.
    #[track_caller]
    pub fn draw(&mut self, circ: CircId, bytes: u64) -> StreamId {
        self.with(circ, |circuit, out| circuit.begin(Service::SOURCE, 0, &bytes.to_be_bytes(), out)).expect("a stream")
    }

    /// Asks a service of a circuit's last hop; gives the whole answer and the reason with which it ended. What
    /// comes on other circuits and streams is lost.
    #[track_caller]
    pub fn ask(&mut self, circ: CircId, service: Service, argument: &[u8]) -> (Vec<u8>, EndReason) {
        let stream = self.with(circ, |circuit, out| circuit.begin(service, 0, argument, out)).expect("a stream");
        let mut answer = Vec::new();
        loop {
            match self.await_received(circ) {
                Received::Data(of, data) if of == stream => {
                    answer.extend(data);
                    self.with(circ, |circuit, out| circuit.consumed(stream, out));
                }
                Received::Ended(of, reason) if of == stream => return (answer, reason),
                Received::Destroyed(reason) => panic!("the circuit ends: {reason:?}"),
                _ => {}
            }
        }
    }

    /// What the next cell means that comes on any circuit.
    #[track_caller]
    pub fn next_received(&mut self) -> (CircId, Received) {
        loop {
            if let Some(received) = self.received.pop_front() {
                return received;
            }
            let mut answers = Vec::new();
            for cell in self.read_cells() {
                let circ = cell.circ;
                let Some(circuit) = self.circuits.get_mut(&circ) else { continue };
                match circuit.handle(&mut self.rng, cell, &mut answers).expect("relays keep to the protocol") {
                    Received::Nothing => {}
                    received => self.received.push_back((circ, received)),
                }
            }
            self.send_cells(&answers);
        }
    }

    /// What the next cell means that comes on this circuit; what comes on others is lost.
    #[track_caller]
    pub fn await_received(&mut self, circ: CircId) -> Received {
        loop {
            if let (of, received) = self.next_received()
                && of == circ
            {
                return received;
            }
        }
    }
}
