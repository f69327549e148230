//! The client's circuits as a service: links to guards, paths, building, the consensus and the network's time.
//!
//! [`CircuitManager`] is a state machine of its own and the only owner of links and circuits. Everything above it says where
//! a circuit has to lead and what it is for ([`CircuitManager::open`]), sends messages on it, and learns from
//! [`CircuitEvent`]s what became of it.
//!
//! The driver's rule: set the time with [`CircuitManager::set_now`], hand in what happened to links
//! ([`CircuitManager::link_opened`] and its siblings), call [`CircuitManager::maintain`], handle all events of
//! [`CircuitManager::poll_event`], then call [`CircuitManager::flush`] and take outputs and records. The next call is due at
//! [`CircuitManager::poll_timeout`], or with the next input.
//!
//! # Layout
//!
//! - `building`: opening circuits, over a ready one or a new path
//! - `links`, `link`: links to guards, and what arrives on them
//! - [`relays`]: guards, second hops, paths, and which relays have failed
//! - `requests`: requests to services of relays, each over a circuit of its own
//! - `consensus_fetch`, `clock`: the consensus, and what time it is
//! - `counts`: what became of all circuits so far

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

pub(super) use self::clock::ClockRecord;
use self::clock::NetworkClock;
use self::consensus_fetch::ConsensusFetch;
#[cfg(test)]
pub(super) use self::consensus_fetch::network_events;
pub(super) use self::consensus_fetch::restore_consensus;
use self::counts::CloseCause;
pub use self::counts::{CircuitCounts, CircuitLosses};
use self::link::Link;
use self::relays::{Guard, Relays, SecondHop};
use self::requests::Request;
pub(super) use self::requests::RequestId;
use super::api::{Event, LinkId, Output, Progress};
use super::config::Config;
use super::store::Key;
use crate::cell::message::{RelayMessage, StreamId};
use crate::cell::{Cell, DestroyReason};
use crate::circuit::{Circuit, JOINED_STREAM, RendezvousRole};
use crate::crypto::handshake::CircuitKeys;
use crate::crypto::keys::RelayIdentity;
use crate::netdir::Consensus;
use crate::stream::request::RequestResult;
use crate::time::{Instant, Now};

mod building;
mod clock;
mod consensus_fetch;
mod counts;
mod link;
mod links;
pub mod relays;
mod requests;
#[cfg(test)]
mod tests;

/// Circuits that are kept ready.
const SPARES: usize = 2;

/// How long one hop of a circuit may take, or the last hop's answer to a message.
const HOP_TIME: Duration = Duration::from_secs(3);

/// Identifies a circuit for its whole life, whatever its link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct CircuitId(pub(super) u64);

/// What a circuit is for. Each purpose has its own budget of circuits under construction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum CircuitPurpose {
    /// Kept ready for whichever purpose needs one next.
    Spare,
    /// Takes introductions.
    IntroPoint,
    /// Waits at a rendezvous relay for a contact who is sent an introduction.
    ClientRendezvous,
    /// Waits at a rendezvous relay in case a contact's circuit is lost.
    Fallback,
    /// Carries an introduction to an introduction point.
    Introduce,
    /// Goes to the rendezvous relay that an introduction names.
    ServiceRendezvous,
    /// Fetches a consensus.
    Consensus,
    /// Asks for the time.
    Clock,
    /// Publishes a key, or looks one up.
    UserKeys,
}

impl CircuitPurpose {
    /// How many circuits for this purpose may be under construction at once.
    const fn budget(self) -> usize {
        match self {
            Self::Spare | Self::Fallback => 2,
            Self::IntroPoint | Self::Consensus | Self::Clock | Self::UserKeys => 6,
            Self::ClientRendezvous | Self::Introduce | Self::ServiceRendezvous => 8,
        }
    }
}

/// Where a circuit has to lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// To a relay that this client has chosen: the last of its own hops.
    Chosen(RelayIdentity),
    /// To a relay that another client has chosen, or had a part in choosing: it comes after all own hops.
    Named(RelayIdentity),
    /// To a rendezvous relay of the manager's choice.
    Rendezvous,
    /// The same, over a new path that does not touch this relay.
    RendezvousWithout(RelayIdentity),
}

/// Which other users may get the same circuit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Isolation {
    /// Nobody: the circuit is new, or was never used.
    Exclusive,
    /// Users with the same key, purpose and target.
    #[cfg_attr(not(test), expect(dead_code, reason = "for exits, whose streams to one destination share a circuit"))]
    Shared(u64),
}

