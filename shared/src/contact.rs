//! How two people become contacts.

pub mod invite;
pub mod safety;
pub mod user_record;
