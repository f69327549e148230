//! Who takes what comes for which id at this relay, and how much of it the relay hands on.
//!
//! A relay answers whoever brings an introduction alike, whether anybody takes it or not. When too many come, it wants work
//! done for each: of everybody, for every id, so that this too says nothing about any of them.

use std::collections::{HashMap, HashSet};

use foldhash::quality::RandomState;

use crate::cell::CircId;
use crate::cell::introduction::{Introduction, IntroductionId, MAX_EFFORT};
use crate::crypto::derive::derive_short;
use crate::crypto::keys::RelayIdentity;
use crate::time::Instant;
use crate::token_bucket::TokenBucket;

/// What a relay takes.
const LIMITS: Limits = Limits { free: (100, 400), worked: (1000, 2000), min_effort: 12 };

#[derive(Clone, Copy, Debug)]
struct Limits {
    /// Introductions without work each second, and how many at once.
    free: (u32, u32),
    /// The same with work; what is more makes the work harder.
    worked: (u32, u32),
    /// The least work that is asked for, in zero bits: some thousand hashes.
    min_effort: u8,
}

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
    limits: Limits,
    free: TokenBucket,
    worked: TokenBucket,
    /// Work that has served, by the numbers of the seeds that are taken. One work serves once: or else whoever has worked
    /// once could bring as much as all others together.
    done: Vec<(u64, HashSet<[u8; 8], RandomState>)>,
    effort: u8,
    /// When the work was made harder or easier last.
    changed: Instant,
}

/// What becomes of an introduction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict<P> {
    /// It is taken; by this circuit, if by any.
    Taken(Option<(P, CircId)>),
    /// It is not: so many zero bits are wanted, with this seed.
    ProofOfWork {
        /// Zero bits.
        effort: u8,
        /// What the work is to be done with.
        seed: [u8; 16],
    },
}

impl<P: Clone + PartialEq> IntroductionTable<P> {
    /// A table of this relay for at most `max` ids, with a secret that nobody else has.
    pub fn new(max: usize, relay: RelayIdentity, secret: [u8; 32]) -> Self {
        Self::with_limits(max, relay, secret, LIMITS)
    }

