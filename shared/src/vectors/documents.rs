//! The fields of the directory's documents, and the check of each.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::fields::{Bytes, EntryFields, insert, roles};
use super::{Outcome, same, same_bytes, text};
use crate::crypto::keys::IdentityKeypair;
use crate::netdir::{
    Authorities, Authority, AuthorityKeypair, Consensus, ConsensusDigest, ConsensusDraft, ConsensusSignature,
    ConsensusUpdate, Difference, Echo, Echoes, Extensions, FamilyKeypair, ListedAuthority, Misconduct, NetworkId,
    Proofs, RelayDescriptor, SharedRandom, SignedVote, Validity, Vote, VoteDigest, VotedRelay, encode_signatures,
    tally, verify_signatures,
};
use crate::time::UnixTime;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ConsensusFields {
    authority_seeds: Vec<Bytes>,
    /// Which of them have signed.
    signers: Vec<usize>,
    rule_set: u16,
    valid_after: u64,
    fresh_until: u64,
    valid_until: u64,
    previous: Option<Bytes>,
    random: RandomFields,
    authorities: Vec<ListedFields>,
    parameters: BTreeMap<String, i64>,
    relays: Vec<EntryFields>,
    #[serde(default)]
    other: Vec<(u16, Bytes)>,
    digest: Bytes,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RandomFields {
    pub(super) cycle: u64,
    pub(super) value: Bytes,
    pub(super) contributions: u8,
    pub(super) before: Bytes,
}

#[derive(Deserialize)]
pub(super) struct DescriptorFields {
    seed: Bytes,
    published: u64,
    uptime: u64,
    relay: EntryFields,
    /// The seed of the family's key, where the relay has a family.
    family_seed: Option<Bytes>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct VoteFields {
    authority_seeds: Vec<Bytes>,
    /// Which of them votes.
    voter: usize,
    nickname: String,
    url: String,
    valid_after: u64,
    published: u64,
    rule_sets: Vec<u16>,
    fresh_for: u32,
    valid_for: u32,
    cycle_length: u32,
    newest: Option<Bytes>,
    newest_valid_after: u64,
    commitment: Option<Bytes>,
    reveal: Option<Bytes>,
    parameters: BTreeMap<String, i64>,
    relays: Vec<VotedFields>,
    #[serde(default)]
    other: Vec<(u16, Bytes)>,
    digest: Bytes,
}

/// What a vote says of a relay.
#[derive(Deserialize)]
pub(super) struct VotedFields {
    #[serde(flatten)]
    descriptor: DescriptorFields,
    roles: Vec<String>,
    #[serde(default)]
    unknown_roles: u16,
    weight: u32,
    health: u8,
    since: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EchoesFields {
    authority_seeds: Vec<Bytes>,
    valid_after: u64,
    votes: Vec<EchoFields>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EchoFields {
    voter: usize,
    digest: Bytes,
    echoed_by: Vec<usize>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SignaturesFields {
    authority_seeds: Vec<Bytes>,
    valid_after: u64,
    signatures: Vec<SignatureFields>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SignatureFields {
    authority: usize,
    digest: Bytes,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ProofsFields {
    authority_seeds: Vec<Bytes>,
    proofs: Vec<ProofFields>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ProofFields {
    twice: String,
    authority: usize,
    valid_after: u64,
    digests: [Bytes; 2],
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TallyFields {
    authority_seeds: Vec<Bytes>,
    quorum: usize,
    /// The consensus before, whole.
    previous: Option<Bytes>,
    /// Whole, in any order.
    votes: Vec<Bytes>,
    digest: Bytes,
}

/// What a consensus says of an authority, whose key is that of a seed.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListedFields {
    seed: usize,
    nickname: String,
    url: String,
    commitment: Option<Bytes>,
    reveal: Option<Bytes>,
}

/// The key pairs of these seeds, and the authorities that they make.
pub(super) fn authorities(seeds: &[Bytes]) -> Result<(Vec<AuthorityKeypair>, Authorities), String> {
    let keypairs: Vec<_> = seeds
        .iter()
        .map(|seed| Ok(AuthorityKeypair::new(IdentityKeypair::from_seed(&seed.array()?))))
        .collect::<Result<_, String>>()?;
    let list = keypairs.iter().enumerate().map(|(index, keypair)| {
        let nickname = format!("authority{index}").parse().map_err(text)?;
        Ok(Authority { nickname, key: keypair.identity(), url: "http://192.0.2.1".to_owned() })
    });
    let authorities = Authorities::new(list.collect::<Result<_, String>>()?).map_err(text)?;
    Ok((keypairs, authorities))
}

pub(super) fn optional(bytes: Option<&Bytes>) -> Result<Option<[u8; 32]>, String> {
    bytes.map(Bytes::array).transpose()
}

/// An update, and the two whole documents that it leads from and to.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct UpdateFields {
    update: String,
    authority_seeds: Vec<Bytes>,
    base: Bytes,
    consensus: Bytes,
}

impl UpdateFields {
    pub(super) fn check(&self, bytes: &[u8]) -> Outcome {
        let (_, authorities) = authorities(&self.authority_seeds)?;
        let (base, consensus) = (self.base.get()?, self.consensus.get()?);
        let held = Consensus::verify_signatures(&base, &authorities).map_err(text)?;
        Consensus::verify_signatures(&consensus, &authorities).map_err(text)?;
        let update = match self.update.as_str() {
            "Unchanged" => ConsensusUpdate::Unchanged,
            "Whole" => ConsensusUpdate::Whole(&consensus),
            "Difference" => {
                ConsensusUpdate::Difference(Difference::between(held.digest(), &base, &consensus).map_err(text)?)
            }
            other => return Err(format!("{other:?} is no kind of update")),
        };
        same_bytes(&update.encode(), bytes)?;
        let made = ConsensusUpdate::decode(bytes).and_then(|update| update.apply(Some(&held))).map_err(text)?;
        same_bytes(&made.unwrap_or(base), &consensus)?;
        Ok(vec![format!("update {}", self.update)])
    }
}

impl RandomFields {
    fn get(&self) -> Result<SharedRandom, String> {
        Ok(SharedRandom {
            cycle: self.cycle,
            value: self.value.array()?,
            contributions: self.contributions,
            before: self.before.array()?,
        })
    }
}

impl ConsensusFields {
    pub(super) fn check(&self, bytes: &[u8]) -> Outcome {
        let (keypairs, authorities) = authorities(&self.authority_seeds)?;
        let Self { valid_after, fresh_until, valid_until, .. } = *self;
        let validity = Validity { valid_after, fresh_until, valid_until };
        let relays: Vec<_> = self.relays.iter().map(EntryFields::entry).collect::<Result<_, _>>()?;
        let listed = self.authorities.iter().map(|listed| {
            let keypair = keypairs.get(listed.seed).ok_or("there is no such seed")?;
            Ok(ListedAuthority {
                key: keypair.identity(),
                nickname: listed.nickname.parse().map_err(text)?,
                url: listed.url.clone(),
                commitment: optional(listed.commitment.as_ref())?,
                reveal: optional(listed.reveal.as_ref())?,
            })
        });
        let listed: Vec<_> = listed.collect::<Result<_, String>>()?;
        let mut draft = ConsensusDraft::new(*authorities.network(), validity, relays.clone());
        draft.rule_set = self.rule_set;
        draft.previous = optional(self.previous.as_ref())?.map(ConsensusDigest::from_bytes);
        draft.random = self.random.get()?;
        draft.authorities.clone_from(&listed);
        draft.parameters.clone_from(&self.parameters);
        let health =
            relays.iter().zip(&self.relays).filter_map(|(relay, fields)| Some((relay.identity, fields.health?)));
        draft.health = health.collect();
        insert(&self.other, &mut draft.other)?;
        let signers: Vec<_> = self.signers.iter().filter_map(|index| keypairs.get(*index)).collect();
        same_bytes(&draft.sign(&signers).map_err(text)?, bytes)?;
        let now = UnixTime::from_millis(valid_after * 1000);
        let consensus = Consensus::verify(bytes, &authorities, now).map_err(text)?;
        same_bytes(consensus.digest().as_bytes(), &self.digest.get()?)?;
        same("the validity", consensus.validity(), validity)?;
        same(
            "the consensus before",
            consensus.previous(),
            optional(self.previous.as_ref())?.map(ConsensusDigest::from_bytes),
        )?;
        same("the shared random value", *consensus.random(), self.random.get()?)?;
        same("the list of authorities", consensus.authorities().len(), listed.len())?;
        same("what is said of authorities", listed.iter().all(|one| consensus.authorities().contains(one)), true)?;
        same("the parameters", consensus.parameters(), &self.parameters)?;
        same("the list of relays", consensus.relays(), &relays)?;
        for (relay, fields) in relays.iter().zip(&self.relays) {
            same("a relay's health", consensus.health(&relay.identity), Some(fields.health.unwrap_or(100)))?;
        }
        Ok(vec!["consensus".to_owned()])
    }
}

impl DescriptorFields {
    /// The descriptor, and as the relay signs it.
    pub(super) fn sign(&self, network: &NetworkId) -> Result<(RelayDescriptor, Vec<u8>), String> {
        let entry = self.relay.entry()?;
        let certificate = match &self.family_seed {
            Some(seed) => {
                let family = FamilyKeypair::new(IdentityKeypair::from_seed(&seed.array()?));
                same("the family", entry.family, Some(family.identity()))?;
                Some(family.certify(network, &entry.identity))
            }
            None => None,
        };
        let Self { published, uptime, .. } = *self;
        let descriptor = RelayDescriptor { published, uptime, entry, certificate };
        let signed = descriptor.sign(&IdentityKeypair::from_seed(&self.seed.array()?), network);
        Ok((descriptor, signed))
    }
}

impl VoteFields {
    pub(super) fn check(&self, bytes: &[u8]) -> Outcome {
        let (keypairs, authorities) = authorities(&self.authority_seeds)?;
        let (keypair, network) = (one(&keypairs, self.voter)?, authorities.network());
        let relays = self.relays.iter().map(|voted| {
            let (descriptor, bytes) = voted.descriptor.sign(network)?;
            let VotedFields { unknown_roles, weight, health, since, .. } = *voted;
            let roles = roles(&voted.roles, unknown_roles)?;
            Ok(VotedRelay { descriptor, bytes: bytes.into(), roles, weight, health, since })
        });
        let newest = optional(self.newest.as_ref())?.map(ConsensusDigest::from_bytes);
        let mut other = Extensions::default();
        insert(&self.other, &mut other)?;
        let Self { valid_after, published, fresh_for, valid_for, cycle_length, newest_valid_after, .. } = *self;
        let vote = Vote {
            valid_after,
            published,
            voter: keypair.identity(),
            nickname: self.nickname.parse().map_err(text)?,
            url: self.url.clone(),
            rule_sets: self.rule_sets.clone(),
            fresh_for,
            valid_for,
            cycle_len: cycle_length,
            previous: newest.map(|digest| (digest, newest_valid_after)),
            commitment: optional(self.commitment.as_ref())?,
            reveal: optional(self.reveal.as_ref())?,
            parameters: self.parameters.clone(),
            relays: relays.collect::<Result<_, String>>()?,
            other,
        };
        let signed = vote.clone().sign(keypair, network).map_err(text)?;
        same_bytes(signed.bytes(), bytes)?;
        let read = SignedVote::verify(bytes, &authorities, valid_after, &|_, _| false).map_err(text)?;
        same("the vote", read.vote(), &vote)?;
        same_bytes(read.digest().as_bytes(), &self.digest.get()?)?;
        Ok(vec!["vote".to_owned()])
    }
}

impl EchoesFields {
    pub(super) fn check(&self, bytes: &[u8]) -> Outcome {
        let (keypairs, authorities) = authorities(&self.authority_seeds)?;
        let (network, valid_after) = (authorities.network(), self.valid_after);
        let list = self.votes.iter().map(|vote| {
            let voter = one(&keypairs, vote.voter)?;
            let digest = VoteDigest::from_bytes(vote.digest.array()?);
            let signature = voter.sign("vote 1", &period(network, valid_after, digest.as_bytes()));
            let mut echo = Echo { voter: voter.identity(), digest, signature, echoes: BTreeMap::new() };
            for index in &vote.echoed_by {
                echo.sign(one(&keypairs, *index)?, network, valid_after);
            }
            same("the number of signatures", echo.signatures(), 1 + vote.echoed_by.len())?;
            Ok(echo)
        });
        let mut echoes = Echoes { valid_after, list: list.collect::<Result<_, String>>()? };
        same_bytes(&echoes.encode(network), bytes)?;
        echoes.list.sort_by_key(|echo| (echo.voter, echo.digest));
        same("the list", Echoes::verify(bytes, &authorities, valid_after).map_err(text)?, echoes)?;
        Ok(vec!["echoes".to_owned()])
    }
}

impl SignaturesFields {
    pub(super) fn check(&self, bytes: &[u8]) -> Outcome {
        let (keypairs, authorities) = authorities(&self.authority_seeds)?;
        let (network, valid_after) = (authorities.network(), self.valid_after);
        let list = self.signatures.iter().map(|one_of| {
            consensus_signature(one(&keypairs, one_of.authority)?, network, valid_after, one_of.digest.array()?)
        });
        let mut list = list.collect::<Result<Vec<_>, String>>()?;
        same_bytes(&encode_signatures(&list, network, valid_after), bytes)?;
        list.sort_by_key(|one| (one.authority, *one.digest.as_bytes()));
        same("the list", verify_signatures(bytes, &authorities, valid_after).map_err(text)?, list)?;
        Ok(vec!["signatures".to_owned()])
    }
}

impl ProofsFields {
    pub(super) fn check(&self, bytes: &[u8]) -> Outcome {
        let (keypairs, authorities) = authorities(&self.authority_seeds)?;
        let network = authorities.network();
        let mut proofs = Proofs::default();
        for ProofFields { twice, authority, valid_after, digests: [a, b] } in &self.proofs {
            let keypair = one(&keypairs, *authority)?;
            let proof = match twice.as_str() {
                "vote" => {
                    let echo = |digest: &Bytes| {
                        let digest = VoteDigest::from_bytes(digest.array()?);
                        let signature = keypair.sign("vote 1", &period(network, *valid_after, digest.as_bytes()));
                        Ok::<_, String>(Echo { voter: keypair.identity(), digest, signature, echoes: BTreeMap::new() })
                    };
                    Misconduct::of_votes(*valid_after, &echo(a)?, &echo(b)?)
                }
                "consensus" => {
                    let signature =
                        |digest: &Bytes| consensus_signature(keypair, network, *valid_after, digest.array()?);
                    Misconduct::of_signatures(&signature(a)?, &signature(b)?)
                }
                _ => return Err(format!("nobody proves that a {twice:?} was signed twice")),
            };
            same("whether it is a new proof", proofs.add(proof.ok_or("it is no proof")?), true)?;
        }
        same_bytes(&proofs.encode(network), bytes)?;
        let read = Proofs::verify(bytes, &authorities).map_err(text)?;
        let kinds = read.iter().map(|proof| format!("proof of {:?}", proof.twice)).collect();
        same("the list", read, proofs)?;
        Ok(kinds)
    }
}

impl TallyFields {
    pub(super) fn check(&self, bytes: &[u8]) -> Outcome {
        let (_, authorities) = authorities(&self.authority_seeds)?;
        let authorities = authorities.with_quorum(self.quorum).map_err(text)?;
        let previous = self.previous.as_ref().map(Bytes::get).transpose()?;
        let previous =
            previous.map(|bytes| Consensus::verify_signatures(&bytes, &authorities).map_err(text)).transpose()?;
        let votes = self.votes.iter().map(|vote| {
            let vote = vote.get()?;
            // A vote names its period behind its version and the network's id.
            let valid_after = vote.get(34..42).and_then(|bytes| bytes.try_into().ok()).map(u64::from_be_bytes);
            SignedVote::verify(&vote, &authorities, valid_after.unwrap_or_default(), &|_, _| false).map_err(text)
        });
        let votes: Vec<_> = votes.collect::<Result<_, String>>()?;
        let mut list: Vec<_> = votes.iter().collect();
        // Whatever order the votes have come in.
        for _ in 0..list.len() {
            list.rotate_left(1);
            let consensus = tally(&authorities, &list, previous.as_ref()).map_err(text)?.finish().map_err(text)?;
            let unsigned = consensus.assemble(&[]).map_err(text)?;
            same_bytes(unsigned.strip_suffix(&[0]).unwrap_or_default(), bytes)?;
            same_bytes(consensus.digest().as_bytes(), &self.digest.get()?)?;
        }
        Ok(vec!["tally".to_owned()])
    }
}

fn one(keypairs: &[AuthorityKeypair], index: usize) -> Result<&AuthorityKeypair, String> {
    keypairs.get(index).ok_or_else(|| "there is no such seed".to_owned())
}

/// What is signed of a document of one period.
fn period(network: &NetworkId, valid_after: u64, digest: &[u8; 32]) -> Vec<u8> {
    [&network.as_bytes()[..], &valid_after.to_be_bytes(), digest].concat()
}

/// A signature on a consensus of which only the digest is known.
fn consensus_signature(
    keypair: &AuthorityKeypair,
    network: &NetworkId,
    valid_after: u64,
    digest: [u8; 32],
) -> Result<ConsensusSignature, String> {
    let signature = keypair.sign("consensus 2", &period(network, valid_after, &digest));
    let digest = ConsensusDigest::from_bytes(digest);
    let signed = ConsensusSignature { authority: keypair.identity(), valid_after, digest, signature };
    signed.verify(network).map_err(text)?;
    Ok(signed)
}
