//! The relays where this client accepts introductions: a few circuits, whatever the number of contacts.
//!
//! Each circuit carries a list of ids, padded so that its length tells only which size. A contact's ids are on
//! [`INTRO_POINTS_PER_CONTACT`] of the circuits, those that the relationship prefers; an invite's on [`INVITE_RELAYS`]. A
//! relay is used for a day or so, and then until every contact has been told that another one takes its place.

use std::collections::BTreeMap;

use rand_core::Rng as _;

use super::{Audience, Caller, OnionService, OnionServiceEvent, Service};
use crate::cell::DestroyReason;
use crate::cell::fragment::{Assembler, Fragment};
use crate::cell::introduction::{AUTH_KEYS_PER_CELL, IntroAuthKey, Introduction, IntroductionId, MAX_PARTS};
use crate::cell::message::RelayMessage;
use crate::client::circuits::relays::NoPath;
use crate::client::circuits::{CircuitId, CircuitPurpose, Isolation, Target};
use crate::client::context::Context;
use crate::client::profile::{IntroPointRecord, Profile};
use crate::contact::invite::INVITE_RELAYS;
use crate::crypto::derive::derive_short;
use crate::crypto::keys::RelayIdentity;
use crate::rendezvous::{INTRO_POINTS_PER_CONTACT, IntroPoint, SharedSecret};
use crate::time::Instant;

/// Circuits that accept introductions.
pub const INTRO_POINTS: usize = 6;

/// How long a relay is used, at least and at most, in seconds.
const LIFETIME: (u64, u64) = (18 * 3600, 24 * 3600);

/// How long at most beyond that, for contacts who have not been told yet, in seconds.
const GRACE: u64 = 14 * 24 * 3600;

/// How long this client has to have run before that grace may end.
const ONLINE_TIME: core::time::Duration = core::time::Duration::from_secs(3600);

/// How long a relay that is not listed any more keeps its place, in seconds: most come back.
const ABSENCE: u64 = 600;

/// The pause before it is tried again to find a relay for an empty place.
const FILL_PAUSE: core::time::Duration = core::time::Duration::from_secs(10);

/// The introduction points at work.
#[derive(Default)]
pub(super) struct IntroPoints {
    circuits: BTreeMap<CircuitId, IntroPointCircuit>,
    /// True if the lists may have changed.
    changed: bool,
    next_fill: Option<Instant>,
    began: Option<Instant>,
}

/// Accepting introductions at one relay.
struct IntroPointCircuit {
    point: IntroPoint,
    /// The ids that the relay was given last, without padding. None while it was given no list.
    sent: Option<Vec<IntroductionId>>,
    /// How many lists it has not confirmed yet.
    unconfirmed: u32,
    /// An introduction that is coming in.
    incoming: Assembler,
}

/// An id of a list.
struct Listed {
    auth_key: IntroAuthKey,
    caller: Caller,
}

impl IntroPoints {
    /// For whom introductions are accepted has changed, or where.
    pub(super) const fn lists_changed(&mut self) {
        self.changed = true;
    }

    pub(super) fn has(&self, id: CircuitId) -> bool {
        self.circuits.contains_key(&id)
    }

    pub(super) fn circuit_closed(&mut self, id: CircuitId) {
        self.circuits.remove(&id);
    }

    /// The circuit reaches its relay, which can be given its list.
    pub(super) fn reached(&mut self, id: CircuitId, cx: &mut Context<'_>) {
        cx.circuits.settled(id);
        self.changed = true;
    }

    pub(super) fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        self.next_fill.filter(|next| *next > now)
    }

    /// True if this relay accepts introductions for this id, and has confirmed it.
    fn is_confirmed(&self, relay: &RelayIdentity, id: &IntroductionId) -> bool {
        self.circuits.values().any(|circuit| {
            circuit.point.relay == *relay
                && circuit.unconfirmed == 0
                && circuit.sent.as_ref().is_some_and(|sent| sent.contains(id))
        })
    }
}

/// The introduction points that contacts are told of.
fn points(profile: &Profile) -> impl Iterator<Item = IntroPoint> + '_ {
    profile.intro_points.iter().filter(|record| record.is_in_use()).map(|record| record.point)
}

