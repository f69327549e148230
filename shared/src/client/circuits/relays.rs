//! Which relays to use: guards and second hops that stay, paths of relays that are strangers to each other, and a memory of
//! what has failed.
//!
//! After Tor's guard-spec, path-spec and vanguards-lite (proposal 333). Every choice by chance goes by the weights of the
//! consensus. No path has two relays that are *related*: with one operator, or with addresses in one subnet.
//!
//! # Layout
//!
//! - `path`: choosing paths
//! - `parameters`: what the network says of all this
//! - `table`: the relays of a consensus, their weights and relations
//! - `guards`, `second_hops`: those that stay
//! - `failures`: those that are left alone for a while

use std::time::Duration;

use rand_core::Rng;

use self::failures::Failures;
pub use self::guards::{Guard, PRIMARY_GUARDS};
use self::guards::{Guards, is_usable};
use self::parameters::Parameters;
pub use self::parameters::{
    GUARD_LIFETIME_PARAMETERS, LENGTH_PARAMETERS, MIDDLE_LIFETIME_PARAMETERS, SUBNET_PARAMETER,
};
pub use self::path::{End, MAX_HOPS, NoPath};
pub(in crate::client) use self::path::{hop, hops};
use self::second_hops::SecondHops;
pub use self::second_hops::{SECOND_HOPS, SecondHop};
use self::table::{Index, Table};
use crate::client::backoff::Backoff;
use crate::crypto::keys::RelayIdentity;
use crate::netdir::{Consensus, ConsensusDigest};
use crate::time::{Instant, Now};

mod failures;
mod guards;
mod parameters;
mod path;
mod second_hops;
mod table;

/// The pauses before a guard whose link failed is tried again.
const LINK_PENALTY: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(32));

/// The pauses before a relay that failed on a circuit is used again.
const PENALTY: Backoff = Backoff::new(Duration::from_secs(6), Duration::from_secs(192));

/// Hops of the circuits that this protocol's times are made for.
const USUAL_HOPS: u32 = 4;

/// How long there have to be too few relays before the person is told: a network that begins has few for a moment.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the client knows of relays.
#[derive(Debug, Default)]
pub struct Relays {
    digest: Option<ConsensusDigest>,
    /// By the consensus in use: when it begins and ends, in seconds since 1970.
    valid: (u64, u64),
    secure_links: bool,
    table: Table,
    parameters: Parameters,
    guards: Guards,
    second_hops: SecondHops,
    failures: Failures,
    /// The guards whose links should be open, as they were found last.
    primary: Vec<RelayIdentity>,
    /// Until when it is of no use to look through all relays again, for a guard and for second hops.
    in_vain: [Option<Instant>; 2],
    shortage: Option<Shortage>,
    /// Whether what is kept on disk has changed.
    changed: bool,
}

/// Too few relays.
#[derive(Debug)]
struct Shortage {
    /// Of guards, or else of others.
    of_guards: bool,
    since: Instant,
    /// Until when it is of no use to look again.
    until: Instant,
    told: bool,
}

const GUARD: usize = 0;
const SECOND_HOP: usize = 1;

impl Relays {
    /// With the guards and second hops that an earlier run has kept to; `secure_links` says whether all guards have to have a
    /// `wss://` address.
    pub fn new(guards: Vec<Guard>, second_hops: Vec<SecondHop>, secure_links: bool) -> Self {
        let (guards, second_hops) = (Guards::new(guards), SecondHops::new(second_hops));
        Self { guards, second_hops, secure_links, ..Self::default() }
    }

    /// Goes by this consensus and this time from now on; the wall clock's is the network's, as far as it is known. Costs nothing to speak of while both say nothing new.
    ///
    /// `true` if circuits that stood before may not stand so any more.
    pub fn update(&mut self, consensus: &Consensus, rng: &mut impl Rng, now: Now) -> bool {
        let is_new = self.digest != Some(consensus.digest());
        let mut changed = false;
        if is_new {
            self.digest = Some(consensus.digest());
            self.valid = (consensus.validity().valid_after, consensus.validity().valid_until);
            self.parameters = Parameters::of(consensus);
            self.table = Table::new(consensus.relays(), self.parameters.subnet_bits, |relay| {
                is_usable(relay, self.secure_links)
            });
            let table = &self.table;
            self.failures.retain(|relay| table.index(relay).is_some());
            changed |= self.guards.list(table, self.clock(now), rng);
            changed |= self.second_hops.list(&self.table);
        }
        let clock = self.clock(now);
        changed |= self.guards.expire(self.parameters.guards, clock, rng);
        changed |= self.second_hops.expire(self.parameters.second_hops, clock);
        if is_new || changed {
            self.news();
        }
        self.changed |= changed;
        is_new || changed
    }

    /// The time for lifetimes, in seconds since 1970. A clock that the consensus contradicts is not believed: neither a
    /// wrong one nor one that somebody has turned makes guards too old.
    fn clock(&self, now: Now) -> u64 {
        let (begin, end) = self.valid;
        now.unix.as_secs().clamp(begin, end.max(begin))
    }

    /// Something has changed: what was looked for in vain may be there now.
    fn news(&mut self) {
        self.in_vain = [None; 2];
        if let Some(shortage) = &mut self.shortage {
            shortage.until = shortage.since;
        }
    }

    /// Whether what is to be kept on disk has changed since the last call.
    pub fn take_changed(&mut self) -> bool {
        core::mem::take(&mut self.changed)
    }

