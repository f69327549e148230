//! The tab that runs the engine.

use std::collections::{BTreeMap, BTreeSet};

use allium_shared::client::api::{Command, Event, Progress};

use super::{Effect, Job, Message, RequestId, TabId, ends_invite};
use crate::driver::{Notice, Request};

/// The state of the tab that runs the engine.
#[derive(Debug)]
pub(in crate::driver) struct Leader {
    me: TabId,
    followers: BTreeSet<TabId>,
    /// The tabs that show the consensus; no other tab is sent it.
    watching: BTreeSet<TabId>,
    /// The last request of each tab that went to the engine.
    given: BTreeMap<TabId, u64>,
    said: Said,
    /// True while the page of this tab waits for an invite.
    makes_invite: bool,
    /// True once the engine runs.
    runs: bool,
    /// True once the profile is locked: nobody may join any more.
    is_over: bool,
}

/// The latest notices that don't come from the engine: a tab that joins needs them too.
#[derive(Debug, Default)]
struct Said {
    lock: Option<Notice>,
    directory: Option<Notice>,
    storage: Option<Notice>,
}

impl Leader {
    /// Starts to lead and announces it.
    pub(in crate::driver) fn begin(me: TabId) -> (Self, Vec<Effect>) {
        let leader = Self {
            me,
            followers: BTreeSet::new(),
            watching: BTreeSet::new(),
            given: BTreeMap::new(),
            said: Said::default(),
            makes_invite: false,
            runs: false,
            is_over: false,
        };
        (leader, vec![Effect::Tell(Notice::Started { follows: false }), Effect::Post(None, Message::Leads)])
    }

    /// Takes from the opened store which requests earlier leaders have carried out: the last one of each tab.
    pub(in crate::driver) fn resume(&mut self, given: impl IntoIterator<Item = RequestId>) -> Vec<Effect> {
        let mut effects = Vec::new();
        for RequestId { tab, number } in given {
            self.given.insert(tab, number);
            if tab != self.me && !self.followers.contains(&tab) {
                effects.push(Effect::Watch(tab));
            }
        }
        effects
    }

    /// The engine runs, and its first snapshot was told.
    pub(in crate::driver) fn engine_started(&mut self) {
        self.runs = true;
    }

    /// The page of this tab asks for something.
    pub(in crate::driver) fn ask(&mut self, request: Request) -> Vec<Effect> {
        match request {
            Request::Command(command) => {
                self.makes_invite |= matches!(command, Command::Invite { .. });
                self.command(self.me, None, command)
            }
            Request::Lock(request) => vec![Effect::Lock(request)],
            Request::TakeOver => Vec::new(),
        }
    }

    /// A message of another tab arrived.
    pub(in crate::driver) fn hear(&mut self, from: TabId, message: Message) -> Vec<Effect> {
        match message {
            // There will be another leader to join.
            Message::Join { .. } if self.is_over => Vec::new(),
            Message::Join { round } => {
                let mut effects = Vec::new();
                if self.followers.insert(from) && !self.given.contains_key(&from) {
                    effects.push(Effect::Watch(from));
                }
                effects.push(Effect::Post(
                    Some(from),
                    Message::Welcome { round, said: self.said.list(), runs: self.runs },
                ));
                if self.runs {
                    effects.push(Effect::Engine(Job::Snapshot { to: from, round }));
                }
                effects
            }
            // It was believed to have closed.
            Message::Ask { .. } | Message::Knock if !self.followers.contains(&from) => {
                vec![Effect::Post(Some(from), Message::JoinAgain)]
            }
            Message::Knock => vec![Effect::Post(Some(from), Message::Here)],
            Message::Ask { number, request } => match request {
                Request::Command(command) => self.command(from, Some(RequestId { tab: from, number }), command),
                // These may safely be repeated.
                Request::Lock(request) => {
                    vec![Effect::Lock(request), Effect::Post(Some(from), Message::Done { number })]
                }
                Request::TakeOver => Vec::new(),
            },
            // Only a leader sends these, and there is only one.
            Message::Leads
            | Message::Welcome { .. }
            | Message::Snapshot { .. }
            | Message::Told(_)
            | Message::Done { .. }
            | Message::Here
            | Message::JoinAgain => Vec::new(),
        }
    }

    /// A tab of another build said something: it learns that there is a leader.
    pub(in crate::driver) fn hear_stranger(&self) -> Vec<Effect> {
        vec![Effect::Post(None, Message::Leads)]
    }

    /// Passes a command to the engine. The engine watches the consensus for as long as any tab shows it.
    fn command(&mut self, tab: TabId, request_id: Option<RequestId>, command: Command) -> Vec<Effect> {
        if let Command::Network { watch } = command {
            if watch {
                self.watching.insert(tab);
            } else if !self.watching.remove(&tab) || !self.watching.is_empty() {
                return Vec::new();
            }
        }
        vec![Effect::Engine(Job::Command { request_id, command })]
    }

