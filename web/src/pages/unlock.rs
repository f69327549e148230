//! The profile is waiting for its passphrase.

use web_sys::{HtmlInputElement, SubmitEvent};
use yew::prelude::*;

use crate::components::{Bloom, Logo, PassphraseField, Refusal};
use crate::driver::{LockRequest, Passphrase};
use crate::hooks::use_actions;
use crate::state::{Action, Attempt};
use crate::strings;

const PROBLEM: &str = "unlock-problem";

#[derive(PartialEq, Properties)]
pub struct Props {
    /// The state of the form.
    pub attempt: Attempt,
}

/// Asks for the passphrase until it is right.
#[component]
pub fn Unlock(props: &Props) -> Html {
    let actions = use_actions();
    let field = use_node_ref();
    let trying = props.attempt == Attempt::Trying;
    let onsubmit = {
        let field = field.clone();
        Callback::from(move |event: SubmitEvent| {
            event.prevent_default();
            let (Some(actions), Some(field)) = (&actions, field.cast::<HtmlInputElement>()) else { return };
            if trying {
                return;
            }
            let passphrase = Passphrase::new(field.value());
            actions.act(Action::PassphraseEntered);
            actions.ask(LockRequest::Unlock(passphrase));
        })
    };
    // After a wrong passphrase the field is empty again.
    use_effect_with((field.clone(), props.attempt.clone()), |(field, attempt)| {
        if let Some(field) = field.cast::<HtmlInputElement>() {
            if matches!(attempt, Attempt::Refused(_)) {
                field.set_value("");
            }
            let _ = field.focus();
        }
    });
    html! {
        <main class="lone">
            <Logo class="lone-logo" bloom={Bloom::Bud} />
            <h1>{ strings::UNLOCK_TITLE }</h1>
            <p>{ strings::UNLOCK_TEXT }</p>
            <form class="passphrase-form" {onsubmit} autocomplete="off" novalidate=true>
                <PassphraseField id="unlock-passphrase" label={strings::PASSPHRASE} field={field}
                    invalid={matches!(props.attempt, Attempt::Refused(_))} problem={PROBLEM} />
                <Refusal attempt={props.attempt.clone()} id={PROBLEM} />
                <button class="button primary wide" type="submit" data-testid="unlock" aria-busy={trying.to_string()}>
                    { strings::UNLOCK }
                </button>
                <p class="hint busy" role="status">
                    if trying {
                        <i class="spinner" aria-hidden="true" />{ strings::UNLOCKING }
                    }
                </p>
            </form>
        </main>
    }
}
