//! The lines that `allium chat` reads and writes: one JSON object each.

use allium_shared::client::api::{CircuitInfo, ContactState, DeliveryState, MessageId, Purpose};
use allium_shared::crypto::keys::UserKey;
use allium_shared::services::UserId;
use serde::{Deserialize, Serialize};

/// What a line of input asks for.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Order {
    /// Make an invite.
    Invite,
    /// Add whoever made an invite.
    Add {
        /// The invite's link.
        link: String,
        /// What to call the contact here.
        name: String,
        /// The name that the inviter sees.
        #[serde(rename = "as")]
        introduce_as: Option<String>,
    },
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
        /// Its link.
        link: String,
    },
    /// A contact exists, and is in this state.
    Contact {
        /// Its name.
        name: String,
        /// Its state.
        state: ContactState,
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
        }
    }

    /// The complete circuits.
    pub fn circuits(list: &[CircuitInfo]) -> Self {
        let line = |circuit: &CircuitInfo| CircuitLine { purpose: circuit.purpose, path: circuit.path.clone() };
        Self::Circuits { list: list.iter().map(line).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_read_as_they_are_documented() {
        assert_eq!(parse(b"{\"do\":\"invite\"}\n"), Ok(Some(Order::Invite)));
        assert_eq!(parse(b" \r\n"), Ok(None));
        let add = |introduce_as: Option<&str>| Order::Add {
            link: "L".to_owned(),
            name: "N".to_owned(),
            introduce_as: introduce_as.map(str::to_owned),
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
