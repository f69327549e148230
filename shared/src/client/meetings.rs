//! Meeting people: one side waits at a rendezvous relay and sends an introduction, the other comes.
//!
//! Either contact may begin. Where both do at once, the inviter's introduction counts, and the guest drops its own.

use std::time::Duration;

use super::Client;
use super::api::{ContactId, ContactState};
use super::circuits::relays::NoPath;
use super::circuits::{CircuitId, CircuitPurpose, Isolation, Target};
use super::contacts::{Contact, Search, Stage};
use super::peer_channel::{PeerChannel, Phase, Secrets};
use super::peer_channels::PING_TIME;
use super::rendezvous::{Caller, ClientRendezvous, Introduce, IntroduceAttempts, ServiceRendezvous};
use crate::cell::DestroyReason;
use crate::cell::fragment::{Fragment, split};
use crate::cell::introduction::{Introduction, IntroductionId, MAX_EFFORT};
use crate::cell::message::RelayMessage;
use crate::circuit::RendezvousRole;
use crate::contact::invite::{Invite, InviteError};
use crate::crypto::handshake::{CircuitKeys, KeyStream, SERVER_MESSAGE_LEN, ServerHandshake};
use crate::crypto::keys::RelayIdentity;
use crate::rendezvous::{Invitation, RelationshipRole, service_identity};
use crate::time::Instant;

/// How long an introduction may be without an answer.
pub(super) const ANSWER_TIME: Duration = Duration::from_secs(6);

/// How long the first place may take before the next is tried too.
pub(super) const PLACE_TIME: Duration = Duration::from_millis(700);

/// The pause between two introductions, at first and at most. A contact who comes back introduces themselves, so that this
/// is only for those whose introductions do not arrive.
const PAUSE: (Duration, Duration) = (Duration::from_millis(400), Duration::from_secs(300));

/// The pause before a guest begins where a circuit was lost: the inviter begins at once, and usually that is enough.
const GUEST_PAUSE: (Duration, Duration) = (Duration::from_millis(250), Duration::from_millis(450));

/// How long a handshake through a rendezvous relay may take, or what two joined clients say first.
pub(super) const MEETING_TIME: Duration = Duration::from_secs(6);

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

/// Nonces that are tried at once, for work that a relay wants done.
const WORK_STEP: u64 = 2048;

/// How long an introduction for which a relay wants work may be without an answer.
const WORK_TIME: Duration = Duration::from_secs(60);

/// How often one relay may want work for the same introduction.
const MAX_WORK_ROUNDS: u8 = 4;

/// Answers to introductions that may be under way for one caller.
const MAX_COMING: usize = 2;

impl Client {
    // ---- asking for a meeting ----

    /// Sends introductions to all who are to be reached and are not.
    pub(super) fn maintain_introductions(&mut self) {
        let now = self.now.instant;
        let due_held = |wait: &mut ClientRendezvous| {
            Some((wait.contact, wait.seeking.as_mut()?.held.take_if(|(at, _)| *at <= now)?.1))
        };
        let held: Vec<_> = self.client_rendezvous.values_mut().filter_map(due_held).collect();
        held.into_iter().for_each(|(id, introduction)| self.called(Caller::Contact(id), &introduction));
        let is_due = |wait: &ClientRendezvous| {
            wait.seeking.as_ref().is_some_and(|seeking| seeking.next.min(seeking.until) <= now)
        };
        let waits: Vec<_> = self.waits().filter(|(_, wait)| is_due(wait)).map(|(key, _)| key).collect();
        waits.into_iter().for_each(|key| self.keep_waiting(key));
        let working: Vec<_> =
            self.introduces.iter().filter(|(_, bring)| bring.work.is_some()).map(|(key, _)| *key).collect();
        working.into_iter().for_each(|key| self.work(key));
        // Last: where there is no room for more circuits, those who are waited for already come first.
        let due = |contact: &&Contact| contact.channel.is_none() && contact.is_wanted() && contact.search.next <= now;
        let ids: Vec<_> = self.contacts.values().filter(due).map(|contact| contact.id).collect();
        for id in ids {
            let is_busy = self.client_rendezvous.values().any(|wait| wait.contact == id)
                || self.service_rendezvous.values().any(|come| come.caller == Caller::Contact(id))
                || self.channels.values().any(|channel| channel.contact == Some(id));
            if !is_busy && self.ask_for_meeting(id) == Err(NoPath::NotYet) {
                return;
            }
        }
    }

