//! The tables that all links of a relay share: who waits, who takes introductions, and which links lead where.

use std::collections::HashMap;
use std::ops::DerefMut;

use super::introductions::{IntroductionTable, Verdict};
use super::rendezvous::RendezvousTable;
use crate::cell::CircId;
use crate::cell::introduction::{Introduction, IntroductionId};
use crate::cell::message::Cookie;
use crate::crypto::keys::RelayIdentity;
use crate::time::Instant;

/// A relay's tables of circuits that can be found by others: a driver says where they are kept.
///
/// They are locked, or whatever guards them, for one call each.
pub trait Tables {
    /// A link of this relay, as its other links know it.
    type Link: Clone + PartialEq;

    /// The circuits that wait with a cookie.
    fn rendezvous(&mut self) -> impl DerefMut<Target = RendezvousTable<Self::Link>>;

    /// The circuits that take introductions.
    fn introductions(&mut self) -> impl DerefMut<Target = IntroductionTable<Self::Link>>;

    /// See [`RendezvousTable::establish`].
    fn establish(&mut self, cookie: Cookie, circuit: (Self::Link, CircId)) -> bool {
        self.rendezvous().establish(cookie, circuit)
    }

    /// See [`RendezvousTable::withdraw`].
    fn withdraw(&mut self, cookie: &Cookie, circuit: &(Self::Link, CircId)) {
        self.rendezvous().withdraw(cookie, circuit);
    }

    /// See [`RendezvousTable::take`].
    fn take_waiting(&mut self, cookie: &Cookie) -> Option<(Self::Link, CircId)> {
        self.rendezvous().take(cookie)
    }

    /// See [`IntroductionTable::take`].
    fn take_ids(&mut self, ids: &[IntroductionId], circuit: &(Self::Link, CircId)) -> bool {
        self.introductions().take(ids, circuit)
    }

    /// See [`IntroductionTable::release`].
    fn release_ids(&mut self, ids: &[IntroductionId], circuit: &(Self::Link, CircId)) {
        self.introductions().release(ids, circuit);
    }

    /// See [`IntroductionTable::introduce`].
    fn introduce(&mut self, now: Instant, introduction: &Introduction) -> Verdict<Self::Link> {
        self.introductions().introduce(now, introduction)
    }
}

/// The links to each relay, the oldest first.
#[derive(Debug)]
pub struct LinkTable<L> {
    relays: HashMap<RelayIdentity, Vec<L>>,
}

impl<L> Default for LinkTable<L> {
    fn default() -> Self {
        Self { relays: HashMap::new() }
    }
}

impl<L: Clone + PartialEq> LinkTable<L> {
    /// A link leads to this relay, or is about to.
    pub fn add(&mut self, relay: RelayIdentity, link: &L) {
        let links = self.relays.entry(relay).or_default();
        if !links.contains(link) {
            links.push(link.clone());
        }
    }

    /// The link to use towards a relay, if there is one.
    pub fn find(&self, relay: &RelayIdentity) -> Option<&L> {
        self.relays.get(relay)?.first()
    }

    /// A link is gone.
    pub fn remove(&mut self, link: &L) {
        self.relays.retain(|_, links| {
            links.retain(|other| other != link);
            !links.is_empty()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_link_to_a_relay_is_used_until_it_is_gone() {
        let (a, b) = (RelayIdentity([1; 32]), RelayIdentity([2; 32]));
        let mut links = LinkTable::default();
        links.add(a, &1);
        links.add(a, &2);
        links.add(a, &1);
        links.add(b, &3);
        assert_eq!((links.find(&a), links.find(&b)), (Some(&1), Some(&3)));
        links.remove(&1);
        assert_eq!(links.find(&a), Some(&2));
        links.remove(&2);
        assert_eq!((links.find(&a), links.find(&b)), (None, Some(&3)));
        assert_eq!(links.relays.len(), 1);
    }
}
