//! An origin against other relays that a test plays, honest and not.

use std::collections::BTreeMap;
use std::ops::DerefMut;
use std::sync::Mutex;

use rand_core::SeedableRng;

use super::order::StreamOpening;
use super::*;
use crate::cell::Command;
use crate::cell::message::{EndReason, MAX_ARGUMENT_LEN, RelayMessage, Service};
use crate::circuit::CircuitError;
use crate::crypto::cgo::{RelayBackward, RelayForward, Tag};
use crate::crypto::handshake::{CircuitKeys, respond};
use crate::crypto::keys::{IdentityKeypair, LinkPublic, OnionSecret};
use crate::flow::{FlowError, MAX_STREAMS, STREAM_WINDOW};
use crate::link::Padding;
use crate::relay::handshakes::Request;
use crate::relay::introductions::IntroductionTable;
use crate::relay::rendezvous::RendezvousTable;
use crate::relay::tables::Tables;
use crate::stream::request::{StreamRequest, StreamRequestError};
use crate::stream::two_way::TwoWay;
use crate::stream::{EndCause, OPEN_ENDED, Produced, StreamContext, StreamEnd, StreamHandler};
use crate::time::UnixTime;

const TESTED: Service = Service(250);

/// The origin, and the one link that leads to all other relays.
const ORIGIN: u8 = 0;
const LINK: u8 = 1;

/// The relay around the origin.
struct Desk {
    listed: BTreeMap<RelayIdentity, Hop>,
    connects: Vec<(RelayIdentity, LinkEvent<u8>)>,
    events: Vec<(u8, LinkEvent<u8>)>,
    cells: Vec<Cell>,
    relieve: bool,
    rendezvous: RendezvousTable<u8>,
    introductions: IntroductionTable<u8>,
}

impl Tables for Desk {
    type Link = u8;

    fn rendezvous(&mut self) -> impl DerefMut<Target = RendezvousTable<u8>> {
        &mut self.rendezvous
    }

    fn introductions(&mut self) -> impl DerefMut<Target = IntroductionTable<u8>> {
        &mut self.introductions
    }
}

impl Switch for Desk {
    fn forward(&mut self, link: &u8, cells: Vec<Cell>) {
        assert_eq!(*link, LINK);
        self.cells.extend(cells);
    }

    fn tell(&mut self, link: &u8, event: LinkEvent<u8>) {
        self.events.push((*link, event));
    }

    fn connect(&mut self, relay: RelayIdentity, event: LinkEvent<u8>) {
        self.connects.push((relay, event));
    }

    fn answer(&mut self, _: Request<u8>) {
        panic!("an origin answers no handshakes");
    }

    fn relieve(&mut self) {
        self.relieve = true;
    }

    fn padding(&self) -> Padding {
        Padding::default()
    }

    fn relay_by_link_key(&self, _: &LinkPublic) -> Option<RelayIdentity> {
        None
    }
}

impl OriginSwitch for Desk {
    fn hop(&self, relay: &RelayIdentity) -> Option<Hop> {
        self.listed.get(relay).cloned()
    }
}

/// The other end of a circuit.
struct Peer {
    at_origin: CircId,
    circ: CircId,
    forward: RelayForward,
    backward: RelayBackward,
}

impl Peer {
    fn cell(&mut self, mut cell: Cell) -> Cell {
        self.backward.originate(cell.command as u8, &mut cell.body);
        cell.circ = self.at_origin;
        cell
    }

    fn message(&mut self, message: &RelayMessage) -> Cell {
        self.cell(message.to_cell(self.circ, Command::Relay))
    }
}

struct World {
    now: Now,
    rng: ChaCha20Rng,
    origin: Origin<u8>,
    desk: Desk,
    memory: Arc<Memory>,
    onions: BTreeMap<RelayIdentity, OnionSecret>,
    next_circ: u32,
}

fn own() -> RelayIdentity {
    RelayIdentity([1; 32])
}

