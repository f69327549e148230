//! Tabs that come, lead, follow and go, on a channel that keeps the order of each.

use std::collections::{BTreeMap, VecDeque};

use allium_shared::client::api::{Command, ContactId, Event, HistoryEntry, InviteId, MessageId, Progress};
use allium_shared::time::UnixTime;
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

use super::follower::PATIENCE;
use super::{Effect, Follower, Job, Leader, Message, RequestId, TabId, invite_lost, take_records};
use crate::driver::{LockRequest, Notice, Passphrase, Request};
use crate::state::network::tests::about;
use crate::storage::{Protection, StorageError};

const A: TabId = TabId(1);
const B: TabId = TabId(2);
const C: TabId = TabId(u64::MAX);

/// A command that is not kept for the next leader.
const TYPING: Command = Command::Typing { contact: ContactId(7), typing: true };

const ELSEWHERE: Notice = Notice::Elsewhere { silent: false };

/// A tab: what it is, and what its page was told.
#[derive(Default)]
struct Tab {
    follower: Follower,
    leader: Option<Leader>,
    told: Vec<Notice>,
    is_over: bool,
}

/// All tabs of a browser, with the engine and the store reduced to lists.
#[derive(Default)]
struct Browser {
    tabs: BTreeMap<TabId, Tab>,
    channel: VecDeque<(TabId, Option<TabId>, Message)>,
    /// Commands that wait for the engine.
    commands: VecDeque<(Option<RequestId>, Command)>,
    locks: Vec<LockRequest>,
    collect: Vec<(TabId, u64)>,
    watched: Vec<TabId>,
    /// What is on disk: what engines have done, and the records of requests.
    done: Vec<Command>,
    records: BTreeMap<String, Vec<u8>>,
}

impl Browser {
    fn open(&mut self, id: TabId) {
        self.tabs.insert(id, Tab::default());
    }

    fn tab(&mut self, id: TabId) -> &mut Tab {
        self.tabs.get_mut(&id).unwrap()
    }

    fn act(&mut self, id: TabId, effects: Vec<Effect>) {
        for act in effects {
            match act {
                Effect::Post(to, message) => {
                    // As on the way: what arrives is what was written.
                    let text = serde_json::to_vec(&message).unwrap();
                    self.channel.push_back((id, to, serde_json::from_slice(&text).unwrap()));
                }
                Effect::Tell(notice) => self.tab(id).told.push(notice),
                Effect::Engine(job) => self.take(job),
                Effect::Lock(request) => self.locks.push(request),
                Effect::Watch(tab) => self.watched.push(tab),
                Effect::Stop => self.tab(id).is_over = true,
            }
        }
    }

    fn take(&mut self, job: Job) {
        match job {
            Job::Command { request_id, command } => self.commands.push_back((request_id, command)),
            Job::Snapshot { to, round } => self.collect.push((to, round)),
            Job::Forget(tab) => drop(self.records.remove(&tab.no_record().key)),
        }
    }

    /// Delivers all that is said, also what is said in answer.
    fn settle(&mut self) {
        while let Some((from, to, message)) = self.channel.pop_front() {
            let hearers: Vec<TabId> =
                self.tabs.keys().copied().filter(|id| *id != from && to.is_none_or(|to| to == *id)).collect();
            for id in hearers {
                let tab = self.tab(id);
                let effects = match &mut tab.leader {
                    Some(leader) => leader.hear(from, message.clone()),
                    None => tab.follower.hear(from, message.clone()),
                };
                self.act(id, effects);
            }
        }
    }

    /// Looks that often, while the tab that leads hears nothing.
    fn look_in_silence(&mut self, id: TabId, times: u8) {
        for _ in 0..times {
            let effects = self.tab(id).follower.look();
            self.act(id, effects);
        }
    }

    fn join(&mut self, id: TabId) {
        let effects = self.tab(id).follower.join();
        self.act(id, effects);
        self.settle();
    }

    /// The browser has given a tab the lock, and its engine runs.
    fn lead(&mut self, id: TabId) {
        self.begin(id);
        self.run(id);
    }

    fn begin(&mut self, id: TabId) {
        self.commands.clear();
        self.locks.clear();
        let (leader, effects) = Leader::begin(id);
        let tab = self.tab(id);
        tab.leader = Some(leader);
        let handover = std::mem::take(&mut tab.follower).lead(id);
        handover.jobs.into_iter().for_each(|job| self.take(job));
        self.locks.extend(handover.locks);
        self.act(id, effects);
        self.settle();
    }

