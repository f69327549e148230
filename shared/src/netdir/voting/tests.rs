//! Authorities that vote in virtual time, and some that lie.

use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use super::super::authorities::tests::authorities;
use super::super::descriptor::tests::relay;
use super::super::vote::tests::vote;
use super::super::{NetworkId, RegistryConfig, Twice};
use super::*;
use crate::time::UnixTime;

const START: u64 = 1_700_000_000;
const PHASE: u64 = 400;

/// An honest authority, alive or not.
struct Node {
    key: AuthorityKeypair,
    registry: Registry,
    voting: Option<Voting>,
    /// What is on its disk.
    disk: Option<Vec<u8>>,
    published: Vec<Arc<Consensus>>,
    events: Vec<VotingEvent>,
}

/// What an authority that lies shows to the one of this number.
type Lie = Box<dyn Fn(usize, &Document, u64) -> Option<Vec<u8>>>;

struct Network {
    authorities: Arc<Authorities>,
    nodes: Vec<Node>,
    /// The keys of those that lie come behind the honest ones.
    liars: Vec<(AuthorityIdentity, Lie)>,
    /// Milliseconds since START.
    now: u64,
    /// Milliseconds that a document takes.
    delay: u64,
    /// Documents on their way: when they arrive, for whom, from whom.
    post: Vec<(u64, usize, AuthorityIdentity, Document, Vec<u8>)>,
    rng: ChaCha20Rng,
}

fn at(millis: u64) -> Now {
    Now { instant: Instant::from_millis(millis), unix: UnixTime::from_millis(START * 1000 + millis) }
}

fn config(index: usize) -> VotingConfig {
    VotingConfig {
        nickname: format!("authority{index}").parse().unwrap(),
        url: format!("http://127.0.0.1:{}", 7000 + index),
        interval: Duration::from_secs(10),
        initial_interval: Duration::from_secs(2),
        phase: Duration::from_millis(PHASE),
        settle: Duration::from_secs(1),
        valid_for: Duration::from_secs(60),
        cycle_len: Duration::from_secs(100),
        parameters: BTreeMap::new(),
    }
}

impl Network {
    /// `honest` authorities, and as many more as there are `liars`; each honest one knows the relays with these seeds.
    fn new(honest: usize, liars: Vec<Lie>, seeds: &[u8]) -> Self {
        let (keypairs, authorities) = authorities(u8::try_from(honest + liars.len()).unwrap());
        Self::with(keypairs, authorities, liars, seeds)
    }

    fn with(keypairs: Vec<AuthorityKeypair>, authorities: Authorities, liars: Vec<Lie>, seeds: &[u8]) -> Self {
        let honest = keypairs.len() - liars.len();
        let network = *authorities.network();
        let liars = keypairs[honest..].iter().map(AuthorityKeypair::identity).zip(liars).collect();
        let mut nodes: Vec<_> = keypairs[..honest]
            .iter()
            .map(|key| Node {
                key: key.clone(),
                registry: registry(network),
                voting: None,
                disk: None,
                published: Vec::new(),
                events: Vec::new(),
            })
            .collect();
        for node in &mut nodes {
            seeds.iter().for_each(|seed| node.meet(*seed, &network, 0));
        }
        let (now, delay, rng) = (0, 20, ChaCha20Rng::seed_from_u64(1));
        let mut new = Self { authorities: Arc::new(authorities), nodes, liars, now, delay, post: Vec::new(), rng };
        (0..honest).for_each(|index| new.start(index));
        new
    }

    fn start(&mut self, index: usize) {
        // An authority that starts fetches the newest consensus from the others.
        let all = self.nodes.iter().enumerate().filter(|(other, node)| *other == index || node.voting.is_some());
        let newest = all.filter_map(|(_, node)| node.published.last()).max_by_key(|one| one.validity().valid_after);
        let newest = newest.cloned();
        let node = &mut self.nodes[index];
        let voting = Voting::new(
            node.key.clone(),
            Arc::clone(&self.authorities),
            config(index),
            node.disk.as_deref(),
            newest,
            at(self.now),
        );
        node.voting = Some(voting.unwrap());
    }

    fn kill(&mut self, index: usize) {
        self.nodes[index].voting = None;
    }

    fn run(&mut self, secs: u64) {
        for _ in 0..secs * 100 {
            self.now += 10;
            self.step();
        }
    }

