//! The relay's data plane: circuits passing through, and what the last hop does.
//!
//! The task that reads a link owns one [`link::RelayLink`], and in it one [`circuits::Circuits`]: the state of the circuits
//! whose cells arrive on that link. The half of a circuit that moves cells away from the client lives with the link towards
//! the client, the half that moves them back lives with the link away from it. So a cell is handled by one owner from its
//! arrival to the queue of the link that it leaves by, and no lock is on its way. What links have to tell each other (open,
//! destroy, join) goes as [`link_event::LinkEvent`]s; what they share is a counter of waiting cells.
//!
//! # Layout
//!
//! - [`link`]: one link, from its handshake to its end
//! - [`circuits`]: the circuits whose cells arrive on it
//! - [`last_hop`]: a circuit that ends here, a file for each of its states
//! - [`streams`]: the streams of a circuit that ends here
//! - [`outlet`], [`link_event`]: what circuits do to the rest of the relay, and what links tell each other
//! - [`violation`]: what a client did wrong on a circuit
//! - [`services`], [`user_keys`]: what it does, and what users have published there
//! - [`origin`]: circuits that the relay begins itself
//! - [`handshakes`], [`keys`], [`onion_keys`]: answering those who open circuits, and the keys for that
//! - [`counts`]: what a link has done, in numbers
//! - [`queue`], [`fair_queue`]: what waits to leave, and in which order
//! - [`memory`]: what a relay gives to others at most
//! - [`tables`]: what all links share: [`introductions`], [`rendezvous`], and which link leads where

pub mod circuits;
pub mod counts;
pub mod fair_queue;
pub mod handshakes;
pub mod introductions;
pub mod keys;
pub mod last_hop;
pub mod link;
pub mod link_event;
pub mod memory;
pub mod onion_keys;
pub mod origin;
pub mod outlet;
pub mod queue;
pub mod rendezvous;
pub mod services;
pub mod streams;
pub mod tables;
pub mod user_keys;
pub mod violation;
