//! Opening circuits: over a ready one, which may get one more hop, or along a new path.

use super::link::Link;
use super::relays::{End, NoPath, hop, hops};
use super::requests::Request;
use super::{
    CircuitEntry, CircuitEvent, CircuitId, CircuitManager, CircuitPurpose, Isolation, SPARES, Target, hop_deadline,
};
use crate::cell::DestroyReason;
use crate::circuit::{Circuit, Hop};
use crate::client::api::LinkId;
use crate::crypto::keys::RelayIdentity;
use crate::netdir::RelayRole;

/// How often a path is drawn until there is one that does not touch a certain relay.
const PATHS: usize = 8;

impl CircuitManager {
    /// Opens a circuit; [`CircuitEvent::Opened`] follows once it reaches its target, or [`CircuitEvent::Closed`].
    ///
    /// # Errors
    ///
    /// If there is no path, or as many circuits for this purpose are under construction as its budget allows
    /// ([`NoPath::NotYet`]).
    pub(in super::super) fn open(
        &mut self,
        target: Target,
        purpose: CircuitPurpose,
        isolation: Isolation,
    ) -> Result<CircuitId, NoPath> {
        if let Some(id) = self.shared_circuit(target, purpose, isolation) {
            return Ok(id);
        }
        let id = match target {
            Target::Chosen(relay) => self.build_to(End::Own(relay), purpose)?,
            Target::Named(relay) => self.extend_or_build(relay, purpose)?,
            Target::Rendezvous => self.open_to_rendezvous(purpose)?,
            Target::RendezvousWithout(relay) => self.build_around(relay, purpose)?,
        };
        if let Some(entry) = self.circuits.get_mut(&id) {
            entry.isolation = isolation;
            // What these are for is that their last hop does its part: one that cannot be reached has refused.
            entry.owes_answer = matches!(
                purpose,
                CircuitPurpose::ClientRendezvous | CircuitPurpose::Fallback | CircuitPurpose::Introduce
            );
        }
        Ok(id)
    }

    /// Builds circuits ahead of need, as far as any are missing.
    pub(in super::super) fn maintain_spares(&mut self) {
        let spares = self.circuits.values().filter(|entry| entry.purpose == CircuitPurpose::Spare).count();
        for _ in spares..SPARES {
            if self.build_to(End::Any, CircuitPurpose::Spare).is_err() {
                break;
            }
        }
    }

    /// Closes ready circuits that would not be built along the same path today, and has other users look at theirs.
    pub(super) fn drop_outdated_spares(&mut self) {
        let outdated: Vec<CircuitId> = self
            .circuits
            .iter()
            .filter(|(_, entry)| entry.purpose == CircuitPurpose::Spare && !self.relays.stands(entry.circuit.path()))
            .map(|(id, _)| *id)
            .collect();
        outdated.into_iter().for_each(|id| self.close(id, DestroyReason::Requested));
        self.events.push_back(CircuitEvent::PathsChanged);
    }

    /// A circuit that serves users with the same key already.
    fn shared_circuit(&mut self, target: Target, purpose: CircuitPurpose, isolation: Isolation) -> Option<CircuitId> {
        let (Isolation::Shared(_), Target::Chosen(relay) | Target::Named(relay)) = (isolation, target) else {
            return None;
        };
        let (id, is_open) = self.circuits.iter().find_map(|(id, entry)| {
            let last = entry.circuit.path().last()?.identity;
            let fits = entry.isolation == isolation && entry.purpose == purpose && last == relay;
            fits.then_some((*id, entry.circuit.is_open()))
        })?;
        if is_open {
            self.events.push_back(CircuitEvent::Opened(id));
        }
        Some(id)
    }

    /// A ready circuit that ends at any rendezvous relay, or a new one to a relay that is drawn.
    fn open_to_rendezvous(&mut self, purpose: CircuitPurpose) -> Result<CircuitId, NoPath> {
        let consensus = self.directory.consensus.as_ref();
        let is_rendezvous = |relay: &RelayIdentity| {
            consensus
                .and_then(|consensus| consensus.relay(relay))
                .is_some_and(|relay| relay.roles.contains(RelayRole::Rendezvous))
        };
        if let Some(id) = self.find_spare(|path| path.last().is_some_and(|hop| is_rendezvous(&hop.identity))) {
            self.set_purpose(id, purpose);
            self.events.push_back(CircuitEvent::Opened(id));
            return Ok(id);
        }
        let drawn = self.choose_rendezvous_relays(1, &[]);
        self.build_to(End::Own(*drawn.first().ok_or(NoPath::TooFew)?), purpose)
    }

    /// A new circuit to a rendezvous relay, where neither that relay nor the path is `avoid`.
    fn build_around(&mut self, avoid: RelayIdentity, purpose: CircuitPurpose) -> Result<CircuitId, NoPath> {
        let drawn = self.choose_rendezvous_relays(1, &[avoid]);
        let relay = *drawn.first().ok_or(NoPath::TooFew)?;
        for _ in 0..PATHS {
            let (link, path) = self.path(End::Own(relay), purpose)?;
            if !path.contains(&avoid) {
                return self.build(link, &path, purpose).ok_or(NoPath::NotYet);
            }
        }
        Err(NoPath::TooFew)
    }

