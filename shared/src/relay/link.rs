//! One link of a relay: its handshake, its circuits, and the cells that wait to leave by it.

use std::sync::Arc;
use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use thiserror::Error;

use super::circuits::Circuits;
use super::counts::LinkCounts;
use super::handshakes::Request;
use super::keys::RelayKeys;
use super::link_event::LinkEvent;
use super::memory::{LinkLoad, Memory};
use super::outlet::Outlet;
use super::queue::CellQueue;
use super::streams::StreamWakers;
use super::tables::Tables;
use crate::cell::{CELL_LEN, Cell, CellError, CircId, DestroyReason, LinkEnd};
use crate::crypto::keys::{LinkPublic, LinkSecret, RelayIdentity};
use crate::link::{
    Initiator, LinkHandshakeError, LinkStep, MAX_CELLS, Opener, Padding, Peer, RecordError, RelayAddressee, Responder,
    Sealer, padded_count,
};
use crate::time::{Instant, Now};
use crate::token_bucket::TokenBucket;

/// How long a link may take to shake hands.
const HANDSHAKE_TIME: Duration = Duration::from_secs(5);

/// A page may be silent for much longer: browsers let hidden tabs run their timers once a minute.
const PAGE_SILENCE: Duration = Duration::from_secs(180);

/// Cells that may wait for a client, over all its circuits: 8 MB. One that reads nothing and asks for more loses its link.
/// Relays speak for many clients, none of whom may take the link away from the others: what waits for them is bounded by
/// each circuit's queue and by the memory of the whole relay.
const MAX_LINK_QUEUED: usize = 16 * 1024;

/// A client's link that has sent nothing for so long, though cells waited, is given up when the relay needs the memory.
const STUCK_TIME: Duration = Duration::from_secs(10);

/// Cells that a link gives up at once when the relay needs the memory.
const SHED: usize = 256;

/// Refusals that a client may draw each second, and how many at once: for circuits that it may not open, and for cells of
/// circuits that do not exist. One that goes on is not mistaken but at war, and even to refuse costs the others time.
const REFUSALS: (u32, u32) = (1000, 10_000);

/// Notes that may wait for a link to shake hands.
const MAX_WAITING: usize = 1024;

/// The rest of the relay, as one link sees it. The driver carries each call out at once.
pub trait Switch: Tables {
    /// Hands cells to another link, in the order in which they are given: [`RelayLink::handle_forwarded`] takes them.
    fn forward(&mut self, link: &Self::Link, cells: Vec<Cell>);

    /// See [`Outlet::tell`].
    fn tell(&mut self, link: &Self::Link, event: LinkEvent<Self::Link>);

    /// See [`Outlet::connect`].
    fn connect(&mut self, relay: RelayIdentity, event: LinkEvent<Self::Link>);

    /// See [`Outlet::answer`].
    fn answer(&mut self, request: Request<Self::Link>);

    /// The relay keeps more cells than it may: [`super::memory::worst`] of its links has to be told [`LinkEvent::Shed`].
    fn relieve(&mut self);

    /// How links pad, by the consensus.
    fn padding(&self) -> Padding;

    /// The relay of the consensus that has this link key.
    fn relay_by_link_key(&self, key: &LinkPublic) -> Option<RelayIdentity>;
}

/// What a relay needs for the handshake of a link.
#[derive(Debug)]
pub struct LinkKeys {
    /// The network's id.
    pub network: [u8; 32],
    /// The key of links.
    pub link: LinkSecret,
    /// The keys of circuits.
    pub circuits: Arc<RelayKeys>,
}

/// One link of a relay.
///
/// The driver hands in what the WebSocket brings and what other links say, and after each call takes WebSocket messages
/// from [`Self::poll_transmit`] for as long as the socket takes them.
pub struct RelayLink<L> {
    this: L,
    keys: Arc<LinkKeys>,
    memory: Arc<Memory>,
    load: Arc<LinkLoad>,
    wakers: StreamWakers,
    rng: ChaCha20Rng,
    state: State<L>,
    deadline: Instant,
    /// The relay needs the memory, and the peer does not read.
    stuck: bool,
    counts: LinkCounts,
}

