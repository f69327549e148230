//! What one authority says of the network, for one period.

use core::fmt;
use std::collections::BTreeMap;
use std::sync::Arc;

use sha3::{Digest, Sha3_256};
use thiserror::Error;

use super::consensus::{authority_url, count, decode_option, encode_option, encode_parameters, nickname, parameters};
use super::{
    Authorities, AuthorityIdentity, AuthorityKeypair, ConsensusDigest, ConsensusError, DescriptorError, Extensions,
    MAX_DESCRIPTOR_LEN, MAX_RELAYS, NetworkId, Nickname, RelayDescriptor, Roles,
};
use crate::crypto::keys::{RelayIdentity, SIGNATURE_LEN, SignatureError};
use crate::wire::{DecodeError, Reader, Writer};

const DOMAIN: &str = "vote 1";
const VERSION: u16 = 1;
const MAX_RULE_SETS: usize = 16;
const MAX_EXTENSIONS_LEN: usize = 4096;

/// Bytes of a relay in a vote besides its descriptor.
const VOTED_LEN: usize = 2 + 2 + 4 + 1 + 8;

/// The longest encoding of a vote, in bytes.
pub const MAX_VOTE_LEN: usize = MAX_RELAYS * (MAX_DESCRIPTOR_LEN + VOTED_LEN) + 64 * 1024;

/// Why a vote does not count.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum VoteError {
    /// It is malformed.
    #[error("the vote is malformed: {0}")]
    Decode(#[from] DecodeError),
    /// It is longer than any vote.
    #[error("the vote is longer than {MAX_VOTE_LEN} bytes")]
    TooLong,
    /// It belongs to another network.
    #[error("the vote is another network's")]
    Network,
    /// It is for another period.
    #[error("the vote is for the period that begins {0} s after 1970")]
    Period(u64),
    /// It is of nobody who may vote.
    #[error("{0} is no authority")]
    Voter(AuthorityIdentity),
    /// The voter has not signed it.
    #[error("the vote is not signed by its voter: {0}")]
    Signature(SignatureError),
    /// It lists a relay with a descriptor that does not count.
    #[error("the vote lists a relay whose descriptor does not count: {0}")]
    Descriptor(DescriptorError),
    /// Something stands there twice, or not in ascending order.
    #[error("the vote does not list its {0} in ascending order, each once")]
    Order(&'static str),
}

impl From<ConsensusError> for VoteError {
    fn from(error: ConsensusError) -> Self {
        match error {
            ConsensusError::Decode(error) => Self::Decode(error),
            ConsensusError::Order(what) => Self::Order(what),
            // The parts that the two documents share know no other errors.
            _ => Self::Decode(DecodeError::Invalid("the vote")),
        }
    }
}

/// SHA3-256 of everything in a vote before its signature.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VoteDigest([u8; 32]);

impl VoteDigest {
    /// The digest with these bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The digest's bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for VoteDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&data_encoding::HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for VoteDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VoteDigest({self})")
    }
}

/// Whether a relay's descriptor, byte for byte, is one whose signatures have been checked before.
pub type IsKnown<'a> = &'a dyn Fn(&RelayIdentity, &[u8]) -> bool;

/// What a vote says of a relay that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VotedRelay {
    /// What the relay says of itself.
    pub descriptor: RelayDescriptor,
    /// The descriptor as the relay has signed it.
    pub bytes: Arc<[u8]>,
    /// What the voter would have it used for.
    pub roles: Roles,
    /// How often the voter would have it chosen.
    pub weight: u32,
    /// How many of a hundred probes it has answered lately.
    pub health: u8,
    /// Since when the voter has known it, in seconds since 1970.
    pub since: u64,
}

