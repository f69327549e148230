//! What is drawn of a list of relays.

use std::rc::Rc;

use allium_shared::client::api::{NetworkView, RelayView};
use allium_shared::netdir::RelayRole;

use super::picture::{HEART, MAX_FLORETS, MAX_POLLEN, SIZE};
use super::{Arriving, Bar, Network, Order, Query, Tint};
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

/// What is told of a list of so many relays before they come.
pub fn about(relays: usize) -> NetworkView {
    NetworkView {
        network: String::new(),
        digest: String::new(),
        valid_after: 1,
        fresh_until: 2,
        valid_until: 3,
        rule_set: 1,
        quorum: 1,
        authorities: Vec::new(),
        parameters: [].into(),
        relays,
    }
}

fn relay(n: u32, weight: u32) -> RelayView {
    let identity: [u8; 32] = std::array::from_fn(|at| n.to_be_bytes().get(at).copied().unwrap_or(9));
    RelayView {
        identity: identity.into(),
        nickname: format!("Relay{n}").parse().unwrap(),
        roles: vec![RelayRole::Guard, RelayRole::Middle],
        weight,
        health: 100,
        version: "allium 1".to_owned(),
        url: format!("ws://127.0.0.1:{}/link", 1000 + n % 60_000).parse().unwrap(),
        secure_url: None,
        family: None,
        exit_policy: Vec::new(),
    }
}

fn network(relays: Vec<RelayView>) -> Network {
    Network::new(about(relays.len()), relays.into_iter().map(Rc::new).collect())
}

fn names(network: &Network, query: &Query) -> Vec<String> {
    network.select(query).into_iter().map(|index| network.relay(index).unwrap().nickname.to_string()).collect()
}

#[test]
fn it_is_whole_once_all_parts_are_there() {
    let mut arriving = Arriving::new(about(3));
    arriving.add(vec![relay(1, 1), relay(2, 1)]);
    assert!(arriving.snapshot().is_none());
    arriving.add(vec![relay(3, 1)]);
    assert_eq!(arriving.snapshot().unwrap().len(), 3);
    assert_eq!(Arriving::new(about(0)).snapshot().unwrap().len(), 0, "a list may be empty");
}

#[test]
fn shares_are_parts_of_all_weight() {
    let mut relays = vec![relay(1, 30), relay(2, 10)];
    relays[1].roles = vec![RelayRole::Exit];
    let both = network(relays);
    assert!((both.share(&relay(9, 30)) - 0.75).abs() < 1e-9);
    let sums: Vec<_> = both.roles.iter().filter(|sum| sum.count > 0).map(|sum| (sum.role, sum.share)).collect();
    assert_eq!(sums, [(RelayRole::Guard, 0.75), (RelayRole::Middle, 0.75), (RelayRole::Exit, 0.25)]);
    let weightless = network(vec![relay(1, 0)]);
    assert!(weightless.share(weightless.relay(0).unwrap()).abs() < 1e-9, "nothing is divided by nothing");
}

#[test]
fn relays_are_found_by_all_that_names_them() {
    let mut relays: Vec<_> = (0..12).map(|n| relay(n, 100 - n)).collect();
    relays[3].secure_url = Some("wss://Example.org/link".parse().unwrap());
    relays[4].family = Some("abcdef".to_owned());
    relays[5].family = Some("abcdef".to_owned());
    relays[7].roles = vec![RelayRole::Exit];
    let network = network(relays);
    let found = |text: &str| names(&network, &Query { text: text.into(), ..Query::default() });
    assert_eq!(found(" relay11 "), ["Relay11"]);
    assert_eq!(found("example.ORG"), ["Relay3"]);
    assert_eq!(found("abcdef"), ["Relay4", "Relay5"]);
    assert_eq!(found(&relay(6, 1).identity.to_hex()[..12]), ["Relay6"]);
    assert_eq!(found(":1007/"), ["Relay7"]);
    assert_eq!(found("allium 1").len(), 12);
    assert!(found("nobody").is_empty());
    assert_eq!(names(&network, &Query { role: Some(RelayRole::Exit), ..Query::default() }), ["Relay7"]);
    assert_eq!(network.relatives(4).map(|relay| relay.nickname.to_string()).collect::<Vec<_>>(), ["Relay5"]);
    assert_eq!(network.relatives(0).count(), 0);
    // The heaviest is the first floret here, and the list's first relay.
    assert_eq!(network.picture.kin, [(4, 5)]);
}

