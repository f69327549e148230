//! A simulated relay: the real links and circuits, and a switch between them that a test may bribe.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::DerefMut;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use allium_shared::cell::introduction::IntroductionId;
use allium_shared::cell::message::{Cookie, StreamId};
use allium_shared::cell::{Cell, CircId, DestroyReason};
use allium_shared::circuit::Hop;
use allium_shared::crypto::keys::{IdentityKeypair, LinkPublic, LinkSecret, OnionSecret, RelayIdentity};
use allium_shared::link::{Padding, RelayAddressee};
use allium_shared::netdir::{RelayEntry, RelayRole, Roles};
use allium_shared::relay::handshakes::Request;
use allium_shared::relay::introductions::IntroductionTable;
use allium_shared::relay::keys::RelayKeys;
use allium_shared::relay::link::{LinkKeys, Progress, RelayLink, Switch};
use allium_shared::relay::link_event::LinkEvent;
use allium_shared::relay::memory::{self, Memory};
use allium_shared::relay::origin::order::{Order, OrderId, OriginError, OriginEvent};
use allium_shared::relay::origin::{Origin, OriginSwitch};
use allium_shared::relay::rendezvous::RendezvousTable;
use allium_shared::relay::services::{SharedUserKeys, relay_services};
use allium_shared::relay::streams::StreamWakers;
use allium_shared::relay::tables::{LinkTable, Tables};
use allium_shared::time::{Instant, Now};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng as _, SeedableRng as _};

use super::directory::Mirrored;
use super::echo_service::{ECHO, EchoService};
use super::net::{Net, Owner};
use super::observer::Joint;
use super::report::RelayPeak;
use super::schedule::{End, Happening};
use super::stuck_service::{STUCK, StuckService};
use super::{Land, Node};

/// Circuits that may wait for somebody at one relay.
const MAX_WAITING: usize = 100_000;

/// Ids for which circuits may take introductions at one relay.
const MAX_IDS: usize = 500_000;

/// Bytes of cells that may wait at one relay.
const QUEUE_MEMORY: usize = 64 << 20;

/// The longest that a handshake waits for its answer, in milliseconds.
const ANSWER_TIME: u64 = 3;

/// What a malicious relay does with each cell that it should pass on: it gives what it passes on instead. The cell
/// names the circuit on the link that it leaves by; the node is the one that the link leads to.
pub type Mischief = Box<dyn FnMut(Node, Cell) -> Vec<Cell>>;

/// What all relays know of each other: the consensus.
pub(super) struct Directory {
    by_identity: HashMap<RelayIdentity, (usize, LinkPublic)>,
    hops: HashMap<RelayIdentity, Hop>,
    by_link_key: HashMap<LinkPublic, RelayIdentity>,
}

impl Directory {
    pub(super) fn new<'a>(entries: impl Iterator<Item = &'a RelayEntry>) -> Self {
        let mut directory = Self { by_identity: HashMap::new(), hops: HashMap::new(), by_link_key: HashMap::new() };
        for (n, entry) in entries.enumerate() {
            directory.by_identity.insert(entry.identity, (n, entry.link_key));
            let hop = Hop { identity: entry.identity, onion_key: entry.onion_key };
            directory.hops.insert(entry.identity, hop);
            directory.by_link_key.insert(entry.link_key, entry.identity);
        }
        directory
    }
}

/// Whether a relay runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RelayState {
    Alive,
    Frozen,
    Dead,
}

/// A relay.
pub(super) struct RelayNode {
    pub(super) n: usize,
    pub(super) entry: RelayEntry,
    pub(super) keys: Arc<LinkKeys>,
    pub(super) state: RelayState,
    pub(super) peak: RelayPeak,
    pub(super) mischief: Option<Mischief>,
    /// Relays that it was asked to open a link to and did not know.
    pub(super) strangers: Vec<RelayIdentity>,
    /// Its copy of the directory.
    pub(super) mirror: Mirrored,
    /// Whether it takes no newer consensus.
    pub(super) is_behind: bool,
    /// How many milliseconds its clock is ahead.
    pub(super) ahead: i64,
    pub(super) memory: Arc<Memory>,
    /// The circuits that it has begun itself.
    pub(super) origin: Origin<End>,
    /// What has become of its orders.
    pub(super) outcomes: Vec<OriginEvent>,
    /// When the circuits that it has begun are looked at.
    origin_due: Option<Instant>,
    links: BTreeMap<End, Line>,
    to_relays: LinkTable<End>,
    meetings: Meetings,
    /// Streams whose handlers have called their wakers.
    woken: Woken,
    held: Vec<Happening>,
}

