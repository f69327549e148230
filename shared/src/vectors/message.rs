//! The kinds of entries in a file of message vectors, and the check of each.

use data_encoding::BASE64URL_NOPAD;
use serde::Deserialize;

use super::documents::{
    ConsensusFields, DescriptorFields, EchoesFields, ProofsFields, SignaturesFields, TallyFields, UpdateFields,
    VoteFields,
};
use super::fields::{AuthorityFields, Bytes, EntryFields, FrameFields, LinkFields, Place, PointFields, RelayFields};
use super::profile::{HeaderFields, RecordFields};
use super::{Outcome, named, same, same_bytes, text};
use crate::cell::fragment::{Assembler, Fragment, split};
use crate::cell::introduction::{IntroAuthKey, Introduction, IntroductionId};
use crate::cell::message::Cookie;
use crate::cell::{CELL_LEN, Cell, CircId, Command, DestroyReason};
use crate::client::api::MessageId;
use crate::contact::invite::Invite;
use crate::contact::safety::SafetyNumber;
use crate::contact::user_record::UserRecord;
use crate::crypto::derive::derive;
use crate::crypto::keys::{IdentityKeypair, RelayIdentity};
use crate::link::handshake::{Kind, prologue};
use crate::link::record::Cipher;
use crate::messaging::content::{ContentKind, content_of, text_of};
use crate::messaging::envelope::Chain;
use crate::netdir::{Authorities, Authority, NetworkId, RelayDescriptor, RelayEntry};
use crate::rendezvous::{self, Invitation, SharedSecret};
use crate::services::{Publication, PublishAnswer, UserId, key_answer, read_key_answer, read_time, time_answer};
use crate::time::UnixTime;
use crate::wire::{Reader, Writer};

#[derive(Deserialize)]
#[serde(tag = "kind", content = "fields", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Message {
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
    /// What a service answers or is asked.
    TimeAnswer {
        milliseconds: u64,
    },
    UserKeyAnswer {
        user: Bytes,
        record: Option<Bytes>,
    },
    UserKeyPublished {
        answer: String,
    },
    UserKeyPublication {
        nonce: u64,
        day: u32,
        record: Bytes,
    },
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
        reusable: bool,
        expires: u32,
        key: Bytes,
        secret: Bytes,
        places: Vec<Place>,
        fragment: String,
        verification: Bytes,
    },
    Signature {
        seed: Bytes,
        domain: String,
        message: Bytes,
    },
    RelayEntry(EntryFields),
    Descriptor {
        network: Bytes,
        #[serde(flatten)]
        fields: DescriptorFields,
    },
    Consensus(ConsensusFields),
    Vote(VoteFields),
    Echoes(EchoesFields),
    Signatures(SignaturesFields),
    Proofs(ProofsFields),
    /// Votes, and the consensus that they give, without signatures.
    Tally(TallyFields),
    ConsensusUpdate(UpdateFields),
    UserRecord {
        key: Bytes,
        id: Bytes,
    },
    Authorities {
        network: Bytes,
        quorum: usize,
        authorities: Vec<AuthorityFields>,
    },
    Derived {
        label: String,
        parts: Vec<Bytes>,
    },
    /// What a contact takes introductions with at a point: lock, id, and the handshake's verification string.
    Service {
        secret: Bytes,
        inviter: bool,
        point: PointFields,
    },
    /// What two contacts compare; its digits and spaces are the bytes.
    SafetyNumber {
        secret: Bytes,
        inviter: Bytes,
        guest: Bytes,
    },
    /// What an introduction carries.
    Invitation {
        relay: Bytes,
        cookie: Bytes,
        generation: u64,
    },
    /// An introduction as its relay gets it, in three fragments; and what its nonce is worth there with this seed.
    Introduction {
        id: Bytes,
        nonce: u64,
        handshake: Bytes,
        relay: Bytes,
        seed: Bytes,
        zeros: u32,
    },
    ProfileHeader(HeaderFields),
    /// The name of a stored record, and what is stored under it.
    ProfileRecord(RecordFields),
}

