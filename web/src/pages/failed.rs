//! The engine can't run, or crashed.

use yew::prelude::*;

use crate::components::{Bloom, Logo};
use crate::strings;

#[derive(PartialEq, Properties)]
pub struct Props {
    /// What happened.
    pub title: AttrValue,
    /// Why, and what to do about it.
    pub reason: AttrValue,
}

/// Shows the reason, and a button that reloads the page.
#[component]
pub fn Failed(props: &Props) -> Html {
    html! {
        <main class="lone" role="alert">
            <Logo class="lone-logo" bloom={Bloom::Bud} />
            <h1>{ &props.title }</h1>
            <p data-testid="failed">{ &props.reason }</p>
            <button class="button primary" type="button" onclick={super::reload}>{ strings::RELOAD }</button>
        </main>
    }
}
