//! A whole network in virtual time: the same state machines as everywhere else, with a network of our own between them.
//!
//! Everything is drawn from one seed, so the same seed gives the same events. vodozemac draws its own keys, so bytes
//! differ between two runs: what is the same is what happens, when, to whom, and how large it is, which [`Trace`] sums up.
//!
//! # Layout
//!
//! - [`schedule`]: what is still to happen
//! - `net`: WebSockets that delay, keep order, and break
//! - [`weather`]: what goes wrong by itself
//! - `relay`, `client`: the nodes
//! - [`echo_service`], [`echo_client`], [`stuck_service`]: services that only tests have
//! - `directory`: the authority, and the relays' copies of what it makes
//! - [`outsider`]: whoever speaks to relays without a client's engine: bare circuits, and attackers
//! - [`trace`]: a run as one number
//! - [`observer`], [`checks`]: what each place sees, and what could be learnt from it
//! - [`crowd`]: a thousand clients that talk
//! - [`report`]: what a run amounts to
//! - [`seeds`]: many runs of one test

use std::time::Duration;

use allium_shared::cell::CELL_LEN;
use allium_shared::circuit::Hop;
use allium_shared::client::Client;
use allium_shared::client::api::{Command, Event, Input};
use allium_shared::crypto::keys::RelayIdentity;
use allium_shared::netdir::{Consensus, RelayEntry};
use allium_shared::relay::link::LinkKeys;
use allium_shared::relay::origin::order::{Order, OrderId, OriginError, OriginEvent};
use allium_shared::time::{Instant, Now, UnixTime};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

pub mod checks;
mod client;
pub mod crowd;
mod directory;
pub mod echo_client;
pub mod echo_service;
pub mod impostor;
mod net;
pub mod observer;
pub mod outsider;
mod relay;
pub mod report;
pub mod schedule;
pub mod seeds;
pub mod stuck_service;
pub mod trace;
pub mod weather;

use self::client::{ClientNode, World};
use self::directory::Press;
use self::net::{Net, Owner};
use self::observer::Observer;
use self::outsider::Post;
pub use self::relay::Mischief;
use self::relay::{Directory, RelayNode, RelayState};
use self::report::{RelayPeak, Totals};
use self::schedule::Happening;
use self::trace::Trace;
pub use self::weather::Weather;
use self::weather::{Disaster, within};

/// The wall clock when a simulation begins, in seconds since 1970.
const START: u64 = 1_800_000_000;

/// Somebody in the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Node {
    /// A relay.
    Relay(usize),
    /// A client.
    Client(usize),
    /// Whoever a test plays itself.
    Outsider(usize),
}

/// Where the relays stand, whose they are, and what the network's parameters say.
#[derive(Clone, Debug)]
pub struct Land {
    /// How many relays there are.
    pub relays: usize,
    /// The subnet of each relay.
    pub subnet: fn(usize) -> u16,
    /// The family of each relay, if it has one.
    pub family: fn(usize) -> Option<u8>,
    /// The parameters of the consensus.
    pub parameters: Vec<(&'static str, i64)>,
}

impl Land {
    /// So many relays of which no two are related.
    pub fn of_strangers(relays: usize) -> Self {
        Self {
            relays,
            subnet: |n| u16::try_from(n).expect("at most 65,536 relays"),
            family: |_| None,
            parameters: Vec::new(),
        }
    }

    fn address(&self, n: usize) -> std::net::Ipv4Addr {
        let [a, b] = (self.subnet)(n).to_be_bytes();
        // From 11.0.0.0 on, since 10.0.0.0 and below are not everybody's.
        [11_u8.wrapping_add(a), b, (n >> 8) as u8, n as u8].into()
    }

    /// Whether no circuit may have both relays.
    pub fn related(&self, a: usize, b: usize) -> bool {
        let family = (self.family)(a);
        a == b || (self.subnet)(a) == (self.subnet)(b) || (family.is_some() && family == (self.family)(b))
    }
}

/// A simulated network.
pub struct Sim {
    net: Net,
    relays: Vec<RelayNode>,
    clients: Vec<ClientNode>,
    posts: Vec<Post>,
    directory: Directory,
    press: Press,
    land: Land,
    network: [u8; 32],
    appointments: Vec<u64>,
    /// Counts the weather's changes: what an earlier weather ordered does not come any more.
    season: u32,
}

impl Sim {
    /// A network of `relays` relays and `clients` clients in fair weather; nothing has happened yet.
    pub fn new(seed: u64, relays: usize, clients: usize) -> Self {
        Self::with_weather(seed, relays, clients, Weather::default())
    }

