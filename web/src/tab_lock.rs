//! Locks of the browser's: at most one tab has each, and lets go of it by ending, however it ends.
//!
//! Whoever has the lock of the profile runs its engine: two engines on one database would spoil each other's keys. The others
//! wait for it, and follow that tab meanwhile (`driver::tabs`). A tab also has a lock of its own, by which others see when it has
//! gone. Pages on insecure origins other than this computer have no locks: there one tab runs at a time, and the tab that the
//! person has gone to last asks the others to let go.
//!
//! All of this is done in the tab's worker: whoever writes to the database holds the lock, and both end together.

use std::cell::Cell;
use std::rc::Rc;

use futures_channel::{mpsc, oneshot};
use gloo_events::EventListener;
use js_sys::{Function, Object, Promise, Reflect};
use wasm_bindgen::prelude::{Closure, wasm_bindgen};
use wasm_bindgen::{JsCast, JsValue};
use web_sys::BroadcastChannel;

/// The lock of the profile, and the channel on which tabs ask for it.
pub const NAME: &str = "allium-profile";

/// What a tab says on the channel that wants its turn.
const LET_GO: &str = "let-go";

/// A lock, until it is dropped.
pub struct TabLock {
    release: Option<Function>,
}

impl TabLock {
    /// Whether the browser has locks for this page.
    pub fn is_supported() -> bool {
        locks().is_some()
    }

    /// Stands for the lock where there are none.
    pub const fn unsupported() -> Self {
        Self { release: None }
    }

    /// Takes a lock if nobody has it.
    pub async fn try_take(name: &str) -> Option<Self> {
        request(name, true).await
    }

    /// Waits for a lock, for as long as others keep it; `None` if the browser does not give it at all.
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

/// Hears other tabs ask for their turn.
pub struct Requests {
    channel: Option<BroadcastChannel>,
    _listener: Option<EventListener>,
    asked: mpsc::UnboundedReceiver<()>,
}

impl Requests {
    /// Listens from now on.
    pub fn listen() -> Self {
        let (ask, asked) = mpsc::unbounded();
        let channel = BroadcastChannel::new(NAME).ok();
        let listener = channel.as_ref().map(|channel| {
            EventListener::new(channel, "message", move |_| {
                let _ = ask.unbounded_send(());
            })
        });
        Self { channel, _listener: listener, asked }
    }

    /// Another tab's requests.
    pub fn stream(&mut self) -> &mut mpsc::UnboundedReceiver<()> {
        &mut self.asked
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
        // The browser keeps the lock until the promise that this callback returns is resolved.
        let release = Rc::new(Cell::new(None));
        let held = Promise::new(&mut {
            let release = Rc::clone(&release);
            move |resolve, _reject| release.set(Some(resolve))
        });
        // Where nobody waits for it any more, it is let go of at once.
        let _ = grant.send(Some(TabLock { release: release.take() }));
        held.into()
    });
    let options = Object::new();
    Reflect::set(&options, &"ifAvailable".into(), &if_available.into()).ok()?;
    let _held = locks()?.request(name, &options, &callback).ok()?;
    granted.await.ok().flatten()
}
