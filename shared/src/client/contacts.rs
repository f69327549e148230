//! Contacts and invites as the engine keeps them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};

use super::api::{ContactId, ContactState, DeliveryState, Event, MAX_NAME_LEN, MessageId};
use super::circuits::CircuitId;
use super::store::{AfterPersist, Direction, Key, MessageRecord, Sealed, Store};
use crate::cell::introduction::{IntroAuthKey, IntroductionId};
use crate::cell::message::Cookie;
use crate::contact::invite::Invite;
use crate::contact::safety::SafetyNumber;
use crate::crypto::keys::{IdentityKeypair, OnionSecret, RelayIdentity};
use crate::messaging::content::{content_of, text_of};
use crate::messaging::envelope::Chain;
use crate::messaging::session::{OlmAccount, OlmSession, SessionError};
use crate::rendezvous::{IntroPoint, RelationshipRole, SharedSecret};
use crate::time::{Instant, UnixTime};
use crate::token_bucket::TokenBucket;

/// Introductions of one contact, or for one invite, that are looked at each second, and how many at once.
const INTRODUCTION_RATE: (u32, u32) = (1, 12);

/// How many handshakes of each are remembered, so that nobody can repeat them.
const REMEMBERED: usize = 64;

/// Delivered messages that may still be reported as read.
const MAX_UNREAD: usize = 500;

/// A contact on disk.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ContactRecord {
    pub(super) name: String,
    /// The number of the next message record, in either direction.
    pub(super) next_message: u64,
    /// Whether the person wants to hear no more of them.
    #[serde(default)]
    pub(super) blocked: bool,
    /// Whether the person has compared the safety number of the relationship, and found it the same.
    #[serde(default)]
    pub(super) verified: bool,
    /// The last of the contact's messages that the person has read.
    #[serde(default)]
    pub(super) read: Option<MessageId>,
    /// The key of the invite that brought us to them.
    #[serde(default)]
    pub(super) invite: Option<[u8; 32]>,
    /// The invite that brought them to us, until they have confirmed that they stored what they need.
    #[serde(default)]
    pub(super) came_by: Option<CameBy>,
    /// What both share since their first handshake.
    #[serde(default)]
    pub(super) relationship: Option<Relationship>,
    pub(super) stage: Stage,
}

/// Who came by which invite: so they are known again when they lost the answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct CameBy {
    pub(super) invite: u64,
    /// Their Olm identity.
    pub(super) identity: [u8; 32],
}

/// How two people reach each other.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Relationship {
    pub(super) secret: SharedSecret,
    /// Our part in it.
    pub(super) role: RelationshipRole,
    /// Our key for introductions.
    pub(super) key: KeyBytes,
    /// Theirs.
    pub(super) their_key: [u8; 32],
    /// Where they take introductions.
    pub(super) their_points: Vec<IntroPoint>,
    /// Where they know that we do.
    #[serde(rename = "told")]
    pub(super) acknowledged: Vec<IntroPoint>,
    /// How many circuits the two have had.
    pub(super) generation: u64,
}

/// How far two people have come with each other.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Stage {
    /// We hold their invite.
    #[serde(rename = "invited")]
    InviteHeld(Box<InviteHeld>),
    /// They have our request, and have not decided yet.
    #[serde(rename = "requested")]
    RequestSent(Box<RequestSent>),
    /// We have their request, and have not decided yet, or against it.
    #[serde(rename = "asked")]
    RequestReceived(Box<RequestReceived>),
    /// We share an Olm session.
    #[serde(rename = "met")]
    Established(Box<Established>),
}

/// The holder of an invite.
#[derive(Serialize, Deserialize)]
pub(super) struct InviteHeld {
    /// The invite's fragment.
    pub(super) invite: String,
    /// What the inviter is to call us.
    pub(super) introduce_as: String,
    /// What else we have to say.
    pub(super) note: String,
    pub(super) account: OlmAccount,
    pub(super) key: KeyBytes,
}

/// Whoever waits for a decision.
#[derive(Serialize, Deserialize)]
pub(super) struct RequestSent {
    pub(super) account: OlmAccount,
    pub(super) send: Chain,
    pub(super) receive: Chain,
    /// Whether they have declined.
    #[serde(default)]
    pub(super) declined: bool,
}

