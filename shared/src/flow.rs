//! Flow control: how many data cells may be under way, and the proof that they have arrived.
//!
//! Each end of a circuit may send [`CIRCUIT_WINDOW`] data messages over the whole circuit and [`STREAM_WINDOW`] on one
//! stream before it has to hear of the other end. For every [`CIRCUIT_INCREMENT`] that arrive, and every
//! [`STREAM_INCREMENT`] that somebody has consumed, the other end answers with a SENDME that opens the window by as many.
//! A SENDME carries the onion's tag of the last of those cells, so nobody who has not received them can send it: an end
//! that acknowledges blindly to draw in more than it reads is found out (Tor proposal 289). The scheme and the figures are
//! those of tor-spec, "Flow control"; authentication covers streams too.
//!
//! Circuit windows open on arrival, stream windows once the bytes are consumed: so one stream that nobody reads holds up
//! no other stream of its circuit, and costs at most its own window.

use std::collections::{BTreeMap, VecDeque};

use subtle::ConstantTimeEq as _;
use thiserror::Error;

use crate::cell::message::StreamId;
use crate::crypto::cgo::Tag;

/// Data messages that may be under way on one circuit in one direction.
pub const CIRCUIT_WINDOW: u16 = 1000;

/// By how much a circuit's SENDME opens its window.
pub const CIRCUIT_INCREMENT: u16 = 100;

/// Data messages that may be under way on one stream in one direction.
pub const STREAM_WINDOW: u16 = 500;

/// By how much a stream's SENDME opens its window.
pub const STREAM_INCREMENT: u16 = 50;

/// Streams that one circuit may have open.
pub const MAX_STREAMS: usize = 64;

/// What an end of a circuit did against its windows; ends the circuit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum FlowError {
    /// More data than the window allows.
    #[error("the peer sent more data than its window allows")]
    Overrun,
    /// A SENDME without as much data before it.
    #[error("the peer acknowledged data that it was not sent")]
    NothingToAcknowledge,
    /// A SENDME of somebody who has not seen the data.
    #[error("the peer acknowledged data with a wrong tag")]
    WrongTag,
    /// Data, a SENDME or an end for no stream.
    #[error("the peer sent a message for stream {}, which is not open", .0.0)]
    NoSuchStream(StreamId),
    /// A stream that exists.
    #[error("the peer opened stream {}, which is open already", .0.0)]
    StreamTaken(StreamId),
    /// More streams than a circuit may have.
    #[error("the peer opened more than {MAX_STREAMS} streams")]
    TooManyStreams,
}

/// What may still be sent, and the tags by which the other end will acknowledge it.
#[derive(Debug)]
struct SendWindow {
    left: u16,
    increment: u16,
    /// Cells since the last one whose tag is kept.
    since: u16,
    tags: VecDeque<Tag>,
}

impl SendWindow {
    const fn new(window: u16, increment: u16) -> Self {
        Self { left: window, increment, since: 0, tags: VecDeque::new() }
    }

    fn sent(&mut self, tag: &Tag) {
        debug_assert!(self.left > 0, "whoever sends asks for the window first");
        self.left = self.left.saturating_sub(1);
        self.since += 1;
        if self.since == self.increment {
            self.since = 0;
            self.tags.push_back(*tag);
        }
    }

    fn acknowledged(&mut self, tag: &Tag) -> Result<(), FlowError> {
        let expected = self.tags.pop_front().ok_or(FlowError::NothingToAcknowledge)?;
        if !bool::from(expected.ct_eq(tag)) {
            return Err(FlowError::WrongTag);
        }
        self.left += self.increment;
        Ok(())
    }
}

/// What may still come, and the tags to acknowledge it with.
#[derive(Debug)]
struct ReceiveWindow {
    left: u16,
    increment: u16,
    since: u16,
    /// Cells that were consumed and not acknowledged yet.
    consumed: u16,
    tags: VecDeque<Tag>,
}

impl ReceiveWindow {
    const fn new(window: u16, increment: u16) -> Self {
        Self { left: window, increment, since: 0, consumed: 0, tags: VecDeque::new() }
    }

    fn received(&mut self, tag: &Tag) -> Result<(), FlowError> {
        self.left = self.left.checked_sub(1).ok_or(FlowError::Overrun)?;
        self.since += 1;
        if self.since == self.increment {
            self.since = 0;
            self.tags.push_back(*tag);
        }
        Ok(())
    }

