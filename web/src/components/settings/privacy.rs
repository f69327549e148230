//! Read receipts and typing indicators.

use allium_shared::client::api::Command;
use web_sys::HtmlInputElement;
use yew::prelude::*;

use crate::hooks::use_actions;
use crate::state::Privacy;
use crate::strings;

#[derive(PartialEq, Properties)]
pub struct Props {
    /// The current settings; `None` until the engine has told them.
    pub privacy: Option<Privacy>,
}

#[component]
pub fn PrivacySettings(props: &Props) -> Html {
    let told = |pick: fn(Privacy) -> bool| props.privacy.map(pick);
    html! {
        <section class="settings-part">
            <h3>{ strings::PRIVACY }</h3>
            <Switch id="switch-receipts" label={strings::PRIVACY_RECEIPTS} on={told(|privacy| privacy.receipts)}
                command={Callback::from(|on| Command::Receipts { on })} />
            <Switch id="switch-typing" label={strings::PRIVACY_TYPING} on={told(|privacy| privacy.typing)}
                command={Callback::from(|on| Command::TypingNotices { on })} />
        </section>
    }
}

#[derive(PartialEq, Properties)]
struct SwitchProps {
    /// Its `data-testid`.
    id: AttrValue,
    label: AttrValue,
    /// Its position, if known.
    on: Option<bool>,
    /// The command that sets its position.
    command: Callback<bool, Command>,
}

/// A switch that shows the engine's setting, in every tab.
#[component]
fn Switch(props: &SwitchProps) -> Html {
    let actions = use_actions();
    let onchange = {
        let command = props.command.clone();
        Callback::from(move |event: Event| {
            let field = event.target_dyn_into::<HtmlInputElement>();
            if let (Some(actions), Some(field)) = (&actions, field) {
                actions.ask(command.emit(field.checked()));
            }
        })
    };
    html! {
        <label class="switch">
            <input type="checkbox" role="switch" data-testid={props.id.clone()} checked={props.on == Some(true)}
                disabled={props.on.is_none()} {onchange} />
            <span>{ &props.label }</span>
        </label>
    }
}
