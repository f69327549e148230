//! The tab that leads.

use std::collections::{BTreeMap, BTreeSet};

use allium_shared::client::api::{Command, Event, Progress};

use super::{Effect, Message, Order, RequestId, TabId, ends_invite};
use crate::driver::{Notice, Request};

/// The tab that leads.
#[derive(Debug)]
pub(in crate::driver) struct Leading {
    me: TabId,
    followers: BTreeSet<TabId>,
    /// The tabs that look at the list of relays; nobody else is sent it.
    watching: BTreeSet<TabId>,
    /// The last request of each tab that the engine was given.
    given: BTreeMap<TabId, u64>,
    said: Said,
    /// Whether the page of this tab has asked for an invite that is not made yet.
    makes_invite: bool,
    /// Whether the engine runs.
    runs: bool,
    /// Whether the profile is put away, and nobody is to follow any more.
    is_over: bool,
}

/// What was told last about what is not the engine's: a tab that comes later has to know it too.
#[derive(Debug, Default)]
struct Said {
    lock: Option<Notice>,
    directory: Option<Notice>,
    storage: Option<Notice>,
}

impl Leading {
    /// Begins to lead, and says so.
    pub(in crate::driver) fn begin(me: TabId) -> (Self, Vec<Effect>) {
        let leading = Self {
            me,
            followers: BTreeSet::new(),
            watching: BTreeSet::new(),
            given: BTreeMap::new(),
            said: Said::default(),
            makes_invite: false,
            runs: false,
            is_over: false,
        };
        (leading, vec![Effect::Tell(Notice::Started { follows: false }), Effect::Post(None, Message::Leads)])
    }

    /// The store is open: how far leaders before this one have come with the tabs' requests.
    pub(in crate::driver) fn resume(&mut self, given: impl IntoIterator<Item = RequestId>) -> Vec<Effect> {
        let mut acts = Vec::new();
        for RequestId { tab, number } in given {
            self.given.insert(tab, number);
            if tab != self.me && !self.followers.contains(&tab) {
                acts.push(Effect::Watch(tab));
            }
        }
        acts
    }

    /// The engine runs, and has told the whole.
    pub(in crate::driver) fn run(&mut self) {
        self.runs = true;
    }

    /// The page of this tab asks for something.
    pub(in crate::driver) fn ask(&mut self, request: Request) -> Vec<Effect> {
        match request {
            Request::Command(command) => {
                self.makes_invite |= matches!(command, Command::Invite { .. });
                self.order(self.me, None, command)
            }
            Request::Lock(request) => vec![Effect::Lock(request)],
            Request::TakeOver => Vec::new(),
        }
    }

    /// Another tab says something.
    pub(in crate::driver) fn hear(&mut self, from: TabId, message: Message) -> Vec<Effect> {
        match message {
            // There will be another to follow.
            Message::Join { .. } if self.is_over => Vec::new(),
            Message::Join { round } => {
                let mut acts = Vec::new();
                if self.followers.insert(from) && !self.given.contains_key(&from) {
                    acts.push(Effect::Watch(from));
                }
                acts.push(Effect::Post(
                    Some(from),
                    Message::Welcome { round, said: self.said.list(), runs: self.runs },
                ));
                if self.runs {
                    acts.push(Effect::Collect(from, round));
                }
                acts
            }
            // It was taken for gone.
            Message::Ask { .. } | Message::Knock if !self.followers.contains(&from) => {
                vec![Effect::Post(Some(from), Message::JoinAgain)]
            }
            Message::Knock => vec![Effect::Post(Some(from), Message::Here)],
            Message::Ask { number, request } => match request {
                Request::Command(command) => self.order(from, Some(RequestId { tab: from, number }), command),
                // Done once more, they do no harm.
                Request::Lock(request) => {
                    vec![Effect::Lock(request), Effect::Post(Some(from), Message::Done { number })]
                }
                Request::TakeOver => Vec::new(),
            },
            // Only one tab leads.
            Message::Leads
            | Message::Welcome { .. }
            | Message::Snapshot { .. }
            | Message::Told(_)
            | Message::Done { .. }
            | Message::Here
            | Message::JoinAgain => Vec::new(),
        }
    }

    /// A tab of another build says something: it is told that somebody leads.
    pub(in crate::driver) fn hear_stranger(&self) -> Vec<Effect> {
        vec![Effect::Post(None, Message::Leads)]
    }

