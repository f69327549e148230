//! Building circuits, giving them their tasks, and what becomes of them.

use super::api::LinkId;
use super::circuits::{CircuitEntry, CircuitKey, CircuitPurpose};
use super::links::Link;
use super::relays::{End, NoPath, hop, hops};
use super::{Client, HOP_TIME, SPARES};
use crate::cell::DestroyReason;
use crate::cell::message::RelayMessage;
use crate::circuit::{Circuit, Hop, Received};
use crate::crypto::keys::RelayIdentity;
use crate::netdir::RelayRole;

/// Circuits that may be under construction at once.
const MAX_BUILDING: usize = 16;

/// A way to a relay that somebody else has chosen.
pub(super) enum Way {
    /// One more hop of a spare circuit.
    Spare(CircuitKey, Hop),
    /// A new circuit along these relays.
    New(LinkId, Vec<RelayIdentity>),
}

impl Client {
    /// Builds what is missing.
    pub(super) fn maintain_circuits(&mut self) {
        self.maintain_intro_points();
        self.maintain_introductions();
        self.maintain_fallbacks();
        let spares = self.circuits.values().filter(|managed| matches!(managed.task, CircuitPurpose::Spare)).count();
        for _ in spares..SPARES {
            let Ok((link, path)) = self.path(End::Any) else { break };
            if self.build(link, &path, CircuitPurpose::Spare).is_none() {
                break;
            }
        }
    }

    /// A path for a new circuit, over a guard whose link is open.
    pub(super) fn path(&mut self, end: End) -> Result<(LinkId, Vec<RelayIdentity>), NoPath> {
        let building = self.circuits.values().filter(|managed| !managed.circuit.is_open()).count();
        if self.directory.consensus.is_none() || building >= MAX_BUILDING {
            return Err(NoPath::NotYet);
        }
        let now = self.network_now();
        let links = &self.links;
        let link_to = |guard: &RelayIdentity| links.iter().find(|(_, link)| link.guard == *guard && link.is_open());
        let path = self.relays.path(&mut self.rng, now, end, |guard| link_to(guard).is_some())?;
        let link = path.first().and_then(link_to).ok_or(NoPath::NotYet)?;
        Ok((*link.0, path))
    }

    /// Drops circuits that are kept ready and would not be built like this today.
    pub(super) fn drop_outdated_spares(&mut self) {
        let is_kept_ready = |task: &CircuitPurpose| match task {
            CircuitPurpose::Spare => true,
            CircuitPurpose::ClientRendezvous(wait) => wait.seeking.is_none(),
            _ => false,
        };
        let outdated =
            |managed: &CircuitEntry| is_kept_ready(&managed.task) && !self.relays.stands(managed.circuit.path());
        self.circuits_where(outdated).into_iter().for_each(|key| self.drop_circuit(key));
    }

    pub(super) fn build(&mut self, link: LinkId, path: &[RelayIdentity], task: CircuitPurpose) -> Option<CircuitKey> {
        let hops = hops(self.directory.consensus.as_ref()?, path)?;
        let circ = self.links.get_mut(&link)?.new_circ_id();
        let mut cells = Vec::new();
        let circuit = Circuit::build(&mut self.rng, circ, hops, &mut cells).ok()?;
        let key = CircuitKey(self.next_circuit);
        self.next_circuit += 1;
        self.links.get_mut(&link)?.circuits.insert(circ, key);
        self.send_cells(link, &cells);
        let deadline = Some(self.now.instant + self.relays.stretch(HOP_TIME));
        self.circuits.insert(key, CircuitEntry { circuit, link, task, deadline });
        Some(key)
    }

    /// Whether a circuit is there for whoever needs one. One whose link has just been lost is not, though it may still be listed.
    pub(super) fn is_ready_spare(&self, managed: &CircuitEntry) -> bool {
        matches!(managed.task, CircuitPurpose::Spare)
            && managed.circuit.is_open()
            && self.links.get(&managed.link).is_some_and(Link::is_open)
    }

    /// A spare circuit whose last hop keeps cookies; the caller gives it its task.
    pub(super) fn spare_rendezvous(&self) -> Option<(CircuitKey, RelayIdentity)> {
        let consensus = self.directory.consensus.as_ref()?;
        self.circuits.iter().find_map(|(key, managed)| {
            let last = managed.circuit.path().last()?.identity;
            let fits = self.is_ready_spare(managed)
                && consensus.relay(&last).is_some_and(|relay| relay.roles.contains(RelayRole::Rendezvous));
            fits.then_some((*key, last))
        })
    }

    /// Gives a task to a circuit that leads to a relay that somebody else has chosen.
    pub(super) fn lead_to(&mut self, relay: RelayIdentity, task: CircuitPurpose) -> Result<CircuitKey, NoPath> {
        let way = self.way_to(relay)?;
        self.go(way, task)
    }

    /// How to get to a relay that somebody else has chosen: over a spare circuit with another hop where one fits, else over a
    /// new one.
    pub(super) fn way_to(&mut self, relay: RelayIdentity) -> Result<Way, NoPath> {
        let spare = self.circuits.iter().find(|(_, managed)| {
            self.is_ready_spare(managed) && self.relays.may_follow(managed.circuit.path(), &relay)
        });
        let next = self.directory.consensus.as_ref().and_then(|consensus| consensus.relay(&relay)).map(hop);
        if let (Some(key), Some(next)) = (spare.map(|(key, _)| *key), next) {
            return Ok(Way::Spare(key, next));
        }
        let (link, path) = self.path(End::Others(relay))?;
        Ok(Way::New(link, path))
    }