/// What one authority says of the network, for one period.
///
/// Encoding: version (2 bytes, 1) · network id (32) · valid after (8) · published (8) · voter's key (32), nickname (length 1,
/// text) and address (length 2, text) · number of rule sets (1) and each one's number (2), ascending · fresh for, valid for,
/// length of a cycle of the shared random value (4 each, in seconds) · digest of the newest consensus (32, zeros for none)
/// and its valid after (8) · commitment and reveal (a 1 and 32 bytes, or a 0) · parameters as in a consensus · number of
/// relays (2) and each one's descriptor (length 2), roles (2), weight (4), health (1) and since (8), by ascending identity ·
/// [`Extensions`] · Ed25519 signature (64). Signed are a domain string, the network's id, valid after, and the digest of
/// everything before the signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vote {
    /// The period: when its consensus begins to count, in seconds since 1970.
    pub valid_after: u64,
    /// When the vote was made, by the voter's clock.
    pub published: u64,
    /// Who votes.
    pub voter: AuthorityIdentity,
    /// The voter's name for people.
    pub nickname: Nickname,
    /// Where the voter is now.
    pub url: String,
    /// By which rules the voter can compute a consensus, ascending.
    pub rule_sets: Vec<u16>,
    /// How long a consensus should stay the newest, in seconds.
    pub fresh_for: u32,
    /// How long it should count, in seconds.
    pub valid_for: u32,
    /// How long a cycle of the shared random value should be, in seconds.
    pub cycle_len: u32,
    /// The newest consensus that the voter holds, and its valid after.
    pub previous: Option<(ConsensusDigest, u64)>,
    /// What the voter commits itself to in this cycle.
    pub commitment: Option<[u8; 32]>,
    /// What it had committed itself to.
    pub reveal: Option<[u8; 32]>,
    /// Numbers that all nodes and clients should go by.
    pub parameters: BTreeMap<String, i64>,
    /// The relays that run, by ascending identity.
    pub relays: Vec<VotedRelay>,
    /// Fields that this version does not know.
    pub other: Extensions,
}

/// A vote with its signature, checked.
#[derive(Clone, Debug)]
pub struct SignedVote {
    vote: Vote,
    digest: VoteDigest,
    signature: [u8; SIGNATURE_LEN],
    bytes: Arc<[u8]>,
}

impl Vote {
    /// Signs the vote.
    ///
    /// # Errors
    ///
    /// What its readers would refuse.
    pub fn sign(self, keypair: &AuthorityKeypair, network: &NetworkId) -> Result<SignedVote, VoteError> {
        let mut writer = Writer::new();
        self.encode(network, &mut writer)?;
        let digest = digest(writer.as_slice());
        let signature = keypair.sign(DOMAIN, &signed(network, self.valid_after, &digest));
        writer.raw(&signature);
        let bytes: Arc<[u8]> = writer.into_bytes().into();
        let (vote, _) = Self::decode(&bytes, network, &|_, _| true)?;
        Ok(SignedVote { vote, digest, signature, bytes })
    }

    fn encode(&self, network: &NetworkId, writer: &mut Writer) -> Result<(), DecodeError> {
        writer.u16(VERSION).raw(network.as_bytes()).u64(self.valid_after).u64(self.published);
        writer.raw(self.voter.as_bytes());
        // A nickname's length is bounded by its type.
        let _ = writer.bytes_u8(self.nickname.as_str().as_bytes());
        writer.bytes_u16(self.url.as_bytes()).map_err(|_| DecodeError::Invalid("an authority's address"))?;
        let len = count("the list of rule sets", self.rule_sets.len(), MAX_RULE_SETS)?;
        writer.u8(u8::try_from(len).unwrap_or(u8::MAX));
        self.rule_sets.iter().for_each(|rule_set| _ = writer.u16(*rule_set));
        writer.u32(self.fresh_for).u32(self.valid_for).u32(self.cycle_len);
        let (digest, valid_after) = self.previous.map_or(([0; 32], 0), |(digest, at)| (*digest.as_bytes(), at));
        writer.raw(&digest).u64(valid_after);
        encode_option(writer, self.commitment.as_ref());
        encode_option(writer, self.reveal.as_ref());
        encode_parameters(writer, &self.parameters)?;
        let len = count("the list of relays", self.relays.len(), MAX_RELAYS)?;
        writer.u16(u16::try_from(len).unwrap_or(u16::MAX));
        for relay in &self.relays {
            writer.bytes_u16(&relay.bytes).map_err(|_| DecodeError::Invalid("a descriptor"))?;
            writer.u16(relay.roles.bits()).u32(relay.weight).u8(relay.health).u64(relay.since);
        }
        self.other.encode(writer);
        Ok(())
    }