    fn run(&mut self, id: TabId) {
        let mut records = self.records.clone().into_iter().collect();
        let given = take_records(&mut records);
        assert!(records.is_empty());
        let leader = self.tab(id).leader.as_mut().unwrap();
        let mut effects = leader.resume(given);
        effects.extend(leader.tell(snapshot(0)));
        leader.engine_started();
        self.act(id, effects);
        self.settle();
    }

    fn ask(&mut self, id: TabId, command: Command) {
        let request = Request::Command(command);
        let tab = self.tab(id);
        let effects = match &mut tab.leader {
            Some(leader) => leader.ask(request),
            None => tab.follower.ask(request),
        };
        self.act(id, effects);
    }

    fn tell(&mut self, id: TabId, notice: Notice) {
        let effects = self.tab(id).leader.as_mut().unwrap().tell(notice);
        self.act(id, effects);
        self.settle();
    }

    /// The engine does the next thing; it is on disk then, and confirmed where nothing comes in between.
    fn work(&mut self, id: TabId, confirm: bool) {
        let (request_id, command) = self.commands.pop_front().unwrap();
        let leader = self.tab(id).leader.as_mut().unwrap();
        if request_id.is_none_or(|request_id| leader.give(request_id)) {
            self.done.push(command);
            if let Some(write) = request_id.map(RequestId::record) {
                self.records.insert(write.key, write.value.unwrap());
            }
        }
        if let Some(request_id) = request_id.filter(|_| confirm) {
            let effects = self.tab(id).leader.as_ref().unwrap().done(request_id);
            self.act(id, effects);
            self.settle();
        }
    }

    fn collect(&mut self, id: TabId, notice: &Notice) {
        for (to, round) in std::mem::take(&mut self.collect) {
            let effects = self.tab(id).leader.as_ref().unwrap().snapshot(to, round, Some(notice.clone()));
            self.act(id, effects);
        }
        self.settle();
    }

    fn told(&mut self, id: TabId) -> Vec<Notice> {
        std::mem::take(&mut self.tab(id).told)
    }
}

fn send(text: &str) -> Command {
    Command::Send { to: ContactId(1), text: text.to_owned() }
}

fn snapshot(n: u8) -> Notice {
    let (contact, id, at) = (ContactId(1), MessageId([n; 16]), UnixTime::from_millis(1));
    let entry = HistoryEntry { contact, id, text: "said".into(), at, outgoing: None };
    Notice::Snapshot { history: vec![entry], events: vec![Event::Progress { step: Progress::Ready }] }
}

fn typing(typing: bool) -> Notice {
    Notice::Events(vec![Event::Typing { contact: ContactId(1), typing }])
}

fn started(follows: bool) -> Notice {
    Notice::Started { follows }
}

/// A leads, and B follows.
fn two() -> Browser {
    let mut browser = Browser::default();
    browser.open(A);
    browser.lead(A);
    browser.open(B);
    browser.join(B);
    browser.collect(A, &snapshot(1));
    browser
}

#[test]
fn a_follower_hears_the_whole_before_what_was_told_since() {
    let mut browser = Browser::default();
    browser.open(A);
    browser.lead(A);
    assert_eq!(browser.told(A), [started(false), snapshot(0)]);
    assert!(browser.channel.is_empty());
    browser.tell(A, Notice::Protection(Protection::Browser));
    browser.open(B);
    browser.join(B);
    assert_eq!(browser.told(B), [started(true), Notice::Protection(Protection::Browser)]);
    browser.tell(A, typing(true));
    browser.tell(A, typing(false));
    assert!(browser.told(B).is_empty());
    browser.collect(A, &snapshot(1));
    browser.tell(A, typing(true));
    assert_eq!(browser.told(B), [snapshot(1), typing(true), typing(false), typing(true)]);
}

#[test]
fn nothing_is_said_to_nobody() {
    let mut browser = Browser::default();
    browser.open(A);
    browser.lead(A);
    let effects = browser.tab(A).leader.as_mut().unwrap().tell(typing(true));
    assert_eq!(effects, [Effect::Tell(typing(true))]);
    browser.open(B);
    browser.join(B);
    assert_eq!(browser.watched, [B]);
    let effects = browser.tab(A).leader.as_mut().unwrap().gone(B);
    assert_eq!(effects, []);
    let effects = browser.tab(A).leader.as_mut().unwrap().tell(typing(true));
    assert_eq!(effects, [Effect::Tell(typing(true))]);
}

