//! What happens to a client from outside while it talks: its computer sleeps, or somebody sets its clock. Nothing is lost, and
//! the conversation goes on.

use std::thread;
use std::time::Duration;

use allium_tests::chat::{Chat, ContactState, Event, PATIENCE, Pair};
use allium_tests::faketime::FakeClock;
use allium_tests::network::Network;
use allium_tests::wait;

/// Longer than every time limit that one side has for the other, for links, and for circuits.
const SLEEP: Duration = Duration::from_secs(30);

const HOUR: i64 = 60 * 60;

/// Sends some messages to a contact; gives their texts and ids.
#[track_caller]
fn say(chat: &Chat, to: &str, about: &str) -> Vec<(String, String)> {
    let texts = (0..5).map(|number| format!("{about} {number}"));
    texts.map(|text| (chat.send(to, &text), text)).collect()
}

/// Waits until these messages have come, and checks that each came once and in order, and that the sender knows.
#[track_caller]
fn assert_come(from: &Chat, to: &Chat, said: &[(String, String)]) {
    for (id, text) in said {
        assert_eq!(&to.await_message(text).id, id);
        from.await_delivered(id);
    }
    let of_these = |text: &String| said.iter().any(|(_, one)| one == text);
    let come: Vec<_> = to.received().into_iter().map(|message| message.text).filter(of_these).collect();
    let texts: Vec<_> = said.iter().map(|(_, text)| text.clone()).collect();
    assert_eq!(come, texts, "in order, and once");
}

#[test]
fn a_computer_that_slept_goes_on_where_it_was() {
    let network = Network::shared();
    let pair = Pair::meet(&network.url());
    pair.assert_talking("Before");
    for (sleeper, name, other, other_name) in [
        (&pair.visitor, &pair.visitor_name, &pair.inviter, &pair.inviter_name),
        (&pair.inviter, &pair.inviter_name, &pair.visitor, &pair.visitor_name),
    ] {
        let mark = other.mark();
        sleeper.freeze();
        let first = say(other, name, &format!("{name} falls asleep"));
        other.await_state(mark, name, PATIENCE, |state| state != ContactState::Connected);
        // This time is part of what is promised.
        thread::sleep(SLEEP);
        let second = say(other, name, &format!("{name} sleeps"));
        let claims =
            |event: &Event| matches!(event, Event::Delivered { id, .. } if second.iter().any(|(one, _)| one == id));
        assert!(!other.events().iter().any(claims), "delivered to somebody who sleeps");
        sleeper.thaw();
        let third = say(sleeper, other_name, &format!("{name} is awake"));
        assert_come(other, sleeper, &[first, second].concat());
        assert_come(sleeper, other, &third);
        pair.assert_talking(&format!("{name} has slept"));
    }
    [&pair.inviter, &pair.visitor].into_iter().for_each(|chat| chat.assert_nothing_twice());
}

/// What a client was told of its clock, by how many seconds it is wrong.
fn told(chat: &Chat) -> Vec<i64> {
    let skew = |event: Event| match event {
        Event::Clock { skew_secs, .. } => Some(skew_secs),
        _ => None,
    };
    chat.events().into_iter().filter_map(skew).collect()
}

#[test]
fn a_conversation_goes_on_when_somebody_changes_a_clock() {
    let folder = tempfile::tempdir().unwrap();
    let clock = match FakeClock::new(&folder.path().join("clock"), 0) {
        Ok(clock) => clock,
        Err(reason) => return eprintln!("SKIPPED: {reason}"),
    };
    let network = Network::shared();
    let pair = Pair::meet(&network.url());
    pair.assert_talking("Both clocks are right");
    pair.visitor.use_clock(Some(&clock));
    // Restarted by a clock that is wrong, once in each direction, then set right while it runs, and wrong again.
    for ahead in [HOUR, -HOUR] {
        let waiting = say(&pair.inviter, &pair.visitor_name, &format!("before {ahead}"));
        assert_come(&pair.inviter, &pair.visitor, &waiting);
        pair.visitor.kill();
        let waiting = say(&pair.inviter, &pair.visitor_name, &format!("while it is set to {ahead}"));
        clock.set(ahead);
        pair.visitor.restart();
        assert_come(&pair.inviter, &pair.visitor, &waiting);
        pair.assert_talking(&format!("{ahead} s ahead"));
        // It is told, by so many seconds the other way.
        wait::until(PATIENCE, "a word about the clock", || {
            told(&pair.visitor).iter().any(|skew| (skew + ahead).abs() <= 5).then_some(())
        });
        for now in [0, -ahead, ahead] {
            clock.set(now);
            let said = say(&pair.visitor, &pair.inviter_name, &format!("{ahead}, then {now}"));
            assert_come(&pair.visitor, &pair.inviter, &said);
            let said = say(&pair.inviter, &pair.visitor_name, &format!("{ahead}, then {now}"));
            assert_come(&pair.inviter, &pair.visitor, &said);
        }
        assert_eq!(pair.visitor.state_of(&pair.inviter_name), Some(ContactState::Connected));
        let errors = |event: &Event| matches!(event, Event::Error { .. });
        assert!(!pair.visitor.events().iter().any(errors), "{:?}", pair.visitor.events());
    }
    // The other one is told nothing: its own clock is right.
    assert!(told(&pair.inviter).is_empty());
    [&pair.inviter, &pair.visitor].into_iter().for_each(|chat| chat.assert_nothing_twice());
}
