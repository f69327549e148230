//! What all rooms above the circuits share while they handle something.

use std::collections::VecDeque;
use std::time::Duration;

use rand_chacha::ChaCha20Rng;

use super::api::{Event, Output};
use super::backoff::jitter;
use super::circuits::CircuitManager;
use super::profile::Profile;
use super::store::Store;
use crate::time::{Instant, Now};

/// Time, randomness, and the rooms that everybody may use.
pub(super) struct Context<'a> {
    pub(super) now: Now,
    pub(super) rng: &'a mut ChaCha20Rng,
    pub(super) circuits: &'a mut CircuitManager,
    pub(super) store: &'a mut Store,
    pub(super) profile: &'a mut Profile,
    pub(super) out: &'a mut VecDeque<Output>,
}

impl Context<'_> {
    /// Tells the person at once. What must be on disk first is told with [`Store::tell`].
    pub(super) fn event(&mut self, event: Event) {
        self.out.push_back(Output::Event(event));
    }

    /// Tells the person that something could not be done.
    pub(super) fn error(&mut self, about: &str, message: String) {
        self.event(Event::Error { about: about.to_owned(), message });
    }

    /// Writes the profile with the current batch.
    pub(super) fn put_profile(&mut self) {
        self.profile.put(self.store);
    }

    /// A moment at random, at least `from` and less than `to` from now.
    pub(super) fn in_between(&mut self, from: Duration, to: Duration) -> Instant {
        self.now.instant + jitter(from, to, self.rng)
    }
}

/// Tells the person if something could not be done, and why.
pub(super) fn report(outcome: Result<(), String>, about: &str, cx: &mut Context<'_>) {
    if let Err(message) = outcome {
        cx.error(about, message);
    }
}
