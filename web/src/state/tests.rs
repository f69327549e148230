//! What a person sees after what has happened.

use allium_shared::client::api::{
    BlockedInfo, ContactId, ContactState, DeliveryState, Event, HistoryEntry, InviteId, MessageId, NetworkView,
    Progress, RelayView,
};
use allium_shared::time::UnixTime;

use super::network::tests::about;
use super::{Action, Attempt, Invite, Phase, Place, Privacy, SafetyNumber, State};
use crate::driver::Notice;
use crate::storage::{Protection, StorageError};
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

const BOB: ContactId = ContactId(1);
const CAROL: ContactId = ContactId(2);

fn id(n: u8) -> MessageId {
    MessageId([n; 16])
}

fn at(seconds: u64) -> UnixTime {
    UnixTime::from_millis(seconds * 1000)
}

fn running() -> State {
    let mut state = State::default();
    state.apply(Action::Notice(Notice::Started { follows: false }));
    state
}

fn snapshot(state: &mut State, history: Vec<HistoryEntry>, events: impl IntoIterator<Item = Event>) {
    state.apply(Action::Notice(Notice::Snapshot { history, events: events.into_iter().collect() }));
}

fn entry(n: u8, seconds: u64, outgoing: Option<DeliveryState>) -> HistoryEntry {
    HistoryEntry { contact: BOB, id: id(n), text: format!("message {n}"), at: at(seconds), outgoing }
}

fn events(state: &mut State, events: impl IntoIterator<Item = Event>) {
    state.apply(Action::Notice(Notice::Events(events.into_iter().collect())));
}

fn contact(id: ContactId, name: &str) -> Event {
    Event::Contact { id, name: name.into(), state: ContactState::Connecting, verified: false }
}

fn incoming(contact: ContactId, n: u8, seconds: u64) -> Event {
    Event::Message { contact, id: id(n), text: format!("message {n}"), received_at: at(seconds) }
}

fn outgoing(contact: ContactId, n: u8, state: DeliveryState) -> Event {
    Event::Outgoing { contact, id: id(n), text: format!("message {n}"), queued_at: at(5), state }
}

fn texts(state: &State, contact: ContactId) -> Vec<String> {
    state.conversation(contact).newest(usize::MAX).iter().map(|message| message.text.to_string()).collect()
}

#[test]
fn it_is_ready_when_the_engine_says_so_and_not_when_it_falls_back() {
    let mut state = running();
    assert!(!state.is_ready());
    events(&mut state, [Event::Progress { step: Progress::Ready }]);
    assert!(state.is_ready());
    events(&mut state, [Event::Progress { step: Progress::ConnectingGuard }]);
    assert!(!state.is_ready());
    assert!(state.was_ready);
}

#[test]
fn a_message_that_is_repeated_after_a_restart_stands_once_and_is_unread() {
    let mut state = running();
    snapshot(&mut state, vec![entry(1, 1, None)], []);
    assert_eq!(state.unread_total(), 0);
    events(&mut state, [contact(BOB, "Bob"), incoming(BOB, 1, 1), incoming(BOB, 2, 2)]);
    assert_eq!(texts(&state, BOB), ["message 1", "message 2"]);
    assert_eq!(state.unread_total(), 2);
    state.apply(Action::Shown(BOB, vec![id(1), id(2)]));
    assert_eq!(state.unread_total(), 0);
}

#[test]
fn history_keeps_the_order_of_the_store_whatever_the_clock_said() {
    let mut state = running();
    snapshot(&mut state, vec![entry(1, 100, None), entry(2, 50, None)], []);
    assert_eq!(texts(&state, BOB), ["message 1", "message 2"]);
}

#[test]
fn delivery_marks_move_forward_only() {
    let mut state = running();
    let mark = |state: &State| state.conversation(BOB).last().and_then(|message| message.outgoing);
    events(&mut state, [outgoing(BOB, 1, DeliveryState::Queued)]);
    assert_eq!(mark(&state), Some(DeliveryState::Queued));
    events(&mut state, [outgoing(BOB, 1, DeliveryState::Delivered), outgoing(BOB, 1, DeliveryState::Sent)]);
    assert_eq!(mark(&state), Some(DeliveryState::Delivered));
    assert_eq!(state.conversation(BOB).len(), 1);
}