#[test]
fn orders_are_those_that_people_expect() {
    let mut relays = vec![relay(10, 5), relay(9, 7), relay(2, 7)];
    relays[0].health = 3;
    let network = network(relays);
    let ordered = |order, reversed| names(&network, &Query { order, reversed, ..Query::default() });
    assert_eq!(ordered(Order::Weight, false), ["Relay2", "Relay9", "Relay10"]);
    assert_eq!(ordered(Order::Weight, true)[0], "Relay10");
    assert_eq!(ordered(Order::Name, false), ["Relay2", "Relay9", "Relay10"]);
    assert_eq!(ordered(Order::Name, true), ["Relay10", "Relay9", "Relay2"]);
    assert_eq!(ordered(Order::Health, false)[0], "Relay10");
}

#[test]
fn florets_stay_in_the_picture_and_off_each_other() {
    for count in [1, 2, 8, 60, MAX_FLORETS as u32] {
        let network = network((0..count).map(|n| relay(n, 1 + (n * 7919) % 1000)).collect());
        let florets = &network.picture.florets;
        assert_eq!(florets.len(), count as usize);
        for (at, one) in florets.iter().enumerate() {
            let reach = (one.x - HEART.0).hypot(one.y - HEART.1) + one.r;
            assert!(reach <= HEART.0.min(HEART.1).min(SIZE.1 - HEART.1), "{one:?} of {count} is outside");
            for other in &florets[..at] {
                let apart = (one.x - other.x).hypot(one.y - other.y) / (one.r + other.r);
                assert!(apart > 0.6, "{one:?} covers {other:?} of {count}");
            }
        }
        let weights: Vec<_> = florets.iter().map(|floret| network.relay(floret.index).unwrap().weight).collect();
        assert!(weights.is_sorted_by(|a, b| a >= b), "the heaviest are not first");
        assert!(florets.is_sorted_by(|a, b| a.r >= b.r), "a heavier one is smaller");
        assert_eq!((network.picture.rest, network.picture.pollen.len()), (0, 0));
        assert!(network.picture.bars.is_empty());
    }
}

#[test]
fn what_has_no_room_is_counted() {
    let count = 10_000;
    let network = network((0..count).map(|n| relay(n, if n < 10 { 1000 } else { 1 })).collect());
    let picture = &network.picture;
    assert_eq!((picture.florets.len(), picture.pollen.len(), picture.rest), (MAX_FLORETS, MAX_POLLEN, 9600));
    assert_eq!(picture.relays_per_dot(), 16);
    let all = 10.0 * 1000.0 + 9990.0;
    assert!((picture.rest_share - 9600.0 / all).abs() < 1e-9);
    let filled: Vec<Bar> = picture.bars.iter().copied().filter(|bar| bar.count > 0).collect();
    assert_eq!(filled, [Bar { from: 1, count: 9990 }, Bar { from: 512, count: 10 }]);
}

#[test]
fn colours_say_what_circuits_do_there() {
    let tint = |roles: &[RelayRole]| Tint::of(&RelayView { roles: roles.to_vec(), ..relay(1, 1) });
    assert_eq!(tint(&[RelayRole::Guard, RelayRole::Middle]), Tint::Guard);
    assert_eq!(tint(&[RelayRole::Guard, RelayRole::Exit]), Tint::Both);
    assert_eq!(tint(&[RelayRole::Exit]), Tint::Exit);
    assert_eq!(tint(&[RelayRole::Middle, RelayRole::Rendezvous]), Tint::Between);
    let mut poor = relay(1, 1);
    poor.health = 50;
    assert!(!network(vec![poor]).picture.florets[0].well);
}
