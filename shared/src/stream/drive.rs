//! One end of one stream: bytes between its handler and its circuit.
//!
//! [`DrivenStream`] knows nothing of circuits but a [`StreamPort`], so that relays and origins share it.

use std::collections::VecDeque;

use super::{
    EndCause, EndReason, MAX_BUFFERED, OPEN_ENDED, Produced, StreamContext, StreamEnd, StreamHandler, StreamWaker,
};
use crate::cell::message::MAX_DATA_LEN;
use crate::time::Now;

/// A stream's way to its circuit.
pub trait StreamPort {
    /// Whether the windows allow one more message of data.
    fn may_send(&self) -> bool;

    /// Sends one message of data, of at most [`MAX_DATA_LEN`] bytes.
    fn data(&mut self, bytes: &[u8]);

    /// One message that arrived was consumed: the peer may send another.
    fn consumed(&mut self);

    /// Accepts the stream, and announces the length of what follows.
    fn connected(&mut self, len: u64);

    /// Ends the stream.
    fn end(&mut self, reason: EndReason);
}

/// What a handler's calls need besides the port.
#[derive(Clone, Copy)]
pub struct StreamEnv<'a> {
    /// Both clocks.
    pub now: Now,
    /// Makes a waker for this stream.
    pub waker: &'a dyn Fn() -> StreamWaker,
}

/// What a call has brought about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing.
    Idle,
    /// Bytes moved: another call may move more.
    Moved,
    /// The stream is over. Drop it.
    Over,
}

/// Which end of the stream this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    /// It sent `Begin`.
    Asking,
    /// It received `Begin`.
    Serving,
}

/// One end of a stream, with its handler.
pub struct DrivenStream<H> {
    handler: H,
    side: Side,
    inbox: Inbox,
    /// Bytes that the peer has announced and not sent yet.
    announced: u64,
    /// Bytes that this end has announced and not sent yet; none before a relay has accepted the stream.
    left: Option<u64>,
    /// The handler took less than it was offered.
    full: bool,
    /// The handler had nothing to send.
    waiting: bool,
    over: bool,
}

impl<H: StreamHandler> DrivenStream<H> {
    /// The end that sends `Begin`, which announces a body of `len` bytes.
    pub const fn asking(handler: H, len: u64) -> Self {
        Self::new(handler, Side::Asking, 0, Some(len))
    }

    /// The end that has received `Begin`, which announced a body of `announced` bytes. Call [`Self::opened`] next.
    pub const fn serving(handler: H, announced: u64) -> Self {
        Self::new(handler, Side::Serving, announced, None)
    }

    const fn new(handler: H, side: Side, announced: u64, left: Option<u64>) -> Self {
        let inbox = Inbox { messages: VecDeque::new(), taken: 0, len: 0 };
        Self { handler, side, inbox, announced, left, full: false, waiting: false, over: false }
    }

    /// The handler.
    pub const fn handler(&self) -> &H {
        &self.handler
    }

    /// The handler, for its owner; call [`Self::wake`] when it may go on afterwards.
    pub const fn handler_mut(&mut self) -> &mut H {
        &mut self.handler
    }

    /// Takes the handler out of a stream that is over, or whose end nobody has to hear of.
    pub fn into_handler(self) -> H {
        self.handler
    }

    /// Whether the stream is over.
    pub const fn is_over(&self) -> bool {
        self.over
    }

    /// Bytes of memory that the stream holds.
    pub fn held(&self) -> usize {
        self.inbox.len + self.handler.buffered()
    }

    /// Whether it is this end's handler, or the peer's body, that has to make progress: a stream that is not accepted yet, or
    /// whose announced bytes the handler doesn't produce.
    pub fn owes_progress(&self) -> bool {
        match self.left {
            None => true,
            Some(left) => left != OPEN_ENDED && left > 0 && self.waiting,
        }
    }

