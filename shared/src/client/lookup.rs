//! Publishing this profile's key at relays, and looking up others'.
//!
//! A record is kept by the relays that come first in an order that its id makes of all relays. Each of them is asked over a
//! circuit of its own: it learns that somebody has published a key, or looks for one, and not who.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::backoff::jitter;
use super::circuits::{CircuitManager, CircuitPurpose, RequestId};
use super::context::Context;
use super::profile::Profile;
use crate::contact::user_record::UserRecord;
use crate::crypto::derive::derive;
use crate::crypto::keys::{RelayIdentity, UserKey};
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

/// What became of it.
#[derive(Debug)]
pub(super) enum LookupEvent {
    /// This profile's key can be found by its id for the next days.
    Published(UserId),
    /// Somebody's key was found.
    Found(UserId, UserKey),
    /// Why a key was not published or not found, for the person.
    Failed(String),
}

/// Keys that are being published or looked for.
#[derive(Debug, Default)]
pub(super) struct Lookup {
    publishing: Option<Publishing>,
    /// Before this nothing is published again.
    renew_after: Instant,
    searches: BTreeMap<UserId, Search>,
    events: VecDeque<LookupEvent>,
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

/// In how long the key is due to be published again, as far as that can be known.
fn renewal_due(circuits: &CircuitManager, profile: &Profile) -> Option<Duration> {
    let (at, time) = (profile.publish_key_at?, circuits.known_time()?);
    Some(Duration::from_millis(at.as_millis().saturating_sub(time.as_millis())))
}

/// This profile's record.
fn own_record(cx: &Context<'_>) -> Option<UserRecord> {
    let identity = cx.profile.identity.as_ref()?.identity().identity();
    Some(UserRecord { key: UserKey::from(*identity.as_bytes()) })
}

impl Lookup {
    /// The next thing that happened.
    pub(super) fn poll_event(&mut self) -> Option<LookupEvent> {
        self.events.pop_front()
    }

    fn failed(&mut self, message: impl Into<String>) {
        self.events.push_back(LookupEvent::Failed(message.into()));
    }

    pub(super) fn publish_key(&mut self, renewal: bool, cx: &mut Context<'_>) {
        // One that is under way answers for both.
        if let Some(publishing) = &mut self.publishing {
            publishing.renewal &= renewal;
        } else if let Some(record) = own_record(cx) {
            let until = cx.now.instant + PATIENCE;
            self.publishing = Some(Publishing { record, step: Step::AwaitTime, until, renewal });
        }
    }

    /// Looks for somebody's key.
    pub(super) fn find_key(&mut self, id: UserId, cx: &mut Context<'_>) {
        if self.searches.len() >= MAX_SEARCHES && !self.searches.contains_key(&id) {
            return self.failed(format!("{MAX_SEARCHES} keys are already being looked for. Try again later."));
        }
        let until = cx.now.instant + PATIENCE;
        self.searches.entry(id).or_insert(Search { servers: Vec::new(), until });
    }

    /// Brings what is under way with keys a step further.
    pub(super) fn maintain(&mut self, cx: &mut Context<'_>) {
        self.maintain_publishing(cx);
        let ids: Vec<_> = self.searches.keys().copied().collect();
        for id in ids {
            self.maintain_searching(id, cx);
        }
    }

    fn maintain_publishing(&mut self, cx: &mut Context<'_>) {
        let now = cx.now.instant;
        let is_due = self.publishing.is_none() && self.renew_after <= now && cx.circuits.has_circuits();
        if is_due && renewal_due(cx.circuits, cx.profile).is_some_and(|due| due.is_zero()) {
            self.publish_key(true, cx);
        }
        let Some(publishing) = &mut self.publishing else { return };
        let record = publishing.record;
        if publishing.until <= now {
            return self.end_publishing(cx);
        }
        match &mut publishing.step {
            Step::AwaitTime => {
                if let Some(time) = cx.circuits.known_time() {
                    publishing.step = Step::ProofOfWork { day: day(time), from: 0 };
                }
            }
            Step::ProofOfWork { day, from } => {
                let (day, bytes) = (*day, record.encode());
                let Some(nonce) = Publication::work(day, &bytes).search(PUBLISH_EFFORT, *from, SLICE) else {
                    *from += SLICE;
                    return;
                };
                let Some(consensus) = cx.circuits.consensus() else { return };
                let argument = Publication { nonce, day, record: &bytes }.encode();
                let servers = key_servers(consensus, &record.id());
                let servers = servers.into_iter().map(|relay| Server::new(relay, now)).collect();
                publishing.step = Step::Ask { argument, servers };
                self.ask_to_publish(cx);
            }
            Step::Ask { servers, .. } => {
                if servers.iter().all(Server::is_over) {
                    self.end_publishing(cx);
                } else {
                    self.ask_to_publish(cx);
                }
            }
        }
    }

    fn ask_to_publish(&mut self, cx: &mut Context<'_>) {
        if !cx.circuits.has_circuits() {
            return;
        }
        let now = cx.now.instant;
        let Some(Publishing { step: Step::Ask { argument, servers }, .. }) = &mut self.publishing else { return };
        let argument = argument.clone();
        let due: Vec<_> = servers.iter().filter(|server| server.is_due(now)).map(|server| server.relay).collect();
        for relay in due {
            let state = match cx.circuits.request(relay, CircuitPurpose::UserKeys, publish_request(argument.clone())) {
                Some(id) => State::UnderWay(id),
                None if cx.circuits.relays().is_out_of_reach(&relay) => State::GivenUp,
                None => State::Waiting,
            };
            self.mark_publishing(relay, state);
        }
    }

