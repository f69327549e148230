//! A node's keys on disk: made once, kept for life.

use std::io;
use std::path::{Path, PathBuf};

use allium_shared::crypto::keys::{IdentityKeypair, LinkSecret, OnionSecret};
use allium_shared::netdir::AuthorityKeypair;
use allium_shared::wire::{DecodeError, Reader, Writer};
use thiserror::Error;

use crate::{files, random};

const VERSION: u16 = 1;
const FILE: &str = "keys";
const MAX_LEN: usize = 1024;

/// Why a node has no keys.
#[derive(Debug, Error)]
pub enum KeysError {
    /// The file cannot be read or written.
    #[error("cannot use the key file {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file is not one of ours.
    #[error("the key file {path} is damaged: {source}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: DecodeError,
    },
    /// There is a key already where one was to be made.
    #[error("there is a key in {0} already: it stays")]
    Exists(PathBuf),
}

/// What a relay proves itself with.
#[derive(Debug)]
pub struct RelayKeys {
    /// Signs descriptors.
    pub identity: IdentityKeypair,
    /// Authenticates links.
    pub link: LinkSecret,
    /// Answers circuit handshakes.
    pub onion: OnionSecret,
}

impl RelayKeys {
    /// The keys in a data folder, made now if there are none.
    pub fn load_or_create(data: &Path) -> Result<Self, KeysError> {
        load_or_create(
            data,
            |reader| {
                Ok(Self {
                    identity: IdentityKeypair::from_seed(&reader.array()?),
                    link: LinkSecret::from_bytes(&reader.array()?),
                    onion: OnionSecret::from_bytes(&reader.array()?),
                })
            },
            || {
                let mut rng = random::rng()?;
                Ok(Self {
                    identity: IdentityKeypair::generate(&mut rng),
                    link: LinkSecret::generate(&mut rng),
                    onion: OnionSecret::generate(&mut rng),
                })
            },
            |keys, writer| {
                writer.raw(&*keys.identity.to_seed()).raw(&*keys.link.to_bytes()).raw(&*keys.onion.to_bytes());
            },
        )
    }
}

/// The key that an authority signs with, from a data folder, made now if there is none.
pub fn authority(data: &Path) -> Result<AuthorityKeypair, KeysError> {
    load_or_create(
        data,
        |reader| Ok(IdentityKeypair::from_seed(&reader.array()?)),
        || Ok(IdentityKeypair::generate(&mut random::rng()?)),
        |keypair, writer| {
            writer.raw(&*keypair.to_seed());
        },
    )
    .map(AuthorityKeypair::new)
}

/// Makes the key that an authority signs with.
///
/// # Errors
///
/// If there is one in the folder already, or it cannot be written.
pub fn create_authority(data: &Path) -> Result<AuthorityKeypair, KeysError> {
    let path = data.join(FILE);
    files::create_private_dir(data).map_err(|source| KeysError::Io { path: path.clone(), source })?;
    create(&path).map(AuthorityKeypair::new)
}

/// Makes the key of a family of relays, in a file of the form of an authority's: version (2 bytes, 1), Ed25519 seed (32).
///
/// # Errors
///
/// If there is such a file already, or it cannot be written.
pub fn create_family(path: &Path) -> Result<IdentityKeypair, KeysError> {
    create(path)
}

/// The key of a family of relays, from its file.
///
/// # Errors
///
/// If there is no such file, or it is another one.
pub fn family(path: &Path) -> Result<IdentityKeypair, KeysError> {
    let io = |source| KeysError::Io { path: path.to_owned(), source };
    let bytes = files::read_bounded(path, MAX_LEN).map_err(io)?.ok_or_else(|| io(io::ErrorKind::NotFound.into()))?;
    decode(path, &bytes, |reader| Ok(IdentityKeypair::from_seed(&reader.array()?)))
}

