//! Another tab runs the profile.

use gloo_timers::callback::Timeout;
use yew::prelude::*;

use crate::components::{Bloom, Logo};
use crate::driver::Request;
use crate::hooks::use_actions;
use crate::strings;

/// How long the other tab may take to save everything.
const PATIENCE_MILLIS: u32 = 5_000;

#[derive(PartialEq, Properties)]
pub struct Props {
    /// True if the other tab doesn't answer at all.
    pub silent: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Asked {
    Not,
    Waiting,
    Late,
}

/// Explains it and offers to continue in this tab, which happens by itself once the other tab closes.
#[component]
pub fn Elsewhere(props: &Props) -> Html {
    let actions = use_actions();
    let asked = use_state_eq(|| Asked::Not);
    let take_over = {
        let asked = asked.setter();
        Callback::from(move |_: MouseEvent| {
            asked.set(Asked::Waiting);
            if let Some(actions) = &actions {
                actions.ask(Request::TakeOver);
            }
        })
    };
    use_effect_with(*asked, {
        let asked = asked.setter();
        move |now| {
            let late = (*now == Asked::Waiting).then(|| Timeout::new(PATIENCE_MILLIS, move || asked.set(Asked::Late)));
            move || drop(late)
        }
    });
    let hint = match *asked {
        Asked::Not => "",
        Asked::Waiting => strings::ELSEWHERE_WAITING,
        Asked::Late => strings::ELSEWHERE_LATE,
    };
    html! {
        <main class="lone">
            <Logo class="lone-logo" bloom={Bloom::Full} />
            <h1>{ strings::ELSEWHERE_TITLE }</h1>
            <p>{ if props.silent { strings::ELSEWHERE_SILENT } else { strings::ELSEWHERE_TEXT } }</p>
            <button class="button primary" type="button" onclick={take_over} data-testid="take-over">
                { strings::ELSEWHERE_BUTTON }
            </button>
            <p class="hint" role="status" data-testid="take-over-status">{ hint }</p>
        </main>
    }
}