    /// One cell that was received is consumed; gives the tag of the SENDME that is due then.
    fn consume(&mut self) -> Option<Tag> {
        self.consumed += 1;
        if self.consumed < self.increment {
            return None;
        }
        let tag = self.tags.pop_front()?;
        self.consumed -= self.increment;
        self.left += self.increment;
        Some(tag)
    }
}

#[derive(Debug)]
struct Stream {
    send: SendWindow,
    receive: ReceiveWindow,
    /// Whether the far end has taken it, when it is us who opened it.
    connected: bool,
    /// We have said that it ends; what still comes is counted and dropped.
    ended: bool,
}

/// The windows of one end of a circuit and of its streams.
#[derive(Debug)]
pub struct Flow {
    send: SendWindow,
    receive: ReceiveWindow,
    streams: BTreeMap<StreamId, Stream>,
}

/// What became of data that has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrived {
    /// The tag of the circuit's SENDME that is due now.
    pub sendme: Option<Tag>,
    /// Whether anybody wants the data: not if this end has ended the stream.
    pub wanted: bool,
}

/// Who has ended a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The other end, just now: it wants our END too.
    ByPeer,
    /// Both ends.
    ByBoth,
}

impl Default for Flow {
    fn default() -> Self {
        Self::new()
    }
}

impl Flow {
    /// Full windows, no streams.
    pub const fn new() -> Self {
        Self {
            send: SendWindow::new(CIRCUIT_WINDOW, CIRCUIT_INCREMENT),
            receive: ReceiveWindow::new(CIRCUIT_WINDOW, CIRCUIT_INCREMENT),
            streams: BTreeMap::new(),
        }
    }

    /// This end asks for a stream; nothing comes on it before [`Self::connected`].
    ///
    /// # Errors
    ///
    /// If it exists, or there are too many.
    pub fn begin(&mut self, stream: StreamId) -> Result<(), FlowError> {
        self.insert(stream, false)
    }

    /// A stream that the other end has asked for begins, or one that both ends agree on without asking.
    ///
    /// # Errors
    ///
    /// If it exists, or there are too many.
    pub fn accept(&mut self, stream: StreamId) -> Result<(), FlowError> {
        self.insert(stream, true)
    }

    fn insert(&mut self, stream: StreamId, connected: bool) -> Result<(), FlowError> {
        if self.streams.contains_key(&stream) {
            return Err(FlowError::StreamTaken(stream));
        }
        if self.streams.len() >= MAX_STREAMS {
            return Err(FlowError::TooManyStreams);
        }
        let windows = Stream {
            send: SendWindow::new(STREAM_WINDOW, STREAM_INCREMENT),
            receive: ReceiveWindow::new(STREAM_WINDOW, STREAM_INCREMENT),
            connected,
            ended: false,
        };
        self.streams.insert(stream, windows);
        Ok(())
    }

    /// The far end has taken a stream that this end opened.
    ///
    /// # Errors
    ///
    /// If there is no such stream, or it was taken before.
    pub fn connected(&mut self, stream: StreamId) -> Result<(), FlowError> {
        match self.streams.get_mut(&stream) {
            Some(windows) if !windows.connected => {
                windows.connected = true;
                Ok(())
            }
            _ => Err(FlowError::NoSuchStream(stream)),
        }
    }

    /// An id for a new stream; none when there are too many.
    pub fn free_id(&self) -> Option<StreamId> {
        if self.streams.len() >= MAX_STREAMS {
            return None;
        }
        (1..=u16::MAX).map(StreamId).find(|id| !self.streams.contains_key(id))
    }

    /// This end says that a stream ends. Its id is taken until the other end has said so too.
    ///
    /// `false` when there was nothing to end.
    pub fn end(&mut self, stream: StreamId) -> bool {
        match self.streams.get_mut(&stream) {
            Some(stream) if !stream.ended => {
                stream.ended = true;
                true
            }
            _ => false,
        }
    }

    /// The other end has said that a stream ends.
    ///
    /// # Errors
    ///
    /// If there is no such stream.
    pub fn ended(&mut self, stream: StreamId) -> Result<Ended, FlowError> {
        let Some(windows) = self.streams.remove(&stream) else { return Err(FlowError::NoSuchStream(stream)) };
        Ok(if windows.ended { Ended::ByBoth } else { Ended::ByPeer })
    }

