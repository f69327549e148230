//! What a relay can order of another, and what becomes of it.

use thiserror::Error;

use crate::cell::DestroyReason;
use crate::cell::message::{MAX_ARGUMENT_LEN, MAX_DATA_LEN};
use crate::circuit::CircuitError;
use crate::flow::STREAM_WINDOW;
use crate::stream::request::{RequestResult, StreamAnswer, StreamRequest, StreamRequestError};
use crate::stream::{EndCause, MAX_BUFFERED, Service, StreamEnd, StreamHandler};

/// Bytes that a stream with a handler of its own may come to hold.
const STREAM_RESERVED: usize = MAX_BUFFERED + STREAM_WINDOW as usize * MAX_DATA_LEN;

/// Something that a relay wants of another.
pub enum Order {
    /// A request with an answer.
    Request(StreamRequest),
    /// A stream with a handler of its own.
    Stream(StreamOpening),
}

/// A stream to a service of another relay.
pub struct StreamOpening {
    /// The service.
    pub service: Service,
    /// What it is told at first: at most [`crate::cell::message::MAX_ARGUMENT_LEN`] bytes.
    pub argument: Vec<u8>,
    /// How many bytes this end will send, or [`crate::stream::OPEN_ENDED`].
    pub len: u64,
    /// What this end does. It always hears how the stream ended, even if the stream never began.
    pub handler: Box<dyn StreamHandler>,
}

impl Order {
    /// What the service is told at first.
    pub(super) fn argument(&self) -> &[u8] {
        match self {
            Self::Request(request) => &request.argument,
            Self::Stream(opening) => &opening.argument,
        }
    }

    /// Tells the handler that its stream will never begin.
    pub(super) fn never_began(self) {
        if let Self::Stream(mut opening) = self {
            opening.handler.ended(StreamEnd { cause: EndCause::CircuitLost, unread: Vec::new() });
        }
    }

    /// Bytes that the order may come to hold.
    pub(super) fn reserved(&self) -> usize {
        match self {
            Self::Request(StreamRequest { argument, body, limits, .. }) => {
                argument.len().saturating_add(body.len()).saturating_add(limits.len)
            }
            Self::Stream(StreamOpening { argument, .. }) => argument.len().saturating_add(STREAM_RESERVED),
        }
    }
}

impl core::fmt::Debug for Order {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let (name, service) = match self {
            Self::Request(request) => ("Request", request.service),
            Self::Stream(opening) => ("Stream", opening.service),
        };
        f.debug_tuple(name).field(&service).finish()
    }
}

/// Which order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OrderId(pub(super) u64);

/// What has become of an order.
#[derive(Debug)]
pub enum OriginEvent {
    /// A request is over.
    Answered(OrderId, Result<StreamAnswer, OriginError>),
    /// A stream is over; its handler has heard how. The error says why it never began.
    StreamOver(OrderId, Result<(), OriginError>),
}

impl OriginEvent {
    /// What has become of a request that was sent.
    pub(super) fn answered(id: OrderId, result: RequestResult) -> Self {
        Self::Answered(id, result.map_err(OriginError::Request))
    }

    /// An order failed before its stream began.
    pub(super) fn failed(id: OrderId, order: &Order, error: OriginError) -> Self {
        match order {
            Order::Request(_) => Self::Answered(id, Err(error)),
            Order::Stream(_) => Self::StreamOver(id, Err(error)),
        }
    }
}

/// Why another relay could not be asked.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum OriginError {
    /// The relay itself.
    #[error("a relay opens no circuits to itself")]
    OwnRelay,
    /// The consensus doesn't list the relay.
    #[error("the consensus doesn't list the relay")]
    NotListed,
    /// The argument doesn't fit into the message that opens a stream.
    #[error("the argument is longer than {MAX_ARGUMENT_LEN} bytes")]
    LongArgument,
    /// This relay has as much under way as it may.
    #[error("this relay has too many {0} for others")]
    Full(OriginLimit),
    /// The circuit could not be opened.
    #[error("the circuit to the relay could not be opened: {0:?}")]
    NotOpened(DestroyReason),
    /// The circuit did not open in time, or no stream became free.
    #[error("the circuit to the relay took too long")]
    TimedOut,
    /// The circuit ended.
    #[error("the circuit to the relay was lost")]
    CircuitLost,
    /// The other relay broke the protocol; its circuit was destroyed.
    #[error("the relay broke the protocol: {0}")]
    Misbehaved(CircuitError),
    /// The request was sent, and failed.
    #[error(transparent)]
    Request(#[from] StreamRequestError),
    /// [`super::Origin::cancel`] ended it.
    #[error("the order was cancelled")]
    Cancelled,
    /// This relay stops.
    #[error("this relay stops")]
    Stopped,
}

/// What there is too much of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OriginLimit {
    /// [`super::MAX_CIRCUITS`].
    Circuits,
    /// [`super::MAX_WAITING`], or orders that the driver has not looked at yet.
    Waiting,
    /// [`super::MAX_RESERVED`], or the memory of the whole relay.
    Memory,
}

impl core::fmt::Display for OriginLimit {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Circuits => "circuits",
            Self::Waiting => "waiting orders",
            Self::Memory => "bytes under way",
        })
    }
}
