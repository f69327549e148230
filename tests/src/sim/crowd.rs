//! A crowd of clients that talk in pairs while links break and relays crash, and the account of what became of it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use allium_shared::client::CircuitCounts;
use allium_shared::client::api::{Command, ContactId, ContactState, DeliveryState, Event, MessageId, Progress};
use serde::Serialize;

use super::report::{ClientPeak, RelayPeak, Totals};
use super::{Node, Sim, Weather};

/// How long the crowd may take to arrive: all clients ready, and each with its contact.
const ARRIVAL: Duration = Duration::from_secs(300);

/// How long what was said may still be under way once nobody speaks and nothing breaks any more.
const GRACE: Duration = Duration::from_secs(300);

/// How often the sizes of all tables are looked at.
const SAMPLE: Duration = Duration::from_secs(2);

/// The token of the reminder to look at all tables; smaller ones are clients.
const SAMPLE_TOKEN: u64 = u64::MAX;

/// How a crowd is made up.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What everything is drawn from.
    pub seed: u64,
    /// Relays.
    pub relays: usize,
    /// Clients; an odd one stays alone.
    pub clients: usize,
    /// For how long they talk.
    pub talk: Duration,
    /// The mean time between two messages of one client.
    pub pause: Duration,
    /// What goes wrong meanwhile.
    pub weather: Weather,
}

/// How far a run has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// What is going on.
    pub phase: &'static str,
    /// Virtual time, in milliseconds.
    pub millis: u64,
    /// Things that have happened.
    pub happenings: u64,
    /// Clients that are connected with their contact.
    pub connected: usize,
    /// Messages that were sent.
    pub sent: u64,
    /// Messages that have arrived.
    pub delivered: u64,
}

/// What became of a crowd.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// What everything was drawn from.
    pub seed: u64,
    /// Relays.
    pub relays: usize,
    /// Clients.
    pub clients: usize,
    /// How long the clients talked, in virtual seconds.
    pub seconds: u64,
    /// How long all of it was, in virtual seconds.
    pub seconds_in_all: u64,
    /// Clients that never found their contact.
    pub strangers: usize,
    /// Circuits that reached the end of their path.
    pub circuits_built: u64,
    /// Circuits that ended before that.
    pub circuits_failed: u64,
    /// Circuits that ended later, without the client's wish.
    pub circuits_lost: u64,
    /// Circuits that failed or were lost, by what ended them.
    pub circuit_ends: BTreeMap<&'static str, u64>,
    /// Messages on a sender's disk.
    pub messages_sent: u64,
    /// Those that have arrived.
    pub messages_delivered: u64,
    /// Those that have not.
    pub messages_lost: u64,
    /// Messages that were shown again though the client had not been started again.
    pub messages_duplicated: u64,
    /// Messages that came before one that was sent earlier.
    pub messages_disordered: u64,
    /// What nodes and links have done.
    pub totals: Totals,
    /// The most that one relay kept.
    pub relay_peak: RelayPeak,
    /// The most that one client kept.
    pub client_peak: ClientPeak,
    /// Things that happened.
    pub happenings: u64,
    /// The hash over all of them.
    pub trace: String,
}

impl Report {
    /// Whether every message arrived, once and in its turn.
    pub const fn is_clean(&self) -> bool {
        self.messages_lost == 0 && self.messages_duplicated == 0 && self.messages_disordered == 0 && self.strangers == 0
    }
}

/// What is known of one client's conversation.
#[derive(Default)]
struct Talker {
    ready: bool,
    contact: Option<ContactId>,
    connected: bool,
    /// Numbers of messages that are on its disk.
    queued: HashSet<u64>,
    /// Messages that it has been shown since it was started.
    shown: HashSet<MessageId>,
    /// Numbers that it has been shown, ever.
    received: HashSet<u64>,
    last: Option<u64>,
    next: u64,
    duplicated: u64,
    disordered: u64,
    invited: bool,
    /// What its engine had counted when it was last looked at.
    counts: CircuitCounts,
    /// What the engines of its earlier lives had counted.
    before: Vec<CircuitCounts>,
    lives: u64,
}

/// A crowd at work.
struct Crowd {
    sim: Sim,
    plan: Plan,
    talkers: Vec<Talker>,
    invites: HashMap<usize, String>,
    talking: bool,
    sent: u64,
    delivered: u64,
    peak: ClientPeak,
}