#[test]
fn a_follower_is_told_what_was_said_before_it_came_as_far_as_it_still_holds() {
    let mut browser = Browser::default();
    browser.open(A);
    browser.begin(A);
    browser.tell(A, Notice::Locked);
    browser.tell(A, Notice::UnlockRefused("wrong".into()));
    browser.tell(A, Notice::DirectoryTrouble("no answer".into()));
    browser.tell(A, Notice::StorageTrouble(Some(StorageError::Full)));
    browser.open(B);
    browser.join(B);
    let trouble = Notice::StorageTrouble(Some(StorageError::Full));
    let directory = Notice::DirectoryTrouble("no answer".into());
    assert_eq!(browser.told(B), [started(true), Notice::Locked, directory, trouble]);
    // There is no whole to wait for.
    browser.tell(A, Notice::Protection(Protection::Passphrase));
    browser.tell(A, Notice::StorageTrouble(None));
    browser.run(A);
    assert_eq!(
        browser.told(B),
        [Notice::Protection(Protection::Passphrase), Notice::StorageTrouble(None), snapshot(0)]
    );
    browser.tell(A, Notice::Events(vec![Event::Progress { step: Progress::Ready }]));
    browser.open(C);
    browser.join(C);
    assert_eq!(browser.told(C), [started(true), Notice::Protection(Protection::Passphrase)]);
}

#[test]
fn a_passphrase_typed_in_a_follower_reaches_the_leader() {
    let mut browser = Browser::default();
    browser.open(A);
    browser.begin(A);
    browser.open(B);
    browser.join(B);
    let unlock = LockRequest::Unlock(Passphrase::new("some words".into()));
    let effects = browser.tab(B).follower.ask(Request::Lock(unlock.clone()));
    browser.act(B, effects);
    browser.settle();
    assert_eq!(browser.locks, [unlock]);
    // It was taken, and is not typed into the next leader's lock.
    browser.tabs.remove(&A);
    browser.begin(B);
    assert!(browser.locks.is_empty());
}

#[test]
fn a_profile_that_is_put_away_is_put_away_in_all_tabs() {
    let mut browser = two();
    browser.open(C);
    browser.join(C);
    browser.told(B);
    browser.told(C);
    let effects = browser.tab(A).leader.as_mut().unwrap().put_away();
    browser.act(A, effects);
    browser.settle();
    // C has not heard the whole yet, and does not wait for it.
    for id in [B, C] {
        assert_eq!(browser.told(id).last(), Some(&Notice::PutAway));
        assert!(browser.tab(id).is_over);
    }
    // Pages that are loaded anew do not follow what is about to end.
    browser.open(C);
    browser.join(C);
    assert!(browser.told(C).is_empty() && !browser.tab(C).follower.has_leader());
}

#[test]
fn each_request_is_done_once_wherever_the_leader_ends() {
    for crash in 0..4 {
        let mut browser = two();
        browser.ask(B, send("one"));
        if crash > 0 {
            browser.settle();
            assert_eq!(browser.commands.len(), 1);
        }
        if crash > 1 {
            // On disk; and confirmed, or not any more.
            browser.work(A, crash > 2);
        }
        browser.ask(B, TYPING);
        browser.tabs.remove(&A);
        browser.channel.clear();
        browser.ask(B, send("two"));
        browser.lead(B);
        while !browser.commands.is_empty() {
            browser.work(B, true);
        }
        assert_eq!(browser.done, [send("one"), send("two")], "the leader ended at {crash}");
    }
}

