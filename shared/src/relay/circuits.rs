//! The circuits whose cells arrive on one link of a relay.
//!
//! # Layout
//!
//! - `opening`: handshakes, the peer's and those that this relay begins for others
//! - [`last_hop`](super::last_hop): what the circuits do that end here

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use foldhash::quality::RandomState;

use self::opening::HalfOpen;
use super::counts::CircuitCounts;
use super::keys::RelayKeys;
use super::last_hop::joined::Joined;
use super::last_hop::joining::Joining;
use super::last_hop::{Here, LastHop, only_drop};
use super::link_event::LinkEvent;
use super::outlet::Outlet;
use super::streams::StreamWakers;
use super::violation::{CircuitViolation, count_early};
use crate::cell::fragment::{Assembler, Fragment};
use crate::cell::{Cell, CircId, Command, DestroyReason, LinkEnd};
use crate::crypto::cgo::{RelayBackward, RelayForward};
use crate::crypto::keys::RelayIdentity;
use crate::time::{Instant, Now};
use crate::token_bucket::TokenBucket;

mod opening;

/// How long a handshake may take, ours or the peer's.
const HANDSHAKE_TIME: Duration = Duration::from_secs(8);

/// Circuits that a client may open over one link each second, and how many at once.
const CLIENT_RATE: (u32, u32) = (500, 1000);

/// The same for a relay, which speaks for many clients.
const RELAY_RATE: (u32, u32) = (5000, 10_000);

/// The circuits whose cells arrive on one link.
pub struct Circuits<L> {
    here: Here<L>,
    end: LinkEnd,
    /// Looked into for every cell: with a hash that is fast, and has a seed that peers do not know.
    entries: HashMap<CircId, Entry<L>, RandomState>,
    half_open: HashMap<CircId, HalfOpen>,
    deadlines: VecDeque<(Instant, CircId)>,
    /// When circuits whose streams wait for something are looked at, the earliest first.
    stream_deadlines: BinaryHeap<Reverse<(Instant, CircId)>>,
    next_id: u32,
    next_ticket: u64,
    creates: TokenBucket,
    /// Handshakes that wait for an answer.
    unanswered: usize,
    counts: CircuitCounts,
}

enum Entry<L> {
    /// We sent a CREATE for somebody's EXTEND and collect the answer.
    Opening { origin: (L, CircId), answer: Assembler, deadline: Instant },
    /// The answer is with the owner of the client's side; the backward half is on its way.
    Opened { origin: (L, CircId), deadline: Instant },
    /// The circuit begins at this relay, which takes its cells as they are.
    Origin { origin: (L, CircId) },
    /// Moves cells back towards the client.
    Backward { half: Box<RelayBackward>, previous: (L, CircId) },
    /// Moves cells away from the client.
    Forward { half: Box<RelayForward>, next: (L, CircId), early: u8 },
    /// The circuit ends here.
    LastHop(Box<LastHop<L>>),
    /// The circuit has come to one that waited, and waits for that one's backward half.
    Joining(Joining<L>),
    /// Moves cells from one client on to the other.
    Joined(Joined<L>),
}

impl<L: Clone + PartialEq> Circuits<L> {
    /// No circuits yet on `link`, of which this relay is `end`; `peer` is the relay at the other end, if it is one.
    ///
    /// `wakers` wake the streams of its circuits.
    pub fn new(
        now: Instant,
        link: L,
        end: LinkEnd,
        peer: Option<RelayIdentity>,
        keys: Arc<RelayKeys>,
        wakers: StreamWakers,
    ) -> Self {
        let (rate, burst) = if peer.is_some() { RELAY_RATE } else { CLIENT_RATE };
        Self {
            here: Here { link, peer, keys, wakers, held: Arc::default() },
            end,
            entries: HashMap::default(),
            half_open: HashMap::new(),
            deadlines: VecDeque::new(),
            stream_deadlines: BinaryHeap::new(),
            next_id: 0,
            next_ticket: 0,
            creates: TokenBucket::new(rate, burst, now),
            unanswered: 0,
            counts: CircuitCounts::default(),
        }
    }

