//! The relays of one consensus as choices need them: their weights and roles, and who is related to whom.

use core::net::IpAddr;
use core::num::NonZeroU32;
use std::collections::HashMap;
use std::hash::Hash;

use rand_core::Rng;

use super::below;
use crate::crypto::keys::RelayIdentity;
use crate::netdir::{FamilyIdentity, LinkUrl, RelayEntry, RelayRole, Roles};

/// Where a relay stands in the [`Table`] of one consensus.
pub(super) type Index = usize;

/// The relays of a consensus, made for choosing among thousands of them.
#[derive(Debug, Default)]
pub(super) struct Table {
    /// Ascending, as in the consensus.
    identities: Vec<RelayIdentity>,
    /// What choices look at, in the same order; small, because they look at all of it.
    relays: Vec<Listed>,
    has_guards: bool,
}

/// A relay as choices see it. Families and places have numbers of this table's own.
#[derive(Clone, Copy, Debug)]
struct Listed {
    weight: u32,
    roles: Roles,
    is_guard: bool,
    family: Option<NonZeroU32>,
    places: [Option<NonZeroU32>; 2],
}

/// What two addresses have in common if they count as one place.
#[derive(PartialEq, Eq, Hash)]
enum Place {
    /// The first bits of an IPv4 address.
    V4(u32),
    /// The first bits of an IPv6 address.
    V6(u128),
    /// A host's name.
    Name(String),
}

impl Place {
    fn of(url: &LinkUrl, v4_bits: u32) -> Option<Self> {
        if v4_bits == 0 {
            return None;
        }
        // An IPv4 address in IPv6's clothes is where the IPv4 address is.
        Some(match url.ip().map(|ip| ip.to_canonical()) {
            Some(IpAddr::V4(ip)) => Self::V4(ip.to_bits() & u32::MAX.checked_shl(32 - v4_bits).unwrap_or(u32::MAX)),
            Some(IpAddr::V6(ip)) => {
                Self::V6(ip.to_bits() & u128::MAX.checked_shl(128 - 2 * v4_bits).unwrap_or(u128::MAX))
            }
            None => Self::Name(url.host().trim_end_matches('.').to_ascii_lowercase()),
        })
    }
}

/// Gives equal things equal numbers.
struct Numbers<T>(HashMap<T, NonZeroU32>);

impl<T: Hash + Eq> Numbers<T> {
    fn new() -> Self {
        Self(HashMap::new())
    }

    fn of(&mut self, thing: T) -> NonZeroU32 {
        let next = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        *self.0.entry(thing).or_insert(NonZeroU32::MIN.saturating_add(next))
    }
}

impl Table {
    /// A table of these relays, which ascend by their identities. Addresses with `v4_bits` first bits in common, for IPv6
    /// twice as many, are one place; with none, places do not count. `is_guard` says which relays this client can use as guards.
    pub(super) fn new(relays: &[RelayEntry], v4_bits: u32, is_guard: impl Fn(&RelayEntry) -> bool) -> Self {
        let v4_bits = v4_bits.min(32);
        let (mut families, mut places) = (Numbers::<FamilyIdentity>::new(), Numbers::<Place>::new());
        let mut listed = |relay: &RelayEntry| {
            let mut own = [None; 2];
            for (place, url) in own.iter_mut().zip(relay.urls()) {
                *place = Place::of(url, v4_bits).map(|place| places.of(place));
            }
            let family = relay.family.map(|family| families.of(family));
            Listed { weight: relay.weight, roles: relay.roles, is_guard: is_guard(relay), family, places: own }
        };
        let listed: Vec<_> = relays.iter().map(&mut listed).collect();
        Self {
            identities: relays.iter().map(|relay| relay.identity).collect(),
            has_guards: listed.iter().any(|relay| relay.is_guard),
            relays: listed,
        }
    }

    /// Where a relay stands, if it is listed.
    pub(super) fn index(&self, relay: &RelayIdentity) -> Option<Index> {
        self.identities.binary_search(relay).ok()
    }

    /// The relay that stands there.
    pub(super) fn identity(&self, index: Index) -> Option<RelayIdentity> {
        self.identities.get(index).copied()
    }

    /// Whether a relay has a role.
    pub(super) fn has(&self, index: Index, role: RelayRole) -> bool {
        self.relays.get(index).is_some_and(|relay| relay.roles.contains(role))
    }

    /// Whether this client can use a relay as its guard.
    pub(super) fn is_guard(&self, index: Index) -> bool {
        self.relays.get(index).is_some_and(|relay| relay.is_guard)
    }

    /// Whether it can use any.
    pub(super) const fn has_guards(&self) -> bool {
        self.has_guards
    }

    /// Whether no circuit may have both relays: they are the same, have one operator, or stand at one place.
    pub(super) fn related(&self, a: Index, b: Index) -> bool {
        let (Some(one), Some(other)) = (self.relays.get(a), self.relays.get(b)) else { return true };
        let same_family = one.family.is_some() && one.family == other.family;
        let same_place = || one.places.iter().flatten().any(|place| other.places.iter().flatten().any(|o| o == place));
        a == b || same_family || same_place()
    }

    /// Whether a relay is related to none of `others`.
    pub(super) fn unrelated(&self, relay: Index, others: &[Index]) -> bool {
        others.iter().all(|other| !self.related(relay, *other))
    }

    /// Chooses among the relays, with a role if one is given, that `fit`, each as likely as its weight says, in one pass.
    ///
    /// One of `failing`, which ascend, is chosen only where there is no other, and one without any weight only where there
    /// is none with weight at all.
    pub(super) fn choose(
        &self,
        rng: &mut impl Rng,
        role: impl Into<Option<RelayRole>>,
        failing: &[Index],
        fit: impl Fn(Index) -> bool,
    ) -> Option<Index> {
        let role = role.into();
        let [mut good, mut bad, mut good_weightless, mut bad_weightless] = [const { Lot::new() }; 4];
        for (index, relay) in self.relays.iter().enumerate() {
            if role.is_some_and(|role| !relay.roles.contains(role)) || !fit(index) {
                continue;
            }
            match (relay.weight, failing.binary_search(&index).is_ok()) {
                (0, false) => good_weightless.add(index, 1),
                (0, true) => bad_weightless.add(index, 1),
                (weight, false) => good.add(index, weight),
                (weight, true) => bad.add(index, weight),
            }
        }
        [good, bad, good_weightless, bad_weightless].iter().find_map(|lot| lot.draw(rng))
    }
}

/// Relays with the sum of all weights up to each. Ten thousand weights of 32 bits stay far below 2⁶⁴.
struct Lot(Vec<(u64, Index)>);

impl Lot {
    const fn new() -> Self {
        Self(Vec::new())
    }

    fn sum(&self) -> u64 {
        self.0.last().map_or(0, |(sum, _)| *sum)
    }

    fn add(&mut self, index: Index, weight: u32) {
        self.0.push((self.sum() + u64::from(weight), index));
    }

    fn draw(&self, rng: &mut impl Rng) -> Option<Index> {
        let at = below(self.sum(), rng)?;
        let place = self.0.partition_point(|(sum, _)| *sum <= at);
        self.0.get(place).map(|(_, index)| *index)
    }
}