fn create(path: &Path) -> Result<IdentityKeypair, KeysError> {
    let io = |source: io::Error| match source.kind() {
        io::ErrorKind::AlreadyExists => KeysError::Exists(path.to_owned()),
        _ => KeysError::Io { path: path.to_owned(), source },
    };
    let keypair = IdentityKeypair::generate(&mut random::rng().map_err(io)?);
    let mut writer = Writer::new();
    writer.u16(VERSION).raw(&*keypair.to_seed());
    files::write_new(path, writer.as_slice()).map_err(io)?;
    Ok(keypair)
}

fn decode<K>(
    path: &Path,
    bytes: &[u8],
    decode: impl FnOnce(&mut Reader<'_>) -> Result<K, DecodeError>,
) -> Result<K, KeysError> {
    let mut reader = Reader::new(bytes);
    let keys = match reader.u16() {
        Ok(VERSION) => decode(&mut reader).and_then(|keys| reader.finish().map(|()| keys)),
        Ok(version) => Err(DecodeError::Version { what: "the key file", version }),
        Err(error) => Err(error),
    };
    keys.map_err(|source| KeysError::Damaged { path: path.to_owned(), source })
}

fn load_or_create<K>(
    data: &Path,
    read: impl FnOnce(&mut Reader<'_>) -> Result<K, DecodeError>,
    generate: impl FnOnce() -> io::Result<K>,
    encode: impl FnOnce(&K, &mut Writer),
) -> Result<K, KeysError> {
    let path = data.join(FILE);
    let stored = files::create_private_dir(data).and_then(|()| files::read_bounded(&path, MAX_LEN));
    let io = |source| KeysError::Io { path: path.clone(), source };
    if let Some(bytes) = stored.map_err(io)? {
        return decode(&path, &bytes, read);
    }
    let keys = generate().map_err(io)?;
    let mut writer = Writer::new();
    writer.u16(VERSION);
    encode(&keys, &mut writer);
    files::write_atomic(&path, writer.as_slice()).map_err(io)?;
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::tests::TestDir;

    #[test]
    fn keys_that_are_asked_for_replace_none() {
        let dir = TestDir::new();
        let data = dir.0.join("authority");
        let made = create_authority(&data).unwrap();
        assert_eq!(authority(&data).unwrap().identity(), made.identity());
        assert!(matches!(create_authority(&data), Err(KeysError::Exists(path)) if path == data.join(FILE)));
        assert_eq!(authority(&data).unwrap().identity(), made.identity());

        let file = dir.0.join("family");
        let made = create_family(&file).unwrap();
        assert_eq!(family(&file).unwrap().identity(), made.identity());
        assert!(matches!(create_family(&file), Err(KeysError::Exists(_))));
        assert!(matches!(family(&dir.0.join("none")), Err(KeysError::Io { .. })));
        std::fs::write(&file, b"\x00\x01short").unwrap();
        assert!(matches!(family(&file), Err(KeysError::Damaged { .. })));
    }

    #[test]
    fn keys_are_made_once() {
        let dir = TestDir::new();
        let data = dir.0.join("relay");
        let made = RelayKeys::load_or_create(&data).unwrap();
        let read = RelayKeys::load_or_create(&data).unwrap();
        assert_eq!(made.identity.identity(), read.identity.identity());
        assert_eq!(made.link.public(), read.link.public());
        assert_eq!(made.onion.public(), read.onion.public());
        let other = RelayKeys::load_or_create(&dir.0.join("other")).unwrap();
        assert_ne!(made.identity.identity(), other.identity.identity());
    }

    #[test]
    fn a_damaged_file_is_not_replaced() {
        let dir = TestDir::new();
        authority(&dir.0).unwrap();
        let error = RelayKeys::load_or_create(&dir.0).unwrap_err();
        assert!(matches!(error, KeysError::Damaged { .. }), "{error}");
        std::fs::write(dir.0.join(FILE), b"\x00\x02").unwrap();
        assert!(authority(&dir.0).unwrap_err().to_string().contains("unknown version 2"));
        assert_eq!(std::fs::read(dir.0.join(FILE)).unwrap(), b"\x00\x02");
    }
}
