//! Two people chat by native clients: names, texts, order, paths.

use std::collections::HashSet;

use allium_tests::chat::{Chat, ContactState, Event, PATIENCE, Pair};
use allium_tests::network::Network;
use serde_json::json;

#[test]
fn two_clients_chat_both_ways() {
    let network = Network::shared();
    let pair = Pair::meet(&network.url());
    assert_eq!(pair.inviter_name, "Ada", "the visitor chose the inviter's name");
    assert_eq!(pair.visitor_name, "Ben", "the inviter sees the name that the visitor gave");
    pair.assert_talking("How are you");
    pair.assert_talking("And now");
    pair.inviter.assert_nothing_twice();
    pair.visitor.assert_nothing_twice();
}

#[test]
fn texts_arrive_as_they_were_typed() {
    let network = Network::shared();
    let pair = Pair::meet(&network.url());
    let texts = [
        "<b>&amp;</b>".to_owned(),
        "\"quoted\" \\ and \\n not a line".to_owned(),
        "one\ntwo\r\n\n\tthree\n".to_owned(),
        " ".to_owned(),
        "Grüße, 你好, مرحبا, 👩‍👩‍👧‍👦, e\u{301}, \u{202e}backwards, \u{0}, \u{7f}, \u{2028}, \u{fffd}".to_owned(),
        "16 KiB ".repeat(16 * 1024 / 7 + 1)[..16 * 1024].to_owned(),
        "🧅".repeat(16 * 1024 / 4),
    ];
    for text in &texts {
        let id = pair.inviter.send(&pair.visitor_name, text);
        let received = pair.visitor.await_message(text);
        assert_eq!((received.from, received.id), (pair.inviter_name.clone(), id.clone()));
        pair.inviter.await_delivered(&id);
    }
    assert_eq!(pair.visitor.received().len(), texts.len());
}

#[test]
fn what_cannot_be_sent_is_refused_in_words() {
    let network = Network::shared();
    let chat = Chat::open("Ada", &network.url());
    for order in [
        json!({"do": "send", "to": "nobody", "text": "hello"}),
        json!({"do": "add", "link": "", "name": "Ben"}),
        json!({"do": "dance"}),
        json!([1, 2, 3]),
    ] {
        let mark = chat.mark();
        chat.say(&order);
        let told = chat.expect(mark, PATIENCE, &format!("an error about {order}"), |event| match event {
            Event::Error { message, .. } => Some(message.clone()),
            _ => None,
        });
        assert!(told.split_whitespace().count() >= 3, "{order} is answered with no sentence: {told:?}");
    }
    chat.say_line("no json at all");
    chat.await_error(chat_start(), "input");
    chat.invite();

    let pair = Pair::introduce(chat, Chat::open("Ben", &network.url()));
    let mark = pair.inviter.mark();
    pair.inviter.say(&json!({"do": "send", "to": pair.visitor_name, "text": "x".repeat(16 * 1024 + 1)}));
    pair.inviter.await_error(mark, "send");
    pair.assert_talking("after all of that");
}

#[test]
fn bursts_keep_their_order() {
    const BURST: usize = 50;
    let network = Network::shared();
    let pair = Pair::meet(&network.url());
    let burst = |way: &str| -> Vec<String> { (0..BURST).map(|number| format!("{way} {number}")).collect() };
    let (there, back) = (burst("there"), burst("back"));
    // All lines at once, both ways at the same time.
    for (one, other) in there.iter().zip(&back) {
        pair.inviter.say(&json!({"do": "send", "to": pair.visitor_name, "text": one}));
        pair.visitor.say(&json!({"do": "send", "to": pair.inviter_name, "text": other}));
    }
    for (chat, texts) in [(&pair.visitor, &there), (&pair.inviter, &back)] {
        chat.await_message(&texts[BURST - 1]);
        let received: Vec<String> = chat.received().into_iter().map(|message| message.text).collect();
        assert_eq!(received, *texts);
    }
    for chat in [&pair.inviter, &pair.visitor] {
        let delivered = |events: &[Event]| {
            let ids: HashSet<&String> = events
                .iter()
                .filter_map(|event| match event {
                    Event::Delivered { id, .. } => Some(id),
                    _ => None,
                })
                .collect();
            (ids.len() == BURST).then_some(())
        };
        chat.expect_all(chat_start(), PATIENCE, "the delivery of the whole burst", delivered);
    }
}

