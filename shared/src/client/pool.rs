//! The relays where this client takes introductions: a few circuits, whatever the number of contacts.
//!
//! Each circuit carries a list of ids, filled up so that its length tells only which size. A contact's ids are on
//! [`INTRO_POINTS_PER_CONTACT`] of the circuits, those that the relationship prefers; an invite's on [`INVITE_RELAYS`]. A relay stays for a
//! day or so, and then until every contact has been told that another takes its place.

use rand_core::Rng as _;
use serde::{Deserialize, Serialize};

use super::Client;
use super::api::ContactId;
use super::circuits::relays::{NoPath, jitter};
use super::circuits::{CircuitId, CircuitPurpose, Isolation, Target};
use super::contacts::{Contact, Introductions, KeyBytes, OpenInvite, Relationship};
use super::rendezvous::Caller;
use crate::cell::DestroyReason;
use crate::cell::fragment::{Assembler, Fragment};
use crate::cell::introduction::{AUTH_KEYS_PER_CELL, IntroAuthKey, Introduction, IntroductionId, MAX_PARTS};
use crate::cell::message::RelayMessage;
use crate::contact::invite::{INVITE_RELAYS, is_over};
use crate::crypto::derive::derive_short;
use crate::crypto::keys::RelayIdentity;
use crate::messaging::frame::Frame;
use crate::rendezvous::{INTRO_POINTS_PER_CONTACT, IntroPoint, SharedSecret};
use crate::time::Instant;

/// Circuits that take introductions.
pub const INTRO_POINTS: usize = 6;

/// How long a relay takes them, at least and at most, in seconds.
const LIFETIME: (u64, u64) = (18 * 3600, 24 * 3600);

/// How long at most beyond that, for contacts who have not been told yet, in seconds.
const GRACE: u64 = 14 * 24 * 3600;

/// How long this client has to have run before that grace may end.
const ONLINE_TIME: core::time::Duration = core::time::Duration::from_secs(3600);

/// How long a relay that is not listed any more keeps its place, in seconds: most come back.
const ABSENCE: u64 = 600;

/// The pause before it is tried again to find a relay for an empty place.
const FILL_PAUSE: core::time::Duration = core::time::Duration::from_secs(10);

/// What to say when no invite can be made.
const TOO_FEW_PLACES: &str = "There are too few relays where a visitor could ask for you: none of them may have one operator or \
                              stand in one subnet with your guards. Try again later.";

/// A relay of the pool, on disk.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct IntroPointRecord {
    pub(super) point: IntroPoint,
    /// From which what fills its list up is derived: the same on each circuit to it.
    #[serde(default)]
    filling: [u8; 32],
    /// Until when it is to stay, in seconds since 1970.
    until: u64,
    /// Since when the relay has not been listed, in seconds since 1970.
    #[serde(default)]
    absent_since: Option<u64>,
    /// Whether no contact is told of it any more.
    #[serde(default)]
    retiring: bool,
}

/// Taking introductions at one relay.
pub(super) struct IntroPointCircuit {
    pub(super) point: IntroPoint,
    /// The ids that the relay was given last, without those that only fill up; none while it was given no list.
    pub(super) sent: Option<Vec<IntroductionId>>,
    /// How many lists it has not confirmed yet.
    pub(super) unconfirmed: u32,
    /// An introduction that is coming in.
    pub(super) incoming: Assembler,
}

/// The pool at work.
#[derive(Debug, Default)]
pub(super) struct IntroPointManager {
    /// Whether the lists may have changed.
    pub(super) changed: bool,
    next_fill: Option<Instant>,
    began: Option<Instant>,
}

/// An id of a list.
struct Listed {
    auth_key: IntroAuthKey,
    caller: Caller,
}

impl Client {
    pub(super) fn maintain_intro_points(&mut self) {
        if self.circuits.consensus().is_none() {
            return;
        }
        let began = *self.pool.began.get_or_insert(self.now.instant);
        self.end_invites();
        self.retire(began);
        self.fill_pool();
        self.build_points();
        if core::mem::take(&mut self.pool.changed) {
            self.send_all_points();
            self.send_lists();
        }
    }

