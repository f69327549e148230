//! A circuit that is joined to another: cells pass from one client to the other.

use super::only_drop;
use crate::cell::{Cell, CircId};
use crate::crypto::cgo::{RelayBackward, RelayForward};
use crate::relay::outlet::Outlet;
use crate::relay::violation::Outcome;

/// Moves cells from one client on to the other.
pub(in crate::relay) struct Joined<L> {
    pub(super) half: Box<RelayForward>,
    pub(super) onward: Box<RelayBackward>,
    /// The other circuit.
    pub(in crate::relay) other: (L, CircId),
}

impl<L: Clone + PartialEq> Joined<L> {
    /// Passes a cell of this circuit's client on.
    pub(in crate::relay) fn pass(&mut self, cell: &mut Cell, out: &mut impl Outlet<Link = L>) -> Outcome {
        if self.half.process(cell.command as u8, &mut cell.body).is_some() {
            return only_drop(cell);
        }
        self.onward.pass(cell.command as u8, &mut cell.body);
        cell.circ = self.other.1;
        out.forward(&self.other.0, cell);
        Ok(())
    }
}