#[test]
fn the_contact_that_was_added_opens_also_under_a_numbered_name() {
    let mut state = running();
    events(&mut state, [contact(BOB, "Bob")]);
    assert_eq!(state.open, None);
    state.apply(Action::Offer("https://allium.example/#x".into()));
    state.apply(Action::AddRequested("Bob".into()));
    assert!(state.adding.is_some());
    events(&mut state, [contact(CAROL, "Bob (2)")]);
    assert_eq!((state.open, state.added, &state.adding, &state.offered), (Some(CAROL), 1, &None, &None));
}

#[test]
fn a_name_shortened_to_make_room_for_its_number_is_still_the_one_added() {
    let mut state = running();
    let name = "n".repeat(64);
    state.apply(Action::AddRequested(name.as_str().into()));
    events(&mut state, [contact(CAROL, &format!("{} (2)", &name[..60]))]);
    assert_eq!(state.open, Some(CAROL));
}

#[test]
fn a_broken_link_is_said_beside_its_field_until_the_next_attempt() {
    let mut state = running();
    state.apply(Action::AddRequested("Bob".into()));
    events(&mut state, [Event::Error { about: "add".into(), message: "This is no invite.".into() }]);
    assert_eq!(state.problems.get(&Place::AddLink).map(|text| &**text), Some("This is no invite."));
    assert_eq!(state.adding, None);
    state.apply(Action::AddRequested("Bob".into()));
    assert!(state.problems.is_empty());
}

#[test]
fn an_invite_is_made_handed_over_and_taken() {
    let mut state = running();
    state.apply(Action::InviteRequested);
    assert_eq!(state.invite, Invite::Preparing);
    events(&mut state, [Event::Invite { id: InviteId(1), fragment: "x".into() }]);
    assert_eq!(state.invite, Invite::Ready { id: InviteId(1), fragment: "x".into() });
    events(&mut state, [request(BOB, "Bob")]);
    assert_eq!(state.invite_taken_by().as_deref(), Some("Bob"));
    assert_eq!((state.requests().len(), state.contacts().len(), state.unread_total()), (1, 0, 1));
    assert_eq!(state.open, None, "what the person is doing is not interrupted");
    state.apply(Action::ApproveRequested(BOB));
    events(&mut state, [Event::RequestClosed { id: BOB }, contact(BOB, "Bob")]);
    assert_eq!((state.requests().len(), state.open), (0, Some(BOB)));
    assert_eq!(state.invite, Invite::None);
}

#[test]
fn a_request_that_is_declined_leaves_nothing() {
    let mut state = running();
    events(&mut state, [request(BOB, "Bob"), request(CAROL, "Carol")]);
    events(&mut state, [Event::RequestClosed { id: BOB }]);
    assert_eq!(state.requests().iter().map(|request| request.id).collect::<Vec<_>>(), [CAROL]);
    assert!(state.contacts().is_empty() && state.open.is_none());
}

#[test]
fn who_writes_is_shown_until_they_stop() {
    let mut state = running();
    events(&mut state, [contact(BOB, "Bob"), Event::Typing { contact: BOB, typing: true }]);
    assert!(state.is_typing(BOB) && !state.is_typing(CAROL));
    events(&mut state, [Event::Typing { contact: BOB, typing: false }]);
    assert!(!state.is_typing(BOB));
}

#[test]
fn an_invite_that_is_over_is_not_handed_over() {
    let mut state = running();
    state.apply(Action::InviteRequested);
    events(&mut state, [Event::Invite { id: InviteId(1), fragment: "x".into() }, Event::Invites { list: Vec::new() }]);
    assert_eq!(state.invite, Invite::None);
}

fn request(id: ContactId, name: &str) -> Event {
    let (note, invite_note) = ("Hello".into(), String::new());
    Event::Request { id, name: name.into(), note, invite_note, asked_at: UnixTime::from_millis(1) }
}

#[test]
fn a_failed_invite_can_be_made_again() {
    let mut state = running();
    state.apply(Action::InviteRequested);
    events(&mut state, [Event::Error { about: "invite".into(), message: "No relays.".into() }]);
    assert_eq!(state.invite, Invite::None);
    assert!(state.problems.contains_key(&Place::Invite));
}

