//! What authorities show each other and store, and the authorities and relays whose it is.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use allium_shared::crypto::keys::{IdentityKeypair, SIGNATURE_LEN};
use allium_shared::netdir::{
    Authorities, Authority, AuthorityKeypair, Consensus, ConsensusDigest, ConsensusDraft, ConsensusSignature, Echo,
    Echoes, Extensions, FamilyKeypair, Misconduct, NetworkId, Proofs, Registry, RegistryConfig, RelayDescriptor,
    RelayEntry, RelayRole, Roles, SignedVote, Validity, Vote, VotedRelay, Voting, VotingConfig, encode_signatures,
    tally, verify_signatures,
};
use allium_shared::time::{Instant, Now, UnixTime};
use sha3::{Digest, Sha3_256};

use super::{TIME, edited, rng};

/// How many authorities there are, of which one may lie: any two quorums of three have an honest one in common.
pub(super) const COUNT: usize = 4;
const QUORUM: usize = 3;

/// Milliseconds of one phase of the voting.
pub(super) const PHASE: u64 = 400;

/// The kind of document that proofs are.
pub(super) const PROOFS: u8 = 3;

/// Authorities and relays that are the same in every run.
pub(super) struct Board {
    keys: Vec<IdentityKeypair>,
    pub(super) authorities: Arc<Authorities>,
    relays: Vec<IdentityKeypair>,
}

pub(super) fn board() -> &'static Board {
    static BOARD: OnceLock<Board> = OnceLock::new();
    BOARD.get_or_init(|| {
        let seeds = |from: u8, count: u8| (0..count).map(move |seed| IdentityKeypair::from_seed(&[from + seed; 32]));
        let keys: Vec<_> = seeds(0xb0, COUNT as u8).collect();
        let list = keys.iter().enumerate().map(|(index, key)| Authority {
            nickname: format!("authority{index}").parse().expect("it is one"),
            key: AuthorityKeypair::new(key.clone()).identity(),
            url: format!("http://127.0.0.1:{}", 7000 + index),
        });
        let authorities = Authorities::new(list.collect()).and_then(|list| list.with_quorum(QUORUM));
        Board { keys, authorities: Arc::new(authorities.expect("they are")), relays: seeds(0x10, 4).collect() }
    })
}

/// The valid document of each kind that the fuzzer changes.
pub(super) fn valid(kind: u8) -> &'static [u8] {
    static VALID: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    let valid = VALID.get_or_init(|| board().documents());
    &valid[usize::from(kind) % valid.len()]
}

impl Board {
    pub(super) fn key(&self, index: usize) -> AuthorityKeypair {
        AuthorityKeypair::new(self.keys[index].clone())
    }

    pub(super) fn network(&self) -> &NetworkId {
        self.authorities.network()
    }

    pub(super) fn descriptor(&self, index: usize, published: u64) -> (RelayDescriptor, Vec<u8>) {
        let key = &self.relays[index];
        let mut entry = RelayEntry::new(
            key.identity(),
            [0x40 + index as u8; 32].into(),
            [0x80 + index as u8; 32].into(),
            Roles::from_iter([RelayRole::Guard, RelayRole::Middle, RelayRole::Rendezvous]),
            format!("relay{index}").parse().expect("it is one"),
            format!("ws://127.0.0.1:{}/link", 7100 + index).parse().expect("it is one"),
        );
        let family = FamilyKeypair::new(IdentityKeypair::from_seed(&[9; 32]));
        let certificate = (index % 2 == 1).then(|| {
            entry.family = Some(family.identity());
            family.certify(self.network(), &entry.identity)
        });
        let descriptor = RelayDescriptor { published, uptime: 60, entry, certificate };
        let bytes = descriptor.sign(key, self.network());
        (descriptor, bytes)
    }

