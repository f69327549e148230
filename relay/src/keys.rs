//! A node's keys on disk: made once and kept for life, but for the onion keys of relays, which follow each other.

use std::io;
use std::path::{Path, PathBuf};

use allium_shared::crypto::keys::{IdentityKeypair, LinkSecret, OnionSecret};
use allium_shared::netdir::AuthorityKeypair;
use allium_shared::relay::onion_keys::{KeyTimes, MAX_RING_LEN, OnionRing};
use allium_shared::time::UnixTime;
use allium_shared::wire::{DecodeError, Reader, Writer};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::{files, random};

/// An authority's file, and a relay's of old, with one onion key that has no date.
const VERSION: u16 = 1;

/// A relay's file, with its onion keys and their times.
const RING_VERSION: u16 = 2;

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
#[derive(Clone, Debug)]
pub struct RelayKeys {
    /// Signs descriptors.
    pub identity: IdentityKeypair,
    /// Authenticates links.
    pub link: LinkSecret,
    /// Answers circuit handshakes.
    pub onion: OnionRing,
}

impl RelayKeys {
    /// The keys in a data folder, made now if there are none. A file of version 1 is written anew: from now on its onion key
    /// has an age.
    ///
    /// # Errors
    ///
    /// If the file cannot be read or written, or is damaged; it is never replaced then.
    pub fn load_or_create(data: &Path, now: UnixTime, times: &KeyTimes) -> Result<Self, KeysError> {
        let (path, stored) = read(data)?;
        let keys = match stored {
            None => {
                let mut rng = random::rng().map_err(|source| KeysError::Io { path, source })?;
                Self {
                    identity: IdentityKeypair::generate(&mut rng),
                    link: LinkSecret::generate(&mut rng),
                    onion: OnionRing::new(OnionSecret::generate(&mut rng), now),
                }
            }
            Some(bytes) => {
                let decoded = Self::decode(&bytes, now, times);
                let (version, keys) = decoded.map_err(|source| KeysError::Damaged { path, source })?;
                if version == RING_VERSION {
                    return Ok(keys);
                }
                keys
            }
        };
        keys.store(data)?;
        Ok(keys)
    }

    /// Replaces what is in a data folder by these keys. After a crash either the old ones or these are there.
    ///
    /// # Errors
    ///
    /// If the file cannot be written.
    pub fn store(&self, data: &Path) -> Result<(), KeysError> {
        let mut writer = Writer::with_capacity(2 + 32 + 32 + MAX_RING_LEN);
        writer.u16(RING_VERSION).raw(&*self.identity.to_seed()).raw(&*self.link.to_bytes());
        self.onion.encode(&mut writer);
        write(&data.join(FILE), writer)
    }

    /// Version 1: identity (32), link key (32), onion key (32). Version 2: identity, link key, the ring of onion keys.
    fn decode(bytes: &[u8], now: UnixTime, times: &KeyTimes) -> Result<(u16, Self), DecodeError> {
        let mut reader = Reader::new(bytes);
        let version = reader.u16()?;
        if !(VERSION..=RING_VERSION).contains(&version) {
            return Err(DecodeError::Version { what: "the key file", version });
        }
        let identity = IdentityKeypair::from_seed(&reader.array()?);
        let link = LinkSecret::from_bytes(&reader.array()?);
        let onion = match version {
            VERSION => OnionRing::new(OnionSecret::from_bytes(&reader.array()?), now),
            _ => OnionRing::decode(&mut reader, now, times)?,
        };
        reader.finish()?;
        Ok((version, Self { identity, link, onion }))
    }
}

/// The key that an authority signs with, from a data folder, made now if there is none.
///
/// # Errors
///
/// If the file cannot be read or written, or is damaged; it is never replaced then.
pub fn authority(data: &Path) -> Result<AuthorityKeypair, KeysError> {
    let (path, stored) = read(data)?;
    if let Some(bytes) = stored {
        let seed = |reader: &mut Reader<'_>| reader.array();
        let keypair = decode(&path, &bytes, seed).map(|seed| IdentityKeypair::from_seed(&seed))?;
        return Ok(AuthorityKeypair::new(keypair));
    }
    let mut rng = random::rng().map_err(|source| KeysError::Io { path: path.clone(), source })?;
    let keypair = IdentityKeypair::generate(&mut rng);
    let mut writer = Writer::with_capacity(2 + 32);
    writer.u16(VERSION).raw(&*keypair.to_seed());
    write(&path, writer)?;
    Ok(AuthorityKeypair::new(keypair))
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
    let keys = reader.version("the key file", VERSION).and_then(|()| decode(&mut reader));
    keys.and_then(|keys| reader.finish().map(|()| keys))
        .map_err(|source| KeysError::Damaged { path: path.to_owned(), source })
}

