//! Frames and pings on channels.

use std::time::Duration;

use super::channel::{PeerChannel, Phase, Secrets};
use super::records::Stage;
use super::{Contacts, ContactsEvent, Violation};
use crate::cell::DestroyReason;
use crate::cell::message::StreamId;
use crate::circuit::RendezvousRole;
use crate::client::api::{ContactId, ContactState};
use crate::client::circuits::CircuitId;
use crate::client::context::Context;
use crate::client::onion_service::OnionService;
use crate::crypto::handshake::KeyStream;
use crate::messaging::frame::Frame;

/// How often one makes sure that the other is there.
pub(super) const PING_INTERVAL: Duration = Duration::from_millis(1500);

/// How long the other may leave a ping without an answer.
const PING_TIME: Duration = Duration::from_millis(4500);

/// Bytes that may wait for a contact who does not read, but goes on asking.
const MAX_WAITING: usize = 512 * 1024;

impl Contacts {
    // ---- beginning and ending ----

    /// Somebody came with an invite.
    pub(super) fn joined_by_invite(
        &mut self,
        circuit: CircuitId,
        invite: u64,
        role: RendezvousRole,
        stream: KeyStream,
        cx: &mut Context<'_>,
    ) {
        self.begin_channel(circuit, None, role, 1, Phase::AwaitRequest { invite }, stream, cx);
    }

    /// A channel to somebody who is known: the client of the rendezvous speaks first.
    pub(super) fn joined(
        &mut self,
        circuit: CircuitId,
        id: ContactId,
        role: RendezvousRole,
        generation: u64,
        stream: KeyStream,
        cx: &mut Context<'_>,
    ) {
        let Some(contact) = self.contacts.get(&id) else {
            return cx.circuits.hang_up(circuit, DestroyReason::Requested);
        };
        let phase = match (&contact.record.stage, role) {
            (Stage::InviteHeld(_), RendezvousRole::Client) => Phase::AwaitPending,
            (_, RendezvousRole::Client) => Phase::AwaitResumed,
            (_, RendezvousRole::Service) => Phase::AwaitResume,
        };
        let asks = matches!(phase, Phase::AwaitPending);
        self.begin_channel(circuit, Some(id), role, generation, phase, stream, cx);
        if asks {
            self.request(circuit, id, cx);
        } else if role == RendezvousRole::Client {
            self.say_resume(circuit, id, cx);
        }
    }

    #[expect(clippy::too_many_arguments, reason = "all that a channel begins with")]
    fn begin_channel(
        &mut self,
        circuit: CircuitId,
        contact: Option<ContactId>,
        role: RendezvousRole,
        generation: u64,
        phase: Phase,
        mut stream: KeyStream,
        cx: &mut Context<'_>,
    ) {
        let secrets = Secrets::read(&mut stream);
        let patience = cx.circuits.stretch(PING_TIME);
        let channel = PeerChannel::new(contact, role, generation, secrets, phase, patience, cx.now.instant);
        self.channels.insert(circuit, channel);
    }

    /// Closes a channel; [`Self::channel_closed`] follows as for any other.
    pub(super) fn hang_up(&mut self, circuit: CircuitId, reason: DestroyReason, cx: &mut Context<'_>) {
        if let Some(channel) = self.channels.get_mut(&circuit) {
            channel.is_closing = true;
        }
        cx.circuits.hang_up(circuit, reason);
    }

    /// A channel is gone.
    pub(super) fn channel_closed(&mut self, circuit: CircuitId, cx: &mut Context<'_>) {
        let Some(channel) = self.channels.remove(&circuit) else { return };
        let Some(id) = channel.contact else { return };
        self.events.push_back(ContactsEvent::Closed(id));
        let Some(contact) = self.contacts.get_mut(&id).filter(|contact| contact.channel == Some(circuit)) else {
            return;
        };
        contact.channel = None;
        if contact.state == ContactState::Connected {
            contact.begin_search(cx.now.instant);
            contact.state = contact.state_without(ContactState::Connecting);
            cx.event(contact.event());
        }
    }

    // ---- frames ----

    /// The channel on which messages to the contact can go now.
    pub(in super::super) fn open_channel(&self, id: ContactId) -> Option<CircuitId> {
        let circuit = self.contacts.get(&id)?.channel?;
        let channel = self.channels.get(&circuit)?;
        (matches!(channel.phase, Phase::Open) && !channel.is_closing).then_some(circuit)
    }

    /// Sends a frame. A contact who asks for much and reads nothing loses the channel.
    pub(in super::super) fn send_frame(&mut self, circuit: CircuitId, frame: &Frame, cx: &mut Context<'_>) {
        let mut bytes = Vec::new();
        frame.encode(&mut bytes);
        if cx.circuits.write(circuit, &bytes) > MAX_WAITING {
            self.hang_up(circuit, DestroyReason::ResourceLimit, cx);
        }
    }

    /// Bytes have arrived on a channel; [`Self::poll_event`] handles them.
    pub(super) fn received(&mut self, circuit: CircuitId, stream: StreamId, data: &[u8]) {
        let Some(channel) = self.channels.get_mut(&circuit) else { return };
        channel.unanswered = None;
        channel.reader.push(data);
        self.readable.push_back((circuit, stream));
    }