    /// A vote of one authority for those relays whose bits are set in `mask`.
    pub(super) fn vote(&self, voter: usize, valid_after: u64, mask: u8) -> SignedVote {
        let relays = (0..self.relays.len()).filter(|index| mask & 1 << index != 0).map(|index| {
            let (descriptor, bytes) = self.descriptor(index, TIME);
            let roles = descriptor.entry.roles;
            let health = mask % 101;
            VotedRelay { descriptor, bytes: bytes.into(), roles, weight: u32::from(mask), health, since: TIME }
        });
        let mut relays: Vec<_> = relays.collect();
        relays.sort_by_key(|relay| relay.descriptor.entry.identity);
        let mut other = Extensions::default();
        other.insert(9, vec![mask]);
        let vote = Vote {
            valid_after,
            published: valid_after.saturating_sub(1),
            voter: self.key(voter).identity(),
            nickname: "voter".parse().expect("it is one"),
            url: "http://127.0.0.1:7000".to_owned(),
            rule_sets: if mask & 0x10 == 0 { vec![1] } else { vec![1, 2] },
            fresh_for: u32::from(mask),
            valid_for: 60,
            cycle_len: 100 * u32::from(mask >> 5),
            previous: (mask & 0x20 != 0).then(|| (ConsensusDigest::from_bytes([mask; 32]), valid_after)),
            commitment: (mask & 0x40 != 0).then_some([mask; 32]),
            reveal: (mask & 0x80 != 0).then_some([mask; 32]),
            parameters: [("a".to_owned(), i64::from(mask))].into(),
            relays,
            other,
        };
        vote.sign(&self.key(voter), self.network()).expect("it is well formed")
    }

    fn documents(&self) -> Vec<Vec<u8>> {
        let (network, votes) = (self.network(), [0x0f, 0x4d, 0xe7].map(|mask| self.vote(0, TIME, mask)));
        let mut echo = Echo::of(&votes[0]);
        (1..COUNT).for_each(|index| echo.sign(&self.key(index), network, TIME));
        let list = vec![echo, Echo::of(&votes[1]), Echo::of(&self.vote(1, TIME, 1))];
        let signatures: Vec<_> = (0..COUNT).map(|index| self.sign_consensus(index, TIME, [7; 32])).collect();
        let mut proofs = Proofs::default();
        let twice = self.sign_consensus(1, TIME, [8; 32]);
        let found = [Misconduct::of_votes(TIME, &list[0], &list[1]), Misconduct::of_signatures(&signatures[1], &twice)];
        assert!(found.into_iter().flatten().all(|proof| proofs.add(proof)));
        let mut registry = self.registry(at(0, 0));
        (0..2).for_each(|index| _ = registry.publish(at(0, 0), &self.descriptor(index, TIME).1));
        // What an authority stores that has voted, signed and caught somebody.
        let proofs = proofs.encode(network);
        let reveals = [&[1][..], &(TIME / 100).to_be_bytes(), &[6; 32]].concat();
        let state = [&[0, 1][..], &TIME.to_be_bytes(), &(TIME - 10).to_be_bytes(), &reveals, &proofs].concat();
        let validity = Validity { valid_after: TIME, fresh_until: TIME + 10, valid_until: TIME + 60 };
        let entries = (0..3).map(|index| self.descriptor(index, TIME).0.entry).collect();
        let keys: Vec<_> = (0..COUNT).map(|index| self.key(index)).collect();
        let consensus = ConsensusDraft::new(*network, validity, entries).sign(&keys.iter().collect::<Vec<_>>());
        vec![
            votes[2].bytes().to_vec(),
            Echoes { valid_after: TIME, list }.encode(network),
            encode_signatures(&signatures, network, TIME),
            proofs,
            registry.save(),
            state,
            consensus.expect("it is well formed"),
            self.descriptor(1, TIME).1,
        ]
    }

    pub(super) fn sign_consensus(&self, index: usize, valid_after: u64, digest: [u8; 32]) -> ConsensusSignature {
        let message = [&self.network().as_bytes()[..], &valid_after.to_be_bytes(), &digest].concat();
        let signature = self.keys[index].sign("consensus 2", &message);
        let (authority, digest) = (self.key(index).identity(), ConsensusDigest::from_bytes(digest));
        ConsensusSignature { authority, valid_after, digest, signature }
    }