impl World {
    fn new(relays: usize) -> (Self, Vec<RelayIdentity>) {
        let mut rng = ChaCha20Rng::seed_from_u64(5);
        let (mut listed, mut onions, mut identities) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
        for _ in 0..relays {
            let identity = IdentityKeypair::generate(&mut rng).identity();
            let onion = OnionSecret::generate(&mut rng);
            listed.insert(identity, Hop { identity, onion_key: onion.public() });
            onions.insert(identity, onion);
            identities.push(identity);
        }
        let memory = Arc::new(Memory::new(2_000_000));
        let origin = Origin::new(ORIGIN, own(), Arc::clone(&memory), StreamWakers::none(), rng.clone());
        let desk = Desk {
            listed,
            connects: Vec::new(),
            events: Vec::new(),
            cells: Vec::new(),
            relieve: false,
            rendezvous: RendezvousTable::new(0),
            introductions: IntroductionTable::new(0, own(), [0; 32]),
        };
        let now = Now { instant: Instant::from_millis(1000), unix: UnixTime::from_millis(1_800_000_000_000) };
        (Self { now, rng, origin, desk, memory, onions, next_circ: 100 }, identities)
    }

    fn order(&mut self, relay: RelayIdentity, order: Order) -> Result<OrderId, OriginError> {
        self.origin.order(self.now, relay, order, &mut self.desk)
    }

    fn request(&mut self, relay: RelayIdentity, request: StreamRequest) -> OrderId {
        self.order(relay, Order::Request(request)).unwrap()
    }

    /// The other relay answers the handshake that the origin has begun last.
    fn answer(&mut self) -> Peer {
        let (relay, event) = self.desk.connects.pop().unwrap();
        let LinkEvent::Open { origin: (ORIGIN, at_origin), message } = event else { panic!("{event:?}") };
        let onion = &self.onions[&relay];
        let (answer, mut stream) = respond(&mut self.rng, relay.as_bytes(), onion, b"", &message).unwrap();
        let keys = CircuitKeys::from(&mut stream);
        let circ = CircId(self.next_circ);
        self.next_circ += 1;
        self.event(LinkEvent::Opened { circ: at_origin, next: (LINK, circ), message: answer.to_vec() });
        match self.desk.events.pop() {
            Some((LINK, LinkEvent::BeginsHere { circ: told, origin })) => {
                assert_eq!((told, origin), (circ, (ORIGIN, at_origin)));
            }
            other => panic!("{other:?}"),
        }
        let (forward, backward) = (RelayForward::new(&keys.forward), RelayBackward::new(&keys.backward));
        Peer { at_origin, circ, forward, backward }
    }

    /// What the origin has sent to a peer.
    fn heard(&mut self, peer: &mut Peer) -> Vec<(RelayMessage, Tag)> {
        let cells: Vec<_> = self.desk.cells.extract_if(.., |cell| cell.circ == peer.circ).collect();
        let hear = |mut cell: Cell| {
            let tag = peer.forward.process(cell.command as u8, &mut cell.body).unwrap();
            (RelayMessage::in_cell(&cell).unwrap(), tag)
        };
        cells.into_iter().map(hear).collect()
    }

    /// The streams that the origin has begun on a circuit.
    fn begun(&mut self, peer: &mut Peer) -> Vec<StreamId> {
        let stream = |(message, _): (RelayMessage, Tag)| match message {
            RelayMessage::Begin { stream, .. } => Some(stream),
            _ => None,
        };
        self.heard(peer).into_iter().filter_map(stream).collect()
    }

    fn bring(&mut self, peer: &mut Peer, messages: &[RelayMessage]) {
        let cells = messages.iter().map(|message| peer.message(message)).collect();
        self.origin.handle_cells(self.now, cells, &mut self.desk);
    }

    fn event(&mut self, event: LinkEvent<u8>) {
        self.origin.handle_event(self.now, event, &mut self.desk);
    }

    fn pass(&mut self, time: Duration) {
        self.now.instant = self.now.instant + time;
        self.origin.handle_timeout(self.now, &mut self.desk);
    }

    fn outcomes(&mut self) -> Vec<(OrderId, Result<Vec<u8>, OriginError>)> {
        let outcome = |event| match event {
            OriginEvent::Answered(id, result) => (id, result.map(|answer| answer.bytes)),
            OriginEvent::StreamOver(id, result) => (id, result.map(|()| Vec::new())),
        };
        std::iter::from_fn(|| self.origin.poll_event()).map(outcome).collect()
    }

