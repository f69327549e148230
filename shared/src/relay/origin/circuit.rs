//! One circuit that this relay has begun, and the streams on it.

use std::collections::{BTreeMap, VecDeque};

use rand_chacha::ChaCha20Rng;

use super::order::{Order, OrderId, OriginError, OriginEvent, StreamOpening};
use super::{BUILD_TIME, IDLE_TIME};
use crate::cell::{Cell, CircId};
use crate::circuit::{Circuit, CircuitError, Hop, Received};
use crate::crypto::keys::RelayIdentity;
use crate::relay::streams::StreamWakers;
use crate::stream::origin::OriginStream;
use crate::stream::request::{RequestResult, RunningRequest, StreamRequestError};
use crate::stream::{EndCause, EndReason, StreamHandler, StreamId};
use crate::time::{Instant, Now};

/// An order whose stream has not begun.
pub(super) struct Waiting {
    pub(super) id: OrderId,
    /// Bytes that were set aside for it.
    pub(super) reserved: usize,
    pub(super) deadline: Instant,
    pub(super) order: Order,
}

impl Waiting {
    /// The order fails; returns how many bytes are not set aside any more.
    pub(super) fn fail(self, error: OriginError, events: &mut VecDeque<OriginEvent>) -> usize {
        events.push_back(OriginEvent::failed(self.id, &self.order, error));
        self.order.never_began();
        self.reserved
    }
}

/// An order whose stream has begun.
struct Running {
    id: OrderId,
    reserved: usize,
    /// Bytes of memory, as counted last.
    held: usize,
    stream: Stream,
}

enum Stream {
    Request(Box<RunningRequest>),
    Handled(OriginStream<Box<dyn StreamHandler>>),
}

/// What has become of a stream.
enum Fate {
    GoesOn { moved: bool },
    Answered(RequestResult),
    Over,
}

/// One circuit that this relay has begun.
pub(super) struct OriginCircuit<L> {
    relay: RelayIdentity,
    circuit: Circuit,
    /// The circuit on the link that it goes over, once it is open.
    next: Option<(L, CircId)>,
    /// When it has to be open, or since when nothing was under way.
    since: Instant,
    pub(super) waiting: VecDeque<Waiting>,
    running: BTreeMap<StreamId, Running>,
    wakers: StreamWakers,
    retired: bool,
    /// Cells to send.
    cells: Vec<Cell>,
    /// Bytes that are not set aside any more.
    released: usize,
    /// Bytes of memory that the streams hold.
    held: usize,
}

impl<L: Clone> OriginCircuit<L> {
    /// Begins a circuit to a relay; returns it with the client's message of the handshake.
    pub(super) fn open(
        now: Instant,
        circ: CircId,
        hop: Hop,
        wakers: StreamWakers,
        rng: &mut ChaCha20Rng,
    ) -> Result<(Self, Vec<u8>), OriginError> {
        let relay = hop.identity;
        let (circuit, message) = Circuit::start(rng, circ, vec![hop]).map_err(OriginError::Misbehaved)?;
        let circuit = Self {
            relay,
            circuit,
            next: None,
            since: now + BUILD_TIME,
            waiting: VecDeque::new(),
            running: BTreeMap::new(),
            wakers,
            retired: false,
            cells: Vec::new(),
            released: 0,
            held: 0,
        };
        Ok((circuit, message.to_vec()))
    }

    /// The relay at its end.
    pub(super) const fn relay(&self) -> RelayIdentity {
        self.relay
    }

    /// The circuit on the link that it goes over.
    pub(super) const fn next(&self) -> Option<&(L, CircId)> {
        self.next.as_ref()
    }

    /// Whether the handshake is under way.
    pub(super) const fn is_opening(&self) -> bool {
        self.next.is_none()
    }

    /// Since when nothing has been under way on an open circuit.
    pub(super) fn is_idle_since(&self) -> Option<Instant> {
        let is_idle = !self.is_opening() && self.waiting.is_empty() && self.running.is_empty();
        is_idle.then_some(self.since)
    }

    /// Whether it takes no more orders.
    pub(super) const fn is_retired(&self) -> bool {
        self.retired
    }

    /// Takes no more orders; returns those that have not begun.
    pub(super) fn retire(&mut self) -> VecDeque<Waiting> {
        self.retired = true;
        std::mem::take(&mut self.waiting)
    }

    /// Bytes of memory that the streams hold.
    pub(super) const fn held(&self) -> usize {
        self.held
    }

    /// Bytes that orders have given back since the last call.
    pub(super) const fn take_released(&mut self) -> usize {
        std::mem::replace(&mut self.released, 0)
    }

    /// The cells to send on a link, with their ids on it.
    pub(super) fn take_cells(&mut self) -> Option<(L, Vec<Cell>)> {
        let (link, circ) = self.next.clone()?;
        let mut cells = std::mem::take(&mut self.cells);
        cells.iter_mut().for_each(|cell| cell.circ = circ);
        Some((link, cells)).filter(|(_, cells)| !cells.is_empty())
    }

