//! What the links of a relay share: who waits for whom, and which link leads to which relay.
//!
//! Nothing here is touched when a cell passes; only when circuits are opened, joined or extended.

use std::collections::HashMap;
use std::io;
use std::ops::DerefMut;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use allium_shared::cell::{CELL_LEN, Cell, DestroyReason};
use allium_shared::circuit::Hop;
use allium_shared::crypto::keys::{LinkPublic, RelayIdentity};
use allium_shared::link::{Padding, RelayAddressee};
use allium_shared::netdir::RelayEntry;
use allium_shared::relay::handshakes::Request;
use allium_shared::relay::introductions::IntroductionTable;
use allium_shared::relay::link::{LinkKeys, Switch};
use allium_shared::relay::link_event::LinkEvent;
use allium_shared::relay::memory::{self, LinkLoad, Memory};
use allium_shared::relay::origin::OriginSwitch;
use allium_shared::relay::rendezvous::RendezvousTable;
use allium_shared::relay::tables::{LinkTable, Tables};
use tokio::sync::mpsc;

use crate::clock::Clock;
use crate::directory::Directory;
use crate::handshakes::Handshakes;
use crate::link_handle::{Item, LinkHandle};
use crate::metrics::relay::{BYTES, CIRCUITS, LinkRefusal, RelayMetrics};
use crate::metrics::{Source, Text};
use crate::random;

/// Circuits that may wait for somebody at one relay.
const MAX_WAITING: usize = 100_000;

/// Ids for which circuits may take introductions at one relay: some 50 MB of them.
const MAX_IDS: usize = 500_000;

/// Links that one relay takes at once.
const MAX_LINKS: usize = 16_384;

/// Those among them that others may have opened: whoever takes all of these does not keep the relay from reaching others.
const MAX_INBOUND: usize = MAX_LINKS / 4 * 3;

/// Who opens a link.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Direction {
    /// Somebody else.
    Inbound,
    /// This relay.
    Outbound,
}

/// A link to another relay that is to be opened.
pub(crate) struct NewLink {
    /// Its place among the links.
    pub(crate) admission: Admission,
    /// As the relay's other links know it already.
    pub(crate) handle: LinkHandle,
    /// What they hand to it.
    pub(crate) inbox: mpsc::UnboundedReceiver<Item>,
    /// The relay.
    pub(crate) addressee: RelayAddressee,
    /// Where it takes links.
    pub(crate) url: String,
}

/// Opens a link, without waiting for it.
pub(crate) type OpenLink = fn(Arc<Switchboard>, NewLink);

/// What the links of one relay share.
#[derive(Debug)]
pub struct Switchboard {
    keys: Arc<LinkKeys>,
    directory: Arc<Directory>,
    clock: Clock,
    waiting: Mutex<RendezvousTable<LinkHandle>>,
    introductions: Mutex<IntroductionTable<LinkHandle>>,
    /// The links to other relays.
    relays: Mutex<LinkTable<LinkHandle>>,
    memory: Arc<Memory>,
    loads: Mutex<HashMap<u64, (LinkHandle, Arc<LinkLoad>)>>,
    handshakes: Handshakes,
    open_link: OpenLink,
    /// The second of the last warning.
    warned: AtomicU64,
    links: AtomicUsize,
    next_id: AtomicU64,
    metrics: Arc<RelayMetrics>,
}

impl Switchboard {
    /// The switchboard of the relay with these keys, which keeps at most `memory` bytes of cells, and has links to other
    /// relays opened by `open_link`.
    ///
    /// # Errors
    ///
    /// If the system gives no threads or no randomness.
    pub(crate) fn new(
        keys: Arc<LinkKeys>,
        directory: Arc<Directory>,
        clock: Clock,
        memory: usize,
        open_link: OpenLink,
    ) -> io::Result<Arc<Self>> {
        let introductions = IntroductionTable::new(MAX_IDS, keys.circuits.identity, random::seed()?);
        Ok(Arc::new(Self {
            keys,
            directory,
            clock,
            waiting: Mutex::new(RendezvousTable::new(MAX_WAITING)),
            introductions: Mutex::new(introductions),
            relays: Mutex::default(),
            memory: Arc::new(Memory::new(memory)),
            loads: Mutex::new(HashMap::new()),
            handshakes: Handshakes::start()?,
            open_link,
            warned: AtomicU64::new(0),
            links: AtomicUsize::new(0),
            next_id: AtomicU64::new(0),
            metrics: Arc::default(),
        }))
    }