/// Where whoever shares this secret is to bring introductions.
pub(in super::super) fn points_for(profile: &Profile, secret: &SharedSecret) -> Vec<IntroPoint> {
    let mut points: Vec<IntroPoint> = points(profile).collect();
    points.sort_by_cached_key(|point| secret.preference(point));
    points.truncate(INTRO_POINTS_PER_CONTACT);
    points
}

impl Service {
    /// True if this relay is named by an invite.
    fn is_at(&self, relay: &RelayIdentity, only_published: bool) -> bool {
        match &self.audience {
            Audience::InviteHolders { places, published } => {
                (*published || !only_published) && places.iter().any(|(place, _)| place == relay)
            }
            Audience::Contact { .. } => false,
        }
    }

    /// True if a contact knows of this point.
    fn knows(&self, point: &IntroPoint) -> bool {
        matches!(&self.audience, Audience::Contact { acknowledged, .. } if acknowledged.contains(point))
    }
}

impl OnionService {
    pub(super) fn maintain_intro_points(&mut self, cx: &mut Context<'_>) {
        if cx.circuits.consensus().is_none() {
            return;
        }
        let began = *self.points.began.get_or_insert(cx.now.instant);
        self.retire(began, cx);
        self.fill(cx);
        self.build_points(cx);
        if core::mem::take(&mut self.points.changed) {
            self.events.push_back(OnionServiceEvent::PointsChanged);
            self.send_lists(cx);
        }
    }

    // ---- which relays ----

    /// True if any invite names this relay.
    pub(in super::super) fn is_named_by_invite(&self, relay: &RelayIdentity) -> bool {
        self.services.values().any(|service| service.is_at(relay, false))
    }

    /// Lets go of relays whose time is over.
    fn retire(&mut self, began: Instant, cx: &mut Context<'_>) {
        let Some(consensus) = cx.circuits.consensus() else { return };
        let clock = cx.circuits.network_now().unix.as_secs();
        let long_online = cx.now.instant.saturating_since(began) >= ONLINE_TIME;
        let services = &self.services;
        let mut changed = false;
        let mut present = 0;
        cx.profile.intro_points.retain_mut(|record| {
            let is_named = services.values().any(|service| service.is_at(&record.point.relay, false));
            let is_known = || services.values().any(|service| service.knows(&record.point));
            let is_listed = consensus.relay(&record.point.relay).is_some();
            if is_listed && record.absent_since.take().is_some() {
                changed = true;
            }
            if !is_listed && record.absent_since.is_none() {
                record.absent_since = Some(clock);
                changed = true;
            }
            if !record.retiring && !is_named && (record.until <= clock || (is_listed && present >= INTRO_POINTS)) {
                record.retiring = true;
                changed = true;
            }
            if is_listed && !record.retiring {
                present += 1;
            }
            let gone = record.absent_since.is_some_and(|since| since + ABSENCE <= clock) && !is_named;
            let grace_is_over = long_online && record.until + GRACE <= clock;
            let served = record.retiring && !is_named && (grace_is_over || !is_known());
            changed |= gone || served;
            !gone && !served
        });
        if changed {
            cx.put_profile();
            self.points.changed = true;
            self.drop_unused_circuits(cx);
        }
    }

    /// Closes circuits to relays that are not used any more.
    fn drop_unused_circuits(&mut self, cx: &mut Context<'_>) {
        let is_used = |point: &IntroPoint| cx.profile.intro_points.iter().any(|record| record.point == *point);
        let unused = self.points.circuits.iter().filter(|(_, circuit)| !is_used(&circuit.point)).map(|(key, _)| *key);
        for key in unused.collect::<Vec<_>>() {
            self.close(key, cx);
        }
    }