    /// The same in any weather.
    pub fn with_weather(seed: u64, relays: usize, clients: usize, weather: Weather) -> Self {
        Self::in_land(seed, Land::of_strangers(relays), clients, weather)
    }

    /// The same with relays that may be related.
    pub fn in_land(seed: u64, land: Land, clients: usize, weather: Weather) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let press = Press::new(&mut rng, &land.parameters);
        let network = *press.authorities.network().as_bytes();
        let relays: Vec<_> = (0..land.relays).map(|n| RelayNode::new(n, network, &land, &mut rng)).collect();
        let mut sim = Self {
            net: Net::new(rng, weather),
            directory: Directory::new(relays.iter().map(|relay| &relay.entry)),
            relays,
            clients: (0..clients).map(ClientNode::new).collect(),
            posts: Vec::new(),
            press,
            land,
            network,
            appointments: Vec::new(),
            season: 0,
        };
        sim.publish_as_of(START - 60);
        for n in 0..clients {
            sim.start_client(n);
        }
        for disaster in Disaster::ALL {
            sim.order_disaster(disaster);
        }
        sim
    }

    /// Where the relays stand.
    pub fn land(&self) -> &Land {
        &self.land
    }

    /// Changes the weather; links that are open keep their latency.
    pub fn set_weather(&mut self, weather: Weather) {
        self.net.weather = weather;
        self.season += 1;
        for disaster in Disaster::ALL {
            self.order_disaster(disaster);
        }
    }

    // ---- clients ----

    /// Starts a client from its disk.
    pub fn start_client(&mut self, n: usize) {
        self.with_client(n, |client, net, world| client.start(net, world));
    }

    /// One more client, which starts now; gives its number.
    pub fn add_client(&mut self) -> usize {
        let n = self.clients.len();
        self.clients.push(ClientNode::new(n));
        self.start_client(n);
        n
    }

    /// Changes a record on a client's disk; for clients that do not run.
    pub fn store_record(&mut self, n: usize, key: &str, value: Vec<u8>) {
        self.clients[n].disk.insert(key.to_owned(), value);
    }

    /// Deletes a record from a client's disk; for clients that do not run.
    pub fn forget_record(&mut self, n: usize, key: &str) {
        self.clients[n].disk.remove(key);
    }

    /// How many links clients have.
    pub fn links_of_clients(&self) -> usize {
        self.net.sockets().filter(|(_, near, _)| matches!(near, Node::Client(_))).count()
    }

    /// Kills a client as `kill -9` would: what is on its disk stays.
    pub fn kill_client(&mut self, n: usize) {
        self.clients[n].kill(&mut self.net);
    }

    /// Kills a client the next time that its disk has written something, before it hears of that.
    pub fn doom_client(&mut self, n: usize) {
        self.clients[n].doomed = true;
    }

    /// Lets a client's computer sleep: the client does nothing, and what comes for it waits.
    pub fn suspend_client(&mut self, n: usize) {
        self.clients[n].suspend(&self.net);
    }

    /// Wakes the computer of a client: it handles what has come meanwhile, of its links the news that they are gone, if
    /// their other ends have given them up. `counted` says whether its clock that cannot be set has gone on while it slept:
    /// those of some systems do, those of others do not.
    pub fn resume_client(&mut self, n: usize, counted: bool) {
        self.with_client(n, |client, net, world| client.resume(net, world, counted));
    }

    /// Lets a client's timers run at most so often, as browsers do in tabs that nobody sees; what comes for it still wakes
    /// it at once. None: whenever they are due.
    pub fn throttle_client(&mut self, n: usize, timers: Option<Duration>) {
        self.clients[n].throttle(timers);
    }

    /// Whether a client runs.
    pub fn is_running(&self, n: usize) -> bool {
        self.clients[n].client.is_some()
    }

