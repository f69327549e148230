//! Allium as a whole, under test.

pub mod sim;
