//! The client's links to its guards.

use std::collections::BTreeMap;
use std::time::Duration;

use rand_chacha::ChaCha20Rng;

use super::CircuitId;
use crate::cell::{CELL_LEN, Cell, CircId, LinkEnd};
use crate::client::api::{LinkId, Output};
use crate::crypto::keys::RelayIdentity;
use crate::link::{self, Initiator, LinkStep, MAX_CELLS, Padding, RelayAddressee, padded_count};
use crate::netdir::{LinkUrl, RelayEntry};
use crate::time::Instant;

/// How long a link may take to open and shake hands.
const OPEN_TIME: Duration = Duration::from_secs(5);

/// A link to a guard.
pub(super) struct Link {
    pub(super) guard: RelayIdentity,
    pub(super) circuits: BTreeMap<CircId, CircuitId>,
    state: State,
    /// When to give up, or the next moment to look.
    deadline: Instant,
    pub(super) padding: Padding,
    next_padding: Instant,
    next_circ: u32,
    queue: Vec<u8>,
}

enum State {
    Opening { initiator: Box<Initiator>, first: Vec<u8> },
    ShakingHands(Box<Initiator>),
    Open(Box<link::Link>),
    Closed,
}

/// Where a client opens links to a guard: at its first address, or at its first `wss://` address where no others may be
/// opened, if it has one.
pub(super) fn address(guard: &RelayEntry, secure: bool) -> Option<&LinkUrl> {
    guard.urls().find(|url| url.is_secure() || !secure)
}

/// A link is of no use any more.
pub(super) struct Broken;

impl Link {
    /// Begins a link to a guard at one of its addresses.
    pub(super) fn open(
        link: LinkId,
        guard: &RelayEntry,
        url: &LinkUrl,
        network: &[u8; 32],
        rng: &mut ChaCha20Rng,
        now: Instant,
        outputs: &mut impl Extend<Output>,
    ) -> Option<Self> {
        let addressee = RelayAddressee { identity: guard.identity, link_key: guard.link_key };
        let (initiator, first) = Initiator::new_anonymous(rng, network, &addressee).ok()?;
        outputs.extend([Output::OpenLink { link, url: url.as_str().to_owned() }]);
        Some(Self {
            guard: guard.identity,
            circuits: BTreeMap::new(),
            state: State::Opening { initiator: Box::new(initiator), first },
            deadline: now + OPEN_TIME,
            padding: Padding::default(),
            next_padding: now,
            next_circ: 0,
            queue: Vec::new(),
        })
    }

    /// Whether cells can be sent.
    pub(super) fn is_open(&self) -> bool {
        matches!(self.state, State::Open(_))
    }

    /// The WebSocket is open: the handshake begins.
    pub(super) fn opened(&mut self, link: LinkId, outputs: &mut impl Extend<Output>) {
        match core::mem::replace(&mut self.state, State::Closed) {
            State::Opening { initiator, first } => {
                outputs.extend([Output::SendLink(link, first)]);
                self.state = State::ShakingHands(initiator);
            }
            other => self.state = other,
        }
    }

    /// Takes one WebSocket message; gives its cells.
    pub(super) fn receive(
        &mut self,
        message: &mut [u8],
        rng: &mut ChaCha20Rng,
        now: Instant,
    ) -> Result<Vec<Cell>, Broken> {
        match &mut self.state {
            State::Opening { .. } | State::Closed => Err(Broken),
            State::ShakingHands(initiator) => {
                // Towards a relay that does not know us the handshake ends with its first answer.
                let Ok(LinkStep::Established { send: None, link }) = initiator.receive(message) else {
                    return Err(Broken);
                };
                self.state = State::Open(link);
                self.deadline = now + self.padding.silence();
                self.next_padding = now + self.padding.pause(rng);
                Ok(Vec::new())
            }
            State::Open(link) => {
                self.deadline = now + self.padding.silence();
                let cells = link.opener.open(message).map_err(|_| Broken)?;
                cells.iter().map(|cell| Cell::decode(cell).map_err(|_| Broken)).collect()
            }
        }
    }

    /// Queues a cell until the next [`Self::flush`].
    pub(super) fn send(&mut self, cell: &Cell) {
        cell.encode(&mut self.queue);
    }

    /// A circuit id that is free.
    pub(super) fn new_circ_id(&mut self) -> CircId {
        loop {
            let circ = LinkEnd::Initiator.circ_id(self.next_circ);
            self.next_circ = self.next_circ.wrapping_add(1);
            if !self.circuits.contains_key(&circ) {
                return circ;
            }
        }
    }

    /// Whether the guard has been silent for too long, or did not answer in time.
    pub(super) fn is_overdue(&self, now: Instant) -> bool {
        self.deadline <= now
    }

    /// When to look at the link again.
    pub(super) fn poll_timeout(&self) -> Instant {
        if self.is_open() { self.deadline.min(self.next_padding) } else { self.deadline }
    }

    /// Seals what is queued, or a padding cell when the link has been idle, and sends it.
    pub(super) fn flush(
        &mut self,
        link: LinkId,
        rng: &mut ChaCha20Rng,
        now: Instant,
        outputs: &mut impl Extend<Output>,
    ) -> Result<(), Broken> {
        let State::Open(open) = &mut self.state else { return Ok(()) };
        if self.queue.is_empty() {
            if now < self.next_padding {
                return Ok(());
            }
            Cell::PADDING.encode(&mut self.queue);
        }
        self.next_padding = now + self.padding.pause(rng);
        for cells in self.queue.chunks(MAX_CELLS * CELL_LEN) {
            let mut record = cells.to_vec();
            for _ in cells.len() / CELL_LEN..padded_count(cells.len() / CELL_LEN) {
                Cell::PADDING.encode(&mut record);
            }
            open.sealer.seal(&mut record).map_err(|_| Broken)?;
            outputs.extend([Output::SendLink(link, record)]);
        }
        self.queue.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netdir::{RelayRole, Roles};

    #[test]
    fn a_page_that_came_by_https_opens_secure_addresses_only() {
        let entry = |url: &str, secure_url: Option<&str>| {
            let roles = Roles::from_iter([RelayRole::Guard]);
            let (nickname, url) = ("guard".parse().unwrap(), url.parse().unwrap());
            let mut entry = RelayEntry::new([1; 32].into(), [2; 32].into(), [3; 32].into(), roles, nickname, url);
            entry.secure_url = secure_url.map(|url| url.parse().unwrap());
            entry
        };
        for (url, secure_url, plain, secure) in [
            ("ws://h/", None, "ws://h/", None),
            ("ws://h/", Some("wss://h/"), "ws://h/", Some("wss://h/")),
            ("wss://h/", None, "wss://h/", Some("wss://h/")),
            ("wss://h/", Some("wss://other/"), "wss://h/", Some("wss://h/")),
        ] {
            let entry = entry(url, secure_url);
            assert_eq!(address(&entry, false).map(LinkUrl::as_str), Some(plain));
            assert_eq!(address(&entry, true).map(LinkUrl::as_str), secure);
        }
    }
}
