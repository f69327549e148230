//! The circuits whose cells arrive on one link of a relay.
//!
//! - `meetings`: introductions and rendezvous, at the last hop

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use foldhash::quality::RandomState;
use thiserror::Error;

use self::meetings::IntroductionPoint;
use super::counts::CircuitCounts;
use super::handshakes::{Answer, Answered, Request};
use super::introductions::Verdict;
pub use super::keys::RelayKeys;
use super::streams::{Originate, StreamError, Streams, StreamsEnv};
use crate::cell::fragment::{Assembler, Fragment, FragmentError, split};
use crate::cell::introduction::{Introduction, IntroductionId};
use crate::cell::message::{Cookie, RelayMessage, RelayMessageError};
use crate::cell::{Cell, CircId, Command, DestroyReason, LinkEnd, MAX_EARLY};
use crate::crypto::cgo::{RelayBackward, RelayForward, Tag};
use crate::crypto::handshake::{CLIENT_MESSAGE_LEN, SERVER_MESSAGE_LEN};
use crate::crypto::keys::RelayIdentity;
use crate::stream::{StreamId, StreamWaker};
use crate::time::{Instant, Now};
use crate::token_bucket::TokenBucket;

mod meetings;

/// How long a handshake may take, ours or the peer's.
const HANDSHAKE_TIME: Duration = Duration::from_secs(8);

/// Handshakes of the peer that may be under way at once on one link.
const MAX_HALF_OPEN: usize = 256;

/// Circuits that a client may open over one link each second, and how many at once.
const CLIENT_RATE: (u32, u32) = (500, 1000);

/// The same for a relay, which speaks for many clients.
const RELAY_RATE: (u32, u32) = (5000, 10_000);

/// Handshakes of the peer that may wait for an answer at once, those included that it has given up: of a client, and of a
/// relay, which speaks for many.
const MAX_UNANSWERED: (usize, usize) = (64, 512);

/// Circuits on one link: of a client, and of a relay.
const MAX_CIRCUITS: (usize, usize) = (2048, 65_536);

/// Cells that a joining circuit may send before the other half has come over.
const MAX_PENDING: usize = 256;

/// Makes what wakes the streams of one link: the driver hands the link a [`LinkEvent::Wake`].
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

    fn waker(&self, circ: CircId, stream: StreamId) -> StreamWaker {
        let wake = Arc::clone(&self.0);
        StreamWaker::new(move || wake(circ, stream))
    }
}

/// What a circuit does to the rest of its relay. The driver carries it out at once.
pub trait Outlet {
    /// A link of this relay, as its other links know it.
    type Link: Clone + PartialEq;

    /// Queues a cell on the link that the [`Circuits`] belong to.
    fn send(&mut self, cell: &Cell);

    /// Says no to a circuit that does not exist. A courtesy: it is left out when the peer reads too little.
    fn refuse(&mut self, circ: CircId, reason: DestroyReason);

    /// Queues a cell on another link.
    fn forward(&mut self, link: &Self::Link, cell: &Cell);

    /// Hands a note to the owner of another link (or of this one). When that link is gone, what [`LinkEvent::into_failure`]
    /// gives has to come back; other notes may be dropped, since a closing link tells all whom it concerns.
    fn tell(&mut self, link: &Self::Link, note: LinkEvent<Self::Link>);

    /// Hands the note to a link towards that relay, opening one if there is none. The relay's address comes from the
    /// consensus alone. On failure the note comes back as [`LinkEvent::OpenFailed`].
    fn connect(&mut self, relay: RelayIdentity, note: LinkEvent<Self::Link>);

    /// Has a client's handshake answered, away from this link; what comes of it has to come back as a note.
    fn answer(&mut self, request: Request<Self::Link>);

    /// Lets a circuit of this link wait for whoever has the cookie; `false` if it cannot.
    fn establish(&mut self, cookie: Cookie, circ: CircId) -> bool;

    /// Lets a circuit of this link wait no longer for the cookie, if it still does.
    fn withdraw(&mut self, cookie: &Cookie, circ: CircId);

    /// Takes out whoever waits for the cookie.
    fn take_waiting(&mut self, cookie: &Cookie) -> Option<(Self::Link, CircId)>;

    /// Lets a circuit of this link take what comes for these ids; `false` if it cannot.
    fn take_ids(&mut self, ids: &[IntroductionId], circ: CircId) -> bool;

