//! What relays do for clients at the end of their circuits: the directory, the time, and records of users.

use allium_shared::cell::message::{EndReason, Service};
use allium_shared::netdir::ConsensusUpdate;
use allium_shared::services::{PUBLISH_EFFORT, Publication, PublishAnswer, UserId, day, read_key_answer, read_time};
use allium_tests::chat::{Chat, Event, PATIENCE};
use allium_tests::network::{self, Network, Options};
use allium_tests::peer::{self, Directory, Peer};
use serde_json::json;

const PATH: [&str; 3] = ["relay1", "relay2", "relay3"];

/// Asks the last relay of a new circuit; the answer has to be whole.
#[track_caller]
fn ask(directory: &Directory, service: Service, argument: &[u8]) -> Vec<u8> {
    let mut peer = Peer::link(directory, directory.relay(PATH[0]));
    let circ = peer.open_circuit(directory, &PATH);
    let (answer, reason) = peer.ask(circ, service, argument);
    assert_eq!(reason, EndReason::DONE, "{service:?}");
    answer
}

#[test]
fn the_last_relay_serves_a_client_without_knowing_it() {
    let network = Network::start(&Options { relays: 3, authorities: 1, ..Options::default() });
    let directory = Directory::fetch(&network.url());

    let update = ask(&directory, Service::DIRECTORY, b"");
    let whole = ConsensusUpdate::decode(&update).unwrap().apply(None).unwrap().unwrap();
    let fetched = directory.with(&whole);
    assert!(!directory.consensus().is_newer_than(fetched.consensus()));
    assert_eq!(fetched.relay(PATH[1]), directory.relay(PATH[1]));

    let before = peer::now();
    let time = read_time(&ask(&directory, Service::TIME, b"")).unwrap();
    assert!((before..=peer::now()).contains(&time), "it is the clock of this machine");

    // A stream that is refused costs nothing else.
    let mut peer = Peer::link(&directory, directory.relay(PATH[0]));
    let circ = peer.open_circuit(&directory, &PATH);
    for (service, argument, reason) in [
        (Service::SOURCE, &[0; 8][..], EndReason::CONNECTREFUSED),
        (Service::DIRECTORY, &[0; 31], EndReason::TORPROTOCOL),
        (Service::TIME, b"?", EndReason::TORPROTOCOL),
        (Service::FIND_KEY, b"", EndReason::TORPROTOCOL),
        (Service::PUBLISH_KEY, &[0; 12], EndReason::TORPROTOCOL),
        (Service::PUBLISH_KEY, &[0; 400], EndReason::TORPROTOCOL),
    ] {
        assert_eq!(peer.ask(circ, service, argument), (Vec::new(), reason), "{service:?}");
    }
    let unworked =
        peer.ask(circ, Service::PUBLISH_KEY, &[&[7; 8][..], &day(peer::now()).to_be_bytes(), b"record"].concat());
    assert_eq!(unworked, (vec![PublishAnswer::NoWork as u8], EndReason::DONE));
    assert_eq!(peer.ask(circ, Service::TIME, b"").1, EndReason::DONE);
}

#[test]
fn who_holds_the_newest_list_is_told_so() {
    let network = Network::start(&Options { relays: 3, authorities: 1, ..Options::default() });
    let directory = Directory::fetch(&network.url());
    let update = |digest: &str| {
        let url = format!("{}/directory/update/{digest}", network.url().trim_end_matches('/'));
        let mut answer = ureq::get(&url).call().map_err(|error| error.to_string())?;
        answer.body_mut().read_to_vec().map_err(|error| error.to_string())
    };
    // From here to there a newer one may have come: then it is what is different.
    let given = update(&directory.consensus().digest().to_string()).unwrap();
    let made = ConsensusUpdate::decode(&given).unwrap().apply(Some(directory.consensus())).unwrap();
    if let Some(newer) = made {
        assert!(directory.with(&newer).consensus().is_newer_than(directory.consensus()));
    }
    let whole = update(&"0".repeat(64)).unwrap();
    let whole = ConsensusUpdate::decode(&whole).unwrap().apply(None).unwrap().unwrap();
    assert!(!directory.consensus().is_newer_than(directory.with(&whole).consensus()));
    assert!(update("0").unwrap_err().contains("400"));
}

#[test]
fn what_one_client_publishes_another_finds() {
    let network = Network::start(&Options { relays: 6, authorities: 1, ..Options::default() });
    let (ada, ben) = (Chat::open("ada", &network.url()), Chat::open("ben", &network.url()));
    let mark = ada.mark();
    ada.say(&json!({ "do": "publish-key" }));
    let id = ada.expect(mark, PATIENCE, "a published key", |event| match event {
        Event::KeyPublished { id } => Some(id.clone()),
        _ => None,
    });
    let find = |chat: &Chat| {
        let mark = chat.mark();
        chat.say(&json!({ "do": "find-key", "id": &id }));
        chat.expect(mark, PATIENCE, "a key", |event| match event {
            Event::Key { id: of, key } if *of == id => Some(key.clone()),
            _ => None,
        })
    };
    let key = find(&ben);
    assert_eq!((key.len(), &find(&ada)), (64, &key));
    let mark = ben.mark();
    ben.say(&json!({ "do": "find-key", "id": "07".repeat(32) }));
    ben.await_error(mark, "key");
    // The key is the profile's, and stays with it.
    ada.kill();
    ada.restart();
    assert_eq!(find(&ada), key);
}

#[test]
fn what_a_user_publishes_outlives_the_relays_process() {
    let network = Network::start(&Options { relays: 3, authorities: 1, ..Options::default() });
    let directory = Directory::fetch(&network.url());
    let record = [0xa5; 200];
    let user = UserId::of(&record);
    let find = || {
        let answer = ask(&directory, Service::FIND_KEY, &user.0);
        read_key_answer(&user, &answer).unwrap().map(<[u8]>::to_vec)
    };
    assert_eq!(find(), None);
    let today = day(peer::now());
    let nonce = Publication::work(today, &record).search(PUBLISH_EFFORT, 0, u64::MAX).unwrap();
    let publication = Publication { nonce, day: today, record: &record };
    assert_eq!(ask(&directory, Service::PUBLISH_KEY, &publication.encode()), [PublishAnswer::Stored as u8]);
    assert_eq!(find().as_deref(), Some(&record[..]));

    network.node(PATH[2]).terminate();
    network.restart(PATH[2]);
    let urls: Vec<_> = network.relays().map(|node| node.entry.url.clone()).collect();
    network::await_consensus(&urls, 3);
    assert_eq!(find().as_deref(), Some(&record[..]));
}
