//! What a circuit does to the rest of its relay.

use super::handshakes::Request;
use super::link_event::LinkEvent;
use super::tables::Tables;
use crate::cell::message::RelayMessage;
use crate::cell::{Cell, CircId, Command, DestroyReason};
use crate::crypto::cgo::{RelayBackward, Tag};
use crate::crypto::keys::RelayIdentity;

/// What a circuit does to the rest of its relay. The driver carries it out at once.
pub trait Outlet {
    /// A link of this relay, as its other links know it.
    type Link: Clone + PartialEq;

    /// Queues a cell on the link that the circuits belong to.
    fn send(&mut self, cell: &Cell);

    /// Refuses a circuit that does not exist. A courtesy: it is left out when the peer reads too little.
    fn refuse(&mut self, circ: CircId, reason: DestroyReason);

    /// Queues a cell on another link.
    fn forward(&mut self, link: &Self::Link, cell: &Cell);

    /// Hands an event to the owner of another link (or of this one). When that link is gone, what
    /// [`LinkEvent::into_failure`] gives has to come back; other events may be dropped, since a closing link tells all whom
    /// it concerns.
    fn tell(&mut self, link: &Self::Link, event: LinkEvent<Self::Link>);

    /// Hands the event to a link towards that relay, opening one if there is none. The relay's address comes from the
    /// consensus alone. On failure the event comes back as [`LinkEvent::OpenFailed`].
    fn connect(&mut self, relay: RelayIdentity, event: LinkEvent<Self::Link>);

    /// Has a client's handshake answered, away from this link; what comes of it has to come back as an event.
    fn answer(&mut self, request: Request<Self::Link>);

    /// The tables of circuits that others look for.
    fn tables(&mut self) -> &mut impl Tables<Link = Self::Link>;
}

/// Queues a cell that carries a message of this relay's own; returns its tag.
pub(super) fn originate<L>(
    half: &mut RelayBackward,
    circ: CircId,
    message: &RelayMessage,
    out: &mut impl Outlet<Link = L>,
) -> Tag {
    originate_cell(half, message.to_cell(circ, Command::Relay), out)
}

/// Queues a cell of this relay's own; returns its tag.
pub(super) fn originate_cell(half: &mut RelayBackward, mut cell: Cell, out: &mut impl Outlet) -> Tag {
    let tag = half.originate(cell.command as u8, &mut cell.body);
    out.send(&cell);
    tag
}
