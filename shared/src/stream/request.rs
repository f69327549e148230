//! A request to a service at the end of a circuit: an argument and a body go there, an answer comes back.
//!
//! [`StreamRequest`] says what is requested and how long and how large the answer may be. [`StreamRequest::begin`] starts it
//! over an open circuit; its owner hands [`RunningRequest::handle`] what the circuit receives, and calls
//! [`RunningRequest::handle_timeout`] when it is due, until one of them returns a result.

use std::time::Duration;

use thiserror::Error;

use super::origin::OriginStream;
use super::{EndCause, EndReason, OPEN_ENDED, Produced, Service, StreamContext, StreamEnd, StreamHandler, StreamId};
use crate::cell::Cell;
use crate::circuit::{Circuit, CircuitError, Received};
use crate::time::{Instant, Now};

/// What is requested, and its limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamRequest {
    /// The service.
    pub service: Service,
    /// What the service is told at first: at most [`crate::cell::message::MAX_ARGUMENT_LEN`] bytes.
    pub argument: Vec<u8>,
    /// The body that follows.
    pub body: Vec<u8>,
    /// What the answer may take.
    pub limits: RequestLimits,
}

/// What an answer may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestLimits {
    /// The time from the request to the last byte.
    pub time: Duration,
    /// The time during which nothing happens on the stream.
    pub silence: Duration,
    /// The length in bytes.
    pub len: usize,
}

impl Default for RequestLimits {
    /// Ten seconds of silence, two minutes in all, and a page of memory.
    fn default() -> Self {
        Self { time: Duration::from_secs(120), silence: Duration::from_secs(10), len: 4096 }
    }
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum StreamRequestError {
    /// The circuit takes no stream now.
    #[error("the request could not be sent: {0}")]
    NotSent(#[from] CircuitError),
    /// No answer, or no end of it, within the limits.
    #[error("the relay took too long to answer")]
    TimedOut,
    /// The answer is longer than the limit.
    #[error("the relay's answer is longer than {max} bytes")]
    TooLarge {
        /// The limit.
        max: usize,
    },
    /// The relay did not accept the request.
    #[error("the relay refused the request ({0})")]
    Refused(EndReason),
    /// The relay ended the stream before the whole answer had come.
    #[error("the relay ended its answer early ({0})")]
    EndedEarly(EndReason),
    /// The circuit was destroyed.
    #[error("the circuit to the relay was lost")]
    CircuitLost,
    /// The relay sent more than it had announced.
    #[error("the relay sent more than it had announced")]
    TooLong,
}

/// A whole answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamAnswer {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// When the request was sent.
    pub sent: Instant,
    /// When the last of the answer came.
    pub received: Now,
}

/// What became of a request.
pub type RequestResult = Result<StreamAnswer, StreamRequestError>;

impl StreamRequest {
    /// A request without a body, with the usual limits.
    pub fn new(service: Service, argument: Vec<u8>) -> Self {
        Self { service, argument, body: Vec::new(), limits: RequestLimits::default() }
    }

    /// The same, with a body.
    #[must_use]
    pub fn with_body(mut self, body: Vec<u8>) -> Self {
        self.body = body;
        self
    }

    /// The same, for an answer of at most so many bytes.
    #[must_use]
    pub const fn with_max_answer(mut self, len: usize) -> Self {
        self.limits.len = len;
        self
    }

    /// Sends the request over an open circuit.
    ///
    /// # Errors
    ///
    /// If the circuit is not open or takes no more streams.
    pub fn begin(
        self,
        now: Now,
        circuit: &mut Circuit,
        out: &mut Vec<Cell>,
    ) -> Result<RunningRequest, StreamRequestError> {
        let Self { service, argument, body, limits } = self;
        let len = body.len() as u64;
        let collector =
            Collector { body, sent: 0, answer: Vec::new(), max: limits.len, announced: None, error: None, end: None };
        let stream = OriginStream::begin(now, circuit, (service, &argument), (collector, len), out)?;
        Ok(RunningRequest { stream, limits, sent: now.instant, last: now })
    }
}

/// A request that was sent.
#[derive(Debug)]
pub struct RunningRequest {
    stream: OriginStream<Collector>,
    limits: RequestLimits,
    sent: Instant,
    /// When something last happened on the stream.
    last: Now,
}

impl RunningRequest {
    /// Takes what the circuit received; returns the result once there is one.
    pub fn handle(
        &mut self,
        now: Now,
        received: Received,
        circuit: &mut Circuit,
        out: &mut Vec<Cell>,
    ) -> Option<RequestResult> {
        if !self.stream.concerns(&received) {
            return None;
        }
        self.last = now;
        self.stream.handle(now, received, circuit, out);
        self.result()
    }

