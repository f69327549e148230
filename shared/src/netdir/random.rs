//! The value that nobody could know beforehand, and that nobody has chosen alone.
//!
//! Authorities commit themselves in the first half of a cycle to a random value each, and reveal it in the second; the next
//! cycle's value is a hash over all that was revealed. An authority that sees all others' reveals may still choose whether to
//! reveal its own: so each that lies has the choice between two values, and no more. (As in Tor's `srv-spec`.)

use sha3::{Digest, Sha3_256};

use super::AuthorityIdentity;
use crate::crypto::derive::derive;
use crate::wire::{DecodeError, Reader, Writer};

/// The shared random value of a cycle, and the one before it.
///
/// Encoding: cycle (8 bytes) · value (32) · how many authorities had a part in it (1) · the value before (32).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SharedRandom {
    /// Counts up.
    pub cycle: u64,
    /// The value of this cycle.
    pub value: [u8; 32],
    /// How many authorities had a part in it: with none it follows from the one before, for everybody to compute.
    pub contributions: u8,
    /// The value of the cycle before.
    pub before: [u8; 32],
}

impl SharedRandom {
    pub(super) fn encode(&self, writer: &mut Writer) {
        writer.u64(self.cycle).raw(&self.value).u8(self.contributions).raw(&self.before);
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { cycle: reader.u64()?, value: reader.array()?, contributions: reader.u8()?, before: reader.array()? })
    }

    /// The value of a later cycle, from what was revealed in this one.
    pub(super) fn next(&self, cycle: u64, reveals: &[(AuthorityIdentity, [u8; 32])]) -> Self {
        let mut hash = Sha3_256::new();
        for (authority, reveal) in reveals {
            hash.update(authority.as_bytes());
            hash.update(reveal);
        }
        let reveals_digest: [u8; 32] = hash.finalize().into();
        let value = derive("shared random", &[&cycle.to_be_bytes(), &self.value, &reveals_digest]);
        let contributions = u8::try_from(reveals.len()).unwrap_or(u8::MAX);
        Self { cycle, value, contributions, before: self.value }
    }
}

/// What an authority publishes in the first half of a cycle of what it will reveal in the second.
pub(super) fn commitment(authority: &AuthorityIdentity, cycle: u64, reveal: &[u8; 32]) -> [u8; 32] {
    derive("shared random commitment", &[authority.as_bytes(), &cycle.to_be_bytes(), reveal])
}

/// A moment's cycle, and whether what was committed is to be revealed then.
pub(super) fn phase(valid_after: u64, cycle_len: u64) -> (u64, bool) {
    let len = cycle_len.max(2);
    (valid_after / len, valid_after % len >= len / 2)
}
