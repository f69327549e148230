//! How strangers become contacts: a guest asks with an invite, the inviter's person decides.

use super::channel::{PeerChannel, Phase};
use super::contact::Contact;
use super::names::unique_name;
use super::records::{
    CameBy, ContactRecord, Established, PreKeyMessage, Relationship, RequestReceived, RequestSent, Stage,
};
use super::{Contacts, ContactsEvent, FollowUp, MAX_CONTACTS, Violation};
use crate::cell::DestroyReason;
use crate::circuit::RendezvousRole;
use crate::client::api::{ContactId, ContactState, Event};
use crate::client::circuits::CircuitId;
use crate::client::context::Context;
use crate::client::onion_service::{OnionService, points_for};
use crate::client::store::KeyBytes;
use crate::crypto::keys::OnionSecret;
use crate::messaging::frame::Frame;
use crate::messaging::session::{OlmAccount, SessionError};
use crate::rendezvous::{IntroPoint, RelationshipRole};

/// Requests that may wait for a decision.
const MAX_REQUESTS: usize = 64;

const NO_REQUEST: &str = "There is no such request.";

impl Contacts {
    /// Guest: asks the maker of an invite for contact.
    pub(super) fn request(&mut self, circuit: CircuitId, id: ContactId, cx: &mut Context<'_>) {
        let Some(channel) = self.channels.get_mut(&circuit) else { return };
        let Some(secrets) = &channel.secrets else { return };
        let points = points_for(cx.profile, &secrets.root);
        channel.pending_points = Some(points.clone());
        let Some(Stage::InviteHeld(held)) = self.contacts.get(&id).map(|contact| &contact.record.stage) else { return };
        let frame = Frame::Request {
            identity: held.account.identity(),
            one_time_key: held.account.one_time_key(),
            key: *held.key.secret().public().as_bytes(),
            points,
            name: held.introduce_as.clone(),
            note: held.note.clone(),
        };
        self.send_frame(circuit, &frame, cx);
    }

    /// Inviter: somebody who came with an invite asks for contact, for the first time or because the answer got lost.
    pub(super) fn requested(
        &mut self,
        circuit: CircuitId,
        invite: u64,
        frame: Frame,
        onion: &mut OnionService,
        cx: &mut Context<'_>,
    ) -> Result<(), Violation> {
        let Frame::Request { identity, one_time_key, key: their_key, points: their_points, name, note } = frame else {
            return Err(Violation);
        };
        let came_by = CameBy { invite, identity };
        let is_same = |contact: &&Contact| contact.record.came_by.as_ref() == Some(&came_by);
        let known = self.contacts.values().find(is_same).map(|contact| (contact.id, contact.record.blocked));
        let is_taken = |contact: &Contact| contact.record.came_by.as_ref().is_some_and(|by| by.invite == invite);
        let open = self.invites.get(&invite).ok_or(Violation)?;
        let invite_note = open.record.note.clone();
        let waiting = self.contacts.values().filter(|contact| contact.is_request() && contact.is_shown()).count();
        match known {
            // Those who are blocked hear nothing.
            Some((_, true)) => return Err(Violation),
            Some(_) => {}
            // Until the first has confirmed, an invite for one stays open for that one only.
            None if !open.record.reusable && self.contacts.values().any(is_taken) => return Err(Violation),
            None if waiting >= MAX_REQUESTS => return Err(Violation),
            None if self.contacts.len() >= MAX_CONTACTS && !self.forget_oldest_refused(onion, cx) => {
                return Err(Violation);
            }
            None => {}
        }
        let channel = self.channels.get_mut(&circuit);
        let Some(secrets) = channel.and_then(|channel| channel.secrets.take()) else { return Ok(()) };
        let points = points_for(cx.profile, &secrets.root);
        let own = KeyBytes::of(&OnionSecret::generate(cx.rng));
        let own_key = *own.secret().public().as_bytes();
        let (send, receive) = secrets.chains(RendezvousRole::Service);
        let relationship =
            Relationship::new(secrets.root, RelationshipRole::Inviter, own, their_key, their_points, points.clone());
        let request = RequestReceived {
            identity,
            one_time_key,
            note: printable(&note),
            invite_note,
            at: cx.now.unix,
            declined: false,
            send,
            receive,
        };
        let id = match known {
            Some((id, _)) => {
                self.requested_again(id, relationship, request, cx)?;
                self.set_reach(id, onion, cx.now.instant);
                id
            }
            None => self.new_request(&name, came_by, relationship, request, onion, cx),
        };
        self.close_earlier_channels(circuit, invite, id, cx);
        if let Some(channel) = self.channels.get_mut(&circuit) {
            channel.contact = Some(id);
        }
        onion.identify(circuit, id);
        self.store_and_say(circuit, Frame::Pending { key: own_key, points }, Phase::Undecided, cx);
        Ok(())
    }

