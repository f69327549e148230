//! Compares the clocks of the other authorities with this one's, by the time that they tell with their answers.
//!
//! Votes count only where clocks agree to half a phase, and a clock that is wrong shows in nothing but that there is no consensus,
//! or one without somebody's vote. So it is said by its name.

use std::collections::BTreeMap;
use std::time::Duration;

use allium_shared::netdir::AuthorityIdentity;

use crate::http::client::ClockReading;

/// Whether two clocks agree as well as the voting needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Difference {
    /// They do.
    Allowed,
    /// They certainly do not.
    TooLarge,
}

/// The clock of another authority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OtherClock {
    /// What it said last.
    pub reading: ClockReading,
    /// What is thought of it.
    pub difference: Difference,
}

/// The clocks of the other authorities.
#[derive(Debug)]
pub struct Clocks {
    tolerance: Duration,
    others: BTreeMap<AuthorityIdentity, OtherClock>,
}

impl Clocks {
    /// Nobody's yet; they may be off by `tolerance`.
    pub const fn new(tolerance: Duration) -> Self {
        Self { tolerance, others: BTreeMap::new() }
    }

    /// Notes what an authority's clock says; gives what is thought of it where that has changed.
    ///
    /// It counts as wrong only where no moment between question and answer would make it right, and as right again only where it
    /// is so with some room: whoever is at the limit is not reported again and again.
    pub fn note(&mut self, authority: AuthorityIdentity, reading: ClockReading) -> Option<Difference> {
        let off = Duration::from_millis(reading.ahead_ms.unsigned_abs());
        let before = self.others.get(&authority).map_or(Difference::Allowed, |other| other.difference);
        let difference = match before {
            Difference::Allowed if off.saturating_sub(reading.error) > self.tolerance => Difference::TooLarge,
            Difference::TooLarge if off.saturating_add(reading.error) <= self.tolerance * 3 / 4 => Difference::Allowed,
            before => before,
        };
        self.others.insert(authority, OtherClock { reading, difference });
        (difference != before).then_some(difference)
    }

    /// An authority's clock, if it has told the time yet.
    pub fn of(&self, authority: &AuthorityIdentity) -> Option<&OtherClock> {
        self.others.get(authority)
    }

    /// How many clocks differ by too much.
    pub fn wrong(&self) -> usize {
        self.others.values().filter(|other| other.difference == Difference::TooLarge).count()
    }

    /// By how many milliseconds the clock differs that differs most.
    pub fn largest_ms(&self) -> u64 {
        self.others.values().map(|other| other.reading.ahead_ms.unsigned_abs()).max().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn reading(ahead_ms: i64, error_ms: u64) -> ClockReading {
        ClockReading { ahead_ms, error: Duration::from_millis(error_ms) }
    }

    fn authority(number: u8) -> AuthorityIdentity {
        AuthorityIdentity::from([number; 32])
    }

    #[test]
    fn a_clock_that_is_wrong_is_told_once_and_once_more_when_it_is_right() {
        let mut clocks = Clocks::new(SECOND);
        assert_eq!(clocks.note(authority(1), reading(900, 0)), None);
        for ahead in [-1101, -1500, -1101, -990, -800, -2000] {
            let first = ahead == -1101 && clocks.wrong() == 0;
            assert_eq!(
                clocks.note(authority(1), reading(ahead, 100)),
                first.then_some(Difference::TooLarge),
                "{ahead}"
            );
            assert_eq!(clocks.wrong(), 1);
        }
        assert_eq!(clocks.largest_ms(), 2000);
        // Another's is another matter.
        assert_eq!(clocks.note(authority(2), reading(3000, 1)), Some(Difference::TooLarge));
        assert_eq!((clocks.wrong(), clocks.largest_ms()), (2, 3000));
        assert_eq!(clocks.note(authority(1), reading(-650, 100)), Some(Difference::Allowed));
        assert_eq!(clocks.note(authority(1), reading(-650, 100)), None);
        assert_eq!(clocks.of(&authority(1)).unwrap().reading.ahead_ms, -650);
        assert_eq!((clocks.wrong(), clocks.largest_ms()), (1, 3000));
        assert_eq!(clocks.of(&authority(3)), None);
    }

    #[test]
    fn an_answer_that_took_long_says_nothing_for_sure() {
        let mut clocks = Clocks::new(SECOND);
        // It may have been made at any moment of four seconds.
        assert_eq!(clocks.note(authority(1), reading(2900, 2000)), None);
        assert_eq!(clocks.note(authority(1), reading(3001, 2000)), Some(Difference::TooLarge));
        assert_eq!(clocks.note(authority(1), reading(0, 2000)), None);
        assert_eq!(clocks.note(authority(1), reading(0, 750)), Some(Difference::Allowed));
        // Who says nonsense is wrong, whatever the number.
        for ahead in [i64::MIN, i64::MAX] {
            clocks.note(authority(1), reading(ahead, 0));
            assert_eq!((clocks.wrong(), clocks.largest_ms()), (1, ahead.unsigned_abs()));
        }
    }
}
