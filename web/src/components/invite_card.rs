//! Creating and sharing an invite.

use std::rc::Rc;

use allium_shared::client::api::{Command, InviteInfo};
use gloo_timers::callback::Timeout;
use wasm_bindgen_futures::{JsFuture, spawn_local};
use web_sys::{FocusEvent, HtmlInputElement, HtmlSelectElement};
use yew::prelude::*;

use super::add_contact::follow;
use super::icons::{Glyph, Icon};
use super::problem::Problem;
use crate::address;
use crate::format;
use crate::hooks::use_actions;
use crate::state::{Action, Invite, Place};
use crate::strings;

/// How long the copy button confirms, in milliseconds.
const FEEDBACK_MILLIS: u32 = 2_000;

#[derive(PartialEq, Properties)]
pub struct Props {
    pub invite: Invite,
    pub taken_by: Option<Rc<str>>,
    /// The open invites.
    pub open: Rc<[InviteInfo]>,
    /// When this changes, the open invites are requested again: with each engine, and each invite of another tab.
    pub asks: (u32, u32),
    pub problem: Option<Rc<str>>,
}

#[component]
pub fn InviteCard(props: &Props) -> Html {
    let actions = use_actions();
    let reusable = use_state_eq(|| false);
    let ends = use_state_eq(|| 0_usize);
    let note = use_state_eq(String::new);
    // The list changes when invites are created, used, or expire.
    use_effect_with((props.invite.clone(), props.taken_by.clone(), props.asks), {
        let actions = actions.clone();
        move |_| actions.iter().for_each(|actions| actions.ask(Command::Invites))
    });
    let create = {
        let (reusable, ends, note) = (reusable.clone(), ends.clone(), note.clone());
        Callback::from(move |_: MouseEvent| {
            let Some(actions) = &actions else { return };
            let expires_in = strings::INVITE_ENDS.get(*ends).and_then(|(secs, _)| *secs);
            actions.act(Action::InviteRequested);
            actions.ask(Command::Invite { reusable: *reusable, expires_in, note: note.trim().to_owned() });
            note.set(String::new());
        })
    };
    let preparing = props.invite == Invite::Preparing;
    let body = match &props.invite {
        Invite::None => Html::default(),
        Invite::Preparing => html! {
            <p class="hint busy" role="status"><i class="spinner" aria-hidden="true" />{ strings::INVITE_PREPARING }</p>
        },
        Invite::Ready { fragment, .. } => match address::invite_link(fragment) {
            Some(link) => html! { <LinkField {link} reusable={is_reusable(&props.open, fragment)} /> },
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
            <details class="options">
                <summary data-testid="invite-options">{ strings::INVITE_OPTIONS }</summary>
                <label class="check">
                    <input type="checkbox" data-testid="invite-reusable" checked={*reusable} onchange={check(&reusable)} />
                    { strings::INVITE_REUSABLE }
                </label>
                <label class="choice">
                    { strings::INVITE_EXPIRES }
                    <select class="field" data-testid="invite-ends" onchange={choose(&ends)}>
                        { for (0..).zip(strings::INVITE_ENDS).map(|(n, (_, text))| html! {
                            <option value={n.to_string()} selected={*ends == n}>{ text }</option>
                        }) }
                    </select>
                </label>
                <input class="field" data-testid="invite-note" value={(*note).clone()} oninput={follow(&note)}
                    placeholder={strings::INVITE_NOTE_PLACEHOLDER} aria-label={strings::INVITE_NOTE}
                    title={strings::INVITE_NOTE} />
                if !props.open.is_empty() {
                    <h3>{ strings::INVITES_OPEN }</h3>
                    <ul class="invites">
                        { for props.open.iter().map(|invite| html! {
                            <li key={invite.id.0}><OpenInvite invite={invite.clone()} /></li>
                        }) }
                    </ul>
                }
            </details>
        </section>
    }
}

/// True if the invite with this link is reusable.
fn is_reusable(open: &[InviteInfo], fragment: &str) -> bool {
    open.iter().any(|invite| invite.fragment == fragment && invite.reusable)
}

fn check(state: &UseStateHandle<bool>) -> Callback<Event> {
    let state = state.setter();
    Callback::from(move |event: Event| {
        if let Some(field) = event.target_dyn_into::<HtmlInputElement>() {
            state.set(field.checked());
        }
    })
}

fn choose(state: &UseStateHandle<usize>) -> Callback<Event> {
    let state = state.setter();
    Callback::from(move |event: Event| {
        if let Some(field) = event.target_dyn_into::<HtmlSelectElement>() {
            state.set(field.value().parse().unwrap_or_default());
        }
    })
}

#[derive(PartialEq, Properties)]
struct OpenInviteProps {
    invite: InviteInfo,
}

#[component]
fn OpenInvite(props: &OpenInviteProps) -> Html {
    let invite = &props.invite;
    let actions = use_actions();
    let copied = use_state_eq(|| false);
    let withdraw = {
        let (id, actions) = (invite.id, actions);
        Callback::from(move |_: MouseEvent| {
            if let Some(actions) = &actions {
                actions.ask(Command::Withdraw { id });
            }
        })
    };
    let copy = {
        let (link, copied) = (address::invite_link(&invite.fragment), copied.setter());
        Callback::from(move |_: MouseEvent| {
            let (link, copied) = (link.clone(), copied.clone());
            spawn_local(async move {
                if let Some(link) = link {
                    copied.set(write_to_clipboard(&link).await);
                }
            });
        })
    };
    let ends = invite.expires_at.map(format::short);
    html! {
        <div class="open-invite" data-testid="open-invite">
            <div>
                <b>{ if invite.note.is_empty() { strings::INVITE_UNNAMED } else { invite.note.as_str() } }</b>
                <p class="hint">
                    { strings::invite_kind(invite.reusable, &format::short(invite.made_at), ends.as_deref()) }
                </p>
            </div>
            <button class="button quiet" type="button" onclick={copy}>
                { if *copied { strings::COPIED } else { strings::COPY } }
            </button>
            <button class="button quiet" type="button" data-testid="invite-withdraw" onclick={withdraw}>
                { strings::INVITE_WITHDRAW }
            </button>
        </div>
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
    reusable: bool,
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
            <p class="hint">
                { if props.reusable { strings::INVITE_REUSABLE_HINT } else { strings::INVITE_HINT } }
            </p>
        </>
    }
}

/// Insecure origins have no clipboard: there people copy the selected link by hand.
async fn write_to_clipboard(text: &str) -> bool {
    let Some(window) = web_sys::window().filter(web_sys::Window::is_secure_context) else { return false };
    JsFuture::from(window.navigator().clipboard().write_text(text)).await.is_ok()
}
