//! What is asked for and said wherever a passphrase is typed.

use yew::prelude::*;

use super::icons::{Glyph, Icon};
use crate::state::Attempt;

#[derive(PartialEq, Properties)]
pub struct FieldProps {
    /// The name by which tests find it.
    pub id: AttrValue,
    pub label: AttrValue,
    pub field: NodeRef,
    #[prop_or_default]
    pub invalid: bool,
    /// The id of what says why it was refused.
    pub problem: AttrValue,
}

/// A field whose text nobody else can read over a shoulder. It is not the component's state: the browser's field is its only
/// copy until it is sent.
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
    // The element stays: screen readers only announce what changes inside one that they know.
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
