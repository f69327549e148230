//! How strangers become contacts: a guest asks with an invite, the inviter's person decides.

use super::api::{BlockedInfo, ContactId, ContactState, Event};
use super::circuits::{CircuitKey, Phase, Talk, Task};
use super::contacts::{
    Asked, CameBy, Contact, ContactRecord, KeyBytes, Met, Relationship, Requested, Stage, Welcome, unique_name,
};
use super::store::{Key, Then};
use super::talks::Violation;
use super::{Client, MAX_CONTACTS};
use crate::cell::DestroyReason;
use crate::circuit::Side;
use crate::crypto::keys::OnionSecret;
use crate::messaging::frame::Frame;
use crate::messaging::session::{OlmAccount, SessionError};
use crate::rendezvous::{Point, Role};

/// Requests that may wait for a decision.
const MAX_REQUESTS: usize = 64;

impl Client {
    /// Guest: asks the maker of an invite for contact.
    pub(super) fn request(&mut self, key: CircuitKey, id: ContactId) {
        let Some(secret) = self.talk(key).and_then(|talk| talk.secrets.as_ref()).map(|secrets| secrets.root.clone())
        else {
            return;
        };
        let points = self.points_for(&secret);
        if let Some(talk) = self.talk(key) {
            talk.offered = Some(points.clone());
        }
        let Some(contact) = self.contacts.get(&id) else { return };
        let Stage::Invited(invited) = &contact.record.stage else { return };
        let frame = Frame::Request {
            identity: invited.account.identity(),
            one_time_key: invited.account.one_time_key(),
            key: *invited.key.secret().public().as_bytes(),
            points,
            name: invited.introduce_as.clone(),
            note: invited.note.clone(),
        };
        self.send_frame(key, &frame);
    }

    /// Inviter: somebody who came with an invite asks for contact, for the first time or because the answer got lost.
    pub(super) fn requested(&mut self, key: CircuitKey, invite: u64, frame: Frame) -> Result<(), Violation> {
        let Frame::Request { identity, one_time_key, key: their_key, points: their_points, name, note } = frame else {
            return Err(Violation);
        };
        let came_by = CameBy { invite, identity };
        let is_same = |contact: &&Contact| contact.record.came_by.as_ref() == Some(&came_by);
        let known = self.contacts.values().find(is_same).map(|contact| (contact.id, contact.record.blocked));
        let is_taken = |contact: &Contact| contact.record.came_by.as_ref().is_some_and(|by| by.invite == invite);
        let open = self.invites.get(&invite).ok_or(Violation)?;
        let invite_note = open.record.note.clone();
        let asks = |contact: &&Contact| matches!(contact.record.stage, Stage::Asked(_)) && contact.is_shown();
        let waiting = self.contacts.values().filter(asks).count();
        match known {
            // Whoever is blocked hears nothing.
            Some((_, true)) => return Err(Violation),
            Some(_) => {}
            // Until the first has confirmed, an invite for one stays open for that one only.
            None if !open.record.reusable && self.contacts.values().any(is_taken) => return Err(Violation),
            None if waiting >= MAX_REQUESTS => return Err(Violation),
            None if self.contacts.len() >= MAX_CONTACTS && !self.forget_oldest_refused() => return Err(Violation),
            None => {}
        }
        let Some(secrets) = self.talk(key).and_then(|talk| talk.secrets.take()) else { return Ok(()) };
        let points = self.points_for(&secrets.root);
        let own = KeyBytes::of(&OnionSecret::generate(&mut self.rng));
        let own_key = *own.secret().public().as_bytes();
        let (send, receive) = secrets.chains(Side::Host);
        let relationship = Relationship::new(secrets.root, Role::Inviter, own, their_key, their_points, points.clone());
        let at = self.now.unix;
        let asked =
            Asked { identity, one_time_key, note: printable(&note), invite_note, at, declined: false, send, receive };
        let id = match known {
            Some((id, _)) => self.requested_again(id, relationship, asked)?,
            None => self.new_request(&name, came_by, relationship, asked),
        };
        self.drop_earlier_talks(key, invite, id);
        if let Some(talk) = self.talk(key) {
            talk.contact = Some(id);
        }
        self.pool_changed();
        self.store_and_say(key, Frame::Pending { key: own_key, points }, Phase::Undecided);
        Ok(())
    }

