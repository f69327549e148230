//! The cryptography of circuits: onion layers, circuit handshakes and the keys of nodes.
//!
//! Everything here is a composition of published primitives from reviewed crates; nothing reads a clock, a socket or a
//! global random generator.
//!
//! # Layout
//!
//! - [`cgo`]: Counter Galois Onion, the layers that cells wear on a circuit

pub mod cgo;
