//! What an authority holds of relays: their descriptors, whether they answer, and since when it knows them.

use core::time::Duration;
use std::collections::BTreeMap;
use std::sync::Arc;

use thiserror::Error;

use super::{
    DescriptorError, MAX_DESCRIPTOR_LEN, MAX_RELAYS, NetworkId, Nickname, RelayDescriptor, RelayEntry, RelayRole,
    Roles, VotedRelay,
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
    /// A relay that has not renewed its descriptor for this long is dropped, and one that has not answered for this long keeps
    /// its claims no longer.
    pub drop_after: Duration,
    /// A relay that has answered no probe for this long does not run; a new one keeps its claims for this long without an answer.
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
/// The newest of each relay, for as long as the relay goes on renewing it. Two relays never have the same nickname, keys or
/// address: who came first keeps them, as long as it answers. The claims of one that does not, be it that it has not come up or
/// that somebody has made it up, stand only until another with the same claims has answered. That one waits until then, and
/// nobody waits behind a relay that answers.
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
    /// Until when it keeps its nickname, keys and address without an answer.
    firm_until: Instant,
    /// Whether it has answered ever.
    reached: bool,
    /// Whether another has something of what it claims, and it has that only once it has answered.
    waits: bool,
}

impl Held {
    fn is_firm(&self, now: Instant) -> bool {
        !self.waits && now <= self.firm_until
    }
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
            Some(_) | None => Published::Changed,
        };
        // A new one has a while to answer. It does not begin anew with what the relay says next.
        let soon = now.instant + self.config.down_after;
        let (since, mut probes, mut firm_until, reached, mut waits) = before
            .map_or((None, Probes::default(), soon, false, false), |held| {
                (Some(held.since), held.probes, held.firm_until, held.reached, held.waits)
            });
        if published == Published::Changed {
            waits = self.has_to_wait(now.instant, entry)?;
            // Elsewhere, or with another link key: whether it answers there is to be seen.
            if before.is_some_and(|held| {
                held.descriptor.entry.url != entry.url || held.descriptor.entry.link_key != entry.link_key
            }) {
                probes.last_answer = None;
                firm_until = firm_until.min(soon);
            }
            if before.is_none() && self.held.len() >= MAX_RELAYS {
                self.make_room(now.instant)?;
            }
            self.changed = now.instant;
        }
        let since = since.or_else(|| self.departed.remove(&identity).map(|(since, _)| since)).unwrap_or(secs);
        let (bytes, renewed) = (bytes.into(), now.instant);
        self.held.insert(identity, Held { descriptor, bytes, renewed, since, probes, firm_until, reached, waits });
        Ok(published)
    }

    /// Whether other relays have something of what this one claims, none of which they are sure to keep.
    ///
    /// # Errors
    ///
    /// If one is.
    fn has_to_wait(&self, now: Instant, entry: &RelayEntry) -> Result<bool, PublishError> {
        let mut waits = false;
        for other in self.held.values().filter(|other| !other.waits) {
            if let Some(conflict) = conflict(&other.descriptor.entry, entry) {
                if other.is_firm(now) {
                    return Err(conflict);
                }
                waits = true;
            }
        }
        Ok(waits)
    }

    /// Forgets one of those that do not answer, who would else keep everybody out.
    fn make_room(&mut self, now: Instant) -> Result<(), PublishError> {
        let idle = self.held.iter().filter(|(_, held)| now > held.firm_until);
        let idlest = idle.min_by_key(|(_, held)| held.firm_until).map(|(identity, _)| *identity);
        idlest.and_then(|identity| self.held.remove(&identity)).map(drop).ok_or(PublishError::Full)
    }

    /// Drops the relays that have not renewed their descriptors, and gives their nicknames.
    pub fn expire(&mut self, now: Now) -> Vec<Nickname> {
        let (drop_after, secs) = (self.config.drop_after, now.unix.as_secs());
        let gone: Vec<_> = self
            .held
            .extract_if(.., |_, held| now.instant.saturating_since(held.renewed) > drop_after)
            .map(|(identity, held)| (identity, held.since, held.reached, held.descriptor.entry.nickname))
            .collect();
        // To have been known is worth something: it takes a relay that was there.
        for (identity, since, ..) in gone.iter().filter(|(_, _, reached, _)| *reached) {
            self.departed.insert(*identity, (*since, secs));
        }
        self.departed.retain(|_, (_, seen)| seen.saturating_add(MEMORY.as_secs()) >= secs);
        while self.departed.len() > MAX_DEPARTED {
            let oldest = self.departed.iter().min_by_key(|(_, (_, seen))| *seen).map(|(identity, _)| *identity);
            oldest.map(|identity| self.departed.remove(&identity));
        }
        gone.into_iter().map(|(.., nickname)| nickname).collect()
    }

    /// The relays to be probed: those that were not probed for `every`.
    pub fn due_for_probe(&self, now: Instant, every: Duration) -> Vec<RelayEntry> {
        let is_due = |held: &&Held| held.probes.last.is_none_or(|last| now.saturating_since(last) >= every);
        let due = self.held.values().filter(is_due);
        due.map(|held| held.descriptor.entry.clone()).collect()
    }

    /// Notes whether a relay has answered a probe of the key and the address that `probed` says.
    ///
    /// One that answers has what it claims from then on, and others that claim the same are forgotten; their nicknames are
    /// given. It has nothing that a relay claims which is sure to keep it.
    pub fn probed(&mut self, now: Instant, probed: &RelayEntry, answered: bool) -> Vec<Nickname> {
        let Some(held) = self.held.get_mut(&probed.identity) else { return Vec::new() };
        let entry = &held.descriptor.entry;
        // It may have moved while the probe was under way.
        if entry.link_key != probed.link_key || entry.url != probed.url {
            return Vec::new();
        }
        held.probes.add(now, answered);
        if !answered {
            return Vec::new();
        }
        held.reached = true;
        let entry = entry.clone();
        if self.has_to_wait(now, &entry).is_err() {
            return Vec::new();
        }
        if let Some(held) = self.held.get_mut(&probed.identity) {
            held.waits = false;
            held.firm_until = now + self.config.drop_after;
        }
        let in_the_way = |_: &RelayIdentity, held: &mut Held| conflict(&held.descriptor.entry, &entry).is_some();
        let ousted: Vec<_> = self.held.extract_if(.., in_the_way).collect();
        if !ousted.is_empty() {
            self.changed = now;
        }
        ousted.into_iter().map(|(_, held)| held.descriptor.entry.nickname).collect()
    }

    /// Whether all relays have been probed, and none has changed for `quiet`: what is said of them now will not be otherwise
    /// in a moment.
    pub fn is_settled(&self, now: Instant, quiet: Duration) -> bool {
        now.saturating_since(self.changed) >= quiet && self.held.values().all(|held| held.probes.last.is_some())
    }

    fn runs(&self, held: &Held, now: Instant) -> bool {
        !held.waits && held.probes.last_answer.is_some_and(|last| now.saturating_since(last) <= self.config.down_after)
    }

    /// What a relay may be used for: what it offers, without what it has not been known for long enough for.
    fn roles(&self, held: &Held, secs: u64) -> Roles {
        let waited = secs.saturating_sub(held.since) >= self.config.probation.as_secs();
        let founder = held.since <= self.founded.saturating_add(self.config.founding.as_secs());
        let withheld = if waited || founder { 0 } else { RelayRole::Guard as u16 | RelayRole::Chord as u16 };
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

    /// Everything that has to survive, to be stored; relays that have never answered, or wait, publish again. Version (2 bytes), founded (8), number of relays that have gone (4) and
    /// each one's identity (32), since (8) and last seen (8), then each relay: since (8) and its descriptor behind its
    /// length (2).
    pub fn save(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.u16(VERSION).u64(self.founded);
        writer.u32(u32::try_from(self.departed.len()).unwrap_or_default());
        for (identity, (since, seen)) in &self.departed {
            writer.raw(identity.as_bytes()).u64(*since).u64(*seen);
        }
        for held in self.held.values().filter(|held| held.reached && !held.waits) {
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
            // What was saved has no two that claim the same.
            self.has_to_wait(now, &descriptor.entry)?;
            let held = Held {
                bytes: bytes.into(),
                renewed: now,
                descriptor,
                since,
                probes: Probes::default(),
                firm_until: now + self.config.drop_after,
                reached: true,
                waits: false,
            };
            self.held.insert(held.descriptor.entry.identity, held);
        }
        Ok(())
    }
}

/// What two different relays both claim that only one can have.
fn conflict(one: &RelayEntry, other: &RelayEntry) -> Option<PublishError> {
    if one.identity == other.identity {
        None
    } else if one.nickname == other.nickname {
        Some(PublishError::NicknameTaken(other.nickname.clone()))
    } else if one.link_key == other.link_key || one.onion_key == other.onion_key {
        Some(PublishError::KeyTaken)
    } else if one.urls().any(|url| other.urls().any(|own| own == url)) {
        Some(PublishError::UrlTaken)
    } else {
        None
    }
}

#[cfg(test)]
mod tests;
