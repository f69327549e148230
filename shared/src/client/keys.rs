//! Publishing this profile's key at relays, and looking up others'.
//!
//! A record is kept by the relays that come first in an order that its id makes of all relays. Each of them is asked over a
//! circuit of its own: it learns that somebody has published a key, or looks for one, and not who.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Client;
use super::api::Event;
use super::circuits::relays::jitter;
use super::circuits::{CircuitPurpose, RequestId};
use super::contacts::KeyBytes;
use crate::contact::user_record::UserRecord;
use crate::crypto::derive::derive;
use crate::crypto::keys::{IdentityKeypair, RelayIdentity, UserKey};
use crate::netdir::Consensus;
use crate::services::user_keys::{find_request, publish_request};
use crate::services::{PUBLISH_EFFORT, Publication, PublishAnswer, UserId, day, read_key_answer};
use crate::stream::request::RequestResult;
use crate::time::Instant;

/// How many relays keep a record.
pub const KEY_SERVERS: usize = 3;

/// How often one of them is asked.
const TRIES: u32 = 3;

/// The pause before a relay is asked again; it grows with each time.
const PAUSE: Duration = Duration::from_secs(2);

/// How long it may take in all, waiting for circuits and the time included.
const PATIENCE: Duration = Duration::from_secs(180);

/// After how long a key that was published is published again: relays keep it for a week, and others come first when relays
/// come and go. A time at random, which says less of when the person is there.
const RENEWAL: (Duration, Duration) = (Duration::from_secs(2 * 24 * 60 * 60), Duration::from_secs(3 * 24 * 60 * 60));

/// How long to wait after that was tried in vain.
const RENEWAL_PAUSE: Duration = Duration::from_secs(60 * 60);

/// Keys that may be looked for at once.
const MAX_SEARCHES: usize = 16;

/// Nonces that are tried in one go: a millisecond or so, so that circuits do not wait for it.
const SLICE: u64 = 1024;

/// The relays that keep what a user publishes, in the order in which they are asked.
pub fn key_servers(consensus: &Consensus, id: &UserId) -> Vec<RelayIdentity> {
    let rank = |relay: RelayIdentity| (derive("key server rank", &[&id.0, relay.as_bytes()]), relay);
    let mut ranked: Vec<_> = consensus.relays().iter().map(|relay| rank(relay.identity)).collect();
    let first = KEY_SERVERS.min(ranked.len());
    if first < ranked.len() {
        ranked.select_nth_unstable(first);
    }
    ranked.truncate(first);
    ranked.sort_unstable();
    ranked.into_iter().map(|(_, relay)| relay).collect()
}

/// What is under way with keys.
#[derive(Debug, Default)]
pub(super) struct Keys {
    publishing: Option<Publishing>,
    /// Before this nothing is published again.
    renew_after: Instant,
    searches: BTreeMap<UserId, Search>,
}

#[derive(Debug)]
struct Publishing {
    record: UserRecord,
    step: Step,
    until: Instant,
    /// Nobody has asked for it this time, or is to hear of it.
    renewal: bool,
}

#[derive(Debug)]
enum Step {
    /// The network's time has to be known: the own clock's day is nobody's business.
    AwaitTime,
    ProofOfWork {
        day: u32,
        from: u64,
    },
    Ask {
        argument: Vec<u8>,
        servers: Vec<Server>,
    },
}

/// A relay that is asked.
#[derive(Debug)]
struct Server {
    relay: RelayIdentity,
    tries: u32,
    next: Instant,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting,
    UnderWay(RequestId),
    /// It has the record, or of a search: it has said that it has not.
    Done,
    GivenUp,
}

impl Server {
    const fn new(relay: RelayIdentity, now: Instant) -> Self {
        Self { relay, tries: 0, next: now, state: State::Waiting }
    }

    fn is_due(&self, now: Instant) -> bool {
        self.state == State::Waiting && self.next <= now
    }

    fn failed(&mut self, now: Instant) {
        self.tries += 1;
        self.next = now + PAUSE * self.tries;
        self.state = if self.tries < TRIES { State::Waiting } else { State::GivenUp };
    }

    const fn is_over(&self) -> bool {
        matches!(self.state, State::Done | State::GivenUp)
    }
}

#[derive(Debug)]
struct Search {
    /// None until there is a list of relays.
    servers: Vec<Server>,
    until: Instant,
}

impl Client {
    /// This profile's record.
    pub(super) fn own_record(&self) -> Option<UserRecord> {
        let identity = self.profile.identity.as_ref()?.identity().identity();
        Some(UserRecord { key: UserKey::from(*identity.as_bytes()) })
    }

    /// Gives a profile that has none its key.
    pub(super) fn begin_identity(&mut self) {
        if self.profile.identity.is_none() {
            let keypair = IdentityKeypair::generate(&mut self.rng);
            self.profile.identity = Some(KeyBytes::of_identity(&keypair));
            self.put_profile();
        }
    }

