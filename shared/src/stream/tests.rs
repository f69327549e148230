//! Requests and two-way streams over a circuit of one hop, against a relay's streams and against relays that break the rules.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use super::body::Body;
use super::exchange::{Reply, Request, RequestService};
use super::registry::ServiceRegistry;
use super::request::{RequestResult, RunningRequest, StreamRequest, StreamRequestError};
use super::service::{Opening, StreamService};
use super::two_way::{MAX_WAITING, TwoWay, TwoWayStream};
use super::*;
use crate::cell::fragment::{Assembler, Fragment, split};
use crate::cell::message::RelayMessage;
use crate::cell::{Cell, CircId, Command};
use crate::circuit::{Circuit, Hop, Received};
use crate::crypto::cgo::{RelayBackward, RelayForward, Tag};
use crate::crypto::handshake::{CLIENT_MESSAGE_LEN, CircuitKeys, respond};
use crate::crypto::keys::{IdentityKeypair, OnionSecret};
use crate::flow::STREAM_WINDOW;
use crate::relay::streams::{Originate, Streams, StreamsEnv};
use crate::time::{Instant, UnixTime};

const CIRC: CircId = CircId(0x8000_0001);

/// Where it can't be one of a relay's.
const TESTED: Service = Service(250);

/// Both ends of a circuit.
struct Ends {
    now: Now,
    rng: ChaCha20Rng,
    circuit: Circuit,
    /// From the origin, on their way.
    cells: Vec<Cell>,
    last_hop: LastHop,
    streams: Streams,
    services: ServiceRegistry,
    held: Arc<AtomicUsize>,
}

struct LastHop {
    forward: RelayForward,
    backward: RelayBackward,
    /// To the origin, on their way.
    cells: Vec<Cell>,
}

impl Originate for LastHop {
    fn message(&mut self, message: &RelayMessage) -> Tag {
        self.originate(message.to_cell(CIRC, Command::Relay))
    }

    fn data(&mut self, stream: StreamId, bytes: &[u8]) -> Tag {
        self.originate(RelayMessage::data_cell(CIRC, stream, bytes))
    }
}

impl LastHop {
    fn originate(&mut self, mut cell: Cell) -> Tag {
        let tag = self.backward.originate(cell.command as u8, &mut cell.body);
        self.cells.push(cell);
        tag
    }
}

