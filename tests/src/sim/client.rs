//! A simulated client: the real engine, with a disk that can be faster than the news of it.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use allium_shared::client::Client;
use allium_shared::client::api::{BatchId, Command, Event, Input, LinkId, Output, Write};
use allium_shared::time::{Instant, Now};
use rand_core::Rng;

use super::Node;
use super::directory::Press;
use super::net::{Net, Owner};
use super::schedule::{End, Happening, Kind};

/// What clients need of the world beside the network.
pub(super) struct World<'a> {
    pub(super) press: &'a Press,
    pub(super) find: &'a dyn Fn(&str) -> Option<usize>,
}

/// A client with its disk. What the disk has not written yet is lost when the client is killed.
pub(super) struct ClientNode {
    pub(super) n: usize,
    pub(super) client: Option<Client>,
    pub(super) events: Vec<Event>,
    /// Where in `events` each of its lives begins.
    pub(super) lives: Vec<usize>,
    /// Kill it the next time that its disk has written something and it has not heard of that.
    pub(super) doomed: bool,
    pub(super) disk: BTreeMap<String, Vec<u8>>,
    pub(super) peak_links: usize,
    pub(super) life: u32,
    /// How many milliseconds its wall clock is ahead.
    pub(super) ahead: i64,
    /// Whether its person takes everybody as a contact who asks.
    pub(super) approves: bool,
    /// How often it has asked for the consensus directly.
    pub(super) fetches: usize,
    writing: VecDeque<(BatchId, Vec<Write>)>,
    written_at: Instant,
    reported_at: Instant,
    links: BTreeMap<LinkId, End>,
    wake: Option<Instant>,
    /// What has come while its computer sleeps; none while it is awake.
    asleep: Option<VecDeque<Happening>>,
    /// Since when it sleeps, and how much of that its clock that cannot be set has not counted so far.
    slept: (Instant, Duration),
    /// How often its timers run at most, if not whenever they are due.
    timers: Option<Duration>,
}

impl ClientNode {
    pub(super) fn new(n: usize) -> Self {
        Self {
            n,
            client: None,
            events: Vec::new(),
            lives: Vec::new(),
            doomed: false,
            disk: BTreeMap::new(),
            peak_links: 0,
            life: 0,
            ahead: 0,
            approves: true,
            fetches: 0,
            writing: VecDeque::new(),
            written_at: Instant::from_millis(0),
            reported_at: Instant::from_millis(0),
            links: BTreeMap::new(),
            wake: None,
            asleep: None,
            slept: (Instant::from_millis(0), Duration::ZERO),
            timers: None,
        }
    }

    /// Starts the engine with what is on the disk.
    pub(super) fn start(&mut self, net: &mut Net, world: &World<'_>) {
        let mut seed = [0; 32];
        net.rng.fill_bytes(&mut seed);
        let records = self.disk.clone().into_iter().collect();
        self.lives.push(self.events.len());
        let now = self.clock(net);
        self.client = Some(Client::new(world.press.config(), records, seed, now).expect("a profile"));
        self.drain(net, world);
    }

    /// Its clocks.
    fn clock(&self, net: &Net) -> Now {
        let Now { instant, unix } = net.clock();
        let instant = Instant::from_millis(0) + instant.saturating_since(Instant::from_millis(0) + self.slept.1);
        Now { instant, unix: unix.shifted(self.ahead) }
    }

    /// Lets its computer sleep: it does nothing, and what comes waits.
    pub(super) fn suspend(&mut self, net: &Net) {
        self.asleep.get_or_insert_default();
        self.slept.0 = net.now;
    }

    /// Wakes its computer, which handles what has come. `counted` says whether its clock has gone on meanwhile.
    pub(super) fn resume(&mut self, net: &mut Net, world: &World<'_>, counted: bool) {
        let Some(waiting) = self.asleep.take() else { return };
        if !counted {
            self.slept.1 += net.now.saturating_since(self.slept.0);
        }
        self.wake = None;
        for happening in waiting {
            self.handle(net, world, happening);
        }
        self.order_wake(net);
    }

    /// Lets its timers run at most so often, as browsers do in tabs that nobody sees.
    pub(super) const fn throttle(&mut self, timers: Option<Duration>) {
        self.timers = timers;
    }

    /// Kills the engine as `kill -9` would: what is on the disk stays.
    pub(super) fn kill(&mut self, net: &mut Net) {
        self.client = None;
        self.asleep = None;
        self.doomed = false;
        self.life += 1;
        self.writing.clear();
        self.wake = None;
        for end in std::mem::take(&mut self.links).into_values() {
            net.hang_up(end);
        }
    }

