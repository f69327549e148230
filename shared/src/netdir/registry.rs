//! What an authority holds of relays: their descriptors, whether they answer, and since when it knows them.

use core::time::Duration;
use std::collections::BTreeMap;
use std::sync::Arc;

use thiserror::Error;

use super::{
    DescriptorError, MAX_DESCRIPTOR_LEN, MAX_RELAYS, NetworkId, Nickname, RelayDescriptor, RelayEntry, Role, Roles,
    VotedRelay,
};
use crate::crypto::keys::RelayIdentity;
use crate::time::{Instant, Now};
use crate::wire::{Reader, Writer};

const VERSION: u16 = 2;

/// How far a relay's clock may be off the authority's.
///
/// A descriptor counts once, and only if it is later than the one that it renews. So what somebody has recorded may
/// keep a dead relay listed for this long at most.
const MAX_CLOCK_OFFSET: Duration = Duration::from_secs(10 * 60);

/// Probes of a relay that are remembered.
const PROBES: u32 = 100;

/// How long a relay that has gone is remembered, and how many of them.
const MEMORY: Duration = Duration::from_secs(30 * 24 * 60 * 60);
const MAX_DEPARTED: usize = 2 * MAX_RELAYS;

/// Why an authority does not take a descriptor.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PublishError {
    /// It does not count at all.
    #[error(transparent)]
    Descriptor(#[from] DescriptorError),
    /// It was made too long ago, or in the future.
    #[error("the relay's clock is {} s {} this authority's; {} s are allowed",
        .0.unsigned_abs(), if *.0 < 0 { "behind" } else { "ahead of" }, MAX_CLOCK_OFFSET.as_secs())]
    Clock(i64),
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

/// By what an authority judges relays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistryConfig {
    /// A relay that has not renewed its descriptor for this long is dropped.
    pub drop_after: Duration,
    /// A relay that has answered no probe for this long does not run.
    pub down_after: Duration,
    /// How long a relay must have been known before it gets the roles that an attacker would want: guard and chord.
    pub probation: Duration,
    /// Relays that came within this time after the authority's own beginning need not wait: a network has to begin somehow.
    pub founding: Duration,
    /// The most weight that any relay gets: what relays claim is not measured.
    pub max_weight: u32,
}

/// The descriptors that an authority holds.
///
/// The newest of each relay, for as long as the relay goes on renewing it. Two relays never have the same nickname,
/// keys or address: who came first keeps them.
#[derive(Debug)]
pub struct Registry {
    network: NetworkId,
    config: RegistryConfig,
    /// When the authority began, in seconds since 1970.
    founded: u64,
    held: BTreeMap<RelayIdentity, Held>,
    /// Relays that have gone: since when they were known, and when they were seen last, in seconds since 1970.
    departed: BTreeMap<RelayIdentity, (u64, u64)>,
    changed: Instant,
}

#[derive(Debug)]
struct Held {
    descriptor: RelayDescriptor,
    bytes: Arc<[u8]>,
    renewed: Instant,
    since: u64,
    probes: Probes,
}

/// How a relay has answered lately.
#[derive(Clone, Copy, Debug, Default)]
struct Probes {
    /// A bit for each of the last probes, the newest lowest.
    answered: u128,
    count: u32,
    last: Option<Instant>,
    last_answer: Option<Instant>,
}

impl Probes {
    fn add(&mut self, now: Instant, answered: bool) {
        self.answered = (self.answered << 1 | u128::from(answered)) & ((1 << PROBES) - 1);
        self.count = (self.count + 1).min(PROBES);
        self.last = Some(now);
        if answered {
            self.last_answer = Some(now);
        }
    }

    fn health(&self) -> u8 {
        let percent = (100 * self.answered.count_ones()).checked_div(self.count).unwrap_or_default();
        u8::try_from(percent).unwrap_or(100)
    }
}

/// What an operator is shown of a relay.
#[derive(Clone, Debug)]
pub struct RelayReport<'a> {
    /// What the relay says of itself.
    pub descriptor: &'a RelayDescriptor,
    /// Since when it has been known, in seconds since 1970.
    pub since: u64,
    /// Whether it runs, by its probes.
    pub runs: bool,
    /// How many of a hundred probes it has answered lately.
    pub health: u8,
    /// The last probe, and the last that it has answered.
    pub probed: (Option<Instant>, Option<Instant>),
    /// What this authority would have it used for.
    pub roles: Roles,
}