    /// Whether the link was told to destroy a peer's circuit, and nothing else.
    fn destroyed(&mut self) -> Vec<(CircId, DestroyReason)> {
        let told = |(link, event)| match event {
            LinkEvent::Destroy { circ, reason } if link == LINK => (circ, reason),
            other => panic!("{other:?}"),
        };
        self.desk.events.drain(..).map(told).collect()
    }

    fn assert_nothing_is_held(&self) {
        assert_eq!((self.origin.reserved(), self.memory.queued()), (0, 0));
    }
}

fn request() -> StreamRequest {
    StreamRequest::new(TESTED, b"what".to_vec())
}

const fn connected(stream: StreamId, body: u64) -> RelayMessage {
    RelayMessage::Connected { stream, body }
}

fn data(stream: StreamId, len: usize) -> RelayMessage {
    RelayMessage::Data { stream, data: vec![9; len] }
}

const fn end(stream: StreamId, reason: EndReason) -> RelayMessage {
    RelayMessage::End { stream, reason }
}

#[test]
fn requests_share_a_circuit_that_closes_when_it_is_idle() {
    let (mut world, relays) = World::new(1);
    let first = world.request(relays[0], request());
    let second = world.request(relays[0], request());
    assert_eq!(world.desk.connects.len(), 1);
    let mut peer = world.answer();
    let streams = world.begun(&mut peer);
    assert_eq!(streams.len(), 2);
    for stream in streams {
        world.bring(&mut peer, &[connected(stream, 5), data(stream, 5), end(stream, EndReason::DONE)]);
    }
    assert_eq!(world.outcomes(), [(first, Ok(vec![9; 5])), (second, Ok(vec![9; 5]))]);
    world.assert_nothing_is_held();
    world.pass(IDLE_TIME - Duration::from_secs(1));
    let third = world.request(relays[0], request());
    let stream = world.begun(&mut peer)[0];
    world.bring(&mut peer, &[connected(stream, 0), end(stream, EndReason::DONE)]);
    assert_eq!(world.outcomes(), [(third, Ok(Vec::new()))]);
    world.pass(IDLE_TIME - Duration::from_secs(1));
    assert_eq!((world.origin.circuits(), world.destroyed()), (1, Vec::new()));
    world.pass(Duration::from_secs(1));
    assert_eq!(world.origin.circuits(), 0);
    assert_eq!(world.destroyed(), [(peer.circ, DestroyReason::Requested)]);
}

#[test]
fn itself_and_strangers_are_refused_and_nothing_else_ends() {
    let (mut world, relays) = World::new(1);
    let id = world.request(relays[0], request());
    let mut peer = world.answer();
    assert_eq!(world.order(own(), Order::Request(request())), Err(OriginError::OwnRelay));
    let stranger = RelayIdentity([9; 32]);
    assert_eq!(world.order(stranger, Order::Request(request())), Err(OriginError::NotListed));
    let long = StreamRequest::new(TESTED, vec![1; MAX_ARGUMENT_LEN + 1]);
    assert_eq!(world.order(relays[0], Order::Request(long)), Err(OriginError::LongArgument));
    let log = Log::default();
    let handler = Box::new(Idle(Arc::clone(&log)));
    let opening = StreamOpening { service: TESTED, argument: Vec::new(), len: OPEN_ENDED, handler };
    assert_eq!(world.order(stranger, Order::Stream(opening)), Err(OriginError::NotListed));
    assert_eq!(*log.lock().unwrap(), [EndCause::CircuitLost], "its handler always hears the end");
    // One that is listed no longer is a stranger, too, although its circuit is still there.
    let listed = std::mem::take(&mut world.desk.listed);
    assert_eq!(world.order(relays[0], Order::Request(request())), Err(OriginError::NotListed));
    world.desk.listed = listed;
    assert!(world.desk.connects.is_empty() && world.destroyed().is_empty());
    let stream = world.begun(&mut peer)[0];
    world.bring(&mut peer, &[connected(stream, 1), data(stream, 1), end(stream, EndReason::DONE)]);
    assert_eq!(world.outcomes(), [(id, Ok(vec![9]))]);
}

