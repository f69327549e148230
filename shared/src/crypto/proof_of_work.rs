//! Proofs of work: a number that takes many hashes to find and one to check, so that strangers cannot ask for much.

use sha3::{Digest as _, Sha3_256};

use super::derive::{add, begin};

/// A task: find a nonce for which `derive(label, parts …, nonce)` begins with enough zero bits, the nonce being a `u64` of 8
/// bytes. With n bits to be zero it takes 2ⁿ hashes on average.
#[derive(Clone)]
pub struct ProofOfWork {
    /// Has taken all that comes before the nonce.
    begun: Sha3_256,
}

impl ProofOfWork {
    /// The task that belongs to these parts under this label.
    pub fn new(label: &str, parts: &[&[u8]]) -> Self {
        Self { begun: begin(label, parts) }
    }

    /// How many zero bits the hash for this nonce begins with.
    pub fn zeros(&self, nonce: u64) -> u32 {
        let hash = self.hash(nonce);
        let zero_bytes = hash.iter().take_while(|byte| **byte == 0).count();
        // At most 256, so neither number is cut.
        8 * zero_bytes as u32 + hash.get(zero_bytes).map_or(0, |byte| byte.leading_zeros())
    }

    /// The end of the hash for this nonce, by which work that was done before is known again.
    pub fn mark(&self, nonce: u64) -> [u8; 8] {
        let mut mark = [0; 8];
        mark.copy_from_slice(&self.hash(nonce)[24..]);
        mark
    }

    fn hash(&self, nonce: u64) -> [u8; 32] {
        let mut hash = self.begun.clone();
        add(&mut hash, &nonce.to_be_bytes());
        hash.finalize().into()
    }

    /// Tries so many nonces, beginning with `from`; gives the first with at least `effort` zero bits. Who has other things to
    /// do tries a few hundred at a time.
    pub fn search(&self, effort: u32, from: u64, tries: u64) -> Option<u64> {
        (0..tries).map(|n| from.wrapping_add(n)).find(|nonce| self.zeros(*nonce) >= effort)
    }
}

impl core::fmt::Debug for ProofOfWork {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Work").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::super::derive::derive;
    use super::*;

    #[test]
    fn zeros_are_those_of_the_derived_value() {
        let work = ProofOfWork::new("test", &[b"part"]);
        for nonce in 0..300_u64 {
            let hash = derive("test", &[b"part", &nonce.to_be_bytes()]);
            let expected = u128::from_be_bytes(hash[..16].try_into().unwrap()).leading_zeros();
            assert_eq!(work.zeros(nonce), expected);
        }
    }

    #[test]
    fn what_was_found_is_enough_and_nothing_before_it_was() {
        let work = ProofOfWork::new("test", &[]);
        let found = work.search(8, 5, 100_000).unwrap();
        assert!(work.zeros(found) >= 8);
        assert!((5..found).all(|nonce| work.zeros(nonce) < 8));
        assert_eq!(work.search(8, 5, found - 5), None);
        assert_eq!(work.search(257, u64::MAX, 10), None, "numbers go on from the beginning");
    }
}
