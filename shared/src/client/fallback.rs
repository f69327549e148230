//! Where two who are joined meet again if they lose their circuit, without a new introduction.
//!
//! The visitor waits at one more rendezvous relay for as long as the circuit stands, and gives the host an introduction for
//! it in advance, on that circuit. When the circuit is lost the host comes there at once, whether the visitor has noticed or
//! not. If nobody comes, the same wait goes on with introductions at the contact's points.

use std::collections::BTreeSet;
use std::time::Duration;

use super::Client;
use super::api::ContactId;
use super::circuits::{CircuitId, CircuitPurpose, Isolation, Target};
use super::contacts::Contact;
use super::meetings::{ANSWER_TIME, PLACE_TIME};
use super::peer_channel::{Fallback, PeerChannel, Phase};
use super::rendezvous::{Caller, ClientRendezvous, Given, IntroduceAttempts};
use crate::circuit::RendezvousRole;
use crate::messaging::frame::Frame;
use crate::time::Instant;

/// Conversations for which a circuit waits, at most; whoever has more meets again by an introduction in the others.
const MAX_FALLBACKS: usize = 16;

/// The pause before another relay is tried where one did not serve.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(3));

/// How often a host sets out for where the visitor waits, should the way there fail: the relay that was lost is still listed, and may
/// stand on it.
const TRIES: u8 = 3;

impl Client {
    // ---- visitor ----

    /// Begins to wait for each contact who is there, and for whom nobody waits yet.
    pub(super) fn maintain_fallbacks(&mut self) {
        let now = self.now.instant;
        let waited_for: BTreeSet<ContactId> = self.waits().map(|(_, wait)| wait.contact).collect();
        let is_due = |channel: &PeerChannel| matches!(channel.fallback, Fallback::Keep { from } if from <= now);
        let due: Vec<(ContactId, CircuitId)> = self
            .contacts
            .values()
            .filter_map(|contact| Some((contact.id, contact.channel?)))
            .filter(|(id, key)| {
                let is_ready = |channel: &PeerChannel| matches!(channel.phase, Phase::Open) && is_due(channel);
                self.channels.get(key).is_some_and(is_ready) && !waited_for.contains(id)
            })
            .take(MAX_FALLBACKS.saturating_sub(waited_for.len()))
            .collect();
        for (id, key) in due {
            if self.prepare_fallback(id, key).is_none() {
                self.fallback_lost(id);
            }
        }
    }

    /// Builds a circuit to a relay where a contact could be met, if there is one.
    fn prepare_fallback(&mut self, id: ContactId, channel: CircuitId) -> Option<CircuitId> {
        let meets_at = self.circuits.last_hop(channel)?;
        let channel = self.channels.get(&channel)?;
        let relationship = self.contacts.get(&id)?.relationship()?;
        let generation = relationship.generation.max(channel.generation).saturating_add(1);
        let their_key = relationship.their_key;
        let verification = relationship.secret.verification(relationship.role.other());
        // What is to be there when that relay is lost cannot lead over it.
        let target = Target::RendezvousWithout(meets_at);
        let circuit = self.circuits.open(target, CircuitPurpose::Fallback, Isolation::Exclusive).ok()?;
        let relay = self.circuits.last_hop(circuit)?;
        let wait = ClientRendezvous::new(&mut self.rng, id, relay, generation, (their_key, verification));
        self.client_rendezvous.insert(circuit, wait);
        Some(circuit)
    }

    /// The relay keeps the cookie: tells the contact.
    pub(super) fn offer_fallback(&mut self, key: CircuitId) {
        let Some(wait) = self.client_rendezvous.get(&key) else {
            return;
        };
        let channel = self.contacts.get(&wait.contact).and_then(|contact| contact.channel);
        let is_visitor = |channel: &PeerChannel| matches!(channel.fallback, Fallback::Keep { .. });
        let Some(channel) = channel.filter(|channel| self.channel(*channel).is_some_and(|channel| is_visitor(channel)))
        else {
            // The circuit that it was for has been replaced meanwhile.
            return self.drop_circuit(key);
        };
        let Some(wait) = self.client_rendezvous.get_mut(&key) else {
            return;
        };
        let Some(introduction) = wait.introduction(&mut self.rng) else { return };
        self.send_frame(channel, &Frame::Fallback(Box::new(introduction)));
    }

