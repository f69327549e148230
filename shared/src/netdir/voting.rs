//! An authority's part in making a consensus: it votes, hears and co-signs the others' votes, counts, signs, and collects
//! signatures.
//!
//! Time is cut into periods. The consensus of a period begins to count at its *valid after*, a multiple of the interval. Before
//! that lie phases of equal length: f + 1 rounds in which votes go round ([`Echoes`]), f being how many authorities may lie,
//! and one for signatures:
//!
//! ```text
//!      round 1      round 2     …    signatures
//!   ├────────────┼────────────┼───┼──────────────┤
//!  vote         echo             count, sign     valid after: publish
//! ```
//!
//! Documents are not sent but fetched: each authority shows its own at its own address, and asks the others for theirs again
//! and again. So nobody can fill an authority's memory with votes that it did not ask for.
//!
//! # The driver's rule
//!
//! *After [`Voting::new`] and each call take outputs with [`Voting::poll_output`] until there are none, and carry each out before
//! anything else is done; in particular what [`VotingOutput::Persist`] gives is on disk before anybody is shown a document.
//! Call [`Voting::handle_timeout`] at [`Voting::poll_timeout`].* An authority that crashes so never signs two votes or two
//! consensuses for one period.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use rand_core::CryptoRng;
use zeroize::Zeroizing;

use super::random::{commitment, phase};
use super::signatures::{encode_signatures, verify_signatures};
use super::tally::{RULE_SETS, tally};
use super::{
    Authorities, AuthorityIdentity, AuthorityKeypair, Consensus, ConsensusDigest, ConsensusSignature, Echo, EchoError,
    Echoes, Extensions, MAX_VOTES_OF_ONE, Misconduct, Nickname, ProofError, Proofs, Registry, SignaturesError,
    SignedVote, TallyError, UnsignedConsensus, Vote, VoteDigest, VoteError,
};
use crate::time::{Instant, Now};
use crate::wire::{DecodeError, Reader, Writer};

const STATE_VERSION: u16 = 1;

/// How many times in each phase the others are asked.
const ASKS: u32 = 5;

/// By what an authority votes.
#[derive(Clone, Debug)]
pub struct VotingConfig {
    /// Its name for people.
    pub nickname: Nickname,
    /// Where it is.
    pub url: String,
    /// How long a period is: the same at all authorities, in whole seconds.
    pub interval: Duration,
    /// How long it is while there is no consensus that counts: a part of `interval`, in whole seconds.
    pub initial_interval: Duration,
    /// How long each phase is: the same at all authorities, and more than twice what their clocks differ.
    pub phase: Duration,
    /// How long the relays must not have changed before the first consensus is voted on.
    pub settle: Duration,
    /// How long a consensus should count.
    pub valid_for: Duration,
    /// How long a cycle of the shared random value should be.
    pub cycle_len: Duration,
    /// Numbers that all nodes and clients should go by.
    pub parameters: BTreeMap<String, i64>,
}

/// One of the documents that authorities show each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Document {
    /// The votes that it has heard for the period of this beginning.
    Echoes(u64),
    /// A vote.
    Vote(u64, VoteDigest),
    /// The signatures that it holds for the period of this beginning.
    Signatures(u64),
}

/// What the driver is to do.
#[derive(Debug)]
pub enum VotingOutput {
    /// Ask an authority for a document, and hand it in with [`Voting::handle_document`]. An authority that is still being asked
    /// for the same need not be asked again.
    Fetch(AuthorityIdentity, Document),
    /// Put this on disk before anything else; the next [`Voting::new`] wants it.
    Persist(Zeroizing<Vec<u8>>),
    /// A consensus is signed by enough authorities.
    Publish(Arc<Consensus>),
    /// Something to count and to log.
    Event(VotingEvent),
}

