//! Checks the order of the rooms: a module may use modules on lower layers only.
//!
//! # Layout
//!
//! - [`tree`]: parses a crate into modules, with every path that their code mentions
//! - [`resolve`]: resolves a path to a module
//! - [`order`]: reads `rooms.toml`, the declared order of a crate's rooms
//! - [`check`]: finds uses that break the order, and dependency cycles where no order is declared

mod check;
mod order;
mod resolve;
mod tree;

use std::fs;
use std::path::Path;

use order::{Declaration, DeclarationError};
use tree::{ReadError, Tree};

/// The packages to check: folder and root file of the crate.
const CRATES: [(&str, &str); 3] = [("shared", "lib.rs"), ("relay", "lib.rs"), ("web", "main.rs")];

/// Why the check failed.
#[derive(Debug, thiserror::Error)]
pub enum RoomsError {
    /// A crate's source could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A crate's order could not be read.
    #[error(transparent)]
    Declaration(#[from] DeclarationError),
    /// Modules violate the order; one message per violation.
    #[error("{}\n{} of the module order; see docs/development.md", .0.join("\n"), count(.0.len()))]
    Broken(Vec<String>),
}

fn count(findings: usize) -> String {
    if findings == 1 { "1 violation".to_owned() } else { format!("{findings} violations") }
}

/// Checks all packages of the repository at `root`.
pub fn run(root: &Path) -> Result<(), RoomsError> {
    let read = |path: &Path| fs::read_to_string(root.join(path));
    let mut findings = Vec::new();
    for (package, crate_root) in CRATES {
        let package = Path::new(package);
        let tree = Tree::read(&package.join("src").join(crate_root), &read)?;
        let declaration = Declaration::read(&package.join("rooms.toml"), &read)?;
        findings.extend(check::findings(&tree, &declaration));
    }
    if findings.is_empty() { Ok(()) } else { Err(RoomsError::Broken(findings)) }
}

#[cfg(test)]
mod tests;