#[test]
fn the_list_begins_with_new_contacts_and_then_the_newest_conversation() {
    let mut state = running();
    let dave = ContactId(3);
    events(&mut state, [contact(BOB, "Bob"), contact(CAROL, "Carol"), contact(dave, "Dave")]);
    events(&mut state, [incoming(CAROL, 1, 10), incoming(BOB, 2, 20)]);
    let order: Vec<_> = state.contacts().into_iter().map(|(contact, _)| contact.id).collect();
    assert_eq!(order, [dave, BOB, CAROL]);
}

#[test]
fn a_path_is_shown_until_it_changes_or_ends() {
    let mut state = running();
    let path =
        |contact, relays: &[&str]| Event::Path { contact, relays: relays.iter().copied().map(str::to_owned).collect() };
    events(&mut state, [path(CAROL, &["carol"]), path(BOB, &["guard", "middle", "meeting"])]);
    assert_eq!(state.path(BOB).as_deref(), Some(&["guard", "middle", "meeting"].map(str::to_owned)[..]));
    events(&mut state, [path(BOB, &["guard", "another", "elsewhere"])]);
    assert_eq!(state.path(BOB).as_deref(), Some(&["guard", "another", "elsewhere"].map(str::to_owned)[..]));
    events(&mut state, [path(BOB, &[])]);
    assert_eq!(state.path(BOB), None);
    assert!(state.path(CAROL).is_some());
    // Another engine knows of other circuits.
    state.apply(Action::Notice(Notice::Snapshot { history: Vec::new(), events: vec![path(BOB, &["guard"])] }));
    assert_eq!((state.path(BOB).is_some(), state.path(CAROL)), (true, None));
}

#[test]
fn trouble_with_the_store_shows_until_it_is_over() {
    let mut state = running();
    state.apply(Action::Notice(Notice::StorageTrouble(Some(StorageError::Full))));
    assert!(state.problems.contains_key(&Place::Storage));
    state.apply(Action::Notice(Notice::StorageTrouble(None)));
    assert!(state.problems.is_empty());
}

#[test]
fn another_engine_is_a_reconnection_and_leaves_the_page_where_it_is() {
    let mut state = running();
    snapshot(
        &mut state,
        Vec::new(),
        [Event::Progress { step: Progress::Ready }, contact(BOB, "Bob"), contact(CAROL, "Carol")],
    );
    events(&mut state, [incoming(BOB, 1, 1), request(ContactId(3), "Dave"), outgoing(BOB, 2, DeliveryState::Sent)]);
    events(&mut state, [Event::Typing { contact: BOB, typing: true }]);
    state.apply(Action::Open(BOB));
    state.apply(Action::Offer("https://allium.example/#x".into()));
    state.apply(Action::Open(BOB));
    state.apply(Action::InviteRequested);
    let starts = state.starts;
    state.apply(Action::Notice(Notice::Started { follows: true }));
    assert!(!state.is_ready() && state.follows && state.starts > starts);
    assert_eq!((&state.phase, state.open, state.was_ready), (&Phase::Running, Some(BOB), true));
    assert_eq!(texts(&state, BOB), ["message 1", "message 2"], "nothing is away before the whole is there");

    // Carol was forgotten, and Dave declined, between what was told last and now.
    let history = vec![entry(1, 1, None), entry(2, 5, Some(DeliveryState::Delivered)), entry(4, 9, None)];
    snapshot(
        &mut state,
        history,
        [Event::Progress { step: Progress::Ready }, contact(BOB, "Bob"), incoming(BOB, 4, 9)],
    );
    assert!(state.is_ready());
    assert_eq!((state.open, state.contacts().len(), state.requests().len()), (Some(BOB), 1, 0));
    assert_eq!(texts(&state, BOB), ["message 1", "message 2", "message 4"]);
    assert_eq!((state.conversation(BOB).unread_count(), state.is_typing(BOB)), (1, false));
    assert!(state.offered.is_some());
    assert_eq!(state.invite, Invite::Preparing, "whether it is lost is told apart");
    // What the engine had told before it was asked for the whole comes after it.
    events(&mut state, [outgoing(BOB, 2, DeliveryState::Sent), incoming(BOB, 4, 9)]);
    assert_eq!(texts(&state, BOB), ["message 1", "message 2", "message 4"]);
    let marks: Vec<_> = state.conversation(BOB).newest(9).iter().map(|message| message.outgoing).collect();
    assert_eq!(marks, [None, Some(DeliveryState::Delivered), None]);
    state.apply(Action::Notice(Notice::Shown { contact: BOB, id: id(4) }));
    assert_eq!(state.unread_total(), 0, "seen in another tab");
}

