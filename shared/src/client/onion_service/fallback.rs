//! Where two who are joined meet again if they lose their circuit, without a new introduction.
//!
//! The client of the rendezvous waits at one more rendezvous relay for as long as the circuit stands, and gives the other
//! side an introduction for it in advance, on that circuit. When the circuit is lost the other side comes there at once,
//! whether the client has noticed or not. If nobody comes, the same wait goes on with introductions at the contact's points.

use std::collections::BTreeSet;
use std::time::Duration;

use super::client_rendezvous::{ANSWER_TIME, ClientRendezvous, IntroduceAttempts, PLACE_TIME, in_turn};
use super::service_rendezvous::{GivenIntroduction, answer};
use super::{Caller, Joined, OnionService, OnionServiceEvent};
use crate::circuit::RendezvousRole;
use crate::client::api::ContactId;
use crate::client::circuits::{CircuitId, CircuitPurpose, Isolation, Target};
use crate::client::context::Context;
use crate::crypto::handshake::INTRODUCTION_LEN;
use crate::time::Instant;

/// Contacts for whom a circuit waits, at most. Others meet again by an introduction.
const MAX_FALLBACKS: usize = 16;

/// The pause before another relay is tried where one did not serve.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(3));

/// How often the service sets out for where the client waits, should the way there fail: the relay that was lost is still
/// listed, and may be on it.
const TRIES: u8 = 3;

/// Where two meet again if they lose their circuit.
pub(super) enum Fallback {
    /// Client: it waits there, or will from then on.
    Keep {
        /// When to begin.
        from: Instant,
    },
    /// Service: the introduction by which it comes, if it was given one.
    Given(Option<Box<[u8; INTRODUCTION_LEN]>>),
}

impl Fallback {
    /// What there is of it when two are joined.
    pub(super) const fn new(role: RendezvousRole, now: Instant) -> Self {
        match role {
            RendezvousRole::Client => Self::Keep { from: now },
            RendezvousRole::Service => Self::Given(None),
        }
    }

    const fn is_due(&self, now: Instant) -> bool {
        matches!(self, Self::Keep { from } if from.as_millis() <= now.as_millis())
    }
}

impl OnionService {
    // ---- the client's part ----

    /// Begins to wait for each contact who is there, and for whom nobody waits yet.
    pub(super) fn maintain_fallbacks(&mut self, cx: &mut Context<'_>) {
        let now = cx.now.instant;
        let waited_for: BTreeSet<ContactId> = self.client_rendezvous.values().map(|wait| wait.contact).collect();
        let is_due = |carrier: CircuitId| {
            self.joined.get(&carrier).is_some_and(|joined| joined.is_open && joined.fallback.is_due(now))
        };
        let carried = self.peers.iter().filter_map(|(id, peer)| Some((*id, peer.carrier?)));
        let due: Vec<(ContactId, CircuitId)> = carried
            .filter(|(id, carrier)| is_due(*carrier) && !waited_for.contains(id))
            .take(MAX_FALLBACKS.saturating_sub(waited_for.len()))
            .collect();
        for (id, carrier) in due {
            if self.prepare_fallback(id, carrier, cx).is_none() {
                self.fallback_lost(id, cx);
            }
        }
    }

    /// Builds a circuit to a relay where a contact could be met, if there is one.
    fn prepare_fallback(&mut self, id: ContactId, carrier: CircuitId, cx: &mut Context<'_>) -> Option<CircuitId> {
        let meets_at = cx.circuits.last_hop(carrier)?;
        let (approach, joined) = (&self.peers.get(&id)?.approach, self.joined.get(&carrier)?);
        approach.role?;
        let generation = approach.generation.max(joined.generation).saturating_add(1);
        // What is to be there when that relay is lost cannot lead over it.
        let target = Target::RendezvousWithout(meets_at);
        let circuit = cx.circuits.open(target, CircuitPurpose::Fallback, Isolation::Exclusive).ok()?;
        let relay = cx.circuits.last_hop(circuit)?;
        let wait = ClientRendezvous::new(cx.rng, id, relay, generation, approach);
        self.client_rendezvous.insert(circuit, wait);
        Some(circuit)
    }

    /// The relay keeps the cookie: the contact gets its introduction.
    pub(super) fn offer_fallback(&mut self, key: CircuitId, cx: &mut Context<'_>) {
        let Some(wait) = self.client_rendezvous.get_mut(&key) else { return };
        let carrier = self.peers.get(&wait.contact).and_then(|peer| peer.carrier);
        let is_client =
            |carrier: &CircuitId| self.joined.get(carrier).is_some_and(|joined| joined.role == RendezvousRole::Client);
        let Some(carrier) = carrier.filter(is_client) else {
            // The circuit that it was for has been replaced meanwhile.
            return self.close(key, cx);
        };
        let Some(introduction) = wait.introduction(cx.rng) else { return };
        self.events.push_back(OnionServiceEvent::OfferFallback(carrier, Box::new(introduction)));
    }

