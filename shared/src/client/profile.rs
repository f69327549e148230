//! The record of the profile itself, in which several rooms keep what has no record of its own.

use rand_core::CryptoRng;
use serde::{Deserialize, Serialize};

use super::api::Event;
use super::circuits::CircuitManager;
use super::circuits::relays::{Guard, SecondHop};
use super::store::{Key, KeyBytes, Store};
use crate::crypto::keys::IdentityKeypair;
use crate::rendezvous::IntroPoint;
use crate::time::UnixTime;

/// A profile on disk.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Profile {
    /// The guards in use, in their order of preference.
    pub(super) guards: Vec<Guard>,
    /// The relays that all circuits use as their second hop.
    #[serde(default)]
    pub(super) second_hops: Vec<SecondHop>,
    /// The relays where this client accepts introductions.
    #[serde(default, rename = "slots")]
    pub(super) intro_points: Vec<IntroPointRecord>,
    /// The id of the next contact.
    pub(super) next_contact: u64,
    /// The id of the next invite.
    pub(super) next_invite: u64,
    /// The secret of the key by which others may know this profile.
    #[serde(default)]
    pub(super) identity: Option<KeyBytes>,
    /// True if contacts are not told what has been read.
    #[serde(default)]
    pub(super) no_receipts: bool,
    /// True if contacts are not told when the person is writing.
    #[serde(default)]
    pub(super) no_typing: bool,
    /// When the key is due to be published again, by the network's time. None if the person has never published it.
    #[serde(default)]
    pub(super) publish_key_at: Option<UnixTime>,
}

/// A relay where this client accepts introductions, on disk.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct IntroPointRecord {
    pub(super) point: IntroPoint,
    /// The seed of the random ids that pad its list: the same on each circuit to it.
    #[serde(default)]
    pub(super) filling: [u8; 32],
    /// Until when it is used, in seconds since 1970.
    pub(super) until: u64,
    /// Since when the consensus has not listed the relay, in seconds since 1970.
    #[serde(default)]
    pub(super) absent_since: Option<u64>,
    /// True if it is being replaced: no contact is told of it any more.
    #[serde(default)]
    pub(super) retiring: bool,
}

impl IntroPointRecord {
    /// True if contacts are told of it.
    pub(super) const fn is_in_use(&self) -> bool {
        !self.retiring && self.absent_since.is_none()
    }
}

impl Profile {
    /// Gives a profile that has none its key.
    pub(super) fn ensure_identity(&mut self, rng: &mut impl CryptoRng, store: &mut Store) {
        if self.identity.is_none() {
            self.identity = Some(KeyBytes::of_identity(&IdentityKeypair::generate(rng)));
            self.put(store);
        }
    }

    /// What contacts are told of the person.
    pub(super) const fn privacy(&self) -> Event {
        Event::Privacy { receipts: !self.no_receipts, typing: !self.no_typing }
    }

    /// Writes it with the current batch.
    pub(super) fn put(&self, store: &mut Store) {
        store.put(Key::Profile.to_string(), self);
    }

    /// Writes with the current batch what circuits have to remember.
    pub(super) fn store_circuits(&mut self, circuits: &mut CircuitManager, store: &mut Store) {
        for (key, value) in circuits.take_records() {
            store.put_bytes(key.to_string(), value);
        }
        if let Some((guards, second_hops)) = circuits.take_changed_guards() {
            (self.guards, self.second_hops) = (guards, second_hops);
            self.put(store);
        }
    }
}
