//! What two joined clients say: the greeting that makes or finds a contact, then messages.

use std::time::Duration;

use super::Client;
use super::api::{ContactId, ContactState, DeliveryState, Event, MessageId};
use super::circuits::CircuitId;
use super::contacts::{Arrival, Contact, Established, ReceiveError, Search, Stage};
use super::peer_channel::{Fallback, PeerChannel, Phase, Secrets};
use super::store::AfterPersist;
use crate::cell::DestroyReason;
use crate::cell::message::StreamId;
use crate::circuit::RendezvousRole;
use crate::messaging::frame::{Frame, FrameReader};
use crate::messaging::session::OlmAccount;
use crate::rendezvous::{IntroPoint, RelationshipRole};
use crate::time::Instant;
use crate::token_bucket::TokenBucket;

/// How often one makes sure that the other is there.
const PING_INTERVAL: Duration = Duration::from_millis(1500);

/// How long the other may leave a ping without an answer.
pub(super) const PING_TIME: Duration = Duration::from_millis(4500);

/// Sealed bytes that may be under way to a contact without an acknowledgement: well below what relays queue for a circuit.
const MAX_IN_FLIGHT: usize = 96 * 1024;

/// Bytes that may wait for a contact who does not read, but goes on asking.
const MAX_WAITING: usize = 512 * 1024;

/// How often a contact may begin or stop writing: each second, and how often at once.
const TYPING_RATE: (u32, u32) = (2, 8);

/// After this time a contact who has not said that they go on writing has stopped.
const TYPING_TIME: Duration = Duration::from_secs(12);

impl PeerChannel {
    pub(super) fn new(
        contact: Option<ContactId>,
        side: RendezvousRole,
        generation: u64,
        secrets: Secrets,
        phase: Phase,
        patience: Duration,
        now: Instant,
    ) -> Self {
        Self {
            contact,
            side,
            generation,
            secrets: Some(secrets),
            phase,
            reader: FrameReader::default(),
            pending_points: None,
            is_told: false,
            fallback: match side {
                RendezvousRole::Client => Fallback::Keep { from: now },
                RendezvousRole::Service => Fallback::Given(None),
            },
            ping_at: now,
            unanswered: None,
            patience,
            pings: 0,
            next_to_send: 0,
        }
    }

    pub(super) fn poll_timeout(&self) -> Instant {
        match self.unanswered {
            Some(since) => self.ping_at.min(since + self.patience),
            None => self.ping_at,
        }
    }
}

impl Phase {
    /// Whether both know who the other is, and nothing is under way.
    pub(super) const fn is_greeted(&self) -> bool {
        matches!(self, Self::Undecided | Self::Open)
    }

    /// Whether the two have a relationship, or one that is just being stored.
    const fn is_of_contacts(&self) -> bool {
        match self {
            Self::AwaitRequest { .. } | Self::AwaitPending => false,
            Self::Storing { .. }
            | Self::AwaitResume
            | Self::AwaitResumed
            | Self::Undecided
            | Self::Open
            | Self::Renewing(_) => true,
        }
    }
}

/// The contact broke the protocol: this circuit ends.
pub(super) struct Violation;

impl Client {
    /// Takes what the other client sent.
    pub(super) fn channel_data(&mut self, key: CircuitId, stream: StreamId, data: &[u8]) {
        let Some(channel) = self.channel(key) else { return };
        channel.unanswered = None;
        channel.reader.push(data);
        loop {
            let Some(channel) = self.channel(key) else { return };
            let outcome = match channel.reader.next() {
                Ok(None) => return self.circuits.consumed(key, stream),
                Ok(Some(frame)) => self.frame(key, frame),
                Err(_) => Err(Violation),
            };
            if outcome.is_err() {
                return self.close_circuit(key, DestroyReason::Protocol);
            }
        }
    }

    pub(super) fn channel(&mut self, key: CircuitId) -> Option<&mut PeerChannel> {
        self.channels.get_mut(&key)
    }

