//! Waiting at a rendezvous relay for somebody who is sent introductions.

use std::collections::VecDeque;
use std::time::Duration;

use rand_core::CryptoRng;

use super::introduce::Introduce;
use super::{Approach, Caller, OnionService, OnionServiceEvent, Peer, SEARCH_BACKOFF};
use crate::cell::DestroyReason;
use crate::cell::fragment::{Assembler, Fragment};
use crate::cell::introduction::{Introduction, IntroductionId};
use crate::cell::message::{Cookie, RelayMessage};
use crate::circuit::RendezvousRole;
use crate::client::api::ContactId;
use crate::client::circuits::relays::NoPath;
use crate::client::circuits::{CircuitId, CircuitPurpose, Isolation, Target};
use crate::client::context::Context;
use crate::contact::invite::is_over;
use crate::crypto::handshake::{ClientHandshake, INTRODUCTION_LEN, SERVER_MESSAGE_LEN, ServerPublic};
use crate::crypto::keys::RelayIdentity;
use crate::rendezvous::{Invitation, service_identity};
use crate::time::Instant;

/// How long an introduction may be without an answer.
pub(super) const ANSWER_TIME: Duration = Duration::from_secs(6);

/// How long the first place may take before the next is tried too.
pub(super) const PLACE_TIME: Duration = Duration::from_millis(700);

/// Waiting for somebody who has been sent an introduction.
pub(super) struct ClientRendezvous {
    pub(super) contact: ContactId,
    pub(super) invitation: Invitation,
    /// With whom: the key and the verification string.
    service: (ServerPublic, [u8; 32]),
    /// One for each place where an introduction was brought: so no two places see the same.
    pub(super) handshakes: Vec<ClientHandshake>,
    /// True if the rendezvous relay keeps the cookie.
    pub(super) established: bool,
    answer: Assembler,
    /// Where no introduction has been brought yet.
    pub(super) places: VecDeque<(RelayIdentity, IntroductionId)>,
    /// How introductions are brought. None while the contact is there, and this is for the case that it is lost.
    pub(super) attempts: Option<IntroduceAttempts>,
}

impl ClientRendezvous {
    /// Waits for a contact with a fresh cookie, and brings no introductions yet.
    pub(super) fn new(
        rng: &mut impl CryptoRng,
        contact: ContactId,
        relay: RelayIdentity,
        generation: u64,
        approach: &Approach,
    ) -> Self {
        let mut cookie = [0; 20];
        rng.fill_bytes(&mut cookie);
        let their_key = approach.their_key;
        let server = ServerPublic { identity: service_identity(&their_key), onion_key: their_key };
        Self {
            contact,
            invitation: Invitation { relay, cookie: Cookie(cookie), generation },
            service: (server, approach.verification),
            handshakes: Vec::new(),
            established: false,
            answer: Assembler::default(),
            places: VecDeque::new(),
            attempts: None,
        }
    }

    /// One more introduction for it, with a handshake of its own.
    pub(super) fn introduction(&mut self, rng: &mut impl CryptoRng) -> Option<[u8; INTRODUCTION_LEN]> {
        let (server, verification) = &self.service;
        let begun = ClientHandshake::introduce(rng, server, verification, &self.invitation.encode());
        let (handshake, introduction) = begun.ok()?;
        self.handshakes.push(handshake);
        Some(introduction)
    }
}

/// Bringing introductions for a [`ClientRendezvous`].
pub(super) struct IntroduceAttempts {
    /// True if any place was tried.
    tried: bool,
    /// When to bring one to the next place.
    pub(super) next: Instant,
    /// When one was handed over last.
    pub(super) sent: Option<Instant>,
    /// How long the relay took to acknowledge it, once it has.
    pub(super) round: Option<Duration>,
    /// One of the contact's, and when it counts if ours is not answered until then.
    pub(super) held: Option<(Instant, Box<Introduction>)>,
    /// When to give up.
    pub(super) until: Instant,
}

impl IntroduceAttempts {
    /// The first is to be brought at `next`.
    pub(super) const fn new(next: Instant, until: Instant) -> Self {
        Self { tried: false, next, sent: None, round: None, held: None, until }
    }
}

impl OnionService {
    /// Sends introductions to all who are to be reached and are not.
    pub(super) fn maintain_searches(&mut self, cx: &mut Context<'_>) {
        let now = cx.now.instant;
        let due_held = |wait: &mut ClientRendezvous| {
            Some((wait.contact, wait.attempts.as_mut()?.held.take_if(|(at, _)| *at <= now)?.1))
        };
        let held: Vec<_> = self.client_rendezvous.values_mut().filter_map(due_held).collect();
        for (id, introduction) in held {
            self.called(Caller::Contact(id), &introduction, cx);
        }
        let is_due = |wait: &ClientRendezvous| {
            wait.attempts.as_ref().is_some_and(|attempts| attempts.next.min(attempts.until) <= now)
        };
        let waits: Vec<_> =
            self.client_rendezvous.iter().filter(|(_, wait)| is_due(wait)).map(|(key, _)| *key).collect();
        for key in waits {
            self.keep_waiting(key, cx);
        }
        self.work_on_introductions(cx);
        // Last: where there is no room for more circuits, those who are waited for already come first.
        let is_due = |peer: &Peer| peer.carrier.is_none() && peer.approach.wanted && peer.search.next <= now;
        let ids: Vec<_> = self.peers.iter().filter(|(_, peer)| is_due(peer)).map(|(id, _)| *id).collect();
        for id in ids {
            let is_busy = self.client_rendezvous.values().any(|wait| wait.contact == id)
                || self.service_rendezvous.values().any(|come| come.caller == Caller::Contact(id))
                || self.joined.values().any(|joined| joined.contact == Some(id));
            if !is_busy && self.begin_search(id, cx) == Err(NoPath::NotYet) {
                return;
            }
        }
    }