    /// The relay's keys.
    pub(crate) const fn keys(&self) -> &Arc<LinkKeys> {
        &self.keys
    }

    /// The memory that its links share.
    pub(crate) const fn memory(&self) -> &Arc<Memory> {
        &self.memory
    }

    /// The relay's clock.
    pub(crate) const fn clock(&self) -> &Clock {
        &self.clock
    }

    /// What the relay counts.
    pub(crate) const fn metrics(&self) -> &Arc<RelayMetrics> {
        &self.metrics
    }

    /// How many links there are.
    pub fn links(&self) -> usize {
        self.links.load(Ordering::Relaxed)
    }

    /// A place among the links; none when there are as many as the relay takes.
    pub(crate) fn admit(self: &Arc<Self>, direction: Direction) -> Option<Admission> {
        let (max, refusal) = match direction {
            Direction::Inbound => (MAX_INBOUND, LinkRefusal::FullInbound),
            Direction::Outbound => (MAX_LINKS, LinkRefusal::FullOutbound),
        };
        let admitted =
            self.links.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |links| (links < max).then_some(links + 1));
        if admitted.is_err() {
            self.metrics.link_refused(refusal);
            return None;
        }
        Some(Admission(Arc::clone(self)))
    }

    /// A handle for a new link, and what it brings.
    pub(crate) fn new_handle(&self) -> (LinkHandle, mpsc::UnboundedReceiver<Item>) {
        LinkHandle::new(self.next_id.fetch_add(1, Ordering::Relaxed))
    }

    /// A link to this relay stands: circuits may be extended over it.
    pub(crate) fn register(&self, relay: RelayIdentity, link: &LinkHandle) {
        lock(&self.relays).add(relay, link);
    }

    /// A link begins to carry cells, or is about to.
    pub(crate) fn attach(&self, link: &LinkHandle, load: Arc<LinkLoad>) {
        lock(&self.loads).insert(link.id(), (link.clone(), load));
    }

    /// A link is gone.
    pub(crate) fn withdraw(&self, link: &LinkHandle) {
        lock(&self.relays).remove(link);
        lock(&self.loads).remove(&link.id());
        self.handshakes.forget(link);
    }

    /// Where to find a relay, as the consensus has it.
    pub(crate) fn find(&self, relay: &RelayIdentity) -> Option<(RelayAddressee, String)> {
        let consensus = self.directory.current()?;
        let entry = consensus.relay(relay)?;
        let addressee = RelayAddressee { identity: entry.identity, link_key: entry.link_key };
        Some((addressee, entry.url.as_str().to_owned()))
    }

    /// Hands an event to the owner of a link; one that opens a circuit comes back as a failure when the link is gone.
    pub(crate) fn tell(&self, link: &LinkHandle, event: LinkEvent<LinkHandle>) {
        let Err(mpsc::error::SendError(Item::LinkEvent(event))) = link.send(Item::LinkEvent(Box::new(event))) else {
            return;
        };
        self.refuse(*event, DestroyReason::LinkClosed);
    }

    /// Says to whoever wanted a circuit opened that it cannot be.
    pub(crate) fn refuse(&self, event: LinkEvent<LinkHandle>, reason: DestroyReason) {
        if let Some((origin, failure)) = event.into_failure(reason) {
            // When the origin is gone too, nobody is left to tell.
            let _ = origin.send(Item::LinkEvent(Box::new(failure)));
        }
    }

    /// Asks the worst link to give up a circuit.
    fn relieve(&self) {
        let now = self.clock.now().instant;
        let worst = {
            let loads = lock(&self.loads);
            memory::worst(now, loads.values().map(|(link, load)| (link, &**load))).cloned()
        };
        let Some(link) = worst else { return };
        self.metrics.memory_event();
        // Once a second: this may happen often, and says always the same.
        let second = now.as_millis() / 1000;
        if self.warned.swap(second, Ordering::Relaxed) != second {
            tracing::warn!(cells = self.memory.queued(), "more cells wait than may: circuits end");
        }
        self.tell(&link, LinkEvent::Shed);
    }

    fn connect(self: &Arc<Self>, relay: RelayIdentity, event: LinkEvent<LinkHandle>) {
        // Held until the new link is there: two who want the same relay want one link.
        let mut relays = lock(&self.relays);
        if let Some(link) = relays.find(&relay).cloned() {
            drop(relays);
            return self.tell(&link, event);
        }
        let (Some((addressee, url)), Some(admission)) = (self.find(&relay), self.admit(Direction::Outbound)) else {
            return self.refuse(event, DestroyReason::ConnectFailed);
        };
        let (handle, inbox) = self.new_handle();
        relays.add(relay, &handle);
        drop(relays);
        self.tell(&handle, event);
        (self.open_link)(Arc::clone(self), NewLink { admission, handle, inbox, addressee, url });
    }
}

