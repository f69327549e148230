//! The messenger: contacts on the left, a conversation on the right, one after the other on a phone.

use std::rc::Rc;

use yew::prelude::*;

use crate::address::Route;
use crate::components::{
    AddContact, Bloom, ContactList, ConversationView, Glyph, Icon, InviteCard, Logo, Problem, Requests, RouteLink,
    Settings, Start, Status, Welcome,
};
use crate::driver::LockRequest;
use crate::hooks::{use_actions, use_back_closes};
use crate::state::{Action, Place, State};
use crate::storage::Protection;
use crate::strings;

#[derive(PartialEq, Properties)]
pub struct Props {
    pub state: Rc<State>,
}

#[component]
pub fn Messenger(props: &Props) -> Html {
    let state = &props.state;
    let actions = use_actions();

    let close = {
        let actions = actions.clone();
        Callback::from(move |()| {
            if let Some(actions) = &actions {
                actions.act(Action::Close);
            }
        })
    };
    let open_settings = {
        let actions = actions.clone();
        Callback::from(move |_: MouseEvent| {
            if let Some(actions) = &actions {
                actions.act(Action::OpenSettings);
            }
        })
    };
    let lock = Callback::from(move |_: MouseEvent| {
        if let Some(actions) = &actions {
            actions.act(Action::Lock);
            actions.ask(LockRequest::Lock);
        }
    });
    let contact = state.open.and_then(|open| state.contact_of(open));
    let settings = state.settings.clone().zip(state.protection);
    let stage_is_in_use = contact.is_some() || settings.is_some();
    use_back_closes(stage_is_in_use, close);

    let contacts = state.contacts();
    let no_contacts = contacts.is_empty();
    let main = match (contact, settings) {
        (_, Some((attempt, protection))) => html! { <Settings state={Rc::clone(state)} {attempt} {protection} /> },
        (Some(contact), None) => html! {
            <ConversationView
                key={contact.id.0}
                contact={contact.clone()}
                conversation={state.conversation(contact.id)}
                path={state.path(contact.id)}
                typing={state.is_typing(contact.id)}
                safety={state.safety.clone().filter(|safety| safety.contact == contact.id)}
                starts={state.starts}
                problem={state.problems.get(&Place::Send).cloned()}
            />
        },
        (None, None) if !state.is_ready() && !state.silent => {
            html! { <Start step={state.progress} again={state.was_ready} /> }
        }
        (None, None) => html! { <Welcome {no_contacts} offered={state.offered.is_some()} /> },
    };
    html! {
        <div class={classes!("app", stage_is_in_use.then_some("in-conversation"))}>
            <div class="banners">
                <Problem place={Place::Tabs} text={state.problems.get(&Place::Tabs).cloned()} />
                <Problem place={Place::Storage} text={state.problems.get(&Place::Storage).cloned()} />
                <Problem place={Place::General} text={state.problems.get(&Place::General).cloned()} />
            </div>
            <aside class="sidebar">
                <header class="brand">
                    <Logo class="brand-logo" bloom={Bloom::of(state.progress)} />
                    <h1>{ strings::APP_NAME }</h1>
                    <Status step={state.progress} again={state.was_ready} silent={state.silent} />
                    <div class="brand-buttons">
                        <RouteLink to={Route::Network} class="icon-button" label={strings::NETWORK_LINK}
                            testid="network-link">
                            <Icon glyph={Glyph::Network} />
                        </RouteLink>
                        if let Some(protection) = state.protection {
                            if protection == Protection::Passphrase {
                                <button class="icon-button" type="button" data-testid="lock" onclick={lock}
                                    aria-label={strings::LOCK} title={strings::LOCK}>
                                    <Icon glyph={Glyph::Lock} />
                                </button>
                            }
                            <button class="icon-button" type="button" data-testid="settings" onclick={open_settings}
                                aria-label={strings::SETTINGS} title={strings::SETTINGS}>
                                <Icon glyph={Glyph::Settings} />
                            </button>
                        }
                    </div>
                </header>
                <Problem place={Place::Network} text={state.problems.get(&Place::Network).cloned()} />
                <Requests requests={state.requests()} />
                <ContactList {contacts} open={state.open} />
                <div class="dock">
                    <InviteCard
                        invite={state.invite.clone()}
                        taken_by={state.invite_taken_by()}
                        open={Rc::clone(&state.invites)}
                        asks={(state.starts, state.made)}
                        problem={state.problems.get(&Place::Invite).cloned()}
                    />
                    <AddContact
                        offered={state.offered.clone()}
                        adding={state.adding.is_some()}
                        added={state.added}
                        link_problem={state.problems.get(&Place::AddLink).cloned()}
                        name_problem={state.problems.get(&Place::AddName).cloned()}
                    />
                </div>
            </aside>
            <main class="stage">{ main }</main>
        </div>
    }
}