    /// Makes room by forgetting whoever was declined or blocked longest ago; `false` if there is nobody.
    fn forget_oldest_refused(&mut self, onion: &mut OnionService, cx: &mut Context<'_>) -> bool {
        let refused = |contact: &&Contact| contact.is_request() && !contact.is_shown();
        let Some(oldest) = self.contacts.values().find(refused).map(|contact| contact.id) else { return false };
        self.forget(oldest, onion, cx);
        true
    }

    fn new_request(
        &mut self,
        name: &str,
        came_by: CameBy,
        relationship: Relationship,
        request: RequestReceived,
        onion: &mut OnionService,
        cx: &mut Context<'_>,
    ) -> ContactId {
        let record = ContactRecord {
            name: unique_name(name, self.names()),
            next_message: 0,
            blocked: false,
            verified: false,
            read: None,
            invite: None,
            came_by: Some(came_by),
            relationship: Some(relationship),
            stage: Stage::RequestReceived(Box::new(request)),
        };
        let contact = self.add_contact(record, onion, cx);
        let (id, event) = (contact.id, contact.event());
        cx.store.tell(event);
        id
    }

    /// The same once more: what was agreed before is void.
    fn requested_again(
        &mut self,
        id: ContactId,
        relationship: Relationship,
        request: RequestReceived,
        cx: &mut Context<'_>,
    ) -> Result<(), Violation> {
        let contact = self.contacts.get_mut(&id).ok_or(Violation)?;
        contact.record.relationship = Some(relationship);
        let was_verified = core::mem::replace(&mut contact.record.verified, false);
        if let Stage::RequestReceived(before) = &mut contact.record.stage {
            let declined = before.declined;
            **before = RequestReceived { declined, ..request };
            contact.put(cx.store);
            return Ok(());
        }
        contact.begin(establish(&request).map_err(|_| Violation)?, cx.store);
        if was_verified {
            // There is another number to compare now.
            cx.store.tell(contact.event());
        }
        self.events.push_back(ContactsEvent::SessionBegan(id));
        Ok(())
    }

    /// Inviter: whoever came before with the same invite comes too late, and what was said with earlier secrets is void.
    fn close_earlier_channels(&mut self, keep: CircuitId, invite: u64, contact: ContactId, cx: &mut Context<'_>) {
        let reusable = self.invites.get(&invite).is_some_and(|invite| invite.record.reusable);
        let is_earlier = |channel: &PeerChannel| match channel.phase {
            Phase::AwaitRequest { invite: by } => by == invite && !reusable,
            _ => channel.contact == Some(contact),
        };
        let earlier = self.channels.iter().filter(|(circuit, channel)| **circuit != keep && is_earlier(channel));
        for circuit in earlier.map(|(circuit, _)| *circuit).collect::<Vec<_>>() {
            self.hang_up(circuit, DestroyReason::Requested, cx);
        }
    }

    /// Guest: the inviter has the request.
    pub(super) fn pending(
        &mut self,
        circuit: CircuitId,
        id: ContactId,
        their_key: [u8; 32],
        points: Vec<IntroPoint>,
        onion: &mut OnionService,
        cx: &mut Context<'_>,
    ) -> Result<(), Violation> {
        let Some(channel) = self.channels.get_mut(&circuit) else { return Ok(()) };
        let acknowledged = channel.pending_points.take().unwrap_or_default();
        let secrets = channel.secrets.take().ok_or(Violation)?;
        let (send, receive) = secrets.chains(RendezvousRole::Client);
        let contact = self.contacts.get_mut(&id).ok_or(Violation)?;
        let Stage::InviteHeld(held) = &mut contact.record.stage else { return Err(Violation) };
        let account = core::mem::replace(&mut held.account, OlmAccount::generate());
        let own = held.key.clone();
        contact.record.relationship =
            Some(Relationship::new(secrets.root, RelationshipRole::Guest, own, their_key, points, acknowledged));
        contact.record.stage = Stage::RequestSent(Box::new(RequestSent { account, send, receive, declined: false }));
        contact.put(cx.store);
        self.set_reach(id, onion, cx.now.instant);
        self.store_and_say(circuit, Frame::Confirm, Phase::Undecided, cx);
        Ok(())
    }

    /// Inviter: the guest has stored all that it needs.
    pub(super) fn confirmed(
        &mut self,
        circuit: CircuitId,
        id: ContactId,
        onion: &mut OnionService,
        cx: &mut Context<'_>,
    ) -> Result<(), Violation> {
        let Some(channel) = self.channels.get(&circuit) else { return Ok(()) };
        let (role, is_told) = (channel.role, channel.is_told);
        let is_declined =
            |contact: &Contact| matches!(&contact.record.stage, Stage::RequestReceived(request) if request.declined);
        if is_told && self.contacts.get(&id).is_some_and(is_declined) {
            // They know; nothing of them stays.
            self.forget(id, onion, cx);
            return Ok(());
        }
        if role != RendezvousRole::Service {
            return Err(Violation);
        }
        self.confirm(id, onion, cx);
        self.decided(id, cx);
        Ok(())
    }