impl Ends {
    fn open(services: ServiceRegistry) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(7);
        let identity = IdentityKeypair::generate(&mut rng).identity();
        let onion = OnionSecret::generate(&mut rng);
        let mut cells = Vec::new();
        let path = vec![Hop { identity, onion_key: onion.public() }];
        let mut circuit = Circuit::build(&mut rng, CIRC, path, &mut cells).unwrap();
        let mut assembler = Assembler::default();
        let message = cells.drain(..).find_map(|cell| assembler.push(&Fragment::in_cell(&cell)).unwrap()).unwrap();
        let message = &message[..CLIENT_MESSAGE_LEN];
        let (answer, mut stream) = respond(&mut rng, identity.as_bytes(), &onion, b"", message).unwrap();
        let keys = CircuitKeys::from(&mut stream);
        for fragment in split(&answer) {
            circuit.handle(&mut rng, fragment.to_cell(CIRC, Command::Created), &mut cells).unwrap();
        }
        let (forward, backward) = (RelayForward::new(&keys.forward), RelayBackward::new(&keys.backward));
        let held = Arc::new(AtomicUsize::new(0));
        let now = Now { instant: Instant::from_millis(1000), unix: UnixTime::from_millis(1_800_000_000_000) };
        Self {
            now,
            rng,
            circuit,
            cells,
            last_hop: LastHop { forward, backward, cells: Vec::new() },
            streams: Streams::new(Arc::clone(&held)),
            services,
            held,
        }
    }

    /// What the origin has sent, as the relay reads it.
    fn heard(&mut self) -> Vec<(RelayMessage, Tag)> {
        let cells = std::mem::take(&mut self.cells);
        let hear = |mut cell: Cell| {
            let tag = self.last_hop.forward.process(cell.command as u8, &mut cell.body).unwrap();
            (RelayMessage::in_cell(&cell).unwrap(), tag)
        };
        cells.into_iter().map(hear).collect()
    }

    /// The relay handles what the origin has sent.
    fn serve(&mut self) {
        for (message, tag) in self.heard() {
            let env = StreamsEnv { now: self.now, services: &self.services, waker: &|_| StreamWaker::none() };
            self.streams.handle(message, &tag, &env, &mut self.last_hop).unwrap();
        }
    }

    /// What the relay has sent, as the origin reads it.
    fn received(&mut self) -> Vec<Received> {
        let cells = std::mem::take(&mut self.last_hop.cells);
        let handle = |cell| self.circuit.handle(&mut self.rng, cell, &mut self.cells).unwrap();
        cells.into_iter().map(handle).collect()
    }

    fn begin(&mut self, request: StreamRequest) -> RunningRequest {
        request.begin(self.now, &mut self.circuit, &mut self.cells).unwrap()
    }

    /// Hands a request what has come.
    fn hand_over(&mut self, request: &mut RunningRequest) -> Option<RequestResult> {
        let received = self.received();
        let (now, circuit, cells) = (self.now, &mut self.circuit, &mut self.cells);
        received.into_iter().find_map(|received| request.handle(now, received, circuit, cells))
    }

    /// Runs a request to its end.
    fn run(&mut self, request: StreamRequest) -> RequestResult {
        let mut request = self.begin(request);
        for _ in 0..10_000 {
            self.serve();
            if let Some(result) = self.hand_over(&mut request) {
                return result;
            }
        }
        panic!("the request does not end")
    }

    /// What a request makes of messages that a relay makes up.
    fn reply(&mut self, request: StreamRequest, messages: &[RelayMessage]) -> Option<RequestResult> {
        let mut request = self.begin(request);
        self.heard();
        for message in messages {
            self.last_hop.message(message);
        }
        self.hand_over(&mut request)
    }

    /// That the circuit still carries requests.
    fn assert_works(&mut self) {
        let answer = self.run(StreamRequest::new(TESTED, vec![1]).with_body(b"abc".to_vec())).unwrap();
        assert_eq!(answer.bytes, b"cba");
        assert_eq!(self.held.load(Ordering::Relaxed), 0);
    }
}

/// Answers a body with its bytes in reverse.
#[derive(Debug)]
struct Reverse;

impl RequestService for Reverse {
    fn max_body(&self) -> usize {
        MAX_BUFFERED / 2
    }

    fn answer(&self, request: Request) -> Result<Reply, EndReason> {
        match request.argument[..] {
            [1] => Ok(Reply::Now(Body::Bytes(request.body.into_iter().rev().collect()))),
            _ => Err(EndReason::MISC),
        }
    }
}

fn ends() -> Ends {
    Ends::open(ServiceRegistry::new().with_requests(TESTED, Reverse))
}

fn request(body: &[u8]) -> StreamRequest {
    StreamRequest::new(TESTED, vec![1]).with_body(body.to_vec())
}

fn connected(body: u64) -> RelayMessage {
    RelayMessage::Connected { stream: StreamId(1), body }
}

fn data(len: usize) -> RelayMessage {
    RelayMessage::Data { stream: StreamId(1), data: vec![9; len] }
}

fn end(reason: EndReason) -> RelayMessage {
    RelayMessage::End { stream: StreamId(1), reason }
}

#[test]
fn bodies_go_both_ways() {
    let mut ends = ends();
    for len in [0, 1, 487, 488, 489, 200_000] {
        let body: Vec<u8> = (0..len).map(|n| (n / 3) as u8).collect();
        let answer = ends.run(request(&body).with_max_answer(len)).unwrap();
        assert!(answer.bytes.iter().rev().eq(&body), "{len} bytes");
    }
    ends.assert_works();
}

#[test]
fn an_answer_has_limits_of_size() {
    let mut ends = ends();
    let result = ends.run(request(&[1; 5001]).with_max_answer(5000));
    assert_eq!(result, Err(StreamRequestError::TooLarge { max: 5000 }));
    ends.serve();
    // One that doesn't say how long it is.
    let parts = [connected(OPEN_ENDED), data(488), data(488), data(25)];
    let result = ends.reply(request(b"").with_max_answer(1000), &parts);
    assert_eq!(result, Some(Err(StreamRequestError::TooLarge { max: 1000 })));
    let ended = ends.heard();
    assert!(ended.iter().any(|(message, _)| *message == end(EndReason::RESOURCELIMIT)), "{ended:?}");
}

