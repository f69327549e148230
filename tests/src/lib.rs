//! The harness of Allium's tests: the whole as others meet it, with real processes, a real browser, real disk, and
//! every byte of every link on record; and the protocol alone, in virtual time.
//!
//! But for [`sim`], nothing in here knows the inside of what it tests: it drives the binary `allium` and the page by what
//! they promise to people and programs. Where something is wrong it panics, at the line of the test that asked, and what
//! is dropped while a test fails first tells what it has seen. No test sleeps where it can wait for an event, and nothing
//! that a test has started outlives it, whichever way it ends.
//!
//! # Layout
//!
//! - [`sim`]: clients and relays in virtual time
//! - [`artifacts`]: where the binary, the page and the browser are
//! - [`wait`]: waiting with a deadline
//! - [`process`]: programs that end with the tests, and what they wrote
//! - [`network`], [`node`]: `allium network` and its nodes, which can be killed, frozen and started again
//! - [`machines`]: nodes that are started one by one, each from a file as its operator would write it
//! - [`namespaces`]: network namespaces of Linux, with wires between them that can be cut
//! - [`faketime`]: clocks of processes that are wrong
//! - [`forward`]: ports that are passed on
//! - [`directory`]: what nodes show of the network: consensuses, proofs, numbers
//! - [`largest`]: an authority with the largest list of relays that there can be
//! - [`liar`]: an authority that lies
//! - [`secure`]: a network served by TLS
//! - [`chat`]: `allium chat`, a native client
//! - [`profile`]: what is in a client's profile
//! - [`rank`]: whether two samples can be told apart
//! - [`traffic`]: two clients who never stop talking, and the account of what arrived
//! - [`peer`]: a peer that does not keep to the protocol
//! - [`browser`]: Chromium by WebDriver, and the page in it
//! - [`origin`]: an address whose server can be changed behind it
//! - [`tap`]: a proxy before each relay that records every byte, and what may never be found in there

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "all of this is tests: what goes wrong here is a test's failure and is told where it happens"
)]

pub mod artifacts;
pub mod browser;
pub mod chat;
pub mod directory;
pub mod faketime;
pub mod forward;
pub mod largest;
pub mod liar;
pub mod machines;
pub mod namespaces;
pub mod network;
pub mod node;
pub mod origin;
pub mod peer;
pub mod process;
pub mod profile;
pub mod rank;
pub mod secure;
pub mod sim;
pub mod tap;
pub mod traffic;
pub mod usage;
pub mod wait;
