//! The signatures on a consensus, apart from it: what authorities show each other until there are enough.

use thiserror::Error;

use super::{Authorities, AuthorityIdentity, ConsensusDigest, ConsensusSignature, MAX_AUTHORITIES, NetworkId};
use crate::crypto::keys::{SIGNATURE_LEN, SignatureError};
use crate::wire::{DecodeError, Reader, Writer};

const VERSION: u16 = 1;

/// How many signatures of one authority are passed on: two are enough to prove that it lies.
const MAX_OF_ONE: usize = 2;

/// The longest encoding of a list of signatures, in bytes.
pub const MAX_SIGNATURES_LEN: usize = 2 + 32 + 8 + 1 + MAX_OF_ONE * MAX_AUTHORITIES * (64 + SIGNATURE_LEN);

/// Why a list of signatures does not count.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SignaturesError {
    /// It is malformed.
    #[error("the list of signatures is malformed: {0}")]
    Decode(#[from] DecodeError),
    /// It belongs to another network.
    #[error("the list of signatures is another network's")]
    Network,
    /// It is for another period.
    #[error("the list of signatures is for the period that begins {0} s after 1970")]
    Period(u64),
    /// Somebody in it may not sign.
    #[error("{0} is no authority")]
    Stranger(AuthorityIdentity),
    /// Something stands there twice, or not in ascending order, or more than two of one authority.
    #[error("the list of signatures is not in ascending order, each once")]
    Order,
    /// A signature in it does not hold.
    #[error("the list of signatures carries a wrong one of authority {0}: {1}")]
    Signature(AuthorityIdentity, SignatureError),
}

/// Encodes signatures for the period that begins at `valid_after`: version (2 bytes, 1) · network id (32) · valid after (8) ·
/// number (1) and each one's authority (32), digest of the consensus (32) and Ed25519 signature (64), ascending.
pub fn encode_signatures(list: &[ConsensusSignature], network: &NetworkId, valid_after: u64) -> Vec<u8> {
    let mut list: Vec<_> = list.iter().take(MAX_OF_ONE * MAX_AUTHORITIES).collect();
    list.sort_by_key(|one| (one.authority, *one.digest.as_bytes()));
    let mut writer = Writer::new();
    writer.u16(VERSION).raw(network.as_bytes()).u64(valid_after).u8(u8::try_from(list.len()).unwrap_or(u8::MAX));
    for one in list {
        writer.raw(one.authority.as_bytes()).raw(one.digest.as_bytes()).raw(&one.signature);
    }
    writer.into_bytes()
}

/// Decodes the signatures for the period that begins at `valid_after`, and checks all of them.
///
/// # Errors
///
/// If one does not hold, or the list is none.
pub fn verify_signatures(
    bytes: &[u8],
    authorities: &Authorities,
    valid_after: u64,
) -> Result<Vec<ConsensusSignature>, SignaturesError> {
    let mut reader = Reader::new(bytes);
    reader.version("the list of signatures", VERSION)?;
    if reader.array()? != *authorities.network().as_bytes() {
        return Err(SignaturesError::Network);
    }
    let period = reader.u64()?;
    if period != valid_after {
        return Err(SignaturesError::Period(period));
    }
    let mut list: Vec<ConsensusSignature> = Vec::new();
    for _ in 0..reader.u8()? {
        let one = ConsensusSignature {
            authority: reader.array::<32>()?.into(),
            valid_after,
            digest: ConsensusDigest::from_bytes(reader.array()?),
            signature: reader.array()?,
        };
        let key = |one: &ConsensusSignature| (one.authority, *one.digest.as_bytes());
        if list.last().is_some_and(|last| key(last) >= key(&one))
            || list.iter().filter(|other| other.authority == one.authority).count() >= MAX_OF_ONE
        {
            return Err(SignaturesError::Order);
        }
        list.push(one);
    }
    reader.finish()?;
    for one in &list {
        if authorities.get(&one.authority).is_none() {
            return Err(SignaturesError::Stranger(one.authority));
        }
        one.verify(authorities.network()).map_err(|error| SignaturesError::Signature(one.authority, error))?;
    }
    Ok(list)
}

#[cfg(test)]
mod tests {
    use super::super::authorities::tests::authorities;
    use super::super::{ConsensusDraft, Validity};
    use super::*;

    #[test]
    fn no_changed_byte_is_accepted() {
        let (keypairs, authorities) = authorities(3);
        let network = authorities.network();
        let validity = Validity { valid_after: 1000, fresh_until: 1001, valid_until: 1002 };
        let consensus = ConsensusDraft::new(*network, validity, Vec::new()).finish().unwrap();
        let list: Vec<_> = keypairs.iter().map(|keypair| consensus.sign(keypair)).collect();
        let bytes = encode_signatures(&list, network, 1000);
        assert_eq!(verify_signatures(&bytes, &authorities, 1000).unwrap().len(), 3);
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert!(verify_signatures(&changed, &authorities, 1000).is_err(), "byte {at}");
            assert!(verify_signatures(&bytes[..at], &authorities, 1000).is_err(), "cut at {at}");
        }
        assert_eq!(verify_signatures(&bytes, &authorities, 1001), Err(SignaturesError::Period(1000)));
        let twice = encode_signatures(&[list[0], list[0]], network, 1000);
        assert_eq!(verify_signatures(&twice, &authorities, 1000), Err(SignaturesError::Order));
    }
}
