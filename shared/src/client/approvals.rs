//! How strangers become contacts: a guest asks with an invite, the inviter's person decides.

use super::api::{BlockedInfo, ContactId, ContactState, Event};
use super::circuits::CircuitId;
use super::contacts::{
    CameBy, Contact, ContactRecord, Established, KeyBytes, PreKeyMessage, Relationship, RequestReceived, RequestSent,
    Stage, unique_name,
};
use super::peer_channel::{PeerChannel, Phase};
use super::peer_channels::Violation;
use super::rendezvous::{Caller, ServiceRendezvous};
use super::store::{AfterPersist, Key};
use super::{Client, MAX_CONTACTS};
use crate::cell::DestroyReason;
use crate::circuit::RendezvousRole;
use crate::crypto::keys::OnionSecret;
use crate::messaging::frame::Frame;
use crate::messaging::session::{OlmAccount, SessionError};
use crate::rendezvous::{IntroPoint, RelationshipRole};

/// Requests that may wait for a decision.
const MAX_REQUESTS: usize = 64;

impl Client {
    /// Guest: asks the maker of an invite for contact.
    pub(super) fn request(&mut self, key: CircuitId, id: ContactId) {
        let Some(secret) =
            self.channel(key).and_then(|channel| channel.secrets.as_ref()).map(|secrets| secrets.root.clone())
        else {
            return;
        };
        let points = self.points_for(&secret);
        if let Some(channel) = self.channel(key) {
            channel.pending_points = Some(points.clone());
        }
        let Some(contact) = self.contacts.get(&id) else { return };
        let Stage::InviteHeld(invited) = &contact.record.stage else { return };
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
    pub(super) fn requested(&mut self, key: CircuitId, invite: u64, frame: Frame) -> Result<(), Violation> {
        let Frame::Request { identity, one_time_key, key: their_key, points: their_points, name, note } = frame else {
            return Err(Violation);
        };
        let came_by = CameBy { invite, identity };
        let is_same = |contact: &&Contact| contact.record.came_by.as_ref() == Some(&came_by);
        let known = self.contacts.values().find(is_same).map(|contact| (contact.id, contact.record.blocked));
        let is_taken = |contact: &Contact| contact.record.came_by.as_ref().is_some_and(|by| by.invite == invite);
        let open = self.invites.get(&invite).ok_or(Violation)?;
        let invite_note = open.record.note.clone();
        let asks = |contact: &&Contact| matches!(contact.record.stage, Stage::RequestReceived(_)) && contact.is_shown();
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
        let Some(secrets) = self.channel(key).and_then(|channel| channel.secrets.take()) else { return Ok(()) };
        let points = self.points_for(&secrets.root);
        let own = KeyBytes::of(&OnionSecret::generate(&mut self.rng));
        let own_key = *own.secret().public().as_bytes();
        let (send, receive) = secrets.chains(RendezvousRole::Service);
        let relationship =
            Relationship::new(secrets.root, RelationshipRole::Inviter, own, their_key, their_points, points.clone());
        let at = self.now.unix;
        let asked = RequestReceived {
            identity,
            one_time_key,
            note: printable(&note),
            invite_note,
            at,
            declined: false,
            send,
            receive,
        };
        let id = match known {
            Some((id, _)) => self.requested_again(id, relationship, asked)?,
            None => self.new_request(&name, came_by, relationship, asked),
        };
        self.drop_earlier_channels(key, invite, id);
        if let Some(channel) = self.channel(key) {
            channel.contact = Some(id);
        }
        self.pool_changed();
        self.store_and_say(key, Frame::Pending { key: own_key, points }, Phase::Undecided);
        Ok(())
    }

    /// Makes room by forgetting whoever was declined or blocked longest ago; `false` if there is nobody.
    fn forget_oldest_refused(&mut self) -> bool {
        let refused =
            |contact: &&Contact| matches!(contact.record.stage, Stage::RequestReceived(_)) && !contact.is_shown();
        let Some(oldest) = self.contacts.values().find(refused).map(|contact| contact.id) else { return false };
        self.forget(oldest);
        true
    }

    fn new_request(
        &mut self,
        name: &str,
        came_by: CameBy,
        relationship: Relationship,
        asked: RequestReceived,
    ) -> ContactId {
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
            stage: Stage::RequestReceived(Box::new(asked)),
        };
        let contact = self.new_contact(record);
        let (id, event) = (contact.id, contact.event());
        self.store.then(AfterPersist::Tell(event));
        id
    }