    pub(super) fn send_frame(&mut self, key: CircuitId, frame: &Frame) {
        let mut bytes = Vec::new();
        frame.encode(&mut bytes);
        if self.circuits.write(key, &bytes) > MAX_WAITING {
            self.close_circuit(key, DestroyReason::ResourceLimit);
        }
    }

    fn frame(&mut self, key: CircuitId, frame: Frame) -> Result<(), Violation> {
        let Some(channel) = self.channel(key) else { return Ok(()) };
        let contact = channel.contact;
        match (&channel.phase, frame) {
            (_, Frame::Ping(number)) => {
                self.send_frame(key, &Frame::Pong(number));
                Ok(())
            }
            (_, Frame::Pong(_)) => Ok(()),
            (Phase::AwaitRequest { invite }, frame @ Frame::Request { .. }) => {
                let invite = *invite;
                self.requested(key, invite, frame)
            }
            (Phase::AwaitPending, Frame::Pending { key: their_key, points }) => {
                self.pending(key, contact.ok_or(Violation)?, their_key, points)
            }
            (Phase::Undecided, Frame::Confirm) => self.confirmed(key, contact.ok_or(Violation)?),
            (Phase::Undecided | Phase::Renewing(_), Frame::PreKeyMessage { identity, pre_key }) => {
                self.welcomed(key, contact.ok_or(Violation)?, identity, &pre_key)
            }
            (Phase::Undecided, Frame::Decline) => self.declined(key, contact.ok_or(Violation)?),
            (
                Phase::AwaitResume | Phase::AwaitResumed | Phase::Undecided,
                Frame::Resume { generation: _, has_session, received, last, read },
            ) => {
                let session = has_session.then_some((received, last));
                self.resumed(key, contact.ok_or(Violation)?, session, read)
            }
            (
                Phase::AwaitResumed | Phase::Undecided | Phase::Open | Phase::Renewing(_),
                Frame::SessionReset { identity, one_time_key },
            ) => self.renewed(key, contact.ok_or(Violation)?, identity, one_time_key),
            // What was said before the other heard of the new session.
            (
                Phase::Renewing(_),
                Frame::Envelope { .. } | Frame::Ack { .. } | Frame::Read(_) | Frame::Typing(_) | Frame::Resume { .. },
            ) => Ok(()),
            // Said whenever it is due, so that it may cross with what begins a session.
            (phase, Frame::Points(points)) if phase.is_of_contacts() => {
                self.points_changed(key, contact.ok_or(Violation)?, points)
            }
            (phase, Frame::Fallback(introduction)) if phase.is_of_contacts() => match &mut channel.fallback {
                Fallback::Given(given) => {
                    *given = Some(introduction);
                    Ok(())
                }
                Fallback::Keep { .. } => Err(Violation),
            },
            (phase, Frame::PointsKept) if phase.is_of_contacts() => self.points_kept(key, contact.ok_or(Violation)?),
            (Phase::Open, Frame::Envelope { sequence, id, sealed }) => {
                self.envelope(key, contact.ok_or(Violation)?, sequence, id, &sealed)
            }
            (Phase::Open, Frame::Ack { received }) => {
                let contact = contact.ok_or(Violation)?;
                self.acknowledged(key, contact, received)?;
                self.transmit(contact);
                Ok(())
            }
            (Phase::Open, Frame::Read(id)) => {
                let contact = contact.and_then(|id| self.contacts.get_mut(&id)).ok_or(Violation)?;
                contact.was_read(id, &mut self.store);
                Ok(())
            }
            (Phase::Open, Frame::Typing(typing)) => {
                self.is_typing(contact.ok_or(Violation)?, typing);
                Ok(())
            }
            _ => Err(Violation),
        }
    }

    // ---- the greeting ----

    /// What has come is stored first; then this is said, and the next phase begins.
    pub(super) fn store_and_say(&mut self, key: CircuitId, say: Frame, next: Phase) {
        if let Some(channel) = self.channel(key) {
            channel.phase = Phase::Storing { say, next: Box::new(next) };
            self.store.then(AfterPersist::Greeted(key));
        }
    }

