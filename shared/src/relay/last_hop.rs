//! The last hop of a circuit: what a relay does for the client at the other end.
//!
//! # Layout
//!
//! A file for each state:
//!
//! - `fresh`: nothing is under way
//! - `streams`: the same, with streams to the relay's services
//! - `extending`: the circuit is about to get another hop, and will not end here any more
//! - `introducing`: an introduction arrives for somebody else's circuit
//! - `intro_point`: the circuit takes introductions
//! - `rendezvous_waiting`: the circuit waits for another with the same cookie
//! - `rendezvous_arriving`: the circuit goes to one that waits
//! - `joining`, `joined`: the two have met, and their cells pass

mod extending;
mod fresh;
mod intro_point;
mod introducing;
pub(super) mod joined;
pub(super) mod joining;
mod rendezvous_arriving;
mod rendezvous_waiting;
mod streams;

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use self::extending::Extending;
use self::fresh::Fresh;
use self::intro_point::IntroPoint;
use self::introducing::Introducing;
use self::joined::Joined;
use self::joining::Joining;
use self::rendezvous_arriving::RendezvousArriving;
use self::rendezvous_waiting::RendezvousWaiting;
use super::keys::RelayKeys;
use super::link_event::LinkEvent;
use super::outlet::{Outlet, originate};
use super::streams::{StreamWakers, Streams};
use super::tables::Tables as _;
use super::violation::{CircuitViolation, Outcome, count_early};
use crate::cell::fragment::{Fragment, split};
use crate::cell::introduction::Introduction;
use crate::cell::message::RelayMessage;
use crate::cell::{Cell, CircId, Command};
use crate::crypto::cgo::{RelayBackward, RelayForward};
use crate::crypto::keys::RelayIdentity;
use crate::time::{Instant, Now};

/// Cookies and introductions that may be tried on one circuit.
const MAX_TRIES: u8 = 32;

/// What all circuits on a link have in common.
pub(super) struct Here<L> {
    /// The link.
    pub(super) link: L,
    /// The relay at its other end, if it is one.
    pub(super) peer: Option<RelayIdentity>,
    /// This relay's keys and services.
    pub(super) keys: Arc<RelayKeys>,
    /// Wake the streams of these circuits.
    pub(super) wakers: StreamWakers,
    /// Bytes of memory that their streams hold.
    pub(super) held: Arc<AtomicUsize>,
}

/// A circuit that ends at this relay.
pub(super) struct LastHop<L> {
    forward: Box<RelayForward>,
    backward: Box<RelayBackward>,
    early: u8,
    /// None until the first: most circuits never have any at most of their hops.
    streams: Option<Box<Streams>>,
    /// When the owner was told to look at the streams.
    look_at: Option<Instant>,
    state: State<L>,
}

enum State<L> {
    Fresh(Fresh),
    Extending(Extending),
    Introducing(Introducing),
    IntroPoint(Box<IntroPoint>),
    RendezvousWaiting(RendezvousWaiting<L>),
    RendezvousArriving(RendezvousArriving<L>),
}

/// What a message makes of a state.
enum Next<L> {
    Stay,
    Become(State<L>),
    /// Nothing is under way any more, after so many tries.
    Fresh(u8),
    /// This circuit and the one that waits have met: it takes the last fragment and the backward half.
    Meet(Meeting<L>),
}

/// Two circuits meet.
pub(super) struct Meeting<L> {
    waiting: (L, CircId),
    fragment: Box<Fragment>,
}

/// What a state knows of its circuit and of the relay.
struct Surroundings<'a, O: Outlet> {
    now: Instant,
    here: &'a Here<O::Link>,
    circ: CircId,
    backward: &'a mut RelayBackward,
    out: &'a mut O,
}

impl<O: Outlet> Surroundings<'_, O> {
    /// This circuit, as other links know it.
    fn place(&self) -> (O::Link, CircId) {
        (self.here.link.clone(), self.circ)
    }

    /// Sends a message to the client.
    fn originate(&mut self, message: &RelayMessage) {
        originate(self.backward, self.circ, message, self.out);
    }
}

impl<L: Clone + PartialEq> LastHop<L> {
    /// A circuit that was just opened.
    pub(super) fn new(forward: Box<RelayForward>, backward: Box<RelayBackward>) -> Self {
        let state = State::Fresh(Fresh::default());
        Self { forward, backward, early: 0, streams: None, look_at: None, state }
    }

