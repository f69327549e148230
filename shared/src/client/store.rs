//! What the engine keeps on disk, and what has to wait until it is there.
//!
//! All writes of one input make one atomic batch. What must not happen before the batch is durable (an acknowledgement, an
//! event, a transmission that cannot be repeated alike) is queued behind it.

use std::collections::VecDeque;

use data_encoding::BASE64;
use serde::{Deserialize, Serialize};

use super::api::{BatchId, ContactId, DeliveryState, Event, HistoryEntry, MessageId, Output, Write};
use crate::crypto::keys::{IdentityKeypair, OnionSecret};
use crate::time::UnixTime;

/// What a room does once the records that it wrote are durable, in order.
#[derive(Debug)]
pub(super) struct AfterPersist<T>(VecDeque<(u64, T)>);

impl<T> Default for AfterPersist<T> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<T> AfterPersist<T> {
    /// Adds what follows once all of the current batch is durable.
    pub(super) fn push(&mut self, store: &Store, what: T) {
        self.0.push_back((store.turn, what));
    }

    /// Takes the next thing whose batch is durable.
    pub(super) fn pop(&mut self, store: &Store) -> Option<T> {
        self.0.pop_front_if(|(turn, _)| *turn < store.durable).map(|(_, what)| what)
    }
}

/// Collects writes.
#[derive(Debug, Default)]
pub(super) struct Store {
    next_batch: u64,
    writes: Vec<Write>,
    /// Counts the calls of [`Store::flush`]: what is written and queued between two of them belongs together.
    turn: u64,
    /// All of the turns below this are durable.
    durable: u64,
    /// Batches under way, each with the value that `durable` gets once it is durable.
    in_flight: VecDeque<(BatchId, u64)>,
    told: AfterPersist<Event>,
}

impl Store {
    /// Writes a record with the current batch.
    pub(super) fn put(&mut self, key: String, record: &impl Serialize) {
        // Our records have string keys and no failing serializers, so this never gives nothing.
        let value = serde_json::to_vec(record).ok();
        self.writes.push(Write { key, value });
    }

    /// Writes a record that is bytes with the current batch.
    pub(super) fn put_bytes(&mut self, key: String, value: Vec<u8>) {
        self.writes.push(Write { key, value: Some(value) });
    }

    /// Deletes a record with the current batch.
    pub(super) fn delete(&mut self, key: String) {
        self.writes.push(Write { key, value: None });
    }

    /// Tells the person once the current batch is durable.
    pub(super) fn tell(&mut self, event: Event) {
        self.told.0.push_back((self.turn, event));
    }

    /// The next event that may be told.
    pub(super) fn poll_event(&mut self) -> Option<Event> {
        self.told.0.pop_front_if(|(turn, _)| *turn < self.durable).map(|(_, event)| event)
    }

    /// Ends the current batch. Where there was nothing to write and nothing is under way, what waits for it is durable at once.
    pub(super) fn flush(&mut self, outputs: &mut VecDeque<Output>) {
        self.turn += 1;
        if !self.writes.is_empty() {
            let batch = BatchId(self.next_batch);
            self.next_batch += 1;
            self.in_flight.push_back((batch, self.turn));
            outputs.push_back(Output::Persist(batch, std::mem::take(&mut self.writes)));
        } else if let Some((_, turn)) = self.in_flight.back_mut() {
            *turn = self.turn;
        } else {
            self.durable = self.turn;
        }
    }

    /// The batch, and with it all before, is durable.
    pub(super) fn persisted(&mut self, batch: BatchId) {
        while let Some((_, turn)) = self.in_flight.pop_front_if(|(id, _)| *id <= batch) {
            self.durable = turn;
        }
    }
}

/// One message, as it is kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct MessageRecord {
    pub(super) id: MessageId,
    pub(super) text: String,
    pub(super) at: UnixTime,
    #[serde(flatten)]
    pub(super) direction: Direction,
}

/// Whose message it is.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "direction", rename_all = "kebab-case")]
pub(super) enum Direction {
    /// The contact's; `shown` once the person has seen it.
    In { shown: bool },
    /// One's own; `sealed` from its first encryption to its delivery.
    Out { state: DeliveryState, sealed: Option<Sealed> },
}

/// An encrypted message that may have to be sent again, always with the same bytes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Sealed {
    pub(super) sequence: u64,
    #[serde(with = "base64")]
    pub(super) bytes: Vec<u8>,
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

const PROFILE_KEY: &str = "profile";
const CONSENSUS_KEY: &str = "consensus";
const CLOCK_KEY: &str = "clock";

