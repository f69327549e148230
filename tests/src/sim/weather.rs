//! What goes wrong by itself: delays, links that break, relays and clients that crash and start again.

use std::ops::RangeInclusive;
use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_core::Rng;

/// How the network behaves.
#[derive(Clone, Debug)]
pub struct Weather {
    /// What each link's messages need at least, in milliseconds; drawn once for each link.
    pub latency: RangeInclusive<u64>,
    /// What a message may need beyond that, in milliseconds. A link keeps its messages in order; different links do not.
    pub jitter: u64,
    /// The mean time between two links that break; none break without it.
    pub link_breaks: Option<Duration>,
    /// The mean time between two relays that crash.
    pub relay_crashes: Option<Duration>,
    /// The mean time between two clients that crash.
    pub client_crashes: Option<Duration>,
    /// How long after its crash a node starts again, in milliseconds.
    pub down: RangeInclusive<u64>,
}

impl Default for Weather {
    /// Short delays, and nothing that breaks.
    fn default() -> Self {
        Self {
            latency: 1..=1,
            jitter: 4,
            link_breaks: None,
            relay_crashes: None,
            client_crashes: None,
            down: 500..=5000,
        }
    }
}

/// Something that breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Disaster {
    LinkBreaks,
    RelayCrashes,
    ClientCrashes,
}

impl Disaster {
    pub(super) const ALL: [Self; 3] = [Self::LinkBreaks, Self::RelayCrashes, Self::ClientCrashes];

    /// The time to the next one of this kind: evenly between nothing and twice the mean.
    pub(super) fn pause(self, weather: &Weather, rng: &mut ChaCha20Rng) -> Option<Duration> {
        let mean = match self {
            Self::LinkBreaks => weather.link_breaks,
            Self::RelayCrashes => weather.relay_crashes,
            Self::ClientCrashes => weather.client_crashes,
        }?;
        let span = u64::try_from(mean.as_millis()).unwrap_or(u64::MAX / 2).max(1) * 2;
        Some(Duration::from_millis(1 + rng.next_u64() % span))
    }
}

/// A number in a range.
pub(super) fn within(range: &RangeInclusive<u64>, rng: &mut ChaCha20Rng) -> u64 {
    let span = range.end().saturating_sub(*range.start()).saturating_add(1).max(1);
    range.start() + rng.next_u64() % span
}