    /// Whether there is a stream that this end has not ended.
    pub fn is_open(&self, stream: StreamId) -> bool {
        self.streams.get(&stream).is_some_and(|stream| !stream.ended)
    }

    /// How many data messages may be sent on a stream now.
    pub fn may_send(&self, stream: StreamId) -> u16 {
        self.streams
            .get(&stream)
            .filter(|stream| !stream.ended)
            .map_or(0, |stream| stream.send.left.min(self.send.left))
    }

    /// A data message was sent; `tag` is its cell's.
    pub fn sent(&mut self, stream: StreamId, tag: &Tag) {
        self.send.sent(tag);
        if let Some(stream) = self.streams.get_mut(&stream) {
            stream.send.sent(tag);
        }
    }

    /// A data message has come; `tag` is its cell's.
    ///
    /// # Errors
    ///
    /// If the other end may not send it.
    pub fn received(&mut self, stream: StreamId, tag: &Tag) -> Result<Arrived, FlowError> {
        let windows = self.streams.get_mut(&stream).filter(|windows| windows.connected);
        let windows = windows.ok_or(FlowError::NoSuchStream(stream))?;
        windows.receive.received(tag)?;
        let wanted = !windows.ended;
        self.receive.received(tag)?;
        Ok(Arrived { sendme: self.receive.consume(), wanted })
    }

    /// A data message that has come was consumed; gives the tag of the stream's SENDME that is due then.
    pub fn consumed(&mut self, stream: StreamId) -> Option<Tag> {
        self.streams.get_mut(&stream).filter(|stream| !stream.ended)?.receive.consume()
    }

    /// A SENDME has come, for a stream or (with stream zero) for the circuit.
    ///
    /// # Errors
    ///
    /// If the other end cannot have received what it acknowledges.
    pub fn acknowledged(&mut self, stream: StreamId, tag: &Tag) -> Result<(), FlowError> {
        if stream == StreamId::CIRCUIT {
            return self.send.acknowledged(tag);
        }
        self.streams.get_mut(&stream).ok_or(FlowError::NoSuchStream(stream))?.send.acknowledged(tag)
    }

