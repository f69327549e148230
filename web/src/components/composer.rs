//! The message field.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use allium_shared::client::api::{Command, ContactId, MAX_TEXT_LEN};
use web_sys::{FocusEvent, HtmlTextAreaElement, InputEvent, KeyboardEvent, SubmitEvent};
use yew::prelude::*;

use super::icons::{Glyph, Icon};
use crate::hooks::use_actions;
use crate::state::{Action, Place};
use crate::strings;

/// How often typing is announced while it continues.
const TYPING_MILLIS: f64 = 5_000.0;

/// The field shows the bytes left once they are fewer than this.
const FEW_BYTES: usize = 512;

#[derive(PartialEq, Properties)]
pub struct Props {
    pub contact: ContactId,
    pub name: Rc<str>,
}

thread_local! {
    // Drafts outlive a change of the conversation. Only the field is drawn from them.
    static DRAFTS: RefCell<HashMap<ContactId, String>> = RefCell::default();
}

/// Enter sends, Shift+Enter starts a new line.
#[component]
pub fn Composer(props: &Props) -> Html {
    let contact = props.contact;
    let actions = use_actions();
    let field = use_node_ref();
    let text = use_state_eq(|| DRAFTS.with_borrow(|drafts| drafts.get(&contact).cloned().unwrap_or_default()));

    use_effect_with((), {
        let field = field.clone();
        move |()| {
            if let Some(field) = field.cast::<HtmlTextAreaElement>().filter(|_| !opens_a_keyboard()) {
                let _ = field.focus();
            }
        }
    });
    let set = {
        let text = text.setter();
        move |new: String| {
            DRAFTS.with_borrow_mut(|drafts| match new.is_empty() {
                true => drafts.remove(&contact),
                false => drafts.insert(contact, new.clone()),
            });
            text.set(new);
        }
    };
    // When typing was last announced; `None` if it wasn't, or was ended.
    let told = use_mut_ref(|| None::<f64>);
    let tell_typing = {
        let (actions, told) = (actions.clone(), Rc::clone(&told));
        move |typing: bool| {
            let Some(actions) = &actions else { return };
            let now = js_sys::Date::now();
            let mut told = told.borrow_mut();
            let due = if typing { told.is_none_or(|at| now - at > TYPING_MILLIS) } else { told.is_some() };
            if due {
                *told = typing.then_some(now);
                actions.ask(Command::Typing { contact, typing });
            }
        }
    };
    let oninput = {
        let (set, tell_typing) = (set.clone(), tell_typing.clone());
        Callback::from(move |event: InputEvent| {
            if let Some(field) = event.target_dyn_into::<HtmlTextAreaElement>() {
                tell_typing(!field.value().is_empty());
                set(field.value());
            }
        })
    };
    let onblur = {
        let tell_typing = tell_typing.clone();
        Callback::from(move |_: FocusEvent| tell_typing(false))
    };
    let send = {
        let field = field.clone();
        move || {
            // From the field itself: the state may be one keystroke behind.
            let Some((actions, field)) = actions.as_ref().zip(field.cast::<HtmlTextAreaElement>()) else { return };
            let text = field.value();
            if text.trim().is_empty() {
                return;
            }
            if text.len() > MAX_TEXT_LEN {
                actions.act(Action::Complain(Place::Send, strings::TEXT_TOO_LONG.into()));
                return;
            }
            actions.act(Action::Dismiss(Place::Send));
            // The message itself ends the typing indicator.
            *told.borrow_mut() = None;
            actions.ask(Command::Send { to: contact, text });
            field.set_value("");
            set(String::new());
            let _ = field.focus();
        }
    };
    let onkeydown = {
        let send = send.clone();
        Callback::from(move |event: KeyboardEvent| {
            // The Enter that ends a composition belongs to the input method.
            if event.key() == "Enter" && !event.shift_key() && !event.is_composing() {
                event.prevent_default();
                send();
            }
        })
    };
    let onsubmit = Callback::from(move |event: SubmitEvent| {
        event.prevent_default();
        send();
    });
    let left = MAX_TEXT_LEN.saturating_sub(text.len());
    html! {
        <form class="composer" {onsubmit}>
            <textarea ref={field} data-testid="message-input" rows="1" value={(*text).clone()} {oninput} {onkeydown} {onblur}
                placeholder={strings::write_to(&props.name)} aria-label={strings::MESSAGE} enterkeyhint="send" />
            if left < FEW_BYTES {
                <span class="hint left" role="status">{ strings::bytes_left(left) }</span>
            }
            <button class="button primary send" type="submit" data-testid="message-send" aria-label={strings::SEND}
                title={strings::SEND}><Icon glyph={Glyph::Send} /></button>
        </form>
    }
}

/// True if focusing a field opens a keyboard on the screen.
fn opens_a_keyboard() -> bool {
    let coarse = web_sys::window().and_then(|window| window.match_media("(pointer: coarse)").ok().flatten());
    coarse.is_some_and(|query| query.matches())
}
