//! A tab that follows the leader, or looks for one.

use std::collections::VecDeque;

use allium_shared::client::api::Event;

use super::{Effect, Job, Message, RequestId, TabId, ends_invite, invite_lost};
use crate::driver::{LockRequest, Notice, Request};
use crate::strings;

/// How many requests may wait for a leader.
pub(super) const MAX_WAITING: usize = 1_000;

/// After how many calls of [`Follower::look`] without a sign of the leader the page is told.
pub(super) const PATIENCE: u8 = 6;

/// The state of a tab that follows, or looks for a leader.
#[derive(Debug, Default)]
pub(in crate::driver) struct Follower {
    leader: Option<TabId>,
    /// Counts the attempts to join.
    round: u64,
    standing: Standing,
    /// The page's requests that no leader has confirmed, in order.
    unconfirmed: VecDeque<(u64, Request)>,
    /// The number of the page's last request.
    asked: u64,
    /// The last request for an invite that a leader received and has not answered, with that leader.
    invite: Option<(TabId, u64)>,
    /// True if the page has asked for something since the leader's last message.
    owed: bool,
    /// How many looks in a row found nothing from a leader that owes an answer.
    silence: u8,
}

/// How far the tab has come in following a leader.
#[derive(Debug, Default)]
enum Standing {
    /// No leader is known.
    #[default]
    Apart,
    /// It has asked to join.
    Joining,
    /// It was welcomed; notices are held back until the snapshot arrives.
    Holding(Vec<Notice>),
    /// It follows.
    With,
}

/// What a follower hands over to its own tab when that starts to lead.
#[derive(Debug, Default)]
pub(in crate::driver) struct Handover {
    pub(in crate::driver) jobs: Vec<Job>,
    pub(in crate::driver) locks: Vec<LockRequest>,
    /// True if an invite was lost with the previous leader.
    pub(in crate::driver) invite_lost: bool,
}

impl Follower {
    /// Looks for a leader.
    pub(in crate::driver) fn join(&mut self) -> Vec<Effect> {
        self.leader = None;
        self.round += 1;
        self.silence = 0;
        self.standing = Standing::Joining;
        vec![Effect::Post(None, Message::Join { round: self.round })]
    }

    /// True if this tab follows a leader.
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

    /// Checks on the leader; to be called once a second.
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
                let mut effects = vec![Effect::Post(self.leader, Message::Knock)];
                effects.extend(is_silent.then_some(Effect::Tell(Notice::Silent(true))));
                effects
            }
        }
    }

    /// The leader has shown that it is alive.
    fn heard_leader(&mut self) -> Option<Effect> {
        let was_silent = std::mem::take(&mut self.silence) >= PATIENCE;
        self.owed = false;
        was_silent.then_some(Effect::Tell(Notice::Silent(false)))
    }

    /// Gives up on an invite unless `leader` is the one that was asked for it. True if there was one.
    fn lose_invite(&mut self, leader: Option<TabId>) -> bool {
        let Some((_, last)) = self.invite.take_if(|(of, _)| leader != Some(*of)) else { return false };
        // If it was made after all, it is among the open ones, and must not be made twice.
        self.unconfirmed.retain(|(number, request)| *number > last || !request.is_invite());
        true
    }

    /// A message of another tab arrived.
    pub(in crate::driver) fn hear(&mut self, from: TabId, message: Message) -> Vec<Effect> {
        let is_leader = self.leader == Some(from);
        let mut effects: Vec<_> = if is_leader { self.heard_leader().into_iter().collect() } else { Vec::new() };
        effects.extend(self.obey(from, is_leader, message));
        effects
    }

    fn obey(&mut self, from: TabId, is_leader: bool, message: Message) -> Vec<Effect> {
        match (message, &mut self.standing) {
            // This tab has heard everything already.
            (Message::Leads, Standing::Holding(_) | Standing::With) if is_leader => Vec::new(),
            (Message::JoinAgain, Standing::Holding(_)) if is_leader => self.join(),
            // The engine may have ended, and another one started in the same tab.
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
            // For leaders, or from a tab that no longer leads.
            _ => Vec::new(),
        }
    }

    /// A tab of another build said something. If it leads, this tab can't follow it.
    pub(in crate::driver) fn hear_stranger(&mut self, leads: bool) -> Vec<Effect> {
        if !leads {
            return Vec::new();
        }
        self.leader = None;
        self.standing = Standing::Apart;
        vec![Effect::Tell(Notice::Elsewhere { silent: false })]
    }

    /// This tab, `me`, starts to lead: what its page is still waiting for.
    pub(in crate::driver) fn lead(mut self, me: TabId) -> Handover {
        let mut handover = Handover { invite_lost: self.lose_invite(None), ..Handover::default() };
        for (number, request) in self.unconfirmed {
            match request {
                Request::Command(command) => {
                    handover.jobs.push(Job::Command { request_id: Some(RequestId { tab: me, number }), command });
                }
                Request::Lock(request) => handover.locks.push(request),
                Request::TakeOver => {}
            }
        }
        handover
    }

    /// A tab that led follows again. Its unfinished requests go to the next leader; `asked` is the last number it used.
    pub(in crate::driver) fn again(asked: u64, unfinished: impl IntoIterator<Item = Request>) -> Self {
        let mut follower = Self { asked, ..Self::default() };
        for request in unfinished {
            follower.ask(request);
        }
        follower
    }

    /// The number of the page's last request.
    pub(in crate::driver) const fn asked(&self) -> u64 {
        self.asked
    }
}