enum State<L> {
    Responding(Responder, Option<Vec<u8>>),
    Initiating { initiator: Box<Initiator>, relay: RelayIdentity, send: Option<Vec<u8>>, waiting: Vec<LinkEvent<L>> },
    Open(Box<Open<L>>),
}

struct Open<L> {
    /// The last message of the handshake, when it is ours.
    send: Option<Vec<u8>>,
    sealer: Sealer,
    opener: Opener,
    relay: Option<RelayIdentity>,
    circuits: Circuits<L>,
    queue: CellQueue,
    padding: Padding,
    next_padding: Instant,
    refusals: TokenBucket,
}

/// Why a link ends. Each text is fit for the peer and for a log.
#[derive(Debug, PartialEq, Eq, Error)]
pub enum LinkError {
    /// The handshake failed.
    #[error(transparent)]
    Handshake(#[from] LinkHandshakeError),
    /// The peer claims to be a relay, but the consensus knows none with its key.
    #[error("the consensus lists no relay with the peer's link key")]
    UnknownRelay,
    /// A record that is none.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// A cell that is none.
    #[error(transparent)]
    Cell(#[from] CellError),
    /// The peer has not been heard for too long.
    #[error("the peer has been silent for too long")]
    Silence,
    /// The handshake took too long.
    #[error("the link's handshake took too long")]
    Timeout,
    /// The peer goes on with what it is refused.
    #[error("the peer goes on opening circuits that it is refused, or using circuits that do not exist")]
    Flood,
    /// The peer does not read what it has asked for.
    #[error("too many cells wait for the peer to read them")]
    Overfull,
}

/// What a message has brought about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Nothing that the driver has to know.
    Nothing,
    /// The handshake is done; the peer is this relay, or no relay at all.
    Established(Option<RelayIdentity>),
}

impl<L: Clone + PartialEq> RelayLink<L> {
    /// A link that somebody has opened to this relay.
    pub fn respond(
        this: L,
        keys: Arc<LinkKeys>,
        memory: Arc<Memory>,
        wakers: StreamWakers,
        mut rng: ChaCha20Rng,
        now: Instant,
    ) -> Self {
        let responder = Responder::new(&mut rng, &keys.network, &keys.circuits.identity, &keys.link);
        let (state, load, counts) = (State::Responding(responder, None), Arc::default(), LinkCounts::default());
        Self { this, keys, memory, load, wakers, rng, state, deadline: now + HANDSHAKE_TIME, stuck: false, counts }
    }

    /// A link that this relay opens to another.
    ///
    /// # Errors
    ///
    /// If the other relay's key is none.
    pub fn initiate(
        this: L,
        keys: Arc<LinkKeys>,
        memory: Arc<Memory>,
        wakers: StreamWakers,
        mut rng: ChaCha20Rng,
        addressee: &RelayAddressee,
        now: Instant,
    ) -> Result<Self, LinkError> {
        let (initiator, first) = Initiator::new_relay(&mut rng, &keys.network, addressee, &keys.link)?;
        let state = State::Initiating {
            initiator: Box::new(initiator),
            relay: addressee.identity,
            send: Some(first),
            waiting: Vec::new(),
        };
        let (load, counts) = (Arc::default(), LinkCounts::default());
        Ok(Self { this, keys, memory, load, wakers, rng, state, deadline: now + HANDSHAKE_TIME, stuck: false, counts })
    }

    /// What waits on the link, for [`super::memory::worst`].
    pub const fn load(&self) -> &Arc<LinkLoad> {
        &self.load
    }

    /// How many circuits (and handshakes under way) the link has.
    pub fn circuits(&self) -> usize {
        match &self.state {
            State::Open(open) => open.circuits.len(),
            State::Responding(..) | State::Initiating { .. } => 0,
        }
    }

    /// What the link has done since the last call.
    pub fn take_counts(&mut self) -> LinkCounts {
        if let State::Open(open) = &mut self.state {
            self.counts.circuits += open.circuits.take_counts();
        }
        std::mem::take(&mut self.counts)
    }

    /// How many cells wait to be sent.
    pub fn queued(&self) -> usize {
        match &self.state {
            State::Open(open) => open.queue.len(),
            State::Responding(..) | State::Initiating { .. } => 0,
        }
    }