    /// The guards that the client keeps to, in the order of preference.
    pub fn guards(&self) -> &[Guard] {
        self.guards.kept()
    }

    /// Whether the client keeps to this guard.
    pub fn keeps_guard(&self, relay: &RelayIdentity) -> bool {
        self.guards.keeps(relay)
    }

    /// The second hops that the client keeps to.
    pub fn second_hops(&self) -> &[SecondHop] {
        self.second_hops.kept()
    }

    /// Notes that a relay did not do what it should, and keeps away from it for a while.
    pub fn failed(&mut self, relay: RelayIdentity, now: Instant) {
        self.failures.note(relay, PENALTY, now);
        self.news();
    }

    /// Notes that the link to a guard failed.
    pub fn link_failed(&mut self, guard: RelayIdentity, now: Instant) {
        self.guards.missed(&guard);
        self.failures.note(guard, LINK_PENALTY, now);
        self.news();
    }

    /// Notes that a link has reached a guard: one that was tried is kept from now on.
    pub fn link_opened(&mut self, guard: RelayIdentity, rng: &mut impl Rng, now: Now) {
        self.works(&guard);
        let clock = self.clock(now);
        if self.guards.reached(&guard, &self.table, self.parameters.guards, clock, rng) {
            self.changed = true;
            self.news();
        }
    }

    /// Notes that a relay works.
    pub fn works(&mut self, relay: &RelayIdentity) {
        if self.failures.forgive(relay) {
            self.news();
        }
    }

    /// Whether the relay failed a short while ago.
    pub fn is_failing(&self, relay: &RelayIdentity, now: Instant) -> bool {
        self.failures.holds(relay, now)
    }

    /// The first moment at which a failing relay gets another chance.
    pub fn next_chance(&self, now: Instant) -> Option<Instant> {
        self.failures.next_chance(now)
    }

    /// A time limit that fits the usual circuits, made to fit the longest of this network.
    pub fn stretch(&self, time: Duration) -> Duration {
        let longest = u32::try_from(self.parameters.lengths.1 + 1).unwrap_or(USUAL_HOPS);
        time * longest / USUAL_HOPS
    }

    /// The guards whose links should be open: the first of those kept to that work, and others for those that do not, no
    /// two of them related. None of `invited_to` becomes a guard: those are named in links that strangers may read.
    pub fn primary_guards(
        &mut self,
        rng: &mut impl Rng,
        now: Instant,
        invited_to: impl Fn(&RelayIdentity) -> bool,
    ) -> Vec<RelayIdentity> {
        self.primary = loop {
            let primary = self.guards.primary(&self.table, &self.failures, now);
            if primary.len() == PRIMARY_GUARDS || self.is_in_vain(GUARD, now) || !self.guards.has_room() {
                break primary;
            }
            let refused = |relay: &RelayIdentity| invited_to(relay) || self.failures.holds(relay, now);
            if !self.guards.take_candidate(&self.table, rng, &primary, refused) {
                self.note_in_vain(GUARD, now);
                break primary;
            }
        };
        self.primary.clone()
    }

    fn primary_indices(&self) -> impl Iterator<Item = Index> {
        self.primary.iter().filter_map(|relay| self.table.index(relay))
    }

    fn is_in_vain(&self, what: usize, now: Instant) -> bool {
        self.in_vain.get(what).is_some_and(|until| until.is_some_and(|until| now < until))
    }

    fn note_in_vain(&mut self, what: usize, now: Instant) {
        let until = self.next_look(now);
        if let Some(in_vain) = self.in_vain.get_mut(what) {
            *in_vain = Some(until);
        }
    }

    /// Until when it is of no use to look again for what was not there.
    fn next_look(&self, now: Instant) -> Instant {
        self.failures.next_chance(now).unwrap_or(Instant::from_millis(u64::MAX))
    }

    /// Whether a relay is not listed, or related to all guards in use: then there is no path to it.
    pub fn is_out_of_reach(&self, relay: &RelayIdentity) -> bool {
        let Some(relay) = self.table.index(relay) else { return true };
        !self.primary.is_empty() && self.primary_indices().all(|guard| self.table.related(guard, relay))
    }

    /// What the person should know of the network's size, once for each time that it is too small.
    pub fn complaint(&mut self, now: Instant) -> Option<String> {
        let of_guards = self.digest.is_some() && !self.table.has_guards();
        if self.shortage.as_ref().is_some_and(|shortage| shortage.of_guards) != of_guards {
            self.shortage = of_guards.then_some(Shortage { of_guards, since: now, until: now, told: false });
        }
        let shortage = self.shortage.as_mut().filter(|shortage| !shortage.told)?;
        if now < shortage.since + PATIENCE {
            return None;
        }
        shortage.told = true;
        if of_guards {
            return Some("No relay of the network takes clients' links. Waiting for one.".to_owned());
        }
        let hops = self.parameters.lengths.0;
        Some(format!(
            "The network has too few relays: there is no path through {hops} of which no two have one operator or stand in \
             one subnet. Waiting for more."
        ))
    }
}

/// A number below `end`, each as likely as the others; none where that is zero. The bias is below 2⁻⁶⁴.
fn below(end: u64, rng: &mut impl Rng) -> Option<u64> {
    let drawn = u128::from(rng.next_u64()) << 64 | u128::from(rng.next_u64());
    u64::try_from(drawn.checked_rem(u128::from(end))?).ok()
}

#[cfg(test)]
mod tests;
