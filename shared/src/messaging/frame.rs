//! Frames on the stream between two joined contacts: `type u8 ‖ length u32 ‖ body`.
//!
//! ```text
//! Introduce  visitor → host   version u16 ‖ Olm identity (32) ‖ Olm one-time key (32) ‖ name (u8 length)
//! Welcome    host → visitor   version u16 ‖ Olm identity (32) ‖ meeting key (32) ‖ Olm pre-key message (u16 length)
//! Resume     visitor → host   version u16 ‖ generation u64 ‖ received u64
//! Resumed    host → visitor   received u64
//! Envelope   both             sequence u64 ‖ id (16) ‖ sealed
//! Ack        both             received u64
//! Ping, Pong both             number u32
//! ```

use thiserror::Error;

use crate::cell::commands;
use crate::client::api::{MAX_NAME_LEN, MessageId};
use crate::wire::{DecodeError, Reader};

/// The version of this protocol between contacts.
pub const VERSION: u16 = 1;

/// The longest body of a frame, in bytes.
pub const MAX_FRAME_LEN: usize = 32 * 1024;

const HEADER_LEN: usize = 5;
const MAX_PRE_KEY_LEN: usize = 1024;

commands! {
    /// What a frame is.
    FrameType {
        /// The holder of an invite says who they are.
        Introduce = 1,
        /// The inviter takes them as a contact.
        Welcome = 2,
        /// The visitor has stored all that it needs to come again; the conversation goes on from here.
        Resume = 3,
        /// The host has stored the generation; the same for its direction.
        Resumed = 4,
        /// A message.
        Envelope = 5,
        /// All messages below a number are stored.
        Ack = 6,
        /// Are you there?
        Ping = 7,
        /// I am.
        Pong = 8,
    }
}

/// A frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// See [`FrameType::Introduce`].
    Introduce {
        /// Olm identity key.
        identity: [u8; 32],
        /// Olm one-time key.
        one_time_key: [u8; 32],
        /// The name to be shown; at most [`MAX_NAME_LEN`] bytes.
        name: String,
    },
    /// See [`FrameType::Welcome`].
    Welcome {
        /// Olm identity key.
        identity: [u8; 32],
        /// The inviter's X25519 key for all later meetings.
        meeting_key: [u8; 32],
        /// The first message of the Olm session.
        pre_key: Vec<u8>,
    },
    /// See [`FrameType::Resume`].
    Resume {
        /// Where the visitor will look next time.
        generation: u64,
        /// How many messages the visitor has stored: the sequence number that it waits for.
        received: u64,
    },
    /// See [`FrameType::Resumed`].
    Resumed {
        /// As in `Resume`.
        received: u64,
    },
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
        /// The sequence number that is waited for.
        received: u64,
    },
    /// See [`FrameType::Ping`].
    Ping(u32),
    /// See [`FrameType::Pong`].
    Pong(u32),
}

impl Frame {
    /// Appends the frame with its header.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&[self.frame_type() as u8, 0, 0, 0, 0]);
        match self {
            Self::Introduce { identity, one_time_key, name } => {
                out.extend_from_slice(&VERSION.to_be_bytes());
                out.extend_from_slice(identity);
                out.extend_from_slice(one_time_key);
                let name = &name[..name.floor_char_boundary(MAX_NAME_LEN)];
                out.push(name.len() as u8);
                out.extend_from_slice(name.as_bytes());
            }
            Self::Welcome { identity, meeting_key, pre_key } => {
                out.extend_from_slice(&VERSION.to_be_bytes());
                out.extend_from_slice(identity);
                out.extend_from_slice(meeting_key);
                let pre_key = pre_key.get(..MAX_PRE_KEY_LEN).unwrap_or(pre_key);
                out.extend_from_slice(&(pre_key.len() as u16).to_be_bytes());
                out.extend_from_slice(pre_key);
            }
            Self::Resume { generation, received } => {
                out.extend_from_slice(&VERSION.to_be_bytes());
                out.extend_from_slice(&generation.to_be_bytes());
                out.extend_from_slice(&received.to_be_bytes());
            }
            Self::Resumed { received } | Self::Ack { received } => out.extend_from_slice(&received.to_be_bytes()),
            Self::Envelope { sequence, id, sealed } => {
                out.extend_from_slice(&sequence.to_be_bytes());
                out.extend_from_slice(&id.0);
                out.extend_from_slice(sealed);
            }
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
            Self::Introduce { .. } => FrameType::Introduce,
            Self::Welcome { .. } => FrameType::Welcome,
            Self::Resume { .. } => FrameType::Resume,
            Self::Resumed { .. } => FrameType::Resumed,
            Self::Envelope { .. } => FrameType::Envelope,
            Self::Ack { .. } => FrameType::Ack,
            Self::Ping(_) => FrameType::Ping,
            Self::Pong(_) => FrameType::Pong,
        }
    }

    fn decode(number: u8, body: &[u8]) -> Result<Self, FrameError> {
        let mut reader = Reader::new(body);
        let frame = match FrameType::from_u8(number).ok_or(FrameError::Unknown(number))? {
            FrameType::Introduce => {
                version(&mut reader)?;
                let (identity, one_time_key) = (reader.array()?, reader.array()?);
                let name = reader.bytes_u8("name", MAX_NAME_LEN)?;
                let name = core::str::from_utf8(name).map_err(|_| FrameError::Name)?.to_owned();
                Self::Introduce { identity, one_time_key, name }
            }
            FrameType::Welcome => {
                version(&mut reader)?;
                let (identity, meeting_key) = (reader.array()?, reader.array()?);
                let pre_key = reader.bytes_u16("pre-key message", MAX_PRE_KEY_LEN)?.to_vec();
                Self::Welcome { identity, meeting_key, pre_key }
            }
            FrameType::Resume => {
                version(&mut reader)?;
                Self::Resume { generation: reader.u64()?, received: reader.u64()? }
            }
            FrameType::Resumed => Self::Resumed { received: reader.u64()? },
            FrameType::Envelope => {
                let (sequence, id) = (reader.u64()?, MessageId(reader.array()?));
                let sealed = reader.take(reader.remaining())?.to_vec();
                Self::Envelope { sequence, id, sealed }
            }
            FrameType::Ack => Self::Ack { received: reader.u64()? },
            FrameType::Ping => Self::Ping(reader.u32()?),
            FrameType::Pong => Self::Pong(reader.u32()?),
        };
        reader.finish()?;
        Ok(frame)
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
    /// A name that is no text.
    #[error("the contact's name is not UTF-8")]
    Name,
    /// A field that is not as it must be.
    #[error("the contact sent a broken frame: {0}")]
    Decode(#[from] DecodeError),
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frames() -> Vec<Frame> {
        vec![
            Frame::Introduce { identity: [1; 32], one_time_key: [2; 32], name: "Ada".into() },
            Frame::Welcome { identity: [3; 32], meeting_key: [4; 32], pre_key: vec![5; 100] },
            Frame::Resume { generation: 6, received: 7 },
            Frame::Resumed { received: 8 },
            Frame::Envelope { sequence: 9, id: MessageId([10; 16]), sealed: vec![11; 600] },
            Frame::Ack { received: 12 },
            Frame::Ping(13),
            Frame::Pong(14),
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
        Frame::Resume { generation: 1, received: 2 }.encode(&mut bytes);
        assert_eq!(bytes, [3, 0, 0, 0, 18, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2]);
    }

    #[test]
    fn a_huge_length_is_refused_before_it_is_waited_for() {
        let mut reader = FrameReader::default();
        reader.push(&[5, 0xff, 0xff, 0xff, 0xff]);
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
