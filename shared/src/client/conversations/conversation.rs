//! The messages of one conversation, and its part of the session.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::FollowUp;
use super::typing::Typing;
use crate::client::api::{ContactId, DeliveryState, Event, MessageId};
use crate::client::contacts::Contact;
use crate::client::store::{AfterPersist, Direction, Key, MessageRecord, Sealed, Store};
use crate::messaging::content::{content_of, text_of};
use crate::messaging::session::SessionError;
use crate::time::UnixTime;

/// Delivered messages that may still be reported as read.
const MAX_UNREAD: usize = 500;

/// Stands for a message of a kind that only later versions know.
const UNREADABLE: &str = "[This message needs a newer version of Allium.]";

/// A conversation in memory.
#[derive(Default)]
pub(super) struct Conversation {
    /// The person's messages that the contact has not acknowledged, in order.
    pub(super) outbox: VecDeque<Outgoing>,
    /// The latest that the contact has acknowledged and not read.
    unread: VecDeque<Outgoing>,
    /// The last that the contact has acknowledged.
    delivered: Option<MessageId>,
    /// Messages that the person has not seen, with the numbers of their records.
    pub(super) unshown: BTreeMap<u64, MessageRecord>,
    /// All that have come: whoever lost the acknowledgement sends them again, in a new session too.
    known: BTreeSet<MessageId>,
    /// The newest that has come.
    pub(super) newest: Option<MessageId>,
    /// Sealed messages below this sequence number are on disk, and may be sent.
    pub(super) durable: u64,
    /// The sequence number of the next message to send, for the channel that was opened last.
    pub(super) next_to_send: u64,
    pub(super) typing: Typing,
}

/// One of the person's messages on its way.
pub(super) struct Outgoing {
    pub(super) number: u64,
    pub(super) id: MessageId,
    pub(super) text: String,
    pub(super) at: UnixTime,
    pub(super) state: DeliveryState,
    pub(super) sealed: Option<Sealed>,
}

/// What came.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// A message that was not there yet.
    New,
    /// One that was stored before: its acknowledgement got lost.
    Repeated,
}

/// Why a message can't be taken in: the two are out of step.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ReceiveError {
    /// It is not the next one.
    Order,
    /// The envelope can't be opened.
    Envelope,
    /// The session can't decrypt it.
    Session(SessionError),
}

impl Conversation {
    pub(super) fn new(contact: &Contact) -> Self {
        let durable = contact.established().map_or(0, |established| established.send.next());
        Self { durable, ..Self::default() }
    }

    /// Takes a message that an earlier run has stored; in the order of their numbers.
    pub(super) fn restore(&mut self, number: u64, record: MessageRecord) {
        match record.direction {
            Direction::In { shown } => {
                self.known.insert(record.id);
                self.newest = Some(record.id);
                if !shown {
                    self.unshown.insert(number, record);
                }
            }
            Direction::Out { state, sealed } => {
                let MessageRecord { id, text, at, .. } = record;
                let outgoing = Outgoing { number, id, text, at, state, sealed };
                match state {
                    DeliveryState::Queued | DeliveryState::Sent => self.outbox.push_back(outgoing),
                    DeliveryState::Delivered => self.remember(outgoing),
                    DeliveryState::Read => self.delivered = Some(outgoing.id),
                }
            }
        }
    }

    /// A session has begun: everything that waits is encrypted anew.
    pub(super) fn begin(&mut self, contact: &mut Contact, after: &mut AfterPersist<FollowUp>, store: &mut Store) {
        self.durable = 0;
        for outgoing in &mut self.outbox {
            outgoing.sealed = None;
        }
        self.seal(contact, after, store);
        contact.put(store);
    }

    // ---- the person's messages ----

    /// Takes a message into the outbox.
    pub(super) fn queue(
        &mut self,
        id: MessageId,
        text: String,
        at: UnixTime,
        contact: &mut Contact,
        after: &mut AfterPersist<FollowUp>,
        store: &mut Store,
    ) {
        let number = contact.record.next_message;
        let outgoing = Outgoing { number, id, text, at, state: DeliveryState::Queued, sealed: None };
        contact.record.next_message += 1;
        let event = outgoing.event(contact.id);
        outgoing.put(contact.id, store);
        self.outbox.push_back(outgoing);
        self.seal(contact, after, store);
        contact.put(store);
        store.tell(event);
    }

    /// Encrypts all messages that are not yet, if there is a session to do it with; they may be sent once that is on disk.
    fn seal(&mut self, contact: &mut Contact, after: &mut AfterPersist<FollowUp>, store: &mut Store) {
        let (id, session) = (contact.id, contact.session);
        let Some(established) = contact.established_mut() else { return };
        let mut sealed_any = false;
        for outgoing in self.outbox.iter_mut().filter(|outgoing| outgoing.sealed.is_none()) {
            let content = content_of(&outgoing.text);
            // Neither fails: texts are bounded when they are taken in, and a session that has received never ends.
            let Ok(encrypted) = established.session.encrypt(&content) else { break };
            let Ok((sequence, bytes)) = established.send.seal(outgoing.id, &encrypted) else { break };
            outgoing.sealed = Some(Sealed { sequence, bytes });
            outgoing.put(id, store);
            sealed_any = true;
        }
        if sealed_any {
            after.push(store, FollowUp::Transmit { contact: id, session, durable: established.send.next() });
        }
    }

