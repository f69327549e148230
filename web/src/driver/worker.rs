//! The worker's end: follows the leading tab until it is this tab's turn to run the engine.

use std::rc::Rc;

use futures_channel::mpsc;
use futures_util::StreamExt as _;
use futures_util::future::{Either, select};
use gloo_timers::future::TimeoutFuture;
use wasm_bindgen::prelude::wasm_bindgen;
use wasm_bindgen_futures::spawn_local;
use web_sys::MessagePort;

use super::engine::{self, End};
use super::tab::{Signal, Tab};
use super::tabs::{Follower, Leader};
use super::{Notice, page, port};
use crate::storage::StorageError;
use crate::strings;
use crate::tab_lock::{self, Requests, TabLock};

/// How often a follower checks on its leader, and asks it to let go if the person wants that.
const FOLLOW_MILLIS: u32 = 1_000;

/// How long a tab without locks waits for the others to let go.
const LET_GO_MILLIS: u32 = 500;

/// How long a tab that has locked the profile waits for its followers to do the same.
const PUT_AWAY_MILLIS: u32 = 2_000;

/// How often it checks whether they have.
const LOOK_MILLIS: u32 = 20;

/// Runs the worker; called once by `worker.js`.
#[wasm_bindgen]
pub fn drive(page_port: MessagePort) {
    let (signals, inbox) = mpsc::unbounded();
    let tab = Tab::new(page_port.clone(), page::build(), signals);
    let listener = port::listen(&page_port, {
        let tab = Rc::clone(&tab);
        move |request| match request {
            Ok(request) => tab.ask(request),
            // The page and its worker are one program: this is a bug, and is handled like a panic.
            Err(error) => wasm_bindgen::throw_str(&error.to_string()),
        }
    });
    spawn_local(async move {
        let _listener = listener;
        // Shows other tabs that this one exists.
        let presence = TabLock::take(&tab.lock_name()).await;
        take_turns(&tab, inbox, presence.is_some()).await;
        tab.retire();
        drop(presence);
    });
}

/// The end of waiting for this tab's turn.
enum Turn {
    /// It is this tab's turn; other tabs may ask it to let go.
    Own(TabLock, Requests),
    /// The profile is locked: no more turns.
    Over,
    /// The browser gives this page no locks.
    Never,
}

async fn take_turns(tab: &Rc<Tab>, mut signals: mpsc::UnboundedReceiver<Signal>, is_present: bool) {
    let mut has_let_go = false;
    loop {
        let turn = if TabLock::is_supported() {
            take_turn(tab, &mut signals, is_present).await
        } else {
            take_turn_by_asking(tab, &mut signals, has_let_go).await
        };
        let (lock, mut others) = match turn {
            Turn::Own(lock, others) => (lock, others),
            Turn::Over => return,
            // Pages that may not store anything get no locks either.
            Turn::Never => {
                let reason = strings::storage_failed(StorageError::Unavailable).to_owned();
                return tab.tell_page(&Notice::Failed(reason));
            }
        };
        let mut inbox = tab.lead();
        // If it fails, other tabs get their turn and may fare better.
        match engine::run(&mut inbox, others.stream(), tab).await {
            Ok(End::LetGo) => {
                tab.step_down(inbox);
                has_let_go = true;
                drop(lock);
            }
            Ok(End::Locked) => return put_away(tab).await,
            Err(notice) => return tab.tell_page(&notice),
        }
    }
}

/// Waits until this tab may run the profile. Meanwhile it follows another one, if other tabs can see that it exists.
async fn take_turn(tab: &Rc<Tab>, signals: &mut mpsc::UnboundedReceiver<Signal>, is_present: bool) -> Turn {
    if let Some(lock) = TabLock::try_take(tab_lock::NAME).await {
        return Turn::Own(lock, Requests::listen());
    }
    if is_present {
        tab.as_follower(Follower::join);
    } else {
        tab.tell_page(&Notice::Elsewhere { silent: false });
    }
    if forget_take_overs(signals) == Some(Signal::Stop) {
        return Turn::Over;
    }
    let mut wants_it = false;
    let mut turn = Box::pin(TabLock::take(tab_lock::NAME));
    let mut look = TimeoutFuture::new(FOLLOW_MILLIS);
    loop {
        let waiting = match select(turn, select(signals.next(), &mut look)).await {
            Either::Left((Some(lock), _)) => return Turn::Own(lock, Requests::listen()),
            Either::Left((None, _)) => return Turn::Never,
            Either::Right((Either::Left((Some(Signal::TakeOver), _)), waiting)) => {
                wants_it = true;
                tab_lock::ask_others_to_let_go();
                waiting
            }
            Either::Right((Either::Left((Some(Signal::Stop) | None, _)), _)) => return Turn::Over,
            Either::Right((Either::Right(((), _)), waiting)) => {
                // Other tabs may be ahead in the queue; each has to be asked once it leads.
                if wants_it {
                    tab_lock::ask_others_to_let_go();
                }
                tab.as_follower(Follower::look);
                look = TimeoutFuture::new(FOLLOW_MILLIS);
                waiting
            }
        };
        turn = waiting;
    }
}

/// The same without locks: other tabs are asked to let go, and trusted to do so. A tab that let go itself waits until the
/// person wants it back.
async fn take_turn_by_asking(tab: &Rc<Tab>, signals: &mut mpsc::UnboundedReceiver<Signal>, has_let_go: bool) -> Turn {
    let mut has_to_wait = has_let_go;
    loop {
        if has_to_wait {
            tab.tell_page(&Notice::Elsewhere { silent: false });
            if forget_take_overs(signals) == Some(Signal::Stop) || signals.next().await != Some(Signal::TakeOver) {
                return Turn::Over;
            }
        }
        let mut others = Requests::listen();
        if others.come_first(tab.id(), TimeoutFuture::new(LET_GO_MILLIS)).await {
            return Turn::Own(TabLock::unsupported(), others);
        }
        has_to_wait = true;
    }
}

/// Discards requests to take over that were meant for an earlier turn. Returns the first other signal.
fn forget_take_overs(signals: &mut mpsc::UnboundedReceiver<Signal>) -> Option<Signal> {
    std::iter::from_fn(|| signals.try_recv().ok()).find(|signal| *signal != Signal::TakeOver)
}

/// Lets the followers lock first, so that none of them is given the profile, and then the page of this tab. Each page
/// reloads, which ends its worker with everything in its memory.
async fn put_away(tab: &Rc<Tab>) {
    tab.as_leader(Leader::put_away);
    for _ in 0..PUT_AWAY_MILLIS / LOOK_MILLIS {
        if !tab.is_followed() {
            break;
        }
        TimeoutFuture::new(LOOK_MILLIS).await;
    }
    tab.tell_page(&Notice::PutAway);
}
