//! The parts of Counter Galois Onion on their own and states in the open: to be checked, never to be used.

use aes::{Aes128Dec, Aes128Enc};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::et::{BlockCipher, Et};
use super::prf::Prf;
use super::uiv::Uiv;
use super::{Body, ClientBackward, ClientForward, PAYLOAD_LEN, RelayBackward, RelayForward, State, TAG_LEN, Tag};

/// A whole state of one hop in one direction.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct Parts {
    /// `KB`, `KU`, `K` and `B` of UIV+.
    pub keys: [[u8; 16]; 4],
    /// The nonce N.
    pub nonce: Tag,
    /// The last tag T′.
    pub last_tag: Tag,
}

/// A state that can be taken apart and put together.
pub trait FromParts {
    /// Puts a state together.
    fn from_parts(parts: &Parts) -> Self;

    /// Takes a copy of a state apart.
    fn to_parts(&self) -> Parts;
}

impl<C: BlockCipher> FromParts for State<C> {
    fn from_parts(parts: &Parts) -> Self {
        Self { uiv: Uiv::new(Zeroizing::new(parts.keys)), nonce: Zeroizing::new(parts.nonce), last_tag: parts.last_tag }
    }

    fn to_parts(&self) -> Parts {
        Parts { keys: *self.uiv.keys(), nonce: *self.nonce, last_tag: self.last_tag }
    }
}

macro_rules! from_parts {
    ($($layer:ident)*) => {$(
        impl FromParts for $layer {
            fn from_parts(parts: &Parts) -> Self {
                Self(State::from_parts(parts))
            }

            fn to_parts(&self) -> Parts {
                self.0.to_parts()
            }
        }
    )*};
}

from_parts! { RelayForward RelayBackward ClientForward ClientBackward }

/// `ET.enc((KB,KU),T,M)`, T being a header and a payload.
pub fn et_encrypt(
    [kb, ku]: &[[u8; 16]; 2],
    header: &[u8; TAG_LEN + 1],
    payload: &[u8; PAYLOAD_LEN],
    block: &Tag,
) -> Tag {
    Et::<Aes128Enc>::new(kb, ku).encrypt(header, payload, block)
}

/// `ET.dec((KB,KU),T,M)`, T being a header and a payload.
pub fn et_decrypt(
    [kb, ku]: &[[u8; 16]; 2],
    header: &[u8; TAG_LEN + 1],
    payload: &[u8; PAYLOAD_LEN],
    block: &Tag,
) -> Tag {
    Et::<Aes128Dec>::new(kb, ku).decrypt(header, payload, block)
}

/// `PRF((K,B),T,0)`, as long as a payload.
pub fn prf_payload([k, b]: &[[u8; 16]; 2], tweak: &Tag) -> [u8; PAYLOAD_LEN] {
    let mut stream = [0; PAYLOAD_LEN];
    Prf::new(k, b).apply(tweak, &mut stream);
    stream
}

/// `PRF((K,B),T,1)`, as long as an update takes.
pub fn prf_update([k, b]: &[[u8; 16]; 2], tweak: &Tag) -> [[u8; 16]; 5] {
    *Prf::new(k, b).update(tweak)
}

/// `UIV.enc((J,S),H,X)`, in place.
pub fn uiv_encrypt(keys: &[[u8; 16]; 4], header: &[u8; TAG_LEN + 1], body: &mut Body) {
    Uiv::<Aes128Enc>::new(Zeroizing::new(*keys)).encrypt(header, body);
}

/// `UIV.dec((J,S),H,Y)`, in place.
pub fn uiv_decrypt(keys: &[[u8; 16]; 4], header: &[u8; TAG_LEN + 1], body: &mut Body) {
    Uiv::<Aes128Dec>::new(Zeroizing::new(*keys)).decrypt(header, body);
}

/// `UPDATE((J,S),N)`: the new (J,S) and N.
pub fn uiv_update(keys: &[[u8; 16]; 4], nonce: &Tag) -> ([[u8; 16]; 4], Tag) {
    let mut uiv = Uiv::<Aes128Enc>::new(Zeroizing::new(*keys));
    let nonce = uiv.update(nonce);
    (*uiv.keys(), nonce)
}
