//! The profile is being locked.

use yew::prelude::*;

use crate::components::{Bloom, Logo};
use crate::strings;

#[derive(PartialEq, Properties)]
pub struct Props {
    /// Whether everything is on disk.
    pub done: bool,
}

/// Shows nothing of the profile; loads the page anew once that is done: with that the browser takes back all memory in which
/// names, texts and keys may still stand.
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