/// Runs a crowd; tells now and then how far it has come.
pub fn run(plan: &Plan, mut tell: impl FnMut(Standing)) -> Report {
    let fair = Weather { link_breaks: None, relay_crashes: None, client_crashes: None, ..plan.weather.clone() };
    let mut crowd = Crowd {
        sim: Sim::with_weather(plan.seed, plan.relays, plan.clients, fair.clone()),
        plan: plan.clone(),
        talkers: (0..plan.clients).map(|_| Talker::default()).collect(),
        invites: HashMap::new(),
        talking: false,
        sent: 0,
        delivered: 0,
        peak: ClientPeak::default(),
    };
    crowd.sim.remind(SAMPLE, SAMPLE_TOKEN);
    for n in 0..plan.clients {
        crowd.listen(n);
    }
    let pairs = plan.clients / 2 * 2;
    crowd.run("arriving", ARRIVAL, &mut tell, |crowd| crowd.connected() >= pairs);
    crowd.begin_to_talk();
    crowd.run("talking", plan.talk, &mut tell, |_| false);
    crowd.talking = false;
    crowd.sim.set_weather(fair);
    crowd.run("waiting for the last", GRACE, &mut tell, |crowd| crowd.delivered >= crowd.sent);
    crowd.report()
}

impl Crowd {
    /// Lets the simulation go on until something holds, but no longer than `limit`.
    fn run(
        &mut self,
        phase: &'static str,
        limit: Duration,
        tell: &mut impl FnMut(Standing),
        holds: impl Fn(&Self) -> bool,
    ) {
        let end = self.sim.now() + limit;
        let mut next = self.sim.now();
        while self.sim.now() < end && !holds(self) {
            if self.sim.now() >= next {
                tell(self.standing(phase));
                next = self.sim.now() + Duration::from_secs(10);
            }
            // Whether it holds changes with what people are told, so it is enough to ask every moment.
            let moment = self.sim.now() + Duration::from_millis(100);
            while self.sim.next_at().is_some_and(|at| at <= moment) {
                if let Some(Node::Client(n)) = self.sim.step() {
                    self.listen(n);
                } else {
                    self.keep_appointments();
                }
            }
            self.sim.skip_to(moment);
        }
        tell(self.standing(phase));
    }

    fn standing(&self, phase: &'static str) -> Standing {
        Standing {
            phase,
            millis: self.sim.now().as_millis(),
            happenings: self.sim.trace().happenings(),
            connected: self.connected(),
            sent: self.sent,
            delivered: self.delivered,
        }
    }

    fn connected(&self) -> usize {
        self.talkers.iter().filter(|talker| talker.connected).count()
    }

    /// Takes in what a client has told its person.
    fn listen(&mut self, n: usize) {
        if !self.sim.has_events(n) && self.sim.life(n) == self.talkers[n].lives {
            return;
        }
        let life = self.sim.life(n);
        let talker = &mut self.talkers[n];
        if talker.lives != life {
            talker.lives = life;
            talker.shown.clear();
            talker.connected = false;
            let counts = std::mem::take(&mut talker.counts);
            talker.before.push(counts);
        }
        for event in self.sim.take_events(n) {
            self.told(n, event);
        }
    }

    fn told(&mut self, n: usize, event: Event) {
        let talker = &mut self.talkers[n];
        match event {
            Event::Progress { step: Progress::Ready } if !talker.ready => {
                talker.ready = true;
                // Of each pair the one with the even number invites the other.
                if n.is_multiple_of(2) && n + 1 < self.plan.clients {
                    talker.invited = true;
                    self.sim.command(n, Command::invite());
                } else {
                    self.accept(n);
                }
                self.listen(n);
            }
            Event::Invite { fragment, .. } => {
                self.invites.insert(n, fragment);
                self.accept(n + 1);
            }
            Event::Contact { id, state, .. } => {
                talker.contact = Some(id);
                talker.connected = state == ContactState::Connected;
            }
            Event::Outgoing { text, state: DeliveryState::Queued, .. } => {
                if let Some(number) = number_in(&text)
                    && talker.queued.insert(number)
                {
                    self.sent += 1;
                    // It can have arrived before its sender has heard of its own disk.
                    if self.talkers.get(n ^ 1).is_some_and(|other| other.received.contains(&number)) {
                        self.delivered += 1;
                    }
                }
            }
            Event::Message { id, text, .. } => {
                let Some(number) = number_in(&text) else { return };
                if !talker.shown.insert(id) {
                    talker.duplicated += 1;
                } else if talker.received.insert(number) {
                    if talker.last.is_some_and(|last| last > number) {
                        talker.disordered += 1;
                    }
                    talker.last = Some(number);
                    if self.talkers.get(n ^ 1).is_some_and(|other| other.queued.contains(&number)) {
                        self.delivered += 1;
                    }
                }
            }
            _ => {}
        }
    }

