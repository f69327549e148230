//! Links to guards: which are opened and closed, and what arrives on them.

use super::counts::CloseCause;
use super::link::{self, Link};
use super::{CircuitEntry, CircuitEvent, CircuitId, CircuitManager, CircuitPurpose, hop_deadline};
use crate::cell::{Cell, DestroyReason};
use crate::circuit::Received;
use crate::client::api::{LinkId, Output};
use crate::crypto::keys::RelayIdentity;
use crate::link::Padding;

impl CircuitManager {
    /// The WebSocket of a link is open.
    pub(in super::super) fn link_opened(&mut self, id: LinkId) {
        if let Some(link) = self.links.get_mut(&id) {
            link.opened(id, &mut self.outputs);
        }
    }

    /// A WebSocket message arrived on a link.
    pub(in super::super) fn link_message(&mut self, id: LinkId, mut message: Vec<u8>) {
        let Some(link) = self.links.get_mut(&id) else { return };
        let was_open = link.is_open();
        let Ok(cells) = link.receive(&mut message, &mut self.rng, self.now.instant) else {
            return self.close_link(id);
        };
        if !was_open && link.is_open() {
            let (guard, now) = (link.guard, self.network_now());
            self.relays.link_opened(guard, &mut self.rng, now);
            self.events.push_back(CircuitEvent::RoomForMore);
        }
        for cell in cells {
            self.cell(id, cell);
        }
    }

    /// The WebSocket of a link is closed.
    pub(in super::super) fn link_lost(&mut self, id: LinkId) {
        let Some(link) = self.links.remove(&id) else { return };
        self.relays.link_failed(link.guard, self.now.instant);
        for circuit in link.circuits.into_values() {
            self.close_and_tell(circuit, CloseCause::Link, false);
        }
    }

    /// Closes links and circuits that have taken too long.
    pub(in super::super) fn check_deadlines(&mut self) {
        let now = self.now.instant;
        let overdue: Vec<_> = self.links.iter().filter(|(_, link)| link.is_overdue(now)).map(|(id, _)| *id).collect();
        overdue.into_iter().for_each(|id| self.close_link(id));
        let is_late = |entry: &CircuitEntry| entry.deadline.is_some_and(|deadline| deadline <= now);
        let late: Vec<_> = self.circuits.iter().filter(|(_, entry)| is_late(entry)).map(|(id, _)| *id).collect();
        for id in late {
            self.close_and_tell(id, CloseCause::Said(Some(DestroyReason::Timeout)), true);
        }
    }

    /// Seals and sends the cells that wait, and padding where links are idle.
    pub(in super::super) fn flush(&mut self) {
        let mut broken = Vec::new();
        for (id, link) in &mut self.links {
            if link.flush(*id, &mut self.rng, self.now.instant, &mut self.outputs).is_err() {
                broken.push(*id);
            }
        }
        broken.into_iter().for_each(|id| self.close_link(id));
    }

    pub(super) fn close_link(&mut self, id: LinkId) {
        self.outputs.push_back(Output::CloseLink(id));
        self.link_lost(id);
    }

    pub(super) fn send_cells(&mut self, id: LinkId, cells: &[Cell]) {
        if let Some(link) = self.links.get_mut(&id) {
            cells.iter().for_each(|cell| link.send(cell));
        }
    }

    /// Opens links to the guards in use, and closes those that serve nothing any more.
    pub(super) fn maintain_links(&mut self, is_public: impl Fn(&RelayIdentity) -> bool) {
        let Some(consensus) = &self.directory.consensus else { return };
        let now = self.now.instant;
        let network_now = self.network_now();
        let outdated = self.relays.update(consensus, &mut self.rng, network_now);
        let primary = self.relays.primary_guards(&mut self.rng, now, is_public);
        for guard in &primary {
            if let Some(link) = self.links.values().find(|link| link.guard == *guard) {
                // Of a guard whose time was over, and which was drawn again.
                if link.is_open() && !self.relays.keeps_guard(guard) {
                    self.relays.link_opened(*guard, &mut self.rng, network_now);
                }
                continue;
            }
            let Some(relay) = consensus.relay(guard) else { continue };
            let id = LinkId(self.next_link);
            self.next_link += 1;
            let network = self.config.authorities.network().as_bytes();
            let Some(url) = link::address(relay, self.config.secure_links) else { continue };
            if let Some(mut link) = Link::open(id, relay, url, network, &mut self.rng, now, &mut self.outputs) {
                link.padding = Padding::of(Some(consensus));
                self.links.insert(id, link);
            }
        }
        let idle: Vec<_> = self
            .links
            .iter()
            .filter(|(_, link)| link.is_open() && link.circuits.is_empty() && !primary.contains(&link.guard))
            .map(|(id, _)| *id)
            .collect();
        for id in idle {
            self.links.remove(&id);
            self.outputs.push_back(Output::CloseLink(id));
        }
        if outdated {
            self.drop_outdated_spares();
        }
        if let Some(message) = self.relays.complaint(now) {
            self.error("network", message);
        }
    }

    fn cell(&mut self, link: LinkId, cell: Cell) {
        let Some(circuits) = self.links.get(&link).map(|link| &link.circuits) else { return };
        // A cell of a circuit that was closed here a moment ago is still on its way: there is nothing to answer.
        let Some(id) = circuits.get(&cell.circ).copied() else { return };
        let Self { circuits, rng, .. } = self;
        let Some(entry) = circuits.get_mut(&id) else { return };
        let mut cells = Vec::new();
        let reached = entry.circuit.reached();
        let received = entry.circuit.handle(rng, cell, &mut cells);
        if entry.circuit.reached() > reached {
            entry.deadline = Some(hop_deadline(&self.relays, self.now.instant));
            if let Some(hop) = entry.circuit.path().get(reached) {
                self.relays.works(&hop.identity);
            }
        }
        self.send_cells(link, &cells);
        match received {
            Ok(received) => self.received(id, received),
            Err(_) => self.close_and_tell(id, CloseCause::Said(Some(DestroyReason::Protocol)), true),
        }
    }

    /// Handles what a circuit's cell meant.
    fn received(&mut self, id: CircuitId, received: Received) {
        let Some(entry) = self.circuits.get_mut(&id) else { return };
        match received {
            Received::Open => {
                self.proven = true;
                self.counts.opened += 1;
                self.events.push_back(CircuitEvent::RoomForMore);
                if entry.request.is_some() {
                    self.begin_request(id);
                } else if entry.purpose == CircuitPurpose::Spare {
                    entry.deadline = None;
                } else {
                    self.events.push_back(CircuitEvent::Opened(id));
                }
            }
            Received::Destroyed(_) => self.close_and_tell(id, CloseCause::Said(None), true),
            received if entry.request.is_some() => self.request_received(id, received),
            Received::Message(message) => self.events.push_back(CircuitEvent::Message(id, message)),
            Received::Data(stream, data) => self.events.push_back(CircuitEvent::Data(id, stream, data)),
            Received::Ended(..) => self.events.push_back(CircuitEvent::StreamEnded(id)),
            Received::Nothing | Received::Connected(..) | Received::Writable(_) => {}
        }
    }
}