#[test]
fn an_answer_that_breaks_the_rules_is_an_error_of_its_own() {
    let whole = [connected(1000), data(488), data(488), data(24), end(EndReason::DONE)];
    let result = |messages: &[RelayMessage]| ends().reply(request(b""), messages);
    assert_eq!(result(&whole).unwrap().unwrap().bytes, [9; 1000]);
    assert_eq!(result(&whole[..4]), None, "it isn't over");
    let long = [connected(1000), data(488), data(488), data(25)];
    assert_eq!(result(&long), Some(Err(StreamRequestError::TooLong)));
    let short = [connected(1000), data(488), end(EndReason::DONE)];
    assert_eq!(result(&short), Some(Err(StreamRequestError::EndedEarly(EndReason::DONE))));
    let broken = [connected(1000), data(488), end(EndReason::INTERNAL)];
    assert_eq!(result(&broken), Some(Err(StreamRequestError::EndedEarly(EndReason::INTERNAL))));
    for reason in [EndReason::CONNECTREFUSED, EndReason::DONE, EndReason(77)] {
        assert_eq!(result(&[end(reason)]), Some(Err(StreamRequestError::Refused(reason))));
    }
    let open_ended = [connected(OPEN_ENDED), data(5), end(EndReason::DONE)];
    assert_eq!(result(&open_ended).unwrap().unwrap().bytes, [9; 5]);
}

#[test]
fn refusals_have_reasons() {
    let mut ends = ends();
    let result = ends.run(StreamRequest::new(TESTED, vec![2]));
    assert_eq!(result, Err(StreamRequestError::Refused(EndReason::MISC)));
    let result = ends.run(StreamRequest::new(Service(251), Vec::new()));
    assert_eq!(result, Err(StreamRequestError::Refused(EndReason::CONNECTREFUSED)));
    let result = ends.run(request(&vec![0; MAX_BUFFERED / 2 + 1]));
    assert_eq!(result, Err(StreamRequestError::Refused(EndReason::TORPROTOCOL)));
    ends.assert_works();
}

#[test]
fn a_relay_that_says_nothing_is_given_up() {
    let mut ends = ends();
    let mut silent = ends.begin(request(b""));
    let due = silent.poll_timeout();
    assert_eq!(due, ends.now.instant + Duration::from_secs(10));
    assert_eq!(silent.handle_timeout(ends.now, &mut ends.circuit, &mut ends.cells), None);
    ends.now.instant = due;
    let result = silent.handle_timeout(ends.now, &mut ends.circuit, &mut ends.cells);
    assert_eq!(result, Some(Err(StreamRequestError::TimedOut)));
    ends.serve();
    ends.received();
    ends.assert_works();
}

#[test]
fn an_answer_that_trickles_has_a_limit_of_time() {
    let mut ends = ends();
    let begun = ends.now.instant;
    let mut request = ends.begin(request(b""));
    ends.heard();
    ends.last_hop.message(&connected(1000));
    while ends.now.instant < request.poll_timeout() {
        ends.last_hop.message(&data(1));
        assert_eq!(ends.hand_over(&mut request), None);
        ends.now.instant = ends.now.instant + Duration::from_secs(9);
    }
    assert_eq!(request.poll_timeout(), begun + Duration::from_secs(120));
    let result = request.handle_timeout(ends.now, &mut ends.circuit, &mut ends.cells);
    assert_eq!(result, Some(Err(StreamRequestError::TimedOut)));
}

#[test]
fn a_lost_circuit_ends_its_requests() {
    let mut ends = ends();
    let mut request = ends.begin(request(b""));
    let destroyed = Received::Destroyed(crate::cell::DestroyReason::None);
    let result = request.handle(ends.now, destroyed, &mut ends.circuit, &mut ends.cells);
    assert_eq!(result, Some(Err(StreamRequestError::CircuitLost)));
}

/// Sends back what it receives.
#[derive(Debug)]
struct Echo;

impl StreamService for Echo {
    fn open(&self, opening: Opening) -> Result<Box<dyn StreamHandler>, EndReason> {
        assert_eq!(opening.body, OPEN_ENDED);
        Ok(Box::new(Echoing(Vec::new())))
    }
}

