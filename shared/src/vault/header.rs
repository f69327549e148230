//! The header of a profile: its key, sealed by a passphrase or by a secret of the device.

use core::fmt;

use argon2::{Algorithm, Argon2, Block, Params, Version};
use chacha20poly1305::{KeyInit as _, XChaCha20Poly1305};
use rand_core::CryptoRng;
use thiserror::Error;
use zeroize::{Zeroize as _, Zeroizing};

use super::{ID_LEN, KEY_LEN, NONCE_LEN, ProfileId, TAG_LEN, Vault, open, seal};
use crate::crypto::derive::{derive, derive_short};
use crate::wire::{DecodeError, Reader, Writer};

const VERSION: u16 = 1;
const SALT_LEN: usize = 16;
const CHECK_LEN: usize = 4;
const WRAPPED_LEN: usize = NONCE_LEN + KEY_LEN + TAG_LEN;

const BY_PASSPHRASE: u8 = 1;
const BY_DEVICE: u8 = 2;

/// The longest that a header can be, in bytes.
pub const MAX_HEADER_LEN: usize = 2 + ID_LEN + 1 + 4 + 4 + 1 + SALT_LEN + WRAPPED_LEN + CHECK_LEN;

/// What one attempt at a passphrase costs, whoever makes it: the parameters of Argon2id [RFC 9106].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Memory, in KiB: 8 for each lane to 262,144.
    pub memory: u32,
    /// Passes over it: 1 to 16.
    pub passes: u32,
    /// Parts of the memory that could be filled at the same time: 1 to 4.
    pub lanes: u8,
}

impl Cost {
    /// The memory and passes of the RFC's second recommendation, in one lane: Allium fills lanes one after the other, and
    /// more of them would only help those who guess with more cores.
    pub const USUAL: Self = Self { memory: 64 * 1024, passes: 3, lanes: 1 };

    /// The greatest that is read: who could write a header must not make its reader run out of memory or time.
    const GREATEST: Self = Self { memory: 256 * 1024, passes: 16, lanes: 4 };

    fn is_possible(self) -> bool {
        let Self { memory, passes, lanes } = Self::GREATEST;
        (1..=lanes).contains(&self.lanes)
            && (8 * u32::from(self.lanes)..=memory).contains(&self.memory)
            && (1..=passes).contains(&self.passes)
    }
}

/// A secret that the device keeps where no passphrase is wanted: natively a file, in a page a key of the browser's.
#[derive(Clone)]
pub struct DeviceSecret(Zeroizing<[u8; KEY_LEN]>);

impl DeviceSecret {
    /// How many bytes it has.
    pub const LEN: usize = KEY_LEN;

    /// Makes a new secret from the next 32 random bytes.
    pub fn generate<R: CryptoRng + ?Sized>(rng: &mut R) -> Self {
        let mut bytes = Zeroizing::new([0; KEY_LEN]);
        rng.fill_bytes(&mut *bytes);
        Self(bytes)
    }

    /// The secret with these bytes; any 32 are one.
    pub fn from_bytes(bytes: &[u8; KEY_LEN]) -> Self {
        Self(Zeroizing::new(*bytes))
    }

    /// The secret's bytes, to be kept.
    pub fn as_bytes(&self) -> &[u8; KEY_LEN] {
        &self.0
    }
}

impl fmt::Debug for DeviceSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeviceSecret").finish_non_exhaustive()
    }
}

/// What opens a profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// A passphrase; each attempt costs this much.
    Passphrase(Cost),
    /// The device's secret.
    Device,
}

/// Why a header cannot be read; it is never written over then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum HeaderError {
    /// Its bytes are not those that were written.
    #[error("the profile's header is damaged")]
    Damaged,
    /// It is whole, and not of a form that this version knows.
    #[error("the profile's header cannot be read by this version: {0}")]
    Format(#[from] DecodeError),
}

/// Why a profile stays closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum UnlockError {
    /// It is another passphrase.
    #[error("the passphrase is wrong")]
    WrongPassphrase,
    /// The secret is another profile's, or an older one.
    #[error("the device's key does not fit the profile")]
    WrongDevice,
    /// It has a passphrase, and a device's secret was given; or the other way round.
    #[error("the profile is opened in another way")]
    OtherWay,
    /// There is not enough memory for the passphrase's cost.
    #[error("there is not enough memory to try a passphrase")]
    OutOfMemory,
}

/// Why a key cannot be sealed by a passphrase.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum WrapError {
    /// There is nothing in it.
    #[error("the passphrase is empty")]
    Empty,
    /// There is not enough memory for the passphrase's cost, or the cost is none.
    #[error("there is not enough memory for a passphrase")]
    OutOfMemory,
}

/// A header that has been read, and not yet opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    id: ProfileId,
    lock: Lock,
    wrapped: [u8; WRAPPED_LEN],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lock {
    Passphrase(Cost, [u8; SALT_LEN]),
    Device,
}

impl Header {
    /// Reads a header.
    ///
    /// # Errors
    ///
    /// If it has a version or a way that is not known here, a cost out of bounds, or has been damaged: its bytes carry a
    /// checksum, so that damage is not taken for a wrong passphrase.
    pub fn decode(bytes: &[u8]) -> Result<Self, HeaderError> {
        let (body, check) = bytes.split_last_chunk::<CHECK_LEN>().ok_or(HeaderError::Damaged)?;
        if *check != checksum(body) {
            return Err(HeaderError::Damaged);
        }
        let mut reader = Reader::new(body);
        reader.version("the profile's header", VERSION)?;
        let id = reader.array()?;
        let lock = match reader.u8()? {
            BY_PASSPHRASE => {
                let cost = Cost { memory: reader.u32()?, passes: reader.u32()?, lanes: reader.u8()? };
                if !cost.is_possible() {
                    return Err(DecodeError::Invalid("the cost of the passphrase").into());
                }
                Lock::Passphrase(cost, reader.array()?)
            }
            BY_DEVICE => Lock::Device,
            _ => return Err(DecodeError::Invalid("the way to open the profile").into()),
        };
        let wrapped = reader.array()?;
        reader.finish()?;
        Ok(Self { id, lock, wrapped })
    }

