//! A whole network in virtual time: the same state machines as everywhere else, with a network of this file between them.
//!
//! Everything is drawn from one seed, so the same seed gives the same events (vodozemac draws its own keys, which show in
//! no event). Links delay each message by a random time and keep its order; relays can be killed or frozen.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use allium_shared::cell::message::Cookie;
use allium_shared::cell::{Cell, CircId, DestroyReason};
use allium_shared::client::api::{BatchId, Command, Event, Input, LinkId, Output, Write};
use allium_shared::client::{Client, Config};
use allium_shared::crypto::keys::{IdentityKeypair, LinkPublic, LinkSecret, OnionSecret, RelayIdentity};
use allium_shared::link::{Padding, RelayAddressee};
use allium_shared::netdir::{
    Authorities, Authority, AuthorityKeypair, ConsensusDraft, RelayEntry, Role, Roles, Validity,
};
use allium_shared::relay::circuits::{Note, RelayKeys};
use allium_shared::relay::handshakes::Request;
use allium_shared::relay::link::{LinkKeys, Progress, RelayLink, Switch};
use allium_shared::relay::memory::{self, Memory};
use allium_shared::relay::rendezvous::RendezvousTable;
use allium_shared::relay::streams::Services;
use allium_shared::time::{Instant, Now, UnixTime};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

/// The wall clock when a simulation begins, in seconds since 1970.
const START: u64 = 1_800_000_000;

/// A WebSocket; its two ends are an index apart.
type End = u64;

