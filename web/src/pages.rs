//! The pages, one of which is shown.

mod elsewhere;
mod failed;
mod messenger;
mod network;
mod other_authorities;
mod put_away;
mod unlock;

pub use self::elsewhere::Elsewhere;
pub use self::failed::Failed;
pub use self::messenger::Messenger;
pub use self::network::Network;
pub use self::other_authorities::OtherAuthorities;

/// Loads the page anew.
fn reload(_: yew::MouseEvent) {
    if let Some(window) = web_sys::window() {
        let _ = window.location().reload();
    }
}
pub use self::put_away::PutAway;
pub use self::unlock::Unlock;
