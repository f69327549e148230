//! A circuit of one hop whose relay does what the test wants.

use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use super::*;
use crate::crypto::handshake::{CLIENT_MESSAGE_LEN, respond};
use crate::crypto::keys::{IdentityKeypair, OnionSecret};
use crate::flow::{CIRCUIT_INCREMENT, CIRCUIT_WINDOW, MAX_STREAMS, STREAM_INCREMENT, STREAM_WINDOW};

const CIRC: CircId = CircId(0x8000_0001);

struct Pair {
    rng: ChaCha20Rng,
    circuit: Circuit,
    forward: RelayForward,
    backward: RelayBackward,
    /// What the client has sent and the relay not looked at.
    out: Vec<Cell>,
}

impl Pair {
    fn open() -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(7);
        let identity = IdentityKeypair::generate(&mut rng).identity();
        let onion = OnionSecret::generate(&mut rng);
        let hop = Hop { identity, onion_key: onion.public() };
        let mut out = Vec::new();
        let mut circuit = Circuit::build(&mut rng, CIRC, vec![hop], &mut out).unwrap();
        let mut assembler = Assembler::default();
        let message = out.drain(..).find_map(|cell| assembler.push(&Fragment::in_cell(&cell)).unwrap()).unwrap();
        let message = &message[..CLIENT_MESSAGE_LEN];
        let (answer, mut stream) = respond(&mut rng, identity.as_bytes(), &onion, b"", message).unwrap();
        let keys = CircuitKeys::from(&mut stream);
        for (fragment, expected) in split(&answer).iter().zip([Received::Nothing, Received::Nothing, Received::Open]) {
            let received = circuit.handle(&mut rng, fragment.to_cell(CIRC, Command::Created), &mut out);
            assert_eq!(received, Ok(expected));
        }
        let (forward, backward) = (RelayForward::new(&keys.forward), RelayBackward::new(&keys.backward));
        Self { rng, circuit, forward, backward, out }
    }

    /// With a stream that the relay has taken.
    fn with_stream() -> (Self, StreamId) {
        let mut pair = Self::open();
        let stream = pair.circuit.begin(Service::SOURCE, 0, &[], &mut pair.out).unwrap();
        pair.hears();
        assert_eq!(pair.say(&RelayMessage::Connected { stream, body: 9 }), Ok(Received::Connected(stream, 9)));
        (pair, stream)
    }

    /// The relay says something; gives what the client makes of it.
    fn say(&mut self, message: &RelayMessage) -> Result<Received, CircuitError> {
        let mut cell = message.to_cell(CIRC, Command::Relay);
        self.backward.originate(cell.command as u8, &mut cell.body);
        self.circuit.handle(&mut self.rng, cell, &mut self.out)
    }

    fn data(&mut self, stream: StreamId) -> Result<Received, CircuitError> {
        self.say(&RelayMessage::Data { stream, data: vec![1] })
    }

    /// What the client has said since the last call, with the tags that the relay acknowledges it by.
    fn hears(&mut self) -> Vec<(RelayMessage, Tag)> {
        let cells: Vec<_> = self.out.drain(..).collect();
        let hear = |mut cell: Cell| {
            let tag = self.forward.process(cell.command as u8, &mut cell.body).unwrap();
            (RelayMessage::in_cell(&cell).unwrap(), tag)
        };
        cells.into_iter().map(hear).collect()
    }
}

#[test]
fn a_relay_that_overruns_a_stream_is_found_out() {
    let (mut pair, stream) = Pair::with_stream();
    for _ in 0..STREAM_WINDOW {
        assert!(matches!(pair.data(stream), Ok(Received::Data(..))));
    }
    assert_eq!(pair.data(stream), Err(CircuitError::Flow(FlowError::Overrun)));
}

#[test]
fn what_is_read_is_acknowledged_with_the_right_tags() {
    let (mut pair, stream) = Pair::with_stream();
    let mut sendmes = (0, 0);
    for n in 1..=3 * STREAM_WINDOW {
        let mut cell = RelayMessage::Data { stream, data: vec![1] }.to_cell(CIRC, Command::Relay);
        let tag = pair.backward.originate(cell.command as u8, &mut cell.body);
        pair.circuit.handle(&mut pair.rng, cell, &mut pair.out).unwrap();
        pair.circuit.consumed(stream, &mut pair.out);
        for (message, _) in pair.hears() {
            let RelayMessage::Sendme { stream: of, tag: acknowledged } = message else { panic!("{message:?}") };
            assert_eq!(acknowledged, tag, "at {n}");
            if of == StreamId::CIRCUIT { sendmes.0 += 1 } else { sendmes.1 += 1 }
        }
    }
    assert_eq!(sendmes, (3 * STREAM_WINDOW / CIRCUIT_INCREMENT, 3 * STREAM_WINDOW / STREAM_INCREMENT));
}