    /// What opens the profile.
    pub fn way(&self) -> Way {
        match self.lock {
            Lock::Passphrase(cost, _) => Way::Passphrase(cost),
            Lock::Device => Way::Device,
        }
    }

    /// Opens the profile by its passphrase. This takes as long as the cost says: a tenth of a second or several.
    ///
    /// # Errors
    ///
    /// If it is another passphrase, the profile has none, or memory is short.
    pub fn unlock_by_passphrase(&self, passphrase: &str) -> Result<Vault, UnlockError> {
        let Lock::Passphrase(cost, salt) = self.lock else { return Err(UnlockError::OtherWay) };
        let key = stretch(passphrase, cost, &salt).ok_or(UnlockError::OutOfMemory)?;
        self.unwrap(&key).ok_or(UnlockError::WrongPassphrase)
    }

    /// Opens the profile by the device's secret.
    ///
    /// # Errors
    ///
    /// If it is another secret, or the profile has a passphrase.
    pub fn unlock_by_device(&self, secret: &DeviceSecret) -> Result<Vault, UnlockError> {
        if self.lock != Lock::Device {
            return Err(UnlockError::OtherWay);
        }
        self.unwrap(&device_key(secret)).ok_or(UnlockError::WrongDevice)
    }

    fn unwrap(&self, key: &[u8; KEY_LEN]) -> Option<Vault> {
        let cipher = XChaCha20Poly1305::new(key.into());
        let opened = open(&cipher, begin(&self.id, &self.lock).as_slice(), &self.wrapped)?;
        let mut key = Zeroizing::new([0; KEY_LEN]);
        key.copy_from_slice(opened.get(..KEY_LEN)?);
        Some(Vault::new(self.id, key))
    }
}

impl Vault {
    /// The header by which a passphrase opens this profile, with a new salt.
    ///
    /// # Errors
    ///
    /// If the passphrase is empty, or memory is short.
    pub fn header_for_passphrase<R: CryptoRng + ?Sized>(
        &self,
        rng: &mut R,
        passphrase: &str,
        cost: Cost,
    ) -> Result<Vec<u8>, WrapError> {
        if passphrase.is_empty() {
            return Err(WrapError::Empty);
        }
        let mut salt = [0; SALT_LEN];
        rng.fill_bytes(&mut salt);
        let key = stretch(passphrase, cost, &salt).ok_or(WrapError::OutOfMemory)?;
        Ok(self.wrap(rng, &key, &Lock::Passphrase(cost, salt)))
    }

    /// The header by which a secret of the device opens this profile.
    pub fn header_for_device<R: CryptoRng + ?Sized>(&self, rng: &mut R, secret: &DeviceSecret) -> Vec<u8> {
        self.wrap(rng, &device_key(secret), &Lock::Device)
    }

    fn wrap<R: CryptoRng + ?Sized>(&self, rng: &mut R, key: &[u8; KEY_LEN], lock: &Lock) -> Vec<u8> {
        let mut writer = begin(&self.id, lock);
        let cipher = XChaCha20Poly1305::new(key.into());
        let mut text = self.key.clone();
        // 32 bytes are never too long.
        writer.raw(&seal(&cipher, rng, writer.as_slice(), &mut *text).unwrap_or_default());
        let check = checksum(writer.as_slice());
        writer.raw(&check);
        writer.into_bytes()
    }
}

/// What stands before the sealed key, and is bound to it.
fn begin(id: &ProfileId, lock: &Lock) -> Writer {
    let mut writer = Writer::with_capacity(MAX_HEADER_LEN);
    writer.u16(VERSION).raw(id);
    match lock {
        Lock::Passphrase(cost, salt) => {
            writer.u8(BY_PASSPHRASE).u32(cost.memory).u32(cost.passes).u8(cost.lanes).raw(salt);
        }
        Lock::Device => drop(writer.u8(BY_DEVICE)),
    }
    writer
}

fn checksum(body: &[u8]) -> [u8; CHECK_LEN] {
    derive_short("profile header check", &[body])
}

fn device_key(secret: &DeviceSecret) -> Zeroizing<[u8; KEY_LEN]> {
    Zeroizing::new(derive("profile device key", &[&*secret.0]))
}

/// The key from a passphrase; `None` if the cost is none that is possible here.
fn stretch(passphrase: &str, cost: Cost, salt: &[u8; SALT_LEN]) -> Option<Zeroizing<[u8; KEY_LEN]>> {
    if !cost.is_possible() {
        return None;
    }
    let params = Params::new(cost.memory, cost.passes, u32::from(cost.lanes), Some(KEY_LEN)).ok()?;
    let mut memory: Vec<Block> = Vec::new();
    memory.try_reserve_exact(params.block_count()).ok()?;
    memory.resize_with(params.block_count(), Block::default);
    let mut stretched = Zeroizing::new([0; KEY_LEN]);
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let done = argon2.hash_password_into_with_memory(passphrase.as_bytes(), salt, &mut *stretched, &mut memory);
    memory.iter_mut().for_each(|block| block.zeroize());
    done.ok()?;
    Some(Zeroizing::new(derive("profile passphrase key", &[&*stretched])))
}
