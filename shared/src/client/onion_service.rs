//! How this client can be reached, and how it reaches others: introductions and rendezvous.
//!
//! The rooms above say for whom this client is to be reachable ([`OnionService::serve`]) and whom it is to reach
//! ([`OnionService::set_peer`]); the rest happens here. [`OnionServiceEvent::Joined`] is told of each circuit that was
//! joined to another client's, whichever of the two came to the other.
//!
//! Either contact may begin. Where both do at once, the inviter's introduction counts, and the guest drops its own.
//!
//! # Layout
//!
//! - `intro_points`: relays where this client accepts introductions
//! - `introductions`: which introductions are looked at
//! - `client_rendezvous`: waiting at a rendezvous relay for somebody who is sent introductions
//! - `introduce`: bringing an introduction to the other's introduction point
//! - `service_rendezvous`: coming to the rendezvous relay that somebody's introduction names
//! - `fallback`: where two joined clients meet again if they lose their circuit

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use self::client_rendezvous::ClientRendezvous;
use self::fallback::Fallback;
pub use self::intro_points::INTRO_POINTS;
use self::intro_points::IntroPoints;
pub(super) use self::intro_points::points_for;
use self::introduce::Introduce;
use self::introductions::Introductions;
use self::service_rendezvous::ServiceRendezvous;
use super::api::ContactId;
use super::backoff::Backoff;
use super::circuits::{CircuitEvent, CircuitId};
use super::context::Context;
use super::store::KeyBytes;
use crate::cell::DestroyReason;
use crate::cell::introduction::{IntroAuthKey, IntroductionId};
use crate::cell::message::{RelayMessage, StreamId};
use crate::circuit::RendezvousRole;
use crate::crypto::handshake::{CircuitKeys, INTRODUCTION_LEN, KeyStream};
use crate::crypto::keys::RelayIdentity;
use crate::rendezvous::{IntroPoint, RelationshipRole, SharedSecret};
use crate::time::Instant;

mod client_rendezvous;
mod fallback;
mod intro_points;
mod introduce;
mod introductions;
mod service_rendezvous;

/// The pauses between searches for a contact. A contact who comes back introduces themselves, so this is only for those whose
/// introductions do not arrive.
const SEARCH_BACKOFF: Backoff = Backoff::new(Duration::from_millis(400), Duration::from_secs(300));

/// The pause before a guest begins where a circuit was lost: the inviter begins at once, and usually that is enough.
const GUEST_PAUSE: (Duration, Duration) = (Duration::from_millis(250), Duration::from_millis(450));

/// How long a handshake through a rendezvous relay may take, or the greeting of two joined clients.
const MEETING_TIME: Duration = Duration::from_secs(6);

/// Who sends introductions to this client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Caller {
    /// The holder of an invite.
    Invite(u64),
    /// A contact, or somebody who asked to become one.
    Contact(ContactId),
}

/// For whom introductions are accepted, and where.
#[derive(Clone)]
pub(super) enum Audience {
    /// The holders of an invite, at the relays that its link names.
    InviteHolders {
        /// The relays, with the authentication key for each.
        places: Vec<(RelayIdentity, IntroAuthKey)>,
        /// True if the link has been given out: from then on the relays can't change.
        published: bool,
    },
    /// A contact, at the introduction points that the shared secret prefers.
    Contact {
        /// The shared secret.
        secret: SharedSecret,
        /// This client's role.
        role: RelationshipRole,
        /// The points that the contact knows of.
        acknowledged: Vec<IntroPoint>,
    },
}

/// What it takes to answer a caller's introductions.
struct Service {
    key: KeyBytes,
    verification: [u8; 32],
    audience: Audience,
    introductions: Introductions,
}

/// How a contact can be reached.
#[derive(Clone)]
pub(super) struct Approach {
    /// Their X25519 key for introductions.
    pub(super) their_key: [u8; 32],
    /// The verification string of handshakes with them.
    pub(super) verification: [u8; 32],
    /// Where they accept introductions.
    pub(super) places: Vec<(RelayIdentity, IntroductionId)>,
    /// How many circuits the two have had.
    pub(super) generation: u64,
    /// This client's role in the relationship. None while it only holds an invite.
    pub(super) role: Option<RelationshipRole>,
    /// When the invite expires, in minutes since 1970. Zero: never.
    pub(super) expires: u32,
    /// True if they are to be looked for while there is no circuit to them.
    pub(super) wanted: bool,
}

