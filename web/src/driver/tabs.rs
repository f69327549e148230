//! How the tabs of one profile work together: one leads and runs the engine, the others follow and show what it tells.
//!
//! Who leads is nothing that tabs agree on among themselves: the browser's lock decides, and gives it to another tab when the
//! leader is gone, however that went. What is here begins there, as two plain state machines without a browser in them: messages
//! of other tabs and requests of the own page go in, [`Effect`]s come out.
//!
//! A follower says [`Message::Join`]. It is welcomed with what was told last about the store, the lock and the directory; then it
//! hears everything that the leader's own page hears, and, a little later, the whole. What came in between is held back and told
//! after it, so that the newest word on everything is the last.
//!
//! What a follower's page asks for is numbered, and kept until the leader has confirmed it. A leader confirms a command once
//! what it has changed is on disk. Together with that change it writes down how far it has come with which tab. So whoever leads
//! next, after a crash at any moment, knows which of the unconfirmed requests were done, and does the others. An invite takes longer
//! than that: one that a leader was asked for and has not told of when it goes is lost, and the page is told so.
//!
//! A leader that hangs keeps the browser's lock. So a follower that is owed an answer says [`Message::Knock`], which a leader answers
//! whatever its engine is doing, and tells its page when nothing comes back.
//!
//! # Layout
//!
//! - [`lead`]: the tab that leads
//! - [`follow`]: a tab that follows

pub(super) mod follow;
pub(super) mod lead;
#[cfg(test)]
mod tests;

use std::fmt;
use std::str::FromStr;

use allium_shared::client::api::{Command, Event, Write};
use serde::{Deserialize, Serialize};

pub(super) use self::follow::Following;
pub(super) use self::lead::Leading;
use super::{LockRequest, Notice, Request};
use crate::strings;

/// Names a tab, or rather its worker: drawn at its start, never used again. Shown as 16 hexadecimal digits.
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

/// What tabs say to each other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Message {
    /// To all: whoever says this leads, and can be followed.
    Leads,
    /// To all: the sender wants to follow whoever leads.
    Join {
        /// Counts the attempts, so that answers to an earlier one are known.
        round: u64,
    },
    /// The leader to one: it follows now.
    Welcome {
        /// The attempt that this answers.
        round: u64,
        /// What was told last.
        said: Vec<Notice>,
        /// Whether the engine runs, so that the whole comes next.
        runs: bool,
    },
    /// The leader to one: all there is; what was told since the welcome comes after it.
    Snapshot {
        /// The attempt that this answers.
        round: u64,
        /// A [`Notice::Snapshot`].
        snapshot: Notice,
    },
    /// The leader to all that follow, or to one: what its engine tells.
    Told(Notice),
    /// A follower to its leader: what its page asks for.
    Ask {
        /// Counts up in each tab.
        number: u64,
        /// What.
        request: Request,
    },
    /// The leader to one: that request is done, and on disk.
    Done {
        /// Which.
        number: u64,
    },
    /// A follower to its leader: say that you are there.
    Knock,
    /// The leader to one: it is there.
    Here,
    /// The leader to one: it is not known as a follower, or the whole could not be collected. It is to join once more.
    JoinAgain,
}

/// What a state machine wants to have done.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Say this to one tab, or to all.
    Post(Option<TabId>, Message),
    /// Tell the page of this tab.
    Tell(Notice),
    /// Hand this to the engine, as soon as it runs.
    Order(Order),
    /// Hand this to whatever guards the profile.
    Lock(LockRequest),
    /// Find out when this tab has gone.
    Watch(TabId),
    /// Collect the whole for this follower's attempt, and say so with [`Leading::snapshot`].
    Collect(TabId, u64),
    /// Nothing of this tab need be remembered any more.
    Forget(TabId),
    /// The profile is put away: this tab has nothing more to do.
    Stop,
}

/// A command for the engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Order {
    /// Whose it is, where it might come twice.
    pub(super) asker: Option<RequestId>,
    pub(super) command: Command,
}

/// Names a request of a follower, or of a tab from the time when it followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RequestId {
    pub(super) tab: TabId,
    pub(super) number: u64,
}

/// What the names of those records begin with that say how far a leader has come with a tab's requests.
const RECORDS: &str = "page/asked/";

impl RequestId {
    /// The record that is written together with what the request has changed.
    pub(super) fn record(self) -> Write {
        let value = serde_json::to_vec(&self.number).ok();
        Write { key: format!("{RECORDS}{}", self.tab), value }
    }
}

impl TabId {
    /// What removes the record of this tab.
    pub(super) fn no_record(self) -> Write {
        Write { key: format!("{RECORDS}{self}"), value: None }
    }
}

/// Takes those records out of what the store holds: the tabs, and the last request of each that was done.
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

/// Whether the engine tells by this what became of an invite that was asked for.
fn ends_invite(notice: &Notice) -> bool {
    let ends = |event: &Event| match event {
        Event::Invite { .. } => true,
        Event::Error { about, .. } => about == "invite",
        _ => false,
    };
    matches!(notice, Notice::Events(events) if events.iter().any(ends))
}

/// Whoever was making the invite makes it no more.
pub(super) fn invite_lost() -> Notice {
    Notice::Events(vec![Event::Error { about: "invite".into(), message: strings::INVITE_LOST.into() }])
}

impl Request {
    /// Whether this asks for an invite.
    pub(super) const fn is_invite(&self) -> bool {
        matches!(self, Self::Command(Command::Invite { .. }))
    }

    /// Whether it must not get lost. What is asked again by itself, or means nothing a moment later, need not be kept.
    fn is_kept(&self) -> bool {
        let passing = matches!(self, Self::TakeOver | Self::Command(Command::Typing { .. } | Command::Network { .. }));
        !passing
    }
}
