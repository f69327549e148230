//! Allium's page: drives the protocol's engine in a browser, and draws it with Yew.
//!
//! # Layout
//!
//! - [`app`]: the root component: one state, one driver, one of the pages
//! - [`state`]: the page's state, computed from events; no browser in it
//! - [`driver`]: runs the engine in a worker, with [`socket`], [`directory`], [`storage`] and [`tab_lock`]
//! - [`pages`], [`components`], [`hooks`]: the drawing
//! - [`strings`], [`format`](mod@format): texts, dates and times
//! - [`address`]: invites in the page's address
//! - [`last_words`]: the message after a crash of the page itself

mod address;
mod app;
mod components;
mod directory;
mod driver;
mod format;
mod hooks;
mod last_words;
mod pages;
mod socket;
mod state;
mod storage;
mod strings;
mod tab_lock;

/// Runs once in the page, and once in its worker, which has no window and starts in [`driver`].
fn main() {
    // Before anything else can read or store the address.
    let offered = address::take_invite();
    last_words::prepare();
    let root = web_sys::window().and_then(|window| window.document()?.get_element_by_id("app"));
    if let Some(root) = root {
        yew::Renderer::<app::App>::with_root_and_props(root, app::Props { offered }).render();
    }
}
