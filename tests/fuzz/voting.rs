//! Authorities that vote among liars.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use allium_shared::netdir::{
    AuthorityIdentity, Consensus, Document, Echo, Echoes, MAX_VOTES_OF_ONE, Registry, SignedVote, Voting, VotingOutput,
    encode_signatures, verify_signatures,
};
use allium_shared::time::Now;
use rand_chacha::ChaCha20Rng;

use super::authorities::{COUNT, PHASE, PROOFS, at, board, config, valid};
use super::{Choices, TIME, edited, rng};

/// How often time goes on in one run at most: three periods or so.
const MAX_PASSES: usize = 128;

/// The last of the authorities lies.
const LIAR: usize = COUNT - 1;

/// An honest authority, alive or not.
struct Node {
    registry: Registry,
    voting: Option<Voting>,
    /// What is on its disk.
    disk: Option<Vec<u8>>,
    newest: Option<Arc<Consensus>>,
    /// Milliseconds that its wall clock is off.
    offset: i64,
    /// What it would have of others.
    wanted: Vec<(AuthorityIdentity, Document)>,
}

/// Three honest authorities, and what the one that lies can show them.
struct Table {
    nodes: Vec<Node>,
    now: u64,
    passes: usize,
    rng: ChaCha20Rng,
    /// Votes of the liar, as they were made.
    lies: Vec<SignedVote>,
    /// All echoes that honest authorities have shown, with their periods: their signatures are in the liar's hands too.
    seen: Vec<(u64, Echo)>,
    /// What each has shown last, which was looked at then.
    looked_at: BTreeMap<(usize, Document), Arc<[u8]>>,
    /// What each honest authority has signed for each period: a vote, and a consensus.
    votes: BTreeMap<(AuthorityIdentity, u64), BTreeSet<[u8; 32]>>,
    signatures: BTreeMap<(AuthorityIdentity, u64), BTreeSet<[u8; 32]>>,
    published: BTreeMap<u64, BTreeSet<[u8; 32]>>,
}

impl Table {
    fn new() -> Self {
        let node = |_| Node {
            registry: board().registry(at(0, 0)),
            voting: None,
            disk: None,
            newest: None,
            offset: 0,
            wanted: Vec::new(),
        };
        let (nodes, votes, signatures) = ((0..LIAR).map(node).collect(), BTreeMap::new(), BTreeMap::new());
        let (lies, seen, published, looked_at) = (Vec::new(), Vec::new(), BTreeMap::new(), BTreeMap::new());
        let mut table =
            Self { nodes, now: 0, passes: 0, rng: rng(), lies, seen, looked_at, votes, signatures, published };
        for index in 0..LIAR {
            for relay in 0..2 {
                let _ = table.nodes[index].registry.publish(at(0, 0), &board().descriptor(relay, TIME).1);
            }
            table.start(index);
        }
        table
    }

    fn clock(&self, index: usize) -> Now {
        let unix = i64::try_from(self.now).unwrap_or(i64::MAX).saturating_add(self.nodes[index].offset);
        at(self.now, unix)
    }

    fn start(&mut self, index: usize) {
        let now = self.clock(index);
        let node = &mut self.nodes[index];
        let (disk, newest) = (node.disk.as_deref(), node.newest.clone());
        let voting = Voting::new(board().key(index), board().authorities.clone(), config(index), disk, newest, now);
        node.voting = Some(voting.expect("its own state is read again"));
        node.wanted.clear();
    }

    /// Time passes for all; what honest authorities ask each other for comes at once, or not at all.
    fn pass(&mut self, millis: u64, deliver: u8) {
        self.passes += 1;
        if self.passes > MAX_PASSES {
            return;
        }
        self.now += millis;
        for index in 0..LIAR {
            let now = self.clock(index);
            let node = &mut self.nodes[index];
            for entry in node.registry.due_for_probe(now.instant, Duration::from_secs(1)) {
                node.registry.probed(now.instant, &entry, true);
            }
            if let Some(voting) = node.voting.as_mut().filter(|voting| voting.poll_timeout() <= now.instant) {
                voting.handle_timeout(now, &node.registry, &mut self.rng);
            }
            self.carry_out(index);
        }
        for index in (0..LIAR).filter(|index| deliver & 1 << index == 0) {
            for _ in 0..64 {
                let honest = |(from, _): &(AuthorityIdentity, Document)| *from != board().key(LIAR).identity();
                let Some(place) = self.nodes[index].wanted.iter().position(honest) else { break };
                let (from, document) = self.nodes[index].wanted.swap_remove(place);
                let shown = (0..LIAR)
                    .find(|other| board().key(*other).identity() == from)
                    .and_then(|other| self.nodes[other].voting.as_ref().and_then(|voting| voting.document(&document)));
                if let Some(bytes) = shown {
                    self.hand_in(index, from, &document, &bytes);
                }
            }
            self.nodes[index].wanted.truncate(64);
        }
    }