#[test]
fn contacts_of_one_name_are_told_apart() {
    let network = Network::shared();
    let url = network.url();
    let (ada, ben, cid) = (Chat::launch("Ada", &url), Chat::launch("Ben", &url), Chat::launch("Cid", &url));
    [&ada, &ben, &cid].into_iter().for_each(Chat::await_ready);
    // Both call themselves Sam, and Ben gives two contacts the same name.
    let mut names = Vec::new();
    for visitor in [&ben, &cid] {
        let mark = ada.mark();
        let link = ada.invite();
        visitor.add(&link, "Twin", Some("Sam"));
        ada.accept_request(mark);
        names.push(ada.await_contact(mark, ContactState::Connected));
    }
    assert_eq!(names[0], "Sam");
    assert_ne!(names[0], names[1], "two contacts share a name");
    assert!(names[1].contains("Sam"), "{} does not remind of Sam", names[1]);

    let mark = ben.mark();
    ben.add(&cid.invite(), "Twin", Some("Ben"));
    cid.accept_request(chat_start());
    let second = ben.await_contact(mark, ContactState::Connected);
    assert_ne!(second, "Twin");
    // Each name reaches its own person.
    for (name, chat) in names.iter().zip([&ben, &cid]) {
        ada.send(name, &format!("for {name}"));
        assert_eq!(chat.await_message(&format!("for {name}")).from, "Twin");
    }
    ben.send(&second, "from one twin's friend");
    assert_eq!(cid.await_message("from one twin's friend").from, "Ben");
}

#[test]
fn contacts_see_one_safety_number_and_nobody_else_does() {
    let network = Network::shared();
    let pair = Pair::meet(&network.url());
    let here = safety(&pair.inviter, &pair.visitor_name);
    let there = safety(&pair.visitor, &pair.inviter_name);
    assert_eq!(here, there);
    let (number, verified) = here;
    assert_eq!((number.len(), number.split(' ').count(), verified), (71, 12, false), "{number}");

    let mark = pair.inviter.mark();
    pair.inviter.say(&json!({"do": "verify", "name": pair.visitor_name}));
    pair.inviter.expect(mark, PATIENCE, "the number as compared", |event| {
        matches!(event, Event::Safety { verified: true, .. }).then_some(())
    });
    pair.inviter.kill();
    pair.inviter.restart();
    assert_eq!(safety(&pair.inviter, &pair.visitor_name), (number.clone(), true), "it stays, and so does the number");
    assert!(!safety(&pair.visitor, &pair.inviter_name).1, "what one has compared says nothing about the other");

    let mark = pair.inviter.mark();
    pair.inviter.say(&json!({"do": "safety", "name": "Nobody"}));
    pair.inviter.await_error(mark, "safety");

    let cid = Chat::open("Cid", &network.url());
    cid.add(&pair.inviter.invite(), "Ada", Some("Cid"));
    let mark = pair.inviter.mark();
    pair.inviter.accept_request(mark);
    let name = pair.inviter.await_contact(mark, ContactState::Connected);
    assert_ne!(safety(&pair.inviter, &name).0, number, "two contacts share a number");
}

/// A contact's safety number, and whether it has been compared.
fn safety(chat: &Chat, name: &str) -> (String, bool) {
    let mark = chat.mark();
    chat.say(&json!({"do": "safety", "name": name}));
    chat.expect(mark, PATIENCE, "the safety number", |event| match event {
        Event::Safety { name: of, number: Some(number), verified } if of == name => Some((number.clone(), *verified)),
        _ => None,
    })
}

#[test]
fn an_invite_serves_one_person() {
    let network = Network::shared();
    let url = network.url();
    let (ada, ben, cid) = (Chat::launch("Ada", &url), Chat::launch("Ben", &url), Chat::launch("Cid", &url));
    [&ada, &ben, &cid].into_iter().for_each(Chat::await_ready);
    let link = ada.invite();
    assert!(ada.events().iter().all(|event| !matches!(event, Event::Contact { .. })), "nobody has taken it yet");
    ben.add(&link, "Ada", Some("Ben"));
    ada.accept_request(chat_start());
    ada.await_contact(chat_start(), ContactState::Connected);
    let mark = cid.mark();
    cid.add(&link, "Ada", Some("Cid"));
    cid.await_error(mark, "add");
    let contacts = ada.events().into_iter().filter_map(|event| match event {
        Event::Contact { name, .. } => Some(name),
        _ => None,
    });
    assert_eq!(contacts.collect::<HashSet<_>>(), HashSet::from(["Ben".to_owned()]));
}

#[test]
fn circuits_have_three_hops_of_ones_own() {
    let network = Network::shared();
    let pair = Pair::meet(&network.url());
    let known: HashSet<&str> = network.relays().map(|node| node.nickname()).collect();
    for chat in [&pair.inviter, &pair.visitor] {
        let circuits = chat.circuits();
        assert!(circuits.iter().any(|circuit| circuit.purpose == "conversation"), "{circuits:?}");
        for circuit in &circuits {
            let distinct: HashSet<&str> = circuit.path.iter().map(String::as_str).collect();
            assert!(circuit.path.len() >= 3, "{circuit:?}");
            assert_eq!(distinct.len(), circuit.path.len(), "{circuit:?} passes a relay twice");
            assert!(distinct.is_subset(&known), "{circuit:?} names a relay that is not in {known:?}");
        }
    }
    let (here, there) = (pair.inviter.conversation_path(), pair.visitor.conversation_path());
    assert_eq!(here.last(), there.last(), "both circuits end at the relay where they are joined");
    let longer = here.len().max(there.len());
    assert!(
        longer > 3,
        "whoever comes has three hops of their own before a relay that the other chose: {here:?}, {there:?}"
    );
}

/// The beginning of a client's run.
fn chat_start() -> allium_tests::chat::Mark {
    allium_tests::chat::Mark::default()
}