#[test]
fn what_does_not_fit_the_windows_waits_for_sendmes() {
    let (mut pair, stream) = Pair::with_stream();
    let text = vec![5; MAX_DATA_LEN * usize::from(STREAM_WINDOW + 1) + 10];
    pair.circuit.write(stream, &text, &mut pair.out);
    assert_eq!(pair.circuit.waiting(stream), MAX_DATA_LEN + 10);
    let heard = pair.hears();
    assert_eq!(heard.len(), usize::from(STREAM_WINDOW));
    let tag = heard[usize::from(STREAM_INCREMENT) - 1].1;
    assert_eq!(pair.say(&RelayMessage::Sendme { stream, tag }), Ok(Received::Writable(stream)));
    assert_eq!(pair.circuit.waiting(stream), 0);
    assert_eq!(pair.hears().len(), 2);
    let again = pair.say(&RelayMessage::Sendme { stream, tag });
    assert_eq!(again, Err(CircuitError::Flow(FlowError::WrongTag)));
}

#[test]
fn the_circuit_window_holds_for_all_streams_together() {
    let (mut pair, first) = Pair::with_stream();
    let others = [(); 2].map(|()| pair.circuit.begin(Service::SOURCE, 0, &[], &mut pair.out).unwrap());
    pair.hears();
    let text = vec![5; MAX_DATA_LEN * usize::from(STREAM_WINDOW)];
    for stream in [first, others[0], others[1]] {
        pair.circuit.write(stream, &text, &mut pair.out);
    }
    let heard = pair.hears();
    assert_eq!(heard.len(), usize::from(CIRCUIT_WINDOW));
    let tag = heard[usize::from(CIRCUIT_INCREMENT) - 1].1;
    // The first two have used up their own windows; of those that wait for the circuit's, each gets its turn.
    let late = pair.circuit.begin(Service::SOURCE, 0, &[], &mut pair.out).unwrap();
    pair.hears();
    pair.circuit.write(late, &text, &mut pair.out);
    pair.say(&RelayMessage::Sendme { stream: StreamId::CIRCUIT, tag }).unwrap();
    let heard = pair.hears();
    assert_eq!(heard.len(), usize::from(CIRCUIT_INCREMENT));
    let of = |stream| {
        heard.iter().filter(|(m, _)| matches!(m, RelayMessage::Data { stream: s, .. } if *s == stream)).count()
    };
    assert_eq!([of(others[1]), of(late)], [50, 50]);
}

#[test]
fn acknowledging_what_was_not_sent_ends_the_circuit() {
    for stream in [StreamId::CIRCUIT, StreamId(1)] {
        let (mut pair, _) = Pair::with_stream();
        let refused = pair.say(&RelayMessage::Sendme { stream, tag: [1; 16] });
        assert_eq!(refused, Err(CircuitError::Flow(FlowError::NothingToAcknowledge)));
    }
}

#[test]
fn streams_that_the_client_did_not_open_end_the_circuit() {
    let (unknown, tag) = (StreamId(9), [1; 16]);
    for message in [
        RelayMessage::Data { stream: unknown, data: vec![1] },
        RelayMessage::Sendme { stream: unknown, tag },
        RelayMessage::Connected { stream: unknown, body: 0 },
        RelayMessage::End { stream: unknown, reason: EndReason::DONE },
    ] {
        let (mut pair, _) = Pair::with_stream();
        assert_eq!(pair.say(&message), Err(CircuitError::Flow(FlowError::NoSuchStream(unknown))), "{message:?}");
    }
    let (mut pair, stream) = Pair::with_stream();
    assert!(pair.say(&RelayMessage::Connected { stream, body: 0 }).is_err(), "connected twice");
}

#[test]
fn a_stream_ends_once_both_have_said_so() {
    let (mut pair, stream) = Pair::with_stream();
    let end = RelayMessage::End { stream, reason: EndReason::DONE };
    assert_eq!(pair.say(&end), Ok(Received::Ended(stream, EndReason::DONE)));
    assert_eq!(pair.hears()[0].0, end);
    assert!(pair.data(stream).is_err());

    let (mut pair, stream) = Pair::with_stream();
    pair.circuit.end(stream, EndReason::DONE, &mut pair.out);
    // What was on its way is dropped, and still counted.
    assert_eq!(pair.data(stream), Ok(Received::Nothing));
    assert_eq!(pair.say(&end), Ok(Received::Nothing));
    assert_eq!(pair.hears().len(), 1);
    assert_eq!(pair.circuit.begin(Service::SOURCE, 0, &[], &mut pair.out), Ok(stream));
}

#[test]
fn a_circuit_has_so_many_streams_and_no_more() {
    let mut pair = Pair::open();
    for _ in 0..MAX_STREAMS {
        pair.circuit.begin(Service::SOURCE, 0, &[], &mut pair.out).unwrap();
    }
    let refused = pair.circuit.begin(Service::SOURCE, 0, &[], &mut pair.out);
    assert_eq!(refused, Err(CircuitError::Flow(FlowError::TooManyStreams)));
}

#[test]
fn a_cell_that_was_changed_ends_the_circuit() {
    let (mut pair, stream) = Pair::with_stream();
    let mut cell = RelayMessage::Data { stream, data: vec![1] }.to_cell(CIRC, Command::Relay);
    pair.backward.originate(cell.command as u8, &mut cell.body);
    cell.body[400] ^= 4;
    assert_eq!(pair.circuit.handle(&mut pair.rng, cell, &mut pair.out), Err(CircuitError::Unrecognised));
}