impl Registry {
    /// An empty registry of an authority that begins now.
    pub const fn new(network: NetworkId, config: RegistryConfig, now: Now) -> Self {
        let founded = now.unix.as_secs();
        Self { network, config, founded, held: BTreeMap::new(), departed: BTreeMap::new(), changed: now.instant }
    }

    /// How many relays are held.
    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// Whether no relay is held.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Whether this very descriptor of the relay is held, byte for byte: its signatures have been checked then.
    pub fn holds(&self, relay: &RelayIdentity, bytes: &[u8]) -> bool {
        self.held.get(relay).is_some_and(|held| *held.bytes == *bytes)
    }

    /// Takes a descriptor that somebody has sent, or says why not.
    ///
    /// # Errors
    ///
    /// If it does not count, or may not stand beside those that are held.
    pub fn publish(&mut self, now: Now, bytes: &[u8]) -> Result<Published, PublishError> {
        let descriptor = RelayDescriptor::verify(bytes, &self.network)?;
        let secs = now.unix.as_secs();
        let offset = i64::try_from(i128::from(descriptor.published) - i128::from(secs)).unwrap_or(i64::MAX);
        if offset.unsigned_abs() > MAX_CLOCK_OFFSET.as_secs() {
            return Err(PublishError::Clock(offset));
        }
        let entry = &descriptor.entry;
        let identity = entry.identity;
        let before = self.held.get(&identity);
        let published = match before {
            Some(held) if held.descriptor.published >= descriptor.published => return Err(PublishError::Outdated),
            Some(held) if held.descriptor.entry == *entry => Published::Renewed,
            Some(_) => Published::Changed,
            None if self.held.len() >= MAX_RELAYS => return Err(PublishError::Full),
            None => Published::Changed,
        };
        let (since, mut probes) = before.map_or((None, Probes::default()), |held| (Some(held.since), held.probes));
        if published == Published::Changed {
            self.check_unique(entry)?;
            // Elsewhere, or with another link key: whether it answers there is to be seen.
            if before.is_some_and(|held| {
                held.descriptor.entry.url != entry.url || held.descriptor.entry.link_key != entry.link_key
            }) {
                probes.last_answer = None;
            }
            self.changed = now.instant;
        }
        let since = since.or_else(|| self.departed.remove(&identity).map(|(since, _)| since)).unwrap_or(secs);
        self.held.insert(identity, Held { bytes: bytes.into(), renewed: now.instant, descriptor, since, probes });
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
            if other.urls().any(|url| entry.urls().any(|own| own == url)) {
                return Err(PublishError::UrlTaken);
            }
        }
        Ok(())
    }

    /// Drops the relays that have not renewed their descriptors, and gives their nicknames.
    pub fn expire(&mut self, now: Now) -> Vec<Nickname> {
        let (drop_after, secs) = (self.config.drop_after, now.unix.as_secs());
        let gone: Vec<_> = self
            .held
            .extract_if(.., |_, held| now.instant.saturating_since(held.renewed) > drop_after)
            .map(|(identity, held)| (identity, held.since, held.descriptor.entry.nickname))
            .collect();
        for (identity, since, _) in &gone {
            self.departed.insert(*identity, (*since, secs));
        }
        self.departed.retain(|_, (_, seen)| seen.saturating_add(MEMORY.as_secs()) >= secs);
        while self.departed.len() > MAX_DEPARTED {
            let oldest = self.departed.iter().min_by_key(|(_, (_, seen))| *seen).map(|(identity, _)| *identity);
            oldest.map(|identity| self.departed.remove(&identity));
        }
        gone.into_iter().map(|(_, _, nickname)| nickname).collect()
    }

    /// The relays to be probed: those that were not probed for `every`.
    pub fn due_for_probe(&self, now: Instant, every: Duration) -> Vec<RelayEntry> {
        let is_due = |held: &&Held| held.probes.last.is_none_or(|last| now.saturating_since(last) >= every);
        let due = self.held.values().filter(is_due);
        due.map(|held| held.descriptor.entry.clone()).collect()
    }

    /// Notes whether a relay has answered a probe of the key and the address that `probed` says.
    pub fn probed(&mut self, now: Instant, probed: &RelayEntry, answered: bool) {
        if let Some(held) = self.held.get_mut(&probed.identity) {
            let entry = &held.descriptor.entry;
            // It may have moved while the probe was under way.
            if entry.link_key == probed.link_key && entry.url == probed.url {
                held.probes.add(now, answered);
            }
        }
    }

    /// Whether all relays have been probed, and none has changed for `quiet`: what is said of them now will not be otherwise
    /// in a moment.
    pub fn is_settled(&self, now: Instant, quiet: Duration) -> bool {
        now.saturating_since(self.changed) >= quiet && self.held.values().all(|held| held.probes.last.is_some())
    }

    fn runs(&self, held: &Held, now: Instant) -> bool {
        held.probes.last_answer.is_some_and(|last| now.saturating_since(last) <= self.config.down_after)
    }

    /// What a relay may be used for: what it offers, without what it has not been known for long enough for.
    fn roles(&self, held: &Held, secs: u64) -> Roles {
        let waited = secs.saturating_sub(held.since) >= self.config.probation.as_secs();
        let founder = held.since <= self.founded.saturating_add(self.config.founding.as_secs());
        let withheld = if waited || founder { 0 } else { Role::Guard as u16 | Role::Chord as u16 };
        Roles::from_bits(held.descriptor.entry.roles.bits() & !withheld)
    }

    /// What this authority votes of the relays: those that run, by ascending identity.
    pub fn opinion(&self, now: Now) -> Vec<VotedRelay> {
        let running = self.held.values().filter(|held| self.runs(held, now.instant));
        let voted = running.map(|held| VotedRelay {
            descriptor: held.descriptor.clone(),
            bytes: Arc::clone(&held.bytes),
            roles: self.roles(held, now.unix.as_secs()),
            weight: held.descriptor.entry.weight.min(self.config.max_weight),
            health: held.probes.health(),
            since: held.since,
        });
        voted.collect()
    }

    /// All relays that are held, for the operator.
    pub fn report(&self, now: Now) -> impl Iterator<Item = RelayReport<'_>> {
        self.held.values().map(move |held| RelayReport {
            descriptor: &held.descriptor,
            since: held.since,
            runs: self.runs(held, now.instant),
            health: held.probes.health(),
            probed: (held.probes.last, held.probes.last_answer),
            roles: self.roles(held, now.unix.as_secs()),
        })
    }

    /// Everything that has to survive, to be stored: version (2 bytes), founded (8), number of relays that have gone (4) and
    /// each one's identity (32), since (8) and last seen (8), then each relay that is held: since (8) and its descriptor
    /// behind its length (2).
    pub fn save(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.u16(VERSION).u64(self.founded);
        writer.u32(u32::try_from(self.departed.len()).unwrap_or_default());
        for (identity, (since, seen)) in &self.departed {
            writer.raw(identity.as_bytes()).u64(*since).u64(*seen);
        }
        for held in self.held.values() {
            // No descriptor is longer than its bound, which two bytes can say.
            let _ = writer.u64(held.since).bytes_u16(&held.bytes);
        }
        writer.into_bytes()
    }

    /// The longest that [`save`](Self::save) gives, in bytes.
    pub const MAX_SAVED_LEN: usize = 14 + MAX_DEPARTED * 48 + MAX_RELAYS * (10 + MAX_DESCRIPTOR_LEN);

    /// Takes back what [`save`](Self::save) gave; each relay has the usual time to show that it lives.
    ///
    /// # Errors
    ///
    /// If it is not what was saved; what was read before that stays.
    pub fn restore(&mut self, now: Instant, bytes: &[u8]) -> Result<(), PublishError> {
        let malformed = |error| PublishError::Descriptor(DescriptorError::Decode(error));
        let mut reader = Reader::new(bytes);
        reader.version("the list of descriptors", VERSION).map_err(malformed)?;
        self.founded = reader.u64().map_err(malformed)?.min(self.founded);
        for _ in 0..reader.u32().map_err(malformed)? {
            let identity = RelayIdentity(reader.array().map_err(malformed)?);
            let times = (reader.u64().map_err(malformed)?, reader.u64().map_err(malformed)?);
            if self.departed.len() < MAX_DEPARTED {
                self.departed.insert(identity, times);
            }
        }
        while !reader.is_empty() && self.held.len() < MAX_RELAYS {
            let since = reader.u64().map_err(malformed)?;
            let bytes = reader.bytes_u16("a descriptor", MAX_DESCRIPTOR_LEN).map_err(malformed)?;
            let descriptor = RelayDescriptor::verify(bytes, &self.network)?;
            self.check_unique(&descriptor.entry)?;
            let held = Held { bytes: bytes.into(), renewed: now, descriptor, since, probes: Probes::default() };
            self.held.insert(held.descriptor.entry.identity, held);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
