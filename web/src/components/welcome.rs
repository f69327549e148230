//! Shown in place of a conversation while none is open.

use wasm_bindgen::JsCast;
use web_sys::HtmlElement;
use yew::prelude::*;

use super::add_contact::NAME_FIELD;
use super::logo::{Bloom, Logo};
use super::path::PathPicture;
use crate::strings;

#[derive(PartialEq, Properties)]
pub struct Props {
    pub no_contacts: bool,
    pub offered: bool,
}

/// Says what to do next.
#[component]
pub fn Welcome(props: &Props) -> Html {
    let (title, text) = match (props.offered, props.no_contacts) {
        (true, _) => (strings::OFFERED_TITLE, strings::OFFERED_TEXT),
        (false, true) => (strings::WELCOME_TITLE, strings::WELCOME_TEXT),
        (false, false) => (strings::CHOOSE_TITLE, strings::CHOOSE_TEXT),
    };
    let choose_name = Callback::from(|_: MouseEvent| {
        let field = web_sys::window().and_then(|window| window.document()?.get_element_by_id(NAME_FIELD));
        if let Some(field) = field.and_then(|field| field.dyn_into::<HtmlElement>().ok()) {
            let _ = field.focus();
        }
    });
    html! {
        <section class="centred">
            <Logo class="hero-logo" bloom={Bloom::Full} />
            <h2>{ title }</h2>
            <p>{ text }</p>
            if props.offered {
                <button class="button primary" type="button" onclick={choose_name}>{ strings::OFFERED_BUTTON }</button>
            }
            <PathPicture />
        </section>
    }
}