    /// Makes room by forgetting whoever was declined or blocked longest ago; `false` if there is nobody.
    fn forget_oldest_refused(&mut self) -> bool {
        let refused = |contact: &&Contact| matches!(contact.record.stage, Stage::Asked(_)) && !contact.is_shown();
        let Some(oldest) = self.contacts.values().find(refused).map(|contact| contact.id) else { return false };
        self.forget(oldest);
        true
    }

    fn new_request(&mut self, name: &str, came_by: CameBy, relationship: Relationship, asked: Asked) -> ContactId {
        let names = self.contacts.values().map(|contact| contact.record.name.as_str());
        let record = ContactRecord {
            name: unique_name(name, names),
            next_message: 0,
            blocked: false,
            verified: false,
            read: None,
            invite: None,
            came_by: Some(came_by),
            relationship: Some(relationship),
            stage: Stage::Asked(Box::new(asked)),
        };
        let contact = self.new_contact(record);
        let (id, event) = (contact.id, contact.event());
        self.store.then(Then::Tell(event));
        id
    }

    /// The same once more: what was agreed before is void.
    fn requested_again(
        &mut self,
        id: ContactId,
        relationship: Relationship,
        asked: Asked,
    ) -> Result<ContactId, Violation> {
        let contact = self.contacts.get_mut(&id).ok_or(Violation)?;
        contact.record.relationship = Some(relationship);
        let was_verified = core::mem::replace(&mut contact.record.verified, false);
        match &mut contact.record.stage {
            Stage::Asked(before) => {
                let declined = before.declined;
                **before = Asked { declined, ..asked };
                contact.put(&mut self.store);
            }
            _ => {
                let met = met(&asked).map_err(|_| Violation)?;
                contact.begin(met, &mut self.store);
                if was_verified {
                    // There is another number to compare now.
                    let event = contact.event();
                    self.store.then(Then::Tell(event));
                }
            }
        }
        Ok(id)
    }

    /// Takes somebody in.
    pub(super) fn new_contact(&mut self, record: ContactRecord) -> &mut Contact {
        let id = ContactId(self.profile.next_contact);
        self.profile.next_contact += 1;
        self.put_profile();
        let contact = Contact::new(id, record, self.now.instant);
        contact.put(&mut self.store);
        self.contacts.entry(id).or_insert(contact)
    }

    /// Inviter: whoever came before with the same invite comes too late, and what was said with earlier secrets is void.
    fn drop_earlier_talks(&mut self, keep: CircuitKey, invite: u64, contact: ContactId) {
        let reusable = self.invites.get(&invite).is_some_and(|invite| invite.record.reusable);
        let is_earlier = |talk: &Talk| match talk.phase {
            Phase::AwaitRequest { invite: by } => by == invite && !reusable,
            _ => talk.contact == Some(contact),
        };
        let earlier = self.circuits_where(|managed| matches!(&managed.task, Task::Talk(talk) if is_earlier(talk)));
        earlier.into_iter().filter(|key| *key != keep).for_each(|key| self.drop_circuit(key));
    }

    /// Guest: the inviter has the request.
    pub(super) fn pending(
        &mut self,
        key: CircuitKey,
        id: ContactId,
        their_key: [u8; 32],
        points: Vec<Point>,
    ) -> Result<(), Violation> {
        let Some(talk) = self.talk(key) else { return Ok(()) };
        let told = talk.offered.take().unwrap_or_default();
        let secrets = talk.secrets.take().ok_or(Violation)?;
        let (send, receive) = secrets.chains(Side::Visitor);
        let contact = self.contacts.get_mut(&id).ok_or(Violation)?;
        let account = OlmAccount::generate();
        let Stage::Invited(invited) = &mut contact.record.stage else { return Err(Violation) };
        let account = core::mem::replace(&mut invited.account, account);
        let own = invited.key.clone();
        contact.record.relationship = Some(Relationship::new(secrets.root, Role::Guest, own, their_key, points, told));
        contact.record.stage = Stage::Requested(Box::new(Requested { account, send, receive, declined: false }));
        contact.put(&mut self.store);
        self.pool_changed();
        self.store_and_say(key, Frame::Confirm, Phase::Undecided);
        Ok(())
    }

