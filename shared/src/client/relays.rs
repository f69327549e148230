//! Which relays to use: guards and second hops that stay, paths of relays that are strangers to each other, and a memory of
//! what has failed.
//!
//! After Tor's guard-spec, path-spec and vanguards-lite (proposal 333). Every choice by chance goes by the weights of the
//! consensus. No path has two relays that are *related*: with one operator, or with addresses in one subnet.
//!
//! # Layout
//!
//! - `table`: the relays of a consensus, their weights and relations
//! - `guards`, `second_hops`: those that stay
//! - `failures`: those that are left alone for a while

use std::time::Duration;

use rand_core::Rng;

use self::failures::Failures;
pub use self::guards::{Guard, PRIMARY_GUARDS};
use self::guards::{Guards, is_usable};
use self::second_hops::SecondHops;
pub use self::second_hops::{SECOND_HOPS, SecondHop};
use self::table::{Index, Table};
use crate::circuit::Hop;
use crate::crypto::keys::RelayIdentity;
use crate::netdir::{Consensus, ConsensusDigest, RelayEntry, Role};
use crate::time::{Instant, Now};

mod failures;
mod guards;
mod second_hops;
mod table;

/// The consensus parameter for how many first bits of two IPv4 addresses make one subnet; for IPv6 it is twice as many. With
/// 0, subnets do not count.
pub const SUBNET_PARAMETER: &str = "path-subnet-v4-bits";

/// The consensus parameters for the number of a circuit's own hops, at least and at most.
pub const LENGTH_PARAMETERS: [&str; 2] = ["path-length-min", "path-length-max"];

/// The consensus parameters for the lifetime of a guard in days, at least and at most.
pub const GUARD_LIFETIME_PARAMETERS: [&str; 2] = ["guard-lifetime-min-days", "guard-lifetime-max-days"];

/// The consensus parameters for the lifetime of a second hop in hours, at least and at most.
pub const MIDDLE_LIFETIME_PARAMETERS: [&str; 2] = ["middle-lifetime-min-hours", "middle-lifetime-max-hours"];

/// Hops that any circuit has at most: it may be extended eight times.
pub const MAX_HOPS: usize = 9;

/// The pause before a guard whose link failed is tried again, at first; it doubles with each failure.
const FIRST_LINK_PENALTY: Duration = Duration::from_secs(1);

/// The pause before a relay that failed on a circuit is used again, at first.
const FIRST_PENALTY: Duration = Duration::from_secs(6);

/// Hops of the circuits that this protocol's times are made for.
const USUAL_HOPS: u32 = 4;

/// How often a path is begun anew before there counts to be none: an unlucky choice can leave no relay for the last place.
const TRIES: usize = 8;

/// How long there have to be too few relays before the person is told: a network that begins has few for a moment.
const PATIENCE: Duration = Duration::from_secs(10);

const HOUR: u64 = 60 * 60;
const DAY: u64 = 24 * HOUR;

/// A range of lifetimes in seconds.
#[derive(Clone, Copy, Debug, Default)]
struct Span {
    min: u64,
    max: u64,
}

impl Span {
    /// Each whole second as likely as the others, both ends included.
    fn draw(self, rng: &mut impl Rng) -> u64 {
        self.min + below((self.max - self.min).saturating_add(1), rng).unwrap_or(0)
    }

    const fn longest(self) -> u64 {
        self.max
    }
}

/// What the consensus says of paths.
#[derive(Clone, Copy, Debug)]
struct Parameters {
    subnet_bits: u32,
    /// Own hops, at least and at most.
    lengths: (usize, usize),
    guards: Span,
    second_hops: Span,
}

impl Default for Parameters {
    fn default() -> Self {
        Self::read(|_, default, _| default)
    }
}

impl Parameters {
    fn of(consensus: &Consensus) -> Self {
        Self::read(|name, default, greatest| {
            let least = if name == SUBNET_PARAMETER { 0 } else { i64::from(LENGTH_PARAMETERS.contains(&name)) * 2 + 1 };
            consensus.parameter(name, default, least..=greatest)
        })
    }

