//! The relay's data plane: circuits passing through, and what the last hop does.
//!
//! Nothing here is shared between links. The task that reads a link owns one [`link::RelayLink`], and in it one
//! [`circuits::Circuits`]: the state of the circuits whose cells arrive on that link. The half of a circuit that moves cells away from the client lives with the
//! link towards the client, the half that moves them back lives with the link away from it. So a cell is handled by one
//! owner from its arrival to the queue of the link that it leaves by, and no lock is on its way. What links have to tell
//! each other (open, destroy, join) goes as [`circuits::Note`]s.

pub mod circuits;
pub mod link;
pub mod queue;
pub mod rendezvous;
