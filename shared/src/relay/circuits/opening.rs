//! Handshakes on one link: those of the peer, and those that this relay begins because a circuit is to be extended.

use super::{Circuits, Entry, HANDSHAKE_TIME};
use crate::cell::fragment::{Assembler, Fragment, split};
use crate::cell::{Cell, CircId, Command, DestroyReason};
use crate::crypto::handshake::{CLIENT_MESSAGE_LEN, SERVER_MESSAGE_LEN};
use crate::relay::handshakes::{Answer, Request};
use crate::relay::last_hop::LastHop;
use crate::relay::link_event::LinkEvent;
use crate::relay::outlet::Outlet;
use crate::relay::violation::{CircuitViolation, Outcome};
use crate::time::Instant;

/// Handshakes of the peer that may be under way at once on one link.
const MAX_HALF_OPEN: usize = 256;

/// Handshakes of the peer that may wait for an answer at once, those included that it has given up: of a client, and of a
/// relay, which speaks for many.
const MAX_UNANSWERED: (usize, usize) = (64, 512);

/// Circuits on one link: of a client, and of a relay.
const MAX_CIRCUITS: (usize, usize) = (2048, 65_536);

/// A handshake of the peer that has not come whole yet, or is being answered.
pub(super) struct HalfOpen {
    message: Assembler,
    pub(super) deadline: Instant,
    /// By which the answer will be known.
    ticket: Option<u64>,
}

impl<L: Clone + PartialEq> Circuits<L> {
    pub(super) fn handle_create(&mut self, now: Instant, cell: &Cell, out: &mut impl Outlet<Link = L>) -> Outcome {
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
        out.answer(Request::new((self.here.link.clone(), circ), ticket, message, self.here.keys.clone()));
        Ok(())
    }

    /// A handshake of the peer is answered, here or elsewhere.
    pub(super) fn answered(
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
                self.entries.insert(circ, Entry::LastHop(Box::new(LastHop::new(forward, backward))));
                for fragment in split(&message) {
                    out.send(&fragment.to_cell(circ, Command::Created));
                }
            }
            Err(reason) => self.destroy(circ, reason, out),
        }
    }

    pub(super) fn handle_created(&mut self, cell: &Cell, out: &mut impl Outlet<Link = L>) -> Outcome {
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
        let event = LinkEvent::Opened { circ: origin.1, next: (self.here.link.clone(), cell.circ), message };
        out.tell(&origin.0, event);
        *entry = Entry::Opened { origin, deadline };
        Ok(())
    }

    /// Opens a circuit towards the peer, for one that is to be extended.
    pub(super) fn open(&mut self, now: Instant, origin: (L, CircId), message: &[u8], out: &mut impl Outlet<Link = L>) {
        if self.entries.len() >= self.of_peer(MAX_CIRCUITS) {
            let event = LinkEvent::OpenFailed { circ: origin.1, reason: DestroyReason::ResourceLimit };
            return out.tell(&origin.0, event);
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

    /// The link towards the next hop has opened a circuit there: one of this link's is extended by it.
    pub(super) fn opened(&mut self, circ: CircId, next: (L, CircId), message: &[u8], out: &mut impl Outlet<Link = L>) {
        match self.entries.remove(&circ) {
            Some(Entry::LastHop(hop)) if hop.is_extending() => {
                let (forward, backward, early) = hop.extended(circ, message, out);
                let previous = (self.here.link.clone(), circ);
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
}
