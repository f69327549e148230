//! The secret that opens a profile without a passphrase: a file that only its owner may read.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use allium_shared::vault::DeviceSecret;
use zeroize::Zeroizing;

use super::ProfileError;
use crate::files;

const FILE: &str = "key";
const VERSION: [u8; 2] = [0, 1];
const LEN: usize = VERSION.len() + DeviceSecret::LEN;

/// What others may be allowed to do with a file.
const OTHERS: u32 = 0o077;

/// Reads the secret of the profile in a folder.
pub(super) fn read(folder: &Path) -> Result<DeviceSecret, ProfileError> {
    let path = folder.join(FILE);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(ProfileError::KeyMissing(path)),
        Err(error) => return Err(error.into()),
    };
    // Of the file that was opened, whatever its name may mean by now.
    let mode = file.metadata()?.permissions().mode() & 0o777;
    if mode & OTHERS != 0 {
        return Err(ProfileError::KeyExposed { path, mode });
    }
    // With room for all of it, so that no copy stays behind where the bytes had to move.
    let mut bytes = Zeroizing::new(Vec::with_capacity(LEN + 32));
    file.take(LEN as u64 + 1).read_to_end(&mut bytes)?;
    match bytes.strip_prefix(&VERSION).and_then(|secret| secret.try_into().ok()) {
        Some(secret) => Ok(DeviceSecret::from_bytes(secret)),
        None => Err(ProfileError::KeyDamaged(path)),
    }
}

/// Writes the secret, in place of one that may be there.
pub(super) fn write(folder: &Path, secret: &DeviceSecret) -> io::Result<()> {
    let mut bytes = Zeroizing::new([0; LEN]);
    let (version, rest) = bytes.split_at_mut(VERSION.len());
    version.copy_from_slice(&VERSION);
    rest.copy_from_slice(secret.as_bytes());
    files::write_atomic(&folder.join(FILE), &*bytes)
}

/// Removes the secret, if there is one.
pub(super) fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_file(folder.join(FILE)) {
        Ok(()) => files::sync_dir(folder),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}
