//! The contacts, the newest conversation first.

use std::rc::Rc;

use allium_shared::client::api::{ContactId, ContactState};
use yew::prelude::*;

use crate::format;
use crate::hooks::use_actions;
use crate::state::{Action, Contact, Conversation};
use crate::strings;

#[derive(PartialEq, Properties)]
pub struct Props {
    pub contacts: Vec<(Contact, Rc<Conversation>)>,
    pub open: Option<ContactId>,
}

#[component]
pub fn ContactList(props: &Props) -> Html {
    html! {
        <nav class="contacts" aria-label={strings::CONTACTS}>
            if props.contacts.is_empty() {
                <p class="contacts-none">{ strings::CONTACTS_NONE }</p>
            }
            <ul>
                { for props.contacts.iter().map(|(contact, conversation)| html! {
                    <li key={contact.id.0}>
                        <Entry
                            contact={contact.clone()}
                            conversation={Rc::clone(conversation)}
                            open={props.open == Some(contact.id)}
                        />
                    </li>
                }) }
            </ul>
        </nav>
    }
}

#[derive(PartialEq, Properties)]
struct EntryProps {
    contact: Contact,
    conversation: Rc<Conversation>,
    open: bool,
}

#[component]
fn Entry(props: &EntryProps) -> Html {
    let EntryProps { contact, conversation, open } = props;
    let actions = use_actions();
    let onclick = {
        let id = contact.id;
        Callback::from(move |_: MouseEvent| {
            if let Some(actions) = &actions {
                actions.act(Action::Open(id));
            }
        })
    };
    let unread = conversation.unread_count();
    let last = conversation.last();
    let preview = match last {
        None => html! { <em>{ strings::CONTACT_SILENT }</em> },
        Some(message) => html! {
            <>
                if message.outgoing.is_some() {
                    <em>{ strings::OWN_PREFIX }</em>
                }
                { preview(&message.text) }
            </>
        },
    };
    html! {
        <button
            type="button" class={classes!("contact", open.then_some("open"), (unread > 0).then_some("unread"))}
            data-testid="contact" data-state={state_name(contact.state)} aria-current={open.then_some("true")} {onclick}
        >
            <Avatar name={Rc::clone(&contact.name)} state={contact.state} />
            <span class="contact-name">{ &*contact.name }</span>
            <span class="visually-hidden">{ format!(" ({})", strings::contact_state(contact.state)) }</span>
            if let Some(message) = last {
                <time class="contact-time">{ format::short(message.at) }</time>
            }
            <span class="contact-preview">{ preview }</span>
            if unread > 0 {
                <span class="badge" data-testid="unread">
                    { unread }<span class="visually-hidden">{ format!(" ({})", strings::unread(unread)) }</span>
                </span>
            }
        </button>
    }
}

/// The start of a text: the list shows one line, and laying out a long text takes time.
fn preview(text: &str) -> String {
    text.chars().take(120).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// A state's name in the style sheet and tests.
pub(super) fn state_name(state: ContactState) -> &'static str {
    match state {
        ContactState::Connecting => "connecting",
        ContactState::Connected => "connected",
        ContactState::Offline => "offline",
        ContactState::Requested => "requested",
        ContactState::Declined => "declined",
        ContactState::Blocked => "blocked",
    }
}

#[derive(PartialEq, Properties)]
pub(super) struct AvatarProps {
    pub name: Rc<str>,
    pub state: ContactState,
}

/// How many colours the style sheet has for avatars.
const HUES: u32 = 8;

/// The first letter of a name in a colour of its own, and a dot for the state.
#[component]
pub(super) fn Avatar(props: &AvatarProps) -> Html {
    let letter = props.name.chars().find(|c| c.is_alphanumeric()).unwrap_or('?').to_uppercase().to_string();
    let hue = props.name.chars().fold(0_u32, |hue, c| hue.wrapping_mul(31).wrapping_add(u32::from(c))) % HUES;
    html! {
        <span class={format!("avatar hue-{hue}")} data-state={state_name(props.state)} data-letter={letter} aria-hidden="true">
            <i class="dot" />
        </span>
    }
}
