//! The engine's list of relays: kept from start to start, renewed before it runs out, and never believed longer than it
//! counts.
//!
//! A newer list is fetched over circuits, from one relay after another: so nobody can tell from it who is there. Only where
//! circuits cannot be built, or relays have nothing newer while time is running out, it comes directly: from the driver's own
//! directory, then from the authorities. Whoever answers with a list that is not newer, although ours is no longer fresh, is
//! left for the next one: a mirror that lies, or that is cut off, cannot hold a client back.

use std::time::Duration;

use rand_core::Rng as _;

use super::counts::CloseCause;
use super::requests::RequestId;
use super::{CircuitManager, CircuitPurpose};
use crate::cell::DestroyReason;
use crate::client::api::{Event, NetworkView, Output};
use crate::client::backoff::{Backoff, jitter};
use crate::client::network_view::relays_in_parts;
use crate::client::store::Key;
use crate::crypto::keys::RelayIdentity;
use crate::link::Padding;
use crate::netdir::{Authorities, Consensus, ConsensusDigest, ConsensusError, ConsensusUpdate, Validity};
use crate::services::consensus_update;
use crate::stream::request::RequestResult;
use crate::time::{Instant, Now, UnixTime};

/// How many relays are asked in one round.
const MIRRORS: usize = 4;

/// How long circuits are waited for before a list is fetched directly.
const CIRCUIT_WAIT: Duration = Duration::from_secs(20);

/// After how long without any link the list is looked for anew, and how often then: its relays may be gone.
const STRANDED: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(300));

/// The pause between two rounds without any list, at first and at most.
const RETRY: Backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(10));

/// The pause between two rounds with a list: a part of the time that it still counts, but at least and at most so long.
const PAUSE_PART: u32 = 16;
const PAUSE: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(300));

/// The shortest time from one list to the search for the next.
const INTERVAL: Duration = Duration::from_secs(5);

/// The list of relays, and the search for the next one.
#[derive(Debug)]
pub(super) struct ConsensusFetch {
    pub(super) consensus: Option<Consensus>,
    /// Whether somebody is looking at it.
    pub(super) watched: bool,
    /// When the next one is looked for.
    due: Instant,
    /// Who was asked and has not answered yet.
    under_way: Option<Source>,
    /// Relays that were asked in this round.
    asked: Vec<RelayIdentity>,
    /// How many direct sources were asked in this round.
    direct: usize,
    /// Rounds that have brought nothing.
    rounds: u32,
    /// A difference was no good: from now on the whole list is asked for.
    whole: bool,
    /// Since when there has been no link, and when that was last held against the list.
    stranded: Option<Instant>,
    /// Why there was no list, the last time.
    problem: Option<String>,
    /// The last problem that the person was told.
    told: Option<String>,
    /// The person knows that the last list has run out.
    ran_out: bool,
}

/// Who is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    /// The driver's own directory, or from 1 on the authorities, in the order of the configuration.
    Direct(usize, Option<ConsensusDigest>),
    Relay(RequestId),
}

impl ConsensusFetch {
    /// With the list of an earlier run.
    pub(super) const fn new(consensus: Option<Consensus>, now: Instant) -> Self {
        Self {
            consensus,
            watched: false,
            due: now,
            under_way: None,
            asked: Vec::new(),
            direct: 0,
            rounds: 0,
            whole: false,
            stranded: None,
            problem: None,
            told: None,
            ran_out: false,
        }
    }

    fn held(&self) -> Option<ConsensusDigest> {
        self.consensus.as_ref().filter(|_| !self.whole).map(Consensus::digest)
    }

    /// A new round begins at this time.
    fn begin_round(&mut self, due: Instant) {
        self.due = due;
        self.asked.clear();
        self.direct = 0;
    }
}

/// The consensus that an earlier run has stored, if this network's authorities signed it. Whether it is still valid is
/// checked later.
pub(in super::super) fn restore_consensus(bytes: Option<&[u8]>, authorities: &Authorities) -> Option<Consensus> {
    Consensus::verify_signatures(bytes?, authorities).ok()
}

/// A consensus that was checked against these authorities, as events: one about the whole, then its relays in parts.
pub(in super::super) fn network_events(
    consensus: &Consensus,
    authorities: &Authorities,
) -> impl Iterator<Item = Event> {
    let network = Event::Network { network: Box::new(NetworkView::new(consensus, authorities)) };
    [network].into_iter().chain(relays_in_parts(consensus).map(|list| Event::Relays { list }))
}