    /// How many circuits (and handshakes under way) there are.
    pub fn len(&self) -> usize {
        self.entries.len() + self.half_open.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What became of circuits since the last call.
    pub fn take_counts(&mut self) -> CircuitCounts {
        std::mem::take(&mut self.counts)
    }

    /// When [`Self::handle_timeout`] wants to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let streams = self.stream_deadlines.peek().map(|Reverse((at, _))| *at);
        self.deadlines.front().map(|(at, _)| *at).into_iter().chain(streams).min()
    }

    /// Bytes of memory that streams hold.
    pub fn held(&self) -> usize {
        self.here.held.load(Ordering::Relaxed)
    }

    /// Ends handshakes, and streams, that have taken too long.
    pub fn handle_timeout(&mut self, clock: Now, out: &mut impl Outlet<Link = L>) {
        let now = clock.instant;
        while let Some(Reverse((at, circ))) = self.stream_deadlines.peek().copied()
            && at <= now
        {
            self.stream_deadlines.pop();
            if let Some(Entry::LastHop(hop)) = self.entries.get_mut(&circ) {
                hop.handle_timeout(at, clock, circ, &self.here, out);
                self.reschedule(circ);
            }
        }
        while let Some((at, circ)) = self.deadlines.front().copied() {
            if at > now {
                break;
            }
            self.deadlines.pop_front();
            // The id may have been given to another circuit meanwhile.
            let of_half_open = self.half_open.get(&circ).map(|half_open| half_open.deadline);
            let of_entry = match self.entries.get(&circ) {
                Some(Entry::Opening { deadline, .. } | Entry::Opened { deadline, .. }) => Some(*deadline),
                _ => None,
            };
            let unfinished = of_half_open == Some(at) || of_entry == Some(at);
            if unfinished {
                self.destroy(circ, DestroyReason::Timeout, out);
            }
        }
    }

    /// Handles one cell that the link has brought.
    pub fn handle_cell(&mut self, now: Now, cell: &mut Cell, out: &mut impl Outlet<Link = L>) {
        let circ = cell.circ;
        let outcome = match cell.command {
            Command::Padding => Ok(()),
            Command::Relay | Command::RelayEarly => self.handle_relay_cell(now, cell, out),
            Command::Create => self.handle_create(now.instant, cell, out),
            Command::Created => self.handle_created(cell, out),
            Command::Destroy => {
                self.forget(circ, cell.destroy_reason(), out);
                Ok(())
            }
        };
        if outcome.is_err() {
            self.destroy(circ, DestroyReason::Protocol, out);
        }
    }

    fn handle_relay_cell(
        &mut self,
        now: Now,
        cell: &mut Cell,
        out: &mut impl Outlet<Link = L>,
    ) -> Result<(), CircuitViolation> {
        let circ = cell.circ;
        match self.entries.get_mut(&circ) {
            Some(Entry::Forward { half, next, early }) => {
                count_early(early, cell.command)?;
                if half.process(cell.command as u8, &mut cell.body).is_some() {
                    return only_drop(cell);
                }
                cell.circ = next.1;
                out.forward(&next.0, cell);
                Ok(())
            }
            Some(Entry::Backward { half, previous }) if cell.command == Command::Relay => {
                half.pass(cell.command as u8, &mut cell.body);
                cell.circ = previous.1;
                out.forward(&previous.0, cell);
                Ok(())
            }
            Some(Entry::Origin { origin }) if cell.command == Command::Relay => {
                cell.circ = origin.1;
                out.forward(&origin.0, cell);
                Ok(())
            }
            Some(Entry::Joined(joined)) if cell.command == Command::Relay => joined.pass(cell, out),
            Some(Entry::Joining(joining)) if cell.command == Command::Relay => joining.hold(cell),
            Some(Entry::LastHop(hop)) => {
                let met = hop.handle_cell(now, cell, &self.here, out)?;
                if let Some(meeting) = met
                    && let Some(Entry::LastHop(hop)) = self.entries.remove(&circ)
                {
                    let place = (self.here.link.clone(), circ);
                    self.entries.insert(circ, Entry::Joining(hop.meet(meeting, place, out)));
                }
                self.reschedule(circ);
                Ok(())
            }
            Some(_) => Err(CircuitViolation::Unexpected("a relay cell")),
            None if self.half_open.contains_key(&circ) => {
                Err(CircuitViolation::Unexpected("a relay cell before the handshake is done"))
            }
            None => {
                out.refuse(circ, DestroyReason::NoSuchCircuit);
                Ok(())
            }
        }
    }

