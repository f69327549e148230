//! Link records: one AEAD seal over 1 to 31 cells, so that sealing and framing are paid once per batch.
//!
//! A record of n cells is exactly `514·n + 16` bytes. It carries no header: the two sides count records, and the count is
//! the nonce, as in Noise's transport messages. So a record that is lost, repeated, moved or changed fails to open, and
//! the link ends.

use core::fmt;

use aes_gcm::Aes256Gcm;
use aes_gcm::aead::{AeadInOut as _, KeyInit as _};
use chacha20poly1305::ChaCha20Poly1305;
use zeroize::{ZeroizeOnDrop, optimization_barrier};

pub use crate::cell::CELL_LEN;

/// Most cells in a record.
pub const MAX_CELLS: usize = 31;

/// How much longer than its cells a record is, in bytes.
pub const RECORD_OVERHEAD: usize = 16;

/// Length of the longest record, in bytes.
pub const MAX_RECORD_LEN: usize = MAX_CELLS * CELL_LEN + RECORD_OVERHEAD;

/// Length of an AEAD's nonce, in bytes.
const NONCE_LEN: usize = 12;

/// How many cells a record towards a page has, when this many are real: the next of 1, 2, 4, 8, 16 and 31.
///
/// The rest are padding cells, so that the record's size says little. None count as one, more than 31 as 31.
pub fn padded_count(cells: usize) -> usize {
    cells.next_power_of_two().min(MAX_CELLS)
}

/// Why a record could not be sealed or opened. After any of these the link is of no further use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The peer's message is not whole cells and a tag.
    #[error("the peer sent a record of {len} bytes, which is not 1 to 31 cells of 514 bytes and a tag of 16")]
    RecordLength {
        /// How many bytes came.
        len: usize,
    },
    /// The peer's message is not the next one of this link.
    #[error("the peer's record is changed, repeated, out of order or not from this link")]
    Authentication,
    /// This side's buffer is not whole cells.
    #[error("{len} bytes to seal are not 1 to 31 cells of 514 bytes")]
    CellsLength {
        /// How many bytes were to be sealed.
        len: usize,
    },
    /// No numbers are left; the link must be made anew.
    #[error("the link has carried as many records as one key may")]
    Exhausted,
}

/// The sending half of an established link.
pub struct Sealer(Direction);

impl Sealer {
    /// Turns a buffer of 1 to 31 whole cells into a record, in place and 16 bytes longer.
    ///
    /// A buffer with room for [`MAX_RECORD_LEN`] bytes is never moved.
    pub fn seal(&mut self, cells: &mut Vec<u8>) -> Result<(), RecordError> {
        let wrong_length = RecordError::CellsLength { len: cells.len() };
        check_cells_len(cells.len()).ok_or(wrong_length)?;
        let number = self.0.take_number()?;
        let tag = self.0.cipher.seal(number, cells)?;
        cells.extend_from_slice(&tag);
        Ok(())
    }
}

/// The receiving half of an established link.
pub struct Opener(Direction);

impl Opener {
    /// Opens a record in place; returns its 1 to 31 cells.
    ///
    /// Nothing of a record that fails may be used, and none after it will open.
    pub fn open<'a>(&mut self, record: &'a mut [u8]) -> Result<&'a mut [[u8; CELL_LEN]], RecordError> {
        let wrong_length = RecordError::RecordLength { len: record.len() };
        let (cells, tag) = record.split_last_chunk_mut::<RECORD_OVERHEAD>().ok_or(wrong_length)?;
        check_cells_len(cells.len()).ok_or(wrong_length)?;
        let number = self.0.take_number()?;
        self.0.cipher.open(number, cells, tag)?;
        Ok(cells.as_chunks_mut().0)
    }
}

/// One direction of a link: a key and the number of the next record.
struct Direction {
    cipher: Cipher,
    counter: u64,
}

impl Direction {
    /// Takes the next number, which is then used up, whatever becomes of the record.
    fn take_number(&mut self) -> Result<u64, RecordError> {
        let number = self.counter;
        // Noise keeps the last number for itself.
        self.counter = number.checked_add(1).ok_or(RecordError::Exhausted)?;
        Ok(number)
    }
}

/// The AEAD of a link, by the pattern of its handshake.
pub(crate) enum Cipher {
    /// Between relays, which have AES in hardware.
    AesGcm(Box<Aes256Gcm>),
    /// With pages, which have not.
    ChaChaPoly(ChaCha20Poly1305),
}