    /// A ready circuit that ends at this relay, for the first time in use.
    pub(super) fn take_spare_to(&mut self, relay: &RelayIdentity, purpose: CircuitPurpose) -> Option<CircuitId> {
        let id = self.find_spare(|path| path.last().is_some_and(|hop| hop.identity == *relay))?;
        self.set_purpose(id, purpose);
        Some(id)
    }

    /// A ready circuit with one more hop where one fits, else a new circuit.
    fn extend_or_build(&mut self, relay: RelayIdentity, purpose: CircuitPurpose) -> Result<CircuitId, NoPath> {
        let spare = self.find_spare(|path| self.relays.may_follow(path, &relay));
        let next = self.directory.consensus.as_ref().and_then(|consensus| consensus.relay(&relay)).map(hop);
        match (spare, next) {
            (Some(id), Some(next)) => self.extend(id, next, purpose),
            _ => self.build_to(End::Others(relay), purpose),
        }
    }

    fn extend(&mut self, id: CircuitId, next: Hop, purpose: CircuitPurpose) -> Result<CircuitId, NoPath> {
        let deadline = hop_deadline(&self.relays, self.now.instant);
        let Self { circuits, rng, .. } = self;
        let Some(entry) = circuits.get_mut(&id) else { return Err(NoPath::NotYet) };
        let mut cells = Vec::new();
        entry.deadline = Some(deadline);
        let link = entry.link;
        if entry.circuit.extend(rng, next, &mut cells).is_err() {
            self.fail(id, DestroyReason::Internal);
            return Err(NoPath::NotYet);
        }
        entry.purpose = purpose;
        self.send_cells(link, &cells);
        Ok(id)
    }

    /// A new circuit along a path that is drawn.
    pub(super) fn build_to(&mut self, end: End, purpose: CircuitPurpose) -> Result<CircuitId, NoPath> {
        let (link, path) = self.path(end, purpose)?;
        self.build(link, &path, purpose).ok_or(NoPath::NotYet)
    }

    /// A path for a new circuit, over a guard whose link is open.
    fn path(&mut self, end: End, purpose: CircuitPurpose) -> Result<(LinkId, Vec<RelayIdentity>), NoPath> {
        let is_building = |entry: &&CircuitEntry| entry.purpose == purpose && !entry.circuit.is_open();
        let building = self.circuits.values().filter(is_building).count();
        if self.directory.consensus.is_none() || building >= purpose.budget() {
            return Err(NoPath::NotYet);
        }
        let now = self.network_now();
        let links = &self.links;
        let link_to = |guard: &RelayIdentity| links.iter().find(|(_, link)| link.guard == *guard && link.is_open());
        let path = self.relays.path(&mut self.rng, now, end, |guard| link_to(guard).is_some())?;
        let link = path.first().and_then(link_to).ok_or(NoPath::NotYet)?;
        Ok((*link.0, path))
    }

    fn build(&mut self, link: LinkId, path: &[RelayIdentity], purpose: CircuitPurpose) -> Option<CircuitId> {
        let hops = hops(self.directory.consensus.as_ref()?, path)?;
        let circ = self.links.get_mut(&link)?.new_circ_id();
        let mut cells = Vec::new();
        let circuit = Circuit::build(&mut self.rng, circ, hops, &mut cells).ok()?;
        let id = CircuitId(self.next_circuit);
        self.next_circuit += 1;
        self.links.get_mut(&link)?.circuits.insert(circ, id);
        self.send_cells(link, &cells);
        let entry = CircuitEntry {
            circuit,
            link,
            purpose,
            isolation: Isolation::Exclusive,
            deadline: Some(hop_deadline(&self.relays, self.now.instant)),
            owes_answer: false,
            request: None,
        };
        self.circuits.insert(id, entry);
        Some(id)
    }

    /// Attaches a request to its circuit.
    pub(super) fn attach(&mut self, id: CircuitId, request: Request) {
        if let Some(entry) = self.circuits.get_mut(&id) {
            entry.request = Some(Box::new(request));
        }
    }

    /// A completed circuit that nobody has used, with a path that fits. One whose link was lost a moment ago may still be
    /// listed, and does not count.
    fn find_spare(&self, fits: impl Fn(&[Hop]) -> bool) -> Option<CircuitId> {
        let is_ready = |entry: &CircuitEntry| {
            entry.purpose == CircuitPurpose::Spare
                && entry.circuit.is_open()
                && self.links.get(&entry.link).is_some_and(Link::is_open)
        };
        let found = self.circuits.iter().find(|(_, entry)| is_ready(entry) && fits(entry.circuit.path()));
        found.map(|(id, _)| *id)
    }
}