#[test]
fn a_contact_that_is_being_added_opens_also_if_another_engine_tells_of_it() {
    let mut state = running();
    snapshot(&mut state, Vec::new(), [contact(BOB, "Bob")]);
    state.apply(Action::AddRequested("Bob".into()));
    state.apply(Action::Notice(Notice::Started { follows: false }));
    snapshot(&mut state, Vec::new(), [contact(BOB, "Bob")]);
    assert_eq!(state.open, None, "that one was there before");
    events(&mut state, [contact(CAROL, "Bob (2)")]);
    assert_eq!(state.open, Some(CAROL));
}

#[test]
fn a_profile_that_another_engine_finds_locked_is_not_shown() {
    let mut state = running();
    snapshot(&mut state, vec![entry(1, 1, None)], [contact(BOB, "Bob")]);
    state.apply(Action::Notice(Notice::Protection(Protection::Passphrase)));
    state.apply(Action::Open(BOB));
    state.apply(Action::Notice(Notice::Started { follows: false }));
    assert_eq!(state.phase, Phase::Running);
    state.apply(Action::Notice(Notice::Locked));
    assert!(state.contacts().is_empty() && texts(&state, BOB).is_empty() && state.protection.is_none());
    state.apply(Action::PassphraseEntered);
    state.apply(Action::Notice(Notice::Protection(Protection::Passphrase)));
    snapshot(&mut state, vec![entry(1, 1, None)], [contact(BOB, "Bob")]);
    assert_eq!((&state.phase, state.open), (&Phase::Running, Some(BOB)));
    assert_eq!(texts(&state, BOB), ["message 1"]);
}

#[test]
fn a_passphrase_that_was_typed_in_another_tab_is_not_refused_here() {
    let mut state = running();
    state.apply(Action::Notice(Notice::Locked));
    state.apply(Action::Notice(Notice::UnlockRefused("wrong".into())));
    assert_eq!(state.phase, Phase::Locked(Attempt::Typing));
    state.apply(Action::Notice(Notice::Protection(Protection::Passphrase)));
    state.apply(Action::OpenSettings);
    state.apply(Action::Notice(Notice::PassphraseRefused("wrong".into())));
    assert_eq!(state.settings, Some(Attempt::Typing));
    state.apply(Action::Notice(Notice::Protection(Protection::Browser)));
    assert_eq!(state.settings, Some(Attempt::Typing), "changed from another tab");
    // One that is being tried when the engine changes can be typed again.
    state.apply(Action::PassphraseEntered);
    state.apply(Action::Notice(Notice::Started { follows: false }));
    assert_eq!(state.settings, Some(Attempt::Typing));
}

#[test]
fn what_contacts_are_told_and_who_is_blocked_is_as_the_engine_says() {
    let mut state = running();
    assert_eq!((state.privacy, &state.blocked), (None, &None));
    let blocked = BlockedInfo { id: CAROL, name: "Carol".into(), is_request: true };
    events(
        &mut state,
        [Event::Privacy { receipts: false, typing: true }, Event::Blocked { list: vec![blocked.clone()] }],
    );
    assert_eq!(state.privacy, Some(Privacy { receipts: false, typing: true }));
    assert_eq!(state.blocked.as_deref(), Some(&[blocked][..]));
}

#[test]
fn a_worker_that_has_ended_is_told() {
    let mut state = running();
    state.apply(Action::Notice(Notice::Crashed));
    assert_eq!(state.phase, Phase::Crashed);
    assert!(!state.is_ready());
}