#[test]
fn each_request_is_done_once_if_another_follower_leads_next() {
    for confirm in [false, true] {
        let mut browser = two();
        browser.open(C);
        browser.join(C);
        browser.ask(B, send("one"));
        browser.ask(C, send("three"));
        browser.settle();
        browser.work(A, confirm);
        browser.tabs.remove(&A);
        browser.ask(B, send("two"));
        browser.told(B);
        // The store is read only after the others have joined and asked again.
        browser.begin(C);
        browser.run(C);
        while !browser.commands.is_empty() {
            browser.work(C, true);
        }
        let (mut done, mut expected) = (browser.done.clone(), vec![send("one"), send("three"), send("two")]);
        done.sort_by_key(|command| format!("{command:?}"));
        expected.sort_by_key(|command| format!("{command:?}"));
        assert_eq!(done, expected);
        assert_eq!(browser.told(B), [started(true), snapshot(0)]);
        // All of it is confirmed: a further leader finds nothing to do.
        browser.tabs.remove(&C);
        browser.lead(B);
        assert!(browser.commands.is_empty());
    }
}

#[test]
fn what_a_leader_lets_go_of_is_kept_for_the_next() {
    let mut follower = Follower::again(7, [Request::Command(send("one")), Request::Command(TYPING)]);
    assert!(!follower.has_leader());
    follower.ask(Request::Command(send("two")));
    let jobs = follower.lead(A).jobs;
    // No number is given twice in the life of a tab.
    let job = |number, command| Job::Command { request_id: Some(RequestId { tab: A, number }), command };
    assert_eq!(jobs, [job(8, send("one")), job(10, send("two"))]);
}

#[test]
fn a_page_that_nobody_serves_cannot_fill_the_memory() {
    let mut follower = Follower::default();
    for n in 0..5_000 {
        follower.ask(Request::Command(TYPING));
        let effects = follower.ask(Request::Command(send(&n.to_string())));
        let refused = matches!(&effects[..], [Effect::Tell(Notice::Events(events))] if matches!(events[..], [Event::Error { .. }]));
        assert_eq!(refused, n >= super::follower::MAX_WAITING, "{effects:?}");
    }
    assert_eq!(follower.lead(A).jobs.len(), super::follower::MAX_WAITING);
}

#[test]
fn the_list_of_relays_goes_to_those_who_look_at_it() {
    let mut browser = two();
    browser.open(C);
    browser.join(C);
    browser.collect(A, &snapshot(1));
    for id in [A, B, C] {
        browser.told(id);
    }
    let list = Event::Network { network: Box::new(about(0)) };
    let ready = Event::Progress { step: Progress::Ready };
    browser.ask(B, Command::Network { watch: true });
    browser.settle();
    browser.tell(A, Notice::Events(vec![ready.clone(), list.clone()]));
    assert_eq!(browser.told(A), [Notice::Events(vec![ready.clone()])]);
    assert_eq!(browser.told(C), [Notice::Events(vec![ready.clone()])]);
    assert_eq!(browser.told(B), [Notice::Events(vec![list.clone()]), Notice::Events(vec![ready])]);

    browser.ask(A, Command::Network { watch: true });
    browser.ask(B, Command::Network { watch: false });
    browser.settle();
    browser.tell(A, Notice::Events(vec![list.clone()]));
    assert_eq!((browser.told(A), browser.told(B)), (vec![Notice::Events(vec![list])], vec![]));
    browser.ask(B, Command::Network { watch: true });
    browser.settle();
    browser.ask(A, Command::Network { watch: false });
    let effects = browser.tab(A).leader.as_mut().unwrap().gone(B);
    browser.act(A, effects);
    // The engine was asked at each coming, and let off once, when the last had gone.
    let asked: Vec<_> = browser.commands.iter().map(|(_, command)| command.clone()).collect();
    let watch = |watch| Command::Network { watch };
    assert_eq!(asked, [watch(true), watch(true), watch(true), watch(false)]);
}

#[test]
fn records_of_tabs_that_have_gone_are_removed() {
    let mut browser = two();
    browser.ask(B, send("one"));
    browser.settle();
    browser.work(A, true);
    assert_eq!(browser.records.keys().collect::<Vec<_>>(), [&B.no_record().key]);
    browser.tabs.clear();
    browser.watched.clear();
    browser.open(C);
    browser.lead(C);
    assert_eq!(browser.watched, [B]);
    let effects = browser.tab(C).leader.as_mut().unwrap().gone(B);
    browser.act(C, effects);
    assert!(browser.records.is_empty());
}

