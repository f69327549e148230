//! Byte strings of a file of message vectors, and the fields of the larger kinds of entries.

use core::convert::Infallible;

use data_encoding::HEXLOWER_PERMISSIVE;
use rand_core::{TryCryptoRng, TryRng};
use serde::Deserialize;

use super::{Outcome, named, same, same_bytes, text};
use crate::cell::fragment::Fragment;
use crate::cell::introduction::{AUTH_KEYS_PER_CELL, IntroAuthKey};
use crate::cell::message::{Cookie, EndReason, PAYLOAD_LEN, RelayCommand, RelayMessage, Service, StreamId};
use crate::client::api::MessageId;
use crate::crypto::keys::{LinkSecret, RelayIdentity};
use crate::link::handshake::Kind;
use crate::link::{Initiator, LinkStep, Peer, RelayAddressee, Responder};
use crate::messaging::frame::{Frame, FrameReader, FrameType};
use crate::netdir::{ExitPolicy, Extensions, RelayEntry, RelayRole, Roles};
use crate::rendezvous::IntroPoint;

/// Bytes as the file writes them.
#[derive(Clone, Default, Deserialize)]
#[serde(untagged)]
pub(super) enum Bytes {
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
    pub(super) fn get(&self) -> Result<Vec<u8>, String> {
        let hex = |text: &str| HEXLOWER_PERMISSIVE.decode(text.as_bytes()).map_err(|error| format!("{text}: {error}"));
        match self {
            Self::Missing => Err("a byte string is missing".to_owned()),
            Self::Hex(text) => hex(text),
            Self::Repeat { repeat, times } => Ok(hex(repeat)?.repeat(*times)),
            Self::Parts(parts) => Ok(parts.iter().map(Self::get).collect::<Result<Vec<_>, _>>()?.concat()),
        }
    }

