//! A last hop that takes the introductions for a list of ids.

use super::{Next, Surroundings, UNEXPECTED};
use crate::cell::introduction::{IntroAuthKey, IntroductionId, MAX_PARTS};
use crate::cell::message::RelayMessage;
use crate::relay::outlet::Outlet;
use crate::relay::tables::Tables as _;
use crate::relay::violation::{CircuitViolation, Outcome};
use crate::time::Instant;
use crate::token_bucket::TokenBucket;

/// Parts of lists that a circuit may send each second, and how many at once: each costs some hashes.
const LIST_RATE: (u32, u32) = (4, 4 * MAX_PARTS as u32);

/// Introductions that a circuit is given each second, and how many at once. What is more gets lost, as it would on a busy
/// network: whoever brought it tries elsewhere.
const INTRODUCTION_RATE: (u32, u32) = (20, 60);

/// A circuit that takes the introductions for a list of ids.
pub(super) struct IntroPoint {
    /// Those that count.
    ids: Vec<IntroductionId>,
    /// Those of a new list, as far as it has come.
    incoming: Vec<IntroductionId>,
    /// How many parts it has, and how many have come.
    parts: Option<(u8, u8)>,
    lists: TokenBucket,
    introductions: TokenBucket,
}

impl IntroPoint {
    /// A circuit that takes nothing yet.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            ids: Vec::new(),
            incoming: Vec::new(),
            parts: None,
            lists: TokenBucket::new(LIST_RATE.0, LIST_RATE.1, now),
            introductions: TokenBucket::new(INTRODUCTION_RATE.0, INTRODUCTION_RATE.1, now),
        }
    }

    /// The ids for which it takes introductions.
    pub(super) fn ids(&self) -> &[IntroductionId] {
        &self.ids
    }

    /// Whether it may be given one more introduction now.
    pub(super) fn accepts(&mut self, now: Instant) -> bool {
        self.introductions.take(now)
    }

    pub(super) fn handle<O: Outlet>(
        &mut self,
        message: RelayMessage,
        around: &mut Surroundings<'_, O>,
    ) -> Result<Next<O::Link>, CircuitViolation> {
        let RelayMessage::EstablishIntro { part, of, auth_keys } = message else { return Err(UNEXPECTED) };
        self.take_list(part, of, &*auth_keys, around)?;
        Ok(Next::Stay)
    }

    /// Takes one part of a list, which replaces the list before it once it is complete.
    pub(super) fn take_list<O: Outlet>(
        &mut self,
        part: u8,
        of: u8,
        auth_keys: &[IntroAuthKey],
        around: &mut Surroundings<'_, O>,
    ) -> Outcome {
        if !self.take_part(around.now, part, of, auth_keys)? {
            return Ok(());
        }
        let mut ids = std::mem::take(&mut self.incoming);
        ids.sort_unstable();
        ids.dedup();
        let place = around.place();
        around.out.tables().release_ids(&std::mem::take(&mut self.ids), &place);
        if !around.out.tables().take_ids(&ids, &place) {
            return Err(CircuitViolation::TooMuch);
        }
        self.ids = ids;
        around.originate(&RelayMessage::IntroEstablished);
        Ok(())
    }

    /// Takes one part of a list; returns whether it was the last.
    fn take_part(
        &mut self,
        now: Instant,
        part: u8,
        of: u8,
        auth_keys: &[IntroAuthKey],
    ) -> Result<bool, CircuitViolation> {
        let due = self.parts.unwrap_or((of, 0));
        if (of, part) != due || of == 0 || of > MAX_PARTS {
            return Err(CircuitViolation::Unexpected("a part of a list of ids out of its turn"));
        }
        if !self.lists.take(now) {
            return Err(CircuitViolation::TooMuch);
        }
        self.incoming.extend(auth_keys.iter().map(IntroAuthKey::id));
        self.parts = Some((of, part + 1)).filter(|(of, come)| come < of);
        Ok(self.parts.is_none())
    }
}
