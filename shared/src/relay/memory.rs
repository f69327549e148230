//! The memory that a whole relay gives to cells, over all its links.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::cell::CELL_LEN;
use crate::time::Instant;

/// How long a link that was asked to give up a circuit may take before another is asked, in milliseconds.
const PATIENCE: u64 = 10;

/// Cells that wait at a relay, over all its links, and how many may.
///
/// Shared by the links of a relay, each of which has a [`LinkLoad`]. Counting is one addition for a batch of cells. Whoever
/// finds the relay over its cap has [`worst`] found among the loads of all links, and that link has to give up a circuit.
#[derive(Debug)]
pub struct Memory {
    queued: AtomicUsize,
    max: usize,
    /// When a link was asked that has not done it yet, in milliseconds; zero when none is.
    asked: AtomicU64,
}

impl Memory {
    /// A cap of `bytes` bytes of cells.
    pub const fn new(bytes: usize) -> Self {
        Self { queued: AtomicUsize::new(0), max: bytes / CELL_LEN, asked: AtomicU64::new(0) }
    }

    /// How many cells wait.
    pub fn queued(&self) -> usize {
        self.queued.load(Ordering::Relaxed)
    }

    /// Whether more waits than may.
    pub fn is_over(&self) -> bool {
        self.queued() > self.max
    }

    /// A link has this many cells waiting now; `progress` says whether it has sent some.
    pub(super) fn update(&self, load: &LinkLoad, now: Instant, queued: usize, progress: bool) {
        let before = load.queued.swap(queued, Ordering::Relaxed);
        // What begins to wait now has not waited before.
        if progress || queued == 0 || before == 0 {
            load.progress.store(now.as_millis(), Ordering::Relaxed);
        }
        // Wraps where the link has fewer than before; the sum over all links is right again.
        self.queued.fetch_add(queued.wrapping_sub(before), Ordering::Relaxed);
    }

    /// Whether the caller is the one to have the worst link asked now.
    pub(super) fn ask(&self, now: Instant) -> bool {
        let now = now.as_millis().max(1);
        let asked = self.asked.load(Ordering::Relaxed);
        self.is_over()
            && (asked == 0 || now.saturating_sub(asked) >= PATIENCE)
            && self.asked.compare_exchange(asked, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// The link that was asked has given up a circuit.
    pub(super) fn relieved(&self) {
        self.asked.store(0, Ordering::Relaxed);
    }
}

/// What waits on one link.
#[derive(Debug, Default)]
pub struct LinkLoad {
    queued: AtomicUsize,
    /// When the link last had nothing waiting or sent something, in milliseconds.
    progress: AtomicU64,
}

impl LinkLoad {
    /// When the link last had nothing waiting, or sent something.
    pub(super) fn progress(&self) -> Instant {
        Instant::from_millis(self.progress.load(Ordering::Relaxed))
    }

    /// How many cells wait.
    pub fn queued(&self) -> usize {
        self.queued.load(Ordering::Relaxed)
    }
}

/// Which of a relay's links has to give up a circuit: the one that has sent nothing for the longest time, to the second;
/// among equals the one with most waiting.
pub fn worst<'a, L>(now: Instant, links: impl IntoIterator<Item = (L, &'a LinkLoad)>) -> Option<L> {
    links
        .into_iter()
        .filter(|(_, load)| load.queued() > 0)
        .max_by_key(|(_, load)| (now.saturating_since(load.progress()).as_secs(), load.queued()))
        .map(|(link, _)| link)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_link_that_does_not_read_is_the_worst() {
        let memory = Memory::new(10 * CELL_LEN);
        let (busy, stuck) = (LinkLoad::default(), LinkLoad::default());
        let at = Instant::from_millis;
        memory.update(&stuck, at(1000), 4, false);
        memory.update(&busy, at(1000), 5, false);
        memory.update(&busy, at(9000), 4, true);
        assert!(!memory.ask(at(9000)));
        memory.update(&busy, at(9000), 7, false);
        assert!(memory.ask(at(9000)));
        assert!(!memory.ask(at(9001)), "one is asked at a time");
        // Although less waits on it.
        assert_eq!(worst(at(9000), [("busy", &busy), ("stuck", &stuck)]), Some("stuck"));
        assert_eq!(worst(at(1500), [("busy", &busy), ("stuck", &stuck)]), Some("busy"));
        assert!(memory.ask(at(9000 + PATIENCE)), "the one that was asked is gone");
        memory.update(&stuck, at(9000), 0, false);
        memory.relieved();
        assert_eq!((memory.queued(), memory.is_over()), (7, false));
        assert_eq!(worst(at(9000), [("busy", &busy), ("stuck", &stuck)]), Some("busy"));
        // A link that was idle for long is not to blame for what begins to wait now.
        memory.update(&stuck, at(20_000), 1, false);
        assert_eq!(worst(at(20_000), [("busy", &busy), ("stuck", &stuck)]), Some("busy"));
    }
}
