//! How two people become contacts.

pub mod invite;