/// Whoever has to decide.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct RequestReceived {
    /// Their Olm identity key.
    pub(super) identity: [u8; 32],
    pub(super) one_time_key: [u8; 32],
    /// What they have to say.
    pub(super) note: String,
    /// What the person noted about the invite that they came by.
    pub(super) invite_note: String,
    pub(super) at: UnixTime,
    /// Whether the person does not want them as a contact, which they are to be told.
    pub(super) declined: bool,
    pub(super) send: Chain,
    pub(super) receive: Chain,
}

/// A session that two contacts share.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Established {
    pub(super) session: OlmSession,
    pub(super) send: Chain,
    pub(super) receive: Chain,
    /// The last message that has come in this session.
    #[serde(default)]
    pub(super) last: Option<MessageId>,
    /// What begins the session at the other side, until it has confirmed that it has it.
    #[serde(default)]
    pub(super) welcome: Option<PreKeyMessage>,
}

impl Established {
    /// A session in which nothing has been said yet.
    pub(super) const fn new(session: OlmSession, send: Chain, receive: Chain, welcome: Option<PreKeyMessage>) -> Self {
        Self { session, send, receive, last: None, welcome }
    }
}

/// What begins a session at the other side.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct PreKeyMessage {
    pub(super) identity: [u8; 32],
    pub(super) pre_key: Vec<u8>,
}

impl core::fmt::Debug for InviteHeld {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("InviteHeld(..)")
    }
}

impl core::fmt::Debug for RequestSent {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("RequestSent(..)")
    }
}

/// A secret key on disk.
#[derive(Clone, Serialize, Deserialize, zeroize::ZeroizeOnDrop)]
#[serde(transparent)]
pub(super) struct KeyBytes([u8; 32]);

impl KeyBytes {
    /// The secret of an Ed25519 key pair.
    pub(super) fn of_identity(keypair: &IdentityKeypair) -> Self {
        Self(*keypair.to_seed())
    }

    /// The Ed25519 key pair of this secret.
    pub(super) fn identity(&self) -> IdentityKeypair {
        IdentityKeypair::from_seed(&self.0)
    }

    pub(super) fn of(secret: &OnionSecret) -> Self {
        Self(*secret.to_bytes())
    }

    pub(super) fn secret(&self) -> OnionSecret {
        OnionSecret::from_bytes(&self.0)
    }
}

impl core::fmt::Debug for KeyBytes {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("KeyBytes(..)")
    }
}

/// A contact at work.
pub(super) struct Contact {
    pub(super) id: ContactId,
    pub(super) record: ContactRecord,
    /// One's own messages that the contact has not acknowledged, in order.
    pub(super) outbox: VecDeque<Outgoing>,
    /// The latest that it has acknowledged and not read.
    pub(super) unread: VecDeque<Outgoing>,
    /// The last that it has acknowledged.
    pub(super) delivered: Option<MessageId>,
    /// Messages that the person has not seen, with the numbers of their records.
    pub(super) unshown: BTreeMap<u64, MessageRecord>,
    /// All that have come: whoever lost the acknowledgement sends them again, in a new session too.
    pub(super) known: BTreeSet<MessageId>,
    /// The newest that has come.
    pub(super) newest: Option<MessageId>,
    /// Counts the sessions that have begun: what comes from the disk may be about the one before.
    pub(super) session: u64,
    /// Sealed messages below this sequence number are on disk, and may be sent.
    pub(super) durable: u64,
    /// The contact's messages below this sequence number are on disk, and which was the last of them.
    pub(super) stored: (u64, Option<MessageId>),
    pub(super) state: ContactState,
    pub(super) channel: Option<CircuitId>,
    /// The channel whose path the person was shown last.
    pub(super) shown_channel: Option<CircuitId>,
    pub(super) search: Search,
    pub(super) introductions: Introductions,
    pub(super) typing: Typing,
}