    /// Handles a cell from the client; returns with whom the circuit has met, if it has: call [`Self::meet`] then.
    pub(super) fn handle_cell(
        &mut self,
        now: Now,
        cell: &mut Cell,
        here: &Here<L>,
        out: &mut impl Outlet<Link = L>,
    ) -> Result<Option<Meeting<L>>, CircuitViolation> {
        let circ = cell.circ;
        let tag = self.forward.process(cell.command as u8, &mut cell.body).ok_or(CircuitViolation::Unrecognised)?;
        count_early(&mut self.early, cell.command)?;
        let message = RelayMessage::in_cell(cell)?;
        if message.is_early() != (cell.command == Command::RelayEarly) {
            return Err(CircuitViolation::Unexpected("an Extend that is not early, or another message that is"));
        }
        if message == RelayMessage::Drop {
            return Ok(None);
        }
        if let State::Fresh(_) = self.state {
            if streams::is_for_streams(&message) {
                self.handle_stream_message(now, message, &tag, circ, here, out)?;
                return Ok(None);
            }
            if self.streams.as_ref().is_some_and(|streams| !streams.is_empty()) {
                return Err(CircuitViolation::Unexpected("something else to do while streams are open"));
            }
        }
        let around = &mut Surroundings { now: now.instant, here, circ, backward: &mut self.backward, out };
        let next = match &mut self.state {
            State::Fresh(fresh) => fresh.handle(message, around)?,
            State::Extending(extending) => extending.handle(message, around)?,
            State::Introducing(introducing) => introducing.handle(message, around)?,
            State::IntroPoint(point) => point.handle(message, around)?,
            State::RendezvousWaiting(_) => return Err(UNEXPECTED),
            State::RendezvousArriving(arriving) => arriving.handle(message, around)?,
        };
        match next {
            Next::Stay => Ok(None),
            Next::Become(state) => {
                self.state = state;
                Ok(None)
            }
            Next::Fresh(tries) => {
                self.state = State::Fresh(Fresh::after(tries));
                Ok(None)
            }
            Next::Meet(meeting) => Ok(Some(meeting)),
        }
    }

    /// This circuit has met one that waited: it hands over its backward half, and waits for the other's.
    pub(super) fn meet(self, meeting: Meeting<L>, place: (L, CircId), out: &mut impl Outlet<Link = L>) -> Joining<L> {
        let Meeting { waiting, fragment } = meeting;
        let half = Some(self.backward);
        let event = LinkEvent::Visit { circ: waiting.1, comer: place, fragment, half };
        out.tell(&waiting.0, event);
        Joining::new(self.forward, waiting)
    }

    /// Another circuit comes to this one, and brings a fragment of its message.
    ///
    /// # Errors
    ///
    /// If this circuit does not wait for it.
    pub(super) fn visited(
        &mut self,
        circ: CircId,
        comer: &(L, CircId),
        fragment: Fragment,
        out: &mut impl Outlet<Link = L>,
    ) -> Result<(), NotWaiting> {
        let State::RendezvousWaiting(waiting) = &mut self.state else { return Err(NotWaiting) };
        waiting.visited(comer, fragment.index)?;
        originate(&mut self.backward, circ, &RelayMessage::Rendezvous2(fragment), out);
        Ok(())
    }

    /// The circuit that came has brought everything: from now on cells pass between the two.
    pub(super) fn join(
        self,
        onward: Box<RelayBackward>,
        comer: (L, CircId),
        out: &mut impl Outlet<Link = L>,
    ) -> Joined<L> {
        out.tell(&comer.0, LinkEvent::Joined { circ: comer.1, half: self.backward });
        Joined { half: self.forward, onward, other: comer }
    }

    /// Somebody has brought an introduction for this circuit.
    pub(super) fn introduced(
        &mut self,
        now: Instant,
        circ: CircId,
        introduction: &Introduction,
        out: &mut impl Outlet<Link = L>,
    ) {
        if let State::IntroPoint(point) = &mut self.state
            && point.accepts(now)
        {
            for fragment in introduction.to_host() {
                originate(&mut self.backward, circ, &RelayMessage::Introduce2(fragment), out);
            }
        }
    }

    /// Whether the next hop's link is opening a circuit for this one.
    pub(super) const fn is_extending(&self) -> bool {
        matches!(self.state, State::Extending(Extending::Asked))
    }

    /// The next hop has answered: tells the client, and returns both halves and how many early cells have passed.
    pub(super) fn extended(
        mut self,
        circ: CircId,
        message: &[u8],
        out: &mut impl Outlet<Link = L>,
    ) -> (Box<RelayForward>, Box<RelayBackward>, u8) {
        for fragment in split(message) {
            originate(&mut self.backward, circ, &RelayMessage::Extended(fragment), out);
        }
        let Self { forward, backward, early, .. } = self;
        (forward, backward, early)
    }

    /// The circuit that this one is meeting, which has to hear when this one ends.
    pub(super) const fn other(&self) -> Option<&(L, CircId)> {
        match &self.state {
            State::RendezvousWaiting(waiting) => waiting.comer(),
            State::RendezvousArriving(arriving) => arriving.waiting(),
            State::Fresh(_) | State::Extending(_) | State::Introducing(_) | State::IntroPoint(_) => None,
        }
    }

    /// Takes a circuit that ends out of the tables of those that others look for.
    pub(super) fn leave_tables(&self, place: &(L, CircId), out: &mut impl Outlet<Link = L>) {
        match &self.state {
            State::RendezvousWaiting(waiting) => waiting.leave(place, out),
            State::IntroPoint(point) => out.tables().release_ids(point.ids(), place),
            State::Fresh(_) | State::Extending(_) | State::Introducing(_) | State::RendezvousArriving(_) => {}
        }
    }
}

/// A circuit does not wait for the one that has come.
#[derive(Debug)]
pub(super) struct NotWaiting;

/// A message that belongs to another state.
const UNEXPECTED: CircuitViolation = CircuitViolation::Unexpected("a relay message");

/// A relay that is not the last hop accepts nothing from the client but padding.
pub(super) fn only_drop(cell: &Cell) -> Outcome {
    match RelayMessage::in_cell(cell)? {
        RelayMessage::Drop => Ok(()),
        _ => Err(CircuitViolation::Unexpected("a message for a hop that is not the last")),
    }
}
