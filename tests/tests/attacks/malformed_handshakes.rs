//! Handshakes that are cut off, too long, or no handshakes.

use allium_shared::cell::fragment::{Fragment, split};
use allium_shared::cell::{BODY_LEN, Cell, Command};
use allium_shared::crypto::handshake::{ClientHandshake, ServerPublic};
use allium_shared::link::{Initiator, RelayAddressee};
use allium_tests::sim::Sim;
use allium_tests::sim::outsider::{Origin, Wire};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use crate::ground::{A_WHILE, ENTRIES, exchange, network, open};

fn first_message(sim: &Sim, seed: u64, as_relay: Option<usize>) -> (Initiator, Vec<u8>) {
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let addressee = RelayAddressee { identity: sim.relay(0).identity, link_key: sim.relay(0).link_key };
    match as_relay {
        Some(n) => Initiator::new_relay(&mut rng, sim.network(), &addressee, &sim.relay_keys(n).link),
        None => Initiator::new_anonymous(&mut rng, sim.network(), &addressee),
    }
    .unwrap()
}

/// The message, cut off and lengthened in all kinds of ways.
fn spoilt(message: &[u8]) -> Vec<Vec<u8>> {
    let cut = [0, 1, 2, 3, 32, message.len() - 1].into_iter().map(|len| message[..len].to_vec());
    let long = [1, 16, 1000, 100_000].into_iter().map(|more| [message, &vec![0; more]].concat());
    cut.chain(long).collect()
}

#[test]
fn link_handshakes_of_wrong_lengths_end_the_link() {
    let mut sim = network(1, 3);
    let mut origin = Origin::connect(&mut sim, 0);
    let bystander = open(&mut sim, &mut origin, &[0, 1, 2]);
    let links = sim.kept_by(0).links;
    for (seed, as_relay) in [(1, None), (2, Some(1))] {
        let (_, message) = first_message(&sim, seed, as_relay);
        let wire = Wire::open(&mut sim, 0);
        wire.send(&mut sim, message.clone());
        assert!(wire.wait(&mut sim).is_some(), "the whole message is answered");
        wire.close(&mut sim);
        for message in spoilt(&message) {
            let wire = Wire::open(&mut sim, 0);
            let len = message.len();
            wire.send(&mut sim, message);
            assert_eq!(wire.wait(&mut sim), None, "{len} bytes were answered");
            assert!(wire.is_closed(&sim), "a link goes on after {len} bytes");
        }
    }
    sim.run_for(A_WHILE);
    assert_eq!(sim.kept_by(0).links, links);
    assert!(exchange(&mut sim, &mut origin, bystander), "another link suffers");
}

#[test]
fn a_relays_proof_of_a_wrong_length_ends_the_link() {
    let mut sim = network(2, 3);
    let key = sim.relay_keys(1).link.clone();
    let control = Origin::connect_as(&mut sim, 0, &key).unwrap();
    sim.run_for(A_WHILE);
    assert!(!control.is_closed(&sim), "an honest proof is taken");
    for proof in spoilt(&[5; 64]).into_iter().chain([vec![5; 64]]) {
        let (_, message) = first_message(&sim, 3, Some(1));
        let wire = Wire::open(&mut sim, 0);
        wire.send(&mut sim, message);
        assert!(wire.wait(&mut sim).is_some());
        wire.send(&mut sim, proof);
        assert_eq!(wire.wait(&mut sim), None);
        assert!(wire.is_closed(&sim));
    }
    assert_eq!(sim.kept_by(0).links, 1);
}

/// What comes instead of a CREATE's three fragments.
fn wrong_creates(whole: &[Fragment; 3]) -> Vec<(&'static str, Vec<Fragment>)> {
    let [a, b, c] = whole.clone();
    let garbage = split(&[0xa5; 1300]);
    let mut version = a.clone();
    version.chunk[1] ^= 2;
    let fourth = Fragment { index: 3, ..c.clone() };
    vec![
        ("no beginning", vec![b.clone()]),
        ("only an end", vec![c.clone()]),
        ("the same twice", vec![a.clone(), a.clone()]),
        ("one left out", vec![a.clone(), c.clone()]),
        ("a fourth", vec![fourth]),
        ("garbage", garbage.to_vec()),
        ("another version", vec![version, b.clone(), c.clone()]),
        ("one fragment too many", vec![a, b, c.clone(), c]),
    ]
}

#[test]
fn creates_that_are_none_end_their_circuit_alone() {
    let mut sim = network(4, 3);
    let mut origin = Origin::connect(&mut sim, 0);
    let bystander = open(&mut sim, &mut origin, &[0, 1, 2]);
    let hop = sim.hop(0);
    let server = ServerPublic { identity: *hop.identity.as_bytes(), onion_key: *hop.onion_key.as_bytes() };
    let (_, message) = ClientHandshake::start(&mut ChaCha20Rng::seed_from_u64(4), &server, b"").unwrap();
    let whole = split(&message);
    let mut attacker = Origin::connect(&mut sim, 0);
    attacker.keep_raw();
    let send = |sim: &mut Sim, attacker: &mut Origin, fragments: &[Fragment]| -> Vec<Command> {
        let circ = attacker.new_circ();
        let cells: Vec<Cell> = fragments.iter().map(|fragment| fragment.to_cell(circ, Command::Create)).collect();
        attacker.send_cells(sim, &cells);
        sim.run_for(A_WHILE);
        attacker.look(sim);
        std::iter::from_fn(|| attacker.take_cell()).map(|cell| cell.command).collect()
    };
    assert_eq!(send(&mut sim, &mut attacker, &whole), [Command::Created; 3], "a whole one is answered");
    for (name, fragments) in wrong_creates(&whole) {
        let answer = send(&mut sim, &mut attacker, &fragments);
        assert_eq!(answer.last(), Some(&Command::Destroy), "{name}");
        // What follows a circuit's end can only be the beginning of another.
        assert!(sim.circuits() <= ENTRIES + 2, "{name}: {} circuits", sim.circuits());
    }
    assert!(!attacker.is_closed(&sim), "the link suffers");
    assert!(exchange(&mut sim, &mut origin, bystander), "another circuit suffers");
}

/// A relay cell on a circuit whose handshake is not whole.
#[test]
fn a_circuit_cannot_be_used_before_its_handshake_is_whole() {
    let mut sim = network(5, 3);
    let mut attacker = Origin::connect(&mut sim, 0);
    attacker.keep_raw();
    let circ = attacker.new_circ();
    let half = split(&[1; 1300])[0].to_cell(circ, Command::Create);
    attacker.send_cells(&mut sim, &[half, Cell { circ, command: Command::Relay, body: [0; BODY_LEN] }]);
    sim.run_for(A_WHILE);
    attacker.look(&mut sim);
    assert_eq!(attacker.take_cell().map(|cell| cell.command), Some(Command::Destroy));
}