    /// Lets a circuit of this link take nothing more for these ids, if it still does.
    fn release_ids(&mut self, ids: &[IntroductionId], circ: CircId);

    /// Decides about an introduction.
    fn introduce(&mut self, now: Instant, introduction: &Introduction) -> Verdict<Self::Link>;
}

/// What the owners of a relay's links tell each other. `circ` is always an id on the recipient's link.
#[derive(Debug)]
pub enum LinkEvent<L> {
    /// Open a circuit towards your peer with this handshake.
    Open {
        /// Whose circuit is to be extended.
        origin: (L, CircId),
        /// The client's handshake message, for the next relay.
        message: Vec<u8>,
    },
    /// What has become of the handshake that your peer sent.
    Answered {
        /// The circuit that is being opened.
        circ: CircId,
        /// Which of the handshakes on this id it was.
        ticket: u64,
        /// The answer, or why there is none.
        answer: Result<Box<Answer>, DestroyReason>,
    },
    /// Give up a circuit, the one with most waiting: the relay has too much to keep.
    Shed,
    /// A stream's handler can go on.
    Wake {
        /// The circuit.
        circ: CircId,
        /// The stream.
        stream: StreamId,
    },
    /// The circuit that you wanted opened is open; extend the client's and send your backward half.
    Opened {
        /// The circuit that is being extended.
        circ: CircId,
        /// The new circuit.
        next: (L, CircId),
        /// The next relay's handshake message.
        message: Vec<u8>,
    },
    /// The circuit that you wanted opened could not be.
    OpenFailed {
        /// The circuit that was to be extended.
        circ: CircId,
        /// Why.
        reason: DestroyReason,
    },
    /// From now on this backward half is yours: cells of `circ` go on to `previous`.
    Adopt {
        /// The new circuit.
        circ: CircId,
        /// The half that moves cells back to the client.
        half: Box<RelayBackward>,
        /// Where they go.
        previous: (L, CircId),
    },
    /// The other part of this circuit is gone.
    Destroy {
        /// The circuit.
        circ: CircId,
        /// Why.
        reason: DestroyReason,
    },
    /// Somebody has come to whoever waits on this circuit.
    Visit {
        /// The waiting circuit.
        circ: CircId,
        /// The circuit of whoever has come.
        comer: (L, CircId),
        /// One third of their message.
        fragment: Box<Fragment>,
        /// With the last third: their backward half. The two circuits are joined.
        half: Option<Box<RelayBackward>>,
    },
    /// The circuit that waited is joined to this one.
    Joined {
        /// The circuit that came.
        circ: CircId,
        /// The backward half of the one that waited.
        half: Box<RelayBackward>,
    },
    /// Somebody has brought this for an id of this circuit.
    Introduce {
        /// The circuit that takes it.
        circ: CircId,
        /// What it takes.
        introduction: Box<Introduction>,
    },
}

impl<L> From<Answered> for LinkEvent<L> {
    fn from(Answered { circ, ticket, answer }: Answered) -> Self {
        Self::Answered { circ, ticket, answer }
    }
}

impl<L> LinkEvent<L> {
    /// For a note that asks something of a link that is gone: who asked, and the note that says so.
    pub fn into_failure(self, reason: DestroyReason) -> Option<(L, Self)> {
        match self {
            Self::Open { origin: (link, circ), .. } => Some((link, Self::OpenFailed { circ, reason })),
            Self::Visit { comer: (link, circ), .. } => Some((link, Self::Destroy { circ, reason })),
            _ => None,
        }
    }
}

/// The circuits whose cells arrive on one link.
pub struct Circuits<L> {
    this: L,
    end: LinkEnd,
    peer: Option<RelayIdentity>,
    keys: Arc<RelayKeys>,
    /// Looked into for every cell: with a hash that is fast, and has a seed that peers do not know.
    entries: HashMap<CircId, Entry<L>, RandomState>,
    half_open: HashMap<CircId, HalfOpen>,
    deadlines: VecDeque<(Instant, CircId)>,
    wakers: StreamWakers,
    /// When circuits whose streams wait for something are looked at, the earliest first.
    stream_deadlines: BinaryHeap<Reverse<(Instant, CircId)>>,
    /// Bytes of memory that the streams of all circuits hold.
    held: Arc<AtomicUsize>,
    next_id: u32,
    next_ticket: u64,
    creates: TokenBucket,
    /// Handshakes that wait for an answer.
    unanswered: usize,
    counts: CircuitCounts,
}