/// Streams whose handlers have called their wakers.
type Woken = Arc<Mutex<Vec<(End, CircId, StreamId)>>>;

/// What wakes the streams that end on a link.
fn wakers(end: End, woken: &Woken) -> StreamWakers {
    let woken = Arc::clone(woken);
    StreamWakers::new(move |circ, stream| {
        woken.lock().unwrap_or_else(PoisonError::into_inner).push((end, circ, stream));
    })
}

/// The circuits that a relay begins itself: none yet.
fn new_origin(n: usize, relay: RelayIdentity, memory: &Arc<Memory>, woken: &Woken) -> Origin<End> {
    // Not drawn from the network's generator: whether anybody orders anything changes nothing for others.
    let rng = ChaCha20Rng::seed_from_u64(n as u64);
    // No WebSocket has this number.
    let end = End(u64::MAX - 1);
    Origin::new(end, relay, Arc::clone(memory), wakers(end, woken), rng)
}

/// Who meets whom at a relay.
struct Meetings {
    cookies: RendezvousTable<End>,
    introductions: IntroductionTable<End>,
}

impl Meetings {
    fn new(relay: RelayIdentity) -> Self {
        let introductions = IntroductionTable::new(MAX_IDS, relay, *relay.as_bytes());
        Self { cookies: RendezvousTable::new(MAX_WAITING), introductions }
    }
}

/// One link of a relay.
struct Line {
    link: RelayLink<End>,
    peer: Option<RelayIdentity>,
    /// When a tick is due.
    wake: Option<Instant>,
}

impl RelayNode {
    pub(super) fn new(n: usize, network: [u8; 32], land: &Land, rng: &mut ChaCha20Rng) -> Self {
        let identity = IdentityKeypair::generate(rng).identity();
        let (link, onion) = (LinkSecret::generate(rng), OnionSecret::generate(rng));
        let mut entry = RelayEntry::new(
            identity,
            link.public(),
            onion.public(),
            [RelayRole::Guard, RelayRole::Middle, RelayRole::Rendezvous].into_iter().collect::<Roles>(),
            format!("relay{n}").parse().expect("a nickname"),
            format!("ws://{}:{}/link", land.address(n), 10_000 + n).parse().expect("an address"),
        );
        entry.family = (land.family)(n).map(|family| [family; 32].into());
        let mirror = Mirrored::default();
        let services = relay_services(mirror.clone(), &SharedUserKeys::default(), true)
            .with_streams(ECHO, EchoService)
            .with_requests(STUCK, StuckService::default());
        let services = Arc::new(services);
        let circuits = Arc::new(RelayKeys { identity, onion: onion.into(), services });
        let keys = Arc::new(LinkKeys { network, link, circuits });
        let (memory, woken) = (Arc::new(Memory::new(QUEUE_MEMORY)), Woken::default());
        let origin = new_origin(n, identity, &memory, &woken);
        Self {
            n,
            entry,
            keys,
            state: RelayState::Alive,
            peak: RelayPeak::default(),
            mischief: None,
            strangers: Vec::new(),
            mirror,
            is_behind: false,
            ahead: 0,
            memory,
            origin,
            outcomes: Vec::new(),
            origin_due: None,
            links: BTreeMap::new(),
            to_relays: LinkTable::default(),
            meetings: Meetings::new(identity),
            woken,
            held: Vec::new(),
        }
    }

    /// Circuits and handshakes under way, over all links.
    pub(super) fn circuits(&self) -> usize {
        self.links.values().map(|line| line.link.circuits()).sum()
    }

    /// Cells that wait to be sent, over all links.
    pub(super) fn queued(&self) -> usize {
        self.links.values().map(|line| line.link.queued()).sum()
    }

    /// Circuits that wait for somebody with a cookie.
    pub(super) fn waiting(&self) -> usize {
        self.meetings.cookies.len()
    }

