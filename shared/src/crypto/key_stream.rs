//! What a circuit handshake ends in: a stream of key material, and the keys that a hop takes from it.

use core::fmt;

use shake::{Shake256Reader, XofReader as _};
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::cgo::SEED_LEN;

/// Length of the circuit binding, in bytes.
pub const BINDING_LEN: usize = 20;

/// An endless stream of secret bytes that both sides of a handshake share (SHAKE256).
pub struct KeyStream(Shake256Reader);

impl KeyStream {
    /// Reads on where the last call ended.
    pub fn read(&mut self, out: &mut [u8]) {
        self.0.read(out);
    }
}

impl From<Shake256Reader> for KeyStream {
    fn from(reader: Shake256Reader) -> Self {
        Self(reader)
    }
}

impl ZeroizeOnDrop for KeyStream {}

impl fmt::Debug for KeyStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyStream").finish_non_exhaustive()
    }
}

/// The keys of one hop, in the order in which they are taken from its key stream.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct CircuitKeys {
    /// For cells from the client: `KB ‖ KU ‖ K ‖ B ‖ N`.
    pub forward: [u8; SEED_LEN],
    /// For cells to the client: the same.
    pub backward: [u8; SEED_LEN],
    /// A value that names this hop of this circuit and no other, so that what is signed for it cannot be moved.
    pub binding: [u8; BINDING_LEN],
}

impl From<&mut KeyStream> for CircuitKeys {
    fn from(stream: &mut KeyStream) -> Self {
        let mut keys = Self { forward: [0; SEED_LEN], backward: [0; SEED_LEN], binding: [0; BINDING_LEN] };
        stream.read(&mut keys.forward);
        stream.read(&mut keys.backward);
        stream.read(&mut keys.binding);
        keys
    }
}

impl fmt::Debug for CircuitKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CircuitKeys").finish_non_exhaustive()
    }
}
