//! The page's own address: invites come in and go out by its fragment.

use std::rc::Rc;

use js_sys::Reflect;
use wasm_bindgen::JsValue;

/// Whether the page came by https: then browsers open no `ws://` addresses for it, nor for its worker.
pub fn came_by_https() -> bool {
    let location = Reflect::get(&js_sys::global(), &"location".into());
    let protocol = location.and_then(|location| Reflect::get(&location, &"protocol".into()));
    protocol.is_ok_and(|protocol| protocol == "https:")
}

/// Takes the invite out of the address bar and this entry of the history, if the page was opened with one.
///
/// What is returned is a whole link, as a person would paste it.
pub fn take_invite() -> Option<Rc<str>> {
    let window = web_sys::window()?;
    let location = window.location();
    let hash = location.hash().ok()?;
    let fragment = hash.strip_prefix('#').filter(|fragment| !fragment.is_empty())?;
    let link = invite_link(fragment);
    let bare = location.pathname().unwrap_or_default() + &location.search().unwrap_or_default();
    if let Ok(history) = window.history() {
        let _ = history.replace_state_with_url(&JsValue::NULL, "", Some(&bare));
    }
    link.map(Into::into)
}

/// The link that opens this page with `fragment`.
pub fn invite_link(fragment: &str) -> Option<String> {
    let location = web_sys::window()?.location();
    let page = location.origin().ok()? + &location.pathname().ok()?;
    Some(format!("{page}#{fragment}"))
}
