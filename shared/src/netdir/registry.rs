//! What an authority holds: the relays' descriptors, and when a new consensus is due.

use core::time::Duration;
use std::collections::BTreeMap;

use thiserror::Error;

use super::{
    Consensus, ConsensusDraft, DescriptorError, MAX_DESCRIPTOR_LEN, MAX_RELAYS, NetworkId, Nickname, RelayDescriptor,
    RelayEntry, Validity,
};
use crate::crypto::keys::RelayIdentity;
use crate::time::{Instant, Now};
use crate::wire::{DecodeError, Reader, Writer};

const VERSION: u16 = 1;

/// How far a relay's clock may be off the authority's.
///
/// A descriptor counts once, and only if it is later than the one that it renews. So what somebody has recorded may
/// keep a dead relay listed for this long at most.
const MAX_CLOCK_OFFSET: Duration = Duration::from_secs(10 * 60);

/// Why an authority does not take a descriptor.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PublishError {
    /// It does not count at all.
    #[error(transparent)]
    Descriptor(#[from] DescriptorError),
    /// It was made too long ago, or in the future.
    #[error("the relay's clock is more than {} s off this authority's", MAX_CLOCK_OFFSET.as_secs())]
    Clock,
    /// One that was published later, or at the same time, is already here.
    #[error("a later descriptor of this relay is already held")]
    Outdated,
    /// Another relay has the name.
    #[error("another relay has the nickname {0}")]
    NicknameTaken(Nickname),
    /// Another relay has the link key or the onion key.
    #[error("another relay has one of the keys")]
    KeyTaken,
    /// Another relay has the address.
    #[error("another relay has the address")]
    UrlTaken,
    /// The network is as large as it can be.
    #[error("there are already {MAX_RELAYS} relays")]
    Full,
}

/// What a descriptor that was taken has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Published {
    /// The relay is new, or says something new of itself.
    Changed,
    /// The relay lives; all else is as before.
    Renewed,
}

/// By what an authority goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistryConfig {
    /// A relay that has not renewed its descriptor for this long is dropped.
    pub drop_after: Duration,
    /// How long a consensus stays the newest when nothing changes.
    pub fresh_for: Duration,
    /// How long a consensus counts.
    pub valid_for: Duration,
    /// Numbers that all nodes and clients go by.
    pub parameters: BTreeMap<String, i64>,
}

/// The descriptors that an authority holds.
///
/// The newest of each relay, for as long as the relay goes on renewing it. Two relays never have the same nickname,
/// keys or address: who came first keeps them.
#[derive(Debug)]
pub struct Registry {
    network: NetworkId,
    config: RegistryConfig,
    held: BTreeMap<RelayIdentity, Held>,
}

#[derive(Debug)]
struct Held {
    descriptor: RelayDescriptor,
    bytes: Vec<u8>,
    renewed: Instant,
}

/// How far a consensus may be dated ahead because several were made within a second.
const MAX_AHEAD: Duration = Duration::from_secs(5);

impl Registry {
    /// An empty registry.
    pub const fn new(network: NetworkId, config: RegistryConfig) -> Self {
        Self { network, config, held: BTreeMap::new() }
    }

    /// How many relays are held.
    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// Whether no relay is held.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Takes a descriptor that somebody has sent, or says why not.
    pub fn publish(&mut self, now: Now, bytes: &[u8]) -> Result<Published, PublishError> {
        let descriptor = RelayDescriptor::verify(bytes, &self.network)?;
        if descriptor.published.abs_diff(now.unix.as_secs()) > MAX_CLOCK_OFFSET.as_secs() {
            return Err(PublishError::Clock);
        }
        let entry = &descriptor.entry;
        let published = match self.held.get(&entry.identity) {
            Some(held) if held.descriptor.published >= descriptor.published => return Err(PublishError::Outdated),
            Some(held) if held.descriptor.entry == *entry => Published::Renewed,
            Some(_) => Published::Changed,
            None if self.held.len() >= MAX_RELAYS => return Err(PublishError::Full),
            None => Published::Changed,
        };
        if published == Published::Changed {
            self.check_unique(entry)?;
        }
        let held = Held { bytes: bytes.to_vec(), renewed: now.instant, descriptor };
        self.held.insert(held.descriptor.entry.identity, held);
        Ok(published)
    }