    /// From now on a client's person takes nobody as a contact but by a command.
    pub fn decide_by_hand(&mut self, n: usize) {
        self.clients[n].approves = false;
    }

    /// A client wants something.
    pub fn command(&mut self, n: usize, command: Command) {
        self.with_client(n, |client, net, world| client.input(net, world, Input::Command(command)));
    }

    /// What a client has told its person so far.
    pub fn events(&self, n: usize) -> &[Event] {
        &self.clients[n].events
    }

    /// The same, one part for each of the client's lives.
    pub fn lives(&self, n: usize) -> impl Iterator<Item = &[Event]> {
        let ClientNode { events, lives, .. } = &self.clients[n];
        let ends = lives.iter().skip(1).copied().chain([events.len()]);
        lives.iter().zip(ends).map(|(begin, end)| &events[*begin..end])
    }

    /// Takes what a client has told its person since the last call: for runs that are too long to keep it all.
    pub fn take_events(&mut self, n: usize) -> Vec<Event> {
        self.clients[n].lives.clear();
        std::mem::take(&mut self.clients[n].events)
    }

    /// Whether a client has told its person anything since [`Self::take_events`].
    pub fn has_events(&self, n: usize) -> bool {
        !self.clients[n].events.is_empty()
    }

    /// How often a client has been killed.
    pub fn life(&self, n: usize) -> u64 {
        u64::from(self.clients[n].life)
    }

    /// The most links that a client has had at once.
    pub fn peak_links(&self, n: usize) -> usize {
        self.clients[n].peak_links
    }

    /// The engine of a client that runs.
    pub fn client(&self, n: usize) -> &Client {
        self.clients[n].client.as_ref().expect("the client runs")
    }

    /// What is on a client's disk.
    pub fn disk(&self, n: usize) -> impl Iterator<Item = (&str, &[u8])> {
        self.clients[n].disk.iter().map(|(key, value)| (key.as_str(), value.as_slice()))
    }

    /// How many clients there are.
    pub fn client_count(&self) -> usize {
        self.clients.len()
    }

    // ---- relays ----

    /// Kills a relay: all its links end.
    pub fn kill_relay(&mut self, n: usize) {
        self.relays[n].crash(&mut self.net);
    }

    /// Starts a killed relay again, with the same keys and empty tables.
    pub fn restart_relay(&mut self, n: usize) {
        self.relays[n].resume(&mut self.net);
    }

    /// Freezes a relay: its links stay, and nothing moves.
    pub fn freeze_relay(&mut self, n: usize) {
        self.relays[n].state = RelayState::Frozen;
    }

    /// Thaws a frozen relay: it handles what came meanwhile.
    pub fn thaw_relay(&mut self, n: usize) {
        self.relays[n].resume(&mut self.net);
    }

    /// The relay with this nickname.
    pub fn relay_named(&self, nickname: &str) -> Option<usize> {
        self.relays.iter().position(|relay| relay.entry.nickname.as_str() == nickname)
    }

    /// The relay with this identity.
    pub fn relay_known_as(&self, identity: &RelayIdentity) -> Option<usize> {
        self.relays.iter().position(|relay| relay.entry.identity == *identity)
    }

    /// A relay's entry in the consensus.
    pub fn relay(&self, n: usize) -> &RelayEntry {
        &self.relays[n].entry
    }

    /// A relay as circuits know it.
    pub fn hop(&self, n: usize) -> Hop {
        Hop { identity: self.relays[n].entry.identity, onion_key: self.relays[n].entry.onion_key }
    }

    /// A relay's secrets, for whoever has stolen them.
    pub fn relay_keys(&self, n: usize) -> &LinkKeys {
        &self.relays[n].keys
    }

    // ---- the directory ----

    /// The newest consensus.
    pub fn consensus(&self) -> &Consensus {
        self.press.newest()
    }

    /// Lets the authority make a consensus now, and all relays that run take it, but those that are kept behind.
    pub fn publish(&mut self) {
        self.publish_as_of(self.net.clock().unix.as_secs());
    }

    fn publish_as_of(&mut self, now: u64) {
        let listed = self.relays.iter().filter(|relay| !self.press.unlisted.contains(&relay.n));
        let entries = listed.map(|relay| relay.entry.clone()).collect();
        let consensus = self.press.make(now, entries);
        for relay in self.relays.iter().filter(|relay| !relay.is_behind && relay.state == RelayState::Alive) {
            relay.mirror.push(&consensus);
        }
    }