    /// The same once more: what was agreed before is void.
    fn requested_again(
        &mut self,
        id: ContactId,
        relationship: Relationship,
        asked: RequestReceived,
    ) -> Result<ContactId, Violation> {
        let contact = self.contacts.get_mut(&id).ok_or(Violation)?;
        contact.record.relationship = Some(relationship);
        let was_verified = core::mem::replace(&mut contact.record.verified, false);
        match &mut contact.record.stage {
            Stage::RequestReceived(before) => {
                let declined = before.declined;
                **before = RequestReceived { declined, ..asked };
                contact.put(&mut self.store);
            }
            _ => {
                let met = met(&asked).map_err(|_| Violation)?;
                contact.begin(met, &mut self.store);
                if was_verified {
                    // There is another number to compare now.
                    let event = contact.event();
                    self.store.then(AfterPersist::Tell(event));
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
    fn drop_earlier_channels(&mut self, keep: CircuitId, invite: u64, contact: ContactId) {
        let reusable = self.invites.get(&invite).is_some_and(|invite| invite.record.reusable);
        let is_earlier = |channel: &PeerChannel| match channel.phase {
            Phase::AwaitRequest { invite: by } => by == invite && !reusable,
            _ => channel.contact == Some(contact),
        };
        let earlier: Vec<_> =
            self.channels.iter().filter(|(_, channel)| is_earlier(channel)).map(|(key, _)| *key).collect();
        earlier.into_iter().filter(|key| *key != keep).for_each(|key| self.drop_circuit(key));
    }

    /// Guest: the inviter has the request.
    pub(super) fn pending(
        &mut self,
        key: CircuitId,
        id: ContactId,
        their_key: [u8; 32],
        points: Vec<IntroPoint>,
    ) -> Result<(), Violation> {
        let Some(channel) = self.channel(key) else { return Ok(()) };
        let told = channel.pending_points.take().unwrap_or_default();
        let secrets = channel.secrets.take().ok_or(Violation)?;
        let (send, receive) = secrets.chains(RendezvousRole::Client);
        let contact = self.contacts.get_mut(&id).ok_or(Violation)?;
        let account = OlmAccount::generate();
        let Stage::InviteHeld(invited) = &mut contact.record.stage else { return Err(Violation) };
        let account = core::mem::replace(&mut invited.account, account);
        let own = invited.key.clone();
        contact.record.relationship =
            Some(Relationship::new(secrets.root, RelationshipRole::Guest, own, their_key, points, told));
        contact.record.stage = Stage::RequestSent(Box::new(RequestSent { account, send, receive, declined: false }));
        contact.put(&mut self.store);
        self.pool_changed();
        self.store_and_say(key, Frame::Confirm, Phase::Undecided);
        Ok(())
    }

    /// Inviter: the guest has stored all that it needs.
    pub(super) fn confirmed(&mut self, key: CircuitId, id: ContactId) -> Result<(), Violation> {
        let Some(channel) = self.channel(key) else { return Ok(()) };
        let (side, is_told) = (channel.side, channel.is_told);
        let is_declined =
            |contact: &Contact| matches!(&contact.record.stage, Stage::RequestReceived(asked) if asked.declined);
        if is_told && self.contacts.get(&id).is_some_and(is_declined) {
            // They know; nothing of them stays.
            self.forget(id);
            return Ok(());
        }
        if side != RendezvousRole::Service {
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
    pub(super) fn accept_request(&mut self, id: ContactId) -> Result<(), String> {
        let contact = self.contacts.get_mut(&id).filter(|contact| contact.is_shown()).ok_or(NO_REQUEST)?;
        let Stage::RequestReceived(asked) = &contact.record.stage else { return Err(NO_REQUEST.to_owned()) };
        let Ok(met) = met(asked) else {
            self.forget(id);
            return Err("The request cannot be accepted: its keys are broken. Give them a new invite.".to_owned());
        };
        contact.begin(met, &mut self.store);
        contact.state = ContactState::Connecting;
        contact.search = super::contacts::Search::new(self.now.instant);
        let event = contact.event();
        self.store.then(AfterPersist::Tell(Event::RequestClosed { id }));
        self.store.then(AfterPersist::Tell(event));
        self.store.then(AfterPersist::Decided(id));
        Ok(())
    }

    /// The person does not: whoever has asked is told as soon as they can be.
    pub(super) fn decline_request(&mut self, id: ContactId) -> Result<(), String> {
        let contact = self.contacts.get_mut(&id).filter(|contact| contact.is_shown()).ok_or(NO_REQUEST)?;
        let Stage::RequestReceived(asked) = &mut contact.record.stage else { return Err(NO_REQUEST.to_owned()) };
        asked.declined = true;
        contact.put(&mut self.store);
        // Whether they have confirmed or not, the invite is used.
        self.confirm(id);
        self.store.then(AfterPersist::Tell(Event::RequestClosed { id }));
        self.store.then(AfterPersist::Decided(id));
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
        self.store.then(AfterPersist::Tell(event));
        let event = self.blocked();
        self.store.then(AfterPersist::Tell(event));
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
            is_request: matches!(contact.record.stage, Stage::RequestReceived(_)),
        };
        Event::Blocked { list: blocked.map(info).collect() }
    }

    /// Says to whoever waits for a decision what it is, if they are there and it is made.
    pub(super) fn decided(&mut self, id: ContactId) {
        let Some(contact) = self.contacts.get(&id) else { return };
        let frame = match &contact.record.stage {
            Stage::RequestReceived(asked) if asked.declined => Frame::Decline,
            Stage::Established(met) => match &met.welcome {
                Some(PreKeyMessage { identity, pre_key }) => {
                    Frame::PreKeyMessage { identity: *identity, pre_key: pre_key.clone() }
                }
                None => return,
            },
            _ => return,
        };
        // Before they have confirmed they could make nothing of a session.
        let can_take = contact.record.came_by.is_none() || frame == Frame::Decline;
        let Some(key) = contact.channel.filter(|_| can_take) else { return };
        let Some(channel @ PeerChannel { phase: Phase::Undecided, is_told: false, .. }) = self.channel(key) else {
            return;
        };
        channel.is_told = true;
        self.send_frame(key, &frame);
    }

    /// Guest: the inviter does not want us as a contact.
    pub(super) fn declined(&mut self, key: CircuitId, id: ContactId) -> Result<(), Violation> {
        let contact = self.contacts.get_mut(&id).ok_or(Violation)?;
        let Stage::RequestSent(requested) = &mut contact.record.stage else { return Err(Violation) };
        requested.declined = true;
        contact.put(&mut self.store);
        contact.state = ContactState::Declined;
        let event = contact.event();
        self.store.then(AfterPersist::Tell(event));
        // The inviter ends the circuit then.
        self.store_and_say(key, Frame::Confirm, Phase::Undecided);
        Ok(())
    }

    /// Ends all circuits of somebody, for a reason that travels to the other end.
    fn drop_circuits_of(&mut self, id: ContactId, reason: DestroyReason) {
        let channels = self.channels.iter().filter(|(_, channel)| channel.contact == Some(id)).map(|(key, _)| *key);
        let waits = self.client_rendezvous.iter().filter(|(_, wait)| wait.contact == id).map(|(key, _)| *key);
        let is_theirs = |come: &ServiceRendezvous| come.caller == Caller::Contact(id);
        let coming = self.service_rendezvous.iter().filter(|(_, come)| is_theirs(come)).map(|(key, _)| *key);
        let keys: Vec<_> = channels.chain(waits).chain(coming).collect();
        keys.into_iter().for_each(|key| self.end_circuit(key, reason));
    }

    /// Nothing of somebody stays.
    pub(super) fn forget(&mut self, id: ContactId) {
        self.drop_circuits_of(id, DestroyReason::Requested);
        if let Some(contact) = self.contacts.remove(&id) {
            self.store.delete(Key::Contact(id).to_string());
            self.pool_changed();
            if contact.record.blocked {
                let event = self.blocked();
                self.store.then(AfterPersist::Tell(event));
            }
        }
    }
}

const NO_REQUEST: &str = "There is no such request.";

/// Begins the session that takes whoever has asked as a contact.
fn met(asked: &RequestReceived) -> Result<Established, SessionError> {
    let account = OlmAccount::generate();
    let (session, pre_key) = account.begin(asked.identity, asked.one_time_key, b"")?;
    let welcome = Some(PreKeyMessage { identity: account.identity(), pre_key });
    Ok(Established::new(session, asked.send.clone(), asked.receive.clone(), welcome))
}

/// A note without what could upset its display.
fn printable(note: &str) -> String {
    note.chars().filter(|c| !c.is_control() || *c == '\n').collect()
}