/// What happened to circuits.
#[derive(Debug)]
pub(super) enum CircuitEvent {
    /// The circuit reaches its last hop. It also follows an [`CircuitManager::open`] that was served by a ready circuit.
    Opened(CircuitId),
    /// The last hop sent a message that belongs to no stream.
    Message(CircuitId, Box<RelayMessage>),
    /// Bytes of the stream with the other client; [`CircuitManager::consumed`] lets it send more.
    Data(CircuitId, StreamId, Vec<u8>),
    /// The other end of a joined circuit ended its only stream.
    StreamEnded(CircuitId),
    /// The circuit is gone, and not by [`CircuitManager::close`].
    Closed(CircuitId),
    /// A request was answered, or failed.
    Answered(RequestId, RequestResult),
    /// A link opened, or a circuit was completed: an `open` that failed may succeed now.
    RoomForMore,
    /// Guards or relays changed: circuits that only wait should be closed unless [`CircuitManager::stands`].
    PathsChanged,
}

/// A circuit with what the manager knows of its use.
struct CircuitEntry {
    circuit: Circuit,
    link: LinkId,
    purpose: CircuitPurpose,
    isolation: Isolation,
    /// When the step that is under way has taken too long.
    deadline: Option<Instant>,
    /// Whether the last hop owes an answer: if the circuit fails now, that relay is blamed.
    owes_answer: bool,
    request: Option<Box<Request>>,
}

/// When a hop that is asked for something now has taken too long.
fn hop_deadline(relays: &Relays, now: Instant) -> Instant {
    now + relays.stretch(HOP_TIME)
}

/// Owns the links and circuits of a client, the consensus and the network's time.
pub(super) struct CircuitManager {
    config: Config,
    rng: ChaCha20Rng,
    now: Now,
    outputs: VecDeque<Output>,
    events: VecDeque<CircuitEvent>,
    /// Records to be stored; nothing waits for them.
    records: Vec<(Key, Vec<u8>)>,
    directory: ConsensusFetch,
    clock: NetworkClock,
    relays: Relays,
    links: BTreeMap<LinkId, Link>,
    circuits: BTreeMap<CircuitId, CircuitEntry>,
    next_link: u64,
    next_circuit: u64,
    next_request: u64,
    /// Whether any circuit was ever completed.
    proven: bool,
    counts: CircuitCounts,
}

impl CircuitManager {
    /// Starts with what an earlier run has stored.
    pub(super) fn new(
        config: Config,
        consensus: Option<Consensus>,
        clock: Option<ClockRecord>,
        (guards, second_hops): (Vec<Guard>, Vec<SecondHop>),
        seed: [u8; 32],
        now: Now,
    ) -> Self {
        let secure_links = config.secure_links;
        let mut manager = Self {
            config,
            rng: ChaCha20Rng::from_seed(seed),
            now,
            outputs: VecDeque::new(),
            events: VecDeque::new(),
            records: Vec::new(),
            directory: ConsensusFetch::new(consensus, now.instant),
            clock: NetworkClock::new(clock, now),
            relays: Relays::new(guards, second_hops, secure_links),
            links: BTreeMap::new(),
            circuits: BTreeMap::new(),
            next_link: 0,
            next_circuit: 0,
            next_request: 0,
            proven: false,
            counts: CircuitCounts::default(),
        };
        manager.begin_directory();
        manager
    }

    // ---- driving ----

    /// Sets the time; to be called before anything else of an input.
    pub(super) fn set_now(&mut self, now: Now) {
        self.now = now;
        self.watch_clocks();
    }

    /// Brings links, circuits, consensus and clock to where they should be by now. No relay for which `is_public` holds
    /// becomes a guard.
    pub(super) fn maintain(&mut self, is_public: impl Fn(&RelayIdentity) -> bool) {
        self.maintain_directory();
        self.maintain_links(is_public);
        self.maintain_clock();
    }

    /// The next thing that happened to circuits.
    pub(super) fn poll_event(&mut self) -> Option<CircuitEvent> {
        self.events.pop_front()
    }

    /// The next thing to do.
    pub(super) fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Records to be stored since the last call.
    pub(super) fn take_records(&mut self) -> Vec<(Key, Vec<u8>)> {
        core::mem::take(&mut self.records)
    }

    /// Guards and second hops to be stored, if they have changed since the last call.
    pub(super) fn take_changed_guards(&mut self) -> Option<(Vec<Guard>, Vec<SecondHop>)> {
        self.relays.take_changed().then(|| (self.relays.guards().to_vec(), self.relays.second_hops().to_vec()))
    }