    /// The other relay has answered the handshake.
    pub(super) fn opened(
        &mut self,
        now: Instant,
        next: (L, CircId),
        message: &[u8],
        rng: &mut ChaCha20Rng,
    ) -> Result<(), CircuitError> {
        self.next = Some(next);
        self.since = now;
        self.circuit.answered(rng, message, &mut self.cells)?;
        Ok(())
    }

    /// When something is due.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        if self.is_opening() {
            return Some(self.since);
        }
        if let Some(since) = self.is_idle_since() {
            return Some(since + IDLE_TIME);
        }
        let running = self.running.values().filter_map(|running| match &running.stream {
            Stream::Request(request) => Some(request.poll_timeout()),
            Stream::Handled(_) => None,
        });
        running.chain(self.waiting.front().map(|waiting| waiting.deadline)).min()
    }

    /// Gives up what takes too long; returns whether the other relay seems to be stuck.
    pub(super) fn handle_timeout(&mut self, now: Now, events: &mut VecDeque<OriginEvent>) -> bool {
        let mut has_stalled = false;
        let streams: Vec<_> = self.running.keys().copied().collect();
        for stream in streams {
            let Some(running) = self.running.get_mut(&stream) else { continue };
            if let Stream::Request(request) = &mut running.stream
                && let Some(result) = request.handle_timeout(now, &mut self.circuit, &mut self.cells)
            {
                has_stalled |= matches!(result, Err(StreamRequestError::TimedOut));
                self.settle(now.instant, stream, Fate::Answered(result), events);
            }
        }
        while let Some(waiting) = self.waiting.pop_front_if(|waiting| waiting.deadline <= now.instant) {
            has_stalled = true;
            self.released += waiting.fail(OriginError::TimedOut, events);
            self.since = now.instant;
        }
        has_stalled
    }

    /// Handles a cell of this circuit.
    pub(super) fn handle_cell(
        &mut self,
        now: Now,
        cell: Cell,
        rng: &mut ChaCha20Rng,
        events: &mut VecDeque<OriginEvent>,
    ) -> Result<(), CircuitError> {
        if self.is_opening() {
            return Err(CircuitError::Unexpected(cell.command));
        }
        let received = self.circuit.handle(rng, cell, &mut self.cells)?;
        let stream = match &received {
            Received::Nothing => return Ok(()),
            Received::Writable(StreamId::CIRCUIT) => {
                self.take_turns(now, events);
                return Ok(());
            }
            Received::Connected(stream, _)
            | Received::Data(stream, _)
            | Received::Ended(stream, _)
            | Received::Writable(stream) => *stream,
            // A relay has nothing else to say to one that is its client.
            Received::Open | Received::Message(_) | Received::Destroyed(_) => {
                return Err(CircuitError::UnexpectedMessage { hop: 0 });
            }
        };
        self.act(now, stream, events, |stream, circuit, cells| stream.handle(now, received, circuit, cells));
        Ok(())
    }

    /// A stream's handler can go on.
    pub(super) fn wake(&mut self, now: Now, stream: StreamId, events: &mut VecDeque<OriginEvent>) {
        self.act(now, stream, events, |stream, circuit, cells| stream.wake(now, circuit, cells));
    }

    /// Ends an order that nobody waits for any more; `false` if it is none of this circuit's.
    pub(super) fn cancel(&mut self, now: Now, id: OrderId, events: &mut VecDeque<OriginEvent>) -> bool {
        if let Some(at) = self.waiting.iter().position(|waiting| waiting.id == id) {
            let waiting = self.waiting.remove(at);
            self.released += waiting.map_or(0, |waiting| waiting.fail(OriginError::Cancelled, events));
            return true;
        }
        let running = self.running.iter().find(|(_, running)| running.id == id);
        let Some(stream) = running.map(|(stream, _)| *stream) else { return false };
        self.act(now, stream, events, Stream::cancel);
        true
    }

    /// Begins the orders that wait, as far as there are streams.
    pub(super) fn begin_waiting(&mut self, now: Now, events: &mut VecDeque<OriginEvent>) {
        while self.circuit.has_free_stream()
            && !self.is_opening()
            && let Some(Waiting { id, reserved, order, .. }) = self.waiting.pop_front()
        {
            let Self { circuit, cells, wakers, .. } = self;
            let circ = circuit.circ_id();
            let begun = match order {
                Order::Request(request) => request
                    .begin(now, circuit, cells)
                    .map(|request| (request.id(), Stream::Request(Box::new(request))))
                    .map_err(|error| OriginEvent::answered(id, Err(error))),
                Order::Stream(StreamOpening { service, argument, len, handler }) => {
                    let waker = |stream| wakers.waker(circ, stream);
                    OriginStream::begin_with(now, circuit, (service, &argument), (handler, len), waker, cells)
                        .map(|stream| (stream.id(), Stream::Handled(stream)))
                        .map_err(|error| OriginEvent::StreamOver(id, Err(StreamRequestError::NotSent(error).into())))
                }
            };
            match begun {
                Ok((stream_id, stream)) => {
                    let held = stream.held();
                    self.held += held;
                    self.running.insert(stream_id, Running { id, reserved, held, stream });
                }
                Err(event) => {
                    self.released += reserved;
                    self.since = now.instant;
                    events.push_back(event);
                }
            }
        }
    }

    /// The circuit is gone: fails everything; returns how many bytes are not set aside any more.
    pub(super) fn fail(mut self, error: &OriginError, events: &mut VecDeque<OriginEvent>) -> usize {
        for (_, Running { id, reserved, stream, .. }) in std::mem::take(&mut self.running) {
            self.released += reserved;
            events.push_back(match stream {
                Stream::Request(_) => OriginEvent::Answered(id, Err(error.clone())),
                Stream::Handled(mut stream) => {
                    stream.lost();
                    OriginEvent::StreamOver(id, Ok(()))
                }
            });
        }
        for waiting in std::mem::take(&mut self.waiting) {
            self.released += waiting.fail(error.clone(), events);
        }
        self.released
    }

    fn act(
        &mut self,
        now: Now,
        stream: StreamId,
        events: &mut VecDeque<OriginEvent>,
        act: impl FnOnce(&mut Stream, &mut Circuit, &mut Vec<Cell>) -> Fate,
    ) {
        if let Some(running) = self.running.get_mut(&stream) {
            let fate = act(&mut running.stream, &mut self.circuit, &mut self.cells);
            self.settle(now.instant, stream, fate, events);
        }
    }

    /// Moves what can be moved on all streams, one message of each in turn.
    fn take_turns(&mut self, now: Now, events: &mut VecDeque<OriginEvent>) {
        let mut turn: Vec<_> = self.running.keys().copied().collect();
        while !turn.is_empty() {
            turn.retain(|stream| {
                let Some(running) = self.running.get_mut(stream) else { return false };
                let fate = running.stream.step(now, &mut self.circuit, &mut self.cells);
                let goes_on = matches!(fate, Fate::GoesOn { moved: true });
                self.settle(now.instant, *stream, fate, events);
                goes_on
            });
        }
    }

    /// Counts what a stream holds now, or takes it out when it is over.
    fn settle(&mut self, now: Instant, stream: StreamId, fate: Fate, events: &mut VecDeque<OriginEvent>) {
        let Some(running) = self.running.get_mut(&stream) else { return };
        let id = running.id;
        events.push_back(match fate {
            Fate::GoesOn { .. } => {
                let held = running.stream.held();
                self.held = self.held - running.held + held;
                running.held = held;
                return;
            }
            Fate::Answered(result) => OriginEvent::answered(id, result),
            Fate::Over => OriginEvent::StreamOver(id, Ok(())),
        });
        if let Some(Running { reserved, held, .. }) = self.running.remove(&stream) {
            self.released += reserved;
            self.held -= held;
            self.since = now;
        }
    }
}