    fn step(&mut self) {
        let (arrived, on_their_way) = std::mem::take(&mut self.post).into_iter().partition(|post| post.0 <= self.now);
        self.post = on_their_way;
        let arrived: Vec<_> = arrived;
        for (_, to, from, document, bytes) in arrived {
            let node = &mut self.nodes[to];
            if let Some(voting) = &mut node.voting {
                voting.handle_document(at(self.now), from, &document, &bytes, &node.registry);
            }
            self.carry_out(to);
        }
        for index in 0..self.nodes.len() {
            let node = &mut self.nodes[index];
            // The relays answer all the time.
            for entry in node.registry.due_for_probe(at(self.now).instant, Duration::from_secs(1)) {
                node.registry.probed(at(self.now).instant, &entry, true);
            }
            if let Some(voting) = node.voting.as_mut().filter(|voting| voting.poll_timeout() <= at(self.now).instant) {
                voting.handle_timeout(at(self.now), &node.registry, &mut self.rng);
            }
            self.carry_out(index);
        }
    }

    fn carry_out(&mut self, index: usize) {
        while let Some(output) = self.nodes[index].voting.as_mut().and_then(Voting::poll_output) {
            match output {
                VotingOutput::Fetch(from, document) => {
                    let honest = self.nodes.iter().find(|node| node.key.identity() == from);
                    let shown = match honest {
                        Some(node) => node.voting.as_ref().and_then(|voting| voting.document(&document)),
                        None => {
                            let liar = self.liars.iter().find(|(key, _)| *key == from);
                            liar.and_then(|(_, lie)| lie(index, &document, self.now)).map(Into::into)
                        }
                    };
                    if let Some(bytes) = shown {
                        self.post.push((self.now + self.delay, index, from, document, bytes.to_vec()));
                    }
                }
                VotingOutput::Persist(bytes) => self.nodes[index].disk = Some(bytes.to_vec()),
                VotingOutput::Publish(consensus) => {
                    let now = at(self.now).unix;
                    let consensus = Arc::new(Consensus::verify(consensus.as_bytes(), &self.authorities, now).unwrap());
                    self.nodes[index].published.push(consensus);
                }
                VotingOutput::Event(event) => self.nodes[index].events.push(event),
            }
        }
    }

    /// All digests that were published for each period.
    fn digests(&self) -> BTreeMap<u64, BTreeSet<[u8; 32]>> {
        let mut digests: BTreeMap<u64, BTreeSet<[u8; 32]>> = BTreeMap::new();
        for consensus in self.nodes.iter().flat_map(|node| &node.published) {
            let of = digests.entry(consensus.validity().valid_after).or_default();
            of.insert(*consensus.digest().as_bytes());
        }
        digests
    }

    /// Nobody has published two different consensuses for one period; gives the periods, counted from START.
    fn periods(&self) -> Vec<u64> {
        let digests = self.digests();
        assert!(digests.values().all(|of| of.len() == 1), "a split: {digests:?}");
        digests.into_keys().map(|at| at - START).collect()
    }

    fn newest(&self, index: usize) -> &Consensus {
        self.nodes[index].published.last().expect("something was published")
    }

    fn lists(&self, index: usize) -> Vec<&str> {
        let mut names: Vec<_> = self.newest(index).relays().iter().map(|relay| relay.nickname.as_str()).collect();
        names.sort_unstable();
        names
    }

    fn caught(&self, index: usize) -> Vec<(Twice, AuthorityIdentity)> {
        let voting = self.nodes[index].voting.as_ref().unwrap();
        voting.proofs().iter().map(|proof| (proof.twice, proof.authority)).collect()
    }
}

impl Node {
    fn meet(&mut self, seed: u8, network: &NetworkId, now: u64) {
        let (keypair, mut descriptor) = relay(seed);
        descriptor.published = START + now / 1000;
        self.registry.publish(at(now), &descriptor.sign(&keypair, network)).unwrap();
    }
}

fn registry(network: NetworkId) -> Registry {
    let config = RegistryConfig {
        drop_after: Duration::from_secs(100_000),
        down_after: Duration::from_secs(3),
        probation: Duration::ZERO,
        founding: Duration::ZERO,
        max_weight: 1000,
    };
    Registry::new(network, config, at(0))
}

