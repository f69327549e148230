//! Another tab runs the profile.

use yew::prelude::*;

use crate::components::{Bloom, Logo};
use crate::hooks::use_actions;
use crate::strings;

/// Says so, and offers to go on in this tab; it does so by itself once the other tab is closed.
#[component]
pub fn Elsewhere() -> Html {
    let actions = use_actions();
    let asked = use_state(|| false);
    let take_over = {
        let asked = asked.setter();
        Callback::from(move |_: MouseEvent| {
            asked.set(true);
            if let Some(actions) = &actions {
                actions.take_over();
            }
        })
    };
    html! {
        <main class="lone">
            <Logo class="lone-logo" bloom={Bloom::Full} />
            <h1>{ strings::ELSEWHERE_TITLE }</h1>
            <p>{ strings::ELSEWHERE_TEXT }</p>
            <button class="button primary" type="button" onclick={take_over} data-testid="take-over">
                { strings::ELSEWHERE_BUTTON }
            </button>
            <p class="hint" role="status">{ if *asked { strings::ELSEWHERE_WAITING } else { "" } }</p>
        </main>
    }
}
