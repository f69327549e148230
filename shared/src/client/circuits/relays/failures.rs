//! Which relays have failed a short while ago.

use std::collections::HashMap;

use crate::client::backoff::Backoff;
use crate::crypto::keys::RelayIdentity;
use crate::time::Instant;

/// A memory of relays that did not do their part. Each is left alone for a while, which doubles with each failure.
#[derive(Debug, Default)]
pub(super) struct Failures(HashMap<RelayIdentity, Failure>);

#[derive(Debug)]
struct Failure {
    count: u32,
    until: Instant,
}

impl Failures {
    /// Notes a failure: the relay is left alone for a pause of this back-off.
    pub(super) fn note(&mut self, relay: RelayIdentity, backoff: Backoff, now: Instant) {
        let failure = self.0.entry(relay).or_insert(Failure { count: 0, until: now });
        // Several circuits fail over one relay at the same moment: that is one failure.
        if failure.until <= now {
            failure.until = now + backoff.shortest(failure.count);
            failure.count += 1;
        }
    }

    /// Forgets the failures of a relay; says whether there were any.
    pub(super) fn forgive(&mut self, relay: &RelayIdentity) -> bool {
        self.0.remove(relay).is_some()
    }

    /// Keeps only what was noted of relays for which `keep` holds.
    pub(super) fn retain(&mut self, keep: impl Fn(&RelayIdentity) -> bool) {
        self.0.retain(|relay, _| keep(relay));
    }

    /// Whether the relay is to be left alone.
    pub(super) fn holds(&self, relay: &RelayIdentity, now: Instant) -> bool {
        self.0.get(relay).is_some_and(|failure| failure.until > now)
    }

    /// All relays that are to be left alone, in no order.
    pub(super) fn all(&self, now: Instant) -> impl Iterator<Item = &RelayIdentity> {
        self.0.iter().filter(move |(_, failure)| failure.until > now).map(|(relay, _)| relay)
    }

    /// The first moment at which one of them gets another chance.
    pub(super) fn next_chance(&self, now: Instant) -> Option<Instant> {
        self.0.values().map(|failure| failure.until).filter(|until| *until > now).min()
    }
}
