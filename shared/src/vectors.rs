//! The messages of the protocol, byte by byte: the format of `tests/vectors/messages.json`, and the check of this
//! implementation against it.
//!
//! A file is a JSON object with the member `"scheme": "allium-messages-1"` and the list `vectors`. Each entry has a `name`,
//! the `section` of `docs/protocol.md` that it belongs to, a `kind`, the message's `fields`, and its bytes as `hex`. Byte
//! strings are in hexadecimal, or a list of parts that follow each other, each of which is hexadecimal or
//! `{"repeat": HEX, "times": NUMBER}`.
//!
//! Every entry is built from its fields by the code that builds the message in use, and compared with the bytes; then the
//! bytes are read by the code that reads them in use, and compared with the message. A file that leaves out a message, a
//! command or a reason that exists fails.

use core::convert::Infallible;
use std::collections::{BTreeMap, BTreeSet};

use data_encoding::{BASE64URL_NOPAD, HEXLOWER_PERMISSIVE};
use rand_core::{TryCryptoRng, TryRng};
use serde::Deserialize;
use thiserror::Error;

use crate::cell::fragment::{Assembler, FRAGMENTS, Fragment, split};
use crate::cell::message::{Cookie, EndReason, PAYLOAD_LEN, RelayCommand, RelayMessage, Service, StreamId};
use crate::cell::{CELL_LEN, Cell, CircId, Command, DestroyReason};
use crate::client::api::MessageId;
use crate::contact::invite::Invite;
use crate::crypto::cgo::vectors::{Failure, Report};
use crate::crypto::derive::derive;
use crate::crypto::keys::{IdentityKeypair, LinkSecret, RelayIdentity};
use crate::link::handshake::{Kind, prologue};
use crate::link::record::Cipher;
use crate::link::{Initiator, LinkStep, Peer, RelayAddressee, Responder};
use crate::messaging::content::{ContentKind, content_of, text_of};
use crate::messaging::envelope::Chain;
use crate::messaging::frame::{Frame, FrameReader, FrameType};
use crate::netdir::{
    Authorities, Authority, AuthorityKeypair, Consensus, ConsensusDraft, NetworkId, RelayDescriptor, RelayEntry, Role,
    Roles, Validity,
};
use crate::rendezvous::MeetingSecret;
use crate::time::UnixTime;
use crate::wire::{Reader, Writer};

/// The only scheme that files may name.
pub const SCHEME: &str = "allium-messages-1";

/// A file that is not one of message vectors.
#[derive(Debug, Error)]
pub enum FormatError {
    /// The file is not JSON of the expected form.
    #[error("the file is not one of message vectors: {0}")]
    Json(#[from] serde_json::Error),
    /// The scheme is another one.
    #[error("the file's scheme is not {SCHEME}")]
    Scheme,
}

#[derive(Deserialize)]
struct File {
    scheme: String,
    vectors: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    name: String,
    section: String,
    hex: Bytes,
    #[serde(flatten)]
    message: Message,
}

/// Bytes as the file writes them.
#[derive(Clone, Default, Deserialize)]
#[serde(untagged)]
enum Bytes {
    #[default]
    Missing,
    Hex(String),
    Repeat {
        repeat: String,
        times: usize,
    },
    Parts(Vec<Self>),
}

impl Bytes {
    fn get(&self) -> Result<Vec<u8>, String> {
        let hex = |text: &str| HEXLOWER_PERMISSIVE.decode(text.as_bytes()).map_err(|error| format!("{text}: {error}"));
        match self {
            Self::Missing => Err("a byte string is missing".to_owned()),
            Self::Hex(text) => hex(text),
            Self::Repeat { repeat, times } => Ok(hex(repeat)?.repeat(*times)),
            Self::Parts(parts) => Ok(parts.iter().map(Self::get).collect::<Result<Vec<_>, _>>()?.concat()),
        }
    }

