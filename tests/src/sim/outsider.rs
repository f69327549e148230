//! Whoever speaks to relays without a client's engine: bare circuits for tests of circuits, and attackers.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use allium_shared::cell::fragment::{Assembler, split};
use allium_shared::cell::message::{Cookie, EndReason, RelayMessage, Service};
use allium_shared::cell::{Cell, CircId, Command, DestroyReason, LinkEnd};
use allium_shared::circuit::{Circuit, CircuitError, Hop, JOINED_STREAM, Received, RendezvousRole};
use allium_shared::crypto::handshake::{
    CircuitKeys, ClientHandshake, PAYLOAD_LEN, SERVER_MESSAGE_LEN, ServerHandshake, ServerPublic,
};
use allium_shared::crypto::keys::{LinkSecret, OnionSecret};
use allium_shared::link::{CELL_LEN, Initiator, Link, LinkStep, MAX_CELLS, RelayAddressee};
use rand_chacha::ChaCha20Rng;

use super::net::{Net, Owner};
use super::schedule::{End, Happening};
use super::{Node, Sim};

/// How long anything takes at most that is to happen at all.
pub const PATIENCE: Duration = Duration::from_secs(3);

/// How often an origin looks at what has come.
pub(super) const LOOK: Duration = Duration::from_millis(4);

/// Where an outsider's messages are kept until it looks.
#[derive(Default)]
pub(super) struct Post {
    wires: BTreeMap<End, Inbox>,
}

#[derive(Default)]
struct Inbox {
    open: bool,
    closed: bool,
    messages: VecDeque<Vec<u8>>,
}

impl Post {
    pub(super) fn handle(&mut self, net: &mut Net, happening: Happening) {
        match happening {
            Happening::Opened(end) => self.wires.entry(end).or_default().open = true,
            Happening::Message(end, message) => self.wires.entry(end).or_default().messages.push_back(message),
            Happening::Closed(end) => {
                net.disown(end);
                self.wires.entry(end).or_default().closed = true;
            }
            _ => {}
        }
    }
}

/// A WebSocket to a relay, and no link on it yet.
#[derive(Clone, Copy, Debug)]
pub struct Wire {
    n: usize,
    end: End,
}

impl Wire {
    /// Opens a WebSocket to a relay.
    pub fn open(sim: &mut Sim, relay: usize) -> Self {
        let n = sim.posts.len();
        sim.posts.push(Post::default());
        let end = sim.net.open(Owner::Outsider(n), Some(relay));
        Self { n, end }
    }

    /// Who this is to the relay.
    pub const fn node(self) -> Node {
        Node::Outsider(self.n)
    }

    /// Sends a WebSocket message.
    pub fn send(self, sim: &mut Sim, message: Vec<u8>) {
        sim.net.send(self.end.far(), Happening::Message(self.end.far(), message));
    }

    /// The next message that has come.
    pub fn take(self, sim: &mut Sim) -> Option<Vec<u8>> {
        sim.posts[self.n].wires.get_mut(&self.end)?.messages.pop_front()
    }

    /// Waits for a message.
    pub fn wait(self, sim: &mut Sim) -> Option<Vec<u8>> {
        sim.run_until(PATIENCE, |sim| {
            sim.posts[self.n].wires.get(&self.end).is_some_and(|inbox| inbox.closed || !inbox.messages.is_empty())
        });
        self.take(sim)
    }

    /// Whether the relay has ended it.
    pub fn is_closed(self, sim: &Sim) -> bool {
        sim.posts[self.n].wires.get(&self.end).is_some_and(|inbox| inbox.closed)
    }

    /// Hangs up.
    pub fn close(self, sim: &mut Sim) {
        if !self.is_closed(sim) {
            sim.net.hang_up(self.end);
        }
    }
}

/// What a circuit's cell, or one that belongs to no circuit, was to an origin.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    /// Something of the circuit's.
    Received(Box<Received>),
    /// Something that ended the circuit.
    Failed(CircuitError),
    /// A cell for a circuit that is not the origin's.
    Stray(Command),
}

impl Heard {
    /// The last hop's message, if it was one.
    fn message(&self) -> Option<&RelayMessage> {
        let Self::Received(received) = self else { return None };
        if let Received::Message(message) = &**received { Some(message) } else { None }
    }

    /// What the other end of a joined circuit said, if it was that.
    fn text(&self) -> Option<&[u8]> {
        let Self::Received(received) = self else { return None };
        if let Received::Data(_, data) = &**received { Some(data) } else { None }
    }
}

