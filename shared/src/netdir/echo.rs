//! Which votes an authority has heard, and who has co-signed them.
//!
//! Authorities must count the same votes, although one that lies may show different ones to different authorities. They agree
//! by the protocol of Dolev and Strong (SIAM J. Comput. 12, 1983): in the first round each shows its own vote; whoever hears a
//! vote in round r, with the signatures of at least r authorities under it, the voter's among them, signs it as well and
//! shows it in the next round. After f + 1 rounds, f being how many may lie, all that are honest have heard the same votes of
//! each voter. A voter of whom two were heard has no vote, and the two signatures prove why.

use std::collections::BTreeMap;

use thiserror::Error;

use super::vote::verify_signature;
use super::{Authorities, AuthorityIdentity, AuthorityKeypair, MAX_AUTHORITIES, NetworkId, SignedVote, VoteDigest};
use crate::crypto::keys::{SIGNATURE_LEN, SignatureError};
use crate::wire::{DecodeError, Reader, Writer};

const DOMAIN: &str = "vote echo 1";
const VERSION: u16 = 1;

/// How many different votes of one voter are passed on: two are enough to prove that it lies.
pub const MAX_VOTES_OF_ONE: usize = 2;

const MAX_ECHOES: usize = MAX_AUTHORITIES * MAX_VOTES_OF_ONE;

/// The longest encoding of a list of echoes, in bytes.
pub const MAX_ECHOES_LEN: usize =
    2 + 32 + 8 + 1 + MAX_ECHOES * (32 + 32 + SIGNATURE_LEN + 1 + MAX_AUTHORITIES * (32 + SIGNATURE_LEN));

/// Why a list of echoes does not count.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum EchoError {
    /// It is malformed.
    #[error("the list of echoes is malformed: {0}")]
    Decode(#[from] DecodeError),
    /// It belongs to another network.
    #[error("the list of echoes is another network's")]
    Network,
    /// It is for another period.
    #[error("the list of echoes is for the period that begins {0} s after 1970")]
    Period(u64),
    /// Somebody in it may not vote.
    #[error("{0} is no authority")]
    Stranger(AuthorityIdentity),
    /// Something stands there twice, or not in ascending order, or more than two votes of one voter.
    #[error("the list of echoes does not list its {0} in ascending order, each once")]
    Order(&'static str),
    /// A signature in it does not hold.
    #[error("the list of echoes carries a wrong signature of authority {0}: {1}")]
    Signature(AuthorityIdentity, SignatureError),
}

/// A vote by its digest, with the signatures that were seen under it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Echo {
    /// Whose vote it is.
    pub voter: AuthorityIdentity,
    /// Which one.
    pub digest: VoteDigest,
    /// The voter's signature, as the vote has it.
    pub signature: [u8; SIGNATURE_LEN],
    /// The signatures of those who have heard it; never the voter.
    pub echoes: BTreeMap<AuthorityIdentity, [u8; SIGNATURE_LEN]>,
}

impl Echo {
    /// A vote that nobody but its voter has signed.
    pub fn of(vote: &SignedVote) -> Self {
        let (voter, digest, signature) = (vote.vote().voter, vote.digest(), *vote.signature());
        Self { voter, digest, signature, echoes: BTreeMap::new() }
    }

    /// How many have signed it, the voter among them.
    pub fn signatures(&self) -> usize {
        1 + self.echoes.len()
    }

    /// Co-signs it, unless it is one's own.
    pub fn sign(&mut self, keypair: &AuthorityKeypair, network: &NetworkId, valid_after: u64) {
        let signer = keypair.identity();
        if signer != self.voter {
            let signature = keypair.sign(DOMAIN, &signed(network, valid_after, &self.voter, &self.digest));
            self.echoes.insert(signer, signature);
        }
    }