    /// Goes a way that was just found, with a task.
    pub(super) fn go(&mut self, way: Way, task: CircuitPurpose) -> Result<CircuitKey, NoPath> {
        let (key, next) = match way {
            Way::New(link, path) => return self.build(link, &path, task).ok_or(NoPath::NotYet),
            Way::Spare(key, next) => (key, next),
        };
        let Some(managed) = self.circuits.get_mut(&key) else { return Err(NoPath::NotYet) };
        let mut cells = Vec::new();
        managed.deadline = Some(self.now.instant + self.relays.stretch(HOP_TIME));
        let link = managed.link;
        if managed.circuit.extend(&mut self.rng, next, &mut cells).is_err() {
            self.close_circuit(key, Some(DestroyReason::Internal));
            return Err(NoPath::NotYet);
        }
        managed.task = task;
        self.send_cells(link, &cells);
        Ok(key)
    }

    /// The circuits of which something holds.
    pub(super) fn circuits_where(&self, holds: impl Fn(&CircuitEntry) -> bool) -> Vec<CircuitKey> {
        self.circuits.iter().filter(|(_, managed)| holds(managed)).map(|(key, _)| *key).collect()
    }

    /// Sends a message to the last hop of a circuit.
    pub(super) fn send_on(&mut self, key: CircuitKey, message: &RelayMessage) {
        if let Some(managed) = self.circuits.get_mut(&key) {
            let mut cells = Vec::new();
            managed.circuit.send(message, &mut cells);
            let link = managed.link;
            self.send_cells(link, &cells);
        }
    }

    /// What a circuit's cell meant.
    pub(super) fn received(&mut self, key: CircuitKey, received: Received) {
        match received {
            Received::Open => self.circuit_open(key),
            Received::Message(message) => self.relay_message(key, *message),
            Received::Destroyed(_) => self.close_circuit(key, None),
            received => match self.circuits.get(&key).map(|managed| &managed.task) {
                Some(CircuitPurpose::Request(_)) => self.request_received(key, received),
                _ => self.channel_received(key, received),
            },
        }
    }

    fn circuit_open(&mut self, key: CircuitKey) {
        self.proven = true;
        self.counts.opened += 1;
        self.bring_held_up();
        let Some(managed) = self.circuits.get_mut(&key) else { return };
        match &managed.task {
            CircuitPurpose::Spare | CircuitPurpose::PeerChannel(_) => managed.deadline = None,
            CircuitPurpose::IntroPoint(_) => self.point_reached(key),
            CircuitPurpose::ClientRendezvous(_) => self.establish(key),
            CircuitPurpose::Introduce(_) => self.bring(key),
            CircuitPurpose::ServiceRendezvous(_) => self.arrive(key),
            CircuitPurpose::Request(_) => self.begin_request(key),
        }
    }

    /// A message of the last hop that belongs to no stream.
    fn relay_message(&mut self, key: CircuitKey, message: RelayMessage) {
        let Some(managed) = self.circuits.get(&key) else { return };
        match (&managed.task, message) {
            (CircuitPurpose::IntroPoint(_), RelayMessage::IntroEstablished) => self.point_established(key),
            (CircuitPurpose::IntroPoint(_), RelayMessage::Introduce2(fragment)) => {
                self.introduction_fragment(key, &fragment)
            }
            (CircuitPurpose::ClientRendezvous(_), RelayMessage::RendezvousEstablished) => self.established(key),
            (CircuitPurpose::ClientRendezvous(_), RelayMessage::Rendezvous2(fragment)) => {
                self.answer_fragment(key, &fragment)
            }
            (CircuitPurpose::Introduce(_), RelayMessage::IntroduceAck { effort, seed }) => {
                self.brought(key, effort, seed)
            }
            // Whoever asked for this has given up meanwhile.
            (CircuitPurpose::PeerChannel(_), RelayMessage::RendezvousUnknown) => self.drop_circuit(key),
            _ => self.close_circuit(key, Some(DestroyReason::Protocol)),
        }
    }

    /// A circuit is gone; `key` is out of its link's table already. With `blame`, it went wrong on its way, and the relay
    /// that did not do its part is left alone for a while.
    pub(super) fn circuit_lost(&mut self, key: CircuitKey, blame: bool) {
        let Some(managed) = self.circuits.remove(&key) else { return };
        let now = self.now.instant;
        let building = !managed.circuit.is_open();
        let refused = match &managed.task {
            CircuitPurpose::IntroPoint(point) => point.unconfirmed > 0,
            CircuitPurpose::ClientRendezvous(wait) => !wait.established,
            CircuitPurpose::Introduce(_) => true,
            _ => false,
        };
        if blame && (building || refused) {
            let at = managed.circuit.reached().min(managed.circuit.path().len().saturating_sub(1));
            if let Some(hop) = managed.circuit.path().get(at) {
                let relay = hop.identity;
                // A guard that will not have us meet somebody at it may still be a good guard.
                if !(refused && self.relays.keeps_guard(&relay)) {
                    self.relays.failed(relay, now);
                }
                // A guard that does not even answer a CREATE holds up everything: its link goes too.
                let silent = at == 0 && managed.deadline.is_some_and(|deadline| deadline <= now);
                if silent && self.links.contains_key(&managed.link) {
                    self.close_link(managed.link);
                }
            }
        }
        match managed.task {
            CircuitPurpose::Spare | CircuitPurpose::IntroPoint(_) => {}
            CircuitPurpose::ClientRendezvous(wait) => self.wait_lost(key, &wait),
            CircuitPurpose::Introduce(bring) => self.bring_lost(&bring),
            CircuitPurpose::ServiceRendezvous(come) => self.come_lost(*come),
            CircuitPurpose::PeerChannel(channel) => self.channel_lost(key, &channel),
            CircuitPurpose::Request(request) => self.request_lost(&request),
        }
    }
}
