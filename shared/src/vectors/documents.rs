//! The fields of the directory's larger documents, and the check of each.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::fields::{Bytes, EntryFields};
use super::{Outcome, same, same_bytes, text};
use crate::crypto::keys::IdentityKeypair;
use crate::netdir::{
    Authorities, Authority, AuthorityKeypair, Consensus, ConsensusDigest, ConsensusDraft, ConsensusUpdate, Difference,
    ListedAuthority, SharedRandom, Validity,
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
    other: BTreeMap<u16, Bytes>,
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
        for (number, value) in &self.other {
            draft.other.insert(*number, value.get()?);
        }
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
