//! Links of one relay whose sockets take nothing, as far as a test wants.

use std::collections::VecDeque;
use std::ops::DerefMut;

use rand_core::SeedableRng as _;

use super::*;
use crate::cell::Command;
use crate::cell::message::Service;
use crate::circuit::{Circuit, Hop, Received};
use crate::crypto::keys::{IdentityKeypair, OnionSecret};
use crate::relay::introductions::IntroductionTable;
use crate::relay::memory;
use crate::relay::rendezvous::RendezvousTable;
use crate::relay::services::{NoMirror, SharedUserKeys, relay_services};
use crate::stream::EndReason;
use crate::stream::exchange::{Reply, RequestService};
use crate::time::UnixTime;

/// Which link of the relay.
type Id = usize;

/// Everything that a relay's links want of it.
struct Desk {
    events: VecDeque<(Id, LinkEvent<Id>)>,
    requests: Vec<Request<Id>>,
    relieve: bool,
    padding: Padding,
    rendezvous: RendezvousTable<Id>,
    introductions: IntroductionTable<Id>,
}

impl Desk {
    fn new(relay: RelayIdentity) -> Self {
        Self {
            events: VecDeque::new(),
            requests: Vec::new(),
            relieve: false,
            padding: Padding::default(),
            rendezvous: RendezvousTable::new(100),
            introductions: IntroductionTable::new(100, relay, [1; 32]),
        }
    }
}

impl Tables for Desk {
    type Link = Id;

    fn rendezvous(&mut self) -> impl DerefMut<Target = RendezvousTable<Id>> {
        &mut self.rendezvous
    }

    fn introductions(&mut self) -> impl DerefMut<Target = IntroductionTable<Id>> {
        &mut self.introductions
    }
}

impl Switch for Desk {
    fn forward(&mut self, link: &Id, _: Vec<Cell>) {
        panic!("nothing leads to link {link}");
    }

    fn tell(&mut self, link: &Id, event: LinkEvent<Id>) {
        self.events.push_back((*link, event));
    }

    fn connect(&mut self, relay: RelayIdentity, _: LinkEvent<Id>) {
        panic!("nobody asked for {relay}");
    }

    fn answer(&mut self, request: Request<Id>) {
        self.requests.push(request);
    }

    fn relieve(&mut self) {
        self.relieve = true;
    }

    fn padding(&self) -> Padding {
        self.padding
    }

    fn relay_by_link_key(&self, _: &LinkPublic) -> Option<RelayIdentity> {
        None
    }
}

/// A client with a link to the relay and circuits that end there.
struct ClientSide {
    link: crate::link::Link,
    circuits: Vec<Circuit>,
}

struct Relay {
    now: Instant,
    rng: ChaCha20Rng,
    keys: Arc<LinkKeys>,
    memory: Arc<Memory>,
    desk: Desk,
    links: Vec<RelayLink<Id>>,
    clients: Vec<ClientSide>,
}