    /// The next thing that happened, for the rooms above.
    ///
    /// Frames are handled here, one at a time: what a room above does about one comes before the next.
    pub(in super::super) fn poll_event(
        &mut self,
        onion: &mut OnionService,
        cx: &mut Context<'_>,
    ) -> Option<ContactsEvent> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Some(event);
            }
            let (circuit, stream) = *self.readable.front()?;
            let channel = self.channels.get_mut(&circuit).filter(|channel| !channel.is_closing);
            let outcome = match channel.map(|channel| channel.reader.next()) {
                None => {
                    self.readable.pop_front();
                    continue;
                }
                Some(Ok(None)) => {
                    self.readable.pop_front();
                    cx.circuits.consumed(circuit, stream);
                    continue;
                }
                Some(Ok(Some(frame))) => self.frame(circuit, frame, onion, cx),
                Some(Err(_)) => Err(Violation),
            };
            if outcome.is_err() {
                self.hang_up(circuit, DestroyReason::Protocol, cx);
            }
        }
    }

    fn frame(
        &mut self,
        circuit: CircuitId,
        frame: Frame,
        onion: &mut OnionService,
        cx: &mut Context<'_>,
    ) -> Result<(), Violation> {
        let Some(channel) = self.channels.get(&circuit) else { return Ok(()) };
        let contact = channel.contact;
        match (&channel.phase, frame) {
            (_, Frame::Ping(number)) => {
                self.send_frame(circuit, &Frame::Pong(number), cx);
                Ok(())
            }
            (_, Frame::Pong(_)) => Ok(()),
            (Phase::AwaitRequest { invite }, frame @ Frame::Request { .. }) => {
                self.requested(circuit, *invite, frame, onion, cx)
            }
            (Phase::AwaitPending, Frame::Pending { key: their_key, points }) => {
                self.pending(circuit, contact.ok_or(Violation)?, their_key, points, onion, cx)
            }
            (Phase::Undecided, Frame::Confirm) => self.confirmed(circuit, contact.ok_or(Violation)?, onion, cx),
            (Phase::Undecided | Phase::Renewing(_), Frame::PreKeyMessage { identity, pre_key }) => {
                self.welcomed(circuit, contact.ok_or(Violation)?, identity, &pre_key, onion, cx)
            }
            (Phase::Undecided, Frame::Decline) => self.declined(circuit, contact.ok_or(Violation)?, onion, cx),
            (
                Phase::AwaitResume | Phase::AwaitResumed | Phase::Undecided,
                Frame::Resume { generation: _, has_session, received, last, read },
            ) => {
                let session = has_session.then_some((received, last));
                self.resumed(circuit, contact.ok_or(Violation)?, session, read, onion, cx)
            }
            (
                Phase::AwaitResumed | Phase::Undecided | Phase::Open | Phase::Renewing(_),
                Frame::SessionReset { identity, one_time_key },
            ) => self.renewed(circuit, contact.ok_or(Violation)?, identity, one_time_key, cx),
            // What was said before the other heard of the new session.
            (
                Phase::Renewing(_),
                Frame::Envelope { .. } | Frame::Ack { .. } | Frame::Read(_) | Frame::Typing(_) | Frame::Resume { .. },
            ) => Ok(()),
            // Said whenever it is due, so that it may cross with what begins a session.
            (phase, Frame::Points(points)) if phase.is_of_contacts() => {
                self.points_changed(circuit, contact.ok_or(Violation)?, points, onion, cx)
            }
            (phase, Frame::Fallback(introduction)) if phase.is_of_contacts() => {
                if onion.fallback_given(circuit, introduction) { Ok(()) } else { Err(Violation) }
            }
            (phase, Frame::PointsKept) if phase.is_of_contacts() => {
                self.points_kept(circuit, contact.ok_or(Violation)?, onion, cx)
            }
            (Phase::Open, frame @ (Frame::Envelope { .. } | Frame::Ack { .. } | Frame::Read(_) | Frame::Typing(_))) => {
                let contact = contact.ok_or(Violation)?;
                self.events.push_back(ContactsEvent::Frame { circuit, contact, frame });
                Ok(())
            }
            _ => Err(Violation),
        }
    }

    // ---- pings ----

    /// Pings whoever is due, and gives up whoever did not answer.
    pub(in super::super) fn check_channels(&mut self, cx: &mut Context<'_>) {
        let now = cx.now.instant;
        let mut due = Vec::new();
        let mut dead = Vec::new();
        for (circuit, channel) in &mut self.channels {
            // Until a greeting is over it has its own time limit.
            let is_greeted = !cx.circuits.has_deadline(*circuit);
            if channel.unanswered.is_some_and(|since| since + channel.patience <= now) {
                dead.push(*circuit);
            } else if channel.ping_at <= now {
                channel.ping_at = now + PING_INTERVAL;
                if is_greeted && channel.unanswered.is_none() {
                    channel.unanswered = Some(now);
                    channel.pings = channel.pings.wrapping_add(1);
                    due.push((*circuit, channel.pings));
                }
            }
        }
        for (circuit, number) in due {
            self.send_frame(circuit, &Frame::Ping(number), cx);
        }
        for circuit in dead {
            self.hang_up(circuit, DestroyReason::Timeout, cx);
        }
    }
}
