//! The lines that `allium chat` reads and writes: one JSON object each.

use allium_shared::client::api::{CircuitInfo, ContactState, DeliveryState, InviteId, InviteInfo, MessageId, Purpose};
use allium_shared::crypto::keys::UserKey;
use allium_shared::services::UserId;
use serde::{Deserialize, Serialize};

/// What a line of input asks for.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Order {
    /// Make an invite.
    Invite {
        /// Whether many may use it.
        #[serde(default)]
        reusable: bool,
        /// After how many seconds it ends, if it does.
        #[serde(default)]
        expires_secs: Option<u64>,
        /// What to remember about it.
        #[serde(default)]
        note: String,
    },
    /// List the open invites.
    Invites,
    /// Take an invite back.
    Withdraw {
        /// Its number.
        invite: InviteId,
    },
    /// Add whoever made an invite.
    Add {
        /// The invite's link.
        link: String,
        /// What to call the contact here.
        name: String,
        /// The name that the inviter sees.
        #[serde(rename = "as")]
        introduce_as: Option<String>,
        /// What the inviter is told.
        #[serde(default)]
        note: String,
    },
    /// Take whoever has asked as a contact.
    #[serde(alias = "approve")]
    Accept {
        /// Their name.
        name: String,
    },
    /// Do not.
    #[serde(alias = "reject")]
    Decline {
        /// Their name.
        name: String,
    },
    /// Hear no more of somebody.
    Block {
        /// Their name.
        name: String,
    },
    /// Hear of them again.
    Unblock {
        /// Their name.
        name: String,
    },
    /// Show a contact's safety number.
    Safety {
        /// The contact's name.
        name: String,
    },
    /// The contact's safety number is the same there.
    Verify {
        /// The contact's name.
        name: String,
        /// Whether it is; `false` takes that back.
        #[serde(default = "yes")]
        verified: bool,
    },
    /// All that has come from a contact is read.
    Read {
        /// The contact's name.
        name: String,
    },
    /// The person has begun to write to a contact, or stopped.
    Typing {
        /// The contact's name.
        name: String,
        /// Whether they write.
        #[serde(default = "yes")]
        typing: bool,
    },
    /// Whether contacts are told what has been read.
    Receipts {
        /// Whether.
        on: bool,
    },
    /// Whether contacts are told when the person is writing.
    TypingNotices {
        /// Whether.
        on: bool,
    },
    /// List whoever is blocked.
    Blocked,
    /// Send a message.
    Send {
        /// The contact's name.
        to: String,
        /// The text.
        text: String,
    },
    /// List the circuits.
    Circuits,
    /// Publish this profile's key.
    PublishKey,
    /// Look up somebody's key.
    FindKey {
        /// The id that they have given.
        id: UserId,
    },
    /// End.
    Quit,
}

const fn yes() -> bool {
    true
}

/// Reads a line of input; an empty one asks for nothing.
///
/// # Errors
///
/// What is wrong with the line.
pub fn parse(line: &[u8]) -> Result<Option<Order>, String> {
    let line = line.trim_ascii();
    if line.is_empty() {
        return Ok(None);
    }
    serde_json::from_slice(line).map(Some).map_err(|error| error.to_string())
}

