//! Relays that ask each other, over circuits of one hop that they begin themselves.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use allium_shared::cell::DestroyReason;
use allium_shared::crypto::keys::RelayIdentity;
use allium_shared::relay::origin::order::{Order, OrderId, OriginError, OriginEvent, StreamOpening};
use allium_shared::relay::origin::{BUILD_TIME, IDLE_TIME};
use allium_shared::relay::streams::PROGRESS_TIME;
use allium_shared::services::read_time;
use allium_shared::stream::request::{StreamRequest, StreamRequestError};
use allium_shared::stream::{
    EndCause, EndReason, OPEN_ENDED, Produced, Service, StreamContext, StreamEnd, StreamHandler,
};
use allium_tests::sim::echo_service::{ECHO, MAX_HELD};
use allium_tests::sim::outsider::Origin;
use allium_tests::sim::stuck_service::STUCK;
use allium_tests::sim::{Node, Sim};

/// Longer than anything takes that works.
const A_WHILE: Duration = Duration::from_secs(5);

fn identity(sim: &Sim, n: usize) -> RelayIdentity {
    sim.relay(n).identity
}

fn order(sim: &mut Sim, from: usize, to: usize, request: StreamRequest) -> OrderId {
    let to = identity(sim, to);
    sim.order(from, to, Order::Request(request)).expect("a relay that can be asked")
}

/// Lets a request come to its end.
fn run(sim: &mut Sim, from: usize, to: usize, request: StreamRequest) -> Result<Vec<u8>, OriginError> {
    let id = order(sim, from, to, request);
    sim.run_for(A_WHILE);
    let mut outcomes = answers(sim, from);
    assert_eq!(outcomes.len(), 1, "{outcomes:?}");
    let (of, outcome) = outcomes.remove(0);
    assert_eq!(of, id);
    outcome
}

fn answers(sim: &mut Sim, n: usize) -> Vec<(OrderId, Result<Vec<u8>, OriginError>)> {
    let answer = |event| match event {
        OriginEvent::Answered(id, result) => (id, result.map(|answer| answer.bytes)),
        OriginEvent::StreamOver(id, result) => (id, result.map(|()| Vec::new())),
    };
    sim.outcomes(n).into_iter().map(answer).collect()
}

fn time() -> StreamRequest {
    StreamRequest::new(Service::TIME, Vec::new())
}

fn echo(bytes: &[u8]) -> StreamRequest {
    StreamRequest::new(ECHO, Vec::new()).with_body(bytes.to_vec()).with_max_answer(bytes.len())
}

fn megabyte() -> Vec<u8> {
    (0..1_000_000_u32).map(|n| (n / 3) as u8).collect()
}

#[test]
fn relays_ask_each_other_over_one_circuit_that_closes_when_it_is_idle() {
    let mut sim = Sim::new(3, 2, 0);
    let answer = run(&mut sim, 0, 1, time()).unwrap();
    assert!(read_time(&answer).unwrap().as_secs().abs_diff(sim.clock().as_secs()) < 10);
    let bytes = megabyte();
    assert!(run(&mut sim, 0, 1, echo(&bytes)).unwrap() == bytes);
    assert_eq!((sim.begun_by(0), sim.begun_by(1)), (1, 0));
    assert_eq!((sim.kept_by(0).circuits, sim.kept_by(1).circuits), (1, 1));
    // The other way the same link serves.
    assert!(run(&mut sim, 1, 0, echo(&bytes)).unwrap() == bytes);
    assert_eq!(sim.links_between(Node::Relay(0), Node::Relay(1)), 1);
    assert_eq!(sim.circuits(), 4);
    sim.run_for(IDLE_TIME);
    assert_eq!((sim.begun_by(0), sim.begun_by(1), sim.circuits()), (0, 0, 0));
    assert_eq!((sim.memory_of(0), sim.memory_of(1)), (0, 0));
    assert_eq!(sim.links_between(Node::Relay(0), Node::Relay(1)), 1, "links stay");
}

