//! The messages of a conversation, newest at the bottom.
//!
//! A message counts as shown once it was drawn in the open conversation while the list was scrolled to its end and the
//! page was visible and focused.

use std::rc::Rc;

use allium_shared::client::api::{Command, ContactId, DeliveryState};
use web_sys::Element;
use yew::prelude::*;

use super::icons::{Glyph, Icon};
use crate::format;
use crate::hooks::{use_actions, use_attention};
use crate::state::{Action, Conversation, Message};
use crate::strings;

/// How many messages are drawn at first, and how many more on each request.
const PAGE: usize = 150;

/// The list counts as scrolled to its end within this distance.
const END_PIXELS: i32 = 48;

/// Messages of one side within this time form a group.
const GROUP_MILLIS: u64 = 5 * 60 * 1000;

#[derive(PartialEq, Properties)]
pub struct Props {
    pub contact: ContactId,
    pub name: Rc<str>,
    pub conversation: Rc<Conversation>,
}

#[component]
pub fn MessageList(props: &Props) -> Html {
    let Props { contact, conversation, .. } = props;
    let contact = *contact;
    let actions = use_actions();
    let attention = use_attention();
    let list = use_node_ref();
    let at_end = use_state_eq(|| true);
    let shown = use_state_eq(|| PAGE);

    let unread: Vec<_> = conversation.unread_ids().collect();
    let unread_count = unread.len();
    use_effect_with((unread, attention && *at_end), move |(unread, seen)| {
        let Some(actions) = actions.filter(|_| *seen && !unread.is_empty()) else { return };
        for id in unread {
            actions.ask(Command::Shown { contact, id: *id });
        }
        actions.ask(Command::Read { contact });
        actions.act(Action::Shown(contact, unread.clone()));
    });

    // After sending, the list scrolls to the new message.
    use_effect_with(conversation.last_own(), {
        let list = list.clone();
        move |_| scroll_to_end(&list)
    });

    let onscroll = {
        let (list, at_end) = (list.clone(), at_end.setter());
        Callback::from(move |_: Event| {
            if let Some(list) = list.cast::<Element>() {
                // The style sheet counts from the end: zero there, negative above.
                at_end.set(list.scroll_top() > -END_PIXELS);
            }
        })
    };
    let show_earlier = {
        let shown = shown.clone();
        Callback::from(move |_: MouseEvent| shown.set(*shown + PAGE))
    };
    let to_end = {
        let list = list.clone();
        Callback::from(move |_: MouseEvent| scroll_to_end(&list))
    };
    html! {
        <div class="messages-frame">
            <div ref={list} class="messages" {onscroll} tabindex="0" role="log" aria-label={strings::MESSAGES}>
                <div class="messages-column">
                    if conversation.len() > *shown {
                        <button class="button earlier" type="button" onclick={show_earlier}>
                            { strings::SHOW_EARLIER }
                        </button>
                    }
                    if conversation.len() == 0 {
                        <p class="messages-none">{ strings::conversation_empty(&props.name) }</p>
                    }
                    { for rows(conversation.newest(*shown)) }
                </div>
            </div>
            if !*at_end {
                <button class="button pill" type="button" onclick={to_end} data-testid="to-end">
                    <Icon glyph={Glyph::Down} />{ strings::new_messages(unread_count) }
                </button>
            }
        </div>
    }
}

fn scroll_to_end(list: &NodeRef) {
    if let Some(list) = list.cast::<Element>() {
        list.set_scroll_top(0);
    }
}

/// The messages, grouped, with a heading for each day.
fn rows(messages: &[Rc<Message>]) -> Vec<Html> {
    let mut rows = Vec::with_capacity(messages.len() + 4);
    let mut last: Option<(&Message, format::Day)> = None;
    for message in messages {
        let day = format::day(message.at);
        let same_day = last.is_some_and(|(_, last)| last == day);
        if !same_day {
            let key = format!("day-{}", message.id);
            rows.push(html! { <h3 class="day" {key}>{ format::heading(message.at) }</h3> });
        }
        let follows = same_day && last.is_some_and(|(last, _)| follows(last, message));
        rows.push(html! { <Bubble key={message.id.to_string()} message={Rc::clone(message)} {follows} /> });
        last = Some((message, day));
    }
    rows
}

fn follows(last: &Message, message: &Message) -> bool {
    last.outgoing.is_some() == message.outgoing.is_some()
        && message.at.as_millis().saturating_sub(last.at.as_millis()) < GROUP_MILLIS
}

#[derive(PartialEq, Properties)]
struct BubbleProps {
    message: Rc<Message>,
    follows: bool,
}

#[component]
fn Bubble(props: &BubbleProps) -> Html {
    let BubbleProps { message, follows } = props;
    let side = if message.outgoing.is_some() { "own" } else { "theirs" };
    html! {
        <div class={classes!("bubble", side, follows.then_some("follows"))}>
            <span class="message-text" data-testid="message" data-state={message.outgoing.map(state_name)} dir="auto">
                { &*message.text }
            </span>
            <span class="message-meta">
                <time title={format::full(message.at)}>{ format::time(message.at) }</time>
                if let Some(state) = message.outgoing {
                    <Mark {state} />
                }
            </span>
        </div>
    }
}

#[derive(PartialEq, Properties)]
struct MarkProps {
    state: DeliveryState,
}

#[component]
fn Mark(props: &MarkProps) -> Html {
    let glyph = match props.state {
        DeliveryState::Queued => Glyph::Clock,
        DeliveryState::Sent => Glyph::Check,
        DeliveryState::Delivered | DeliveryState::Read => Glyph::DoubleCheck,
    };
    let words = strings::delivery(props.state);
    html! { <span class={classes!("mark", state_name(props.state))} role="img" aria-label={words} title={words}><Icon {glyph} /></span> }
}

/// A delivery state's name in the style sheet and tests.
fn state_name(state: DeliveryState) -> &'static str {
    match state {
        DeliveryState::Queued => "queued",
        DeliveryState::Sent => "sent",
        DeliveryState::Delivered => "delivered",
        DeliveryState::Read => "read",
    }
}