/// What a line of output says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Report {
    /// Circuits stand.
    Ready,
    /// An invite was made.
    Invite {
        /// Its number.
        invite: InviteId,
        /// Its link.
        link: String,
    },
    /// The open invites.
    Invites {
        /// One entry for each.
        list: Vec<InviteLine>,
    },
    /// Somebody has come by an invite and asks for contact.
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
        /// The contact's name.
        name: String,
        /// Whether.
        typing: bool,
    },
    /// What contacts are told.
    Privacy {
        /// Whether they are told what has been read.
        receipts: bool,
        /// Whether they are told when the person is writing.
        typing: bool,
    },
    /// Whoever is blocked.
    Blocked {
        /// Their names.
        list: Vec<String>,
    },
    /// A contact exists, and is in this state.
    Contact {
        /// Its name.
        name: String,
        /// Its state.
        state: ContactState,
    },
    /// A contact's safety number.
    Safety {
        /// The contact's name.
        name: String,
        /// Sixty digits in groups of five; nothing until the contact has answered.
        number: Option<String>,
        /// Whether it was compared and is the same.
        verified: bool,
    },
    /// A message came in and is stored.
    Message {
        /// The contact's name.
        from: String,
        /// The message's id.
        id: MessageId,
        /// Its text.
        text: String,
    },
    /// A message of one's own is on disk.
    Queued {
        /// The contact's name.
        to: String,
        /// The message's id.
        id: MessageId,
    },
    /// The contact has read it.
    Read {
        /// The contact's name.
        to: String,
        /// The message's id.
        id: MessageId,
    },
    /// The contact has stored it.
    Delivered {
        /// The contact's name.
        to: String,
        /// The message's id.
        id: MessageId,
    },
    /// The complete circuits.
    Circuits {
        /// One entry for each.
        list: Vec<CircuitLine>,
    },
    /// This profile's key is published.
    KeyPublished {
        /// The id under which others find it.
        id: UserId,
    },
    /// Somebody's key was found.
    Key {
        /// The id under which it was published.
        id: UserId,
        /// The Ed25519 key.
        key: UserKey,
    },
    /// This computer's clock is wrong.
    Clock {
        /// How many seconds it is behind; negative where it is ahead.
        skew_secs: i64,
        /// One sentence.
        message: String,
    },
    /// Something could not be done.
    Error {
        /// What it is about, in one word.
        about: String,
        /// One sentence.
        message: String,
    },
}

/// One invite.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct InviteLine {
    /// Its number.
    pub invite: InviteId,
    /// Its link.
    pub link: String,
    /// Whether many may use it.
    pub reusable: bool,
    /// When it ends, in seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<u64>,
    /// What was noted about it.
    pub note: String,
}

/// One circuit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CircuitLine {
    /// What it is for.
    pub purpose: Purpose,
    /// Nicknames of one's own hops, from the guard on.
    pub path: Vec<String>,
}

impl Report {
    /// An error.
    pub fn error(about: &str, message: String) -> Self {
        Self::Error { about: about.to_owned(), message }
    }

    /// How far a message has come; nothing for steps that are no line.
    pub fn delivery(state: DeliveryState, to: String, id: MessageId) -> Option<Self> {
        match state {
            DeliveryState::Queued => Some(Self::Queued { to, id }),
            DeliveryState::Sent => None,
            DeliveryState::Delivered => Some(Self::Delivered { to, id }),
            DeliveryState::Read => Some(Self::Read { to, id }),
        }
    }

    /// The open invites of a client that belongs to this directory.
    pub fn invites(list: Vec<InviteInfo>, directory: &str) -> Self {
        let line = |invite: InviteInfo| InviteLine {
            invite: invite.id,
            link: invite_link(directory, &invite.fragment),
            reusable: invite.reusable,
            expires_at: invite.expires_at.map(|at| at.as_secs()),
            note: invite.note,
        };
        Self::Invites { list: list.into_iter().map(line).collect() }
    }

    /// The complete circuits.
    pub fn circuits(list: &[CircuitInfo]) -> Self {
        let line = |circuit: &CircuitInfo| CircuitLine { purpose: circuit.purpose, path: circuit.path.clone() };
        Self::Circuits { list: list.iter().map(line).collect() }
    }
}

