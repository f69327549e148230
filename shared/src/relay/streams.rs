//! The streams of a circuit at its last hop.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use thiserror::Error;

use crate::cell::CircId;
use crate::cell::message::RelayMessage;
use crate::crypto::cgo::Tag;
use crate::flow::{Ended, Flow, FlowError};
use crate::stream::drive::{DrivenStream, Step, StreamEnv, StreamPort};
use crate::stream::registry::ServiceRegistry;
use crate::stream::service::Opening;
use crate::stream::{EndCause, EndReason, Service, StreamHandler, StreamId, StreamWaker};
use crate::time::{Instant, Now};

/// How long a service may leave a request without an answer, or a client a request without the rest of its body.
pub const PROGRESS_TIME: Duration = Duration::from_secs(60);

/// What a client did wrong with streams; ends the circuit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum StreamError {
    /// More than a window allows, a false acknowledgement, or a stream that can't be opened.
    #[error(transparent)]
    Flow(#[from] FlowError),
    /// A message that clients don't send on streams.
    #[error("the client sent a stream message that only relays send")]
    Unexpected,
}

/// A circuit as its streams see it.
pub trait Originate {
    /// Sends a message; returns the tag of its cell.
    fn message(&mut self, message: &RelayMessage) -> Tag;

    /// Sends one message of data; returns the tag of its cell.
    fn data(&mut self, stream: StreamId, bytes: &[u8]) -> Tag;
}

/// What streams need from their relay.
pub struct StreamsEnv<'a> {
    /// Both clocks.
    pub now: Now,
    /// What the relay offers.
    pub services: &'a ServiceRegistry,
    /// Makes a waker for one of these streams.
    pub waker: &'a dyn Fn(StreamId) -> StreamWaker,
}

/// Makes what wakes the streams of one link: the driver hands the link a [`Wake`](super::link_event::LinkEvent::Wake).
#[derive(Clone)]
pub struct StreamWakers(Arc<dyn Fn(CircId, StreamId) + Send + Sync>);

impl StreamWakers {
    /// Wakers that call this function with the circuit and the stream; it must not block.
    pub fn new(wake: impl Fn(CircId, StreamId) + Send + Sync + 'static) -> Self {
        Self(Arc::new(wake))
    }

    /// Wakers that wake nothing, where all services answer at once.
    pub fn none() -> Self {
        Self::new(|_, _| {})
    }

    /// A waker for one stream.
    pub fn waker(&self, circ: CircId, stream: StreamId) -> StreamWaker {
        let wake = Arc::clone(&self.0);
        StreamWaker::new(move || wake(circ, stream))
    }
}

/// The streams of one circuit.
#[derive(Debug)]
pub struct Streams {
    flow: Flow,
    served: BTreeMap<StreamId, Served>,
    held: Held,
}

#[derive(Debug)]
struct Served {
    driven: DrivenStream<Box<dyn StreamHandler>>,
    /// Bytes of memory, as counted last.
    held: usize,
    /// When the stream ends unless something happens.
    deadline: Option<Instant>,
}

impl Streams {
    /// No streams; the memory that they hold is added to `total`.
    pub fn new(total: Arc<AtomicUsize>) -> Self {
        Self { flow: Flow::new(), served: BTreeMap::new(), held: Held { own: 0, total } }
    }

    /// How many streams there are.
    pub fn len(&self) -> usize {
        self.flow.streams()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of memory that handlers and what they have not taken hold.
    pub const fn held(&self) -> usize {
        self.held.own
    }

    /// Handles a message on a stream, or about the circuit's window; `tag` is its cell's.
    ///
    /// # Errors
    ///
    /// If the client may not send it; the circuit ends.
    pub fn handle(
        &mut self,
        message: RelayMessage,
        tag: &Tag,
        env: &StreamsEnv<'_>,
        out: &mut impl Originate,
    ) -> Result<(), StreamError> {
        match message {
            RelayMessage::Begin { stream, service, body, argument } => {
                self.flow.accept(stream)?;
                self.open(stream, service, Opening { now: env.now, argument, body }, env, out);
                Ok(())
            }
            RelayMessage::Data { stream, data } => {
                let arrived = self.flow.received(stream, tag)?;
                if let Some(tag) = arrived.sendme {
                    out.message(&RelayMessage::Sendme { stream: StreamId::CIRCUIT, tag });
                }
                // What was on its way when the stream ended is counted, and thrown away.
                if arrived.wanted {
                    self.act(stream, env, out, |driven, port, env| driven.arrived(data, port, env));
                }
                Ok(())
            }
            RelayMessage::Sendme { stream: StreamId::CIRCUIT, tag } => {
                self.flow.acknowledged(StreamId::CIRCUIT, &tag)?;
                self.take_turns(env, out);
                Ok(())
            }
            RelayMessage::Sendme { stream, tag } => {
                self.flow.acknowledged(stream, &tag)?;
                self.act(stream, env, out, |_, _, _| Step::Idle);
                Ok(())
            }
            RelayMessage::End { stream, reason } => {
                if self.flow.ended(stream)? == Ended::ByPeer {
                    out.message(&RelayMessage::End { stream, reason: EndReason::DONE });
                }
                if let Some(mut served) = self.served.remove(&stream) {
                    self.held.change(served.held, 0);
                    served.driven.finish(EndCause::Peer(reason));
                }
                Ok(())
            }
            _ => Err(StreamError::Unexpected),
        }
    }

    /// Somebody has called a stream's waker.
    pub fn wake(&mut self, stream: StreamId, env: &StreamsEnv<'_>, out: &mut impl Originate) {
        self.act(stream, env, out, |driven, _, _| {
            driven.wake();
            Step::Idle
        });
    }

    /// When [`Self::handle_timeout`] wants to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.served.values().filter_map(|served| served.deadline).min()
    }