    /// Drops circuits that only wait and would not be built along the same path today.
    pub(super) fn drop_outdated_fallbacks(&mut self, cx: &mut Context<'_>) {
        let waiting = self.client_rendezvous.iter().filter(|(_, wait)| wait.attempts.is_none());
        let outdated: Vec<_> = waiting.map(|(key, _)| *key).filter(|key| !cx.circuits.stands(*key)).collect();
        for key in outdated {
            self.close(key, cx);
        }
    }

    /// Nobody can be met there any more, or not yet.
    pub(super) fn fallback_lost(&mut self, id: ContactId, cx: &mut Context<'_>) {
        let next = cx.in_between(PAUSE.0, PAUSE.1);
        let Some(carrier) = self.peers.get(&id).and_then(|peer| peer.carrier) else { return };
        if let Some(Joined { fallback: Fallback::Keep { from }, .. }) = self.joined.get_mut(&carrier) {
            *from = next;
        }
    }

    // ---- the service's part ----

    /// The contact at the end of this circuit has given an introduction in advance.
    ///
    /// Returns false if it is this side's part to give one: the contact broke the protocol.
    pub(in super::super) fn fallback_given(
        &mut self,
        circuit: CircuitId,
        introduction: Box<[u8; INTRODUCTION_LEN]>,
    ) -> bool {
        match self.joined.get_mut(&circuit).map(|joined| &mut joined.fallback) {
            Some(Fallback::Given(given)) => *given = Some(introduction),
            Some(Fallback::Keep { .. }) => return false,
            None => {}
        }
        true
    }

    // ---- both ----

    /// The circuit of a contact is lost.
    pub(super) fn fall_back(&mut self, id: ContactId, joined: &Joined, cx: &mut Context<'_>) {
        match &joined.fallback {
            Fallback::Keep { .. } => self.seek_from_fallback(id, cx),
            Fallback::Given(Some(introduction)) => {
                let given = GivenIntroduction { introduction: introduction.clone(), tries: TRIES };
                self.come_to_fallback(id, given, cx);
            }
            Fallback::Given(None) => {}
        }
    }

    /// Client: if the contact does not come by itself, introductions are brought.
    fn seek_from_fallback(&mut self, id: ContactId, cx: &mut Context<'_>) {
        let Some(peer) = self.peers.get(&id).filter(|peer| peer.approach.role.is_some()) else { return };
        let places = in_turn(cx, &peer.approach.places, peer.search.tries);
        let now = cx.now.instant;
        let until = now + cx.circuits.stretch(ANSWER_TIME);
        let is_idle = |wait: &ClientRendezvous| wait.contact == id && wait.attempts.is_none();
        if let Some((key, wait)) = self.client_rendezvous.iter_mut().find(|(_, wait)| is_idle(wait)) {
            cx.circuits.set_purpose(*key, CircuitPurpose::ClientRendezvous);
            wait.places = places.into();
            // Where the contact has not been told of it, it cannot come.
            let next = if wait.handshakes.is_empty() { now } else { now + cx.circuits.stretch(PLACE_TIME) };
            wait.attempts = Some(IntroduceAttempts::new(next, until));
        }
    }

    /// Service: comes where the contact waits.
    pub(super) fn come_to_fallback(&mut self, id: ContactId, given: GivenIntroduction, cx: &mut Context<'_>) {
        let is_apart = self.peers.get(&id).is_some_and(|peer| peer.carrier.is_none() && peer.approach.wanted);
        if given.tries == 0 || !is_apart {
            return;
        }
        let now = cx.now.instant;
        let caller = Caller::Contact(id);
        if given.tries == TRIES
            && let Some(service) = self.services.get_mut(&caller)
            && !service.introductions.admits(now, &*given.introduction)
        {
            return;
        }
        let Some((invitation, handshake)) = self.read_introduction(caller, &*given.introduction) else { return };
        let Some(mut come) = answer(caller, invitation, handshake, cx) else { return };
        come.given = Some(GivenIntroduction { tries: given.tries - 1, ..given });
        let next = now + cx.circuits.stretch(PLACE_TIME);
        if self.come(invitation.relay, come, cx).is_ok()
            && let Some(peer) = self.peers.get_mut(&id)
        {
            peer.search.next = peer.search.next.max(next);
        }
    }

    /// When a fallback is to be looked for again.
    pub(super) fn fallback_timeout(&self, now: Instant) -> Option<Instant> {
        let from = |joined: &Joined| match joined.fallback {
            Fallback::Keep { from } => Some(from).filter(|from| *from > now),
            Fallback::Given(_) => None,
        };
        self.joined.values().filter_map(from).min()
    }
}
