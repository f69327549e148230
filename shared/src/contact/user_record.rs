//! What a user publishes of themselves at relays, for those who know their id.

use crate::crypto::keys::UserKey;
use crate::services::UserId;
use crate::wire::{DecodeError, Reader, Writer};

const VERSION: u16 = 1;

/// A user's record. Encoding: version (2 bytes, 1) · Ed25519 key (32).
///
/// The id under which it is found is its hash, so who has been given the id knows that the key is the right one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserRecord {
    /// The user's key.
    pub key: UserKey,
}

impl UserRecord {
    /// Length of the encoding, in bytes.
    pub const LEN: usize = 2 + 32;

    /// The encoding.
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::with_capacity(Self::LEN);
        writer.u16(VERSION).raw(self.key.as_bytes());
        writer.into_bytes()
    }

    /// Reads an encoding.
    ///
    /// # Errors
    ///
    /// If it is none of this version.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        reader.version("the user's record", VERSION)?;
        let record = Self { key: reader.array()?.into() };
        reader.finish()?;
        Ok(record)
    }

    /// The user's id.
    pub fn id(&self) -> UserId {
        UserId::of(&self.encode())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read_again_and_others_refused() {
        let record = UserRecord { key: [7; 32].into() };
        let bytes = record.encode();
        assert_eq!(bytes.len(), UserRecord::LEN);
        assert_eq!(UserRecord::decode(&bytes), Ok(record));
        assert_eq!(record.id(), UserId::of(&bytes));
        assert_eq!(record.id().to_string().parse(), Ok(record.id()));
        assert!(UserRecord::decode(&bytes[..33]).is_err());
        assert_eq!(UserRecord::decode(&[&bytes[..], &[0]].concat()), Err(DecodeError::Trailing(1)));
        let newer = DecodeError::Version { what: "the user's record", version: 2 };
        assert_eq!(UserRecord::decode(&[&[0, 2][..], &[7; 32]].concat()), Err(newer));
    }
}