    fn hand_in(&mut self, index: usize, from: AuthorityIdentity, document: &Document, bytes: &[u8]) {
        let now = self.clock(index);
        let node = &mut self.nodes[index];
        if let Some(voting) = &mut node.voting {
            voting.handle_document(now, from, document, bytes, &node.registry);
        }
        self.carry_out(index);
    }

    fn carry_out(&mut self, index: usize) {
        let mut periods = BTreeSet::new();
        let node = &mut self.nodes[index];
        let Some(voting) = &mut node.voting else { return };
        while let Some(output) = voting.poll_output() {
            match output {
                VotingOutput::Fetch(from, document) => {
                    if node.wanted.len() < 256 {
                        node.wanted.push((from, document));
                    }
                    let (Document::Echoes(at) | Document::Vote(at, _) | Document::Signatures(at)) = document;
                    periods.insert(at);
                }
                VotingOutput::Persist(bytes) => node.disk = Some(bytes.to_vec()),
                VotingOutput::Publish(consensus) => {
                    let consensus = Consensus::verify_signatures(consensus.as_bytes(), &board().authorities);
                    let consensus = consensus.expect("what is published counts");
                    let digests = self.published.entry(consensus.validity().valid_after).or_default();
                    digests.insert(*consensus.digest().as_bytes());
                    assert_eq!(digests.len(), 1, "two quorums signed two consensuses for one period");
                    periods.insert(consensus.validity().valid_after);
                    node.newest = Some(Arc::new(consensus));
                }
                VotingOutput::Event(_) => (),
            }
        }
        // Everybody may see what it shows now.
        let own = board().key(index).identity();
        for period in periods {
            let mut news = |document| {
                let bytes = voting.document(&document)?;
                let before = self.looked_at.insert((index, document), Arc::clone(&bytes));
                (before.as_ref() != Some(&bytes)).then_some(bytes)
            };
            let (echoes, signatures) = (news(Document::Echoes(period)), news(Document::Signatures(period)));
            if let Some(bytes) = echoes {
                let echoes = Echoes::verify(&bytes, &board().authorities, period).expect("an honest one shows this");
                for echo in echoes.list {
                    if echo.voter == own {
                        let votes = self.votes.entry((own, period)).or_default();
                        votes.insert(*echo.digest.as_bytes());
                        assert_eq!(votes.len(), 1, "two votes for one period");
                    }
                    if !self.seen.iter_mut().any(|(of, seen)| *of == period && seen.merge(&echo)) {
                        self.seen.push((period, echo));
                    }
                }
            }
            if let Some(bytes) = signatures {
                let list = verify_signatures(&bytes, &board().authorities, period).expect("an honest one shows this");
                for one in list.iter().filter(|one| one.authority == own) {
                    let signatures = self.signatures.entry((own, period)).or_default();
                    signatures.insert(*one.digest.as_bytes());
                    assert_eq!(signatures.len(), 1, "two consensuses signed for one period");
                }
            }
        }
        for proof in voting.proofs().iter() {
            assert_eq!(proof.authority, board().key(LIAR).identity(), "nobody can prove that an honest one lies");
        }
    }

