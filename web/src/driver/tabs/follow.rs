//! A tab that follows, or looks for one that it could follow.

use std::collections::VecDeque;

use allium_shared::client::api::Event;

use super::{Effect, Message, Order, RequestId, TabId, ends_invite, invite_lost};
use crate::driver::{LockRequest, Notice, Request};
use crate::strings;

/// How many requests may wait for a leader.
pub(super) const MAX_WAITING: usize = 1_000;

/// At how many looks in a row a leader may be silent.
pub(super) const PATIENCE: u8 = 6;

/// A tab that follows.
#[derive(Debug, Default)]
pub(in crate::driver) struct Following {
    leader: Option<TabId>,
    round: u64,
    standing: Standing,
    /// What the page has asked for and no leader has confirmed, in its order.
    unconfirmed: VecDeque<(u64, Request)>,
    asked: u64,
    /// The last invite that a leader was asked for and has not told of, and which leader that is.
    invite: Option<(TabId, u64)>,
    /// Whether the page has asked for something since the leader's last word.
    owed: bool,
    /// At how many looks the leader was silent although it owed an answer.
    silence: u8,
}

/// How far the tab has come with its leader.
#[derive(Debug, Default)]
enum Standing {
    /// It knows of none.
    #[default]
    Apart,
    /// It has asked to follow.
    Joining,
    /// It is welcome; what was told since waits for the whole.
    Holding(Vec<Notice>),
    /// It follows.
    With,
}

/// What a tab that followed has to do itself when it leads.
#[derive(Debug, Default)]
pub(in crate::driver) struct Left {
    pub(in crate::driver) orders: Vec<Order>,
    pub(in crate::driver) locks: Vec<LockRequest>,
    /// Whether an invite has gone with the leader.
    pub(in crate::driver) invite_lost: bool,
}

impl Following {
    /// Looks for a leader.
    pub(in crate::driver) fn join(&mut self) -> Vec<Effect> {
        self.leader = None;
        self.round += 1;
        self.silence = 0;
        self.standing = Standing::Joining;
        vec![Effect::Post(None, Message::Join { round: self.round })]
    }

    /// Whether some tab leads this one.
    pub(in crate::driver) const fn has_leader(&self) -> bool {
        matches!(self.standing, Standing::Holding(_) | Standing::With)
    }

    /// The page asks for something.
    pub(in crate::driver) fn ask(&mut self, request: Request) -> Vec<Effect> {
        let kept = request.is_kept();
        if kept && self.unconfirmed.len() >= MAX_WAITING {
            let message = strings::TABS_BUSY.to_owned();
            return vec![Effect::Tell(Notice::Events(vec![Event::Error { about: "tabs".into(), message }]))];
        }
        self.asked += 1;
        let number = self.asked;
        if kept {
            self.unconfirmed.push_back((number, request.clone()));
        }
        match self.leader {
            Some(leader) if self.has_leader() => {
                self.owed = true;
                if request.is_invite() {
                    self.invite = Some((leader, number));
                }
                vec![Effect::Post(Some(leader), Message::Ask { number, request })]
            }
            _ => Vec::new(),
        }
    }

    /// Looks, once a second, whether whoever leads is still there.
    pub(in crate::driver) fn look(&mut self) -> Vec<Effect> {
        match self.standing {
            Standing::Apart => Vec::new(),
            Standing::Joining => {
                self.silence = self.silence.saturating_add(1);
                let is_silent = self.silence == PATIENCE;
                is_silent.then_some(Effect::Tell(Notice::Elsewhere { silent: true })).into_iter().collect()
            }
            Standing::Holding(_) | Standing::With => {
                if !self.owed && self.unconfirmed.is_empty() {
                    return Vec::new();
                }
                self.silence = self.silence.saturating_add(1);
                let is_silent = self.silence == PATIENCE;
                let mut acts = vec![Effect::Post(self.leader, Message::Knock)];
                acts.extend(is_silent.then_some(Effect::Tell(Notice::Silent(true))));
                acts
            }
        }
    }

    /// The leader has said something.
    fn word(&mut self) -> Option<Effect> {
        let was_silent = std::mem::take(&mut self.silence) >= PATIENCE;
        self.owed = false;
        was_silent.then_some(Effect::Tell(Notice::Silent(false)))
    }

    /// Nobody makes an invite any more that this leader was not asked for. Whether there was one.
    fn lose_invite(&mut self, leader: Option<TabId>) -> bool {
        let Some((_, last)) = self.invite.take_if(|(of, _)| leader != Some(*of)) else { return false };
        // If it was made after all, it is among the open ones, and is not to be made twice.
        self.unconfirmed.retain(|(number, request)| *number > last || !request.is_invite());
        true
    }

