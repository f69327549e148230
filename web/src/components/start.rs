//! The progress of connecting, shown in place of a conversation.

use allium_shared::client::api::Progress;
use yew::prelude::*;

use super::icons::{Glyph, Icon};
use super::logo::{Bloom, Logo};
use crate::strings;

const STEPS: [Progress; 3] = [Progress::FetchingDirectory, Progress::ConnectingGuard, Progress::BuildingCircuit];

#[derive(PartialEq, Properties)]
pub struct Props {
    pub step: Option<Progress>,
    pub again: bool,
}

/// The steps until the client is ready, and a flower that opens with them.
#[component]
pub fn Start(props: &Props) -> Html {
    let now = props.step.unwrap_or(Progress::FetchingDirectory);
    let steps = STEPS.into_iter().map(|step| {
        let (name, text) = strings::step_explained(step);
        let (class, word) = match step.cmp(&now) {
            std::cmp::Ordering::Less => ("done", strings::STEP_DONE),
            std::cmp::Ordering::Equal => ("active", strings::STEP_ACTIVE),
            std::cmp::Ordering::Greater => ("waiting", strings::STEP_WAITING),
        };
        html! {
            <li class={class} aria-current={(class == "active").then_some("step")}>
                <span class="step-mark">
                    if class == "done" {
                        <Icon glyph={Glyph::Check} />
                    }
                </span>
                <div>
                    <h3>{ name }<span class="visually-hidden">{ format!(" ({word})") }</span></h3>
                    <p>{ text }</p>
                </div>
            </li>
        }
    });
    html! {
        <section class="centred start">
            <Logo class="hero-logo" bloom={Bloom::of(props.step)} />
            <h2>{ if props.again { strings::START_AGAIN_TITLE } else { strings::START_TITLE } }</h2>
            <ol class="steps">{ for steps }</ol>
        </section>
    }
}
