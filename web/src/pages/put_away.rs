//! The profile has been locked.

use yew::prelude::*;

use crate::components::{Bloom, Logo};
use crate::strings;

/// Loads the page anew: with that the browser takes back all memory in which names, texts and keys may still stand.
#[component]
pub fn PutAway() -> Html {
    use_effect_with((), |()| {
        if let Some(window) = web_sys::window() {
            let _ = window.location().reload();
        }
    });
    html! {
        <main class="lone">
            <Logo class="lone-logo" bloom={Bloom::Bud} />
            <p role="status">{ strings::LOCKING }</p>
        </main>
    }
}