    /// Gives the vote and how many bytes of it were signed.
    fn decode(bytes: &[u8], network: &NetworkId, is_known: IsKnown<'_>) -> Result<(Self, usize), VoteError> {
        if bytes.len() > MAX_VOTE_LEN {
            return Err(VoteError::TooLong);
        }
        let mut reader = Reader::new(bytes);
        reader.version("the vote", VERSION)?;
        if reader.array()? != *network.as_bytes() {
            return Err(VoteError::Network);
        }
        let (valid_after, published) = (reader.u64()?, reader.u64()?);
        let voter = reader.array::<32>()?.into();
        let (nickname, url) = (nickname(&mut reader)?, authority_url(&mut reader)?);
        let mut rule_sets = Vec::new();
        for _ in 0..count("the list of rule sets", usize::from(reader.u8()?), MAX_RULE_SETS)? {
            let rule_set = reader.u16()?;
            if rule_sets.last().is_some_and(|last| *last >= rule_set) {
                return Err(VoteError::Order("rule sets"));
            }
            rule_sets.push(rule_set);
        }
        let (fresh_for, valid_for, cycle_len) = (reader.u32()?, reader.u32()?, reader.u32()?);
        let previous = (ConsensusDigest::from_bytes(reader.array()?), reader.u64()?);
        let previous = match previous {
            (digest, 0) if *digest.as_bytes() == [0; 32] => None,
            (digest, _) if *digest.as_bytes() == [0; 32] => {
                return Err(DecodeError::Invalid("the newest consensus").into());
            }
            previous => Some(previous),
        };
        let commitment = decode_option(&mut reader, "a commitment")?;
        let reveal = decode_option(&mut reader, "a reveal")?;
        let parameters = parameters(&mut reader)?;
        let relays = voted_relays(&mut reader, network, is_known)?;
        let other = Extensions::decode(&mut reader, "the vote's optional fields", MAX_EXTENSIONS_LEN)?;
        let signed_len = bytes.len() - reader.remaining();
        reader.array::<SIGNATURE_LEN>()?;
        reader.finish()?;
        let vote = Self {
            valid_after,
            published,
            voter,
            nickname,
            url,
            rule_sets,
            fresh_for,
            valid_for,
            cycle_len,
            previous,
            commitment,
            reveal,
            parameters,
            relays,
            other,
        };
        Ok((vote, signed_len))
    }
}

fn voted_relays(
    reader: &mut Reader<'_>,
    network: &NetworkId,
    is_known: IsKnown<'_>,
) -> Result<Vec<VotedRelay>, VoteError> {
    let len = count("the list of relays", usize::from(reader.u16()?), MAX_RELAYS)?;
    let mut relays: Vec<VotedRelay> = Vec::with_capacity(len.min(reader.remaining() / VOTED_LEN));
    for _ in 0..len {
        let bytes = reader.bytes_u16("a descriptor", MAX_DESCRIPTOR_LEN)?;
        let descriptor = RelayDescriptor::decode(bytes).map_err(VoteError::Descriptor)?;
        if !is_known(&descriptor.entry.identity, bytes) {
            descriptor.check_signatures(bytes, network).map_err(VoteError::Descriptor)?;
        }
        if relays.last().is_some_and(|last| last.descriptor.entry.identity >= descriptor.entry.identity) {
            return Err(VoteError::Order("relays"));
        }
        let (roles, weight, health) = (Roles::from_bits(reader.u16()?), reader.u32()?, reader.u8()?);
        if health > 100 {
            return Err(DecodeError::Invalid("a relay's health").into());
        }
        relays.push(VotedRelay { descriptor, bytes: bytes.into(), roles, weight, health, since: reader.u64()? });
    }
    Ok(relays)
}

