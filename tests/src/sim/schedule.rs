//! What is still to happen, in the order in which it will.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use allium_shared::client::api::BatchId;
use allium_shared::time::Instant;

use super::Node;
use super::weather::Disaster;

/// One end of a WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct End(pub(super) u64);

impl End {
    /// The other end.
    pub const fn far(self) -> Self {
        Self(self.0 ^ 1)
    }

    /// The number of the WebSocket, in the order in which they were opened.
    pub const fn socket(self) -> usize {
        (self.0 >> 1) as usize
    }

    pub(super) const fn side(self) -> usize {
        (self.0 & 1) as usize
    }
}

/// Something that happens at one moment of virtual time.
#[derive(Debug)]
pub(super) enum Happening {
    /// Somebody opens a WebSocket whose far end is this.
    Incoming(End),
    /// The WebSocket is open.
    Opened(End),
    /// A WebSocket message arrives.
    Message(End, Vec<u8>),
    /// The WebSocket is gone.
    Closed(End),
    /// A relay's link wants to be called.
    Tick(End),
    /// A client wants to be called.
    Wake(usize),
    /// The oldest batch that a client's disk still has to write, in the client's `n`th life.
    Written(usize, u32),
    /// The client hears that its disk has written the batch.
    Reported(usize, u32, BatchId),
    /// A node that crashed starts again.
    Restart(Node),
    /// Something breaks, in the weather that has changed so many times.
    Disaster(u32, Disaster),
    /// Whoever drives the simulation wanted to be told.
    Appointment(u64),
}

impl Happening {
    /// A number for what happens, and its size: all of it that goes into the trace.
    pub(super) fn digest(&self) -> (Kind, u64) {
        match self {
            Self::Incoming(_) => (Kind::Incoming, 0),
            Self::Opened(_) => (Kind::Opened, 0),
            Self::Message(_, message) => (Kind::Message, message.len() as u64),
            Self::Closed(_) => (Kind::Closed, 0),
            Self::Tick(_) => (Kind::Tick, 0),
            Self::Wake(_) => (Kind::Wake, 0),
            Self::Written(..) => (Kind::Written, 0),
            Self::Reported(_, _, batch) => (Kind::Reported, batch.0),
            Self::Restart(_) => (Kind::Restart, 0),
            Self::Disaster(..) => (Kind::Disaster, 0),
            Self::Appointment(token) => (Kind::Appointment, *token),
        }
    }
}

/// What kind of thing happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// A WebSocket was opened towards the node.
    Incoming,
    /// The node's WebSocket is open.
    Opened,
    /// A message arrived; its size is in bytes.
    Message,
    /// A WebSocket ended.
    Closed,
    /// The time of a relay's link came.
    Tick,
    /// The time of a client came.
    Wake,
    /// A client's disk wrote a batch.
    Written,
    /// A client heard of a batch; the size is the batch's number.
    Reported,
    /// A node started again.
    Restart,
    /// Something broke.
    Disaster,
    /// Whoever drives the simulation had something to do.
    Appointment,
    /// A client told its person something; the size is the length of a message's text.
    Event,
}

struct Entry {
    at: Instant,
    sequence: u64,
    happening: Happening,
}

/// A queue by time; what is due at the same moment comes in the order in which it was put in.
#[derive(Default)]
pub(super) struct Schedule {
    heap: BinaryHeap<Entry>,
    sequence: u64,
}

impl Schedule {
    pub(super) fn push(&mut self, at: Instant, happening: Happening) {
        self.sequence += 1;
        self.heap.push(Entry { at, sequence: self.sequence, happening });
    }

    pub(super) fn next_at(&self) -> Option<Instant> {
        self.heap.peek().map(|entry| entry.at)
    }

    pub(super) fn pop(&mut self) -> Option<(Instant, Happening)> {
        self.heap.pop().map(|entry| (entry.at, entry.happening))
    }
}

impl Ord for Entry {
    /// The earliest is the greatest: the heap gives the greatest first.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.sequence).cmp(&(self.at, self.sequence))
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.sequence == other.sequence
    }
}

impl Eq for Entry {}
