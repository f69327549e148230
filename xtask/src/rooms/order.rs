//! Reads `rooms.toml`, the declared order of a crate's rooms.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::tree::ReadFile;

/// Why a declaration could not be read.
#[derive(Debug, thiserror::Error)]
pub enum DeclarationError {
    /// The file could not be read.
    #[error("{path}: {source}", path = .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The file is malformed.
    #[error("{path}: {source}", path = .path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The parser's error.
        source: Box<toml::de::Error>,
    },
}

/// The declared order of a crate's rooms.
#[derive(Debug)]
pub struct Declaration {
    /// The file it was read from.
    pub file: PathBuf,
    /// Orders by the path of the parent module.
    pub orders: BTreeMap<String, Order>,
    /// Parent modules whose order does not hold yet.
    pub later: Vec<String>,
    /// Permitted violations.
    pub exceptions: Vec<Exception>,
}

/// The order of one module's child rooms.
#[derive(Debug)]
pub struct Order {
    /// Layers, highest first. Rooms on the same layer may not use each other.
    pub layers: Vec<Vec<String>>,
}

/// A permitted violation.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exception {
    /// The room that uses `to`, as a path from `crate`.
    pub from: String,
    /// A sibling of `from`.
    pub to: String,
    /// Why it is permitted.
    pub reason: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    #[serde(default)]
    later: Vec<String>,
    #[serde(default)]
    order: BTreeMap<String, Vec<String>>,
    #[serde(default)]
    exceptions: Vec<Exception>,
}

impl Declaration {
    /// Reads the declaration in `file`.
    pub fn read(file: &Path, read: ReadFile<'_>) -> Result<Self, DeclarationError> {
        let path = file.to_owned();
        let text = read(file).map_err(|source| DeclarationError::File { path: path.clone(), source })?;
        let text: Text = toml::from_str(&text)
            .map_err(|source| DeclarationError::Syntax { path: path.clone(), source: Box::new(source) })?;
        let words = |layer: String| layer.split_whitespace().map(str::to_owned).collect();
        let order = |layers: Vec<String>| Order { layers: layers.into_iter().map(words).collect() };
        Ok(Self {
            file: path,
            orders: text.order.into_iter().map(|(module, layers)| (module, order(layers))).collect(),
            later: text.later,
            exceptions: text.exceptions,
        })
    }
}

impl Order {
    /// The index of a room's layer, from the top.
    pub fn layer(&self, room: &str) -> Option<usize> {
        self.layers.iter().position(|layer| layer.iter().any(|one| one == room))
    }
}
