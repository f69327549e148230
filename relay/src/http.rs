//! HTTP as the nodes speak it.
//!
//! # Layout
//!
//! - [`server`]: a bounded server
//! - [`tls_listener`]: an address that it serves by TLS
//! - [`client`]: small requests between nodes

pub mod client;
pub mod server;
pub mod tls_listener;
