//! How circuits that end here meet: one takes what others bring for its ids, or waits with a cookie until another comes.

use std::collections::VecDeque;

use super::{CircuitViolation, Circuits, End, EndState, Entry, LinkEvent, Outcome, Outlet, originate};
use crate::cell::CircId;
use crate::cell::fragment::{Assembler, Fragment};
use crate::cell::introduction::{IntroAuthKey, Introduction, IntroductionId, MAX_PARTS};
use crate::cell::message::RelayMessage;
use crate::crypto::cgo::RelayBackward;
use crate::relay::introductions::Verdict;
use crate::time::Instant;
use crate::token_bucket::TokenBucket;

/// Cookies and introductions that may be tried on one circuit.
const MAX_TRIES: u8 = 32;

/// Parts of lists that a circuit may send each second, and how many at once: each costs some hashes.
const LIST_RATE: (u32, u32) = (4, 4 * MAX_PARTS as u32);

/// Introductions that a circuit is given each second, and how many at once. What is more gets lost, as it would on a busy
/// network: whoever brought it tries elsewhere.
const INTRODUCTION_RATE: (u32, u32) = (20, 60);

/// A circuit that takes what comes for ids.
pub(super) struct IntroductionPoint {
    /// Those that count.
    pub(super) ids: Vec<IntroductionId>,
    /// Those of a new list, as far as it has come.
    incoming: Vec<IntroductionId>,
    /// How many parts it has, and how many have come.
    parts: Option<(u8, u8)>,
    lists: TokenBucket,
    introductions: TokenBucket,
}

impl IntroductionPoint {
    fn new(now: Instant) -> Self {
        Self {
            ids: Vec::new(),
            incoming: Vec::new(),
            parts: None,
            lists: TokenBucket::new(LIST_RATE.0, LIST_RATE.1, now),
            introductions: TokenBucket::new(INTRODUCTION_RATE.0, INTRODUCTION_RATE.1, now),
        }
    }

    /// Takes one part of a list; says whether it was the last.
    fn take(&mut self, now: Instant, part: u8, of: u8, auth_keys: &[IntroAuthKey]) -> Result<bool, CircuitViolation> {
        let due = self.parts.unwrap_or((of, 0));
        if (of, part) != due || of == 0 || of > MAX_PARTS {
            return Err(CircuitViolation::Unexpected("a part of a list of ids out of its turn"));
        }
        if !self.lists.take(now) {
            return Err(CircuitViolation::TooMuch);
        }
        self.incoming.extend(auth_keys.iter().map(IntroAuthKey::id));
        self.parts = Some((of, part + 1)).filter(|(of, come)| come < of);
        Ok(self.parts.is_none())
    }
}

impl<L: Clone + PartialEq> Circuits<L> {
    pub(super) fn handle_meeting(
        &mut self,
        now: Instant,
        circ: CircId,
        message: RelayMessage,
        out: &mut impl Outlet<Link = L>,
    ) -> Outcome {
        let Some(Entry::End(end)) = self.entries.get_mut(&circ) else { return Ok(()) };
        match (&mut end.state, message) {
            (
                state @ (EndState::Idle { .. } | EndState::Introduction(_)),
                RelayMessage::EstablishIntro { part, of, auth_keys },
            ) => {
                if matches!(state, EndState::Idle { .. }) {
                    *state = EndState::Introduction(Box::new(IntroductionPoint::new(now)));
                }
                let EndState::Introduction(point) = state else { return Ok(()) };
                if !point.take(now, part, of, &*auth_keys)? {
                    return Ok(());
                }
                let mut ids = std::mem::take(&mut point.incoming);
                ids.sort_unstable();
                ids.dedup();
                out.release_ids(&std::mem::take(&mut point.ids), circ);
                if !out.take_ids(&ids, circ) {
                    return Err(CircuitViolation::TooMuch);
                }
                point.ids = ids;
                originate(&mut end.backward, circ, &RelayMessage::IntroEstablished, out);
                Ok(())
            }
            (state @ EndState::Idle { .. }, RelayMessage::Introduce1(fragment)) => {
                let tries = count_try(state)?;
                let mut message = Assembler::default();
                message.push(&fragment)?;
                *state = EndState::Introducing { message, tries };
                Ok(())
            }
            (EndState::Introducing { message, tries }, RelayMessage::Introduce1(fragment)) => {
                let Some(message) = message.push(&fragment)? else { return Ok(()) };
                end.state = EndState::Idle { tries: *tries };
                // Three fragments hold one.
                let Some(introduction) = Introduction::at_relay(&message) else { return Ok(()) };
                let verdict = out.introduce(now, &introduction);
                let (effort, seed) = match &verdict {
                    Verdict::Taken(_) => (0, [0; 16]),
                    Verdict::ProofOfWork { effort, seed } => (*effort, *seed),
                };
                // First of all the answer: it takes as long whether somebody takes the introduction or not.
                originate(&mut end.backward, circ, &RelayMessage::IntroduceAck { effort, seed }, out);
                if let Verdict::Taken(Some((link, circ))) = verdict {
                    out.tell(&link, LinkEvent::Introduce { circ, introduction: Box::new(introduction) });
                }
                Ok(())
            }
            (state @ EndState::Idle { .. }, RelayMessage::EstablishRendezvous(cookie)) => {
                if !out.establish(cookie, circ) {
                    return Err(CircuitViolation::Unexpected("a cookie that is taken"));
                }
                *state = EndState::Waiting { cookie };
                originate(&mut end.backward, circ, &RelayMessage::RendezvousEstablished, out);
                Ok(())
            }
            (state @ EndState::Idle { .. }, RelayMessage::Rendezvous1 { cookie: Some(cookie), fragment }) => {
                let tries = count_try(state)?;
                let waiter = out.take_waiting(&cookie);
                if let Some(waiter) = &waiter {
                    let comer = (self.this.clone(), circ);
                    out.tell(
                        &waiter.0,
                        LinkEvent::Visit { circ: waiter.1, comer, fragment: Box::new(fragment), half: None },
                    );
                }
                *state = EndState::Coming { waiter, given: 1, tries };
                Ok(())
            }
            (EndState::Coming { waiter, given, tries }, RelayMessage::Rendezvous1 { cookie: None, fragment })
                if fragment.index == *given =>
            {
                *given += 1;
                let is_last = *given == 3;
                match waiter.clone() {
                    Some(waiter) if is_last => self.come(circ, waiter, fragment, out),
                    Some(waiter) => {
                        let comer = (self.this.clone(), circ);
                        out.tell(
                            &waiter.0,
                            LinkEvent::Visit { circ: waiter.1, comer, fragment: Box::new(fragment), half: None },
                        );
                    }
                    // Nobody waits. Said after the third fragment, so that none is left over to be misread.
                    None if is_last => {
                        end.state = EndState::Idle { tries: *tries };
                        originate(&mut end.backward, circ, &RelayMessage::RendezvousUnknown, out);
                    }
                    None => {}
                }
                Ok(())
            }
            _ => Err(CircuitViolation::Unexpected("a relay message")),
        }
    }