/// What is in a key file; wiped when dropped.
type Secrets = Zeroizing<Vec<u8>>;

/// The key file of a data folder, which is made if need be, and what is in the file, if there is one.
fn read(data: &Path) -> Result<(PathBuf, Option<Secrets>), KeysError> {
    let path = data.join(FILE);
    match files::create_private_dir(data).and_then(|()| files::read_bounded(&path, MAX_LEN)) {
        Ok(bytes) => Ok((path, bytes.map(Zeroizing::new))),
        Err(source) => Err(KeysError::Io { path, source }),
    }
}

fn write(path: &Path, writer: Writer) -> Result<(), KeysError> {
    let bytes = Zeroizing::new(writer.into_bytes());
    files::write_atomic(path, &bytes).map_err(|source| KeysError::Io { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::files::tests::TestDir;

    const TIMES: KeyTimes = KeyTimes { lifetime: Duration::from_secs(100), overlap: Duration::from_secs(30) };

    fn at(secs: u64) -> UnixTime {
        UnixTime::from_millis(secs * 1000)
    }

    fn load(data: &Path, secs: u64) -> Result<RelayKeys, KeysError> {
        RelayKeys::load_or_create(data, at(secs), &TIMES)
    }

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
        let made = load(&data, 1000).unwrap();
        let read = load(&data, 1050).unwrap();
        assert_eq!(made.identity.identity(), read.identity.identity());
        assert_eq!(made.link.public(), read.link.public());
        assert_eq!(made.onion.public(), read.onion.public());
        assert_eq!(read.onion.next_review(&TIMES), at(1100));
        let other = load(&dir.0.join("other"), 1000).unwrap();
        assert_ne!(made.identity.identity(), other.identity.identity());
    }

    #[test]
    fn onion_keys_follow_each_other_and_survive_a_restart() {
        let dir = TestDir::new();
        let mut keys = load(&dir.0, 1000).unwrap();
        let (old, identity) = (keys.onion.public(), keys.identity.identity());
        keys.onion = keys.onion.review(at(1100), &TIMES, &mut random::rng().unwrap()).unwrap();
        keys.store(&dir.0).unwrap();
        let read = load(&dir.0, 1110).unwrap();
        assert_eq!((read.identity.identity(), read.link.public()), (identity, keys.link.public()));
        assert_eq!(read.onion.public(), keys.onion.public());
        assert!(read.onion.secret(&old).is_some(), "the key before is still answered");
        assert_eq!(read.onion.next_review(&TIMES), at(1130));
    }

    #[test]
    fn a_file_of_the_first_version_is_read_and_gets_a_date() {
        let dir = TestDir::new();
        let made = load(&dir.0, 1000).unwrap();
        let mut writer = Writer::new();
        writer.u16(1).raw(&*made.identity.to_seed()).raw(&*made.link.to_bytes());
        let onion = made.onion.secret(&made.onion.public()).unwrap().to_bytes();
        writer.raw(&*onion);
        std::fs::write(dir.0.join(FILE), writer.as_slice()).unwrap();
        let read = load(&dir.0, 2000).unwrap();
        assert_eq!(read.identity.identity(), made.identity.identity());
        assert_eq!(read.link.public(), made.link.public());
        assert_eq!(read.onion.public(), made.onion.public());
        assert_eq!(std::fs::read(dir.0.join(FILE)).unwrap()[..2], [0, 2]);
        assert_eq!(load(&dir.0, 2050).unwrap().onion.next_review(&TIMES), at(2100), "it does not begin anew");
    }

    #[test]
    fn a_damaged_file_is_not_replaced() {
        let dir = TestDir::new();
        let first = authority(&dir.0).unwrap().identity();
        assert_eq!(authority(&dir.0).unwrap().identity(), first);
        let error = load(&dir.0, 0).unwrap_err();
        assert!(matches!(error, KeysError::Damaged { .. }), "{error}");
        std::fs::write(dir.0.join(FILE), b"\x00\x02").unwrap();
        assert!(authority(&dir.0).unwrap_err().to_string().contains("unknown version 2"));
        assert!(matches!(load(&dir.0, 0).unwrap_err(), KeysError::Damaged { .. }));
        std::fs::write(dir.0.join(FILE), b"\x00\x03").unwrap();
        assert!(load(&dir.0, 0).unwrap_err().to_string().contains("unknown version 3"));
        assert_eq!(std::fs::read(dir.0.join(FILE)).unwrap(), b"\x00\x03");
    }
}
