//! Relays that die as by a power cut while two people talk through them: no message is lost, none comes twice, and the
//! order stays.

use std::thread;
use std::time::Duration;

use allium_tests::chat::{Chat, ContactState, Mark, PATIENCE, Pair};
use allium_tests::network::{Network, Options};
use allium_tests::traffic::Traffic;
use allium_tests::wait;

/// Between one death and the next.
const BETWEEN: Duration = Duration::from_millis(2500);

/// Within this time after the last death everything has arrived.
const SETTLED_WITHIN: Duration = Duration::from_secs(45);

#[test]
fn three_relays_in_use_die_in_a_row() {
    let network = Network::start(&Options::default());
    let pair = Pair::meet(&network.url());
    let traffic = Traffic::start(&pair, "on we go");
    let mut dead = Vec::new();
    for _ in 0..3 {
        // The relay in the middle of it all first; later, when the two may just be meeting, any relay in use.
        let victim = wait::until(PATIENCE, "a relay in use that lives", || {
            let paths = conversation_paths(&pair);
            paths.iter().flat_map(|path| path.iter().rev()).find(|relay| !dead.contains(*relay)).cloned()
        });
        network.node(&victim).kill();
        dead.push(victim);
        // This time is part of what is promised.
        thread::sleep(BETWEEN);
    }
    let count = traffic.finish(SETTLED_WITHIN);
    assert!(count > 30, "only {count} messages while three relays died");
    for path in conversation_paths(&pair) {
        assert!(path.iter().all(|relay| !dead.contains(relay)), "{path:?} passes a relay of {dead:?}");
    }
    pair.assert_talking("After three deaths");
}

#[test]
fn the_relay_where_they_meet_dies_again_and_again() {
    let network = Network::start(&Options::default());
    let pair = Pair::meet(&network.url());
    let traffic = Traffic::start(&pair, "meet again");
    let mut dead: Vec<String> = Vec::new();
    for _ in 0..3 {
        let meeting = wait::until(PATIENCE, "a meeting at a relay that lives", || {
            let paths = conversation_paths(&pair);
            let meeting = paths.first()?.last()?.clone();
            (!dead.contains(&meeting)).then_some(meeting)
        });
        let marks = (pair.inviter.mark(), pair.visitor.mark());
        network.node(&meeting).kill();
        dead.push(meeting);
        connected_again(&pair, marks);
    }
    traffic.finish(SETTLED_WITHIN);
    pair.assert_talking("After three meetings");
}

#[test]
fn a_guard_dies() {
    one_hop_dies("guard", |path| path.first());
}

#[test]
fn a_middle_dies() {
    one_hop_dies("middle", |path| path.get(1));
}

fn one_hop_dies(role: &str, pick: impl Fn(&[String]) -> Option<&String>) {
    let network = Network::start(&Options::default());
    let pair = Pair::meet(&network.url());
    let traffic = Traffic::start(&pair, role);
    let victim = pick(&pair.inviter.conversation_path()).unwrap().clone();
    network.node(&victim).kill();
    wait::until(PATIENCE, "a way around the dead relay", || {
        let paths = conversation_paths(&pair);
        (paths.len() == 2 && paths.iter().all(|path| !path.contains(&victim))).then_some(())
    });
    traffic.finish(SETTLED_WITHIN);
    pair.assert_talking("After the death");
}

#[test]
fn a_relay_that_died_comes_back() {
    // With four relays a visitor's circuit needs each of them.
    let network = Network::start(&Options { relays: 4, ..Options::default() });
    let pair = Pair::meet(&network.url());
    let victim = pair.visitor.conversation_path()[1].clone();
    network.node(&victim).kill();
    let waiting = pair.inviter.send(&pair.visitor_name, "for when it is back");
    network.restart(&victim);
    pair.visitor.await_message("for when it is back");
    pair.inviter.await_delivered(&waiting);
    pair.assert_talking("It is back");
}

#[test]
fn an_authority_dies() {
    let network = Network::start(&Options::default());
    let pair = Pair::meet(&network.url());
    network.with_role("authority").next().unwrap().kill();
    network.assert_answers();
    pair.assert_talking("Without it");
    let (ada, ben) = (Chat::launch("Ada", &network.url()), Chat::launch("Ben", &network.url()));
    [&ada, &ben].into_iter().for_each(Chat::await_ready);
    Pair::introduce(ada, ben).assert_talking("Who came after its death");
}

/// The paths that now carry the two's conversation; none, as long as they look for each other.
fn conversation_paths(pair: &Pair) -> Vec<Vec<String>> {
    let circuits = [&pair.visitor, &pair.inviter].into_iter().flat_map(|chat| chat.circuits());
    circuits.filter(|circuit| circuit.purpose == "conversation").map(|circuit| circuit.path).collect()
}

/// Waits until both have noticed that they lost each other, and have found each other again.
fn connected_again(pair: &Pair, marks: (Mark, Mark)) {
    for (chat, mark, name) in
        [(&pair.inviter, marks.0, &pair.visitor_name), (&pair.visitor, marks.1, &pair.inviter_name)]
    {
        chat.await_state(mark, name, PATIENCE, |state| state != ContactState::Connected);
        chat.await_state(mark, name, PATIENCE, |state| state == ContactState::Connected);
    }
}