/// The search for a contact.
#[derive(Debug)]
pub(super) struct Search {
    /// Since when the contact has not been reached.
    pub(super) since: Instant,
    /// Introductions that nobody answered.
    pub(super) tries: u32,
    /// When the next is due.
    pub(super) next: Instant,
    /// Whether the person has been told that nobody answers to an invite.
    pub(super) complained: bool,
    /// Whether an introduction of ours that the contact may have had was given up for one of theirs.
    pub(super) gave_way: bool,
}

impl Search {
    pub(super) fn new(now: Instant) -> Self {
        Self { since: now, tries: 0, next: now, complained: false, gave_way: false }
    }
}

/// What is remembered of introductions by one contact, or for one invite.
#[derive(Debug)]
pub(super) struct Introductions {
    rate: TokenBucket,
    /// The beginnings of the handshakes that came last: they are random.
    seen: VecDeque<[u8; 32]>,
    /// The cookies of the meetings that were asked for last.
    cookies: VecDeque<Cookie>,
}

impl Introductions {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            rate: TokenBucket::new(INTRODUCTION_RATE.0, INTRODUCTION_RATE.1, now),
            seen: VecDeque::new(),
            cookies: VecDeque::new(),
        }
    }

    /// Whether this one is to be looked at: it is new, and they have not been too many.
    pub(super) fn admits(&mut self, now: Instant, handshake: &[u8]) -> bool {
        // Behind the version: a fresh key for each.
        let Some(key) = handshake.get(2..34).and_then(|key| <[u8; 32]>::try_from(key).ok()) else { return false };
        if self.seen.contains(&key) || !self.rate.take(now) {
            return false;
        }
        remember(&mut self.seen, key);
        true
    }

    /// Whether this meeting was not asked for yet: the same comes by several relays.
    pub(super) fn is_new_meeting(&mut self, cookie: Cookie) -> bool {
        let is_new = !self.cookies.contains(&cookie);
        if is_new {
            remember(&mut self.cookies, cookie);
        }
        is_new
    }
}

fn remember<T>(list: &mut VecDeque<T>, item: T) {
    if list.len() >= REMEMBERED {
        list.pop_front();
    }
    list.push_back(item);
}

/// Who is writing.
#[derive(Debug, Default)]
pub(super) struct Typing {
    /// Until when the contact counts as writing, if it does.
    pub(super) theirs: Option<Instant>,
    /// Whether the contact has been told that the person is.
    pub(super) ours: bool,
    /// How often that may change.
    pub(super) rate: Option<TokenBucket>,
}

/// One's own message on its way.
pub(super) struct Outgoing {
    pub(super) number: u64,
    pub(super) id: MessageId,
    pub(super) text: String,
    pub(super) at: UnixTime,
    pub(super) state: DeliveryState,
    pub(super) sealed: Option<Sealed>,
}

impl Contact {
    pub(super) fn new(id: ContactId, record: ContactRecord, now: Instant) -> Self {
        let (durable, stored) = match &record.stage {
            Stage::Established(met) => (met.send.next(), (met.receive.next(), met.last)),
            _ => (0, (0, None)),
        };
        let mut contact = Self {
            id,
            record,
            outbox: VecDeque::new(),
            unread: VecDeque::new(),
            delivered: None,
            unshown: BTreeMap::new(),
            known: BTreeSet::new(),
            newest: None,
            session: 0,
            durable,
            stored,
            state: ContactState::Connecting,
            channel: None,
            shown_channel: None,
            search: Search::new(now),
            introductions: Introductions::new(now),
            typing: Typing::default(),
        };
        contact.state = contact.state_without(ContactState::Connecting);
        contact
    }

    /// The contact's state where it is not connected.
    pub(super) const fn state_without(&self, otherwise: ContactState) -> ContactState {
        match &self.record.stage {
            _ if self.record.blocked => ContactState::Blocked,
            Stage::RequestSent(requested) if requested.declined => ContactState::Declined,
            Stage::RequestSent(_) => ContactState::Requested,
            _ => otherwise,
        }
    }