    /// Ends the streams whose service or client has made no progress for [`PROGRESS_TIME`].
    pub fn handle_timeout(&mut self, env: &StreamsEnv<'_>, out: &mut impl Originate) {
        let is_due = |served: &Served| served.deadline.is_some_and(|deadline| deadline <= env.now.instant);
        let due: Vec<_> = self.served.iter().filter(|(_, served)| is_due(served)).map(|(id, _)| *id).collect();
        for stream in due {
            self.act(stream, env, out, |driven, port, _| driven.end(EndReason::TIMEOUT, EndCause::TimedOut, port));
        }
    }

    fn open(
        &mut self,
        stream: StreamId,
        service: Service,
        opening: Opening,
        env: &StreamsEnv<'_>,
        out: &mut impl Originate,
    ) {
        let announced = opening.body;
        match env.services.open(service, opening) {
            Ok(handler) => {
                let driven = DrivenStream::serving(handler, announced);
                self.served.insert(stream, Served { driven, held: 0, deadline: None });
                self.act(stream, env, out, |driven, port, env| driven.opened(port, env));
            }
            Err(reason) => Port { flow: &mut self.flow, stream, out }.end(reason),
        }
    }

    /// Does something with one stream, and moves what can be moved then.
    fn act<O: Originate>(
        &mut self,
        stream: StreamId,
        env: &StreamsEnv<'_>,
        out: &mut O,
        act: impl FnOnce(&mut DrivenStream<Box<dyn StreamHandler>>, &mut Port<'_, O>, &StreamEnv<'_>) -> Step,
    ) {
        let Some(served) = self.served.get_mut(&stream) else { return };
        let waker = || (env.waker)(stream);
        let stream_env = StreamEnv { now: env.now, waker: &waker };
        let port = &mut Port { flow: &mut self.flow, stream, out };
        let step = match act(&mut served.driven, port, &stream_env) {
            Step::Over => Step::Over,
            step => match served.driven.drive(port, &stream_env) {
                Step::Idle => step,
                step => step,
            },
        };
        self.settle(stream, step, env.now.instant);
    }

    /// Moves what can be moved on all streams, one message of each in turn.
    fn take_turns(&mut self, env: &StreamsEnv<'_>, out: &mut impl Originate) {
        let mut turn: Vec<_> = self.served.keys().copied().collect();
        while !turn.is_empty() {
            turn.retain(|stream| {
                let Some(served) = self.served.get_mut(stream) else { return false };
                let waker = || (env.waker)(*stream);
                let stream_env = StreamEnv { now: env.now, waker: &waker };
                let port = &mut Port { flow: &mut self.flow, stream: *stream, out };
                let step = served.driven.step(port, &stream_env);
                if step != Step::Idle {
                    self.settle(*stream, step, env.now.instant);
                }
                step == Step::Moved
            });
        }
    }

    /// Counts what a stream holds now, and until when it may go on like this.
    fn settle(&mut self, stream: StreamId, step: Step, now: Instant) {
        let Some(served) = self.served.get_mut(&stream) else { return };
        let held = if step == Step::Over { 0 } else { served.driven.held() };
        self.held.change(served.held, held);
        served.held = held;
        if step == Step::Over {
            self.served.remove(&stream);
        } else if !served.driven.owes_progress() {
            served.deadline = None;
        } else if step == Step::Moved || served.deadline.is_none() {
            served.deadline = Some(now + PROGRESS_TIME);
        }
    }
}

/// The circuit is gone.
impl Drop for Streams {
    fn drop(&mut self) {
        self.served.values_mut().for_each(|served| served.driven.finish(EndCause::CircuitLost));
    }
}

struct Port<'a, O> {
    flow: &'a mut Flow,
    stream: StreamId,
    out: &'a mut O,
}

impl<O: Originate> StreamPort for Port<'_, O> {
    fn may_send(&self) -> bool {
        self.flow.may_send(self.stream) > 0
    }

    fn data(&mut self, bytes: &[u8]) {
        let tag = self.out.data(self.stream, bytes);
        self.flow.sent(self.stream, &tag);
    }

    fn consumed(&mut self) {
        if let Some(tag) = self.flow.consumed(self.stream) {
            self.out.message(&RelayMessage::Sendme { stream: self.stream, tag });
        }
    }

    fn connected(&mut self, body: u64) {
        self.out.message(&RelayMessage::Connected { stream: self.stream, body });
    }

    fn end(&mut self, reason: EndReason) {
        if self.flow.end(self.stream) {
            self.out.message(&RelayMessage::End { stream: self.stream, reason });
        }
    }
}

/// Bytes of memory that a circuit's streams hold, as part of a total.
#[derive(Debug)]
struct Held {
    own: usize,
    total: Arc<AtomicUsize>,
}

impl Held {
    fn change(&mut self, from: usize, to: usize) {
        if from != to {
            self.own = self.own - from + to;
            // Wraps where there is less than before; the total is right again.
            self.total.fetch_add(to.wrapping_sub(from), Ordering::Relaxed);
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.total.fetch_sub(self.own, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
