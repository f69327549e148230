//! Guards: the few relays that know a client's address, kept for months, so that time does not lead it to a bad one.
//!
//! After Tor's guard-spec: a guard is drawn by weight, kept once a link has reached it, tried in a fixed order of
//! preference, replaced when its lifetime is over, and forgotten when the consensus has long stopped to list it.

use serde::{Deserialize, Serialize};

use rand_core::Rng;

use super::super::link::address;
use super::below;
use super::failures::Failures;
use super::parameters::{DAY, Span};
use super::table::{Index, Table};
use crate::crypto::keys::RelayIdentity;
use crate::netdir::{RelayEntry, RelayRole};
use crate::time::Instant;

/// How many guards have their links open at any time.
pub const PRIMARY_GUARDS: usize = 2;

/// How many guards a client keeps to before it takes no new ones.
pub(super) const MAX_GUARDS: usize = 20;

/// For how long a guard is remembered that the consensus does not list, in seconds (guard-spec, `REMOVE_UNLISTED_GUARDS_AFTER`).
const UNLISTED_TIME: u64 = 20 * DAY;

/// A guard that a link has reached, with its dates: seconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Record", into = "Record")]
pub struct Guard {
    relay: RelayIdentity,
    /// None yet for one of a profile from before guards had dates.
    term: Option<Term>,
    unlisted_since: Option<u64>,
    /// Where it stands in the present table, while it is usable.
    index: Option<Index>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Term {
    added: u64,
    expires: u64,
}

/// A guard on disk.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Record {
    Dated {
        relay: RelayIdentity,
        #[serde(flatten)]
        term: Term,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        unlisted_since: Option<u64>,
    },
    Plain(RelayIdentity),
}

impl From<Record> for Guard {
    fn from(record: Record) -> Self {
        match record {
            Record::Dated { relay, term, unlisted_since } => {
                Self { relay, term: Some(term), unlisted_since, index: None }
            }
            Record::Plain(relay) => Self { relay, term: None, unlisted_since: None, index: None },
        }
    }
}

impl From<Guard> for Record {
    fn from(Guard { relay, term, unlisted_since, .. }: Guard) -> Self {
        match term {
            Some(term) => Self::Dated { relay, term, unlisted_since },
            None => Self::Plain(relay),
        }
    }
}

impl Term {
    /// Of a guard that is kept from now on. It is dated back, so that whoever reads the profile does not learn when.
    fn draw(lifetimes: Span, clock: u64, rng: &mut impl Rng) -> Self {
        let lifetime = lifetimes.draw(rng);
        let added = clock.saturating_sub(below(lifetime / 10 + 1, rng).unwrap_or(0));
        Self { added, expires: added.saturating_add(lifetime) }
    }

    /// What is left of it by this clock. A term that begins in the future, because a clock was or is wrong, begins now; none
    /// is longer than the network's parameters allow.
    fn sane(self, lifetimes: Span, clock: u64) -> Self {
        let added = self.added.min(clock);
        let lifetime = self.expires.saturating_sub(self.added).min(lifetimes.longest());
        Self { added, expires: added.saturating_add(lifetime) }
    }
}

/// The guards of a client, and those that it tries.
#[derive(Debug, Default)]
pub(super) struct Guards {
    /// Those that a link has reached, in the order in which it did: the order of preference.
    kept: Vec<Guard>,
    /// Those that are being tried because too few of the others work. One that does not answer is forgotten, so that a
    /// network that is down for a moment does not use up the client's guards.
    candidates: Vec<RelayIdentity>,
}

impl Guards {
    pub(super) fn new(kept: Vec<Guard>) -> Self {
        Self { kept, candidates: Vec::new() }
    }

    /// Those that a link has reached, in the order of preference.
    pub(super) fn kept(&self) -> &[Guard] {
        &self.kept
    }

    pub(super) fn keeps(&self, relay: &RelayIdentity) -> bool {
        self.kept.iter().any(|guard| guard.relay == *relay)
    }

    /// Those of them that are usable, with their places in the table.
    pub(super) fn usable(&self) -> impl Iterator<Item = (RelayIdentity, Index)> {
        self.kept.iter().filter_map(|guard| Some((guard.relay, guard.index?)))
    }

