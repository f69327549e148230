//! Streams to services at the end of circuits, seen from both ends.
//!
//! A stream carries a request's body to a service and the answer's body back, or bytes in both directions. What one end does
//! with it is a [`StreamHandler`]; [`drive`] moves bytes between handlers and circuits, within the windows of
//! [`crate::flow`]. It asks a handler for bytes only when they may be sent, and acknowledges received bytes only once the
//! handler has taken them, so a slow handler slows its peer down and buffers nothing.
//!
//! A handler that can't go on yet says so ([`Produced::Pending`], or taking fewer bytes than offered) and isn't asked again
//! before its [`StreamWaker`] was called: from a disk's thread, a socket's task, or wherever the work is done.
//!
//! Most services answer a whole request with a whole answer: those implement [`exchange::RequestService`] instead.
//!
//! # Layout
//!
//! - [`drive`]: one end of one stream, between its handler and its circuit
//! - [`request`]: a client's request to a service, with limits of time and size
//! - [`two_way`]: bytes in both directions until one side ends
//! - [`origin`]: the same, and any other handler, over a circuit at its origin
//! - [`exchange`]: services that answer requests
//! - [`body`]: what an answer consists of
//! - [`completion`]: answers that are there later than at once
//! - [`service`]: services that handle bytes as they come
//! - [`registry`]: which services a relay offers
//!
//! # Adding a service
//!
//! A number in [`Service`], a file in `services/` for what travels and how it is requested, a file in `relay/services/` that
//! implements [`exchange::RequestService`] or [`service::StreamService`], and a line that adds it to the relay's
//! [`registry::ServiceRegistry`].

pub mod body;
pub mod completion;
pub mod drive;
pub mod exchange;
pub mod origin;
pub mod registry;
pub mod request;
pub mod service;
pub mod two_way;

use core::fmt;
use std::sync::Arc;

pub use crate::cell::stream::{EndReason, OPEN_ENDED, Service, StreamId};
use crate::time::Now;

/// The most that a handler may buffer, in bytes; a stream whose handler exceeds it ends with `RESOURCELIMIT`.
pub const MAX_BUFFERED: usize = 512 * 1024;

/// What one end does with a stream.
///
/// Each call may end the stream: `Err(reason)` sends `End` with that reason, and [`Self::ended`] follows.
pub trait StreamHandler: Send {
    /// The other end is there. At a relay that is when `Begin` arrives, at the origin when `Connected` does;
    /// [`StreamContext::announced`] is the length of the peer's body.
    ///
    /// # Errors
    ///
    /// Why the stream ends.
    fn opened(&mut self, context: &mut StreamContext<'_>) -> Result<(), EndReason>;

    /// Offers bytes that arrived; returns how many of them the handler takes.
    ///
    /// The rest is offered again after [`StreamWaker::wake`], or after the handler has produced bytes.
    ///
    /// # Errors
    ///
    /// Why the stream ends.
    fn data(&mut self, context: &mut StreamContext<'_>, bytes: &[u8]) -> Result<usize, EndReason>;

    /// Asks for the next bytes, to be written to the front of `room`: the windows are open.
    ///
    /// At a relay the stream is accepted with [`StreamContext::accept`], at the latest with its first bytes.
    ///
    /// # Errors
    ///
    /// Why the stream ends.
    fn writable(&mut self, context: &mut StreamContext<'_>, room: &mut [u8]) -> Result<Produced, EndReason>;

    /// The stream is over; nothing is called after this.
    fn ended(&mut self, end: StreamEnd);

    /// Bytes of memory that the handler holds, at most [`MAX_BUFFERED`]; they count towards the relay's memory cap.
    fn buffered(&self) -> usize {
        0
    }
}

impl<H: StreamHandler + ?Sized> StreamHandler for Box<H> {
    fn opened(&mut self, context: &mut StreamContext<'_>) -> Result<(), EndReason> {
        (**self).opened(context)
    }

    fn data(&mut self, context: &mut StreamContext<'_>, bytes: &[u8]) -> Result<usize, EndReason> {
        (**self).data(context, bytes)
    }

    fn writable(&mut self, context: &mut StreamContext<'_>, room: &mut [u8]) -> Result<Produced, EndReason> {
        (**self).writable(context, room)
    }

    fn ended(&mut self, end: StreamEnd) {
        (**self).ended(end);
    }

    fn buffered(&self) -> usize {
        (**self).buffered()
    }
}

/// What a handler has for a stream that may be written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Produced {
    /// So many bytes of the room are filled; there may be more.
    Bytes(usize),
    /// So many bytes of the room are filled, and they are the last.
    Last(usize),
    /// Nothing yet: don't ask before the handler was woken, or has taken data.
    Pending,
}

/// What a handler is told, and may do, during a call.
pub struct StreamContext<'a> {
    /// Both clocks.
    pub now: Now,
    announced: u64,
    accept: Option<u64>,
    waker: &'a dyn Fn() -> StreamWaker,
}

impl<'a> StreamContext<'a> {
    pub(crate) const fn new(now: Now, announced: u64, waker: &'a dyn Fn() -> StreamWaker) -> Self {
        Self { now, announced, accept: None, waker }
    }

    /// How many bytes the peer has announced and not sent yet, or [`OPEN_ENDED`].
    pub const fn announced(&self) -> u64 {
        self.announced
    }

    /// At a relay: accepts the stream, and announces that so many bytes will follow, or [`OPEN_ENDED`]. The stream ends by
    /// itself once they are sent.
    pub const fn accept(&mut self, len: u64) {
        self.accept = Some(len);
    }

    /// What makes the stream call its handler again, from any thread.
    pub fn waker(&self) -> StreamWaker {
        (self.waker)()
    }
}

impl fmt::Debug for StreamContext<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamContext").field("now", &self.now).field("announced", &self.announced).finish()
    }
}

/// Makes a stream call its handler again. Waking more often than necessary does no harm.
#[derive(Clone)]
pub struct StreamWaker(Arc<dyn Fn() + Send + Sync>);

impl StreamWaker {
    /// A waker that calls this function, which must not block.
    pub fn new(wake: impl Fn() + Send + Sync + 'static) -> Self {
        Self(Arc::new(wake))
    }

    /// A waker for streams whose owner drives them itself.
    pub fn none() -> Self {
        Self::new(|| {})
    }

    /// Wakes the stream.
    pub fn wake(&self) {
        (self.0)();
    }
}

impl fmt::Debug for StreamWaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StreamWaker")
    }
}

/// How a stream ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamEnd {
    /// Who ended it, and why.
    pub cause: EndCause,
    /// Bytes that arrived before the end and that the handler has not taken, up to a stream's window.
    pub unread: Vec<u8>,
}

/// Who ended a stream, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndCause {
    /// The peer said so.
    Peer(EndReason),
    /// The handler said so; `DONE` when it had sent everything.
    Handler(EndReason),
    /// The peer sent more than it had announced.
    TooLong,
    /// The handler or the peer made no progress for too long.
    TimedOut,
    /// The circuit is gone.
    CircuitLost,
}

#[cfg(test)]
mod tests;
