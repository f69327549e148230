//! What the engine takes and gives: plain values, so that a page may keep it behind a worker's message port.

use serde::{Deserialize, Serialize};

pub use super::network_view::{AuthorityView, NetworkView, RelayView};
use crate::crypto::keys::UserKey;
pub use crate::messaging::message_id::MessageId;
use crate::netdir::ConsensusDigest;
use crate::services::UserId;
use crate::time::UnixTime;

/// Names a contact within one profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ContactId(pub u64);

/// Names an invite within one profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct InviteId(pub u64);

/// Names a link between the engine and its driver; chosen by the engine, never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

/// Names a batch of writes between the engine and its driver; counts up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BatchId(pub u64);

/// What reaches the engine.
#[derive(Debug)]
pub enum Input {
    /// A person (or a program in a person's place) wants something.
    Command(Command),
    /// The WebSocket that [`Output::OpenLink`] asked for is open.
    LinkOpened(LinkId),
    /// One binary WebSocket message.
    LinkMessage(LinkId, Vec<u8>),
    /// The WebSocket failed to open or has closed. Comes once, unless the engine asked with [`Output::CloseLink`].
    LinkClosed(LinkId),
    /// What [`Output::FetchConsensus`] asked for.
    Consensus {
        /// Which source it came from.
        source: usize,
        /// The document; `Err` says in one sentence why there is none.
        answer: Result<Vec<u8>, String>,
    },
    /// The batch is on disk and survives a crash. Batches are answered in the order in which they were given.
    Persisted(BatchId),
    /// The time that `poll_timeout` named has come.
    Timeout,
}

/// What the engine wants its driver to do.
#[derive(Debug)]
pub enum Output {
    /// Open a WebSocket to `url` and answer with [`Input::LinkOpened`] or [`Input::LinkClosed`].
    OpenLink {
        /// The link's name from now on.
        link: LinkId,
        /// A `ws://` or `wss://` address.
        url: String,
    },
    /// Send one binary WebSocket message.
    SendLink(LinkId, Vec<u8>),
    /// Close the WebSocket; nothing more is to be said about it.
    CloseLink(LinkId),
    /// Fetch the consensus by HTTP and answer with [`Input::Consensus`]: `GET` of [`CONSENSUS_PATH`], or, where one is held,
    /// of [`UPDATE_PATH`] and its digest in hexadecimal.
    FetchConsensus {
        /// Names the source in the answer.
        source: usize,
        /// The source's address, without a slash at the end; without one, the driver's own directory.
        url: Option<String>,
        /// The consensus that is held.
        held: Option<ConsensusDigest>,
    },
    /// Write these records as one atomic, durable batch and answer with [`Input::Persisted`].
    Persist(BatchId, Vec<Write>),
    /// Tell the person.
    Event(Event),
}

/// Where a directory serves the whole consensus.
pub const CONSENSUS_PATH: &str = "/directory/consensus";

/// Where a directory serves what brings the holder of one up to date
/// ([`ConsensusUpdate`](crate::netdir::ConsensusUpdate)): the digest of the one that is held comes behind it.
pub const UPDATE_PATH: &str = "/directory/update/";

/// One record to write, or to delete where the value is `None`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// A short path-like ASCII key such as `contact/7`.
    pub key: String,
    /// The record, or nothing to delete it.
    pub value: Option<Vec<u8>>,
}