#[test]
fn answers_to_an_earlier_attempt_are_not_taken_for_those_to_a_later() {
    let mut follower = Follower::default();
    follower.join();
    follower.join();
    let welcome = |round| Message::Welcome { round, said: Vec::new(), runs: true };
    assert_eq!(follower.hear(A, welcome(1)), []);
    assert_eq!(follower.hear(A, welcome(2)), [Effect::Tell(started(true))]);
    assert_eq!(follower.hear(A, Message::Snapshot { round: 1, snapshot: snapshot(1) }), []);
    assert_eq!(follower.hear(A, Message::Told(typing(true))), []);
    assert_eq!(follower.hear(B, Message::Told(typing(false))), [], "that one does not lead");
    assert_eq!(
        follower.hear(A, Message::Snapshot { round: 2, snapshot: snapshot(2) }),
        [Effect::Tell(snapshot(2)), Effect::Tell(typing(true))]
    );
    // It leads already, and says so to others.
    assert_eq!(follower.hear(A, Message::Leads), []);
    assert_eq!(follower.hear(B, Message::Leads), [Effect::Post(None, Message::Join { round: 3 })]);
}

#[test]
fn tabs_of_other_builds_are_told_apart() {
    let mut follower = Follower::default();
    follower.join();
    assert_eq!(follower.hear_stranger(false), [], "it looks for a leader too");
    assert_eq!(follower.hear_stranger(true), [Effect::Tell(ELSEWHERE)]);
    // The lock has gone on to one of this build.
    assert_eq!(follower.hear(A, Message::Leads).len(), 1);
    follower.hear(A, Message::Welcome { round: 2, said: Vec::new(), runs: false });
    assert!(follower.has_leader());
    assert_eq!(follower.hear_stranger(true), [Effect::Tell(ELSEWHERE)]);
    assert!(!follower.has_leader());
    let (leader, _) = Leader::begin(A);
    assert_eq!(leader.hear_stranger(), [Effect::Post(None, Message::Leads)]);
}

#[test]
fn records_are_taken_out_and_nothing_else() {
    let record = |request_id: RequestId| {
        let write = request_id.record();
        (write.key, write.value.unwrap())
    };
    let (one, two) = (RequestId { tab: A, number: 7 }, RequestId { tab: C, number: u64::MAX });
    let mut records = vec![record(one), ("profile".to_owned(), vec![1]), record(two)];
    records.push(("page/asked/nobody".to_owned(), b"1".to_vec()));
    assert_eq!(take_records(&mut records), [one, two]);
    assert_eq!(records, [("profile".to_owned(), vec![1])]);
}

#[test]
fn a_leader_that_hangs_is_told_once_something_waits_for_it() {
    let mut browser = two();
    browser.told(B);
    browser.look_in_silence(B, 2 * PATIENCE);
    assert!(browser.channel.is_empty() && browser.told(B).is_empty(), "there is nothing to wait for");
    browser.ask(B, send("one"));
    browser.look_in_silence(B, PATIENCE - 1);
    assert!(browser.told(B).is_empty());
    browser.look_in_silence(B, PATIENCE);
    assert_eq!(browser.told(B), [Notice::Silent(true)], "said once");
    // Its first word takes that back, and what has waited is done.
    browser.settle();
    assert_eq!(browser.told(B), [Notice::Silent(false)]);
    browser.work(A, true);
    assert_eq!(browser.done, [send("one")]);

    // What is not kept is owed an answer as well.
    browser.ask(B, TYPING);
    browser.look_in_silence(B, PATIENCE);
    assert_eq!(browser.told(B), [Notice::Silent(true)]);
    // Whoever leads next tells the whole, and with it that it is there.
    browser.channel.clear();
    browser.tabs.remove(&A);
    browser.lead(B);
    assert_eq!(browser.told(B), [started(false), snapshot(0)]);
}

#[test]
fn a_leader_whose_engine_takes_long_is_not_taken_for_one_that_hangs() {
    let mut browser = Browser::default();
    browser.open(A);
    browser.begin(A);
    browser.open(B);
    browser.join(B);
    browser.ask(B, send("one"));
    browser.told(B);
    for _ in 0..3 * PATIENCE {
        browser.look_in_silence(B, 1);
        browser.settle();
    }
    assert!(browser.told(B).is_empty() && browser.tab(B).follower.has_leader());
}

