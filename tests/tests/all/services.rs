//! What relays do for clients at the end of their circuits: the directory, the time, and records of users.

use allium_shared::cell::message::{EndReason, Service};
use allium_shared::services::{Publication, STORED, UserId, WORK_BITS, day, read_key_answer, read_time};
use allium_tests::network::{self, Network, Options};
use allium_tests::peer::{self, Directory, Peer};

const PATH: [&str; 3] = ["relay1", "relay2", "relay3"];

/// Asks the last relay of a new circuit; the answer has to be whole.
#[track_caller]
fn ask(directory: &Directory, service: Service, argument: &[u8]) -> Vec<u8> {
    let mut peer = Peer::link(directory, directory.relay(PATH[0]));
    let circ = peer.open_circuit(directory, &PATH);
    let (answer, reason) = peer.ask(circ, service, argument);
    assert_eq!(reason, EndReason::Done as u8, "{service:?}");
    answer
}

#[test]
fn the_last_relay_serves_a_client_without_knowing_it() {
    let network = Network::start(&Options { relays: 3, authorities: 1, ..Options::default() });
    let directory = Directory::fetch(&network.url());

    let fetched = directory.with(&ask(&directory, Service::Directory, b""));
    assert!(!directory.consensus().is_newer_than(fetched.consensus()));
    assert_eq!(fetched.relay(PATH[1]), directory.relay(PATH[1]));

    let before = peer::now();
    let time = read_time(&ask(&directory, Service::Time, b"")).unwrap();
    assert!((before..=peer::now()).contains(&time), "it is the clock of this machine");

    // A stream that is refused costs nothing else.
    let mut peer = Peer::link(&directory, directory.relay(PATH[0]));
    let circ = peer.open_circuit(&directory, &PATH);
    for (service, argument, reason) in [
        (Service::Source, &[0; 8][..], EndReason::Refused),
        (Service::Directory, &[0; 31], EndReason::BadRequest),
        (Service::Time, b"?", EndReason::BadRequest),
        (Service::FindKey, b"", EndReason::BadRequest),
        (Service::PublishKey, &[0; 12], EndReason::BadRequest),
        (Service::PublishKey, &[0; 400], EndReason::BadRequest),
        (Service::PublishKey, &[7; 100], EndReason::NoWork),
    ] {
        assert_eq!(peer.ask(circ, service, argument), (Vec::new(), reason as u8), "{service:?}");
    }
    assert_eq!(peer.ask(circ, Service::Time, b"").1, EndReason::Done as u8);
}

#[test]
fn what_a_user_publishes_outlives_the_relays_process() {
    let network = Network::start(&Options { relays: 3, authorities: 1, ..Options::default() });
    let directory = Directory::fetch(&network.url());
    let record = [0xa5; 200];
    let user = UserId::of(&record);
    let find = || {
        let answer = ask(&directory, Service::FindKey, &user.0);
        read_key_answer(&user, &answer).unwrap().map(<[u8]>::to_vec)
    };
    assert_eq!(find(), None);
    let today = day(peer::now());
    let nonce = Publication::work(today, &record).search(WORK_BITS, 0, u64::MAX).unwrap();
    let publication = Publication { nonce, day: today, record: &record };
    assert_eq!(ask(&directory, Service::PublishKey, &publication.encode()), [STORED]);
    assert_eq!(find().as_deref(), Some(&record[..]));

    network.node(PATH[2]).terminate();
    network.restart(PATH[2]);
    let urls: Vec<_> = network.relays().map(|node| node.entry.url.clone()).collect();
    network::await_consensus(&urls, 3);
    assert_eq!(find().as_deref(), Some(&record[..]));
}
