//! What two joined clients say: the greeting that makes or finds a contact, then messages.

use std::time::Duration;

use super::Client;
use super::api::{ContactId, ContactState, DeliveryState};
use super::circuits::{CircuitKey, FirstSecrets, Managed, Phase, Talk, Task};
use super::contacts::{Arrival, Contact, ContactRecord, KeyBytes, Met, Part, Ranking, Search, Stage, unique_name};
use super::store::{Key, Then};
use crate::cell::DestroyReason;
use crate::cell::message::StreamId;
use crate::circuit::JOINED_STREAM;
use crate::contact::invite::Invite;
use crate::crypto::keys::OnionSecret;
use crate::messaging::frame::Frame;
use crate::messaging::session::OlmAccount;
use crate::time::Instant;

/// How often one makes sure that the other is there.
const PING_INTERVAL: Duration = Duration::from_millis(1500);

/// How long the other may leave a ping without an answer.
pub(super) const PING_TIME: Duration = Duration::from_millis(4500);

/// Sealed bytes that may be under way to a contact without an acknowledgement: well below what relays queue for a circuit.
const MAX_IN_FLIGHT: usize = 96 * 1024;

/// Bytes that may wait for a contact who does not read, but goes on asking.
const MAX_WAITING: usize = 512 * 1024;

/// How far a host lets a visitor's generation run ahead of its own.
const MAX_GENERATION_STEP: u64 = 2;

impl Talk {
    pub(super) fn poll_timeout(&self) -> Instant {
        match self.unanswered {
            Some(since) => self.ping_at.min(since + self.patience),
            None => self.ping_at,
        }
    }
}

/// The contact broke the protocol: this circuit ends.
struct Violation;

impl Client {
    /// Takes what the other client sent.
    pub(super) fn talk_data(&mut self, key: CircuitKey, stream: StreamId, data: &[u8]) {
        let Some(talk) = self.talk(key) else { return };
        talk.unanswered = None;
        talk.reader.push(data);
        loop {
            let Some(talk) = self.talk(key) else { return };
            let outcome = match talk.reader.next() {
                Ok(None) => return self.consumed(key, stream),
                Ok(Some(frame)) => self.frame(key, frame),
                Err(_) => Err(Violation),
            };
            if outcome.is_err() {
                return self.close_circuit(key, Some(DestroyReason::Protocol));
            }
        }
    }

    fn talk(&mut self, key: CircuitKey) -> Option<&mut Talk> {
        match self.circuits.get_mut(&key) {
            Some(Managed { task: Task::Talk(talk), .. }) => Some(talk),
            _ => None,
        }
    }

    fn send_frame(&mut self, key: CircuitKey, frame: &Frame) {
        let mut bytes = Vec::new();
        frame.encode(&mut bytes);
        let Some(managed) = self.circuits.get_mut(&key) else { return };
        let mut cells = Vec::new();
        managed.circuit.write(JOINED_STREAM, &bytes, &mut cells);
        let (link, waiting) = (managed.link, managed.circuit.waiting(JOINED_STREAM));
        self.send_cells(link, &cells);
        if waiting > MAX_WAITING {
            self.close_circuit(key, Some(DestroyReason::ResourceLimit));
        }
    }

    /// What a cell of a stream brought is read: the other end may send more.
    pub(super) fn consumed(&mut self, key: CircuitKey, stream: StreamId) {
        let Some(managed) = self.circuits.get_mut(&key) else { return };
        let mut cells = Vec::new();
        managed.circuit.consumed(stream, &mut cells);
        let link = managed.link;
        self.send_cells(link, &cells);
    }

