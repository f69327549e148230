//! The client's engine: one state machine behind the page and the native client.
//!
//! The driver's rule: after each [`Client::handle`] take outputs with [`Client::poll_output`] until there are none, then
//! sleep until [`Client::poll_timeout`] or the next input, whichever comes first.

pub mod api;