#[test]
fn authorities_agree_and_go_on() {
    for count in [1, 2, 3, 5] {
        let mut network = Network::new(count, Vec::new(), &[1, 2, 3]);
        network.run(45);
        // Two seconds apart at first, and ten from then on; with five there are four phases before each.
        let first = network.periods()[0];
        assert!(first <= 6, "{count}: {first}");
        assert_eq!(network.periods()[1..], [10, 20, 30, 40], "{count}");
        for index in 0..count {
            assert_eq!(network.lists(index), ["relay1", "relay2", "relay3"]);
            assert_eq!(network.newest(index).signers().len(), count, "all have signed in the end");
            assert_eq!(network.newest(index).authorities().len(), count);
            assert!(network.caught(index).is_empty());
        }
        let consensus = network.newest(0);
        let before = network.nodes[0].published.iter().rev().find(|one| consensus.is_newer_than(one)).unwrap();
        assert_eq!(consensus.previous(), Some(before.digest()));
    }
}

#[test]
fn one_of_three_may_die_and_two_may_not() {
    let mut network = Network::new(3, Vec::new(), &[1, 2]);
    network.run(12);
    network.kill(0);
    network.run(20);
    assert_eq!(network.periods().last(), Some(&30));
    assert_eq!(network.newest(1).signers().len(), 2);
    network.kill(1);
    network.run(20);
    assert_eq!(network.periods().last(), Some(&30), "one alone signs nothing that counts");
    assert!(
        network.nodes[2]
            .events
            .iter()
            .any(|event| { matches!(event, VotingEvent::NotCounted(TallyError::TooFewVotes { votes: 1, quorum: 2 })) })
    );
    network.start(0);
    network.start(1);
    network.run(20);
    assert_eq!(network.periods().last(), Some(&70));
    assert_eq!(network.newest(2).signers().len(), 3);
}

#[test]
fn all_come_back_after_the_consensus_has_run_out() {
    let mut network = Network::new(3, Vec::new(), &[1, 2]);
    network.run(12);
    (0..3).for_each(|index| network.kill(index));
    network.run(100);
    (0..3).for_each(|index| network.start(index));
    network.run(10);
    let last = *network.periods().last().unwrap();
    assert!(last > 110, "{last}");
}

#[test]
fn a_relay_is_listed_in_the_next_period_and_gone_in_the_next_but_one() {
    let mut network = Network::new(3, Vec::new(), &[1, 2]);
    network.run(15);
    let id = *network.authorities.network();
    let now = network.now;
    network.nodes.iter_mut().for_each(|node| node.meet(3, &id, now));
    network.run(6);
    assert_eq!(network.lists(1), ["relay1", "relay2", "relay3"]);
    // The third relay answers no more: its identity is taken out of all registries' probes by moving it away.
    for node in &mut network.nodes {
        let (keypair, mut descriptor) = relay(3);
        descriptor.published = START + 30;
        descriptor.entry.url = "ws://127.0.0.1:1/link".parse().unwrap();
        node.registry.publish(at(21_000), &descriptor.sign(&keypair, &id)).unwrap();
    }
    let gone =
        |node: &Node| !node.registry.opinion(at(21_000)).iter().any(|one| one.descriptor.published == START + 30);
    assert!(network.nodes.iter().all(gone));
}

/// Whose vote says what, in the tests of liars: signed by the last of the authorities.
fn lie(keypair: &AuthorityKeypair, network: &NetworkId, period: u64, seeds: &[u8]) -> SignedVote {
    let mut vote = vote(keypair, network, seeds);
    (vote.valid_after, vote.cycle_len) = (START + period, 100);
    vote.sign(keypair, network).unwrap()
}

/// Shows `votes` to each authority by its number, from when on each.
fn shows(network: NetworkId, votes: Vec<Vec<(u64, SignedVote)>>) -> Lie {
    Box::new(move |to, document, now| {
        let to_this = votes[to].iter().filter(|(from, _)| *from <= now);
        match document {
            Document::Echoes(valid_after) => {
                let of = to_this.filter(|(_, vote)| vote.vote().valid_after == *valid_after);
                let list = of.map(|(_, vote)| Echo::of(vote)).take(MAX_VOTES_OF_ONE).collect();
                Some(Echoes { valid_after: *valid_after, list }.encode(&network))
            }
            Document::Vote(_, digest) => {
                let mut found = to_this.filter(|(_, vote)| vote.digest() == *digest);
                found.next().map(|(_, vote)| vote.bytes().to_vec())
            }
            Document::Signatures(_) => None,
        }
    })
}