impl CircuitManager {
    /// Begins with the list of an earlier run, if it still counts.
    pub(super) fn begin_directory(&mut self) {
        if self.directory.consensus.is_none() {
            return;
        }
        if self.outdated().is_some() {
            self.directory.consensus = None;
        } else {
            self.plan_fetch();
        }
    }

    /// Drops a list that does not count any more, and looks for the next one when it is time.
    pub(super) fn maintain_directory(&mut self) {
        if let Some(problem) = self.outdated() {
            self.drop_consensus(&problem);
        }
        self.notice_stranded();
        while self.directory.under_way.is_none() && self.directory.due <= self.now.instant {
            if !self.ask_next() {
                return;
            }
        }
    }

    /// When to look after the directory again.
    pub(super) fn directory_timeout(&self) -> Option<Instant> {
        let now = self.now.instant;
        let ConsensusFetch { due, under_way, stranded, .. } = &self.directory;
        let due = [*due, *due + CIRCUIT_WAIT].into_iter().filter(|_| under_way.is_none());
        let stranded = stranded.map(|since| since + STRANDED.0);
        let ends = self.directory.consensus.as_ref().map(|consensus| {
            let (time, tolerance) = self.network_time();
            let end = Duration::from_secs(consensus.validity().valid_until + 1) + tolerance;
            now + end.saturating_sub(Duration::from_millis(time.as_millis()))
        });
        due.chain(stranded).chain(ends).filter(|at| *at > now).min()
    }

    /// Why the list does not count any more.
    fn outdated(&self) -> Option<ConsensusError> {
        let consensus = self.directory.consensus.as_ref()?;
        self.check_time(consensus).err()
    }

    fn check_time(&self, consensus: &Consensus) -> Result<(), ConsensusError> {
        let (time, tolerance) = self.network_time();
        let counts = |time| consensus.check_time(time, tolerance).is_ok();
        match consensus.check_time(time, tolerance) {
            Err(_) if self.clock.possible_times(self.now.unix).any(counts) => Ok(()),
            checked => checked,
        }
    }

    /// Without a list that counts nothing goes on: relays that are not in it any more may be anybody's.
    fn drop_consensus(&mut self, problem: &ConsensusError) {
        let Some(consensus) = self.directory.consensus.take() else { return };
        let Validity { valid_after, valid_until, .. } = consensus.validity();
        let message = match problem {
            ConsensusError::TooEarly(_) => {
                format!("The list of relays does not count before {}: a relay made up the time.", utc(valid_after))
            }
            _ => format!(
                "The list of relays ran out at {}; the authorities' next one could not be had in time. Nothing can be sent \
                 until it comes. Still trying.",
                utc(valid_until)
            ),
        };
        self.error("directory", message);
        self.directory.ran_out = true;
        let circuits: Vec<_> = self.circuits.keys().copied().collect();
        for id in circuits {
            // Their users have to hear of it, though it is nobody's fault.
            self.close_and_tell(id, CloseCause::Said(Some(DestroyReason::Requested)), false);
        }
        for (id, mut link) in core::mem::take(&mut self.links) {
            // Their guards have done nothing wrong; but they are to hear that the circuits are over.
            let _ = link.flush(id, &mut self.rng, self.now.instant, &mut self.outputs);
            self.outputs.push_back(Output::CloseLink(id));
        }
        self.directory.rounds = 0;
        if !matches!(self.directory.under_way, Some(Source::Direct(..))) {
            self.directory.under_way = None;
            self.directory.begin_round(self.now.instant);
        }
    }

    /// Looks for a new list when the relays of this one cannot be reached at all.
    fn notice_stranded(&mut self) {
        let now = self.now.instant;
        if self.directory.consensus.is_none() || self.has_open_link() {
            self.directory.stranded = None;
            return;
        }
        let since = *self.directory.stranded.get_or_insert(now);
        if now.saturating_since(since) >= STRANDED.0 {
            self.directory.stranded = Some(now + STRANDED.1);
            if self.directory.due > now {
                // Circuits have been waited for already.
                self.directory.begin_round(Instant::from_millis(
                    now.as_millis().saturating_sub(CIRCUIT_WAIT.as_millis().try_into().unwrap_or(0)),
                ));
            }
        }
    }

