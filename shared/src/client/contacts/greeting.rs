//! What two who know each other say first on a channel, and how they begin anew where their sessions are out of step.

use super::channel::{PeerChannel, Phase};
use super::channels::PING_INTERVAL;
use super::contact::Contact;
use super::records::{Established, Stage};
use super::{Contacts, ContactsEvent, FollowUp, Violation};
use crate::cell::DestroyReason;
use crate::client::api::{ContactId, ContactState, MessageId};
use crate::client::circuits::CircuitId;
use crate::client::context::Context;
use crate::client::onion_service::OnionService;
use crate::messaging::frame::Frame;
use crate::messaging::session::OlmAccount;
use crate::rendezvous::RelationshipRole;

impl Contacts {
    /// What has come is stored first; then this is said, and the next phase begins.
    pub(super) fn store_and_say(&mut self, circuit: CircuitId, say: Frame, next: Phase, cx: &Context<'_>) {
        if let Some(channel) = self.channels.get_mut(&circuit) {
            channel.phase = Phase::Storing { say, next: Box::new(next) };
            self.after.push(cx.store, FollowUp::Greeted(circuit));
        }
    }

    /// What a greeting had to store is on disk.
    pub(super) fn greeted(&mut self, circuit: CircuitId, onion: &mut OnionService, cx: &mut Context<'_>) {
        let Some(channel) = self.channels.get_mut(&circuit) else { return };
        match core::mem::replace(&mut channel.phase, Phase::AwaitResumed) {
            Phase::Storing { say, next } => {
                channel.phase = *next;
                let (known, contact) = (channel.phase.is_greeted(), channel.contact);
                self.send_frame(circuit, &say, cx);
                if let Some(id) = contact
                    && known
                {
                    self.carried(circuit, id, onion, cx);
                }
            }
            other => channel.phase = other,
        }
    }

    /// Says how far this side has come.
    pub(super) fn say_resume(&mut self, circuit: CircuitId, id: ContactId, cx: &mut Context<'_>) {
        let receipts = !cx.profile.no_receipts;
        let Some(generation) = self.channels.get(&circuit).map(|channel| channel.generation) else { return };
        let Some(contact) = self.contacts.get(&id) else { return };
        let (received, last) = contact.stored;
        let has_session = contact.established().is_some();
        let read = contact.record.read.filter(|_| receipts);
        self.send_frame(circuit, &Frame::Resume { generation, has_session, received, last, read }, cx);
    }

    /// The other has said how far it has come: with its session, what it has stored in it.
    pub(super) fn resumed(
        &mut self,
        circuit: CircuitId,
        id: ContactId,
        session: Option<(u64, Option<MessageId>)>,
        read: Option<MessageId>,
        onion: &mut OnionService,
        cx: &mut Context<'_>,
    ) -> Result<(), Violation> {
        let Some(channel) = self.channels.get(&circuit) else { return Ok(()) };
        if !matches!(channel.phase, Phase::AwaitResumed) {
            self.say_resume(circuit, id, cx);
        }
        self.confirm(id, onion, cx);
        let contact = self.contacts.get_mut(&id).ok_or(Violation)?;
        let (Some(established), Some((received, last))) = (contact.established_mut(), session) else {
            let has_session = contact.established().is_some();
            self.set_phase(circuit, Phase::Undecided);
            self.carried(circuit, id, onion, cx);
            // Whoever has none waits: for the pre-key message, if there was none yet, or else for the other to begin anew.
            return if has_session { self.reset_session(circuit, id, cx) } else { Ok(()) };
        };
        if established.welcome.take().is_some() {
            contact.put(cx.store);
        }
        self.set_phase(circuit, Phase::Open);
        self.carried(circuit, id, onion, cx);
        self.events.push_back(ContactsEvent::Opened { circuit, contact: id, received, last, read });
        Ok(())
    }

    fn set_phase(&mut self, circuit: CircuitId, phase: Phase) {
        if let Some(channel) = self.channels.get_mut(&circuit) {
            channel.phase = phase;
        }
    }

    /// From now on this channel carries the contact.
    fn carried(&mut self, circuit: CircuitId, id: ContactId, onion: &mut OnionService, cx: &mut Context<'_>) {
        let now = cx.now.instant;
        let Some(channel) = self.channels.get_mut(&circuit) else { return };
        channel.ping_at = now + PING_INTERVAL;
        let (is_open, generation) = (matches!(channel.phase, Phase::Open), channel.generation);
        let Some(contact) = self.contacts.get_mut(&id) else { return };
        let before = contact.channel.replace(circuit).filter(|before| *before != circuit);
        contact.begin_search(now);
        if let Some(relationship) = &mut contact.record.relationship
            && relationship.generation < generation
        {
            relationship.generation = generation;
            contact.put(cx.store);
            contact.set_approach(onion, now);
        }
        let state = if is_open { ContactState::Connected } else { contact.state_without(contact.state) };
        if contact.state != state {
            contact.state = state;
            if !contact.is_request() {
                cx.store.tell(contact.event());
            }
        }
        onion.carried(circuit, id, is_open, cx);
        if let Some(before) = before {
            self.hang_up(before, DestroyReason::Requested, cx);
        }
        self.send_points(id, cx);
        if !is_open {
            self.decided(id, cx);
        }
    }