impl Relay {
    /// A relay that keeps at most so many cells.
    fn new(max: usize) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(3);
        let identity = IdentityKeypair::generate(&mut rng).identity();
        let (link, onion) = (LinkSecret::generate(&mut rng), OnionSecret::generate(&mut rng));
        let services = relay_services(NoMirror, &SharedUserKeys::default(), true).with_requests(HOARD, Hoard);
        let services = Arc::new(services);
        let circuits = Arc::new(RelayKeys { identity, onion: onion.into(), services });
        Self {
            now: Instant::from_millis(1000),
            rng,
            keys: Arc::new(LinkKeys { network: [1; 32], link, circuits }),
            memory: Arc::new(Memory::new(max * crate::cell::CELL_LEN)),
            desk: Desk::new(identity),
            links: Vec::new(),
            clients: Vec::new(),
        }
    }

    fn clock(&self) -> Now {
        Now { instant: self.now, unix: UnixTime::from_millis(1_800_000_000_000 + self.now.as_millis()) }
    }

    /// A client opens a link.
    fn connect(&mut self) -> Id {
        let id = self.links.len();
        let rng = ChaCha20Rng::seed_from_u64(100 + id as u64);
        let mut link =
            RelayLink::respond(id, self.keys.clone(), self.memory.clone(), StreamWakers::none(), rng, self.now);
        let addressee = RelayAddressee { identity: self.keys.circuits.identity, link_key: self.keys.link.public() };
        let (mut initiator, mut first) =
            Initiator::new_anonymous(&mut self.rng, &self.keys.network, &addressee).unwrap();
        link.handle_message(self.clock(), &mut first, &mut self.desk).unwrap();
        let answer = link.poll_transmit(self.now).unwrap().unwrap();
        let LinkStep::Established { link: own, .. } = initiator.receive(&answer).unwrap() else { panic!() };
        self.links.push(link);
        self.clients.push(ClientSide { link: *own, circuits: Vec::new() });
        id
    }

    /// A client opens a circuit; nothing else may wait on its link.
    fn open(&mut self, id: Id) {
        let keys = &self.keys.circuits;
        let hop = Hop { identity: keys.identity, onion_key: keys.onion.public() };
        let circ = LinkEnd::Initiator.circ_id(self.clients[id].circuits.len() as u32);
        let mut cells = Vec::new();
        let mut circuit = Circuit::build(&mut self.rng, circ, vec![hop], &mut cells).unwrap();
        self.bring(id, &cells).unwrap();
        while !circuit.is_open() {
            for cell in self.transmit(id) {
                circuit.handle(&mut self.rng, cell, &mut cells).unwrap();
            }
        }
        self.clients[id].circuits.push(circuit);
    }

    /// A client asks for more bytes than the window of a stream takes.
    fn draw(&mut self, id: Id, circuit: usize) -> Result<(), LinkError> {
        let mut cells = Vec::new();
        let len = u64::from(u32::MAX).to_be_bytes();
        self.clients[id].circuits[circuit].begin(Service::SOURCE, 0, &len, &mut cells).unwrap();
        self.bring(id, &cells)
    }

    /// A client sends part of a body that is longer.
    fn upload(&mut self, id: Id, circuit: usize, messages: usize) {
        let mut cells = Vec::new();
        let origin = &mut self.clients[id].circuits[circuit];
        let stream = origin.begin(HOARD, 400_000, &[], &mut cells).unwrap();
        (0..messages).for_each(|_| origin.send_data(stream, &[7; 488], &mut cells));
        cells.chunks(31).for_each(|cells| self.bring(id, cells).unwrap());
    }

    /// A client's cells reach the relay, which does all that comes of them but send.
    fn bring(&mut self, id: Id, cells: &[Cell]) -> Result<(), LinkError> {
        let mut record = Vec::new();
        cells.iter().for_each(|cell| cell.encode(&mut record));
        self.clients[id].link.sealer.seal(&mut record).unwrap();
        let clock = self.clock();
        self.links[id].handle_message(clock, &mut record, &mut self.desk)?;
        loop {
            for request in std::mem::take(&mut self.desk.requests) {
                let (link, answered) = request.answer(&mut self.rng);
                self.desk.events.push_back((link, answered.into()));
            }
            if std::mem::take(&mut self.desk.relieve) {
                let loads = self.links.iter().enumerate().map(|(id, link)| (id, &**link.load()));
                let worst = memory::worst(self.now, loads).unwrap();
                self.desk.events.push_back((worst, LinkEvent::Shed));
            }
            let Some((to, event)) = self.desk.events.pop_front() else { return Ok(()) };
            let clock = self.clock();
            self.links[to].handle_event(clock, event, &mut self.desk);
        }
    }

    /// The relay sends one record; gives its cells.
    fn transmit(&mut self, id: Id) -> Vec<Cell> {
        let mut record = self.links[id].poll_transmit(self.now).unwrap().unwrap_or_default();
        if record.is_empty() {
            return Vec::new();
        }
        let cells = self.clients[id].link.opener.open(&mut record).unwrap();
        cells.iter().map(|cell| Cell::decode(cell).unwrap()).filter(|cell| cell.circ != CircId::NONE).collect()
    }
}

