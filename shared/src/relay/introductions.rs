//! Who takes what comes for which id at this relay, and how much of it the relay hands on.
//!
//! A relay answers whoever brings an introduction alike, whether anybody takes it or not. When too many come, it wants work
//! done for each: of everybody, for every id, so that this too says nothing about any of them.

use std::collections::HashMap;

use foldhash::quality::RandomState;

use super::rate::Rate;
use crate::cell::CircId;
use crate::cell::introduction::{Introduction, IntroductionId, MAX_WORK_BITS};
use crate::crypto::derive::derive_short;
use crate::crypto::keys::RelayIdentity;
use crate::time::Instant;

/// Introductions that a relay takes without work each second, and how many at once.
const FREE_RATE: (u32, u32) = (100, 400);

/// The same with work; what is more makes the work harder.
const WORKED_RATE: (u32, u32) = (1000, 2000);

/// The least work that is asked for, in zero bits: some thousand hashes.
const MIN_WORK_BITS: u8 = 12;

/// How long a seed is given out, and then still taken, in milliseconds.
const SEED_TIME: u64 = 5 * 60 * 1000;

/// After this time without too many introductions the work gets easier by a bit, in milliseconds.
const EASE_TIME: u64 = 10_000;

/// The ids of a relay, with the circuits that take what comes for them. `P` names a link.
#[derive(Debug)]
pub struct IntroductionTable<P> {
    takers: HashMap<IntroductionId, (P, CircId), RandomState>,
    max: usize,
    relay: RelayIdentity,
    /// From which seeds are derived.
    secret: [u8; 32],
    free: Rate,
    worked: Rate,
    bits: u8,
    /// When the work was made harder or easier last.
    changed: Instant,
}

/// What becomes of an introduction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict<P> {
    /// It is taken; by this circuit, if by any.
    Taken(Option<(P, CircId)>),
    /// It is not: so many zero bits are wanted, with this seed.
    Work {
        /// Zero bits.
        bits: u8,
        /// What the work is to be done with.
        seed: [u8; 16],
    },
}

impl<P: Clone + PartialEq> IntroductionTable<P> {
    /// A table of this relay for at most `max` ids, with a secret that nobody else has.
    pub fn new(max: usize, relay: RelayIdentity, secret: [u8; 32]) -> Self {
        let start = Instant::from_millis(0);
        Self {
            takers: HashMap::default(),
            max,
            relay,
            secret,
            free: Rate::new(FREE_RATE.0, FREE_RATE.1, start),
            worked: Rate::new(WORKED_RATE.0, WORKED_RATE.1, start),
            bits: MIN_WORK_BITS,
            changed: start,
        }
    }

    /// Lets a circuit take what comes for these ids, in the place of whoever did; `false` when the table is full.
    pub fn take(&mut self, ids: &[IntroductionId], circuit: &(P, CircId)) -> bool {
        let new = ids.iter().filter(|id| !self.takers.contains_key(id)).count();
        if self.takers.len() + new > self.max {
            return false;
        }
        self.takers.extend(ids.iter().map(|id| (*id, circuit.clone())));
        true
    }

    /// A circuit takes nothing for these ids any more; what others have taken over meanwhile stays theirs.
    pub fn release(&mut self, ids: &[IntroductionId], circuit: &(P, CircId)) {
        for id in ids {
            if self.takers.get(id) == Some(circuit) {
                self.takers.remove(id);
            }
        }
    }

    /// Decides about an introduction.
    pub fn introduce(&mut self, now: Instant, introduction: &Introduction) -> Verdict<P> {
        if self.free.take(now) || self.is_worked(now, introduction) {
            return Verdict::Taken(self.takers.get(&introduction.id).cloned());
        }
        Verdict::Work { bits: self.bits, seed: self.seed(now.as_millis() / SEED_TIME) }
    }

    fn is_worked(&mut self, now: Instant, introduction: &Introduction) -> bool {
        let period = now.as_millis() / SEED_TIME;
        let enough = [Some(period), period.checked_sub(1)].into_iter().flatten().any(|period| {
            introduction.work(&self.relay, &self.seed(period)).zeros(introduction.nonce) >= u32::from(self.bits)
        });
        let since = now.as_millis().saturating_sub(self.changed.as_millis());
        let may = enough && self.worked.take(now);
        if enough && !may && since >= 1000 {
            self.bits = (self.bits + 1).min(MAX_WORK_BITS);
            self.changed = now;
        } else if since >= EASE_TIME {
            self.bits = (self.bits - 1).max(MIN_WORK_BITS);
            self.changed = now;
        }
        may
    }

    fn seed(&self, period: u64) -> [u8; 16] {
        derive_short("introduction seed", &[&self.secret, &period.to_be_bytes()])
    }

