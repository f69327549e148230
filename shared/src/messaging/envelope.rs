//! The outer seal of a message.
//!
//! Olm's secrecy is classical. So each Olm message is sealed once more with AES-256-GCM under a key from a chain that
//! began with the hybrid (post-quantum) handshake of the two contacts: one chain for each direction, one key for each
//! sequence number, each link of the chain forgotten once it is used. The associated data are the sequence number and the
//! message's id, which stay readable to the recipient before Olm sees anything, so that it can sort and drop repeats.
//! What is sealed is `length u32 ‖ content ‖ zeros`, filled to one of a few sizes.

use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::message_id::MessageId;
use crate::crypto::derive::derive;

/// The sizes to which contents are filled, with their length field, in bytes.
const SIZES: [usize; 5] = [512, 1024, 4096, 12 * 1024, 24 * 1024];

/// The longest content in bytes.
pub const MAX_CONTENT_LEN: usize = SIZES[4] - 4;

/// A chain of message keys for one direction.
#[derive(Clone, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
pub struct Chain {
    key: [u8; 32],
    next: u64,
}

impl core::fmt::Debug for Chain {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Chain").field("next", &self.next).finish_non_exhaustive()
    }
}

impl Chain {
    /// A chain that begins with this key at sequence number zero.
    pub const fn new(key: [u8; 32]) -> Self {
        Self { key, next: 0 }
    }

    /// The sequence number that comes next.
    pub const fn next(&self) -> u64 {
        self.next
    }

    /// Seals the next message; gives its sequence number and the sealed bytes.
    ///
    /// # Errors
    ///
    /// If the content is longer than [`MAX_CONTENT_LEN`].
    pub fn seal(&mut self, id: MessageId, content: &[u8]) -> Result<(u64, Vec<u8>), EnvelopeError> {
        let filled = content.len() + 4;
        let size = SIZES.into_iter().find(|size| filled <= *size).ok_or(EnvelopeError::TooLong(content.len()))?;
        let mut plain = Zeroizing::new(vec![0; size]);
        plain[..4].copy_from_slice(&(content.len() as u32).to_be_bytes());
        plain[4..filled].copy_from_slice(content);
        let sequence = self.next;
        let aad = associated_data(sequence, id);
        let sealed = self
            .cipher()
            .encrypt(&Nonce::default(), Payload { msg: &plain, aad: &aad })
            .map_err(|_| EnvelopeError::TooLong(content.len()))?;
        self.step();
        Ok((sequence, sealed))
    }

    /// Opens the message that comes next in the sequence; on failure nothing changes.
    ///
    /// # Errors
    ///
    /// If the bytes are not what the contact sealed under this number and id.
    pub fn open(&mut self, id: MessageId, sealed: &[u8]) -> Result<Vec<u8>, EnvelopeError> {
        let aad = associated_data(self.next, id);
        let plain = self
            .cipher()
            .decrypt(&Nonce::default(), Payload { msg: sealed, aad: &aad })
            .map_err(|_| EnvelopeError::Unauthentic)?;
        let plain = Zeroizing::new(plain);
        let (len, rest) = plain.split_first_chunk::<4>().ok_or(EnvelopeError::Filling)?;
        let content = rest.get(..u32::from_be_bytes(*len) as usize).ok_or(EnvelopeError::Filling)?.to_vec();
        self.step();
        Ok(content)
    }

    /// Each key serves one message, so the nonce may stay zero.
    fn cipher(&self) -> Aes256Gcm {
        Aes256Gcm::new(&derive("envelope message key", &[&self.key]).into())
    }

    fn step(&mut self) {
        self.key = derive("envelope chain key", &[&self.key]);
        self.next += 1;
    }
}

fn associated_data(sequence: u64, id: MessageId) -> [u8; 24] {
    let mut data = [0; 24];
    data[..8].copy_from_slice(&sequence.to_be_bytes());
    data[8..].copy_from_slice(&id.0);
    data
}

/// Why a message cannot be sealed or opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum EnvelopeError {
    /// Longer than the largest size.
    #[error("a message of {0} bytes is too long for one envelope")]
    TooLong(usize),
    /// Not sealed by the contact for this place in the conversation.
    #[error("the contact sent an envelope that does not open")]
    Unauthentic,
    /// The inner length is wrong.
    #[error("the contact sent an envelope that is filled wrongly")]
    Filling,
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: MessageId = MessageId([9; 16]);

    #[test]
    fn messages_open_in_their_order_only() {
        let (mut send, mut receive) = (Chain::new([1; 32]), Chain::new([1; 32]));
        let (first, a) = send.seal(ID, b"one").unwrap();
        let (second, b) = send.seal(ID, b"two").unwrap();
        assert_eq!((first, second), (0, 1));
        assert_eq!(receive.open(ID, &b), Err(EnvelopeError::Unauthentic));
        assert_eq!(receive.open(ID, &a).unwrap(), b"one");
        assert_eq!(receive.open(ID, &a), Err(EnvelopeError::Unauthentic));
        assert_eq!(receive.open(ID, &b).unwrap(), b"two");
    }

    #[test]
    fn the_id_and_every_bit_count() {
        let sealed = Chain::new([1; 32]).seal(ID, b"x").unwrap().1;
        assert!(Chain::new([1; 32]).open(MessageId([8; 16]), &sealed).is_err());
        for at in [0, sealed.len() / 2, sealed.len() - 1] {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(Chain::new([1; 32]).open(ID, &changed).is_err());
        }
    }

    #[test]
    fn lengths_tell_only_which_size() {
        let len = |content: usize| Chain::new([1; 32]).seal(ID, &vec![0; content]).map(|(_, sealed)| sealed.len());
        assert_eq!(len(0), len(508));
        assert_eq!(len(509), len(1020));
        assert_eq!(len(MAX_CONTENT_LEN), Ok(24 * 1024 + 16));
        assert_eq!(len(MAX_CONTENT_LEN + 1), Err(EnvelopeError::TooLong(MAX_CONTENT_LEN + 1)));
    }
}
