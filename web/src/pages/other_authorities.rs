//! The site names other authorities than the profile's.

use yew::prelude::*;

use crate::components::{Bloom, Logo};
use crate::strings;

#[derive(PartialEq, Properties)]
pub struct Props {
    /// The id of the profile's network, in hexadecimal.
    pub kept: AttrValue,
    /// The id of the network that the site names.
    pub named: AttrValue,
}

/// Explains what that means, and what to do.
#[component]
pub fn OtherAuthorities(props: &Props) -> Html {
    html! {
        <main class="lone" role="alert">
            <Logo class="lone-logo" bloom={Bloom::Bud} />
            <h1>{ strings::OTHER_AUTHORITIES_TITLE }</h1>
            <div class="lone-text" data-testid="other-authorities">
                <p>{ strings::OTHER_AUTHORITIES_MEANING }</p>
                <p><strong>{ strings::OTHER_AUTHORITIES_SAFE }</strong></p>
                <p>{ strings::OTHER_AUTHORITIES_ADVICE }</p>
                <dl>
                    <dt>{ strings::OTHER_AUTHORITIES_KEPT }</dt><dd>{ &props.kept }</dd>
                    <dt>{ strings::OTHER_AUTHORITIES_NAMED }</dt><dd>{ &props.named }</dd>
                </dl>
            </div>
            <button class="button primary" type="button" onclick={super::reload}>{ strings::RELOAD }</button>
        </main>
    }
}