/// A handshake of the peer that has not come whole yet, or is being answered.
struct HalfOpen {
    message: Assembler,
    deadline: Instant,
    /// By which the answer will be known.
    ticket: Option<u64>,
}

enum Entry<L> {
    /// We sent a CREATE for somebody's EXTEND and collect the answer.
    Opening { origin: (L, CircId), answer: Assembler, deadline: Instant },
    /// The answer is with the owner of the client's side; the backward half is on its way.
    Opened { origin: (L, CircId), deadline: Instant },
    /// Moves cells back towards the client.
    Backward { half: Box<RelayBackward>, previous: (L, CircId) },
    /// Moves cells away from the client.
    Forward { half: Box<RelayForward>, next: (L, CircId), early: u8 },
    /// We are the last hop.
    End(Box<End<L>>),
    /// A circuit that has come to one that waited; its cells wait for that one's backward half.
    Joining { half: Box<RelayForward>, other: (L, CircId), pending: VecDeque<Cell> },
    /// Moves cells from one client on to the other.
    Joined { half: Box<RelayForward>, onward: Box<RelayBackward>, other: (L, CircId) },
}

struct End<L> {
    forward: Box<RelayForward>,
    backward: Box<RelayBackward>,
    early: u8,
    /// None until the first: most circuits never have any at most of their hops.
    streams: Option<Box<Streams>>,
    /// For when `stream_deadlines` has an entry for this circuit.
    look_at: Option<Instant>,
    state: EndState<L>,
}

enum EndState<L> {
    Idle {
        tries: u8,
    },
    /// Collecting the fragments of an EXTEND.
    Extend {
        relay: RelayIdentity,
        message: Assembler,
    },
    /// The next hop's link is opening a circuit for us.
    Extending,
    Waiting {
        cookie: Cookie,
    },
    /// Waited, and has got `seen` fragments of whoever has come.
    Visited {
        comer: (L, CircId),
        seen: u8,
    },
    /// Has given `given` fragments to whoever waits; to nobody where there is none.
    Coming {
        waiter: Option<(L, CircId)>,
        given: u8,
        tries: u8,
    },
    /// Collects the fragments of an introduction.
    Introducing {
        message: Assembler,
        tries: u8,
    },
    /// Takes what comes for ids.
    Introduction(Box<IntroductionPoint>),
}

impl<L> EndState<L> {
    /// Nothing is under way.
    const IDLE: Self = Self::Idle { tries: 0 };
}