    /// Inviter: the guest has stored all that it needs.
    pub(super) fn confirmed(&mut self, key: CircuitKey, id: ContactId) -> Result<(), Violation> {
        let Some(talk) = self.talk(key) else { return Ok(()) };
        let (side, is_told) = (talk.side, talk.is_told);
        let is_declined = |contact: &Contact| matches!(&contact.record.stage, Stage::Asked(asked) if asked.declined);
        if is_told && self.contacts.get(&id).is_some_and(is_declined) {
            // They know; nothing of them stays.
            self.forget(id);
            return Ok(());
        }
        if side != Side::Host {
            return Err(Violation);
        }
        self.confirm(id);
        self.decided(id);
        Ok(())
    }

    /// A guest has come, or said, what they can only with all that they need: the invite is used.
    pub(super) fn confirm(&mut self, id: ContactId) {
        let Some(contact) = self.contacts.get_mut(&id) else { return };
        let Some(CameBy { invite, .. }) = contact.record.came_by.take() else { return };
        contact.put(&mut self.store);
        if self.invites.get(&invite).is_some_and(|invite| !invite.record.reusable) {
            self.end_invite(invite);
        }
    }

    /// An invite is good for nobody any more.
    pub(super) fn end_invite(&mut self, invite: u64) {
        if self.invites.remove(&invite).is_some() {
            self.store.delete(Key::Invite(invite).to_string());
            self.pool_changed();
        }
    }

    /// The person takes whoever has asked as a contact.
    pub(super) fn approve(&mut self, id: ContactId) -> Result<(), String> {
        let contact = self.contacts.get_mut(&id).filter(|contact| contact.is_shown()).ok_or(NO_REQUEST)?;
        let Stage::Asked(asked) = &contact.record.stage else { return Err(NO_REQUEST.to_owned()) };
        let Ok(met) = met(asked) else {
            self.forget(id);
            return Err("The request cannot be accepted: its keys are broken. Give them a new invite.".to_owned());
        };
        contact.begin(met, &mut self.store);
        contact.state = ContactState::Connecting;
        contact.search = super::contacts::Search::new(self.now.instant);
        let event = contact.event();
        self.store.then(Then::Tell(Event::RequestClosed { id }));
        self.store.then(Then::Tell(event));
        self.store.then(Then::Decided(id));
        Ok(())
    }

    /// The person does not: whoever has asked is told as soon as they can be.
    pub(super) fn reject(&mut self, id: ContactId) -> Result<(), String> {
        let contact = self.contacts.get_mut(&id).filter(|contact| contact.is_shown()).ok_or(NO_REQUEST)?;
        let Stage::Asked(asked) = &mut contact.record.stage else { return Err(NO_REQUEST.to_owned()) };
        asked.declined = true;
        contact.put(&mut self.store);
        // Whether they have confirmed or not, the invite is used.
        self.confirm(id);
        self.store.then(Then::Tell(Event::RequestClosed { id }));
        self.store.then(Then::Decided(id));
        Ok(())
    }

    /// The person wants to hear no more of somebody, who is told nothing; or to hear of them again.
    pub(super) fn block(&mut self, id: ContactId, blocked: bool) -> Result<(), String> {
        let contact = self.contacts.get_mut(&id).ok_or("There is no such contact.")?;
        if contact.record.blocked == blocked {
            return Ok(());
        }
        contact.record.blocked = blocked;
        contact.put(&mut self.store);
        contact.state = contact.state_without(ContactState::Connecting);
        contact.search = super::contacts::Search::new(self.now.instant);
        let event = if contact.is_shown() { contact.event() } else { Event::RequestClosed { id } };
        self.store.then(Then::Tell(event));
        let event = self.blocked();
        self.store.then(Then::Tell(event));
        self.pool_changed();
        if blocked {
            // As if this client had gone.
            self.drop_circuits_of(id, DestroyReason::LinkClosed);
        }
        Ok(())
    }

