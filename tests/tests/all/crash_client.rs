//! Clients that die as by a power cut, at the worst moments: nothing that was acknowledged is lost, nothing comes twice.

use std::time::Duration;

use allium_tests::chat::{self, Chat, ContactState, Event, Mark, PATIENCE, Pair};
use allium_tests::network::Network;
use allium_tests::process::{self, Process};
use allium_tests::wait;
use serde_json::json;

#[test]
fn a_recipient_who_was_dead_gets_it_later() {
    let network = Network::shared();
    let pair = Pair::meet(&network.url());
    pair.assert_talking("Before");
    let mark = pair.inviter.mark();
    pair.visitor.kill();
    let ids: Vec<String> =
        (0..5).map(|number| pair.inviter.send(&pair.visitor_name, &format!("while you were away {number}"))).collect();
    // Nothing may be called delivered while nobody is there to store it.
    pair.inviter.await_state(mark, &pair.visitor_name, PATIENCE, |state| state != ContactState::Connected);
    let claims = |event: &Event| matches!(event, Event::Delivered { id, .. } if ids.contains(id));
    assert!(!pair.inviter.events().iter().any(claims), "delivered to nobody");

    pair.visitor.restart();
    for (number, id) in ids.iter().enumerate() {
        let received = pair.visitor.await_message(&format!("while you were away {number}"));
        assert_eq!((&received.id, &received.from), (id, &pair.inviter_name));
        pair.inviter.await_delivered(id);
    }
    let texts: Vec<String> = pair.visitor.received().into_iter().map(|message| message.text).collect();
    let expected: Vec<String> = (0..5).map(|number| format!("while you were away {number}")).collect();
    assert_eq!(texts, expected, "in order, once, and nothing of what had been printed before");
    pair.visitor.assert_nothing_twice();
    pair.assert_talking("After");
}

#[test]
fn what_a_dead_sender_had_queued_is_delivered() {
    let network = Network::shared();
    let pair = Pair::meet(&network.url());
    // The recipient is away, so the message can be nowhere but on the sender's disk.
    pair.visitor.kill();
    let id = pair.inviter.send(&pair.visitor_name, "my last words");
    pair.inviter.kill();
    pair.visitor.start();
    pair.inviter.start();
    assert_eq!(pair.visitor.await_message("my last words").id, id);
    pair.inviter.await_delivered(&id);
    pair.visitor.assert_nothing_twice();
    pair.assert_talking("After");
}

#[test]
fn what_was_queued_in_the_moment_of_death_arrives_once() {
    let network = Network::shared();
    let pair = Pair::meet(&network.url());
    // Each time at another moment between the disk, the circuit and the acknowledgement.
    for round in 0..5 {
        let text = format!("round {round}");
        let id = pair.inviter.send(&pair.visitor_name, &text);
        if round % 2 == 1 {
            pair.visitor.await_message(&text);
        }
        pair.inviter.kill();
        pair.inviter.start();
        assert_eq!(pair.visitor.await_message(&text).id, id);
    }
    let texts: Vec<String> = pair.visitor.received().into_iter().map(|message| message.text).collect();
    assert_eq!(texts, (0..5).map(|round| format!("round {round}")).collect::<Vec<_>>());
    // A sender that died with the news of a delivery on its disk but not yet printed does not print it later. That nothing is
    // left to be delivered shows in what comes after it.
    pair.assert_talking("After");
}

#[test]
fn what_is_called_delivered_is_on_the_recipients_disk() {
    let network = Network::shared();
    let pair = Pair::meet(&network.url());
    for round in 0..8 {
        let text = format!("round {round}");
        let id = pair.inviter.send(&pair.visitor_name, &text);
        pair.inviter.await_delivered(&id);
        // In the very moment in which the sender believes it.
        pair.visitor.kill();
        pair.visitor.start();
        wait::until(PATIENCE, "what was called delivered", || {
            pair.visitor.ever_received().into_iter().find(|message| message.id == id && message.text == text)
        });
    }
}

