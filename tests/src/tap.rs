//! A tap on every link: a proxy before each relay that records every byte in both directions, and the analysis of what
//! it recorded.
//!
//! The tap knows no keys. What it can tell is what anybody on the way can: addresses, sizes, and bytes. The analysis
//! looks for everything in there that should not be: secrets in any usual spelling, sizes that say something, bytes that
//! are not spread evenly, and repetitions.
//!
//! # Layout
//!
//! - `proxy`: the listeners and the recordings
//! - `owner`: which process opened a connection
//! - [`websocket`]: from bytes to WebSocket messages, masking undone
//! - [`link`]: from WebSocket messages to a link's handshake and records
//! - [`secrets`]: what to look for, and in which spellings
//! - [`statistics`]: whether bytes look like noise
//! - [`analysis`]: all of that over a set of recordings
//! - [`network`]: a network whose relays all have a tap before them

pub mod analysis;
pub mod link;
pub mod network;
mod owner;
mod proxy;
pub mod secrets;
pub mod statistics;
#[cfg(test)]
mod tests;
pub mod websocket;

pub use self::analysis::{Account, Finding, analyse};
pub use self::network::TappedNetwork;
pub use self::proxy::{Recording, Tap};
pub use self::secrets::Secrets;
