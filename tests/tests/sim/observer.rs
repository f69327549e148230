//! What can be learnt at each place of the network: at one relay, at two that tell each other everything, on a link.
//!
//! Each check is also run where something is wrong, and has to find it.

use std::collections::BTreeSet;
use std::time::Duration;

use allium_shared::cell::{BODY_LEN, Cell, Command};
use allium_shared::contact::invite::Invite;
use allium_tests::sim::checks::{
    Leak, coalitions, links, meetings, ones_and_twos, pairs, secrets_at_relays, secrets_on_links,
};
use allium_tests::sim::outsider::{Meeting, Origin};
use allium_tests::sim::seeds::for_seeds;
use allium_tests::sim::{Node, Sim};
use allium_tests::tap::Secrets;
use serde_json::Value;

use crate::people::{ALICE, BOB, LONG, befriend, both_connected, get_ready, path, received, send};

/// Texts that noise does not contain.
const TEXTS: [&str; 3] = ["a question about onions", "an answer about tears", "nothing more to say"];

/// Alice and Bob have met, talked, lost the relay where they met, and talked again; everything was observed.
fn talked(seed: u64) -> (Sim, String) {
    let mut sim = Sim::new(seed, 10, 2);
    sim.observe();
    get_ready(&mut sim);
    let link = befriend(&mut sim);
    for (n, text) in [(ALICE, TEXTS[0]), (BOB, TEXTS[1])] {
        send(&mut sim, n, text);
    }
    sim.run_for(Duration::from_secs(2));
    let name = path(&mut sim, BOB).pop().unwrap();
    let relay = sim.relay_named(&name).unwrap();
    sim.kill_relay(relay);
    sim.run_for(Duration::from_secs(1));
    assert!(sim.run_until(LONG, both_connected));
    send(&mut sim, ALICE, &TEXTS[2].repeat(300));
    assert!(sim.run_until(LONG, |sim| received(sim, BOB).len() == 2 && received(sim, ALICE).len() == 1));
    sim.run_for(Duration::from_secs(3));
    (sim, link)
}

/// What nobody but the two may ever see. Relays may see a meeting's cookie and the key that it is asked for by; on links
/// not even that may be seen.
fn secrets(sim: &Sim, link: &str, on_links: bool) -> Secrets {
    let mut secrets = Secrets::default();
    for text in TEXTS {
        secrets.add_text("a message", text);
    }
    let invite = Invite::parse(link).unwrap();
    secrets.add("the invite's secret", &invite.secret);
    if on_links {
        secrets.add_invite(&format!("#{link}"));
    }
    let mut keys = Vec::new();
    for n in [ALICE, BOB] {
        for (_, value) in sim.disk(n).filter(|(key, _)| key.starts_with("contact/")) {
            find_keys("", &serde_json::from_slice(value).unwrap(), &mut keys);
        }
    }
    // For each of the two: the common secret and two chains, and more of Olm's; and the host's key.
    assert!(keys.len() >= 7, "the records of contacts look different than expected");
    for key in keys {
        secrets.add("a key of the two", &key);
    }
    secrets
}

/// The secret keys in a contact's record.
fn find_keys(name: &str, value: &Value, keys: &mut Vec<Vec<u8>>) {
    match value {
        // A visitor holds public keys only.
        Value::Object(fields) => fields
            .iter()
            .filter(|(name, _)| !["visitor", "invite"].contains(&name.as_str()))
            .for_each(|(name, value)| find_keys(name, value, keys)),
        Value::Array(bytes) if bytes.len() == 32 && ["root", "key"].contains(&name) => {
            keys.push(bytes.iter().map(|byte| u8::try_from(byte.as_u64().unwrap()).unwrap()).collect());
        }
        _ => {}
    }
}

fn as_slices(list: &[Vec<usize>]) -> impl Iterator<Item = &[usize]> {
    list.iter().map(Vec::as_slice)
}

#[test]
fn links_carry_noise_in_few_lengths() {
    for_seeds(0..2, |seed| {
        let (sim, link) = talked(seed);
        let observer = sim.observer();
        assert_eq!(links(observer), []);
        assert_eq!(secrets_on_links(observer, &secrets(&sim, &link, true)), []);
        // Both kinds of links were looked at, and the long message was on them.
        let with_clients = observer.passed().iter().filter(|passed| matches!(passed.from, Node::Client(_)));
        let lengths: BTreeSet<usize> = with_clients.map(|passed| passed.bytes.len()).collect();
        assert!(lengths.contains(&530) && lengths.contains(&(31 * 514 + 16)), "{lengths:?}");
        let is_relay = |node: Node| matches!(node, Node::Relay(_));
        assert!(observer.passed().iter().filter(|passed| is_relay(passed.from) && is_relay(passed.to)).count() > 300);
    });
}

#[test]
fn relays_see_no_content() {
    for_seeds(0..2, |seed| {
        let (sim, link) = talked(seed);
        assert_eq!(secrets_at_relays(sim.observer(), &secrets(&sim, &link, false)), []);
        let seen: usize = sim.observer().relays().map(|n| sim.observer().relay(n).unwrap().cells.len()).sum();
        assert!(seen > 2000, "only {seen} cells were looked at");
    });
}