    fn mark_publishing(&mut self, relay: RelayIdentity, state: State) {
        if let Some(Publishing { step: Step::Ask { servers, .. }, .. }) = &mut self.publishing {
            servers.iter_mut().filter(|server| server.relay == relay).for_each(|server| server.state = state);
        }
    }

    /// A relay has answered, or won't.
    pub(super) fn answered(&mut self, id: RequestId, result: &RequestResult, cx: &mut Context<'_>) {
        let is_of = |servers: &[Server]| servers.iter().any(|server| server.state == State::UnderWay(id));
        match self.searches.iter().find(|(_, search)| is_of(&search.servers)) {
            Some((user, _)) => {
                let user = *user;
                self.find_result(user, id, result, cx);
            }
            None => self.publish_result(id, result, cx),
        }
    }

    /// A relay has the record now, or will not take it.
    fn publish_result(&mut self, id: RequestId, result: &RequestResult, cx: &mut Context<'_>) {
        let now = cx.now.instant;
        let Some(Publishing { step: Step::Ask { servers, .. }, .. }) = &mut self.publishing else { return };
        let Some(server) = servers.iter_mut().find(|server| server.state == State::UnderWay(id)) else { return };
        match result.as_ref().map(|answer| PublishAnswer::decode(&answer.bytes)) {
            Ok(Ok(PublishAnswer::Stored)) => server.state = State::Done,
            _ => server.failed(now),
        }
        if servers.iter().all(Server::is_over) {
            self.end_publishing(cx);
        }
    }

    fn end_publishing(&mut self, cx: &mut Context<'_>) {
        let Some(Publishing { record, step, renewal, .. }) = self.publishing.take() else { return };
        let kept =
            matches!(step, Step::Ask { servers, .. } if servers.iter().any(|server| server.state == State::Done));
        if kept && let Some(time) = cx.circuits.known_time() {
            let after = jitter(RENEWAL.0, RENEWAL.1, cx.rng).as_millis();
            cx.profile.publish_key_at = Some(time.shifted(i64::try_from(after).unwrap_or(i64::MAX)));
            cx.put_profile();
        }
        if renewal {
            self.renew_after = cx.now.instant + if kept { Duration::ZERO } else { RENEWAL_PAUSE };
        } else if kept {
            self.events.push_back(LookupEvent::Published(record.id()));
        } else {
            let message = "Your key could not be published: no relay has taken it. Try again later.";
            self.failed(message);
        }
    }

    fn maintain_searching(&mut self, id: UserId, cx: &mut Context<'_>) {
        let now = cx.now.instant;
        let circuits = cx.circuits.has_circuits();
        let Some(search) = self.searches.get_mut(&id) else { return };
        if search.until <= now {
            return self.end_search(id);
        }
        let Some(consensus) = cx.circuits.consensus().filter(|_| circuits) else { return };
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
        let state = match cx.circuits.request(relay, CircuitPurpose::UserKeys, find_request(&id)) {
            Some(request) => State::UnderWay(request),
            None if cx.circuits.relays().is_out_of_reach(&relay) => State::GivenUp,
            None => State::Waiting,
        };
        if let Some(server) = self.search_server(id, |server| server.relay == relay) {
            server.state = state;
        }
    }

    fn search_server(&mut self, id: UserId, is_it: impl Fn(&Server) -> bool) -> Option<&mut Server> {
        self.searches.get_mut(&id)?.servers.iter_mut().find(|server| is_it(server))
    }

    /// A relay has said what it has of a user, or nothing at all.
    fn find_result(&mut self, id: UserId, request: RequestId, result: &RequestResult, cx: &mut Context<'_>) {
        let now = cx.now.instant;
        let Some(server) = self.search_server(id, |server| server.state == State::UnderWay(request)) else { return };
        let read = result.as_ref().ok().and_then(|answer| read_key_answer(&id, &answer.bytes).ok());
        match read {
            None => server.failed(now),
            Some(None) => server.state = State::Done,
            Some(Some(record)) => {
                let record = UserRecord::decode(record);
                self.searches.remove(&id);
                match record {
                    Ok(record) => self.events.push_back(LookupEvent::Found(id, record.key)),
                    Err(_) => {
                        let message = "The key was found, but a newer version of Allium has published it: update.";
                        self.failed(message);
                    }
                }
            }
        }
    }

    fn end_search(&mut self, id: UserId) {
        let Some(search) = self.searches.remove(&id) else { return };
        let denied = search.servers.iter().any(|server| server.state == State::Done);
        let message = if denied {
            "Nobody has published a key under this id in the last days. Check the id, or ask for the key to be published \
             again."
        } else {
            "The key could not be looked up: no relay has answered. Try again later."
        };
        self.failed(message);
    }

    /// When to look after the keys again.
    pub(super) fn poll_timeout(&self, now: Instant, circuits: &CircuitManager, profile: &Profile) -> Option<Instant> {
        let next = |servers: &[Server]| {
            let waiting = servers.iter().filter(|server| server.state == State::Waiting).map(|server| server.next);
            waiting.filter(|next| *next > now).min()
        };
        let publishing = self.publishing.as_ref().map(|publishing| match &publishing.step {
            Step::ProofOfWork { .. } => now,
            Step::AwaitTime => publishing.until,
            Step::Ask { servers, .. } => next(servers).map_or(publishing.until, |next| next.min(publishing.until)),
        });
        let renewal = renewal_due(circuits, profile).map(|due| (now + due).max(self.renew_after));
        // One that is due waits for circuits, not for the time.
        let renewal = renewal.filter(|at| *at > now && self.publishing.is_none());
        let searches = self.searches.values();
        let searches = searches.map(|search| next(&search.servers).map_or(search.until, |next| next.min(search.until)));
        publishing.into_iter().chain(searches).chain(renewal).min()
    }
}
