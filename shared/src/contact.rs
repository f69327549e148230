//! How two people become contacts.

pub mod invite;
pub mod user_record;
