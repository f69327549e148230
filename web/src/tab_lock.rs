//! The browser's locks: each is held by at most one tab, which releases it by ending, however it ends.
//!
//! The tab with the profile's lock runs the engine: two engines on one database would corrupt each other's keys. Other
//! tabs wait for it and follow meanwhile (`driver::tabs`). Each tab also holds a second lock, which shows others when it has
//! closed. Pages on insecure origins other than localhost have no locks: there one tab runs at a time, and the tab that the
//! person used last asks the others to let go.
//!
//! All of this happens in the tab's worker, which also writes to the database: writer and lock end together.

use std::cell::Cell;
use std::rc::Rc;

use futures_channel::{mpsc, oneshot};
use futures_util::StreamExt as _;
use futures_util::future::{Either, select};
use gloo_events::EventListener;
use js_sys::{Function, Object, Promise, Reflect};
use wasm_bindgen::prelude::{Closure, wasm_bindgen};
use wasm_bindgen::{JsCast, JsValue};
use web_sys::{BroadcastChannel, MessageEvent};

/// The lock of the profile, and the channel on which tabs ask for it.
pub const NAME: &str = "allium-profile";

/// What a tab that wants its turn says on the channel; without locks, its number follows. Other builds of the page read
/// this too, and some of them take any message for it.
const LET_GO: &str = "let-go";

/// A lock, held until it is dropped.
pub struct TabLock {
    release: Option<Function>,
}

impl TabLock {
    /// True if the browser has locks for this page.
    pub fn is_supported() -> bool {
        locks().is_some()
    }

    /// A substitute for browsers without locks.
    pub const fn unsupported() -> Self {
        Self { release: None }
    }

    /// Takes a lock if it is free.
    pub async fn try_take(name: &str) -> Option<Self> {
        request(name, true).await
    }

    /// Waits for a lock; `None` if the browser refuses it.
    pub async fn take(name: &str) -> Option<Self> {
        request(name, false).await
    }
}

impl Drop for TabLock {
    fn drop(&mut self) {
        if let Some(release) = &self.release {
            let _ = release.call0(&JsValue::UNDEFINED);
        }
    }
}

/// Asks the tab that runs the profile to let go of it.
pub fn ask_others_to_let_go() {
    if let Ok(channel) = BroadcastChannel::new(NAME) {
        let _ = channel.post_message(&LET_GO.into());
        channel.close();
    }
}

/// Another tab wants its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    /// The number of that tab, if it said so.
    from: Option<u64>,
}

impl Ask {
    fn read(text: &str) -> Self {
        let number = text.strip_prefix(LET_GO).and_then(|rest| rest.strip_prefix(' '));
        Self { from: number.and_then(|number| number.parse().ok()) }
    }

    /// True if a tab with this number lets the asking one go first, when both want their first turn. Of two tabs exactly
    /// one does. A tab without a number doesn't listen before it leads.
    fn goes_before(self, me: u64) -> bool {
        self.from.is_none_or(|from| from < me)
    }
}

/// Receives other tabs' requests for their turn.
pub struct Requests {
    channel: Option<BroadcastChannel>,
    _listener: Option<EventListener>,
    asked: mpsc::UnboundedReceiver<Ask>,
}

impl Requests {
    /// Listens from now on.
    pub fn listen() -> Self {
        let (ask, asked) = mpsc::unbounded();
        let channel = BroadcastChannel::new(NAME).ok();
        let listener = channel.as_ref().map(|channel| {
            EventListener::new(channel, "message", move |event| {
                let text = event.dyn_ref::<MessageEvent>().and_then(|event| event.data().as_string());
                let _ = ask.unbounded_send(Ask::read(&text.unwrap_or_default()));
            })
        });
        Self { channel, _listener: listener, asked }
    }

    /// Another tab's requests.
    pub fn stream(&mut self) -> &mut mpsc::UnboundedReceiver<Ask> {
        &mut self.asked
    }

