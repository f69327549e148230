//! Proofs that an authority has signed two different things where it may sign one.

use std::collections::BTreeMap;

use thiserror::Error;

use super::vote::verify_signature;
use super::{
    Authorities, AuthorityIdentity, ConsensusDigest, ConsensusSignature, Echo, MAX_AUTHORITIES, NetworkId, VoteDigest,
};
use crate::crypto::keys::{SIGNATURE_LEN, SignatureError};
use crate::wire::{DecodeError, Reader, Writer};

const VERSION: u16 = 1;

/// The most proofs that are kept: one for each authority and kind, the first that was found.
const MAX_PROOFS: usize = 2 * MAX_AUTHORITIES;

const PROOF_LEN: usize = 1 + 32 + 8 + 2 * (32 + SIGNATURE_LEN);

/// The longest encoding of a list of proofs, in bytes.
pub const MAX_PROOFS_LEN: usize = 2 + 32 + 1 + MAX_PROOFS * PROOF_LEN;

/// Why a proof proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ProofError {
    /// The list is malformed.
    #[error("the list of proofs is malformed: {0}")]
    Decode(#[from] DecodeError),
    /// It belongs to another network.
    #[error("the list of proofs is another network's")]
    Network,
    /// Something stands there twice, or not in ascending order.
    #[error("the list of proofs is not in ascending order, each once")]
    Order,
    /// The two things are one.
    #[error("the proof against {0} names one thing twice")]
    Same(AuthorityIdentity),
    /// A signature does not hold.
    #[error("the proof against {0} carries a wrong signature: {1}")]
    Signature(AuthorityIdentity, SignatureError),
}

/// What was signed twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Twice {
    /// Two votes for one period.
    Votes = 1,
    /// Two consensuses for one period.
    Consensuses = 2,
}

impl Twice {
    /// In a few words, for people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Votes => "two votes for one period",
            Self::Consensuses => "two consensuses for one period",
        }
    }
}

/// Two signatures of one authority that may not both exist. Everybody can check it with the authority's key alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Misconduct {
    /// What it has signed twice.
    pub twice: Twice,
    /// Who has.
    pub authority: AuthorityIdentity,
    /// For which period.
    pub valid_after: u64,
    /// The digests, ascending, each with its signature.
    pub signed: [([u8; 32], [u8; SIGNATURE_LEN]); 2],
}

impl Misconduct {
    /// The proof in two votes of one voter for one period; none where they are one.
    pub fn of_votes(valid_after: u64, a: &Echo, b: &Echo) -> Option<Self> {
        let (authority, twice) = (a.voter, Twice::Votes);
        let signed = ordered([(*a.digest.as_bytes(), a.signature), (*b.digest.as_bytes(), b.signature)]);
        (a.voter == b.voter && a.digest != b.digest).then_some(Self { twice, authority, valid_after, signed })
    }

    /// The proof in two signatures of one authority on consensuses of one period; none where they are on one.
    pub fn of_signatures(a: &ConsensusSignature, b: &ConsensusSignature) -> Option<Self> {
        let (authority, valid_after, twice) = (a.authority, a.valid_after, Twice::Consensuses);
        let signed = ordered([(*a.digest.as_bytes(), a.signature), (*b.digest.as_bytes(), b.signature)]);
        let one_period = (a.authority, a.valid_after) == (b.authority, b.valid_after);
        (one_period && a.digest != b.digest).then_some(Self { twice, authority, valid_after, signed })
    }

    /// Checks both signatures.
    ///
    /// # Errors
    ///
    /// If it proves nothing.
    pub fn verify(&self, network: &NetworkId) -> Result<(), ProofError> {
        let Self { twice, authority, valid_after, signed } = *self;
        if signed[0].0 >= signed[1].0 {
            return Err(ProofError::Same(authority));
        }
        for (digest, signature) in signed {
            match twice {
                Twice::Votes => {
                    let digest = VoteDigest::from_bytes(digest);
                    verify_signature(&authority, network, valid_after, &digest, &signature)
                }
                Twice::Consensuses => {
                    let digest = ConsensusDigest::from_bytes(digest);
                    ConsensusSignature { authority, valid_after, digest, signature }.verify(network)
                }
            }
            .map_err(|error| ProofError::Signature(authority, error))?;
        }
        Ok(())
    }
}

fn ordered(mut signed: [([u8; 32], [u8; SIGNATURE_LEN]); 2]) -> [([u8; 32], [u8; SIGNATURE_LEN]); 2] {
    signed.sort_by_key(|(digest, _)| *digest);
    signed
}