#[test]
fn a_relay_that_keeps_too_much_ends_the_circuit_of_whoever_does_not_read() {
    let mut relay = Relay::new(1400);
    let (stuck, reading) = (relay.connect(), relay.connect());
    relay.open(stuck);
    relay.open(stuck);
    relay.open(reading);
    relay.draw(stuck, 0).unwrap();
    relay.draw(stuck, 1).unwrap();
    assert_eq!(relay.memory.queued(), 1002, "two windows, and two that say that the streams are open");
    // Time goes by; the other client comes, and reads.
    relay.now = relay.now + Duration::from_secs(3);
    relay.draw(reading, 0).unwrap();
    assert!(!relay.memory.is_over());
    assert_eq!(relay.links[stuck].circuits(), 1, "one of the two had to go");
    assert_eq!(relay.links[reading].circuits(), 1);
    let mut got = 0;
    for _ in 0..100 {
        for cell in relay.transmit(reading) {
            let heard = relay.clients[reading].circuits[0].handle(&mut relay.rng, cell, &mut Vec::new()).unwrap();
            got += usize::from(matches!(heard, Received::Data(..)));
        }
    }
    assert_eq!(got, usize::from(crate::flow::STREAM_WINDOW));
    // The one who lost its circuit is told.
    let mut told = false;
    for _ in 0..100 {
        told |= relay.transmit(stuck).iter().any(|cell| cell.destroy_reason() == DestroyReason::ResourceLimit);
    }
    assert!(told);
    assert_eq!(relay.memory.queued(), 0);
}

#[test]
fn a_relay_that_keeps_too_much_ends_a_link_that_is_stuck() {
    let mut relay = Relay::new(600);
    let (stuck, reading) = (relay.connect(), relay.connect());
    relay.open(stuck);
    relay.open(reading);
    relay.draw(stuck, 0).unwrap();
    relay.now = relay.now + STUCK_TIME;
    relay.draw(reading, 0).unwrap();
    assert!(relay.links[stuck].poll_timeout() <= relay.now);
    let clock = relay.clock();
    assert_eq!(relay.links[stuck].handle_timeout(clock, &mut relay.desk), Err(LinkError::Overfull));
    assert_eq!(relay.links[reading].handle_timeout(clock, &mut relay.desk), Ok(()));
    assert_eq!(relay.links[reading].circuits(), 1);
}

#[test]
fn refusals_do_not_pile_up_and_come_to_an_end() {
    let mut relay = Relay::new(1_000_000);
    let id = relay.connect();
    let flood = |relay: &mut Relay, records: u32| {
        (0..records).try_for_each(|n| {
            let circ = |m| LinkEnd::Initiator.circ_id(n * 31 + m);
            let cells: Vec<_> = (0..31)
                .map(|m| Cell { command: Command::Relay, ..Cell::destroy(circ(m), DestroyReason::None) })
                .collect();
            relay.bring(id, &cells)
        })
    };
    // Slowly enough, for so long that they would fill the queue.
    for _ in 0..MAX_LINK_QUEUED / 3100 + 3 {
        relay.now = relay.now + Duration::from_secs(4);
        assert_eq!(flood(&mut relay, 100), Ok(()));
    }
    assert_eq!(relay.links[id].queued(), MAX_LINK_QUEUED);
    // Too fast for a mistake.
    assert_eq!(flood(&mut relay, REFUSALS.1 / 31 + 1), Err(LinkError::Flood));
}

#[test]
fn what_waited_on_a_link_that_ends_is_not_counted_any_more() {
    let mut relay = Relay::new(10_000);
    let id = relay.connect();
    relay.open(id);
    relay.draw(id, 0).unwrap();
    assert_eq!(relay.memory.queued(), 501);
    let link = relay.links.remove(id);
    link.close(relay.now, &mut relay.desk);
    assert_eq!(relay.memory.queued(), 0);
}

/// Where it can't be one of a relay's.
const HOARD: Service = Service(250);

/// Takes a long body.
#[derive(Debug)]
struct Hoard;

impl RequestService for Hoard {
    fn max_body(&self) -> usize {
        400_000
    }

    fn answer(&self, _: crate::stream::exchange::Request) -> Result<Reply, EndReason> {
        Err(EndReason::MISC)
    }
}

