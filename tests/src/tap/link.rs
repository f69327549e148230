//! From WebSocket messages to a link: its handshake, then its records.

use std::fmt;

use allium_shared::link::handshake::{self, Kind as LinkKind};
use allium_shared::link::record::RECORD_OVERHEAD;
pub use allium_shared::link::{CELL_LEN, MAX_CELLS};

use super::proxy::Recording;
use super::websocket::{self, Kind, Message, NoWebSocket, Side};

/// Length of a record beyond its cells, in bytes.
pub const TAG_LEN: usize = RECORD_OVERHEAD;

/// The version of the link protocol.
const VERSION: [u8; 2] = handshake::VERSION.to_be_bytes();

/// Lengths of the first message with its three open bytes, of the answer, and of a relay's proof.
const HANDSHAKE_LENS: (usize, usize, usize) = (3 + 48, 48, 64);

/// A link, as far as a tap can tell.
#[derive(Clone, Debug)]
pub struct Link {
    /// What the initiator says that it is.
    pub initiator: Initiator,
    /// The records to the relay.
    pub to_relay: Vec<Vec<u8>>,
    /// The records from the relay.
    pub from_relay: Vec<Vec<u8>>,
}

/// What the initiator of a link says that it is: the one thing that the handshake says in the open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Initiator {
    /// A page or another client.
    Anonymous,
    /// A relay.
    Relay,
}

/// What is wrong with a recording as a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoLink {
    /// One direction is no WebSocket.
    WebSocket(Side, NoWebSocket),
    /// A text message.
    Text(Side),
    /// A ping or pong that says something.
    TalkingPing(Side, usize),
    /// A message of the handshake has a wrong length.
    HandshakeLength(Side, usize),
    /// The first bytes say no version and kind that there is.
    FirstBytes(Vec<u8>),
    /// A message after the handshake is not whole cells and a tag.
    RecordLength(Side, usize),
    /// A record to a page has a number of cells that is not filled up.
    Unfilled(usize),
}

impl fmt::Display for NoLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WebSocket(side, error) => write!(f, "the {side:?} speaks no WebSocket: {error}"),
            Self::Text(side) => write!(f, "a text message of the {side:?}"),
            Self::TalkingPing(side, length) => write!(f, "a ping or pong of the {side:?} with {length} bytes in it"),
            Self::HandshakeLength(side, length) => write!(f, "a handshake message of the {side:?} of {length} bytes"),
            Self::FirstBytes(bytes) => write!(f, "the first message begins with {bytes:02x?}"),
            Self::RecordLength(side, length) => write!(f, "a record of the {side:?} of {length} bytes"),
            Self::Unfilled(cells) => write!(f, "a record of {cells} cells to a page"),
        }
    }
}

/// What a connection was.
#[derive(Clone, Debug)]
pub enum Connection {
    /// Plain HTTP: a document of the directory, for one.
    Http,
    /// Nobody came to speak.
    Silent,
    /// A link.
    Link(Link),
}

/// Reads a recording.
pub fn read(recording: &Recording) -> Result<Connection, NoLink> {
    let (request, answer) = (&recording.to_relay, &recording.from_relay);
    let from_client = match websocket::read(Side::Client, request) {
        Ok(messages) => messages.messages,
        Err(NoWebSocket::NoHead) if request.is_empty() => return Ok(Connection::Silent),
        Err(NoWebSocket::NoUpgrade(line)) if line.starts_with("GET ") => return Ok(Connection::Http),
        Err(error) => return Err(NoLink::WebSocket(Side::Client, error)),
    };
    let from_server = match websocket::read(Side::Server, answer) {
        Ok(messages) => messages.messages,
        // The relay died before it could answer.
        Err(NoWebSocket::NoHead) if from_client.is_empty() => return Ok(Connection::Silent),
        Err(error) => return Err(NoLink::WebSocket(Side::Server, error)),
    };
    let mut to_relay = binary(Side::Client, from_client)?.into_iter();
    let mut from_relay = binary(Side::Server, from_server)?.into_iter();
    let Some(first) = to_relay.next() else { return Ok(Connection::Silent) };
    let initiator = initiator(&first)?;
    let proof = if initiator == Initiator::Relay { to_relay.next() } else { None };
    let (_, answer_len, proof_len) = HANDSHAKE_LENS;
    for (side, message, expected) in [(Side::Server, from_relay.next(), answer_len), (Side::Client, proof, proof_len)] {
        if let Some(message) = message.filter(|message| message.len() != expected) {
            return Err(NoLink::HandshakeLength(side, message.len()));
        }
    }
    let link = Link { initiator, to_relay: to_relay.collect(), from_relay: from_relay.collect() };
    check_lengths(&link)?;
    Ok(Connection::Link(link))
}

/// The binary messages; everything else must say nothing.
fn binary(side: Side, messages: Vec<Message>) -> Result<Vec<Vec<u8>>, NoLink> {
    let mut payloads = Vec::new();
    for Message { kind, payload } in messages {
        match kind {
            Kind::Binary => payloads.push(payload),
            Kind::Text => return Err(NoLink::Text(side)),
            Kind::Ping | Kind::Pong if !payload.is_empty() => return Err(NoLink::TalkingPing(side, payload.len())),
            // What a close frame says is looked at with all other bytes.
            Kind::Ping | Kind::Pong | Kind::Close => {}
        }
    }
    Ok(payloads)
}

fn initiator(first: &[u8]) -> Result<Initiator, NoLink> {
    if first.len() != HANDSHAKE_LENS.0 {
        return Err(NoLink::HandshakeLength(Side::Client, first.len()));
    }
    let (open, _) = first.split_at(3);
    match (open.starts_with(&VERSION), LinkKind::from_u8(open[2])) {
        (true, Some(LinkKind::Anonymous)) => Ok(Initiator::Anonymous),
        (true, Some(LinkKind::Relay)) => Ok(Initiator::Relay),
        _ => Err(NoLink::FirstBytes(open.to_vec())),
    }
}

fn check_lengths(link: &Link) -> Result<(), NoLink> {
    for (side, records) in [(Side::Client, &link.to_relay), (Side::Server, &link.from_relay)] {
        for record in records {
            let cells = record.len().saturating_sub(TAG_LEN) / CELL_LEN;
            if record.len() != CELL_LEN * cells + TAG_LEN || !(1..=MAX_CELLS).contains(&cells) {
                return Err(NoLink::RecordLength(side, record.len()));
            }
            if side == Side::Server && link.initiator == Initiator::Anonymous && ![1, 2, 4, 8, 16, 31].contains(&cells)
            {
                return Err(NoLink::Unfilled(cells));
            }
        }
    }
    Ok(())
}
