//! Whoever has not the keys that the consensus names is not taken for the relay.

use allium_shared::cell::{Cell, Command};
use allium_shared::circuit::Hop;
use allium_shared::crypto::keys::{LinkSecret, RelayIdentity};
use allium_shared::link::RelayAddressee;
use allium_tests::sim::Node;
use allium_tests::sim::outsider::Origin;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use crate::ground::{A_WHILE, exchange, network, open};

/// A client that looks for another relay at this address, or knows another key of it, gets no link.
#[test]
fn a_link_to_a_relay_with_another_key_or_identity_fails() {
    let mut sim = network(1, 3);
    let addressee =
        |n: usize, key: usize| RelayAddressee { identity: sim.relay(n).identity, link_key: sim.relay(key).link_key };
    let (honest, wrong) = (addressee(0, 0), [addressee(0, 1), addressee(1, 0), addressee(1, 1)]);
    assert!(Origin::try_connect(&mut sim, 0, None, Some(honest)).is_some());
    let secret = sim.relay_keys(2).link.clone();
    assert!(Origin::try_connect(&mut sim, 0, Some(&secret), Some(honest)).is_some());
    sim.run_for(A_WHILE);
    let links = sim.kept_by(0).links;
    for addressee in wrong {
        for secret in [None, Some(&secret)] {
            assert!(Origin::try_connect(&mut sim, 0, secret, Some(addressee)).is_none(), "{addressee:?}");
        }
    }
    sim.run_for(A_WHILE);
    assert_eq!(sim.kept_by(0).links, links, "the relay keeps a link that does not authenticate");
}

/// Who claims to be a relay needs a link key of the consensus.
#[test]
fn a_relay_that_the_consensus_does_not_list_gets_no_link() {
    let mut sim = network(2, 3);
    let known = sim.relay_keys(1).link.clone();
    let relay = Origin::connect_as(&mut sim, 0, &known).unwrap();
    sim.run_for(A_WHILE);
    assert!(!relay.is_closed(&sim), "a listed relay gets its link");
    let unknown = LinkSecret::generate(&mut ChaCha20Rng::seed_from_u64(9));
    // The initiator is done before the relay has seen its proof.
    let stranger = Origin::connect_as(&mut sim, 0, &unknown).unwrap();
    sim.run_for(A_WHILE);
    assert!(stranger.is_closed(&sim), "a stranger was taken for a relay");
    assert_eq!(sim.kept_by(0).links, 1);
    assert_eq!(sim.totals().links_ended.values().sum::<u64>(), 1);
}

#[test]
fn a_circuit_to_another_onion_key_or_identity_fails() {
    let mut sim = network(3, 4);
    let mut origin = Origin::connect(&mut sim, 0);
    let bystander = open(&mut sim, &mut origin, &[0, 1, 2]);
    let elsewhere = RelayIdentity::from([8; 32]);
    let wrong_key = |n: usize| Hop { identity: sim.hop(n).identity, onion_key: sim.hop(3).onion_key };
    let wrong_first = [wrong_key(0), Hop { identity: elsewhere, onion_key: sim.hop(0).onion_key }, sim.hop(1)];
    let wrong_later = wrong_key(1);
    for hop in wrong_first {
        let circ = origin.begin_along(&mut sim, vec![hop]);
        assert!(origin.wait(&mut sim, |origin| origin.is_gone(circ)), "another relay's handshake was answered");
    }
    let circ = open(&mut sim, &mut origin, &[0]);
    assert!(!origin.extend(&mut sim, circ, wrong_later), "another key's handshake was answered");
    assert!(origin.is_gone(circ));
    assert!(exchange(&mut sim, &mut origin, bystander), "another circuit suffers");
}

/// A relay whose link key is stolen, but not its onion key: the thief is taken for it on links, and can answer no circuit.
#[test]
fn a_stolen_link_key_opens_no_circuit() {
    let mut sim = network(4, 3);
    let key = sim.relay_keys(1).link.clone();
    let mut thief = Origin::connect_as(&mut sim, 0, &key).unwrap();
    thief.keep_raw();
    let mut origin = Origin::connect(&mut sim, 0);
    let circ = origin.begin(&mut sim, &[0, 1]);
    origin.wait(&mut sim, |_| false);
    assert!(thief.look(&mut sim), "the thief gets what was meant for the relay");
    // It hands the handshake to another relay, which is the most that it can do.
    let mut helper = Origin::connect(&mut sim, 2);
    helper.keep_raw();
    let creates: Vec<_> = std::iter::from_fn(|| thief.take_cell()).collect();
    assert_eq!(creates.len(), 3);
    let moved = helper.new_circ();
    let to_helper: Vec<_> = creates.iter().map(|cell| Cell { circ: moved, ..cell.clone() }).collect();
    helper.send_cells(&mut sim, &to_helper);
    sim.run_for(A_WHILE);
    helper.look(&mut sim);
    let answer = helper.take_cell().expect("an answer");
    assert_eq!(answer.command, Command::Destroy, "another relay answered the handshake");
    assert!(!origin.is_open(circ));
    // To the relay that it was made for, the same handshake leads to an answer.
    let mut control = Origin::connect(&mut sim, 1);
    control.keep_raw();
    let moved = control.new_circ();
    let to_owner: Vec<_> = creates.into_iter().map(|cell| Cell { circ: moved, ..cell }).collect();
    control.send_cells(&mut sim, &to_owner);
    sim.run_for(A_WHILE);
    control.look(&mut sim);
    assert_eq!(control.take_cell().expect("an answer").command, Command::Created);
    assert_eq!(sim.links_between(thief.node(), Node::Relay(0)), 1);
}
