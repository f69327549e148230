//! Second hops that stay for days (vanguards-lite, Tor's proposal 333).
//!
//! A contact can make a client build circuits, by coming and going. If each had a new second hop, one of them would soon be
//! the contact's own, and that relay sees the guard. So all circuits take their second hop from a small set, and an attacker
//! has to wait for days until a member is replaced.

use serde::{Deserialize, Serialize};

use rand_core::Rng;

use super::below;
use super::parameters::Span;
use super::table::{Index, Table};
use crate::crypto::keys::RelayIdentity;
use crate::netdir::RelayRole;

/// How many second hops a client has (proposal 333, `NUM_LAYER2_GUARDS`).
pub const SECOND_HOPS: usize = 4;

/// A relay that stands behind the guards, and until when: in seconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecondHop {
    relay: RelayIdentity,
    expires: u64,
}

/// The set of a client's second hops.
#[derive(Debug, Default)]
pub(super) struct SecondHops(Vec<SecondHop>);

impl SecondHops {
    pub(super) fn new(mut kept: Vec<SecondHop>) -> Self {
        kept.truncate(SECOND_HOPS);
        Self(kept)
    }

    /// The members.
    pub(super) fn kept(&self) -> &[SecondHop] {
        &self.0
    }

    /// Their identities.
    pub(super) fn relays(&self) -> impl Iterator<Item = RelayIdentity> {
        self.0.iter().map(|member| member.relay)
    }

    pub(super) fn is_full(&self) -> bool {
        self.0.len() >= SECOND_HOPS
    }

    /// There is a new consensus: drops members that it does not list as middles. Says whether there were any.
    pub(super) fn list(&mut self, table: &Table) -> bool {
        let before = self.0.len();
        self.0.retain(|member| table.index(&member.relay).is_some_and(|index| table.has(index, RelayRole::Middle)));
        self.0.len() < before
    }

    /// Drops members whose time is over; says whether any date has changed. One whose time is further away than any lifetime,
    /// because a clock was or is wrong, stays for the longest one.
    pub(super) fn expire(&mut self, lifetimes: Span, clock: u64) -> bool {
        let mut changed = false;
        self.0.retain_mut(|member| {
            let latest = clock.saturating_add(lifetimes.longest());
            changed |= member.expires <= clock || member.expires > latest;
            member.expires = member.expires.min(latest);
            member.expires > clock
        });
        changed
    }

    /// Fills the set by weight with middles that `fit`; says whether any were added.
    pub(super) fn fill(
        &mut self,
        table: &Table,
        rng: &mut impl Rng,
        lifetimes: Span,
        clock: u64,
        fit: impl Fn(Index) -> bool,
    ) -> bool {
        let before = self.0.len();
        let mut taken: Vec<Index> = self.relays().filter_map(|relay| table.index(&relay)).collect();
        while !self.is_full() {
            let chosen = table.choose(rng, RelayRole::Middle, &[], |index| !taken.contains(&index) && fit(index));
            let Some((index, relay)) = chosen.and_then(|index| Some((index, table.identity(index)?))) else { break };
            taken.push(index);
            // The greater of two draws: most stay for long, and nobody can count on when one goes.
            let lifetime = lifetimes.draw(rng).max(lifetimes.draw(rng));
            self.0.push(SecondHop { relay, expires: clock.saturating_add(lifetime) });
        }
        self.0.len() > before
    }

    /// One of the members that `fit`, each as likely as the others: their weights counted when they came in.
    pub(super) fn draw(&self, table: &Table, rng: &mut impl Rng, fit: impl Fn(Index) -> bool) -> Option<Index> {
        let fitting: Vec<Index> = self.relays().filter_map(|relay| table.index(&relay)).filter(|i| fit(*i)).collect();
        let at = below(u64::try_from(fitting.len()).ok()?, rng)?;
        fitting.get(usize::try_from(at).ok()?).copied()
    }
}