    /// Looks for relays for empty places.
    fn fill(&mut self, cx: &mut Context<'_>) {
        let now = cx.now.instant;
        let in_use = points(cx.profile).count();
        if in_use >= INTRO_POINTS
            || self.points.next_fill.is_some_and(|next| now < next)
            || !cx.circuits.has_open_link()
        {
            return;
        }
        let taken: Vec<_> = cx.profile.intro_points.iter().map(|record| record.point.relay).collect();
        let chosen = cx.circuits.choose_rendezvous_relays(INTRO_POINTS - in_use, &taken);
        self.points.next_fill = (chosen.len() < INTRO_POINTS - in_use).then(|| now + FILL_PAUSE);
        if chosen.is_empty() {
            return;
        }
        let clock = cx.circuits.network_now().unix.as_secs();
        for relay in chosen {
            let mut salt = [0; 8];
            cx.rng.fill_bytes(&mut salt);
            let until = clock + LIFETIME.0 + cx.rng.next_u64() % (LIFETIME.1 - LIFETIME.0);
            let mut filling = [0; 32];
            cx.rng.fill_bytes(&mut filling);
            let point = IntroPoint { relay, salt };
            let record = IntroPointRecord { point, filling, until, absent_since: None, retiring: false };
            cx.profile.intro_points.push(record);
        }
        cx.put_profile();
        self.points.changed = true;
    }

    // ---- circuits and lists ----

    fn build_points(&mut self, cx: &mut Context<'_>) {
        let now = cx.now.instant;
        let listed = cx.profile.intro_points.iter().filter(|record| record.absent_since.is_none());
        for point in listed.map(|record| record.point).collect::<Vec<_>>() {
            if self.points.circuits.values().any(|circuit| circuit.point == point)
                || cx.circuits.relays().is_failing(&point.relay, now)
            {
                continue;
            }
            match cx.circuits.open(Target::Chosen(point.relay), CircuitPurpose::IntroPoint, Isolation::Exclusive) {
                Ok(id) => {
                    let circuit =
                        IntroPointCircuit { point, sent: None, unconfirmed: 0, incoming: Assembler::default() };
                    self.points.circuits.insert(id, circuit);
                }
                Err(NoPath::NotYet) => return,
                // It has become related to our guards: another one takes its place.
                Err(NoPath::OutOfReach) => self.give_up(point, cx),
                Err(NoPath::TooFew) => {}
            }
        }
    }

    /// There is no way to an introduction point any more.
    fn give_up(&mut self, point: IntroPoint, cx: &mut Context<'_>) {
        if self.services.values().any(|service| service.is_at(&point.relay, true)) {
            return;
        }
        cx.profile.intro_points.retain(|record| record.point != point);
        cx.put_profile();
        self.points.changed = true;
        // Nobody has seen the links of unpublished invites yet: they go elsewhere.
        self.events.push_back(OnionServiceEvent::PointGone(point.relay));
    }

    /// Whose introductions are accepted at a point.
    fn list(&self, point: &IntroPoint, profile: &Profile) -> Vec<Listed> {
        let mut list = Vec::new();
        for (caller, service) in &self.services {
            match &service.audience {
                Audience::InviteHolders { places, .. } => {
                    let here = places.iter().filter(|(relay, _)| *relay == point.relay);
                    list.extend(here.map(|(_, auth_key)| Listed { auth_key: *auth_key, caller: *caller }));
                }
                Audience::Contact { secret, role, .. } => {
                    if service.knows(point) || points_for(profile, secret).contains(point) {
                        list.push(Listed { auth_key: secret.auth_key(*role, point), caller: *caller });
                    }
                }
            }
        }
        list.truncate(AUTH_KEYS_PER_CELL * usize::from(MAX_PARTS));
        list
    }

    /// Gives each introduction point its list, if that has changed.
    fn send_lists(&mut self, cx: &mut Context<'_>) {
        let open = self.points.circuits.iter().filter(|(key, _)| cx.circuits.is_open(**key));
        let open: Vec<_> = open.map(|(key, circuit)| (*key, circuit.point)).collect();
        for (key, point) in open {
            let auth_keys: Vec<IntroAuthKey> =
                self.list(&point, cx.profile).iter().map(|listed| listed.auth_key).collect();
            let ids: Vec<IntroductionId> = auth_keys.iter().map(IntroAuthKey::id).collect();
            let Some(circuit) = self.points.circuits.get_mut(&key) else { continue };
            // The first is sent even where nobody is on it: an observer sees no difference.
            if circuit.sent.as_ref() == Some(&ids) {
                continue;
            }
            circuit.sent = Some(ids);
            circuit.unconfirmed += 1;
            cx.circuits.expect_answer(key);
            // 1, 2, 4, … parts: at most MAX_PARTS, since the list is no longer than these hold.
            let parts = auth_keys.len().div_ceil(AUTH_KEYS_PER_CELL).next_power_of_two().max(1);
            let missing = parts * AUTH_KEYS_PER_CELL - auth_keys.len();
            let records = &cx.profile.intro_points;
            let seed = records.iter().find(|record| record.point == point).map_or([0; 32], |record| record.filling);
            let filler =
                |n: usize| IntroAuthKey(derive_short("introduction filling", &[&seed, &(n as u64).to_be_bytes()]));
            let mut list: Vec<IntroAuthKey> = auth_keys.into_iter().chain((0..missing).map(filler)).collect();
            // All are random numbers: from their order nobody can tell which of them are new, or padding.
            list.sort_unstable_by_key(|auth_key| auth_key.0);
            for (part, auth_keys) in (0..).zip(list.as_chunks::<AUTH_KEYS_PER_CELL>().0) {
                let message = RelayMessage::EstablishIntro { part, of: parts as u8, auth_keys: Box::new(*auth_keys) };
                cx.circuits.send(key, &message);
            }
        }
    }

