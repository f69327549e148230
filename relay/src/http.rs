//! HTTP as the nodes speak it: a bounded server, and a client for small requests between nodes.

pub mod client;
pub mod server;