    /// The circuits that wait for a contact.
    pub(super) fn waits_for(&self, id: ContactId) -> impl Iterator<Item = CircuitId> {
        self.client_rendezvous.iter().filter(move |(_, wait)| wait.contact == id).map(|(key, _)| *key)
    }

    /// Begins to wait for a contact who is sent an introduction.
    fn begin_search(&mut self, id: ContactId, cx: &mut Context<'_>) -> Result<(), NoPath> {
        if cx.circuits.consensus().is_none() {
            return Err(NoPath::NotYet);
        }
        let Some(peer) = self.peers.get_mut(&id) else { return Ok(()) };
        if is_over(peer.approach.expires, cx.circuits.network_now().unix) {
            peer.search.next = Instant::from_millis(u64::MAX);
            self.events.push_back(OnionServiceEvent::InviteExpired(id));
            return Ok(());
        }
        let now = cx.now.instant;
        let places = in_turn(cx, &peer.approach.places, peer.search.tries);
        if places.is_empty() {
            self.search_failed(id, cx);
            return Ok(());
        }
        let key = cx.circuits.open(Target::Rendezvous, CircuitPurpose::ClientRendezvous, Isolation::Exclusive)?;
        let Some(relay) = cx.circuits.last_hop(key) else { return Err(NoPath::NotYet) };
        let generation = peer.approach.generation.saturating_add(1);
        let mut wait = ClientRendezvous::new(cx.rng, id, relay, generation, &peer.approach);
        wait.places = places.into();
        wait.attempts = Some(IntroduceAttempts::new(now, now + cx.circuits.stretch(ANSWER_TIME)));
        self.client_rendezvous.insert(key, wait);
        self.keep_waiting(key, cx);
        Ok(())
    }

    /// The circuit reaches its rendezvous relay.
    pub(super) fn establish(&mut self, key: CircuitId, cx: &mut Context<'_>) {
        let Some(wait) = self.client_rendezvous.get(&key) else { return };
        cx.circuits.expect_answer(key);
        cx.circuits.send(key, &RelayMessage::EstablishRendezvous(wait.invitation.cookie));
    }

    /// The rendezvous relay keeps the cookie.
    pub(super) fn established(&mut self, key: CircuitId, cx: &mut Context<'_>) {
        let Some(wait) = self.client_rendezvous.get_mut(&key) else { return };
        if wait.established {
            // It was asked once.
            return self.fail(key, DestroyReason::Protocol, cx);
        }
        wait.established = true;
        cx.circuits.settled(key);
        if wait.attempts.is_none() {
            return self.offer_fallback(key, cx);
        }
        // Introductions whose circuits are there already have waited for this.
        let is_ready = |(id, introduce): &(&CircuitId, &Introduce)| introduce.wait == key && cx.circuits.is_open(**id);
        let ready: Vec<_> = self.introduces.iter().filter(is_ready).map(|(id, _)| *id).collect();
        for id in ready {
            self.introduce(id, cx);
        }
    }

    /// Brings the introduction to another place, or gives up.
    fn keep_waiting(&mut self, key: CircuitId, cx: &mut Context<'_>) {
        let now = cx.now.instant;
        let Some(wait) = self.client_rendezvous.get_mut(&key) else { return };
        let Some(attempts) = &mut wait.attempts else { return };
        if attempts.until <= now {
            return self.close(key, cx);
        }
        if wait.places.is_empty() {
            attempts.next = attempts.until;
            return;
        }
        attempts.next = now + cx.circuits.stretch(PLACE_TIME);
        attempts.tried = true;
        for _ in 0..wait.places.len() {
            if self.introduce_at_next_place(key, cx) {
                return;
            }
        }
    }

    /// Brings the introduction to the next place; `false` if there is no way there now, but perhaps later: to a guard, say,
    /// while it is the only one whose link is open.
    fn introduce_at_next_place(&mut self, key: CircuitId, cx: &mut Context<'_>) -> bool {
        let Some(wait) = self.client_rendezvous.get_mut(&key) else { return true };
        let Some((relay, id)) = wait.places.pop_front() else { return true };
        let opened = cx.circuits.open(Target::Named(relay), CircuitPurpose::Introduce, Isolation::Exclusive);
        let Ok(circuit) = opened else {
            // With the budget spent, the next place fares no better; a place without a path may have one later.
            wait.places.push_back((relay, id));
            return false;
        };
        let Some(handshake) = wait.introduction(cx.rng) else {
            cx.circuits.close(circuit, DestroyReason::Requested);
            return true;
        };
        let introduction = Introduction { id, nonce: 0, handshake };
        self.introduces.insert(circuit, Introduce::new(key, wait.contact, introduction));
        true
    }