    /// What a greeting had to store is on disk.
    pub(super) fn greeted(&mut self, key: CircuitId) {
        let Some(channel) = self.channel(key) else { return };
        match core::mem::replace(&mut channel.phase, Phase::AwaitResumed) {
            Phase::Storing { say, next } => {
                channel.phase = *next;
                let (known, contact) = (channel.phase.is_greeted(), channel.contact);
                self.send_frame(key, &say);
                if let Some(id) = contact
                    && known
                {
                    self.carried(key, id);
                }
            }
            other => channel.phase = other,
        }
    }

    /// Says how far this side has come.
    pub(super) fn say_resume(&mut self, key: CircuitId, id: ContactId) {
        let receipts = !self.profile.no_receipts;
        let Some(generation) = self.channel(key).map(|channel| channel.generation) else { return };
        let Some(contact) = self.contacts.get(&id) else { return };
        let (received, last) = contact.stored;
        let frame = Frame::Resume {
            generation,
            has_session: contact.met().is_some(),
            received,
            last,
            read: contact.record.read.filter(|_| receipts),
        };
        self.send_frame(key, &frame);
    }

    /// The other has said how far it has come: with its session, what it has stored in it.
    fn resumed(
        &mut self,
        key: CircuitId,
        id: ContactId,
        session: Option<(u64, Option<MessageId>)>,
        read: Option<MessageId>,
    ) -> Result<(), Violation> {
        let Some(channel) = self.channel(key) else { return Ok(()) };
        if !matches!(channel.phase, Phase::AwaitResumed) {
            self.say_resume(key, id);
        }
        self.confirm(id);
        let contact = self.contacts.get_mut(&id).ok_or(Violation)?;
        let (Some(met), Some((received, last))) = (contact.met_mut(), session) else {
            self.set_phase(key, Phase::Undecided);
            self.carried(key, id);
            // Whoever has none waits: for the welcome, if there was none yet, or else for the other to begin anew.
            let is_met = self.contacts.get(&id).is_some_and(|contact| contact.met().is_some());
            return if is_met { self.mend(key, id) } else { Ok(()) };
        };
        if met.welcome.take().is_some() {
            contact.put(&mut self.store);
        }
        let is_ours = contact.has_sent(received, last);
        self.set_phase(key, Phase::Open);
        if let Some(channel) = self.channel(key) {
            channel.next_to_send = received;
        }
        self.carried(key, id);
        if !is_ours {
            return self.mend(key, id);
        }
        self.acknowledged(key, id, received)?;
        if let (Some(read), Some(contact)) = (read, self.contacts.get_mut(&id)) {
            contact.was_read(read, &mut self.store);
        }
        self.transmit(id);
        Ok(())
    }

    fn set_phase(&mut self, key: CircuitId, phase: Phase) {
        if let Some(channel) = self.channel(key) {
            channel.phase = phase;
        }
    }

    /// From now on this circuit carries the contact.
    fn carried(&mut self, key: CircuitId, id: ContactId) {
        let now = self.now.instant;
        self.circuits.settled(key);
        let Some(channel) = self.channels.get_mut(&key) else { return };
        channel.ping_at = now + PING_INTERVAL;
        let (is_open, generation, side) = (matches!(channel.phase, Phase::Open), channel.generation, channel.side);
        let Some(contact) = self.contacts.get_mut(&id) else { return };
        let before = contact.channel.replace(key).filter(|before| *before != key);
        contact.search = Search::new(now);
        if let Some(relationship) = &mut contact.record.relationship
            && relationship.generation < generation
        {
            relationship.generation = generation;
            contact.put(&mut self.store);
        }
        let state = if is_open { ContactState::Connected } else { contact.state_without(contact.state) };
        if contact.state != state {
            contact.state = state;
            if !matches!(contact.record.stage, Stage::RequestReceived(_)) {
                let event = contact.event();
                self.store.then(AfterPersist::Tell(event));
            }
        }
        if let Some(before) = before {
            self.drop_circuit(before);
        }
        if side == RendezvousRole::Service {
            // It is the other who waits for this circuit's end.
            self.stop_looking_for(id);
        }
        self.send_points(id);
        if !is_open {
            self.decided(id);
        }
    }