fn digest(signed: &[u8]) -> VoteDigest {
    VoteDigest(Sha3_256::digest(signed).into())
}

fn signed(network: &NetworkId, valid_after: u64, digest: &VoteDigest) -> Vec<u8> {
    [&network.as_bytes()[..], &valid_after.to_be_bytes(), digest.as_bytes()].concat()
}

/// Checks a voter's signature on a vote of which only the digest is known.
pub(super) fn verify_signature(
    voter: &AuthorityIdentity,
    network: &NetworkId,
    valid_after: u64,
    digest: &VoteDigest,
    signature: &[u8; SIGNATURE_LEN],
) -> Result<(), SignatureError> {
    voter.verify(DOMAIN, &signed(network, valid_after, digest), signature)
}

impl SignedVote {
    /// Decodes a vote for the period that begins at `valid_after`, and checks it and every descriptor in it.
    ///
    /// Descriptors that `is_known` knows, byte for byte, were checked before and are not checked again: a vote has up to
    /// [`MAX_RELAYS`], mostly the same as the reader holds.
    ///
    /// # Errors
    ///
    /// If it does not count; which does not depend on the reader.
    pub fn verify(
        bytes: &[u8],
        authorities: &Authorities,
        valid_after: u64,
        is_known: IsKnown<'_>,
    ) -> Result<Self, VoteError> {
        let network = authorities.network();
        let (vote, signed_len) = Vote::decode(bytes, network, is_known)?;
        if vote.valid_after != valid_after {
            return Err(VoteError::Period(vote.valid_after));
        }
        if authorities.get(&vote.voter).is_none() {
            return Err(VoteError::Voter(vote.voter));
        }
        let (body, signature) = bytes.split_at(signed_len);
        let signature = signature.try_into().map_err(|_| DecodeError::Invalid("the signature"))?;
        let digest = digest(body);
        verify_signature(&vote.voter, network, valid_after, &digest, &signature).map_err(VoteError::Signature)?;
        Ok(Self { vote, digest, signature, bytes: bytes.into() })
    }

    /// What it says.
    pub const fn vote(&self) -> &Vote {
        &self.vote
    }

    /// Its digest.
    pub const fn digest(&self) -> VoteDigest {
        self.digest
    }

    /// The voter's signature.
    pub const fn signature(&self) -> &[u8; SIGNATURE_LEN] {
        &self.signature
    }