    /// A guest has come, or said, what they can only with all that they need: the invite is used.
    pub(super) fn confirm(&mut self, id: ContactId, onion: &mut OnionService, cx: &mut Context<'_>) {
        let Some(contact) = self.contacts.get_mut(&id) else { return };
        let Some(CameBy { invite, .. }) = contact.record.came_by.take() else { return };
        contact.put(cx.store);
        if self.invites.get(&invite).is_some_and(|invite| !invite.record.reusable) {
            self.end_invite(invite, onion, cx);
        }
    }

    /// The person accepts a request.
    ///
    /// # Errors
    ///
    /// Why that is not possible, for the person.
    pub(in super::super) fn accept_request(
        &mut self,
        id: ContactId,
        onion: &mut OnionService,
        cx: &mut Context<'_>,
    ) -> Result<(), String> {
        let now = cx.now.instant;
        let contact = self.contacts.get_mut(&id).filter(|contact| contact.is_shown()).ok_or(NO_REQUEST)?;
        let Stage::RequestReceived(request) = &contact.record.stage else { return Err(NO_REQUEST.to_owned()) };
        let Ok(established) = establish(request) else {
            self.forget(id, onion, cx);
            return Err("The request cannot be accepted: its keys are broken. Give them a new invite.".to_owned());
        };
        contact.begin(established, cx.store);
        contact.state = ContactState::Connecting;
        contact.begin_search(now);
        contact.set_approach(onion, now);
        cx.store.tell(Event::RequestClosed { id });
        cx.store.tell(contact.event());
        self.events.push_back(ContactsEvent::SessionBegan(id));
        onion.search_anew(id, now);
        self.after.push(cx.store, FollowUp::Decided(id));
        Ok(())
    }

    /// The person declines a request: whoever made it is told as soon as they can be.
    ///
    /// # Errors
    ///
    /// Why that is not possible, for the person.
    pub(in super::super) fn decline_request(
        &mut self,
        id: ContactId,
        onion: &mut OnionService,
        cx: &mut Context<'_>,
    ) -> Result<(), String> {
        let contact = self.contacts.get_mut(&id).filter(|contact| contact.is_shown()).ok_or(NO_REQUEST)?;
        let Stage::RequestReceived(request) = &mut contact.record.stage else { return Err(NO_REQUEST.to_owned()) };
        request.declined = true;
        contact.put(cx.store);
        // Whether they have confirmed or not, the invite is used.
        self.confirm(id, onion, cx);
        cx.store.tell(Event::RequestClosed { id });
        self.after.push(cx.store, FollowUp::Decided(id));
        Ok(())
    }

    /// Says to whoever waits for a decision what it is, if they are there and it is made.
    pub(super) fn decided(&mut self, id: ContactId, cx: &mut Context<'_>) {
        let Some(contact) = self.contacts.get(&id) else { return };
        let frame = match &contact.record.stage {
            Stage::RequestReceived(request) if request.declined => Frame::Decline,
            Stage::Established(established) => match &established.welcome {
                Some(PreKeyMessage { identity, pre_key }) => {
                    Frame::PreKeyMessage { identity: *identity, pre_key: pre_key.clone() }
                }
                None => return,
            },
            _ => return,
        };
        // Before they have confirmed they could make nothing of a session.
        let can_take = contact.record.came_by.is_none() || frame == Frame::Decline;
        let Some(circuit) = contact.channel.filter(|_| can_take) else { return };
        let Some(channel @ PeerChannel { phase: Phase::Undecided, is_told: false, .. }) =
            self.channels.get_mut(&circuit)
        else {
            return;
        };
        channel.is_told = true;
        self.send_frame(circuit, &frame, cx);
    }

    /// Guest: the inviter does not want us as a contact.
    pub(super) fn declined(
        &mut self,
        circuit: CircuitId,
        id: ContactId,
        onion: &mut OnionService,
        cx: &mut Context<'_>,
    ) -> Result<(), Violation> {
        let contact = self.contacts.get_mut(&id).ok_or(Violation)?;
        let Stage::RequestSent(request) = &mut contact.record.stage else { return Err(Violation) };
        request.declined = true;
        contact.put(cx.store);
        contact.state = ContactState::Declined;
        cx.store.tell(contact.event());
        contact.set_approach(onion, cx.now.instant);
        // The inviter ends the circuit then.
        self.store_and_say(circuit, Frame::Confirm, Phase::Undecided, cx);
        Ok(())
    }
}

/// Begins the session that makes whoever has asked a contact.
fn establish(request: &RequestReceived) -> Result<Established, SessionError> {
    let account = OlmAccount::generate();
    let (session, pre_key) = account.begin(request.identity, request.one_time_key, b"")?;
    let welcome = Some(PreKeyMessage { identity: account.identity(), pre_key });
    Ok(Established::new(session, request.send.clone(), request.receive.clone(), welcome))
}

/// A note without what could upset its display.
fn printable(note: &str) -> String {
    note.chars().filter(|c| !c.is_control() || *c == '\n').collect()
}