/// Why a circuit was destroyed for something that its client did.
#[derive(Debug, PartialEq, Eq, Error)]
pub enum CircuitViolation {
    /// A message that cannot be read.
    #[error(transparent)]
    Message(#[from] RelayMessageError),
    /// A handshake fragment out of its turn.
    #[error(transparent)]
    Fragment(#[from] FragmentError),
    /// A message that this state does not allow.
    #[error("the client sent {0}, which the circuit's state does not allow")]
    Unexpected(&'static str),
    /// A cell that is for nobody.
    #[error("the last hop does not recognise the cell")]
    Unrecognised,
    /// More early cells than a circuit may carry.
    #[error("the client sent more than {MAX_EARLY} early cells")]
    TooManyEarly,
    /// An extension that leads nowhere.
    #[error("the client asked to extend to this relay or to the one before it")]
    Loop,
    /// What streams do not allow.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// More than may be kept for it.
    #[error("the circuit keeps too much waiting")]
    TooMuch,
}

type Outcome = Result<(), CircuitViolation>;

impl<L: Clone + PartialEq> Circuits<L> {
    /// No circuits yet on link `this`, of which this relay is `end`; `peer` is the relay at the other end, if it is one.
    ///
    /// `wakers` wake the streams of its circuits.
    pub fn new(
        now: Instant,
        this: L,
        end: LinkEnd,
        peer: Option<RelayIdentity>,
        keys: Arc<RelayKeys>,
        wakers: StreamWakers,
    ) -> Self {
        let (rate, burst) = if peer.is_some() { RELAY_RATE } else { CLIENT_RATE };
        Self {
            this,
            end,
            peer,
            keys,
            entries: HashMap::default(),
            half_open: HashMap::new(),
            deadlines: VecDeque::new(),
            wakers,
            stream_deadlines: BinaryHeap::new(),
            held: Arc::default(),
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
        self.held.load(Ordering::Relaxed)
    }

    /// Ends handshakes, and streams, that have taken too long.
    pub fn handle_timeout(&mut self, clock: Now, out: &mut impl Outlet<Link = L>) {
        let now = clock.instant;
        while let Some(Reverse((at, circ))) = self.stream_deadlines.peek().copied()
            && at <= now
        {
            self.stream_deadlines.pop();
            if let Some(Entry::End(end)) = self.entries.get_mut(&circ)
                && end.look_at == Some(at)
            {
                end.look_at = None;
                self.with_streams(clock, circ, out, |streams, env, circuit| {
                    streams.handle_timeout(env, circuit);
                    Ok(())
                })
                .unwrap_or_default();
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
            Command::Relay | Command::RelayEarly => match self.entries.get_mut(&circ) {
                Some(Entry::Forward { half, next, early }) => {
                    if !count_early(early, cell.command) {
                        Err(CircuitViolation::TooManyEarly)
                    } else if half.process(cell.command as u8, &mut cell.body).is_some() {
                        only_drop(cell)
                    } else {
                        cell.circ = next.1;
                        out.forward(&next.0, cell);
                        Ok(())
                    }
                }
                Some(Entry::Backward { half, previous }) if cell.command == Command::Relay => {
                    half.pass(cell.command as u8, &mut cell.body);
                    cell.circ = previous.1;
                    out.forward(&previous.0, cell);
                    Ok(())
                }
                Some(Entry::Joined { half, onward, other }) if cell.command == Command::Relay => {
                    pass_joined(half, onward, other, cell, out)
                }
                Some(Entry::Joining { pending, .. }) if cell.command == Command::Relay => {
                    if pending.len() < MAX_PENDING {
                        pending.push_back(cell.clone());
                        Ok(())
                    } else {
                        Err(CircuitViolation::TooMuch)
                    }
                }
                Some(Entry::End(_)) => self.handle_at_end(now, cell, out),
                Some(_) => Err(CircuitViolation::Unexpected("a relay cell")),
                None if self.half_open.contains_key(&circ) => {
                    Err(CircuitViolation::Unexpected("a relay cell before the handshake is done"))
                }
                None => {
                    out.refuse(circ, DestroyReason::NoSuchCircuit);
                    Ok(())
                }
            },
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

    /// Handles what another link's owner has to say.
    pub fn handle_note(&mut self, clock: Now, note: LinkEvent<L>, out: &mut impl Outlet<Link = L>) {
        let now = clock.instant;
        match note {
            LinkEvent::Wake { circ, stream } => self
                .with_streams(clock, circ, out, |streams, env, circuit| {
                    streams.wake(stream, env, circuit);
                    Ok(())
                })
                .unwrap_or_default(),
            LinkEvent::Open { origin, message } => self.open(now, origin, &message, out),
            LinkEvent::Answered { circ, ticket, answer } => self.answered(circ, ticket, answer, out),
            // The link itself sees to that: it has the queue.
            LinkEvent::Shed => {}
            LinkEvent::Opened { circ, next, message } => self.opened(circ, next, &message, out),
            LinkEvent::OpenFailed { circ, reason } => {
                // Only the circuit that asked may end by this: it can be long gone, and its id used anew.
                if self.end_state(circ).is_some_and(|state| matches!(state, EndState::Extending)) {
                    self.destroy(circ, reason, out);
                }
            }
            LinkEvent::Adopt { circ, half, previous } => match self.entries.get_mut(&circ) {
                Some(entry @ Entry::Opened { .. }) => *entry = Entry::Backward { half, previous },
                _ => out.tell(&previous.0, LinkEvent::Destroy { circ: previous.1, reason: DestroyReason::LinkClosed }),
            },
            LinkEvent::Destroy { circ, reason } => {
                if let Some(entry) = self.entries.remove(&circ) {
                    // Whoever told us has already forgotten its part. It may have been another circuit's, which had the id
                    // before: then this one is in a table, perhaps.
                    if let Entry::End(end) = entry {
                        leave_tables(circ, &end.state, out);
                    }
                    out.send(&Cell::destroy(circ, reason));
                }
            }
            LinkEvent::Visit { circ, comer, fragment, half } => {
                if !self.visited(circ, &comer, *fragment, half, out) {
                    out.tell(&comer.0, LinkEvent::Destroy { circ: comer.1, reason: DestroyReason::Requested });
                }
            }
            LinkEvent::Introduce { circ, introduction } => self.introduced(now, circ, &introduction, out),
            LinkEvent::Joined { circ, half } => self.joined(circ, half, out),
        }
    }

    /// Ends all circuits because the link is gone; nothing more may be sent on it.
    pub fn close(&mut self, out: &mut impl Outlet<Link = L>) {
        self.half_open.clear();
        self.deadlines.clear();
        for (circ, entry) in std::mem::take(&mut self.entries) {
            self.count_end(&entry, DestroyReason::LinkClosed);
            release(circ, entry, DestroyReason::LinkClosed, out);
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
            release(circ, entry, reason, out);
        }
    }

    /// Whether there is such a circuit.
    pub(super) fn contains(&self, circ: CircId) -> bool {
        self.entries.contains_key(&circ)
    }

    /// Of two limits, for a client and for a relay, the one that holds for the peer.
    const fn of_peer(&self, limits: (usize, usize)) -> usize {
        if self.peer.is_some() { limits.1 } else { limits.0 }
    }

    /// Takes a circuit or a handshake out of the tables, and tells the other side; `false` when there is none.
    fn forget(&mut self, circ: CircId, reason: DestroyReason, out: &mut impl Outlet<Link = L>) -> bool {
        let was_half_open = self.half_open.remove(&circ).is_some();
        let Some(entry) = self.entries.remove(&circ) else { return was_half_open };
        self.count_end(&entry, reason);
        release(circ, entry, reason, out);
        true
    }

    fn count_end(&mut self, entry: &Entry<L>, reason: DestroyReason) {
        // Whoever wanted that one opened counts its own circuit.
        if !matches!(entry, Entry::Opening { .. }) {
            self.counts.end(reason);
        }
    }

    fn end_state(&mut self, circ: CircId) -> Option<&mut EndState<L>> {
        match self.entries.get_mut(&circ) {
            Some(Entry::End(end)) => Some(&mut end.state),
            _ => None,
        }
    }

    fn handle_create(&mut self, now: Instant, cell: &Cell, out: &mut impl Outlet<Link = L>) -> Outcome {
        let circ = cell.circ;
        if circ.chosen_by() == self.end || self.entries.contains_key(&circ) {
            return Err(CircuitViolation::Unexpected("a Create on an id that is not free"));
        }
        let fragment = Fragment::in_cell(cell);
        if !self.half_open.contains_key(&circ) {
            if fragment.index != 0 {
                // The rest of a handshake that was refused.
                out.refuse(circ, DestroyReason::NoSuchCircuit);
                return Ok(());
            }
            let full = self.half_open.len() >= MAX_HALF_OPEN
                || self.entries.len() + self.half_open.len() >= self.of_peer(MAX_CIRCUITS)
                || self.unanswered >= self.of_peer(MAX_UNANSWERED);
            if full || !self.creates.take(now) {
                self.counts.handshakes_refused += 1;
                out.refuse(circ, DestroyReason::ResourceLimit);
                return Ok(());
            }
            let deadline = now + HANDSHAKE_TIME;
            self.deadlines.push_back((deadline, circ));
            self.half_open.insert(circ, HalfOpen { message: Assembler::default(), deadline, ticket: None });
        }
        let Some(half_open) = self.half_open.get_mut(&circ) else { return Ok(()) };
        if half_open.ticket.is_some() {
            return Err(CircuitViolation::Unexpected("a fourth Create"));
        }
        let Some(mut message) = half_open.message.push(&fragment)? else { return Ok(()) };
        message.truncate(CLIENT_MESSAGE_LEN);
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        half_open.ticket = Some(ticket);
        self.unanswered += 1;
        out.answer(Request::new((self.this.clone(), circ), ticket, message, self.keys.clone()));
        Ok(())
    }

    /// A handshake is answered, here or elsewhere.
    fn answered(
        &mut self,
        circ: CircId,
        ticket: u64,
        answer: Result<Box<Answer>, DestroyReason>,
        out: &mut impl Outlet<Link = L>,
    ) {
        self.unanswered = self.unanswered.saturating_sub(1);
        match &answer {
            Ok(_) => self.counts.handshakes_answered += 1,
            Err(DestroyReason::ResourceLimit) => self.counts.handshakes_refused += 1,
            Err(_) => self.counts.handshakes_failed += 1,
        }
        // The client may have given up meanwhile, and even have begun anew with the same id.
        if self.half_open.get(&circ).and_then(|half_open| half_open.ticket) != Some(ticket) {
            return;
        }
        match answer {
            Ok(answer) => {
                self.half_open.remove(&circ);
                let Answer { message, forward, backward } = *answer;
                let end = End { forward, backward, early: 0, streams: None, look_at: None, state: EndState::IDLE };
                self.entries.insert(circ, Entry::End(Box::new(end)));
                for fragment in split(&message) {
                    out.send(&fragment.to_cell(circ, Command::Created));
                }
            }
            Err(reason) => self.destroy(circ, reason, out),
        }
    }

    fn handle_created(&mut self, cell: &Cell, out: &mut impl Outlet<Link = L>) -> Outcome {
        let fragment = Fragment::in_cell(cell);
        let Some(entry) = self.entries.get_mut(&cell.circ) else {
            if self.half_open.contains_key(&cell.circ) {
                return Err(CircuitViolation::Unexpected("a Created for a circuit of its own"));
            }
            out.refuse(cell.circ, DestroyReason::NoSuchCircuit);
            return Ok(());
        };
        let Entry::Opening { origin, answer, deadline } = entry else {
            return Err(CircuitViolation::Unexpected("a Created"));
        };
        let Some(mut message) = answer.push(&fragment)? else { return Ok(()) };
        message.truncate(SERVER_MESSAGE_LEN);
        let (origin, deadline) = (origin.clone(), *deadline);
        let note = LinkEvent::Opened { circ: origin.1, next: (self.this.clone(), cell.circ), message };
        out.tell(&origin.0, note);
        *entry = Entry::Opened { origin, deadline };
        Ok(())
    }

    fn open(&mut self, now: Instant, origin: (L, CircId), message: &[u8], out: &mut impl Outlet<Link = L>) {
        if self.entries.len() >= self.of_peer(MAX_CIRCUITS) {
            let note = LinkEvent::OpenFailed { circ: origin.1, reason: DestroyReason::ResourceLimit };
            return out.tell(&origin.0, note);
        }
        // Few of the 2³¹ ids are taken, so this ends soon.
        let circ = loop {
            let circ = self.end.circ_id(self.next_id);
            self.next_id = self.next_id.wrapping_add(1);
            if !self.entries.contains_key(&circ) {
                break circ;
            }
        };
        let deadline = now + HANDSHAKE_TIME;
        self.entries.insert(circ, Entry::Opening { origin, answer: Assembler::default(), deadline });
        self.deadlines.push_back((deadline, circ));
        for fragment in split(message) {
            out.send(&fragment.to_cell(circ, Command::Create));
        }
    }

    fn opened(&mut self, circ: CircId, next: (L, CircId), message: &[u8], out: &mut impl Outlet<Link = L>) {
        match self.entries.remove(&circ) {
            Some(Entry::End(mut end)) if matches!(end.state, EndState::Extending) => {
                for fragment in split(message) {
                    originate(&mut end.backward, circ, &RelayMessage::Extended(fragment), out);
                }
                let End { forward, backward, early, .. } = *end;
                let previous = (self.this.clone(), circ);
                out.tell(&next.0, LinkEvent::Adopt { circ: next.1, half: backward, previous });
                self.entries.insert(circ, Entry::Forward { half: forward, next, early });
            }
            other => {
                out.tell(&next.0, LinkEvent::Destroy { circ: next.1, reason: DestroyReason::Requested });
                if let Some(entry) = other {
                    self.entries.insert(circ, entry);
                }
            }
        }
    }

    fn handle_at_end(&mut self, now: Now, cell: &mut Cell, out: &mut impl Outlet<Link = L>) -> Outcome {
        let circ = cell.circ;
        let Some(Entry::End(end)) = self.entries.get_mut(&circ) else { return Ok(()) };
        let tag = end.forward.process(cell.command as u8, &mut cell.body).ok_or(CircuitViolation::Unrecognised)?;
        if !count_early(&mut end.early, cell.command) {
            return Err(CircuitViolation::TooManyEarly);
        }
        let message = RelayMessage::in_cell(cell)?;
        if message.is_early() != (cell.command == Command::RelayEarly) {
            return Err(CircuitViolation::Unexpected("an Extend that is not early, or another message that is"));
        }
        let leaves_idle = matches!(
            message,
            RelayMessage::Extend { .. }
                | RelayMessage::EstablishIntro { .. }
                | RelayMessage::Introduce1(_)
                | RelayMessage::EstablishRendezvous(_)
                | RelayMessage::Rendezvous1 { .. }
        );
        if leaves_idle && end.streams.as_ref().is_some_and(|streams| !streams.is_empty()) {
            return Err(CircuitViolation::Unexpected("something else to do while streams are open"));
        }
        match (&mut end.state, message) {
            (_, RelayMessage::Drop) => Ok(()),
            (state @ EndState::Idle { .. }, RelayMessage::Extend { relay: Some(relay), fragment }) => {
                let relay = RelayIdentity::from(relay);
                if relay == self.keys.identity || Some(relay) == self.peer {
                    return Err(CircuitViolation::Loop);
                }
                let mut message = Assembler::default();
                message.push(&fragment)?;
                *state = EndState::Extend { relay, message };
                Ok(())
            }
            (
                EndState::Idle { .. },
                message @ (RelayMessage::Begin { .. }
                | RelayMessage::Data { .. }
                | RelayMessage::Sendme { .. }
                | RelayMessage::End { .. }),
            ) => {
                let held = &self.held;
                end.streams.get_or_insert_with(|| Box::new(Streams::new(Arc::clone(held))));
                self.with_streams(now, circ, out, |streams, env, circuit| streams.handle(message, &tag, env, circuit))
            }
            (EndState::Extend { relay, message }, RelayMessage::Extend { relay: None, fragment }) => {
                let Some(mut message) = message.push(&fragment)? else { return Ok(()) };
                message.truncate(CLIENT_MESSAGE_LEN);
                let relay = *relay;
                end.state = EndState::Extending;
                out.connect(relay, LinkEvent::Open { origin: (self.this.clone(), circ), message });
                Ok(())
            }
            (
                _,
                message @ (RelayMessage::EstablishIntro { .. }
                | RelayMessage::Introduce1(_)
                | RelayMessage::EstablishRendezvous(_)
                | RelayMessage::Rendezvous1 { .. }),
            ) => self.handle_meeting(now.instant, circ, message, out),
            _ => Err(CircuitViolation::Unexpected("a relay message")),
        }
    }

    /// Does something with the streams of a circuit that ends here, if it has any.
    fn with_streams<O: Outlet<Link = L>>(
        &mut self,
        now: Now,
        circ: CircId,
        out: &mut O,
        act: impl FnOnce(&mut Streams, &StreamsEnv<'_>, &mut LastHop<'_, O>) -> Result<(), StreamError>,
    ) -> Outcome {
        let Some(Entry::End(end)) = self.entries.get_mut(&circ) else { return Ok(()) };
        let Some(streams) = &mut end.streams else { return Ok(()) };
        let waker = |stream| self.wakers.waker(circ, stream);
        let env = StreamsEnv { now, services: &self.keys.services, waker: &waker };
        act(streams, &env, &mut LastHop { backward: &mut end.backward, circ, out })?;
        if let Some(at) = streams.poll_timeout()
            && end.look_at.is_none_or(|look_at| at < look_at)
        {
            end.look_at = Some(at);
            self.stream_deadlines.push(Reverse((at, circ)));
        }
        Ok(())
    }

    /// Ends the circuits whose streams hold most, until at least so many bytes are free.
    pub(super) fn shed_streams(&mut self, bytes: usize, out: &mut impl Outlet<Link = L>) {
        let enough = self.held().saturating_sub(bytes);
        let held = |(circ, entry): (&CircId, &Entry<L>)| match entry {
            Entry::End(end) => end.streams.as_ref().map(|streams| (streams.held(), *circ)),
            _ => None,
        };
        while self.held() > enough
            && let Some((_, circ)) = self.entries.iter().filter_map(held).max()
        {
            self.counts.overruns += 1;
            self.destroy(circ, DestroyReason::ResourceLimit, out);
        }
    }

    fn joined(&mut self, circ: CircId, mut onward: Box<RelayBackward>, out: &mut impl Outlet<Link = L>) {
        if !matches!(self.entries.get(&circ), Some(Entry::Joining { .. })) {
            return;
        }
        let Some(Entry::Joining { mut half, other, pending }) = self.entries.remove(&circ) else { return };
        let outcome =
            pending.into_iter().try_for_each(|mut cell| pass_joined(&mut half, &mut onward, &other, &mut cell, out));
        self.entries.insert(circ, Entry::Joined { half, onward, other });
        if outcome.is_err() {
            self.destroy(circ, DestroyReason::Protocol, out);
        }
    }
}

/// Tells whoever holds the other part of a circuit that this part is gone.
fn release<L: Clone + PartialEq>(
    circ: CircId,
    entry: Entry<L>,
    reason: DestroyReason,
    out: &mut impl Outlet<Link = L>,
) {
    let other = match entry {
        Entry::Opening { origin, .. } => {
            let reason = if reason == DestroyReason::None { DestroyReason::ConnectFailed } else { reason };
            return out.tell(&origin.0, LinkEvent::OpenFailed { circ: origin.1, reason });
        }
        // The origin may still take itself to be extending, or have extended already.
        Entry::Opened { origin, .. } => origin,
        Entry::Backward { previous, .. } => previous,
        Entry::Forward { next, .. } => next,
        Entry::Joining { other, .. } | Entry::Joined { other, .. } => other,
        Entry::End(end) => match end.state {
            EndState::Visited { comer: other, .. } | EndState::Coming { waiter: Some(other), .. } => other,
            state => return leave_tables(circ, &state, out),
        },
    };
    out.tell(&other.0, LinkEvent::Destroy { circ: other.1, reason });
}

/// Takes a circuit out of the tables of those that others look for.
fn leave_tables<L>(circ: CircId, state: &EndState<L>, out: &mut impl Outlet<Link = L>) {
    match state {
        EndState::Waiting { cookie } => out.withdraw(cookie, circ),
        EndState::Introduction(point) => out.release_ids(&point.ids, circ),
        EndState::Idle { .. }
        | EndState::Extend { .. }
        | EndState::Extending
        | EndState::Visited { .. }
        | EndState::Coming { .. }
        | EndState::Introducing { .. } => {}
    }
}

fn count_early(early: &mut u8, command: Command) -> bool {
    if command == Command::RelayEarly {
        *early += 1;
    }
    *early <= MAX_EARLY
}

fn pass_joined<L>(
    half: &mut RelayForward,
    onward: &mut RelayBackward,
    other: &(L, CircId),
    cell: &mut Cell,
    out: &mut impl Outlet<Link = L>,
) -> Outcome {
    if half.process(cell.command as u8, &mut cell.body).is_some() {
        return only_drop(cell);
    }
    onward.pass(cell.command as u8, &mut cell.body);
    cell.circ = other.1;
    out.forward(&other.0, cell);
    Ok(())
}

/// A relay that is not the last hop takes nothing from the client but padding.
fn only_drop(cell: &Cell) -> Outcome {
    match RelayMessage::in_cell(cell)? {
        RelayMessage::Drop => Ok(()),
        _ => Err(CircuitViolation::Unexpected("a message for a hop that is not the last")),
    }
}

/// The backward half of a circuit that ends here, as its streams see it.
struct LastHop<'a, O> {
    backward: &'a mut RelayBackward,
    circ: CircId,
    out: &'a mut O,
}

impl<O: Outlet> Originate for LastHop<'_, O> {
    fn message(&mut self, message: &RelayMessage) -> Tag {
        originate(self.backward, self.circ, message, self.out)
    }

    fn data(&mut self, stream: StreamId, bytes: &[u8]) -> Tag {
        originate_cell(self.backward, RelayMessage::data_cell(self.circ, stream, bytes), self.out)
    }
}

/// Queues a cell of this relay's own; gives its tag.
fn originate<L>(
    half: &mut RelayBackward,
    circ: CircId,
    message: &RelayMessage,
    out: &mut impl Outlet<Link = L>,
) -> Tag {
    originate_cell(half, message.to_cell(circ, Command::Relay), out)
}

fn originate_cell(half: &mut RelayBackward, mut cell: Cell, out: &mut impl Outlet) -> Tag {
    let tag = half.originate(cell.command as u8, &mut cell.body);
    out.send(&cell);
    tag
}
