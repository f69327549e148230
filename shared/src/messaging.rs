//! What two joined contacts say to each other.
//!
//! From the outside in: [`frame`] cuts the joined circuit's stream into frames; [`envelope`] is the outer seal of each
//! message, with its place in the conversation, under keys ratcheted from the hybrid handshake; [`session`] is Olm;
//! [`content`] is what Olm encrypts. [`message_id`] names a message at all of these levels.

pub mod content;
pub mod envelope;
pub mod frame;
pub mod message_id;
pub mod session;
