//! Paths: a guard, a second hop of those that stay, and the rest by weight, no two of them related.

use rand_core::Rng;

use super::table::Index;
use super::{PATIENCE, Relays, SECOND_HOP, Shortage, below};
use crate::circuit::Hop;
use crate::crypto::keys::RelayIdentity;
use crate::netdir::{Consensus, RelayEntry, RelayRole};
use crate::time::{Instant, Now};

/// Hops that any circuit has at most: it may be extended eight times.
pub const MAX_HOPS: usize = 9;

/// How often a path is begun anew before there counts to be none: an unlucky choice can leave no relay for the last place.
const TRIES: usize = 8;

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

impl Relays {
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
                // Sooner, since it was chance that has found none.
                let until = self.next_look(now.instant).min(now.instant + PATIENCE);
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
        let opening = self.primary_indices().any(|guard| fits(&guard));
        Err(if opening || self.primary.is_empty() { NoPath::NotYet } else { NoPath::OutOfReach })
    }

    /// Up to `count` relays behind a guard, the first of them from the set of second hops.
    fn middles(&self, rng: &mut impl Rng, now: Instant, taken: &[Index], count: usize) -> Vec<Index> {
        let failing = self.failing(now);
        let mut longest = Vec::new();
        for _ in 0..TRIES {
            let mut path = taken.to_vec();
            while path.len() < taken.len() + count {
                let fits = |index: Index| self.table.unrelated(index, &path);
                let works = |index: Index| fits(index) && failing.binary_search(&index).is_err();
                let sticky = (path.len() == taken.len()).then(|| self.second_hops.draw(&self.table, rng, works));
                let other = || self.table.choose(rng, RelayRole::Middle, &failing, fits);
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

    /// Relays that failed a short while ago, ascending.
    fn failing(&self, now: Instant) -> Vec<Index> {
        let mut failing: Vec<Index> = self.failures.all(now).filter_map(|relay| self.table.index(relay)).collect();
        failing.sort_unstable();
        failing
    }

    fn fill_second_hops(&mut self, rng: &mut impl Rng, now: Now, guard: Index) {
        if self.second_hops.is_full() || self.is_in_vain(SECOND_HOP, now.instant) {
            return;
        }
        let clock = self.clock(now);
        let guards: Vec<Index> = self.primary_indices().chain([guard]).collect();
        let Self { table, second_hops, failures, parameters, .. } = self;
        let lifetimes = parameters.second_hops;
        let works = |index: Index| table.identity(index).is_some_and(|relay| !failures.holds(&relay, now.instant));
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
        guard
            && (0..).zip(&indices).all(|(n, index)| self.table.unrelated(*index, indices.get(..n).unwrap_or_default()))
    }

    /// Whether a circuit along this path may be extended to a relay.
    pub fn may_follow(&self, path: &[Hop], relay: &RelayIdentity) -> bool {
        let Some(next) = self.table.index(relay) else { return false };
        let fits = |hop: &Hop| self.table.index(&hop.identity).is_some_and(|index| !self.table.related(index, next));
        path.len() < MAX_HOPS && path.iter().all(fits)
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
        let failing = self.failing(now);
        let in_use: Vec<Index> = self.primary_indices().collect();
        let mut taken: Vec<Index> = self.guards.usable().map(|(_, index)| index).collect();
        taken.extend(exclude.iter().filter_map(|relay| self.table.index(relay)));
        let mut chosen = Vec::with_capacity(count);
        while chosen.len() < count {
            let fits = |index: Index| !taken.contains(&index) && self.table.unrelated(index, &in_use);
            let Some(index) = self.table.choose(rng, RelayRole::Rendezvous, &failing, fits) else { break };
            taken.push(index);
            chosen.extend(self.table.identity(index));
        }
        chosen
    }

    /// Chooses a relay of any role that is related to none of `others`, and not to all guards in use.
    pub fn stranger_to(&self, rng: &mut impl Rng, now: Instant, others: &[RelayIdentity]) -> Option<RelayIdentity> {
        let others: Vec<Index> = others.iter().filter_map(|relay| self.table.index(relay)).collect();
        let guards: Vec<Index> = self.primary_indices().collect();
        let in_reach = |index| guards.is_empty() || guards.iter().any(|guard| !self.table.related(index, *guard));
        let fits = |index: Index| self.table.unrelated(index, &others) && in_reach(index);
        self.table.identity(self.table.choose(rng, None, &self.failing(now), fits)?)
    }
}

/// The hops of a path, as circuits need them; nothing if a relay has left the consensus.
pub(in crate::client) fn hops(consensus: &Consensus, path: &[RelayIdentity]) -> Option<Vec<Hop>> {
    path.iter().map(|id| consensus.relay(id).map(hop)).collect()
}

/// A relay as circuits need it.
pub(in crate::client) fn hop(relay: &RelayEntry) -> Hop {
    Hop { identity: relay.identity, onion_key: relay.onion_key }
}
