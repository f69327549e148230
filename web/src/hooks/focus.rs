//! The keyboard's place on the page.

use web_sys::HtmlElement;
use yew::prelude::*;

/// Gives an element the focus if nothing has it: what had it was just taken off the page, and the keyboard would begin at the top.
pub fn take_lost_focus(element: &NodeRef) {
    let document = web_sys::window().and_then(|window| window.document());
    let is_lost = document.is_some_and(|document| {
        let (focus, body) = (document.active_element(), document.body());
        focus.is_none_or(|focus| body.is_some_and(|body| *body == focus))
    });
    if let Some(element) = element.cast::<HtmlElement>().filter(|_| is_lost) {
        let _ = element.focus();
    }
}