#[test]
fn a_relay_that_can_not_be_reached_fails_what_waits_for_it() {
    let (mut world, relays) = World::new(2);
    let lost = world.request(relays[0], request());
    let (_, event) = world.desk.connects.pop().unwrap();
    let other = world.request(relays[1], request());
    let LinkEvent::Open { origin: (_, circ), .. } = event else { panic!("{event:?}") };
    world.event(LinkEvent::OpenFailed { circ, reason: DestroyReason::ConnectFailed });
    assert_eq!(world.outcomes(), [(lost, Err(OriginError::NotOpened(DestroyReason::ConnectFailed)))]);
    // Nothing comes at all: a link that hangs.
    world.pass(BUILD_TIME);
    assert_eq!(world.outcomes(), [(other, Err(OriginError::TimedOut))]);
    // What comes too late is closed.
    let (_, event) = world.desk.connects.pop().unwrap();
    let LinkEvent::Open { origin: (_, circ), .. } = event else { panic!("{event:?}") };
    world.event(LinkEvent::Opened { circ, next: (LINK, CircId(7)), message: Vec::new() });
    assert_eq!(world.destroyed(), [(CircId(7), DestroyReason::Requested)]);
    world.assert_nothing_is_held();
}

#[test]
fn a_relay_without_the_right_key_is_refused() {
    let (mut world, relays) = World::new(1);
    let id = world.request(relays[0], request());
    let (_, event) = world.desk.connects.pop().unwrap();
    let LinkEvent::Open { origin: (_, circ), .. } = event else { panic!("{event:?}") };
    world.event(LinkEvent::Opened { circ, next: (LINK, CircId(7)), message: vec![3; SERVER_MESSAGE_LEN] });
    let outcomes = world.outcomes();
    assert!(
        matches!(&outcomes[..], [(failed, Err(OriginError::Misbehaved(CircuitError::Handshake(_))))] if *failed == id),
        "{outcomes:?}"
    );
    assert_eq!(world.destroyed(), [(CircId(7), DestroyReason::Protocol)]);
    assert_eq!(world.origin.circuits(), 0);
    world.assert_nothing_is_held();
}

#[test]
fn a_relay_that_breaks_the_protocol_loses_its_circuit_alone() {
    let (mut world, relays) = World::new(2);
    let bad = world.request(relays[0], request());
    let mut peer = world.answer();
    let stream = world.begun(&mut peer)[0];
    let honest = world.request(relays[1], request());
    let mut other = world.answer();
    let other_stream = world.begun(&mut other)[0];
    let mut garbage = peer.message(&RelayMessage::Drop);
    garbage.body[20] ^= 1;
    world.origin.handle_cells(world.now, vec![garbage], &mut world.desk);
    assert_eq!(world.outcomes(), [(bad, Err(OriginError::Misbehaved(CircuitError::Unrecognised)))]);
    assert_eq!(world.destroyed(), [(peer.circ, DestroyReason::Protocol)]);
    // What comes afterwards is for nobody.
    world.bring(&mut peer, &[connected(stream, 0)]);
    // A stream that was never opened, and a message that relays don't send to clients of services.
    let no_stream = OriginError::Misbehaved(CircuitError::Flow(FlowError::NoSuchStream(StreamId(77))));
    let unexpected = OriginError::Misbehaved(CircuitError::UnexpectedMessage { hop: 0 });
    let wrong = [(data(StreamId(77), 1), no_stream), (RelayMessage::RendezvousEstablished, unexpected)];
    for (message, error) in wrong {
        let bad = world.request(relays[0], request());
        let mut peer = world.answer();
        world.bring(&mut peer, &[message]);
        assert_eq!(world.outcomes(), [(bad, Err(error))]);
        assert_eq!(world.destroyed(), [(peer.circ, DestroyReason::Protocol)]);
        world.desk.cells.retain(|cell| cell.circ != peer.circ);
    }
    world.bring(&mut other, &[connected(other_stream, 1), data(other_stream, 1), end(other_stream, EndReason::DONE)]);
    assert_eq!(world.outcomes(), [(honest, Ok(vec![9]))]);
    world.assert_nothing_is_held();
}