/// Two honest authorities and a third that shows `votes[0]` to the first and `votes[1]` to the second.
fn two_and_a_liar(votes: impl Fn(&dyn Fn(&[u8]) -> SignedVote) -> Vec<Vec<(u64, SignedVote)>>) -> Network {
    let (keypairs, authorities) = authorities(3);
    let network = *authorities.network();
    // The second consensus's period: its first phase begins at 8,800, its second at 9,200, and it is signed from 9,600 on.
    let made = |seeds: &[u8]| lie(&keypairs[2], &network, 10, seeds);
    let liar = shows(network, votes(&made));
    let mut network = Network::with(keypairs.clone(), authorities.clone(), vec![liar], &[1, 2]);
    network.run(15);
    assert_eq!(network.periods().last(), Some(&10), "the two agree in any case");
    network
}

#[test]
fn who_shows_two_votes_to_two_authorities_has_none_and_is_caught() {
    let network = two_and_a_liar(|vote| vec![vec![(0, vote(&[1, 2, 8]))], vec![(0, vote(&[9]))]]);
    let liar = network.liars[0].0;
    for index in 0..2 {
        assert_eq!(network.lists(index), ["relay1", "relay2"]);
        assert_eq!(network.caught(index), [(Twice::Votes, liar)]);
        assert!(!network.newest(index).authorities().iter().any(|one| one.key == liar), "its votes do not count");
        // What was caught survives.
        assert!(network.nodes[index].disk.is_some());
    }
}

#[test]
fn a_vote_that_only_one_has_seen_counts_for_both() {
    let network = two_and_a_liar(|vote| vec![vec![(0, vote(&[1, 2, 8]))], Vec::new()]);
    let liar = network.liars[0].0;
    for index in 0..2 {
        assert_eq!(network.lists(index), ["relay1", "relay2"], "one alone adds no relay");
        assert!(network.newest(index).authorities().iter().any(|one| one.key == liar));
        assert!(network.caught(index).is_empty());
    }
}

#[test]
fn a_second_vote_that_comes_late_does_not_split_those_who_heard_the_first() {
    // The second one is shown in the second round, with too few signatures for it.
    let network = two_and_a_liar(|vote| vec![vec![(0, vote(&[1, 2, 8]))], vec![(9250, vote(&[9]))]]);
    let liar = network.liars[0].0;
    for index in 0..2 {
        assert!(network.newest(index).authorities().iter().any(|one| one.key == liar), "the first one counts for both");
    }
    assert_eq!(network.caught(1), [(Twice::Votes, liar)], "it is caught all the same");
}

#[test]
fn many_votes_do_not_crowd_out_one_that_counts() {
    // The second authority is shown votes that it never gets, so that it might have no room for the one that the first has seen.
    let network = two_and_a_liar(|vote| {
        vec![vec![(0, vote(&[1, 2, 8]))], vec![(0, vote(&[3])), (0, vote(&[4])), (0, vote(&[5])), (0, vote(&[6]))]]
    });
    let liar = network.liars[0].0;
    for index in 0..2 {
        assert!(!network.newest(index).authorities().iter().any(|one| one.key == liar));
        assert_eq!(network.caught(index), [(Twice::Votes, liar)]);
    }
}

#[test]
fn a_voter_that_keeps_its_vote_to_itself_has_none() {
    let (keypairs, authorities) = authorities(3);
    let network = *authorities.network();
    let hidden = lie(&keypairs[2], &network, 10, &[1, 2, 8]);
    let liar: Lie = Box::new(move |_, document, _| match document {
        Document::Echoes(valid_after) if *valid_after == START + 10 => {
            Some(Echoes { valid_after: *valid_after, list: vec![Echo::of(&hidden)] }.encode(&network))
        }
        _ => None,
    });
    let mut network = Network::with(keypairs, authorities, vec![liar], &[1, 2]);
    network.run(15);
    assert_eq!(network.periods().last(), Some(&10));
    assert!(!network.newest(0).authorities().iter().any(|one| one.key == network.liars[0].0));
}