    /// What the contacts have to know has changed, or what the relays have.
    pub(super) const fn pool_changed(&mut self) {
        self.pool.changed = true;
    }

    // ---- which relays ----

    /// Lets go of relays whose time is over.
    fn retire(&mut self, began: Instant) {
        let Some(consensus) = self.circuits.consensus() else { return };
        let clock = self.circuits.network_now().unix.as_secs();
        let long_online = self.now.instant.saturating_since(began) >= ONLINE_TIME;
        let (contacts, invites) = (&self.contacts, &self.invites);
        let invited = |slot: &IntroPointRecord| {
            invites.values().flat_map(|invite| &invite.record.places).any(|(relay, _)| *relay == slot.point.relay)
        };
        let told = |slot: &IntroPointRecord| {
            let knows = |relationship: &Relationship| relationship.acknowledged.contains(&slot.point);
            contacts.values().any(|contact| !contact.record.blocked && contact.relationship().is_some_and(knows))
        };
        let mut changed = false;
        let mut present = 0;
        self.profile.slots.retain_mut(|slot| {
            let listed = consensus.relay(&slot.point.relay).is_some();
            if listed && slot.absent_since.take().is_some() {
                changed = true;
            }
            if !listed && slot.absent_since.is_none() {
                slot.absent_since = Some(clock);
                changed = true;
            }
            if !slot.retiring && !invited(slot) && (slot.until <= clock || (listed && present >= INTRO_POINTS)) {
                slot.retiring = true;
                changed = true;
            }
            if listed && !slot.retiring {
                present += 1;
            }
            let gone = slot.absent_since.is_some_and(|since| since + ABSENCE <= clock) && !invited(slot);
            let served =
                slot.retiring && !invited(slot) && (!told(slot) || (long_online && slot.until + GRACE <= clock));
            changed |= gone || served;
            !gone && !served
        });
        if changed {
            self.put_profile();
            self.pool.changed = true;
            self.drop_points();
        }
    }

    /// Ends circuits to relays that are not of the pool any more.
    fn drop_points(&mut self) {
        let of_pool = |point: &IntroPoint| self.profile.slots.iter().any(|slot| slot.point == *point);
        let gone: Vec<_> =
            self.intro_circuits.iter().filter(|(_, task)| !of_pool(&task.point)).map(|(key, _)| *key).collect();
        gone.into_iter().for_each(|key| self.drop_circuit(key));
    }

    /// Looks for relays for empty places.
    fn fill_pool(&mut self) {
        let now = self.now.instant;
        let in_use = self.profile.slots.iter().filter(|slot| !slot.retiring && slot.absent_since.is_none()).count();
        if in_use >= INTRO_POINTS
            || self.pool.next_fill.is_some_and(|next| now < next)
            || !self.circuits.has_open_link()
        {
            return;
        }
        let taken: Vec<_> = self.profile.slots.iter().map(|slot| slot.point.relay).collect();
        let chosen = self.circuits.choose_rendezvous_relays(INTRO_POINTS - in_use, &taken);
        self.pool.next_fill = (chosen.len() < INTRO_POINTS - in_use).then(|| now + FILL_PAUSE);
        if chosen.is_empty() {
            return;
        }
        let clock = self.circuits.network_now().unix.as_secs();
        for relay in chosen {
            let mut salt = [0; 8];
            self.rng.fill_bytes(&mut salt);
            let until = clock + LIFETIME.0 + self.rng.next_u64() % (LIFETIME.1 - LIFETIME.0);
            let mut filling = [0; 32];
            self.rng.fill_bytes(&mut filling);
            let point = IntroPoint { relay, salt };
            self.profile.slots.push(IntroPointRecord { point, filling, until, absent_since: None, retiring: false });
        }
        self.put_profile();
        self.pool.changed = true;
    }