/// A link to a relay, and the circuits that were built over it by hand.
pub struct Origin {
    wire: Wire,
    link: Box<Link>,
    rng: ChaCha20Rng,
    next_id: u32,
    circuits: BTreeMap<CircId, Circuit>,
    heard: Vec<(CircId, Heard)>,
    raw: bool,
    /// Cells that no circuit was asked about, once [`Self::keep_raw`] was called.
    cells: VecDeque<Cell>,
}

impl Origin {
    /// A link to a relay, as a client makes one.
    ///
    /// # Panics
    ///
    /// If there is no such link to be had.
    pub fn connect(sim: &mut Sim, relay: usize) -> Self {
        Self::try_connect(sim, relay, None, None).expect("an honest handshake succeeds")
    }

    /// A link to a relay, as a relay with this link key makes one.
    pub fn connect_as(sim: &mut Sim, relay: usize, secret: &LinkSecret) -> Option<Self> {
        Self::try_connect(sim, relay, Some(secret), None)
    }

    /// A link to a relay, to whoever `addressee` is taken for; none if the handshake fails.
    pub fn try_connect(
        sim: &mut Sim,
        relay: usize,
        secret: Option<&LinkSecret>,
        addressee: Option<RelayAddressee>,
    ) -> Option<Self> {
        let entry = sim.relay(relay);
        let honest = RelayAddressee { identity: entry.identity, link_key: entry.link_key };
        let addressee = addressee.unwrap_or(honest);
        let mut rng = sim.net.fork();
        let (mut initiator, first) = match secret {
            Some(secret) => Initiator::new_relay(&mut rng, &sim.network, &addressee, secret),
            None => Initiator::new_anonymous(&mut rng, &sim.network, &addressee),
        }
        .ok()?;
        let wire = Wire::open(sim, relay);
        wire.send(sim, first);
        let answer = wire.wait(sim)?;
        let LinkStep::Established { send, link } = initiator.receive(&answer).ok()? else { return None };
        if let Some(last) = send {
            wire.send(sim, last);
        }
        let (circuits, heard, cells) = (BTreeMap::new(), Vec::new(), VecDeque::new());
        Some(Self { wire, link, rng, next_id: 0, circuits, heard, raw: false, cells })
    }

    /// Who this is to the relay.
    pub const fn node(&self) -> Node {
        self.wire.node()
    }

    /// Whether the relay has ended the link.
    pub fn is_closed(&self, sim: &Sim) -> bool {
        self.wire.is_closed(sim)
    }

    /// Hangs up.
    pub fn close(&self, sim: &mut Sim) {
        self.wire.close(sim);
    }

    /// From now on cells are kept as they come; circuits are asked about none.
    pub fn keep_raw(&mut self) {
        self.raw = true;
    }

    /// A circuit id that is free.
    pub fn new_circ(&mut self) -> CircId {
        let circ = LinkEnd::Initiator.circ_id(self.next_id);
        self.next_id += 1;
        circ
    }

    /// Sends cells as they are.
    pub fn send_cells(&mut self, sim: &mut Sim, cells: &[Cell]) {
        for cells in cells.chunks(MAX_CELLS) {
            let mut record = Vec::with_capacity(cells.len() * CELL_LEN + 16);
            cells.iter().for_each(|cell| cell.encode(&mut record));
            self.send_record(sim, record);
        }
    }

    /// Seals and sends the plain text of a record.
    pub fn send_record(&mut self, sim: &mut Sim, record: Vec<u8>) {
        let record = self.sealed(record);
        self.wire.send(sim, record);
    }

    /// Seals the plain text of a record; what is not sent now never opens.
    pub fn sealed(&mut self, mut record: Vec<u8>) -> Vec<u8> {
        self.link.sealer.seal(&mut record).expect("whole cells");
        record
    }

    /// Sends a WebSocket message as it is, whatever the link makes of it.
    pub fn send_bytes(&self, sim: &mut Sim, message: Vec<u8>) {
        self.wire.send(sim, message);
    }

    /// Begins a circuit along these relays.
    pub fn begin(&mut self, sim: &mut Sim, path: &[usize]) -> CircId {
        let hops = path.iter().map(|n| sim.hop(*n)).collect();
        self.begin_along(sim, hops)
    }

    /// Begins a circuit along these hops.
    pub fn begin_along(&mut self, sim: &mut Sim, hops: Vec<Hop>) -> CircId {
        let circ = self.new_circ();
        let mut cells = Vec::new();
        let circuit = Circuit::build(&mut self.rng, circ, hops, &mut cells).expect("keys of the consensus");
        self.circuits.insert(circ, circuit);
        self.send_cells(sim, &cells);
        circ
    }