    /// How many streams there are, those included that only one end has ended.
    pub fn streams(&self) -> usize {
        self.streams.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: StreamId = StreamId(1);

    fn tag(n: u16) -> Tag {
        let mut tag = [7; 16];
        tag[..2].copy_from_slice(&n.to_be_bytes());
        tag
    }

    fn open() -> Flow {
        let mut flow = Flow::new();
        flow.accept(STREAM).unwrap();
        flow
    }

    /// Sends as much as the windows allow.
    fn exhaust(flow: &mut Flow) -> u16 {
        let mut sent = 0;
        while flow.may_send(STREAM) > 0 {
            sent += 1;
            flow.sent(STREAM, &tag(sent));
        }
        sent
    }

    #[test]
    fn a_stream_window_opens_by_its_own_sendmes() {
        let mut flow = open();
        assert_eq!(exhaust(&mut flow), STREAM_WINDOW);
        flow.acknowledged(STREAM, &tag(50)).unwrap();
        assert_eq!(flow.may_send(STREAM), STREAM_INCREMENT);
        flow.acknowledged(STREAM, &tag(100)).unwrap();
        assert_eq!(flow.may_send(STREAM), 2 * STREAM_INCREMENT);
    }

    #[test]
    fn the_circuit_window_bounds_all_streams_together() {
        let mut flow = open();
        flow.accept(StreamId(2)).unwrap();
        flow.accept(StreamId(3)).unwrap();
        for stream in [1, 2].map(StreamId) {
            while flow.may_send(stream) > 0 {
                flow.sent(stream, &tag(0));
            }
        }
        assert_eq!(flow.may_send(StreamId(3)), 0);
        flow.acknowledged(StreamId::CIRCUIT, &tag(0)).unwrap();
        assert_eq!(flow.may_send(StreamId(3)), CIRCUIT_INCREMENT);
    }

    #[test]
    fn only_the_right_tag_opens_a_window() {
        for stream in [STREAM, StreamId::CIRCUIT] {
            let mut flow = open();
            assert_eq!(flow.acknowledged(stream, &tag(1)), Err(FlowError::NothingToAcknowledge));
            exhaust(&mut flow);
            assert_eq!(flow.acknowledged(stream, &tag(51)), Err(FlowError::WrongTag));
        }
    }

    #[test]
    fn a_sendme_acknowledges_once() {
        let mut flow = open();
        for n in 1..=STREAM_INCREMENT {
            flow.sent(STREAM, &tag(n));
        }
        flow.acknowledged(STREAM, &tag(STREAM_INCREMENT)).unwrap();
        assert_eq!(flow.acknowledged(STREAM, &tag(STREAM_INCREMENT)), Err(FlowError::NothingToAcknowledge));
    }

    #[test]
    fn the_two_ends_agree_on_every_sendme() {
        let (mut here, mut there) = (open(), open());
        for n in 0..10_000_u16 {
            assert!(here.may_send(STREAM) > 0, "at {n}");
            here.sent(STREAM, &tag(n));
            let arrived = there.received(STREAM, &tag(n)).unwrap();
            assert_eq!(arrived.sendme.is_some(), (n + 1).is_multiple_of(CIRCUIT_INCREMENT));
            if let Some(tag) = arrived.sendme {
                here.acknowledged(StreamId::CIRCUIT, &tag).unwrap();
            }
            if let Some(tag) = there.consumed(STREAM) {
                here.acknowledged(STREAM, &tag).unwrap();
            }
        }
    }

    #[test]
    fn what_nobody_consumes_is_not_refilled() {
        let mut flow = open();
        for n in 0..STREAM_WINDOW {
            flow.received(STREAM, &tag(n)).unwrap();
        }
        assert_eq!(flow.received(STREAM, &tag(0)), Err(FlowError::Overrun));
        // Consumed late, it is acknowledged in order.
        let due: Vec<_> = (0..STREAM_WINDOW).filter_map(|_| flow.consumed(STREAM)).collect();
        assert_eq!(due.len(), 10);
        assert_eq!(due.first(), Some(&tag(49)));
        assert!(flow.received(STREAM, &tag(0)).is_ok());
    }

    #[test]
    fn a_circuit_overrun_is_found_over_many_streams() {
        let mut flow = open();
        flow.accept(StreamId(2)).unwrap();
        flow.accept(StreamId(3)).unwrap();
        // The circuit's window opens on arrival, so it is overrun only by who got no SENDME: take that away.
        flow.receive.increment = u16::MAX;
        for n in 0..CIRCUIT_WINDOW {
            flow.received(StreamId(1 + n % 2), &tag(n)).unwrap();
        }
        assert_eq!(flow.received(StreamId(3), &tag(0)), Err(FlowError::Overrun));
    }

    #[test]
    fn nothing_comes_on_a_stream_before_it_is_open() {
        let mut flow = Flow::new();
        flow.begin(STREAM).unwrap();
        assert_eq!(flow.received(STREAM, &tag(0)), Err(FlowError::NoSuchStream(STREAM)));
        flow.connected(STREAM).unwrap();
        assert!(flow.received(STREAM, &tag(0)).is_ok());
        assert_eq!(flow.connected(STREAM), Err(FlowError::NoSuchStream(STREAM)));
    }

    #[test]
    fn a_stream_ends_at_both_ends() {
        let mut flow = open();
        assert_eq!(flow.begin(STREAM), Err(FlowError::StreamTaken(STREAM)));
        assert!(flow.end(STREAM));
        assert!(!flow.end(STREAM));
        assert_eq!(flow.may_send(STREAM), 0);
        // What was on its way still counts.
        assert!(!flow.received(STREAM, &tag(0)).unwrap().wanted);
        assert_eq!(flow.free_id(), Some(StreamId(2)));
        assert_eq!(flow.ended(STREAM), Ok(Ended::ByBoth));
        assert_eq!(flow.ended(STREAM), Err(FlowError::NoSuchStream(STREAM)));
        assert_eq!(flow.free_id(), Some(STREAM));
        assert_eq!(flow.received(STREAM, &tag(0)), Err(FlowError::NoSuchStream(STREAM)));
    }

    #[test]
    fn there_are_so_many_streams_and_no_more() {
        let mut flow = Flow::new();
        for n in 1..=MAX_STREAMS {
            flow.begin(StreamId(n as u16)).unwrap();
        }
        assert_eq!(flow.begin(StreamId(1000)), Err(FlowError::TooManyStreams));
        assert_eq!(flow.free_id(), None);
    }
}
