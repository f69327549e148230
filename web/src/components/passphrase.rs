//! A field for a passphrase, and why it was refused.

use yew::prelude::*;

use super::icons::{Glyph, Icon};
use crate::state::Attempt;

#[derive(PartialEq, Properties)]
pub struct FieldProps {
    /// Its `data-testid`.
    pub id: AttrValue,
    pub label: AttrValue,
    pub field: NodeRef,
    #[prop_or_default]
    pub invalid: bool,
    /// The id of the element that says why it was refused.
    pub problem: AttrValue,
}

/// A field with hidden text. The text is not part of the component's state: the browser's field has the only copy until
/// it is sent.
#[component]
pub fn PassphraseField(props: &FieldProps) -> Html {
    html! {
        <input ref={props.field.clone()} class="field" type="password" data-testid={props.id.clone()}
            placeholder={props.label.clone()} aria-label={props.label.clone()} autocomplete="off" spellcheck="false"
            autocapitalize="off" aria-invalid={props.invalid.to_string()} aria-describedby={props.problem.clone()} />
    }
}

#[derive(PartialEq, Properties)]
pub struct RefusalProps {
    pub attempt: Attempt,
    /// The id by which a field names this as its description.
    pub id: AttrValue,
}

/// Says why a passphrase was refused, if it was.
#[component]
pub fn Refusal(props: &RefusalProps) -> Html {
    // The element stays, because screen readers only announce changes inside an element they know.
    html! {
        <div class="problem-slot" role="alert" id={props.id.clone()}>
            if let Attempt::Refused(reason) = &props.attempt {
                <div class="problem" data-testid="passphrase-problem">
                    <Icon glyph={Glyph::Warning} />
                    <span>{ &**reason }</span>
                </div>
            }
        </div>
    }
}