    /// Asks the others to let go, if there are no locks, and gives them time for it. `false` if another tab wants its turn
    /// at the same time and goes before this one, number `me`.
    pub async fn come_first(&mut self, me: u64, mut wait: impl Future<Output = ()> + Unpin) -> bool {
        loop {
            // Repeated whenever another tab asks: it may not have listened before.
            self.ask(me);
            match select(self.asked.next(), &mut wait).await {
                Either::Left((Some(ask), _)) if ask.goes_before(me) => return false,
                Either::Left((Some(_), _)) => {}
                Either::Left((None, _)) | Either::Right(_) => return true,
            }
        }
    }

    fn ask(&self, me: u64) {
        // A channel doesn't receive its own messages.
        if let Some(channel) = &self.channel {
            let _ = channel.post_message(&format!("{LET_GO} {me}").into());
        }
    }
}

impl Drop for Requests {
    fn drop(&mut self) {
        if let Some(channel) = &self.channel {
            channel.close();
        }
    }
}

#[wasm_bindgen]
extern "C" {
    /// `LockManager`, which web-sys still calls unstable.
    type LockManager;

    #[wasm_bindgen(method, catch)]
    fn request(this: &LockManager, name: &str, options: &Object, callback: &JsValue) -> Result<Promise, JsValue>;
}

fn locks() -> Option<LockManager> {
    let navigator = Reflect::get(&js_sys::global(), &"navigator".into()).ok()?;
    let locks = Reflect::get(&navigator, &"locks".into()).ok()?;
    locks.is_object().then(|| locks.unchecked_into())
}

async fn request(name: &str, if_available: bool) -> Option<TabLock> {
    let (grant, granted) = oneshot::channel();
    let callback = Closure::once_into_js(move |lock: JsValue| -> JsValue {
        if !lock.is_object() {
            let _ = grant.send(None);
            return JsValue::UNDEFINED;
        }
        // The browser holds the lock until the promise that this callback returns is resolved.
        let release = Rc::new(Cell::new(None));
        let held = Promise::new(&mut {
            let release = Rc::clone(&release);
            move |resolve, _reject| release.set(Some(resolve))
        });
        // If nobody waits for it any more, it is released at once.
        let _ = grant.send(Some(TabLock { release: release.take() }));
        held.into()
    });
    let options = Object::new();
    Reflect::set(&options, &"ifAvailable".into(), &if_available.into()).ok()?;
    let _held = locks()?.request(name, &options, &callback).ok()?;
    granted.await.ok().flatten()
}

#[cfg(test)]
mod tests {
    use futures_util::future::join;
    use gloo_timers::future::TimeoutFuture;
    use wasm_bindgen_test::wasm_bindgen_test;

    use super::{Ask, Requests};

    #[wasm_bindgen_test]
    fn of_two_tabs_that_want_their_turn_exactly_one_leaves_it_to_the_other() {
        for (one, other) in [(1, 2), (u64::MAX, 0)] {
            let leaves_it = |me: u64, to: u64| Ask::read(&format!("let-go {to}")).goes_before(me);
            assert_ne!(leaves_it(one, other), leaves_it(other, one));
        }
        // An older build says no number, and lets nobody go first.
        for text in ["let-go", "let-go ", "let-go x", "", "7"] {
            assert!(Ask::read(text).goes_before(0), "{text}");
        }
    }

    #[wasm_bindgen_test]
    async fn tabs_without_locks_that_begin_together_do_not_both_lead() {
        // The second starts while the first is waiting, with a lower number or a higher one.
        for (first, second) in [(1, 2), (2, 1)] {
            let (mut one, mut other) = (Requests::listen(), Requests::listen());
            let later = async {
                TimeoutFuture::new(50).await;
                other.come_first(second, TimeoutFuture::new(200)).await
            };
            let come_first = join(one.come_first(first, TimeoutFuture::new(200)), later).await;
            assert_eq!(come_first, (first < second, second < first));
        }
    }
}