    /// With a reader of one parameter, which is given its name, its default and its greatest value.
    fn read(read: impl Fn(&str, i64, i64) -> i64) -> Self {
        let read = |name: &str, default: i64, greatest: i64| read(name, default, greatest).unsigned_abs();
        // A greatest value below the least one is read as equal to it.
        let range = |names: [&str; 2], defaults: [i64; 2], greatest: i64, unit: u64| {
            let min = read(names[0], defaults[0], greatest) * unit;
            (min, (read(names[1], defaults[1], greatest) * unit).max(min))
        };
        let span = |(min, max)| Span { min, max };
        let hops = |number| usize::try_from(number).unwrap_or(MAX_HOPS - 1);
        let (min, max) = range(LENGTH_PARAMETERS, [3, 3], 8, 1);
        Self {
            subnet_bits: u32::try_from(read(SUBNET_PARAMETER, 16, 32)).unwrap_or(32),
            lengths: (hops(min), hops(max)),
            guards: span(range(GUARD_LIFETIME_PARAMETERS, [60, 120], 3650, DAY)),
            second_hops: span(range(MIDDLE_LIFETIME_PARAMETERS, [24, 288], 8760, HOUR)),
        }
    }
}

/// Where a path leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Anywhere.
    Any,
    /// To a relay that this client has chosen: the last of its own hops.
    Own(RelayIdentity),
    /// To a relay that somebody else has chosen, or had a part in choosing: it comes behind the own hops.
    Others(RelayIdentity),
}

/// Why there is no path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoPath {
    /// The link to a guard has to open first.
    NotYet,
    /// The relay at the end is not listed any more, or is related to all guards in use.
    OutOfReach,
    /// There are too few relays, or too many are related to each other.
    TooFew,
}

/// What the client knows of relays.
#[derive(Debug, Default)]
pub struct Relays {
    digest: Option<ConsensusDigest>,
    /// By the consensus in use: when it begins and ends, in seconds since 1970.
    valid: (u64, u64),
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
    /// With the guards and second hops that an earlier run has kept to.
    pub fn new(guards: Vec<Guard>, second_hops: Vec<SecondHop>) -> Self {
        Self { guards: Guards::new(guards), second_hops: SecondHops::new(second_hops), ..Self::default() }
    }

