//! What became of all circuits so far: for reports, which no person reads.

use crate::cell::DestroyReason;

/// What has become of all circuits of a client so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CircuitCounts {
    /// How often a circuit reached the end of its path, at first or after one more hop was added.
    pub opened: u64,
    /// Circuits that ended before that.
    pub failed: CircuitLosses,
    /// Circuits that ended later, against the client's wish.
    pub lost: CircuitLosses,
}

/// Circuits by what ended them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CircuitLosses {
    /// Something took too long.
    pub timeout: u64,
    /// A relay said that it was gone.
    pub destroyed: u64,
    /// A relay or the other client broke the protocol.
    pub protocol: u64,
    /// The link to the guard was lost.
    pub link: u64,
}

/// Why a circuit ended.
#[derive(Clone, Copy, Debug)]
pub(super) enum CloseCause {
    /// With this reason for the guard, or because the guard said so.
    Said(Option<DestroyReason>),
    /// Its link is gone.
    Link,
}

impl CircuitCounts {
    /// Counts a circuit that ended, unless the client itself had no more use for it.
    pub(super) fn ended(&mut self, was_open: bool, cause: CloseCause) {
        let losses = if was_open { &mut self.lost } else { &mut self.failed };
        *match cause {
            CloseCause::Said(Some(DestroyReason::Requested | DestroyReason::LinkClosed)) => return,
            CloseCause::Said(Some(DestroyReason::Timeout)) => &mut losses.timeout,
            CloseCause::Said(Some(_)) => &mut losses.protocol,
            CloseCause::Said(None) => &mut losses.destroyed,
            CloseCause::Link => &mut losses.link,
        } += 1;
    }
}