    /// Asks the next source; `false` if nobody can be asked now.
    fn ask_next(&mut self) -> bool {
        let now = self.now.instant;
        let waited = now.saturating_since(self.directory.due) >= CIRCUIT_WAIT;
        if self.directory.consensus.is_some() && self.directory.asked.len() < MIRRORS {
            if self.has_circuits() {
                let asked = self.directory.asked.clone();
                let held = self.directory.held();
                // Without one there are no more relays.
                if let Some(relay) = self.relay_to_ask(&asked) {
                    let request = consensus_update::request(held.as_ref());
                    if let Some(id) = self.request(relay, CircuitPurpose::Consensus, request) {
                        self.directory.under_way = Some(Source::Relay(id));
                        self.directory.asked.push(relay);
                        return true;
                    }
                    if !waited {
                        return false;
                    }
                }
            } else if !waited {
                return false;
            }
        }
        let sources = 1 + self.config.authorities.len();
        if self.directory.direct < sources && (self.is_urgent() || (waited && !self.has_circuits())) {
            let source = self.directory.direct;
            self.directory.direct += 1;
            let held = self.directory.held();
            self.directory.under_way = Some(Source::Direct(source, held));
            let url = source.checked_sub(1).and_then(|index| self.authority_url(index));
            self.outputs.push_back(Output::FetchConsensus { source, url, held });
            return true;
        }
        self.end_round();
        false
    }

    /// Whether it is late enough to ask directly, where everybody who looks on learns that somebody is here.
    fn is_urgent(&self) -> bool {
        let Some(consensus) = &self.directory.consensus else { return true };
        let (_, halfway) = renewal(consensus.validity());
        self.network_time().0 >= halfway
    }

    /// Where an authority is: by the list that counts, or by the configuration.
    fn authority_url(&self, index: usize) -> Option<String> {
        let authority = self.config.authorities.iter().nth(index)?;
        let listed = self.directory.consensus.as_ref().and_then(|consensus| consensus.authority(&authority.key));
        Some(listed.map_or(&authority.url, |listed| &listed.url).clone())
    }

    /// Everybody was asked in vain.
    fn end_round(&mut self) {
        let pause = match &self.directory.consensus {
            None => RETRY.shortest(self.directory.rounds),
            Some(consensus) => {
                let end = Duration::from_secs(consensus.validity().valid_until);
                let left = end.saturating_sub(Duration::from_millis(self.network_time().0.as_millis()));
                (left / PAUSE_PART).clamp(PAUSE.0, PAUSE.1)
            }
        };
        self.directory.rounds += 1;
        let due = self.now.instant + jitter(pause, pause * 3 / 2, &mut self.rng);
        self.directory.begin_round(due);
        let problem = self.directory.problem.take();
        // A list at hand goes on serving; without one the person has to know, once for each reason.
        if let Some(problem) = problem.filter(|_| self.directory.consensus.is_none() && !self.directory.ran_out)
            && self.directory.told.as_ref() != Some(&problem)
        {
            self.error("directory", format!("The list of relays cannot be had: {problem}. Still trying."));
            self.directory.told = Some(problem);
        }
    }

    /// A direct source has answered.
    pub(in super::super) fn consensus_fetched(&mut self, source: usize, answer: Result<Vec<u8>, String>) {
        let Some(Source::Direct(asked, held)) = self.directory.under_way else { return };
        if asked != source {
            return;
        }
        let outcome = answer.and_then(|bytes| match held {
            Some(_) => self.read_update(&bytes),
            None => self.read_consensus(&bytes),
        });
        self.learn(outcome);
    }

    /// A relay has answered, or won't.
    pub(super) fn directory_result(&mut self, id: RequestId, result: RequestResult) {
        if self.directory.under_way == Some(Source::Relay(id)) {
            let answer = result.map_err(|error| error.to_string());
            let outcome = answer.and_then(|answer| self.read_update(&answer.bytes));
            self.learn(outcome);
        }
    }

