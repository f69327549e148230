//! A native client's profile: a folder with the engine's records, sealed, and with what opens them.
//!
//! | file | what is in it |
//! |---|---|
//! | `profile.redb` | the records, sealed by the profile's key |
//! | `header` | that key, sealed by a passphrase or by the key file's secret |
//! | `key` | the secret; not there while the profile has a passphrase |
//! | `lock` | nothing; whoever uses the profile holds a lock on it |
//!
//! The header is a file of its own, so that a change of the passphrase is one file replaced by another: a power cut leaves the
//! old or the new one. In the database the old one could stay behind in pages that are free, for whoever knows the old
//! passphrase.
//!
//! # Layout
//!
//! - `database`: the records on disk
//! - `key_file`: the secret that opens a profile without a passphrase
//! - [`passphrase`]: where passphrases come from

mod database;
mod key_file;
pub mod passphrase;
#[cfg(test)]
mod tests;

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use allium_shared::client::api::Write;
use allium_shared::vault::{
    Cost, DeviceSecret, Header, HeaderError, MAX_HEADER_LEN, RecordError, UnlockError, Vault, Way, WrapError,
};
use rand_chacha::ChaCha20Rng;
use thiserror::Error;

use self::database::{Contents, Records};
use self::passphrase::{Passphrase, PassphraseError};
use crate::{files, random};

const HEADER: &str = "header";
const LOCK: &str = "lock";