    /// Goes by this consensus and this time from now on. Costs nothing to speak of while both say nothing new.
    ///
    /// `true` if circuits that stood before may not stand so any more.
    pub fn keep_up(&mut self, consensus: &Consensus, rng: &mut impl Rng, now: Now) -> bool {
        let is_new = self.digest != Some(consensus.digest());
        let mut changed = false;
        if is_new {
            self.digest = Some(consensus.digest());
            self.valid = (consensus.validity().valid_after, consensus.validity().valid_until);
            self.parameters = Parameters::of(consensus);
            self.table = Table::new(consensus.relays(), self.parameters.subnet_bits, is_usable);
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
        self.failures.note(relay, FIRST_PENALTY, now);
        self.news();
    }

    /// Notes that the link to a guard failed.
    pub fn link_failed(&mut self, guard: RelayIdentity, now: Instant) {
        self.guards.missed(&guard);
        self.failures.note(guard, FIRST_LINK_PENALTY, now);
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

    /// Chooses a path for a circuit: a guard whose link is open, a second hop of those that stay, and the rest by weight; no
    /// two of them related. Its length is drawn between the network's bounds. Relays that have failed lately are avoided
    /// where there are others.
    ///
    /// # Errors
    ///
    /// If there is none; a path that breaks these rules is never given instead.
    pub fn path(
        &mut self,
        rng: &mut impl Rng,
        now: Now,
        end: End,
        is_open: impl Fn(&RelayIdentity) -> bool,
    ) -> Result<Vec<RelayIdentity>, NoPath> {
        let (last, own) = match end {
            End::Any => (None, 0),
            End::Own(relay) => (Some(relay), 1),
            End::Others(relay) => (Some(relay), 0),
        };
        let last = match last.map(|relay| self.table.index(&relay)) {
            Some(None) => return Err(NoPath::OutOfReach),
            Some(Some(index)) => Some(index),
            None => None,
        };
        let guard = self.guard_for(last, is_open)?;
        let taken: Vec<Index> = last.into_iter().chain([guard]).collect();
        if last.is_none() && self.shortage.as_ref().is_some_and(|shortage| now.instant < shortage.until) {
            return Err(NoPath::TooFew);
        }
        self.fill_second_hops(rng, now, guard);
        let (min, max) = self.parameters.lengths;
        let length = min + usize::try_from(below((max - min) as u64 + 1, rng).unwrap_or(0)).unwrap_or(0);
        let middles = self.middles(rng, now.instant, &taken, length - 1 - own);
        // A network may have too few relays for the length that was drawn, and enough for the shortest one.
        if middles.len() < min - 1 - own {
            if last.is_none() {
                let until = self.next_look(now.instant);
                let of_guards = false;
                let new = Shortage { of_guards, since: now.instant, until, told: false };
                self.shortage = Some(match self.shortage.take() {
                    Some(old) if !old.of_guards => Shortage { until, ..old },
                    _ => new,
                });
            }
            return Err(NoPath::TooFew);
        }
        if last.is_none() {
            self.shortage = None;
        }
        let path = [guard].into_iter().chain(middles).chain(last);
        path.map(|index| self.table.identity(index).ok_or(NoPath::TooFew)).collect()
    }

    /// The first open guard that is not related to `last`.
    fn guard_for(&self, last: Option<Index>, is_open: impl Fn(&RelayIdentity) -> bool) -> Result<Index, NoPath> {
        let fits = |guard: &Index| last.is_none_or(|last| !self.table.related(*guard, last));
        let open = self.guards.usable().find(|(relay, guard)| fits(guard) && is_open(relay));
        if let Some((_, guard)) = open {
            return Ok(guard);
        }
        let opening = self.primary.iter().filter_map(|relay| self.table.index(relay)).any(|guard| fits(&guard));
        Err(if opening || self.primary.is_empty() { NoPath::NotYet } else { NoPath::OutOfReach })
    }

    /// Up to `count` relays behind a guard, the first of them from the set of second hops.
    fn middles(&self, rng: &mut impl Rng, now: Instant, taken: &[Index], count: usize) -> Vec<Index> {
        let mut failing: Vec<Index> = self.failures.all(now).filter_map(|relay| self.table.index(relay)).collect();
        failing.sort_unstable();
        let mut longest = Vec::new();
        for _ in 0..TRIES {
            let mut path = taken.to_vec();
            while path.len() < taken.len() + count {
                let fits = |index: Index| self.table.unrelated(index, &path);
                let works = |index: Index| fits(index) && failing.binary_search(&index).is_err();
                let sticky = (path.len() == taken.len()).then(|| self.second_hops.draw(&self.table, rng, works));
                let other = || self.table.choose(rng, Role::Middle, &failing, fits);
                let Some(chosen) = sticky.flatten().or_else(other) else { break };
                path.push(chosen);
            }
            let middles = path.split_off(taken.len());
            if middles.len() == count {
                return middles;
            }
            if middles.len() > longest.len() {
                longest = middles;
            }
        }
        longest
    }

    fn fill_second_hops(&mut self, rng: &mut impl Rng, now: Now, guard: Index) {
        if self.second_hops.is_full() || self.is_in_vain(SECOND_HOP, now.instant) {
            return;
        }
        let clock = self.clock(now);
        let Self { table, second_hops, failures, guards, parameters, .. } = self;
        let lifetimes = parameters.second_hops;
        let works = |index: Index| table.identity(index).is_some_and(|relay| !failures.holds(&relay, now.instant));
        let guards: Vec<Index> = guards.usable().map(|(_, index)| index).take(PRIMARY_GUARDS).chain([guard]).collect();
        // Such that fit behind all guards in use; where there are too few, such that fit behind this one.
        let mut added = second_hops.fill(table, rng, lifetimes, clock, |i| table.unrelated(i, &guards) && works(i));
        added |= second_hops.fill(table, rng, lifetimes, clock, |i| !table.related(i, guard) && works(i));
        self.changed |= added;
        if !self.second_hops.is_full() {
            self.note_in_vain(SECOND_HOP, now.instant);
        }
    }

    /// Whether a circuit along this path could be built today: over a guard that the client keeps to, and through relays
    /// that are all listed and no two of them related.
    pub fn stands(&self, path: &[Hop]) -> bool {
        let Some(indices) = path.iter().map(|hop| self.table.index(&hop.identity)).collect::<Option<Vec<_>>>() else {
            return false;
        };
        let guard = path.first().is_some_and(|hop| self.keeps_guard(&hop.identity));
        guard && (0..).zip(&indices).all(|(n, index)| self.table.unrelated(*index, indices.get(..n).unwrap_or_default()))
    }

    /// Whether a circuit along this path may be extended to a relay.
    pub fn may_follow(&self, path: &[Hop], relay: &RelayIdentity) -> bool {
        let Some(next) = self.table.index(relay) else { return false };
        let fits = |hop: &Hop| self.table.index(&hop.identity).is_some_and(|index| !self.table.related(index, next));
        path.len() < MAX_HOPS && path.iter().all(fits)
    }

    /// Whether a relay is not listed, or related to all guards in use: then there is no path to it.
    pub fn is_out_of_reach(&self, relay: &RelayIdentity) -> bool {
        let Some(relay) = self.table.index(relay) else { return true };
        let guards = self.primary.iter().filter_map(|guard| self.table.index(guard));
        !self.primary.is_empty() && guards.into_iter().all(|guard| self.table.related(guard, relay))
    }

    /// Chooses `count` relays where strangers may meet this client, none of `exclude`: such that are none of its guards, and
    /// related to none of those in use. Fewer when there are no more.
    pub fn meeting_places(
        &self,
        rng: &mut impl Rng,
        now: Instant,
        count: usize,
        exclude: &[RelayIdentity],
    ) -> Vec<RelayIdentity> {
        let mut failing: Vec<Index> = self.failures.all(now).filter_map(|relay| self.table.index(relay)).collect();
        failing.sort_unstable();
        let guards: Vec<_> = self.guards.usable().collect();
        let in_use: Vec<Index> = guards.iter().take(PRIMARY_GUARDS).map(|(_, index)| *index).collect();
        let mut taken: Vec<Index> = guards.iter().map(|(_, index)| *index).collect();
        taken.extend(exclude.iter().filter_map(|relay| self.table.index(relay)));
        let mut chosen = Vec::with_capacity(count);
        while chosen.len() < count {
            let fits = |index: Index| !taken.contains(&index) && self.table.unrelated(index, &in_use);
            let Some(index) = self.table.choose(rng, Role::Rendezvous, &failing, fits) else { break };
            taken.push(index);
            chosen.extend(self.table.identity(index));
        }
        chosen
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

/// The hops of a path, as circuits need them; nothing if a relay has left the consensus.
pub(super) fn hops(consensus: &Consensus, path: &[RelayIdentity]) -> Option<Vec<Hop>> {
    path.iter().map(|id| consensus.relay(id).map(hop)).collect()
}

/// A relay as circuits need it.
pub(super) fn hop(relay: &RelayEntry) -> Hop {
    Hop { identity: relay.identity, onion_key: relay.onion_key }
}

/// A number below `end`, each as likely as the others; none where that is zero. The bias is below 2⁻⁶⁴.
fn below(end: u64, rng: &mut impl Rng) -> Option<u64> {
    let drawn = u128::from(rng.next_u64()) << 64 | u128::from(rng.next_u64());
    u64::try_from(drawn.checked_rem(u128::from(end))?).ok()
}

/// Between `from` and `to`, at random.
pub(super) fn jitter(from: Duration, to: Duration, rng: &mut impl Rng) -> Duration {
    let span = u64::try_from(to.saturating_sub(from).as_millis()).unwrap_or(u64::MAX).max(1);
    from + Duration::from_millis(rng.next_u64() % span)
}

#[cfg(test)]
mod tests;