    /// Tells the handler that the other end is there.
    pub fn opened(&mut self, port: &mut impl StreamPort, env: &StreamEnv<'_>) -> Step {
        let mut context = StreamContext::new(env.now, self.announced, env.waker);
        match self.handler.opened(&mut context) {
            Ok(()) => {
                self.accept(&context, port);
                self.check_buffer(Step::Moved, port)
            }
            Err(reason) => self.end(reason, EndCause::Handler(reason), port),
        }
    }

    /// At the origin: the relay has accepted the stream and announced a body of `len` bytes.
    pub fn connected(&mut self, len: u64, port: &mut impl StreamPort, env: &StreamEnv<'_>) -> Step {
        self.announced = len;
        self.opened(port, env)
    }

    /// Takes the data of one message.
    pub fn arrived(&mut self, data: Vec<u8>, port: &mut impl StreamPort, env: &StreamEnv<'_>) -> Step {
        if self.over {
            return Step::Over;
        }
        if self.announced != OPEN_ENDED {
            match self.announced.checked_sub(data.len() as u64) {
                Some(left) => self.announced = left,
                None => return self.end(EndReason::TORPROTOCOL, EndCause::TooLong, port),
            }
        }
        self.waiting = false;
        self.inbox.push(data);
        if self.full { Step::Idle } else { self.offer(port, env) }
    }

    /// Somebody has called the stream's waker, or changed the handler.
    pub const fn wake(&mut self) {
        self.full = false;
        self.waiting = false;
    }

    /// Moves what can be moved: at most one message of data to the circuit, and everything that the handler takes from it.
    pub fn step(&mut self, port: &mut impl StreamPort, env: &StreamEnv<'_>) -> Step {
        if self.over {
            return Step::Over;
        }
        let offered = if self.full { Step::Idle } else { self.offer(port, env) };
        if offered == Step::Over {
            return Step::Over;
        }
        match self.produce(port, env) {
            Step::Idle => offered,
            step => step,
        }
    }

    /// Steps until nothing moves.
    pub fn drive(&mut self, port: &mut impl StreamPort, env: &StreamEnv<'_>) -> Step {
        let mut outcome = Step::Idle;
        loop {
            match self.step(port, env) {
                Step::Idle => return outcome,
                Step::Moved => outcome = Step::Moved,
                Step::Over => return Step::Over,
            }
        }
    }

    /// Ends the stream from this end.
    pub fn end(&mut self, reason: EndReason, cause: EndCause, port: &mut impl StreamPort) -> Step {
        if !self.over {
            port.end(reason);
            self.finish(cause);
        }
        Step::Over
    }

    /// Tells the handler that the stream is over, without a word to the peer.
    pub fn finish(&mut self, cause: EndCause) {
        if !self.over {
            self.over = true;
            let unread = self.inbox.drain();
            self.handler.ended(StreamEnd { cause, unread });
        }
    }

    fn offer(&mut self, port: &mut impl StreamPort, env: &StreamEnv<'_>) -> Step {
        let mut outcome = Step::Idle;
        while let Some(bytes) = self.inbox.front() {
            let len = bytes.len();
            let mut context = StreamContext::new(env.now, self.announced, env.waker);
            let taken = match if len > 0 { self.handler.data(&mut context, bytes) } else { Ok(0) } {
                Ok(taken) => taken.min(len),
                Err(reason) => return self.end(reason, EndCause::Handler(reason), port),
            };
            self.accept(&context, port);
            if taken == len {
                self.inbox.pop();
                port.consumed();
            } else {
                self.inbox.take(taken);
                self.full = true;
            }
            if taken > 0 {
                outcome = Step::Moved;
                self.waiting = false;
            }
            if self.full {
                break;
            }
        }
        self.check_buffer(outcome, port)
    }