    /// Another tab says something.
    pub(in crate::driver) fn hear(&mut self, from: TabId, message: Message) -> Vec<Effect> {
        let is_leader = self.leader == Some(from);
        let mut acts: Vec<_> = if is_leader { self.word().into_iter().collect() } else { Vec::new() };
        acts.extend(self.obey(from, is_leader, message));
        acts
    }

    fn obey(&mut self, from: TabId, is_leader: bool, message: Message) -> Vec<Effect> {
        match (message, &mut self.standing) {
            // What it has said already is not for this tab to hear again.
            (Message::Leads, Standing::Holding(_) | Standing::With) if is_leader => Vec::new(),
            (Message::JoinAgain, Standing::Holding(_)) if is_leader => self.join(),
            // The engine that it followed may have ended, and another run in the same tab.
            (Message::JoinAgain, Standing::With) if is_leader => {
                let lost = self.lose_invite(None).then(|| Effect::Tell(invite_lost()));
                lost.into_iter().chain(self.join()).collect()
            }
            (Message::Leads, _) => self.join(),
            (Message::Welcome { round, said, runs }, Standing::Joining) if round == self.round => {
                self.leader = Some(from);
                self.standing = if runs { Standing::Holding(Vec::new()) } else { Standing::With };
                self.silence = 0;
                let mut told = vec![Notice::Started { follows: true }];
                told.extend(said);
                if self.lose_invite(Some(from)) {
                    told.push(invite_lost());
                }
                if let Some((number, _)) = self.unconfirmed.iter().rfind(|(_, request)| request.is_invite()) {
                    self.invite = Some((from, *number));
                }
                let asks = self.unconfirmed.iter().map(|(number, request)| {
                    Effect::Post(Some(from), Message::Ask { number: *number, request: request.clone() })
                });
                told.into_iter().map(Effect::Tell).chain(asks).collect()
            }
            (Message::Told(Notice::PutAway), Standing::Holding(_) | Standing::With) if is_leader => {
                vec![Effect::Tell(Notice::PutAway), Effect::Stop]
            }
            (Message::Told(notice), Standing::Holding(held)) if is_leader => {
                self.invite.take_if(|_| ends_invite(&notice));
                held.push(notice);
                Vec::new()
            }
            (Message::Told(notice), Standing::With) if is_leader => {
                self.invite.take_if(|_| ends_invite(&notice));
                vec![Effect::Tell(notice)]
            }
            (Message::Snapshot { round, snapshot }, Standing::Holding(held)) if is_leader && round == self.round => {
                let held = std::mem::take(held);
                self.standing = Standing::With;
                [snapshot].into_iter().chain(held).map(Effect::Tell).collect()
            }
            (Message::Done { number }, Standing::Holding(_) | Standing::With) if is_leader => {
                self.unconfirmed.retain(|(waiting, _)| *waiting != number);
                Vec::new()
            }
            // For leaders, or of one that leads no more.
            _ => Vec::new(),
        }
    }

    /// A tab of another build says something, and whether it leads. There is nothing that the two could say to each other.
    pub(in crate::driver) fn hear_stranger(&mut self, leads: bool) -> Vec<Effect> {
        if !leads {
            return Vec::new();
        }
        self.leader = None;
        self.standing = Standing::Apart;
        vec![Effect::Tell(Notice::Elsewhere { silent: false })]
    }

    /// This tab leads from now on, as `me`: what the page still waits for.
    pub(in crate::driver) fn lead(mut self, me: TabId) -> Left {
        let mut left = Left { invite_lost: self.lose_invite(None), ..Left::default() };
        for (number, request) in self.unconfirmed {
            match request {
                Request::Command(command) => {
                    left.orders.push(Order { asker: Some(RequestId { tab: me, number }), command });
                }
                Request::Lock(request) => left.locks.push(request),
                Request::TakeOver => {}
            }
        }
        left
    }

    /// A tab that has led follows again. What it has not done goes to whoever leads next; `asked` requests were numbered before.
    pub(in crate::driver) fn again(asked: u64, left: impl IntoIterator<Item = Request>) -> Self {
        let mut following = Self { asked, ..Self::default() };
        for request in left {
            following.ask(request);
        }
        following
    }

    /// How many requests have been numbered.
    pub(in crate::driver) const fn asked(&self) -> u64 {
        self.asked
    }
}