    /// Takes one binary WebSocket message.
    ///
    /// # Errors
    ///
    /// If the peer broke the protocol; the link has to be closed, with [`Self::close`].
    pub fn handle_message<S: Switch<Link = L>>(
        &mut self,
        clock: Now,
        message: &mut [u8],
        switch: &mut S,
    ) -> Result<Progress, LinkError> {
        let now = clock.instant;
        match &mut self.state {
            State::Responding(responder, send) => match responder.receive(message)? {
                LinkStep::Send(answer) => {
                    *send = Some(answer);
                    Ok(Progress::Nothing)
                }
                LinkStep::Established { send, link } => {
                    let relay = match link.peer {
                        Peer::Anonymous => None,
                        Peer::Relay(key) => Some(switch.relay_by_link_key(&key).ok_or(LinkError::UnknownRelay)?),
                    };
                    self.establish(now, LinkEnd::Responder, relay, send, *link, switch.padding());
                    Ok(Progress::Established(relay))
                }
            },
            State::Initiating { initiator, relay, waiting, .. } => {
                let relay = *relay;
                let LinkStep::Established { send, link } = initiator.receive(message)? else {
                    return Err(LinkError::Handshake(LinkHandshakeError::Over));
                };
                let waiting = std::mem::take(waiting);
                self.establish(now, LinkEnd::Initiator, Some(relay), send, *link, switch.padding());
                for event in waiting {
                    self.handle_event(clock, event, switch);
                }
                Ok(Progress::Established(Some(relay)))
            }
            State::Open(open) => {
                self.deadline = now + silence(open.relay, open.padding);
                let Open { opener, circuits, queue, refusals, relay, .. } = &mut **open;
                let cells = opener.open(message)?;
                self.counts.records_opened += 1;
                let mut own = Own::new(queue, &mut self.counts, switch);
                own.expected = cells.len();
                for cell in cells {
                    circuits.handle_cell(clock, &mut Cell::decode(cell)?, &mut own);
                }
                let refused = own.refused;
                drop(own);
                if relay.is_none() && !(0..refused).all(|_| refusals.take(now)) {
                    return Err(LinkError::Flood);
                }
                self.drive(now, switch);
                self.check_queue()?;
                Ok(Progress::Nothing)
            }
        }
    }

    fn check_queue(&self) -> Result<(), LinkError> {
        let is_client = matches!(&self.state, State::Open(open) if open.relay.is_none());
        if self.stuck || (is_client && self.queued() > MAX_LINK_QUEUED) { Err(LinkError::Overfull) } else { Ok(()) }
    }

    fn establish(
        &mut self,
        now: Instant,
        end: LinkEnd,
        relay: Option<RelayIdentity>,
        send: Option<Vec<u8>>,
        link: crate::link::Link,
        padding: Padding,
    ) {
        let circuits =
            Circuits::new(now, self.this.clone(), end, relay, self.keys.circuits.clone(), self.wakers.clone());
        self.deadline = now + silence(relay, padding);
        let next_padding = now + padding.pause(&mut self.rng);
        let crate::link::Link { sealer, opener, .. } = link;
        let queue = CellQueue::new();
        self.memory.update(&self.load, now, 0, true);
        let refusals = TokenBucket::new(REFUSALS.0, REFUSALS.1, now);
        let open = Open { send, sealer, opener, relay, circuits, queue, padding, next_padding, refusals };
        self.state = State::Open(Box::new(open));
    }

    /// Takes what another link of this relay has to say.
    pub fn handle_event<S: Switch<Link = L>>(&mut self, clock: Now, event: LinkEvent<L>, switch: &mut S) {
        let now = clock.instant;
        match &mut self.state {
            State::Open(open) => {
                let Open { circuits, queue, relay, .. } = &mut **open;
                if matches!(event, LinkEvent::Shed) {
                    // A client that has read nothing for so long has no use for its other circuits either. A relay speaks
                    // for many, of whom only those with most waiting have to go.
                    if relay.is_none() && now.saturating_since(self.load.progress()) >= STUCK_TIME {
                        self.stuck = true;
                    } else {
                        if circuits.held() > queue.kept() * CELL_LEN {
                            let own = &mut Own::new(queue, &mut self.counts, switch);
                            circuits.shed_streams(SHED * CELL_LEN, own);
                        } else {
                            queue.shed(SHED);
                        }
                        self.memory.relieved();
                    }
                }
                circuits.handle_event(clock, event, &mut Own::new(queue, &mut self.counts, switch));
                self.drive(now, switch);
            }
            State::Initiating { waiting, .. } if waiting.len() < MAX_WAITING => waiting.push(event),
            State::Initiating { .. } | State::Responding(..) => {
                if let Some((link, failure)) = event.into_failure(DestroyReason::ResourceLimit) {
                    switch.tell(&link, failure);
                }
            }
        }
    }