/// An invite's link: a page of this directory opens it.
pub fn invite_link(directory: &str, fragment: &str) -> String {
    format!("{directory}/#{fragment}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_read_as_they_are_documented() {
        let invite =
            |reusable, expires_secs, note: &str| Order::Invite { reusable, expires_secs, note: note.to_owned() };
        assert_eq!(parse(b"{\"do\":\"invite\"}\n"), Ok(Some(invite(false, None, ""))));
        assert_eq!(
            parse(br#"{"do":"invite","reusable":true,"expires_secs":60,"note":"N"}"#),
            Ok(Some(invite(true, Some(60), "N")))
        );
        let name = "N".to_owned();
        for (line, order) in [
            (r#"{"do":"approve","name":"N"}"#, Order::Accept { name: name.clone() }),
            (r#"{"do":"reject","name":"N"}"#, Order::Decline { name: name.clone() }),
            (r#"{"do":"block","name":"N"}"#, Order::Block { name: name.clone() }),
            (r#"{"do":"unblock","name":"N"}"#, Order::Unblock { name: name.clone() }),
            (r#"{"do":"safety","name":"N"}"#, Order::Safety { name: name.clone() }),
            (r#"{"do":"verify","name":"N"}"#, Order::Verify { name: name.clone(), verified: true }),
            (r#"{"do":"verify","name":"N","verified":false}"#, Order::Verify { name: name.clone(), verified: false }),
            (r#"{"do":"read","name":"N"}"#, Order::Read { name: name.clone() }),
            (r#"{"do":"typing","name":"N"}"#, Order::Typing { name: name.clone(), typing: true }),
            (r#"{"do":"typing","name":"N","typing":false}"#, Order::Typing { name, typing: false }),
            (r#"{"do":"receipts","on":false}"#, Order::Receipts { on: false }),
            (r#"{"do":"typing-notices","on":true}"#, Order::TypingNotices { on: true }),
            (r#"{"do":"blocked"}"#, Order::Blocked),
            (r#"{"do":"invites"}"#, Order::Invites),
            (r#"{"do":"withdraw","invite":3}"#, Order::Withdraw { invite: InviteId(3) }),
        ] {
            assert_eq!(parse(line.as_bytes()), Ok(Some(order)), "{line}");
        }
        assert_eq!(parse(b" \r\n"), Ok(None));
        let add = |introduce_as: Option<&str>| Order::Add {
            link: "L".to_owned(),
            name: "N".to_owned(),
            introduce_as: introduce_as.map(str::to_owned),
            note: String::new(),
        };
        assert_eq!(parse(br#"{"do":"add","link":"L","name":"N"}"#), Ok(Some(add(None))));
        assert_eq!(parse(br#"{"do":"add","link":"L","name":"N","as":"O"}"#), Ok(Some(add(Some("O")))));
        assert_eq!(
            parse(br#"{"do":"send","to":"N","text":"T"}"#),
            Ok(Some(Order::Send { to: "N".to_owned(), text: "T".to_owned() }))
        );
        assert_eq!(parse(br#"{"do":"publish-key"}"#), Ok(Some(Order::PublishKey)));
        let find = format!(r#"{{"do":"find-key","id":"{}"}}"#, "07".repeat(32));
        assert_eq!(parse(find.as_bytes()), Ok(Some(Order::FindKey { id: UserId([7; 32]) })));
        assert!(parse(br#"{"do":"find-key","id":"07"}"#).is_err());
        for bad in [&b"{}"[..], b"[]", b"x", br#"{"do":"dance"}"#, br#"{"do":"send","to":"N"}"#, b"\xff"] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn reports_are_written_as_they_are_documented() {
        let id = MessageId([0xab; 16]);
        let json = |report: &Report| serde_json::to_string(report).unwrap();
        assert_eq!(json(&Report::Ready), r#"{"event":"ready"}"#);
        assert_eq!(
            json(&Report::Contact { name: "N".to_owned(), state: ContactState::Offline }),
            r#"{"event":"contact","name":"N","state":"offline"}"#
        );
        assert_eq!(
            json(&Report::Queued { to: "N".to_owned(), id }),
            r#"{"event":"queued","to":"N","id":"abababababababababababababababab"}"#
        );
        let (id, key) = (UserId([7; 32]), UserKey([8; 32]));
        let (id_hex, key_hex) = ("07".repeat(32), "08".repeat(32));
        assert_eq!(json(&Report::KeyPublished { id }), format!(r#"{{"event":"key-published","id":"{id_hex}"}}"#));
        assert_eq!(json(&Report::Key { id, key }), format!(r#"{{"event":"key","id":"{id_hex}","key":"{key_hex}"}}"#));
        assert_eq!(
            json(&Report::Clock { skew_secs: -700, message: "M".to_owned() }),
            r#"{"event":"clock","skew_secs":-700,"message":"M"}"#
        );
        let list = [CircuitInfo { purpose: Purpose::Conversation, contact: None, path: vec!["a".to_owned()] }];
        assert_eq!(
            json(&Report::circuits(&list)),
            r#"{"event":"circuits","list":[{"purpose":"conversation","path":["a"]}]}"#
        );
    }
}