    /// Whether it is of the same vote, and then takes the other's signatures too.
    pub fn merge(&mut self, other: &Self) -> bool {
        let same = (self.voter, self.digest) == (other.voter, other.digest);
        if same {
            self.echoes.extend(other.echoes.iter().map(|(key, signature)| (*key, *signature)));
        }
        same
    }

    fn verify(&self, authorities: &Authorities, valid_after: u64) -> Result<(), EchoError> {
        let network = authorities.network();
        for authority in self.echoes.keys().chain([&self.voter]) {
            if authorities.get(authority).is_none() {
                return Err(EchoError::Stranger(*authority));
            }
        }
        verify_signature(&self.voter, network, valid_after, &self.digest, &self.signature)
            .map_err(|error| EchoError::Signature(self.voter, error))?;
        let message = signed(network, valid_after, &self.voter, &self.digest);
        self.echoes.iter().try_for_each(|(signer, signature)| {
            signer.verify(DOMAIN, &message, signature).map_err(|error| EchoError::Signature(*signer, error))
        })
    }
}

fn signed(network: &NetworkId, valid_after: u64, voter: &AuthorityIdentity, digest: &VoteDigest) -> Vec<u8> {
    [&network.as_bytes()[..], &valid_after.to_be_bytes(), voter.as_bytes(), digest.as_bytes()].concat()
}

/// The votes that an authority has heard for one period.
///
/// Encoding: version (2 bytes, 1) · network id (32) · valid after (8) · number of votes (1) and each one's voter (32), digest
/// (32), voter's signature (64), number of echoes (1) and each one's authority (32) and Ed25519 signature (64); votes by
/// ascending voters and digests, echoes by ascending authorities. An echo signs a domain string, the network's id, valid
/// after, the voter and the digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Echoes {
    /// The period: when its consensus begins to count, in seconds since 1970.
    pub valid_after: u64,
    /// The votes; at most [`MAX_VOTES_OF_ONE`] of each voter.
    pub list: Vec<Echo>,
}

impl Echoes {
    /// The encoding.
    pub fn encode(&self, network: &NetworkId) -> Vec<u8> {
        let mut list: Vec<_> = self.list.iter().take(MAX_ECHOES).collect();
        list.sort_by_key(|echo| (echo.voter, echo.digest));
        let mut writer = Writer::new();
        writer.u16(VERSION).raw(network.as_bytes()).u64(self.valid_after);
        writer.u8(u8::try_from(list.len()).unwrap_or(u8::MAX));
        for echo in list {
            writer.raw(echo.voter.as_bytes()).raw(echo.digest.as_bytes()).raw(&echo.signature);
            writer.u8(u8::try_from(echo.echoes.len()).unwrap_or(u8::MAX));
            for (authority, signature) in &echo.echoes {
                writer.raw(authority.as_bytes()).raw(signature);
            }
        }
        writer.into_bytes()
    }

    /// Decodes the echoes for the period that begins at `valid_after`, and checks every signature.
    ///
    /// # Errors
    ///
    /// If anything in it does not hold.
    pub fn verify(bytes: &[u8], authorities: &Authorities, valid_after: u64) -> Result<Self, EchoError> {
        let mut reader = Reader::new(bytes);
        reader.version("the list of echoes", VERSION)?;
        if reader.array()? != *authorities.network().as_bytes() {
            return Err(EchoError::Network);
        }
        let period = reader.u64()?;
        if period != valid_after {
            return Err(EchoError::Period(period));
        }
        let len = usize::from(reader.u8()?);
        let mut list: Vec<Echo> = Vec::new();
        for _ in 0..len {
            let echo = decode(&mut reader)?;
            if list.last().is_some_and(|last| (last.voter, last.digest) >= (echo.voter, echo.digest)) {
                return Err(EchoError::Order("votes"));
            }
            if list.iter().filter(|other| other.voter == echo.voter).count() >= MAX_VOTES_OF_ONE {
                return Err(EchoError::Order("votes"));
            }
            list.push(echo);
        }
        reader.finish()?;
        list.iter().try_for_each(|echo| echo.verify(authorities, valid_after))?;
        Ok(Self { valid_after, list })
    }
}