    /// What the person is told of the contact: nothing of whoever has only asked to be one is in it but the request.
    pub(super) fn event(&self) -> Event {
        match &self.record.stage {
            Stage::RequestReceived(asked) => Event::Request {
                id: self.id,
                name: self.record.name.clone(),
                note: asked.note.clone(),
                invite_note: asked.invite_note.clone(),
                asked_at: asked.at,
            },
            _ => Event::Contact {
                id: self.id,
                name: self.record.name.clone(),
                state: self.state,
                verified: self.record.verified,
            },
        }
    }

    /// Whether it is there for the person: somebody who was declined is only kept to be told, and whoever was blocked before
    /// they were a contact to be known again.
    pub(super) fn is_shown(&self) -> bool {
        !matches!(&self.record.stage, Stage::RequestReceived(asked) if asked.declined || self.record.blocked)
    }

    /// Whether there is anything to look for the contact for.
    pub(super) fn is_wanted(&self) -> bool {
        let decided = match &self.record.stage {
            Stage::InviteHeld(_) | Stage::Established(_) => true,
            Stage::RequestSent(requested) => !requested.declined,
            Stage::RequestReceived(_) => false,
        };
        decided && !self.record.blocked
    }

    pub(super) fn relationship(&self) -> Option<&Relationship> {
        self.record.relationship.as_ref()
    }

    pub(super) fn met(&self) -> Option<&Established> {
        match &self.record.stage {
            Stage::Established(met) => Some(met),
            _ => None,
        }
    }

    pub(super) fn met_mut(&mut self) -> Option<&mut Established> {
        match &mut self.record.stage {
            Stage::Established(met) => Some(met),
            _ => None,
        }
    }

    /// Writes the contact itself.
    pub(super) fn put(&self, store: &mut Store) {
        store.put(Key::Contact(self.id).to_string(), &self.record);
    }

    /// Takes a message into the outbox.
    pub(super) fn queue(&mut self, id: MessageId, text: String, at: UnixTime, store: &mut Store) {
        let outgoing =
            Outgoing { number: self.record.next_message, id, text, at, state: DeliveryState::Queued, sealed: None };
        self.record.next_message += 1;
        let event = outgoing.event(self.id);
        outgoing.put(self.id, store);
        self.outbox.push_back(outgoing);
        self.seal(store);
        self.put(store);
        store.then(AfterPersist::Tell(event));
    }

    /// Encrypts all messages that are not yet, if there is a session to do it with; they may be sent once that is on disk.
    pub(super) fn seal(&mut self, store: &mut Store) {
        let Stage::Established(met) = &mut self.record.stage else { return };
        let mut sealed_any = false;
        for outgoing in self.outbox.iter_mut().filter(|outgoing| outgoing.sealed.is_none()) {
            let content = content_of(&outgoing.text);
            // Neither fails: texts are bounded when they are taken in, and a session that has received never ends.
            let Ok(encrypted) = met.session.encrypt(&content) else { break };
            let Ok((sequence, bytes)) = met.send.seal(outgoing.id, &encrypted) else { break };
            outgoing.sealed = Some(Sealed { sequence, bytes });
            outgoing.put(self.id, store);
            sealed_any = true;
        }
        if sealed_any {
            store.then(AfterPersist::Transmit { contact: self.id, session: self.session, durable: met.send.next() });
        }
    }

    /// The contact has stored everything below `received`.
    ///
    /// Says whether that can be: nobody acknowledges what was never sent.
    pub(super) fn acknowledged(&mut self, received: u64, store: &mut Store) -> bool {
        if received > self.durable {
            return false;
        }
        while let Some(front) = self.outbox.front() {
            if front.sealed.as_ref().is_none_or(|sealed| sealed.sequence >= received) {
                break;
            }
            let Some(mut done) = self.outbox.pop_front() else { break };
            done.state = DeliveryState::Delivered;
            done.sealed = None;
            done.put(self.id, store);
            store.then(AfterPersist::Tell(done.event(self.id)));
            self.remember(done);
        }
        true
    }

