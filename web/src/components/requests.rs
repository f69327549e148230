//! Requests of people who used an invite.

use std::rc::Rc;

use allium_shared::client::api::{Command, ContactState};
use yew::prelude::*;

use super::contact_list::Avatar;
use crate::format;
use crate::hooks::use_actions;
use crate::state::{Action, Request};
use crate::strings;

#[derive(PartialEq, Properties)]
pub struct Props {
    pub requests: Vec<Request>,
}

#[component]
pub fn Requests(props: &Props) -> Html {
    // An empty list stays, because screen readers only announce changes inside an element they know.
    html! {
        <section class="requests" role="region" aria-label={strings::REQUESTS} aria-live="polite">
            { for props.requests.iter().map(|request| html! {
                <Card key={request.id.0} request={request.clone()} />
            }) }
        </section>
    }
}

#[derive(PartialEq, Properties)]
struct CardProps {
    request: Request,
}

#[component]
fn Card(props: &CardProps) -> Html {
    let request = &props.request;
    let actions = use_actions();
    let answer = |command: Command| {
        let actions = actions.clone();
        Callback::from(move |_: MouseEvent| {
            if let Some(actions) = &actions {
                actions.ask(command.clone());
            }
        })
    };
    let id = request.id;
    let approve = {
        let actions = actions.clone();
        Callback::from(move |_: MouseEvent| {
            if let Some(actions) = &actions {
                actions.act(Action::ApproveRequested(id));
                actions.ask(Command::Accept { id });
            }
        })
    };
    html! {
        <article class="card request" data-testid="request">
            <div class="request-who">
                <Avatar name={Rc::clone(&request.name)} state={ContactState::Connecting} />
                <div>
                    <h2>{ &*request.name }</h2>
                    <p class="hint">{ strings::request_asks(&request.invite_note, &format::short(request.asked_at)) }</p>
                </div>
            </div>
            if !request.note.is_empty() {
                <blockquote class="request-note" dir="auto">{ &*request.note }</blockquote>
            }
            <div class="request-answers">
                <button class="button primary" type="button" data-testid="request-approve"
                    onclick={approve}>{ strings::REQUEST_ACCEPT }</button>
                <button class="button" type="button" data-testid="request-reject" title={strings::REQUEST_DECLINE_HINT}
                    onclick={answer(Command::Decline { id })}>{ strings::REQUEST_DECLINE }</button>
                <button class="button quiet" type="button" data-testid="request-block" title={strings::REQUEST_BLOCK_HINT}
                    onclick={answer(Command::Block { id })}>{ strings::BLOCK }</button>
            </div>
        </article>
    }
}
