//! The safety number of a contact, to be compared with what the contact sees.

use std::rc::Rc;

use allium_shared::client::api::Command;
use yew::prelude::*;

use super::icons::{Glyph, Icon};
use crate::hooks::use_actions;
use crate::state::{Action, Safety};
use crate::strings;

#[derive(PartialEq, Properties)]
pub struct Props {
    pub name: Rc<str>,
    pub safety: Safety,
}

#[component]
pub fn SafetyPanel(props: &Props) -> Html {
    let Props { name, safety } = props;
    let actions = use_actions();
    let verify = {
        let (contact, verified, actions) = (safety.contact, !safety.verified, actions.clone());
        Callback::from(move |_: MouseEvent| {
            if let Some(actions) = &actions {
                actions.command(Command::Verify { contact, verified });
            }
        })
    };
    let close = Callback::from(move |_: MouseEvent| {
        if let Some(actions) = &actions {
            actions.act(Action::CloseSafety);
        }
    });
    html! {
        <section class="safety" data-testid="safety" aria-label={strings::SAFETY}>
            <div class="safety-head">
                <h3>{ strings::SAFETY }</h3>
                <button class="icon-button" type="button" aria-label={strings::CLOSE} onclick={close}>
                    <Icon glyph={Glyph::Close} />
                </button>
            </div>
            if let Some(number) = &safety.number {
                <p class="hint">{ strings::safety_hint(name) }</p>
                <p class="safety-number" data-testid="safety-number">
                    { for number.split(' ').map(|group| html! { <span>{ group }{ " " }</span> }) }
                </p>
                <div class="safety-answer">
                    if safety.verified {
                        <p class="verified" data-testid="verified">
                            <Icon glyph={Glyph::Shield} />{ strings::verified(name) }
                        </p>
                    }
                    <button class={classes!("button", if safety.verified { "quiet" } else { "primary" })} type="button"
                        data-testid="safety-verify" onclick={verify}>
                        { if safety.verified { strings::SAFETY_UNDO } else { strings::SAFETY_SAME } }
                    </button>
                </div>
            } else {
                <p class="hint">{ strings::safety_later(name) }</p>
            }
        </section>
    }
}
