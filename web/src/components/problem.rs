//! An error, shown beside what it concerns.

use std::rc::Rc;

use yew::prelude::*;

use super::icons::{Glyph, Icon};
use crate::hooks::use_actions;
use crate::state::{Action, Place};
use crate::strings;

#[derive(PartialEq, Properties)]
pub struct Props {
    pub place: Place,
    pub text: Option<Rc<str>>,
    /// The id by which a field names this as its description.
    #[prop_or_default]
    pub id: Option<AttrValue>,
}

/// Shows the text, if there is one, until it is dismissed or outdated.
#[component]
pub fn Problem(props: &Props) -> Html {
    let actions = use_actions();
    let place = props.place;
    let dismiss = Callback::from(move |_: MouseEvent| {
        if let Some(actions) = &actions {
            actions.act(Action::Dismiss(place));
        }
    });
    // The element stays, because screen readers only announce changes inside an element they know.
    html! {
        <div class="problem-slot" role="alert" id={props.id.clone()}>
            if let Some(text) = &props.text {
                <div class="problem" data-testid="problem">
                    <Icon glyph={Glyph::Warning} />
                    <span>{ &**text }</span>
                    <button class="icon-button" type="button" aria-label={strings::DISMISS} onclick={dismiss}>
                        <Icon glyph={Glyph::Close} />
                    </button>
                </div>
            }
        </div>
    }
}
