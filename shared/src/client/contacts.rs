//! Contacts and invites as the engine keeps them.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use super::api::{ContactId, ContactState, DeliveryState, Event, MAX_NAME_LEN, MessageId};
use super::circuits::CircuitKey;
use super::store::{Direction, Key, MessageRecord, Sealed, Store, Then};
use crate::contact::invite::Invite;
use crate::crypto::keys::{IdentityKeypair, OnionSecret, RelayIdentity};
use crate::messaging::content::{content_of, text_of};
use crate::messaging::envelope::Chain;
use crate::messaging::session::{OlmAccount, OlmSession, SessionError};
use crate::netdir::{Consensus, ConsensusDigest, Role};
use crate::rendezvous::{Meeting, MeetingSecret};
use crate::time::{Instant, UnixTime};

/// A contact on disk.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ContactRecord {
    pub(super) name: String,
    /// The number of the next message record, in either direction.
    pub(super) next_message: u64,
    pub(super) stage: Stage,
}

/// How far two people have come with each other.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Stage {
    /// We hold the contact's invite and look for them.
    Invited(Box<Invited>),
    /// We share a secret and an Olm session.
    Met(Box<Met>),
}

/// The holder of an invite.
#[derive(Serialize, Deserialize)]
pub(super) struct Invited {
    /// The invite's fragment.
    pub(super) invite: String,
    /// What the inviter is to call us.
    pub(super) introduce_as: String,
    pub(super) account: OlmAccount,
}

impl core::fmt::Debug for Invited {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Invited(..)")
    }
}

/// Everything that two contacts share.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Met {
    pub(super) root: MeetingSecret,
    /// The generation of meetings that comes next.
    pub(super) generation: u64,
    pub(super) part: Part,
    pub(super) session: OlmSession,
    pub(super) send: Chain,
    pub(super) receive: Chain,
    #[serde(skip)]
    pub(super) ranking: Ranking,
}

/// The relays where the two may meet, in their order: of the generations that are wanted, by one consensus.
///
/// To rank them costs a hash for each relay of the network, so it is done once.
#[derive(Debug, Default)]
pub(super) struct Ranking {
    digest: Option<ConsensusDigest>,
    /// Generations with the first of their relays.
    ranked: Vec<(u64, Vec<RelayIdentity>)>,
}

/// How many relays of a generation are remembered, of which only the first matter.
const RANKED: usize = 16;

impl Met {
    /// The first relays of a generation's ranking.
    pub(super) fn ranked(&mut self, generation: u64, consensus: &Consensus) -> &[RelayIdentity] {
        let Self { root, ranking, generation: current, .. } = self;
        if ranking.digest != Some(consensus.digest()) {
            *ranking = Ranking { digest: Some(consensus.digest()), ranked: Vec::new() };
        }
        let at = ranking.ranked.iter().position(|(of, _)| *of == generation).unwrap_or_else(|| {
            ranking.ranked.retain(|(of, _)| *of == *current || of.checked_add(1) == Some(*current));
            let relays = consensus.with_role(Role::Rendezvous).map(|relay| relay.identity);
            let mut ranked = root.rank(generation, relays);
            ranked.truncate(RANKED);
            ranked.shrink_to_fit();
            ranking.ranked.push((generation, ranked));
            ranking.ranked.len() - 1
        });
        ranking.ranked.get(at).map_or(&[], |(_, ranked)| ranked)
    }
}

/// Which of the two waits, with the X25519 key for its handshakes.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Part {
    /// We wait.
    Host {
        key: KeyBytes,
        /// The contact's Olm identity, by which a second introduction is recognised.
        visitor: [u8; 32],
        /// The invite that they came by, until they have confirmed that they stored what they need.
        invite: Option<u64>,
    },
    /// We come.
    Visitor {
        key: [u8; 32],
        /// The key of the invite that it began with, so that the same link is not used again.
        invite: [u8; 32],
    },
}