    /// The engine watches the list of relays as long as anybody looks at it.
    fn order(&mut self, tab: TabId, asker: Option<RequestId>, command: Command) -> Vec<Effect> {
        if let Command::Network { watch } = command {
            if watch {
                self.watching.insert(tab);
            } else if !self.watching.remove(&tab) || !self.watching.is_empty() {
                return Vec::new();
            }
        }
        vec![Effect::Order(Order { asker, command })]
    }

    /// Whether a request is to be given to the engine: it was not before, by this leader or another.
    pub(in crate::driver) fn give(&mut self, asker: RequestId) -> bool {
        let last = self.given.entry(asker.tab).or_default();
        let is_new = asker.number > *last;
        *last = asker.number.max(*last);
        is_new
    }

    /// What a request has changed is on disk.
    pub(in crate::driver) fn done(&self, asker: RequestId) -> Vec<Effect> {
        if asker.tab == self.me {
            return Vec::new();
        }
        vec![Effect::Post(Some(asker.tab), Message::Done { number: asker.number })]
    }

    /// Tells the page of this tab, and those of all that follow.
    pub(in crate::driver) fn tell(&mut self, notice: Notice) -> Vec<Effect> {
        self.said.remember(&notice);
        self.makes_invite &= !ends_invite(&notice);
        let mut acts = Vec::new();
        let (notice, network) = apart(notice);
        if let Some(network) = network {
            for tab in &self.watching {
                acts.push(if *tab == self.me {
                    Effect::Tell(network.clone())
                } else {
                    Effect::Post(Some(*tab), Message::Told(network.clone()))
                });
            }
        }
        if let Some(notice) = notice {
            if !self.followers.is_empty() {
                acts.push(Effect::Post(None, Message::Told(notice.clone())));
            }
            acts.push(Effect::Tell(notice));
        }
        acts
    }

    /// Tells the page of one tab only: of the one that has asked, or of this tab.
    pub(in crate::driver) fn answer(&mut self, asker: Option<RequestId>, notice: Notice) -> Vec<Effect> {
        match asker.map(|asker| asker.tab).filter(|tab| *tab != self.me) {
            Some(tab) => vec![Effect::Post(Some(tab), Message::Told(notice))],
            None => {
                self.makes_invite &= !ends_invite(&notice);
                vec![Effect::Tell(notice)]
            }
        }
    }

    /// Whether the page of this tab waits for an invite.
    pub(in crate::driver) const fn makes_invite(&self) -> bool {
        self.makes_invite
    }

    /// The page of this tab has asked for an invite while it followed.
    pub(in crate::driver) const fn make_invite(&mut self) {
        self.makes_invite = true;
    }

    /// The profile is put away: those that follow are told so.
    pub(in crate::driver) fn put_away(&mut self) -> Vec<Effect> {
        self.is_over = true;
        vec![Effect::Post(None, Message::Told(Notice::PutAway))]
    }

    /// The whole is collected that a follower waits for; or it could not be, and the follower is to ask once more.
    pub(in crate::driver) fn snapshot(&self, to: TabId, round: u64, snapshot: Option<Notice>) -> Vec<Effect> {
        let message = snapshot.map_or(Message::JoinAgain, |snapshot| Message::Snapshot { round, snapshot });
        vec![Effect::Post(Some(to), message)]
    }

    /// A tab has gone.
    pub(in crate::driver) fn gone(&mut self, tab: TabId) -> Vec<Effect> {
        self.followers.remove(&tab);
        let mut acts = self.order_if_watching(tab);
        if self.given.remove(&tab).is_some() {
            acts.push(Effect::Forget(tab));
        }
        acts
    }

    fn order_if_watching(&mut self, tab: TabId) -> Vec<Effect> {
        self.order(tab, None, Command::Network { watch: false })
    }

    /// Whether any tab follows.
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

/// What is for all, and what is for those who look at the list of relays.
fn apart(notice: Notice) -> (Option<Notice>, Option<Notice>) {
    let Notice::Events(events) = notice else { return (Some(notice), None) };
    let (network, others): (Vec<_>, Vec<_>) =
        events.into_iter().partition(|event| matches!(event, Event::Network { .. } | Event::Relays { .. }));
    let some = |events: Vec<Event>| (!events.is_empty()).then_some(Notice::Events(events));
    (some(others), some(network))
}