/// What an operator should be able to see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VotingEvent {
    /// This authority has voted.
    Voted {
        /// For which period.
        valid_after: u64,
        /// How many relays it lists.
        relays: usize,
    },
    /// Another authority's vote was heard in time.
    Heard(AuthorityIdentity),
    /// What an authority has shown does not count.
    Refused(AuthorityIdentity, Refusal),
    /// An authority has signed two different things.
    Caught(Misconduct),
    /// The votes were counted, and the result is signed here.
    Counted {
        /// For which period.
        valid_after: u64,
        /// How many votes there were.
        votes: usize,
        /// How many relays are listed.
        relays: usize,
    },
    /// Enough authorities have signed it.
    Published {
        /// For which period.
        valid_after: u64,
        /// How many have signed so far.
        signatures: usize,
    },
    /// The votes could not be counted.
    NotCounted(TallyError),
    /// An authority has computed something else from the votes.
    Differs(AuthorityIdentity),
    /// Too few authorities have signed what was computed here by the time it should count.
    Unsigned {
        /// How many have.
        signed: usize,
        /// How many would be enough.
        quorum: usize,
    },
}

/// Why a document of another authority does not count.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A vote.
    #[error(transparent)]
    Vote(#[from] VoteError),
    /// A list of echoes.
    #[error(transparent)]
    Echoes(#[from] EchoError),
    /// A list of signatures.
    #[error(transparent)]
    Signatures(#[from] SignaturesError),
}

/// An authority's part in the voting.
pub struct Voting {
    keypair: AuthorityKeypair,
    authorities: Arc<Authorities>,
    config: VotingConfig,
    now: Now,
    /// The newest consensus, which may have run out.
    newest: Option<Arc<Consensus>>,
    period: Option<Period>,
    /// The period before, whose documents are still shown.
    before: Option<Period>,
    next_poll: Instant,
    state: State,
    proofs: Proofs,
    outputs: VecDeque<VotingOutput>,
}

/// What must survive a crash.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct State {
    /// The last period for which a vote may have been shown.
    voted: u64,
    /// The last period for which a signature may have been shown.
    signed: u64,
    /// What is to be revealed in each cycle.
    reveals: BTreeMap<u64, [u8; 32]>,
}

/// One period from the first vote on.
struct Period {
    valid_after: u64,
    /// The votes that came early enough with enough signatures, so that all honest authorities will have heard them too.
    heard: BTreeMap<(AuthorityIdentity, VoteDigest), Heard>,
    /// What each authority has shown last that is still to be fetched. Apart for each of them, so that one that lies cannot
    /// crowd out what an honest one shows.
    shown: BTreeMap<AuthorityIdentity, Vec<Shown>>,
    stage: Stage,
    signatures: BTreeMap<(AuthorityIdentity, [u8; 32]), ConsensusSignature>,
    /// Whose different result was reported already.
    differing: BTreeSet<AuthorityIdentity>,
    /// With how many signatures it was published.
    published: usize,
}

/// A vote that counts, unless there is another one of its voter.
struct Heard {
    echo: Echo,
    vote: Arc<SignedVote>,
}

/// A vote of which only the signatures have come.
struct Shown {
    echo: Echo,
    /// How often somebody was asked for the vote itself.
    asked: usize,
}

enum Stage {
    Rounds,
    Signing(Option<Box<UnsignedConsensus>>),
}

impl Shown {
    /// Asks one of those who have signed for having seen it, beginning with the one that has shown it.
    fn fetch(&mut self, valid_after: u64, source: AuthorityIdentity, own: AuthorityIdentity) -> Option<VotingOutput> {
        let others = self.echo.echoes.keys().chain([&self.echo.voter]).filter(|key| **key != source && **key != own);
        let from: Vec<_> = core::iter::once(&source).chain(others).collect();
        let asked = **from.get(self.asked % from.len().max(1))?;
        self.asked += 1;
        Some(VotingOutput::Fetch(asked, Document::Vote(valid_after, self.echo.digest)))
    }
}

/// How many rounds of echoes there are, for as many authorities as may lie.
fn rounds_of(authorities: &Authorities) -> u32 {
    u32::try_from(authorities.faults()).unwrap_or(u32::MAX).saturating_add(1)
}

/// How long all phases of a period take together.
pub fn phases_len(authorities: &Authorities, phase: Duration) -> Duration {
    phase * (rounds_of(authorities) + 1)
}

impl Voting {
    /// An authority that goes on where an earlier run was when it stored `state` and `proofs`.
    ///
    /// # Errors
    ///
    /// If what was stored cannot be read: better not to vote than to vote twice.
    pub fn new(
        keypair: AuthorityKeypair,
        authorities: Arc<Authorities>,
        config: VotingConfig,
        state: Option<&[u8]>,
        newest: Option<Arc<Consensus>>,
        now: Now,
    ) -> Result<Self, VotingError> {
        let (state, proofs) = match state {
            Some(bytes) => State::decode(bytes, &authorities)?,
            None => (State::default(), Proofs::default()),
        };
        Ok(Self {
            keypair,
            authorities,
            config,
            now,
            newest,
            period: None,
            before: None,
            next_poll: now.instant,
            state,
            proofs,
            outputs: VecDeque::new(),
        })
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<VotingOutput> {
        self.outputs.pop_front()
    }

    /// When to call [`Self::handle_timeout`].
    pub fn poll_timeout(&self) -> Instant {
        let next = match &self.period {
            Some(period) => {
                let at = period.valid_after.saturating_mul(1000);
                let counts = Some(at).filter(|at| period.published == 0 && *at > self.now.unix.as_millis());
                self.stage_end(period).min(self.next_poll_unix()).min(counts.unwrap_or(u64::MAX))
            }
            None => self.phases_begin(self.next_valid_after()),
        };
        self.now.instant + Duration::from_millis(next.saturating_sub(self.now.unix.as_millis()))
    }

    /// All proofs against authorities.
    pub const fn proofs(&self) -> &Proofs {
        &self.proofs
    }

    /// A document for another authority, or anybody else who asks.
    pub fn document(&self, document: &Document) -> Option<Arc<[u8]>> {
        let valid_after = match document {
            Document::Echoes(at) | Document::Vote(at, _) | Document::Signatures(at) => *at,
        };
        let period = [&self.period, &self.before].into_iter().flatten().find(|one| one.valid_after == valid_after)?;
        let network = self.authorities.network();
        match document {
            Document::Echoes(_) => {
                let list = period.heard.values().map(|heard| heard.echo.clone()).collect();
                Some(Echoes { valid_after, list }.encode(network).into())
            }
            Document::Vote(_, digest) => {
                let heard = period.heard.values().find(|heard| heard.echo.digest == *digest)?;
                Some(Arc::clone(heard.vote.bytes()))
            }
            Document::Signatures(_) => {
                let list: Vec<_> = period.signatures.values().copied().collect();
                Some(encode_signatures(&list, network, valid_after).into())
            }
        }
    }

    /// Takes over a consensus that came from elsewhere; its signatures have been checked.
    pub fn handle_consensus(&mut self, consensus: &Arc<Consensus>) {
        if self.newest.as_ref().is_none_or(|newest| consensus.is_newer_than(newest)) {
            self.newest = Some(Arc::clone(consensus));
        }
    }

    /// Does what is due by now.
    pub fn handle_timeout(&mut self, now: Now, registry: &Registry, rng: &mut impl CryptoRng) {
        self.now = now;
        loop {
            match &self.period {
                None => {
                    let valid_after = self.next_valid_after();
                    if self.phases_begin(valid_after) > now.unix.as_millis() {
                        return;
                    }
                    self.begin(valid_after, registry, rng);
                }
                Some(period) if self.stage_end(period) <= now.unix.as_millis() => self.end_stage(),
                Some(_) => break,
            }
        }
        if self.next_poll <= now.instant {
            self.next_poll = now.instant + self.config.phase / ASKS;
            self.ask();
        }
        self.publish();
    }

    // ---- time ----

    fn phase_millis(&self) -> u64 {
        u64::try_from(self.config.phase.as_millis()).unwrap_or(u64::MAX).max(1)
    }

    fn next_poll_unix(&self) -> u64 {
        let wait = self.next_poll.saturating_since(self.now.instant).as_millis();
        self.now.unix.as_millis().saturating_add(u64::try_from(wait).unwrap_or(u64::MAX))
    }

    /// When the first phase of a period begins, in milliseconds since 1970.
    fn phases_begin(&self, valid_after: u64) -> u64 {
        let phases = u64::from(rounds_of(&self.authorities) + 1).saturating_mul(self.phase_millis());
        valid_after.saturating_mul(1000).saturating_sub(phases)
    }

    /// When the stage that is under way ends: the rounds when votes are counted, signing when the next period begins.
    fn stage_end(&self, period: &Period) -> u64 {
        let at = period.valid_after.saturating_mul(1000);
        match period.stage {
            Stage::Rounds => at.saturating_sub(self.phase_millis()),
            // Somebody who is late may still be heard, until the next period begins.
            Stage::Signing(_) => {
                let next = self.following(period.valid_after);
                self.phases_begin(next).max(at)
            }
        }
    }

    /// The round that is under way, from 1 on.
    fn round(&self, period: &Period) -> usize {
        let since = self.now.unix.as_millis().saturating_sub(self.phases_begin(period.valid_after));
        let round = since / self.phase_millis() + 1;
        usize::try_from(round).unwrap_or(usize::MAX)
    }

    fn interval(&self) -> u64 {
        let interval = if self.has_live() { self.config.interval } else { self.config.initial_interval };
        interval.as_secs().max(1)
    }

    fn has_live(&self) -> bool {
        let now = self.now.unix.as_secs();
        self.newest.as_ref().is_some_and(|newest| newest.validity().valid_until >= now)
    }

    /// The first period after the one of this beginning.
    fn following(&self, valid_after: u64) -> u64 {
        let interval = self.interval();
        (valid_after / interval + 1).saturating_mul(interval)
    }

    /// The first period whose phases have not all gone by when it would be joined: one that has begun is left alone.
    fn next_valid_after(&self) -> u64 {
        let phases = u64::from(rounds_of(&self.authorities) + 1).saturating_mul(self.phase_millis());
        let earliest = self.now.unix.as_millis().saturating_add(phases).div_ceil(1000);
        let interval = self.interval();
        let aligned = earliest.div_ceil(interval).saturating_mul(interval);
        // A moment too late by a few milliseconds is still the beginning.
        let just_begun = aligned.saturating_sub(interval);
        let slack = self.phase_millis() / 4;
        let begun = self.phases_begin(just_begun);
        let last = self.before.as_ref().map_or(0, |before| before.valid_after);
        if just_begun > last && begun <= self.now.unix.as_millis() && self.now.unix.as_millis() < begun + slack {
            return just_begun;
        }
        aligned.max(self.before.as_ref().map_or(0, |before| self.following(before.valid_after)))
    }

    // ---- votes ----

    fn begin(&mut self, valid_after: u64, registry: &Registry, rng: &mut impl CryptoRng) {
        let mut period = Period {
            valid_after,
            heard: BTreeMap::new(),
            shown: BTreeMap::new(),
            stage: Stage::Rounds,
            signatures: BTreeMap::new(),
            differing: BTreeSet::new(),
            published: 0,
        };
        let opinion = registry.opinion(self.now);
        // The first consensus waits until relays have come, and come no more.
        let ready =
            self.has_live() || (!opinion.is_empty() && registry.is_settled(self.now.instant, self.config.settle));
        // After a crash within this period another vote may be known already.
        if ready && self.state.voted < valid_after {
            let relays = opinion.len();
            if let Some(vote) = self.vote(valid_after, opinion, rng) {
                let key = (vote.vote().voter, vote.digest());
                let echo = Echo::of(&vote);
                period.heard.insert(key, Heard { echo, vote: Arc::new(vote) });
                self.event(VotingEvent::Voted { valid_after, relays });
            }
        }
        self.period = Some(period);
        self.next_poll = self.now.instant;
    }

    fn vote(
        &mut self,
        valid_after: u64,
        relays: Vec<super::VotedRelay>,
        rng: &mut impl CryptoRng,
    ) -> Option<SignedVote> {
        let voter = self.keypair.identity();
        let seconds = |duration: Duration| u32::try_from(duration.as_secs()).unwrap_or(u32::MAX);
        let (cycle, revealing) = phase(valid_after, self.config.cycle_len.as_secs());
        // The cycle before may still have to be revealed, if a consensus is late.
        self.state.reveals.retain(|of, _| of.saturating_add(1) >= cycle && *of <= cycle);
        let reveal = *self.state.reveals.entry(cycle).or_insert_with(|| {
            let mut fresh = [0; 32];
            rng.fill_bytes(&mut fresh);
            fresh
        });
        self.state.voted = valid_after;
        self.persist();
        let vote = Vote {
            valid_after,
            published: self.now.unix.as_secs(),
            voter,
            nickname: self.config.nickname.clone(),
            url: self.config.url.clone(),
            rule_sets: RULE_SETS.to_vec(),
            fresh_for: seconds(self.config.interval),
            valid_for: seconds(self.config.valid_for),
            cycle_len: seconds(self.config.cycle_len),
            previous: self.newest.as_ref().map(|newest| (newest.digest(), newest.validity().valid_after)),
            commitment: Some(commitment(&voter, cycle, &reveal)),
            reveal: Some(reveal).filter(|_| revealing),
            parameters: self.config.parameters.clone(),
            relays,
            other: Extensions::default(),
        };
        match vote.sign(&self.keypair, self.authorities.network()) {
            Ok(vote) => Some(vote),
            Err(error) => {
                self.event(VotingEvent::Refused(voter, error.into()));
                None
            }
        }
    }

    /// Asks the others for what is still wanted of them.
    fn ask(&mut self) {
        let (own, phase_millis) = (self.keypair.identity(), self.phase_millis());
        let others: Vec<_> = self.authorities.iter().map(|one| one.key).filter(|key| *key != own).collect();
        let Some(period) = &mut self.period else { return };
        let valid_after = period.valid_after;
        match &period.stage {
            Stage::Rounds => {
                for other in others {
                    self.outputs.push_back(VotingOutput::Fetch(other, Document::Echoes(valid_after)));
                }
                for (source, shown) in &mut period.shown {
                    for shown in shown {
                        self.outputs.extend(shown.fetch(valid_after, *source, own));
                    }
                }
            }
            Stage::Signing(_) => {
                // Once there are enough, those who are late are not waited for much longer.
                let patience = valid_after.saturating_mul(1000).saturating_add(2 * phase_millis);
                if period.published > 0 && self.now.unix.as_millis() > patience {
                    return;
                }
                let missing = |other: &AuthorityIdentity| !period.signatures.keys().any(|(signer, _)| signer == other);
                for other in others.into_iter().filter(missing) {
                    self.outputs.push_back(VotingOutput::Fetch(other, Document::Signatures(valid_after)));
                }
            }
        }
    }

    /// Takes a document that [`VotingOutput::Fetch`] has asked for.
    ///
    /// `registry` knows descriptors that have been checked.
    pub fn handle_document(
        &mut self,
        now: Now,
        from: AuthorityIdentity,
        document: &Document,
        bytes: &[u8],
        registry: &Registry,
    ) {
        self.now = now;
        let handled = match document {
            Document::Echoes(at) => self.handle_echoes(*at, from, bytes).map_err(Refusal::from),
            Document::Vote(at, digest) => self.handle_vote(*at, digest, bytes, registry).map_err(Refusal::from),
            Document::Signatures(at) => self.handle_signatures(*at, bytes).map_err(Refusal::from),
        };
        if let Err(refusal) = handled {
            self.event(VotingEvent::Refused(from, refusal));
        }
    }

    fn handle_echoes(&mut self, valid_after: u64, from: AuthorityIdentity, bytes: &[u8]) -> Result<(), EchoError> {
        let rounds = |period: &&Period| period.valid_after == valid_after && matches!(period.stage, Stage::Rounds);
        let Some(period) = self.period.as_ref().filter(rounds) else { return Ok(()) };
        let round = self.round(period);
        let echoes = Echoes::verify(bytes, &self.authorities, valid_after)?;
        self.look_for_proofs(&echoes);
        let own = self.keypair.identity();
        let Some(period) = &mut self.period else { return Ok(()) };
        let before = period.shown.remove(&from).unwrap_or_default();
        let mut shown = Vec::new();
        for echo in echoes.list {
            if let Some(heard) = period.heard.get_mut(&(echo.voter, echo.digest)) {
                heard.echo.merge(&echo);
                continue;
            }
            // What has too few signatures for its time was not heard by everybody in time. Two votes of one voter are enough.
            let of_voter = period.heard.keys().filter(|(voter, _)| *voter == echo.voter).count();
            if echo.signatures() < round || of_voter >= MAX_VOTES_OF_ONE {
                continue;
            }
            let asked = before.iter().find(|one| one.echo.digest == echo.digest).map_or(0, |one| one.asked);
            let mut one = Shown { echo, asked };
            if asked == 0 {
                self.outputs.extend(one.fetch(valid_after, from, own));
            }
            shown.push(one);
        }
        if !shown.is_empty() {
            period.shown.insert(from, shown);
        }
        Ok(())
    }

    /// Looks for two votes of one voter, whether they came in time or not.
    fn look_for_proofs(&mut self, echoes: &Echoes) {
        let Some(period) = &self.period else { return };
        let heard = period.heard.values().map(|heard| &heard.echo);
        let shown = period.shown.values().flatten().map(|shown| &shown.echo);
        let known: Vec<&Echo> = heard.chain(shown).chain(&echoes.list).collect();
        let proof = |echo: &Echo| known.iter().find_map(|other| Misconduct::of_votes(echoes.valid_after, echo, other));
        let proofs: Vec<_> = echoes.list.iter().filter_map(proof).collect();
        proofs.into_iter().for_each(|proof| self.caught(proof));
    }

    fn handle_vote(
        &mut self,
        valid_after: u64,
        digest: &VoteDigest,
        bytes: &[u8],
        registry: &Registry,
    ) -> Result<(), VoteError> {
        let rounds = |period: &&Period| period.valid_after == valid_after && matches!(period.stage, Stage::Rounds);
        let Some(period) = self.period.as_ref().filter(rounds) else { return Ok(()) };
        let (round, last) = (self.round(period), usize::try_from(rounds_of(&self.authorities)).unwrap_or(usize::MAX));
        if !period.shown.values().flatten().any(|shown| shown.echo.digest == *digest) {
            return Ok(());
        }
        let vote =
            SignedVote::verify(bytes, &self.authorities, valid_after, &|relay, bytes| registry.holds(relay, bytes))?;
        if vote.digest() != *digest {
            return Err(DecodeError::Invalid("the vote that was asked for").into());
        }
        let voter = vote.vote().voter;
        let Some(period) = &mut self.period else { return Ok(()) };
        let mut echo = Echo::of(&vote);
        let mut in_time = false;
        for shown in period.shown.values_mut() {
            for one in shown.extract_if(.., |one| one.echo.digest == *digest) {
                in_time |= round <= last && one.echo.signatures() >= round;
                echo.merge(&one.echo);
            }
        }
        if !in_time {
            return Ok(());
        }
        echo.sign(&self.keypair, self.authorities.network(), valid_after);
        period.heard.insert((voter, *digest), Heard { echo, vote: Arc::new(vote) });
        self.event(VotingEvent::Heard(voter));
        Ok(())
    }

    /// The votes that count: of each voter of whom exactly one was heard.
    fn votes(period: &Period) -> Vec<Arc<SignedVote>> {
        let alone = |heard: &&Heard| period.heard.keys().filter(|(voter, _)| *voter == heard.echo.voter).count() == 1;
        period.heard.values().filter(alone).map(|heard| Arc::clone(&heard.vote)).collect()
    }

    /// The votes of the period that is under way or was last: descriptors in them may be news.
    pub fn heard_votes(&self) -> Vec<Arc<SignedVote>> {
        let period = self.period.as_ref().or(self.before.as_ref());
        period.map(Self::votes).unwrap_or_default()
    }

    // ---- counting and signing ----

    fn end_stage(&mut self) {
        let Some(period) = &mut self.period else { return };
        if matches!(period.stage, Stage::Signing(_)) {
            let (signed, quorum) = (Self::agreeing(period), self.authorities.quorum());
            let unsigned = matches!(&period.stage, Stage::Signing(Some(_))) && period.published == 0;
            self.before = self.period.take();
            if unsigned {
                self.event(VotingEvent::Unsigned { signed, quorum });
            }
            return;
        }
        period.stage = Stage::Signing(None);
        let valid_after = period.valid_after;
        let votes = Self::votes(period);
        self.next_poll = self.now.instant;
        if votes.is_empty() {
            // Nobody has voted, as before the first relay has come: nothing to report.
            return;
        }
        let list: Vec<&SignedVote> = votes.iter().map(|vote| &**vote).collect();
        let counted = tally(&self.authorities, &list, self.newest.as_deref());
        let draft = match counted {
            Ok(draft) => draft,
            Err(error) => return self.event(VotingEvent::NotCounted(error)),
        };
        let relays = draft.relays.len();
        let unsigned = match draft.finish() {
            Ok(unsigned) => unsigned,
            // The rules give nothing that readers would refuse.
            Err(_) => return self.event(VotingEvent::NotCounted(TallyError::Rules)),
        };
        // After a crash within this period a signature on something else may be known already.
        if self.state.signed < valid_after {
            self.state.signed = valid_after;
            self.persist();
            let signature = unsigned.sign(&self.keypair);
            self.add_signature(signature);
            self.event(VotingEvent::Counted { valid_after, votes: votes.len(), relays });
        }
        if let Some(period) = &mut self.period {
            period.stage = Stage::Signing(Some(Box::new(unsigned)));
        }
        self.publish();
    }

    fn handle_signatures(&mut self, valid_after: u64, bytes: &[u8]) -> Result<(), SignaturesError> {
        if self.period.as_ref().is_none_or(|period| period.valid_after != valid_after) {
            return Ok(());
        }
        for signature in verify_signatures(bytes, &self.authorities, valid_after)? {
            self.add_signature(signature);
        }
        self.publish();
        Ok(())
    }

    fn add_signature(&mut self, signature: ConsensusSignature) {
        let Some(period) = &mut self.period else { return };
        let mut others = period.signatures.values().filter(|other| other.authority == signature.authority);
        let proof = others.clone().find_map(|other| Misconduct::of_signatures(other, &signature));
        let room = others.by_ref().count() < MAX_VOTES_OF_ONE;
        if room {
            period.signatures.insert((signature.authority, *signature.digest.as_bytes()), signature);
        }
        let own = match &period.stage {
            Stage::Signing(Some(unsigned)) => Some(unsigned.digest()),
            _ => None,
        };
        let differs = own.is_some_and(|own| own != signature.digest) && period.differing.insert(signature.authority);
        if let Some(proof) = proof {
            self.caught(proof);
        }
        if differs {
            self.event(VotingEvent::Differs(signature.authority));
        }
    }

    fn signatures_on(period: &Period, digest: ConsensusDigest) -> Vec<ConsensusSignature> {
        period.signatures.values().filter(|one| one.digest == digest).copied().collect()
    }

    fn agreeing(period: &Period) -> usize {
        match &period.stage {
            Stage::Signing(Some(unsigned)) => Self::signatures_on(period, unsigned.digest()).len(),
            _ => 0,
        }
    }

    /// Publishes what was computed here once enough have signed it, and again with more signatures.
    fn publish(&mut self) {
        let quorum = self.authorities.quorum();
        let Some(period) = &mut self.period else { return };
        let Stage::Signing(Some(unsigned)) = &period.stage else { return };
        let signatures = Self::signatures_on(period, unsigned.digest());
        let early = self.now.unix.as_millis() < period.valid_after.saturating_mul(1000);
        if early || signatures.len() < quorum || signatures.len() <= period.published {
            return;
        }
        // Assembling fails for more signatures than there are authorities only.
        let Ok(bytes) = unsigned.assemble(&signatures) else { return };
        if period.published == 0 {
            let (valid_after, signatures) = (period.valid_after, signatures.len());
            self.outputs.push_back(VotingOutput::Event(VotingEvent::Published { valid_after, signatures }));
        }
        period.published = signatures.len();
        // All of its signatures were checked when they came.
        let Ok(consensus) = Consensus::verify_signatures(&bytes, &self.authorities) else { return };
        let consensus = Arc::new(consensus);
        self.handle_consensus(&consensus);
        self.outputs.push_back(VotingOutput::Publish(consensus));
    }

    fn caught(&mut self, proof: Misconduct) {
        if self.proofs.add(proof) {
            self.persist();
            self.event(VotingEvent::Caught(proof));
        }
    }

    /// Takes proofs that another authority has shown.
    ///
    /// # Errors
    ///
    /// If one of them proves nothing.
    pub fn handle_proofs(&mut self, bytes: &[u8]) -> Result<(), ProofError> {
        for proof in Proofs::verify(bytes, &self.authorities)?.iter() {
            self.caught(*proof);
        }
        Ok(())
    }

    fn event(&mut self, event: VotingEvent) {
        self.outputs.push_back(VotingOutput::Event(event));
    }

    fn persist(&mut self) {
        let bytes = self.state.encode(&self.proofs, &self.authorities);
        self.outputs.push_back(VotingOutput::Persist(bytes));
    }
}

/// Why what was stored is of no use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VotingError {
    /// It is malformed.
    #[error("the authority's stored state is malformed: {0}")]
    Decode(#[from] DecodeError),
    /// Its proofs prove nothing.
    #[error("the authority's stored state is malformed: {0}")]
    Proofs(#[from] ProofError),
}

/// Encoding: version (2 bytes, 1) · last period voted for (8), signed for (8) · number of reveals (1) and each one's cycle (8)
/// and value (32) · proofs.
impl State {
    fn encode(&self, proofs: &Proofs, authorities: &Authorities) -> Zeroizing<Vec<u8>> {
        let mut writer = Writer::new();
        writer.u16(STATE_VERSION).u64(self.voted).u64(self.signed);
        writer.u8(u8::try_from(self.reveals.len()).unwrap_or(u8::MAX));
        for (cycle, reveal) in &self.reveals {
            writer.u64(*cycle).raw(reveal);
        }
        writer.raw(&proofs.encode(authorities.network()));
        Zeroizing::new(writer.into_bytes())
    }

    fn decode(bytes: &[u8], authorities: &Authorities) -> Result<(Self, Proofs), VotingError> {
        let mut reader = Reader::new(bytes);
        reader.version("the authority's state", STATE_VERSION)?;
        let mut state = Self { voted: reader.u64()?, signed: reader.u64()?, reveals: BTreeMap::new() };
        for _ in 0..reader.u8()? {
            state.reveals.insert(reader.u64()?, reader.array()?);
        }
        let proofs = Proofs::verify(reader.rest(), authorities)?;
        Ok((state, proofs))
    }
}

#[cfg(test)]
mod tests;