/// What a person can ask for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum Command {
    /// Make an invite; answered by [`Event::Invite`] once relays take requests for it.
    Invite {
        /// Whether many may use it, or only one.
        reusable: bool,
        /// After how many seconds it ends, if it does; rounded up to minutes.
        expires_in: Option<u64>,
        /// What the person wants to remember about it; told to nobody.
        note: String,
    },
    /// Take an invite back: nobody can use its link any more.
    Withdraw {
        /// Which.
        id: InviteId,
    },
    /// List the open invites; answered by [`Event::Invites`].
    Invites,
    /// Add the person who made this invite as a contact.
    Add {
        /// The invite link, or only its fragment.
        link: String,
        /// What to call the contact here.
        name: String,
        /// The name that the inviter is shown; without one, a short made-up one.
        introduce_as: Option<String>,
        /// What the inviter is told with the request; at most [`MAX_NOTE_LEN`] bytes.
        note: String,
    },
    /// Take whoever has asked ([`Event::Request`]) as a contact.
    Accept {
        /// Whose request.
        id: ContactId,
    },
    /// Do not; they are told so.
    Decline {
        /// Whose request.
        id: ContactId,
    },
    /// Hear no more of a contact, or of whoever has asked to be one; they are told nothing, and cannot tell.
    Block {
        /// Whom.
        id: ContactId,
    },
    /// Hear of a contact again.
    Unblock {
        /// Whom.
        id: ContactId,
    },
    /// Show the safety number of a contact; answered by [`Event::Safety`].
    Safety {
        /// Whose.
        contact: ContactId,
    },
    /// The person has compared a contact's safety number and found it the same, or takes that back.
    Verify {
        /// Whose.
        contact: ContactId,
        /// Whether it is the same.
        verified: bool,
    },
    /// The person has read all that has come from a contact so far; the contact is told, unless receipts are off.
    Read {
        /// Whose messages.
        contact: ContactId,
    },
    /// The person has begun or stopped writing to a contact, who is told, unless that is off.
    Typing {
        /// To whom.
        contact: ContactId,
        /// Whether.
        typing: bool,
    },
    /// Whether contacts are told what has been read; they are at first. Answered by [`Event::Privacy`].
    Receipts {
        /// Whether.
        on: bool,
    },
    /// Whether contacts are told when the person is writing; they are at first. Answered by [`Event::Privacy`].
    TypingNotices {
        /// Whether.
        on: bool,
    },
    /// List whoever is blocked; answered by [`Event::Blocked`].
    Blocked,
    /// Send a message; answered by [`Event::Outgoing`] once it is on disk.
    Send {
        /// To whom.
        to: ContactId,
        /// The text, at most [`MAX_TEXT_LEN`] bytes.
        text: String,
    },
    /// List the complete circuits; answered by [`Event::Circuits`].
    Circuits,
    /// Publish this profile's key at relays, for those who are given its id; answered by [`Event::KeyPublished`].
    PublishKey,
    /// Look up somebody's key; answered by [`Event::KeyFound`].
    FindKey {
        /// Whose.
        id: UserId,
    },
    /// Show the list of relays that counts; answered by [`Event::Network`], now and whenever there is a new one.
    Network {
        /// Whether to; `false` for no more.
        watch: bool,
    },
    /// The message was shown to the person, and need not be reported again after a restart.
    Shown {
        /// The conversation.
        contact: ContactId,
        /// The message.
        id: MessageId,
    },
}

impl Command {
    /// An invite for one person, with nothing else to it.
    pub const fn invite() -> Self {
        Self::Invite { reusable: false, expires_in: None, note: String::new() }
    }

    /// Add the person who made an invite, and say nothing but a name.
    pub fn add(link: impl Into<String>, name: impl Into<String>, introduce_as: Option<&str>) -> Self {
        let introduce_as = introduce_as.map(str::to_owned);
        Self::Add { link: link.into(), name: name.into(), introduce_as, note: String::new() }
    }
}

/// The longest text of one message, in bytes.
pub const MAX_TEXT_LEN: usize = 16 * 1024;

pub use crate::messaging::frame::{MAX_NAME_LEN, MAX_NOTE_LEN};

/// What a person is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// How far the client has come; repeated on every change, also when it falls back.
    Progress {
        /// The step that is now under way.
        step: Progress,
    },
    /// An invite is ready to be handed over.
    Invite {
        /// Its name in this profile.
        id: InviteId,
        /// The fragment of the link (what follows `#`). The driver puts the page's address before it.
        fragment: String,
    },
    /// The open invites.
    Invites {
        /// One entry for each.
        list: Vec<InviteInfo>,
    },
    /// Somebody has come by an invite and asks for contact; repeated after a restart until [`Command::Accept`],
    /// [`Command::Decline`] or [`Command::Block`].
    Request {
        /// Who, from now on.
        id: ContactId,
        /// The name that they give.
        name: String,
        /// What they have to say.
        note: String,
        /// What the person noted about the invite.
        invite_note: String,
        /// When it was stored here.
        asked_at: UnixTime,
    },
    /// A request is decided, or its sender has gone: it is to be shown no more. A contact's event follows approval.
    RequestClosed {
        /// Whose.
        id: ContactId,
    },
    /// A contact has begun or stopped writing.
    Typing {
        /// Who.
        contact: ContactId,
        /// Whether.
        typing: bool,
    },
    /// What contacts are told of the person; at the start and on every change.
    Privacy {
        /// Whether they are told what has been read.
        receipts: bool,
        /// Whether they are told when the person is writing.
        typing: bool,
    },
    /// Whoever is blocked; told anew on every change.
    Blocked {
        /// One entry for each.
        list: Vec<BlockedInfo>,
    },
    /// A contact exists and is in this state; repeated on every change.
    Contact {
        /// The contact.
        id: ContactId,
        /// Its final name, unique within the profile.
        name: String,
        /// Whether it can be reached now.
        state: ContactState,
        /// Whether the person has verified it ([`Command::Verify`]).
        verified: bool,
    },
    /// The number by which the person and a contact can make sure that nobody stands between them.
    Safety {
        /// The contact.
        contact: ContactId,
        /// The number ([`SafetyNumber`](crate::contact::safety::SafetyNumber)); nothing until the contact has answered.
        number: Option<String>,
        /// Whether the person has found it the same.
        verified: bool,
    },
    /// A message came in and is stored. Repeated after a restart until [`Command::Shown`].
    Message {
        /// From whom.
        contact: ContactId,
        /// The message.
        id: MessageId,
        /// Its text, exactly as typed: not markup.
        text: String,
        /// When it was stored here.
        received_at: UnixTime,
    },
    /// One's own message changed its state.
    Outgoing {
        /// To whom.
        contact: ContactId,
        /// The message.
        id: MessageId,
        /// Its text.
        text: String,
        /// When it was queued.
        queued_at: UnixTime,
        /// How far it has come.
        state: DeliveryState,
    },
    /// The relays that now carry the conversation with a contact; repeated on every change.
    Path {
        /// The contact.
        contact: ContactId,
        /// Their nicknames, in order from the guard; empty while the two are not connected.
        relays: Vec<String>,
    },
    /// All complete circuits.
    Circuits {
        /// One entry for each.
        list: Vec<CircuitInfo>,
    },
    /// This profile's key can be found by its id for the next days.
    KeyPublished {
        /// The profile's id.
        id: UserId,
    },
    /// Somebody's key was found.
    KeyFound {
        /// Whose it is.
        id: UserId,
        /// The key. It belongs to the id for sure: the id is a hash of it.
        key: UserKey,
    },
    /// The list of relays that counts; its relays follow.
    Network {
        /// All but the relays.
        network: Box<NetworkView>,
    },
    /// The next relays of the list that was told last, by ascending identity.
    Relays {
        /// Some of them; those before and after come in events of their own.
        list: Vec<RelayView>,
    },
    /// This computer's clock is wrong.
    Clock {
        /// How many seconds it is behind the time that relays tell; negative where it is ahead.
        skew_secs: i64,
        /// The same as a sentence for a person, with what to do about it.
        message: String,
    },
    /// Something could not be done.
    Error {
        /// What it is about, in one word: `invite`, `add`, `request`, `block`, `verify`, `send`,
        /// `key`, `directory`, `network`, `storage`.
        about: String,
        /// One sentence for a person, with what to do about it.
        message: String,
    },
}

