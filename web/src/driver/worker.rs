//! The worker's end: follows the tab that leads, until it is this tab's turn to run the engine.

use std::rc::Rc;

use futures_channel::mpsc;
use futures_util::StreamExt as _;
use futures_util::future::{Either, select};
use gloo_timers::future::TimeoutFuture;
use wasm_bindgen::prelude::wasm_bindgen;
use wasm_bindgen_futures::spawn_local;
use web_sys::MessagePort;

use super::run::End;
use super::stop::Stop;
use super::tab::{Signal, Tab};
use super::{Notice, handle, port, run};
use crate::storage::StorageError;
use crate::strings;
use crate::tab_lock::{self, Requests, TabLock};

/// How often a follower looks whether its leader is there, and asks it to let go if the person wants that.
const FOLLOW_MILLIS: u32 = 1_000;

/// How long a tab without locks waits for the others to let go.
const LET_GO_MILLIS: u32 = 500;

/// How long a tab that has put the profile away waits for its followers to do so too.
const PUT_AWAY_MILLIS: u32 = 2_000;

/// How often it looks whether they have.
const LOOK_MILLIS: u32 = 20;

/// Runs the driver in this worker; called by `worker.js`, once.
#[wasm_bindgen]
pub fn drive(page: MessagePort) {
    let (signals, inbox) = mpsc::unbounded();
    let tab = Tab::new(page.clone(), handle::build(), signals);
    let listener = port::listen(&page, {
        let tab = Rc::clone(&tab);
        move |request| match request {
            Ok(request) => tab.asked(request),
            // The page and its worker are one program: this is a fault of it, and ends as a panic would.
            Err(error) => wasm_bindgen::throw_str(&error.to_string()),
        }
    });
    spawn_local(async move {
        let _listener = listener;
        // By it others see that this tab is there.
        let presence = TabLock::take(&tab.lock_name()).await;
        take_turns(&tab, inbox, presence.is_some()).await;
        tab.retire();
        drop(presence);
    });
}

/// Whose turn it is.
enum Turn {
    /// This tab's, which hears from now on what others ask of it.
    Own(TabLock, Requests),
    /// Nobody's any more.
    Over,
    /// This page is given no lock at all.
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
            // As to pages that may not store anything.
            Turn::Never => {
                let reason = strings::storage_failed(StorageError::Unavailable).to_owned();
                return tab.tell_page(&Notice::Failed(reason));
            }
        };
        let mut inbox = tab.lead();
        // Where it fails, other tabs get their turn, and see for themselves whether they fare better.
        match run::run(&mut inbox, others.stream(), tab).await {
            Ok(End::LetGo) => {
                tab.step_down(inbox);
                has_let_go = true;
                drop(lock);
            }
            Ok(End::Locked) => return put_away(tab).await,
            Err(Stop::Failed(reason)) => return tab.tell_page(&Notice::Failed(reason)),
            Err(Stop::OtherAuthorities { kept, named }) => {
                return tab.tell_page(&Notice::OtherAuthorities { kept, named });
            }
        }
    }
}

/// Waits until this tab may run the profile, and follows another one meanwhile, if others can see that it is present.
async fn take_turn(tab: &Rc<Tab>, signals: &mut mpsc::UnboundedReceiver<Signal>, is_present: bool) -> Turn {
    if let Some(lock) = TabLock::try_take(tab_lock::NAME).await {
        return Turn::Own(lock, Requests::listen());
    }
    if is_present {
        tab.join();
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
                // Others may be before this one in the queue, and each has to be asked once it leads.
                if wants_it {
                    tab_lock::ask_others_to_let_go();
                }
                tab.look();
                look = TimeoutFuture::new(FOLLOW_MILLIS);
                waiting
            }
        };
        turn = waiting;
    }
}

/// The same without locks: the others are asked to let go, and are taken at their word. A tab that has let go itself waits until
/// the person wants it back.
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

/// Forgets what the person wanted of an earlier turn. Whether there was more than that.
fn forget_take_overs(signals: &mut mpsc::UnboundedReceiver<Signal>) -> Option<Signal> {
    std::iter::from_fn(|| signals.try_recv().ok()).find(|signal| *signal != Signal::TakeOver)
}

/// The page is loaded anew, and this worker goes with it and with all that it remembers. Before that, those that follow do the
/// same: until then none of them is given the profile.
async fn put_away(tab: &Rc<Tab>) {
    tab.put_away();
    for _ in 0..PUT_AWAY_MILLIS / LOOK_MILLIS {
        if !tab.is_followed() {
            break;
        }
        TimeoutFuture::new(LOOK_MILLIS).await;
    }
    tab.tell_page(&Notice::PutAway);
}
