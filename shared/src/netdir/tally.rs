//! From votes to a consensus: rule set 1.
//!
//! The same votes and the same consensus before give the same document, byte for byte, wherever it is computed. Who changes
//! a rule gives the set of rules a new number, and goes by it only once a quorum of the votes name it.

use std::collections::{BTreeMap, BTreeSet};

use thiserror::Error;

use super::random::{SharedRandom, commitment, phase};
use super::{
    Authorities, AuthorityIdentity, Consensus, ConsensusDigest, ConsensusDraft, ListedAuthority, MAX_RELAYS,
    RelayEntry, Role, Roles, SignedVote, Validity, Vote, VotedRelay,
};
use crate::crypto::keys::RelayIdentity;

/// The rules that this program knows, ascending.
pub const RULE_SETS: &[u16] = &[1];

/// Why votes give no consensus.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TallyError {
    /// Too few authorities have voted.
    #[error("{votes} authorities have voted, and {quorum} have to")]
    TooFewVotes {
        /// How many votes count.
        votes: usize,
        /// How many would be enough.
        quorum: usize,
    },
    /// The votes name a consensus before that is not at hand.
    #[error("the consensus {0} comes before, and is not at hand")]
    Previous(ConsensusDigest),
    /// The voters go by rules of which none is known to a quorum of them and here.
    #[error("no set of rules is known to a quorum of the voters and to this program")]
    Rules,
}

/// Computes the consensus of `votes`, one of each voter and all for one period.
///
/// `previous` is the newest consensus that is at hand.
///
/// # Errors
///
/// If the votes are too few, or need what is not at hand.
pub fn tally(
    authorities: &Authorities,
    votes: &[&SignedVote],
    previous: Option<&Consensus>,
) -> Result<ConsensusDraft, TallyError> {
    let mut votes: Vec<&Vote> = votes.iter().map(|vote| vote.vote()).collect();
    votes.sort_by_key(|vote| vote.voter);
    let quorum = authorities.quorum();
    let Some(valid_after) = votes.first().map(|vote| vote.valid_after).filter(|_| votes.len() >= quorum) else {
        return Err(TallyError::TooFewVotes { votes: votes.len(), quorum });
    };
    let known = |set: &&u16| votes.iter().filter(|vote| vote.rule_sets.contains(set)).count() >= quorum;
    let rule_set = *RULE_SETS.iter().rev().find(known).ok_or(TallyError::Rules)?;
    let previous = match previous_of(&votes) {
        None => None,
        Some(digest) => {
            Some(previous.filter(|previous| previous.digest() == digest).ok_or(TallyError::Previous(digest))?)
        }
    };
    let seconds = |of: fn(&Vote) -> u32| u64::from(low_median(votes.iter().map(|vote| of(vote))).unwrap_or_default());
    let fresh_until = valid_after.saturating_add(seconds(|vote| vote.fresh_for));
    let valid_until = valid_after.saturating_add(seconds(|vote| vote.valid_for)).max(fresh_until);
    let (random, listed) = random(authorities, &votes, previous, valid_after, seconds(|vote| vote.cycle_len));
    let (relays, health) = relays(&votes);
    let mut draft =
        ConsensusDraft::new(*authorities.network(), Validity { valid_after, fresh_until, valid_until }, relays);
    draft.rule_set = rule_set;
    draft.previous = previous.map(Consensus::digest);
    draft.random = random;
    draft.authorities = listed;
    draft.parameters = parameters(&votes);
    draft.health = health;
    Ok(draft)
}

/// Whether `count` of the votes are more than half of them.
fn is_majority(count: usize, votes: &[&Vote]) -> bool {
    2 * count > votes.len()
}

/// The middle one, the lower of two.
fn low_median<T: Ord>(values: impl Iterator<Item = T>) -> Option<T> {
    let mut values: Vec<T> = values.collect();
    values.sort_unstable();
    let middle = values.len().checked_sub(1)? / 2;
    values.into_iter().nth(middle)
}

/// The newest consensus that most voters hold; of two that equally many hold, the later one.
fn previous_of(votes: &[&Vote]) -> Option<ConsensusDigest> {
    let mut counts: BTreeMap<_, usize> = BTreeMap::new();
    for vote in votes {
        *counts.entry(vote.previous.map(|(digest, valid_after)| (valid_after, *digest.as_bytes()))).or_default() += 1;
    }
    let (previous, _) = counts.into_iter().max_by_key(|(previous, count)| (*count, *previous))?;
    previous.map(|(_, digest)| ConsensusDigest::from_bytes(digest))
}

