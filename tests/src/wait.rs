//! Waiting with a deadline.

use std::thread;
use std::time::{Duration, Instant};

/// The first pause between two looks, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(50));

/// A moment until which something must have happened.
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    start: Instant,
    limit: Duration,
}

impl Deadline {
    /// The moment `limit` from now.
    pub fn after(limit: Duration) -> Self {
        Self { start: Instant::now(), limit }
    }

    /// The moment `seconds` from now.
    pub fn seconds(seconds: u64) -> Self {
        Self::after(Duration::from_secs(seconds))
    }

    /// How much is left; nothing once it has passed.
    pub fn left(self) -> Duration {
        self.limit.saturating_sub(self.start.elapsed())
    }

    /// Whether it has passed.
    pub fn passed(self) -> bool {
        self.left().is_zero()
    }

    /// How long it was when it was set.
    pub fn limit(self) -> Duration {
        self.limit
    }
}

/// Looks again and again until there is something to see.
///
/// # Panics
///
/// If there is nothing within `limit`; the text then names `what` was waited for.
#[track_caller]
pub fn until<T>(limit: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Deadline::after(limit);
    match poll(deadline, &mut look) {
        Some(seen) => seen,
        None => panic!("waited {limit:.1?} in vain: {what}"),
    }
}

/// Looks again and again until there is something to see; nothing, if the deadline passes first.
pub fn poll<T>(deadline: Deadline, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let (mut pause, longest) = PAUSES;
    loop {
        // The last look comes after the deadline: a busy machine may not have let us look before.
        let passed = deadline.passed();
        if let Some(seen) = look() {
            return Some(seen);
        }
        if passed {
            return None;
        }
        thread::sleep(pause.min(deadline.left()));
        pause = (pause * 2).min(longest);
    }
}

/// Watches for as long as `time` that something stays true.
///
/// # Panics
///
/// If it does not; the text then names `what` should have lasted.
#[track_caller]
pub fn lasts(time: Duration, what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    if poll(Deadline::after(time), || (!holds()).then_some(())).is_some() {
        panic!("it lasted only {:.1?}: {what}", start.elapsed());
    }
}
