//! The profile is being locked.

use yew::prelude::*;

use crate::components::{Bloom, Logo};
use crate::strings;

#[derive(PartialEq, Properties)]
pub struct Props {
    /// True once everything is on disk.
    pub done: bool,
}

/// Shows nothing of the profile, and reloads the page once everything is on disk, so that the browser frees the memory in
/// which names, texts and keys may remain.
#[component]
pub fn PutAway(props: &Props) -> Html {
    use_effect_with(props.done, |done| {
        if let Some(window) = web_sys::window().filter(|_| *done) {
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
