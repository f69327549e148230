//! The consensus: a picture, a table, and its signatures. It shows neither traffic nor anything about the person who
//! looks at it.

use std::rc::Rc;

use allium_shared::client::api::Command;
use allium_shared::crypto::keys::RelayIdentity;
use web_sys::HtmlElement;
use yew::prelude::*;

use crate::address::Route;
use crate::components::network::{Facts, Flower, Relays};
use crate::components::{Bloom, Glyph, Icon, Logo, Problem, RouteLink};
use crate::hooks::use_actions;
use crate::state::network::Query;
use crate::state::{Phase, Place, State};
use crate::strings;

#[derive(PartialEq, Properties)]
pub struct Props {
    pub state: Rc<State>,
}

#[component]
pub fn Network(props: &Props) -> Html {
    let state = &props.state;
    let actions = use_actions();
    let query = use_state_eq(Query::default);
    let chosen = use_state_eq(|| None::<RelayIdentity>);

    // Each engine has to be asked again.
    let asked = (state.phase == Phase::Running).then_some(state.starts);
    use_effect_with(asked, move |asked| {
        let actions = actions.filter(|_| asked.is_some());
        let watch = move |watch| {
            if let Some(actions) = &actions {
                actions.ask(Command::Network { watch });
            }
        };
        watch(true);
        move || watch(false)
    });

    let ask = {
        let query = query.setter();
        use_callback((), move |new: Query, &()| query.set(new))
    };
    // Choosing the same relay again deselects it.
    let choose = {
        let chosen = chosen.clone();
        use_callback(*chosen, move |relay: RelayIdentity, now| {
            chosen.set(Some(relay).filter(|relay| Some(*relay) != *now))
        })
    };
    // People who use the keyboard continue from here.
    let title = use_node_ref();
    use_effect_with((), {
        let title = title.clone();
        move |()| {
            if let Some(title) = title.cast::<HtmlElement>() {
                let _ = title.focus();
            }
        }
    });
    html! {
        <div class="network">
            <header class="network-head">
                <RouteLink to={Route::Messenger} class="icon-button network-back" label={strings::NETWORK_BACK}
                    testid="network-back">
                    <Icon glyph={Glyph::Back} />
                </RouteLink>
                <h1 ref={title} tabindex="-1">{ strings::NETWORK_TITLE }</h1>
                if let Some(network) = &state.network {
                    <p class="network-count" data-testid="network-count">{ strings::relay_count(network.len()) }</p>
                }
            </header>
            <Problem place={Place::Network} text={state.problems.get(&Place::Network).cloned()} />
            if let Some(network) = &state.network {
                <main class="network-body">
                    <Flower network={Rc::clone(network)} role={query.role} chosen={*chosen} choose={choose.clone()} />
                    <Facts network={Rc::clone(network)} />
                    <Relays network={Rc::clone(network)} query={(*query).clone()} {ask} chosen={*chosen} {choose} />
                </main>
            } else {
                <main class="centred">
                    <Logo class="hero-logo" bloom={Bloom::of(state.progress)} />
                    <p role="status">{ strings::NETWORK_COMING }</p>
                </main>
            }
        </div>
    }
}
