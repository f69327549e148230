//! PRF: a key stream out of one block, from which payloads are encrypted and new keys are taken.

use aes::Aes128Enc;
use aes::cipher::{Block, BlockCipherEncrypt};
use zeroize::{ZeroizeOnDrop, Zeroizing, optimization_barrier};

use super::et::BlockCipher as _;
use super::hash::KeyedHash;
use super::{PAYLOAD_LEN, Payload, Tag};

/// Blocks of key stream that cover a payload; new keys come from the blocks after them.
const PAYLOAD_BLOCKS: u8 = PAYLOAD_LEN.div_ceil(16) as u8;

/// Blocks of key stream that an update takes: four keys and a nonce.
const UPDATE_BLOCKS: usize = 5;

/// The pseudorandom function `PRF((K,B),T,t)`: AES-CTR under K, from a counter that is POLYVAL of T under B.
///
/// The counter's low six bits are cleared at first. So counting to 36 touches nothing but the last byte, and the key
/// streams of two counters never overlap in part.
pub(super) struct Prf {
    cipher: Aes128Enc,
    hash: KeyedHash,
}

impl Prf {
    /// Expands the block cipher's key K and the hash's key B.
    pub(super) fn new(cipher_key: &[u8; 16], hash_key: &[u8; 16]) -> Self {
        Self { cipher: Aes128Enc::new(cipher_key), hash: KeyedHash::new(hash_key) }
    }

    /// Adds `PRF(·,T,0)` to a payload.
    #[inline]
    pub(super) fn apply(&mut self, tweak: &Tag, payload: &mut Payload) {
        let mut stream = self.blocks::<{ PAYLOAD_BLOCKS as usize }>(tweak, 0);
        self.cipher.encrypt_blocks(&mut stream);
        for (bytes, key) in payload.chunks_mut(16).zip(&stream) {
            for (byte, key) in bytes.iter_mut().zip(key) {
                *byte ^= key;
            }
        }
    }

    /// Returns the first 80 bytes of `PRF(·,T,1)`, as blocks.
    pub(super) fn update(&mut self, tweak: &Tag) -> Zeroizing<[Tag; UPDATE_BLOCKS]> {
        let mut stream = self.blocks::<UPDATE_BLOCKS>(tweak, PAYLOAD_BLOCKS);
        self.cipher.encrypt_blocks(&mut stream);
        Zeroizing::new(stream.map(Tag::from))
    }

    /// The counter blocks number `first` and following.
    #[inline]
    fn blocks<const N: usize>(&mut self, tweak: &Tag, first: u8) -> [Block<Aes128Enc>; N] {
        let mut iv = self.hash.block(tweak);
        let [.., last] = &mut iv;
        *last &= 0xC0;
        let mut number = first;
        [iv; N].map(|mut block| {
            let [.., last] = &mut block;
            *last |= number;
            number += 1;
            block.into()
        })
    }
}

impl Drop for Prf {
    fn drop(&mut self) {
        self.cipher = Aes128Enc::new(&[0; 16]);
        optimization_barrier(&self.cipher);
    }
}

impl ZeroizeOnDrop for Prf {}