    /// True if this request is new, and not one that this or an earlier leader passed to its engine.
    pub(in crate::driver) fn give(&mut self, request_id: RequestId) -> bool {
        let last = self.given.entry(request_id.tab).or_default();
        let is_new = request_id.number > *last;
        *last = request_id.number.max(*last);
        is_new
    }

    /// Everything that a request changed is on disk.
    pub(in crate::driver) fn done(&self, request_id: RequestId) -> Vec<Effect> {
        if request_id.tab == self.me {
            return Vec::new();
        }
        vec![Effect::Post(Some(request_id.tab), Message::Done { number: request_id.number })]
    }

    /// Tells the page of this tab and those of all followers.
    pub(in crate::driver) fn tell(&mut self, notice: Notice) -> Vec<Effect> {
        self.said.remember(&notice);
        self.makes_invite &= !ends_invite(&notice);
        let mut effects = Vec::new();
        let (notice, network) = split_network(notice);
        if let Some(network) = network {
            for tab in &self.watching {
                effects.push(if *tab == self.me {
                    Effect::Tell(network.clone())
                } else {
                    Effect::Post(Some(*tab), Message::Told(network.clone()))
                });
            }
        }
        if let Some(notice) = notice {
            if !self.followers.is_empty() {
                effects.push(Effect::Post(None, Message::Told(notice.clone())));
            }
            effects.push(Effect::Tell(notice));
        }
        effects
    }

    /// Tells only the page that made a request, or the page of this tab.
    pub(in crate::driver) fn answer(&mut self, request_id: Option<RequestId>, notice: Notice) -> Vec<Effect> {
        match request_id.map(|id| id.tab).filter(|tab| *tab != self.me) {
            Some(tab) => vec![Effect::Post(Some(tab), Message::Told(notice))],
            None => {
                self.makes_invite &= !ends_invite(&notice);
                vec![Effect::Tell(notice)]
            }
        }
    }

    /// True while the page of this tab waits for an invite.
    pub(in crate::driver) const fn makes_invite(&self) -> bool {
        self.makes_invite
    }

    /// The page of this tab asked for an invite while the tab followed.
    pub(in crate::driver) const fn make_invite(&mut self) {
        self.makes_invite = true;
    }

    /// The profile is locked: the followers lock too.
    pub(in crate::driver) fn put_away(&mut self) -> Vec<Effect> {
        self.is_over = true;
        vec![Effect::Post(None, Message::Told(Notice::PutAway))]
    }

    /// Sends a follower the snapshot it waits for; without one, the follower has to join again.
    pub(in crate::driver) fn snapshot(&self, to: TabId, round: u64, snapshot: Option<Notice>) -> Vec<Effect> {
        let message = snapshot.map_or(Message::JoinAgain, |snapshot| Message::Snapshot { round, snapshot });
        vec![Effect::Post(Some(to), message)]
    }

    /// A tab has closed.
    pub(in crate::driver) fn gone(&mut self, tab: TabId) -> Vec<Effect> {
        self.followers.remove(&tab);
        let mut effects = self.command(tab, None, Command::Network { watch: false });
        if self.given.remove(&tab).is_some() {
            effects.push(Effect::Engine(Job::Forget(tab)));
        }
        effects
    }

    /// True if any tab follows this one.
    pub(in crate::driver) fn is_followed(&self) -> bool {
        !self.followers.is_empty()
    }
}

impl Said {
    fn remember(&mut self, notice: &Notice) {
        match notice {
            Notice::Locked | Notice::Protection(_) => self.lock = Some(notice.clone()),
            Notice::DirectoryTrouble(_) => self.directory = Some(notice.clone()),
            Notice::StorageTrouble(trouble) => self.storage = trouble.map(|_| notice.clone()),
            Notice::Events(events) if events.contains(&Event::Progress { step: Progress::Ready }) => {
                self.directory = None;
            }
            _ => {}
        }
    }

    fn list(&self) -> Vec<Notice> {
        [&self.lock, &self.directory, &self.storage].into_iter().flatten().cloned().collect()
    }
}

/// Splits a notice into the part for all tabs and the part for tabs that show the consensus.
fn split_network(notice: Notice) -> (Option<Notice>, Option<Notice>) {
    let Notice::Events(events) = notice else { return (Some(notice), None) };
    let (network, others): (Vec<_>, Vec<_>) =
        events.into_iter().partition(|event| matches!(event, Event::Network { .. } | Event::Relays { .. }));
    let some = |events: Vec<Event>| (!events.is_empty()).then_some(Notice::Events(events));
    (some(others), some(network))
}