/// A simulated network.
pub struct Sim {
    rng: ChaCha20Rng,
    now: Instant,
    sequence: u64,
    events: BinaryHeap<Reverse<(Instant, u64, Happening)>>,
    /// The last arrival at each end, so that links keep order.
    arrivals: BTreeMap<End, Instant>,
    relays: Vec<Relay>,
    clients: Vec<Person>,
    owners: BTreeMap<End, Node>,
    next_end: End,
    consensus: Vec<u8>,
    authorities: Authorities,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Node {
    Relay(usize),
    Client(usize),
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Happening {
    Message(End, Vec<u8>),
    Opened(End),
    Closed(End),
    Wake(Node),
    /// The oldest batch that a client's disk still has to write, in the client's `n`th life.
    Written(usize, u32),
}

/// A simulated relay.
struct Relay {
    entry: RelayEntry,
    keys: Arc<LinkKeys>,
    memory: Arc<Memory>,
    links: BTreeMap<End, RelayLink<End>>,
    by_relay: BTreeMap<RelayIdentity, End>,
    cookies: RendezvousTable<End>,
    state: RelayState,
    wake: Option<Instant>,
    held: Vec<Happening>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RelayState {
    Alive,
    Frozen,
    Dead,
}

/// A simulated client with its disk. What the disk has not written yet is lost when the client is killed.
struct Person {
    client: Option<Client>,
    life: u32,
    disk: BTreeMap<String, Vec<u8>>,
    writing: VecDeque<(BatchId, Vec<Write>)>,
    written_at: Instant,
    links: BTreeMap<LinkId, End>,
    events: Vec<Event>,
    /// Where in `events` each of its lives begins.
    lives: Vec<usize>,
    wake: Option<Instant>,
}

impl Sim {
    /// A network of `relays` relays and `clients` clients; nothing has happened yet.
    pub fn new(seed: u64, relays: usize, clients: usize) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let signer = AuthorityKeypair::new(IdentityKeypair::generate(&mut rng));
        let authorities = Authorities::new(vec![Authority {
            nickname: "authority".parse().expect("a nickname"),
            key: signer.identity(),
            url: "http://127.0.0.1:1".to_owned(),
        }])
        .expect("one authority");
        let network = *authorities.network().as_bytes();
        let relays: Vec<_> = (0..relays).map(|n| Relay::new(n, network, &mut rng)).collect();
        let validity = Validity { valid_after: START - 60, fresh_until: START + 3600, valid_until: START + 86_400 };
        let consensus = ConsensusDraft {
            network: *authorities.network(),
            validity,
            parameters: BTreeMap::new(),
            relays: relays.iter().map(|relay| relay.entry.clone()).collect(),
        }
        .sign(&[&signer])
        .expect("a consensus");
        let mut sim = Self {
            rng,
            now: Instant::from_millis(0),
            sequence: 0,
            events: BinaryHeap::new(),
            arrivals: BTreeMap::new(),
            relays,
            clients: Vec::new(),
            owners: BTreeMap::new(),
            next_end: 0,
            consensus,
            authorities,
        };
        for _ in 0..clients {
            sim.clients.push(Person {
                client: None,
                life: 0,
                disk: BTreeMap::new(),
                writing: VecDeque::new(),
                written_at: Instant::from_millis(0),
                links: BTreeMap::new(),
                events: Vec::new(),
                lives: Vec::new(),
                wake: None,
            });
        }
        for n in 0..clients {
            sim.start_client(n);
        }
        sim
    }

    /// Starts a client from its disk.
    pub fn start_client(&mut self, n: usize) {
        let mut seed = [0; 32];
        self.rng.fill_bytes(&mut seed);
        let records = self.clients[n].disk.clone().into_iter().collect();
        let config = Config::new(self.authorities.clone());
        let begin = self.clients[n].events.len();
        self.clients[n].lives.push(begin);
        self.clients[n].client = Some(Client::new(config, records, seed, self.clock()).expect("a profile"));
        self.drain_client(n);
    }

    /// Kills a client as `kill -9` would: what is on its disk stays.
    pub fn kill_client(&mut self, n: usize) {
        self.clients[n].client = None;
        self.clients[n].life += 1;
        self.clients[n].writing.clear();
        self.clients[n].wake = None;
        for end in std::mem::take(&mut self.clients[n].links).into_values() {
            self.hang_up(end);
        }
    }

    /// Kills a relay: all its links end.
    pub fn kill_relay(&mut self, n: usize) {
        self.relays[n].state = RelayState::Dead;
        let links = std::mem::take(&mut self.relays[n].links);
        self.relays[n].by_relay.clear();
        for end in links.into_keys() {
            self.hang_up(end);
        }
    }

    /// Freezes a relay: its links stay, and nothing moves.
    pub fn freeze_relay(&mut self, n: usize) {
        self.relays[n].state = RelayState::Frozen;
    }

    /// Thaws a frozen relay: it handles what came meanwhile.
    pub fn thaw_relay(&mut self, n: usize) {
        self.relays[n].state = RelayState::Alive;
        for happening in std::mem::take(&mut self.relays[n].held) {
            self.schedule(self.now, happening);
        }
        self.schedule(self.now, Happening::Wake(Node::Relay(n)));
    }

    /// The relay with this nickname.
    pub fn relay_named(&self, nickname: &str) -> Option<usize> {
        self.relays.iter().position(|relay| relay.entry.nickname.as_str() == nickname)
    }

    /// Circuits and handshakes in the tables of all living relays.
    pub fn circuits(&self) -> usize {
        let living = self.relays.iter().filter(|relay| relay.state == RelayState::Alive);
        living.flat_map(|relay| relay.links.values()).map(RelayLink::circuits).sum()
    }

    /// A client wants something.
    pub fn command(&mut self, n: usize, command: Command) {
        self.input(n, Input::Command(command));
    }

    /// What a client has told its person so far.
    pub fn events(&self, n: usize) -> &[Event] {
        &self.clients[n].events
    }

    /// The same, one part for each of the client's lives.
    pub fn lives(&self, n: usize) -> impl Iterator<Item = &[Event]> {
        let Person { events, lives, .. } = &self.clients[n];
        let ends = lives.iter().skip(1).copied().chain([events.len()]);
        lives.iter().zip(ends).map(|(begin, end)| &events[*begin..end])
    }

    /// The engine of a client that runs.
    pub fn client(&self, n: usize) -> &Client {
        self.clients[n].client.as_ref().expect("the client runs")
    }

    /// The virtual time.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// Lets time go by.
    pub fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        while self.events.peek().is_some_and(|Reverse((at, _, _))| *at <= end) {
            self.step();
        }
        self.now = end;
    }

    /// Lets time go by until something holds; `false` if it does not within `limit`.
    pub fn run_until(&mut self, limit: Duration, mut holds: impl FnMut(&Self) -> bool) -> bool {
        let end = self.now + limit;
        loop {
            if holds(self) {
                return true;
            }
            match self.events.peek() {
                Some(Reverse((at, _, _))) if *at <= end => self.step(),
                _ => return false,
            }
        }
    }

    fn clock(&self) -> Now {
        Now { instant: self.now, unix: UnixTime::from_millis(START * 1000 + self.now.as_millis()) }
    }

    fn schedule(&mut self, at: Instant, happening: Happening) {
        self.sequence += 1;
        self.events.push(Reverse((at, self.sequence, happening)));
    }

    fn send(&mut self, to: End, happening: Happening) {
        let delay = Duration::from_millis(1 + self.rng.next_u64() % 5);
        let earliest = self.arrivals.get(&to).copied().unwrap_or(self.now);
        let at = (self.now + delay).max(earliest);
        self.arrivals.insert(to, at);
        self.schedule(at, happening);
    }

    fn hang_up(&mut self, end: End) {
        self.owners.remove(&end);
        self.send(end ^ 1, Happening::Closed(end ^ 1));
    }

    fn step(&mut self) {
        let Some(Reverse((at, _, happening))) = self.events.pop() else { return };
        self.now = at;
        let node = match &happening {
            Happening::Wake(node) => Some(*node),
            Happening::Written(n, _) => Some(Node::Client(*n)),
            Happening::Message(end, _) | Happening::Opened(end) | Happening::Closed(end) => {
                self.owners.get(end).copied()
            }
        };
        match node {
            Some(Node::Relay(n)) => match self.relays[n].state {
                RelayState::Alive => self.relay_happening(n, happening),
                RelayState::Frozen => self.relays[n].held.push(happening),
                RelayState::Dead => {}
            },
            Some(Node::Client(n)) => self.client_happening(n, happening),
            None => {}
        }
    }

    fn client_happening(&mut self, n: usize, happening: Happening) {
        let link =
            |person: &Person, end: End| person.links.iter().find(|(_, other)| **other == end).map(|(link, _)| *link);
        let input = match happening {
            Happening::Wake(_) => {
                if self.clients[n].wake.is_none_or(|wake| wake > self.now) {
                    return;
                }
                self.clients[n].wake = None;
                Some(Input::Timeout)
            }
            Happening::Written(_, life) if life != self.clients[n].life => return,
            Happening::Written(..) => self.clients[n].writing.pop_front().map(|(batch, writes)| {
                for Write { key, value } in writes {
                    match value {
                        Some(value) => self.clients[n].disk.insert(key, value),
                        None => self.clients[n].disk.remove(&key),
                    };
                }
                Input::Persisted(batch)
            }),
            Happening::Opened(end) => link(&self.clients[n], end).map(Input::LinkOpened),
            Happening::Message(end, message) => {
                link(&self.clients[n], end).map(|link| Input::LinkMessage(link, message))
            }
            Happening::Closed(end) => {
                self.owners.remove(&end);
                link(&self.clients[n], end).map(|link| {
                    self.clients[n].links.remove(&link);
                    Input::LinkClosed(link)
                })
            }
        };
        if let Some(input) = input {
            self.input(n, input);
        }
    }

    fn input(&mut self, n: usize, input: Input) {
        let now = self.clock();
        if let Some(client) = &mut self.clients[n].client {
            client.handle(now, input);
            self.drain_client(n);
        }
    }

    fn drain_client(&mut self, n: usize) {
        let now = self.clock();
        while let Some(output) = self.clients[n].client.as_mut().and_then(Client::poll_output) {
            match output {
                Output::OpenLink { link, url } => self.open_client_link(n, link, &url),
                Output::SendLink(link, message) => {
                    if let Some(end) = self.clients[n].links.get(&link).copied() {
                        self.send(end ^ 1, Happening::Message(end ^ 1, message));
                    }
                }
                Output::CloseLink(link) => {
                    if let Some(end) = self.clients[n].links.remove(&link) {
                        self.hang_up(end);
                    }
                }
                Output::FetchConsensus => {
                    let bytes = self.consensus.clone();
                    if let Some(client) = &mut self.clients[n].client {
                        client.handle(now, Input::Consensus(Ok(bytes)));
                    }
                }
                Output::Persist(batch, writes) => {
                    let time = Duration::from_millis(self.rng.next_u64() % 8);
                    let at = (self.now + time).max(self.clients[n].written_at);
                    let person = &mut self.clients[n];
                    person.written_at = at;
                    person.writing.push_back((batch, writes));
                    let life = person.life;
                    self.schedule(at, Happening::Written(n, life));
                }
                Output::Event(event) => {
                    // As `allium chat` does: what is printed need not be printed again.
                    if let (Event::Message { contact, id, .. }, Some(client)) = (&event, &mut self.clients[n].client) {
                        let (contact, id) = (*contact, *id);
                        client.handle(now, Input::Command(Command::Shown { contact, id }));
                    }
                    self.clients[n].events.push(event);
                }
            }
        }
        let wake = self.clients[n].client.as_ref().and_then(Client::poll_timeout);
        if let Some(at) = wake
            && self.clients[n].wake.is_none_or(|set| at < set)
        {
            let at = at.max(self.now);
            self.clients[n].wake = Some(at);
            self.schedule(at, Happening::Wake(Node::Client(n)));
        }
    }

    fn open_client_link(&mut self, n: usize, link: LinkId, url: &str) {
        let end = self.new_socket(Node::Client(n));
        self.clients[n].links.insert(link, end);
        let relay = self.relays.iter().position(|relay| relay.entry.url.as_str() == url);
        self.accept(end, relay);
    }

    fn new_socket(&mut self, owner: Node) -> End {
        let end = self.next_end;
        self.next_end += 2;
        self.owners.insert(end, owner);
        end
    }

    /// The far end of a new socket reaches a relay, or nobody.
    fn accept(&mut self, end: End, relay: Option<usize>) {
        match relay.filter(|n| self.relays[*n].state != RelayState::Dead) {
            Some(n) => {
                self.owners.insert(end ^ 1, Node::Relay(n));
                let rng = self.fork();
                let relay = &self.relays[n];
                let link = RelayLink::respond(end ^ 1, relay.keys.clone(), relay.memory.clone(), rng, self.now);
                self.relays[n].links.insert(end ^ 1, link);
                self.send(end, Happening::Opened(end));
            }
            None => self.send(end, Happening::Closed(end)),
        }
    }

    fn fork(&mut self) -> ChaCha20Rng {
        ChaCha20Rng::seed_from_u64(self.rng.next_u64())
    }

    fn relay_happening(&mut self, n: usize, happening: Happening) {
        let now = self.now;
        let mut desk = Desk::new(&self.relays);
        let relay = &mut self.relays[n];
        let mut closed = Vec::new();
        match happening {
            Happening::Wake(_) => {
                if relay.wake.is_some_and(|wake| wake <= now) {
                    relay.wake = None;
                }
                for (end, link) in &mut relay.links {
                    if link.handle_timeout(now, &mut desk.switch(&mut relay.cookies)).is_err() {
                        closed.push(*end);
                    }
                }
            }
            Happening::Opened(_) | Happening::Written(..) => {}
            Happening::Message(end, mut message) => {
                if let Some(link) = relay.links.get_mut(&end) {
                    match link.handle_message(now, &mut message, &mut desk.switch(&mut relay.cookies)) {
                        Ok(Progress::Established(Some(peer))) => {
                            relay.by_relay.entry(peer).or_insert(end);
                        }
                        Ok(_) => {}
                        Err(_) => closed.push(end),
                    }
                }
            }
            Happening::Closed(end) => {
                self.owners.remove(&end);
                if let Some(link) = relay.links.remove(&end) {
                    relay.by_relay.retain(|_, other| *other != end);
                    link.close(now, &mut desk.switch(&mut relay.cookies));
                }
            }
        }
        for end in closed {
            if let Some(link) = relay.links.remove(&end) {
                relay.by_relay.retain(|_, other| *other != end);
                link.close(now, &mut desk.switch(&mut relay.cookies));
            }
            desk.hang_up.push(end);
        }
        let Desk { mut effects, hang_up, .. } = desk;
        hang_up.into_iter().for_each(|end| self.hang_up(end));
        while let Some(effect) = effects.pop_front() {
            self.relay_effect(n, effect, &mut effects);
        }
        self.transmit(n);
    }

    fn relay_effect(&mut self, n: usize, effect: Effect, effects: &mut VecDeque<Effect>) {
        let now = self.now;
        match effect {
            Effect::Forward(end, cells) => {
                let mut desk = Desk::new(&self.relays);
                let relay = &mut self.relays[n];
                if let Some(link) = relay.links.get_mut(&end) {
                    link.handle_forwarded(now, &cells, &mut desk.switch(&mut relay.cookies));
                }
                effects.extend(desk.effects);
            }
            Effect::Tell(end, note) => {
                let mut desk = Desk::new(&self.relays);
                let relay = &mut self.relays[n];
                match relay.links.get_mut(&end) {
                    Some(link) => link.handle_note(now, note, &mut desk.switch(&mut relay.cookies)),
                    None => desk.effects.extend(
                        note.into_failure(DestroyReason::LinkClosed).map(|(link, note)| Effect::Tell(link, note)),
                    ),
                }
                effects.extend(desk.effects);
            }
            Effect::Answer(request) => {
                let (end, note) = request.answer(&mut self.rng);
                effects.push_back(Effect::Tell(end, note));
            }
            Effect::Relieve => {
                let loads = self.relays[n].links.iter().map(|(end, link)| (*end, &**link.load()));
                effects.extend(memory::worst(loads).map(|end| Effect::Tell(end, Note::Shed)));
            }
            Effect::Connect(peer, note) => {
                let end = match self.relays[n].by_relay.get(&peer) {
                    Some(end) => *end,
                    None => {
                        let Some(to) = self.relays.iter().position(|relay| relay.entry.identity == peer) else {
                            let failure = note.into_failure(DestroyReason::ConnectFailed);
                            effects.extend(failure.map(|(link, note)| Effect::Tell(link, note)));
                            return;
                        };
                        let end = self.new_socket(Node::Relay(n));
                        let addressee = RelayAddressee { identity: peer, link_key: self.relays[to].entry.link_key };
                        let (keys, memory) = (self.relays[n].keys.clone(), self.relays[n].memory.clone());
                        let rng = self.fork();
                        let link = RelayLink::initiate(end, keys, memory, rng, &addressee, now).expect("a key");
                        self.relays[n].links.insert(end, link);
                        self.relays[n].by_relay.insert(peer, end);
                        self.accept(end, Some(to));
                        end
                    }
                };
                effects.push_back(Effect::Tell(end, note));
            }
        }
    }

    fn transmit(&mut self, n: usize) {
        let now = self.now;
        let mut out = Vec::new();
        let relay = &mut self.relays[n];
        for (end, link) in &mut relay.links {
            while let Ok(Some(message)) = link.poll_transmit(now) {
                out.push((*end, message));
            }
        }
        let wake = relay.links.values().map(RelayLink::poll_timeout).min();
        for (end, message) in out {
            self.send(end ^ 1, Happening::Message(end ^ 1, message));
        }
        if let Some(at) = wake
            && self.relays[n].wake.is_none_or(|set| at < set)
        {
            let at = at.max(now);
            self.relays[n].wake = Some(at);
            self.schedule(at, Happening::Wake(Node::Relay(n)));
        }
    }
}

impl Relay {
    fn new(n: usize, network: [u8; 32], rng: &mut ChaCha20Rng) -> Self {
        let identity = IdentityKeypair::generate(rng).identity();
        let (link, onion) = (LinkSecret::generate(rng), OnionSecret::generate(rng));
        let entry = RelayEntry {
            identity,
            link_key: link.public(),
            onion_key: onion.public(),
            roles: [Role::Guard, Role::Middle, Role::Rendezvous].into_iter().collect::<Roles>(),
            nickname: format!("relay{n}").parse().expect("a nickname"),
            url: format!("ws://127.0.0.1:{}/link", 10_000 + n).parse().expect("an address"),
        };
        let keys = Arc::new(LinkKeys {
            network,
            link,
            circuits: Arc::new(RelayKeys { identity, onion, services: Services::default() }),
        });
        Self {
            entry,
            keys,
            memory: Arc::new(Memory::new(64 << 20)),
            links: BTreeMap::new(),
            by_relay: BTreeMap::new(),
            cookies: RendezvousTable::new(1000),
            state: RelayState::Alive,
            wake: None,
            held: Vec::new(),
        }
    }
}

enum Effect {
    Forward(End, Vec<Cell>),
    Tell(End, Note<End>),
    Connect(RelayIdentity, Note<End>),
    Answer(Request<End>),
    Relieve,
}

/// What a relay's links say to each other, kept until the one that speaks has finished.
struct Desk {
    effects: VecDeque<Effect>,
    hang_up: Vec<End>,
    link_keys: BTreeSet<(RelayIdentity, LinkPublic)>,
}

struct DeskSwitch<'a> {
    desk: &'a mut Desk,
    cookies: &'a mut RendezvousTable<End>,
}

