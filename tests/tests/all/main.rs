//! Allium as others meet it. One binary, so that it is linked once; one module per behaviour.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "all of this is tests, the helpers between them too"
)]

mod authorities;
mod bad_input;
mod bad_invite;
mod chat;
mod cli;
mod crash_client;
mod crowd;
mod data_plane;
mod freeze;
mod interruptions;
mod keygen;
mod kill_relays;
mod logs;
mod metrics;
mod namespaces;
mod network;
mod network_page;
mod onion_keys;
mod page;
mod page_lock;
mod page_settings;
mod page_tabs;
mod page_trust;
mod page_worker;
mod presence;
mod profile;
mod secure;
mod services;
mod soak;
mod tap;