    // ---- sessions that are out of step ----

    /// The two do not share a session any more, or do not agree on what was said in it: begins a new one.
    fn mend(&mut self, key: CircuitId, id: ContactId) -> Result<(), Violation> {
        let has_welcome = |contact: &Contact| contact.met().is_some_and(|met| met.welcome.is_some());
        if self.contacts.get(&id).is_some_and(has_welcome) {
            // It is on its way, and begins one.
            return Ok(());
        }
        let Some(channel) = self.channel(key) else { return Ok(()) };
        if channel.secrets.is_none() || matches!(channel.phase, Phase::Renewing(_)) {
            return Err(Violation);
        }
        let account = OlmAccount::generate();
        let frame = Frame::SessionReset { identity: account.identity(), one_time_key: account.one_time_key() };
        channel.phase = Phase::Renewing(Box::new(account));
        self.send_frame(key, &frame);
        Ok(())
    }

    /// The other has begun a new session.
    fn renewed(
        &mut self,
        key: CircuitId,
        id: ContactId,
        identity: [u8; 32],
        one_time_key: [u8; 32],
    ) -> Result<(), Violation> {
        let contact = self.contacts.get_mut(&id).ok_or(Violation)?;
        let role = contact.relationship().ok_or(Violation)?.role;
        let Some(channel) = self.channels.get_mut(&key) else {
            return Ok(());
        };
        if matches!(channel.phase, Phase::Renewing(_)) && role == RelationshipRole::Inviter {
            // Both have: ours counts.
            return Ok(());
        }
        let side = channel.side;
        let (send, receive) = channel.secrets.take().ok_or(Violation)?.chains(side);
        if let Stage::RequestReceived(asked) = &mut contact.record.stage {
            // Not decided yet: what begins later begins with these.
            (asked.identity, asked.one_time_key, asked.send, asked.receive) = (identity, one_time_key, send, receive);
            contact.put(&mut self.store);
            return Ok(());
        }
        let account = OlmAccount::generate();
        let (session, pre_key) = account.begin(identity, one_time_key, b"").map_err(|_| Violation)?;
        contact.begin(Established::new(session, send, receive, None), &mut self.store);
        self.store_and_say(key, Frame::PreKeyMessage { identity: account.identity(), pre_key }, Phase::AwaitResume);
        Ok(())
    }

    /// What begins a session has come, the first one or a new one.
    fn welcomed(&mut self, key: CircuitId, id: ContactId, identity: [u8; 32], pre_key: &[u8]) -> Result<(), Violation> {
        let contact = self.contacts.get_mut(&id).ok_or(Violation)?;
        let Some(channel) = self.channels.get_mut(&key) else {
            return Ok(());
        };
        let side = channel.side;
        let (session, send, receive) = match (&mut channel.phase, &mut contact.record.stage) {
            (Phase::Renewing(account), Stage::Established(_) | Stage::RequestSent(_)) => {
                let (session, _) = account.accept(identity, pre_key).map_err(|_| Violation)?;
                let (send, receive) = channel.secrets.take().ok_or(Violation)?.chains(side);
                (session, send, receive)
            }
            (Phase::Undecided, Stage::RequestSent(requested)) => {
                let (session, _) = requested.account.accept(identity, pre_key).map_err(|_| Violation)?;
                (session, requested.send.clone(), requested.receive.clone())
            }
            _ => return Err(Violation),
        };
        contact.begin(Established::new(session, send, receive, None), &mut self.store);
        let generation = channel.generation;
        let resume = Frame::Resume { generation, has_session: true, received: 0, last: None, read: None };
        self.store_and_say(key, resume, Phase::AwaitResumed);
        Ok(())
    }

    // ---- where to find each other ----