    fn check_unique(&self, entry: &RelayEntry) -> Result<(), PublishError> {
        for other in self.held.values().map(|held| &held.descriptor.entry) {
            if other.identity == entry.identity {
                continue;
            }
            if other.nickname == entry.nickname {
                return Err(PublishError::NicknameTaken(entry.nickname.clone()));
            }
            if other.link_key == entry.link_key || other.onion_key == entry.onion_key {
                return Err(PublishError::KeyTaken);
            }
            if other.url == entry.url {
                return Err(PublishError::UrlTaken);
            }
        }
        Ok(())
    }

    /// Drops the relays that have not renewed their descriptors, and gives their nicknames.
    pub fn expire(&mut self, now: Instant) -> Vec<Nickname> {
        let drop_after = self.config.drop_after;
        self.held
            .extract_if(.., |_, held| now.saturating_since(held.renewed) > drop_after)
            .map(|(_, held)| held.descriptor.entry.nickname)
            .collect()
    }

    /// The next consensus, if one is due: because `current` does not say what is held, or is no longer fresh.
    pub fn draft(&self, now: Now, current: Option<&Consensus>) -> Option<ConsensusDraft> {
        let now = now.unix.as_secs();
        if let Some(current) = current {
            let held = self.held.values().map(|held| &held.descriptor.entry);
            let same = held.eq(current.relays()) && *current.parameters() == self.config.parameters;
            if same && now < current.validity().fresh_until {
                return None;
            }
        }
        // Each has to be newer than the one before, also when a few are made within a second: but a stream of changes must
        // not carry the consensus away into the future.
        let earliest = current.map_or(0, |current| current.validity().valid_after.saturating_add(1));
        if earliest > now.saturating_add(MAX_AHEAD.as_secs()) {
            return None;
        }
        let valid_after = now.max(earliest);
        let fresh_until = valid_after.saturating_add(self.config.fresh_for.as_secs());
        let valid_until = valid_after.saturating_add(self.config.valid_for.as_secs()).max(fresh_until);
        let relays = self.held.values().map(|held| held.descriptor.entry.clone()).collect();
        let mut draft = ConsensusDraft::new(self.network, Validity { valid_after, fresh_until, valid_until }, relays);
        draft.parameters = self.config.parameters.clone();
        Some(draft)
    }

    /// All descriptors, to be stored: version (2 bytes), then each one behind its length (2).
    pub fn save(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.u16(VERSION);
        for held in self.held.values() {
            // No descriptor is longer than its bound, which two bytes can say.
            let _ = writer.bytes_u16(&held.bytes);
        }
        writer.into_bytes()
    }

