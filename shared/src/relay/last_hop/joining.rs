//! A circuit that has come to one that waited, until the other's backward half is here.

use std::collections::VecDeque;

use super::joined::Joined;
use crate::cell::{Cell, CircId};
use crate::crypto::cgo::{RelayBackward, RelayForward};
use crate::relay::outlet::Outlet;
use crate::relay::violation::{CircuitViolation, Outcome};

/// Cells that a joining circuit may send before the other half has come over.
const MAX_PENDING: usize = 256;

/// A circuit that has come to one that waited: its cells wait for that one's backward half.
pub(in crate::relay) struct Joining<L> {
    half: Box<RelayForward>,
    /// The circuit that waited.
    pub(in crate::relay) other: (L, CircId),
    pending: VecDeque<Cell>,
}

impl<L: Clone + PartialEq> Joining<L> {
    pub(super) const fn new(half: Box<RelayForward>, other: (L, CircId)) -> Self {
        Self { half, other, pending: VecDeque::new() }
    }

    /// Keeps a cell until the other half is here.
    pub(in crate::relay) fn hold(&mut self, cell: &Cell) -> Outcome {
        if self.pending.len() >= MAX_PENDING {
            return Err(CircuitViolation::TooMuch);
        }
        self.pending.push_back(cell.clone());
        Ok(())
    }

    /// The other half is here: passes the cells that have waited for it.
    pub(in crate::relay) fn join(
        self,
        onward: Box<RelayBackward>,
        out: &mut impl Outlet<Link = L>,
    ) -> (Joined<L>, Outcome) {
        let Self { half, other, pending } = self;
        let mut joined = Joined { half, onward, other };
        let outcome = pending.into_iter().try_for_each(|mut cell| joined.pass(&mut cell, out));
        (joined, outcome)
    }
}