    pub(super) fn links(&self) -> usize {
        self.links.len()
    }

    /// Looks at how much is kept just now.
    pub(super) fn sample(&mut self) {
        let (circuits, waiting, links) = (self.circuits(), self.waiting(), self.links());
        let peak = &mut self.peak;
        peak.circuits = peak.circuits.max(circuits);
        peak.waiting = peak.waiting.max(waiting);
        peak.links = peak.links.max(links);
    }

    /// Stops at once; all that it had in its memory is gone.
    pub(super) fn crash(&mut self, net: &mut Net) {
        self.sample();
        self.state = RelayState::Dead;
        self.to_relays = LinkTable::default();
        self.held.clear();
        self.meetings = Meetings::new(self.entry.identity);
        self.limit_memory(QUEUE_MEMORY);
        for end in std::mem::take(&mut self.links).into_keys() {
            net.hang_up(end);
        }
    }

    /// Begins without circuits of its own, and with this memory.
    pub(super) fn limit_memory(&mut self, bytes: usize) {
        self.memory = Arc::new(Memory::new(bytes));
        self.origin = new_origin(self.n, self.entry.identity, &self.memory, &self.woken);
    }

    /// Orders something of another relay.
    pub(super) fn order(
        &mut self,
        net: &mut Net,
        directory: &Directory,
        of: RelayIdentity,
        order: Order,
    ) -> Result<OrderId, OriginError> {
        let (mut desk, clock) = (Desk::new(directory), self.clock(net));
        let end = *self.origin.link();
        let ordered = self.origin.order(clock, of, order, &mut desk.switch(end, &mut self.meetings));
        self.finish(net, desk);
        ordered
    }

    /// Goes on after a freeze with what came meanwhile, or starts after a crash with nothing but its keys.
    pub(super) fn resume(&mut self, net: &mut Net) {
        self.state = RelayState::Alive;
        for happening in std::mem::take(&mut self.held) {
            net.schedule.push(net.now, happening);
        }
    }

    /// Something happens to the relay.
    pub(super) fn handle(&mut self, net: &mut Net, directory: &Directory, happening: Happening) {
        match self.state {
            RelayState::Alive => {}
            RelayState::Frozen => return self.held.push(happening),
            RelayState::Dead => {
                // Nobody listens.
                if let Happening::Incoming(end) = happening {
                    net.send(end.far(), Happening::Closed(end.far()));
                }
                return;
            }
        }
        let mut desk = Desk::new(directory);
        match happening {
            Happening::Incoming(end) => {
                let rng = net.fork();
                if let Some(observer) = &mut net.observer {
                    observer.relay_responds(end, rng.clone(), &self.keys);
                }
                net.accept(end, Owner::Relay(self.n));
                let (keys, memory, wakers) = (self.keys.clone(), self.memory.clone(), self.wakers(end));
                let link = RelayLink::respond(end, keys, memory, wakers, rng, net.now);
                self.links.insert(end, Line { link, peer: None, wake: None });
                desk.touched.push(end);
            }
            Happening::Message(end, message) => self.message(net, end, message, &mut desk),
            Happening::Tick(end) => self.tick(net, end, &mut desk),
            Happening::OriginDue(_) => {
                let (clock, end) = (self.clock(net), *self.origin.link());
                self.origin_due = None;
                self.origin.handle_timeout(clock, &mut desk.switch(end, &mut self.meetings));
            }
            Happening::Answered(end, event) => desk.effects.push_back(Effect::Tell(end, *event)),
            Happening::Closed(end) => {
                net.disown(end);
                self.forget(net.now, end, &mut desk);
            }
            _ => {}
        }
        self.finish(net, desk);
    }

    /// Carries out what links and origin want, and sends what comes of it.
    fn finish(&mut self, net: &mut Net, mut desk: Desk<'_>) {
        loop {
            for (end, circ, stream) in self.take_woken() {
                desk.effects.push_back(Effect::Tell(end, LinkEvent::Wake { circ, stream }));
            }
            let Some(effect) = desk.effects.pop_front() else { break };
            self.carry_out(net, effect, &mut desk);
        }
        self.transmit(net, desk.touched);
        self.outcomes.extend(std::iter::from_fn(|| self.origin.poll_event()));
        if let Some(at) = self.origin.poll_timeout()
            && self.origin_due.is_none_or(|due| at < due)
        {
            self.origin_due = Some(at);
            net.schedule.push(at.max(net.now), Happening::OriginDue(self.n));
        }
    }

