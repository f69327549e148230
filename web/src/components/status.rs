//! The state of the connection, in one line.

use allium_shared::client::api::Progress;
use yew::prelude::*;

use crate::strings;

/// The number of steps, including the last: ready.
const STEPS: u8 = 3;

#[derive(PartialEq, Properties)]
pub struct Props {
    pub step: Option<Progress>,
    pub again: bool,
    /// True if the tab that runs the engine doesn't answer.
    pub silent: bool,
}

/// Shows how far the client has come, with a bar of three parts until it is ready.
#[component]
pub fn Status(props: &Props) -> Html {
    let text = match props.step {
        Some(_) if props.silent => strings::STATUS_SILENT,
        Some(step) => strings::step_under_way(step, props.again),
        None => strings::STARTING,
    };
    let done = match props.step.filter(|_| !props.silent) {
        None | Some(Progress::FetchingDirectory) => 0,
        Some(Progress::ConnectingGuard) => 1,
        Some(Progress::BuildingCircuit) => 2,
        Some(Progress::Ready) => STEPS,
    };
    let ready = done == STEPS;
    html! {
        <div class={classes!("status", ready.then_some("ready"))}>
            <p data-testid="state" role="status">{ text }</p>
            if !ready {
                <div class="status-bar" aria-hidden="true">
                    { for (0..STEPS).map(|part| html! {
                        <i class={classes!((part < done).then_some("done"), (part == done).then_some("active"))} />
                    }) }
                </div>
            }
        </div>
    }
}
