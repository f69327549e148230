//! POLYVAL under a key that stays, from which many one-message hashes are taken.

use polyval::universal_hash::UniversalHash as _;
use polyval::universal_hash::array::Array;
use polyval::{BLOCK_SIZE, Block, Polyval};
use zeroize::{ZeroizeOnDrop, optimization_barrier};

use super::{Header, PAYLOAD_LEN, Payload, Tag};

/// Blocks that POLYVAL's backends take in one step.
const STRIDE: usize = 4;

/// How much of the payload fills up the first [`STRIDE`] blocks after the header.
const LEAD: usize = STRIDE * BLOCK_SIZE - size_of::<Header>();

/// How much of the payload lies in whole blocks after the lead, in a number of blocks that [`STRIDE`] divides.
const MIDDLE: usize = (PAYLOAD_LEN - LEAD) / (STRIDE * BLOCK_SIZE) * (STRIDE * BLOCK_SIZE);

/// A POLYVAL key with its powers computed once (RFC 8452, section 3).
///
/// Hashing borrows it mutably and leaves it as it was: a copy per hash would cost as much as a sixth of the hash.
pub(super) struct KeyedHash(Polyval);

impl KeyedHash {
    /// Computes the powers of a key.
    pub(super) fn new(key: &[u8; 16]) -> Self {
        Self(Polyval::new(key.into()))
    }

    /// Hashes one block.
    #[inline]
    pub(super) fn block(&mut self, block: &Tag) -> Tag {
        self.0.update(&[Block::from(*block)]);
        self.0.finalize_reset().into()
    }

    /// Hashes a header and a payload, zero-padded to 32 whole blocks.
    ///
    /// The header's 17 bytes shift the payload against the block grid. So the first four blocks and the last four are
    /// put together in buffers, and those between are read where they lie.
    #[inline]
    pub(super) fn header_and_payload(&mut self, header: &Header, payload: &Payload) -> Tag {
        let (lead, rest) = payload.split_at(LEAD);
        let (middle, tail) = rest.split_at(MIDDLE);

        let mut first = [0; STRIDE * BLOCK_SIZE];
        let (first_header, first_lead) = first.split_at_mut(header.len());
        first_header.copy_from_slice(header);
        first_lead.copy_from_slice(lead);

        let mut last = [0; STRIDE * BLOCK_SIZE];
        for (byte, tail) in last.iter_mut().zip(tail) {
            *byte = *tail;
        }

        for part in [&first, middle, &last] {
            let (blocks, _) = Array::slice_as_chunks(part);
            self.0.update(blocks);
        }
        self.0.finalize_reset().into()
    }
}

impl Drop for KeyedHash {
    fn drop(&mut self) {
        // Not by `polyval`'s own feature: that would wipe, byte by byte, the copy that each hash works on.
        self.0 = Polyval::new(&Block::default());
        optimization_barrier(&self.0);
    }
}

impl ZeroizeOnDrop for KeyedHash {}
