//! What a link has done, in plain numbers, for whoever watches the relay.
//!
//! Each link counts for itself, so that counting costs no more than an addition; the driver takes the numbers now and then
//! and adds them up over all links. They say nothing about any single circuit.

use core::ops::AddAssign;

use crate::cell::DestroyReason;

/// What a link has done since it was last asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkCounts {
    /// Records of the peer that were opened.
    pub records_opened: u64,
    /// Records that were sealed for the peer.
    pub records_sealed: u64,
    /// Cells of the peer that were handed to another link.
    pub cells_forwarded: u64,
    /// What became of its circuits.
    pub circuits: CircuitCounts,
}

/// What became of the circuits on a link since it was last asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CircuitCounts {
    /// Handshakes of the peer that were answered.
    pub handshakes_answered: u64,
    /// Handshakes of the peer that were refused, because there are too many.
    pub handshakes_refused: u64,
    /// Handshakes of the peer that could not be answered, because they are none.
    pub handshakes_failed: u64,
    /// Circuits that ended because more waited for their reader than may.
    pub overruns: u64,
    /// Circuits that ended for each reason, in the order of [`DestroyReason::ALL`].
    ended: [u64; DestroyReason::ALL.len()],
}

impl CircuitCounts {
    /// How many circuits ended, and why; those of [`Self::overruns`] not among them. A circuit that passes two links counts on the
    /// one where its end began.
    pub fn ended(&self) -> impl Iterator<Item = (DestroyReason, u64)> {
        DestroyReason::ALL.iter().copied().zip(self.ended)
    }

    /// A circuit has ended.
    pub(super) fn end(&mut self, reason: DestroyReason) {
        if let Some((_, count)) = DestroyReason::ALL.iter().zip(&mut self.ended).find(|(known, _)| **known == reason) {
            *count += 1;
        }
    }
}

impl AddAssign for CircuitCounts {
    fn add_assign(&mut self, other: Self) {
        self.handshakes_answered += other.handshakes_answered;
        self.handshakes_refused += other.handshakes_refused;
        self.handshakes_failed += other.handshakes_failed;
        self.overruns += other.overruns;
        for (count, more) in self.ended.iter_mut().zip(other.ended) {
            *count += more;
        }
    }
}