    /// Handles what another link's owner has to say.
    pub fn handle_event(&mut self, clock: Now, event: LinkEvent<L>, out: &mut impl Outlet<Link = L>) {
        let now = clock.instant;
        match event {
            LinkEvent::Wake { circ, stream } => {
                if let Some(Entry::LastHop(hop)) = self.entries.get_mut(&circ) {
                    hop.wake_stream(clock, circ, stream, &self.here, out);
                    self.reschedule(circ);
                }
            }
            LinkEvent::Open { origin, message } => self.open(now, origin, &message, out),
            LinkEvent::Answered { circ, ticket, answer } => self.answered(circ, ticket, answer, out),
            // The link itself sees to that: it has the queue.
            LinkEvent::Shed => {}
            LinkEvent::Opened { circ, next, message } => self.opened(circ, next, &message, out),
            LinkEvent::OpenFailed { circ, reason } => {
                // Only the circuit that asked may end by this: it can be long gone, and its id used anew.
                if matches!(self.entries.get(&circ), Some(Entry::LastHop(hop)) if hop.is_extending()) {
                    self.destroy(circ, reason, out);
                }
            }
            LinkEvent::Adopt { circ, half, previous } => match self.entries.get_mut(&circ) {
                Some(entry @ Entry::Opened { .. }) => *entry = Entry::Backward { half, previous },
                _ => out.tell(&previous.0, LinkEvent::Destroy { circ: previous.1, reason: DestroyReason::LinkClosed }),
            },
            LinkEvent::BeginsHere { circ, origin } => match self.entries.get_mut(&circ) {
                Some(entry @ Entry::Opened { .. }) => *entry = Entry::Origin { origin },
                _ => out.tell(&origin.0, LinkEvent::Destroy { circ: origin.1, reason: DestroyReason::LinkClosed }),
            },
            LinkEvent::Destroy { circ, reason } => {
                if let Some(entry) = self.entries.remove(&circ) {
                    // Whoever told us has already forgotten its part. It may have been another circuit's, which had the id
                    // before: then this one is in a table, perhaps.
                    if let Entry::LastHop(hop) = entry {
                        hop.leave_tables(&(self.here.link.clone(), circ), out);
                    }
                    out.send(&Cell::destroy(circ, reason));
                }
            }
            LinkEvent::Visit { circ, comer, fragment, half } => self.visited(circ, comer, *fragment, half, out),
            LinkEvent::Introduce { circ, introduction } => {
                if let Some(Entry::LastHop(hop)) = self.entries.get_mut(&circ) {
                    hop.introduced(now, circ, &introduction, out);
                }
            }
            LinkEvent::Joined { circ, half } => self.joined(circ, half, out),
        }
    }

    /// Ends all circuits because the link is gone; nothing more may be sent on it.
    pub fn close(&mut self, out: &mut impl Outlet<Link = L>) {
        self.half_open.clear();
        self.deadlines.clear();
        for (circ, entry) in std::mem::take(&mut self.entries) {
            self.count_end(&entry, DestroyReason::LinkClosed);
            self.release(circ, entry, DestroyReason::LinkClosed, out);
        }
    }

    /// Ends one circuit towards both sides.
    pub fn destroy(&mut self, circ: CircId, reason: DestroyReason, out: &mut impl Outlet<Link = L>) {
        if self.forget(circ, reason, out) {
            out.send(&Cell::destroy(circ, reason));
        } else {
            out.refuse(circ, reason);
        }
    }

    /// Ends one circuit towards both sides whose waiting cells were thrown away, the news of its end perhaps among them.
    pub(super) fn abandon(&mut self, circ: CircId, reason: DestroyReason, out: &mut impl Outlet<Link = L>) {
        out.send(&Cell::destroy(circ, reason));
        self.half_open.remove(&circ);
        if let Some(entry) = self.entries.remove(&circ) {
            self.counts.overruns += 1;
            self.release(circ, entry, reason, out);
        }
    }

    /// Whether there is such a circuit.
    pub(super) fn contains(&self, circ: CircId) -> bool {
        self.entries.contains_key(&circ)
    }

