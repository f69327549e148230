//! Invite links that cannot be used: each gets an answer that a person can act on, and no contact.

use allium_shared::contact::invite::Invite;
use allium_shared::crypto::keys::RelayIdentity;
use allium_tests::chat::{Chat, ContactState, Event, Mark};
use allium_tests::network::{Network, Options};
use allium_tests::peer::Directory;

#[test]
fn a_broken_link_is_told_so() {
    let network = Network::shared();
    let (ada, ben) = (Chat::launch("Ada", &network.url()), Chat::launch("Ben", &network.url()));
    [&ada, &ben].into_iter().for_each(Chat::await_ready);
    let link = ada.invite();
    let middle = link.len() / 2 + 20;
    let other = if link.as_bytes()[middle] == b'A' { "B" } else { "A" };
    for (what, broken) in [
        ("no link", "hello there".to_owned()),
        ("another page", network.url()),
        ("cut off", link[..link.len() - 7].to_owned()),
        ("one letter changed", format!("{}{other}{}", &link[..middle], &link[middle + 1..])),
        ("letters that no link has", link.replace('#', "#!?")),
        ("very long", format!("{link}{}", "A".repeat(100_000))),
    ] {
        let mark = ben.mark();
        ben.add(&broken, "Ada", None);
        let told = ben.await_error(mark, "add");
        assert!(told.split_whitespace().count() >= 5, "{what}: {told:?} is no sentence");
        assert!(!told.contains(&link[link.len() - 40..]), "{what}: the error repeats the link: {told:?}");
    }
    assert_no_contact(&ben);
    // The same link, whole, still works; white space around it does no harm.
    ben.add(&format!("  {link}\n"), "Ada", None);
    ada.accept_request(Mark::default());
    assert_eq!(ben.await_contact(Mark::default(), ContactState::Connected), "Ada");
}

#[test]
fn a_link_of_another_network_is_told_so() {
    let here = Network::shared();
    let elsewhere = Network::start(&Options { relays: 4, authorities: 1, ..Options::default() });
    let (ada, ben) = (Chat::launch("Ada", &elsewhere.url()), Chat::launch("Ben", &here.url()));
    [&ada, &ben].into_iter().for_each(Chat::await_ready);
    ben.add(&ada.invite(), "Ada", None);
    let told = ben.await_error(Mark::default(), "add");
    assert!(told.contains("network"), "{told:?}");
    assert_no_contact(&ben);
}

#[test]
fn a_link_whose_relays_the_network_does_not_know_is_told_so() {
    let network = Network::shared();
    let (ada, ben) = (Chat::launch("Ada", &network.url()), Chat::launch("Ben", &network.url()));
    [&ada, &ben].into_iter().for_each(Chat::await_ready);
    let mut invite = Invite::parse(&ada.invite()).unwrap();
    for (number, place) in invite.places.iter_mut().enumerate() {
        place.0 = RelayIdentity::from([number as u8 + 1; 32]);
    }
    ben.add(&format!("{}#{}", network.url(), invite.to_fragment()), "Ada", None);
    let told = ben.await_error(Mark::default(), "add");
    assert!(told.contains("relays"), "{told:?}");
    assert_no_contact(&ben);
}

#[test]
fn a_link_whose_relays_have_just_died_is_told_so() {
    let network = Network::start(&Options::default());
    let (ada, ben) = (Chat::launch("Ada", &network.url()), Chat::launch("Ben", &network.url()));
    [&ada, &ben].into_iter().for_each(Chat::await_ready);
    let link = ada.invite();
    let named = Invite::parse(&link).unwrap();
    let directory = Directory::fetch(&network.url());
    for node in network.relays().filter(|node| {
        let identity = directory.relay(node.nickname()).identity;
        named.places.iter().any(|(relay, _)| *relay == identity)
    }) {
        node.kill();
    }
    ben.add(&link, "Ada", None);
    // Relays come back, so the client goes on trying; but it says what is wrong.
    let told = ben.await_error(Mark::default(), "add");
    assert!(told.contains("relays"), "{told:?}");
    // The inviter is still there for another try.
    let mark = ben.mark();
    ben.add(&ada.invite(), "Ada again", None);
    ada.accept_request(Mark::default());
    assert_eq!(ben.await_contact(mark, ContactState::Connected), "Ada again");
}

#[test]
fn a_link_whose_maker_is_away_is_told_so() {
    let network = Network::shared();
    let (ada, ben) = (Chat::launch("Ada", &network.url()), Chat::launch("Ben", &network.url()));
    [&ada, &ben].into_iter().for_each(Chat::await_ready);
    let link = ada.invite();
    ada.kill();
    ben.add(&link, "Ada", None);
    let told = ben.await_error(Mark::default(), "add");
    assert!(told.contains("offline"), "{told:?}");
    // A crash is no end: once the inviter is back, the two meet.
    let mark = ben.mark();
    ada.restart();
    ada.accept_request(Mark::default());
    assert_eq!(ben.await_contact(mark, ContactState::Connected), "Ada");
}

fn assert_no_contact(chat: &Chat) {
    let contact = chat.events().into_iter().find(|event| matches!(event, Event::Contact { .. }));
    assert_eq!(contact, None, "a contact came of a link that cannot be used");
}
