//! Reads a node's configuration from a TOML file.

use std::io;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use thiserror::Error;

use super::{AuthorityOptions, RelayOptions};
use crate::files;

const MAX_LEN: usize = 256 * 1024;

/// Why a configuration file is of no use.
#[derive(Debug, Error)]
pub enum FileError {
    /// It cannot be read.
    #[error("cannot read {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// There is none.
    #[error("there is no file {0}")]
    Missing(PathBuf),
    /// It is not TOML, or not with these settings.
    #[error("{path} does not say what it should: {source}")]
    Toml {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        source: Box<toml::de::Error>,
    },
}

impl RelayOptions {
    /// The options in a file. Paths in it count from the folder that it is in.
    pub fn from_file(path: &Path) -> Result<Self, FileError> {
        let mut options: Self = read(path)?;
        let Self { data, authorities, tls_cert, tls_key, family_key, .. } = &mut options;
        relative_to(path, [data, authorities, tls_cert, tls_key, family_key]);
        Ok(options)
    }
}

impl AuthorityOptions {
    /// The options in a file. Paths in it count from the folder that it is in.
    pub fn from_file(path: &Path) -> Result<Self, FileError> {
        let mut options: Self = read(path)?;
        let Self { data, authorities, page, tls_cert, tls_key, .. } = &mut options;
        relative_to(path, [data, authorities, page, tls_cert, tls_key]);
        Ok(options)
    }
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<T, FileError> {
    let bytes = files::read_bounded(path, MAX_LEN)
        .map_err(|source| FileError::Io { path: path.to_owned(), source })?
        .ok_or_else(|| FileError::Missing(path.to_owned()))?;
    toml::from_slice(&bytes).map_err(|source| FileError::Toml { path: path.to_owned(), source: Box::new(source) })
}

fn relative_to<const N: usize>(file: &Path, paths: [&mut Option<PathBuf>; N]) {
    for path in paths.into_iter().flatten() {
        *path = files::parent(file).join(&path);
    }
}
