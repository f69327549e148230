//! What travels between the page and its worker arrives as it was sent.

use std::cell::RefCell;
use std::rc::Rc;

use allium_shared::client::api::{
    AuthorityView, Command, ContactId, ContactState, DeliveryState, Event, HistoryEntry, InviteId, MessageId,
    NetworkView, Progress, RelayView,
};
use allium_shared::netdir::RelayRole;
use allium_shared::time::UnixTime;
use gloo_timers::future::TimeoutFuture;
use wasm_bindgen_test::wasm_bindgen_test;
use web_sys::MessageChannel;

use super::{LockRequest, Notice, Passphrase, Request, port};
use crate::storage::{Protection, StorageError};

/// One that no number of JavaScript's can hold.
const CONTACT: ContactId = ContactId(u64::MAX);

const ID: MessageId = MessageId([0xab; 16]);

fn network() -> NetworkView {
    let key = "0f".repeat(32);
    let (nickname, url) = ("dir1".parse().unwrap(), "https://dir1.example.org".to_owned());
    let authority = AuthorityView { nickname, key: key.clone(), url, voted: true, signed: false };
    NetworkView {
        network: key.clone(),
        digest: key,
        valid_after: 1_800_000_000,
        fresh_until: 1_800_003_600,
        valid_until: u64::MAX,
        rule_set: 1,
        quorum: 1,
        authorities: vec![authority],
        parameters: [("padding-interval".to_owned(), i64::MIN)].into(),
        relays: 1,
    }
}

fn relay() -> RelayView {
    RelayView {
        identity: [7; 32].into(),
        nickname: "relay1".parse().unwrap(),
        roles: RelayRole::ALL.to_vec(),
        weight: u32::MAX,
        health: 0,
        version: String::new(),
        url: "ws://[::1]:80/link".parse().unwrap(),
        secure_url: Some("wss://example.org/link".parse().unwrap()),
        family: Some("0f".repeat(32)),
        exit_policy: vec!["reject 10.0.0.0/8:*".parse().unwrap(), "accept *:443".parse().unwrap()],
    }
}

fn notices() -> Vec<Notice> {
    let (text, at) = ("two\nlines \u{2028} \\ \" 👩‍👩‍👧‍👦".to_owned(), UnixTime::from_millis(1_800_000_000_123));
    let state = DeliveryState::Delivered;
    let entry = HistoryEntry { contact: CONTACT, id: ID, text: text.clone(), at, outgoing: Some(state) };
    let events = vec![
        Event::Progress { step: Progress::Ready },
        Event::Invite { id: InviteId(1), fragment: text.clone() },
        Event::Contact { id: CONTACT, name: text.clone(), state: ContactState::Offline, verified: true },
        Event::Message { contact: CONTACT, id: ID, text: text.clone(), received_at: at },
        Event::Outgoing { contact: CONTACT, id: ID, text: text.clone(), queued_at: at, state },
        Event::Path { contact: CONTACT, relays: vec![text.clone(), String::new()] },
        Event::Network { network: Box::new(network()) },
        Event::Relays { list: vec![relay()] },
        Event::Error { about: "send".into(), message: text.clone() },
    ];
    vec![
        Notice::Started { follows: true },
        Notice::Elsewhere { silent: true },
        Notice::Silent(true),
        Notice::Snapshot {
            history: vec![entry.clone(), HistoryEntry { outgoing: None, ..entry }],
            events: events.clone(),
        },
        Notice::Events(events),
        Notice::Shown { contact: CONTACT, id: ID },
        Notice::DirectoryTrouble(text.clone()),
        Notice::StorageTrouble(Some(StorageError::Full)),
        Notice::StorageTrouble(None),
        Notice::OtherAuthorities { kept: "ab".repeat(32), named: text.clone() },
        Notice::Locked,
        Notice::UnlockRefused(text.clone()),
        Notice::Protection(Protection::Passphrase),
        Notice::Protection(Protection::Browser),
        Notice::Protection(Protection::Nothing),
        Notice::PassphraseRefused(text.clone()),
        Notice::PutAway,
        Notice::Failed(text),
    ]
}

#[wasm_bindgen_test]
async fn notices_arrive_in_their_order_also_those_sent_before_anybody_listens() {
    let channel = MessageChannel::new().unwrap();
    let (sent, heard) = (notices(), Rc::new(RefCell::new(Vec::<Notice>::new())));
    let (before, after) = sent.split_at(3);
    before.iter().for_each(|notice| port::send(&channel.port1(), notice));
    let _listener = port::listen(&channel.port2(), {
        let heard = Rc::clone(&heard);
        move |notice| heard.borrow_mut().push(notice.unwrap())
    });
    after.iter().for_each(|notice| port::send(&channel.port1(), notice));
    for _ in 0..100 {
        if heard.borrow().len() >= sent.len() {
            break;
        }
        TimeoutFuture::new(10).await;
    }
    assert_eq!(*heard.borrow(), sent);
}

#[wasm_bindgen_test]
fn requests_survive_the_way() {
    let add = Command::add("#x", "Ada", None);
    let send = Command::Send { to: CONTACT, text: "\0\u{fffd}".into() };
    let shown = Command::Shown { contact: CONTACT, id: ID };
    let typing = Command::Typing { contact: CONTACT, typing: true };
    let network = Command::Network { watch: true };
    let commands = [Command::invite(), add, send, typing, network, shown].map(Request::Command);
    let secret = Passphrase::new(" \u{fffd}\" ".into());
    let set = LockRequest::Set { current: Passphrase::default(), new: secret.clone() };
    let remove = LockRequest::Remove { current: secret.clone() };
    let locks = [LockRequest::Unlock(secret), set, remove, LockRequest::Lock].map(Request::Lock);
    for request in commands.into_iter().chain(locks).chain([Request::TakeOver]) {
        let text = serde_json::to_string(&request).unwrap();
        assert_eq!(serde_json::from_str::<Request>(&text).unwrap(), request);
    }
}

#[wasm_bindgen_test]
fn a_passphrase_is_not_printed() {
    let request = Request::Lock(LockRequest::Unlock(Passphrase::new("secret".into())));
    assert!(!format!("{request:?}").contains("secret"));
}
