//! The page's address: its path names the view, and its fragment carries invites.

use std::rc::Rc;

use js_sys::Reflect;
use wasm_bindgen::JsValue;

/// True if the page was loaded over https: then browsers refuse `ws://` addresses to it and its worker.
pub fn came_by_https() -> bool {
    let location = Reflect::get(&js_sys::global(), &"location".into());
    let protocol = location.and_then(|location| Reflect::get(&location, &"protocol".into()));
    protocol.is_ok_and(|protocol| protocol == "https:")
}

/// The view that an address names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Route {
    /// The messenger.
    #[default]
    Messenger,
    /// The network.
    Network,
}

impl Route {
    /// What the page's address shows now.
    pub fn now() -> Self {
        let path = web_sys::window().and_then(|window| window.location().pathname().ok());
        path.map(|path| Self::of(&path)).unwrap_or_default()
    }

    fn of(path: &str) -> Self {
        if path.trim_end_matches('/') == Self::Network.path() { Self::Network } else { Self::Messenger }
    }

    /// The path of the address.
    pub const fn path(self) -> &'static str {
        match self {
            Self::Messenger => "/",
            Self::Network => "/network",
        }
    }
}

/// Removes the invite, if the page was opened with one, from the address bar and this history entry, and shows the
/// messenger, where invites are used.
///
/// Returns a complete link, as a person would paste it.
pub fn take_invite() -> Option<Rc<str>> {
    let window = web_sys::window()?;
    let location = window.location();
    let hash = location.hash().ok()?;
    let fragment = hash.strip_prefix('#').filter(|fragment| !fragment.is_empty())?;
    let link = invite_link(fragment);
    let bare = Route::Messenger.path().to_owned() + &location.search().unwrap_or_default();
    if let Ok(history) = window.history() {
        let _ = history.replace_state_with_url(&JsValue::NULL, "", Some(&bare));
    }
    link.map(Into::into)
}

/// The link that opens this page with `fragment`.
pub fn invite_link(fragment: &str) -> Option<String> {
    let origin = web_sys::window()?.location().origin().ok()?;
    Some(format!("{origin}{}#{fragment}", Route::Messenger.path()))
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn paths_name_what_is_shown() {
        for route in [Route::Messenger, Route::Network] {
            assert_eq!(Route::of(route.path()), route);
        }
        assert_eq!(Route::of("/network/"), Route::Network);
        assert_eq!(Route::of("/index.html"), Route::Messenger);
    }
}
