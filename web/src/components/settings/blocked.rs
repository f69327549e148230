//! Who is blocked, contacts or not, and how to unblock them.

use std::rc::Rc;

use allium_shared::client::api::{BlockedInfo, Command, ContactState};
use yew::prelude::*;

use crate::components::contact_list::Avatar;
use crate::hooks::{use_actions, use_focus_after};
use crate::strings;

#[derive(PartialEq, Properties)]
pub struct Props {
    /// Everyone who is blocked; `None` until the engine has listed them.
    pub list: Option<Rc<[BlockedInfo]>>,
    /// Counts the engines: each has to be asked.
    pub starts: u32,
}

#[component]
pub fn Blocked(props: &Props) -> Html {
    let actions = use_actions();
    use_effect_with(props.starts, {
        let actions = actions.clone();
        move |_| actions.iter().for_each(|actions| actions.ask(Command::Blocked))
    });
    // The button disappears with the entry that was unblocked.
    let heading = use_node_ref();
    use_focus_after(&heading, props.list.as_ref().map(|list| list.len()), |before, now| before > now);
    let Some(list) = &props.list else { return Html::default() };
    let row = |blocked: &BlockedInfo| {
        let (id, actions) = (blocked.id, actions.clone());
        let unblock = Callback::from(move |_: MouseEvent| {
            if let Some(actions) = &actions {
                actions.ask(Command::Unblock { id });
            }
        });
        html! {
            <li key={id.0} class="blocked" data-testid="blocked">
                <Avatar name={Rc::from(blocked.name.as_str())} state={ContactState::Blocked} />
                <div>
                    <p>{ &blocked.name }</p>
                    if blocked.is_request {
                        <p class="hint">{ strings::BLOCKED_REQUEST }</p>
                    }
                </div>
                <button class="button" type="button" data-testid="unblock" onclick={unblock}
                    aria-label={strings::unblock(&blocked.name)}>{ strings::UNBLOCK }</button>
            </li>
        }
    };
    html! {
        <section class="settings-part">
            <h3 ref={heading} tabindex="-1">{ strings::BLOCKED }</h3>
            if list.is_empty() {
                <p data-testid="blocked-none">{ strings::BLOCKED_NONE }</p>
            } else {
                <ul class="blocked-list">{ for list.iter().map(row) }</ul>
            }
        </section>
    }
}