    /// Ends the circuits whose streams hold most, until at least so many bytes are free.
    pub(super) fn shed_streams(&mut self, bytes: usize, out: &mut impl Outlet<Link = L>) {
        let enough = self.held().saturating_sub(bytes);
        let held = |(circ, entry): (&CircId, &Entry<L>)| match entry {
            Entry::LastHop(hop) => hop.held().map(|held| (held, *circ)),
            _ => None,
        };
        while self.held() > enough
            && let Some((_, circ)) = self.entries.iter().filter_map(held).max()
        {
            self.counts.overruns += 1;
            self.destroy(circ, DestroyReason::ResourceLimit, out);
        }
    }

    /// Of two limits, for a client and for a relay, the one that holds for the peer.
    const fn of_peer(&self, limits: (usize, usize)) -> usize {
        if self.here.peer.is_some() { limits.1 } else { limits.0 }
    }

    /// Looks at a circuit's streams again when they want it.
    fn reschedule(&mut self, circ: CircId) {
        if let Some(Entry::LastHop(hop)) = self.entries.get_mut(&circ)
            && let Some(at) = hop.reschedule()
        {
            self.stream_deadlines.push(Reverse((at, circ)));
        }
    }

    /// Takes a circuit or a handshake out of the tables, and tells the other side; `false` when there is none.
    fn forget(&mut self, circ: CircId, reason: DestroyReason, out: &mut impl Outlet<Link = L>) -> bool {
        let was_half_open = self.half_open.remove(&circ).is_some();
        let Some(entry) = self.entries.remove(&circ) else { return was_half_open };
        self.count_end(&entry, reason);
        self.release(circ, entry, reason, out);
        true
    }

    fn count_end(&mut self, entry: &Entry<L>, reason: DestroyReason) {
        // Whoever wanted that one opened counts its own circuit.
        if !matches!(entry, Entry::Opening { .. }) {
            self.counts.end(reason);
        }
    }

    /// Tells whoever holds the other part of a circuit that this part is gone.
    fn release(&self, circ: CircId, entry: Entry<L>, reason: DestroyReason, out: &mut impl Outlet<Link = L>) {
        let other = match entry {
            Entry::Opening { origin, .. } => {
                let reason = if reason == DestroyReason::None { DestroyReason::ConnectFailed } else { reason };
                return out.tell(&origin.0, LinkEvent::OpenFailed { circ: origin.1, reason });
            }
            // The origin may still take itself to be extending, or have extended already.
            Entry::Opened { origin, .. } | Entry::Origin { origin } => origin,
            Entry::Backward { previous, .. } => previous,
            Entry::Forward { next, .. } => next,
            Entry::Joining(Joining { other, .. }) | Entry::Joined(Joined { other, .. }) => other,
            Entry::LastHop(hop) => match hop.other() {
                Some(other) => other.clone(),
                None => return hop.leave_tables(&(self.here.link.clone(), circ), out),
            },
        };
        out.tell(&other.0, LinkEvent::Destroy { circ: other.1, reason });
    }

    /// Another circuit brings a fragment to one that waits here, with the last its backward half.
    fn visited(
        &mut self,
        circ: CircId,
        comer: (L, CircId),
        fragment: Fragment,
        half: Option<Box<RelayBackward>>,
        out: &mut impl Outlet<Link = L>,
    ) {
        let waits = match self.entries.get_mut(&circ) {
            Some(Entry::LastHop(hop)) => hop.visited(circ, &comer, fragment, out).is_ok(),
            _ => false,
        };
        if !waits {
            out.tell(&comer.0, LinkEvent::Destroy { circ: comer.1, reason: DestroyReason::Requested });
        } else if let Some(onward) = half
            && let Some(Entry::LastHop(hop)) = self.entries.remove(&circ)
        {
            self.entries.insert(circ, Entry::Joined(hop.join(onward, comer, out)));
        }
    }

    /// The circuit that waited has sent its backward half.
    fn joined(&mut self, circ: CircId, onward: Box<RelayBackward>, out: &mut impl Outlet<Link = L>) {
        match self.entries.remove(&circ) {
            Some(Entry::Joining(joining)) => {
                let (joined, outcome) = joining.join(onward, out);
                self.entries.insert(circ, Entry::Joined(joined));
                if outcome.is_err() {
                    self.destroy(circ, DestroyReason::Protocol, out);
                }
            }
            Some(other) => {
                self.entries.insert(circ, other);
            }
            None => {}
        }
    }
}