#[test]
fn a_relay_that_floods_a_stream_nobody_reads_loses_the_circuit() {
    let (mut world, relays) = World::new(1);
    let log = Log::default();
    let opening = StreamOpening {
        service: TESTED,
        argument: Vec::new(),
        len: OPEN_ENDED,
        handler: Box::new(Idle(Arc::clone(&log))),
    };
    let id = world.order(relays[0], Order::Stream(opening)).unwrap();
    let mut peer = world.answer();
    let stream = world.begun(&mut peer)[0];
    world.bring(&mut peer, &[connected(stream, OPEN_ENDED)]);
    let flood = vec![data(stream, 488); usize::from(STREAM_WINDOW)];
    world.bring(&mut peer, &flood);
    assert!(world.outcomes().is_empty() && world.memory.queued() >= 470, "{} cells", world.memory.queued());
    world.bring(&mut peer, &[data(stream, 488)]);
    assert_eq!(world.outcomes(), [(id, Ok(Vec::new()))]);
    assert_eq!(*log.lock().unwrap(), [EndCause::CircuitLost]);
    assert_eq!(world.destroyed(), [(peer.circ, DestroyReason::Protocol)]);
    world.assert_nothing_is_held();
}

#[test]
fn answers_that_are_too_long_end_early_or_never_come_cost_one_request() {
    let (mut world, relays) = World::new(1);
    let failed = |error| Err(OriginError::Request(error));
    let kept = world.request(relays[0], request().with_max_answer(100));
    let mut peer = world.answer();
    let kept_stream = world.begun(&mut peer)[0];
    let mut misused = |world: &mut World, messages: &dyn Fn(StreamId) -> Vec<RelayMessage>| {
        let id = world.request(relays[0], request().with_max_answer(100));
        let stream = world.begun(&mut peer)[0];
        world.bring(&mut peer, &messages(stream));
        let mut outcomes = world.outcomes();
        assert_eq!(outcomes.len(), 1);
        let (of, outcome) = outcomes.pop().unwrap();
        assert_eq!(of, id);
        // The origin has ended it, too: so may the other relay, or not.
        world.heard(&mut peer);
        outcome
    };
    let outcome = misused(&mut world, &|stream| vec![connected(stream, 3), data(stream, 4)]);
    assert_eq!(outcome, failed(StreamRequestError::TooLong));
    let outcome = misused(&mut world, &|stream| vec![connected(stream, 101)]);
    assert_eq!(outcome, failed(StreamRequestError::TooLarge { max: 100 }));
    let outcome = misused(&mut world, &|stream| vec![connected(stream, OPEN_ENDED), data(stream, 101)]);
    assert_eq!(outcome, failed(StreamRequestError::TooLarge { max: 100 }));
    let outcome =
        misused(&mut world, &|stream| vec![connected(stream, 50), data(stream, 10), end(stream, EndReason::INTERNAL)]);
    assert_eq!(outcome, failed(StreamRequestError::EndedEarly(EndReason::INTERNAL)));
    let outcome = misused(&mut world, &|stream| vec![end(stream, EndReason::RESOURCELIMIT)]);
    assert_eq!(outcome, failed(StreamRequestError::Refused(EndReason::RESOURCELIMIT)));
    // The first is still there, and ends in time because nothing comes.
    world.bring(&mut peer, &[connected(kept_stream, 5), data(kept_stream, 2)]);
    world.pass(Duration::from_secs(10));
    assert_eq!(world.outcomes(), [(kept, failed(StreamRequestError::TimedOut))]);
    // A relay that is stuck gets no further requests on this circuit.
    assert_eq!(world.destroyed(), [(peer.circ, DestroyReason::Requested)]);
    let again = world.request(relays[0], request());
    let mut peer = world.answer();
    let stream = world.begun(&mut peer)[0];
    world.bring(&mut peer, &[connected(stream, 0), end(stream, EndReason::DONE)]);
    assert_eq!(world.outcomes(), [(again, Ok(Vec::new()))]);
    world.assert_nothing_is_held();
}

#[test]
fn a_circuit_that_is_lost_fails_its_orders_only() {
    let (mut world, relays) = World::new(2);
    let log = Log::default();
    let handler = Box::new(Idle(Arc::clone(&log)));
    let opening = StreamOpening { service: TESTED, argument: Vec::new(), len: OPEN_ENDED, handler };
    let (lost, stream) = (world.request(relays[0], request()), world.order(relays[0], Order::Stream(opening)).unwrap());
    let peer = world.answer();
    let other = world.request(relays[1], request());
    world.answer();
    world.event(LinkEvent::Destroy { circ: peer.at_origin, reason: DestroyReason::LinkClosed });
    assert_eq!(world.outcomes(), [(lost, Err(OriginError::CircuitLost)), (stream, Ok(Vec::new()))]);
    assert_eq!(*log.lock().unwrap(), [EndCause::CircuitLost]);
    assert!(world.destroyed().is_empty(), "the link has forgotten it already");
    world.origin.close(world.now, &mut world.desk);
    assert_eq!(world.outcomes(), [(other, Err(OriginError::Stopped))]);
    world.assert_nothing_is_held();
}

