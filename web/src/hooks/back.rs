//! The browser's back button on narrow screens.

use gloo_events::EventListener;
use wasm_bindgen::JsValue;
use yew::prelude::*;

/// Below this width the style sheet shows either contacts or a conversation.
const NARROW: &str = "(max-width: 720px)";

/// While `open` on a narrow screen, going back in the browser calls `close` instead of leaving the page.
#[hook]
pub fn use_back_closes(open: bool, close: Callback<()>) {
    use_effect_with(open, move |open| {
        let entered = *open && is_narrow() && push_entry();
        let listener = web_sys::window()
            .filter(|_| entered)
            .map(|window| EventListener::once(&window, "popstate", move |_| close.emit(())));
        move || {
            // It was closed in another way: remove the history entry, or it would swallow the next step back.
            if listener.is_some() && is_own_entry() {
                drop(listener);
                let _ = history().map(|history| history.back());
            }
        }
    });
}

fn push_entry() -> bool {
    history().is_some_and(|history| history.push_state(&JsValue::from_str(ENTRY), "").is_ok())
}

fn is_own_entry() -> bool {
    history().and_then(|history| history.state().ok()).and_then(|state| state.as_string()).as_deref() == Some(ENTRY)
}

const ENTRY: &str = "conversation";

fn history() -> Option<web_sys::History> {
    web_sys::window()?.history().ok()
}

fn is_narrow() -> bool {
    let narrow = web_sys::window().and_then(|window| window.match_media(NARROW).ok().flatten());
    narrow.is_some_and(|query| query.matches())
}
