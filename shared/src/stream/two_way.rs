//! Bytes in both directions until one side ends the stream, as a connection carries them.

use std::collections::VecDeque;

use super::origin::OriginStream;
use super::{EndCause, EndReason, Produced, StreamContext, StreamEnd, StreamHandler};

/// Bytes that wait in one direction at most.
pub const MAX_WAITING: usize = 64 * 1024;

/// A two-way stream over a circuit at its origin. After every change of its [`TwoWay`], call [`OriginStream::drive`].
pub type TwoWayStream = OriginStream<TwoWay>;

/// The two directions of a stream, each with a bounded buffer: a reader that stalls slows its peer down.
#[derive(Debug, Default)]
pub struct TwoWay {
    outgoing: VecDeque<u8>,
    incoming: VecDeque<u8>,
    opened: bool,
    finished: bool,
    end: Option<EndCause>,
}

impl TwoWay {
    /// Nothing in either direction.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether the other end is there.
    pub const fn is_open(&self) -> bool {
        self.opened
    }

    /// How the stream ended, if it did. What has arrived can still be read.
    pub const fn end(&self) -> Option<EndCause> {
        self.end
    }

    /// Takes bytes to be sent, as many as there is room for; returns how many.
    pub fn write(&mut self, bytes: &[u8]) -> usize {
        let room = MAX_WAITING.saturating_sub(self.outgoing.len());
        let taken = bytes.get(..room).unwrap_or(bytes);
        if self.finished || self.end.is_some() {
            return 0;
        }
        self.outgoing.extend(taken);
        taken.len()
    }

    /// Says that nothing more will be written: the stream ends once everything is sent.
    pub const fn finish(&mut self) {
        self.finished = true;
    }

    /// Takes out at most so many bytes that have arrived.
    pub fn read(&mut self, max: usize) -> Vec<u8> {
        self.incoming.drain(..max.min(self.incoming.len())).collect()
    }

    /// How many bytes can be read.
    pub fn readable(&self) -> usize {
        self.incoming.len()
    }

    /// How many bytes wait to be sent.
    pub fn unsent(&self) -> usize {
        self.outgoing.len()
    }
}

impl StreamHandler for TwoWay {
    fn opened(&mut self, _: &mut StreamContext<'_>) -> Result<(), EndReason> {
        self.opened = true;
        Ok(())
    }

    fn data(&mut self, _: &mut StreamContext<'_>, bytes: &[u8]) -> Result<usize, EndReason> {
        let room = MAX_WAITING.saturating_sub(self.incoming.len());
        let taken = bytes.get(..room).unwrap_or(bytes);
        self.incoming.extend(taken);
        Ok(taken.len())
    }

    fn writable(&mut self, _: &mut StreamContext<'_>, room: &mut [u8]) -> Result<Produced, EndReason> {
        let len = room.len().min(self.outgoing.len());
        for (to, from) in room.iter_mut().zip(self.outgoing.drain(..len)) {
            *to = from;
        }
        Ok(match (self.finished && self.outgoing.is_empty(), len) {
            (true, len) => Produced::Last(len),
            (false, 0) => Produced::Pending,
            (false, len) => Produced::Bytes(len),
        })
    }

    fn ended(&mut self, end: StreamEnd) {
        self.incoming.extend(end.unread);
        self.outgoing.clear();
        self.end = Some(end.cause);
    }

    fn buffered(&self) -> usize {
        self.outgoing.capacity() + self.incoming.capacity()
    }
}