#[test]
fn both_dead_both_back() {
    let network = Network::shared();
    let pair = Pair::meet(&network.url());
    pair.assert_talking("Before");
    pair.inviter.kill();
    pair.visitor.kill();
    pair.inviter.start();
    pair.visitor.start();
    // The contacts are there without being asked for, and no history is told.
    for (chat, name) in [(&pair.inviter, &pair.visitor_name), (&pair.visitor, &pair.inviter_name)] {
        assert_eq!(&chat.await_contact(Mark::default(), ContactState::Connected), name);
        assert_eq!(chat.received(), [], "history unasked");
    }
    pair.assert_talking("After");
}

#[test]
fn a_message_to_a_contact_who_is_not_yet_connected_waits() {
    let network = Network::shared();
    let url = network.url();
    let (ada, ben) = (Chat::launch("Ada", &url), Chat::launch("Ben", &url));
    [&ada, &ben].into_iter().for_each(Chat::await_ready);
    let link = ada.invite();
    ben.add(&link, "Ada", Some("Ben"));
    // From the first word about the contact on it can be written to.
    let first = ben.expect(Mark::default(), PATIENCE, "the contact", |event| match event {
        Event::Contact { name, .. } => Some(name.clone()),
        _ => None,
    });
    let id = ben.send(&first, "the very first");
    ada.accept_request(Mark::default());
    assert_eq!(ada.await_message("the very first").id, id);
    ben.await_delivered(&id);
}

#[test]
fn what_was_stored_but_not_printed_is_printed_after_the_restart() {
    const COUNT: usize = 24;
    // Together far more than a pipe holds, so the client cannot have printed them all.
    let text = |number: usize| format!("{number} {}", "x".repeat(15_000));
    let network = Network::shared();
    let pair = Pair::meet(&network.url());
    pair.visitor.stop_reading(true);
    let ids: Vec<String> = (0..COUNT).map(|number| pair.inviter.send(&pair.visitor_name, &text(number))).collect();
    // Some are stored and acknowledged before the client waits for its reader.
    pair.inviter.await_delivered(&ids[0]);
    settle(&pair.inviter);
    pair.visitor.kill();
    let printed_before = pair.visitor.received().len();
    assert!(printed_before < COUNT, "the pipe held everything");

    pair.visitor.restart();
    pair.visitor.await_message(&text(COUNT - 1));
    for id in &ids {
        pair.inviter.await_delivered(id);
    }
    let all: Vec<String> = pair.visitor.ever_received().into_iter().map(|message| message.id).collect();
    assert_eq!(all, ids, "every message once, in order, with the same ids");
}

#[test]
fn a_profile_serves_one_process_at_a_time() {
    let network = Network::shared();
    let pair = Pair::meet(&network.url());
    let log = tempfile_log();
    let mut second =
        Process::start("a second client", &mut chat::command(&network.url(), &pair.visitor.profile()), log.path());
    let status = second.wait(PATIENCE);
    assert!(!status.success(), "the second client took the first one's profile");
    assert!(second.errors().split_whitespace().count() >= 4, "it does not say why: {:?}", second.errors());
    assert!(process::runs(pair.visitor.pid()));
    pair.assert_talking("The first goes on");
}

#[test]
fn a_client_that_is_told_to_quit_ends_cleanly() {
    let network = Network::shared();
    for how in ["quit", "end of input"] {
        let chat = Chat::open("Ada", &network.url());
        match how {
            "quit" => chat.say(&json!({"do": "quit"})),
            _ => chat.close_input(),
        }
        let status = chat.wait(Duration::from_secs(5));
        assert!(status.success(), "{how}: {status}");
    }
}

/// Waits until a client has told nothing new for a second.
fn settle(chat: &Chat) {
    wait::until(PATIENCE, "a quiet client", || {
        let before = chat.events().len();
        let quiet = wait::poll(wait::Deadline::seconds(1), || (chat.events().len() != before).then_some(()));
        quiet.is_none().then_some(())
    });
}

fn tempfile_log() -> tempfile::NamedTempFile {
    tempfile::NamedTempFile::new().unwrap()
}