#[test]
fn two_signatures_for_one_period_are_caught() {
    let (keypairs, authorities) = authorities(3);
    let network = *authorities.network();
    let key = keypairs[2].clone();
    let liar: Lie = Box::new(move |to, document, _| {
        let Document::Signatures(valid_after) = document else { return None };
        let until = valid_after + to as u64;
        let validity = super::super::Validity { valid_after: *valid_after, fresh_until: until, valid_until: until };
        let draft = super::super::ConsensusDraft::new(network, validity, Vec::new());
        Some(encode_signatures(&[draft.finish().unwrap().sign(&key)], &network, *valid_after))
    });
    let mut network = Network::with(keypairs, authorities, vec![liar], &[1, 2]);
    network.run(15);
    assert_eq!(network.periods().last(), Some(&10));
    assert_eq!(network.newest(0).signers().len(), 2);
    let liar = network.liars[0].0;
    for index in 0..2 {
        assert_eq!(network.caught(index), [(Twice::Consensuses, liar)]);
        assert!(network.nodes[index].events.contains(&VotingEvent::Differs(liar)));
    }
}

#[test]
fn two_of_five_may_lie() {
    let (keypairs, authorities) = authorities(5);
    let network = *authorities.network();
    // The two help each other: what one of them shows in the last round carries both signatures.
    let (a, b) = (keypairs[3].clone(), keypairs[4].clone());
    let late = lie(&a, &network, 10, &[1, 2, 9]);
    let mut echo = Echo::of(&late);
    echo.sign(&b, &network, START + 10);
    let shown = (echo, late);
    // Four phases before 10: the third and last round begins at 9,200.
    let liar = move |to: usize, document: &Document, now: u64| match document {
        Document::Echoes(valid_after) if *valid_after == START + 10 && to == 0 && now >= 8850 => {
            Some(Echoes { valid_after: *valid_after, list: vec![shown.0.clone()] }.encode(&network))
        }
        Document::Vote(_, digest) if *digest == shown.1.digest() => Some(shown.1.bytes().to_vec()),
        _ => None,
    };
    let liars: Vec<Lie> = vec![Box::new(liar), Box::new(|_, _, _| None)];
    let mut network = Network::with(keypairs, authorities, liars, &[1, 2]);
    network.run(15);
    assert_eq!(network.periods().last(), Some(&10));
    let counted: Vec<_> =
        (0..3).map(|index| network.newest(index).authorities().iter().any(|one| one.key == a.identity())).collect();
    assert!(counted.iter().all(|one| *one == counted[0]), "{counted:?}");
}

#[test]
fn a_crash_within_a_period_makes_nobody_vote_or_sign_twice() {
    // Killed and started again at every moment of a period.
    for crash in (8700..10_400).step_by(50) {
        let mut network = Network::new(3, Vec::new(), &[1, 2]);
        while network.now < crash {
            network.now += 10;
            network.step();
        }
        network.kill(0);
        network.start(0);
        network.run(25);
        network.periods();
        for index in 0..3 {
            assert!(network.caught(index).is_empty(), "crash at {crash}");
        }
        assert_eq!(network.periods().last(), Some(&30), "crash at {crash}");
    }
}

#[test]
fn documents_that_do_not_count_are_refused_by_name() {
    let garbage: Lie = Box::new(|_, _, _| Some(b"garbage".to_vec()));
    let mut network = Network::new(2, vec![garbage], &[1]);
    network.run(12);
    assert_eq!(network.periods().last(), Some(&10));
    let liar = network.liars[0].0;
    let refused =
        |event: &VotingEvent| matches!(event, VotingEvent::Refused(from, Refusal::Echoes(_)) if *from == liar);
    assert!(network.nodes[0].events.iter().any(refused));
    let refused =
        |event: &VotingEvent| matches!(event, VotingEvent::Refused(from, Refusal::Signatures(_)) if *from == liar);
    assert!(network.nodes[0].events.iter().any(refused));
}

#[test]
fn slow_documents_are_still_in_time() {
    let mut network = Network::new(3, Vec::new(), &[1, 2]);
    network.delay = 150;
    network.run(12);
    assert_eq!(network.periods().last(), Some(&10));
    assert_eq!(network.newest(0).signers().len(), 3);
}

#[test]
fn what_was_stored_is_read_again_and_garbage_is_not() {
    let mut network = Network::new(3, Vec::new(), &[1]);
    network.run(12);
    let disk = network.nodes[0].disk.clone().unwrap();
    let (state, proofs) = State::decode(&disk, &network.authorities).unwrap();
    assert_eq!((state.voted, state.signed), (START + 10, START + 10));
    assert_eq!(*state.encode(&proofs, &network.authorities), disk);
    for len in 0..disk.len() {
        assert!(State::decode(&disk[..len], &network.authorities).is_err(), "cut at {len}");
    }
}
