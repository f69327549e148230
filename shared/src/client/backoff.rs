//! Back-off: how long to wait before something that failed is tried again.

use std::time::Duration;

use rand_core::Rng;

/// A pause that doubles with each failure, up to a limit, and is drawn at random, so that many clients that failed together
/// don't come back together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Backoff {
    first: Duration,
    most: Duration,
}

impl Backoff {
    /// A back-off whose first pause is at least `first`, and no pause at least longer than `most`.
    pub(super) const fn new(first: Duration, most: Duration) -> Self {
        Self { first, most }
    }

    /// The shortest pause after so many failures before this one.
    pub(super) fn shortest(self, failures: u32) -> Duration {
        self.first.saturating_mul(1 << failures.min(16)).min(self.most)
    }

    /// A pause after so many failures before this one: between the shortest and one and a half times that.
    pub(super) fn draw(self, failures: u32, rng: &mut impl Rng) -> Duration {
        let shortest = self.shortest(failures);
        jitter(shortest, shortest * 3 / 2, rng)
    }
}

/// A random time of at least `from` and less than `to`.
pub(super) fn jitter(from: Duration, to: Duration, rng: &mut impl Rng) -> Duration {
    let span = u64::try_from(to.saturating_sub(from).as_millis()).unwrap_or(u64::MAX).max(1);
    from + Duration::from_millis(rng.next_u64() % span)
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;

    use super::*;

    #[test]
    fn pauses_double_up_to_the_limit_and_differ() {
        let backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(10));
        let shortest: Vec<u64> = (0..6).map(|failures| backoff.shortest(failures).as_secs()).collect();
        assert_eq!(shortest, [1, 2, 4, 8, 10, 10]);
        assert_eq!(backoff.shortest(u32::MAX), Duration::from_secs(10));
        let mut rng = ChaCha20Rng::from_seed([7; 32]);
        let drawn: std::collections::BTreeSet<_> = (0..100).map(|_| backoff.draw(2, &mut rng)).collect();
        assert!(drawn.len() > 50);
        assert!(drawn.iter().all(|pause| (Duration::from_secs(4)..Duration::from_secs(6)).contains(pause)));
    }
}