    pub(super) fn array<const N: usize>(&self) -> Result<[u8; N], String> {
        let bytes = self.get()?;
        let len = bytes.len();
        bytes.try_into().map_err(|_| format!("{len} bytes where {N} belong"))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RelayFields {
    pub(super) command: String,
    #[serde(default)]
    pub(super) stream: u16,
    #[serde(default)]
    pub(super) service: String,
    #[serde(default)]
    pub(super) body: u64,
    #[serde(default)]
    pub(super) argument: Bytes,
    #[serde(default)]
    pub(super) data: Bytes,
    #[serde(default)]
    pub(super) reason: String,
    #[serde(default)]
    pub(super) tag: Bytes,
    #[serde(default)]
    pub(super) index: u8,
    pub(super) relay: Option<Bytes>,
    pub(super) cookie: Option<Bytes>,
    #[serde(default)]
    pub(super) chunk: Bytes,
    #[serde(default)]
    pub(super) part: u8,
    #[serde(default)]
    pub(super) of: u8,
    #[serde(default)]
    pub(super) auth_keys: Vec<Bytes>,
    #[serde(default)]
    pub(super) effort: u8,
    #[serde(default)]
    pub(super) seed: Bytes,
}

#[derive(Deserialize)]
pub(super) struct LinkFields {
    pub(super) initiator: String,
    pub(super) network: Bytes,
    pub(super) identity: Bytes,
    pub(super) link_secret: Bytes,
    pub(super) initiator_link_secret: Option<Bytes>,
    pub(super) initiator_random: Bytes,
    pub(super) responder_random: Bytes,
    pub(super) binding: Bytes,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FrameFields {
    pub(super) frame: String,
    #[serde(default)]
    pub(super) identity: Bytes,
    #[serde(default)]
    pub(super) one_time_key: Bytes,
    #[serde(default)]
    pub(super) name: String,
    #[serde(default)]
    pub(super) note: String,
    #[serde(default)]
    pub(super) key: Bytes,
    #[serde(default)]
    pub(super) points: Vec<PointFields>,
    #[serde(default)]
    pub(super) has_session: bool,
    pub(super) last: Option<Bytes>,
    pub(super) read: Option<Bytes>,
    #[serde(default)]
    pub(super) typing: bool,
    #[serde(default)]
    pub(super) pre_key: Bytes,
    #[serde(default)]
    pub(super) generation: u64,
    #[serde(default)]
    pub(super) received: u64,
    #[serde(default)]
    pub(super) sequence: u64,
    #[serde(default)]
    pub(super) id: Bytes,
    #[serde(default)]
    pub(super) sealed: Bytes,
    #[serde(default)]
    pub(super) introduction: Bytes,
    #[serde(default)]
    pub(super) number: u32,
}

#[derive(Deserialize)]
pub(super) struct Place {
    pub(super) relay: Bytes,
    pub(super) auth_key: Bytes,
}

/// Where somebody takes introductions.
#[derive(Deserialize)]
pub(super) struct PointFields {
    pub(super) relay: Bytes,
    pub(super) salt: Bytes,
}

impl PointFields {
    pub(super) fn point(&self) -> Result<IntroPoint, String> {
        Ok(IntroPoint { relay: RelayIdentity(self.relay.array()?), salt: self.salt.array()? })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EntryFields {
    pub(super) identity: Bytes,
    pub(super) link_key: Bytes,
    pub(super) onion_key: Bytes,
    pub(super) roles: Vec<String>,
    /// Bits of roles that have no name.
    #[serde(default)]
    pub(super) unknown_roles: u16,
    pub(super) weight: u32,
    pub(super) nickname: String,
    pub(super) address: String,
    #[serde(default)]
    pub(super) version: String,
    pub(super) secure_address: Option<String>,
    pub(super) family: Option<Bytes>,
    #[serde(default)]
    pub(super) exit_policy: Vec<String>,
    /// Fields that have no name, by their numbers.
    #[serde(default)]
    pub(super) other: Vec<(u16, Bytes)>,
    /// In a consensus, how many of a hundred probes it has answered.
    pub(super) health: Option<u8>,
}

#[derive(Deserialize)]
pub(super) struct AuthorityFields {
    pub(super) nickname: String,
    pub(super) key: Bytes,
    pub(super) url: String,
}

impl RelayFields {
    pub(super) fn check(&self, bytes: &[u8]) -> Outcome {
        let command = named(RelayCommand::ALL, &self.command)?;
        let stream = StreamId(self.stream);
        let mut covered = vec![format!("relay message {command:?}")];
        let fragment = || Ok::<_, String>(Fragment { index: self.index, chunk: self.chunk.array()? });
        let message = match command {
            RelayCommand::Begin => {
                let service = named(Service::ALL, &self.service)?;
                covered.push(format!("service {service:?}"));
                RelayMessage::Begin { stream, service, body: self.body, argument: self.argument.get()? }
            }
            RelayCommand::Data => RelayMessage::Data { stream, data: self.data.get()? },
            RelayCommand::End => {
                let reason = named(EndReason::ALL, &self.reason)?;
                covered.push(format!("end {reason:?}"));
                RelayMessage::End { stream, reason }
            }
            RelayCommand::Connected => RelayMessage::Connected { stream, body: self.body },
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
            RelayCommand::EstablishIntro => {
                let auth_keys = self
                    .auth_keys
                    .iter()
                    .map(|auth_key| auth_key.array().map(IntroAuthKey))
                    .collect::<Result<Vec<_>, _>>()?;
                let auth_keys =
                    auth_keys.into_boxed_slice().try_into().map_err(|_| format!("not {AUTH_KEYS_PER_CELL} keys"))?;
                RelayMessage::EstablishIntro { part: self.part, of: self.of, auth_keys }
            }
            RelayCommand::IntroEstablished => RelayMessage::IntroEstablished,
            RelayCommand::Introduce1 => RelayMessage::Introduce1(fragment()?),
            RelayCommand::Introduce2 => RelayMessage::Introduce2(fragment()?),
            RelayCommand::IntroduceAck => RelayMessage::IntroduceAck { effort: self.effort, seed: self.seed.array()? },
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
    pub(super) fn check(&self, number: usize, bytes: &[u8]) -> Outcome {
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
    pub(super) fn check(&self, bytes: &[u8]) -> Outcome {
        let frame_type = named(FrameType::ALL, &self.frame)?;
        let received = self.received;
        let points = || self.points.iter().map(PointFields::point).collect::<Result<Vec<_>, _>>();
        let frame = match frame_type {
            FrameType::Request => Frame::Request {
                identity: self.identity.array()?,
                one_time_key: self.one_time_key.array()?,
                key: self.key.array()?,
                points: points()?,
                name: self.name.clone(),
                note: self.note.clone(),
            },
            FrameType::Pending => Frame::Pending { key: self.key.array()?, points: points()? },
            FrameType::Confirm => Frame::Confirm,
            FrameType::PreKeyMessage => {
                Frame::PreKeyMessage { identity: self.identity.array()?, pre_key: self.pre_key.get()? }
            }
            FrameType::Decline => Frame::Decline,
            FrameType::SessionReset => {
                Frame::SessionReset { identity: self.identity.array()?, one_time_key: self.one_time_key.array()? }
            }
            FrameType::Resume => {
                let id =
                    |id: &Option<Bytes>| Ok::<_, String>(id.as_ref().map(Bytes::array).transpose()?.map(MessageId));
                let (last, read) = (id(&self.last)?, id(&self.read)?);
                Frame::Resume { generation: self.generation, has_session: self.has_session, received, last, read }
            }
            FrameType::Points => Frame::Points(points()?),
            FrameType::PointsKept => Frame::PointsKept,
            FrameType::Read => Frame::Read(MessageId(self.id.array()?)),
            FrameType::Typing => Frame::Typing(self.typing),
            FrameType::Envelope => {
                let (id, sealed) = (MessageId(self.id.array()?), self.sealed.get()?);
                Frame::Envelope { sequence: self.sequence, id, sealed }
            }
            FrameType::Ack => Frame::Ack { received },
            FrameType::Ping => Frame::Ping(self.number),
            FrameType::Pong => Frame::Pong(self.number),
            FrameType::Fallback => Frame::Fallback(Box::new(self.introduction.array()?)),
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

/// Adds fields that have no name, each with its number.
pub(super) fn insert(fields: &[(u16, Bytes)], to: &mut Extensions) -> Result<(), String> {
    for (number, value) in fields {
        to.insert(*number, value.get()?);
    }
    Ok(())
}

/// The roles with these names, and the bits of others.
pub(super) fn roles(names: &[String], unknown: u16) -> Result<Roles, String> {
    let roles = names.iter().map(|role| role.parse::<RelayRole>().map_err(text)).collect::<Result<Roles, String>>()?;
    Ok(Roles::from_bits(roles.bits() | unknown))
}

impl EntryFields {
    pub(super) fn entry(&self) -> Result<RelayEntry, String> {
        let mut entry = RelayEntry::new(
            RelayIdentity(self.identity.array()?),
            self.link_key.array::<32>()?.into(),
            self.onion_key.array::<32>()?.into(),
            roles(&self.roles, self.unknown_roles)?,
            self.nickname.parse().map_err(text)?,
            self.address.parse().map_err(text)?,
        );
        entry.weight = self.weight;
        entry.version = self.version.parse().map_err(text)?;
        entry.secure_url = self.secure_address.as_ref().map(|url| url.parse().map_err(text)).transpose()?;
        entry.family = self.family.as_ref().map(|family| Ok::<_, String>(family.array::<32>()?.into())).transpose()?;
        let rules = self.exit_policy.iter().map(|rule| rule.parse().map_err(text)).collect::<Result<_, _>>()?;
        entry.exit_policy = ExitPolicy::new(rules).map_err(text)?;
        insert(&self.other, &mut entry.other)?;
        Ok(entry)
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