    /// Whoever is blocked, those among them who have only asked to be a contact.
    pub(super) fn blocked(&self) -> Event {
        let blocked = self.contacts.values().filter(|contact| contact.record.blocked);
        let info = |contact: &Contact| BlockedInfo {
            id: contact.id,
            name: contact.record.name.clone(),
            is_request: matches!(contact.record.stage, Stage::Asked(_)),
        };
        Event::Blocked { list: blocked.map(info).collect() }
    }

    /// Says to whoever waits for a decision what it is, if they are there and it is made.
    pub(super) fn decided(&mut self, id: ContactId) {
        let Some(contact) = self.contacts.get(&id) else { return };
        let frame = match &contact.record.stage {
            Stage::Asked(asked) if asked.declined => Frame::Decline,
            Stage::Met(met) => match &met.welcome {
                Some(Welcome { identity, pre_key }) => Frame::Welcome { identity: *identity, pre_key: pre_key.clone() },
                None => return,
            },
            _ => return,
        };
        // Before they have confirmed they could make nothing of a session.
        let can_take = contact.record.came_by.is_none() || frame == Frame::Decline;
        let Some(key) = contact.talk.filter(|_| can_take) else { return };
        let Some(talk @ Talk { phase: Phase::Undecided, is_told: false, .. }) = self.talk(key) else { return };
        talk.is_told = true;
        self.send_frame(key, &frame);
    }

    /// Guest: the inviter does not want us as a contact.
    pub(super) fn declined(&mut self, key: CircuitKey, id: ContactId) -> Result<(), Violation> {
        let contact = self.contacts.get_mut(&id).ok_or(Violation)?;
        let Stage::Requested(requested) = &mut contact.record.stage else { return Err(Violation) };
        requested.declined = true;
        contact.put(&mut self.store);
        contact.state = ContactState::Declined;
        let event = contact.event();
        self.store.then(Then::Tell(event));
        // The inviter ends the circuit then.
        self.store_and_say(key, Frame::Confirm, Phase::Undecided);
        Ok(())
    }

    /// Ends all circuits of somebody, for a reason that travels to the other end.
    fn drop_circuits_of(&mut self, id: ContactId, reason: DestroyReason) {
        let of_them = |task: &Task| match task {
            Task::Talk(talk) => talk.contact == Some(id),
            Task::Wait(wait) => wait.contact == id,
            Task::Come(come) => come.caller == super::circuits::Caller::Contact(id),
            _ => false,
        };
        let keys = self.circuits_where(|managed| of_them(&managed.task));
        keys.into_iter().for_each(|key| self.end_circuit(key, Some(reason), false));
    }

    /// Nothing of somebody stays.
    pub(super) fn forget(&mut self, id: ContactId) {
        self.drop_circuits_of(id, DestroyReason::Requested);
        if let Some(contact) = self.contacts.remove(&id) {
            self.store.delete(Key::Contact(id).to_string());
            self.pool_changed();
            if contact.record.blocked {
                let event = self.blocked();
                self.store.then(Then::Tell(event));
            }
        }
    }
}

const NO_REQUEST: &str = "There is no such request.";

/// Begins the session that takes whoever has asked as a contact.
fn met(asked: &Asked) -> Result<Met, SessionError> {
    let account = OlmAccount::generate();
    let (session, pre_key) = account.begin(asked.identity, asked.one_time_key, b"")?;
    let welcome = Some(Welcome { identity: account.identity(), pre_key });
    Ok(Met::new(session, asked.send.clone(), asked.receive.clone(), welcome))
}

/// A note without what could upset its display.
fn printable(note: &str) -> String {
    note.chars().filter(|c| !c.is_control() || *c == '\n').collect()
}