    /// How many ids there are.
    pub fn len(&self) -> usize {
        self.takers.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.takers.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::handshake::INTRODUCTION_LEN;

    const RELAY: [u8; 32] = [3; 32];

    fn table(max: usize) -> IntroductionTable<u8> {
        IntroductionTable::new(max, RELAY.into(), [1; 32])
    }

    fn introduction(id: u8) -> Introduction {
        Introduction { id: IntroductionId([id; 16]), nonce: 0, handshake: [id; INTRODUCTION_LEN] }
    }

    #[test]
    fn the_newest_takes_and_the_oldest_takes_nothing_away() {
        let mut table = table(3);
        let ids = [1, 2].map(|id| IntroductionId([id; 16]));
        let (old, new) = ((1, CircId(1)), (2, CircId(1)));
        assert!(table.take(&ids, &old) && table.take(&ids[..1], &new));
        table.release(&ids, &old);
        let now = Instant::from_millis(0);
        assert_eq!(table.introduce(now, &introduction(1)), Verdict::Taken(Some(new)));
        assert_eq!(table.introduce(now, &introduction(2)), Verdict::Taken(None));
        table.release(&ids, &new);
        assert!(table.is_empty());
    }

    #[test]
    fn a_full_table_takes_no_more_and_keeps_what_it_has() {
        let mut table = table(2);
        let ids = [1, 2, 3].map(|id| IntroductionId([id; 16]));
        assert!(table.take(&ids[..2], &(1, CircId(1))));
        assert!(!table.take(&ids[1..], &(2, CircId(1))));
        assert_eq!(table.len(), 2);
        assert!(table.take(&ids[..2], &(2, CircId(1))), "ids that are there take no room");
    }

    #[test]
    fn too_many_have_to_work_whether_their_id_exists_or_not() {
        let mut table = table(10);
        table.take(&[IntroductionId([1; 16])], &(1, CircId(1)));
        let now = Instant::from_millis(SEED_TIME * 5);
        let free = (0..).take_while(|_| matches!(table.introduce(now, &introduction(9)), Verdict::Taken(None))).count();
        assert_eq!(free, FREE_RATE.1 as usize);
        let wanted = table.introduce(now, &introduction(1));
        assert_eq!(wanted, table.introduce(now, &introduction(2)));
        let Verdict::Work { bits, seed } = wanted else { panic!("{wanted:?}") };
        let mut worked = introduction(1);
        worked.nonce = worked.work(&RELAY.into(), &seed).search(bits.into(), 0, u64::MAX).unwrap();
        assert_eq!(table.introduce(now, &worked), Verdict::Taken(Some((1, CircId(1)))));
        let mut other = introduction(1);
        other.handshake = [7; INTRODUCTION_LEN];
        other.nonce = worked.nonce;
        assert!(matches!(table.introduce(now, &other), Verdict::Work { .. }), "work is for one introduction");
        let late = Instant::from_millis(now.as_millis() + 2 * SEED_TIME);
        (0..FREE_RATE.1).for_each(|_| drop(table.introduce(late, &introduction(9))));
        assert!(matches!(table.introduce(late, &worked), Verdict::Work { .. }), "and for a while");
    }

    #[test]
    fn work_gets_harder_while_too_many_have_done_it_and_easier_again() {
        let mut table = table(10);
        let mut now = Instant::from_millis(0);
        (0..FREE_RATE.1).for_each(|_| drop(table.introduce(now, &introduction(9))));
        let Verdict::Work { bits, seed } = table.introduce(now, &introduction(1)) else { panic!("still free") };
        let mut worked = introduction(1);
        worked.nonce = worked.work(&RELAY.into(), &seed).search(u32::from(bits) + 1, 0, u64::MAX).unwrap();
        (0..=WORKED_RATE.1).for_each(|_| drop(table.introduce(now, &worked)));
        now = Instant::from_millis(1);
        let wanted = |table: &mut IntroductionTable<u8>, now| match table.introduce(now, &introduction(1)) {
            Verdict::Work { bits, .. } => bits,
            Verdict::Taken(_) => 0,
        };
        assert_eq!(wanted(&mut table, now), bits, "not for one burst");
        for second in 1..=2 {
            now = Instant::from_millis(second * 1000);
            (0..4000).for_each(|_| drop(table.introduce(now, &worked)));
        }
        assert!(wanted(&mut table, now) > bits);
        for second in 1..=30 {
            now = Instant::from_millis((2 + second * 10) * 1000);
            (0..FREE_RATE.1 + 2).for_each(|_| drop(table.introduce(now, &introduction(1))));
        }
        assert_eq!(wanted(&mut table, now), bits);
    }
}