/// Steps on the way to being ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Progress {
    /// Fetching the list of relays and checking its signatures.
    FetchingDirectory,
    /// Opening an encrypted link to a guard.
    ConnectingGuard,
    /// Building the first circuit of three hops.
    BuildingCircuit,
    /// Circuits stand; everything works.
    Ready,
}

/// Whether a contact can be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ContactState {
    /// Looking for the contact.
    Connecting,
    /// Joined: what is sent now arrives now.
    Connected,
    /// Does not answer; still trying now and then.
    Offline,
    /// Has our request, and has not decided yet.
    Requested,
    /// Does not want us as a contact.
    Declined,
    /// The person wants to hear no more of them.
    Blocked,
}

/// How far an outgoing message has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeliveryState {
    /// On this device's disk.
    Queued,
    /// Handed to a circuit that reaches the contact.
    Sent,
    /// Stored by the recipient, who said so.
    Delivered,
    /// Read by the recipient, who said so.
    Read,
}

/// An open invite.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InviteInfo {
    /// Its name in this profile.
    pub id: InviteId,
    /// The fragment of its link.
    pub fragment: String,
    /// Whether many may use it.
    pub reusable: bool,
    /// When it ends, if it does.
    pub expires_at: Option<UnixTime>,
    /// What the person noted about it.
    pub note: String,
    /// When it was made.
    pub made_at: UnixTime,
}

/// Somebody who is blocked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockedInfo {
    /// Who.
    pub id: ContactId,
    /// The name that they have here.
    pub name: String,
    /// Whether they have only asked for contact: once they are unblocked, their request is there again.
    pub is_request: bool,
}

/// One complete circuit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CircuitInfo {
    /// What it is for.
    pub purpose: Purpose,
    /// The contact that it carries, for conversations.
    pub contact: Option<ContactId>,
    /// Nicknames of the client's own hops, from the guard on.
    pub path: Vec<String>,
}

/// What a circuit is for; circuits of different purposes are never shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    /// Built in advance, given to whoever needs one next.
    Spare,
    /// Takes introductions by contacts, and by holders of invites.
    Introduction,
    /// Leads to somebody who holds an invite.
    Invite,
    /// Brings an introduction to a contact, waits for them, or goes where theirs says.
    Meeting,
    /// Carries a contact's messages.
    Conversation,
    /// Fetches the list of relays.
    Directory,
    /// Asks a relay for the time.
    Clock,
    /// Publishes a key, or looks one up.
    Keys,
}

/// One message as a conversation's history keeps it, decoded from a record of the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryEntry {
    /// With whom.
    pub contact: ContactId,
    /// The message.
    pub id: MessageId,
    /// Its text.
    pub text: String,
    /// When it was queued or stored on this device.
    pub at: UnixTime,
    /// For one's own, how far it has come; `None` for the contact's.
    pub outgoing: Option<DeliveryState>,
}
