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

fn load_or_create<K>(
    data: &Path,
    decode: impl FnOnce(&mut Reader<'_>) -> Result<K, DecodeError>,
    generate: impl FnOnce() -> io::Result<K>,
    encode: impl FnOnce(&K, &mut Writer),
) -> Result<K, KeysError> {
    let path = data.join(FILE);
    let stored = files::create_private_dir(data).and_then(|()| files::read_bounded(&path, MAX_LEN));
    let io = |source| KeysError::Io { path: path.clone(), source };
    if let Some(bytes) = stored.map_err(io)? {
        let mut reader = Reader::new(&bytes);
        let keys = match reader.u16() {
            Ok(VERSION) => decode(&mut reader).and_then(|keys| reader.finish().map(|()| keys)),
            Ok(version) => Err(DecodeError::Version { what: "the key file", version }),
            Err(error) => Err(error),
        };
        return keys.map_err(|source| KeysError::Damaged { path, source });
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