    /// The last third is here: from now on this circuit talks to the one that waits.
    fn come(&mut self, circ: CircId, waiter: (L, CircId), fragment: Fragment, out: &mut impl Outlet<Link = L>) {
        if let Some(Entry::End(end)) = self.entries.remove(&circ) {
            let End { forward, backward, .. } = *end;
            let joining = Entry::Joining { half: forward, other: waiter.clone(), pending: VecDeque::new() };
            self.entries.insert(circ, joining);
            let comer = (self.this.clone(), circ);
            out.tell(
                &waiter.0,
                LinkEvent::Visit { circ: waiter.1, comer, fragment: Box::new(fragment), half: Some(backward) },
            );
        }
    }

    /// Somebody has come to a circuit that waits here; `false` if it does not.
    pub(super) fn visited(
        &mut self,
        circ: CircId,
        comer: &(L, CircId),
        fragment: Fragment,
        half: Option<Box<RelayBackward>>,
        out: &mut impl Outlet<Link = L>,
    ) -> bool {
        let Some(Entry::End(end)) = self.entries.get_mut(&circ) else { return false };
        match &mut end.state {
            state @ EndState::Waiting { .. } if fragment.index == 0 => {
                *state = EndState::Visited { comer: comer.clone(), seen: 1 };
            }
            EndState::Visited { comer: known, seen } if known == comer && *seen == fragment.index => *seen += 1,
            _ => return false,
        }
        originate(&mut end.backward, circ, &RelayMessage::Rendezvous2(fragment), out);
        let Some(onward) = half else { return true };
        if let Some(Entry::End(end)) = self.entries.remove(&circ) {
            let End { forward, backward, .. } = *end;
            out.tell(&comer.0, LinkEvent::Joined { circ: comer.1, half: backward });
            self.entries.insert(circ, Entry::Joined { half: forward, onward, other: comer.clone() });
        }
        true
    }

    /// Somebody has brought something for an id of a circuit.
    pub(super) fn introduced(
        &mut self,
        now: Instant,
        circ: CircId,
        introduction: &Introduction,
        out: &mut impl Outlet<Link = L>,
    ) {
        let Some(Entry::End(end)) = self.entries.get_mut(&circ) else { return };
        let EndState::Introduction(point) = &mut end.state else { return };
        if !point.introductions.take(now) {
            return;
        }
        for fragment in introduction.to_host() {
            originate(&mut end.backward, circ, &RelayMessage::Introduce2(fragment), out);
        }
    }
}

/// Counts one more try on a circuit where nothing is under way.
fn count_try<L>(state: &EndState<L>) -> Result<u8, CircuitViolation> {
    let EndState::Idle { tries } = state else { return Ok(0) };
    if *tries >= MAX_TRIES {
        return Err(CircuitViolation::Unexpected("too many cookies or introductions"));
    }
    Ok(tries + 1)
}
