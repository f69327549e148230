//! Runs the engine in a worker of the page, so that nothing that it computes keeps the page from being drawn.
//!
//! The page and its worker are two runs of one WebAssembly module, which is fetched and compiled once: the page hands
//! the compiled module over. They know each other only by [`Request`], [`Notice`] and the engine's plain values, which
//! travel between them as JSON.
//!
//! # Layout
//!
//! - [`handle`]: the page's end, which starts the worker
//! - `worker.js`: the worker's few lines of JavaScript, which start the module there
//! - [`worker`]: the worker's end, which waits for this tab's turn
//! - [`lock`]: the passphrase: asked for at the start, changed while the engine runs
//! - [`run`]: one run of the engine, with the browser's sockets, clocks, randomness and store
//! - [`look`]: the list of relays, looked at while another tab runs the engine
//! - [`trust`]: which authorities count
//! - [`port`]: values over a message port

mod handle;
mod lock;
mod look;
mod port;
mod run;
#[cfg(test)]
mod tests;
mod trust;
mod worker;

use std::fmt;

use allium_shared::client::api::{Command, Event, HistoryEntry};
use serde::{Deserialize, Serialize};
use yew::Callback;
use zeroize::{Zeroize, ZeroizeOnDrop};

pub use self::handle::{Handle, start};
use crate::storage::{Protection, StorageError};

/// What the worker tells the page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Notice {
    /// This tab is the one that runs the profile; the engine starts.
    Started,
    /// Another tab runs the profile; this one waits for its turn.
    Elsewhere,
    /// The stored conversations: once, before the first event.
    History(Vec<HistoryEntry>),
    /// The engine's events, in their order.
    Events(Vec<Event>),
    /// The directory gives no answer, for a reason in a clause; another attempt follows.
    DirectoryTrouble(String),
    /// Writing fails and is tried again, or works again.
    StorageTrouble(Option<StorageError>),
    /// The profile waits for its passphrase.
    Locked,
    /// The passphrase did not open the profile, for a reason in one sentence.
    UnlockRefused(String),
    /// The profile is open, and this opens it the next time; told at the start and after each change.
    Protection(Protection),
    /// The passphrase was not changed, for a reason in one sentence.
    PassphraseRefused(String),
    /// The profile is locked again, and everything is on disk: the page is to forget what it knows.
    PutAway,
    /// The engine cannot run, for a reason in one sentence.
    Failed(String),
    /// The server of the page names other authorities than those that the profile keeps, so the engine does not run; the ids of
    /// both networks.
    OtherAuthorities {
        /// Theirs that are kept.
        kept: String,
        /// Theirs that are named.
        named: String,
    },
    /// The worker has ended by a fault of its own; the page finds that out by itself.
    Crashed,
}

/// Tells events in their order: those of one turn together, but for long lists of relays, so that the page can draw between
/// two of their parts.
fn tell_events(events: impl IntoIterator<Item = Event>, tell: &Callback<Notice>) {
    let mut together = Vec::new();
    for event in events {
        let is_part = matches!(event, Event::Relays { .. });
        together.push(event);
        if is_part {
            tell.emit(Notice::Events(std::mem::take(&mut together)));
        }
    }
    if !together.is_empty() {
        tell.emit(Notice::Events(together));
    }
}

/// What the page asks of the worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Request {
    /// The engine is to do this.
    Command(Command),
    /// The tab that runs the profile is to leave it to this one.
    TakeOver,
    /// The passphrase, or what is to become of it.
    Lock(LockRequest),
}

/// What a person wants of the profile's lock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LockRequest {
    /// Open the profile.
    Unlock(Passphrase),
    /// Let the new passphrase open it, once the current one has been checked, if it has one.
    Set {
        /// The passphrase that it has; empty if it has none.
        current: Passphrase,
        /// The one that it is to have.
        new: Passphrase,
    },
    /// Let the browser's key open it.
    Remove {
        /// The passphrase that it has.
        current: Passphrase,
    },
    /// Put everything on disk, and forget what opens it.
    Lock,
}

/// A passphrase on its way to the worker. It is wiped where Rust holds it; what the browser copies on the way is not.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
pub struct Passphrase(String);

impl Passphrase {
    /// The passphrase that was typed.
    pub fn new(text: String) -> Self {
        Self(text)
    }

    fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Passphrase").finish_non_exhaustive()
    }
}