    fn produce(&mut self, port: &mut impl StreamPort, env: &StreamEnv<'_>) -> Step {
        if self.left == Some(0) {
            return self.sent_all(port);
        }
        if self.waiting || !port.may_send() {
            return Step::Idle;
        }
        let mut room = [0; MAX_DATA_LEN];
        let most = self.left.map_or(MAX_DATA_LEN, |left| left.min(MAX_DATA_LEN as u64) as usize);
        let mut context = StreamContext::new(env.now, self.announced, env.waker);
        let produced = match self.handler.writable(&mut context, room.get_mut(..most).unwrap_or_default()) {
            Ok(produced) => produced,
            Err(reason) => return self.end(reason, EndCause::Handler(reason), port),
        };
        self.accept(&context, port);
        let (len, is_last) = match produced {
            Produced::Pending | Produced::Bytes(0) => {
                self.waiting = true;
                let outcome = if self.left == Some(0) { self.sent_all(port) } else { Step::Idle };
                return self.check_buffer(outcome, port);
            }
            Produced::Bytes(len) => (len, false),
            Produced::Last(len) => (len, true),
        };
        let left = *self.left.get_or_insert_with(|| {
            port.connected(OPEN_ENDED);
            OPEN_ENDED
        });
        let bytes = room.get(..len).filter(|bytes| bytes.len() as u64 <= left);
        let is_short = is_last && left != OPEN_ENDED && left > len as u64;
        // Neither more nor fewer than announced; else the handler is at fault.
        let Some(bytes) = bytes.filter(|_| !is_short) else {
            return self.end(EndReason::INTERNAL, EndCause::Handler(EndReason::INTERNAL), port);
        };
        if !bytes.is_empty() {
            port.data(bytes);
        }
        // What the handler held back may fit now.
        self.full = false;
        self.left = Some(match left {
            OPEN_ENDED if is_last => return self.end(EndReason::DONE, EndCause::Handler(EndReason::DONE), port),
            OPEN_ENDED => OPEN_ENDED,
            left => left - bytes.len() as u64,
        });
        match self.left {
            Some(0) if self.side == Side::Serving => self.sent_all(port),
            _ => self.check_buffer(Step::Moved, port),
        }
    }

    /// Everything that was announced is sent. At a relay that ends the stream; at the origin the answer follows.
    fn sent_all(&mut self, port: &mut impl StreamPort) -> Step {
        match self.side {
            Side::Serving => self.end(EndReason::DONE, EndCause::Handler(EndReason::DONE), port),
            Side::Asking => Step::Idle,
        }
    }

    /// Sends `Connected` if the handler has accepted the stream.
    fn accept(&mut self, context: &StreamContext<'_>, port: &mut impl StreamPort) {
        if let (Side::Serving, None, Some(len)) = (self.side, self.left, context.accept) {
            port.connected(len);
            self.left = Some(len);
        }
    }

    fn check_buffer(&mut self, outcome: Step, port: &mut impl StreamPort) -> Step {
        if !self.over && self.handler.buffered() > MAX_BUFFERED {
            return self.end(EndReason::RESOURCELIMIT, EndCause::Handler(EndReason::RESOURCELIMIT), port);
        }
        outcome
    }
}

impl<H> core::fmt::Debug for DrivenStream<H> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("DrivenStream")
            .field("announced", &self.announced)
            .field("left", &self.left)
            .finish_non_exhaustive()
    }
}

/// Data that arrived and that the handler has not taken.
#[derive(Debug)]
struct Inbox {
    messages: VecDeque<Vec<u8>>,
    /// How many bytes of the first message are taken.
    taken: usize,
    /// Bytes in memory.
    len: usize,
}

impl Inbox {
    fn push(&mut self, data: Vec<u8>) {
        self.len += data.len();
        self.messages.push_back(data);
    }

    fn front(&self) -> Option<&[u8]> {
        self.messages.front().map(|message| message.get(self.taken..).unwrap_or_default())
    }

    fn take(&mut self, bytes: usize) {
        self.taken += bytes;
    }

    fn pop(&mut self) {
        if let Some(message) = self.messages.pop_front() {
            self.len -= message.len();
            self.taken = 0;
        }
    }

    fn drain(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        while let Some(bytes) = self.front() {
            all.extend_from_slice(bytes);
            self.pop();
        }
        all
    }
}
