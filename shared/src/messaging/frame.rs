//! Frames on the stream between two joined contacts: `type u8 ‖ length u32 ‖ body`.
//!
//! ```text
//! Request    guest → inviter  version u16 ‖ Olm identity (32) ‖ Olm one-time key (32) ‖ service key (32) ‖ points
//!                             ‖ name (u8 length) ‖ note (u16 length)
//! Pending    inviter → guest  version u16 ‖ service key (32) ‖ points
//! Confirm    guest → inviter
//! Welcome    inviter → guest  version u16 ‖ Olm identity (32) ‖ Olm pre-key message (u16 length)
//! Decline    inviter → guest
//! Resume     both             version u16 ‖ generation u64 ‖ has a session u8 ‖ received u64 ‖ last (16) ‖ read (16)
//! Points     both             points
//! PointsKept both
//! Envelope   both             sequence u64 ‖ id (16) ‖ sealed
//! Ack        both             received u64
//! Read       both             read (16)
//! Typing     both             whether u8
//! Ping, Pong both             number u32
//! Renew      both             version u16 ‖ Olm identity (32) ‖ Olm one-time key (32)
//! Fallback   visitor → host   introduction (1310)
//! last, read: the id of the last message that was stored, or read, or zeros
//! points: count u8 ‖ count × (relay (32) ‖ salt (8))
//! ```

use thiserror::Error;

use super::message_id::MessageId;
use crate::cell::commands;
use crate::crypto::handshake::INTRODUCTION_LEN;
use crate::rendezvous::{INTRO_POINTS_PER_CONTACT, IntroPoint};
use crate::wire::{DecodeError, Reader, Writer};

/// The version of this protocol between contacts.
pub const VERSION: u16 = 3;

/// The longest body of a frame, in bytes.
pub const MAX_FRAME_LEN: usize = 32 * 1024;

const HEADER_LEN: usize = 5;
const MAX_PRE_KEY_LEN: usize = 1024;

/// The longest name of a contact, in bytes.
pub const MAX_NAME_LEN: usize = 64;

/// The longest note that comes with a request, in bytes.
pub const MAX_NOTE_LEN: usize = 280;

commands! {
    /// What a frame is.
    FrameType {
        /// The holder of an invite asks for contact.
        Request = 1,
        /// The inviter has stored the request, and will decide.
        Pending = 2,
        /// The guest has stored that.
        Confirm = 3,
        /// The inviter takes the guest as a contact.
        PreKeyMessage = 4,
        /// The inviter does not.
        Decline = 5,
        /// How far each has come: the first that contacts say on a new circuit.
        Resume = 6,
        /// Where the sender takes introductions from now on.
        Points = 7,
        /// These are stored.
        PointsKept = 8,
        /// A message.
        Envelope = 9,
        /// All messages below a number are stored.
        Ack = 10,
        /// All messages up to this one have been read.
        Read = 11,
        /// Whether the sender is writing.
        Typing = 12,
        /// Are you there?
        Ping = 13,
        /// I am.
        Pong = 14,
        /// The session is out of step: a new one begins, which [`Frame::PreKeyMessage`] answers.
        SessionReset = 15,
        /// Where to meet again, should this circuit be lost: an introduction in advance.
        Fallback = 16,
    }
}

/// A frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// See [`FrameType::Request`].
    Request {
        /// Olm identity key.
        identity: [u8; 32],
        /// Olm one-time key.
        one_time_key: [u8; 32],
        /// The guest's X25519 key, for introductions.
        key: [u8; 32],
        /// Where the guest takes them; at most [`INTRO_POINTS_PER_CONTACT`].
        points: Vec<IntroPoint>,
        /// The name to be shown; at most [`MAX_NAME_LEN`] bytes.
        name: String,
        /// What the guest has to say; at most [`MAX_NOTE_LEN`] bytes.
        note: String,
    },
    /// See [`FrameType::Pending`].
    Pending {
        /// The inviter's X25519 key, for introductions.
        key: [u8; 32],
        /// Where the inviter takes them; at most [`INTRO_POINTS_PER_CONTACT`].
        points: Vec<IntroPoint>,
    },
    /// See [`FrameType::Confirm`].
    Confirm,
    /// See [`FrameType::PreKeyMessage`].
    PreKeyMessage {
        /// Olm identity key.
        identity: [u8; 32],
        /// The first message of the Olm session.
        pre_key: Vec<u8>,
    },
    /// See [`FrameType::Decline`].
    Decline,
    /// See [`FrameType::Resume`].
    Resume {
        /// The number of this circuit among those of the two.
        generation: u64,
        /// Whether the sender has an Olm session with the recipient.
        has_session: bool,
        /// How many messages the sender has stored: the sequence number that it waits for.
        received: u64,
        /// The last of them; nothing if there are none.
        last: Option<MessageId>,
        /// The last of them that has been read, as far as the sender tells that.
        read: Option<MessageId>,
    },
    /// See [`FrameType::Points`].
    Points(Vec<IntroPoint>),
    /// See [`FrameType::PointsKept`].
    PointsKept,
    /// See [`FrameType::Envelope`].
    Envelope {
        /// Its place among the sender's messages, from zero.
        sequence: u64,
        /// Its id.
        id: MessageId,
        /// See [`super::envelope`].
        sealed: Vec<u8>,
    },
    /// See [`FrameType::Ack`].
    Ack {
        /// As in `Resume`.
        received: u64,
    },
    /// See [`FrameType::Read`].
    Read(MessageId),
    /// See [`FrameType::Typing`].
    Typing(bool),
    /// See [`FrameType::Ping`].
    Ping(u32),
    /// See [`FrameType::Pong`].
    Pong(u32),
    /// See [`FrameType::SessionReset`].
    SessionReset {
        /// Olm identity key.
        identity: [u8; 32],
        /// Olm one-time key.
        one_time_key: [u8; 32],
    },
    /// See [`FrameType::Fallback`].
    Fallback(Box<[u8; INTRODUCTION_LEN]>),
}