    /// The relays of the pool that contacts are told of.
    fn points(&self) -> impl Iterator<Item = IntroPoint> + '_ {
        self.profile.slots.iter().filter(|slot| !slot.retiring && slot.absent_since.is_none()).map(|slot| slot.point)
    }

    /// Where whoever shares this secret is to bring introductions.
    pub(super) fn points_for(&self, secret: &SharedSecret) -> Vec<IntroPoint> {
        let mut points: Vec<IntroPoint> = self.points().collect();
        points.sort_by_cached_key(|point| secret.preference(point));
        points.truncate(INTRO_POINTS_PER_CONTACT);
        points
    }

    // ---- circuits and lists ----

    fn build_points(&mut self) {
        let now = self.now.instant;
        let points: Vec<IntroPoint> =
            self.profile.slots.iter().filter(|slot| slot.absent_since.is_none()).map(|slot| slot.point).collect();
        for point in points {
            if self.intro_circuits.values().any(|task| task.point == point)
                || self.circuits.relays().is_failing(&point.relay, now)
            {
                continue;
            }
            let task = IntroPointCircuit { point, sent: None, unconfirmed: 0, incoming: Assembler::default() };
            let target = Target::Chosen(point.relay);
            match self.circuits.open(target, CircuitPurpose::IntroPoint, Isolation::Exclusive) {
                Ok(circuit) => {
                    self.intro_circuits.insert(circuit, task);
                }
                Err(NoPath::NotYet) => return,
                // It has become related to our guards: another one takes its place.
                Err(NoPath::OutOfReach) => self.give_up(point),
                Err(NoPath::TooFew) => {}
            }
        }
    }

    /// There is no way to a relay of the pool any more.
    fn give_up(&mut self, point: IntroPoint) {
        let before = self.profile.slots.len();
        let pinned = self.invites.values().filter(|invite| invite.published);
        if pinned.flat_map(|invite| &invite.record.places).any(|(relay, _)| *relay == point.relay) {
            return;
        }
        self.profile.slots.retain(|slot| slot.point != point);
        if self.profile.slots.len() < before {
            self.put_profile();
            self.pool.changed = true;
            // Nobody has seen those links yet: the invites go elsewhere.
            for invite in self.invites.values_mut().filter(|invite| !invite.published) {
                if invite.record.places.iter().any(|(relay, _)| *relay == point.relay) {
                    invite.record.places.clear();
                }
            }
        }
    }

    pub(super) fn point_reached(&mut self, key: CircuitId) {
        self.circuits.settled(key);
        self.pool.changed = true;
    }

    /// What is to be taken at a point.
    fn list(&self, point: &IntroPoint) -> Vec<Listed> {
        let mut list = Vec::new();
        for (id, invite) in &self.invites {
            let here = invite.record.places.iter().filter(|(relay, _)| *relay == point.relay);
            list.extend(
                here.map(|(_, auth_key)| Listed { auth_key: IntroAuthKey(*auth_key), caller: Caller::Invite(*id) }),
            );
        }
        for contact in self.contacts.values().filter(|contact| !contact.record.blocked) {
            let Some(relationship) = contact.relationship() else { continue };
            if relationship.acknowledged.contains(point) || self.points_for(&relationship.secret).contains(point) {
                list.push(Listed { auth_key: relationship.auth_key(point), caller: Caller::Contact(contact.id) });
            }
        }
        list.truncate(AUTH_KEYS_PER_CELL * usize::from(MAX_PARTS));
        list
    }

    /// Gives each relay of the pool its list, if that has changed.
    fn send_lists(&mut self) {
        let open = self.intro_circuits.iter().filter(|(key, _)| self.circuits.is_open(**key));
        let keys: Vec<_> = open.map(|(key, task)| (*key, task.point)).collect();
        for (key, point) in keys {
            let auth_keys: Vec<IntroAuthKey> = self.list(&point).iter().map(|listed| listed.auth_key).collect();
            let ids: Vec<IntroductionId> = auth_keys.iter().map(IntroAuthKey::id).collect();
            let Some(task) = self.intro_circuits.get_mut(&key) else { continue };
            // The first is sent even where nobody is on it: whoever watches sees no difference.
            if task.sent.as_ref() == Some(&ids) {
                continue;
            }
            task.sent = Some(ids);
            task.unconfirmed += 1;
            self.circuits.expect_answer(key);
            // 1, 2, 4, … parts: at most MAX_PARTS, since the list is no longer than these hold.
            let parts = auth_keys.len().div_ceil(AUTH_KEYS_PER_CELL).next_power_of_two().max(1);
            let missing = parts * AUTH_KEYS_PER_CELL - auth_keys.len();
            let filling =
                self.profile.slots.iter().find(|slot| slot.point == point).map_or([0; 32], |slot| slot.filling);
            let filler =
                |n: usize| IntroAuthKey(derive_short("introduction filling", &[&filling, &(n as u64).to_be_bytes()]));
            let mut list: Vec<IntroAuthKey> = auth_keys.into_iter().chain((0..missing).map(filler)).collect();
            // All are random numbers: by their order nobody can tell which of them are new, or fill up.
            list.sort_unstable_by_key(|auth_key| auth_key.0);
            for (part, auth_keys) in (0..).zip(list.as_chunks::<AUTH_KEYS_PER_CELL>().0) {
                let message = RelayMessage::EstablishIntro { part, of: parts as u8, auth_keys: Box::new(*auth_keys) };
                self.circuits.send(key, &message);
            }
        }
    }

    pub(super) fn point_established(&mut self, key: CircuitId) {
        let Some(task) = self.intro_circuits.get_mut(&key) else { return };
        if task.unconfirmed == 0 {
            return self.close_circuit(key, DestroyReason::Protocol);
        }
        task.unconfirmed -= 1;
        if task.unconfirmed == 0 {
            self.circuits.settled(key);
            self.publish_invites();
        }
    }

    /// Tells contacts on whose circuits it can be said where they find us from now on.
    fn send_all_points(&mut self) {
        let ids: Vec<ContactId> = self.contacts.keys().copied().collect();
        ids.into_iter().for_each(|id| self.send_points(id));
    }

    /// Tells one of them, if there is anything new.
    pub(super) fn send_points(&mut self, id: ContactId) {
        let Some(contact) = self.contacts.get(&id) else { return };
        let (Some(key), Some(relationship)) = (contact.channel, contact.relationship()) else { return };
        let points = self.points_for(&relationship.secret);
        if points.is_empty() || relationship.acknowledged == points {
            return;
        }
        let Some(channel) = self.channel(key) else { return };
        // One at a time: the answer does not say to which.
        if !channel.phase.is_greeted() || channel.pending_points.is_some() {
            return;
        }
        channel.pending_points = Some(points.clone());
        self.send_frame(key, &Frame::Points(points));
    }

    // ---- invites ----

    /// Begins an invite; its link is given out once somebody could come.
    pub(super) fn begin_invite(&mut self, id: u64, invite: OpenInvite) {
        self.invites.insert(id, invite);
        self.place_invite(id);
    }

    fn place_invite(&mut self, id: u64) {
        // Places that stand already come first: there the invite is known soonest.
        let stands =
            |point: &IntroPoint| self.intro_circuits.values().any(|task| task.point == *point && task.sent.is_some());
        let mut points: Vec<IntroPoint> = self.points().collect();
        points.sort_by_key(|point| !stands(point));
        let relays: Vec<RelayIdentity> = points.iter().map(|point| point.relay).take(INVITE_RELAYS).collect();
        let Some(invite) = self.invites.get_mut(&id) else { return };
        if relays.len() < INVITE_RELAYS || !invite.record.places.is_empty() {
            return;
        }
        for relay in relays {
            invite.record.places.push((relay, IntroAuthKey::random(&mut self.rng).0));
        }
        self.pool.changed = true;
    }

    /// Gives out the links of invites for which somebody could come.
    fn publish_invites(&mut self) {
        let ids: Vec<u64> = self.invites.iter().filter(|(_, invite)| !invite.published).map(|(id, _)| *id).collect();
        for id in ids {
            let Some(invite) = self.invites.get(&id) else { continue };
            let stands = |(relay, auth_key): &(RelayIdentity, [u8; 16])| {
                let id = IntroAuthKey(*auth_key).id();
                self.intro_circuits.values().any(|task| {
                    task.point.relay == *relay
                        && task.unconfirmed == 0
                        && task.sent.as_ref().is_some_and(|sent| sent.contains(&id))
                })
            };
            if invite.record.places.is_empty() || !invite.record.places.iter().all(stands) {
                continue;
            }
            self.publish(id);
        }
    }

    /// Ends invites whose time is over, and gives places to those that have none.
    fn end_invites(&mut self) {
        let now = self.circuits.network_now().unix;
        let over = self.invites.iter().filter(|(_, invite)| is_over(invite.record.expires, now));
        let over: Vec<u64> = over.map(|(id, _)| *id).collect();
        over.into_iter().for_each(|id| self.end_invite(id));
        let bare: Vec<u64> =
            self.invites.iter().filter(|(_, invite)| invite.record.places.is_empty()).map(|(id, _)| *id).collect();
        for id in bare {
            self.place_invite(id);
            let placed = self.invites.get(&id).is_some_and(|invite| !invite.record.places.is_empty());
            // Those that are there are not enough, and no more are found.
            if !placed && self.pool.next_fill.is_some() && self.points().count() < INVITE_RELAYS {
                self.invites.remove(&id);
                self.error("invite", TOO_FEW_PLACES.to_owned());
            }
        }
    }

    // ---- introductions ----

    /// One third of an introduction has come.
    pub(super) fn introduction_fragment(&mut self, key: CircuitId, fragment: &Fragment) {
        let Some(task) = self.intro_circuits.get_mut(&key) else {
            return;
        };
        let point = task.point;
        match task.incoming.push(fragment) {
            Ok(None) => {}
            Ok(Some(message)) => {
                if let Some(introduction) = Introduction::at_host(&message) {
                    self.introduced(&point, &introduction);
                }
            }
            Err(_) => self.close_circuit(key, DestroyReason::Protocol),
        }
    }

    /// Somebody wants to reach us. Whatever is wrong with an introduction: nobody is told.
    fn introduced(&mut self, point: &IntroPoint, introduction: &Introduction) {
        let caller = self.list(point).into_iter().find(|listed| listed.auth_key.id() == introduction.id);
        let Some(Listed { caller, .. }) = caller else { return };
        let now = self.now.instant;
        if self.introductions_of(caller).is_some_and(|introductions| introductions.admits(now, &introduction.handshake))
        {
            self.called(caller, introduction);
        }
    }

    /// What is remembered of a caller's introductions.
    pub(super) fn introductions_of(&mut self, caller: Caller) -> Option<&mut Introductions> {
        match caller {
            Caller::Invite(id) => self.invites.get_mut(&id).map(|invite| &mut invite.introductions),
            Caller::Contact(id) => self.contacts.get_mut(&id).map(|contact| &mut contact.introductions),
        }
    }

    /// The key and the verification string of handshakes with a caller.
    pub(super) fn service_of(&self, caller: Caller) -> Option<(&KeyBytes, [u8; 32])> {
        match caller {
            Caller::Invite(id) => {
                let invite = self.invites.get(&id)?;
                Some((&invite.record.key, invite.invite(self.network_prefix()).verification()))
            }
            Caller::Contact(id) => {
                let relationship = self.contacts.get(&id).and_then(Contact::relationship)?;
                Some((&relationship.key, relationship.secret.verification(relationship.role)))
            }
        }
    }

    /// When the pool wants to be looked at.
    pub(super) fn pool_timeout(&self) -> Option<Instant> {
        self.pool.next_fill.filter(|next| *next > self.now.instant)
    }

    /// A pause between one step and `later`, the length of which nobody can guess.
    pub(super) fn pause(&mut self, from: core::time::Duration, to: core::time::Duration) -> Instant {
        self.now.instant + jitter(from, to, &mut self.rng)
    }
}