#[test]
fn what_streams_hold_counts_and_the_circuit_that_holds_most_ends_first() {
    // Bodies grow by doubling, so they take up to twice what was sent.
    let mut relay = Relay::new(1000);
    let (small, large) = (relay.connect(), relay.connect());
    relay.open(small);
    (0..2).for_each(|_| relay.open(large));
    relay.upload(small, 0, 100);
    relay.upload(large, 0, 100);
    relay.upload(large, 1, 300);
    assert!((500..=1000).contains(&relay.memory.queued()), "{} cells", relay.memory.queued());
    assert_eq!((relay.links[small].circuits(), relay.links[large].circuits()), (1, 2));
    relay.upload(large, 0, 300);
    assert!(!relay.memory.is_over());
    assert_eq!((relay.links[small].circuits(), relay.links[large].circuits()), (1, 1));
    // The ends of all circuits give everything back.
    while let Some(link) = relay.links.pop() {
        link.close(relay.now, &mut relay.desk);
    }
    assert_eq!(relay.memory.queued(), 0);
}

#[test]
fn a_client_that_never_reads_loses_its_link() {
    let mut relay = Relay::new(1_000_000);
    let id = relay.connect();
    let circuits = MAX_LINK_QUEUED / usize::from(crate::flow::STREAM_WINDOW) + 1;
    (0..circuits).for_each(|_| relay.open(id));
    let outcome = (0..circuits).try_for_each(|circuit| relay.draw(id, circuit));
    assert_eq!(outcome, Err(LinkError::Overfull));
}

#[test]
fn an_idle_link_pads_unless_that_is_turned_off() {
    let count = |padding| {
        let mut relay = Relay::new(100);
        relay.desk.padding = padding;
        let id = relay.connect();
        (0..600)
            .filter(|_| {
                relay.now = relay.now + Duration::from_millis(100);
                relay.links[id].poll_transmit(relay.now).unwrap().is_some()
            })
            .count()
    };
    assert!((24..=60).contains(&count(Padding::default())), "a pause of 1 to 2.5 s in each of 60 s");
    assert_eq!(count(Padding::OFF), 1, "once a minute a link says that it lives");
}

#[test]
fn a_link_counts_what_it_does() {
    let mut relay = Relay::new(1_000_000);
    let id = relay.connect();
    assert_eq!(relay.links[id].take_counts(), LinkCounts::default());
    (0..3).for_each(|_| relay.open(id));
    let counts = relay.links[id].take_counts();
    assert_eq!((counts.records_opened, counts.records_sealed), (3, 3));
    assert_eq!((counts.circuits.handshakes_answered, counts.circuits.handshakes_refused), (3, 0));
    assert_eq!(counts.circuits.ended().map(|(_, ended)| ended).sum::<u64>(), 0);
    assert_eq!(relay.links[id].take_counts(), LinkCounts::default(), "counts are given once");

    // A handshake that is none, a circuit that its client ends, and one that breaks the rules.
    let circ = |n| LinkEnd::Initiator.circ_id(n);
    let garbage = crate::cell::fragment::split(&[0; crate::crypto::handshake::CLIENT_MESSAGE_LEN]);
    let garbage: Vec<_> = garbage.iter().map(|fragment| fragment.to_cell(circ(9), Command::Create)).collect();
    relay.bring(id, &garbage).unwrap();
    relay.bring(id, &[Cell::destroy(circ(0), DestroyReason::Requested)]).unwrap();
    relay.bring(id, &[Cell { command: Command::Relay, ..Cell::destroy(circ(1), DestroyReason::None) }]).unwrap();
    // And one that lives until the link ends.
    let ended = |counts: LinkCounts| counts.circuits.ended().filter(|(_, ended)| *ended > 0).collect::<Vec<_>>();
    let counts = relay.links[id].take_counts();
    assert_eq!(counts.circuits.handshakes_failed, 1);
    assert_eq!(ended(counts), [(DestroyReason::Protocol, 1), (DestroyReason::Requested, 1)]);
    let counts = relay.links.remove(id).close(relay.now, &mut relay.desk);
    assert_eq!(ended(counts), [(DestroyReason::LinkClosed, 1)]);
}

#[test]
fn a_circuit_that_is_given_up_counts_as_an_overrun() {
    let mut relay = Relay::new(400);
    let id = relay.connect();
    relay.open(id);
    relay.draw(id, 0).unwrap();
    let counts = relay.links[id].take_counts().circuits;
    assert_eq!((counts.overruns, counts.ended().map(|(_, ended)| ended).sum::<u64>()), (1, 0));
}