impl Frame {
    /// Appends the frame with its header.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&[self.frame_type() as u8, 0, 0, 0, 0]);
        match self {
            Self::Request { identity, one_time_key, key, points, name, note } => {
                out.extend_from_slice(&VERSION.to_be_bytes());
                out.extend_from_slice(identity);
                out.extend_from_slice(one_time_key);
                out.extend_from_slice(key);
                put_points(points, out);
                let name = &name[..name.floor_char_boundary(MAX_NAME_LEN)];
                out.push(name.len() as u8);
                out.extend_from_slice(name.as_bytes());
                let note = &note[..note.floor_char_boundary(MAX_NOTE_LEN)];
                out.extend_from_slice(&(note.len() as u16).to_be_bytes());
                out.extend_from_slice(note.as_bytes());
            }
            Self::Pending { key, points } => {
                out.extend_from_slice(&VERSION.to_be_bytes());
                out.extend_from_slice(key);
                put_points(points, out);
            }
            Self::PreKeyMessage { identity, pre_key } => {
                out.extend_from_slice(&VERSION.to_be_bytes());
                out.extend_from_slice(identity);
                let pre_key = pre_key.get(..MAX_PRE_KEY_LEN).unwrap_or(pre_key);
                out.extend_from_slice(&(pre_key.len() as u16).to_be_bytes());
                out.extend_from_slice(pre_key);
            }
            Self::SessionReset { identity, one_time_key } => {
                out.extend_from_slice(&VERSION.to_be_bytes());
                out.extend_from_slice(identity);
                out.extend_from_slice(one_time_key);
            }
            Self::Resume { generation, has_session, received, last, read } => {
                out.extend_from_slice(&VERSION.to_be_bytes());
                out.extend_from_slice(&generation.to_be_bytes());
                out.push(u8::from(*has_session));
                out.extend_from_slice(&received.to_be_bytes());
                for id in [last, read] {
                    out.extend_from_slice(&id.map_or([0; 16], |id| id.0));
                }
            }
            Self::Points(points) => put_points(points, out),
            Self::Confirm | Self::Decline | Self::PointsKept => {}
            Self::Ack { received } => out.extend_from_slice(&received.to_be_bytes()),
            Self::Read(id) => out.extend_from_slice(&id.0),
            Self::Envelope { sequence, id, sealed } => {
                out.extend_from_slice(&sequence.to_be_bytes());
                out.extend_from_slice(&id.0);
                out.extend_from_slice(sealed);
            }
            Self::Fallback(introduction) => out.extend_from_slice(&**introduction),
            Self::Typing(typing) => out.push(u8::from(*typing)),
            Self::Ping(number) | Self::Pong(number) => out.extend_from_slice(&number.to_be_bytes()),
        }
        let len = (out.len() - start - HEADER_LEN) as u32;
        if let Some(field) = out.get_mut(start + 1..start + HEADER_LEN) {
            field.copy_from_slice(&len.to_be_bytes());
        }
    }

    /// What the frame is.
    pub const fn frame_type(&self) -> FrameType {
        match self {
            Self::Request { .. } => FrameType::Request,
            Self::Pending { .. } => FrameType::Pending,
            Self::Confirm => FrameType::Confirm,
            Self::PreKeyMessage { .. } => FrameType::PreKeyMessage,
            Self::Decline => FrameType::Decline,
            Self::Resume { .. } => FrameType::Resume,
            Self::Points(_) => FrameType::Points,
            Self::PointsKept => FrameType::PointsKept,
            Self::Envelope { .. } => FrameType::Envelope,
            Self::Ack { .. } => FrameType::Ack,
            Self::Read(_) => FrameType::Read,
            Self::Typing(_) => FrameType::Typing,
            Self::Ping(_) => FrameType::Ping,
            Self::Pong(_) => FrameType::Pong,
            Self::SessionReset { .. } => FrameType::SessionReset,
            Self::Fallback(_) => FrameType::Fallback,
        }
    }

    fn decode(number: u8, body: &[u8]) -> Result<Self, FrameError> {
        let mut reader = Reader::new(body);
        let frame = match FrameType::from_u8(number).ok_or(FrameError::Unknown(number))? {
            FrameType::Request => {
                version(&mut reader)?;
                let (identity, one_time_key, key) = (reader.array()?, reader.array()?, reader.array()?);
                let points = take_points(&mut reader)?;
                let name = reader.bytes_u8("the name", MAX_NAME_LEN)?;
                let name = core::str::from_utf8(name).map_err(|_| FrameError::Text("name"))?.to_owned();
                let note = reader.bytes_u16("the note", MAX_NOTE_LEN)?;
                let note = core::str::from_utf8(note).map_err(|_| FrameError::Text("note"))?.to_owned();
                Self::Request { identity, one_time_key, key, points, name, note }
            }
            FrameType::Pending => {
                version(&mut reader)?;
                Self::Pending { key: reader.array()?, points: take_points(&mut reader)? }
            }
            FrameType::Confirm => Self::Confirm,
            FrameType::PreKeyMessage => {
                version(&mut reader)?;
                let identity = reader.array()?;
                Self::PreKeyMessage {
                    identity,
                    pre_key: reader.bytes_u16("pre-key message", MAX_PRE_KEY_LEN)?.to_vec(),
                }
            }
            FrameType::Decline => Self::Decline,
            FrameType::SessionReset => {
                version(&mut reader)?;
                Self::SessionReset { identity: reader.array()?, one_time_key: reader.array()? }
            }
            FrameType::Resume => {
                version(&mut reader)?;
                let (generation, has_session) = (reader.u64()?, flag(&mut reader)?);
                let received = reader.u64()?;
                let (last, read) = (message_id(&mut reader)?, message_id(&mut reader)?);
                Self::Resume { generation, has_session, received, last, read }
            }
            FrameType::Points => Self::Points(take_points(&mut reader)?),
            FrameType::PointsKept => Self::PointsKept,
            FrameType::Envelope => {
                let (sequence, id) = (reader.u64()?, MessageId(reader.array()?));
                let sealed = reader.take(reader.remaining())?.to_vec();
                Self::Envelope { sequence, id, sealed }
            }
            FrameType::Ack => Self::Ack { received: reader.u64()? },
            FrameType::Read => Self::Read(MessageId(reader.array()?)),
            FrameType::Typing => Self::Typing(flag(&mut reader)?),
            FrameType::Fallback => Self::Fallback(Box::new(reader.array()?)),
            FrameType::Ping => Self::Ping(reader.u32()?),
            FrameType::Pong => Self::Pong(reader.u32()?),
        };
        reader.finish()?;
        Ok(frame)
    }
}