    /// Whether the last message that the contact has stored can be the one below `received` that was sent here. It is
    /// another one where this profile is an older copy of itself, which has sent others under the same numbers.
    pub(super) fn has_sent(&self, received: u64, last: Option<MessageId>) -> bool {
        let Some(met) = self.met() else { return false };
        let number = |outgoing: &Outgoing| outgoing.sealed.as_ref().map(|sealed| sealed.sequence);
        let waiting = self.outbox.front().and_then(number).unwrap_or_else(|| met.send.next());
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
    pub(super) fn remember(&mut self, delivered: Outgoing) {
        self.delivered = Some(delivered.id);
        if self.unread.len() >= MAX_UNREAD {
            self.unread.pop_front();
        }
        self.unread.push_back(delivered);
    }

    /// The contact has read all messages up to this one.
    pub(super) fn was_read(&mut self, id: MessageId, store: &mut Store) {
        let Some(at) = self.unread.iter().position(|outgoing| outgoing.id == id) else { return };
        for mut read in self.unread.drain(..=at).collect::<Vec<_>>() {
            read.state = DeliveryState::Read;
            read.put(self.id, store);
            store.then(AfterPersist::Tell(read.event(self.id)));
        }
    }

    /// Takes in one of the contact's messages; it may be acknowledged once it is on disk.
    pub(super) fn receive(
        &mut self,
        sequence: u64,
        id: MessageId,
        sealed: &[u8],
        at: UnixTime,
        store: &mut Store,
    ) -> Result<Arrival, ReceiveError> {
        let (contact, session) = (self.id, self.session);
        let Some(met) = self.met_mut() else { return Err(ReceiveError::Order) };
        match sequence.cmp(&met.receive.next()) {
            core::cmp::Ordering::Less => return Ok(Arrival::Repeated),
            core::cmp::Ordering::Greater => return Err(ReceiveError::Order),
            core::cmp::Ordering::Equal => {}
        }
        let mut receive = met.receive.clone();
        let encrypted = receive.open(id, sealed).map_err(|_| ReceiveError::Envelope)?;
        let content = met.session.decrypt(&encrypted).map_err(ReceiveError::Session)?;
        // From here on the message is taken: neither Olm nor the chain would open it a second time.
        met.receive = receive;
        met.last = Some(id);
        if !self.known.insert(id) {
            // In the session before this one, and its acknowledgement got lost.
            self.put(store);
            store.then(AfterPersist::Stored { contact, session, received: sequence + 1, last: id });
            return Ok(Arrival::New);
        }
        self.newest = Some(id);
        let text = text_of(&content).unwrap_or_else(|| UNREADABLE.to_owned());
        let number = self.record.next_message;
        self.record.next_message += 1;
        let record = MessageRecord { id, text: text.clone(), at, direction: Direction::In { shown: false } };
        store.put(Key::Message(contact, number).to_string(), &record);
        self.unshown.insert(number, record);
        self.put(store);
        store.then(AfterPersist::Stored { contact, session, received: sequence + 1, last: id });
        store.then(AfterPersist::Tell(Event::Message { contact, id, text, received_at: at }));
        Ok(Arrival::New)
    }

    /// The person has seen a message.
    pub(super) fn shown(&mut self, id: MessageId, store: &mut Store) {
        let number = self.unshown.iter().find(|(_, record)| record.id == id).map(|(number, _)| *number);
        if let Some((number, mut record)) = number.and_then(|number| self.unshown.remove_entry(&number)) {
            record.direction = Direction::In { shown: true };
            store.put(Key::Message(self.id, number).to_string(), &record);
        }
    }

    /// Begins a session, in the place of whatever there was.
    pub(super) fn begin(&mut self, met: Established, store: &mut Store) {
        self.record.stage = Stage::Established(Box::new(met));
        self.session += 1;
        self.durable = 0;
        self.stored = (0, None);
        for outgoing in &mut self.outbox {
            outgoing.sealed = None;
        }
        self.seal(store);
        self.put(store);
    }
}

impl Relationship {
    /// What two people share from their first handshake on, seen by one of them.
    pub(super) fn new(
        secret: SharedSecret,
        role: RelationshipRole,
        key: KeyBytes,
        their_key: [u8; 32],
        their_points: Vec<IntroPoint>,
        acknowledged: Vec<IntroPoint>,
    ) -> Self {
        Self { secret, role, key, their_key, their_points, acknowledged, generation: 1 }
    }

