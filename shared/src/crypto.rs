//! The cryptography of circuits: onion layers, circuit handshakes and the keys of nodes.
//!
//! Everything here is a composition of published primitives from reviewed crates; nothing reads a clock, a socket or a
//! global random generator.
//!
//! # Layout
//!
//! - [`derive`](mod@derive): values derived from a secret under a label
//! - [`cgo`]: Counter Galois Onion, the layers that cells wear on a circuit
//! - [`handshake`]: the hybrid handshake by which a client and a hop agree on keys
//! - [`keys`]: the long-lived keys of nodes
//! - [`ntor_v3`]: the classical handshake inside the hybrid one
//! - [`proof_of_work`]: proofs of work

pub mod cgo;
pub mod derive;
pub mod handshake;
mod key_stream;
pub mod keys;
pub mod ntor_v3;
pub mod proof_of_work;
