//! A profile at rest: every record sealed by one random key, and that key in a small header, sealed in its turn.
//!
//! This stands between the engine, whose records have names and values, and a driver's disk, which gets neither. Section 20
//! of `docs/protocol.md` has the bytes.
//!
//! A record is sealed by XChaCha20-Poly1305: its nonces are long enough to be drawn at random for as long as a profile
//! lives, so that no counter has to survive a crash or a copy of the profile. The profile's key never changes. What changes
//! is who gives it: a passphrase, or a secret that the device keeps; then the header alone is written anew, and no record.
//!
//! # Layout
//!
//! - `header`: the profile's key, sealed by a passphrase or by a secret of the device
//! - `record`: one record, and the name that it is stored under

mod header;
mod record;
#[cfg(test)]
mod tests;

use core::fmt;

use chacha20poly1305::aead::AeadInOut as _;
use chacha20poly1305::{KeyInit as _, Tag, XChaCha20Poly1305, XNonce};
use rand_core::CryptoRng;
use zeroize::Zeroizing;

pub use self::header::{Cost, DeviceSecret, Header, HeaderError, MAX_HEADER_LEN, UnlockError, Way, WrapError};
pub use self::record::{RecordError, RecordName};
use crate::crypto::derive::derive;

const KEY_LEN: usize = 32;
const NONCE_LEN: usize = 24;
const TAG_LEN: usize = 16;
const ID_LEN: usize = 16;

/// Tells profiles apart; random, and bound to everything that is sealed.
type ProfileId = [u8; ID_LEN];

/// What seals and opens the records of one profile.
pub struct Vault {
    id: ProfileId,
    key: Zeroizing<[u8; KEY_LEN]>,
    /// Hashes the records' names.
    names: Zeroizing<[u8; KEY_LEN]>,
    records: XChaCha20Poly1305,
}

impl Vault {
    /// The vault of a new profile, with an id and a key from the next 48 random bytes.
    pub fn create<R: CryptoRng + ?Sized>(rng: &mut R) -> Self {
        let mut id = [0; ID_LEN];
        rng.fill_bytes(&mut id);
        let mut key = Zeroizing::new([0; KEY_LEN]);
        rng.fill_bytes(&mut *key);
        Self::new(id, key)
    }

    pub(crate) fn new(id: ProfileId, key: Zeroizing<[u8; KEY_LEN]>) -> Self {
        let names = Zeroizing::new(derive("profile names", &[&*key, &id]));
        let records = Zeroizing::new(derive("profile records", &[&*key, &id]));
        Self { id, key, names, records: XChaCha20Poly1305::new((&*records).into()) }
    }

    /// The id and the key, to be compared.
    #[cfg(any(test, feature = "vectors"))]
    pub(crate) fn parts(&self) -> (ProfileId, [u8; KEY_LEN]) {
        (self.id, *self.key)
    }
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vault").finish_non_exhaustive()
    }
}

/// Seals `text` behind a random nonce: `nonce (24) ‖ sealed text ‖ tag (16)`. `None` if it is longer than the cipher can seal.
fn seal<R: CryptoRng + ?Sized>(
    cipher: &XChaCha20Poly1305,
    rng: &mut R,
    bound: &[u8],
    text: &mut [u8],
) -> Option<Vec<u8>> {
    let mut nonce = [0; NONCE_LEN];
    rng.fill_bytes(&mut nonce);
    let tag = cipher.encrypt_inout_detached(&XNonce::from(nonce), bound, (&mut *text).into()).ok()?;
    Some([&nonce, &*text, &tag].concat())
}

/// Opens what [`seal`] has sealed; `None` if a bit of it, or of `bound`, is another.
fn open(cipher: &XChaCha20Poly1305, bound: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (nonce, rest) = sealed.split_first_chunk::<NONCE_LEN>()?;
    let (text, tag) = rest.split_last_chunk::<TAG_LEN>()?;
    let mut text = Zeroizing::new(text.to_vec());
    cipher
        .decrypt_inout_detached(&XNonce::from(*nonce), bound, text.as_mut_slice().into(), &Tag::from(*tag))
        .ok()
        .map(|()| text)
}
