//! The two clocks that the protocol is handed.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use allium_shared::time::{self, Now, UnixTime};

/// Reads the system's clocks; the monotonic one counts from the clock's making.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// A clock that starts now.
    pub fn start() -> Self {
        Self { start: Instant::now() }
    }

    /// Both readings.
    pub fn now(&self) -> Now {
        let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Now {
            instant: time::Instant::from_millis(millis(self.start.elapsed())),
            unix: UnixTime::from_millis(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, millis)),
        }
    }

    /// The system's reading of the same moment, to sleep until.
    pub fn to_system(&self, instant: time::Instant) -> Instant {
        self.start + Duration::from_millis(instant.as_millis().min(FAR_MILLIS))
    }
}

/// A hundred years: system clocks do not take much more.
const FAR_MILLIS: u64 = 100 * 365 * 24 * 60 * 60 * 1000;