    fn frame(&mut self, key: CircuitKey, frame: Frame) -> Result<(), Violation> {
        let Some(talk) = self.talk(key) else { return Ok(()) };
        let contact = talk.contact;
        match (&mut talk.phase, frame) {
            (_, Frame::Ping(number)) => {
                self.send_frame(key, &Frame::Pong(number));
                Ok(())
            }
            (_, Frame::Pong(_)) => Ok(()),
            (Phase::AwaitIntroduce { .. }, Frame::Introduce { identity, one_time_key, name }) => {
                let Phase::AwaitIntroduce { invite, secrets } = core::mem::replace(&mut talk.phase, Phase::AwaitResume)
                else {
                    return Err(Violation);
                };
                self.introduced(key, invite, secrets, identity, one_time_key, &name)
            }
            (Phase::AwaitWelcome { .. }, Frame::Welcome { identity, meeting_key, pre_key }) => {
                let Phase::AwaitWelcome { secrets } = core::mem::replace(&mut talk.phase, Phase::Storing) else {
                    return Err(Violation);
                };
                self.welcomed(key, contact.ok_or(Violation)?, secrets, identity, meeting_key, &pre_key)
            }
            (Phase::AwaitResume, Frame::Resume { generation, received }) => {
                talk.phase = Phase::Resuming;
                self.resume(key, contact.ok_or(Violation)?, generation, received)
            }
            (Phase::AwaitResumed, Frame::Resumed { received }) => {
                self.acknowledged(contact.ok_or(Violation)?, received)?;
                self.opened(key, contact.ok_or(Violation)?, received);
                Ok(())
            }
            (Phase::Open, Frame::Envelope { sequence, id, sealed }) => {
                let at = self.now.unix;
                let contact = contact.and_then(|id| self.contacts.get_mut(&id)).ok_or(Violation)?;
                match contact.receive(sequence, id, &sealed, at, &mut self.store).map_err(|_| Violation)? {
                    Arrival::New => {}
                    Arrival::Repeated => {
                        let received = contact.stored;
                        self.send_frame(key, &Frame::Ack { received });
                    }
                }
                Ok(())
            }
            (Phase::Open, Frame::Ack { received }) => {
                let contact = contact.ok_or(Violation)?;
                self.acknowledged(contact, received)?;
                self.transmit(contact);
                Ok(())
            }
            _ => Err(Violation),
        }
    }

    /// Visitor: says who we are to the maker of an invite.
    pub(super) fn introduce(&mut self, key: CircuitKey, id: ContactId) {
        let Some(contact) = self.contacts.get_mut(&id) else { return };
        let Stage::Invited(invited) = &mut contact.record.stage else { return };
        let frame = Frame::Introduce {
            identity: invited.account.identity(),
            one_time_key: invited.account.one_time_key(),
            name: invited.introduce_as.clone(),
        };
        self.send_frame(key, &frame);
    }

    /// Host: somebody came with an invite. Makes them a contact, or begins anew with one who came before.
    fn introduced(
        &mut self,
        key: CircuitKey,
        invite: u64,
        secrets: FirstSecrets,
        identity: [u8; 32],
        one_time_key: [u8; 32],
        name: &str,
    ) -> Result<(), Violation> {
        let came_before = |contact: &&Contact| {
            let part = contact.met().map(|met| &met.part);
            matches!(part, Some(Part::Host { visitor, invite: Some(by), .. }) if *visitor == identity && *by == invite)
        };
        let known = self.contacts.values().find(came_before).map(|contact| contact.id);
        let used = |contact: &Contact| {
            let part = contact.met().map(|met| &met.part);
            matches!(part, Some(Part::Host { invite: Some(by), .. }) if *by == invite)
        };
        // The invite is good for one person; until that one has confirmed, it stays open for that one only.
        if !self.invites.contains_key(&invite) || (known.is_none() && self.contacts.values().any(used)) {
            return Err(Violation);
        }
        let account = OlmAccount::generate();
        let (session, pre_key) = account.begin(identity, one_time_key, b"").map_err(|_| Violation)?;
        let meeting_key = OnionSecret::generate(&mut self.rng);
        let met = Met {
            root: secrets.root,
            generation: 1,
            part: Part::Host { key: KeyBytes::of(&meeting_key), visitor: identity, invite: Some(invite) },
            session,
            send: secrets.to_visitor,
            receive: secrets.to_host,
            ranking: Ranking::default(),
        };
        let id = match known.and_then(|id| self.contacts.get_mut(&id)) {
            Some(contact) => {
                contact.restart(met);
                contact.id
            }
            None => {
                let names = self.contacts.values().map(|contact| contact.record.name.as_str());
                let name = unique_name(name, names);
                let id = ContactId(self.profile.next_contact);
                self.profile.next_contact += 1;
                self.put_profile();
                let record = ContactRecord { name, next_message: 0, stage: Stage::Met(Box::new(met)) };
                self.contacts.insert(id, Contact::new(id, record, self.now.instant));
                id
            }
        };
        self.drop_earlier_talks(key, invite, id);
        let frame =
            Frame::Welcome { identity: account.identity(), meeting_key: *meeting_key.public().as_bytes(), pre_key };
        if let Some(talk) = self.talk(key) {
            talk.contact = Some(id);
            talk.phase = Phase::Welcoming { welcome: frame };
        }
        if let Some(contact) = self.contacts.get_mut(&id) {
            contact.seal(&mut self.store);
            contact.put(&mut self.store);
            if known.is_none() {
                let event = contact.event();
                self.store.then(Then::Tell(event));
            }
        }
        self.store.then(Then::Greeted(key));
        Ok(())
    }

