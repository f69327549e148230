//! The network as the authorities have agreed on it: a picture, a table, and who has signed. Nothing of what goes on in it, and
//! nothing of the person who looks.

use std::rc::Rc;

use allium_shared::client::api::Command;
use yew::prelude::*;

use crate::address::Route;
use crate::components::network::{Facts, Flower, Look, Relays};
use crate::components::{Bloom, Glyph, Icon, Logo, Problem, RouteLink};
use crate::hooks::{use_actions, use_route};
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
    let routes = use_route();
    let look = use_state_eq(Look::default);

    // Whoever has the list is asked: the engine, or the worker that waits for its turn. Not yet when it is not known who that is.
    let asked = matches!(state.phase, Phase::Running | Phase::Elsewhere).then(|| state.phase.clone());
    use_effect_with(asked, move |asked| {
        let actions = actions.filter(|_| asked.is_some());
        let watch = move |watch| {
            if let Some(actions) = &actions {
                actions.command(Command::Network { watch });
            }
        };
        watch(true);
        move || watch(false)
    });

    let set_look = {
        let look = look.setter();
        use_callback((), move |new: Look, &()| look.set(new))
    };
    let close = Callback::from(move |event: KeyboardEvent| {
        if event.key() == "Escape"
            && let Some(routes) = &routes
        {
            routes.go(Route::Messenger);
        }
    });
    html! {
        <div class="network" onkeydown={close}>
            <header class="network-head">
                <RouteLink to={Route::Messenger} class="icon-button network-back" label={strings::NETWORK_BACK}
                    testid="network-back">
                    <Icon glyph={Glyph::Back} />
                </RouteLink>
                <h1>{ strings::NETWORK_TITLE }</h1>
                if let Some(network) = &state.network {
                    <p class="network-count" data-testid="network-count">{ strings::relay_count(network.len()) }</p>
                }
            </header>
            if state.phase == Phase::Elsewhere {
                <p class="network-note" data-testid="network-elsewhere">{ strings::NETWORK_ELSEWHERE }</p>
            }
            <Problem place={Place::Network} text={state.problems.get(&Place::Network).cloned()} />
            if let Some(network) = &state.network {
                <main class="network-body">
                    <Flower network={Rc::clone(network)} look={(*look).clone()} set_look={set_look.clone()} />
                    <Facts network={Rc::clone(network)} />
                    <Relays network={Rc::clone(network)} look={(*look).clone()} {set_look} />
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
