//! Contacts and invites on disk. The names of fields and variants there are older than those here.

use serde::{Deserialize, Serialize};

use crate::cell::introduction::IntroductionId;
use crate::client::api::MessageId;
use crate::client::store::KeyBytes;
use crate::contact::safety::SafetyNumber;
use crate::crypto::keys::RelayIdentity;
use crate::messaging::envelope::Chain;
use crate::messaging::session::{OlmAccount, OlmSession};
use crate::rendezvous::{IntroPoint, RelationshipRole, SharedSecret};
use crate::time::UnixTime;

/// A contact on disk.
#[derive(Debug, Serialize, Deserialize)]
pub(in super::super) struct ContactRecord {
    pub(in super::super) name: String,
    /// The number of the next message record, in either direction.
    pub(in super::super) next_message: u64,
    /// Whether the person wants to hear no more of them.
    #[serde(default)]
    pub(in super::super) blocked: bool,
    /// Whether the person has compared the safety number of the relationship, and found it the same.
    #[serde(default)]
    pub(in super::super) verified: bool,
    /// The last of the contact's messages that the person has read.
    #[serde(default)]
    pub(in super::super) read: Option<MessageId>,
    /// The key of the invite that brought us to them.
    #[serde(default)]
    pub(in super::super) invite: Option<[u8; 32]>,
    /// The invite that brought them to us, until they have confirmed that they stored what they need.
    #[serde(default)]
    pub(in super::super) came_by: Option<CameBy>,
    /// What both share since their first handshake.
    #[serde(default)]
    pub(in super::super) relationship: Option<Relationship>,
    pub(in super::super) stage: Stage,
}

/// Who came by which invite: so they are known again when they lost the answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in super::super) struct CameBy {
    pub(in super::super) invite: u64,
    /// Their Olm identity.
    pub(in super::super) identity: [u8; 32],
}

/// How two people reach each other.
#[derive(Debug, Serialize, Deserialize)]
pub(in super::super) struct Relationship {
    pub(in super::super) secret: SharedSecret,
    /// Our part in it.
    pub(in super::super) role: RelationshipRole,
    /// Our key for introductions.
    pub(in super::super) key: KeyBytes,
    /// Theirs.
    pub(in super::super) their_key: [u8; 32],
    /// Where they take introductions.
    pub(in super::super) their_points: Vec<IntroPoint>,
    /// Where they know that we do.
    #[serde(rename = "told")]
    pub(in super::super) acknowledged: Vec<IntroPoint>,
    /// How many circuits the two have had.
    pub(in super::super) generation: u64,
}

/// How far two people have come with each other.
#[derive(Debug, Serialize, Deserialize)]
pub(in super::super) enum Stage {
    /// We hold their invite.
    #[serde(rename = "invited")]
    InviteHeld(Box<InviteHeld>),
    /// They have our request, and have not decided yet.
    #[serde(rename = "requested")]
    RequestSent(Box<RequestSent>),
    /// We have their request, and have not decided yet, or against it.
    #[serde(rename = "asked")]
    RequestReceived(Box<RequestReceived>),
    /// We share an Olm session.
    #[serde(rename = "met")]
    Established(Box<Established>),
}

/// The holder of an invite.
#[derive(Serialize, Deserialize)]
pub(in super::super) struct InviteHeld {
    /// The invite's fragment.
    pub(in super::super) invite: String,
    /// What the inviter is to call us.
    pub(in super::super) introduce_as: String,
    /// What else we have to say.
    pub(in super::super) note: String,
    pub(in super::super) account: OlmAccount,
    pub(in super::super) key: KeyBytes,
}

/// Whoever waits for a decision.
#[derive(Serialize, Deserialize)]
pub(in super::super) struct RequestSent {
    pub(in super::super) account: OlmAccount,
    pub(in super::super) send: Chain,
    pub(in super::super) receive: Chain,
    /// Whether they have declined.
    #[serde(default)]
    pub(in super::super) declined: bool,
}

/// Whoever has to decide.
#[derive(Debug, Serialize, Deserialize)]
pub(in super::super) struct RequestReceived {
    /// Their Olm identity key.
    pub(in super::super) identity: [u8; 32],
    pub(in super::super) one_time_key: [u8; 32],
    /// What they have to say.
    pub(in super::super) note: String,
    /// What the person noted about the invite that they came by.
    pub(in super::super) invite_note: String,
    pub(in super::super) at: UnixTime,
    /// Whether the person does not want them as a contact, which they are to be told.
    pub(in super::super) declined: bool,
    pub(in super::super) send: Chain,
    pub(in super::super) receive: Chain,
}

/// A session that two contacts share.
#[derive(Debug, Serialize, Deserialize)]
pub(in super::super) struct Established {
    pub(in super::super) session: OlmSession,
    pub(in super::super) send: Chain,
    pub(in super::super) receive: Chain,
    /// The last message that has come in this session.
    #[serde(default)]
    pub(in super::super) last: Option<MessageId>,
    /// What begins the session at the other side, until it has confirmed that it has it.
    #[serde(default)]
    pub(in super::super) welcome: Option<PreKeyMessage>,
}

impl Established {
    /// A session in which nothing has been said yet.
    pub(in super::super) const fn new(
        session: OlmSession,
        send: Chain,
        receive: Chain,
        welcome: Option<PreKeyMessage>,
    ) -> Self {
        Self { session, send, receive, last: None, welcome }
    }
}

/// What begins a session at the other side.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in super::super) struct PreKeyMessage {
    pub(in super::super) identity: [u8; 32],
    pub(in super::super) pre_key: Vec<u8>,
}

impl core::fmt::Debug for InviteHeld {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("InviteHeld(..)")
    }
}

impl core::fmt::Debug for RequestSent {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("RequestSent(..)")
    }
}

impl Relationship {
    /// What two people share from their first handshake on, seen by one of them.
    pub(in super::super) fn new(
        secret: SharedSecret,
        role: RelationshipRole,
        key: KeyBytes,
        their_key: [u8; 32],
        their_points: Vec<IntroPoint>,
        acknowledged: Vec<IntroPoint>,
    ) -> Self {
        Self { secret, role, key, their_key, their_points, acknowledged, generation: 1 }
    }

    /// What both can compare.
    pub(in super::super) fn safety_number(&self) -> SafetyNumber {
        let own = *self.key.secret().public().as_bytes();
        let (inviter, guest) = match self.role {
            RelationshipRole::Inviter => (own, self.their_key),
            RelationshipRole::Guest => (self.their_key, own),
        };
        SafetyNumber::new(&self.secret, &inviter, &guest)
    }

    /// Where to bring introductions for the contact.
    pub(in super::super) fn places(&self) -> Vec<(RelayIdentity, IntroductionId)> {
        let host = self.role.other();
        self.their_points.iter().map(|point| (point.relay, self.secret.auth_key(host, point).id())).collect()
    }
}

/// An invite on disk.
#[derive(Serialize, Deserialize)]
pub(in super::super) struct InviteRecord {
    pub(in super::super) key: KeyBytes,
    pub(in super::super) secret: [u8; 16],
    pub(in super::super) reusable: bool,
    /// When it ends, in minutes since 1970; never, if that is zero.
    pub(in super::super) expires: u32,
    /// What the person wants to remember about it.
    pub(in super::super) note: String,
    pub(in super::super) made_at: UnixTime,
    pub(in super::super) places: Vec<(RelayIdentity, [u8; 16])>,
}
