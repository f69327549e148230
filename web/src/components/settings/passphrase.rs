//! What opens the profile on this device.

use web_sys::{HtmlInputElement, SubmitEvent};
use yew::prelude::*;

use crate::components::passphrase::{PassphraseField, Refusal};
use crate::driver::{LockRequest, Passphrase};
use crate::hooks::use_actions;
use crate::state::{Action, Attempt};
use crate::storage::Protection;
use crate::strings;

const PROBLEM: &str = "passphrase-problem";

#[derive(PartialEq, Properties)]
pub struct Props {
    /// The state of the form.
    pub attempt: Attempt,
    pub protection: Protection,
}

#[component]
pub fn PassphraseSettings(props: &Props) -> Html {
    let actions = use_actions();
    let (current, new, again) = (use_node_ref(), use_node_ref(), use_node_ref());
    let trying = props.attempt == Attempt::Trying;
    let has_one = props.protection == Protection::Passphrase;

    let ask = {
        let actions = actions.clone();
        move |request: LockRequest| {
            if let Some(actions) = actions.as_ref().filter(|_| !trying) {
                actions.act(Action::PassphraseEntered);
                actions.ask(request);
            }
        }
    };
    let onsubmit = {
        let (current, new, again, ask) = (current.clone(), new.clone(), again.clone(), ask.clone());
        Callback::from(move |event: SubmitEvent| {
            event.prevent_default();
            match chosen(&text(&new), &text(&again)) {
                Ok(new) => ask(LockRequest::Set { current: Passphrase::new(text(&current)), new }),
                Err(reason) => {
                    if let Some(actions) = &actions {
                        actions.act(Action::PassphraseRefused(reason.into()));
                    }
                }
            }
        })
    };
    let remove = {
        let current = current.clone();
        Callback::from(move |_: MouseEvent| ask(LockRequest::Remove { current: Passphrase::new(text(&current)) }))
    };
    use_effect_with((props.attempt.clone(), [current.clone(), new.clone(), again.clone()]), |(attempt, fields)| {
        if *attempt == Attempt::Done {
            for field in fields.iter().filter_map(NodeRef::cast::<HtmlInputElement>) {
                field.set_value("");
            }
        }
    });

    html! {
        <section class="settings-part">
            <h3>{ strings::PASSPHRASE }</h3>
            <p data-testid="protection">{ strings::protection(props.protection) }</p>
            <form class="passphrase-form" {onsubmit} autocomplete="off" novalidate=true>
                if has_one {
                    <PassphraseField id="passphrase-current" label={strings::PASSPHRASE_CURRENT}
                        field={current} problem={PROBLEM} />
                }
                <PassphraseField id="passphrase-new" label={strings::PASSPHRASE_NEW} field={new} problem={PROBLEM} />
                <PassphraseField id="passphrase-again" label={strings::PASSPHRASE_AGAIN} field={again}
                    problem={PROBLEM} />
                <p class="hint">{ strings::PASSPHRASE_WARNING }</p>
                <Refusal attempt={props.attempt.clone()} id={PROBLEM} />
                <div class="field-row">
                    <button class="button primary" type="submit" data-testid="passphrase-set"
                        aria-busy={trying.to_string()}>
                        { if has_one { strings::PASSPHRASE_CHANGE } else { strings::PASSPHRASE_SET } }
                    </button>
                    if has_one {
                        <button class="button" type="button" data-testid="passphrase-remove" onclick={remove}>
                            { strings::PASSPHRASE_REMOVE }
                        </button>
                    }
                </div>
                <p class="hint busy" role="status" data-testid="passphrase-status">
                    if trying {
                        <i class="spinner" aria-hidden="true" />{ strings::PASSPHRASE_TRYING }
                    } else if props.attempt == Attempt::Done {
                        { if has_one { strings::PASSPHRASE_SAVED } else { strings::PASSPHRASE_REMOVED } }
                    }
                </p>
            </form>
        </section>
    }
}

fn text(field: &NodeRef) -> String {
    field.cast::<HtmlInputElement>().map(|field| field.value()).unwrap_or_default()
}

/// The passphrase that was typed twice, or what is wrong with it.
fn chosen(new: &str, again: &str) -> Result<Passphrase, &'static str> {
    if new.is_empty() {
        return Err(strings::PASSPHRASE_MISSING);
    }
    if new != again {
        return Err(strings::PASSPHRASE_DIFFERENT);
    }
    Ok(Passphrase::new(new.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn a_passphrase_is_typed_twice_and_taken_as_it_is() {
        assert_eq!(chosen("", ""), Err(strings::PASSPHRASE_MISSING));
        assert_eq!(chosen("a b", "a  b"), Err(strings::PASSPHRASE_DIFFERENT));
        assert_eq!(chosen(" a b ", " a b "), Ok(Passphrase::new(" a b ".into())));
    }
}