impl Cipher {
    pub(crate) fn aes_gcm(key: &[u8; 32]) -> Self {
        Self::AesGcm(Box::new(Aes256Gcm::new(key.into())))
    }

    pub(crate) fn cha_cha_poly(key: &[u8; 32]) -> Self {
        Self::ChaChaPoly(ChaCha20Poly1305::new(key.into()))
    }

    pub(crate) fn into_sealer(self) -> Sealer {
        Sealer(Direction { cipher: self, counter: 0 })
    }

    pub(crate) fn into_opener(self) -> Opener {
        Opener(Direction { cipher: self, counter: 0 })
    }

    /// Encrypts a record's text in place; returns the tag. Fails only for texts longer than any record.
    pub(super) fn seal(&self, counter: u64, text: &mut [u8]) -> Result<[u8; RECORD_OVERHEAD], RecordError> {
        self.encrypt(&self.nonce(counter), &[], text)
    }

    /// Decrypts a record's text in place.
    pub(super) fn open(&self, counter: u64, text: &mut [u8], tag: &[u8; RECORD_OVERHEAD]) -> Result<(), RecordError> {
        self.decrypt(&self.nonce(counter), &[], text, tag)
    }

    /// Noise's nonce: 32 zero bits, then the number, in the cipher's byte order (Noise specification, section 12).
    fn nonce(&self, counter: u64) -> [u8; NONCE_LEN] {
        let [a, b, c, d, e, f, g, h] = match self {
            Self::AesGcm(_) => counter.to_be_bytes(),
            Self::ChaChaPoly(_) => counter.to_le_bytes(),
        };
        [0, 0, 0, 0, a, b, c, d, e, f, g, h]
    }

    /// The AEAD's encryption, in place; returns the tag.
    pub(crate) fn encrypt(
        &self,
        nonce: &[u8; NONCE_LEN],
        associated: &[u8],
        text: &mut [u8],
    ) -> Result<[u8; RECORD_OVERHEAD], RecordError> {
        match self {
            Self::AesGcm(cipher) => cipher.encrypt_inout_detached(nonce.into(), associated, text.into()),
            Self::ChaChaPoly(cipher) => cipher.encrypt_inout_detached(nonce.into(), associated, text.into()),
        }
        .map(Into::into)
        .map_err(|_| RecordError::Exhausted)
    }

    /// The AEAD's decryption, in place.
    pub(crate) fn decrypt(
        &self,
        nonce: &[u8; NONCE_LEN],
        associated: &[u8],
        text: &mut [u8],
        tag: &[u8; RECORD_OVERHEAD],
    ) -> Result<(), RecordError> {
        match self {
            Self::AesGcm(cipher) => cipher.decrypt_inout_detached(nonce.into(), associated, text.into(), tag.into()),
            Self::ChaChaPoly(cipher) => {
                cipher.decrypt_inout_detached(nonce.into(), associated, text.into(), tag.into())
            }
        }
        .map_err(|_| RecordError::Authentication)
    }
}

impl Drop for Cipher {
    fn drop(&mut self) {
        // ChaCha20Poly1305 wipes itself. AES-GCM would do so only by a feature that makes every POLYVAL wipe its copies.
        if let Self::AesGcm(cipher) = self {
            **cipher = Aes256Gcm::new(&[0; 32].into());
            optimization_barrier(&**cipher);
        }
    }
}

impl ZeroizeOnDrop for Cipher {}

/// Whether so many bytes are 1 to 31 whole cells.
fn check_cells_len(len: usize) -> Option<()> {
    (len.is_multiple_of(CELL_LEN) && (1..=MAX_CELLS).contains(&(len / CELL_LEN))).then_some(())
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealer").field("counter", &self.0.counter).finish_non_exhaustive()
    }
}

