//! Coming to the rendezvous relay that somebody's introduction names.

use std::time::Duration;

use super::client_rendezvous::IntroduceAttempts;
use super::{Caller, OnionService, SEARCH_BACKOFF};
use crate::cell::fragment::split;
use crate::cell::introduction::Introduction;
use crate::cell::message::{Cookie, RelayMessage};
use crate::circuit::RendezvousRole;
use crate::client::api::ContactId;
use crate::client::circuits::relays::NoPath;
use crate::client::circuits::{CircuitId, CircuitPurpose, Isolation, Target};
use crate::client::context::Context;
use crate::crypto::handshake::{INTRODUCTION_LEN, KeyStream, SERVER_MESSAGE_LEN, ServerHandshake};
use crate::crypto::keys::RelayIdentity;
use crate::rendezvous::{Invitation, RelationshipRole, service_identity};
use crate::time::Instant;

/// For how long after it was handed over an inviter's own introduction comes before the guest's: as long as the two may have
/// crossed. That is until the relay has taken it, and then so many times as long as that took, within bounds. Later
/// the guest was not there to answer it, and is now.
const CROSSING_TIME: Duration = Duration::from_millis(600);
const CROSSING_ROUNDS: u32 = 3;

/// After how many times as long as that an inviter comes who did not want to, if the guest has not come: as long as a guest
/// takes who has to build a circuit for it.
const HOLDING_ROUNDS: u32 = 6;

/// How long the two may have crossed, at least and at most.
const CROSSING_BOUNDS: (Duration, Duration) = (Duration::from_millis(150), Duration::from_secs(2));

/// Answers to introductions that may be under way for one caller.
const MAX_COMING: usize = 2;

/// A circuit to where somebody's introduction says.
pub(super) struct ServiceRendezvous {
    pub(super) caller: Caller,
    cookie: Cookie,
    generation: u64,
    answer: Box<[u8; SERVER_MESSAGE_LEN]>,
    stream: KeyStream,
    /// Where the introduction was given in advance: to be answered again, should the way there fail.
    pub(super) given: Option<GivenIntroduction>,
}

/// An introduction that was given in advance.
pub(super) struct GivenIntroduction {
    pub(super) introduction: Box<[u8; INTRODUCTION_LEN]>,
    /// How often it may still be answered.
    pub(super) tries: u8,
}

impl OnionService {
    /// Somebody has sent an introduction: comes where it says, if they may be met now.
    pub(super) fn called(&mut self, caller: Caller, introduction: &Introduction, cx: &mut Context<'_>) {
        let Some((invitation, handshake)) = self.read_introduction(caller, &introduction.handshake) else { return };
        if self.service_rendezvous.values().filter(|come| come.caller == caller).count() >= MAX_COMING {
            return;
        }
        if let Caller::Contact(id) = caller
            && !self.gives_way(id, invitation.generation, cx)
        {
            return self.hold(id, introduction, cx);
        }
        let Some(service) = self.services.get_mut(&caller) else { return };
        if !service.introductions.is_new_rendezvous(invitation.cookie) {
            return;
        }
        let Some(come) = answer(caller, invitation, handshake, cx) else { return };
        // If there is no way, whoever has asked will ask again.
        let _ = self.come(invitation.relay, come, cx);
    }

    /// Opens a circuit to where an introduction says.
    pub(super) fn come(
        &mut self,
        relay: RelayIdentity,
        come: ServiceRendezvous,
        cx: &mut Context<'_>,
    ) -> Result<(), NoPath> {
        let (target, purpose) = (Target::Named(relay), CircuitPurpose::ServiceRendezvous);
        let circuit = cx.circuits.open(target, purpose, Isolation::Exclusive)?;
        self.service_rendezvous.insert(circuit, come);
        Ok(())
    }

    /// What an introduction says; nothing if it does not come from this caller.
    pub(super) fn read_introduction(&self, caller: Caller, message: &[u8]) -> Option<(Invitation, ServerHandshake)> {
        let service = self.services.get(&caller)?;
        let secret = service.key.secret();
        let identity = service_identity(secret.public().as_bytes());
        let received = ServerHandshake::receive(&identity, &secret, &service.verification, message);
        let (handshake, payload) = received.ok()?;
        Some((Invitation::decode(&payload).ok()?, handshake))
    }

