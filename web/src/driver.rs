//! Runs the engine in the browser: sockets, clocks, randomness, the directory and the store.
//!
//! The page and the driver know each other only by [`Handle`], [`Notice`] and the engine's plain values, so that the
//! driver can move into a worker.

mod run;

use allium_shared::client::api::{Command, Event, HistoryEntry};
use futures_channel::mpsc;
use futures_util::StreamExt as _;
use futures_util::future::{Either, select};
use wasm_bindgen_futures::spawn_local;
use yew::Callback;

use crate::storage::{self, StorageError};
use crate::strings;
use crate::tab_lock::{self, Requests, TabLock};

/// What the driver tells the page.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    /// The engine cannot run, for a reason in one sentence.
    Failed(String),
}

/// What the page asks of the driver.
enum Request {
    Command(Command),
    TakeOver,
}

/// The page's end of the driver.
#[derive(Clone)]
pub struct Handle {
    requests: mpsc::UnboundedSender<Request>,
}

impl Handle {
    /// Hands the engine a command.
    pub fn command(&self, command: Command) {
        let _ = self.requests.unbounded_send(Request::Command(command));
    }

    /// Asks the tab that runs the profile to leave it to this one.
    pub fn take_over(&self) {
        let _ = self.requests.unbounded_send(Request::TakeOver);
    }
}

/// Starts the driver; `tell` hears everything that it has to say.
pub fn start(tell: Callback<Notice>) -> Handle {
    let (requests, mut inbox) = mpsc::unbounded();
    spawn_local(async move {
        storage::ask_to_persist().await;
        while let Some(lock) = take_turn(&mut inbox, &tell).await {
            tell.emit(Notice::Started);
            let mut others = Requests::listen();
            if let Err(reason) = run::run(&mut inbox, others.stream(), &tell).await {
                tell.emit(Notice::Failed(reason));
                return;
            }
            drop(lock);
        }
        // The browser gives this page no lock at all, as it gives none to pages that may not store anything.
        tell.emit(Notice::Failed(strings::storage_failed(StorageError::Unavailable).to_owned()));
    });
    Handle { requests }
}

/// Waits until this tab may run the profile; `None` when the page has gone.
async fn take_turn(inbox: &mut mpsc::UnboundedReceiver<Request>, tell: &Callback<Notice>) -> Option<TabLock> {
    if let Some(lock) = TabLock::try_take().await {
        return Some(lock);
    }
    tell.emit(Notice::Elsewhere);
    let mut turn = Box::pin(TabLock::take());
    loop {
        match select(turn, inbox.next()).await {
            Either::Left((lock, _)) => return lock,
            Either::Right((request, waiting)) => {
                if let Request::TakeOver = request? {
                    tab_lock::ask_others_to_let_go();
                }
                turn = waiting;
            }
        }
    }
}