/// All proofs that an authority has: the first of each kind against each authority.
///
/// Encoding: version (2 bytes, 1) · network id (32) · number (1) and each one's kind (1: 1 for votes, 2 for consensuses),
/// authority (32), valid after (8), and twice digest (32) and signature (64), digests ascending. Proofs stand by ascending
/// authorities and kinds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proofs(BTreeMap<(AuthorityIdentity, Twice), Misconduct>);

impl Proofs {
    /// Adds a proof; says whether it is the first of its kind.
    pub fn add(&mut self, proof: Misconduct) -> bool {
        let key = (proof.authority, proof.twice);
        let is_new = !self.0.contains_key(&key) && self.0.len() < MAX_PROOFS;
        if is_new {
            self.0.insert(key, proof);
        }
        is_new
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Misconduct> {
        self.0.values()
    }

    /// The encoding.
    pub fn encode(&self, network: &NetworkId) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.u16(VERSION).raw(network.as_bytes()).u8(u8::try_from(self.0.len()).unwrap_or(u8::MAX));
        for proof in self.0.values() {
            writer.u8(proof.twice as u8).raw(proof.authority.as_bytes()).u64(proof.valid_after);
            for (digest, signature) in &proof.signed {
                writer.raw(digest).raw(signature);
            }
        }
        writer.into_bytes()
    }

    /// Decodes a list and checks every proof in it. Proofs against those who are no authorities are left out.
    ///
    /// # Errors
    ///
    /// If one of them proves nothing.
    pub fn verify(bytes: &[u8], authorities: &Authorities) -> Result<Self, ProofError> {
        let mut reader = Reader::new(bytes);
        reader.version("the list of proofs", VERSION)?;
        if reader.array()? != *authorities.network().as_bytes() {
            return Err(ProofError::Network);
        }
        let mut proofs = Self::default();
        let mut last = None;
        for _ in 0..reader.u8()? {
            let twice = match reader.u8()? {
                1 => Twice::Votes,
                2 => Twice::Consensuses,
                _ => return Err(DecodeError::Invalid("the kind of a proof").into()),
            };
            let proof = Misconduct {
                twice,
                authority: reader.array::<32>()?.into(),
                valid_after: reader.u64()?,
                signed: [(reader.array()?, reader.array()?), (reader.array()?, reader.array()?)],
            };
            let key = Some((proof.authority, proof.twice));
            if last >= key {
                return Err(ProofError::Order);
            }
            last = key;
            proof.verify(authorities.network())?;
            if authorities.get(&proof.authority).is_some() {
                proofs.add(proof);
            }
        }
        reader.finish()?;
        Ok(proofs)
    }
}

#[cfg(test)]
mod tests {
    use super::super::authorities::tests::authorities;
    use super::super::vote::tests::{START, vote};
    use super::super::{ConsensusDraft, Validity};
    use super::*;

    #[test]
    fn two_votes_and_two_consensuses_are_proofs() {
        let (keypairs, authorities) = authorities(3);
        let network = authorities.network();
        let echo = |seeds: &[u8]| Echo::of(&vote(&keypairs[0], network, seeds).sign(&keypairs[0], network).unwrap());
        let (a, b) = (echo(&[1]), echo(&[2]));
        assert_eq!(Misconduct::of_votes(START, &a, &a), None);
        let votes = Misconduct::of_votes(START, &a, &b).unwrap();
        assert_eq!(Misconduct::of_votes(START, &b, &a), Some(votes));
        let signature = |until| {
            let validity = Validity { valid_after: START, fresh_until: START, valid_until: until };
            ConsensusDraft::new(*network, validity, Vec::new()).finish().unwrap().sign(&keypairs[1])
        };
        let (c, d) = (signature(START + 1), signature(START + 2));
        assert_eq!(Misconduct::of_signatures(&c, &c), None);
        let consensuses = Misconduct::of_signatures(&c, &d).unwrap();
        let mut proofs = Proofs::default();
        assert!(proofs.add(votes) && proofs.add(consensuses) && !proofs.add(votes));

        let bytes = proofs.encode(network);
        assert_eq!(bytes.len(), 2 + 32 + 1 + 2 * PROOF_LEN);
        assert_eq!(Proofs::verify(&bytes, &authorities), Ok(proofs));
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert!(Proofs::verify(&changed, &authorities).is_err(), "byte {at}");
            assert!(Proofs::verify(&bytes[..at], &authorities).is_err(), "cut at {at}");
        }
        let (first, second) = bytes[35..].split_at(PROOF_LEN);
        for disordered in [[second, first], [first, first]] {
            let list = [&bytes[..35], &disordered.concat()].concat();
            assert_eq!(Proofs::verify(&list, &authorities), Err(ProofError::Order));
        }
        let same = Misconduct { signed: [votes.signed[0]; 2], ..votes };
        assert_eq!(same.verify(network), Err(ProofError::Same(keypairs[0].identity())));
    }
}