    /// What both can compare.
    pub(super) fn safety_number(&self) -> SafetyNumber {
        let own = *self.key.secret().public().as_bytes();
        let (inviter, guest) = match self.role {
            RelationshipRole::Inviter => (own, self.their_key),
            RelationshipRole::Guest => (self.their_key, own),
        };
        SafetyNumber::new(&self.secret, &inviter, &guest)
    }

    /// Where to bring introductions for the contact.
    pub(super) fn places(&self) -> Vec<(RelayIdentity, IntroductionId)> {
        let host = self.role.other();
        self.their_points.iter().map(|point| (point.relay, self.secret.auth_key(host, point).id())).collect()
    }

    /// The lock for the contact's introductions at one of our points.
    pub(super) fn auth_key(&self, point: &IntroPoint) -> IntroAuthKey {
        self.secret.auth_key(self.role, point)
    }
}

/// What came.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// A message that was not there yet.
    New,
    /// One that was stored before: its acknowledgement got lost.
    Repeated,
}

/// The contact broke the protocol.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ReceiveError {
    Order,
    Envelope,
    Session(SessionError),
}

/// Stands for a message of a kind that only later versions know.
const UNREADABLE: &str = "[This message needs a newer version of Allium.]";

impl Outgoing {
    pub(super) fn event(&self, contact: ContactId) -> Event {
        Event::Outgoing { contact, id: self.id, text: self.text.clone(), queued_at: self.at, state: self.state }
    }

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

/// An invite on disk.
#[derive(Serialize, Deserialize)]
pub(super) struct InviteRecord {
    pub(super) key: KeyBytes,
    pub(super) secret: [u8; 16],
    pub(super) reusable: bool,
    /// When it ends, in minutes since 1970; never, if that is zero.
    pub(super) expires: u32,
    /// What the person wants to remember about it.
    pub(super) note: String,
    pub(super) made_at: UnixTime,
    pub(super) places: Vec<(RelayIdentity, [u8; 16])>,
}

/// An invite at work.
pub(super) struct OpenInvite {
    pub(super) record: InviteRecord,
    /// Whether its link has been given out; until then its places may still change.
    pub(super) published: bool,
    pub(super) introductions: Introductions,
}

impl OpenInvite {
    /// The invite as its link carries it.
    pub(super) fn invite(&self, network: [u8; 8]) -> Invite {
        let record = &self.record;
        Invite {
            network,
            reusable: record.reusable,
            expires: record.expires,
            key: *record.key.secret().public().as_bytes(),
            secret: record.secret,
            places: record.places.iter().map(|(relay, auth_key)| (*relay, IntroAuthKey(*auth_key).id())).collect(),
        }
    }
}

/// A name that no other contact has: the wanted one, shortened, with a number behind it where it is taken.
pub(super) fn unique_name<'a>(wanted: &str, taken: impl Iterator<Item = &'a str> + Clone) -> String {
    let cleaned: String = wanted.chars().filter(|c| !c.is_control()).collect();
    let wanted = match shorten(cleaned.trim(), MAX_NAME_LEN) {
        "" => "Somebody",
        wanted => wanted,
    };
    let is_taken = |name: &str| taken.clone().any(|other| other == name);
    if !is_taken(wanted) {
        return wanted.to_owned();
    }
    let mut number = 2_u64;
    loop {
        let suffix = format!(" ({number})");
        let name = format!("{}{suffix}", shorten(wanted, MAX_NAME_LEN.saturating_sub(suffix.len())));
        if !is_taken(&name) {
            return name;
        }
        number += 1;
    }
}

fn shorten(text: &str, len: usize) -> &str {
    let mut end = len.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].trim_end()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_unique_and_stay_short() {
        let taken = ["Ada", "Ada (2)", "Somebody"];
        let name = |wanted: &str| unique_name(wanted, taken.iter().copied());
        assert_eq!(name("Bob"), "Bob");
        assert_eq!(name(" Ada\u{7}\n"), "Ada (3)");
        assert_eq!(name("  "), "Somebody (2)");
        let long = name(&"ü".repeat(100));
        assert!(long.len() <= MAX_NAME_LEN && long.chars().all(|c| c == 'ü'), "{long}");
    }
}