/// Why a profile cannot be used.
#[derive(Debug, Error)]
pub enum ProfileError {
    /// The folder or a file in it cannot be made, read or written.
    #[error("cannot use the profile's folder: {0}")]
    Io(#[from] io::Error),
    /// Another process uses the profile.
    #[error("another Allium is using this profile; end it first, or name another folder with --profile")]
    InUse,
    /// There is none.
    #[error("there is no profile in {0}")]
    None(PathBuf),
    /// The records cannot be read or written.
    #[error("cannot use the profile's file: {0}")]
    Database(#[source] Box<redb::Error>),
    /// The file holds something else than records.
    #[error("the profile's file has no records that this version knows")]
    Foreign,
    /// The header cannot be read. It is left as it is.
    #[error("{source} ({path})")]
    Header {
        /// The header's file.
        path: PathBuf,
        /// What is wrong with it.
        source: HeaderError,
    },
    /// There are records, and nothing that says how to open them.
    #[error("the profile's header {0} is missing: without it nobody can read the profile")]
    HeaderMissing(PathBuf),
    /// The profile has no passphrase, and its key file is not there.
    #[error("the profile's key file {0} is missing: without it nobody can read the profile")]
    KeyMissing(PathBuf),
    /// The key file is not one.
    #[error("the profile's key file {0} is damaged")]
    KeyDamaged(PathBuf),
    /// Others may have read the key.
    #[error(
        "others may read the profile's key file {path} (mode {mode:03o}): if nobody has, make it yours alone with chmod 600"
    )]
    KeyExposed {
        /// The key file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// The passphrase or the key is another one.
    #[error("{0}; nothing was changed")]
    Unlock(#[source] UnlockError),
    /// A passphrase was given for a profile that has none: it would not protect anything.
    #[error("the profile has no passphrase; `allium passphrase` gives it one")]
    NoPassphrase,
    /// A passphrase was wanted, and not to be had.
    #[error(transparent)]
    Passphrase(#[from] PassphraseError),
    /// The new passphrase cannot be used.
    #[error(transparent)]
    Wrap(#[from] WrapError),
    /// A record cannot be read. None is changed.
    #[error(transparent)]
    Record(#[from] RecordError),
}

/// An open profile, which no other process can use meanwhile.
#[derive(Debug)]
pub struct Profile {
    folder: PathBuf,
    vault: Vault,
    records: Records,
    rng: ChaCha20Rng,
    _lock: File,
}

impl Profile {
    /// Opens the profile in a folder, or makes it.
    ///
    /// One of before there were headers is taken over: all its records are sealed into a new file, which then replaces the
    /// old one. A new profile has the passphrase that `passphrase` names, or else a key file.
    ///
    /// # Errors
    ///
    /// If the folder or a file cannot be used, is damaged, or is in use; if the passphrase is wrong. Nothing that is there is
    /// changed then.
    pub fn open(folder: &Path, passphrase: &Passphrase) -> Result<Self, ProfileError> {
        files::create_private_dir(folder)?;
        Self::open_in(folder, passphrase)
    }

    /// Opens a profile that is there already.
    ///
    /// # Errors
    ///
    /// The same, and if there is none.
    pub fn open_existing(folder: &Path, passphrase: &Passphrase) -> Result<Self, ProfileError> {
        if !folder.join(database::FILE).exists() {
            return Err(ProfileError::None(folder.to_owned()));
        }
        Self::open_in(folder, passphrase)
    }

    fn open_in(folder: &Path, passphrase: &Passphrase) -> Result<Self, ProfileError> {
        let lock = lock(folder)?;
        let mut rng = random::rng()?;
        // Whoever cannot open the header does not touch the records either: a database writes when it is only opened.
        let unlocked = read_header(folder)?.map(|header| unlock(folder, &header, passphrase)).transpose()?;
        let contents = Contents::open(folder)?;
        let vault = match unlocked {
            Some(vault) => vault,
            // A header that is made anew brings a key that opens none of these records.
            None if contents.are_sealed() => return Err(ProfileError::HeaderMissing(folder.join(HEADER))),
            None => {
                let vault = Vault::create(&mut rng);
                match passphrase.given()? {
                    Some(passphrase) => write_passphrase(folder, &vault, &mut rng, &passphrase)?,
                    None => write_key(folder, &vault, &mut rng)?,
                }
                vault
            }
        };
        let records = contents.seal(folder, &vault, &mut rng)?;
        Ok(Self { folder: folder.to_owned(), vault, records, rng, _lock: lock })
    }

    /// All records, with their keys, in the order of these.
    ///
    /// # Errors
    ///
    /// If one of them cannot be read.
    pub fn load(&self) -> Result<Vec<(String, Vec<u8>)>, ProfileError> {
        self.records.load(&self.vault)
    }

    /// Writes, or deletes, all of these records or none; when it returns, they survive a crash.
    ///
    /// # Errors
    ///
    /// If the disk does not take them.
    pub fn write(&mut self, writes: impl IntoIterator<Item = Write>) -> Result<(), ProfileError> {
        self.records.write(&self.vault, &mut self.rng, writes)
    }

    /// Lets this passphrase open the profile, and nothing else any more.
    ///
    /// # Errors
    ///
    /// If it is empty, or the files cannot be written: what opened the profile before still does then.
    pub fn set_passphrase(&mut self, passphrase: &str) -> Result<(), ProfileError> {
        write_passphrase(&self.folder, &self.vault, &mut self.rng, passphrase)
    }

    /// Lets a key file open the profile, and no passphrase any more.
    ///
    /// # Errors
    ///
    /// If the files cannot be written: what opened the profile before still does then.
    pub fn remove_passphrase(&mut self) -> Result<(), ProfileError> {
        write_key(&self.folder, &self.vault, &mut self.rng)
    }
}

fn lock(folder: &Path) -> Result<File, ProfileError> {
    let path = folder.join(LOCK);
    let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(ProfileError::InUse),
        Err(TryLockError::Error(error)) => Err(error.into()),
    }
}

fn read_header(folder: &Path) -> Result<Option<Header>, ProfileError> {
    let path = folder.join(HEADER);
    // One byte more than any header has, so that a longer file is a damaged one.
    let bytes = match files::read_bounded(&path, MAX_HEADER_LEN) {
        Ok(None) => return Ok(None),
        Ok(Some(bytes)) => bytes,
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Vec::new(),
        Err(error) => return Err(error.into()),
    };
    Header::decode(&bytes).map(Some).map_err(|source| ProfileError::Header { path, source })
}

fn unlock(folder: &Path, header: &Header, passphrase: &Passphrase) -> Result<Vault, ProfileError> {
    match header.way() {
        Way::Passphrase(_) => {
            let passphrase = passphrase.get()?;
            let vault = header.unlock_by_passphrase(&passphrase).map_err(ProfileError::Unlock)?;
            // Left over from a change that a crash has cut short. It opens nothing any more.
            key_file::remove(folder)?;
            Ok(vault)
        }
        Way::Device if passphrase.is_given() => Err(ProfileError::NoPassphrase),
        Way::Device => header.unlock_by_device(&key_file::read(folder)?).map_err(ProfileError::Unlock),
    }
}

fn write_passphrase(folder: &Path, vault: &Vault, rng: &mut ChaCha20Rng, passphrase: &str) -> Result<(), ProfileError> {
    let header = vault.header_for_passphrase(rng, passphrase, Cost::USUAL)?;
    files::write_atomic(&folder.join(HEADER), &header)?;
    // Only now: until the new header is on disk it may be the old one that counts.
    key_file::remove(folder)?;
    Ok(())
}

fn write_key(folder: &Path, vault: &Vault, rng: &mut ChaCha20Rng) -> Result<(), ProfileError> {
    let secret = DeviceSecret::generate(rng);
    key_file::write(folder, &secret)?;
    files::write_atomic(&folder.join(HEADER), &vault.header_for_device(rng, &secret))?;
    Ok(())
}