impl Message {
    pub(super) fn check(&self, bytes: &[u8]) -> Outcome {
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
            Self::TimeAnswer { milliseconds } => {
                let time = UnixTime::from_millis(*milliseconds);
                same_bytes(&time_answer(time), bytes)?;
                same("the time", read_time(bytes).map_err(text)?, time)?;
                Ok(vec!["time answer".to_owned()])
            }
            Self::UserKeyAnswer { user, record } => {
                let record = record.as_ref().map(Bytes::get).transpose()?;
                same_bytes(&key_answer(record.as_deref()), bytes)?;
                let read = read_key_answer(&UserId(user.array()?), bytes).map_err(text)?;
                same("the record", read, record.as_deref())?;
                Ok(vec![format!("user key answer, {}", if record.is_some() { "found" } else { "none" })])
            }
            Self::UserKeyPublication { nonce, day, record } => {
                let record = record.get()?;
                let publication = Publication { nonce: *nonce, day: *day, record: &record };
                same_bytes(&publication.encode(), bytes)?;
                same("the publication", &Publication::decode(bytes).map_err(text)?, &publication)?;
                same("that the work is done", publication.is_worked(), true)?;
                Ok(vec!["user key publication".to_owned()])
            }
            Self::UserKeyPublished { answer } => {
                let answer = named(PublishAnswer::ALL, answer)?;
                same_bytes(&[answer as u8], bytes)?;
                same("the answer", PublishAnswer::decode(bytes).map_err(text)?, answer)?;
                Ok(vec![format!("publish answer {answer:?}")])
            }
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
            Self::Invite { network, reusable, expires, key, secret, places, fragment, verification } => {
                let place = |place: &Place| {
                    Ok::<_, String>((RelayIdentity(place.relay.array()?), IntroAuthKey(place.auth_key.array()?).id()))
                };
                let invite = Invite {
                    network: network.array()?,
                    reusable: *reusable,
                    expires: *expires,
                    key: key.array()?,
                    secret: secret.array()?,
                    places: places.iter().map(place).collect::<Result<_, _>>()?,
                };
                same("the fragment", &invite.to_fragment(), fragment)?;
                same_bytes(&BASE64URL_NOPAD.decode(fragment.as_bytes()).map_err(text)?, bytes)?;
                same("the invite", Invite::parse(fragment).map_err(text)?, invite.clone())?;
                same_bytes(&invite.verification(), &verification.get()?)?;
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
            Self::Descriptor { network, fields } => {
                let network = NetworkId::from_bytes(network.array()?);
                let (descriptor, signed) = fields.sign(&network)?;
                same_bytes(&signed, bytes)?;
                same("the descriptor", RelayDescriptor::verify(bytes, &network).map_err(text)?, descriptor)?;
                Ok(vec!["descriptor".to_owned()])
            }
            Self::Consensus(fields) => fields.check(bytes),
            Self::Vote(fields) => fields.check(bytes),
            Self::Echoes(fields) => fields.check(bytes),
            Self::Signatures(fields) => fields.check(bytes),
            Self::Proofs(fields) => fields.check(bytes),
            Self::Tally(fields) => fields.check(bytes),
            Self::ConsensusUpdate(fields) => fields.check(bytes),
            Self::ProfileHeader(fields) => fields.check(bytes),
            Self::ProfileRecord(fields) => fields.check(bytes),
            Self::UserRecord { key, id } => {
                let record = UserRecord { key: key.array::<32>()?.into() };
                same_bytes(&record.encode(), bytes)?;
                same("the record", UserRecord::decode(bytes).map_err(text)?, record)?;
                same_bytes(&record.id().0, &id.get()?)?;
                Ok(vec!["user record".to_owned()])
            }
            Self::Authorities { network, quorum, authorities } => {
                let list = authorities.iter().map(|authority| {
                    let nickname = authority.nickname.parse().map_err(text)?;
                    Ok(Authority { nickname, key: authority.key.array::<32>()?.into(), url: authority.url.clone() })
                });
                let authorities = Authorities::new(list.collect::<Result<_, String>>()?).map_err(text)?;
                let authorities = authorities.with_quorum(*quorum).map_err(text)?;
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
            Self::Service { secret, inviter, point } => {
                let (secret, point) = (SharedSecret::new(secret.array()?), point.point()?);
                let role =
                    if *inviter { rendezvous::RelationshipRole::Inviter } else { rendezvous::RelationshipRole::Guest };
                let auth_key = secret.auth_key(role, &point);
                same_bytes(&[&auth_key.0[..], &auth_key.id().0, &secret.verification(role)].concat(), bytes)?;
                Ok(vec!["service".to_owned()])
            }
            Self::SafetyNumber { secret, inviter, guest } => {
                let secret = SharedSecret::new(secret.array()?);
                let number = SafetyNumber::new(&secret, &inviter.array()?, &guest.array()?);
                same_bytes(number.to_string().as_bytes(), bytes)?;
                Ok(vec!["safety number".to_owned()])
            }
            Self::Invitation { relay, cookie, generation } => {
                let (relay, cookie) = (RelayIdentity(relay.array()?), Cookie(cookie.array()?));
                let invitation = Invitation { relay, cookie, generation: *generation };
                same_bytes(&invitation.encode(), bytes)?;
                let read = bytes.try_into().map_err(|_| "an invitation has another length")?;
                same("the invitation", Invitation::decode(read).map_err(text)?, invitation)?;
                Ok(vec!["invitation".to_owned()])
            }
            Self::Introduction { id, nonce, handshake, relay, seed, zeros } => {
                let id = IntroductionId(id.array()?);
                let introduction = Introduction { id, nonce: *nonce, handshake: handshake.array()? };
                let fragments = introduction.to_relay();
                let chunks: Vec<_> = fragments.iter().flat_map(|fragment| fragment.chunk).collect();
                same_bytes(&chunks, bytes)?;
                same("the introduction", Introduction::at_relay(bytes), Some(introduction.clone()))?;
                let work = introduction.work(&RelayIdentity(relay.array()?), &seed.array()?);
                same("the work", work.zeros(*nonce), *zeros)?;
                Ok(vec!["introduction".to_owned()])
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
