//! Allium's protocol, all of it and nothing else.
//!
//! No IO, no clock, no global randomness: inputs and the time go in, transmits, timers and events come out, and
//! randomness is passed in. So the same code runs in the page, in the native client, in a relay and in a simulator.
//!
//! # Layout
//!
//! - [`time`]: the clock readings that drivers hand in
//! - [`wire`]: reading and writing of binary formats
//! - [`netdir`]: descriptors of relays, the authorities and their consensus
//! - [`client`]: the engine behind the page and the native client
//! - [`crypto`]: onion layers, circuit handshakes, keys
//! - [`link`]: the Noise handshake and the records between neighbours

pub mod client;
pub mod crypto;
pub mod link;
pub mod netdir;
pub mod time;
pub mod wire;