    /// A relay has confirmed a list.
    pub(super) fn point_established(&mut self, key: CircuitId, cx: &mut Context<'_>) {
        let Some(circuit) = self.points.circuits.get_mut(&key) else { return };
        if circuit.unconfirmed == 0 {
            return self.fail(key, DestroyReason::Protocol, cx);
        }
        circuit.unconfirmed -= 1;
        if circuit.unconfirmed == 0 {
            cx.circuits.settled(key);
            self.events.push_back(OnionServiceEvent::PointConfirmed);
        }
    }

    // ---- invites ----

    /// Relays for a new invite, or none while there are too few.
    pub(in super::super) fn choose_invite_relays(&self, profile: &Profile) -> Option<Vec<RelayIdentity>> {
        // Points with a circuit come first: there the invite is known soonest.
        let stands = |point: &IntroPoint| {
            self.points.circuits.values().any(|circuit| circuit.point == *point && circuit.sent.is_some())
        };
        let mut points: Vec<IntroPoint> = points(profile).collect();
        points.sort_by_key(|point| !stands(point));
        let relays: Vec<RelayIdentity> = points.iter().map(|point| point.relay).take(INVITE_RELAYS).collect();
        (relays.len() == INVITE_RELAYS).then_some(relays)
    }

    /// True if there are too few relays for an invite, and no more are found.
    pub(in super::super) fn lacks_invite_relays(&self, profile: &Profile) -> bool {
        self.points.next_fill.is_some() && points(profile).count() < INVITE_RELAYS
    }

    /// True if all relays of an invite accept introductions for it.
    pub(in super::super) fn is_confirmed(&self, invite: u64) -> bool {
        match self.services.get(&Caller::Invite(invite)).map(|service| &service.audience) {
            Some(Audience::InviteHolders { places, .. }) if !places.is_empty() => {
                places.iter().all(|(relay, auth_key)| self.points.is_confirmed(relay, &auth_key.id()))
            }
            _ => false,
        }
    }

    // ---- introductions ----

    /// One third of an introduction has come.
    pub(super) fn introduction_fragment(&mut self, key: CircuitId, fragment: &Fragment, cx: &mut Context<'_>) {
        let Some(circuit) = self.points.circuits.get_mut(&key) else { return };
        let point = circuit.point;
        match circuit.incoming.push(fragment) {
            Ok(None) => {}
            Ok(Some(message)) => {
                if let Some(introduction) = Introduction::at_host(&message) {
                    self.introduced(&point, &introduction, cx);
                }
            }
            Err(_) => self.fail(key, DestroyReason::Protocol, cx),
        }
    }

    /// Somebody wants to reach us. Whatever is wrong with an introduction: nobody is told.
    fn introduced(&mut self, point: &IntroPoint, introduction: &Introduction, cx: &mut Context<'_>) {
        let list = self.list(point, cx.profile);
        let Some(Listed { caller, .. }) = list.into_iter().find(|listed| listed.auth_key.id() == introduction.id)
        else {
            return;
        };
        let Some(service) = self.services.get_mut(&caller) else { return };
        if service.introductions.admits(cx.now.instant, &introduction.handshake) {
            self.called(caller, introduction, cx);
        }
    }
}