#[test]
fn neither_one_relay_nor_two_know_both_ends() {
    for_seeds(0..4, |seed| {
        let (sim, _) = talked(seed);
        let observer = sim.observer();
        let small = ones_and_twos(observer);
        assert!(small.len() >= 30);
        assert_eq!(coalitions(observer, as_slices(&small)), []);
        // All relays together do know it, so the check can see it.
        let all: Vec<usize> = observer.relays().collect();
        assert_eq!(pairs(observer, &all), BTreeSet::from([(Node::Client(ALICE), Node::Client(BOB))]));
        let clients: BTreeSet<Node> = meetings(observer, &all).into_iter().map(|(client, _)| client).collect();
        assert_eq!(clients, BTreeSet::from([Node::Client(ALICE), Node::Client(BOB)]));
    });
}

/// Two bare circuits of so many hops that meet at the last relay.
fn meet(hops: usize) -> Sim {
    let mut sim = Sim::new(1, 7, 0);
    sim.observe();
    let [host, visitor]: [Vec<usize>; 2] =
        [0, 3].map(|first| (first..).take(hops - 1).chain([6]).collect::<Vec<usize>>());
    let mut meeting = Meeting::arrange(&mut sim, &host, &visitor).expect("the two are joined");
    assert!(meeting.visitor_says(&mut sim, TEXTS[0].as_bytes()));
    assert!(meeting.host_says(&mut sim, TEXTS[1].as_bytes()));
    sim
}

#[test]
fn a_path_of_one_hop_is_reported() {
    let sim = meet(1);
    let leaks = coalitions(sim.observer(), [&[6][..]]);
    let [a, b] = [Node::Outsider(0), Node::Outsider(1)];
    assert_eq!(leaks, [Leak::Pair(vec![6], a, b), Leak::Meeting(vec![6], a, 6), Leak::Meeting(vec![6], b, 6)]);
}

#[test]
fn a_path_of_two_hops_is_reported_for_two_relays_and_one_of_three_is_not() {
    let sim = meet(2);
    let small = ones_and_twos(sim.observer());
    let leaks = coalitions(sim.observer(), as_slices(&small));
    let [a, b] = [Node::Outsider(0), Node::Outsider(1)];
    assert_eq!(leaks, [Leak::Meeting(vec![0, 6], a, 6), Leak::Meeting(vec![3, 6], b, 6)]);
    let sim = meet(3);
    let small = ones_and_twos(sim.observer());
    assert_eq!(coalitions(sim.observer(), as_slices(&small)), []);
    assert_eq!(pairs(sim.observer(), &(0..7).collect::<Vec<_>>()), BTreeSet::from([(a, b)]));
}

#[test]
fn a_plaintext_link_is_reported() {
    let mut sim = Sim::new(2, 10, 2);
    sim.observe();
    get_ready(&mut sim);
    befriend(&mut sim);
    assert_eq!(links(sim.observer()), []);
    let name = path(&mut sim, BOB).swap_remove(0);
    let guard = sim.relay_named(&name).unwrap();
    sim.observe().strip_links_of(guard);
    sim.run_for(Duration::from_secs(5));
    let stripped = sim.observer().stripped().clone();
    assert!(!stripped.is_empty());
    let reported: BTreeSet<usize> = links(sim.observer())
        .into_iter()
        .filter_map(|leak| match leak {
            Leak::NoNoise(socket, _) => Some(socket),
            _ => None,
        })
        .collect();
    assert_eq!(reported, stripped, "every link without encryption is reported, and no other");
}

/// A client that forgot its onion layers: the guard sees the text, and without link encryption everybody does.
#[test]
fn a_text_without_onion_layers_is_reported() {
    let mut secrets = Secrets::default();
    secrets.add_text("a message", TEXTS[0]);
    for stripped in [false, true] {
        let mut sim = Sim::new(3, 4, 0);
        sim.observe();
        let mut origin = Origin::connect(&mut sim, 0);
        let circ = origin.build(&mut sim, &[0, 1, 2]);
        assert!(origin.is_open(circ));
        assert_eq!(secrets_at_relays(sim.observer(), &secrets), []);
        if stripped {
            sim.observe().strip_links_of(0);
        }
        let mut cell = Cell { circ, command: Command::Relay, body: [0x5a; BODY_LEN] };
        cell.body[100..][..TEXTS[0].len()].copy_from_slice(TEXTS[0].as_bytes());
        origin.send_cells(&mut sim, &[cell]);
        sim.run_for(Duration::from_secs(1));
        let at_relays = secrets_at_relays(sim.observer(), &secrets);
        assert_eq!(at_relays, [Leak::AtRelay(0, "a message (as it is)".to_owned())]);
        let on_links = secrets_on_links(sim.observer(), &secrets);
        assert_eq!(on_links.len(), usize::from(stripped), "{on_links:?}");
    }
}

#[test]
fn a_record_that_is_not_filled_up_is_reported() {
    let mut sim = Sim::new(4, 3, 0);
    sim.observe();
    let mut origin = Origin::connect(&mut sim, 0);
    let circ = origin.new_circ();
    let cells = [3, 4].map(|count| vec![Cell { circ, command: Command::Destroy, body: [0; BODY_LEN] }; count]);
    origin.send_cells(&mut sim, &cells[1]);
    sim.run_for(Duration::from_secs(1));
    assert_eq!(links(sim.observer()), []);
    origin.send_cells(&mut sim, &cells[0]);
    sim.run_for(Duration::from_secs(1));
    assert_eq!(links(sim.observer()), [Leak::Length(0, 3 * 514 + 16)]);
}