    /// Takes the invite of the other one of a pair, once both are there.
    fn accept(&mut self, n: usize) {
        let Some(before) = n.checked_sub(1) else { return };
        if !self.talkers.get(n).is_some_and(|talker| talker.ready && !talker.invited) {
            return;
        }
        let Some(link) = self.invites.remove(&before) else { return };
        self.talkers[n].invited = true;
        let command = Command::add(link, "friend", Some("visitor"));
        self.sim.command(n, command);
        self.listen(n);
    }

    fn begin_to_talk(&mut self) {
        self.talking = true;
        self.sim.set_weather(self.plan.weather.clone());
        for n in 0..self.plan.clients {
            self.order_message(n);
        }
    }

    fn order_message(&mut self, n: usize) {
        let span = u64::try_from(self.plan.pause.as_millis()).unwrap_or(u64::MAX / 2).max(1) * 2;
        let pause = Duration::from_millis(1 + self.sim.random() % span);
        self.sim.remind(pause, n as u64);
    }

    fn keep_appointments(&mut self) {
        for token in self.sim.take_appointments() {
            if token == SAMPLE_TOKEN {
                self.sample();
                self.sim.remind(SAMPLE, SAMPLE_TOKEN);
            } else if self.talking {
                let n = usize::try_from(token).unwrap_or_default();
                self.speak(n);
                self.order_message(n);
            }
        }
    }

    fn speak(&mut self, n: usize) {
        let talker = &mut self.talkers[n];
        let Some(to) = talker.contact.filter(|_| self.sim.is_running(n)) else { return };
        let number = talker.next;
        talker.next += 1;
        // Most of what people write is short.
        let len = 10 + self.sim.random() % if number % 20 == 19 { 4000 } else { 200 };
        let text = format!("{number} {}", "a".repeat(usize::try_from(len).unwrap_or_default()));
        self.sim.command(n, Command::Send { to, text });
        self.listen(n);
    }

    fn sample(&mut self) {
        self.sim.sample();
        for (n, talker) in self.talkers.iter_mut().enumerate() {
            if self.sim.is_running(n) {
                let client = self.sim.client(n);
                self.peak.circuits = self.peak.circuits.max(client.circuits());
                talker.counts = client.circuit_counts();
            }
            self.peak.links = self.peak.links.max(self.sim.peak_links(n));
        }
    }

    fn report(mut self) -> Report {
        self.sample();
        let pairs = self.plan.clients / 2 * 2;
        let mut report = Report {
            seed: self.plan.seed,
            relays: self.plan.relays,
            clients: self.plan.clients,
            seconds: self.plan.talk.as_secs(),
            seconds_in_all: self.sim.now().as_millis() / 1000,
            strangers: (0..pairs).filter(|n| self.talkers[*n].contact.is_none()).count(),
            messages_sent: self.sent,
            totals: self.sim.totals().clone(),
            client_peak: self.peak,
            happenings: self.sim.trace().happenings(),
            trace: format!("{:016x}", self.sim.trace().hash()),
            ..Report::default()
        };
        for n in 0..self.sim.relay_count() {
            report.relay_peak = report.relay_peak.max(self.sim.peak_of(n));
        }
        for n in 0..pairs {
            let (from, to) = (&self.talkers[n], &self.talkers[n ^ 1]);
            report.messages_lost += from.queued.difference(&to.received).count() as u64;
            report.messages_delivered += from.queued.intersection(&to.received).count() as u64;
        }
        for talker in &self.talkers {
            report.messages_duplicated += talker.duplicated;
            report.messages_disordered += talker.disordered;
            for counts in talker.before.iter().chain([&talker.counts]) {
                report.circuits_built += counts.opened;
                for (losses, sum) in
                    [(counts.failed, &mut report.circuits_failed), (counts.lost, &mut report.circuits_lost)]
                {
                    let kinds = [
                        ("timeout", losses.timeout),
                        ("destroyed by a relay", losses.destroyed),
                        ("protocol", losses.protocol),
                        ("link lost", losses.link),
                    ];
                    for (kind, count) in kinds {
                        *sum += count;
                        *report.circuit_ends.entry(kind).or_default() += count;
                    }
                }
            }
        }
        report
    }
}

fn number_in(text: &str) -> Option<u64> {
    text.split(' ').next()?.parse().ok()
}