    /// Lets the authority make a consensus every so often, or no more.
    pub fn publish_every(&mut self, every: Option<Duration>) {
        self.press.every = every;
        self.press.orders += 1;
        if let Some(every) = every {
            self.net.after(every, Happening::Publication(self.press.orders));
        }
    }

    /// For how long consensuses are fresh from now on, and for how long they count.
    pub fn set_lifetimes(&mut self, fresh: Duration, valid: Duration) {
        self.press.lifetimes = (fresh, valid);
    }

    /// Whether the next consensus lists a relay.
    pub fn list_relay(&mut self, n: usize, listed: bool) {
        if listed {
            self.press.unlisted.remove(&n);
        } else {
            self.press.unlisted.insert(n);
        }
    }

    /// Whether a relay goes on giving out the consensus that it has, whatever newer ones there are.
    pub fn keep_behind(&mut self, n: usize, behind: bool) {
        self.relays[n].is_behind = behind;
    }

    /// Whether anybody answers clients that ask the directory or an authority directly.
    pub fn set_reachable(&mut self, reachable: bool) {
        self.press.is_reachable = reachable;
    }

    /// How often a client has asked directly.
    pub fn direct_fetches(&self, n: usize) -> usize {
        self.clients[n].fetches
    }

    // ---- clocks ----

    /// Sets a client's clock, so many milliseconds ahead of the right time.
    pub fn set_clock(&mut self, n: usize, ahead: i64) {
        self.clients[n].ahead = ahead;
    }

    /// Sets a relay's clock.
    pub fn set_relay_clock(&mut self, n: usize, ahead: i64) {
        self.relays[n].ahead = ahead;
    }

    /// The wall clock.
    pub fn clock(&self) -> UnixTime {
        self.net.clock().unix
    }

    /// Both clocks of somebody whose clock is right.
    pub fn both_clocks(&self) -> Now {
        self.net.clock()
    }

    /// How many relays there are.
    pub fn relay_count(&self) -> usize {
        self.relays.len()
    }

    /// Makes a relay malicious, or honest again.
    pub fn bribe(&mut self, n: usize, mischief: Option<Mischief>) {
        self.relays[n].mischief = mischief;
    }

    /// Circuits and handshakes in the tables of all living relays.
    pub fn circuits(&self) -> usize {
        self.living().map(RelayNode::circuits).sum()
    }

    /// What one relay keeps just now.
    pub fn kept_by(&self, n: usize) -> RelayPeak {
        let relay = &self.relays[n];
        RelayPeak { circuits: relay.circuits(), queued: relay.queued(), waiting: relay.waiting(), links: relay.links() }
    }

    /// Bytes of memory that cells and streams take at one relay, as it counts them.
    pub fn memory_of(&self, n: usize) -> usize {
        self.relays[n].memory.queued() * CELL_LEN
    }

    /// Sets the memory cap of a relay that has no links yet, in bytes.
    pub fn limit_memory(&mut self, n: usize, bytes: usize) {
        self.relays[n].limit_memory(bytes);
    }

    /// Orders something of another relay on behalf of a relay that runs.
    ///
    /// # Errors
    ///
    /// If the relay can't be asked.
    pub fn order(&mut self, n: usize, of: RelayIdentity, order: Order) -> Result<OrderId, OriginError> {
        let Self { net, relays, directory, .. } = self;
        relays[n].order(net, directory, of, order)
    }

    /// What has become of a relay's orders since the last call.
    pub fn outcomes(&mut self, n: usize) -> Vec<OriginEvent> {
        std::mem::take(&mut self.relays[n].outcomes)
    }

    /// How many circuits a relay has begun that are still there.
    pub fn begun_by(&self, n: usize) -> usize {
        self.relays[n].origin.circuits()
    }

    /// The most that one relay has kept, as far as somebody looked: see [`Self::sample`].
    pub fn peak_of(&self, n: usize) -> RelayPeak {
        self.relays[n].peak
    }

