//! One conversation: the contact, the messages, and the message field.

use std::rc::Rc;

use allium_shared::client::api::{Command, ContactState};
use yew::prelude::*;

use super::composer::Composer;
use super::contact_list::Avatar;
use super::icons::{Glyph, Icon};
use super::message_list::MessageList;
use super::path::Path;
use super::problem::Problem;
use super::safety::SafetyPanel;
use crate::hooks::{use_actions, use_focus_after};
use crate::state::{Action, Contact, Conversation, Place, Safety};
use crate::strings;

#[derive(PartialEq, Properties)]
pub struct Props {
    pub contact: Contact,
    pub conversation: Rc<Conversation>,
    pub path: Option<Rc<[String]>>,
    pub typing: bool,
    pub safety: Option<Safety>,
    /// Counts the engines: each has to be asked.
    pub starts: u32,
    pub problem: Option<Rc<str>>,
}

#[component]
pub fn ConversationView(props: &Props) -> Html {
    let Props { contact, conversation, path, problem, typing, safety, starts } = props;
    let actions = use_actions();
    let is_blocked = contact.state == ContactState::Blocked;
    let block = {
        let (id, actions) = (contact.id, actions.clone());
        Callback::from(move |_: MouseEvent| {
            if let Some(actions) = &actions {
                actions.ask(if is_blocked { Command::Unblock { id } } else { Command::Block { id } });
            }
        })
    };
    let compare = {
        let (contact, is_open, actions) = (contact.id, safety.is_some(), actions.clone());
        Callback::from(move |_: MouseEvent| match &actions {
            Some(actions) if is_open => actions.act(Action::CloseSafety),
            Some(actions) => actions.act(Action::OpenSafety(contact)),
            None => {}
        })
    };
    // After closing the panel, the focus returns to the button that opens it.
    let shield = use_node_ref();
    use_focus_after(&shield, safety.is_some(), |was_open, is_open| *was_open && !is_open);
    let back = Callback::from(move |_: MouseEvent| {
        if let Some(actions) = &actions {
            actions.act(Action::Close);
        }
    });
    let name = &contact.name;
    html! {
        <section class="conversation" aria-label={name.to_string()}>
            <header class="conversation-head">
                <button class="icon-button back" type="button" aria-label={strings::BACK} onclick={back}>
                    <Icon glyph={Glyph::Back} />
                </button>
                <Avatar name={Rc::clone(name)} state={contact.state} />
                <div class="conversation-who">
                    <h2>{ &**name }</h2>
                    <p class="contact-state" data-testid="contact-state" role="status">
                        { strings::contact_state(contact.state) }
                    </p>
                </div>
                <button class={classes!("icon-button", "shield", contact.verified.then_some("verified"))} type="button"
                    ref={shield} data-testid="contact-safety" onclick={compare} aria-expanded={safety.is_some().to_string()}
                    aria-label={strings::SAFETY} title={strings::safety_title(contact.verified)}>
                    <Icon glyph={if contact.verified { Glyph::ShieldCheck } else { Glyph::Shield }} />
                </button>
                <button class="button quiet block" type="button" data-testid="contact-block" onclick={block}
                    title={(!is_blocked).then_some(strings::BLOCK_HINT)}>
                    { if is_blocked { strings::UNBLOCK } else { strings::BLOCK } }
                </button>
                <Path hops={path.clone()} contact={Rc::clone(name)} />
            </header>
            if let Some(safety) = safety {
                <SafetyPanel contact={contact.clone()} number={safety.number.clone()} starts={*starts} />
            }
            <MessageList contact={contact.id} name={Rc::clone(name)} conversation={Rc::clone(conversation)} />
            if let Some(apart) = strings::contact_apart(contact.state, name) {
                <p class="away">{ apart }</p>
            }
            <p class="typing" data-testid="typing" role="status" aria-live="polite">
                if *typing { { strings::is_typing(name) } }
            </p>
            <Problem place={Place::Send} text={problem.clone()} />
            if !is_blocked {
                <Composer contact={contact.id} name={Rc::clone(name)} />
            }
        </section>
    }
}
