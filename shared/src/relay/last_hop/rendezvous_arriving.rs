//! A last hop whose circuit goes to one that waits with a cookie.

use super::{Meeting, Next, Surroundings, UNEXPECTED};
use crate::cell::CircId;
use crate::cell::fragment::{FRAGMENTS, Fragment};
use crate::cell::message::{Cookie, RelayMessage};
use crate::relay::link_event::LinkEvent;
use crate::relay::outlet::Outlet;
use crate::relay::tables::Tables as _;
use crate::relay::violation::CircuitViolation;

/// A circuit that goes to one that waits.
pub(super) struct RendezvousArriving<L> {
    /// The circuit that waits; none where nobody does.
    waiting: Option<(L, CircId)>,
    /// How many fragments it was given.
    given: u8,
    tries: u8,
}

impl<L: Clone + PartialEq> RendezvousArriving<L> {
    /// Begins with the first fragment.
    pub(super) fn begin<O: Outlet<Link = L>>(
        cookie: &Cookie,
        fragment: Fragment,
        tries: u8,
        around: &mut Surroundings<'_, O>,
    ) -> Self {
        let waiting = around.out.tables().take_waiting(cookie);
        if let Some(waiting) = &waiting {
            visit(waiting, fragment, around);
        }
        Self { waiting, given: 1, tries }
    }

    /// The circuit that waits.
    pub(super) const fn waiting(&self) -> Option<&(L, CircId)> {
        self.waiting.as_ref()
    }

    pub(super) fn handle<O: Outlet<Link = L>>(
        &mut self,
        message: RelayMessage,
        around: &mut Surroundings<'_, O>,
    ) -> Result<Next<L>, CircuitViolation> {
        let RelayMessage::Rendezvous1 { cookie: None, fragment } = message else { return Err(UNEXPECTED) };
        if fragment.index != self.given {
            return Err(UNEXPECTED);
        }
        self.given += 1;
        let is_last = self.given == FRAGMENTS;
        match &self.waiting {
            Some(waiting) if is_last => {
                return Ok(Next::Meet(Meeting { waiting: waiting.clone(), fragment: Box::new(fragment) }));
            }
            Some(waiting) => visit(waiting, fragment, around),
            // Nobody waits. Said after the third fragment, so that none is left over to be misread.
            None if is_last => {
                around.originate(&RelayMessage::RendezvousUnknown);
                return Ok(Next::Fresh(self.tries));
            }
            None => {}
        }
        Ok(Next::Stay)
    }
}

/// Brings the circuit that waits a fragment that is not the last.
fn visit<O: Outlet>(waiting: &(O::Link, CircId), fragment: Fragment, around: &mut Surroundings<'_, O>) {
    let comer = around.place();
    let event = LinkEvent::Visit { circ: waiting.1, comer, fragment: Box::new(fragment), half: None };
    around.out.tell(&waiting.0, event);
}
