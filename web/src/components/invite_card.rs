//! Making an invite and handing it over.

use std::rc::Rc;

use allium_shared::client::api::Command;
use gloo_timers::callback::Timeout;
use wasm_bindgen_futures::{JsFuture, spawn_local};
use web_sys::{FocusEvent, HtmlInputElement};
use yew::prelude::*;

use super::icons::{Glyph, Icon};
use super::problem::Problem;
use crate::address;
use crate::hooks::use_actions;
use crate::state::{Action, Invite, Place};
use crate::strings;

/// How long the copy button says that it has copied.
const FEEDBACK_MILLIS: u32 = 2_000;

#[derive(PartialEq, Properties)]
pub struct Props {
    pub invite: Invite,
    pub taken_by: Option<Rc<str>>,
    pub problem: Option<Rc<str>>,
}

#[component]
pub fn InviteCard(props: &Props) -> Html {
    let actions = use_actions();
    let create = Callback::from(move |_: MouseEvent| {
        if let Some(actions) = &actions {
            actions.act(Action::InviteRequested);
            actions.command(Command::Invite);
        }
    });
    let preparing = props.invite == Invite::Preparing;
    let body = match &props.invite {
        Invite::None => Html::default(),
        Invite::Preparing => html! {
            <p class="hint busy" role="status"><i class="spinner" aria-hidden="true" />{ strings::INVITE_PREPARING }</p>
        },
        Invite::Ready { fragment, .. } => match address::invite_link(fragment) {
            Some(link) => html! { <LinkField {link} /> },
            None => Html::default(),
        },
        Invite::Taken { .. } => match &props.taken_by {
            Some(name) => html! { <p class="hint good" role="status">{ strings::invite_taken(name) }</p> },
            None => Html::default(),
        },
    };
    let label = if props.invite == Invite::None { strings::INVITE_CREATE } else { strings::INVITE_ANOTHER };
    html! {
        <section class="card">
            <div class="card-head">
                <h2>{ strings::INVITE_TITLE }</h2>
                <button class="button" type="button" data-testid="invite-create" aria-busy={preparing.to_string()}
                    onclick={create}>{ label }</button>
            </div>
            { body }
            <Problem place={Place::Invite} text={props.problem.clone()} />
        </section>
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Copying {
    Not,
    Done,
    Failed,
}

#[derive(PartialEq, Properties)]
struct LinkProps {
    link: String,
}

#[component]
fn LinkField(props: &LinkProps) -> Html {
    let field = use_node_ref();
    let copying = use_state_eq(|| Copying::Not);
    use_effect_with(*copying, {
        let copying = copying.setter();
        move |now| {
            let forget =
                (*now != Copying::Not).then(|| Timeout::new(FEEDBACK_MILLIS, move || copying.set(Copying::Not)));
            move || drop(forget)
        }
    });
    let copy = {
        let (field, copying, link) = (field.clone(), copying.setter(), props.link.clone());
        Callback::from(move |_: MouseEvent| {
            if let Some(field) = field.cast::<HtmlInputElement>() {
                field.select();
            }
            let (copying, link) = (copying.clone(), link.clone());
            spawn_local(async move {
                copying.set(if write_to_clipboard(&link).await { Copying::Done } else { Copying::Failed });
            });
        })
    };
    let select = Callback::from(|event: FocusEvent| {
        if let Some(field) = event.target_dyn_into::<HtmlInputElement>() {
            field.select();
        }
    });
    let (glyph, label) = match *copying {
        Copying::Not => (Glyph::Copy, strings::COPY),
        Copying::Done => (Glyph::Check, strings::COPIED),
        Copying::Failed => (Glyph::Copy, strings::COPY_FAILED),
    };
    html! {
        <>
            <div class="field-row">
                <input ref={field} class="field" data-testid="invite-link" readonly=true value={props.link.clone()}
                    aria-label={strings::INVITE_LINK} onfocus={select} spellcheck="false" />
                <button class="button primary copy" type="button" data-testid="invite-copy" onclick={copy}>
                    <Icon {glyph} /><span role="status">{ label }</span>
                </button>
            </div>
            <p class="hint">{ strings::INVITE_HINT }</p>
        </>
    }
}

/// Insecure origins have no clipboard: there the selected link is copied by hand.
async fn write_to_clipboard(text: &str) -> bool {
    let Some(window) = web_sys::window().filter(web_sys::Window::is_secure_context) else { return false };
    JsFuture::from(window.navigator().clipboard().write_text(text)).await.is_ok()
}