#[test]
fn there_are_limits_for_circuits_orders_and_memory() {
    let (mut world, relays) = World::new(MAX_CIRCUITS + 1);
    let large = request().with_max_answer(MAX_RESERVED + 1);
    assert_eq!(world.order(relays[0], Order::Request(large)), Err(OriginError::Full(OriginLimit::Memory)));
    let half = request().with_max_answer(MAX_RESERVED / 2);
    world.request(relays[0], half.clone());
    let refused = world.order(relays[1], Order::Request(half));
    assert_eq!(refused, Err(OriginError::Full(OriginLimit::Memory)), "the argument counts, too");
    for relay in &relays[1..MAX_CIRCUITS] {
        world.request(*relay, request());
    }
    let last = relays[MAX_CIRCUITS];
    assert_eq!(world.order(last, Order::Request(request())), Err(OriginError::Full(OriginLimit::Circuits)));
    for _ in 1..MAX_WAITING {
        world.request(relays[0], StreamRequest::new(TESTED, Vec::new()).with_max_answer(0));
    }
    assert_eq!(world.order(relays[0], Order::Request(request())), Err(OriginError::Full(OriginLimit::Waiting)));
    // A circuit that is idle makes room for another relay.
    let mut peer = world.answer();
    let stream = world.begun(&mut peer)[0];
    world.bring(&mut peer, &[connected(stream, 0), end(stream, EndReason::DONE)]);
    world.request(last, request());
    assert_eq!(world.destroyed(), [(peer.circ, DestroyReason::Requested)]);
    assert_eq!(world.origin.circuits(), MAX_CIRCUITS);
    world.pass(BUILD_TIME);
    assert_eq!(world.origin.circuits(), 0);
    world.assert_nothing_is_held();
}

#[test]
fn what_finds_no_free_stream_waits_or_moves_to_another_circuit() {
    let (mut world, relays) = World::new(1);
    let ids: Vec<_> = (0..MAX_STREAMS + 2).map(|_| world.request(relays[0], request())).collect();
    let mut peer = world.answer();
    let streams = world.begun(&mut peer);
    assert_eq!(streams.len(), MAX_STREAMS);
    world.bring(&mut peer, &[connected(streams[0], 0), end(streams[0], EndReason::DONE)]);
    assert_eq!(world.begun(&mut peer).len(), 1);
    assert_eq!(world.outcomes(), [(ids[0], Ok(Vec::new()))]);
    // All the others stall; what still waits goes over a new circuit.
    world.pass(Duration::from_secs(10));
    assert_eq!(world.outcomes().len(), MAX_STREAMS);
    let mut fresh = world.answer();
    let streams = world.begun(&mut fresh);
    world.bring(&mut fresh, &[connected(streams[0], 0), end(streams[0], EndReason::DONE)]);
    assert_eq!(world.outcomes(), [(ids[MAX_STREAMS + 1], Ok(Vec::new()))]);
    world.assert_nothing_is_held();
}

#[test]
fn an_order_can_be_cancelled_while_it_waits_and_while_it_runs() {
    let (mut world, relays) = World::new(1);
    let (waiting, running) = (world.request(relays[0], request()), world.request(relays[0], request()));
    world.origin.cancel(world.now, waiting, &mut world.desk);
    assert_eq!(world.outcomes(), [(waiting, Err(OriginError::Cancelled))]);
    let mut peer = world.answer();
    assert_eq!(world.begun(&mut peer).len(), 1);
    world.origin.cancel(world.now, running, &mut world.desk);
    let ended = Err(OriginError::Request(StreamRequestError::EndedEarly(EndReason::MISC)));
    assert_eq!(world.outcomes(), [(running, ended)]);
    assert!(matches!(world.heard(&mut peer)[..], [(RelayMessage::End { reason: EndReason::MISC, .. }, _)]));
    world.origin.cancel(world.now, running, &mut world.desk);
    assert!(world.outcomes().is_empty());
    world.assert_nothing_is_held();
}

