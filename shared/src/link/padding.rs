//! When an idle link sends a padding cell, and how long a neighbour may be silent.

use core::time::Duration;

use rand_core::Rng;

use crate::netdir::Consensus;

/// The consensus parameter for the shortest pause of an idle link, in milliseconds.
pub const MIN_PARAMETER: &str = "link-padding-min-ms";

/// The consensus parameter for the longest pause of an idle link, in milliseconds; zero turns padding off.
pub const MAX_PARAMETER: &str = "link-padding-max-ms";

/// The consensus parameter for how long a neighbour may be silent, in milliseconds.
pub const SILENCE_PARAMETER: &str = "link-silence-ms";

/// What the parameters for pauses can be, in milliseconds: more often would be a flood, more seldom no padding.
const PAUSES: core::ops::RangeInclusive<i64> = 100..=60_000;

/// What the parameter for silence can be, in milliseconds.
const SILENCES: core::ops::RangeInclusive<i64> = 1000..=600_000;

/// How often a link says that it lives when padding is off.
const KEEP_ALIVE: Duration = Duration::from_secs(60);

/// How links of a network pad.
///
/// A link that has sent nothing for a random time between the two pauses sends one padding cell. So neither silence nor
/// speech shows at once, and a neighbour that was silent for much longer than the longest pause is dead or frozen. With
/// padding off, links say once a minute that they live: less traffic, but dead neighbours are noticed late.
///
/// Nodes learn of new parameters at different times. So whoever wants longer pauses first allows more silence, and waits
/// until every consensus that says otherwise has run out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Padding {
    min: Duration,
    max: Duration,
    silence: Duration,
}

impl Default for Padding {
    fn default() -> Self {
        Self {
            min: Duration::from_millis(1000),
            max: Duration::from_millis(2500),
            silence: Duration::from_millis(6000),
        }
    }
}

impl Padding {
    /// No padding: one cell a minute, so that neighbours know that the link lives.
    pub const OFF: Self = Self { min: KEEP_ALIVE, max: KEEP_ALIVE, silence: Duration::from_secs(180) };

    /// What the consensus says, or the default.
    pub fn of(consensus: Option<&Consensus>) -> Self {
        let default = Self::default();
        let Some(consensus) = consensus else { return default };
        let read = |name, default: Duration, range| {
            let default = i64::try_from(default.as_millis()).unwrap_or(i64::MAX);
            // In range, so not negative.
            Duration::from_millis(consensus.parameter(name, default, range).unsigned_abs())
        };
        let off = consensus.parameter(MAX_PARAMETER, *PAUSES.end(), 0..=*PAUSES.end()) == 0;
        let (min, max) = if off {
            (KEEP_ALIVE, KEEP_ALIVE)
        } else {
            let max = read(MAX_PARAMETER, default.max, PAUSES);
            (read(MIN_PARAMETER, default.min, PAUSES).min(max), max)
        };
        // Two pauses may pass by, when what should have come after the first was lost on the way to a busy processor.
        let least = 2 * max + Duration::from_secs(1);
        Self { min, max, silence: read(SILENCE_PARAMETER, default.silence, SILENCES).max(least) }
    }

    /// How long an idle link waits until it sends a padding cell.
    pub fn pause(&self, rng: &mut impl Rng) -> Duration {
        let span = u64::try_from((self.max - self.min).as_millis()).unwrap_or(u64::MAX);
        self.min + Duration::from_millis(rng.next_u64() % span.max(1))
    }

    /// After this time without a word a relay is dead or frozen.
    pub const fn silence(&self) -> Duration {
        self.silence
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng as _;

    use super::*;
    use crate::crypto::keys::IdentityKeypair;
    use crate::netdir::{Authorities, Authority, AuthorityKeypair, ConsensusDraft, Validity};
    use crate::time::UnixTime;

    fn with(parameters: &[(&str, i64)]) -> Padding {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let signer = AuthorityKeypair::new(IdentityKeypair::generate(&mut rng));
        let (nickname, url) = ("one".parse().unwrap(), "http://127.0.0.1:1".to_owned());
        let authorities = Authorities::new(vec![Authority { nickname, key: signer.identity(), url }]).unwrap();
        let validity = Validity { valid_after: 1000, fresh_until: 2000, valid_until: 3000 };
        let mut draft = ConsensusDraft::new(*authorities.network(), validity, Vec::new());
        draft.parameters =
            parameters.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect::<BTreeMap<_, _>>();
        let bytes = draft.sign(&[&signer]).unwrap();
        Padding::of(Some(&Consensus::verify(&bytes, &authorities, UnixTime::from_millis(1_500_000)).unwrap()))
    }

    fn millis(padding: Padding) -> [u128; 3] {
        [padding.min, padding.max, padding.silence].map(|duration| duration.as_millis())
    }

    #[test]
    fn the_consensus_sets_pauses_and_silence_within_reason() {
        assert_eq!(with(&[]), Padding::default());
        assert_eq!(Padding::of(None), Padding::default());
        assert_eq!(millis(with(&[(MIN_PARAMETER, 500), (MAX_PARAMETER, 900)])), [500, 900, 6000]);
        assert_eq!(millis(with(&[(SILENCE_PARAMETER, 20_000)])), [1000, 2500, 20_000]);
        // Never so short that it floods, never less silence than two pauses, never a pause above the longest.
        assert_eq!(millis(with(&[(MIN_PARAMETER, 1), (MAX_PARAMETER, 1)])), [100, 100, 6000]);
        assert_eq!(millis(with(&[(MAX_PARAMETER, 30_000)])), [1000, 30_000, 61_000]);
        assert_eq!(millis(with(&[(MIN_PARAMETER, 9000)])), [2500, 2500, 6000]);
        assert_eq!(millis(with(&[(MAX_PARAMETER, 0)])), [60_000, 60_000, 121_000]);
        assert_eq!(millis(with(&[(MAX_PARAMETER, -5), (SILENCE_PARAMETER, 180_000)])), [60_000, 60_000, 180_000]);
    }

    #[test]
    fn pauses_are_random_within_their_bounds() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let padding = Padding::default();
        let pauses: Vec<_> = (0..200).map(|_| padding.pause(&mut rng)).collect();
        assert!(pauses.iter().all(|pause| (padding.min..padding.max).contains(pause)));
        assert!(pauses.iter().max().unwrap().saturating_sub(*pauses.iter().min().unwrap()) > Duration::from_secs(1));
        assert_eq!(Padding::OFF.pause(&mut rng), KEEP_ALIVE);
    }
}
