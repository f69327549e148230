//! A stream over a circuit at its origin: any handler, driven by what the circuit receives.
//!
//! Whoever owns the circuit hands every [`Received`] of it to [`OriginStream::handle`], and sends the cells that come of it.

use super::drive::{DrivenStream, Step, StreamEnv, StreamPort};
use super::{EndCause, EndReason, Service, StreamHandler, StreamId, StreamWaker};
use crate::cell::Cell;
use crate::circuit::{Circuit, CircuitError, Received};
use crate::time::Now;

/// The origin's end of a stream.
#[derive(Debug)]
pub struct OriginStream<H> {
    id: StreamId,
    driven: DrivenStream<H>,
    waker: StreamWaker,
}

struct CircuitPort<'a> {
    circuit: &'a mut Circuit,
    id: StreamId,
    out: &'a mut Vec<Cell>,
}

impl StreamPort for CircuitPort<'_> {
    fn may_send(&self) -> bool {
        self.circuit.may_send(self.id)
    }

    fn data(&mut self, bytes: &[u8]) {
        self.circuit.send_data(self.id, bytes, self.out);
    }

    fn consumed(&mut self) {
        self.circuit.consumed(self.id, self.out);
    }

    /// Only relays accept streams.
    fn connected(&mut self, _: u64) {}

    fn end(&mut self, reason: EndReason) {
        self.circuit.end(self.id, reason, self.out);
    }
}

impl<H: StreamHandler> OriginStream<H> {
    /// Opens a stream to a service of the circuit's last hop, and announces a body of `len` bytes or
    /// [`super::OPEN_ENDED`].
    ///
    /// # Errors
    ///
    /// As [`Circuit::begin`].
    pub fn begin(
        now: Now,
        circuit: &mut Circuit,
        (service, argument): (Service, &[u8]),
        (handler, len): (H, u64),
        out: &mut Vec<Cell>,
    ) -> Result<Self, CircuitError> {
        Self::begin_with(now, circuit, (service, argument), (handler, len), |_| StreamWaker::none(), out)
    }

    /// The same, with a waker for the handler: [`Self::drive`] has to be called when it is woken.
    ///
    /// # Errors
    ///
    /// As [`Circuit::begin`].
    pub fn begin_with(
        now: Now,
        circuit: &mut Circuit,
        (service, argument): (Service, &[u8]),
        (handler, len): (H, u64),
        waker: impl FnOnce(StreamId) -> StreamWaker,
        out: &mut Vec<Cell>,
    ) -> Result<Self, CircuitError> {
        let id = circuit.begin(service, len, argument, out)?;
        let mut stream = Self { id, driven: DrivenStream::asking(handler, len), waker: waker(id) };
        stream.drive(now, circuit, out);
        Ok(stream)
    }

    /// The stream's id on its circuit.
    pub const fn id(&self) -> StreamId {
        self.id
    }

    /// Whether the stream is over.
    pub const fn is_over(&self) -> bool {
        self.driven.is_over()
    }

    /// The handler.
    pub const fn handler(&self) -> &H {
        self.driven.handler()
    }

    /// The handler, to be changed; call [`Self::drive`] afterwards.
    pub const fn handler_mut(&mut self) -> &mut H {
        self.driven.handler_mut()
    }

    /// The handler of a stream that is over.
    pub fn into_handler(self) -> H {
        self.driven.into_handler()
    }

    /// Whether something that the circuit received concerns this stream.
    pub fn concerns(&self, received: &Received) -> bool {
        match received {
            Received::Connected(id, _) | Received::Data(id, _) | Received::Ended(id, _) => *id == self.id,
            Received::Writable(id) => *id == self.id || *id == StreamId::CIRCUIT,
            Received::Destroyed(_) => true,
            Received::Nothing | Received::Open | Received::Message(_) => false,
        }
    }

    /// Takes what the circuit received, if it concerns this stream. Once [`Self::is_over`], drop it.
    pub fn handle(&mut self, now: Now, received: Received, circuit: &mut Circuit, out: &mut Vec<Cell>) {
        if !self.concerns(&received) || self.is_over() {
            return;
        }
        let waker = || self.waker.clone();
        let env = StreamEnv { now, waker: &waker };
        let port = &mut CircuitPort { circuit, id: self.id, out };
        let step = match received {
            Received::Connected(_, len) => self.driven.connected(len, port, &env),
            Received::Data(_, data) => self.driven.arrived(data, port, &env),
            Received::Ended(_, reason) => return self.driven.finish(EndCause::Peer(reason)),
            Received::Destroyed(_) => return self.lost(),
            Received::Writable(_) | Received::Nothing | Received::Open | Received::Message(_) => Step::Idle,
        };
        if step != Step::Over {
            self.driven.drive(port, &env);
        }
    }

    /// Moves what can be moved; to be called when the handler was changed.
    pub fn drive(&mut self, now: Now, circuit: &mut Circuit, out: &mut Vec<Cell>) {
        let waker = || self.waker.clone();
        let env = StreamEnv { now, waker: &waker };
        self.driven.wake();
        self.driven.drive(&mut CircuitPort { circuit, id: self.id, out }, &env);
    }

    /// Sends at most one message of data, where several streams take turns; returns whether anything moved.
    pub fn step(&mut self, now: Now, circuit: &mut Circuit, out: &mut Vec<Cell>) -> bool {
        let waker = || self.waker.clone();
        let env = StreamEnv { now, waker: &waker };
        self.driven.step(&mut CircuitPort { circuit, id: self.id, out }, &env) != Step::Idle
    }

    /// Bytes of memory that the stream holds.
    pub fn held(&self) -> usize {
        self.driven.held()
    }

    /// Ends the stream from this end.
    pub fn end(&mut self, reason: EndReason, cause: EndCause, circuit: &mut Circuit, out: &mut Vec<Cell>) {
        self.driven.end(reason, cause, &mut CircuitPort { circuit, id: self.id, out });
    }

    /// The circuit is gone.
    pub fn lost(&mut self) {
        self.driven.finish(EndCause::CircuitLost);
    }
}
