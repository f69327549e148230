//! What the browser does with this tab and with stored data.

use wasm_bindgen_futures::spawn_local;
use yew::prelude::*;

use crate::storage;
use crate::strings;

#[derive(PartialEq, Properties)]
pub struct Props {
    /// True if another tab runs the engine.
    pub follows: bool,
}

#[component]
pub fn Device(props: &Props) -> Html {
    // Asked each time that the settings are opened, since the answer can change.
    let persisted = use_state_eq(|| None::<Option<bool>>);
    use_effect_with((), {
        let persisted = persisted.setter();
        move |()| spawn_local(async move { persisted.set(Some(storage::is_persisted().await)) })
    });
    html! {
        <section class="settings-part">
            <h3>{ strings::DEVICE }</h3>
            <p data-testid="availability">{ strings::AVAILABILITY }</p>
            if let Some(persisted) = *persisted {
                <p data-testid="persistence">{ strings::persistence(persisted) }</p>
            }
            if props.follows {
                <p class="hint" data-testid="follows">{ strings::FOLLOWS }</p>
            }
        </section>
    }
}