/// A secret key on disk.
#[derive(Serialize, Deserialize, zeroize::ZeroizeOnDrop)]
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
    /// Messages that the person has not seen, with the numbers of their records.
    pub(super) unshown: BTreeMap<u64, MessageRecord>,
    /// Sealed messages below this sequence number are on disk, and may be sent.
    pub(super) durable: u64,
    /// The contact's messages below this sequence number are on disk.
    pub(super) stored: u64,
    pub(super) state: ContactState,
    pub(super) talk: Option<CircuitKey>,
    pub(super) search: Search,
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

/// A visitor's search for its contact, or a host's patience.
#[derive(Debug)]
pub(super) struct Search {
    /// Since when the contact has not been reached.
    pub(super) since: Instant,
    /// Relays still to be tried in this round, with what to try there.
    pub(super) queue: VecDeque<Vec<(u64, Meeting)>>,
    /// Rounds that found nobody.
    pub(super) rounds: u32,
    /// When the next round begins.
    pub(super) next_round: Instant,
    /// Whether a round is under way.
    pub(super) running: bool,
    /// Whether the person has been told that nobody was found at an invite's relays.
    pub(super) complained: bool,
}

impl Search {
    pub(super) fn new(now: Instant) -> Self {
        Self { since: now, queue: VecDeque::new(), rounds: 0, next_round: now, running: false, complained: false }
    }
}

impl Contact {
    pub(super) fn new(id: ContactId, record: ContactRecord, now: Instant) -> Self {
        let (durable, stored) = match &record.stage {
            Stage::Met(met) => (met.send.next(), met.receive.next()),
            Stage::Invited(_) => (0, 0),
        };
        Self {
            id,
            record,
            outbox: VecDeque::new(),
            unshown: BTreeMap::new(),
            durable,
            stored,
            state: ContactState::Connecting,
            talk: None,
            search: Search::new(now),
        }
    }

    pub(super) fn event(&self) -> Event {
        Event::Contact { id: self.id, name: self.record.name.clone(), state: self.state }
    }

    pub(super) fn met(&self) -> Option<&Met> {
        match &self.record.stage {
            Stage::Met(met) => Some(met),
            Stage::Invited(_) => None,
        }
    }

    pub(super) fn met_mut(&mut self) -> Option<&mut Met> {
        match &mut self.record.stage {
            Stage::Met(met) => Some(met),
            Stage::Invited(_) => None,
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
        store.then(Then::Tell(event));
    }

    /// Encrypts all messages that are not yet, if there is a session to do it with; they may be sent once that is on disk.
    pub(super) fn seal(&mut self, store: &mut Store) {
        let Stage::Met(met) = &mut self.record.stage else { return };
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
            store.then(Then::Transmit(self.id, met.send.next()));
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
            store.then(Then::Tell(done.event(self.id)));
        }
        true
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
        let contact = self.id;
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
        let text = text_of(&content).unwrap_or_else(|| UNREADABLE.to_owned());
        let number = self.record.next_message;
        self.record.next_message += 1;
        let record = MessageRecord { id, text: text.clone(), at, direction: Direction::In { shown: false } };
        store.put(Key::Message(contact, number).to_string(), &record);
        self.unshown.insert(number, record);
        self.put(store);
        store.then(Then::Stored(contact, sequence + 1));
        store.then(Then::Tell(Event::Message { contact, id, text, received_at: at }));
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

    /// Begins anew with a contact who introduced themselves again because they lost the answer to the first time.
    pub(super) fn restart(&mut self, met: Met) {
        self.record.stage = Stage::Met(Box::new(met));
        self.durable = 0;
        self.stored = 0;
        for outgoing in &mut self.outbox {
            outgoing.sealed = None;
        }
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

/// An invite on disk, and at work.
#[derive(Serialize, Deserialize)]
pub(super) struct OpenInvite {
    pub(super) key: KeyBytes,
    pub(super) secret: [u8; 16],
    pub(super) places: Vec<(RelayIdentity, [u8; 20])>,
    /// Whether its link has been given out; until then its places may still change.
    pub(super) published: bool,
}

impl OpenInvite {
    /// The invite as its link carries it.
    pub(super) fn invite(&self, network: [u8; 8]) -> Invite {
        Invite {
            network,
            key: *self.key.secret().public().as_bytes(),
            secret: self.secret,
            places: self.places.iter().map(|(relay, cookie)| (*relay, crate::cell::message::Cookie(*cookie))).collect(),
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