    pub(super) fn publish_key(&mut self, renewal: bool) {
        // One that is under way answers for both.
        if let Some(publishing) = &mut self.keys.publishing {
            publishing.renewal &= renewal;
        } else if let Some(record) = self.own_record() {
            let until = self.now.instant + PATIENCE;
            self.keys.publishing = Some(Publishing { record, step: Step::AwaitTime, until, renewal });
        }
    }

    /// In how long the key is due to be published again, as far as that can be known.
    fn renewal_due(&self) -> Option<Duration> {
        let (at, time) = (self.profile.publish_key_at?, self.circuits.known_time()?);
        Some(Duration::from_millis(at.as_millis().saturating_sub(time.as_millis())))
    }

    pub(super) fn find_key(&mut self, id: UserId) {
        if self.keys.searches.len() >= MAX_SEARCHES && !self.keys.searches.contains_key(&id) {
            return self.error("key", format!("{MAX_SEARCHES} keys are already being looked for. Try again later."));
        }
        let until = self.now.instant + PATIENCE;
        self.keys.searches.entry(id).or_insert(Search { servers: Vec::new(), until });
    }

    /// Brings what is under way with keys a step further.
    pub(super) fn maintain_keys(&mut self) {
        self.maintain_publishing();
        let ids: Vec<_> = self.keys.searches.keys().copied().collect();
        ids.into_iter().for_each(|id| self.maintain_searching(id));
    }

    fn maintain_publishing(&mut self) {
        let now = self.now.instant;
        let is_due = self.keys.publishing.is_none() && self.keys.renew_after <= now && self.circuits.has_circuits();
        if is_due && self.renewal_due().is_some_and(|due| due.is_zero()) {
            self.publish_key(true);
        }
        let Some(publishing) = &mut self.keys.publishing else { return };
        let record = publishing.record;
        if publishing.until <= now {
            return self.end_publishing();
        }
        match &mut publishing.step {
            Step::AwaitTime => {
                if let Some(time) = self.circuits.known_time() {
                    publishing.step = Step::ProofOfWork { day: day(time), from: 0 };
                }
            }
            Step::ProofOfWork { day, from } => {
                let (day, bytes) = (*day, record.encode());
                let Some(nonce) = Publication::work(day, &bytes).search(PUBLISH_EFFORT, *from, SLICE) else {
                    *from += SLICE;
                    return;
                };
                let Some(consensus) = self.circuits.consensus() else { return };
                let argument = Publication { nonce, day, record: &bytes }.encode();
                let servers = key_servers(consensus, &record.id());
                let servers = servers.into_iter().map(|relay| Server::new(relay, now)).collect();
                publishing.step = Step::Ask { argument, servers };
                self.ask_to_publish();
            }
            Step::Ask { servers, .. } => {
                if servers.iter().all(Server::is_over) {
                    self.end_publishing();
                } else {
                    self.ask_to_publish();
                }
            }
        }
    }

    fn ask_to_publish(&mut self) {
        if !self.circuits.has_circuits() {
            return;
        }
        let now = self.now.instant;
        let Some(Publishing { step: Step::Ask { argument, servers }, .. }) = &mut self.keys.publishing else { return };
        let argument = argument.clone();
        let due: Vec<_> = servers.iter().filter(|server| server.is_due(now)).map(|server| server.relay).collect();
        for relay in due {
            let state = match self.circuits.request(relay, CircuitPurpose::UserKeys, publish_request(argument.clone()))
            {
                Some(id) => State::UnderWay(id),
                None if self.circuits.relays().is_out_of_reach(&relay) => State::GivenUp,
                None => State::Waiting,
            };
            self.mark_publishing(relay, state);
        }
    }

    fn mark_publishing(&mut self, relay: RelayIdentity, state: State) {
        if let Some(Publishing { step: Step::Ask { servers, .. }, .. }) = &mut self.keys.publishing {
            servers.iter_mut().filter(|server| server.relay == relay).for_each(|server| server.state = state);
        }
    }

    /// A relay has answered, or won't.
    pub(super) fn keys_result(&mut self, id: RequestId, result: &RequestResult) {
        let is_of = |servers: &[Server]| servers.iter().any(|server| server.state == State::UnderWay(id));
        match self.keys.searches.iter().find(|(_, search)| is_of(&search.servers)) {
            Some((user, _)) => self.find_result(*user, id, result),
            None => self.publish_result(id, result),
        }
    }

    /// A relay has the record now, or will not take it.
    fn publish_result(&mut self, id: RequestId, result: &RequestResult) {
        let now = self.now.instant;
        let Some(Publishing { step: Step::Ask { servers, .. }, .. }) = &mut self.keys.publishing else { return };
        let Some(server) = servers.iter_mut().find(|server| server.state == State::UnderWay(id)) else { return };
        match result.as_ref().map(|answer| PublishAnswer::decode(&answer.bytes)) {
            Ok(Ok(PublishAnswer::Stored)) => server.state = State::Done,
            _ => server.failed(now),
        }
        if servers.iter().all(Server::is_over) {
            self.end_publishing();
        }
    }