impl Source for Switchboard {
    fn write(&self, text: &mut Text) {
        self.metrics.write(text);
        let (queued, waiting) = (self.memory.queued() * CELL_LEN, lock(&self.waiting).len());
        let ids = lock(&self.introductions).len();
        text.gauge(
            "allium_relay_queued_bytes",
            "Bytes of cells that wait to be sent; rounded up to 64 KiB.",
            BYTES,
            queued as u64,
        );
        text.gauge(
            "allium_relay_rendezvous_waiting",
            "Circuits that wait here for somebody; rounded up to 64.",
            CIRCUITS,
            waiting as u64,
        );
        text.gauge(
            "allium_relay_introduction_ids",
            "Ids for which circuits take introductions here; rounded up to 64.",
            CIRCUITS,
            ids as u64,
        );
    }
}

/// A link's place among those that the relay takes.
#[derive(Debug)]
pub(crate) struct Admission(Arc<Switchboard>);

impl Drop for Admission {
    fn drop(&mut self) {
        self.0.links.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The switchboard, as a link's state machine sees it.
pub(crate) struct Line<'a>(pub(crate) &'a Arc<Switchboard>);

impl Tables for Line<'_> {
    type Link = LinkHandle;

    fn rendezvous(&mut self) -> impl DerefMut<Target = RendezvousTable<LinkHandle>> {
        lock(&self.0.waiting)
    }

    fn introductions(&mut self) -> impl DerefMut<Target = IntroductionTable<LinkHandle>> {
        lock(&self.0.introductions)
    }
}

impl OriginSwitch for Line<'_> {
    fn hop(&self, relay: &RelayIdentity) -> Option<Hop> {
        let consensus = self.0.directory.current()?;
        let RelayEntry { identity, onion_key, .. } = consensus.relay(relay)?;
        Some(Hop { identity: *identity, onion_key: *onion_key })
    }
}

impl Switch for Line<'_> {
    fn forward(&mut self, link: &LinkHandle, cells: Vec<Cell>) {
        // The link's owner has told, or is about to tell, all circuits that the link is gone.
        let _ = link.send(Item::Cells(cells));
    }

    fn tell(&mut self, link: &LinkHandle, event: LinkEvent<LinkHandle>) {
        self.0.tell(link, event);
    }

    fn connect(&mut self, relay: RelayIdentity, event: LinkEvent<LinkHandle>) {
        self.0.connect(relay, event);
    }

    fn answer(&mut self, request: Request<LinkHandle>) {
        self.0.handshakes.push(request);
    }

    fn relieve(&mut self) {
        self.0.relieve();
    }

    fn padding(&self) -> Padding {
        Padding::of(self.0.directory.current().as_deref())
    }

    fn relay_by_link_key(&self, key: &LinkPublic) -> Option<RelayIdentity> {
        Some(self.0.directory.current()?.relay_by_link_key(key)?.identity)
    }
}

/// No code that holds these locks can leave a table half changed, so one that panicked does no harm.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