#[test]
fn itself_and_strangers_are_refused_and_nothing_else_ends() {
    let mut sim = Sim::new(4, 3, 0);
    let mut client = Origin::connect(&mut sim, 0);
    let circ = client.build(&mut sim, &[0, 1, 2]);
    let bytes = megabyte();
    let kept = order(&mut sim, 0, 1, echo(&bytes));
    let own = identity(&sim, 0);
    assert_eq!(sim.order(0, own, Order::Request(time())), Err(OriginError::OwnRelay));
    assert_eq!(sim.order(0, RelayIdentity([7; 32]), Order::Request(time())), Err(OriginError::NotListed));
    sim.run_for(A_WHILE);
    assert!(answers(&mut sim, 0) == [(kept, Ok(bytes))]);
    assert!(client.ask(&mut sim, circ, Service::TIME, b"").is_some());
}

#[test]
fn a_relay_that_dies_or_hangs_fails_what_was_ordered_of_it() {
    let mut sim = Sim::new(5, 3, 0);
    sim.kill_relay(1);
    let unreachable = run(&mut sim, 0, 1, time());
    assert!(matches!(unreachable, Err(OriginError::NotOpened(_))), "{unreachable:?}");
    sim.restart_relay(1);
    assert!(run(&mut sim, 0, 1, time()).is_ok());
    // In the middle of an answer.
    let lost = order(&mut sim, 0, 1, echo(&vec![5; 8_000_000]));
    let other = order(&mut sim, 0, 2, time());
    sim.run_for(Duration::from_millis(40));
    sim.kill_relay(1);
    sim.run_for(A_WHILE);
    let mut outcomes = answers(&mut sim, 0);
    outcomes.sort_by_key(|(id, _)| *id);
    assert!(matches!(outcomes[0], (id, Err(OriginError::CircuitLost)) if id == lost), "the first goes on");
    assert!(outcomes[1].0 == other && outcomes[1].1.is_ok());
    sim.restart_relay(1);
    // Frozen from the beginning: the link opens, or does not, and the circuit never does.
    sim.freeze_relay(2);
    sim.break_links(Node::Relay(0), Node::Relay(2));
    sim.run_for(A_WHILE);
    let stuck = order(&mut sim, 0, 2, time());
    sim.run_for(BUILD_TIME);
    let outcomes = answers(&mut sim, 0);
    assert!(
        matches!(outcomes[..], [(id, Err(OriginError::NotOpened(_) | OriginError::TimedOut))] if id == stuck),
        "{outcomes:?}"
    );
    sim.thaw_relay(2);
    sim.run_for(A_WHILE);
    assert!(run(&mut sim, 0, 2, time()).is_ok());
    sim.run_for(IDLE_TIME + A_WHILE);
    assert_eq!((sim.circuits(), sim.memory_of(0)), (0, 0));
}

#[test]
fn a_service_that_never_answers_costs_its_request_and_its_circuit() {
    let mut sim = Sim::new(6, 2, 0);
    let stuck = order(&mut sim, 0, 1, StreamRequest::new(STUCK, Vec::new()));
    let beside = order(&mut sim, 0, 1, time());
    sim.run_for(Duration::from_secs(9));
    let outcomes = answers(&mut sim, 0);
    assert!(matches!(&outcomes[..], [(id, Ok(_))] if *id == beside), "{outcomes:?}");
    sim.run_for(Duration::from_secs(2));
    let timed_out = Err(OriginError::Request(StreamRequestError::TimedOut));
    assert_eq!(answers(&mut sim, 0), [(stuck, timed_out)]);
    assert_eq!((sim.begun_by(0), sim.circuits()), (0, 0));
    assert!(run(&mut sim, 0, 1, time()).is_ok());
}

