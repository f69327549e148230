//! How often something may happen.

use crate::time::Instant;

/// Lets something happen at a steady rate, and a burst of it after a pause.
#[derive(Clone, Copy, Debug)]
pub struct TokenBucket {
    per_second: u64,
    /// The most that may happen at once, in thousandths.
    burst: u64,
    /// What may happen now, in thousandths.
    left: u64,
    at: Instant,
}

impl TokenBucket {
    /// At most `burst` at once, and `per_second` in the long run.
    pub const fn new(per_second: u32, burst: u32, now: Instant) -> Self {
        let burst = burst as u64 * 1000;
        Self { per_second: per_second as u64, burst, left: burst, at: now }
    }

    /// Whether it may happen now; if so, that is counted.
    pub fn take(&mut self, now: Instant) -> bool {
        // A thousandth per millisecond for each one per second.
        let gained = (now.as_millis().saturating_sub(self.at.as_millis())).saturating_mul(self.per_second);
        self.left = self.left.saturating_add(gained).min(self.burst);
        self.at = now;
        let may = self.left >= 1000;
        if may {
            self.left -= 1000;
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_and_then_a_steady_rate() {
        let mut rate = TokenBucket::new(10, 5, Instant::from_millis(0));
        let mut taken = |ms| (0..100).filter(|_| rate.take(Instant::from_millis(ms))).count();
        assert_eq!(taken(0), 5);
        assert_eq!(taken(50), 0);
        assert_eq!(taken(100), 1);
        assert_eq!(taken(350), 2);
        assert_eq!(taken(1_000_000), 5);
    }
}