    /// Takes back what [`save`](Self::save) gave; each relay has the usual time to show that it lives.
    pub fn restore(&mut self, now: Instant, bytes: &[u8]) -> Result<(), PublishError> {
        let malformed = |error| PublishError::Descriptor(DescriptorError::Decode(error));
        let mut reader = Reader::new(bytes);
        let version = reader.u16().map_err(malformed)?;
        if version != VERSION {
            return Err(malformed(DecodeError::Version { what: "the list of descriptors", version }));
        }
        while !reader.is_empty() && self.held.len() < MAX_RELAYS {
            let bytes = reader.bytes_u16("a descriptor", MAX_DESCRIPTOR_LEN).map_err(malformed)?;
            let descriptor = RelayDescriptor::verify(bytes, &self.network)?;
            self.check_unique(&descriptor.entry)?;
            let held = Held { bytes: bytes.to_vec(), renewed: now, descriptor };
            self.held.insert(held.descriptor.entry.identity, held);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::authorities::tests::authorities;
    use super::super::descriptor::tests::relay;
    use super::*;
    use crate::time::UnixTime;

    const START: u64 = 1_700_000_000;

    fn at(secs: u64) -> Now {
        Now { instant: Instant::from_millis(secs * 1000), unix: UnixTime::from_millis((START + secs) * 1000) }
    }

    fn registry() -> Registry {
        let (_, authorities) = authorities(1);
        let config = RegistryConfig {
            drop_after: Duration::from_secs(20),
            fresh_for: Duration::from_secs(60),
            valid_for: Duration::from_secs(180),
            parameters: BTreeMap::new(),
        };
        Registry::new(*authorities.network(), config)
    }

    fn descriptor(registry: &Registry, seed: u8, secs: u64, change: impl Fn(&mut RelayEntry)) -> Vec<u8> {
        let (keypair, mut descriptor) = relay(seed);
        descriptor.published = START + secs;
        change(&mut descriptor.entry);
        descriptor.sign(&keypair, &registry.network)
    }

    #[test]
    fn a_relay_stays_while_it_renews_its_descriptor() {
        let mut registry = registry();
        let bytes = descriptor(&registry, 1, 0, |_| ());
        assert_eq!(registry.publish(at(0), &bytes), Ok(Published::Changed));
        assert_eq!(registry.publish(at(0), &bytes), Err(PublishError::Outdated));
        let bytes = descriptor(&registry, 1, 15, |_| ());
        assert_eq!(registry.publish(at(15), &bytes), Ok(Published::Renewed));
        assert!(registry.expire(at(35).instant).is_empty());
        assert_eq!(registry.expire(at(36).instant).len(), 1);
        assert!(registry.is_empty());
    }

    #[test]
    fn who_came_first_keeps_name_keys_and_address() {
        let mut registry = registry();
        let first = relay(1).1.entry;
        let bytes = descriptor(&registry, 1, 0, |_| ());
        registry.publish(at(0), &bytes).unwrap();
        let mut refused = |change: &dyn Fn(&mut RelayEntry)| {
            let bytes = descriptor(&registry, 2, 0, change);
            registry.publish(at(0), &bytes).unwrap_err()
        };
        let taken = PublishError::NicknameTaken(first.nickname.clone());
        assert_eq!(refused(&|entry| entry.nickname = first.nickname.clone()), taken);
        assert_eq!(refused(&|entry| entry.link_key = first.link_key), PublishError::KeyTaken);
        assert_eq!(refused(&|entry| entry.onion_key = first.onion_key), PublishError::KeyTaken);
        assert_eq!(refused(&|entry| entry.url = first.url.clone()), PublishError::UrlTaken);
    }

    #[test]
    fn what_was_recorded_long_ago_brings_no_relay_back() {
        let mut registry = registry();
        let bytes = descriptor(&registry, 1, 0, |_| ());
        assert_eq!(registry.publish(at(601), &bytes), Err(PublishError::Clock));
        let bytes = descriptor(&registry, 1, 1300, |_| ());
        assert_eq!(registry.publish(at(601), &bytes), Err(PublishError::Clock));
    }

    #[test]
    fn a_consensus_is_due_when_something_changes_or_it_grows_old() {
        let (keypairs, authorities) = authorities(1);
        let mut registry = registry();
        let sign = |draft: ConsensusDraft, now: Now| {
            let bytes = draft.sign(&[&keypairs[0]]).unwrap();
            Consensus::verify(&bytes, &authorities, now.unix).unwrap()
        };
        let empty = sign(registry.draft(at(0), None).unwrap(), at(0));
        assert_eq!(registry.draft(at(0), Some(&empty)), None);

        let bytes = descriptor(&registry, 1, 0, |_| ());
        registry.publish(at(0), &bytes).unwrap();
        let one = sign(registry.draft(at(0), Some(&empty)).unwrap(), at(0));
        assert!(one.is_newer_than(&empty), "made within the same second");
        assert_eq!(one.relays().len(), 1);

        let bytes = descriptor(&registry, 1, 1, |_| ());
        registry.publish(at(1), &bytes).unwrap();
        assert_eq!(registry.draft(at(1), Some(&one)), None, "only renewed");
        assert_eq!(registry.draft(at(60), Some(&one)), None);
        assert!(registry.draft(at(61), Some(&one)).is_some(), "no longer fresh");
    }

    #[test]
    fn what_was_saved_is_restored() {
        let mut before = registry();
        for seed in 1..4 {
            let bytes = descriptor(&before, seed, 0, |_| ());
            before.publish(at(0), &bytes).unwrap();
        }
        let saved = before.save();
        let mut after = registry();
        after.restore(at(100).instant, &saved).unwrap();
        assert_eq!(after.draft(at(100), None), before.draft(at(100), None));
        assert!(after.expire(at(120).instant).is_empty());
        assert_eq!(after.expire(at(121).instant).len(), 3);
        assert!(registry().restore(at(0).instant, &saved[..saved.len() - 1]).is_err());
        assert!(registry().restore(at(0).instant, b"garbage").is_err());
    }
}