    /// Builds a circuit along these relays; gives it whether it opens or not.
    pub fn build(&mut self, sim: &mut Sim, path: &[usize]) -> CircId {
        let circ = self.begin(sim, path);
        self.wait(sim, |origin| origin.is_open(circ) || origin.is_gone(circ));
        circ
    }

    /// Extends a circuit by one hop; says whether it is open again.
    pub fn extend(&mut self, sim: &mut Sim, circ: CircId, hop: Hop) -> bool {
        let mut cells = Vec::new();
        let Some(circuit) = self.circuits.get_mut(&circ) else { return false };
        if circuit.extend(&mut self.rng, hop, &mut cells).is_err() {
            return false;
        }
        self.send_cells(sim, &cells);
        self.wait(sim, |origin| origin.is_open(circ) || origin.is_gone(circ));
        self.is_open(circ)
    }

    /// Whether the circuit reaches the end of its path.
    pub fn is_open(&self, circ: CircId) -> bool {
        self.circuits.get(&circ).is_some_and(Circuit::is_open)
    }

    /// Whether the circuit has ended.
    pub fn is_gone(&self, circ: CircId) -> bool {
        !self.circuits.contains_key(&circ)
    }

    /// The origin's end of a circuit.
    pub fn circuit(&mut self, circ: CircId) -> Option<&mut Circuit> {
        self.circuits.get_mut(&circ)
    }

    /// The cell that would carry a message to the last hop of a circuit, with all its layers on.
    pub fn cell(&mut self, circ: CircId, message: &RelayMessage) -> Option<Cell> {
        let mut cells = Vec::new();
        self.circuits.get_mut(&circ)?.send(message, &mut cells);
        cells.pop()
    }

    /// Sends a message to the last hop.
    pub fn send(&mut self, sim: &mut Sim, circ: CircId, message: &RelayMessage) {
        let cell = self.cell(circ, message);
        self.send_cells(sim, cell.as_slice());
    }

    /// Sends text to the origin at the other end of a joined circuit.
    pub fn say(&mut self, sim: &mut Sim, circ: CircId, text: &[u8]) {
        let mut cells = Vec::new();
        if let Some(circuit) = self.circuits.get_mut(&circ) {
            circuit.write(JOINED_STREAM, text, &mut cells);
        }
        self.send_cells(sim, &cells);
    }

    /// What so many messages of a joined circuit brought is read: the other end may send more.
    pub fn consumed(&mut self, sim: &mut Sim, circ: CircId, messages: usize) {
        let mut cells = Vec::new();
        if let Some(circuit) = self.circuits.get_mut(&circ) {
            (0..messages).for_each(|_| circuit.consumed(JOINED_STREAM, &mut cells));
        }
        self.send_cells(sim, &cells);
    }

    /// Asks a service of the last hop; gives the whole answer and how it ended, or nothing if it does not end.
    pub fn ask(
        &mut self,
        sim: &mut Sim,
        circ: CircId,
        service: Service,
        argument: &[u8],
    ) -> Option<(Vec<u8>, EndReason)> {
        let mut cells = Vec::new();
        let stream = self.circuits.get_mut(&circ)?.begin(service, 0, argument, &mut cells).ok()?;
        self.send_cells(sim, &cells);
        let mut seen = self.heard.len();
        let mut answer = Vec::new();
        let end = sim.now() + 20 * PATIENCE;
        while sim.now() < end {
            self.look(sim);
            let mut cells = Vec::new();
            for (of, heard) in &self.heard[seen..] {
                let Heard::Received(received) = heard else { continue };
                match &**received {
                    Received::Data(on, data) if (*of, *on) == (circ, stream) => {
                        answer.extend_from_slice(data);
                        self.circuits.get_mut(&circ)?.consumed(stream, &mut cells);
                    }
                    Received::Ended(on, reason) if (*of, *on) == (circ, stream) => {
                        return Some((answer, *reason));
                    }
                    _ => {}
                }
            }
            seen = self.heard.len();
            self.send_cells(sim, &cells);
            sim.run_for(LOOK);
        }
        None
    }

    /// Destroys a circuit.
    pub fn destroy(&mut self, sim: &mut Sim, circ: CircId) {
        self.circuits.remove(&circ);
        self.send_cells(sim, &[Cell::destroy(circ, DestroyReason::Requested)]);
    }

