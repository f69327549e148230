//! What components share: the state, and what the browser tells about the page.

mod attention;
mod back;
mod focus;
mod route;
mod store;

pub use self::attention::{use_attention, use_document_title, use_interval_while_visible};
pub use self::back::use_back_closes;
pub use self::focus::use_focus_after;
pub use self::route::{Routes, use_route, use_routes};
pub use self::store::{Actions, Store, use_actions};