    /// True if a contact's introduction comes before our own, or before the circuit that stands. Our own is given up then.
    fn gives_way(&mut self, id: ContactId, generation: u64, cx: &mut Context<'_>) -> bool {
        let Some(peer) = self.peers.get(&id) else { return false };
        let Some(role) = peer.approach.role else { return false };
        if peer.carrier.is_some() && generation <= peer.approach.generation {
            return false;
        }
        if self.waits_for(id).next().is_none() {
            return true;
        }
        let was_sent = self.attempts_for(id).is_some_and(|attempts| attempts.sent.is_some());
        if role == RelationshipRole::Inviter
            && self.crossing_until(id, CROSSING_ROUNDS, cx).is_some_and(|until| cx.now.instant < until)
        {
            // They will have ours soon, and give way.
            return false;
        }
        self.stop_looking_for(id, cx);
        if let Some(peer) = self.peers.get_mut(&id) {
            // If they have crossed after all, both have given way, and both begin again: not twice.
            peer.search.gave_way = was_sent;
        }
        true
    }

    fn attempts_for(&self, id: ContactId) -> Option<&IntroduceAttempts> {
        self.client_rendezvous.values().find(|wait| wait.contact == id)?.attempts.as_ref()
    }

    /// Until when an introduction of ours may have crossed with one of the contact's, or may yet be answered by somebody who
    /// comes after so many times as long as its relay took.
    fn crossing_until(&self, id: ContactId, rounds: u32, cx: &Context<'_>) -> Option<Instant> {
        let attempts = self.attempts_for(id)?;
        let (least, most) = CROSSING_BOUNDS;
        let crossing = match attempts.round {
            _ if self.peers.get(&id)?.search.gave_way => most,
            Some(round) => (round * rounds).clamp(least, most),
            None => CROSSING_TIME,
        };
        Some(attempts.sent? + cx.circuits.stretch(crossing))
    }

    /// Keeps an introduction of somebody who will most likely come by ours: if they do not, theirs counts.
    fn hold(&mut self, id: ContactId, introduction: &Introduction, cx: &Context<'_>) {
        let Some(until) = self.crossing_until(id, HOLDING_ROUNDS, cx) else { return };
        if let Some(wait) = self.client_rendezvous.values_mut().find(|wait| wait.contact == id)
            && let Some(attempts) = &mut wait.attempts
        {
            attempts.held = Some((until, Box::new(introduction.clone())));
        }
    }

    /// The circuit reaches the rendezvous relay that somebody has named.
    pub(super) fn arrive(&mut self, key: CircuitId, cx: &mut Context<'_>) {
        let Some(come) = self.service_rendezvous.remove(&key) else { return };
        let ServiceRendezvous { caller, cookie, generation, answer, stream, .. } = come;
        for fragment in split(&*answer) {
            let cookie = (fragment.index == 0).then_some(cookie);
            cx.circuits.send(key, &RelayMessage::Rendezvous1 { cookie, fragment });
        }
        let generation = match caller {
            Caller::Invite(_) => 1,
            Caller::Contact(_) => generation,
        };
        self.join(key, caller, RendezvousRole::Service, generation, stream, cx);
    }

    /// The way to the rendezvous relay has failed.
    pub(super) fn come_lost(&mut self, come: ServiceRendezvous, cx: &mut Context<'_>) {
        let Caller::Contact(id) = come.caller else { return };
        let Some(peer) = self.peers.get_mut(&id) else { return };
        peer.search.next = peer.search.next.max(cx.now.instant + SEARCH_BACKOFF.shortest(0));
        if let Some(given) = come.given {
            self.come_to_fallback(id, given, cx);
        }
    }
}

/// What to bring where an introduction says.
pub(super) fn answer(
    caller: Caller,
    invitation: Invitation,
    handshake: ServerHandshake,
    cx: &mut Context<'_>,
) -> Option<ServiceRendezvous> {
    let (answer, stream) = handshake.reply(cx.rng).ok()?;
    let Invitation { cookie, generation, .. } = invitation;
    Some(ServiceRendezvous { caller, cookie, generation, answer: Box::new(answer), stream, given: None })
}