    /// Looks at what has come; gives whether there was anything.
    pub fn look(&mut self, sim: &mut Sim) -> bool {
        let mut any = false;
        while let Some(mut message) = self.wire.take(sim) {
            any = true;
            let cells = self.link.opener.open(&mut message).expect("an honest relay's record");
            let cells: Vec<Cell> = cells.iter().map(|cell| Cell::decode(cell).expect("a cell")).collect();
            for cell in cells.into_iter().filter(|cell| cell.command != Command::Padding) {
                if self.raw {
                    self.cells.push_back(cell);
                } else {
                    self.handle(sim, cell);
                }
            }
        }
        any
    }

    fn handle(&mut self, sim: &mut Sim, cell: Cell) {
        let (circ, command) = (cell.circ, cell.command);
        let Some(circuit) = self.circuits.get_mut(&circ) else {
            return self.heard.push((circ, Heard::Stray(command)));
        };
        let mut cells = Vec::new();
        let heard = match circuit.handle(&mut self.rng, cell, &mut cells) {
            Ok(received) => {
                if matches!(received, Received::Destroyed(_)) {
                    self.circuits.remove(&circ);
                }
                Heard::Received(Box::new(received))
            }
            Err(error) => {
                self.circuits.remove(&circ);
                cells.push(Cell::destroy(circ, DestroyReason::Protocol));
                Heard::Failed(error)
            }
        };
        self.send_cells(sim, &cells);
        self.heard.push((circ, heard));
    }

    /// Lets time go by until something holds; `false` if it does not.
    pub fn wait(&mut self, sim: &mut Sim, holds: impl Fn(&Self) -> bool) -> bool {
        let end = sim.now() + PATIENCE;
        loop {
            self.look(sim);
            if holds(self) {
                return true;
            }
            if sim.now() >= end {
                return false;
            }
            sim.run_for(LOOK);
        }
    }

    /// Everything that was heard on a circuit.
    pub fn heard(&self, circ: CircId) -> impl Iterator<Item = &Heard> {
        self.heard.iter().filter(move |(other, _)| *other == circ).map(|(_, heard)| heard)
    }

    /// Takes out what was received on a circuit.
    pub fn take_received(&mut self, circ: CircId) -> Vec<Received> {
        let is_of = |(of, heard): &mut (CircId, Heard)| *of == circ && matches!(heard, Heard::Received(_));
        let taken: Vec<_> = self.heard.extract_if(.., is_of).collect();
        let received = taken.into_iter().filter_map(|(_, heard)| match heard {
            Heard::Received(received) => Some(*received),
            _ => None,
        });
        received.collect()
    }

    /// The next cell that was kept.
    pub fn take_cell(&mut self) -> Option<Cell> {
        self.cells.pop_front()
    }

    /// The messages of the last hop.
    pub fn messages(&self, circ: CircId) -> impl Iterator<Item = &RelayMessage> {
        self.heard(circ).filter_map(Heard::message)
    }

    /// What the origin at the other end of a joined circuit has said.
    pub fn texts(&self, circ: CircId) -> Vec<&[u8]> {
        self.heard(circ).filter_map(Heard::text).collect()
    }

    /// Waits at the last hop for whoever has the cookie; says whether the relay agreed.
    pub fn establish(&mut self, sim: &mut Sim, circ: CircId, cookie: Cookie) -> bool {
        self.send(sim, circ, &RelayMessage::EstablishRendezvous(cookie));
        let established = |origin: &Self| origin.messages(circ).any(|m| *m == RelayMessage::RendezvousEstablished);
        self.wait(sim, |origin| established(origin) || origin.is_gone(circ));
        established(self)
    }
}

/// Two origins whose circuits are joined at a relay.
pub struct Meeting {
    /// Whoever came, and its circuit.
    pub host: (Origin, CircId),
    /// Whoever asked for the meeting and waited, and its circuit.
    pub visitor: (Origin, CircId),
}

impl Meeting {
    /// Builds two circuits that end at the same relay and joins them there, each over its own link.
    pub fn arrange(sim: &mut Sim, host_path: &[usize], visitor_path: &[usize]) -> Option<Self> {
        let mut host = Origin::connect(sim, *host_path.first()?);
        let mut visitor = Origin::connect(sim, *visitor_path.first()?);
        let host_circ = host.build(sim, host_path);
        let visitor_circ = visitor.build(sim, visitor_path);
        let mut meeting = Self { host: (host, host_circ), visitor: (visitor, visitor_circ) };
        meeting.join(sim).then_some(meeting)
    }

