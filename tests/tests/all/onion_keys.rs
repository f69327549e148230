//! Onion keys of a relay that follow each other while people use it.

use std::time::Duration;

use allium_shared::cell::DestroyReason;
use allium_shared::circuit::{Hop, Received};
use allium_shared::crypto::keys::OnionPublic;
use allium_tests::chat::{ContactState, Event, Pair};
use allium_tests::network::{self, Network, Options};
use allium_tests::peer::{Directory, Peer};
use allium_tests::wait;

const RELAY: &str = "relay1";

/// A new key after so many seconds, and for how many the one before is answered.
const TIMES: [&str; 4] = ["--onion-key-lifetime", "30", "--onion-key-overlap", "15"];

/// Longer than a key lives.
const PATIENCE: Duration = Duration::from_secs(60);

/// Ends the relay as a power cut would and starts it again.
fn restart(network: &Network) {
    network.node(RELAY).kill();
    network.restart_with(RELAY, &TIMES);
    let urls: Vec<_> = network.relays().map(|node| node.entry.url.clone()).collect();
    network::await_consensus(&urls, urls.len() as u64);
}

/// Waits until the consensus has another onion key of the relay than this one.
fn await_another(network: &Network, key: OnionPublic) -> OnionPublic {
    wait::until(PATIENCE, "a new onion key in the consensus", || {
        let now = Directory::fetch(&network.url()).relay(RELAY).onion_key;
        (now != key).then_some(now)
    })
}

/// What comes of a circuit to the relay by this onion key.
fn outcome(directory: &Directory, onion_key: OnionPublic) -> Received {
    let relay = directory.relay(RELAY);
    let hop = Hop { identity: relay.identity, onion_key };
    Peer::link(directory, relay).try_circuit(vec![hop]).1
}

#[test]
fn an_onion_key_is_followed_and_those_who_know_the_old_one_have_time() {
    let network = Network::start(&Options { relays: 5, authorities: 1, ..Options::default() });
    let directory = Directory::fetch(&network.url());
    let first = directory.relay(RELAY).onion_key;
    restart(&network);

    let second = await_another(&network, first);
    assert_eq!(outcome(&directory, second), Received::Open);
    assert_eq!(outcome(&directory, first), Received::Open);
    restart(&network);
    assert_eq!(outcome(&directory, second), Received::Open);
    assert_eq!(outcome(&directory, first), Received::Open, "both are on the disk");

    let pair = Pair::meet(&network.url());
    pair.assert_talking("before");
    let (here, there) = (pair.inviter.mark(), pair.visitor.mark());
    let third = await_another(&network, second);
    assert_eq!(outcome(&directory, third), Received::Open);
    assert_eq!(outcome(&directory, second), Received::Open);
    let refused = Received::Destroyed(DestroyReason::Protocol);
    assert_eq!(outcome(&directory, first), refused, "its time is over");
    pair.assert_talking("between");

    wait::until(PATIENCE, "the end of the old key", || (outcome(&directory, second) == refused).then_some(()));
    assert_eq!(outcome(&directory, third), Received::Open);
    pair.assert_talking("after");
    for (chat, mark) in [(&pair.inviter, here), (&pair.visitor, there)] {
        let strange = |event: &&Event| match event {
            Event::Contact { state, .. } => *state != ContactState::Connected,
            Event::Error { .. } => true,
            _ => false,
        };
        let noticed =
            chat.expect_all(mark, PATIENCE, "what they said", |events| Some(events.iter().find(strange).cloned()));
        assert_eq!(noticed, None);
    }
}