struct Echoing(Vec<u8>);

impl StreamHandler for Echoing {
    fn opened(&mut self, context: &mut StreamContext<'_>) -> Result<(), EndReason> {
        context.accept(OPEN_ENDED);
        Ok(())
    }

    fn data(&mut self, _: &mut StreamContext<'_>, bytes: &[u8]) -> Result<usize, EndReason> {
        let taken = bytes.len().min(1000 - self.0.len());
        self.0.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn writable(&mut self, _: &mut StreamContext<'_>, room: &mut [u8]) -> Result<Produced, EndReason> {
        let len = room.len().min(self.0.len());
        room[..len].copy_from_slice(&self.0[..len]);
        self.0.drain(..len);
        Ok(if len == 0 { Produced::Pending } else { Produced::Bytes(len) })
    }

    fn ended(&mut self, _: StreamEnd) {}

    fn buffered(&self) -> usize {
        self.0.len()
    }
}

#[test]
fn two_way_bytes_wait_for_a_reader_that_stalls() {
    let mut ends = Ends::open(ServiceRegistry::new().with_streams(TESTED, Echo));
    let all: Vec<u8> = (0..1_600_000_u32).map(|n| (n / 5) as u8).collect();
    let handler = (TwoWay::new(), OPEN_ENDED);
    let mut stream = TwoWayStream::begin(ends.now, &mut ends.circuit, (TESTED, b""), handler, &mut ends.cells).unwrap();
    let (mut written, mut read) = (0, Vec::new());
    // Twice on the way the reader stops until nothing moves any more, while there is still more to write than fits.
    let mut stalls = 0;
    while read.len() < all.len() {
        written += stream.handler_mut().write(&all[written..]);
        stream.drive(ends.now, &mut ends.circuit, &mut ends.cells);
        let is_sending = !ends.cells.is_empty();
        ends.serve();
        let received = ends.received();
        let is_quiet = !is_sending && received.is_empty();
        for received in received {
            stream.handle(ends.now, received, &mut ends.circuit, &mut ends.cells);
        }
        let is_stalled = stalls < 2 && read.len() > 400_000 * (stalls + 1);
        if !is_stalled {
            read.extend(stream.handler_mut().read(usize::MAX));
        } else if is_quiet && ends.cells.is_empty() {
            stalls += 1;
            assert_eq!(stream.handler_mut().write(&[0]), 0, "the writer has to wait");
            let window = usize::from(STREAM_WINDOW) * 488;
            let under_way = written - read.len();
            let most = 2 * MAX_WAITING + 3 * window;
            assert!((2 * window..most).contains(&under_way), "{under_way} bytes are buffered on the way");
            let held = ends.held.load(Ordering::Relaxed);
            assert!((window - 50 * 488..window + 1500).contains(&held), "{held} bytes at the relay");
        }
    }
    assert_eq!((stalls, read == all), (2, true));
    stream.handler_mut().finish();
    stream.drive(ends.now, &mut ends.circuit, &mut ends.cells);
    ends.serve();
    assert_eq!(stream.handler().end(), Some(EndCause::Handler(EndReason::DONE)));
    assert_eq!((ends.held.load(Ordering::Relaxed), ends.streams.len()), (0, 0));
}

#[test]
fn what_arrived_before_the_end_is_not_lost() {
    let mut ends = ends();
    let handler = (TwoWay::new(), OPEN_ENDED);
    let mut stream = TwoWayStream::begin(ends.now, &mut ends.circuit, (TESTED, b""), handler, &mut ends.cells).unwrap();
    ends.heard();
    let sent = 300;
    ends.last_hop.message(&connected(OPEN_ENDED));
    for _ in 0..sent {
        ends.last_hop.message(&data(488));
    }
    ends.last_hop.message(&end(EndReason::CONNRESET));
    for received in ends.received() {
        stream.handle(ends.now, received, &mut ends.circuit, &mut ends.cells);
    }
    assert_eq!(stream.handler().end(), Some(EndCause::Peer(EndReason::CONNRESET)));
    assert_eq!(stream.handler_mut().read(usize::MAX), vec![9; sent * 488]);
    assert_eq!(stream.handler_mut().write(&[1]), 0);
}
