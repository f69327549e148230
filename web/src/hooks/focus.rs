//! Keyboard focus.

use web_sys::HtmlElement;
use yew::prelude::*;

/// Focuses an element after a change of `value` for which `is_lost(before, now)` is true, if nothing has the focus. The
/// focused element was just removed, and the keyboard would start again at the top of the page.
#[hook]
pub fn use_focus_after<T: Clone + PartialEq + 'static>(element: &NodeRef, value: T, is_lost: fn(&T, &T) -> bool) {
    let last = use_mut_ref(|| value.clone());
    use_effect_with(value, {
        let element = element.clone();
        move |now| {
            let before = last.replace(now.clone());
            if is_lost(&before, now)
                && nothing_has_it()
                && let Some(element) = element.cast::<HtmlElement>()
            {
                let _ = element.focus();
            }
        }
    });
}

fn nothing_has_it() -> bool {
    let document = web_sys::window().and_then(|window| window.document());
    document.is_some_and(|document| {
        let (focus, body) = (document.active_element(), document.body());
        focus.is_none_or(|focus| body.is_some_and(|body| *body == focus))
    })
}
