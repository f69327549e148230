//! What brings a reader of the directory from the consensus that it holds to the newest one.
//!
//! From one consensus to the next few relays change, so a reader that holds one is given what is different (as Tor's
//! consensus diffs do). Nothing in here has to be believed: what comes out goes through [`Consensus::verify`] like a consensus
//! that came whole, so whoever makes up a difference achieves an error and no more.

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};

use thiserror::Error;

use super::consensus::{Sections, listed_relay};
use super::{Consensus, ConsensusDigest, ConsensusError, MAX_CONSENSUS_LEN, MAX_RELAYS};
use crate::crypto::keys::RelayIdentity;
use crate::wire::{DecodeError, Reader, Writer};

const UNCHANGED: u8 = 0;
const WHOLE: u8 = 1;
const DIFFERENCE: u8 = 2;

/// The longest encoding of an update, in bytes: that of the longest consensus.
pub const MAX_UPDATE_LEN: usize = 1 + MAX_CONSENSUS_LEN;

/// From how many earlier consensuses a mirror gives differences.
const MAX_BASES: usize = 8;

/// Bytes that a mirror keeps at most: the newest consensus, the ones before it, and the differences from those.
pub const MAX_MIRROR_MEMORY: usize = 32 << 20;

/// Why an update brings no consensus.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum UpdateError {
    /// It is malformed.
    #[error("the update of the consensus is malformed: {0}")]
    Decode(#[from] DecodeError),
    /// It is longer than any update.
    #[error("the update of the consensus is longer than {MAX_UPDATE_LEN} bytes")]
    TooLong,
    /// Its lists are not in ascending order.
    #[error("the update does not list its {0} in ascending order, each once")]
    Order(&'static str),
    /// It goes out from a consensus that is not held.
    #[error("the update is of another consensus than the one that is held")]
    Base,
    /// It removes a relay that is not there, or that it changes.
    #[error("the update removes a relay that the consensus does not list, or that it changes too")]
    Removed,
    /// What it makes has too many relays.
    #[error("the update makes a consensus of more than {MAX_RELAYS} relays")]
    TooMany,
    /// The consensus that is held is none.
    #[error(transparent)]
    Consensus(#[from] ConsensusError),
}

/// What a mirror says to a reader that may hold a consensus already.
///
/// Encoding: kind (1 byte), then for 0, nothing changed: nothing; for 1, whole: the consensus's bytes; for 2, different:
/// [`Difference`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConsensusUpdate<'a> {
    /// The one that is held is the newest.
    Unchanged,
    /// The newest one, from its first byte to its last.
    Whole(&'a [u8]),
    /// What the newest one has different.
    Difference(Difference<'a>),
}

impl<'a> ConsensusUpdate<'a> {
    /// Reads an encoding.
    ///
    /// # Errors
    ///
    /// If it is none. Whether it brings a consensus that counts is another question: see [`Self::apply`].
    pub fn decode(bytes: &'a [u8]) -> Result<Self, UpdateError> {
        if bytes.len() > MAX_UPDATE_LEN {
            return Err(UpdateError::TooLong);
        }
        let mut reader = Reader::new(bytes);
        match reader.u8()? {
            UNCHANGED => {
                reader.finish()?;
                Ok(Self::Unchanged)
            }
            WHOLE => Ok(Self::Whole(reader.rest())),
            DIFFERENCE => Difference::decode(reader).map(Self::Difference),
            _ => Err(DecodeError::Invalid("the kind of the update").into()),
        }
    }

    /// The encoding.
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        match self {
            Self::Unchanged => _ = writer.u8(UNCHANGED),
            Self::Whole(bytes) => _ = writer.u8(WHOLE).raw(bytes),
            Self::Difference(difference) => difference.encode(writer.u8(DIFFERENCE)),
        }
        writer.into_bytes()
    }

    /// The bytes of the newest consensus, still to be verified; nothing if the one that is held is the newest.
    ///
    /// # Errors
    ///
    /// If the update is not of the consensus that is held, or contradicts it.
    pub fn apply(&self, held: Option<&Consensus>) -> Result<Option<Vec<u8>>, UpdateError> {
        match (self, held) {
            (Self::Whole(bytes), _) => Ok(Some(bytes.to_vec())),
            (Self::Unchanged, Some(_)) => Ok(None),
            (Self::Difference(difference), Some(held)) => difference.apply(held).map(Some),
            (Self::Unchanged | Self::Difference(_), None) => Err(UpdateError::Base),
        }
    }
}

/// What one consensus has different from another.
///
/// Encoding: digest of the consensus to go out from (32 bytes) · length of the new one's head (4) and the head: all before its
/// number of relays · number of removed relays (2) and each one's identity (32), ascending · number of changed and new relays
/// (2) and each one's entry and health as in the consensus, by ascending identity · all that stands behind the new one's
/// relays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference<'a> {
    base: ConsensusDigest,
    head: &'a [u8],
    removed: Vec<RelayIdentity>,
    changed: Vec<(RelayIdentity, &'a [u8])>,
    tail: &'a [u8],
}

impl<'a> Difference<'a> {
    /// What `new` has different from the consensus with this digest and encoding.
    ///
    /// # Errors
    ///
    /// If one of the two is no consensus.
    pub fn between(base: ConsensusDigest, old: &[u8], new: &'a [u8]) -> Result<Self, ConsensusError> {
        let (old, new) = (Sections::of(old)?, Sections::of(new)?);
        let mut before = old.relays.into_iter().peekable();
        let (mut removed, mut changed) = (Vec::new(), Vec::new());
        for (identity, entry) in new.relays {
            while let Some((gone, _)) = before.next_if(|(old, _)| *old < identity) {
                removed.push(gone);
            }
            let old = before.next_if(|(old, _)| *old == identity);
            if old.is_none_or(|(_, old)| old != entry) {
                changed.push((identity, entry));
            }
        }
        removed.extend(before.map(|(gone, _)| gone));
        Ok(Self { base, head: new.head, removed, changed, tail: new.tail })
    }

    /// From which consensus it goes out.
    pub const fn base(&self) -> ConsensusDigest {
        self.base
    }

    fn encode(&self, writer: &mut Writer) {
        // All these lengths are bounded by those of a consensus, which the counts and lengths can say.
        let count = |len: usize| u16::try_from(len).unwrap_or(u16::MAX);
        writer.raw(self.base.as_bytes()).u32(u32::try_from(self.head.len()).unwrap_or(u32::MAX)).raw(self.head);
        writer.u16(count(self.removed.len()));
        for identity in &self.removed {
            writer.raw(identity.as_bytes());
        }
        writer.u16(count(self.changed.len()));
        for (_, entry) in &self.changed {
            writer.raw(entry);
        }
        writer.raw(self.tail);
    }

    fn decode(mut reader: Reader<'a>) -> Result<Self, UpdateError> {
        let base = ConsensusDigest::from_bytes(reader.array()?);
        let head = reader.bytes_u32("the head of a consensus", MAX_CONSENSUS_LEN)?;
        let count = bounded("the list of removed relays", reader.u16()?)?;
        let mut removed: Vec<RelayIdentity> = Vec::with_capacity(count.min(reader.remaining() / 32));
        for _ in 0..count {
            let identity = reader.array::<32>()?.into();
            if removed.last().is_some_and(|last| *last >= identity) {
                return Err(UpdateError::Order("removed relays"));
            }
            removed.push(identity);
        }
        let count = bounded("the list of changed relays", reader.u16()?)?;
        let mut changed: Vec<(RelayIdentity, &[u8])> = Vec::new();
        for _ in 0..count {
            let mut before = reader.clone();
            let identity = listed_relay(&mut reader)?.0.identity;
            if changed.last().is_some_and(|(last, _)| *last >= identity) {
                return Err(UpdateError::Order("changed relays"));
            }
            changed.push((identity, before.take(before.remaining() - reader.remaining())?));
        }
        Ok(Self { base, head, removed, changed, tail: reader.rest() })
    }

    fn apply(&self, held: &Consensus) -> Result<Vec<u8>, UpdateError> {
        if self.base != held.digest() {
            return Err(UpdateError::Base);
        }
        let old = Sections::of(held.as_bytes())?;
        let (mut removed, mut changed) = (self.removed.iter().peekable(), self.changed.iter().peekable());
        let mut relays = Vec::with_capacity(old.relays.len() + self.changed.len());
        for (identity, entry) in &old.relays {
            while let Some((_, new)) = changed.next_if(|(new, _)| new < identity) {
                relays.push(*new);
            }
            let change = changed.next_if(|(new, _)| new == identity);
            match (removed.next_if_eq(&identity), change) {
                (None, None) => relays.push(entry),
                (None, Some((_, new))) => relays.push(new),
                (Some(_), None) => {}
                (Some(_), Some(_)) => return Err(UpdateError::Removed),
            }
        }
        relays.extend(changed.map(|(_, new)| *new));
        if removed.peek().is_some() {
            return Err(UpdateError::Removed);
        }
        let count = u16::try_from(relays.len()).ok().filter(|_| relays.len() <= MAX_RELAYS);
        let count = count.ok_or(UpdateError::TooMany)?;
        let len = self.head.len() + 2 + relays.iter().map(|entry| entry.len()).sum::<usize>() + self.tail.len();
        if len > MAX_CONSENSUS_LEN {
            return Err(ConsensusError::TooLong.into());
        }
        let mut writer = Writer::with_capacity(len);
        writer.raw(self.head).u16(count);
        for entry in relays {
            writer.raw(entry);
        }
        writer.raw(self.tail);
        Ok(writer.into_bytes())
    }
}

fn bounded(what: &'static str, count: u16) -> Result<usize, DecodeError> {
    match usize::from(count) {
        count if count <= MAX_RELAYS => Ok(count),
        len => Err(DecodeError::TooLong { what, len, max: MAX_RELAYS }),
    }
}

/// The newest consensus and some before it, to bring readers up to date.
///
/// All who hold the same are given the same bytes, which are made when the first of them asks.
#[derive(Debug, Default)]
pub struct Mirror {
    newest: Option<Newest>,
    /// The latest first.
    bases: VecDeque<Base>,
}

#[derive(Debug)]
struct Newest {
    digest: ConsensusDigest,
    valid_after: u64,
    /// How many authorities have signed it.
    signers: usize,
    /// The encoding of the update that gives it whole.
    whole: Arc<Vec<u8>>,
    unchanged: Arc<Vec<u8>>,
}

impl Newest {
    fn consensus(&self) -> &[u8] {
        self.whole.get(1..).unwrap_or_default()
    }
}

#[derive(Debug)]
struct Base {
    digest: ConsensusDigest,
    bytes: Vec<u8>,
    update: OnceLock<Arc<Vec<u8>>>,
}

impl Mirror {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a consensus that has been verified; `false` if it is not newer than the newest that is held, nor the same with
    /// more signatures.
    pub fn push(&mut self, consensus: &Consensus) -> bool {
        let (digest, valid_after) = (consensus.digest(), consensus.validity().valid_after);
        let signers = consensus.signers().len();
        let is_better =
            |newest: &Newest| valid_after > newest.valid_after || (digest == newest.digest && signers > newest.signers);
        if !self.newest.as_ref().is_none_or(is_better) {
            return false;
        }
        let whole = Arc::new(ConsensusUpdate::Whole(consensus.as_bytes()).encode());
        let unchanged = Arc::new(ConsensusUpdate::Unchanged.encode());
        let newest = Newest { digest, valid_after, signers, whole, unchanged };
        if let Some(before) = self.newest.replace(newest).filter(|before| before.digest != digest) {
            let bytes = before.consensus().to_vec();
            self.bases.push_front(Base { digest: before.digest, bytes, update: OnceLock::new() });
        }
        for base in &mut self.bases {
            base.update = OnceLock::new();
        }
        self.bases.truncate(MAX_BASES);
        while self.memory() > MAX_MIRROR_MEMORY && self.bases.pop_back().is_some() {}
        true
    }

    /// The bytes that may be held once everybody has asked. No difference is as long as the whole.
    fn memory(&self) -> usize {
        let whole = self.newest.as_ref().map_or(0, |newest| newest.whole.len());
        whole + self.bases.iter().map(|base| base.bytes.len() + whole).sum::<usize>()
    }

    /// The newest consensus, as it was signed.
    pub fn newest(&self) -> Option<&[u8]> {
        self.newest.as_ref().map(Newest::consensus)
    }

    /// The encoding of the update for a reader that holds the consensus with this digest, or none; nothing while there is no
    /// consensus here.
    ///
    /// A difference that would be longer than the whole consensus is not given: the whole one is.
    pub fn update_for(&self, held: Option<&ConsensusDigest>) -> Option<Arc<Vec<u8>>> {
        let newest = self.newest.as_ref()?;
        if held == Some(&newest.digest) {
            return Some(newest.unchanged.clone());
        }
        let base = held.and_then(|held| self.bases.iter().find(|base| base.digest == *held));
        let update = base.map_or(&newest.whole, |base| base.update.get_or_init(|| difference(base, newest)));
        Some(update.clone())
    }
}

fn difference(base: &Base, newest: &Newest) -> Arc<Vec<u8>> {
    let difference = Difference::between(base.digest, &base.bytes, newest.consensus());
    let update = difference.map(|difference| ConsensusUpdate::Difference(difference).encode());
    match update {
        Ok(update) if update.len() < newest.whole.len() => Arc::new(update),
        _ => newest.whole.clone(),
    }
}

#[cfg(test)]
mod tests;