fn put_points(points: &[IntroPoint], out: &mut Vec<u8>) {
    let points = points.get(..INTRO_POINTS_PER_CONTACT).unwrap_or(points);
    let mut writer = Writer::new();
    writer.u8(points.len() as u8);
    points.iter().for_each(|point| point.encode(&mut writer));
    out.append(&mut writer.into_bytes());
}

fn take_points(reader: &mut Reader<'_>) -> Result<Vec<IntroPoint>, DecodeError> {
    let len = usize::from(reader.u8()?);
    if len > INTRO_POINTS_PER_CONTACT {
        return Err(DecodeError::TooLong { what: "the list of points", len, max: INTRO_POINTS_PER_CONTACT });
    }
    (0..len).map(|_| IntroPoint::decode(reader)).collect()
}

/// An id, or nothing where there are zeros.
fn message_id(reader: &mut Reader<'_>) -> Result<Option<MessageId>, DecodeError> {
    let id = reader.array()?;
    Ok(Some(MessageId(id)).filter(|_| id != [0; 16]))
}

fn flag(reader: &mut Reader<'_>) -> Result<bool, DecodeError> {
    match reader.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(DecodeError::Invalid("a flag")),
    }
}

fn version(reader: &mut Reader<'_>) -> Result<(), FrameError> {
    match reader.u16()? {
        VERSION => Ok(()),
        version => Err(FrameError::Version(version)),
    }
}

/// Puts frames together from the bytes of a stream.
#[derive(Debug, Default)]
pub struct FrameReader {
    buffer: Vec<u8>,
}

