//! Where a node or client learns the authorities' keys: configured, or taken once and then pinned.

use std::io;
use std::path::{Path, PathBuf};

use allium_shared::netdir::{Authorities, AuthoritiesError, MAX_AUTHORITIES_LEN};
use thiserror::Error;

use crate::files;
use crate::http::client::{self, HttpError};

/// Where a directory serves the list of authorities.
pub const AUTHORITIES_PATH: &str = "/directory/authorities";

const PINNED: &str = "authorities.json";

/// Why the authorities are not known.
#[derive(Debug, Error)]
pub enum TrustError {
    /// The file cannot be read or written.
    #[error("cannot use {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// There is no such file.
    #[error("there is no file {0} with the authorities' keys")]
    Missing(PathBuf),
    /// The file is no list of authorities.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: AuthoritiesError,
    },
    /// A directory cannot be asked.
    #[error("cannot fetch the authorities' keys from {url}: {source}")]
    Fetch {
        /// The directory.
        url: String,
        /// Why not.
        source: HttpError,
    },
    /// A directory has answered nonsense.
    #[error("the directory at {url} has no list of authorities: {source}")]
    Answer {
        /// The directory.
        url: String,
        /// What is wrong with it.
        source: AuthoritiesError,
    },
    /// No directory is named.
    #[error("no directory is named to take the authorities' keys from")]
    NoDirectory,
    /// The keys have changed since they were pinned.
    #[error(
        "the directory at {url} names other authorities' keys than those pinned in {path}: either it is another network \
         or somebody is in between; if the network was set up anew, remove that file"
    )]
    Mismatch {
        /// The directory.
        url: String,
        /// Where the keys are pinned.
        path: PathBuf,
    },
}

/// The authorities in a file.
pub fn from_file(path: &Path) -> Result<Authorities, TrustError> {
    read(path)?.ok_or_else(|| TrustError::Missing(path.to_owned()))
}

/// The authorities that were pinned in a data folder, if any.
pub fn pinned(data: &Path) -> Result<Option<Authorities>, TrustError> {
    read(&data.join(PINNED))
}

/// Pins the authorities in a data folder.
pub fn pin(data: &Path, authorities: &Authorities) -> Result<(), TrustError> {
    let path = data.join(PINNED);
    let written =
        files::create_private_dir(data).and_then(|()| files::write_atomic(&path, authorities.to_json().as_bytes()));
    written.map_err(|source| TrustError::Io { path, source })
}

/// The authorities that a directory names.
pub async fn fetch(url: &str) -> Result<Authorities, TrustError> {
    let address = format!("{url}{AUTHORITIES_PATH}");
    let fetched = client::get(&address, None, MAX_AUTHORITIES_LEN)
        .await
        .map_err(|source| TrustError::Fetch { url: url.to_owned(), source })?;
    Authorities::from_json(&fetched.body.unwrap_or_default())
        .map_err(|source| TrustError::Answer { url: url.to_owned(), source })
}

/// The authorities pinned in `data`, else those that the first directory to answer names, which are pinned now.
pub async fn pinned_or_fetch(data: &Path, directories: &[String]) -> Result<Authorities, TrustError> {
    if let Some(authorities) = pinned(data)? {
        return Ok(authorities);
    }
    let mut error = TrustError::NoDirectory;
    for url in directories {
        match fetch(url).await {
            Ok(authorities) => {
                pin(data, &authorities)?;
                tracing::warn!(
                    network = %authorities.network(),
                    "took the authorities' keys from {url} and pinned them: compare the network's id with its operator"
                );
                return Ok(authorities);
            }
            Err(failed) => error = failed,
        }
    }
    Err(error)
}

/// Whether a directory still names the keys that were pinned in `data`. Addresses may change.
pub async fn check(data: &Path, pinned: &Authorities, url: &str) -> Result<(), TrustError> {
    let named = fetch(url).await?;
    if named.iter().map(|authority| authority.key).eq(pinned.iter().map(|authority| authority.key)) {
        Ok(())
    } else {
        Err(TrustError::Mismatch { url: url.to_owned(), path: data.join(PINNED) })
    }
}

fn read(path: &Path) -> Result<Option<Authorities>, TrustError> {
    let json = files::read_bounded(path, MAX_AUTHORITIES_LEN)
        .map_err(|source| TrustError::Io { path: path.to_owned(), source })?;
    json.map(|json| Authorities::from_json(&json).map_err(|source| TrustError::File { path: path.to_owned(), source }))
        .transpose()
}
