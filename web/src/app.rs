//! The root of the page.

use std::rc::Rc;

use gloo_events::EventListener;
use yew::prelude::*;

use crate::address::{self, Route};
use crate::driver;
use crate::hooks::{Actions, Routes, Store, use_document_title, use_routes};
use crate::pages::{Elsewhere, Failed, Messenger, Network, OtherAuthorities, PutAway, Unlock};
use crate::state::{Action, Phase};
use crate::strings;

/// What the page was opened with.
#[derive(PartialEq, Properties)]
pub struct Props {
    /// An invite link, taken from the address.
    pub offered: Option<Rc<str>>,
}

/// Holds the state and the driver, and shows the right page.
#[component]
pub fn App(props: &Props) -> Html {
    let store = use_reducer(Store::default);
    let actions = use_memo((), {
        let dispatcher = store.dispatcher();
        move |()| {
            let tell = {
                let dispatcher = dispatcher.clone();
                Callback::from(move |notice| dispatcher.dispatch(Action::Notice(notice)))
            };
            Actions::new(driver::start(tell), dispatcher)
        }
    });

    use_effect_with(props.offered.clone(), {
        let actions = Rc::clone(&actions);
        move |offered| {
            if let Some(link) = offered.clone() {
                actions.act(Action::Offer(link));
            }
        }
    });
    // A link that is pasted into the address bar of the open page, or opened in this tab from elsewhere.
    use_effect_with((), {
        let actions = Rc::clone(&actions);
        move |()| {
            let listener = web_sys::window().map(|window| {
                EventListener::new(&window, "hashchange", move |_| {
                    if let Some(link) = address::take_invite() {
                        actions.act(Action::Offer(link));
                    }
                })
            });
            move || drop(listener)
        }
    });
    let routes = use_routes();
    use_document_title(match routes.now {
        Route::Messenger => strings::title(store.unread_total()),
        Route::Network => strings::network_title(store.unread_total()),
    });

    let page = match &store.phase {
        Phase::Starting | Phase::Running if routes.now == Route::Network => {
            html! { <Network state={store.state()} /> }
        }
        Phase::Starting | Phase::Running => html! { <Messenger state={store.state()} /> },
        Phase::Elsewhere { silent } => html! { <Elsewhere silent={*silent} /> },
        Phase::Locked(attempt) => html! { <Unlock attempt={attempt.clone()} /> },
        Phase::Locking => html! { <PutAway done=false /> },
        Phase::PutAway => html! { <PutAway done=true /> },
        Phase::Failed(reason) => html! { <Failed title={strings::FAILED_TITLE} reason={Rc::clone(reason)} /> },
        Phase::OtherAuthorities(kept, named) => {
            html! { <OtherAuthorities kept={Rc::clone(kept)} named={Rc::clone(named)} /> }
        }
        Phase::Crashed => html! { <Failed title={strings::CRASHED_TITLE} reason={strings::CRASHED} /> },
    };
    html! {
        <ContextProvider<Actions> context={(*actions).clone()}>
            <ContextProvider<Routes> context={routes}>{ page }</ContextProvider<Routes>>
        </ContextProvider<Actions>>
    }
}
