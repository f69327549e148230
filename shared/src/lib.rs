//! Allium's protocol, all of it and nothing else.
//!
//! No IO, no clock, no global randomness: inputs and the time go in, transmits, timers and events come out, and
//! randomness is passed in. So the same code runs in the page, in the native client, in a relay and in a simulator.
//!
//! # Layout
//!
//! - [`time`]: the clock readings that drivers hand in
//! - [`token_bucket`]: limits on how often something may happen
//! - [`wire`]: reading and writing of binary formats
//! - [`cell`]: cells, relay messages and handshake fragments
//! - [`crypto`]: onion layers, circuit handshakes, keys
//! - [`link`]: the encrypted link between two neighbours
//! - [`flow`]: how much may be under way on a circuit and its streams
//! - [`circuit`]: circuits at the end that builds them
//! - [`relay`]: circuits at the relays that they pass
//! - [`stream`]: streams to services at the end of circuits, at both ends
//! - [`services`]: what services of relays are asked and answer
//! - [`netdir`]: descriptors of relays, the authorities and their consensus
//! - [`rendezvous`]: where two contacts meet again
//! - [`contact`]: how two people become contacts
//! - [`messaging`]: what two contacts say to each other
//! - [`client`]: the engine behind the page and the native client
//! - [`vault`]: what the engine stores, sealed on its way to the disk
//! - `vectors`, with the feature of that name: every message byte by byte, and the check against that
//! - `wycheproof`, with the feature `vectors`: checks of what comes from other crates

pub mod cell;
pub mod circuit;
pub mod client;
pub mod contact;
pub mod crypto;
pub mod flow;
pub mod link;
pub mod messaging;
pub mod netdir;
pub mod relay;
pub mod rendezvous;
pub mod services;
pub mod stream;
pub mod time;
pub mod token_bucket;
pub mod vault;
#[cfg(any(test, feature = "vectors"))]
pub mod vectors;
pub mod wire;
#[cfg(any(test, feature = "vectors"))]
pub mod wycheproof;