    /// Takes cells that another link forwards.
    pub fn handle_forwarded<S: Switch<Link = L>>(&mut self, now: Instant, cells: &[Cell], switch: &mut S) {
        if let State::Open(open) = &mut self.state {
            for cell in cells {
                // A circuit can have ended while its cells were on their way here. An overrun is remembered by the queue.
                if open.circuits.contains(cell.circ) {
                    let _ = open.queue.push(cell);
                }
            }
            self.drive(now, switch);
        }
    }

    /// Ends the circuits that had more waiting than their queue takes, and counts what waits.
    fn drive<S: Switch<Link = L>>(&mut self, now: Instant, switch: &mut S) {
        let State::Open(open) = &mut self.state else { return };
        let Open { circuits, queue, .. } = &mut **open;
        while let Some(circ) = queue.take_overrun() {
            circuits.abandon(circ, DestroyReason::ResourceLimit, &mut Own::new(queue, &mut self.counts, switch));
        }
        self.memory.update(&self.load, now, kept(queue, circuits), false);
        if self.memory.ask(now) {
            switch.relieve();
        }
    }

    /// The next WebSocket message to send, if there is one now.
    ///
    /// # Errors
    ///
    /// If the link has carried all the records that it may.
    pub fn poll_transmit(&mut self, now: Instant) -> Result<Option<Vec<u8>>, LinkError> {
        let open = match &mut self.state {
            State::Responding(_, send) | State::Initiating { send, .. } => return Ok(send.take()),
            State::Open(open) => open,
        };
        if let Some(message) = open.send.take() {
            return Ok(Some(message));
        }
        if open.queue.is_empty() && now < open.next_padding {
            return Ok(None);
        }
        open.next_padding = now + open.padding.pause(&mut self.rng);
        let count = open.queue.len().clamp(1, MAX_CELLS);
        let filled = if open.relay.is_none() { padded_count(count) } else { count };
        let mut record = Vec::with_capacity(filled * CELL_LEN + 16);
        for _ in 0..filled {
            if !open.queue.pop_into(&mut record) {
                Cell::PADDING.encode(&mut record);
            }
        }
        open.sealer.seal(&mut record)?;
        self.counts.records_sealed += 1;
        self.memory.update(&self.load, now, kept(&open.queue, &open.circuits), true);
        Ok(Some(record))
    }

    /// When [`Self::handle_timeout`] and then [`Self::poll_transmit`] want to be called, if nothing comes before.
    pub fn poll_timeout(&self) -> Instant {
        match &self.state {
            State::Open(_) if self.stuck => Instant::default(),
            State::Open(open) => {
                let circuits = open.circuits.poll_timeout().unwrap_or(self.deadline);
                self.deadline.min(open.next_padding).min(circuits)
            }
            State::Responding(..) | State::Initiating { .. } => self.deadline,
        }
    }

    /// Does what time demands.
    ///
    /// # Errors
    ///
    /// If the peer was silent for too long, or does not read; the link has to be closed, with [`Self::close`].
    pub fn handle_timeout<S: Switch<Link = L>>(&mut self, clock: Now, switch: &mut S) -> Result<(), LinkError> {
        let now = clock.instant;
        if let State::Open(open) = &mut self.state {
            let Open { circuits, queue, .. } = &mut **open;
            circuits.handle_timeout(clock, &mut Own::new(queue, &mut self.counts, switch));
            open.padding = switch.padding();
            self.drive(now, switch);
            self.check_queue()?;
        }
        match &self.state {
            _ if now < self.deadline => Ok(()),
            State::Open(_) => Err(LinkError::Silence),
            State::Responding(..) | State::Initiating { .. } => Err(LinkError::Timeout),
        }
    }