    /// Joins two open circuits; says whether that succeeded.
    pub fn join(&mut self, sim: &mut Sim) -> bool {
        let ((host, host_circ), (visitor, visitor_circ)) = (&mut self.host, &mut self.visitor);
        let cookie = Cookie(std::array::from_fn(|at| (sim.random() as u8).wrapping_add(at as u8)));
        if !visitor.establish(sim, *visitor_circ, cookie) {
            return false;
        }
        let onion = OnionSecret::generate(&mut host.rng);
        let server = ServerPublic { identity: [7; 32], onion_key: *onion.public().as_bytes() };
        let payload = [0; PAYLOAD_LEN];
        let Ok((handshake, introduction)) = ClientHandshake::introduce(&mut visitor.rng, &server, b"a test", &payload)
        else {
            return false;
        };
        // The host knows of it: how introductions travel is nothing to this.
        let received = ServerHandshake::receive(&server.identity, &onion, b"a test", &introduction);
        let Ok((answer, mut stream)) = received.and_then(|(received, _)| received.reply(&mut host.rng)) else {
            return false;
        };
        for fragment in split(&answer) {
            let cookie = (fragment.index == 0).then_some(cookie);
            host.send(sim, *host_circ, &RelayMessage::Rendezvous1 { cookie, fragment });
        }
        let keys = CircuitKeys::from(&mut stream);
        if let Some(circuit) = host.circuit(*host_circ) {
            circuit.join(RendezvousRole::Service, &keys);
        }
        let Some(answer) = collect(sim, visitor, *visitor_circ, |message| match message {
            RelayMessage::Rendezvous2(fragment) => Some(fragment.clone()),
            _ => None,
        }) else {
            return false;
        };
        let Ok(mut stream) = handshake.finish(&answer[..SERVER_MESSAGE_LEN]) else { return false };
        if let Some(circuit) = visitor.circuit(*visitor_circ) {
            circuit.join(RendezvousRole::Client, &CircuitKeys::from(&mut stream));
        }
        true
    }

    /// Lets the visitor say something; gives what of it has arrived once nothing more comes.
    pub fn visitor_says(&mut self, sim: &mut Sim, text: &[u8]) -> bool {
        let ((host, host_circ), (visitor, circ)) = (&mut self.host, &mut self.visitor);
        visitor.say(sim, *circ, text);
        settle(sim, visitor, host, |_, host| host.texts(*host_circ).contains(&text) || host.is_gone(*host_circ));
        host.texts(*host_circ).contains(&text)
    }

    /// Lets the host say something; gives whether it has arrived.
    pub fn host_says(&mut self, sim: &mut Sim, text: &[u8]) -> bool {
        let ((host, circ), (visitor, visitor_circ)) = (&mut self.host, &mut self.visitor);
        host.say(sim, *circ, text);
        settle(sim, host, visitor, |_, visitor| {
            visitor.texts(*visitor_circ).contains(&text) || visitor.is_gone(*visitor_circ)
        });
        visitor.texts(*visitor_circ).contains(&text)
    }

    /// Waits until both circuits have ended; says whether they have.
    pub fn wait_for_end(&mut self, sim: &mut Sim) -> bool {
        let ((host, host_circ), (visitor, visitor_circ)) = (&mut self.host, &mut self.visitor);
        settle(sim, host, visitor, |host, visitor| host.is_gone(*host_circ) && visitor.is_gone(*visitor_circ))
    }
}

/// Lets time go by for two origins until something holds.
fn settle(sim: &mut Sim, a: &mut Origin, b: &mut Origin, holds: impl Fn(&Origin, &Origin) -> bool) -> bool {
    let end = sim.now() + PATIENCE;
    loop {
        a.look(sim);
        b.look(sim);
        if holds(a, b) {
            return true;
        }
        if sim.now() >= end {
            return false;
        }
        sim.run_for(LOOK);
    }
}

/// Waits for the three fragments of a message.
fn collect(
    sim: &mut Sim,
    origin: &mut Origin,
    circ: CircId,
    pick: impl Fn(&RelayMessage) -> Option<allium_shared::cell::fragment::Fragment>,
) -> Option<Vec<u8>> {
    let come = |origin: &Origin| origin.messages(circ).filter_map(&pick).collect::<Vec<_>>();
    origin.wait(sim, |origin| come(origin).len() >= 3 || origin.is_gone(circ));
    let mut assembler = Assembler::default();
    let mut whole = None;
    for fragment in come(origin) {
        whole = assembler.push(&fragment).ok()?;
    }
    whole
}
