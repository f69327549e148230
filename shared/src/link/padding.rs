//! When an idle link sends a padding cell, and how long a neighbour may be silent.

use core::time::Duration;

use rand_core::Rng;

use crate::netdir::Consensus;

/// The consensus parameter for the shortest pause of an idle link, in milliseconds.
pub const MIN_PARAMETER: &str = "link-padding-min-ms";

/// The consensus parameter for the longest pause of an idle link, in milliseconds; zero turns padding off.
pub const MAX_PARAMETER: &str = "link-padding-max-ms";

/// The longest pause that the parameters can set, in milliseconds.
const LONGEST: i64 = 60_000;

/// How often a link says that it lives when padding is off.
const KEEP_ALIVE: Duration = Duration::from_secs(60);

/// How links of a network pad.
///
/// A link that has sent nothing for a random time between the two pauses sends one padding cell. So neither silence nor
/// speech shows at once, and a neighbour that was silent for twice the longest pause is dead or frozen. With padding
/// off, links say once a minute that they live: less traffic, but dead neighbours are noticed late.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Padding {
    min: Duration,
    max: Duration,
}

impl Default for Padding {
    fn default() -> Self {
        Self { min: Duration::from_millis(1000), max: Duration::from_millis(2500) }
    }
}

impl Padding {
    /// No padding: one cell a minute, so that neighbours know that the link lives.
    pub const OFF: Self = Self { min: KEEP_ALIVE, max: KEEP_ALIVE };

    /// What the consensus says, or the default.
    pub fn of(consensus: Option<&Consensus>) -> Self {
        let default = Self::default();
        let Some(consensus) = consensus else { return default };
        let read = |name, default: Duration| {
            let default = i64::try_from(default.as_millis()).unwrap_or(LONGEST);
            // In range, so not negative.
            Duration::from_millis(consensus.parameter(name, default, 0..=LONGEST).unsigned_abs())
        };
        let max = read(MAX_PARAMETER, default.max);
        if max.is_zero() {
            return Self::OFF;
        }
        Self { min: read(MIN_PARAMETER, default.min).min(max), max }
    }

    /// How long an idle link waits until it sends a padding cell.
    pub fn pause(&self, rng: &mut impl Rng) -> Duration {
        let span = u64::try_from((self.max - self.min).as_millis()).unwrap_or(u64::MAX);
        self.min + Duration::from_millis(rng.next_u64() % span.max(1))
    }

    /// After this time without a word a relay is dead or frozen.
    pub fn silence(&self) -> Duration {
        2 * self.max + Duration::from_secs(1)
    }
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng as _;

    use super::*;

    #[test]
    fn pauses_are_random_within_their_bounds() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let padding = Padding::default();
        let pauses: Vec<_> = (0..200).map(|_| padding.pause(&mut rng)).collect();
        assert!(pauses.iter().all(|pause| (padding.min..padding.max).contains(pause)));
        assert!(pauses.iter().max().unwrap().saturating_sub(*pauses.iter().min().unwrap()) > Duration::from_secs(1));
        assert_eq!(padding.silence(), Duration::from_secs(6));
    }

    #[test]
    fn without_padding_a_link_says_once_a_minute_that_it_lives() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        assert_eq!(Padding::OFF.pause(&mut rng), KEEP_ALIVE);
        assert!(Padding::OFF.silence() > 2 * KEEP_ALIVE);
    }
}