    fn points_changed(&mut self, key: CircuitId, id: ContactId, points: Vec<IntroPoint>) -> Result<(), Violation> {
        let contact = self.contacts.get_mut(&id).ok_or(Violation)?;
        let relationship = contact.record.relationship.as_mut().ok_or(Violation)?;
        if relationship.their_points != points {
            relationship.their_points = points;
            contact.put(&mut self.store);
        }
        self.store.then(AfterPersist::PointsKept(key));
        Ok(())
    }

    fn points_kept(&mut self, key: CircuitId, id: ContactId) -> Result<(), Violation> {
        let offered = self.channel(key).and_then(|channel| channel.pending_points.take()).ok_or(Violation)?;
        let contact = self.contacts.get_mut(&id).ok_or(Violation)?;
        if let Some(relationship) = &mut contact.record.relationship {
            relationship.acknowledged = offered;
            contact.put(&mut self.store);
        }
        self.pool_changed();
        Ok(())
    }

    // ---- messages ----

    fn envelope(
        &mut self,
        key: CircuitId,
        id: ContactId,
        sequence: u64,
        message: MessageId,
        sealed: &[u8],
    ) -> Result<(), Violation> {
        let at = self.now.unix;
        let contact = self.contacts.get_mut(&id).ok_or(Violation)?;
        match contact.receive(sequence, message, sealed, at, &mut self.store) {
            Ok(Arrival::New) => {
                // That is what they wrote.
                self.stopped_typing(id);
                Ok(())
            }
            Ok(Arrival::Repeated) => {
                let (received, _) = contact.stored;
                self.send_frame(key, &Frame::Ack { received });
                Ok(())
            }
            // Whoever waits for one that the other has sent long ago has forgotten some.
            Err(ReceiveError::Order | ReceiveError::Envelope | ReceiveError::Session(_)) => self.mend(key, id),
        }
    }

    fn acknowledged(&mut self, key: CircuitId, id: ContactId, received: u64) -> Result<(), Violation> {
        let contact = self.contacts.get_mut(&id).ok_or(Violation)?;
        // More than was ever sent, as far as we know: what we know is not the newest.
        if contact.acknowledged(received, &mut self.store) { Ok(()) } else { self.mend(key, id) }
    }

    /// A contact has begun or stopped writing.
    fn is_typing(&mut self, id: ContactId, typing: bool) {
        let now = self.now.instant;
        let Some(contact) = self.contacts.get_mut(&id) else { return };
        let rate = contact.typing.rate.get_or_insert_with(|| TokenBucket::new(TYPING_RATE.0, TYPING_RATE.1, now));
        if !rate.take(now) {
            return;
        }
        let was = contact.typing.theirs.is_some();
        contact.typing.theirs = typing.then_some(now + TYPING_TIME);
        if was != typing {
            self.event(Event::Typing { contact: id, typing });
        }
    }

    /// The person has begun or stopped writing, or goes on.
    pub(super) fn say_typing(&mut self, id: ContactId, typing: bool) {
        let Some(contact) = self.contacts.get_mut(&id) else { return };
        if !typing && !contact.typing.ours {
            return;
        }
        contact.typing.ours = typing;
        if let Some(key) = contact.channel
            && matches!(self.channel(key), Some(PeerChannel { phase: Phase::Open, .. }))
        {
            self.send_frame(key, &Frame::Typing(typing));
        }
    }

    /// The person has read all that has come from a contact.
    pub(super) fn read(&mut self, id: ContactId) {
        if self.profile.no_receipts {
            // Nor is it told later, when receipts are on again.
            return;
        }
        let Some(contact) = self.contacts.get_mut(&id) else { return };
        let Some(newest) = contact.newest.filter(|newest| contact.record.read != Some(*newest)) else { return };
        contact.record.read = Some(newest);
        contact.put(&mut self.store);
        if let Some(key) = contact.channel
            && matches!(self.channel(key), Some(PeerChannel { phase: Phase::Open, .. }))
        {
            self.send_frame(key, &Frame::Read(newest));
        }
    }