/// A contact, as far as meeting them goes.
struct Peer {
    approach: Approach,
    search: Search,
    /// The joined circuit that carries the contact.
    carrier: Option<CircuitId>,
}

/// The search for a contact.
#[derive(Debug)]
struct Search {
    /// Introductions that nobody answered.
    tries: u32,
    /// When the next is due.
    next: Instant,
    /// True if an introduction of ours that the contact may have received was given up for one of theirs.
    gave_way: bool,
}

impl Search {
    const fn new(now: Instant) -> Self {
        Self { tries: 0, next: now, gave_way: false }
    }
}

/// A circuit that is joined to another client's.
struct Joined {
    contact: Option<ContactId>,
    role: RendezvousRole,
    /// The number of this circuit among those of the two.
    generation: u64,
    /// True once messages may go both ways.
    is_open: bool,
    fallback: Fallback,
}

/// What happened.
pub(super) enum OnionServiceEvent {
    /// A circuit is joined to another client's.
    Joined {
        /// The circuit.
        circuit: CircuitId,
        /// Who is at the other end.
        with: Caller,
        /// This client's role on the circuit.
        role: RendezvousRole,
        /// The number of the circuit among those of the two.
        generation: u64,
        /// More keys of the handshake.
        stream: Box<KeyStream>,
    },
    /// Bytes from the other client; [`CircuitManager::consumed`](super::circuits::CircuitManager::consumed) lets it send more.
    Data(CircuitId, StreamId, Vec<u8>),
    /// A joined circuit is gone.
    Closed(CircuitId),
    /// Where contacts can find this client has changed.
    PointsChanged,
    /// An introduction point has confirmed what it was given: an invite may be complete.
    PointConfirmed,
    /// There is no way to an introduction point any more: invites that were not given out go elsewhere.
    PointGone(RelayIdentity),
    /// Nobody answered, for the n-th time.
    SearchFailed(ContactId, u32),
    /// The invite has expired: the search is over.
    InviteExpired(ContactId),
    /// The contact at the end of this circuit should get this introduction, for the case that the circuit is lost.
    OfferFallback(CircuitId, Box<[u8; INTRODUCTION_LEN]>),
}

/// Introduction points, and all circuits that wait for, carry or follow introductions.
#[derive(Default)]
pub(super) struct OnionService {
    services: BTreeMap<Caller, Service>,
    peers: BTreeMap<ContactId, Peer>,
    points: IntroPoints,
    // What each circuit is used for; a circuit is in one of these at most.
    client_rendezvous: BTreeMap<CircuitId, ClientRendezvous>,
    introduces: BTreeMap<CircuitId, Introduce>,
    service_rendezvous: BTreeMap<CircuitId, ServiceRendezvous>,
    joined: BTreeMap<CircuitId, Joined>,
    events: VecDeque<OnionServiceEvent>,
}

impl OnionService {
    // ---- for whom, and whom ----

    /// Accepts introductions from a caller from now on, or changes where.
    pub(super) fn serve(
        &mut self,
        caller: Caller,
        key: KeyBytes,
        verification: [u8; 32],
        audience: Audience,
        now: Instant,
    ) {
        let introductions = match self.services.remove(&caller) {
            Some(Service { introductions, .. }) => introductions,
            None => Introductions::new(now),
        };
        self.services.insert(caller, Service { key, verification, audience, introductions });
        self.points.lists_changed();
    }

    /// Accepts no more introductions from a caller.
    pub(super) fn stop_serving(&mut self, caller: Caller) {
        if self.services.remove(&caller).is_some() {
            self.points.lists_changed();
        }
    }

    /// Says how a contact can be reached, and whether they are to be.
    pub(super) fn set_peer(&mut self, id: ContactId, approach: Approach, now: Instant) {
        match self.peers.get_mut(&id) {
            Some(peer) => peer.approach = approach,
            None => drop(self.peers.insert(id, Peer { approach, search: Search::new(now), carrier: None })),
        }
    }

    /// Forgets a contact; their circuits should have been closed.
    pub(super) fn forget_peer(&mut self, id: ContactId) {
        self.peers.remove(&id);
    }

