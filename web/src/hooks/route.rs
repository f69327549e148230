//! The view that the page's address names, and changing it without loading anything.

use gloo_events::EventListener;
use wasm_bindgen::JsValue;
use yew::prelude::*;

use crate::address::Route;

/// Marks history entries that this page has made, so that it knows where going back leads.
const ENTRY: &str = "route";

/// The current view, and how to change it.
#[derive(Clone, PartialEq)]
pub struct Routes {
    /// What the address shows.
    pub now: Route,
    go: Callback<Route>,
}

impl Routes {
    /// Changes the view.
    pub fn go(&self, to: Route) {
        self.go.emit(to);
    }
}

/// Follows the address; used once, in the root component.
#[hook]
pub fn use_routes() -> Routes {
    let route = use_state_eq(Route::now);
    // The address changes by a step in the history, or by an invite that is opened in this tab.
    use_effect_with((), {
        let route = route.setter();
        move |()| {
            let listeners = web_sys::window().map(|window| {
                ["popstate", "hashchange"].map(|name| {
                    let route = route.clone();
                    EventListener::new(&window, name, move |_| route.set(Route::now()))
                })
            });
            move || drop(listeners)
        }
    });
    let go = use_callback((), {
        let route = route.setter();
        move |to: Route, &()| {
            let Some(history) = web_sys::window().and_then(|window| window.history().ok()) else { return };
            let state = history.state().ok().and_then(|state| state.as_string());
            if to == Route::Messenger && state.as_deref() == Some(ENTRY) {
                // The messenger is the previous entry, so go back. The listener draws it.
                let _ = history.back();
                return;
            }
            let _ = history.push_state_with_url(&JsValue::from_str(ENTRY), "", Some(to.path()));
            route.set(Route::now());
        }
    });
    Routes { now: *route, go }
}

/// The routes, for a component.
#[hook]
pub fn use_route() -> Option<Routes> {
    use_context::<Routes>()
}
