//! Clients that misuse streams, and services that never answer: each costs its own stream or circuit, and nothing else.

use std::time::Duration;

use allium_shared::cell::message::RelayMessage;
use allium_shared::cell::{CircId, DestroyReason};
use allium_shared::circuit::Received;
use allium_shared::flow::STREAM_WINDOW;
use allium_shared::relay::streams::PROGRESS_TIME;
use allium_shared::stream::{EndReason, OPEN_ENDED, Service, StreamId};
use allium_tests::sim::Sim;
use allium_tests::sim::echo_service::{ECHO, MAX_HELD};
use allium_tests::sim::outsider::{Heard, Origin};
use allium_tests::sim::stuck_service::{MAX_BODY, STUCK};

use crate::ground::{A_WHILE, network, open};

const PATH: [usize; 3] = [0, 1, 2];

/// A circuit of three hops, and beside it, on the same links, one that has to go on whatever becomes of the first.
struct Pair {
    sim: Sim,
    origin: Origin,
    bad: CircId,
    good: CircId,
}

impl Pair {
    fn open(seed: u64) -> Self {
        let mut sim = network(seed, 3);
        let mut origin = Origin::connect(&mut sim, 0);
        let (bad, good) = (open(&mut sim, &mut origin, &PATH), open(&mut sim, &mut origin, &PATH));
        let mut pair = Self { sim, origin, bad, good };
        pair.assert_others_go_on();
        pair
    }

    /// Opens a stream, without an engine that keeps to any windows.
    fn begin(&mut self, service: Service, body: u64) -> StreamId {
        // Ids of streams that have ended are used again.
        self.origin.take_received(self.bad);
        let mut cells = Vec::new();
        let stream = self.origin.circuit(self.bad).unwrap().begin(service, body, b"", &mut cells).unwrap();
        self.origin.send_cells(&mut self.sim, &cells);
        stream
    }

    /// Sends so many bytes, as the windows allow.
    fn send(&mut self, stream: StreamId, mut len: usize) {
        while len > 0 {
            let mut cells = Vec::new();
            let circuit = self.origin.circuit(self.bad).unwrap();
            while len > 0 && circuit.may_send(stream) {
                let data = vec![7; len.min(488)];
                len -= data.len();
                circuit.send_data(stream, &data, &mut cells);
            }
            self.origin.send_cells(&mut self.sim, &cells);
            if len > 0 {
                self.pause(A_WHILE);
                assert!(self.origin.circuit(self.bad).unwrap().may_send(stream), "{len} bytes are left");
            }
        }
    }

    /// Sends until the windows are used up and open no more.
    fn fill(&mut self, stream: StreamId) {
        while self.origin.circuit(self.bad).unwrap().may_send(stream) {
            self.send(stream, 488);
            if !self.origin.circuit(self.bad).unwrap().may_send(stream) {
                self.pause(A_WHILE);
            }
        }
    }

    fn pause(&mut self, time: Duration) {
        let end = self.sim.now() + time;
        while self.sim.now() < end {
            self.sim.run_for(A_WHILE);
            self.origin.look(&mut self.sim);
        }
    }

    /// How a stream has ended.
    fn end_of(&self, stream: StreamId) -> Option<EndReason> {
        self.origin.heard(self.bad).find_map(|heard| match heard {
            Heard::Received(received) => match **received {
                Received::Ended(of, reason) if of == stream => Some(reason),
                _ => None,
            },
            _ => None,
        })
    }

    /// How the circuit has ended.
    fn destroyed(&self) -> Option<DestroyReason> {
        self.origin.heard(self.bad).find_map(|heard| match heard {
            Heard::Received(received) => match **received {
                Received::Destroyed(reason) => Some(reason),
                _ => None,
            },
            _ => None,
        })
    }

    /// The other circuit, and if it is still there the one that was misused, carry requests.
    fn assert_others_go_on(&mut self) {
        for circ in [self.good, self.bad] {
            if !self.origin.is_gone(circ) {
                let answer = self.origin.ask(&mut self.sim, circ, Service::TIME, b"");
                assert!(matches!(&answer, Some((bytes, EndReason::DONE)) if bytes.len() == 8), "{answer:?}");
            }
        }
        assert!(!self.origin.is_closed(&self.sim));
    }
}