    /// Relays that a relay was asked to open a link to, and that the consensus does not list.
    pub fn strangers(&self, n: usize) -> &[RelayIdentity] {
        &self.relays[n].strangers
    }

    /// Looks at how much every relay keeps, for [`Self::peak_of`].
    pub fn sample(&mut self) {
        self.relays.iter_mut().filter(|relay| relay.state == RelayState::Alive).for_each(RelayNode::sample);
    }

    fn living(&self) -> impl Iterator<Item = &RelayNode> {
        self.relays.iter().filter(|relay| relay.state == RelayState::Alive)
    }

    // ---- the network ----

    /// The network's id.
    pub fn network(&self) -> &[u8; 32] {
        &self.network
    }

    /// Breaks the links between two nodes; gives how many.
    pub fn break_links(&mut self, a: Node, b: Node) -> usize {
        let is_between = |(_, near, far): &(usize, Node, Node)| (*near, *far) == (a, b) || (*near, *far) == (b, a);
        let found: Vec<usize> = self.net.sockets().filter(is_between).map(|(number, ..)| number).collect();
        for number in &found {
            self.net.cut(*number);
        }
        found.len()
    }

    /// How many links there are between two nodes.
    pub fn links_between(&self, a: Node, b: Node) -> usize {
        self.net.sockets().filter(|(_, near, far)| (*near, *far) == (a, b) || (*near, *far) == (b, a)).count()
    }

    /// How many links there are.
    pub fn links(&self) -> usize {
        self.net.open_sockets()
    }

    /// From now on everything is observed; only for small networks.
    pub fn observe(&mut self) -> &mut Observer {
        self.net.observer.get_or_insert_default()
    }

    /// What was observed.
    ///
    /// # Panics
    ///
    /// Without [`Self::observe`].
    pub fn observer(&self) -> &Observer {
        self.net.observer.as_ref().expect("somebody observes")
    }

    /// What has happened so far.
    pub fn trace(&self) -> &Trace {
        &self.net.trace
    }

    /// The same, to keep a list of it.
    pub fn trace_mut(&mut self) -> &mut Trace {
        &mut self.net.trace
    }

    /// What all nodes have done so far.
    pub fn totals(&self) -> &Totals {
        &self.net.totals
    }

    // ---- time ----

    /// The virtual time.
    pub fn now(&self) -> Instant {
        self.net.now
    }

    /// A random number of the simulation's own.
    pub fn random(&mut self) -> u64 {
        self.net.rng.next_u64()
    }

    /// Asks to be told, by [`Self::take_appointments`], when some time has gone by.
    pub fn remind(&mut self, after: Duration, token: u64) {
        self.net.after(after, Happening::Appointment(token));
    }