    fn end_publishing(&mut self) {
        let Some(Publishing { record, step, renewal, .. }) = self.keys.publishing.take() else { return };
        let kept =
            matches!(step, Step::Ask { servers, .. } if servers.iter().any(|server| server.state == State::Done));
        if kept && let Some(time) = self.circuits.known_time() {
            let after = jitter(RENEWAL.0, RENEWAL.1, &mut self.rng).as_millis();
            self.profile.publish_key_at = Some(time.shifted(i64::try_from(after).unwrap_or(i64::MAX)));
            self.put_profile();
        }
        if renewal {
            self.keys.renew_after = self.now.instant + if kept { Duration::ZERO } else { RENEWAL_PAUSE };
        } else if kept {
            self.event(Event::KeyPublished { id: record.id() });
        } else {
            let message = "Your key could not be published: no relay has taken it. Try again later.";
            self.error("key", message.to_owned());
        }
    }

    fn maintain_searching(&mut self, id: UserId) {
        let now = self.now.instant;
        let circuits = self.circuits.has_circuits();
        let Some(search) = self.keys.searches.get_mut(&id) else { return };
        if search.until <= now {
            return self.end_search(id);
        }
        let Some(consensus) = self.circuits.consensus().filter(|_| circuits) else { return };
        if search.servers.is_empty() {
            let servers = key_servers(consensus, &id);
            search.servers = servers.into_iter().map(|relay| Server::new(relay, now)).collect();
        }
        if search.servers.iter().all(Server::is_over) {
            return self.end_search(id);
        }
        // In turn: the next is asked when the one before has nothing.
        if search.servers.iter().any(|server| matches!(server.state, State::UnderWay(_))) {
            return;
        }
        let Some(server) = search.servers.iter_mut().find(|server| server.is_due(now)) else { return };
        let relay = server.relay;
        let state = match self.circuits.request(relay, CircuitPurpose::UserKeys, find_request(&id)) {
            Some(request) => State::UnderWay(request),
            None if self.circuits.relays().is_out_of_reach(&relay) => State::GivenUp,
            None => State::Waiting,
        };
        if let Some(server) = self.search_server(id, |server| server.relay == relay) {
            server.state = state;
        }
    }

    fn search_server(&mut self, id: UserId, is_it: impl Fn(&Server) -> bool) -> Option<&mut Server> {
        self.keys.searches.get_mut(&id)?.servers.iter_mut().find(|server| is_it(server))
    }

    /// A relay has said what it has of a user, or nothing at all.
    fn find_result(&mut self, id: UserId, request: RequestId, result: &RequestResult) {
        let now = self.now.instant;
        let Some(server) = self.search_server(id, |server| server.state == State::UnderWay(request)) else { return };
        let read = result.as_ref().ok().and_then(|answer| read_key_answer(&id, &answer.bytes).ok());
        match read {
            None => server.failed(now),
            Some(None) => server.state = State::Done,
            Some(Some(record)) => {
                let record = UserRecord::decode(record);
                self.keys.searches.remove(&id);
                match record {
                    Ok(record) => self.event(Event::KeyFound { id, key: record.key }),
                    Err(_) => {
                        let message = "The key was found, but a newer version of Allium has published it: update.";
                        self.error("key", message.to_owned());
                    }
                }
            }
        }
    }

    fn end_search(&mut self, id: UserId) {
        let Some(search) = self.keys.searches.remove(&id) else { return };
        let denied = search.servers.iter().any(|server| server.state == State::Done);
        let message = if denied {
            "Nobody has published a key under this id in the last days. Check the id, or ask for the key to be published \
             again."
        } else {
            "The key could not be looked up: no relay has answered. Try again later."
        };
        self.error("key", message.to_owned());
    }

    /// When to look after the keys again.
    pub(super) fn keys_timeout(&self) -> Option<Instant> {
        let now = self.now.instant;
        let next = |servers: &[Server]| {
            let waiting = servers.iter().filter(|server| server.state == State::Waiting).map(|server| server.next);
            waiting.filter(|next| *next > now).min()
        };
        let publishing = self.keys.publishing.as_ref().map(|publishing| match &publishing.step {
            Step::ProofOfWork { .. } => now,
            Step::AwaitTime => publishing.until,
            Step::Ask { servers, .. } => next(servers).map_or(publishing.until, |next| next.min(publishing.until)),
        });
        let renewal = self.renewal_due().map(|due| (now + due).max(self.keys.renew_after));
        // One that is due waits for circuits, not for the time.
        let renewal = renewal.filter(|at| *at > now && self.keys.publishing.is_none());
        let searches = self.keys.searches.values();
        let searches = searches.map(|search| next(&search.servers).map_or(search.until, |next| next.min(search.until)));
        publishing.into_iter().chain(searches).chain(renewal).min()
    }
}
