//! UIV+: the wide-block cipher over whole cell bodies, and the update that makes its next keys.

use aes::{Aes128Dec, Aes128Enc};
use zeroize::Zeroizing;

use super::et::{BlockCipher, Et};
use super::prf::Prf;
use super::{Body, Header, Keys, Tag, split_mut};

/// The wide-block cipher `UIV((J,S),H,(X_L,X_R))`, in the one direction that `C` has.
///
/// Every bit of a body that it encrypts depends on every bit of the header and of the body before.
pub(super) struct Uiv<C: BlockCipher> {
    et: Et<C>,
    prf: Prf,
    /// What the expanded keys beside it come from, to compare a state with published ones.
    #[cfg(any(test, feature = "vectors"))]
    keys: Zeroizing<Keys>,
}

impl<C: BlockCipher> Uiv<C> {
    /// Expands `KB`, `KU`, `K` and `B`.
    pub(super) fn new(keys: Zeroizing<Keys>) -> Self {
        let [kb, ku, k, b] = &*keys;
        Self {
            et: Et::new(kb, ku),
            prf: Prf::new(k, b),
            #[cfg(any(test, feature = "vectors"))]
            keys,
        }
    }

    /// `KB`, `KU`, `K` and `B` as they are now.
    #[cfg(any(test, feature = "vectors"))]
    pub(super) fn keys(&self) -> &Keys {
        &self.keys
    }

    /// `UPDATE((J,S),N)`: replaces the keys and returns the next nonce; neither reveals anything of those before.
    pub(super) fn update(&mut self, nonce: &Tag) -> Tag {
        let update = self.prf.update(nonce);
        let [kb, ku, k, b, next] = *update;
        *self = Self::new(Zeroizing::new([kb, ku, k, b]));
        next
    }
}

impl Uiv<Aes128Enc> {
    /// Encrypts a body: `Y_L = ET.enc(J, H‖X_R, X_L)`, `Y_R = X_R ⊕ PRF(S,Y_L,0)`.
    #[inline]
    pub(super) fn encrypt(&mut self, header: &Header, body: &mut Body) {
        let (tag, payload) = split_mut(body);
        *tag = self.et.encrypt(header, payload, tag);
        self.prf.apply(tag, payload);
    }
}

impl Uiv<Aes128Dec> {
    /// Decrypts a body: `X_R = Y_R ⊕ PRF(S,Y_L,0)`, `X_L = ET.dec(J, H‖X_R, Y_L)`.
    #[inline]
    pub(super) fn decrypt(&mut self, header: &Header, body: &mut Body) {
        let (tag, payload) = split_mut(body);
        self.prf.apply(tag, payload);
        *tag = self.et.decrypt(header, payload, tag);
    }
}