    /// Host: whoever was admitted before with the same invite comes too late, and what was said with earlier secrets is void.
    fn drop_earlier_talks(&mut self, keep: CircuitKey, invite: u64, contact: ContactId) {
        let is_earlier = |talk: &Talk| match talk.phase {
            Phase::AwaitIntroduce { invite: by, .. } => by == invite,
            _ => talk.contact == Some(contact),
        };
        let earlier: Vec<_> = self
            .circuits
            .iter()
            .filter(|(key, managed)| **key != keep && matches!(&managed.task, Task::Talk(talk) if is_earlier(talk)))
            .map(|(key, _)| *key)
            .collect();
        for key in earlier {
            self.drop_circuit(key);
        }
    }

    /// Visitor: the maker of the invite has taken us as a contact.
    fn welcomed(
        &mut self,
        key: CircuitKey,
        id: ContactId,
        secrets: FirstSecrets,
        identity: [u8; 32],
        meeting_key: [u8; 32],
        pre_key: &[u8],
    ) -> Result<(), Violation> {
        let contact = self.contacts.get_mut(&id).ok_or(Violation)?;
        let Stage::Invited(invited) = &mut contact.record.stage else { return Err(Violation) };
        let (session, _) = invited.account.accept(identity, pre_key).map_err(|_| Violation)?;
        let invite = Invite::parse(&invited.invite).map_err(|_| Violation)?.key;
        contact.record.stage = Stage::Met(Box::new(Met {
            root: secrets.root,
            generation: 1,
            part: Part::Visitor { key: meeting_key, invite },
            session,
            send: secrets.to_host,
            receive: secrets.to_visitor,
            ranking: Ranking::default(),
        }));
        contact.seal(&mut self.store);
        contact.put(&mut self.store);
        self.store.then(Then::Greeted(key));
        Ok(())
    }

    /// Host: the visitor knows where to come next time, and how much it has.
    fn resume(&mut self, key: CircuitKey, id: ContactId, generation: u64, received: u64) -> Result<(), Violation> {
        self.acknowledged(id, received)?;
        let contact = self.contacts.get_mut(&id).ok_or(Violation)?;
        let met = contact.met_mut().ok_or(Violation)?;
        if generation > met.generation + MAX_GENERATION_STEP {
            return Err(Violation);
        }
        met.generation = met.generation.max(generation);
        let finished = match &mut met.part {
            Part::Host { invite, .. } => invite.take(),
            Part::Visitor { .. } => return Err(Violation),
        };
        contact.put(&mut self.store);
        if let Some(talk) = self.talk(key) {
            talk.next_to_send = received;
        }
        self.store.then(Then::Greeted(key));
        if let Some(invite) = finished {
            self.invites.remove(&invite);
            self.store.delete(Key::Invite(invite).to_string());
            self.stop_waiting_for_invite(invite);
        }
        Ok(())
    }

    fn stop_waiting_for_invite(&mut self, invite: u64) {
        use super::circuits::{Place, Wait};
        let waits: Vec<_> = self
            .circuits
            .iter()
            .filter(|(_, managed)| {
                matches!(&managed.task, Task::Wait(Wait { place: Place::Invite { invite: id, .. }, .. }) if *id == invite)
            })
            .map(|(key, _)| *key)
            .collect();
        for key in waits {
            self.drop_circuit(key);
        }
    }

