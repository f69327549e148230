//! Everything that passes between clients and relays, as anybody on the way can see it: sizes, and noise.

use std::collections::HashSet;

use allium_tests::browser::Page;
use allium_tests::chat::{Chat, ContactState, Pair};
use allium_tests::tap::link::Initiator;
use allium_tests::tap::{Account, Secrets, TappedNetwork, analyse};

/// A word that long messages consist of, so that any part of one would be found.
const MARKER: &str = "~onions and tears~";

#[test]
fn a_chat_between_native_clients_shows_nothing() {
    let network = TappedNetwork::start(false);
    let (ada, ben) = (Chat::launch("Ada", network.url()), Chat::launch("Ben", network.url()));
    [&ada, &ben].into_iter().for_each(Chat::await_ready);
    let mut secrets = Secrets::default();
    let link = ada.invite();
    secrets.add_invite(&link);
    for name in ["Adalbertine", "Bartholomew"] {
        secrets.add_text(name, name);
    }
    let (here, there) = (ada.mark(), ben.mark());
    ben.add(&link, "Adalbertine", Some("Bartholomew"));
    ada.accept_request(here);
    assert_eq!(ben.await_contact(there, ContactState::Connected), "Adalbertine");
    assert_eq!(ada.await_contact(here, ContactState::Connected), "Bartholomew");
    let pair = Pair {
        inviter: ada.into(),
        visitor_name: "Bartholomew".into(),
        visitor: ben.into(),
        inviter_name: "Adalbertine".into(),
    };
    for number in 0..20 {
        pair.assert_talking(&format!("a short question {number}"));
        secrets.add_text("a question", &format!("a short question {number}?"));
    }
    secrets.add_text("the marker", MARKER);
    let long = MARKER.repeat(16 * 1024 / MARKER.len());
    for _ in 0..3 {
        let id = pair.visitor.send("Adalbertine", &long);
        secrets.add("a message's id", &data_encoding::HEXLOWER.decode(id.as_bytes()).unwrap());
        pair.visitor.await_delivered(&id);
    }
    let paths = [pair.inviter.conversation_path(), pair.visitor.conversation_path()];

    let account = analyse(&network.recordings(), &secrets);
    account.assert_clean();
    // The tap was where the messages were: three of 16 KiB, on every link of a way of at least five.
    assert!(account.cells > 3 * 33 * 5, "only {} cells passed the taps", account.cells);
    let (inviter, visitor) = (pair.inviter.pid(), pair.visitor.pid());
    assert_apart(&network, &account, &paths, [&|pid| pid == inviter, &|pid| pid == visitor]);
}

#[test]
fn a_chat_between_pages_shows_nothing() {
    let network = TappedNetwork::start(true);
    let (ada, ben) = Page::open_two(network.url());
    let mut secrets = Secrets::default();
    let link = ada.invite();
    secrets.add_invite(&link);
    for name in ["Adalbertine", "Bartholomew"] {
        secrets.add_text(name, name);
    }
    ben.type_into("contact-introduce", "Bartholomew");
    ben.add(&link, "Adalbertine");
    ada.accept_request();
    ben.open_conversation("Adalbertine");
    ada.open_conversation("Bartholomew");
    secrets.add_text("the marker", MARKER);
    let long = MARKER.repeat(16 * 1024 / MARKER.len());
    for (number, (from, to)) in [(&ada, &ben), (&ben, &ada), (&ada, &ben), (&ben, &ada)].into_iter().enumerate() {
        let text = format!("a short message, number {number}");
        from.send(&text);
        to.await_message(&text);
        from.await_delivered(&text);
        secrets.add_text("a message", &text);
    }
    ben.send(&long);
    ben.await_delivered(&long);
    let paths = [ada.path(), ben.path()];

    let account = analyse(&network.recordings(), &secrets);
    account.assert_clean();
    assert!(account.cells > 33 * 5, "only {} cells passed the taps", account.cells);
    assert_apart(&network, &account, &paths, [&|pid| ada.browser.owns(pid), &|pid| ben.browser.owns(pid)]);
    ada.assert_quiet();
    ben.assert_quiet();
}

/// Checks who has links to whom: clients to guards only, so no relay knows both a client and where it meets whom.
fn assert_apart(
    network: &TappedNetwork,
    account: &Account,
    paths: &[Vec<String>; 2],
    clients: [&dyn Fn(u32) -> bool; 2],
) {
    let guards: HashSet<String> = network.guards().into_iter().collect();
    let meeting = paths[0].last().unwrap();
    assert_eq!(paths[1].last(), Some(meeting), "the two meet at one relay");
    for (path, client) in paths.iter().zip(clients) {
        assert!(guards.contains(&path[0]), "{path:?} does not begin at a guard");
        let own = account.links.iter().filter(|(_, owner, _)| owner.is_some_and(client));
        let linked: HashSet<&String> = own.map(|(relay, ..)| relay).collect();
        assert!(linked.contains(&path[0]), "a client has no link to its guard, but to {linked:?}");
        assert!(!linked.contains(meeting), "a client has a link to the relay where it meets the other");
        assert!(linked.iter().all(|relay| guards.contains(*relay)), "a client has links to {linked:?}");
    }
    let relays: HashSet<u32> = network.relay_pids().into_iter().collect();
    for (relay, owner, link) in &account.links {
        let owner = owner.expect("somebody opened the link");
        let expected = if relays.contains(&owner) { Initiator::Relay } else { Initiator::Anonymous };
        assert_eq!(link.initiator, expected, "a link to {relay} from process {owner}");
    }
    assert!(account.links.iter().any(|(relay, ..)| relay == meeting), "no link to the meeting at all");
}
