//! Values derived from a secret, each under a label of its own.

use sha3::{Digest, Sha3_256};

/// `SHA3-256(ENCAP("allium " ‖ label) ‖ ENCAP(part) …)`, where `ENCAP(x)` is x behind its length in 8 bytes.
///
/// SHA-3 with a secret among its input is a pseudorandom function, and the lengths keep different lists of parts apart.
pub fn derive(label: &str, parts: &[&[u8]]) -> [u8; 32] {
    begin(label, parts).finalize().into()
}

/// The first `N` ≤ 32 bytes of [`derive()`].
pub fn derive_short<const N: usize>(label: &str, parts: &[&[u8]]) -> [u8; N] {
    const { assert!(N <= 32) };
    let mut short = [0; N];
    short.copy_from_slice(&derive(label, parts)[..N]);
    short
}

/// The hash behind [`derive()`] before its end: more parts may follow, each by [`add`].
pub(super) fn begin(label: &str, parts: &[&[u8]]) -> Sha3_256 {
    let mut hash = Sha3_256::new();
    hash.update((label.len() as u64 + 7).to_be_bytes());
    hash.update(b"allium ");
    hash.update(label.as_bytes());
    for part in parts {
        add(&mut hash, part);
    }
    hash
}

/// Takes one more part.
pub(super) fn add(hash: &mut Sha3_256, part: &[u8]) {
    hash.update((part.len() as u64).to_be_bytes());
    hash.update(part);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_and_boundaries_matter() {
        let base = derive("x", &[b"ab", b"c"]);
        assert_ne!(base, derive("y", &[b"ab", b"c"]));
        assert_ne!(base, derive("x", &[b"a", b"bc"]));
        assert_ne!(base, derive("x", &[b"abc"]));
        assert_eq!(derive_short::<4>("x", &[b"ab", b"c"]), base[..4]);
    }
}