    /// The tokens whose time has come.
    pub fn take_appointments(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.appointments)
    }

    /// Lets time go by.
    pub fn run_for(&mut self, time: Duration) {
        let end = self.net.now + time;
        while self.net.schedule.next_at().is_some_and(|at| at <= end) {
            self.step();
        }
        self.net.now = end;
    }

    /// Lets time go by until something holds; `false` if it does not within `limit`.
    pub fn run_until(&mut self, limit: Duration, mut holds: impl FnMut(&Self) -> bool) -> bool {
        let end = self.net.now + limit;
        loop {
            if holds(self) {
                return true;
            }
            match self.net.schedule.next_at() {
                Some(at) if at <= end => {
                    self.step();
                }
                _ => {
                    self.net.now = end;
                    return false;
                }
            }
        }
    }

    /// When the next thing happens.
    pub fn next_at(&self) -> Option<Instant> {
        self.net.schedule.next_at()
    }

    /// Lets time go by in which nothing happens.
    pub fn skip_to(&mut self, at: Instant) {
        debug_assert!(self.next_at().is_none_or(|next| next >= at), "something happens before");
        self.net.now = self.net.now.max(at);
    }

    /// Lets the next thing happen; gives to whom.
    pub fn step(&mut self) -> Option<Node> {
        let (at, happening) = self.net.schedule.pop()?;
        self.net.now = at;
        let node = match &happening {
            Happening::Wake(n) | Happening::Written(n, _) | Happening::Reported(n, ..) => Some(Node::Client(*n)),
            Happening::OriginDue(n) => Some(Node::Relay(*n)),
            Happening::Incoming(end) => self.net.target(*end).map(Node::Relay),
            Happening::Message(end, _)
            | Happening::Opened(end)
            | Happening::Closed(end)
            | Happening::Tick(end)
            | Happening::Answered(end, _) => self.net.owner(*end).map(Owner::node),
            Happening::Restart(node) => Some(*node),
            Happening::Disaster(..) | Happening::Appointment(_) | Happening::Publication(_) => None,
        };
        let (kind, size) = happening.digest();
        self.net.note(node, kind, size);
        if let (Happening::Message(end, message), Some(to)) = (&happening, node) {
            let from = self.net.owner(end.far()).map(Owner::node);
            if let Some(observer) = &mut self.net.observer {
                observer.arrives(*end, from, to, message);
            }
        }
        match (node, happening) {
            (_, Happening::Disaster(season, disaster)) => {
                if season == self.season {
                    self.strike(disaster);
                }
            }
            (_, Happening::Appointment(token)) => self.appointments.push(token),
            (_, Happening::Publication(order)) => {
                if let Some(every) = self.press.every.filter(|_| order == self.press.orders) {
                    self.publish();
                    self.net.after(every, Happening::Publication(order));
                }
            }
            (Some(Node::Relay(n)), Happening::Restart(_)) => {
                if self.relays[n].state == RelayState::Dead {
                    self.restart_relay(n);
                }
            }
            (Some(Node::Client(n)), Happening::Restart(_)) => {
                // Doomed, and its disk has written nothing since.
                if self.clients[n].doomed {
                    self.kill_client(n);
                }
                if !self.is_running(n) {
                    self.start_client(n);
                }
            }
            (Some(Node::Relay(n)), happening) => {
                let Self { net, relays, directory, .. } = self;
                relays[n].handle(net, directory, happening);
            }
            (Some(Node::Client(n)), happening) => {
                self.with_client(n, |client, net, world| client.handle(net, world, happening));
            }
            (Some(Node::Outsider(n)), happening) => self.posts[n].handle(&mut self.net, happening),
            // Nobody listens at that address.
            (None, Happening::Incoming(end)) => self.net.send(end.far(), Happening::Closed(end.far())),
            (None, _) => {}
        }
        node
    }

    fn with_client(&mut self, n: usize, act: impl FnOnce(&mut ClientNode, &mut Net, &World<'_>)) {
        let Self { net, clients, relays, press, .. } = self;
        let find = |url: &str| relays.iter().position(|relay| relay.entry.url.as_str() == url);
        act(&mut clients[n], net, &World { press, find: &find });
    }

    fn order_disaster(&mut self, disaster: Disaster) {
        let Net { weather, rng, .. } = &mut self.net;
        if let Some(pause) = disaster.pause(weather, rng) {
            self.net.after(pause, Happening::Disaster(self.season, disaster));
        }
    }

    fn strike(&mut self, disaster: Disaster) {
        let pick = |net: &mut Net, count: usize| (net.rng.next_u64() % count.max(1) as u64) as usize;
        match disaster {
            Disaster::LinkBreaks => self.net.cut_any(),
            Disaster::RelayCrashes => {
                let n = pick(&mut self.net, self.relays.len());
                if self.relays.get(n).is_some_and(|relay| relay.state == RelayState::Alive) {
                    self.kill_relay(n);
                    self.net.totals.relays_crashed += 1;
                    self.order_restart(Node::Relay(n));
                }
            }
            Disaster::ClientCrashes => {
                let n = pick(&mut self.net, self.clients.len());
                if self.clients.get(n).is_some_and(|client| client.client.is_some()) {
                    // Half of them between the disk's write and the news of it.
                    if self.random().is_multiple_of(2) {
                        self.kill_client(n);
                    } else {
                        self.doom_client(n);
                    }
                    self.net.totals.clients_crashed += 1;
                    self.order_restart(Node::Client(n));
                }
            }
        }
        self.order_disaster(disaster);
    }

    fn order_restart(&mut self, node: Node) {
        let Net { weather, rng, .. } = &mut self.net;
        let pause = Duration::from_millis(within(&weather.down.clone(), rng));
        self.net.after(pause, Happening::Restart(node));
    }
}
