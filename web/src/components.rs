//! The parts of the pages.

mod add_contact;
mod composer;
mod contact_list;
mod conversation;
mod icons;
mod invite_card;
mod logo;
mod message_list;
pub mod network;
mod passphrase;
mod path;
mod problem;
mod requests;
mod route_link;
mod safety;
mod settings;
mod start;
mod status;
mod welcome;

pub use self::add_contact::AddContact;
pub use self::contact_list::ContactList;
pub use self::conversation::ConversationView;
pub use self::icons::{Glyph, Icon};
pub use self::invite_card::InviteCard;
pub use self::logo::{Bloom, Logo};
pub use self::passphrase::{PassphraseField, Refusal};
pub use self::problem::Problem;
pub use self::requests::Requests;
pub use self::route_link::RouteLink;
pub use self::settings::Settings;
pub use self::start::Start;
pub use self::status::Status;
pub use self::welcome::Welcome;
