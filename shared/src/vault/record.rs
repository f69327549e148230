//! One record: the name that it is stored under, and what is stored there.

use rand_core::CryptoRng;
use thiserror::Error;
use zeroize::Zeroizing;

use super::{Vault, open, seal};
use crate::crypto::derive::derive;
use crate::wire::{DecodeError, EncodeError, Reader, Writer};

/// What a record is stored under: a hash that needs the profile's key, so that it says nothing but whether it is the same.
pub type RecordName = [u8; 32];

/// Records are filled up to powers of two from the first of these sizes to the second, and above to multiples of that.
const LEAST_LEN: usize = 256;
const STEP_LEN: usize = 64 * 1024;

/// The longest key of a record, in bytes.
const MAX_KEY_LEN: usize = 1024;

/// Why a record cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RecordError {
    /// Its bytes, or its name, are not as they were written; or it is another profile's.
    #[error("a record of the profile is damaged, or belongs to another one")]
    Sealed,
    /// It was sealed with this profile's key, and not by this format.
    #[error("a record of the profile is not one that this version knows: {0}")]
    Format(#[from] DecodeError),
}

impl Vault {
    /// The name that the record with this key is stored under.
    pub fn record_name(&self, key: &str) -> RecordName {
        derive("profile record name", &[&*self.names, key.as_bytes()])
    }

    /// Seals a record. Its key is sealed with its value, and its name bound to both.
    ///
    /// # Errors
    ///
    /// If the key has more than 65,535 bytes or the value more than 4 GiB.
    pub fn seal_record<R: CryptoRng + ?Sized>(
        &self,
        rng: &mut R,
        key: &str,
        value: &[u8],
    ) -> Result<(RecordName, Vec<u8>), EncodeError> {
        let name = self.record_name(key);
        let len = filled(2 + key.len() + 4 + value.len());
        // With room for all of it, so that no copy of the text is left anywhere.
        let mut writer = Writer::with_capacity(len);
        writer.bytes_u16(key.as_bytes())?.bytes_u32(value)?;
        let mut text = writer.into_bytes();
        text.resize(len, 0);
        let too_long = EncodeError { len, max: u32::MAX as usize };
        let sealed = seal(&self.records, rng, &self.bound(&name), &mut text).ok_or(too_long)?;
        Ok((name, sealed))
    }

    /// Opens the record that is stored under a name, and gives its key and value.
    ///
    /// # Errors
    ///
    /// If a bit of the name or the record has changed, or the record is not this profile's.
    pub fn open_record(&self, name: &[u8], sealed: &[u8]) -> Result<(String, Vec<u8>), RecordError> {
        let text: Zeroizing<Vec<u8>> = open(&self.records, &self.bound(name), sealed).ok_or(RecordError::Sealed)?;
        let mut reader = Reader::new(&text);
        let key = reader.text_u16("a record's key", MAX_KEY_LEN)?;
        let value = reader.bytes_u32("a record's value", text.len())?;
        if self.record_name(key) != name {
            return Err(DecodeError::Invalid("the name of a record").into());
        }
        Ok((key.to_owned(), value.to_vec()))
    }

    fn bound(&self, name: &[u8]) -> Vec<u8> {
        [&self.id, name].concat()
    }
}

/// The length that a text of `len` bytes is filled to.
pub(super) fn filled(len: usize) -> usize {
    if len <= STEP_LEN { len.next_power_of_two().max(LEAST_LEN) } else { len.next_multiple_of(STEP_LEN) }
}
