//! Numbers for whoever runs a node: counted where things happen, shown at the node's admin address and nowhere else.
//!
//! Live figures of a relay would help somebody who wants to know whose traffic passes it: they could be compared with what
//! is seen elsewhere. So what tells of people is rounded up to whole steps, the page is made every [`admin::SNAPSHOT_EVERY`]
//! and stays the same in between, and only those who reach the admin address can read it. Numbers that are public anyway,
//! such as how many relays a consensus has, are exact.
//!
//! Counting takes no lock. What happens for each cell is counted by each link for itself, and added up a few times a second.
//!
//! # Layout
//!
//! - [`value`]: counters and gauges, alone or one for each value of a label
//! - [`text`]: Prometheus' text format, with rounded numbers
//! - [`relay`], [`authority`], [`directory`], [`node`]: what is counted where
//! - [`admin`]: the admin address

pub mod admin;
pub mod authority;
pub mod directory;
pub mod node;
pub mod relay;
pub mod text;
pub mod value;

pub use text::{Source, Text};

#[cfg(test)]
mod tests;