    /// Messages of the contact below `received` are on disk, and `last` is the last of them: says so to the contact.
    pub(super) fn acknowledge(&mut self, id: ContactId, received: u64, last: MessageId) {
        let Some(contact) = self.contacts.get_mut(&id) else { return };
        if received > contact.stored.0 {
            contact.stored = (received, Some(last));
        }
        let (received, _) = contact.stored;
        if let Some(key) = contact.channel
            && matches!(self.channel(key), Some(PeerChannel { phase: Phase::Open, .. }))
        {
            self.send_frame(key, &Frame::Ack { received });
        }
    }

    /// Sends what waits for the contact, as far as it is on disk and the window allows.
    pub(super) fn transmit(&mut self, id: ContactId) {
        let Some(key) = self.contacts.get(&id).and_then(|contact| contact.channel) else { return };
        loop {
            let Some(PeerChannel { phase: Phase::Open, next_to_send, .. }) = self.channel(key) else { return };
            let next = *next_to_send;
            let Some(contact) = self.contacts.get_mut(&id) else { return };
            let mut in_flight = 0;
            let mut envelope = None;
            for outgoing in &mut contact.outbox {
                let Some(sealed) = &outgoing.sealed else { break };
                if sealed.sequence < next {
                    in_flight += sealed.bytes.len();
                    continue;
                }
                let fits = in_flight == 0 || in_flight + sealed.bytes.len() <= MAX_IN_FLIGHT;
                if sealed.sequence >= contact.durable || !fits {
                    break;
                }
                let (sequence, id) = (sealed.sequence, outgoing.id);
                envelope = Some((sequence, Frame::Envelope { sequence, id, sealed: sealed.bytes.clone() }));
                if outgoing.state == DeliveryState::Queued {
                    outgoing.state = DeliveryState::Sent;
                    outgoing.put(contact.id, &mut self.store);
                    let event = outgoing.event(contact.id);
                    self.store.then(AfterPersist::Tell(event));
                }
                break;
            }
            let Some((sequence, frame)) = envelope else { return };
            if let Some(channel) = self.channel(key) {
                channel.next_to_send = sequence + 1;
            }
            self.send_frame(key, &frame);
        }
    }

    /// Pings whoever is due, and gives up whoever did not answer.
    pub(super) fn check_channels(&mut self) {
        let now = self.now.instant;
        let mut due = Vec::new();
        let mut dead = Vec::new();
        for (key, channel) in &mut self.channels {
            // Until a greeting is over it has its own time limit.
            let is_greeted = !self.circuits.has_deadline(*key);
            if channel.unanswered.is_some_and(|since| since + channel.patience <= now) {
                dead.push(*key);
            } else if channel.ping_at <= now {
                channel.ping_at = now + PING_INTERVAL;
                if is_greeted && channel.unanswered.is_none() {
                    channel.unanswered = Some(now);
                    channel.pings = channel.pings.wrapping_add(1);
                    due.push((*key, channel.pings));
                }
            }
        }
        for (key, number) in due {
            self.send_frame(key, &Frame::Ping(number));
        }
        for key in dead {
            self.close_circuit(key, DestroyReason::Timeout);
        }
        let silent = |contact: &Contact| contact.typing.theirs.is_some_and(|until| until <= now);
        let silent: Vec<_> =
            self.contacts.values().filter(|contact| silent(contact)).map(|contact| contact.id).collect();
        silent.into_iter().for_each(|id| self.stopped_typing(id));
    }

    /// A contact does not write any more, or nobody can tell.
    fn stopped_typing(&mut self, id: ContactId) {
        if let Some(contact) = self.contacts.get_mut(&id)
            && contact.typing.theirs.take().is_some()
        {
            self.event(Event::Typing { contact: id, typing: false });
        }
    }

    /// A joined circuit is gone.
    pub(super) fn channel_lost(&mut self, key: CircuitId, channel: &PeerChannel) {
        let Some(id) = channel.contact else { return };
        self.stopped_typing(id);
        if self.contacts.get(&id).is_some_and(|contact| contact.channel == Some(key)) {
            self.contact_lost(id);
            self.fall_back(id, channel);
        } else if channel.side == RendezvousRole::Client {
            // Whoever came where this client waited has not become the contact's circuit.
            self.fallback_lost(id);
        }
    }
}