impl Stream {
    fn held(&self) -> usize {
        match self {
            Self::Request(request) => request.held(),
            Self::Handled(stream) => stream.held(),
        }
    }

    fn handle(&mut self, now: Now, received: Received, circuit: &mut Circuit, cells: &mut Vec<Cell>) -> Fate {
        match self {
            Self::Request(request) => {
                request.handle(now, received, circuit, cells).map_or(Fate::GoesOn { moved: true }, Fate::Answered)
            }
            Self::Handled(stream) => {
                stream.handle(now, received, circuit, cells);
                Self::fate(stream, true)
            }
        }
    }

    fn step(&mut self, now: Now, circuit: &mut Circuit, cells: &mut Vec<Cell>) -> Fate {
        match self {
            Self::Request(request) => match request.step(now, circuit, cells) {
                (_, Some(result)) => Fate::Answered(result),
                (moved, None) => Fate::GoesOn { moved },
            },
            Self::Handled(stream) => {
                let moved = stream.step(now, circuit, cells);
                Self::fate(stream, moved)
            }
        }
    }

    fn wake(&mut self, now: Now, circuit: &mut Circuit, cells: &mut Vec<Cell>) -> Fate {
        match self {
            // A request's own handler never waits.
            Self::Request(_) => Fate::GoesOn { moved: false },
            Self::Handled(stream) => {
                stream.drive(now, circuit, cells);
                Self::fate(stream, true)
            }
        }
    }

    fn cancel(&mut self, circuit: &mut Circuit, cells: &mut Vec<Cell>) -> Fate {
        match self {
            Self::Request(request) => {
                request.cancel(circuit, cells).map_or(Fate::GoesOn { moved: false }, Fate::Answered)
            }
            Self::Handled(stream) => {
                stream.end(EndReason::MISC, EndCause::Handler(EndReason::MISC), circuit, cells);
                Self::fate(stream, false)
            }
        }
    }

    const fn fate(stream: &OriginStream<Box<dyn StreamHandler>>, moved: bool) -> Fate {
        if stream.is_over() { Fate::Over } else { Fate::GoesOn { moved } }
    }
}