    fn array<const N: usize>(&self) -> Result<[u8; N], String> {
        let bytes = self.get()?;
        let len = bytes.len();
        bytes.try_into().map_err(|_| format!("{len} bytes where {N} belong"))
    }
}

#[derive(Deserialize)]
#[serde(tag = "kind", content = "fields", rename_all = "snake_case", deny_unknown_fields)]
enum Message {
    /// A cell with any body.
    Cell {
        circ: Bytes,
        command: String,
        body: Bytes,
    },
    Destroy {
        circ: Bytes,
        reason: String,
    },
    /// A handshake message in three `Create` or `Created` cells.
    Handshake {
        circ: Bytes,
        command: String,
        message: Bytes,
    },
    /// The payload of a relay cell.
    Relay(RelayFields),
    LinkPrologue {
        initiator: String,
        network: Bytes,
        identity: Bytes,
    },
    LinkHandshake {
        message: usize,
        #[serde(flatten)]
        fields: LinkFields,
    },
    Record {
        cipher: String,
        key: Bytes,
        number: usize,
        cells: Bytes,
    },
    Frame(FrameFields),
    Envelope {
        chain_key: Bytes,
        sequence: u64,
        id: Bytes,
        content: Bytes,
    },
    Content {
        content: String,
        text: String,
    },
    Invite {
        network: Bytes,
        key: Bytes,
        secret: Bytes,
        places: Vec<Place>,
        fragment: String,
    },
    Signature {
        seed: Bytes,
        domain: String,
        message: Bytes,
    },
    RelayEntry(EntryFields),
    Descriptor {
        network: Bytes,
        seed: Bytes,
        published: u64,
        relay: EntryFields,
    },
    Consensus {
        authority_seeds: Vec<Bytes>,
        signers: Vec<usize>,
        valid_after: u64,
        fresh_until: u64,
        valid_until: u64,
        parameters: BTreeMap<String, i64>,
        relays: Vec<EntryFields>,
    },
    Authorities {
        network: Bytes,
        authorities: Vec<AuthorityFields>,
    },
    Derived {
        label: String,
        parts: Vec<Bytes>,
    },
    /// A meeting's cookie and verification string.
    Meeting {
        secret: Bytes,
        generation: u64,
        relay: Bytes,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RelayFields {
    command: String,
    #[serde(default)]
    stream: u16,
    #[serde(default)]
    service: String,
    #[serde(default)]
    argument: Bytes,
    #[serde(default)]
    data: Bytes,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    tag: Bytes,
    #[serde(default)]
    index: u8,
    relay: Option<Bytes>,
    cookie: Option<Bytes>,
    #[serde(default)]
    chunk: Bytes,
}

#[derive(Deserialize)]
struct LinkFields {
    initiator: String,
    network: Bytes,
    identity: Bytes,
    link_secret: Bytes,
    initiator_link_secret: Option<Bytes>,
    initiator_random: Bytes,
    responder_random: Bytes,
    binding: Bytes,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FrameFields {
    frame: String,
    #[serde(default)]
    identity: Bytes,
    #[serde(default)]
    one_time_key: Bytes,
    #[serde(default)]
    name: String,
    #[serde(default)]
    meeting_key: Bytes,
    #[serde(default)]
    pre_key: Bytes,
    #[serde(default)]
    generation: u64,
    #[serde(default)]
    received: u64,
    #[serde(default)]
    sequence: u64,
    #[serde(default)]
    id: Bytes,
    #[serde(default)]
    sealed: Bytes,
    #[serde(default)]
    number: u32,
}

#[derive(Deserialize)]
struct Place {
    relay: Bytes,
    cookie: Bytes,
    verification: Bytes,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EntryFields {
    identity: Bytes,
    link_key: Bytes,
    onion_key: Bytes,
    roles: Vec<String>,
    /// Bits of roles that have no name.
    #[serde(default)]
    unknown_roles: u16,
    nickname: String,
    address: String,
}

#[derive(Deserialize)]
struct AuthorityFields {
    nickname: String,
    key: Bytes,
    url: String,
}

/// Runs every vector of a file through the code that messages go through.
///
/// # Errors
///
/// If the file is not one of message vectors.
pub fn check(json: &str) -> Result<Report, FormatError> {
    let file: File = serde_json::from_str(json)?;
    if file.scheme != SCHEME {
        return Err(FormatError::Scheme);
    }
    let mut report = Report::default();
    let mut seen = BTreeSet::new();
    for (index, entry) in file.vectors.iter().enumerate() {
        report.vectors += 1;
        match entry.hex.get().and_then(|bytes| entry.message.check(&bytes)) {
            Ok(covered) => seen.extend(covered),
            Err(reason) => report.failures.push(Failure { list: entry.name.clone(), index, reason }),
        }
    }
    for missing in everything().difference(&seen) {
        let reason = "the file has no vector for it".to_owned();
        report.failures.push(Failure { list: missing.clone(), index: report.vectors, reason });
    }
    Ok(report)
}

/// The sections that a file names, to be looked up in the specification.
///
/// # Errors
///
/// If the file is not one of message vectors.
pub fn sections(json: &str) -> Result<BTreeSet<String>, FormatError> {
    let file: File = serde_json::from_str(json)?;
    Ok(file.vectors.into_iter().map(|entry| entry.section).collect())
}

/// Every message, command and reason that there is: each has to have a vector.
fn everything() -> BTreeSet<String> {
    fn all<T: core::fmt::Debug>(what: &str, list: &[T]) -> Vec<String> {
        list.iter().map(|item| format!("{what} {item:?}")).collect()
    }
    let mut names = [
        all("cell", Command::ALL),
        all("destroy", DestroyReason::ALL),
        all("relay message", RelayCommand::ALL),
        all("service", Service::ALL),
        all("end", EndReason::ALL),
        all("link", Kind::ALL),
        all("frame", FrameType::ALL),
        all("content", ContentKind::ALL),
        all("role", &Role::ALL),
    ]
    .concat();
    for command in [RelayCommand::Extend, RelayCommand::Rendezvous1] {
        names.extend((0..FRAGMENTS).map(|index| format!("relay message {command:?} {index}")));
    }
    for kind in Kind::ALL {
        let messages = if *kind == Kind::Relay { 3 } else { 2 };
        names.extend((1..=messages).map(|message| format!("link {kind:?} {message}")));
    }
    let others = [
        "record ChaChaPoly",
        "record AESGCM",
        "envelope",
        "invite",
        "signature",
        "relay entry",
        "descriptor",
        "consensus",
        "authorities",
        "derived value",
        "meeting",
    ];
    names.extend(others.map(str::to_owned));
    names.into_iter().collect()
}

/// What an entry is a vector for, or why it fails.
type Outcome = Result<Vec<String>, String>;

fn same<T: PartialEq>(what: &str, got: T, expected: T) -> Result<(), String> {
    if got == expected { Ok(()) } else { Err(format!("{what} differs")) }
}

fn same_bytes(got: &[u8], expected: &[u8]) -> Result<(), String> {
    match got.iter().zip(expected).position(|(got, expected)| got != expected) {
        Some(at) => Err(format!("byte {at} is {:02x}, not {:02x}", got[at], expected[at])),
        None if got.len() != expected.len() => Err(format!("{} bytes, not {}", got.len(), expected.len())),
        None => Ok(()),
    }
}

fn text(error: impl core::fmt::Display) -> String {
    error.to_string()
}

fn named<T: Copy + core::fmt::Debug>(all: &[T], name: &str) -> Result<T, String> {
    let found = all.iter().find(|item| format!("{item:?}") == name);
    found.copied().ok_or_else(|| format!("{name:?} does not exist"))
}

impl Message {
    fn check(&self, bytes: &[u8]) -> Outcome {
        match self {
            Self::Cell { circ, command, body } => {
                let command = named(Command::ALL, command)?;
                let circ = CircId(u32::from_be_bytes(circ.array()?));
                same_cells(&[Cell { circ, command, body: body.array()? }], bytes)?;
                Ok(vec![format!("cell {command:?}")])
            }
            Self::Destroy { circ, reason } => {
                let reason = named(DestroyReason::ALL, reason)?;
                let cell = Cell::destroy(CircId(u32::from_be_bytes(circ.array()?)), reason);
                same_cells(core::slice::from_ref(&cell), bytes)?;
                same("the reason", cell.destroy_reason(), reason)?;
                Ok(vec!["cell Destroy".to_owned(), format!("destroy {reason:?}")])
            }
            Self::Handshake { circ, command, message } => {
                let (command, message) = (named(Command::ALL, command)?, message.get()?);
                let circ = CircId(u32::from_be_bytes(circ.array()?));
                let cells = split(&message).map(|fragment| fragment.to_cell(circ, command));
                same_cells(&cells, bytes)?;
                let mut assembler = Assembler::default();
                let mut whole = None;
                for cell in &cells {
                    whole = assembler.push(&Fragment::in_cell(cell)).map_err(text)?;
                }
                let whole = whole.ok_or("three fragments are not the message")?;
                same_bytes(whole.get(..message.len()).unwrap_or_default(), &message)?;
                Ok(vec![format!("cell {command:?}")])
            }
            Self::Relay(fields) => fields.check(bytes),
            Self::LinkPrologue { initiator, network, identity } => {
                let kind = named(Kind::ALL, initiator)?;
                same_bytes(&prologue(kind, &network.array()?, &RelayIdentity(identity.array()?)), bytes)?;
                Ok(vec![format!("link {kind:?}")])
            }
            Self::LinkHandshake { message, fields } => fields.check(*message, bytes),
            Self::Record { cipher, key, number, cells } => {
                let make: fn(&[u8; 32]) -> Cipher = match cipher.as_str() {
                    "ChaChaPoly" => Cipher::cha_cha_poly,
                    "AESGCM" => Cipher::aes_gcm,
                    _ => return Err(format!("{cipher:?} is no cipher of links")),
                };
                let (key, cells) = (key.array()?, cells.get()?);
                let (mut sealer, mut opener) = (make(&key).into_sealer(), make(&key).into_opener());
                let mut record = Vec::new();
                for _ in 0..*number {
                    record = vec![0; CELL_LEN];
                    sealer.seal(&mut record).map_err(text)?;
                    opener.open(&mut record).map_err(text)?;
                }
                record.clone_from(&cells);
                sealer.seal(&mut record).map_err(text)?;
                same_bytes(&record, bytes)?;
                same_bytes(opener.open(&mut record).map_err(text)?.as_flattened(), &cells)?;
                Ok(vec![format!("record {cipher}")])
            }
            Self::Frame(fields) => fields.check(bytes),
            Self::Envelope { chain_key, sequence, id, content } => {
                let (mut send, mut receive) = (Chain::new(chain_key.array()?), Chain::new(chain_key.array()?));
                let (id, content) = (MessageId(id.array()?), content.get()?);
                for _ in 0..*sequence {
                    let (_, sealed) = send.seal(id, b"").map_err(text)?;
                    receive.open(id, &sealed).map_err(text)?;
                }
                let (number, sealed) = send.seal(id, &content).map_err(text)?;
                same("the sequence number", number, *sequence)?;
                same_bytes(&sealed, bytes)?;
                same_bytes(&receive.open(id, bytes).map_err(text)?, &content)?;
                Ok(vec!["envelope".to_owned()])
            }
            Self::Content { content, text } => {
                let kind = named(ContentKind::ALL, content)?;
                match kind {
                    ContentKind::Text => {
                        same_bytes(&content_of(text), bytes)?;
                        same("the text", text_of(bytes).as_ref(), Some(text))?;
                    }
                }
                Ok(vec![format!("content {kind:?}")])
            }
            Self::Invite { network, key, secret, places, fragment } => {
                let (network, key, secret) = (network.array()?, key.array()?, secret.array()?);
                let place = |place: &Place| {
                    Ok::<_, String>((RelayIdentity(place.relay.array()?), Cookie(place.cookie.array()?)))
                };
                let invite =
                    Invite { network, key, secret, places: places.iter().map(place).collect::<Result<_, _>>()? };
                same("the fragment", &invite.to_fragment(), fragment)?;
                same_bytes(&BASE64URL_NOPAD.decode(fragment.as_bytes()).map_err(text)?, bytes)?;
                same("the invite", Invite::parse(fragment).map_err(text)?, invite.clone())?;
                for (meeting, place) in invite.meetings().zip(places) {
                    same_bytes(&meeting.verification, &place.verification.get()?)?;
                }
                Ok(vec!["invite".to_owned()])
            }
            Self::Signature { seed, domain, message } => {
                let (keypair, message) = (IdentityKeypair::from_seed(&seed.array()?), message.get()?);
                same_bytes(&keypair.sign(domain, &message), bytes)?;
                let signature = bytes.try_into().map_err(|_| "a signature has 64 bytes")?;
                keypair.identity().verify(domain, &message, signature).map_err(text)?;
                Ok(vec!["signature".to_owned()])
            }
            Self::RelayEntry(fields) => {
                let entry = fields.entry()?;
                let mut writer = Writer::new();
                entry.encode(&mut writer);
                same_bytes(writer.as_slice(), bytes)?;
                let mut reader = Reader::new(bytes);
                same("the entry", &RelayEntry::decode(&mut reader).map_err(text)?, &entry)?;
                reader.finish().map_err(text)?;
                let roles = entry.roles.iter().map(|role| format!("role {role:?}"));
                Ok(roles.chain(["relay entry".to_owned()]).collect())
            }
            Self::Descriptor { network, seed, published, relay } => {
                let network = NetworkId::from_bytes(network.array()?);
                let descriptor = RelayDescriptor { published: *published, entry: relay.entry()? };
                same_bytes(&descriptor.sign(&IdentityKeypair::from_seed(&seed.array()?), &network), bytes)?;
                same("the descriptor", RelayDescriptor::verify(bytes, &network).map_err(text)?, descriptor)?;
                Ok(vec!["descriptor".to_owned()])
            }
            Self::Consensus { authority_seeds, signers, valid_after, fresh_until, valid_until, parameters, relays } => {
                let keypairs: Vec<_> = authority_seeds
                    .iter()
                    .map(|seed| Ok(AuthorityKeypair::new(IdentityKeypair::from_seed(&seed.array()?))))
                    .collect::<Result<_, String>>()?;
                let list = keypairs.iter().enumerate().map(|(index, keypair)| {
                    let nickname = format!("authority{index}").parse().map_err(text)?;
                    Ok(Authority { nickname, key: keypair.identity(), url: "http://192.0.2.1".to_owned() })
                });
                let authorities = Authorities::new(list.collect::<Result<_, String>>()?).map_err(text)?;
                let validity =
                    Validity { valid_after: *valid_after, fresh_until: *fresh_until, valid_until: *valid_until };
                let relays: Vec<_> = relays.iter().map(EntryFields::entry).collect::<Result<_, _>>()?;
                let draft = ConsensusDraft {
                    network: *authorities.network(),
                    validity,
                    parameters: parameters.clone(),
                    relays: relays.clone(),
                };
                let signers: Vec<_> = signers.iter().filter_map(|index| keypairs.get(*index)).collect();
                same_bytes(&draft.sign(&signers).map_err(text)?, bytes)?;
                let now = UnixTime::from_millis(valid_after * 1000);
                let consensus = Consensus::verify(bytes, &authorities, now).map_err(text)?;
                same("the validity", consensus.validity(), validity)?;
                same("the parameters", consensus.parameters(), parameters)?;
                same("the list of relays", consensus.relays(), &relays)?;
                Ok(vec!["consensus".to_owned()])
            }
            Self::Authorities { network, authorities } => {
                let list = authorities.iter().map(|authority| {
                    let nickname = authority.nickname.parse().map_err(text)?;
                    Ok(Authority { nickname, key: authority.key.array::<32>()?.into(), url: authority.url.clone() })
                });
                let authorities = Authorities::new(list.collect::<Result<_, String>>()?).map_err(text)?;
                same_bytes(authorities.to_json().as_bytes(), bytes)?;
                same("the list", Authorities::from_json(bytes).map_err(text)?, authorities.clone())?;
                same_bytes(authorities.network().as_bytes(), &network.get()?)?;
                Ok(vec!["authorities".to_owned()])
            }
            Self::Derived { label, parts } => {
                let parts = parts.iter().map(Bytes::get).collect::<Result<Vec<_>, _>>()?;
                let parts: Vec<_> = parts.iter().map(Vec::as_slice).collect();
                same_bytes(&derive(label, &parts), bytes)?;
                Ok(vec!["derived value".to_owned()])
            }
            Self::Meeting { secret, generation, relay } => {
                let relay = RelayIdentity(relay.array()?);
                let meeting = MeetingSecret::new(secret.array()?).meeting(*generation, relay);
                same_bytes(&[&meeting.cookie.0[..], &meeting.verification].concat(), bytes)?;
                Ok(vec!["meeting".to_owned()])
            }
        }
    }
}

fn same_cells(cells: &[Cell], bytes: &[u8]) -> Result<(), String> {
    let mut encoded = Vec::new();
    cells.iter().for_each(|cell| cell.encode(&mut encoded));
    same_bytes(&encoded, bytes)?;
    for (cell, bytes) in cells.iter().zip(bytes.as_chunks::<CELL_LEN>().0) {
        same("the cell", &Cell::decode(bytes).map_err(text)?, cell)?;
    }
    Ok(())
}

impl RelayFields {
    fn check(&self, bytes: &[u8]) -> Outcome {
        let command = named(RelayCommand::ALL, &self.command)?;
        let stream = StreamId(self.stream);
        let mut covered = vec![format!("relay message {command:?}")];
        let fragment = || Ok::<_, String>(Fragment { index: self.index, chunk: self.chunk.array()? });
        let message = match command {
            RelayCommand::Begin => {
                let service = named(Service::ALL, &self.service)?;
                covered.push(format!("service {service:?}"));
                RelayMessage::Begin { stream, service: service as u8, argument: self.argument.get()? }
            }
            RelayCommand::Data => RelayMessage::Data { stream, data: self.data.get()? },
            RelayCommand::End => {
                let reason = named(EndReason::ALL, &self.reason)?;
                covered.push(format!("end {reason:?}"));
                RelayMessage::End { stream, reason: reason as u8 }
            }
            RelayCommand::Connected => RelayMessage::Connected(stream),
            RelayCommand::Sendme => RelayMessage::Sendme { stream, tag: self.tag.array()? },
            RelayCommand::Drop => RelayMessage::Drop,
            RelayCommand::Extend => {
                let relay = self.relay.as_ref().map(Bytes::array).transpose()?;
                covered.push(format!("relay message {command:?} {}", self.index));
                RelayMessage::Extend { relay, fragment: fragment()? }
            }
            RelayCommand::Extended => RelayMessage::Extended(fragment()?),
            RelayCommand::EstablishRendezvous => {
                let cookie = self.cookie.as_ref().ok_or("the cookie is missing")?;
                RelayMessage::EstablishRendezvous(Cookie(cookie.array()?))
            }
            RelayCommand::Rendezvous1 => {
                let cookie = self.cookie.as_ref().map(Bytes::array).transpose()?.map(Cookie);
                covered.push(format!("relay message {command:?} {}", self.index));
                RelayMessage::Rendezvous1 { cookie, fragment: fragment()? }
            }
            RelayCommand::Rendezvous2 => RelayMessage::Rendezvous2(fragment()?),
            RelayCommand::RendezvousEstablished => RelayMessage::RendezvousEstablished,
            RelayCommand::RendezvousAccept => RelayMessage::RendezvousAccept(fragment()?),
            RelayCommand::RendezvousAccepted => RelayMessage::RendezvousAccepted(fragment()?),
            RelayCommand::RendezvousUnknown => RelayMessage::RendezvousUnknown,
        };
        let mut payload = [0xee; PAYLOAD_LEN];
        message.encode(&mut payload);
        same_bytes(&payload, bytes)?;
        same("the message", RelayMessage::decode(&payload).map_err(text)?, message)?;
        Ok(covered)
    }
}

impl LinkFields {
    /// Runs the whole handshake, and compares one of its messages.
    fn check(&self, number: usize, bytes: &[u8]) -> Outcome {
        let kind = named(Kind::ALL, &self.initiator)?;
        let (network, identity) = (self.network.array()?, RelayIdentity(self.identity.array()?));
        let secret = LinkSecret::from_bytes(&self.link_secret.array()?);
        let addressee = RelayAddressee { identity, link_key: secret.public() };
        let mut rng = Replay(self.initiator_random.array()?);
        let (mut initiator, first) = match (kind, &self.initiator_link_secret) {
            (Kind::Relay, Some(own)) => {
                Initiator::new_relay(&mut rng, &network, &addressee, &LinkSecret::from_bytes(&own.array()?))
            }
            (Kind::Anonymous, None) => Initiator::new_anonymous(&mut rng, &network, &addressee),
            _ => return Err("relays have a link secret, and only they".to_owned()),
        }
        .map_err(text)?;
        let mut responder = Responder::new(&mut Replay(self.responder_random.array()?), &network, &identity, &secret);
        let mut messages = vec![first];
        let theirs = match responder.receive(&messages[0]).map_err(text)? {
            LinkStep::Send(answer) => {
                messages.push(answer);
                None
            }
            LinkStep::Established { send, link } => {
                messages.extend(send);
                Some(link)
            }
        };
        let LinkStep::Established { send, link: ours } =
            initiator.receive(messages.get(1).map(Vec::as_slice).unwrap_or_default()).map_err(text)?
        else {
            return Err("the initiator has not ended".to_owned());
        };
        let theirs = match (theirs, send) {
            (Some(link), None) => link,
            (None, Some(proof)) => match responder.receive(&proof).map_err(text)? {
                LinkStep::Established { send: None, link } => {
                    messages.push(proof);
                    link
                }
                _ => return Err("the responder has not ended".to_owned()),
            },
            _ => return Err("the two sides do not end together".to_owned()),
        };
        same("what the responder knows of the peer", theirs.peer != Peer::Anonymous, kind == Kind::Relay)?;
        same("the binding", ours.binding, theirs.binding)?;
        same_bytes(&ours.binding, &self.binding.get()?)?;
        same_bytes(number.checked_sub(1).and_then(|at| messages.get(at)).ok_or("there is no such message")?, bytes)?;
        Ok(vec![format!("link {kind:?} {number}")])
    }
}

impl FrameFields {
    fn check(&self, bytes: &[u8]) -> Outcome {
        let frame_type = named(FrameType::ALL, &self.frame)?;
        let received = self.received;
        let frame = match frame_type {
            FrameType::Introduce => Frame::Introduce {
                identity: self.identity.array()?,
                one_time_key: self.one_time_key.array()?,
                name: self.name.clone(),
            },
            FrameType::Welcome => Frame::Welcome {
                identity: self.identity.array()?,
                meeting_key: self.meeting_key.array()?,
                pre_key: self.pre_key.get()?,
            },
            FrameType::Resume => Frame::Resume { generation: self.generation, received },
            FrameType::Resumed => Frame::Resumed { received },
            FrameType::Envelope => {
                let (id, sealed) = (MessageId(self.id.array()?), self.sealed.get()?);
                Frame::Envelope { sequence: self.sequence, id, sealed }
            }
            FrameType::Ack => Frame::Ack { received },
            FrameType::Ping => Frame::Ping(self.number),
            FrameType::Pong => Frame::Pong(self.number),
        };
        let mut encoded = Vec::new();
        frame.encode(&mut encoded);
        same_bytes(&encoded, bytes)?;
        let mut reader = FrameReader::default();
        reader.push(bytes);
        same("the frame", reader.next().map_err(text)?, Some(frame))?;
        Ok(vec![format!("frame {frame_type:?}")])
    }
}

impl EntryFields {
    fn entry(&self) -> Result<RelayEntry, String> {
        let roles = self.roles.iter().map(|role| role.parse::<Role>().map_err(text));
        let roles = roles.collect::<Result<Roles, String>>()?;
        Ok(RelayEntry {
            identity: RelayIdentity(self.identity.array()?),
            link_key: self.link_key.array::<32>()?.into(),
            onion_key: self.onion_key.array::<32>()?.into(),
            roles: Roles::from_bits(roles.bits() | self.unknown_roles),
            nickname: self.nickname.parse().map_err(text)?,
            url: self.address.parse().map_err(text)?,
        })
    }
}

/// Gives out the 32 bytes that one side of a link's handshake draws.
struct Replay([u8; 32]);

impl TryRng for Replay {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(0)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(0)
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        for (to, from) in out.iter_mut().zip(self.0) {
            *to = from;
        }
        Ok(())
    }
}

impl TryCryptoRng for Replay {}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = include_str!("../../tests/vectors/messages.json");

    #[test]
    fn every_message_is_its_vector() {
        let report = check(FILE).unwrap();
        let failures: Vec<_> = report.failures.iter().map(ToString::to_string).collect();
        assert!(failures.is_empty(), "{failures:#?}");
    }

    #[test]
    fn every_vector_belongs_to_a_section_of_the_specification() {
        let specification = include_str!("../../docs/protocol.md");
        for section in sections(FILE).unwrap() {
            let heading = |line: &str| line.trim_start_matches('#').trim_start().starts_with(&format!("{section} "));
            assert!(specification.lines().any(|line| line.starts_with('#') && heading(line)), "section {section}");
        }
    }

    #[test]
    fn a_file_without_a_message_fails() {
        let mut file: serde_json::Value = serde_json::from_str(FILE).unwrap();
        let vectors = file["vectors"].as_array_mut().unwrap();
        vectors.retain(|vector| vector["fields"]["command"] != "Sendme");
        let report = check(&file.to_string()).unwrap();
        assert_eq!(report.failures.len(), 1);
        assert_eq!(report.failures[0].list, "relay message Sendme");
    }

    #[test]
    fn a_changed_byte_fails() {
        let file: serde_json::Value = serde_json::from_str(FILE).unwrap();
        for at in 0..file["vectors"].as_array().unwrap().len() {
            let mut changed = file.clone();
            let hex = changed["vectors"][at]["hex"].take();
            changed["vectors"][at]["hex"] = serde_json::json!([hex, "00"]);
            assert!(!check(&changed.to_string()).unwrap().failures.is_empty(), "vector {at}");
        }
    }
}