    /// The request's stream on its circuit.
    pub const fn id(&self) -> StreamId {
        self.stream.id()
    }

    /// Bytes of memory that the body and the answer hold.
    pub fn held(&self) -> usize {
        let Collector { body, answer, .. } = self.stream.handler();
        body.capacity() + answer.capacity() + self.stream.held()
    }

    /// Sends at most one message of the body, where several streams take turns; returns whether anything moved, and the
    /// result once there is one.
    pub fn step(&mut self, now: Now, circuit: &mut Circuit, out: &mut Vec<Cell>) -> (bool, Option<RequestResult>) {
        let moved = self.stream.step(now, circuit, out);
        if moved {
            self.last = now;
        }
        (moved, self.result())
    }

    /// Ends the request, whose answer nobody wants any more; returns the result.
    pub fn cancel(&mut self, circuit: &mut Circuit, out: &mut Vec<Cell>) -> Option<RequestResult> {
        self.stream.end(EndReason::MISC, EndCause::Handler(EndReason::MISC), circuit, out);
        self.result()
    }

    /// When [`Self::handle_timeout`] wants to be called.
    pub fn poll_timeout(&self) -> Instant {
        (self.last.instant + self.limits.silence).min(self.sent + self.limits.time)
    }

    /// Gives the request up if it has taken too long.
    pub fn handle_timeout(&mut self, now: Now, circuit: &mut Circuit, out: &mut Vec<Cell>) -> Option<RequestResult> {
        if now.instant < self.poll_timeout() {
            return None;
        }
        self.stream.end(EndReason::TIMEOUT, EndCause::TimedOut, circuit, out);
        self.result()
    }

    fn result(&mut self) -> Option<RequestResult> {
        let (sent, received) = (self.sent, self.last);
        let bytes = self.stream.handler_mut().result()?;
        Some(bytes.map(|bytes| StreamAnswer { bytes, sent, received }))
    }
}

/// Sends the body, and collects the answer.
#[derive(Debug)]
struct Collector {
    body: Vec<u8>,
    sent: usize,
    answer: Vec<u8>,
    max: usize,
    /// The length of the answer, once the relay has said it.
    announced: Option<u64>,
    error: Option<StreamRequestError>,
    end: Option<EndCause>,
}

impl Collector {
    fn too_large(&mut self) -> EndReason {
        self.error = Some(StreamRequestError::TooLarge { max: self.max });
        EndReason::RESOURCELIMIT
    }

    fn result(&mut self) -> Option<Result<Vec<u8>, StreamRequestError>> {
        let cause = self.end?;
        if let Some(error) = self.error.take() {
            return Some(Err(error));
        }
        let is_whole = self.announced.is_some_and(|len| len == OPEN_ENDED || len == self.answer.len() as u64);
        Some(Err(match cause {
            EndCause::Peer(EndReason::DONE) if is_whole => return Some(Ok(std::mem::take(&mut self.answer))),
            EndCause::Peer(reason) if self.announced.is_none() => StreamRequestError::Refused(reason),
            EndCause::Peer(reason) | EndCause::Handler(reason) => StreamRequestError::EndedEarly(reason),
            EndCause::TooLong => StreamRequestError::TooLong,
            EndCause::TimedOut => StreamRequestError::TimedOut,
            EndCause::CircuitLost => StreamRequestError::CircuitLost,
        }))
    }
}

impl StreamHandler for Collector {
    fn opened(&mut self, context: &mut StreamContext<'_>) -> Result<(), EndReason> {
        let len = context.announced();
        self.announced = Some(len);
        if len != OPEN_ENDED && len > self.max as u64 { Err(self.too_large()) } else { Ok(()) }
    }

    fn data(&mut self, _: &mut StreamContext<'_>, bytes: &[u8]) -> Result<usize, EndReason> {
        if self.answer.len() + bytes.len() > self.max {
            return Err(self.too_large());
        }
        self.answer.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn writable(&mut self, _: &mut StreamContext<'_>, room: &mut [u8]) -> Result<Produced, EndReason> {
        let rest = self.body.get(self.sent..).unwrap_or_default();
        let len = rest.len().min(room.len());
        if let (Some(to), Some(from)) = (room.get_mut(..len), rest.get(..len)) {
            to.copy_from_slice(from);
        }
        self.sent += len;
        Ok(if self.sent == self.body.len() { Produced::Last(len) } else { Produced::Bytes(len) })
    }

    fn ended(&mut self, end: StreamEnd) {
        self.end = Some(end.cause);
    }
}
