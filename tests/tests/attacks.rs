//! Attacks: a malicious relay, client or stranger against the real state machines, in virtual time.
//!
//! Each test first shows that what is attacked works without the attack, so that it can fail.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "all of this is tests")]

#[path = "attacks/ground.rs"]
mod ground;

#[path = "attacks/extend.rs"]
mod extend;
#[path = "attacks/injection.rs"]
mod injection;
#[path = "attacks/introductions.rs"]
mod introductions;
#[path = "attacks/malformed_handshakes.rs"]
mod malformed_handshakes;
#[path = "attacks/records.rs"]
mod records;
#[path = "attacks/reordering.rs"]
mod reordering;
#[path = "attacks/replay.rs"]
mod replay;
#[path = "attacks/streams.rs"]
mod streams;
#[path = "attacks/tagging.rs"]
mod tagging;
#[path = "attacks/wrong_keys.rs"]
mod wrong_keys;
