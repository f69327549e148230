//! Reading what an earlier run has stored.

use std::collections::BTreeMap;

use serde::Deserialize;
use thiserror::Error;

use super::api::ContactId;
use super::circuits::ClockRecord;
use super::contacts::{ContactRecord, InviteRecord};
use super::profile::Profile;
use super::store::{Key, MessageRecord};

/// Why an engine can't begin with what its store holds.
#[derive(Debug, Error)]
pub enum ClientError {
    /// A record that this version did not write.
    #[error("the profile's record {key} cannot be read: {problem}")]
    Record {
        /// The record's key.
        key: String,
        /// What is wrong with it.
        problem: String,
    },
}

/// All records of a profile, for the rooms that they belong to.
#[derive(Default)]
pub(super) struct Restored {
    pub(super) profile: Profile,
    pub(super) contacts: BTreeMap<ContactId, ContactRecord>,
    pub(super) invites: BTreeMap<u64, InviteRecord>,
    /// By conversation and number.
    pub(super) messages: BTreeMap<(ContactId, u64), MessageRecord>,
    pub(super) consensus: Option<Vec<u8>>,
    pub(super) clock: Option<ClockRecord>,
}

impl Restored {
    /// Reads records with their keys, in any order.
    pub(super) fn read(records: Vec<(String, Vec<u8>)>) -> Result<Self, ClientError> {
        let mut restored = Self::default();
        for (key, value) in records {
            match Key::parse(&key) {
                Some(Key::Profile) => restored.profile = parse(&key, &value)?,
                // If one of these two is broken, it is fetched again; nobody loses anything.
                Some(Key::Consensus) => restored.consensus = Some(value),
                Some(Key::Clock) => restored.clock = parse(&key, &value).ok(),
                Some(Key::Contact(id)) => drop(restored.contacts.insert(id, parse(&key, &value)?)),
                Some(Key::Invite(id)) => drop(restored.invites.insert(id, parse(&key, &value)?)),
                Some(Key::Message(id, number)) => drop(restored.messages.insert((id, number), parse(&key, &value)?)),
                None => {
                    let problem = "this version does not know it".to_owned();
                    return Err(ClientError::Record { key, problem });
                }
            }
        }
        Ok(restored)
    }
}

fn parse<'a, T: Deserialize<'a>>(key: &str, value: &'a [u8]) -> Result<T, ClientError> {
    let parsed = serde_json::from_slice(value);
    parsed.map_err(|error| ClientError::Record { key: key.to_owned(), problem: error.to_string() })
}
