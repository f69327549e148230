//! How the tabs of one profile work together: one leads and runs the engine, the others follow and show the same.
//!
//! Tabs don't elect a leader. The browser's lock decides, and passes to another tab when the leader is gone, however it
//! ended. The two state machines here, [`Leader`] and [`Follower`], have no browser in them: requests of the tab's own
//! page and messages of other tabs go in, [`Effect`]s come out.
//!
//! A follower sends [`Message::Join`]. It is welcomed with the latest notices about the store, the lock and the directory;
//! from then on it hears everything that the leader's page hears, and soon receives a snapshot. Notices that arrive before
//! the snapshot are held back and told after it, so that the newest state wins.
//!
//! A follower numbers its page's requests and keeps each until the leader confirms it. A leader confirms a command once
//! its changes are on disk, and records the request's number in the same batch. So the next leader, after a crash at any
//! moment, knows which unconfirmed requests were carried out, and carries out the others. Invites are the exception: one
//! that was requested and not ready when the leader ended is lost, and the page is told.
//!
//! A leader that hangs keeps the browser's lock. A follower that waits for an answer therefore sends [`Message::Knock`],
//! which a leader answers whatever its engine is doing, and tells its page if nothing comes back.
//!
//! # Layout
//!
//! - [`leader`]: the tab that runs the engine
//! - [`follower`]: every other tab

pub(super) mod follower;
pub(super) mod leader;
#[cfg(test)]
mod tests;

use std::fmt;
use std::str::FromStr;

use allium_shared::client::api::{Command, Event, Write};
use serde::{Deserialize, Serialize};

pub(super) use self::follower::Follower;
pub(super) use self::leader::Leader;
use super::{LockRequest, Notice, Request};
use crate::strings;

/// Identifies a tab, or rather its worker: random, and never reused. Displayed as 16 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct TabId(pub(super) u64);

impl fmt::Display for TabId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for TabId {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        u64::from_str_radix(text, 16).map(Self)
    }
}

/// Messages between tabs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Message {
    /// To all: the sender leads, and can be followed.
    Leads,
    /// To all: the sender wants to follow the leader.
    Join {
        /// Counts the attempts, so that answers to an earlier one are recognized.
        round: u64,
    },
    /// Leader to follower: you follow from now on.
    Welcome {
        /// The attempt that this answers.
        round: u64,
        /// The latest notices about lock, directory and store.
        said: Vec<Notice>,
        /// True if the engine runs, so that a snapshot follows.
        runs: bool,
    },
    /// Leader to follower: the complete state at some moment after the welcome.
    Snapshot {
        /// The attempt that this answers.
        round: u64,
        /// A [`Notice::Snapshot`].
        snapshot: Notice,
    },
    /// Leader to all followers, or to one: something for their pages.
    Told(Notice),
    /// Follower to leader: a request of its page.
    Ask {
        /// Counts the tab's requests.
        number: u64,
        /// The request.
        request: Request,
    },
    /// Leader to follower: this request was carried out, and its changes are on disk.
    Done {
        /// The request's number.
        number: u64,
    },
    /// Follower to leader: are you there?
    Knock,
    /// Leader to follower: the answer to a knock.
    Here,
    /// Leader to follower: join again, because you are not known, or your snapshot could not be made.
    JoinAgain,
}

/// What this tab has to do next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Send this to one tab, or to all.
    Post(Option<TabId>, Message),
    /// Tell the page of this tab.
    Tell(Notice),
    /// Hand this to the engine.
    Engine(Job),
    /// Hand this to the profile's lock.
    Lock(LockRequest),
    /// Call [`Leader::gone`] when this tab has closed.
    Watch(TabId),
    /// The profile is locked: stop.
    Stop,
}

/// Work for the run of the engine. It waits until the engine runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Job {
    /// A command of a person, in any tab.
    Command {
        /// Identifies the request if it might arrive twice.
        request_id: Option<RequestId>,
        command: Command,
    },
    /// Make a snapshot for this follower's attempt to join, and pass it to [`Leader::snapshot`].
    Snapshot { to: TabId, round: u64 },
    /// Delete the record of a tab that has closed.
    Forget(TabId),
}

impl Job {
    /// True if this asks for an invite.
    pub(super) const fn is_invite(&self) -> bool {
        matches!(self, Self::Command { command: Command::Invite { .. }, .. })
    }
}

/// Identifies a request of a follower, or one that a tab made while it followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RequestId {
    pub(super) tab: TabId,
    pub(super) number: u64,
}

/// Prefix of the records that hold the number of each tab's last finished request.
const RECORDS: &str = "page/asked/";

impl RequestId {
    /// The record to write in the same batch as the request's changes.
    pub(super) fn record(self) -> Write {
        let value = serde_json::to_vec(&self.number).ok();
        Write { key: format!("{RECORDS}{}", self.tab), value }
    }
}

impl TabId {
    /// Deletes the record of this tab.
    pub(super) fn no_record(self) -> Write {
        Write { key: format!("{RECORDS}{self}"), value: None }
    }
}

/// Removes those records from the store's and returns the last finished request of each tab.
pub(super) fn take_records(records: &mut Vec<(String, Vec<u8>)>) -> Vec<RequestId> {
    let mut taken = Vec::new();
    records.retain(|(key, value)| {
        let Some(tab) = key.strip_prefix(RECORDS) else { return true };
        if let (Ok(tab), Ok(number)) = (tab.parse(), serde_json::from_slice(value)) {
            taken.push(RequestId { tab, number });
        }
        false
    });
    taken
}

/// True if this is the engine's answer to a request for an invite.
fn ends_invite(notice: &Notice) -> bool {
    let ends = |event: &Event| match event {
        Event::Invite { .. } => true,
        Event::Error { about, .. } => about == "invite",
        _ => false,
    };
    matches!(notice, Notice::Events(events) if events.iter().any(ends))
}

/// Tells the page that the invite it waits for was lost with the previous leader.
pub(super) fn invite_lost() -> Notice {
    Notice::Events(vec![Event::Error { about: "invite".into(), message: strings::INVITE_LOST.into() }])
}

impl Request {
    /// True if this asks for an invite.
    pub(super) const fn is_invite(&self) -> bool {
        matches!(self, Self::Command(Command::Invite { .. }))
    }

    /// True if it must not get lost. Requests that mean nothing a moment later need not be kept.
    fn is_kept(&self) -> bool {
        let passing = matches!(self, Self::TakeOver | Self::Command(Command::Typing { .. } | Command::Network { .. }));
        !passing
    }
}