#[test]
fn whoever_is_not_welcomed_is_told_that_nobody_answers_and_is_welcome_later() {
    let mut browser = Browser::default();
    browser.open(A);
    browser.lead(A);
    browser.open(B);
    let effects = browser.tab(B).follower.join();
    browser.act(B, effects);
    browser.look_in_silence(B, PATIENCE - 1);
    assert!(browser.told(B).is_empty());
    browser.look_in_silence(B, PATIENCE);
    assert_eq!(browser.told(B), [Notice::Elsewhere { silent: true }]);
    browser.settle();
    assert_eq!(browser.told(B), [started(true)]);
    // One of another build answers, and there is nothing more to wait for.
    let effects = browser.tab(B).follower.hear_stranger(true);
    browser.act(B, effects);
    browser.look_in_silence(B, 2 * PATIENCE);
    assert_eq!(browser.told(B), [ELSEWHERE]);
}

#[test]
fn a_tab_that_was_taken_for_gone_joins_once_more_and_loses_nothing() {
    let mut browser = two();
    let effects = browser.tab(A).leader.as_mut().unwrap().gone(B);
    browser.act(A, effects);
    browser.told(B);
    browser.ask(B, send("one"));
    browser.settle();
    browser.collect(A, &snapshot(2));
    assert_eq!(browser.told(B), [started(true), snapshot(2)]);
    browser.work(A, true);
    assert_eq!(browser.done, [send("one")]);
    // It also does if it only knocks; and if the whole could not be collected.
    let effects = browser.tab(A).leader.as_mut().unwrap().gone(B);
    browser.act(A, effects);
    browser.ask(B, Command::Typing { contact: ContactId(1), typing: true });
    browser.channel.clear();
    browser.look_in_silence(B, 1);
    browser.settle();
    assert_eq!(browser.told(B), [started(true)]);
    let (to, round) = browser.collect.pop().unwrap();
    let effects = browser.tab(A).leader.as_ref().unwrap().snapshot(to, round, None);
    browser.act(A, effects);
    browser.settle();
    browser.collect(A, &snapshot(3));
    assert_eq!(browser.told(B), [started(true), snapshot(3)]);
}

#[test]
fn an_invite_that_a_leader_was_making_is_lost_with_it_and_told_to_whom_has_asked() {
    // Whether the leader that goes has begun it, and has confirmed that.
    for (begun, confirmed) in [(false, false), (true, false), (true, true)] {
        let mut browser = two();
        browser.open(C);
        browser.join(C);
        browser.ask(B, Command::invite());
        browser.ask(B, send("one"));
        browser.settle();
        if begun {
            browser.work(A, confirmed);
        }
        browser.tabs.remove(&A);
        browser.told(B);
        browser.told(C);
        browser.lead(C);
        assert_eq!(browser.told(B), [started(true), invite_lost(), snapshot(0)]);
        assert_eq!(browser.told(C), [started(false), snapshot(0)]);
        // It is not made a second time, and nothing else is lost.
        let left: Vec<_> = browser.commands.iter().map(|(_, command)| command.clone()).collect();
        assert_eq!(left, [send("one")]);
        // The next is made by whoever leads now.
        browser.ask(B, Command::invite());
        browser.settle();
        browser.tell(C, Notice::Events(vec![Event::Invite { id: InviteId(1), fragment: "x".into() }]));
        browser.told(B);
        browser.tabs.remove(&C);
        browser.lead(B);
        assert_eq!(browser.told(B), [started(false), snapshot(0)]);
    }
}

#[test]
fn an_invite_that_no_leader_was_asked_for_is_made_by_the_next() {
    let mut browser = Browser::default();
    browser.open(B);
    browser.ask(B, Command::invite());
    browser.lead(B);
    assert_eq!(browser.told(B), [started(false), snapshot(0)]);
    assert_eq!(browser.commands.pop_front().unwrap().1, Command::invite());
}

#[test]
fn what_is_wrong_with_a_command_is_told_to_whom_has_given_it() {
    let mut browser = two();
    for id in [A, B] {
        browser.told(id);
    }
    let error = Notice::Events(vec![Event::Error { about: "add".into(), message: "This is no invite.".into() }]);
    for (request_id, told, other) in
        [(Some(RequestId { tab: B, number: 1 }), B, A), (Some(RequestId { tab: A, number: 1 }), A, B), (None, A, B)]
    {
        let effects = browser.tab(A).leader.as_mut().unwrap().answer(request_id, error.clone());
        browser.act(A, effects);
        browser.settle();
        assert_eq!((browser.told(told), browser.told(other)), (vec![error.clone()], vec![]));
    }
}