    // ---- sessions that are out of step ----

    /// The two do not agree on what was said in their session: begins a new one, or ends a channel on which that was tried.
    pub(in super::super) fn out_of_step(&mut self, circuit: CircuitId, id: ContactId, cx: &mut Context<'_>) {
        if self.reset_session(circuit, id, cx).is_err() {
            self.hang_up(circuit, DestroyReason::Protocol, cx);
        }
    }

    /// The two do not share a session any more, or do not agree on what was said in it: begins a new one.
    fn reset_session(&mut self, circuit: CircuitId, id: ContactId, cx: &mut Context<'_>) -> Result<(), Violation> {
        let has_welcome =
            |contact: &Contact| contact.established().is_some_and(|established| established.welcome.is_some());
        if self.contacts.get(&id).is_some_and(has_welcome) {
            // It is on its way, and begins one.
            return Ok(());
        }
        let Some(channel) = self.channels.get_mut(&circuit) else { return Ok(()) };
        if channel.secrets.is_none() || matches!(channel.phase, Phase::Renewing(_)) {
            return Err(Violation);
        }
        let account = OlmAccount::generate();
        let frame = Frame::SessionReset { identity: account.identity(), one_time_key: account.one_time_key() };
        channel.phase = Phase::Renewing(Box::new(account));
        self.send_frame(circuit, &frame, cx);
        Ok(())
    }

    /// The other has begun a new session.
    pub(super) fn renewed(
        &mut self,
        circuit: CircuitId,
        id: ContactId,
        identity: [u8; 32],
        one_time_key: [u8; 32],
        cx: &mut Context<'_>,
    ) -> Result<(), Violation> {
        let contact = self.contacts.get_mut(&id).ok_or(Violation)?;
        let role = contact.relationship().ok_or(Violation)?.role;
        let Some(channel) = self.channels.get_mut(&circuit) else { return Ok(()) };
        if matches!(channel.phase, Phase::Renewing(_)) && role == RelationshipRole::Inviter {
            // Both have: ours counts.
            return Ok(());
        }
        let (send, receive) = channel.secrets.take().ok_or(Violation)?.chains(channel.role);
        if let Stage::RequestReceived(request) = &mut contact.record.stage {
            // Not decided yet: what begins later begins with these.
            (request.identity, request.one_time_key, request.send, request.receive) =
                (identity, one_time_key, send, receive);
            contact.put(cx.store);
            return Ok(());
        }
        let account = OlmAccount::generate();
        let (session, pre_key) = account.begin(identity, one_time_key, b"").map_err(|_| Violation)?;
        contact.begin(Established::new(session, send, receive, None), cx.store);
        self.events.push_back(ContactsEvent::SessionBegan(id));
        let frame = Frame::PreKeyMessage { identity: account.identity(), pre_key };
        self.store_and_say(circuit, frame, Phase::AwaitResume, cx);
        Ok(())
    }

    /// What begins a session has come, the first one or a new one.
    pub(super) fn welcomed(
        &mut self,
        circuit: CircuitId,
        id: ContactId,
        identity: [u8; 32],
        pre_key: &[u8],
        onion: &mut OnionService,
        cx: &mut Context<'_>,
    ) -> Result<(), Violation> {
        let contact = self.contacts.get_mut(&id).ok_or(Violation)?;
        let Some(channel) = self.channels.get_mut(&circuit) else { return Ok(()) };
        let PeerChannel { role, generation, .. } = *channel;
        let (session, send, receive) = match (&mut channel.phase, &mut contact.record.stage) {
            (Phase::Renewing(account), Stage::Established(_) | Stage::RequestSent(_)) => {
                let (session, _) = account.accept(identity, pre_key).map_err(|_| Violation)?;
                let (send, receive) = channel.secrets.take().ok_or(Violation)?.chains(role);
                (session, send, receive)
            }
            (Phase::Undecided, Stage::RequestSent(request)) => {
                let (session, _) = request.account.accept(identity, pre_key).map_err(|_| Violation)?;
                (session, request.send.clone(), request.receive.clone())
            }
            _ => return Err(Violation),
        };
        contact.begin(Established::new(session, send, receive, None), cx.store);
        contact.set_approach(onion, cx.now.instant);
        self.events.push_back(ContactsEvent::SessionBegan(id));
        let resume = Frame::Resume { generation, has_session: true, received: 0, last: None, read: None };
        self.store_and_say(circuit, resume, Phase::AwaitResumed, cx);
        Ok(())
    }
}
