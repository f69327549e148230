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
use super::run::Stop;
use super::{Notice, Request, port, run};
use crate::storage::StorageError;
use crate::strings;
use crate::tab_lock::{self, Requests, TabLock};

/// Runs the driver in this worker; called by `worker.js`, once.
#[wasm_bindgen]
pub fn drive(page: MessagePort) {
    let (requests, inbox) = mpsc::unbounded();
    let listener = port::listen(&page, move |request| match request {
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

async fn take_turns(mut inbox: mpsc::UnboundedReceiver<Request>, tell: &Callback<Notice>) {
    while let Some(lock) = take_turn(&mut inbox, tell).await {
        tell.emit(Notice::Started);
        let mut others = Requests::listen();
        if let Err(stop) = run::run(&mut inbox, others.stream(), tell).await {
            tell.emit(match stop {
                Stop::Failed(reason) => Notice::Failed(reason),
                Stop::OtherAuthorities { kept, named } => Notice::OtherAuthorities { kept, named },
            });
            return;
        }
        drop(lock);
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
                    Request::Command(_) => {}
                }
                turn = waiting;
            }
            Either::Right((Either::Right((never, _)), _)) => match never {},
        }
    }
}