impl FrameReader {
    /// Takes bytes in. At most one frame and one cell's worth of bytes is ever kept, provided that [`Self::next`] is called
    /// until it gives none.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole frame.
    ///
    /// # Errors
    ///
    /// If the contact sent what is no frame; the circuit has to end.
    #[expect(clippy::should_implement_trait, reason = "an iterator could not borrow the error's meaning: the end")]
    pub fn next(&mut self) -> Result<Option<Frame>, FrameError> {
        let Some((&[number, a, b, c, d], rest)) = self.buffer.split_first_chunk::<HEADER_LEN>() else {
            return Ok(None);
        };
        let len = u32::from_be_bytes([a, b, c, d]) as usize;
        if len > MAX_FRAME_LEN {
            return Err(FrameError::TooLong(len));
        }
        let Some(body) = rest.get(..len) else { return Ok(None) };
        let frame = Frame::decode(number, body)?;
        self.buffer.drain(..HEADER_LEN + len);
        Ok(Some(frame))
    }
}

/// What was wrong with a contact's frame.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FrameError {
    /// No such frame.
    #[error("the contact sent a frame of unknown type {0}")]
    Unknown(u8),
    /// Longer than any frame.
    #[error("the contact announced a frame of {0} bytes")]
    TooLong(usize),
    /// Another version of the protocol.
    #[error("the contact speaks version {0} of the protocol")]
    Version(u16),
    /// A text that is none.
    #[error("the contact's {0} is not UTF-8")]
    Text(&'static str),
    /// A field that is not as it must be.
    #[error("the contact sent a broken frame: {0}")]
    Decode(#[from] DecodeError),
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frames() -> Vec<Frame> {
        let points = vec![
            IntroPoint { relay: [1; 32].into(), salt: [2; 8] },
            IntroPoint { relay: [3; 32].into(), salt: [4; 8] },
        ];
        vec![
            Frame::Request {
                identity: [1; 32],
                one_time_key: [2; 32],
                key: [3; 32],
                points: points.clone(),
                name: "Ada".into(),
                note: "We met in Lyon.".into(),
            },
            Frame::Pending { key: [3; 32], points: Vec::new() },
            Frame::Confirm,
            Frame::PreKeyMessage { identity: [3; 32], pre_key: vec![5; 100] },
            Frame::Decline,
            Frame::Resume { generation: 6, has_session: true, received: 7, last: Some(MessageId([8; 16])), read: None },
            Frame::Points(points),
            Frame::PointsKept,
            Frame::Envelope { sequence: 9, id: MessageId([10; 16]), sealed: vec![11; 600] },
            Frame::Ack { received: 12 },
            Frame::Read(MessageId([13; 16])),
            Frame::Typing(true),
            Frame::Ping(13),
            Frame::Pong(14),
            Frame::SessionReset { identity: [1; 32], one_time_key: [2; 32] },
            Frame::Fallback(Box::new([15; INTRODUCTION_LEN])),
        ]
    }

    #[test]
    fn frames_survive_any_cutting() {
        let mut bytes = Vec::new();
        for frame in frames() {
            frame.encode(&mut bytes);
        }
        for cut in [1, 3, 7, 488, 10_000] {
            let mut reader = FrameReader::default();
            let mut got = Vec::new();
            for chunk in bytes.chunks(cut) {
                reader.push(chunk);
                while let Some(frame) = reader.next().unwrap() {
                    got.push(frame);
                }
            }
            assert_eq!(got, frames(), "cut at {cut}");
        }
    }

    #[test]
    fn the_numbers_stay() {
        for (frame, number) in frames().iter().zip(1..) {
            let mut bytes = Vec::new();
            frame.encode(&mut bytes);
            assert_eq!(bytes[0], number);
        }
        let mut bytes = Vec::new();
        let (last, read) = (Some(MessageId([4; 16])), Some(MessageId([3; 16])));
        Frame::Resume { generation: 1, has_session: true, received: 2, last, read }.encode(&mut bytes);
        let mut expected = vec![6, 0, 0, 0, 51, 0, 3];
        for part in [&1_u64.to_be_bytes()[..], &[1], &2_u64.to_be_bytes(), &[4; 16], &[3; 16]] {
            expected.extend_from_slice(part);
        }
        assert_eq!(bytes, expected);
    }

    #[test]
    fn a_huge_length_is_refused_before_it_is_waited_for() {
        let mut reader = FrameReader::default();
        reader.push(&[9, 0xff, 0xff, 0xff, 0xff]);
        assert_eq!(reader.next(), Err(FrameError::TooLong(0xffff_ffff)));
    }

    proptest! {
        #[test]
        fn reading_is_total(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let mut reader = FrameReader::default();
            reader.push(&bytes);
            while let Ok(Some(_)) = reader.next() {}
        }
    }
}
