//! A service that only tests have, at the client's side: bytes that go to it and come back.

use allium_shared::cell::CircId;
use allium_shared::stream::two_way::{TwoWay, TwoWayStream};
use allium_shared::stream::{EndCause, StreamId};

use super::Sim;
use super::echo_service::ECHO;
use super::outsider::Origin;

/// Sends bytes to the echo, and reads them when the test wants to.
pub struct EchoClient {
    circ: CircId,
    stream: TwoWayStream,
    unsent: Vec<u8>,
    read: Vec<u8>,
}

impl EchoClient {
    /// Opens a stream to the echo at the end of a circuit, and announces the bytes to send.
    ///
    /// # Panics
    ///
    /// If the circuit is not open.
    pub fn begin(sim: &mut Sim, origin: &mut Origin, circ: CircId, bytes: &[u8]) -> Self {
        let mut cells = Vec::new();
        let circuit = origin.circuit(circ).expect("a circuit that is open");
        let handler = (TwoWay::new(), bytes.len() as u64);
        let stream = TwoWayStream::begin(sim.both_clocks(), circuit, (ECHO, b""), handler, &mut cells);
        origin.send_cells(sim, &cells);
        Self { circ, stream: stream.expect("a free stream"), unsent: bytes.to_vec(), read: Vec::new() }
    }

    /// The stream on its circuit.
    pub const fn id(&self) -> StreamId {
        self.stream.id()
    }

    /// The bytes that came back and were read.
    pub fn read(&self) -> &[u8] {
        &self.read
    }

    /// How the stream ended, if it did.
    pub const fn end(&self) -> Option<EndCause> {
        self.stream.handler().end()
    }

    /// Takes what has come, writes what there is room for, and reads if `reads`; returns whether anything moved.
    pub fn step(&mut self, sim: &mut Sim, origin: &mut Origin, reads: bool) -> bool {
        origin.look(sim);
        let (now, received, mut cells) = (sim.both_clocks(), origin.take_received(self.circ), Vec::new());
        let Some(circuit) = origin.circuit(self.circ) else {
            self.stream.lost();
            return false;
        };
        let mut moved = !received.is_empty();
        for received in received {
            self.stream.handle(now, received, circuit, &mut cells);
        }
        let handler = self.stream.handler_mut();
        let written = handler.write(&self.unsent);
        self.unsent.drain(..written);
        if reads {
            let bytes = handler.read(usize::MAX);
            moved |= !bytes.is_empty();
            self.read.extend(bytes);
        }
        self.stream.drive(now, circuit, &mut cells);
        moved |= written > 0 || !cells.is_empty();
        origin.send_cells(sim, &cells);
        moved
    }
}