    /// Looks for a contact as if for the first time.
    pub(super) fn search_anew(&mut self, id: ContactId, now: Instant) {
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.search = Search::new(now);
        }
    }

    /// Closes all circuits of a contact, for a reason that travels to the other end.
    pub(super) fn close_circuits_of(&mut self, id: ContactId, reason: DestroyReason, cx: &mut Context<'_>) {
        let joined = self.joined.iter().filter(|(_, joined)| joined.contact == Some(id)).map(|(key, _)| *key);
        let waits = self.waits_for(id);
        let is_theirs = |come: &ServiceRendezvous| come.caller == Caller::Contact(id);
        let coming = self.service_rendezvous.iter().filter(|(_, come)| is_theirs(come)).map(|(key, _)| *key);
        let keys: Vec<_> = joined.chain(waits).chain(coming).collect();
        for key in keys {
            self.close_for(key, reason, cx);
        }
    }

    // ---- joined circuits ----

    /// It turned out who is at the other end.
    pub(super) fn identify(&mut self, circuit: CircuitId, id: ContactId) {
        if let Some(joined) = self.joined.get_mut(&circuit) {
            joined.contact = Some(id);
        }
    }

    /// From now on this circuit carries the contact; `is_open` once messages may go both ways.
    pub(super) fn carried(&mut self, circuit: CircuitId, id: ContactId, is_open: bool, cx: &mut Context<'_>) {
        cx.circuits.settled(circuit);
        let Some(joined) = self.joined.get_mut(&circuit) else { return };
        joined.is_open |= is_open;
        let role = joined.role;
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.search = Search::new(cx.now.instant);
            peer.carrier = Some(circuit);
        }
        if role == RendezvousRole::Service {
            // The other side waits for this circuit's end.
            self.stop_looking_for(id, cx);
        }
    }

    /// Registers a circuit whose other end is another client, and tells the rooms above.
    fn join(
        &mut self,
        circuit: CircuitId,
        with: Caller,
        role: RendezvousRole,
        generation: u64,
        mut stream: KeyStream,
        cx: &mut Context<'_>,
    ) {
        let keys = CircuitKeys::from(&mut stream);
        cx.circuits.join(circuit, role, &keys);
        cx.circuits.settled(circuit);
        let deadline = cx.now.instant + cx.circuits.stretch(MEETING_TIME);
        cx.circuits.set_deadline(circuit, deadline);
        let contact = match with {
            Caller::Contact(id) => Some(id),
            Caller::Invite(_) => None,
        };
        let fallback = Fallback::new(role, cx.now.instant);
        self.joined.insert(circuit, Joined { contact, role, generation, is_open: false, fallback });
        self.events.push_back(OnionServiceEvent::Joined { circuit, with, role, generation, stream: Box::new(stream) });
        if role == RendezvousRole::Client
            && let Some(id) = contact
        {
            // One at a time: a second one would only undo the first.
            self.stop_looking_for(id, cx);
        }
    }

    fn joined_lost(&mut self, circuit: CircuitId, joined: &Joined, cx: &mut Context<'_>) {
        self.events.push_back(OnionServiceEvent::Closed(circuit));
        let Some(id) = joined.contact else { return };
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if peer.carrier == Some(circuit) {
            peer.carrier = None;
            if joined.is_open {
                peer.search = Search::new(cx.now.instant);
            }
            if peer.approach.role == Some(RelationshipRole::Guest) {
                let next = cx.in_between(GUEST_PAUSE.0, GUEST_PAUSE.1);
                peer.search.next = peer.search.next.max(next);
            }
            self.fall_back(id, joined, cx);
        } else if joined.role == RendezvousRole::Client {
            // Whoever came where this client waited has not become the contact's circuit.
            self.fallback_lost(id, cx);
        }
    }

    // ---- driving ----

    /// Takes what happened to circuits.
    pub(super) fn handle(&mut self, event: CircuitEvent, cx: &mut Context<'_>) {
        match event {
            CircuitEvent::Opened(id) => self.circuit_opened(id, cx),
            CircuitEvent::Message(id, message) => self.message(id, *message, cx),
            CircuitEvent::Data(id, stream, data) => self.events.push_back(OnionServiceEvent::Data(id, stream, data)),
            CircuitEvent::StreamEnded(id) => self.fail(id, DestroyReason::Protocol, cx),
            CircuitEvent::Closed(id) => self.circuit_closed(id, cx),
            CircuitEvent::RoomForMore => self.retry_held_up(cx.now.instant),
            CircuitEvent::PathsChanged => self.drop_outdated_fallbacks(cx),
            CircuitEvent::Answered(..) => {}
        }
    }

    /// The next thing that happened.
    pub(super) fn poll_event(&mut self) -> Option<OnionServiceEvent> {
        self.events.pop_front()
    }

    /// Brings everything to where it should be by now.
    pub(super) fn maintain(&mut self, cx: &mut Context<'_>) {
        self.maintain_intro_points(cx);
        self.maintain_searches(cx);
        self.maintain_fallbacks(cx);
    }

    /// When something is to be done even without an input.
    pub(super) fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        // A search that is due already waits for a link to open, not for the time.
        let apart = self.peers.values().filter(|peer| peer.carrier.is_none() && peer.approach.wanted);
        let searches = apart.map(|peer| peer.search.next).filter(|next| *next > now);
        let others = [self.points.poll_timeout(now), self.meetings_timeout(now), self.fallback_timeout(now)];
        searches.chain(others.into_iter().flatten()).min()
    }

    fn circuit_opened(&mut self, id: CircuitId, cx: &mut Context<'_>) {
        if self.points.has(id) {
            self.points.reached(id, cx);
        } else if self.client_rendezvous.contains_key(&id) {
            self.establish(id, cx);
        } else if self.introduces.contains_key(&id) {
            self.introduce(id, cx);
        } else if self.service_rendezvous.contains_key(&id) {
            self.arrive(id, cx);
        }
    }

    /// A message of the last hop that belongs to no stream.
    fn message(&mut self, id: CircuitId, message: RelayMessage, cx: &mut Context<'_>) {
        let (is_point, is_wait) = (self.points.has(id), self.client_rendezvous.contains_key(&id));
        match message {
            RelayMessage::IntroEstablished if is_point => self.point_established(id, cx),
            RelayMessage::Introduce2(fragment) if is_point => self.introduction_fragment(id, &fragment, cx),
            RelayMessage::RendezvousEstablished if is_wait => self.established(id, cx),
            RelayMessage::Rendezvous2(fragment) if is_wait => self.answer_fragment(id, &fragment, cx),
            RelayMessage::IntroduceAck { effort, seed } if self.introduces.contains_key(&id) => {
                self.introduce_acknowledged(id, effort, seed, cx);
            }
            // Whoever asked for this has given up meanwhile.
            RelayMessage::RendezvousUnknown if self.joined.contains_key(&id) => self.close(id, cx),
            _ => self.fail(id, DestroyReason::Protocol, cx),
        }
    }

    /// A circuit is gone: whatever used it goes on without.
    fn circuit_closed(&mut self, id: CircuitId, cx: &mut Context<'_>) {
        self.points.circuit_closed(id);
        if let Some(wait) = self.client_rendezvous.remove(&id) {
            self.wait_lost(id, &wait, cx);
        }
        if let Some(introduce) = self.introduces.remove(&id) {
            self.introduce_lost(&introduce, cx);
        }
        if let Some(come) = self.service_rendezvous.remove(&id) {
            self.come_lost(come, cx);
        }
        if let Some(joined) = self.joined.remove(&id) {
            self.joined_lost(id, &joined, cx);
        }
    }

    /// Closes a circuit that is not wanted any more.
    fn close(&mut self, id: CircuitId, cx: &mut Context<'_>) {
        self.close_for(id, DestroyReason::Requested, cx);
    }

    /// The same, for a reason that travels to its end.
    fn close_for(&mut self, id: CircuitId, reason: DestroyReason, cx: &mut Context<'_>) {
        cx.circuits.close(id, reason);
        self.circuit_closed(id, cx);
    }

    /// Closes a circuit that went wrong.
    fn fail(&mut self, id: CircuitId, reason: DestroyReason, cx: &mut Context<'_>) {
        cx.circuits.fail(id, reason);
        self.circuit_closed(id, cx);
    }

    // ---- for people ----

    /// The contact that a circuit is for, or the other end of which they are.
    pub(super) fn contact_of(&self, id: CircuitId) -> Option<ContactId> {
        if let Some(wait) = self.client_rendezvous.get(&id) {
            return Some(wait.contact);
        }
        if let Some(introduce) = self.introduces.get(&id) {
            return Some(introduce.contact);
        }
        if let Some(joined) = self.joined.get(&id) {
            return joined.contact;
        }
        match self.service_rendezvous.get(&id)?.caller {
            Caller::Contact(id) => Some(id),
            Caller::Invite(_) => None,
        }
    }

    /// True if the circuit is joined to another client's.
    pub(super) fn is_joined(&self, id: CircuitId) -> bool {
        self.joined.contains_key(&id)
    }
}