impl fmt::Debug for Opener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opener").field("counter", &self.0.counter).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CIPHERS: [fn(&[u8; 32]) -> Cipher; 2] = [Cipher::aes_gcm, Cipher::cha_cha_poly];

    fn pair(cipher: fn(&[u8; 32]) -> Cipher) -> (Sealer, Opener) {
        (cipher(&[5; 32]).into_sealer(), cipher(&[5; 32]).into_opener())
    }

    fn cells(count: usize) -> Vec<u8> {
        (0..count * CELL_LEN).map(|index| (index % 251) as u8).collect()
    }

    #[test]
    fn every_number_of_cells_survives_a_record() {
        for cipher in CIPHERS {
            let (mut sealer, mut opener) = pair(cipher);
            let mut record = Vec::with_capacity(MAX_RECORD_LEN);
            for count in 1..=MAX_CELLS {
                record.clear();
                record.extend(cells(count));
                sealer.seal(&mut record).unwrap();
                assert_eq!(record.len(), 514 * count + 16);
                assert_eq!(opener.open(&mut record).unwrap().as_flattened(), cells(count));
            }
            assert_eq!(record.capacity(), MAX_RECORD_LEN);
        }
    }

    #[test]
    fn repeated_reordered_and_changed_records_fail() {
        for cipher in CIPHERS {
            let (mut sealer, _) = pair(cipher);
            let records: Vec<_> = (0..3)
                .map(|_| {
                    let mut record = cells(2);
                    sealer.seal(&mut record).unwrap();
                    record
                })
                .collect();
            assert_ne!(records[0], records[1]);
            let failure = Err(RecordError::Authentication);

            let (_, mut opener) = pair(cipher);
            assert!(opener.open(&mut records[0].clone()).is_ok());
            assert_eq!(opener.open(&mut records[0].clone()), failure, "repeated");

            let (_, mut opener) = pair(cipher);
            assert_eq!(opener.open(&mut records[1].clone()), failure, "reordered");

            for at in [0, 513, 514, 1027, 1028, 1043] {
                let (_, mut opener) = pair(cipher);
                let mut changed = records[0].clone();
                changed[at] ^= 0x80;
                assert_eq!(opener.open(&mut changed), failure, "byte {at}");
            }

            let mut shorter = records[0].clone();
            shorter.drain(CELL_LEN..2 * CELL_LEN);
            let (_, mut opener) = pair(cipher);
            assert_eq!(opener.open(&mut shorter), failure, "a cell cut out");
        }
    }

    #[test]
    fn wrong_lengths_are_named() {
        let (mut sealer, mut opener) = pair(Cipher::aes_gcm);
        for len in [0, 1, 15, 16, 17, 514, 529, 531, MAX_RECORD_LEN - 1, MAX_RECORD_LEN + 1, MAX_RECORD_LEN + 514] {
            assert_eq!(opener.open(&mut vec![0; len]), Err(RecordError::RecordLength { len }));
        }
        for len in [0, 1, 513, 515, 32 * CELL_LEN] {
            let mut buffer = vec![0; len];
            assert_eq!(sealer.seal(&mut buffer), Err(RecordError::CellsLength { len }));
            assert_eq!(buffer.len(), len);
        }
        // None of these used a number up.
        let mut record = cells(1);
        sealer.seal(&mut record).unwrap();
        assert!(opener.open(&mut record).is_ok());
    }

    #[test]
    fn the_last_number_is_never_used() {
        let (mut sealer, mut opener) = pair(Cipher::cha_cha_poly);
        sealer.0.counter = u64::MAX - 1;
        opener.0.counter = u64::MAX - 1;
        let mut record = cells(1);
        sealer.seal(&mut record).unwrap();
        assert!(opener.open(&mut record.clone()).is_ok());
        assert_eq!(opener.open(&mut record), Err(RecordError::Exhausted));
        assert_eq!(sealer.seal(&mut cells(1)), Err(RecordError::Exhausted));
    }

    #[test]
    fn records_to_pages_have_six_sizes() {
        let counts: Vec<_> = [0, 1, 2, 3, 4, 5, 8, 9, 16, 17, 30, 31, 32, 1000].map(padded_count).into();
        assert_eq!(counts, [1, 1, 2, 4, 4, 8, 8, 16, 16, 31, 31, 31, 31, 31]);
    }

    #[test]
    fn debug_output_shows_no_secret() {
        assert_eq!(format!("{:?}", pair(Cipher::aes_gcm).0), "Sealer { counter: 0, .. }");
    }

    proptest! {
        #[test]
        fn any_bytes_are_refused(mut bytes in prop::collection::vec(any::<u8>(), 0..2100)) {
            let (_, mut opener) = pair(Cipher::aes_gcm);
            prop_assert!(opener.open(&mut bytes).is_err());
        }
    }
}