    pub(super) fn registry(&self, now: Now) -> Registry {
        let config = RegistryConfig {
            drop_after: Duration::from_secs(1200),
            down_after: Duration::from_secs(15),
            probation: Duration::from_secs(100),
            founding: Duration::from_secs(10),
            max_weight: 1000,
        };
        Registry::new(*self.network(), config, now)
    }

    /// Makes the signatures of a changed document anew, where they stand in the valid one: whoever lies has keys of its own.
    fn sign_again(&self, kind: u8, mut bytes: Vec<u8>) -> Vec<u8> {
        let key = |bytes: &[u8]| {
            let mut all = self.keys.iter().chain(&self.relays);
            all.find(|key| key.identity().as_bytes() == bytes).unwrap_or(&self.keys[0]).clone()
        };
        let network = *self.network().as_bytes();
        let period: [u8; 8] = bytes.get(34..42).and_then(|period| period.try_into().ok()).unwrap_or_default();
        let head = [&network[..], &period].concat();
        match usize::from(kind) % 8 {
            0 => {
                // The descriptors stand where they stood; then the vote around them.
                for relay in 0..self.relays.len() {
                    let (_, descriptor) = self.descriptor(relay, TIME);
                    let found = valid(0).windows(descriptor.len()).position(|window| *window == descriptor[..]);
                    let place = found.and_then(|at| bytes.get_mut(at..at + descriptor.len()));
                    if let Some((body, signature)) = place.and_then(|place| place.split_last_chunk_mut()) {
                        *signature = self.relays[relay].sign("relay descriptor 2", &[&network, &*body].concat());
                    }
                }
                if let Some((body, signature)) = bytes.split_last_chunk_mut::<SIGNATURE_LEN>() {
                    let digest: [u8; 32] = Sha3_256::digest(&*body).into();
                    *signature = self.keys[0].sign("vote 1", &[&head[..], &digest].concat());
                }
            }
            1 => {
                let mut at = 43;
                while let Some(echo) = bytes.get_mut(at..at + 129) {
                    let (voter, digest, others) = (echo[..32].to_vec(), echo[32..64].to_vec(), usize::from(echo[128]));
                    let signature = key(&voter).sign("vote 1", &[&head[..], &digest].concat());
                    echo[64..128].copy_from_slice(&signature);
                    at += 129;
                    for _ in 0..others {
                        let Some(other) = bytes.get_mut(at..at + 96) else { break };
                        let message = [&head[..], &voter, &digest].concat();
                        let signature = key(&other[..32]).sign("vote echo 1", &message);
                        other[32..].copy_from_slice(&signature);
                        at += 96;
                    }
                }
            }
            2 => {
                for one in bytes.get_mut(43..).unwrap_or_default().chunks_exact_mut(128) {
                    let signature = key(&one[..32]).sign("consensus 2", &[&head[..], &one[32..64]].concat());
                    one[64..].copy_from_slice(&signature);
                }
            }
            3 => {
                for proof in bytes.get_mut(35..).unwrap_or_default().chunks_exact_mut(1 + 32 + 8 + 2 * 96) {
                    let domain = if proof[0] == 1 { "vote 1" } else { "consensus 2" };
                    let (who, signed) = proof.split_at_mut(41);
                    for one in signed.chunks_exact_mut(96) {
                        let message = [&network[..], &who[33..], &one[..32]].concat();
                        let signature = key(&who[1..33]).sign(domain, &message);
                        one[32..].copy_from_slice(&signature);
                    }
                }
            }
            6 => {
                // Behind version and rule set the network comes, then the period.
                let period = bytes.get(36..44).unwrap_or_default().to_vec();
                let len = bytes.len().saturating_sub(COUNT * 96);
                let (body, signatures) = bytes.split_at_mut(len);
                let digest = Sha3_256::digest(body.split_last().map_or(&[][..], |(_, body)| body));
                for one in signatures.chunks_exact_mut(96) {
                    let message = [&network[..], &period, &digest].concat();
                    let signature = key(&one[..32]).sign("consensus 2", &message);
                    one[32..].copy_from_slice(&signature);
                }
            }
            7 => {
                if let Some((body, signature)) = bytes.split_last_chunk_mut() {
                    *signature = self.relays[1].sign("relay descriptor 2", &[&network, &*body].concat());
                }
            }
            // What an authority stores is not signed as a whole.
            _ => (),
        }
        bytes
    }