#[test]
fn the_circuit_that_holds_most_ends_when_the_relay_is_over_its_memory() {
    let (mut world, relays) = World::new(2);
    let small = world.request(relays[0], request());
    let large = world.request(relays[1], request().with_body(vec![7; 1_500_000]));
    let mut peer = world.answer();
    world.begun(&mut peer);
    world.answer();
    assert!(!world.desk.relieve);
    world.request(relays[1], request().with_body(vec![7; 600_000]));
    assert!(world.desk.relieve && world.origin.load().queued() > 0);
    world.event(LinkEvent::Shed);
    let outcomes = world.outcomes();
    assert_eq!(outcomes.len(), 2);
    assert!(
        outcomes
            .iter()
            .all(|(id, outcome)| { *id >= large && *outcome == Err(OriginError::Full(OriginLimit::Memory)) })
    );
    assert!(small < large);
    assert_eq!(world.origin.circuits(), 1);
}

#[test]
fn a_stream_in_both_directions_goes_on_when_it_is_woken() {
    let (mut world, relays) = World::new(1);
    let shared = Arc::new(Mutex::new(TwoWay::new()));
    let handler = Box::new(SharedTwoWay(Arc::clone(&shared)));
    let opening = StreamOpening { service: TESTED, argument: Vec::new(), len: OPEN_ENDED, handler };
    let id = world.order(relays[0], Order::Stream(opening)).unwrap();
    let mut peer = world.answer();
    let stream = world.begun(&mut peer)[0];
    world.bring(&mut peer, &[connected(stream, OPEN_ENDED), data(stream, 5)]);
    assert_eq!(shared.lock().unwrap().read(100), [9; 5]);
    shared.lock().unwrap().write(b"hello");
    assert!(world.heard(&mut peer).is_empty());
    world.event(LinkEvent::Wake { circ: peer.at_origin, stream });
    assert!(matches!(&world.heard(&mut peer)[..], [(RelayMessage::Data { data, .. }, _)] if data == b"hello"));
    shared.lock().unwrap().finish();
    world.event(LinkEvent::Wake { circ: peer.at_origin, stream });
    assert!(matches!(world.heard(&mut peer)[..], [(RelayMessage::End { reason: EndReason::DONE, .. }, _)]));
    assert_eq!(world.outcomes(), [(id, Ok(Vec::new()))]);
    assert_eq!(shared.lock().unwrap().end(), Some(EndCause::Handler(EndReason::DONE)));
    world.assert_nothing_is_held();
}

type Log = Arc<Mutex<Vec<EndCause>>>;

/// Takes nothing and sends nothing.
struct Idle(Log);

impl StreamHandler for Idle {
    fn opened(&mut self, _: &mut StreamContext<'_>) -> Result<(), EndReason> {
        Ok(())
    }

    fn data(&mut self, _: &mut StreamContext<'_>, _: &[u8]) -> Result<usize, EndReason> {
        Ok(0)
    }

    fn writable(&mut self, _: &mut StreamContext<'_>, _: &mut [u8]) -> Result<Produced, EndReason> {
        Ok(Produced::Pending)
    }

    fn ended(&mut self, end: StreamEnd) {
        self.0.lock().unwrap().push(end.cause);
    }
}

struct SharedTwoWay(Arc<Mutex<TwoWay>>);

impl StreamHandler for SharedTwoWay {
    fn opened(&mut self, context: &mut StreamContext<'_>) -> Result<(), EndReason> {
        self.0.lock().unwrap().opened(context)
    }

    fn data(&mut self, context: &mut StreamContext<'_>, bytes: &[u8]) -> Result<usize, EndReason> {
        self.0.lock().unwrap().data(context, bytes)
    }

    fn writable(&mut self, context: &mut StreamContext<'_>, room: &mut [u8]) -> Result<Produced, EndReason> {
        self.0.lock().unwrap().writable(context, room)
    }

    fn ended(&mut self, end: StreamEnd) {
        self.0.lock().unwrap().ended(end);
    }
}
