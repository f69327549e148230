//! What is still to happen, in the order in which it will.

use std::collections::{BTreeMap, VecDeque};

use allium_shared::client::api::BatchId;
use allium_shared::relay::link_event::LinkEvent;
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
    /// The circuits that a relay has begun want to be looked at.
    OriginDue(usize),
    /// A handshake that a link brought is answered.
    Answered(End, Box<LinkEvent<End>>),
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
    /// The authority makes a consensus, by the order of this number.
    Publication(u64),
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
            Self::OriginDue(_) => (Kind::OriginDue, 0),
            Self::Answered(..) => (Kind::Answered, 0),
            Self::Wake(_) => (Kind::Wake, 0),
            Self::Written(..) => (Kind::Written, 0),
            Self::Reported(_, _, batch) => (Kind::Reported, batch.0),
            Self::Restart(_) => (Kind::Restart, 0),
            Self::Disaster(..) => (Kind::Disaster, 0),
            Self::Appointment(token) => (Kind::Appointment, *token),
            Self::Publication(_) => (Kind::Publication, 0),
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
    /// The time of the circuits that a relay has begun came.
    OriginDue,
    /// A handshake was answered.
    Answered,
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
    /// The authority made a consensus.
    Publication,
    /// A client told its person something; the size is the length of a message's text.
    Event,
}

/// How far ahead, in milliseconds, what is to happen has a slot of its own.
const WINDOW: usize = 4096;

/// A queue by time; what is due at the same moment comes in the order in which it was put in.
///
/// Time has milliseconds, and nearly everything happens within the next few seconds. So there is a ring with a slot for
/// each of the coming milliseconds, and a tree for what is further away.
pub(super) struct Schedule {
    /// The slot of the millisecond `t` is `t % WINDOW`, for `WINDOW` milliseconds from `begin` on.
    ring: Vec<VecDeque<Happening>>,
    begin: u64,
    /// How many are in the ring.
    near: usize,
    far: BTreeMap<u64, Vec<Happening>>,
}

impl Default for Schedule {
    fn default() -> Self {
        Self { ring: (0..WINDOW).map(|_| VecDeque::new()).collect(), begin: 0, near: 0, far: BTreeMap::new() }
    }
}

impl Schedule {
    /// Puts something in; nothing may be earlier than what was taken out last.
    pub(super) fn push(&mut self, at: Instant, happening: Happening) {
        let at = at.as_millis().max(self.begin);
        if at - self.begin < WINDOW as u64 {
            self.ring[slot(at)].push_back(happening);
            self.near += 1;
        } else {
            self.far.entry(at).or_default().push(happening);
        }
    }

    pub(super) fn next_at(&self) -> Option<Instant> {
        if self.near == 0 {
            return self.far.keys().next().map(|at| Instant::from_millis(*at));
        }
        let taken = |at: &u64| !self.ring[slot(*at)].is_empty();
        (self.begin..self.begin + WINDOW as u64).find(taken).map(Instant::from_millis)
    }

    pub(super) fn pop(&mut self) -> Option<(Instant, Happening)> {
        let at = self.next_at()?;
        self.move_to(at.as_millis());
        let happening = self.ring[slot(at.as_millis())].pop_front()?;
        self.near -= 1;
        Some((at, happening))
    }

    /// Lets the ring begin at this time, before which there is nothing in it.
    fn move_to(&mut self, begin: u64) {
        if begin == self.begin {
            return;
        }
        self.begin = begin;
        while let Some(entry) = self.far.first_entry().filter(|entry| entry.key() - begin < WINDOW as u64) {
            let (at, happenings) = entry.remove_entry();
            self.near += happenings.len();
            self.ring[slot(at)].extend(happenings);
        }
    }
}

const fn slot(at: u64) -> usize {
    (at % WINDOW as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(schedule: &mut Schedule) -> Vec<(u64, u64)> {
        let next = || {
            let (at, happening) = schedule.pop()?;
            let Happening::Appointment(token) = happening else { return None };
            Some((at.as_millis(), token))
        };
        std::iter::from_fn(next).collect()
    }

    #[test]
    fn what_is_due_at_one_moment_keeps_its_order_however_far_it_was() {
        let mut schedule = Schedule::default();
        let put = |schedule: &mut Schedule, at, token| {
            schedule.push(Instant::from_millis(at), Happening::Appointment(token));
        };
        put(&mut schedule, 5000, 1);
        put(&mut schedule, 1000, 2);
        put(&mut schedule, 5000, 3);
        put(&mut schedule, 90_000, 4);
        assert_eq!(schedule.pop().unwrap().0, Instant::from_millis(1000));
        // Now 5000 is near: what was far stays before.
        put(&mut schedule, 5000, 5);
        put(&mut schedule, 1000, 6);
        put(&mut schedule, 5096, 7);
        assert_eq!(taken(&mut schedule), [(1000, 6), (5000, 1), (5000, 3), (5000, 5), (5096, 7), (90_000, 4)]);
        assert_eq!(schedule.next_at(), None);
    }
}