    /// Something happens to the client.
    pub(super) fn handle(&mut self, net: &mut Net, world: &World<'_>, happening: Happening) {
        if let Some(waiting) = &mut self.asleep {
            return waiting.push_back(happening);
        }
        let link = |end| match net.owner(end) {
            Some(Owner::Client(_, link)) => Some(link),
            _ => None,
        };
        let input = match happening {
            Happening::Wake(_) => {
                if self.wake.is_none_or(|wake| wake > net.now) {
                    return;
                }
                self.wake = None;
                if self.due().is_some_and(|due| due > net.now) {
                    // Something else has put it off meanwhile.
                    return self.order_wake(net);
                }
                Some(Input::Timeout)
            }
            Happening::Written(_, life) if life == self.life => return self.written(net),
            Happening::Reported(_, life, batch) if life == self.life => Some(Input::Persisted(batch)),
            Happening::Opened(end) => link(end).map(Input::LinkOpened),
            Happening::Message(end, message) => link(end).map(|link| Input::LinkMessage(link, message)),
            Happening::Closed(end) => {
                let link = link(end);
                net.disown(end);
                link.map(|link| {
                    self.links.remove(&link);
                    Input::LinkClosed(link)
                })
            }
            _ => None,
        };
        if let Some(input) = input {
            self.input(net, world, input);
        }
    }

    pub(super) fn input(&mut self, net: &mut Net, world: &World<'_>, input: Input) {
        let now = self.clock(net);
        if let Some(client) = &mut self.client {
            client.handle(now, input);
            self.drain(net, world);
        }
    }

    /// The disk has written the oldest batch; the client hears of it later, or never.
    fn written(&mut self, net: &mut Net) {
        let Some((batch, writes)) = self.writing.pop_front() else { return };
        for Write { key, value } in writes {
            match value {
                Some(value) => self.disk.insert(key, value),
                None => self.disk.remove(&key),
            };
        }
        if self.doomed {
            return self.kill(net);
        }
        let pause = Duration::from_millis(net.rng.next_u64() % 3);
        self.reported_at = (net.now + pause).max(self.reported_at);
        net.schedule.push(self.reported_at, Happening::Reported(self.n, self.life, batch));
    }

    fn drain(&mut self, net: &mut Net, world: &World<'_>) {
        while let Some(output) = self.client.as_mut().and_then(Client::poll_output) {
            match output {
                Output::OpenLink { link, url } => {
                    let end = net.open(Owner::Client(self.n, link), (world.find)(&url));
                    self.links.insert(link, end);
                    self.peak_links = self.peak_links.max(self.links.len());
                }
                Output::SendLink(link, message) => {
                    if let Some(end) = self.links.get(&link) {
                        net.totals.sent(message.len());
                        net.send(end.far(), Happening::Message(end.far(), message));
                    }
                }
                Output::CloseLink(link) => {
                    if let Some(end) = self.links.remove(&link) {
                        net.hang_up(end);
                    }
                }
                Output::FetchConsensus { source, held, .. } => {
                    self.fetches += 1;
                    let (now, answer) = (self.clock(net), world.press.answer(held.as_ref()));
                    if let Some(client) = &mut self.client {
                        client.handle(now, Input::Consensus { source, answer });
                    }
                }
                Output::Persist(batch, writes) => {
                    let pause = Duration::from_millis(net.rng.next_u64() % 8);
                    self.written_at = (net.now + pause).max(self.written_at);
                    self.writing.push_back((batch, writes));
                    net.schedule.push(self.written_at, Happening::Written(self.n, self.life));
                }
                Output::Event(event) => self.told(net, event),
            }
        }
        self.order_wake(net);
    }

    fn told(&mut self, net: &mut Net, event: Event) {
        let size = match &event {
            Event::Message { text, .. } | Event::Outgoing { text, .. } => text.len() as u64,
            _ => 0,
        };
        net.note(Some(Node::Client(self.n)), Kind::Event, size);
        let command = match &event {
            // As `allium chat` does: what is printed need not be printed again.
            Event::Message { contact, id, .. } => Some(Command::Shown { contact: *contact, id: *id }),
            Event::Request { id, .. } if self.approves => Some(Command::Accept { id: *id }),
            _ => None,
        };
        let now = self.clock(net);
        if let (Some(command), Some(client)) = (command, &mut self.client) {
            client.handle(now, Input::Command(command));
        }
        self.events.push(event);
    }

    /// When it wants to be called, by the simulation's clock.
    fn due(&self) -> Option<Instant> {
        let due = self.client.as_ref().and_then(Client::poll_timeout)?;
        // What is never due stays so.
        Some(Instant::from_millis(due.as_millis().saturating_add(self.slept.1.as_millis() as u64)))
    }

    fn order_wake(&mut self, net: &mut Net) {
        let Some(due) = self.due() else { return };
        let at = due.max(net.now);
        let at = self.timers.map_or(at, |every| next_multiple(at, every));
        if self.wake.is_none_or(|set| at < set) {
            self.wake = Some(at);
            net.schedule.push(at, Happening::Wake(self.n));
        }
    }
}

/// The first moment from `at` on that is a multiple of `every`.
fn next_multiple(at: Instant, every: Duration) -> Instant {
    Instant::from_millis(at.as_millis().next_multiple_of(every.as_millis().max(1) as u64))
}