    /// A link or a circuit has opened: introductions for which there was no way until now may be brought.
    pub(super) fn retry_held_up(&mut self, now: Instant) {
        for wait in self.client_rendezvous.values_mut() {
            if wait.handshakes.is_empty()
                && let Some(attempts) = &mut wait.attempts
            {
                attempts.next = now;
            }
        }
    }

    /// One third of the answer of whoever has come; at the third the two are joined.
    pub(super) fn answer_fragment(&mut self, key: CircuitId, fragment: &Fragment, cx: &mut Context<'_>) {
        let Some(wait) = self.client_rendezvous.get_mut(&key) else { return };
        let message = match wait.answer.push(fragment) {
            Ok(None) => return,
            Ok(Some(message)) => message,
            Err(_) => return self.fail(key, DestroyReason::Protocol, cx),
        };
        let (contact, generation) = (wait.contact, wait.invitation.generation);
        let answer = message.get(..SERVER_MESSAGE_LEN).unwrap_or_default();
        let stream = wait.handshakes.iter().find_map(|handshake| handshake.finish(answer).ok());
        let Some(stream) = stream else { return self.fail(key, DestroyReason::Protocol, cx) };
        self.client_rendezvous.remove(&key);
        self.join(key, Caller::Contact(contact), RendezvousRole::Client, generation, stream, cx);
    }

    /// Nobody has come.
    pub(super) fn wait_lost(&mut self, key: CircuitId, wait: &ClientRendezvous, cx: &mut Context<'_>) {
        let for_it = self.introduces.iter().filter(|(_, introduce)| introduce.wait == key).map(|(key, _)| *key);
        for introduce in for_it.collect::<Vec<_>>() {
            self.close(introduce, cx);
        }
        match &wait.attempts {
            None => self.fallback_lost(wait.contact, cx),
            // Nobody could have come yet: another way is tried at once.
            Some(IntroduceAttempts { tried: false, .. }) => {}
            Some(_) => self.search_failed(wait.contact, cx),
        }
    }

    fn search_failed(&mut self, id: ContactId, cx: &mut Context<'_>) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        peer.search.next = cx.now.instant + SEARCH_BACKOFF.draw(peer.search.tries, cx.rng);
        peer.search.tries = peer.search.tries.saturating_add(1);
        self.events.push_back(OnionServiceEvent::SearchFailed(id, peer.search.tries));
    }

    /// Stops waiting for a contact: what is joined, or about to be, is enough.
    pub(super) fn stop_looking_for(&mut self, id: ContactId, cx: &mut Context<'_>) {
        let waits: Vec<_> = self.client_rendezvous.extract_if(.., |_, wait| wait.contact == id).collect();
        for (key, wait) in waits {
            // The search has not failed, so it is not told.
            cx.circuits.close(key, DestroyReason::Requested);
            if wait.attempts.is_none() {
                self.fallback_lost(id, cx);
            }
            let for_it: Vec<_> = self.introduces.extract_if(.., |_, introduce| introduce.wait == key).collect();
            for (introduce, _) in for_it {
                cx.circuits.close(introduce, DestroyReason::Requested);
            }
        }
    }

    /// When waits and introductions have to be looked at.
    pub(super) fn meetings_timeout(&self, now: Instant) -> Option<Instant> {
        let attempts = self.client_rendezvous.values().filter_map(|wait| wait.attempts.as_ref());
        let attempts = attempts.map(|attempts| {
            let held = attempts.held.as_ref().map(|(at, _)| *at);
            held.into_iter().fold(attempts.next.min(attempts.until), Instant::min)
        });
        attempts.chain(self.has_work().then_some(now)).min()
    }
}

/// Places in the order in which introductions are brought there: another one first at each try, and last those that failed
/// lately.
pub(super) fn in_turn(
    cx: &Context<'_>,
    places: &[(RelayIdentity, IntroductionId)],
    tries: u32,
) -> Vec<(RelayIdentity, IntroductionId)> {
    let now = cx.now.instant;
    let consensus = cx.circuits.consensus();
    let is_listed = |relay: &RelayIdentity| consensus.is_some_and(|consensus| consensus.relay(relay).is_some());
    let mut places: Vec<_> = places.iter().filter(|(relay, _)| is_listed(relay)).copied().collect();
    let relays = cx.circuits.relays();
    places.sort_by_key(|(relay, _)| relays.is_failing(relay, now) || relays.is_out_of_reach(relay));
    let tries = usize::try_from(tries).unwrap_or_default();
    let first = tries.checked_rem(places.len()).unwrap_or(0);
    places.rotate_left(first);
    places
}
