//! Runs the engine in a worker, so that nothing it computes keeps the page from being drawn.
//!
//! The page and its worker are two instances of one WebAssembly module. They exchange a [`Request`] one way and a
//! [`Notice`] the other, as JSON.
//!
//! # Layout
//!
//! In the page:
//!
//! - [`page`]: starts the worker, sends it requests, passes its notices on
//!
//! In the worker:
//!
//! - `worker.js`: a few lines of JavaScript that start the module
//! - [`worker`]: waits for this tab's turn to run the engine
//! - [`tabs`]: how the tabs of a profile work together; no browser in it
//! - [`tab`]: this tab among them
//! - [`engine`]: one run of the engine, with the browser's sockets, clocks, randomness and store
//! - [`trust`]: which authorities to trust
//! - [`lock`]: the passphrase: asked for at the start, changed while the engine runs
//!
//! In both:
//!
//! - [`port`]: values over a message port

mod engine;
mod lock;
mod page;
mod port;
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

pub use self::page::{Handle, start};
use crate::storage::{ProfileError, Protection, StorageError};
use crate::strings;

/// What the worker tells the page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Notice {
    /// This tab's engine starts, or the tab follows another one. A snapshot comes next.
    Started {
        /// True if another tab runs the engine.
        follows: bool,
    },
    /// Another tab runs the profile, and this one can't follow it: it waits for its turn.
    Elsewhere {
        /// True if the other tab doesn't answer at all.
        silent: bool,
    },
    /// The tab that runs the engine stopped answering, or answers again.
    Silent(bool),
    /// The complete state. It replaces everything that was told before.
    Snapshot {
        /// The stored conversations.
        history: Vec<HistoryEntry>,
        /// The rest, as events.
        events: Vec<Event>,
    },
    /// What happened since, in order.
    Events(Vec<Event>),
    /// A message was shown to the person, in any tab.
    Shown {
        /// The conversation.
        contact: ContactId,
        /// The message.
        id: MessageId,
    },
    /// The directory didn't answer, and will be asked again; the reason is a clause.
    DirectoryTrouble(String),
    /// Writing to the store fails and is being retried, or works again.
    StorageTrouble(Option<StorageError>),
    /// The profile waits for its passphrase.
    Locked,
    /// The passphrase did not open the profile; the reason is a sentence.
    UnlockRefused(String),
    /// The profile is open, and this will open it next time. Told at the start and after each change.
    Protection(Protection),
    /// The passphrase was not changed; the reason is a sentence.
    PassphraseRefused(String),
    /// The profile is locked, and everything is on disk: the page must forget what it knows.
    PutAway,
    /// The engine cannot run; the reason is a sentence.
    Failed(String),
    /// The engine does not run, because the page's server names other authorities than the profile's.
    OtherAuthorities {
        /// The id of the network that the profile belongs to.
        kept: String,
        /// The id of the network that the server names.
        named: String,
    },
    /// The worker crashed. The page itself notices that.
    Crashed,
}

impl Notice {
    fn profile_failed(error: ProfileError) -> Self {
        Self::Failed(strings::profile_failed(error))
    }

    fn storage_failed(error: StorageError) -> Self {
        Self::Failed(strings::storage_failed(error).into())
    }
}

/// What the page asks of the worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// A command for the engine.
    Command(Command),
    /// The tab that runs the profile is to leave it to this one.
    TakeOver,
    /// Open the profile, lock it, or change its passphrase.
    Lock(LockRequest),
}

impl From<Command> for Request {
    fn from(command: Command) -> Self {
        Self::Command(command)
    }
}

impl From<LockRequest> for Request {
    fn from(request: LockRequest) -> Self {
        Self::Lock(request)
    }
}

/// A request about the profile's lock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LockRequest {
    /// Open the profile.
    Unlock(Passphrase),
    /// Set a new passphrase, after checking the current one if there is one.
    Set {
        /// The current passphrase; empty if there is none.
        current: Passphrase,
        /// The new passphrase.
        new: Passphrase,
    },
    /// Remove the passphrase, so that the browser's key opens the profile.
    Remove {
        /// The current passphrase.
        current: Passphrase,
    },
    /// Put everything on disk, and forget the key.
    Lock,
}

/// A passphrase on its way to the worker. Rust's copies are wiped; copies that the browser makes are not.
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