    /// Drops circuits that only wait and would not be built along the same path today.
    pub(super) fn drop_outdated_fallbacks(&mut self) {
        let waiting = self.client_rendezvous.iter().filter(|(_, wait)| wait.seeking.is_none());
        let outdated: Vec<_> = waiting.map(|(key, _)| *key).filter(|key| !self.circuits.stands(*key)).collect();
        outdated.into_iter().for_each(|key| self.drop_circuit(key));
    }

    /// Nobody can be met there any more, or not yet.
    pub(super) fn fallback_lost(&mut self, id: ContactId) {
        let next = self.pause(PAUSE.0, PAUSE.1);
        let Some(key) = self.contacts.get(&id).and_then(|contact| contact.channel) else { return };
        if let Some(PeerChannel { fallback: Fallback::Keep { from }, .. }) = self.channel(key) {
            *from = next;
        }
    }

    // ---- both ----

    /// The circuit of a contact is lost.
    pub(super) fn fall_back(&mut self, id: ContactId, channel: &PeerChannel) {
        match (channel.side, &channel.fallback) {
            (RendezvousRole::Client, _) => self.seek_from_fallback(id),
            (RendezvousRole::Service, Fallback::Given(Some(introduction))) => {
                self.come_to_fallback(id, Given { introduction: introduction.clone(), tries: TRIES });
            }
            (RendezvousRole::Service, _) => {}
        }
    }

    /// Visitor: if the contact does not come by itself, introductions are brought.
    fn seek_from_fallback(&mut self, id: ContactId) {
        let Some(contact) = self.contacts.get(&id) else { return };
        let Some(relationship) = contact.relationship() else { return };
        let places = self.in_turn(relationship.places(), contact.search.tries);
        let (now, patience, until) = (
            self.now.instant,
            self.circuits.stretch(PLACE_TIME),
            self.now.instant + self.circuits.stretch(ANSWER_TIME),
        );
        let is_idle = |wait: &ClientRendezvous| wait.contact == id && wait.seeking.is_none();
        if let Some((key, wait)) = self.client_rendezvous.iter_mut().find(|(_, wait)| is_idle(wait)) {
            self.circuits.set_purpose(*key, CircuitPurpose::ClientRendezvous);
            wait.places = places.into();
            // Where the contact has not been told of it, it cannot come.
            let next = if wait.handshakes.is_empty() { now } else { now + patience };
            wait.seeking = Some(IntroduceAttempts::new(next, until));
        }
    }

    /// Host: comes where the contact waits.
    pub(super) fn come_to_fallback(&mut self, id: ContactId, given: Given) {
        let is_apart = |contact: &Contact| contact.channel.is_none() && contact.is_wanted();
        if given.tries == 0 || !self.contacts.get(&id).is_some_and(is_apart) {
            return;
        }
        let now = self.now.instant;
        if given.tries == TRIES
            && let Some(contact) = self.contacts.get_mut(&id)
            && !contact.introductions.admits(now, &*given.introduction)
        {
            return;
        }
        let caller = Caller::Contact(id);
        let Some((invitation, handshake)) = self.read_introduction(caller, &*given.introduction) else { return };
        let Some(mut come) = self.answer(caller, invitation, handshake) else { return };
        come.given = Some(Given { tries: given.tries - 1, ..given });
        let next = self.now.instant + self.circuits.stretch(PLACE_TIME);
        if self.come(invitation.relay, come).is_ok()
            && let Some(contact) = self.contacts.get_mut(&id)
        {
            contact.search.next = contact.search.next.max(next);
        }
    }

    /// When a fallback is to be looked for again.
    pub(super) fn fallback_timeout(&self) -> Option<Instant> {
        let now = self.now.instant;
        let from = |channel: &PeerChannel| match channel.fallback {
            Fallback::Keep { from } => Some(from).filter(|from| *from > now),
            Fallback::Given(_) => None,
        };
        self.channels.values().filter_map(from).min()
    }
}