#[test]
fn a_relay_that_reads_nothing_or_stops_in_the_middle_of_a_body_costs_its_own_stream() {
    let mut sim = Sim::new(7, 2, 0);
    // It sends and never reads what comes back.
    let log = Log::default();
    let handler = Box::new(Deaf { left: 2_000_000, log: Arc::clone(&log) });
    let opening = StreamOpening { service: ECHO, argument: Vec::new(), len: OPEN_ENDED, handler };
    let to = identity(&sim, 1);
    let deaf = sim.order(0, to, Order::Stream(opening)).unwrap();
    sim.run_for(A_WHILE);
    let window = 500 * 488;
    assert!((window / 2..window + 4 * MAX_HELD).contains(&sim.memory_of(1)), "{} bytes", sim.memory_of(1));
    assert!((window / 2..2 * window).contains(&sim.memory_of(0)), "{} bytes", sim.memory_of(0));
    // Half a body, and no more of it: the service gives up, and says so.
    let stalled = Log::default();
    let handler = Box::new(Stalling { left: 1000, log: Arc::clone(&stalled) });
    let opening = StreamOpening { service: STUCK, argument: Vec::new(), len: 100_000, handler };
    let half = sim.order(0, to, Order::Stream(opening)).unwrap();
    sim.run_for(PROGRESS_TIME + A_WHILE);
    assert_eq!(answers(&mut sim, 0), [(half, Ok(Vec::new()))]);
    assert_eq!(*stalled.lock().unwrap(), [EndCause::Peer(EndReason::TIMEOUT)]);
    assert!(log.lock().unwrap().is_empty());
    assert!(run(&mut sim, 0, 1, time()).is_ok(), "on the same circuit");
    assert_eq!(sim.begun_by(0), 1);
    sim.break_links(Node::Relay(0), Node::Relay(1));
    sim.run_for(A_WHILE);
    assert_eq!(answers(&mut sim, 0), [(deaf, Ok(Vec::new()))]);
    assert_eq!(*log.lock().unwrap(), [EndCause::CircuitLost]);
    assert_eq!((sim.memory_of(0), sim.memory_of(1), sim.circuits()), (0, 0, 0));
}

#[test]
fn a_relay_that_is_short_of_memory_ends_the_circuit_that_holds_most() {
    let mut sim = Sim::new(8, 3, 0);
    sim.limit_memory(1, 200_000);
    let large = order(&mut sim, 0, 1, StreamRequest::new(STUCK, Vec::new()).with_body(vec![1; 390_000]));
    let mut client = Origin::connect(&mut sim, 2);
    let circ = client.build(&mut sim, &[2, 1]);
    sim.run_for(A_WHILE);
    let outcomes = answers(&mut sim, 0);
    assert!(matches!(outcomes[..], [(id, Err(OriginError::CircuitLost))] if id == large), "{outcomes:?}");
    assert!(client.ask(&mut sim, circ, Service::TIME, b"").is_some(), "others go on");
    assert!(run(&mut sim, 0, 1, time()).is_ok());
    assert_eq!(sim.totals().destroyed.get(&format!("{:?}", DestroyReason::ResourceLimit)), None);
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let trace = || {
        let mut sim = Sim::new(9, 3, 0);
        for to in [1, 2] {
            order(&mut sim, 0, to, echo(&vec![5; 100_000]));
        }
        sim.run_for(IDLE_TIME + A_WHILE);
        (sim.trace().hash(), answers(&mut sim, 0).len())
    };
    assert_eq!(trace(), trace());
    assert_eq!(trace().1, 2);
}

type Log = Arc<Mutex<Vec<EndCause>>>;

/// Sends and takes nothing.
struct Deaf {
    left: usize,
    log: Log,
}

impl StreamHandler for Deaf {
    fn opened(&mut self, _: &mut StreamContext<'_>) -> Result<(), EndReason> {
        Ok(())
    }

    fn data(&mut self, _: &mut StreamContext<'_>, _: &[u8]) -> Result<usize, EndReason> {
        Ok(0)
    }

    fn writable(&mut self, _: &mut StreamContext<'_>, room: &mut [u8]) -> Result<Produced, EndReason> {
        let len = room.len().min(self.left);
        self.left -= len;
        Ok(Produced::Bytes(len))
    }

    fn ended(&mut self, end: StreamEnd) {
        self.log.lock().unwrap().push(end.cause);
    }
}

/// Sends part of what it has announced.
struct Stalling {
    left: usize,
    log: Log,
}

impl StreamHandler for Stalling {
    fn opened(&mut self, _: &mut StreamContext<'_>) -> Result<(), EndReason> {
        Ok(())
    }

    fn data(&mut self, _: &mut StreamContext<'_>, bytes: &[u8]) -> Result<usize, EndReason> {
        Ok(bytes.len())
    }

    fn writable(&mut self, _: &mut StreamContext<'_>, room: &mut [u8]) -> Result<Produced, EndReason> {
        let len = room.len().min(self.left);
        self.left -= len;
        Ok(if len == 0 { Produced::Pending } else { Produced::Bytes(len) })
    }

    fn ended(&mut self, end: StreamEnd) {
        self.log.lock().unwrap().push(end.cause);
    }
}