#[test]
fn a_stream_that_ignores_its_window_costs_its_circuit() {
    let mut pair = Pair::open(1);
    // The echo can't consume what nobody reads from it.
    let stream = pair.begin(ECHO, OPEN_ENDED);
    pair.fill(stream);
    let window = usize::from(STREAM_WINDOW) * 488;
    assert!((window - 50 * 488..window + 4 * MAX_HELD).contains(&pair.sim.memory_of(2)), "the relay keeps a window");
    assert_eq!((pair.destroyed(), pair.end_of(stream)), (None, None));
    pair.origin.send(&mut pair.sim, pair.bad, &RelayMessage::Data { stream, data: vec![7; 488] });
    pair.pause(A_WHILE);
    assert_eq!(pair.destroyed(), Some(DestroyReason::Protocol));
    assert_eq!(pair.sim.memory_of(2), 0);
    pair.assert_others_go_on();
}

#[test]
fn a_body_that_is_longer_than_announced_costs_its_stream() {
    let mut pair = Pair::open(2);
    for service in [ECHO, STUCK, Service::TIME] {
        let announced = if service == Service::TIME { 0 } else { 1000 };
        let stream = pair.begin(service, announced);
        pair.send(stream, announced as usize + 1);
        pair.pause(A_WHILE);
        let expected = if service == Service::TIME { EndReason::DONE } else { EndReason::TORPROTOCOL };
        assert_eq!(pair.end_of(stream), Some(expected), "{service}: what comes after the end is forgiven");
        assert_eq!(pair.destroyed(), None);
        assert_eq!(pair.sim.memory_of(2), 0);
        pair.assert_others_go_on();
    }
    // Too much is refused before any of it is sent.
    let stream = pair.begin(STUCK, MAX_BODY as u64 + 1);
    pair.pause(A_WHILE);
    assert_eq!(pair.end_of(stream), Some(EndReason::TORPROTOCOL));
}

#[test]
fn a_body_that_stalls_is_given_up() {
    let mut pair = Pair::open(3);
    let stream = pair.begin(STUCK, 100_000);
    pair.send(stream, 50_000);
    pair.pause(PROGRESS_TIME - Duration::from_secs(1));
    assert_eq!(pair.end_of(stream), None);
    assert!(pair.sim.memory_of(2) >= 50_000, "it counts as long as it is there");
    // Each part of it buys more time.
    pair.send(stream, 49_000);
    pair.pause(PROGRESS_TIME - Duration::from_secs(1));
    assert_eq!(pair.end_of(stream), None);
    pair.pause(Duration::from_secs(2));
    assert_eq!(pair.end_of(stream), Some(EndReason::TIMEOUT));
    assert_eq!(pair.sim.memory_of(2), 0);
    pair.assert_others_go_on();
}

#[test]
fn a_service_that_never_answers_costs_its_stream() {
    let mut pair = Pair::open(4);
    let stream = pair.begin(STUCK, 5);
    pair.send(stream, 5);
    pair.pause(PROGRESS_TIME - Duration::from_secs(1));
    assert_eq!(pair.end_of(stream), None);
    pair.assert_others_go_on();
    pair.pause(Duration::from_secs(2));
    assert_eq!(pair.end_of(stream), Some(EndReason::TIMEOUT));
    pair.assert_others_go_on();
}

#[test]
fn a_stream_or_circuit_that_ends_in_the_middle_leaves_nothing_behind() {
    let mut pair = Pair::open(5);
    let stream = pair.begin(STUCK, 100_000);
    pair.send(stream, 50_000);
    pair.pause(A_WHILE);
    assert!(pair.sim.memory_of(2) >= 50_000);
    let mut cells = Vec::new();
    pair.origin.circuit(pair.bad).unwrap().end(stream, EndReason::MISC, &mut cells);
    pair.origin.send_cells(&mut pair.sim, &cells);
    pair.pause(A_WHILE);
    assert_eq!(pair.sim.memory_of(2), 0);
    pair.assert_others_go_on();
    let stream = pair.begin(STUCK, 100_000);
    pair.send(stream, 50_000);
    pair.pause(A_WHILE);
    pair.origin.destroy(&mut pair.sim, pair.bad);
    pair.pause(A_WHILE);
    assert_eq!(pair.sim.memory_of(2), 0);
    pair.assert_others_go_on();
}