    fn read_update(&self, bytes: &[u8]) -> Result<Option<Consensus>, String> {
        let held = self.directory.consensus.as_ref();
        let update = ConsensusUpdate::decode(bytes).and_then(|update| update.apply(held));
        match update.map_err(|error| error.to_string())? {
            Some(bytes) => self.read_consensus(&bytes),
            None => Ok(None),
        }
    }

    /// The consensus, if it counts and is newer.
    fn read_consensus(&self, bytes: &[u8]) -> Result<Option<Consensus>, String> {
        let consensus = Consensus::verify_signatures(bytes, &self.config.authorities);
        let consensus = consensus.map_err(|error| error.to_string())?;
        self.check_time(&consensus).map_err(|error| describe(&error))?;
        let held = self.directory.consensus.as_ref();
        Ok(Some(consensus).filter(|consensus| held.is_none_or(|held| consensus.is_newer_than(held))))
    }

    fn learn(&mut self, outcome: Result<Option<Consensus>, String>) {
        self.directory.under_way = None;
        match outcome {
            Ok(Some(consensus)) => {
                let padding = Padding::of(Some(&consensus));
                self.links.values_mut().for_each(|link| link.padding = padding);
                self.put_record(Key::Consensus, consensus.as_bytes().to_vec());
                self.directory.consensus = Some(consensus);
                self.show_network();
                self.directory.rounds = 0;
                self.directory.whole = false;
                self.directory.problem = None;
                self.directory.told = None;
                self.directory.ran_out = false;
                self.plan_fetch();
            }
            // Others may have one: this source is left for the next.
            Ok(None) if self.is_stale() => {}
            Ok(None) => self.plan_fetch(),
            Err(problem) => {
                self.directory.whole = true;
                self.directory.problem = Some(problem);
            }
        }
    }

    /// Shows the consensus, and each that follows, to whoever watches it.
    pub(in super::super) fn watch_network(&mut self, watch: bool) {
        self.directory.watched = watch;
        self.show_network();
    }

    /// Tells who is looking what the list says.
    fn show_network(&mut self) {
        if let Some(consensus) = self.directory.consensus.as_ref().filter(|_| self.directory.watched) {
            let events = network_events(consensus, &self.config.authorities);
            self.outputs.extend(events.map(Output::Event));
        }
    }

    fn is_stale(&self) -> bool {
        let fresh_until = self.directory.consensus.as_ref().map_or(0, |consensus| consensus.validity().fresh_until);
        self.network_time().0.as_secs() >= fresh_until
    }

    /// Chooses when to look for the next list: at random, between the time when there should be one and halfway to the end
    /// of this one.
    pub(super) fn plan_fetch(&mut self) {
        let Some(consensus) = &self.directory.consensus else { return };
        let (fresh, halfway) = renewal(consensus.validity());
        let time = self.network_time().0.as_millis();
        let from = fresh.as_millis().max(time);
        let to = halfway.as_millis().max(from + INTERVAL.as_secs() * 1000);
        let at = from + self.rng.next_u64() % (to - from).max(1);
        let due = self.now.instant + Duration::from_millis(at - time);
        self.directory.begin_round(due);
    }

    /// Both clocks, the wall clock's put right as far as the network's time is known.
    pub(in super::super) fn network_now(&self) -> Now {
        Now { unix: self.network_time().0, ..self.now }
    }

    /// The network's time as far as it is known, and how wrong it may be.
    pub(super) fn network_time(&self) -> (UnixTime, Duration) {
        self.clock.network_time(self.now.unix)
    }
}

fn utc(secs: u64) -> String {
    UnixTime::from_millis(secs.saturating_mul(1000)).to_utc()
}

/// Why a list that has come does not count, for a person to read.
fn describe(error: &ConsensusError) -> String {
    match error {
        ConsensusError::Expired(at) => {
            format!("the newest one ran out at {}, or this computer's clock is ahead", utc(*at))
        }
        ConsensusError::TooEarly(at) => format!("it counts from {} only: this computer's clock is behind", utc(*at)),
        error => error.to_string(),
    }
}

/// From when on there should be a newer consensus, and the moment halfway to the end of this one.
fn renewal(validity: Validity) -> (UnixTime, UnixTime) {
    let Validity { fresh_until, valid_until, .. } = validity;
    let millis = |secs: u64| UnixTime::from_millis(secs.saturating_mul(1000));
    (millis(fresh_until), millis(fresh_until.midpoint(valid_until)))
}
