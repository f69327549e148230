//! A last hop that waits, with a cookie, for another circuit to come.

use super::{NotWaiting, Surroundings};
use crate::cell::CircId;
use crate::cell::message::{Cookie, RelayMessage};
use crate::relay::outlet::Outlet;
use crate::relay::tables::Tables as _;
use crate::relay::violation::CircuitViolation;

/// A circuit that waits with a cookie.
pub(super) struct RendezvousWaiting<L> {
    cookie: Cookie,
    /// The circuit that has come, and how many fragments it has brought.
    comer: Option<((L, CircId), u8)>,
}

impl<L: Clone + PartialEq> RendezvousWaiting<L> {
    /// Begins to wait, and tells the client.
    pub(super) fn begin<O: Outlet<Link = L>>(
        cookie: Cookie,
        around: &mut Surroundings<'_, O>,
    ) -> Result<Self, CircuitViolation> {
        let place = around.place();
        if !around.out.tables().establish(cookie, place) {
            return Err(CircuitViolation::Unexpected("a cookie that is taken"));
        }
        around.originate(&RelayMessage::RendezvousEstablished);
        Ok(Self { cookie, comer: None })
    }

    /// The circuit that has come.
    pub(super) const fn comer(&self) -> Option<&(L, CircId)> {
        match &self.comer {
            Some((comer, _)) => Some(comer),
            None => None,
        }
    }

    /// A circuit brings the fragment with this index.
    pub(super) fn visited(&mut self, comer: &(L, CircId), index: u8) -> Result<(), NotWaiting> {
        match &mut self.comer {
            None if index == 0 => self.comer = Some((comer.clone(), 1)),
            Some((known, seen)) if known == comer && *seen == index => *seen += 1,
            _ => return Err(NotWaiting),
        }
        Ok(())
    }

    /// Waits no longer.
    pub(super) fn leave(&self, place: &(L, CircId), out: &mut impl Outlet<Link = L>) {
        if self.comer.is_none() {
            out.tables().withdraw(&self.cookie, place);
        }
    }
}