fn decode(reader: &mut Reader<'_>) -> Result<Echo, EchoError> {
    let voter = AuthorityIdentity::from(reader.array::<32>()?);
    let (digest, signature) = (VoteDigest::from_bytes(reader.array()?), reader.array()?);
    let len = usize::from(reader.u8()?);
    if len > MAX_AUTHORITIES {
        return Err(DecodeError::TooLong { what: "the list of an echo's signatures", len, max: MAX_AUTHORITIES }.into());
    }
    let mut echoes = BTreeMap::new();
    for _ in 0..len {
        let authority = AuthorityIdentity::from(reader.array::<32>()?);
        if authority == voter || echoes.last_key_value().is_some_and(|(last, _)| *last >= authority) {
            return Err(EchoError::Order("signatures"));
        }
        echoes.insert(authority, reader.array()?);
    }
    Ok(Echo { voter, digest, signature, echoes })
}

#[cfg(test)]
mod tests {
    use super::super::authorities::tests::authorities;
    use super::super::vote::tests::{START, vote};
    use super::*;

    #[test]
    fn no_changed_byte_is_accepted() {
        let (keypairs, authorities) = authorities(3);
        let network = authorities.network();
        let votes = [0, 1].map(|n: usize| vote(&keypairs[n], network, &[1]).sign(&keypairs[n], network).unwrap());
        let mut list: Vec<_> = votes.iter().map(Echo::of).collect();
        list[0].sign(&keypairs[1], network, START);
        list[0].sign(&keypairs[2], network, START);
        list[0].sign(&keypairs[0], network, START);
        assert_eq!((list[0].signatures(), list[1].signatures()), (3, 1), "nobody echoes what is their own");
        let echoes = Echoes { valid_after: START, list };
        let bytes = echoes.encode(network);
        let verify = |bytes: &[u8]| Echoes::verify(bytes, &authorities, START);
        assert_eq!(verify(&bytes).unwrap().list.len(), 2);
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert!(verify(&changed).is_err(), "byte {at}");
            assert!(verify(&bytes[..at]).is_err(), "cut at {at}");
        }
        assert_eq!(Echoes::verify(&bytes, &authorities, START + 1), Err(EchoError::Period(START)));
    }

    #[test]
    fn strangers_and_third_votes_are_refused() {
        let (keypairs, authorities) = authorities(3);
        let network = authorities.network();
        let signed = |seeds: &[u8]| vote(&keypairs[0], network, seeds).sign(&keypairs[0], network).unwrap();
        let list: Vec<_> = [&[1][..], &[2], &[3]].map(|seeds| Echo::of(&signed(seeds))).into();
        let bytes = Echoes { valid_after: START, list: list.clone() }.encode(network);
        assert_eq!(Echoes::verify(&bytes, &authorities, START), Err(EchoError::Order("votes")));
        let stranger = AuthorityKeypair::new(crate::crypto::keys::IdentityKeypair::from_seed(&[7; 32]));
        let mut echo = list[0].clone();
        echo.sign(&stranger, network, START);
        let bytes = Echoes { valid_after: START, list: vec![echo] }.encode(network);
        assert_eq!(Echoes::verify(&bytes, &authorities, START), Err(EchoError::Stranger(stranger.identity())));
    }

    #[test]
    fn the_longest_list_fits_its_bound() {
        let echoes = (0..31).map(|n| ([n; 32].into(), [0; 64])).collect();
        let echo =
            Echo { voter: [200; 32].into(), digest: VoteDigest::from_bytes([0; 32]), signature: [0; 64], echoes };
        let bytes = Echoes { valid_after: START, list: vec![echo; MAX_ECHOES] }.encode(&NetworkId::from_bytes([0; 32]));
        assert_eq!(bytes.len(), MAX_ECHOES_LEN);
    }
}
