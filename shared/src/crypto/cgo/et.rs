//! ET: AES as a tweakable block cipher, masked before and after by a hash of the tweak (LRW2).

use aes::cipher::{BlockCipherDecrypt, BlockCipherEncrypt};
use aes::{Aes128Dec, Aes128Enc};
use zeroize::{ZeroizeOnDrop, optimization_barrier};

use super::hash::KeyedHash;
use super::{Header, Payload, Tag, xor};

/// A direction of AES-128 with its round keys computed once.
pub(super) trait BlockCipher {
    /// Expands a key.
    fn new(key: &[u8; 16]) -> Self;
}

impl BlockCipher for Aes128Enc {
    fn new(key: &[u8; 16]) -> Self {
        aes::cipher::KeyInit::new(key.into())
    }
}

impl BlockCipher for Aes128Dec {
    fn new(key: &[u8; 16]) -> Self {
        aes::cipher::KeyInit::new(key.into())
    }
}

/// The tweakable block cipher `ET((KB,KU),T,M) = UH(KU,T) ⊕ AES(KB, M ⊕ UH(KU,T))`, in the one direction that `C` has.
///
/// The tweak is a header and a payload.
pub(super) struct Et<C: BlockCipher> {
    cipher: C,
    hash: KeyedHash,
}

impl<C: BlockCipher> Et<C> {
    /// Expands the block cipher's key KB and the hash's key KU.
    pub(super) fn new(cipher_key: &[u8; 16], hash_key: &[u8; 16]) -> Self {
        Self { cipher: C::new(cipher_key), hash: KeyedHash::new(hash_key) }
    }
}

impl Et<Aes128Enc> {
    /// Encrypts one block.
    #[inline]
    pub(super) fn encrypt(&mut self, header: &Header, payload: &Payload, block: &Tag) -> Tag {
        let mask = self.hash.header_and_payload(header, payload);
        let mut block = xor(block, &mask).into();
        self.cipher.encrypt_block(&mut block);
        xor(&block.into(), &mask)
    }
}

impl Et<Aes128Dec> {
    /// Decrypts one block.
    #[inline]
    pub(super) fn decrypt(&mut self, header: &Header, payload: &Payload, block: &Tag) -> Tag {
        let mask = self.hash.header_and_payload(header, payload);
        let mut block = xor(block, &mask).into();
        self.cipher.decrypt_block(&mut block);
        xor(&block.into(), &mask)
    }
}

impl<C: BlockCipher> Drop for Et<C> {
    fn drop(&mut self) {
        self.cipher = C::new(&[0; 16]);
        optimization_barrier(&self.cipher);
    }
}

impl<C: BlockCipher> ZeroizeOnDrop for Et<C> {}
