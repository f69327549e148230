//! A link to another view of the page.

use yew::prelude::*;

use crate::address::Route;
use crate::hooks::use_route;

#[derive(PartialEq, Properties)]
pub struct Props {
    pub to: Route,
    pub class: Classes,
    /// Its label for screen readers.
    pub label: AttrValue,
    pub testid: AttrValue,
    pub children: Html,
}

/// Opens the view in this tab, unless the person asks the browser for another tab.
#[component]
pub fn RouteLink(props: &Props) -> Html {
    let routes = use_route();
    let to = props.to;
    let onclick = Callback::from(move |event: MouseEvent| {
        let elsewhere = event.ctrl_key() || event.meta_key() || event.shift_key() || event.alt_key();
        if let Some(routes) = routes.as_ref().filter(|_| !elsewhere && event.button() == 0) {
            event.prevent_default();
            routes.go(to);
        }
    });
    html! {
        <a class={props.class.clone()} href={to.path()} aria-label={props.label.clone()} title={props.label.clone()}
            data-testid={props.testid.clone()} {onclick}>{ props.children.clone() }</a>
    }
}
