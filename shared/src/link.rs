//! Links: what two neighbours speak on one WebSocket, authenticated by the relay's key in the consensus.
//!
//! A link begins with a Noise handshake, one WebSocket message per Noise message. After that every WebSocket message, in
//! both directions, is a record: one AEAD seal over 1 to 31 cells. Who terminates TLS outside learns nothing from it but
//! sizes and times. What links protect, cell headers, they protect classically, without a post-quantum part.
//!
//! Drive it like this: make an [`Initiator`] or a [`Responder`], hand it every message that arrives, send what it says,
//! until it returns a [`Link`]. Then seal and open records with its two halves, which know nothing of each other.
//!
//! # Layout
//!
//! - [`handshake`]: from the first byte to a [`Link`]
//! - [`record`]: cells in and out of records
//! - [`padding`]: what an idle link sends

pub mod handshake;
pub mod padding;
pub mod record;

pub use handshake::{Initiator, Link, LinkHandshakeError, LinkStep, Peer, RelayAddressee, Responder};
pub use padding::Padding;
pub use record::{CELL_LEN, MAX_CELLS, Opener, RecordError, Sealer, padded_count};
