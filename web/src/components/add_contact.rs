//! The form that adds a contact by the link of an invite.

use std::rc::Rc;

use allium_shared::client::api::{Command, MAX_NAME_LEN, MAX_NOTE_LEN};
use web_sys::{HtmlInputElement, InputEvent, SubmitEvent};
use yew::prelude::*;

use super::problem::Problem;
use crate::hooks::use_actions;
use crate::state::{Action, Place};
use crate::strings;

/// The id of the field for the contact's name.
pub const NAME_FIELD: &str = "contact-name";

const LINK_PROBLEM: &str = "contact-link-problem";
const NAME_PROBLEM: &str = "contact-name-problem";

#[derive(PartialEq, Properties)]
pub struct Props {
    /// The link that the page was opened with.
    pub offered: Option<Rc<str>>,
    /// True while the contact is being added.
    pub adding: bool,
    /// Counts the contacts added.
    pub added: u32,
    pub link_problem: Option<Rc<str>>,
    pub name_problem: Option<Rc<str>>,
}

#[component]
pub fn AddContact(props: &Props) -> Html {
    let actions = use_actions();
    let link = use_state_eq(String::new);
    let name = use_state_eq(String::new);
    let own_name = use_state_eq(String::new);
    let note = use_state_eq(String::new);
    let name_field = use_node_ref();

    use_effect_with(props.offered.clone(), {
        let (link, name_field) = (link.setter(), name_field.clone());
        move |offered| {
            if let Some(offered) = offered {
                link.set(offered.to_string());
                if let Some(field) = name_field.cast::<HtmlInputElement>() {
                    let _ = field.focus();
                }
            }
        }
    });
    use_effect_with(props.added, {
        let (link, name, note) = (link.setter(), name.setter(), note.setter());
        move |added| {
            // Keep the person's own name: they will often use it for the next contact too.
            if *added > 0 {
                link.set(String::new());
                name.set(String::new());
                note.set(String::new());
            }
        }
    });

    let onsubmit = {
        let (link, name, own_name, note) = (link.clone(), name.clone(), own_name.clone(), note.clone());
        let name_field = name_field.clone();
        Callback::from(move |event: SubmitEvent| {
            event.prevent_default();
            let Some(actions) = &actions else { return };
            match entered(&link, &name, &own_name, &note) {
                Ok(command) => {
                    actions.act(Action::AddRequested(name.trim().into()));
                    actions.ask(command);
                }
                Err((place, text)) => {
                    actions.act(Action::Complain(place, text.into()));
                    if let (Place::AddName, Some(field)) = (place, name_field.cast::<HtmlInputElement>()) {
                        let _ = field.focus();
                    }
                }
            }
        })
    };
    html! {
        <form class={classes!("card", "add", props.offered.is_some().then_some("offered"))} {onsubmit}
            autocomplete="off" novalidate=true>
            <h2>{ if props.offered.is_some() { strings::OFFERED_TITLE } else { strings::ADD_TITLE } }</h2>
            <input class="field" data-testid="contact-link" value={(*link).clone()} oninput={follow(&link)}
                placeholder={strings::ADD_LINK_PLACEHOLDER} aria-label={strings::ADD_LINK} spellcheck="false"
                autocapitalize="off" aria-invalid={props.link_problem.is_some().to_string()}
                aria-describedby={LINK_PROBLEM} />
            <Problem place={Place::AddLink} text={props.link_problem.clone()} id={LINK_PROBLEM} />
            <div class="field-row">
                <input ref={name_field} id={NAME_FIELD} class="field" data-testid="contact-name"
                    value={(*name).clone()} oninput={follow(&name)} placeholder={strings::ADD_NAME_PLACEHOLDER}
                    aria-label={strings::ADD_NAME} aria-invalid={props.name_problem.is_some().to_string()}
                    aria-describedby={NAME_PROBLEM} />
                <input class="field" data-testid="contact-introduce" value={(*own_name).clone()}
                    oninput={follow(&own_name)} placeholder={strings::ADD_OWN_NAME_PLACEHOLDER}
                    aria-label={strings::ADD_OWN_NAME} title={strings::ADD_OWN_NAME} />
            </div>
            <input class="field" data-testid="contact-note" value={(*note).clone()} oninput={follow(&note)}
                placeholder={strings::ADD_NOTE_PLACEHOLDER} aria-label={strings::ADD_NOTE} title={strings::ADD_NOTE} />
            <Problem place={Place::AddName} text={props.name_problem.clone()} id={NAME_PROBLEM} />
            <button class="button primary wide" type="submit" data-testid="contact-add"
                aria-busy={props.adding.to_string()}>
                { if props.adding { strings::ADDING } else { strings::ADD } }
            </button>
        </form>
    }
}

/// Keeps a field's text in the component's state.
pub(super) fn follow(text: &UseStateHandle<String>) -> Callback<InputEvent> {
    let text = text.setter();
    Callback::from(move |event: InputEvent| {
        if let Some(field) = event.target_dyn_into::<HtmlInputElement>() {
            text.set(field.value());
        }
    })
}

/// The command for the form's values, or the problem with them. The engine checks the link.
fn entered(link: &str, name: &str, own_name: &str, note: &str) -> Result<Command, (Place, &'static str)> {
    let (link, name, own_name, note) = (link.trim(), name.trim(), own_name.trim(), note.trim());
    if link.is_empty() {
        return Err((Place::AddLink, strings::ADD_LINK_MISSING));
    }
    if name.is_empty() {
        return Err((Place::AddName, strings::ADD_NAME_MISSING));
    }
    if name.len() > MAX_NAME_LEN || own_name.len() > MAX_NAME_LEN {
        return Err((Place::AddName, strings::NAME_TOO_LONG));
    }
    if note.len() > MAX_NOTE_LEN {
        return Err((Place::AddName, strings::NOTE_TOO_LONG));
    }
    let introduce_as = (!own_name.is_empty()).then(|| own_name.to_owned());
    Ok(Command::Add { link: link.to_owned(), name: name.to_owned(), introduce_as, note: note.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn a_name_and_a_link_are_needed() {
        assert_eq!(entered(" ", "Bob", "", ""), Err((Place::AddLink, strings::ADD_LINK_MISSING)));
        assert_eq!(entered("#x", "  ", "", ""), Err((Place::AddName, strings::ADD_NAME_MISSING)));
        assert_eq!(entered("#x", &"é".repeat(33), "", ""), Err((Place::AddName, strings::NAME_TOO_LONG)));
        assert_eq!(entered("#x", "Bob", "", &"é".repeat(141)), Err((Place::AddName, strings::NOTE_TOO_LONG)));
    }

    #[test]
    fn blanks_around_what_was_pasted_do_not_matter() {
        assert_eq!(entered(" #x\n", " Bob ", "  ", " "), Ok(Command::add("#x", "Bob", None)));
        assert_eq!(entered("#x", "Bob", " Alice", ""), Ok(Command::add("#x", "Bob", Some("Alice"))));
    }
}