impl Desk {
    fn new(relays: &[Relay]) -> Self {
        let link_keys = relays.iter().map(|relay| (relay.entry.identity, relay.entry.link_key)).collect();
        Self { effects: VecDeque::new(), hang_up: Vec::new(), link_keys }
    }

    fn switch<'a>(&'a mut self, cookies: &'a mut RendezvousTable<End>) -> DeskSwitch<'a> {
        DeskSwitch { desk: self, cookies }
    }
}

impl Switch for DeskSwitch<'_> {
    type Link = End;

    fn forward(&mut self, link: &End, cells: Vec<Cell>) {
        self.desk.effects.push_back(Effect::Forward(*link, cells));
    }

    fn tell(&mut self, link: &End, note: Note<End>) {
        self.desk.effects.push_back(Effect::Tell(*link, note));
    }

    fn connect(&mut self, relay: RelayIdentity, note: Note<End>) {
        self.desk.effects.push_back(Effect::Connect(relay, note));
    }

    fn answer(&mut self, request: Request<End>) {
        self.desk.effects.push_back(Effect::Answer(request));
    }

    fn relieve(&mut self) {
        self.desk.effects.push_back(Effect::Relieve);
    }

    fn padding(&self) -> Padding {
        Padding::default()
    }

    fn establish(&mut self, cookie: Cookie, circuit: (End, CircId)) -> bool {
        self.cookies.establish(cookie, circuit)
    }

    fn withdraw(&mut self, cookie: &Cookie, circuit: &(End, CircId)) {
        self.cookies.withdraw(cookie, circuit);
    }

    fn take_waiting(&mut self, cookie: &Cookie) -> Option<(End, CircId)> {
        self.cookies.take(cookie)
    }

    fn relay_by_link_key(&self, key: &LinkPublic) -> Option<RelayIdentity> {
        self.desk.link_keys.iter().find(|(_, other)| other == key).map(|(identity, _)| *identity)
    }
}
