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
//! - [`tabs`]: how tabs of one profile work together, without a browser in it
//! - [`tab`]: this tab among them
//! - [`lock`]: the passphrase: asked for at the start, changed while the engine runs
//! - [`stop`]: why the engine does not run
//! - [`run`]: one run of the engine, with the browser's sockets, clocks, randomness and store
//! - [`trust`]: which authorities count
//! - [`port`]: values over a message port

mod handle;
mod lock;
mod port;
mod run;
mod stop;
mod tab;
mod tabs;
#[cfg(test)]
mod tests;
mod trust;
mod worker;

use std::fmt;

use allium_shared::client::api::{Command, ContactId, Event, HistoryEntry, MessageId};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop};

pub use self::handle::{Handle, start};
use crate::storage::{Protection, StorageError};

/// What the worker tells the page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Notice {
    /// An engine starts, or one that runs is followed. It may be another than before: the whole comes anew.
    Started {
        /// Whether another tab runs it.
        follows: bool,
    },
    /// Another tab runs the profile, and this one cannot follow it: it waits for its turn.
    Elsewhere {
        /// Whether the other one says nothing at all.
        silent: bool,
    },
    /// Whoever runs the engine does not answer, or does so again.
    Silent(bool),
    /// All there is, in the place of all that was told before.
    Snapshot {
        /// The stored conversations.
        history: Vec<HistoryEntry>,
        /// What the engine has to say of the rest.
        events: Vec<Event>,
    },
    /// What has happened since, in its order.
    Events(Vec<Event>),
    /// A message was shown to the person, in whichever tab.
    Shown {
        /// The conversation.
        contact: ContactId,
        /// The message.
        id: MessageId,
    },
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
fn tell_events(events: Vec<Event>, tell: impl Fn(Notice)) {
    let mut together = Vec::new();
    for event in events {
        let is_part = matches!(event, Event::Relays { .. });
        together.push(event);
        if is_part {
            tell(Notice::Events(std::mem::take(&mut together)));
        }
    }
    if !together.is_empty() {
        tell(Notice::Events(together));
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