    /// Reads a document as each of the kinds; what is read is written again as it was.
    fn read(&self, bytes: &[u8]) {
        let (network, authorities) = (self.network(), &self.authorities);
        let unix = UnixTime::from_millis(TIME * 1000);
        let period = bytes.get(34..42).and_then(|period| period.try_into().ok()).map_or(TIME, u64::from_be_bytes);
        if let Ok(vote) = SignedVote::verify(bytes, authorities, period, &|_, _| false) {
            let own = AuthorityKeypair::new(self.keys[0].clone());
            let again = vote.vote().clone().sign(&own, network).expect("it was read");
            assert!(vote.vote().voter != own.identity() || again.bytes() == vote.bytes());
            let others: Vec<_> = (1..COUNT).map(|index| self.vote(index, period, 0x0f)).collect();
            let all: Vec<_> = others.iter().chain([&vote]).collect();
            let backwards: Vec<_> = all.iter().rev().copied().collect();
            let counted = tally(authorities, &all, None);
            assert_eq!(counted, tally(authorities, &backwards, None));
            // One that lies cannot keep three others from a consensus that its readers take.
            assert!(counted.expect("the others agree").finish().is_ok());
        }
        if let Ok(echoes) = Echoes::verify(bytes, authorities, period) {
            assert_eq!(echoes.encode(network), bytes);
        }
        if let Ok(list) = verify_signatures(bytes, authorities, period) {
            assert_eq!(encode_signatures(&list, network, period), bytes);
        }
        if let Ok(proofs) = Proofs::verify(bytes, authorities) {
            assert_eq!(Proofs::verify(&proofs.encode(network), authorities), Ok(proofs));
        }
        let _ = Consensus::verify(bytes, authorities, unix);
        if let Ok(descriptor) = RelayDescriptor::verify(bytes, network) {
            let own = descriptor.entry.identity == self.relays[1].identity();
            assert!(!own || descriptor.sign(&self.relays[1], network) == bytes);
        }
        let mut registry = self.registry(at(0, 0));
        if registry.restore(Instant::from_millis(1), bytes).is_ok() {
            let saved = registry.save();
            let mut again = self.registry(at(0, 0));
            assert_eq!(again.restore(Instant::from_millis(1), &saved), Ok(()));
            assert_eq!(again.save(), saved);
            let _ = (registry.opinion(at(1, 1)), registry.expire(at(1_000_000_000, 1_000_000_000)));
        }
        let voting = Voting::new(self.key(0), authorities.clone(), config(0), Some(bytes), None, at(0, 0));
        if let Ok(mut voting) = voting {
            let mut rng = rng();
            for seconds in [1, 50, 60, 10_000] {
                voting.handle_timeout(at(seconds * 1000, seconds as i64 * 1000), &registry, &mut rng);
                while voting.poll_output().is_some() {}
            }
        }
    }
}

pub(super) fn at(millis: u64, unix: i64) -> Now {
    let unix = UnixTime::from_millis((TIME * 1000).saturating_add_signed(unix));
    Now { instant: Instant::from_millis(millis), unix }
}

pub(super) fn config(index: usize) -> VotingConfig {
    VotingConfig {
        nickname: format!("authority{index}").parse().expect("it is one"),
        url: format!("http://127.0.0.1:{}", 7000 + index),
        interval: Duration::from_secs(10),
        initial_interval: Duration::from_secs(2),
        phase: Duration::from_millis(PHASE),
        settle: Duration::from_secs(1),
        valid_for: Duration::from_secs(60),
        cycle_len: Duration::from_secs(40),
        parameters: BTreeMap::new(),
    }
}

/// One document: the first byte says which, and whether it is the fuzzer's own, a changed one, or one that is signed again.
pub(super) fn document(kind: u8, data: &[u8]) {
    let document = match kind & 0xc0 {
        0x80 => edited(valid(kind & 7).to_vec(), data),
        0xc0 => board().sign_again(kind & 7, edited(valid(kind & 7).to_vec(), data)),
        _ => data.to_vec(),
    };
    board().read(&document);
}