#[test]
fn a_list_of_relays_is_shown_once_it_is_whole_and_outlasts_a_change_of_turns() {
    let about = |digest: &str, relays| NetworkView { digest: digest.to_owned(), ..about(relays) };
    let relay = |n: u8| RelayView {
        identity: [n; 32].into(),
        nickname: format!("relay{n}").parse().unwrap(),
        roles: Vec::new(),
        weight: 1,
        health: 100,
        version: String::new(),
        url: "ws://127.0.0.1:1/link".parse().unwrap(),
        secure_url: None,
        family: None,
        exit_policy: Vec::new(),
    };
    let shown = |state: &State| state.network.as_ref().map(|network| (network.about.digest.clone(), network.len()));
    let mut state = running();
    events(&mut state, [Event::Network { network: Box::new(about("one", 2)) }, Event::Relays { list: vec![relay(1)] }]);
    assert_eq!(shown(&state), None);
    events(&mut state, [Event::Relays { list: vec![relay(2)] }]);
    assert_eq!(shown(&state), Some(("one".to_owned(), 2)));
    // The next one replaces it when it is whole, and one that is overtaken by another never does.
    events(&mut state, [Event::Network { network: Box::new(about("two", 2)) }, Event::Relays { list: vec![relay(1)] }]);
    assert_eq!(shown(&state), Some(("one".to_owned(), 2)));
    events(
        &mut state,
        [Event::Network { network: Box::new(about("three", 1)) }, Event::Relays { list: vec![relay(1)] }],
    );
    assert_eq!(shown(&state), Some(("three".to_owned(), 1)));
    state.apply(Action::Notice(Notice::Started { follows: true }));
    assert_eq!(shown(&state), Some(("three".to_owned(), 1)));
}

#[test]
fn a_locked_profile_opens_after_the_right_passphrase() {
    let mut state = running();
    state.apply(Action::Notice(Notice::Locked));
    assert_eq!(state.phase, Phase::Locked(Attempt::Typing));
    state.apply(Action::PassphraseEntered);
    assert_eq!(state.phase, Phase::Locked(Attempt::Trying));
    state.apply(Action::Notice(Notice::UnlockRefused("wrong".into())));
    assert_eq!(state.phase, Phase::Locked(Attempt::Refused("wrong".into())));
    state.apply(Action::PassphraseEntered);
    state.apply(Action::Notice(Notice::Protection(Protection::Passphrase)));
    assert_eq!((&state.phase, state.protection), (&Phase::Running, Some(Protection::Passphrase)));
    assert_eq!(state.settings, None);
}

#[test]
fn a_change_of_the_passphrase_is_told_where_it_was_asked_for() {
    let mut state = running();
    state.apply(Action::Notice(Notice::Protection(Protection::Browser)));
    state.apply(Action::OpenSettings);
    assert_eq!(state.settings, Some(Attempt::Typing));
    state.apply(Action::PassphraseRefused("not the same".into()));
    assert_eq!(state.settings, Some(Attempt::Refused("not the same".into())));
    state.apply(Action::PassphraseEntered);
    state.apply(Action::Notice(Notice::Protection(Protection::Passphrase)));
    assert_eq!((state.settings.clone(), state.protection), (Some(Attempt::Done), Some(Protection::Passphrase)));
    state.apply(Action::Close);
    assert_eq!(state.settings, None);
    // Somebody who has left the settings is not led back by what comes of it.
    state.apply(Action::Notice(Notice::PassphraseRefused("wrong".into())));
    assert_eq!(state.settings, None);
}

#[test]
fn a_page_that_is_put_away_knows_nothing_any_more() {
    let mut state = running();
    events(&mut state, [contact(BOB, "Bob"), incoming(BOB, 1, 10)]);
    state.apply(Action::Lock);
    assert_eq!(state, State { phase: Phase::Locking, ..State::default() });
    events(&mut state, [contact(BOB, "Bob"), incoming(BOB, 2, 20)]);
    assert_eq!(state.phase, Phase::Locking, "what the engine still says shows nothing");
    state.apply(Action::Notice(Notice::PutAway));
    assert_eq!(state, State { phase: Phase::PutAway, ..State::default() });
}

#[test]
fn a_request_that_is_told_again_has_not_come_by_the_new_invite() {
    let mut state = running();
    events(&mut state, [request(BOB, "Bob")]);
    state.apply(Action::InviteRequested);
    events(&mut state, [Event::Invite { id: InviteId(2), fragment: "y".into() }]);
    let ready = Invite::Ready { id: InviteId(2), fragment: "y".into() };
    state.apply(Action::Notice(Notice::Started { follows: false }));
    snapshot(&mut state, Vec::new(), [request(BOB, "Bob")]);
    assert_eq!(state.invite, ready);
    snapshot(&mut state, Vec::new(), [request(BOB, "Bob"), request(CAROL, "Carol")]);
    assert_eq!(state.invite, Invite::Taken { by: CAROL });
}

