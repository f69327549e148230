use proptest::prelude::*;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;

use super::*;

#[test]
fn published_vectors_are_reproduced() {
    let report = vectors::check(include_str!("../../../../tests/vectors/cgo.json")).unwrap();
    assert_eq!(report.vectors, 47);
    assert!(report.failures.is_empty(), "{:#?}", report.failures);
}

#[test]
fn vector_files_of_another_format_are_refused() {
    use vectors::FormatError::*;
    assert!(matches!(vectors::check("[]"), Err(Json(_))));
    assert!(matches!(vectors::check("{}"), Err(Scheme)));
    assert!(matches!(vectors::check(r#"{"scheme":"cgo-aes128","more":[]}"#), Err(UnknownList(_))));
    assert!(matches!(vectors::check(r#"{"scheme":"cgo-aes128","et":{}}"#), Err(NotAList(_))));
    let report = vectors::check(r#"{"scheme":"cgo-aes128","et":[{"op":"encrypt"}]}"#).unwrap();
    assert_eq!((report.vectors, report.failures.len()), (1, 1));
}

/// A circuit with its states at both ends of every hop.
struct Circuit {
    relays: Vec<(RelayForward, RelayBackward)>,
    client: Vec<(ClientForward, ClientBackward)>,
}

impl Circuit {
    fn new(hops: usize, rng: &mut ChaCha20Rng) -> Self {
        let seeds: Vec<_> = (0..hops).map(|_| (random(rng), random(rng))).collect();
        Self {
            relays: seeds.iter().map(|(f, b)| (RelayForward::new(f), RelayBackward::new(b))).collect(),
            client: seeds.iter().map(|(f, b)| (ClientForward::new(f), ClientBackward::new(b))).collect(),
        }
    }

    /// Sends to hop `to`; returns the tag and what the first relay receives.
    fn originate_forward(&mut self, to: usize, command: u8, mut body: Body) -> (Tag, Body) {
        let mut path = self.client[..=to].iter_mut().rev();
        let tag = path.next().unwrap().0.originate(command, &mut body);
        path.for_each(|(hop, _)| hop.pass(command, &mut body));
        (tag, body)
    }

    /// Lets relays process a cell until one recognises it.
    fn receive_forward(&mut self, command: u8, mut body: Body) -> (Option<(usize, Tag)>, Body) {
        let recognised = self
            .relays
            .iter_mut()
            .enumerate()
            .find_map(|(number, (relay, _))| relay.process(command, &mut body).map(|tag| (number, tag)));
        (recognised, body)
    }

    /// Sends from hop `from`; returns the tag and what the client receives.
    fn originate_backward(&mut self, from: usize, command: u8, mut body: Body) -> (Tag, Body) {
        let mut path = self.relays[..=from].iter_mut().rev();
        let tag = path.next().unwrap().1.originate(command, &mut body);
        path.for_each(|(_, relay)| relay.pass(command, &mut body));
        (tag, body)
    }

    /// Lets the client take layers off until it recognises a hop.
    fn receive_backward(&mut self, command: u8, mut body: Body) -> (Option<(usize, Tag)>, Body) {
        let recognised = self
            .client
            .iter_mut()
            .enumerate()
            .find_map(|(number, (_, hop))| hop.process(command, &mut body).map(|tag| (number, tag)));
        (recognised, body)
    }
}

fn random<const N: usize>(rng: &mut ChaCha20Rng) -> [u8; N] {
    let mut bytes = [0; N];
    rng.fill_bytes(&mut bytes);
    bytes
}

proptest! {
    #[test]
    fn cells_reach_the_hop_they_are_for(
        seed: u64,
        hops in 1..=4_usize,
        cells in prop::collection::vec((any::<bool>(), any::<prop::sample::Index>(), any::<u8>()), 1..24),
    ) {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let mut circuit = Circuit::new(hops, &mut rng);
        for (forward, hop, command) in cells {
            let (hop, body) = (hop.index(hops), random(&mut rng));
            let (sent, (received, plain)) = if forward {
                let (sent, wire) = circuit.originate_forward(hop, command, body);
                (sent, circuit.receive_forward(command, wire))
            } else {
                let (sent, wire) = circuit.originate_backward(hop, command, body);
                (sent, circuit.receive_backward(command, wire))
            };
            prop_assert_eq!(received, Some((hop, sent)));
            prop_assert_eq!(split(&plain).1, split(&body).1);
        }
    }

    /// Two joined clients: one plays the virtual hop's relay, the cells travel up one circuit and down the other.
    #[test]
    fn a_virtual_hop_joins_two_circuits(seed: u64, cells in prop::collection::vec((any::<bool>(), any::<u8>()), 1..12)) {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let mut service = Circuit::new(3, &mut rng);
        let mut visitor = Circuit::new(3, &mut rng);
        let (forward, backward) = (random(&mut rng), random(&mut rng));
        let mut far = (RelayForward::new(&forward), RelayBackward::new(&backward));
        visitor.client.push((ClientForward::new(&forward), ClientBackward::new(&backward)));

        for (from_visitor, command) in cells {
            let body = random(&mut rng);
            if from_visitor {
                let (sent, wire) = visitor.originate_forward(3, command, body);
                let (at_relay, wire) = visitor.receive_forward(command, wire);
                prop_assert_eq!(at_relay, None);
                let mut wire = wire;
                service.relays.iter_mut().rev().for_each(|(_, relay)| relay.pass(command, &mut wire));
                let (from_relay, mut plain) = service.receive_backward(command, wire);
                prop_assert_eq!(from_relay, None);
                prop_assert_eq!(far.0.process(command, &mut plain), Some(sent));
                prop_assert_eq!(split(&plain).1, split(&body).1);
            } else {
                let mut wire = body;
                let sent = far.1.originate(command, &mut wire);
                service.client.iter_mut().rev().for_each(|(hop, _)| hop.pass(command, &mut wire));
                let (at_relay, mut wire) = service.receive_forward(command, wire);
                prop_assert_eq!(at_relay, None);
                visitor.relays.iter_mut().rev().for_each(|(_, relay)| relay.pass(command, &mut wire));
                let (received, plain) = visitor.receive_backward(command, wire);
                prop_assert_eq!(received, Some((3, sent)));
                prop_assert_eq!(split(&plain).1, split(&body).1);
            }
        }
    }

    #[test]
    fn a_flipped_bit_is_not_recognised_and_neither_is_anything_after_it(
        seed: u64, forward: bool, bit in 0..BODY_LEN * 8, at in 0..3_usize,
    ) {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let mut circuit = Circuit::new(3, &mut rng);
        for cell in 0..4 {
            let mut wire: Body;
            if forward {
                wire = circuit.originate_forward(2, 3, random(&mut rng)).1;
                for (number, (relay, _)) in circuit.relays.iter_mut().enumerate() {
                    if cell == 0 && number == at {
                        wire[bit / 8] ^= 1 << (bit % 8);
                    }
                    prop_assert_eq!(relay.process(3, &mut wire), None);
                }
            } else {
                wire = random(&mut rng);
                circuit.relays[2].1.originate(3, &mut wire);
                for number in (0..3).rev() {
                    if number < 2 {
                        circuit.relays[number].1.pass(3, &mut wire);
                    }
                    if cell == 0 && number == at {
                        wire[bit / 8] ^= 1 << (bit % 8);
                    }
                }
                prop_assert_eq!(circuit.receive_backward(3, wire).0, None);
            }
        }
    }

    #[test]
    fn a_changed_command_is_not_recognised(seed: u64, command: u8, other: u8) {
        prop_assume!(command != other);
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let mut circuit = Circuit::new(3, &mut rng);
        let (_, wire) = circuit.originate_forward(2, command, random(&mut rng));
        prop_assert_eq!(circuit.receive_forward(other, wire).0, None);
        let (_, wire) = circuit.originate_backward(2, command, random(&mut rng));
        prop_assert_eq!(circuit.receive_backward(other, wire).0, None);
    }
}

#[test]
fn replayed_and_reordered_cells_are_not_recognised() {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let mut circuit = Circuit::new(3, &mut rng);
    let (_, first) = circuit.originate_forward(2, 3, [0; BODY_LEN]);
    let (_, second) = circuit.originate_forward(2, 3, [0; BODY_LEN]);
    assert!(circuit.receive_forward(3, first).0.is_some());
    assert_eq!(circuit.receive_forward(3, first).0, None);
    assert_eq!(circuit.receive_forward(3, second).0, None);
}

#[test]
fn debug_output_shows_no_secret() {
    assert_eq!(format!("{:?}", RelayForward::new(&[7; SEED_LEN])), "RelayForward(State { .. })");
}