    /// What a greeting had to store is on disk.
    pub(super) fn greeted(&mut self, key: CircuitKey) {
        let Some(talk) = self.talk(key) else { return };
        let Some(id) = talk.contact else { return };
        let next_to_send = talk.next_to_send;
        match core::mem::replace(&mut talk.phase, Phase::AwaitResumed) {
            Phase::Welcoming { welcome } => {
                talk.phase = Phase::AwaitResume;
                self.send_frame(key, &welcome);
            }
            Phase::Storing => {
                let Some(contact) = self.contacts.get(&id) else { return };
                let received = contact.stored;
                let Some(met) = contact.met() else { return };
                let frame = Frame::Resume { generation: met.generation, received };
                self.send_frame(key, &frame);
            }
            Phase::Resuming => {
                let Some(received) = self.contacts.get(&id).map(|contact| contact.stored) else { return };
                self.send_frame(key, &Frame::Resumed { received });
                self.opened(key, id, next_to_send);
            }
            other => talk.phase = other,
        }
    }

    /// Both know all that they need: the conversation goes on over this circuit.
    fn opened(&mut self, key: CircuitKey, id: ContactId, received: u64) {
        let now = self.now.instant;
        if let Some(managed) = self.circuits.get_mut(&key) {
            managed.deadline = None;
            if let Task::Talk(talk) = &mut managed.task {
                talk.phase = Phase::Open;
                talk.next_to_send = received;
                talk.ping_at = now + PING_INTERVAL;
            }
        }
        let Some(contact) = self.contacts.get_mut(&id) else { return };
        let before = contact.talk.replace(key).filter(|before| *before != key);
        contact.search = Search::new(now);
        if contact.state != ContactState::Connected {
            contact.state = ContactState::Connected;
            let event = contact.event();
            self.event(event);
        }
        if let Some(before) = before {
            self.drop_circuit(before);
        }
        self.transmit(id);
    }

    fn acknowledged(&mut self, id: ContactId, received: u64) -> Result<(), Violation> {
        let contact = self.contacts.get_mut(&id).ok_or(Violation)?;
        if contact.acknowledged(received, &mut self.store) { Ok(()) } else { Err(Violation) }
    }

    /// Messages of the contact below `stored` are on disk: says so to the contact.
    pub(super) fn acknowledge(&mut self, id: ContactId, stored: u64) {
        let Some(contact) = self.contacts.get_mut(&id) else { return };
        contact.stored = contact.stored.max(stored);
        let received = contact.stored;
        if let Some(key) = contact.talk
            && matches!(self.talk(key), Some(Talk { phase: Phase::Open, .. }))
        {
            self.send_frame(key, &Frame::Ack { received });
        }
    }

    /// Sends what waits for the contact, as far as it is on disk and the window allows.
    pub(super) fn transmit(&mut self, id: ContactId) {
        let Some(key) = self.contacts.get(&id).and_then(|contact| contact.talk) else { return };
        loop {
            let Some(Talk { phase: Phase::Open, next_to_send, .. }) = self.talk(key) else { return };
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
                    self.store.then(Then::Tell(event));
                }
                break;
            }
            let Some((sequence, frame)) = envelope else { return };
            if let Some(talk) = self.talk(key) {
                talk.next_to_send = sequence + 1;
            }
            self.send_frame(key, &frame);
        }
    }

    /// Pings whoever is due, and gives up whoever did not answer.
    pub(super) fn check_talks(&mut self) {
        let now = self.now.instant;
        let mut due = Vec::new();
        let mut dead = Vec::new();
        for (key, managed) in &mut self.circuits {
            let Task::Talk(talk) = &mut managed.task else { continue };
            if talk.unanswered.is_some_and(|since| since + talk.patience <= now) {
                dead.push(*key);
            } else if talk.ping_at <= now {
                talk.ping_at = now + PING_INTERVAL;
                if matches!(talk.phase, Phase::Open) && talk.unanswered.is_none() {
                    talk.unanswered = Some(now);
                    talk.pings = talk.pings.wrapping_add(1);
                    due.push((*key, talk.pings));
                }
            }
        }
        for (key, number) in due {
            self.send_frame(key, &Frame::Ping(number));
        }
        for key in dead {
            self.close_circuit(key, Some(DestroyReason::Timeout));
        }
    }

    /// A joined circuit is gone.
    pub(super) fn talk_lost(&mut self, key: CircuitKey, talk: &Talk) {
        let Some(id) = talk.contact else { return };
        if self.contacts.get(&id).is_some_and(|contact| contact.talk == Some(key)) {
            self.contact_lost(id);
        }
    }
}