#[test]
fn an_invite_is_shown_in_the_tab_that_has_asked_for_it() {
    let mut state = running();
    events(&mut state, [Event::Invite { id: InviteId(1), fragment: "x".into() }]);
    assert_eq!((&state.invite, state.made), (&Invite::None, 1));
    state.apply(Action::InviteRequested);
    events(&mut state, [Event::Invite { id: InviteId(2), fragment: "y".into() }]);
    let ready = Invite::Ready { id: InviteId(2), fragment: "y".into() };
    assert_eq!((&state.invite, state.made), (&ready, 1));
    events(&mut state, [Event::Invite { id: InviteId(3), fragment: "z".into() }]);
    assert_eq!((&state.invite, state.made), (&ready, 2));
}

#[test]
fn a_page_whose_engine_is_silent_is_not_ready_and_says_why() {
    let mut state = running();
    events(&mut state, [Event::Progress { step: Progress::Ready }]);
    state.apply(Action::Notice(Notice::Silent(true)));
    assert!(!state.is_ready() && state.problems.contains_key(&Place::Tabs));
    state.apply(Action::Notice(Notice::Silent(false)));
    assert!(state.is_ready() && state.problems.is_empty());
    // Another engine is not the one that was silent.
    state.apply(Action::Notice(Notice::Silent(true)));
    state.apply(Action::Notice(Notice::Started { follows: false }));
    events(&mut state, [Event::Progress { step: Progress::Ready }]);
    assert!(state.is_ready() && state.problems.is_empty());
}

#[test]
fn what_too_many_requests_leave_undone_can_be_asked_for_again() {
    let mut state = running();
    state.apply(Action::InviteRequested);
    state.apply(Action::AddRequested("Bob".into()));
    events(&mut state, [Event::Error { about: "tabs".into(), message: "It does not answer.".into() }]);
    assert_eq!((&state.invite, &state.adding), (&Invite::None, &None));
    assert!(state.problems.contains_key(&Place::Tabs));
}

#[test]
fn the_page_that_asks_for_the_passphrase_stays_while_another_tab_takes_over() {
    let mut state = running();
    state.apply(Action::Notice(Notice::Locked));
    state.apply(Action::PassphraseEntered);
    state.apply(Action::Notice(Notice::Started { follows: false }));
    assert_eq!(state.phase, Phase::Locked(Attempt::Typing), "it can be typed again");
    state.apply(Action::Notice(Notice::Protection(Protection::Passphrase)));
    assert_eq!(state.phase, Phase::Running);
    // One that only waited for its turn goes on.
    for silent in [false, true] {
        state.apply(Action::Notice(Notice::Elsewhere { silent }));
        assert_eq!(state.phase, Phase::Elsewhere { silent });
        state.apply(Action::Notice(Notice::Started { follows: true }));
        assert_eq!(state.phase, Phase::Running);
    }
}

#[test]
fn a_safety_number_is_known_or_not_there_yet_or_not_asked_for_yet() {
    let mut state = running();
    let safety = |number: Option<&str>| Event::Safety { contact: BOB, number: number.map(Into::into), verified: false };
    let number = |state: &State| state.safety.as_ref().map(|safety| safety.number.clone());
    state.apply(Action::OpenSafety(BOB));
    assert_eq!(number(&state), Some(SafetyNumber::Unknown));
    events(&mut state, [safety(None)]);
    assert_eq!(number(&state), Some(SafetyNumber::NotYet));
    events(&mut state, [safety(Some("1 2"))]);
    assert_eq!(number(&state), Some(SafetyNumber::Known("1 2".into())));
    events(&mut state, [Event::Safety { contact: CAROL, number: None, verified: true }]);
    assert_eq!(number(&state), Some(SafetyNumber::Known("1 2".into())), "that is another contact's");
    state.apply(Action::CloseSafety);
    events(&mut state, [safety(None)]);
    assert_eq!(number(&state), None);
}