    fn take_woken(&self) -> Vec<(End, CircId, StreamId)> {
        std::mem::take(&mut self.woken.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What wakes the streams that end on a link.
    fn wakers(&self, end: End) -> StreamWakers {
        wakers(end, &self.woken)
    }

    fn message(&mut self, net: &mut Net, end: End, mut message: Vec<u8>, desk: &mut Desk<'_>) {
        let clock = self.clock(net);
        let Some(line) = self.links.get_mut(&end) else { return };
        desk.touched.push(end);
        match line.link.handle_message(clock, &mut message, &mut desk.switch(end, &mut self.meetings)) {
            Ok(Progress::Established(Some(peer))) => {
                line.peer = Some(peer);
                self.to_relays.add(peer, &end);
            }
            Ok(_) => {}
            Err(error) => self.end(net, end, &error.to_string(), desk),
        }
    }

    /// What the relay's clock says.
    fn clock(&self, net: &Net) -> Now {
        Now { instant: net.now, unix: net.clock().unix.shifted(self.ahead) }
    }

    fn tick(&mut self, net: &mut Net, end: End, desk: &mut Desk<'_>) {
        let clock = self.clock(net);
        let Some(line) = self.links.get_mut(&end) else { return };
        // An earlier one may have been ordered since; then this one is of no use any more.
        if line.wake.is_none_or(|wake| wake > net.now) {
            return;
        }
        line.wake = None;
        desk.touched.push(end);
        // What has been sent or received since the tick was ordered may have put everything off.
        if line.link.poll_timeout() > net.now {
            return;
        }
        if let Err(error) = line.link.handle_timeout(clock, &mut desk.switch(end, &mut self.meetings)) {
            self.end(net, end, &error.to_string(), desk);
        }
    }

    /// Ends a link for something that its peer did, or did not do.
    fn end(&mut self, net: &mut Net, end: End, why: &str, desk: &mut Desk<'_>) {
        *net.totals.links_ended.entry(why.to_owned()).or_default() += 1;
        self.forget(net.now, end, desk);
        net.hang_up(end);
    }

    fn forget(&mut self, now: Instant, end: End, desk: &mut Desk<'_>) {
        let Some(line) = self.links.remove(&end) else { return };
        self.to_relays.remove(&end);
        let before = desk.effects.len();
        line.link.close(now, &mut desk.switch(end, &mut self.meetings));
        // A link's circuits are in no order. For one seed to give one run they are put into one.
        desk.effects.make_contiguous()[before..].sort_by_key(Effect::place);
    }

    fn carry_out(&mut self, net: &mut Net, effect: Effect, desk: &mut Desk<'_>) {
        match effect {
            Effect::Forward(end, cells) if end == *self.origin.link() => {
                let clock = self.clock(net);
                self.origin.handle_cells(clock, cells, &mut desk.switch(end, &mut self.meetings));
            }
            Effect::Forward(end, cells) => {
                net.totals.cells_forwarded += cells.len() as u64;
                let cells = match (&mut self.mischief, net.owner(end.far())) {
                    (Some(mischief), Some(towards)) => {
                        cells.into_iter().flat_map(|cell| mischief(towards.node(), cell)).collect()
                    }
                    _ => cells,
                };
                if let Some(line) = self.links.get_mut(&end) {
                    desk.touched.push(end);
                    line.link.handle_forwarded(net.now, &cells, &mut desk.switch(end, &mut self.meetings));
                }
            }
            Effect::Answer(request) => {
                let (end, answered) = request.answer(&mut net.rng);
                let delay = Duration::from_millis(net.rng.next_u64() % ANSWER_TIME);
                net.schedule.push(net.now + delay, Happening::Answered(end, Box::new(answered.into())));
            }
            Effect::Relieve => {
                let loads = self.links.iter().map(|(end, line)| (*end, &**line.link.load()));
                let loads = loads.chain([(*self.origin.link(), &**self.origin.load())]);
                desk.effects.extend(memory::worst(net.now, loads).map(|end| Effect::Tell(end, LinkEvent::Shed)));
            }
            Effect::Tell(end, event) if end == *self.origin.link() => {
                let clock = self.clock(net);
                self.origin.handle_event(clock, event, &mut desk.switch(end, &mut self.meetings));
            }
            Effect::Tell(end, event) => {
                self.observe(net, end, &event);
                let clock = self.clock(net);
                match self.links.get_mut(&end) {
                    Some(line) => {
                        desk.touched.push(end);
                        line.link.handle_event(clock, event, &mut desk.switch(end, &mut self.meetings));
                    }
                    None => {
                        let failure = event.into_failure(DestroyReason::LinkClosed);
                        desk.effects.extend(failure.map(|(link, event)| Effect::Tell(link, event)));
                    }
                }
            }
            Effect::Connect(peer, event) => {
                let end = match self.to_relays.find(&peer) {
                    Some(end) => *end,
                    None => match desk.directory.by_identity.get(&peer) {
                        Some((to, link_key)) => {
                            self.dial(net, *to, RelayAddressee { identity: peer, link_key: *link_key })
                        }
                        None => {
                            self.strangers.push(peer);
                            let failure = event.into_failure(DestroyReason::ConnectFailed);
                            return desk.effects.extend(failure.map(|(link, event)| Effect::Tell(link, event)));
                        }
                    },
                };
                desk.effects.push_back(Effect::Tell(end, event));
            }
            Effect::Establish(place) => {
                if let Some(observer) = &mut net.observer {
                    observer.waits(self.n, place);
                }
            }
        }
    }

    fn dial(&mut self, net: &mut Net, to: usize, addressee: RelayAddressee) -> End {
        let end = net.open(Owner::Relay(self.n), Some(to));
        let rng = net.fork();
        if let Some(observer) = &mut net.observer {
            observer.relay_initiates(end, rng.clone(), &self.keys, &addressee);
        }
        net.totals.dials += 1;
        let (keys, memory, wakers) = (self.keys.clone(), self.memory.clone(), self.wakers(end));
        let link =
            RelayLink::initiate(end, keys, memory, wakers, rng, &addressee, net.now).expect("a key of the consensus");
        self.links.insert(end, Line { link, peer: Some(addressee.identity), wake: None });
        self.to_relays.add(addressee.identity, &end);
        end
    }

    /// What the relay now knows of circuits that belong together.
    fn observe(&self, net: &mut Net, end: End, event: &LinkEvent<End>) {
        if let LinkEvent::Destroy { reason, .. } | LinkEvent::OpenFailed { reason, .. } = event
            && matches!(net.owner(end.far()), Some(Owner::Client(..)))
        {
            *net.totals.destroyed.entry(format!("{reason:?}")).or_default() += 1;
        }
        let Some(observer) = &mut net.observer else { return };
        match event {
            LinkEvent::Adopt { circ, previous, .. } => {
                observer.joins(self.n, Joint::Extension, (end, *circ), *previous)
            }
            LinkEvent::Visit { circ, comer, .. } => observer.joins(self.n, Joint::Rendezvous, (end, *circ), *comer),
            _ => {}
        }
    }

    /// Sends what the links have to send, and orders their next ticks.
    fn transmit(&mut self, net: &mut Net, mut touched: Vec<End>) {
        touched.sort_unstable();
        touched.dedup();
        let mut queued = 0;
        for end in touched {
            let Some(line) = self.links.get_mut(&end) else { continue };
            queued += line.link.queued();
            while let Ok(Some(message)) = line.link.poll_transmit(net.now) {
                net.totals.sent(message.len());
                if let Some(observer) = &mut net.observer {
                    observer.relay_sends(self.n, end, &message);
                }
                net.send(end.far(), Happening::Message(end.far(), message));
            }
            let at = line.link.poll_timeout().max(net.now);
            if line.wake.is_none_or(|wake| at < wake) {
                line.wake = Some(at);
                net.schedule.push(at, Happening::Tick(end));
            }
        }
        self.peak.queued = self.peak.queued.max(queued);
    }
}

/// What a link wants of the rest of its relay.
enum Effect {
    Forward(End, Vec<Cell>),
    Tell(End, LinkEvent<End>),
    Connect(RelayIdentity, LinkEvent<End>),
    Answer(Request<End>),
    Relieve,
    Establish((End, CircId)),
}

impl Effect {
    /// Which circuit it concerns: an order that is the same in every run.
    fn place(&self) -> (End, u32) {
        match self {
            Self::Forward(end, cells) => (*end, cells.first().map_or(0, |cell| cell.circ.0)),
            Self::Answer(request) => (*request.link(), 0),
            Self::Relieve => (End(u64::MAX), u32::MAX),
            Self::Tell(end, event) => (*end, circuit_of(event).0),
            Self::Connect(_, event) => (End(u64::MAX), circuit_of(event).0),
            Self::Establish((end, circ)) => (*end, circ.0),
        }
    }
}

const fn circuit_of(event: &LinkEvent<End>) -> CircId {
    match event {
        LinkEvent::Open { origin, .. } => origin.1,
        LinkEvent::Shed => CircId::NONE,
        LinkEvent::Answered { circ, .. }
        | LinkEvent::Wake { circ, .. }
        | LinkEvent::Opened { circ, .. }
        | LinkEvent::OpenFailed { circ, .. }
        | LinkEvent::Adopt { circ, .. }
        | LinkEvent::BeginsHere { circ, .. }
        | LinkEvent::Destroy { circ, .. }
        | LinkEvent::Visit { circ, .. }
        | LinkEvent::Introduce { circ, .. }
        | LinkEvent::Joined { circ, .. } => *circ,
    }
}

/// What a relay's links say to each other, kept until the one that speaks has finished.
struct Desk<'a> {
    directory: &'a Directory,
    effects: VecDeque<Effect>,
    touched: Vec<End>,
}

impl<'a> Desk<'a> {
    fn new(directory: &'a Directory) -> Self {
        Self { directory, effects: VecDeque::new(), touched: Vec::new() }
    }