    /// The liar answers what it was asked for.
    fn lie(&mut self, index: usize, choices: &mut Choices<'_>) {
        let liar = board().key(LIAR);
        let is_liar = |(from, _): &(AuthorityIdentity, Document)| *from == liar.identity();
        let Some(place) = self.nodes[index].wanted.iter().position(is_liar) else { return };
        let (from, document) = self.nodes[index].wanted.swap_remove(place);
        let network = board().network();
        let bytes = match document {
            Document::Echoes(valid_after) => {
                if self.lies.len() < 16 {
                    self.lies.push(board().vote(LIAR, valid_after, choices.byte()));
                }
                // Its own votes with all signatures that it has got, and those of others with its own as well.
                let own = self.lies.iter().filter(|vote| vote.vote().valid_after == valid_after).map(Echo::of);
                let mut list: Vec<Echo> = own.collect();
                for (_, echo) in self.seen.iter().filter(|(period, _)| *period == valid_after) {
                    let known = list.iter_mut().any(|one| one.merge(echo));
                    if !known {
                        list.push(echo.clone());
                    }
                }
                let (mask, mut kept) = (choices.byte(), BTreeMap::<_, usize>::new());
                let first = usize::from(mask) % list.len().max(1);
                list.rotate_left(first);
                list.retain(|echo| {
                    let of_voter = kept.entry(echo.voter).or_default();
                    *of_voter += 1;
                    *of_voter <= MAX_VOTES_OF_ONE
                });
                if mask & 0x80 != 0 {
                    list.iter_mut().for_each(|echo| echo.sign(&liar, network, valid_after));
                }
                Echoes { valid_after, list }.encode(network)
            }
            Document::Vote(_, digest) => match self.lies.iter().find(|vote| vote.digest() == digest) {
                Some(vote) => vote.bytes().to_vec(),
                None => self.lies.first().map(|vote| vote.bytes().to_vec()).unwrap_or_default(),
            },
            Document::Signatures(valid_after) => {
                let which = choices.byte();
                let period = self.signatures.iter().filter(|((_, of), _)| *of == valid_after);
                let mut digests: BTreeSet<[u8; 32]> = period.flat_map(|(_, digests)| digests).copied().collect();
                if which & 1 != 0 {
                    digests.insert([which; 32]);
                }
                let digests = digests.into_iter().take(MAX_VOTES_OF_ONE);
                let list: Vec<_> = digests.map(|digest| board().sign_consensus(LIAR, valid_after, digest)).collect();
                encode_signatures(&list, network, valid_after)
            }
        };
        let bytes = if choices.byte() & 0x81 == 0x81 { edited(bytes, choices.piece()) } else { bytes };
        self.hand_in(index, from, &document, &bytes);
    }
}

/// Three honest authorities and one that lies, over any network, with any clocks, through any crashes.
pub fn voting(data: &[u8]) {
    let mut choices = Choices(data);
    let mut table = Table::new();
    // Time goes on by itself until the first votes are on the table, if so chosen.
    for _ in 0..choices.byte() % 64 {
        table.pass(PHASE / 4, 0);
    }
    let mut taken = 0;
    while let Some(choice) = choices.step(taken) {
        taken += 1;
        let index = usize::from(choice >> 4) % LIAR;
        match choice % 8 {
            0 | 1 => (0..=choices.byte() % 16).for_each(|_| table.pass(PHASE / 4, 0)),
            2 => {
                let (millis, deliver) = (u64::from(choices.byte()) * 8, choices.byte());
                table.pass(millis, deliver);
            }
            3 | 4 => (0..LIAR).for_each(|index| table.lie(index, &mut choices)),
            5 => {
                // Power fails: sometimes before anything of what was due is on the disk, and so before it is shown.
                let now = table.clock(index);
                let node = &mut table.nodes[index];
                if let Some(mut voting) = node.voting.take()
                    && choice & 8 != 0
                {
                    voting.handle_timeout(now, &node.registry, &mut table.rng);
                }
                if choices.byte() & 1 == 0 {
                    table.start(index);
                }
            }
            6 => {
                let step = i64::from(i16::from_be_bytes(choices.array()));
                table.nodes[index].offset = step;
                if table.nodes[index].voting.is_none() {
                    table.start(index);
                }
            }
            _ => {
                let (now, relay) = (table.clock(index), usize::from(choices.byte()) % 4);
                let descriptor = board().descriptor(relay, now.unix.as_secs()).1;
                let _ = table.nodes[index].registry.publish(now, &edited(descriptor, choices.piece()));
                let proofs = edited(valid(PROOFS).to_vec(), choices.piece());
                if let Some(voting) = table.nodes[index].voting.as_mut().filter(|_| choice & 8 != 0) {
                    // Authorities of this board are honest but for the last, so proofs against them are none of the run's.
                    assert!(proofs == valid(PROOFS) || voting.handle_proofs(&proofs).is_err());
                }
                table.carry_out(index);
            }
        }
    }
}