    pub(super) fn waits(&self) -> impl Iterator<Item = (CircuitId, &ClientRendezvous)> + '_ {
        self.client_rendezvous.iter().map(|(key, wait)| (*key, wait))
    }

    /// Begins to wait for a contact who is sent an introduction.
    fn ask_for_meeting(&mut self, id: ContactId) -> Result<(), NoPath> {
        if self.circuits.consensus().is_none() {
            return Err(NoPath::NotYet);
        }
        let Some(contact) = self.contacts.get(&id) else { return Ok(()) };
        let (their_key, verification, generation, places) = match (&contact.record.stage, contact.relationship()) {
            (Stage::InviteHeld(invited), _) => {
                let Ok(invite) = Invite::parse(&invited.invite) else { return Ok(()) };
                if invite.is_over(self.circuits.network_now().unix) {
                    return self.invite_is_over(id);
                }
                (invite.key, invite.verification(), 1, invite.places)
            }
            (_, Some(relationship)) => {
                let verification = relationship.secret.verification(relationship.role.other());
                (relationship.their_key, verification, relationship.generation.saturating_add(1), relationship.places())
            }
            (_, None) => return Ok(()),
        };
        let now = self.now.instant;
        let places = self.in_turn(places, contact.search.tries);
        if places.is_empty() {
            self.search_failed(id);
            return Ok(());
        }
        let key = self.circuits.open(Target::Rendezvous, CircuitPurpose::ClientRendezvous, Isolation::Exclusive)?;
        let Some(relay) = self.circuits.last_hop(key) else { return Err(NoPath::NotYet) };
        let mut wait = ClientRendezvous::new(&mut self.rng, id, relay, generation, (their_key, verification));
        wait.places = places.into();
        wait.seeking = Some(IntroduceAttempts::new(now, now + self.circuits.stretch(ANSWER_TIME)));
        self.client_rendezvous.insert(key, wait);
        self.keep_waiting(key);
        Ok(())
    }

    /// Places in the order in which introductions are brought there: another one first at each try, and last those that
    /// failed lately.
    pub(super) fn in_turn(
        &self,
        mut places: Vec<(RelayIdentity, IntroductionId)>,
        tries: u32,
    ) -> Vec<(RelayIdentity, IntroductionId)> {
        let now = self.now.instant;
        let consensus = self.circuits.consensus();
        places.retain(|(relay, _)| consensus.is_some_and(|consensus| consensus.relay(relay).is_some()));
        places.sort_by_key(|(relay, _)| {
            self.circuits.relays().is_failing(relay, now) || self.circuits.relays().is_out_of_reach(relay)
        });
        let tries = usize::try_from(tries).unwrap_or_default();
        let first = tries.checked_rem(places.len()).unwrap_or(0);
        places.rotate_left(first);
        places
    }

    /// The circuit reaches its rendezvous relay.
    pub(super) fn establish(&mut self, key: CircuitId) {
        let Some(wait) = self.client_rendezvous.get(&key) else { return };
        let message = RelayMessage::EstablishRendezvous(wait.invitation.cookie);
        self.circuits.expect_answer(key);
        self.circuits.send(key, &message);
    }

    pub(super) fn established(&mut self, key: CircuitId) {
        let Some(wait) = self.client_rendezvous.get_mut(&key) else { return };
        if wait.established {
            // It was asked once.
            return self.close_circuit(key, DestroyReason::Protocol);
        }
        wait.established = true;
        self.circuits.settled(key);
        if wait.seeking.is_none() {
            return self.offer_fallback(key);
        }
        // Introductions whose circuits are there already have waited for this.
        let is_ready = |(id, bring): &(&CircuitId, &Introduce)| bring.wait == key && self.circuits.is_open(**id);
        let ready: Vec<_> = self.introduces.iter().filter(is_ready).map(|(id, _)| *id).collect();
        ready.into_iter().for_each(|key| self.bring(key));
    }

    /// Brings the introduction to another place, or gives up.
    fn keep_waiting(&mut self, key: CircuitId) {
        let now = self.now.instant;
        let step = self.circuits.stretch(PLACE_TIME);
        let Some(wait) = self.client_rendezvous.get_mut(&key) else {
            return;
        };
        let Some(seeking) = &mut wait.seeking else { return };
        if seeking.until <= now {
            return self.drop_circuit(key);
        }
        if wait.places.is_empty() {
            seeking.next = seeking.until;
            return;
        }
        seeking.next = now + step;
        seeking.tried = true;
        for _ in 0..wait.places.len() {
            if self.bring_to_next(key) {
                return;
            }
        }
    }

    /// Brings the introduction to the next place; `false` if there is no way there now, but perhaps later: to a guard, say,
    /// while it is the only one whose link is open.
    fn bring_to_next(&mut self, key: CircuitId) -> bool {
        let Some(wait) = self.client_rendezvous.get_mut(&key) else {
            return true;
        };
        let Some((relay, id)) = wait.places.pop_front() else { return true };
        let opened = self.circuits.open(Target::Named(relay), CircuitPurpose::Introduce, Isolation::Exclusive);
        let Some(wait) = self.client_rendezvous.get_mut(&key) else { return true };
        let circuit = match opened {
            Ok(circuit) => circuit,
            // With the budget spent, the next place fares no better; a place without a path may have one later.
            Err(_) => {
                wait.places.push_back((relay, id));
                return false;
            }
        };
        let Some(message) = wait.introduction(&mut self.rng) else {
            self.circuits.close(circuit, DestroyReason::Requested);
            return true;
        };
        let introduction = Introduction { id, nonce: 0, handshake: message };
        let bring = Introduce { wait: key, contact: wait.contact, introduction, sent: None, work: None, rounds: 0 };
        self.introduces.insert(circuit, bring);
        true
    }

    /// A link or a circuit has opened: introductions for which there was no way until now may be brought.
    pub(super) fn bring_held_up(&mut self) {
        let now = self.now.instant;
        for wait in self.client_rendezvous.values_mut() {
            if wait.handshakes.is_empty()
                && let Some(seeking) = &mut wait.seeking
            {
                seeking.next = now;
            }
        }
    }

    /// The circuit reaches the introduction relay: hands the introduction over, once somebody can come.
    pub(super) fn bring(&mut self, key: CircuitId) {
        let now = self.now.instant;
        let Some(bring) = self.introduces.get_mut(&key) else { return };
        let Some(wait) = self.client_rendezvous.get_mut(&bring.wait) else {
            // It is not wanted any more.
            return self.drop_circuit(key);
        };
        if !wait.established {
            // The time limit of the other circuit applies.
            return self.circuits.expect_answer_some_time(key);
        }
        if let Some(seeking) = &mut wait.seeking {
            (seeking.sent, seeking.round) = (Some(now), None);
        }
        bring.sent = Some(now);
        self.circuits.expect_answer(key);
        for fragment in bring.introduction.to_relay() {
            self.circuits.send(key, &RelayMessage::Introduce1(fragment));
        }
    }

    /// The introduction relay has answered.
    pub(super) fn brought(&mut self, key: CircuitId, effort: u8, seed: [u8; 16]) {
        let Some(bring) = self.introduces.get_mut(&key) else { return };
        if effort == 0 {
            let (wait, sent) = (bring.wait, bring.sent);
            self.taken(wait, sent);
            return self.drop_circuit(key);
        }
        if effort > MAX_EFFORT || bring.work.is_some() {
            return self.close_circuit(key, DestroyReason::Protocol);
        }
        bring.rounds += 1;
        if bring.rounds > MAX_WORK_ROUNDS {
            // It has too much to do even for those who have worked.
            return self.drop_circuit(key);
        }
        self.circuits.expect_answer_some_time(key);
        // What has not been enough is not tried again.
        bring.work = Some((effort, seed, bring.introduction.nonce.wrapping_add(1)));
        let (wait, until) = (bring.wait, self.now.instant + WORK_TIME);
        if let Some(wait) = self.client_rendezvous.get_mut(&wait)
            && let Some(seeking) = &mut wait.seeking
        {
            seeking.until = seeking.until.max(until);
        }
        self.work(key);
    }

    /// A relay has taken the introduction that it was handed at this time: from how long that took one can tell for how long
    /// it may cross with one of the contact's.
    fn taken(&mut self, wait: CircuitId, sent: Option<Instant>) {
        let now = self.now.instant;
        if let Some(wait) = self.client_rendezvous.get_mut(&wait)
            && let Some(seeking) = &mut wait.seeking
            && let Some(sent) = sent.filter(|_| seeking.sent == sent)
        {
            seeking.round = Some(now.saturating_since(sent));
        }
    }

    /// Does some of the work that an introduction relay wants.
    fn work(&mut self, key: CircuitId) {
        let Some(bring) = self.introduces.get_mut(&key) else { return };
        let Some((effort, seed, from)) = bring.work else { return };
        let Some(relay) = self.circuits.last_hop(key) else { return };
        let found = bring.introduction.work(&relay, &seed).search(u32::from(effort), from, WORK_STEP);
        match found {
            None => bring.work = Some((effort, seed, from.wrapping_add(WORK_STEP))),
            Some(nonce) => {
                bring.introduction.nonce = nonce;
                bring.work = None;
                self.bring(key);
            }
        }
    }

    /// One third of the answer of whoever has come; at the third the two are joined.
    pub(super) fn answer_fragment(&mut self, key: CircuitId, fragment: &Fragment) {
        let Some(wait) = self.client_rendezvous.get_mut(&key) else {
            return;
        };
        let message = match wait.answer.push(fragment) {
            Ok(None) => return,
            Ok(Some(message)) => message,
            Err(_) => return self.close_circuit(key, DestroyReason::Protocol),
        };
        let (contact, generation) = (wait.contact, wait.invitation.generation);
        let answer = message.get(..SERVER_MESSAGE_LEN).unwrap_or_default();
        let stream = wait.handshakes.iter().find_map(|handshake| handshake.finish(answer).ok());
        let Some(stream) = stream else { return self.close_circuit(key, DestroyReason::Protocol) };
        self.join(key, RendezvousRole::Client, stream, Some(contact), generation);
    }

    /// Nobody has come.
    pub(super) fn wait_lost(&mut self, key: CircuitId, wait: &ClientRendezvous) {
        let for_it: Vec<_> =
            self.introduces.iter().filter(|(_, bring)| bring.wait == key).map(|(key, _)| *key).collect();
        for_it.into_iter().for_each(|key| self.drop_circuit(key));
        match &wait.seeking {
            None => self.fallback_lost(wait.contact),
            // Nobody could have come yet: another way is tried at once.
            Some(IntroduceAttempts { tried: false, .. }) => {}
            Some(_) => self.search_failed(wait.contact),
        }
    }

    /// An introduction may not have arrived: the next place is tried at once.
    pub(super) fn bring_lost(&mut self, bring: &Introduce) {
        let now = self.now.instant;
        if let Some(wait) = self.client_rendezvous.get_mut(&bring.wait)
            && let Some(seeking) = wait.seeking.as_mut().filter(|_| !wait.places.is_empty())
        {
            seeking.next = seeking.next.min(now);
        }
    }

    fn search_failed(&mut self, id: ContactId) {
        let Some(contact) = self.contacts.get_mut(&id) else { return };
        let pause = (PAUSE.0 * (1 << contact.search.tries.min(12))).min(PAUSE.1);
        contact.search.tries = contact.search.tries.saturating_add(1);
        let next = self.pause(pause, pause * 3 / 2);
        if let Some(contact) = self.contacts.get_mut(&id) {
            contact.search.next = next;
        }
        self.complain(id);
    }

    /// The time of the invite that a search goes by is over.
    fn invite_is_over(&mut self, id: ContactId) -> Result<(), NoPath> {
        let Some(contact) = self.contacts.get_mut(&id) else { return Ok(()) };
        contact.search.next = Instant::from_millis(u64::MAX);
        if !core::mem::replace(&mut contact.search.complained, true) {
            let name = contact.record.name.clone();
            self.error("add", format!("{name}: {}", InviteError::Expired));
        }
        Ok(())
    }

    /// Says once that nobody answers to an invite.
    fn complain(&mut self, id: ContactId) {
        let now = self.now.instant;
        let Some(contact) = self.contacts.get_mut(&id) else { return };
        let Stage::InviteHeld(invited) = &contact.record.stage else { return };
        if contact.search.complained || contact.search.tries < 3 {
            return;
        }
        let Ok(invite) = Invite::parse(&invited.invite) else { return };
        let Some(consensus) = self.circuits.consensus() else { return };
        let gone =
            |relay: &RelayIdentity| consensus.relay(relay).is_none() || self.circuits.relays().is_failing(relay, now);
        let too_close = |relay: &RelayIdentity| gone(relay) || self.circuits.relays().is_out_of_reach(relay);
        let name = &contact.record.name;
        let message = if invite.places.iter().all(|(relay, _)| gone(relay)) {
            format!(
                "The relays that the invite of {name} names cannot be reached. Still trying; ask for a new invite if this \
                 lasts."
            )
        } else if invite.places.iter().all(|(relay, _)| too_close(relay)) {
            format!(
                "The relays that the invite of {name} names have one operator or stand in one subnet with your own guards. \
                 Ask for a new invite."
            )
        } else {
            format!(
                "Nobody answers to the invite of {name}: its maker is offline, or somebody has used it. Still trying."
            )
        };
        contact.search.complained = true;
        self.error("add", message);
    }

    /// Gives up waiting for a contact, in whatever case: what is joined, or about to be, is enough.
    pub(super) fn stop_looking_for(&mut self, id: ContactId) {
        let keys: Vec<_> = self.waits().filter(|(_, wait)| wait.contact == id).map(|(key, _)| key).collect();
        let before = self.contacts.get(&id).map(|contact| (contact.search.tries, contact.search.next));
        keys.into_iter().for_each(|key| self.drop_circuit(key));
        // It has not failed.
        if let (Some(contact), Some((tries, next))) = (self.contacts.get_mut(&id), before) {
            (contact.search.tries, contact.search.next) = (tries, next);
        }
    }

    // ---- coming ----

    /// Somebody has sent an introduction: comes where it says, if they may be met now.
    pub(super) fn called(&mut self, caller: Caller, introduction: &Introduction) {
        let Some((invitation, handshake)) = self.read_introduction(caller, &introduction.handshake) else { return };
        if self.service_rendezvous.values().filter(|come| come.caller == caller).count() >= MAX_COMING {
            return;
        }
        if let Caller::Contact(id) = caller
            && !self.gives_way(id, invitation.generation)
        {
            return self.hold(id, introduction);
        }
        if !self.introductions_of(caller).is_some_and(|introductions| introductions.is_new_meeting(invitation.cookie)) {
            return;
        }
        let Some(come) = self.answer(caller, invitation, handshake) else { return };
        // If there is no way, whoever has asked will ask again.
        let _ = self.come(invitation.relay, come);
    }

    /// Opens a circuit to where an introduction says.
    pub(super) fn come(&mut self, relay: RelayIdentity, come: ServiceRendezvous) -> Result<(), NoPath> {
        let (target, purpose) = (Target::Named(relay), CircuitPurpose::ServiceRendezvous);
        let circuit = self.circuits.open(target, purpose, Isolation::Exclusive)?;
        self.service_rendezvous.insert(circuit, come);
        Ok(())
    }

    /// What an introduction says; nothing if it does not come from this caller.
    pub(super) fn read_introduction(&self, caller: Caller, message: &[u8]) -> Option<(Invitation, ServerHandshake)> {
        let (key, verification) = self.service_of(caller)?;
        let secret = key.secret();
        let identity = service_identity(secret.public().as_bytes());
        let (handshake, payload) = ServerHandshake::receive(&identity, &secret, &verification, message).ok()?;
        Some((Invitation::decode(&payload).ok()?, handshake))
    }

    /// What to bring where an introduction says.
    pub(super) fn answer(
        &mut self,
        caller: Caller,
        invitation: Invitation,
        handshake: ServerHandshake,
    ) -> Option<ServiceRendezvous> {
        let (answer, stream) = handshake.reply(&mut self.rng).ok()?;
        let Invitation { cookie, generation, .. } = invitation;
        Some(ServiceRendezvous { caller, cookie, generation, answer: Box::new(answer), stream, given: None })
    }

    /// Whether a contact's introduction comes before our own, or before the circuit that stands.
    fn gives_way(&mut self, id: ContactId, generation: u64) -> bool {
        let Some(contact) = self.contacts.get(&id) else { return false };
        let Some(relationship) = contact.relationship() else { return false };
        if contact.channel.is_some() && generation <= relationship.generation {
            return false;
        }
        let Some((_, wait)) = self.waits().find(|(_, wait)| wait.contact == id) else { return true };
        let was_sent = wait.seeking.as_ref().is_some_and(|seeking| seeking.sent.is_some());
        if relationship.role == RelationshipRole::Inviter
            && self.crossing_until(id, CROSSING_ROUNDS).is_some_and(|until| self.now.instant < until)
        {
            // They will have ours soon, and give way.
            return false;
        }
        self.stop_looking_for(id);
        if let Some(contact) = self.contacts.get_mut(&id) {
            // If they have crossed after all, both have given way, and both begin again: not twice.
            contact.search.gave_way = was_sent;
        }
        true
    }

    /// Until when an introduction of ours may have crossed with one of the contact's, or may yet be answered by somebody who
    /// comes after so many times as long as its relay took.
    fn crossing_until(&self, id: ContactId, rounds: u32) -> Option<Instant> {
        let (_, wait) = self.waits().find(|(_, wait)| wait.contact == id)?;
        let seeking = wait.seeking.as_ref()?;
        let (least, most) = CROSSING_BOUNDS;
        let crossing = match seeking.round {
            _ if self.contacts.get(&id)?.search.gave_way => most,
            Some(round) => (round * rounds).clamp(least, most),
            None => CROSSING_TIME,
        };
        Some(seeking.sent? + self.circuits.stretch(crossing))
    }

    /// Keeps an introduction of somebody who will most likely come by ours: if they do not, theirs counts.
    fn hold(&mut self, id: ContactId, introduction: &Introduction) {
        let Some(until) = self.crossing_until(id, HOLDING_ROUNDS) else { return };
        let key = self.waits().find(|(_, wait)| wait.contact == id).map(|(key, _)| key);
        if let Some(wait) = key.and_then(|key| self.client_rendezvous.get_mut(&key))
            && let Some(seeking) = &mut wait.seeking
        {
            seeking.held = Some((until, Box::new(introduction.clone())));
        }
    }

    /// The circuit reaches the rendezvous relay that somebody has named.
    pub(super) fn arrive(&mut self, key: CircuitId) {
        let Some(come) = self.service_rendezvous.remove(&key) else { return };
        let ServiceRendezvous { caller, cookie, generation, answer, stream, .. } = come;
        for fragment in split(&*answer) {
            let cookie = (fragment.index == 0).then_some(cookie);
            self.circuits.send(key, &RelayMessage::Rendezvous1 { cookie, fragment });
        }
        match caller {
            Caller::Invite(invite) => self.join_by_invite(key, invite, stream),
            Caller::Contact(id) => self.join(key, RendezvousRole::Service, stream, Some(id), generation),
        }
    }

    pub(super) fn come_lost(&mut self, come: ServiceRendezvous) {
        let now = self.now.instant;
        let Caller::Contact(id) = come.caller else { return };
        let Some(contact) = self.contacts.get_mut(&id) else { return };
        contact.search.next = contact.search.next.max(now + PAUSE.0);
        if let Some(given) = come.given {
            self.come_to_fallback(id, given);
        }
    }

    // ---- joined ----

    fn join_by_invite(&mut self, key: CircuitId, invite: u64, stream: KeyStream) {
        self.begin_channel(key, RendezvousRole::Service, stream, None, 1, Phase::AwaitRequest { invite });
    }

    /// Joined to somebody who is known: the visitor speaks first.
    fn join(
        &mut self,
        key: CircuitId,
        side: RendezvousRole,
        stream: KeyStream,
        id: Option<ContactId>,
        generation: u64,
    ) {
        let Some(contact) = id.and_then(|id| self.contacts.get(&id)) else { return self.drop_circuit(key) };
        let phase = match (&contact.record.stage, side) {
            (Stage::InviteHeld(_), RendezvousRole::Client) => Phase::AwaitPending,
            (_, RendezvousRole::Client) => Phase::AwaitResumed,
            (_, RendezvousRole::Service) => Phase::AwaitResume,
        };
        let asks = matches!(phase, Phase::AwaitPending);
        self.begin_channel(key, side, stream, id, generation, phase);
        match id {
            Some(id) if asks => self.request(key, id),
            Some(id) if side == RendezvousRole::Client => self.say_resume(key, id),
            _ => {}
        }
    }

    fn begin_channel(
        &mut self,
        key: CircuitId,
        side: RendezvousRole,
        mut stream: KeyStream,
        contact: Option<ContactId>,
        generation: u64,
        phase: Phase,
    ) {
        let keys = CircuitKeys::from(&mut stream);
        let secrets = Secrets::read(&mut stream);
        let deadline = self.now.instant + self.circuits.stretch(MEETING_TIME);
        let patience = self.circuits.stretch(PING_TIME);
        self.client_rendezvous.remove(&key);
        self.circuits.join(key, side, &keys);
        self.circuits.settled(key);
        self.circuits.set_deadline(key, deadline);
        let channel = PeerChannel::new(contact, side, generation, secrets, phase, patience, self.now.instant);
        self.channels.insert(key, channel);
        if side == RendezvousRole::Client
            && let Some(id) = contact
        {
            // One at a time: a second one would only undo the first.
            self.stop_looking_for(id);
        }
    }

    /// A contact is no longer reached over the circuit that carried it.
    pub(super) fn contact_lost(&mut self, id: ContactId) {
        let now = self.now.instant;
        let Some(contact) = self.contacts.get_mut(&id) else { return };
        contact.channel = None;
        let role = contact.relationship().map(|relationship| relationship.role);
        if contact.state == ContactState::Connected {
            contact.search = Search::new(now);
            contact.state = contact.state_without(ContactState::Connecting);
            let event = contact.event();
            self.event(event);
        }
        if role == Some(RelationshipRole::Guest) {
            let next = self.pause(GUEST_PAUSE.0, GUEST_PAUSE.1);
            if let Some(contact) = self.contacts.get_mut(&id) {
                contact.search.next = contact.search.next.max(next);
            }
        }
    }

    /// When meetings want to be looked at.
    pub(super) fn meetings_timeout(&self) -> Option<Instant> {
        let now = self.now.instant;
        let waits = self.waits().filter_map(|(_, wait)| wait.seeking.as_ref());
        let waits = waits.map(|seeking| {
            let held = seeking.held.as_ref().map(|(at, _)| *at);
            held.into_iter().fold(seeking.next.min(seeking.until), Instant::min)
        });
        let working = self.introduces.values().any(|bring| bring.work.is_some());
        waits.chain(working.then_some(now)).min()
    }
}
