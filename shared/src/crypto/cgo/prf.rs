//! PRF: a key stream out of one block, from which payloads are encrypted and new keys are taken.

use aes::Aes128Enc;
use aes::cipher::consts::U16;
use aes::cipher::typenum::Unsigned as _;
use aes::cipher::{
    Block, BlockCipherEncBackend, BlockCipherEncClosure, BlockCipherEncrypt as _, BlockSizeUser, ParBlocks,
};
use zeroize::{ZeroizeOnDrop, Zeroizing, optimization_barrier};

use super::et::BlockCipher as _;
use super::hash::KeyedHash;
use super::{PAYLOAD_LEN, Payload, Tag, xor};

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
        let counter = self.counter(tweak);
        self.cipher.encrypt_with_backend(Apply { counter, payload });
    }

    /// Returns the first 80 bytes of `PRF(·,T,1)`, as blocks.
    pub(super) fn update(&mut self, tweak: &Tag) -> Zeroizing<[Tag; UPDATE_BLOCKS]> {
        let counter = self.counter(tweak);
        let mut number = PAYLOAD_BLOCKS;
        let mut stream = [(); UPDATE_BLOCKS].map(|()| {
            let block = counter.block(number);
            number += 1;
            block
        });
        self.cipher.encrypt_blocks(&mut stream);
        Zeroizing::new(stream.map(Tag::from))
    }

    #[inline]
    fn counter(&mut self, tweak: &Tag) -> Counter {
        let mut iv = self.hash.block(tweak);
        let [.., last] = &mut iv;
        *last &= 0xC0;
        Counter(iv)
    }
}

/// A counter at zero, as far as its low six bits go.
#[derive(Clone, Copy)]
struct Counter(Tag);

impl Counter {
    /// The counter block of a number below 64.
    ///
    /// As one number, not byte by byte: the compiler then makes four blocks at a time out of it, in one register.
    #[inline(always)]
    fn block(self, number: u8) -> Block<Aes128Enc> {
        (u128::from_be_bytes(self.0) | u128::from(number)).to_be_bytes().into()
    }
}

/// Adds a key stream to a payload, as many blocks at a time as the machine's AES takes.
///
/// On its own, because `encrypt_blocks` would go over the payload in memory, once more to write counters and once more to
/// add the result, and where the machine takes 64 blocks at a time it would encrypt a payload's 31 one by one.
struct Apply<'a> {
    counter: Counter,
    payload: &'a mut Payload,
}

impl BlockSizeUser for Apply<'_> {
    type BlockSize = U16;
}

impl BlockCipherEncClosure for Apply<'_> {
    #[inline(always)]
    fn call<B: BlockCipherEncBackend<BlockSize = U16>>(self, backend: &B) {
        let group_len = B::ParBlocksSize::USIZE * size_of::<Tag>();
        let mut number = 0;
        for group in self.payload.chunks_mut(group_len) {
            let mut next = || {
                let block = self.counter.block(number);
                number = number.wrapping_add(1);
                block
            };
            let (blocks, tail) = group.as_chunks_mut();
            if blocks.is_empty() {
                let mut key = next();
                backend.encrypt_block_inplace(&mut key);
                add(tail, &key.into());
            } else {
                // Once inlined, what is encrypted beyond the payload is never used and so never computed.
                let mut keys = ParBlocks::<B>::default();
                keys.iter_mut().for_each(|key| *key = next());
                backend.encrypt_par_blocks_inplace(&mut keys);
                let mut keys = keys.into_iter();
                for (block, key) in blocks.iter_mut().zip(&mut keys) {
                    *block = xor(block, &key.into());
                }
                if let Some(key) = keys.next() {
                    add(tail, &key.into());
                }
            }
        }
    }
}

/// Adds the beginning of a key block to less than a block.
#[inline(always)]
fn add(tail: &mut [u8], key: &Tag) {
    for (byte, key) in tail.iter_mut().zip(key) {
        *byte ^= key;
    }
}

impl Drop for Prf {
    fn drop(&mut self) {
        self.cipher = Aes128Enc::new(&[0; 16]);
        optimization_barrier(&self.cipher);
    }
}

impl ZeroizeOnDrop for Prf {}
