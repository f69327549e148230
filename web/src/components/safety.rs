//! The safety number of a contact.

use allium_shared::client::api::Command;
use yew::prelude::*;

use super::icons::{Glyph, Icon};
use crate::hooks::{use_actions, use_focus_after};
use crate::state::{Action, Contact, SafetyNumber};
use crate::strings;

#[derive(PartialEq, Properties)]
pub struct Props {
    pub contact: Contact,
    pub number: SafetyNumber,
    /// Counts the engines: each has to be asked.
    pub starts: u32,
}

#[component]
pub fn SafetyPanel(props: &Props) -> Html {
    let Props { contact, number, starts } = props;
    let (id, name, verified) = (contact.id, &contact.name, contact.verified);
    let actions = use_actions();
    // The number exists once the contact has answered, and may have changed.
    use_effect_with((id, contact.state, verified, *starts), {
        let actions = actions.clone();
        move |_| actions.iter().for_each(|actions| actions.ask(Command::Safety { contact: id }))
    });
    // The button that was pressed has disappeared.
    let heading = use_node_ref();
    use_focus_after(&heading, verified, |before, now| before != now);
    let verify = {
        let actions = actions.clone();
        Callback::from(move |_: MouseEvent| {
            if let Some(actions) = &actions {
                actions.ask(Command::Verify { contact: id, verified: !verified });
            }
        })
    };
    let close = Callback::from(move |_: MouseEvent| {
        if let Some(actions) = &actions {
            actions.act(Action::CloseSafety);
        }
    });
    // Two buttons in two places, so that a double click doesn't undo itself.
    let button = if verified {
        html! {
            <button key="undo" class="button quiet undo" type="button" data-testid="safety-verify" onclick={verify}>
                { strings::SAFETY_UNDO }
            </button>
        }
    } else {
        html! {
            <button key="same" class="button primary" type="button" data-testid="safety-verify" onclick={verify}>
                { strings::SAFETY_SAME }
            </button>
        }
    };
    let body = match number {
        SafetyNumber::Unknown => Html::default(),
        SafetyNumber::NotYet => html! { <p class="hint">{ strings::safety_later(name) }</p> },
        SafetyNumber::Known(number) => html! {
            <>
                <p class="hint">{ strings::safety_hint(name) }</p>
                <p class="safety-number" data-testid="safety-number">
                    { for number.split(' ').map(|group| html! { <span>{ group }{ " " }</span> }) }
                </p>
                <div class="safety-answer">
                    { button }
                    // Stays, so that screen readers announce changes inside it.
                    <div key="answer" role="status">
                        if verified {
                            <p class="verified" data-testid="verified">
                                <Icon glyph={Glyph::ShieldCheck} />{ strings::verified(name) }
                            </p>
                        }
                    </div>
                </div>
            </>
        },
    };
    html! {
        <section class="safety" data-testid="safety" aria-label={strings::SAFETY}>
            <div class="safety-head">
                <h3 ref={heading} tabindex="-1">{ strings::SAFETY }</h3>
                <button class="icon-button" type="button" aria-label={strings::CLOSE} onclick={close}>
                    <Icon glyph={Glyph::Close} />
                </button>
            </div>
            { body }
        </section>
    }
}
