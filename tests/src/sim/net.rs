//! The network between the nodes: WebSockets that delay, keep order, and break.

use std::time::Duration;

use allium_shared::client::api::LinkId;
use allium_shared::time::{Instant, Now, UnixTime};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

use super::observer::Observer;
use super::report::Totals;
use super::schedule::{End, Happening, Kind, Schedule};
use super::trace::{Happened, Trace};
use super::weather::{Weather, within};
use super::{Node, START};

/// Time, chance and the WebSockets: what all nodes share.
pub(super) struct Net {
    pub(super) rng: ChaCha20Rng,
    pub(super) now: Instant,
    pub(super) schedule: Schedule,
    pub(super) trace: Trace,
    pub(super) weather: Weather,
    pub(super) observer: Option<Box<Observer>>,
    pub(super) totals: Totals,
    sockets: Vec<Socket>,
    /// The numbers of the sockets that have an owner at both ends.
    whole: Vec<usize>,
}

/// Who has one end of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    Relay(usize),
    Client(usize, LinkId),
    Outsider(usize),
}

impl Owner {
    pub(super) const fn node(self) -> Node {
        match self {
            Self::Relay(n) => Node::Relay(n),
            Self::Client(n, _) => Node::Client(n),
            Self::Outsider(n) => Node::Outsider(n),
        }
    }
}

struct Socket {
    owners: [Option<Owner>; 2],
    /// To which relay it was opened; none, if there is no such relay.
    target: Option<usize>,
    /// The last arrival at each end, so that messages keep their order.
    arrivals: [Instant; 2],
    latency: u64,
    /// It broke: nothing that is sent now arrives.
    cut: bool,
    /// Where it stands in `whole`.
    place: Option<usize>,
}

impl Net {
    pub(super) fn new(rng: ChaCha20Rng, weather: Weather) -> Self {
        Self {
            rng,
            now: Instant::from_millis(0),
            schedule: Schedule::default(),
            trace: Trace::default(),
            weather,
            observer: None,
            totals: Totals::default(),
            sockets: Vec::new(),
            whole: Vec::new(),
        }
    }

    pub(super) fn clock(&self) -> Now {
        Now { instant: self.now, unix: UnixTime::from_millis(START * 1000 + self.now.as_millis()) }
    }

    pub(super) fn fork(&mut self) -> ChaCha20Rng {
        ChaCha20Rng::seed_from_u64(self.rng.next_u64())
    }

    pub(super) fn after(&mut self, pause: Duration, happening: Happening) {
        self.schedule.push(self.now + pause, happening);
    }

    pub(super) fn note(&mut self, node: Option<Node>, kind: Kind, size: u64) {
        self.trace.note(Happened { at: self.now, node, kind, size });
    }

    /// The owner of this end.
    pub(super) fn owner(&self, end: End) -> Option<Owner> {
        self.sockets.get(end.socket()).and_then(|socket| socket.owners[end.side()])
    }

    /// The relay that a socket was opened to.
    pub(super) fn target(&self, end: End) -> Option<usize> {
        self.sockets.get(end.socket()).and_then(|socket| socket.target)
    }

    /// Opens a socket towards a relay, or towards nobody; gives the near end.
    pub(super) fn open(&mut self, owner: Owner, target: Option<usize>) -> End {
        let end = End(self.sockets.len() as u64 * 2);
        let latency = within(&self.weather.latency, &mut self.rng);
        self.sockets.push(Socket {
            owners: [Some(owner), None],
            target,
            arrivals: [self.now; 2],
            latency,
            cut: false,
            place: None,
        });
        self.send(end.far(), Happening::Incoming(end.far()));
        end
    }

    /// A relay takes the far end of a socket.
    pub(super) fn accept(&mut self, end: End, owner: Owner) {
        let socket = &mut self.sockets[end.socket()];
        socket.owners[end.side()] = Some(owner);
        if socket.owners[end.far().side()].is_some() && !socket.cut {
            socket.place = Some(self.whole.len());
            self.whole.push(end.socket());
        }
        self.send(end.far(), Happening::Opened(end.far()));
    }

    /// Sends something to one end, behind all that is on its way there.
    pub(super) fn send(&mut self, to: End, happening: Happening) {
        let jitter = self.rng.next_u64() % (self.weather.jitter + 1);
        let socket = &mut self.sockets[to.socket()];
        if socket.cut {
            return;
        }
        let at = (self.now + Duration::from_millis(socket.latency + jitter)).max(socket.arrivals[to.side()]);
        socket.arrivals[to.side()] = at;
        self.schedule.push(at, happening);
    }

    /// The owner of this end closes it.
    pub(super) fn hang_up(&mut self, end: End) {
        self.disown(end);
        self.send(end.far(), Happening::Closed(end.far()));
    }

    /// This end has no owner any more.
    pub(super) fn disown(&mut self, end: End) {
        let socket = &mut self.sockets[end.socket()];
        socket.owners[end.side()] = None;
        if let Some(place) = socket.place.take() {
            self.whole.swap_remove(place);
            if let Some(moved) = self.whole.get(place) {
                self.sockets[*moved].place = Some(place);
            }
        }
    }

    /// Breaks a socket: both ends learn of it, and what is under way is lost where it comes later than the news.
    pub(super) fn cut(&mut self, number: usize) {
        for end in [End(number as u64 * 2), End(number as u64 * 2 + 1)] {
            let pause = Duration::from_millis(self.rng.next_u64() % 20);
            self.after(pause, Happening::Closed(end));
        }
        let socket = &mut self.sockets[number];
        socket.cut = true;
        if let Some(place) = socket.place.take() {
            self.whole.swap_remove(place);
            if let Some(moved) = self.whole.get(place) {
                self.sockets[*moved].place = Some(place);
            }
        }
        self.totals.links_broken += 1;
    }

    /// Breaks a random socket that has two owners.
    pub(super) fn cut_any(&mut self) {
        let count = self.whole.len() as u64;
        if count > 0 {
            let at = usize::try_from(self.rng.next_u64() % count).unwrap_or_default();
            self.cut(self.whole[at]);
        }
    }

    /// How many sockets have an owner at both ends.
    pub(super) fn open_sockets(&self) -> usize {
        self.whole.len()
    }

    /// The sockets that have an owner at both ends, with those owners.
    pub(super) fn sockets(&self) -> impl Iterator<Item = (usize, Node, Node)> + '_ {
        self.sockets.iter().enumerate().filter(|(_, socket)| !socket.cut).filter_map(|(number, socket)| {
            let [near, far] = socket.owners;
            Some((number, near?.node(), far?.node()))
        })
    }
}