    /// The contact has stored everything below `received`.
    ///
    /// Returns false if that can't be: nobody acknowledges what was never sent.
    pub(super) fn acknowledged(&mut self, id: ContactId, received: u64, store: &mut Store) -> bool {
        if received > self.durable {
            return false;
        }
        let is_received =
            |outgoing: &mut Outgoing| outgoing.sealed.as_ref().is_some_and(|sealed| sealed.sequence < received);
        while let Some(mut done) = self.outbox.pop_front_if(is_received) {
            done.state = DeliveryState::Delivered;
            done.sealed = None;
            done.put(id, store);
            store.tell(done.event(id));
            self.remember(done);
        }
        true
    }

    /// True if the last message that the contact has stored can be the one below `received` that was sent here. It is
    /// another one where this profile is an older copy of itself, which has sent others under the same numbers.
    pub(super) fn has_sent(&self, contact: &Contact, received: u64, last: Option<MessageId>) -> bool {
        let Some(established) = contact.established() else { return false };
        let number = |outgoing: &Outgoing| outgoing.sealed.as_ref().map(|sealed| sealed.sequence);
        let waiting = self.outbox.front().and_then(number).unwrap_or_else(|| established.send.next());
        let sent = match received {
            0 => return true,
            // An acknowledgement of more is on its way, on the circuit before.
            _ if received < waiting => return true,
            _ if received == waiting => self.delivered,
            _ => self.outbox.iter().find(|outgoing| number(outgoing) == Some(received - 1)).map(|outgoing| outgoing.id),
        };
        sent.is_some() && sent == last
    }

    /// Keeps a message that the contact has and may yet read.
    fn remember(&mut self, delivered: Outgoing) {
        self.delivered = Some(delivered.id);
        if self.unread.len() >= MAX_UNREAD {
            self.unread.pop_front();
        }
        self.unread.push_back(delivered);
    }

    /// The contact has read all messages up to this one.
    pub(super) fn was_read(&mut self, contact: ContactId, id: MessageId, store: &mut Store) {
        let Some(at) = self.unread.iter().position(|outgoing| outgoing.id == id) else { return };
        for mut read in self.unread.drain(..=at) {
            read.state = DeliveryState::Read;
            read.put(contact, store);
            store.tell(read.event(contact));
        }
    }

    // ---- the contact's messages ----

    /// Takes in one of the contact's messages; it may be acknowledged once it is on disk.
    pub(super) fn receive(
        &mut self,
        (sequence, id, sealed): (u64, MessageId, &[u8]),
        at: UnixTime,
        contact: &mut Contact,
        after: &mut AfterPersist<FollowUp>,
        store: &mut Store,
    ) -> Result<Arrival, ReceiveError> {
        let stored =
            FollowUp::Stored { contact: contact.id, session: contact.session, received: sequence + 1, last: id };
        let Some(established) = contact.established_mut() else { return Err(ReceiveError::Order) };
        match sequence.cmp(&established.receive.next()) {
            core::cmp::Ordering::Less => return Ok(Arrival::Repeated),
            core::cmp::Ordering::Greater => return Err(ReceiveError::Order),
            core::cmp::Ordering::Equal => {}
        }
        let mut receive = established.receive.clone();
        let encrypted = receive.open(id, sealed).map_err(|_| ReceiveError::Envelope)?;
        let content = established.session.decrypt(&encrypted).map_err(ReceiveError::Session)?;
        // From here on the message is taken: neither Olm nor the chain would open it a second time.
        established.receive = receive;
        established.last = Some(id);
        after.push(store, stored);
        if !self.known.insert(id) {
            // In the session before this one, and its acknowledgement got lost.
            contact.put(store);
            return Ok(Arrival::New);
        }
        self.newest = Some(id);
        let text = text_of(&content).unwrap_or_else(|| UNREADABLE.to_owned());
        let number = contact.record.next_message;
        contact.record.next_message += 1;
        let record = MessageRecord { id, text: text.clone(), at, direction: Direction::In { shown: false } };
        store.put(Key::Message(contact.id, number).to_string(), &record);
        self.unshown.insert(number, record);
        contact.put(store);
        store.tell(Event::Message { contact: contact.id, id, text, received_at: at });
        Ok(Arrival::New)
    }

    /// The person has seen a message.
    pub(super) fn shown(&mut self, contact: ContactId, id: MessageId, store: &mut Store) {
        let number = self.unshown.iter().find(|(_, record)| record.id == id).map(|(number, _)| *number);
        if let Some((number, mut record)) = number.and_then(|number| self.unshown.remove_entry(&number)) {
            record.direction = Direction::In { shown: true };
            store.put(Key::Message(contact, number).to_string(), &record);
        }
    }
}

impl Outgoing {
    /// What the person is told of it.
    pub(super) fn event(&self, contact: ContactId) -> Event {
        Event::Outgoing { contact, id: self.id, text: self.text.clone(), queued_at: self.at, state: self.state }
    }

    /// Writes it.
    pub(super) fn put(&self, contact: ContactId, store: &mut Store) {
        let record = MessageRecord {
            id: self.id,
            text: self.text.clone(),
            at: self.at,
            direction: Direction::Out { state: self.state, sealed: self.sealed.clone() },
        };
        store.put(Key::Message(contact, self.number).to_string(), &record);
    }
}
