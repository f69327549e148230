//! Simulations: clients and relays in virtual time, one module for each behaviour.
//!
//! Each test runs several seeds and names the seed in its failure; the same seed gives the same run. To run one seed
//! alone, set `ALLIUM_SIM_SEED`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "all of this is tests")]

#[path = "sim/people.rs"]
mod people;

#[path = "sim/back.rs"]
mod back;
#[path = "sim/clock.rs"]
mod clock;
#[path = "sim/crash.rs"]
mod crash;
#[path = "sim/crowd.rs"]
mod crowd;
#[path = "sim/decision.rs"]
mod decision;
#[path = "sim/determinism.rs"]
mod determinism;
#[path = "sim/directory.rs"]
mod directory;
#[path = "sim/fallback.rs"]
mod fallback;
#[path = "sim/false_contact.rs"]
mod false_contact;
#[path = "sim/invite.rs"]
mod invite;
#[path = "sim/keys.rs"]
mod keys;
#[path = "sim/loss.rs"]
mod loss;
#[path = "sim/malice.rs"]
mod malice;
#[path = "sim/observer.rs"]
mod observer;
#[path = "sim/older_copy.rs"]
mod older_copy;
#[path = "sim/origin.rs"]
mod origin;
#[path = "sim/paths.rs"]
mod paths;
#[path = "sim/services.rs"]
mod services;
#[path = "sim/sleep.rs"]
mod sleep;
#[path = "sim/soak.rs"]
mod soak;
#[path = "sim/streams.rs"]
mod streams;
#[path = "sim/teardown.rs"]
mod teardown;
#[path = "sim/weather.rs"]
mod weather;