/// The shared random value, and what is to be said of each authority.
fn random(
    authorities: &Authorities,
    votes: &[&Vote],
    previous: Option<&Consensus>,
    valid_after: u64,
    cycle_len: u64,
) -> (SharedRandom, Vec<ListedAuthority>) {
    let (cycle, revealing) = phase(valid_after, cycle_len);
    let mut listed: BTreeMap<AuthorityIdentity, ListedAuthority> = previous
        .map(Consensus::authorities)
        .unwrap_or_default()
        .iter()
        .filter(|listed| authorities.get(&listed.key).is_some())
        .map(|listed| (listed.key, listed.clone()))
        .collect();
    let random = match previous.map(Consensus::random) {
        Some(random) if random.cycle >= cycle => *random,
        Some(random) => {
            let reveals: Vec<_> = listed.values().filter_map(|listed| Some((listed.key, listed.reveal?))).collect();
            for listed in listed.values_mut() {
                (listed.commitment, listed.reveal) = (None, None);
            }
            random.next(cycle, &reveals)
        }
        None => SharedRandom { cycle, ..SharedRandom::default() },
    };
    for vote in votes {
        let before = listed.get(&vote.voter);
        let committed = before.and_then(|listed| listed.commitment);
        // Who has committed stays committed, and who has not by the time to reveal has no part in this cycle.
        let commitment_now = committed.or(vote.commitment.filter(|_| !revealing));
        let holds =
            |reveal: &[u8; 32]| revealing && commitment_now == Some(commitment(&vote.voter, random.cycle, reveal));
        let reveal = before.and_then(|listed| listed.reveal).or(vote.reveal.filter(holds));
        listed.insert(
            vote.voter,
            ListedAuthority {
                key: vote.voter,
                nickname: vote.nickname.clone(),
                url: vote.url.clone(),
                commitment: commitment_now,
                reveal,
            },
        );
    }
    (random, listed.into_values().collect())
}

fn parameters(votes: &[&Vote]) -> BTreeMap<String, i64> {
    let names: BTreeSet<&String> = votes.iter().flat_map(|vote| vote.parameters.keys()).collect();
    let voted = |name: &String| {
        let values: Vec<i64> = votes.iter().filter_map(|vote| vote.parameters.get(name)).copied().collect();
        let value = low_median(values.iter().copied()).filter(|_| is_majority(values.len(), votes))?;
        Some((name.clone(), value))
    };
    names.into_iter().filter_map(voted).collect()
}

/// A relay that a majority lists.
struct Candidate<'a> {
    votes: usize,
    since: u64,
    health: u8,
    entry: RelayEntry,
    identity: &'a RelayIdentity,
}

fn relays(votes: &[&Vote]) -> (Vec<RelayEntry>, BTreeMap<RelayIdentity, u8>) {
    let mut by_relay: BTreeMap<&RelayIdentity, Vec<&VotedRelay>> = BTreeMap::new();
    for relay in votes.iter().flat_map(|vote| &vote.relays) {
        by_relay.entry(&relay.descriptor.entry.identity).or_default().push(relay);
    }
    let mut candidates: Vec<_> = by_relay
        .into_iter()
        .filter(|(_, voted)| is_majority(voted.len(), votes))
        .filter_map(|(identity, voted)| {
            let roles = |role: &Role| is_majority(voted.iter().filter(|one| one.roles.contains(*role)).count(), votes);
            let descriptor = most_voted(&voted)?;
            let mut entry = descriptor.descriptor.entry.clone();
            entry.roles = Role::ALL.into_iter().filter(|role| entry.has(*role) && roles(role)).collect::<Roles>();
            entry.weight = low_median(voted.iter().map(|one| one.weight))?;
            Some(Candidate {
                votes: voted.len(),
                since: low_median(voted.iter().map(|one| one.since))?,
                health: low_median(voted.iter().map(|one| one.health))?.min(100),
                entry,
                identity,
            })
        })
        .collect();
    // Two relays may each have a majority and yet claim the same name, key or address, if one of the voters lists both.
    // Who has more votes keeps it, then who has been known for longer.
    candidates.sort_by_key(|one| (core::cmp::Reverse(one.votes), one.since, *one.identity));
    let (mut names, mut keys, mut urls) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    let mut chosen = BTreeMap::new();
    for Candidate { health, entry, .. } in candidates {
        let own_keys = [*entry.link_key.as_bytes(), *entry.onion_key.as_bytes()];
        let free = !names.contains(&entry.nickname)
            && !own_keys.iter().any(|key| keys.contains(key))
            && !entry.urls().any(|url| urls.contains(url))
            && chosen.len() < MAX_RELAYS;
        if free {
            names.insert(entry.nickname.clone());
            keys.extend(own_keys);
            urls.extend(entry.urls().cloned());
            chosen.insert(entry.identity, (entry, health));
        }
    }
    let health = chosen.iter().map(|(identity, (_, health))| (*identity, *health)).collect();
    (chosen.into_values().map(|(entry, _)| entry).collect(), health)
}

/// The descriptor that most name; of two that equally many name the later one, then the one with the smaller bytes.
fn most_voted<'a>(voted: &[&'a VotedRelay]) -> Option<&'a VotedRelay> {
    let count = |relay: &VotedRelay| voted.iter().filter(|other| other.bytes == relay.bytes).count();
    voted
        .iter()
        .max_by_key(|relay| (count(relay), relay.descriptor.published, core::cmp::Reverse(&relay.bytes)))
        .copied()
}

#[cfg(test)]
mod tests;