    /// The rest of the relay, as the link `own` sees it.
    fn switch<'b>(&'b mut self, own: End, meetings: &'b mut Meetings) -> DeskSwitch<'b> {
        DeskSwitch { own, directory: self.directory, effects: &mut self.effects, meetings }
    }
}

struct DeskSwitch<'a> {
    own: End,
    directory: &'a Directory,
    effects: &'a mut VecDeque<Effect>,
    meetings: &'a mut Meetings,
}

impl Tables for DeskSwitch<'_> {
    type Link = End;

    fn rendezvous(&mut self) -> impl DerefMut<Target = RendezvousTable<End>> {
        &mut self.meetings.cookies
    }

    fn introductions(&mut self) -> impl DerefMut<Target = IntroductionTable<End>> {
        &mut self.meetings.introductions
    }

    fn establish(&mut self, cookie: Cookie, circuit: (End, CircId)) -> bool {
        debug_assert_eq!(circuit.0, self.own, "a link establishes for its own circuits");
        self.effects.push_back(Effect::Establish(circuit));
        self.rendezvous().establish(cookie, circuit)
    }

    fn take_ids(&mut self, ids: &[IntroductionId], circuit: &(End, CircId)) -> bool {
        self.effects.push_back(Effect::Establish(*circuit));
        self.introductions().take(ids, circuit)
    }
}

impl OriginSwitch for DeskSwitch<'_> {
    fn hop(&self, relay: &RelayIdentity) -> Option<Hop> {
        self.directory.hops.get(relay).cloned()
    }
}

impl Switch for DeskSwitch<'_> {
    fn forward(&mut self, link: &End, cells: Vec<Cell>) {
        self.effects.push_back(Effect::Forward(*link, cells));
    }

    fn answer(&mut self, request: Request<End>) {
        self.effects.push_back(Effect::Answer(request));
    }

    fn relieve(&mut self) {
        self.effects.push_back(Effect::Relieve);
    }

    fn padding(&self) -> Padding {
        Padding::default()
    }

    fn tell(&mut self, link: &End, event: LinkEvent<End>) {
        self.effects.push_back(Effect::Tell(*link, event));
    }

    fn connect(&mut self, relay: RelayIdentity, event: LinkEvent<End>) {
        self.effects.push_back(Effect::Connect(relay, event));
    }

    fn relay_by_link_key(&self, key: &LinkPublic) -> Option<RelayIdentity> {
        self.directory.by_link_key.get(key).copied()
    }
}
