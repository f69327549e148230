//! The worker's end: waits for this tab's turn, then runs the engine until another tab's.

use allium_shared::client::api::Command;
use futures_channel::mpsc;
use futures_util::StreamExt as _;
use futures_util::future::{Either, pending, select};
use wasm_bindgen::prelude::wasm_bindgen;
use wasm_bindgen_futures::spawn_local;
use web_sys::MessagePort;
use yew::Callback;

use super::look::look;
use super::run::{End, Stop};
use super::{LockRequest, Notice, Request, port, run};
use crate::storage::StorageError;
use crate::strings;
use crate::tab_lock::{self, Requests, TabLock};

/// Runs the driver in this worker; called by `worker.js`, once.
#[wasm_bindgen]
pub fn drive(page: MessagePort) {
    let (requests, inbox) = mpsc::unbounded();
    let (lock_requests, locks) = mpsc::unbounded();
    let inbox = Inbox { requests: inbox, locks };
    let listener = port::listen(&page, move |request| match request {
        Ok(Request::Lock(request)) => drop(lock_requests.unbounded_send(request)),
        Ok(request) => drop(requests.unbounded_send(request)),
        // The page and its worker are one program: this is a fault of it, and ends as a panic would.
        Err(error) => wasm_bindgen::throw_str(&error.to_string()),
    });
    let tell = Callback::from(move |notice: Notice| port::send(&page, &notice));
    spawn_local(async move {
        let _listener = listener;
        take_turns(inbox, &tell).await;
    });
}

/// What the page asks for.
pub(super) struct Inbox {
    /// Of the engine, or of other tabs.
    pub(super) requests: mpsc::UnboundedReceiver<Request>,
    /// Of the profile's lock, which is there before the engine.
    pub(super) locks: mpsc::UnboundedReceiver<LockRequest>,
}

async fn take_turns(mut inbox: Inbox, tell: &Callback<Notice>) {
    while let Some(lock) = take_turn(&mut inbox.requests, tell).await {
        tell.emit(Notice::Started);
        let mut others = Requests::listen();
        match run::run(&mut inbox, others.stream(), tell).await {
            Ok(End::LetGo) => drop(lock),
            // The page is loaded anew, and this worker goes with it and with all that it remembers.
            Ok(End::Locked) => return tell.emit(Notice::PutAway),
            Err(Stop::Failed(reason)) => return tell.emit(Notice::Failed(reason)),
            Err(Stop::OtherAuthorities { kept, named }) => {
                return tell.emit(Notice::OtherAuthorities { kept, named });
            }
        }
    }
    // The browser gives this page no lock at all, as it gives none to pages that may not store anything.
    tell.emit(Notice::Failed(strings::storage_failed(StorageError::Unavailable).to_owned()));
}

/// Waits until this tab may run the profile; `None` when there is nothing to wait for.
async fn take_turn(inbox: &mut mpsc::UnboundedReceiver<Request>, tell: &Callback<Notice>) -> Option<TabLock> {
    if let Some(lock) = TabLock::try_take().await {
        return Some(lock);
    }
    tell.emit(Notice::Elsewhere);
    let mut turn = Box::pin(TabLock::take());
    let mut looking = None;
    loop {
        let looks = match &mut looking {
            Some(looking) => Either::Left(looking),
            None => Either::Right(pending()),
        };
        match select(turn, select(inbox.next(), looks)).await {
            Either::Left((lock, _)) => return lock,
            Either::Right((Either::Left((request, _)), waiting)) => {
                match request? {
                    Request::TakeOver => tab_lock::ask_others_to_let_go(),
                    Request::Command(Command::Network { watch }) => looking = watch.then(|| Box::pin(look(tell))),
                    // The page offers nothing else before it is its turn.
                    Request::Command(_) | Request::Lock(_) => {}
                }
                turn = waiting;
            }
            Either::Right((Either::Right((never, _)), _)) => match never {},
        }
    }
}
