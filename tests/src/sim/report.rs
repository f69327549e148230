//! What a simulation amounts to, in numbers.

use std::collections::BTreeMap;

use serde::Serialize;

/// What all nodes have done together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// WebSocket messages that were sent.
    pub messages_on_links: u64,
    /// Cells in them, padding too.
    pub cells_on_links: u64,
    /// Cells that relays have passed on from one circuit to the next.
    pub cells_forwarded: u64,
    /// Links that relays have opened to each other.
    pub dials: u64,
    /// Links that broke.
    pub links_broken: u64,
    /// Relays that crashed.
    pub relays_crashed: u64,
    /// Clients that crashed.
    pub clients_crashed: u64,
    /// Links that relays have ended for something that the peer did, by reason.
    pub links_ended: BTreeMap<String, u64>,
    /// Circuits of clients that relays had to give up, by the reason that they gave.
    pub destroyed: BTreeMap<String, u64>,
}

impl Totals {
    pub(super) fn sent(&mut self, len: usize) {
        self.messages_on_links += 1;
        self.cells_on_links += (len / allium_shared::link::CELL_LEN) as u64;
    }
}

/// The most that one relay has kept at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RelayPeak {
    /// Circuits and handshakes under way.
    pub circuits: usize,
    /// Cells that waited to be sent.
    pub queued: usize,
    /// Circuits that waited for somebody with a cookie.
    pub waiting: usize,
    /// Links.
    pub links: usize,
}

impl RelayPeak {
    /// The greater of each.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        Self {
            circuits: self.circuits.max(other.circuits),
            queued: self.queued.max(other.queued),
            waiting: self.waiting.max(other.waiting),
            links: self.links.max(other.links),
        }
    }
}

/// The most that one client has kept at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ClientPeak {
    /// Circuits, complete or not.
    pub circuits: usize,
    /// Links.
    pub links: usize,
}
