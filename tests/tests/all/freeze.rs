//! Relays that freeze: their sockets stay open, nothing comes from them. It is noticed, and the talk goes on elsewhere.

use std::time::Duration;

use allium_tests::chat::{Chat, PATIENCE, Pair};
use allium_tests::network::{ENDED_WITHIN, Network, Options};
use allium_tests::traffic::Traffic;
use allium_tests::wait;

/// Within this time a freeze is noticed, and the two have another way.
const AROUND_WITHIN: Duration = Duration::from_secs(20);

#[test]
fn the_relay_where_they_meet_freezes() {
    hop_freezes(|path| path.len() - 1, false);
}

#[test]
fn a_guard_freezes_and_thaws() {
    hop_freezes(|_| 0, true);
}

fn hop_freezes(hop: impl Fn(&[String]) -> usize, thaw: bool) {
    let network = Network::start(&Options::default());
    let pair = Pair::meet(&network.url());
    pair.assert_talking("Before the frost");
    let path = pair.inviter.conversation_path();
    let victim = network.node(&path[hop(&path)]);
    let traffic = Traffic::start(&pair, "through the frost");
    victim.freeze();
    // Whoever notices first begins a new circuit, which takes the place of the other's old one without a word.
    let around = |chat: &Chat| {
        let conversation = chat.circuits().into_iter().find(|circuit| circuit.purpose == "conversation")?;
        (!conversation.path.iter().any(|relay| relay == victim.nickname())).then_some(())
    };
    wait::until(AROUND_WITHIN, "a way around the frozen relay", || {
        around(&pair.inviter)?;
        around(&pair.visitor)
    });
    if thaw {
        // What it still holds comes late, and must not come twice.
        victim.thaw();
    }
    traffic.finish(PATIENCE);
    pair.assert_talking("After the frost");
    assert!(victim.runs());
}

#[test]
fn a_network_with_a_frozen_node_still_ends_in_time() {
    let network = Network::start(&Options { relays: 4, authorities: 1, ..Options::default() });
    network.relays().next().unwrap().freeze();
    let (took, _) = network.terminate(ENDED_WITHIN * 2);
    assert!(took <= ENDED_WITHIN, "it took {took:.1?}");
    wait::until(Duration::from_secs(1), "the end of every node", || {
        network.nodes().iter().all(|node| !node.runs()).then_some(())
    });
}