    /// When something is to be done even without an input.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let links = self.links.values().map(Link::poll_timeout);
        let circuits = self.circuits.values().filter_map(|entry| entry.deadline);
        let others = [self.directory_timeout(), self.clock_timeout(), self.relays.next_chance(self.now.instant)];
        links.chain(circuits).chain(others.into_iter().flatten()).min()
    }

    // ---- what everybody may ask ----

    /// The consensus in use.
    pub(super) const fn consensus(&self) -> Option<&Consensus> {
        self.directory.consensus.as_ref()
    }

    /// Relays of the consensus and their state: for choices that depend on them.
    pub(super) const fn relays(&self) -> &Relays {
        &self.relays
    }

    /// Relays that may serve as rendezvous or introduction points, none of `exclude`: at most `count`.
    pub(super) fn choose_rendezvous_relays(&mut self, count: usize, exclude: &[RelayIdentity]) -> Vec<RelayIdentity> {
        self.relays.meeting_places(&mut self.rng, self.now.instant, count, exclude)
    }

    /// How far the client has come with connecting.
    pub(super) fn progress(&self) -> Progress {
        match (&self.directory.consensus, self.has_open_link()) {
            (None, _) => Progress::FetchingDirectory,
            (Some(_), false) => Progress::ConnectingGuard,
            (Some(_), true) if !self.proven => Progress::BuildingCircuit,
            (Some(_), true) => Progress::Ready,
        }
    }

    /// True if any link to a guard is open.
    pub(super) fn has_open_link(&self) -> bool {
        self.links.values().any(Link::is_open)
    }

    /// True if circuits can be built now.
    pub(super) fn has_circuits(&self) -> bool {
        self.proven && self.directory.consensus.is_some() && self.has_open_link()
    }

    /// A time limit made for circuits of the usual length, stretched for the longest of this network.
    pub(super) fn stretch(&self, time: Duration) -> Duration {
        self.relays.stretch(time)
    }

    /// How many circuits there are, complete or not.
    pub(super) fn len(&self) -> usize {
        self.circuits.len()
    }

    /// What became of all circuits so far.
    pub(super) const fn counts(&self) -> CircuitCounts {
        self.counts
    }

    /// The completed circuits with the relays of their paths.
    pub(super) fn open_circuits(
        &self,
    ) -> impl Iterator<Item = (CircuitId, CircuitPurpose, impl Iterator<Item = RelayIdentity> + '_)> + '_ {
        let open = self.circuits.iter().filter(|(_, entry)| entry.circuit.is_open());
        open.map(|(id, entry)| (*id, entry.purpose, entry.circuit.path().iter().map(|hop| hop.identity)))
    }

    // ---- one circuit ----

    /// True if the circuit reaches its last hop.
    pub(super) fn is_open(&self, id: CircuitId) -> bool {
        self.circuits.get(&id).is_some_and(|entry| entry.circuit.is_open())
    }

    /// The relay where the circuit ends, or will.
    pub(super) fn last_hop(&self, id: CircuitId) -> Option<RelayIdentity> {
        Some(self.circuits.get(&id)?.circuit.path().last()?.identity)
    }

    /// The relays of the circuit, from the guard on.
    pub(super) fn path_of(&self, id: CircuitId) -> Option<impl Iterator<Item = RelayIdentity> + '_> {
        Some(self.circuits.get(&id)?.circuit.path().iter().map(|hop| hop.identity))
    }

    /// True if the circuit would be built along the same path today.
    pub(super) fn stands(&self, id: CircuitId) -> bool {
        self.circuits.get(&id).is_some_and(|entry| self.relays.stands(entry.circuit.path()))
    }

    /// Changes what a circuit counts as.
    pub(super) fn set_purpose(&mut self, id: CircuitId, purpose: CircuitPurpose) {
        if let Some(entry) = self.circuits.get_mut(&id) {
            entry.purpose = purpose;
        }
    }

    /// From now on the last hop owes an answer, in the time of one hop.
    pub(super) fn expect_answer(&mut self, id: CircuitId) {
        let deadline = hop_deadline(&self.relays, self.now.instant);
        if let Some(entry) = self.circuits.get_mut(&id) {
            (entry.owes_answer, entry.deadline) = (true, Some(deadline));
        }
    }

    /// From now on the last hop owes an answer, without a limit of time.
    pub(super) fn expect_answer_some_time(&mut self, id: CircuitId) {
        if let Some(entry) = self.circuits.get_mut(&id) {
            (entry.owes_answer, entry.deadline) = (true, None);
        }
    }

    /// The last hop owes nothing, and no time limit runs.
    pub(super) fn settled(&mut self, id: CircuitId) {
        if let Some(entry) = self.circuits.get_mut(&id) {
            (entry.owes_answer, entry.deadline) = (false, None);
        }
    }

    /// Closes the circuit at this time, unless the limit is changed before.
    pub(super) fn set_deadline(&mut self, id: CircuitId, deadline: Instant) {
        if let Some(entry) = self.circuits.get_mut(&id) {
            entry.deadline = Some(deadline);
        }
    }

    /// True if a time limit runs.
    pub(super) fn has_deadline(&self, id: CircuitId) -> bool {
        self.circuits.get(&id).is_some_and(|entry| entry.deadline.is_some())
    }

    /// Sends a message to the last hop.
    pub(super) fn send(&mut self, id: CircuitId, message: &RelayMessage) {
        self.with_circuit(id, |circuit, cells| circuit.send(message, cells));
    }

    /// Puts on the layer that two joined clients share: from now on the circuit reaches the other client.
    pub(super) fn join(&mut self, id: CircuitId, role: RendezvousRole, keys: &CircuitKeys) {
        if let Some(entry) = self.circuits.get_mut(&id) {
            entry.circuit.join(role, keys);
        }
    }

    /// Sends bytes to the other client of a joined circuit; returns how many wait for the window to open.
    pub(super) fn write(&mut self, id: CircuitId, bytes: &[u8]) -> usize {
        self.with_circuit(id, |circuit, cells| {
            circuit.write(JOINED_STREAM, bytes, cells);
            circuit.waiting(JOINED_STREAM)
        })
        .unwrap_or(0)
    }

    /// What a cell of a stream brought is dealt with: the other end may send more.
    pub(super) fn consumed(&mut self, id: CircuitId, stream: StreamId) {
        self.with_circuit(id, |circuit, cells| circuit.consumed(stream, cells));
    }

    /// Closes a circuit that is not wanted any more, for a reason that travels along it. No event follows.
    pub(super) fn close(&mut self, id: CircuitId, reason: DestroyReason) {
        self.remove(id, CloseCause::Said(Some(reason)), false);
    }

    /// Closes a circuit that went wrong: a relay that did not do its part is left alone for a while. No event follows.
    pub(super) fn fail(&mut self, id: CircuitId, reason: DestroyReason) {
        self.remove(id, CloseCause::Said(Some(reason)), true);
    }

    /// Closes a circuit for a reason that travels along it; [`CircuitEvent::Closed`] follows as if it was lost.
    pub(super) fn hang_up(&mut self, id: CircuitId, reason: DestroyReason) {
        self.close_and_tell(id, CloseCause::Said(Some(reason)), false);
    }

    /// Lets a circuit act, and sends the cells that come of it.
    fn with_circuit<R>(&mut self, id: CircuitId, act: impl FnOnce(&mut Circuit, &mut Vec<Cell>) -> R) -> Option<R> {
        let entry = self.circuits.get_mut(&id)?;
        let mut cells = Vec::new();
        let result = act(&mut entry.circuit, &mut cells);
        let link = entry.link;
        self.send_cells(link, &cells);
        Some(result)
    }

    /// Closes a circuit by the manager's own decision, or a relay's: its user is told.
    fn close_and_tell(&mut self, id: CircuitId, cause: CloseCause, blame: bool) {
        let Some(entry) = self.remove(id, cause, blame) else { return };
        match entry.request {
            Some(request) => self.request_lost(entry.purpose, &request),
            None if entry.purpose == CircuitPurpose::Spare => {}
            None => self.events.push_back(CircuitEvent::Closed(id)),
        }
    }

    /// Takes a circuit out of all tables. With `blame`, it went wrong on its way, and the relay that did not do its part is
    /// left alone for a while.
    fn remove(&mut self, id: CircuitId, cause: CloseCause, blame: bool) -> Option<CircuitEntry> {
        let entry = self.circuits.remove(&id)?;
        let now = self.now.instant;
        self.counts.ended(entry.circuit.is_open(), cause);
        if let Some(link) = self.links.get_mut(&entry.link) {
            let circ = entry.circuit.circ_id();
            link.circuits.remove(&circ);
            if let CloseCause::Said(Some(reason)) = cause {
                link.send(&Cell::destroy(circ, reason));
            }
        }
        let (building, refused) = (!entry.circuit.is_open(), entry.owes_answer);
        if blame && (building || refused) {
            let path = entry.circuit.path();
            let at = entry.circuit.reached().min(path.len().saturating_sub(1));
            if let Some(relay) = path.get(at).map(|hop| hop.identity) {
                // A guard that refuses a rendezvous may still be a good guard.
                if !(refused && self.relays.keeps_guard(&relay)) {
                    self.relays.failed(relay, now);
                }
                // A guard that does not even answer a CREATE holds up everything: its link goes too.
                let silent = at == 0 && entry.deadline.is_some_and(|deadline| deadline <= now);
                if silent && self.links.contains_key(&entry.link) {
                    self.close_link(entry.link);
                }
            }
        }
        Some(entry)
    }

    fn event(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    fn error(&mut self, about: &str, message: String) {
        self.event(Event::Error { about: about.to_owned(), message });
    }

    fn put_record(&mut self, key: Key, value: Vec<u8>) {
        self.records.push((key, value));
    }
}