    /// There is a new consensus; says whether anything that is kept has changed.
    pub(super) fn list(&mut self, table: &Table, clock: u64, rng: &mut impl Rng) -> bool {
        let mut changed = false;
        for guard in &mut self.kept {
            let before = guard.unlisted_since;
            let listed = table.index(&guard.relay).filter(|index| table.has(*index, RelayRole::Guard));
            guard.index = listed.filter(|index| table.is_guard(*index));
            guard.unlisted_since = match (listed, before) {
                (Some(_), _) => None,
                (None, Some(since)) => Some(since.min(clock)),
                // Dated back as well (guard-spec, `FIRST_UNLISTED_AT`).
                (None, None) => Some(clock.saturating_sub(below(UNLISTED_TIME / 5, rng).unwrap_or(0))),
            };
            changed |= guard.unlisted_since != before;
        }
        self.candidates.retain(|relay| table.index(relay).is_some_and(|index| table.is_guard(index)));
        changed
    }

    /// Drops guards whose time is over; says whether anything that is kept has changed.
    pub(super) fn expire(&mut self, lifetimes: Span, clock: u64, rng: &mut impl Rng) -> bool {
        let mut changed = false;
        self.kept.retain_mut(|guard| {
            let before = guard.term;
            let term = before.map(|term| term.sane(lifetimes, clock));
            let term = term.unwrap_or_else(|| Term::draw(lifetimes, clock, rng));
            guard.term = Some(term);
            let gone = guard.unlisted_since.is_some_and(|since| clock.saturating_sub(since) > UNLISTED_TIME);
            let over = term.expires <= clock || gone;
            changed |= over || guard.term != before;
            !over
        });
        changed
    }

    /// A link has reached a guard; says whether it is one more to keep to.
    pub(super) fn reached(
        &mut self,
        relay: &RelayIdentity,
        table: &Table,
        lifetimes: Span,
        clock: u64,
        rng: &mut impl Rng,
    ) -> bool {
        let Some(at) = self.candidates.iter().position(|candidate| candidate == relay) else { return false };
        let relay = self.candidates.remove(at);
        let term = Some(Term::draw(lifetimes, clock, rng));
        self.kept.push(Guard { relay, term, unlisted_since: None, index: table.index(&relay) });
        true
    }

    /// The link to a guard failed.
    pub(super) fn missed(&mut self, relay: &RelayIdentity) {
        self.candidates.retain(|candidate| candidate != relay);
    }

    /// The guards whose links should be open, no two of them related: the first of those kept that work, and of the
    /// candidates as many as are missing.
    pub(super) fn primary(&mut self, table: &Table, failures: &Failures, now: Instant) -> Vec<RelayIdentity> {
        let mut taken = Vec::with_capacity(PRIMARY_GUARDS);
        for (relay, index) in self.usable() {
            if taken.len() < PRIMARY_GUARDS && !failures.holds(&relay, now) && table.unrelated(index, &taken) {
                taken.push(index);
            }
        }
        let mut missing = PRIMARY_GUARDS - taken.len();
        self.candidates.retain(|relay| {
            let index = table.index(relay).filter(|index| table.unrelated(*index, &taken));
            if let Some(index) = index.filter(|_| missing > 0) {
                taken.push(index);
                missing -= 1;
            }
            index.is_some()
        });
        taken.iter().filter_map(|index| table.identity(*index)).collect()
    }

    /// Whether so few are kept that a new one may be tried.
    pub(super) fn has_room(&self) -> bool {
        self.usable().count() < MAX_GUARDS
    }

    /// Takes up a candidate that is related to none of `primary`; says whether there is one.
    pub(super) fn take_candidate(
        &mut self,
        table: &Table,
        rng: &mut impl Rng,
        primary: &[RelayIdentity],
        refused: impl Fn(&RelayIdentity) -> bool,
    ) -> bool {
        let taken: Vec<Index> = primary.iter().filter_map(|relay| table.index(relay)).collect();
        let fits = |index: Index| {
            let is_other = |id: &RelayIdentity| !self.keeps(id) && !self.candidates.contains(id) && !refused(id);
            table.is_guard(index)
                && table.unrelated(index, &taken)
                && table.identity(index).as_ref().is_some_and(is_other)
        };
        let chosen = table.choose(rng, RelayRole::Guard, &[], fits).and_then(|index| table.identity(index));
        self.candidates.extend(chosen);
        chosen.is_some()
    }
}

/// Whether a client can use a relay as its guard. All that makes one unusable for some clients belongs here.
pub(super) fn is_usable(relay: &RelayEntry, secure_links: bool) -> bool {
    relay.has(RelayRole::Guard) && address(relay, secure_links).is_some()
}