    fn with_limits(max: usize, relay: RelayIdentity, secret: [u8; 32], limits: Limits) -> Self {
        let start = Instant::from_millis(0);
        Self {
            takers: HashMap::default(),
            max,
            relay,
            secret,
            limits,
            free: TokenBucket::new(limits.free.0, limits.free.1, start),
            worked: TokenBucket::new(limits.worked.0, limits.worked.1, start),
            done: Vec::new(),
            effort: limits.min_effort,
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
        Verdict::ProofOfWork { effort: self.effort, seed: self.seed(now.as_millis() / SEED_TIME) }
    }

    fn is_worked(&mut self, now: Instant, introduction: &Introduction) -> bool {
        let period = now.as_millis() / SEED_TIME;
        let work = [Some(period), period.checked_sub(1)].into_iter().flatten().find_map(|period| {
            let work = introduction.work(&self.relay, &self.seed(period));
            (work.zeros(introduction.nonce) >= u32::from(self.effort)).then(|| (period, work.mark(introduction.nonce)))
        });
        let has_served = |(period, mark): &(u64, [u8; 8])| {
            self.done.iter().any(|(number, marks)| number == period && marks.contains(mark))
        };
        let work = work.filter(|work| !has_served(work));
        let enough = work.is_some();
        let since = now.as_millis().saturating_sub(self.changed.as_millis());
        let may = enough && self.worked.take(now);
        if let Some((number, mark)) = work.filter(|_| may) {
            self.done.retain(|(number, _)| *number + 1 >= period);
            match self.done.iter_mut().find(|(known, _)| *known == number) {
                Some((_, marks)) => drop(marks.insert(mark)),
                None => self.done.push((number, [mark].into_iter().collect())),
            }
        }
        if enough && !may && since >= 1000 {
            self.effort = (self.effort + 1).min(MAX_EFFORT);
            self.changed = now;
        } else if since >= EASE_TIME {
            self.effort = (self.effort - 1).max(self.limits.min_effort);
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
        assert_eq!(free, LIMITS.free.1 as usize);
        let wanted = table.introduce(now, &introduction(1));
        assert_eq!(wanted, table.introduce(now, &introduction(2)));
        let Verdict::ProofOfWork { effort, seed } = wanted else { panic!("{wanted:?}") };
        let mut worked = introduction(1);
        worked.nonce = worked.work(&RELAY.into(), &seed).search(effort.into(), 0, u64::MAX).unwrap();
        assert_eq!(table.introduce(now, &worked), Verdict::Taken(Some((1, CircId(1)))));
        assert!(matches!(table.introduce(now, &worked), Verdict::ProofOfWork { .. }), "work serves once");
        let mut other = introduction(1);
        other.handshake = [7; INTRODUCTION_LEN];
        other.nonce = worked.nonce;
        assert!(matches!(table.introduce(now, &other), Verdict::ProofOfWork { .. }), "work is for one introduction");
        worked.nonce = worked.work(&RELAY.into(), &seed).search(effort.into(), worked.nonce + 1, u64::MAX).unwrap();
        let late = Instant::from_millis(now.as_millis() + 2 * SEED_TIME);
        for _ in 0..LIMITS.free.1 {
            let _ = table.introduce(late, &introduction(9));
        }
        assert!(matches!(table.introduce(late, &worked), Verdict::ProofOfWork { .. }), "and for a while");
    }

    #[test]
    fn work_gets_harder_while_too_many_have_done_it_and_easier_again() {
        let limits = Limits { free: (1, 1), worked: (10, 20), min_effort: 3 };
        let mut table: IntroductionTable<u8> = IntroductionTable::with_limits(10, RELAY.into(), [1; 32], limits);
        let mut now = Instant::from_millis(0);
        let _ = table.introduce(now, &introduction(9));
        let Verdict::ProofOfWork { effort, seed } = table.introduce(now, &introduction(1)) else {
            panic!("still free")
        };
        assert_eq!(effort, limits.min_effort);
        let mut worked = introduction(1);
        let work = worked.work(&RELAY.into(), &seed);
        // Enough for whatever may be wanted here; each serves once.
        let mut nonces = (0..).filter(|nonce| work.zeros(*nonce) >= u32::from(effort) + 2);
        let mut flood = |table: &mut IntroductionTable<u8>, now, number| {
            let mut taken = 0;
            for nonce in nonces.by_ref().take(number) {
                worked.nonce = nonce;
                taken += usize::from(matches!(table.introduce(now, &worked), Verdict::Taken(_)));
            }
            taken
        };
        assert_eq!(flood(&mut table, now, 30), 20);
        now = Instant::from_millis(1);
        let wanted = |table: &mut IntroductionTable<u8>, now| match table.introduce(now, &introduction(1)) {
            Verdict::ProofOfWork { effort, .. } => effort,
            Verdict::Taken(_) => 0,
        };
        assert_eq!(wanted(&mut table, now), effort, "not for one burst");
        for second in 1..=2 {
            now = Instant::from_millis(second * 1000);
            // One of them is free.
            assert_eq!(flood(&mut table, now, 40), 11);
        }
        assert_eq!(wanted(&mut table, now), effort + 2);
        for ten in 1..=4 {
            now = Instant::from_millis(2000 + ten * 10_000);
            for _ in 0..3 {
                let _ = table.introduce(now, &introduction(1));
            }
        }
        assert_eq!(wanted(&mut table, now), effort);
    }

    #[test]
    fn work_that_has_served_is_forgotten_with_its_seed() {
        let limits = Limits { free: (1, 1), worked: (10, 20), min_effort: 8 };
        let mut table: IntroductionTable<u8> = IntroductionTable::with_limits(10, RELAY.into(), [1; 32], limits);
        let mut worked = introduction(1);
        for period in 0..5 {
            let now = Instant::from_millis(period * SEED_TIME + SEED_TIME / 2);
            let _ = table.introduce(now, &introduction(9));
            let Verdict::ProofOfWork { effort, seed } = table.introduce(now, &introduction(1)) else {
                panic!("still free")
            };
            worked.nonce = worked.work(&RELAY.into(), &seed).search(effort.into(), 0, u64::MAX).unwrap();
            assert_eq!(table.introduce(now, &worked), Verdict::Taken(None));
            let marks: usize = table.done.iter().map(|(_, marks)| marks.len()).sum();
            assert_eq!(marks as u64, (period + 1).min(2));
        }
    }
}
