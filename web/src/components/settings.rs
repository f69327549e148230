//! The settings.
//!
//! # Layout
//!
//! - `privacy`: read receipts and typing indicators
//! - `passphrase`: what opens the profile on this device
//! - `blocked`: who is blocked
//! - `device`: what the browser does with this tab and with stored data

mod blocked;
mod device;
mod passphrase;
mod privacy;

use std::rc::Rc;

use yew::prelude::*;

use self::blocked::Blocked;
use self::device::Device;
use self::passphrase::PassphraseSettings;
use self::privacy::PrivacySettings;
use super::icons::{Glyph, Icon};
use crate::hooks::use_actions;
use crate::state::{Action, Attempt, State};
use crate::storage::Protection;
use crate::strings;

#[derive(PartialEq, Properties)]
pub struct Props {
    pub state: Rc<State>,
    /// The state of the passphrase form.
    pub attempt: Attempt,
    pub protection: Protection,
}

#[component]
pub fn Settings(props: &Props) -> Html {
    let Props { state, attempt, protection } = props;
    let actions = use_actions();
    let back = Callback::from(move |_: MouseEvent| {
        if let Some(actions) = &actions {
            actions.act(Action::Close);
        }
    });
    html! {
        <section class="settings" aria-label={strings::SETTINGS}>
            <header class="conversation-head">
                <button class="icon-button back" type="button" aria-label={strings::BACK} onclick={back.clone()}>
                    <Icon glyph={Glyph::Back} />
                </button>
                <h2>{ strings::SETTINGS }</h2>
                <button class="icon-button settings-close" type="button" aria-label={strings::CLOSE} onclick={back}>
                    <Icon glyph={Glyph::Close} />
                </button>
            </header>
            <div class="settings-body">
                <PrivacySettings privacy={state.privacy} />
                <PassphraseSettings attempt={attempt.clone()} protection={*protection} />
                <Blocked list={state.blocked.clone()} starts={state.starts} />
                <Device follows={state.follows} />
            </div>
        </section>
    }
}