    /// Ends everything that went over the link: the WebSocket is gone, or about to be. Gives what it has done since it was
    /// last asked.
    pub fn close<S: Switch<Link = L>>(mut self, now: Instant, switch: &mut S) -> LinkCounts {
        self.memory.update(&self.load, now, 0, true);
        match &mut self.state {
            State::Open(open) => {
                let Open { circuits, queue, .. } = &mut **open;
                circuits.close(&mut Own::new(queue, &mut self.counts, switch));
            }
            State::Initiating { waiting, .. } => {
                for event in waiting.drain(..) {
                    if let Some((link, failure)) = event.into_failure(DestroyReason::ConnectFailed) {
                        switch.tell(&link, failure);
                    }
                }
            }
            State::Responding(..) => {}
        }
        self.take_counts()
    }
}

/// What a link keeps in memory, in cells: those that wait, and what streams hold.
fn kept<L: Clone + PartialEq>(queue: &CellQueue, circuits: &Circuits<L>) -> usize {
    queue.kept() + circuits.held().div_ceil(CELL_LEN)
}

fn silence(relay: Option<RelayIdentity>, padding: Padding) -> Duration {
    if relay.is_some() { padding.silence() } else { padding.silence().max(PAGE_SILENCE) }
}

/// The link's own queue, and the rest of the relay.
///
/// Cells for other links are gathered, so that a record's cells cost each of them one hand-over. They are handed over
/// before anything else is said, and at the end.
struct Own<'a, L: Clone + PartialEq, S: Switch<Link = L>> {
    queue: &'a mut CellQueue,
    counts: &'a mut LinkCounts,
    switch: &'a mut S,
    forwarded: Vec<(L, Vec<Cell>)>,
    /// How many cells one link can get at most.
    expected: usize,
    /// How often the peer was refused something.
    refused: usize,
}

impl<'a, L: Clone + PartialEq, S: Switch<Link = L>> Own<'a, L, S> {
    fn new(queue: &'a mut CellQueue, counts: &'a mut LinkCounts, switch: &'a mut S) -> Self {
        Self { queue, counts, switch, forwarded: Vec::new(), expected: 1, refused: 0 }
    }

    fn hand_over(&mut self) {
        for (link, cells) in self.forwarded.drain(..) {
            self.counts.cells_forwarded += cells.len() as u64;
            self.switch.forward(&link, cells);
        }
    }
}

impl<L: Clone + PartialEq, S: Switch<Link = L>> Drop for Own<'_, L, S> {
    fn drop(&mut self) {
        self.hand_over();
    }
}

impl<L: Clone + PartialEq, S: Switch<Link = L>> Outlet for Own<'_, L, S> {
    type Link = L;

    fn send(&mut self, cell: &Cell) {
        // An overrun is remembered by the queue and settled once the circuits are not borrowed any more.
        let _ = self.queue.push(cell);
    }

    fn refuse(&mut self, circ: CircId, reason: DestroyReason) {
        self.refused += 1;
        if self.queue.len() < MAX_LINK_QUEUED {
            self.send(&Cell::destroy(circ, reason));
        }
    }

    fn forward(&mut self, link: &L, cell: &Cell) {
        match self.forwarded.iter_mut().find(|(other, _)| other == link) {
            Some((_, cells)) => cells.push(cell.clone()),
            None => {
                let mut cells = Vec::with_capacity(self.expected);
                cells.push(cell.clone());
                self.forwarded.push((link.clone(), cells));
            }
        }
    }

    fn tell(&mut self, link: &L, event: LinkEvent<L>) {
        self.hand_over();
        self.switch.tell(link, event);
    }

    fn connect(&mut self, relay: RelayIdentity, event: LinkEvent<L>) {
        self.switch.connect(relay, event);
    }

    fn answer(&mut self, request: Request<L>) {
        self.switch.answer(request);
    }

    fn tables(&mut self) -> &mut impl Tables<Link = L> {
        self.switch
    }
}

#[cfg(test)]
mod tests;