/// Where a record belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Profile,
    /// The newest consensus, as it was signed.
    Consensus,
    /// What is known of the clock.
    Clock,
    Contact(ContactId),
    Invite(u64),
    /// The `n`th message with a contact.
    Message(ContactId, u64),
}

impl Key {
    pub(super) fn parse(key: &str) -> Option<Self> {
        fn number(text: &str) -> Option<u64> {
            (text.len() == 16).then(|| u64::from_str_radix(text, 16).ok())?
        }
        match key {
            PROFILE_KEY => return Some(Self::Profile),
            CONSENSUS_KEY => return Some(Self::Consensus),
            CLOCK_KEY => return Some(Self::Clock),
            _ => {}
        }
        let (kind, rest) = key.split_once('/')?;
        match kind {
            "contact" => number(rest).map(|id| Self::Contact(ContactId(id))),
            "invite" => number(rest).map(Self::Invite),
            "message" => {
                let (contact, n) = rest.split_once('/')?;
                Some(Self::Message(ContactId(number(contact)?), number(n)?))
            }
            _ => None,
        }
    }
}

impl core::fmt::Display for Key {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Profile => f.write_str(PROFILE_KEY),
            Self::Consensus => f.write_str(CONSENSUS_KEY),
            Self::Clock => f.write_str(CLOCK_KEY),
            Self::Contact(ContactId(id)) => write!(f, "contact/{id:016x}"),
            Self::Invite(id) => write!(f, "invite/{id:016x}"),
            Self::Message(ContactId(id), n) => write!(f, "message/{id:016x}/{n:016x}"),
        }
    }
}

/// The message in a record of the store, if it is one. Keys of one conversation sort in its order.
pub fn history_entry(key: &str, value: &[u8]) -> Option<HistoryEntry> {
    let Some(Key::Message(contact, _)) = Key::parse(key) else { return None };
    let record: MessageRecord = serde_json::from_slice(value).ok()?;
    let outgoing = match record.direction {
        Direction::In { .. } => None,
        Direction::Out { state, .. } => Some(state),
    };
    Some(HistoryEntry { contact, id: record.id, text: record.text, at: record.at, outgoing })
}

mod base64 {
    use serde::{Deserialize, Deserializer, Serializer, de};

    use super::BASE64;

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        BASE64.decode(String::deserialize(deserializer)?.as_bytes()).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_read_back_and_sort_in_order() {
        let singles = [Key::Profile, Key::Consensus, Key::Clock];
        let others = [Key::Contact(ContactId(7)), Key::Invite(u64::MAX), Key::Message(ContactId(1), 2)];
        for key in singles.into_iter().chain(others) {
            assert_eq!(Key::parse(&key.to_string()), Some(key));
        }
        assert!(Key::Message(ContactId(1), 9).to_string() < Key::Message(ContactId(1), 10).to_string());
        for key in ["", "contact/", "contact/7", "message/0000000000000001", "other/0000000000000001"] {
            assert_eq!(Key::parse(key), None);
        }
    }

    #[test]
    fn what_follows_waits_for_its_batch_and_all_before() {
        let mut store = Store::default();
        let mut after = AfterPersist::default();
        let mut outputs = VecDeque::new();
        after.push(&store, 0);
        assert_eq!(after.pop(&store), None, "more of the same batch may come");
        store.flush(&mut outputs);
        assert_eq!(after.pop(&store), Some(0), "nothing was written, so nothing has to wait");
        for n in 1..=2 {
            store.put(format!("contact/{n}"), &n);
            after.push(&store, n);
            store.flush(&mut outputs);
            assert_eq!(after.pop(&store), None);
        }
        after.push(&store, 3);
        store.flush(&mut outputs);
        assert_eq!(after.pop(&store), None, "what follows keeps its turn");
        assert_eq!(outputs.len(), 2);
        store.persisted(BatchId(0));
        assert_eq!((after.pop(&store), after.pop(&store)), (Some(1), None));
        store.persisted(BatchId(1));
        assert_eq!([after.pop(&store), after.pop(&store), after.pop(&store)], [Some(2), Some(3), None]);
    }

    #[test]
    fn events_are_told_once_their_batch_is_durable() {
        let mut store = Store::default();
        let mut outputs = VecDeque::new();
        store.put("contact/1".to_owned(), &1);
        store.tell(Event::Blocked { list: Vec::new() });
        store.flush(&mut outputs);
        assert_eq!(store.poll_event(), None);
        store.persisted(BatchId(0));
        assert!(store.poll_event().is_some());
        assert_eq!(store.poll_event(), None);
    }
}
