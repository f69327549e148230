//! The tab's visibility, focus and title.

use gloo_events::EventListener;
use gloo_timers::callback::Interval;
use web_sys::{Document, VisibilityState};
use yew::prelude::*;

/// True if the page is visible and focused: only then does a message count as shown.
#[hook]
pub fn use_attention() -> bool {
    let attention = use_state_eq(has_attention);
    use_effect_with((), {
        let attention = attention.setter();
        move |()| {
            let listen = |target: &web_sys::EventTarget, name: &'static str| {
                let attention = attention.clone();
                EventListener::new(target, name, move |_| attention.set(has_attention()))
            };
            let listeners = web_sys::window().map(|window| {
                let mut listeners = vec![listen(&window, "focus"), listen(&window, "blur")];
                listeners.extend(window.document().map(|document| listen(&document, "visibilitychange")));
                listeners
            });
            move || drop(listeners)
        }
    });
    *attention
}

/// Calls `tick` immediately, whenever `deps` change, and every `millis` milliseconds while the page is visible.
#[hook]
pub fn use_interval_while_visible<D: PartialEq + 'static>(deps: D, millis: u32, tick: Callback<()>) {
    use_effect_with(deps, move |_| {
        tick.emit(());
        let interval = Interval::new(millis, move || {
            if document().is_some_and(|document| document.visibility_state() == VisibilityState::Visible) {
                tick.emit(());
            }
        });
        move || drop(interval)
    });
}

/// Sets the tab's title.
#[hook]
pub fn use_document_title(title: String) {
    use_effect_with(title, |title| {
        if let Some(document) = document() {
            document.set_title(title);
        }
    });
}

fn has_attention() -> bool {
    document().is_some_and(|document| {
        document.visibility_state() == VisibilityState::Visible && document.has_focus().unwrap_or(true)
    })
}

fn document() -> Option<Document> {
    web_sys::window()?.document()
}