    /// The encoding.
    pub const fn bytes(&self) -> &Arc<[u8]> {
        &self.bytes
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::authorities::tests::authorities;
    use super::super::descriptor::tests::relay;
    use super::*;

    pub(in super::super) const START: u64 = 1_700_000_000;

    /// What the authority with this key says of the relays with these seeds.
    pub(in super::super) fn vote(keypair: &AuthorityKeypair, network: &NetworkId, seeds: &[u8]) -> Vote {
        let mut relays: Vec<_> = seeds
            .iter()
            .map(|seed| {
                let (keypair, descriptor) = relay(*seed);
                let bytes = descriptor.sign(&keypair, network).into();
                let roles = descriptor.entry.roles;
                VotedRelay { descriptor, bytes, roles, weight: 100, health: 100, since: START - 100 }
            })
            .collect();
        relays.sort_by_key(|relay| relay.descriptor.entry.identity);
        Vote {
            valid_after: START,
            published: START - 10,
            voter: keypair.identity(),
            nickname: "voter".parse().unwrap(),
            url: "http://192.0.2.1:7000".to_owned(),
            rule_sets: vec![1],
            fresh_for: 900,
            valid_for: 10_800,
            cycle_len: 86_400,
            previous: None,
            commitment: None,
            reveal: None,
            parameters: [("a".to_owned(), 1)].into(),
            relays,
            other: Extensions::default(),
        }
    }

    #[test]
    fn no_changed_byte_is_accepted() {
        let (keypairs, authorities) = authorities(3);
        let mut vote = vote(&keypairs[0], authorities.network(), &[1, 2, 3]);
        vote.previous = Some((ConsensusDigest::from_bytes([7; 32]), START - 900));
        vote.commitment = Some([8; 32]);
        vote.other.insert(77, vec![1]);
        let signed = vote.clone().sign(&keypairs[0], authorities.network()).unwrap();
        let verify = |bytes: &[u8]| SignedVote::verify(bytes, &authorities, START, &|_, _| false);
        let read = verify(signed.bytes()).unwrap();
        assert_eq!((read.vote(), read.digest()), (&vote, signed.digest()));
        for at in 0..signed.bytes().len() {
            let mut changed = signed.bytes().to_vec();
            changed[at] ^= 1;
            assert!(verify(&changed).is_err(), "byte {at}");
            assert!(verify(&signed.bytes()[..at]).is_err(), "cut at {at}");
        }
        assert!(verify(&[&signed.bytes()[..], &[0]].concat()).is_err());
    }

    #[test]
    fn errors_say_what_is_wrong() {
        let (keypairs, authorities) = authorities(3);
        let network = authorities.network();
        let good = vote(&keypairs[0], network, &[1, 2]);
        let verify = |vote: &Vote, keypair: &AuthorityKeypair, network: &NetworkId| {
            let signed = vote.clone().sign(keypair, network).unwrap();
            SignedVote::verify(signed.bytes(), &authorities, START, &|_, _| false).map(|_| ())
        };
        assert_eq!(verify(&good, &keypairs[0], network), Ok(()));
        let elsewhere = NetworkId::from_bytes([1; 32]);
        let empty = Vote { relays: Vec::new(), ..good.clone() };
        assert_eq!(verify(&empty, &keypairs[0], &elsewhere), Err(VoteError::Network));
        let late = Vote { valid_after: START + 900, ..good.clone() };
        assert_eq!(verify(&late, &keypairs[0], network), Err(VoteError::Period(START + 900)));
        assert!(matches!(verify(&good, &keypairs[1], network), Err(VoteError::Signature(_))));
        let stranger = AuthorityKeypair::new(crate::crypto::keys::IdentityKeypair::from_seed(&[7; 32]));
        let foreign = Vote { voter: stranger.identity(), ..good.clone() };
        assert_eq!(verify(&foreign, &stranger, network), Err(VoteError::Voter(stranger.identity())));
        let mut healthier = good.clone();
        healthier.relays[1].health = 101;
        let refused = healthier.sign(&keypairs[0], network).map(|_| ());
        assert_eq!(refused, Err(DecodeError::Invalid("a relay's health").into()));
        let previous = Some((ConsensusDigest::from_bytes([0; 32]), 1));
        let refused = Vote { previous, ..good.clone() }.sign(&keypairs[0], network).map(|_| ());
        assert_eq!(refused, Err(DecodeError::Invalid("the newest consensus").into()));
        // A relay that has not signed what is said of it, and one that is listed twice.
        let mut forged = good.clone();
        let mut bytes = forged.relays[0].bytes.to_vec();
        *bytes.last_mut().unwrap() ^= 1;
        forged.relays[0].bytes = bytes.into();
        assert!(matches!(verify(&forged, &keypairs[0], network), Err(VoteError::Descriptor(_))));
        let mut twice = good.clone();
        twice.relays[1] = twice.relays[0].clone();
        assert_eq!(twice.sign(&keypairs[0], network).unwrap_err(), VoteError::Order("relays"));
    }
}
