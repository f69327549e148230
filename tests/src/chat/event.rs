//! What `allium chat` says: one JSON object a line, each of them one of these.

use serde::Deserialize;

/// One line of output. A line that is none of these, or has other fields, is an error of the client.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Event {
    /// Everything works.
    Ready,
    /// An invite can be handed over.
    Invite {
        /// Its number.
        invite: u64,
        /// The link.
        link: String,
    },
    /// The open invites.
    Invites {
        /// One entry for each.
        list: Vec<Invite>,
    },
    /// Somebody asks for contact.
    Request {
        /// Their name.
        name: String,
        /// What they have to say.
        note: String,
        /// What was noted about the invite.
        invite_note: String,
    },
    /// A request is decided.
    RequestClosed {
        /// Whose it was.
        name: String,
    },
    /// A contact writes, or does not any more.
    Typing {
        /// The contact.
        name: String,
        /// Whether.
        typing: bool,
    },
    /// What contacts are told.
    Privacy {
        /// Whether they are told what was read.
        receipts: bool,
        /// Whether they are told when the person writes.
        typing: bool,
    },
    /// Whoever is blocked.
    Blocked {
        /// Their names.
        list: Vec<String>,
    },
    /// A message of one's own was read.
    Read {
        /// The contact.
        to: String,
        /// The message.
        id: String,
    },
    /// A contact exists and is in this state.
    Contact {
        /// Its final name.
        name: String,
        /// Whether it can be reached.
        state: ContactState,
    },
    /// A contact's safety number.
    Safety {
        /// The contact.
        name: String,
        /// The number; nothing until the contact has answered.
        number: Option<String>,
        /// Whether it was found the same.
        verified: bool,
    },
    /// A message came in and is stored.
    Message {
        /// The contact.
        from: String,
        /// The message.
        id: String,
        /// What it says.
        text: String,
    },
    /// A message of one's own is on disk.
    Queued {
        /// The contact.
        to: String,
        /// The message.
        id: String,
    },
    /// A message of one's own is on the contact's disk.
    Delivered {
        /// The contact.
        to: String,
        /// The message.
        id: String,
    },
    /// All complete circuits.
    Circuits {
        /// One entry for each.
        list: Vec<Circuit>,
    },
    /// One's own key can be found.
    KeyPublished {
        /// By whom this is given.
        id: String,
    },
    /// Somebody's key.
    Key {
        /// Under which it was published.
        id: String,
        /// The key, in hexadecimal.
        key: String,
    },
    /// The clock of this machine is wrong.
    Clock {
        /// By so many seconds.
        skew_secs: i64,
        /// One sentence for a person.
        message: String,
    },
    /// Something could not be done.
    Error {
        /// What it is about.
        about: String,
        /// One sentence for a person.
        message: String,
    },
}

/// Whether a contact can be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ContactState {
    /// Looking for the contact.
    Connecting,
    /// What is sent now arrives now.
    Connected,
    /// Not found; still trying.
    Offline,
    /// Has the request, and has not decided.
    Requested,
    /// Has decided against it.
    Declined,
    /// Nothing more is heard of them.
    Blocked,
}

/// One open invite.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Invite {
    /// Its number.
    pub invite: u64,
    /// Its link.
    pub link: String,
    /// Whether many may use it.
    pub reusable: bool,
    /// When it ends.
    pub expires_at: Option<u64>,
    /// What was noted about it.
    pub note: String,
}

/// One complete circuit.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Circuit {
    /// What it is for; `conversation` for those that carry a contact.
    pub purpose: String,
    /// Nicknames of one's own hops, from the guard on.
    pub path: Vec<String>,
}

/// A received message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// From whom.
    pub from: String,
    /// The message.
    pub id: String,
    /// What it says.
    pub text: String,
}

impl Event {
    /// The event as a person reads it in a failed test's output: long texts are cut.
    pub fn brief(&self) -> String {
        const LONGEST: usize = 300;
        let whole = format!("{self:?}");
        match whole.char_indices().nth(LONGEST) {
            Some((at, _)) => format!("{}… ({} bytes)", &whole[..at], whole.len()),
            None => whole,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_as_promised_and_no_other_way() {
        let read = |line: &str| serde_json::from_str::<Event>(line);
        assert_eq!(read(r#"{"event":"ready"}"#).unwrap(), Event::Ready);
        assert_eq!(
            read(r#"{"event":"contact","name":"Bo","state":"connected"}"#).unwrap(),
            Event::Contact { name: "Bo".into(), state: ContactState::Connected }
        );
        assert_eq!(
            read(r#"{"event":"circuits","list":[{"purpose":"conversation","path":["a","b","c"]}]}"#).unwrap(),
            Event::Circuits {
                list: vec![Circuit { purpose: "conversation".into(), path: vec!["a".into(), "b".into(), "c".into()] }]
            }
        );
        assert!(read(r#"{"event":"contact","name":"Bo"}"#).is_err());
        assert!(read(r#"{"event":"contact","name":"Bo","state":"asleep"}"#).is_err());
        assert!(read(r#"{"event":"queued","to":"Bo","id":"1","text":"no"}"#).is_err());
        assert!(read(r#"{"event":"progress"}"#).is_err());
        assert!(read("ready").is_err());
    }
}
