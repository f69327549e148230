//! What an authority makes up.

use allium_shared::netdir::{
    Authorities, ConsensusDigest, ConsensusSignature, Echo, Echoes, Extensions, RelayDescriptor, RelayRole, SignedVote,
    Vote, VotedRelay, encode_signatures, verify_signatures,
};

use super::http::Answer;
use super::{Lie, ProofOfWork, State};
use crate::{directory, peer};

/// How long a phase of the voting is where there are liars, in milliseconds.
const PHASE_MS: u64 = 300;

/// Where nobody is: so the address in its votes does not tell its doors apart, and whoever believes it finds nobody.
const NOWHERE: &str = "http://127.0.0.1:1";

/// The number of a field that nobody knows.
pub const UNKNOWN: u16 = 0xbeef;

impl State {
    pub(super) fn authorities(&self) -> Answer {
        self.work().authorities.as_ref().map_or(Answer::Nothing, |list| Answer::Document(list.to_json().into_bytes()))
    }

    /// The first consensus that there was.
    pub(super) fn old_consensus(&self) -> Answer {
        if self.work().consensus.is_none() {
            let honest = self.work().honest.clone();
            let first = honest.first().and_then(|url| directory::get(&format!("{url}/directory/consensus")));
            let mut work = self.work();
            work.consensus = work.consensus.take().or(first);
        }
        self.work().consensus.clone().map_or(Answer::Nothing, Answer::Document)
    }

    /// Its own vote, as if nobody else had one.
    pub(super) fn echoes(&self, lie: &Lie, at: u64, door: usize) -> Answer {
        let mut work = self.work();
        let Some(authorities) = work.authorities.clone() else { return Answer::Nothing };
        let last_round = at.saturating_mul(1000).saturating_sub(2 * PHASE_MS);
        let shown = match lie {
            Lie::ToOne => door == 0,
            Lie::LateToOne => door == 0 && peer::now().as_millis() >= last_round,
            _ => true,
        };
        let list = if shown { vec![Echo::of(self.voted(&mut work, &authorities, at, door))] } else { Vec::new() };
        Answer::Document(Echoes { valid_after: at, list }.encode(authorities.network()))
    }

    /// A vote that it has shown.
    pub(super) fn vote(&self, lie: &Lie, at: u64, digest: &str) -> Answer {
        if *lie == Lie::GarbageVote {
            return Answer::Document(vec![0x5a; 3000]);
        }
        let work = self.work();
        let votes = work.votes.range((at, 0)..=(at, usize::MAX)).map(|(_, vote)| vote);
        let vote = votes.into_iter().find(|vote| vote.digest().to_string() == digest);
        vote.map_or(Answer::Nothing, |vote| Answer::Document(vote.bytes().to_vec()))
    }

    /// Signs what the honest authorities have computed, and what it likes.
    pub(super) fn signatures(&self, lie: &Lie, at: u64) -> Answer {
        let (authorities, honest) = {
            let work = self.work();
            (work.authorities.clone(), work.honest.clone())
        };
        let Some(authorities) = authorities else { return Answer::Nothing };
        let shown = honest.first().and_then(|url| directory::get(&format!("{url}/directory/signatures/{at}")));
        let signed = shown.and_then(|bytes| verify_signatures(&bytes, &authorities, at).ok()).unwrap_or_default();
        let mut digests: Vec<_> = signed.iter().take(1).map(|one| one.digest).collect();
        if *lie == Lie::TwoConsensuses {
            digests.push(ConsensusDigest::from_bytes([0xab; 32]));
        }
        let list: Vec<_> = digests.into_iter().map(|digest| self.sign(&authorities, at, digest)).collect();
        Answer::Document(encode_signatures(&list, authorities.network(), at))
    }

    /// A signature on whatever has this digest, by what the protocol's document says.
    fn sign(&self, authorities: &Authorities, at: u64, digest: ConsensusDigest) -> ConsensusSignature {
        let message = [&authorities.network().as_bytes()[..], &at.to_be_bytes(), digest.as_bytes()].concat();
        let signature = self.identity.sign("consensus 2", &message);
        ConsensusSignature { authority: self.keypair.identity(), valid_after: at, digest, signature }
    }

    /// The vote for this period and door, made when it is asked for first.
    fn voted<'a>(&self, work: &'a mut ProofOfWork, authorities: &Authorities, at: u64, door: usize) -> &'a SignedVote {
        let which = if work.lie == Lie::TwoVotes { door } else { 0 };
        if !work.votes.contains_key(&(at, which)) {
            let vote = self.make(work, at, which);
            let signed = vote.sign(&self.keypair, authorities.network()).expect("lies are in order");
            work.votes.insert((at, which), signed);
        }
        &work.votes[&(at, which)]
    }

    fn make(&self, work: &ProofOfWork, at: u64, which: usize) -> Vote {
        let mut descriptors: Vec<Vec<u8>> = work.descriptors.values().cloned().collect();
        if work.lie == Lie::Drop {
            let mut every_other = [true, false].into_iter().cycle();
            descriptors.retain(|_| every_other.next() == Some(true));
        }
        if let Lie::Add(more) = &work.lie {
            descriptors.extend(more.iter().cloned());
        }
        let network = work.authorities.as_ref().map(|list| *list.network());
        let voted = |bytes: Vec<u8>| {
            let descriptor = RelayDescriptor::verify(&bytes, network.as_ref()?).ok()?;
            let roles = RelayRole::ALL.into_iter().collect();
            Some(VotedRelay { descriptor, bytes: bytes.into(), roles, weight: 1_000_000, health: 100, since: 0 })
        };
        let mut relays: Vec<_> = descriptors.into_iter().filter_map(voted).collect();
        relays.sort_by_key(|relay| relay.descriptor.entry.identity);
        let mut other = Extensions::default();
        if work.lie == Lie::UnknownField {
            other.insert(UNKNOWN, b"what will be".to_vec());
        }
        Vote {
            valid_after: at,
            published: peer::now().as_secs() + which as u64,
            voter: self.keypair.identity(),
            nickname: "liar".parse().expect("a nickname"),
            url: NOWHERE.to_owned(),
            rule_sets: vec![1],
            fresh_for: 1_000_000,
            valid_for: 10_000_000,
            cycle_len: 1,
            previous: None,
            commitment: None,
            reveal: None,
            parameters: [("path-subnet-v4-bits".to_owned(), 32)].into(),
            relays,
            other,
        }
    }
}
