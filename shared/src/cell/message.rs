//! Relay messages: what a `Relay` cell says once its onion layers are off.
//!
//! ```text
//!  0     1        3        5                                493
//!  ├ cmd ┼ stream ┼ length ┼ data (≤ 488), then zeros ────────┤
//! ```

use thiserror::Error;

use super::fragment::{CHUNK_LEN, FRAGMENTS, Fragment};
use super::introduction::{AUTH_KEY_LEN, AUTH_KEYS_PER_CELL, IntroAuthKey};
pub use super::stream::{EndReason, OPEN_ENDED, Service, StreamId};
use super::{BODY_LEN, Cell, CircId, Command, commands};
pub use crate::crypto::cgo::PAYLOAD_LEN;
use crate::crypto::cgo::Tag;

/// Length of a message's command, stream and length, in bytes.
const HEADER_LEN: usize = 1 + 2 + 2;

/// The most data that one message carries, in bytes.
pub const MAX_DATA_LEN: usize = PAYLOAD_LEN - HEADER_LEN;

/// The longest argument of a `Begin`, in bytes.
pub const MAX_ARGUMENT_LEN: usize = MAX_DATA_LEN - 1 - size_of::<u64>();

/// Length of a rendezvous cookie, in bytes.
pub const COOKIE_LEN: usize = 20;

/// Names a meeting at a rendezvous relay. The relay forgets it with the first visit.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cookie(pub [u8; COOKIE_LEN]);

impl core::fmt::Debug for Cookie {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Cookie(..)")
    }
}

commands! {
    /// What a relay message is; Tor's numbers where the meaning is Tor's (tor-spec, rend-spec-v3).
    RelayCommand {
        /// Opens a stream to a service of the last hop.
        Begin = 1,
        /// Bytes of a stream.
        Data = 2,
        /// The sender will say no more on a stream, and hear no more; once both ends have said so, it is gone.
        End = 3,
        /// The stream is open.
        Connected = 4,
        /// The sender has received data up to the cell with this tag: more may come (see [`crate::flow`]).
        Sendme = 5,
        /// Nothing: padding up to a chosen hop.
        Drop = 10,
        /// One of three fragments that ask the last hop to extend the circuit. The first names the relay.
        Extend = 14,
        /// One of three fragments of the next relay's answer.
        Extended = 15,
        /// Hand on here what comes for these ids: one part of a list that replaces the one before.
        EstablishIntro = 32,
        /// Wait here for whoever comes with this cookie.
        EstablishRendezvous = 33,
        /// One of three fragments of an [`Introduction`](super::introduction::Introduction).
        Introduce1 = 34,
        /// The same, handed to whoever takes what comes for its id.
        Introduce2 = 35,
        /// One of three fragments for whoever waits. The first carries the cookie; after the third the two circuits are joined.
        Rendezvous1 = 36,
        /// The same, handed to whoever waits.
        Rendezvous2 = 37,
        /// The relay has the list of ids.
        IntroEstablished = 38,
        /// The rendezvous relay keeps the cookie and waits.
        RendezvousEstablished = 39,
        /// The relay has taken the introduction, whether there is such an id or not; or it wants work done first.
        IntroduceAck = 40,
        /// Nobody waits here with that cookie. The circuit stays usable.
        RendezvousUnknown = 52,
    }
}

/// A relay message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RelayMessage {
    /// See [`RelayCommand::Begin`].
    Begin {
        /// The new stream; not zero.
        stream: StreamId,
        /// The service at its far end.
        service: Service,
        /// How many bytes the origin will send, or [`OPEN_ENDED`].
        body: u64,
        /// What the service needs to know at first: at most [`MAX_ARGUMENT_LEN`] bytes.
        argument: Vec<u8>,
    },
    /// See [`RelayCommand::Data`].
    Data {
        /// The stream; not zero.
        stream: StreamId,
        /// At most [`MAX_DATA_LEN`] bytes.
        data: Vec<u8>,
    },
    /// See [`RelayCommand::End`].
    End {
        /// The stream; not zero.
        stream: StreamId,
        /// Why.
        reason: EndReason,
    },
    /// See [`RelayCommand::Connected`].
    Connected {
        /// The stream; not zero.
        stream: StreamId,
        /// How many bytes the relay will send, or [`OPEN_ENDED`].
        body: u64,
    },
    /// See [`RelayCommand::Sendme`].
    Sendme {
        /// The stream, or [`StreamId::CIRCUIT`].
        stream: StreamId,
        /// The onion's tag of the last data cell that this acknowledges.
        tag: Tag,
    },
    /// See [`RelayCommand::Drop`].
    Drop,
    /// See [`RelayCommand::Extend`].
    Extend {
        /// The Ed25519 identity of the next relay, with the first fragment only.
        relay: Option<[u8; 32]>,
        /// The fragment.
        fragment: Fragment,
    },
    /// See [`RelayCommand::Extended`].
    Extended(Fragment),
    /// See [`RelayCommand::EstablishIntro`].
    EstablishIntro {
        /// Which part of the list this is, from zero.
        part: u8,
        /// How many parts it has: 1 to [`MAX_PARTS`](super::introduction::MAX_PARTS).
        of: u8,
        /// The locks of this part. Who has fewer fills up with random ones.
        auth_keys: Box<[IntroAuthKey; AUTH_KEYS_PER_CELL]>,
    },
    /// See [`RelayCommand::IntroEstablished`].
    IntroEstablished,
    /// See [`RelayCommand::Introduce1`].
    Introduce1(Fragment),
    /// See [`RelayCommand::Introduce2`].
    Introduce2(Fragment),
    /// See [`RelayCommand::IntroduceAck`].
    IntroduceAck {
        /// How many zero bits the relay wants to see; with none it has taken the introduction.
        effort: u8,
        /// What the work is to be done with.
        seed: [u8; 16],
    },
    /// See [`RelayCommand::EstablishRendezvous`].
    EstablishRendezvous(Cookie),
    /// See [`RelayCommand::RendezvousEstablished`].
    RendezvousEstablished,
    /// See [`RelayCommand::Rendezvous1`].
    Rendezvous1 {
        /// The cookie, with the first fragment only.
        cookie: Option<Cookie>,
        /// The fragment.
        fragment: Fragment,
    },
    /// See [`RelayCommand::Rendezvous2`].
    Rendezvous2(Fragment),
    /// See [`RelayCommand::RendezvousUnknown`].
    RendezvousUnknown,
}

impl RelayMessage {
    /// The message's command.
    pub const fn command(&self) -> RelayCommand {
        match self {
            Self::Begin { .. } => RelayCommand::Begin,
            Self::Data { .. } => RelayCommand::Data,
            Self::End { .. } => RelayCommand::End,
            Self::Connected { .. } => RelayCommand::Connected,
            Self::Sendme { .. } => RelayCommand::Sendme,
            Self::Drop => RelayCommand::Drop,
            Self::Extend { .. } => RelayCommand::Extend,
            Self::Extended(_) => RelayCommand::Extended,
            Self::EstablishIntro { .. } => RelayCommand::EstablishIntro,
            Self::IntroEstablished => RelayCommand::IntroEstablished,
            Self::Introduce1(_) => RelayCommand::Introduce1,
            Self::Introduce2(_) => RelayCommand::Introduce2,
            Self::IntroduceAck { .. } => RelayCommand::IntroduceAck,
            Self::EstablishRendezvous(_) => RelayCommand::EstablishRendezvous,
            Self::RendezvousEstablished => RelayCommand::RendezvousEstablished,
            Self::Rendezvous1 { .. } => RelayCommand::Rendezvous1,
            Self::Rendezvous2(_) => RelayCommand::Rendezvous2,
            Self::RendezvousUnknown => RelayCommand::RendezvousUnknown,
        }
    }

    /// Whether the message may travel only in a `RelayEarly` cell: the first fragment of an `Extend`.
    pub const fn is_early(&self) -> bool {
        matches!(self, Self::Extend { fragment: Fragment { index: 0, .. }, .. })
    }

    /// The message in a cell whose onion layers are off.
    ///
    /// # Errors
    ///
    /// As [`Self::decode`].
    pub fn in_cell(cell: &Cell) -> Result<Self, RelayMessageError> {
        // A body is longer than a payload: there always is one.
        cell.body.last_chunk().map_or(Err(RelayMessageError::UnknownCommand(0)), Self::decode)
    }

    /// A cell with this message, for the onion layers to be put on; its tag is still zeros.
    pub fn to_cell(&self, circ: CircId, command: Command) -> Cell {
        let mut cell = Cell { circ, command, body: [0; BODY_LEN] };
        if let Some(payload) = cell.body.last_chunk_mut() {
            self.encode_onto_zeros(payload);
        }
        cell
    }

    /// A cell with one message of data, for the onion layers to be put on; bytes beyond [`MAX_DATA_LEN`] are not sent.
    pub fn data_cell(circ: CircId, stream: StreamId, bytes: &[u8]) -> Cell {
        let mut cell = Cell { circ, command: Command::Relay, body: [0; BODY_LEN] };
        if let Some(payload) = cell.body.last_chunk_mut() {
            let [command, s0, s1, l0, l1, data @ ..]: &mut [u8; PAYLOAD_LEN] = payload;
            *command = RelayCommand::Data as u8;
            [*s0, *s1] = stream.0.to_be_bytes();
            // MAX_DATA_LEN fits u16.
            [*l0, *l1] = (put(data, &[bytes]) as u16).to_be_bytes();
        }
        cell
    }

    /// Writes the message into the payload of a cell; data beyond [`MAX_DATA_LEN`] is not sent.
    pub fn encode(&self, payload: &mut [u8; PAYLOAD_LEN]) {
        *payload = [0; PAYLOAD_LEN];
        self.encode_onto_zeros(payload);
    }

    fn encode_onto_zeros(&self, payload: &mut [u8; PAYLOAD_LEN]) {
        let [command, s0, s1, l0, l1, data @ ..] = payload;
        let (stream, len) = match self {
            Self::Begin { stream, service, body, argument } => {
                (*stream, put(data, &[&[service.0], &body.to_be_bytes(), argument]))
            }
            Self::Data { stream, data: bytes } => (*stream, put(data, &[bytes])),
            Self::End { stream, reason } => (*stream, put(data, &[&[reason.0]])),
            Self::Connected { stream, body } => (*stream, put(data, &[&body.to_be_bytes()])),
            Self::Sendme { stream, tag } => (*stream, put(data, &[tag])),
            Self::Drop | Self::IntroEstablished | Self::RendezvousEstablished | Self::RendezvousUnknown => {
                (StreamId::CIRCUIT, 0)
            }
            Self::EstablishIntro { part, of, auth_keys } => {
                (StreamId::CIRCUIT, put(data, &[&[*part, *of], auth_keys.map(|auth_key| auth_key.0).as_flattened()]))
            }
            Self::IntroduceAck { effort, seed } => (StreamId::CIRCUIT, put(data, &[&[*effort], seed])),
            Self::EstablishRendezvous(cookie) => (StreamId::CIRCUIT, put(data, &[&cookie.0])),
            Self::Extend { relay, fragment } => {
                let relay = relay.as_ref().map(|id| &id[..]).unwrap_or_default();
                (StreamId::CIRCUIT, put(data, &[&[fragment.index], relay, &fragment.chunk]))
            }
            Self::Rendezvous1 { cookie, fragment } => {
                let cookie = cookie.as_ref().map(|cookie| &cookie.0[..]).unwrap_or_default();
                (StreamId::CIRCUIT, put(data, &[&[fragment.index], cookie, &fragment.chunk]))
            }
            Self::Extended(fragment)
            | Self::Introduce1(fragment)
            | Self::Introduce2(fragment)
            | Self::Rendezvous2(fragment) => (StreamId::CIRCUIT, put(data, &[&[fragment.index], &fragment.chunk])),
        };
        *command = self.command() as u8;
        [*s0, *s1] = stream.0.to_be_bytes();
        // MAX_DATA_LEN fits u16.
        [*l0, *l1] = (len as u16).to_be_bytes();
    }

    /// Reads the message of a cell's payload.
    ///
    /// # Errors
    ///
    /// If the payload is no message of this version.
    pub fn decode(payload: &[u8; PAYLOAD_LEN]) -> Result<Self, RelayMessageError> {
        let [command, s0, s1, l0, l1, rest @ ..] = payload;
        let command = RelayCommand::from_u8(*command).ok_or(RelayMessageError::UnknownCommand(*command))?;
        let stream = StreamId(u16::from_be_bytes([*s0, *s1]));
        let len = usize::from(u16::from_be_bytes([*l0, *l1]));
        let data = rest.get(..len).ok_or(RelayMessageError::TooLong { command, len })?;
        let fits = match command {
            RelayCommand::Begin | RelayCommand::Data | RelayCommand::End | RelayCommand::Connected => {
                stream != StreamId::CIRCUIT
            }
            RelayCommand::Sendme => true,
            _ => stream == StreamId::CIRCUIT,
        };
        if !fits {
            return Err(RelayMessageError::Stream { command, stream: stream.0 });
        }
        let wrong_len = RelayMessageError::WrongLength { command, len };
        let message = match command {
            RelayCommand::Data => return Ok(Self::Data { stream, data: data.to_vec() }),
            RelayCommand::Begin => take_begin(stream, data),
            RelayCommand::End => match data {
                [reason] => Some(Self::End { stream, reason: EndReason(*reason) }),
                _ => None,
            },
            RelayCommand::Connected => {
                data.try_into().ok().map(|body| Self::Connected { stream, body: u64::from_be_bytes(body) })
            }
            RelayCommand::Sendme => data.try_into().ok().map(|tag| Self::Sendme { stream, tag }),
            RelayCommand::Drop => return Ok(Self::Drop),
            RelayCommand::RendezvousEstablished => (data.is_empty()).then_some(Self::RendezvousEstablished),
            RelayCommand::RendezvousUnknown => (data.is_empty()).then_some(Self::RendezvousUnknown),
            RelayCommand::EstablishRendezvous => {
                data.try_into().ok().map(|cookie| Self::EstablishRendezvous(Cookie(cookie)))
            }
            RelayCommand::Extend => {
                take_fragment::<32>(data)?.map(|(relay, fragment)| Self::Extend { relay, fragment })
            }
            RelayCommand::Rendezvous1 => take_fragment::<COOKIE_LEN>(data)?
                .map(|(cookie, fragment)| Self::Rendezvous1 { cookie: cookie.map(Cookie), fragment }),
            RelayCommand::Extended => take_plain_fragment(data)?.map(Self::Extended),
            RelayCommand::Rendezvous2 => take_plain_fragment(data)?.map(Self::Rendezvous2),
            RelayCommand::EstablishIntro => take_locks(data),
            RelayCommand::IntroEstablished => data.is_empty().then_some(Self::IntroEstablished),
            RelayCommand::Introduce1 => take_plain_fragment(data)?.map(Self::Introduce1),
            RelayCommand::Introduce2 => take_plain_fragment(data)?.map(Self::Introduce2),
            RelayCommand::IntroduceAck => match data.split_first() {
                Some((effort, seed)) => seed.try_into().ok().map(|seed| Self::IntroduceAck { effort: *effort, seed }),
                None => None,
            },
        };
        message.ok_or(wrong_len)
    }
}

/// Writes parts one after the other, as far as there is room; gives how much that was.
fn put(room: &mut [u8; MAX_DATA_LEN], parts: &[&[u8]]) -> usize {
    let mut at = 0;
    for part in parts {
        let rest = room.get_mut(at..).unwrap_or_default();
        let len = part.len().min(rest.len());
        if let (Some(to), Some(from)) = (rest.get_mut(..len), part.get(..len)) {
            to.copy_from_slice(from);
        }
        at += len;
    }
    at
}

/// `service ‖ body ‖ argument`.
fn take_begin(stream: StreamId, data: &[u8]) -> Option<RelayMessage> {
    let (service, rest) = data.split_first()?;
    let (body, argument) = rest.split_first_chunk()?;
    Some(RelayMessage::Begin {
        stream,
        service: Service(*service),
        body: u64::from_be_bytes(*body),
        argument: argument.to_vec(),
    })
}

/// `part ‖ of ‖ auth_keys`.
fn take_locks(data: &[u8]) -> Option<RelayMessage> {
    let ([part, of], auth_keys) = data.split_first_chunk()?;
    let (auth_keys, rest) = auth_keys.as_chunks::<AUTH_KEY_LEN>();
    let auth_keys: Vec<IntroAuthKey> = auth_keys.iter().copied().map(IntroAuthKey).collect();
    let auth_keys = auth_keys.into_boxed_slice().try_into().ok().filter(|_| rest.is_empty())?;
    Some(RelayMessage::EstablishIntro { part: *part, of: *of, auth_keys })
}

/// `index ‖ chunk`.
fn take_plain_fragment(data: &[u8]) -> Result<Option<Fragment>, RelayMessageError> {
    let Some((index, chunk)) = data.split_first() else { return Ok(None) };
    if *index >= FRAGMENTS {
        return Err(RelayMessageError::Fragment(*index));
    }
    Ok(chunk.try_into().ok().map(|chunk: [u8; CHUNK_LEN]| Fragment { index: *index, chunk }))
}

type Headed<const N: usize> = (Option<[u8; N]>, Fragment);

/// `index ‖ head (first fragment only) ‖ chunk`.
fn take_fragment<const N: usize>(data: &[u8]) -> Result<Option<Headed<N>>, RelayMessageError> {
    if data.first() != Some(&0) {
        return Ok(take_plain_fragment(data)?.map(|fragment| (None, fragment)));
    }
    let Some((head, chunk)) = data.get(1..).and_then(|rest| rest.split_first_chunk::<N>()) else { return Ok(None) };
    Ok(chunk.try_into().ok().map(|chunk: [u8; CHUNK_LEN]| (Some(*head), Fragment { index: 0, chunk })))
}

/// What was wrong with a relay message; ends the circuit that brought it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RelayMessageError {
    /// No such command.
    #[error("the peer sent a relay message with the unknown command {0}")]
    UnknownCommand(u8),
    /// The length runs over the payload.
    #[error("the peer sent a {command:?} message that claims {len} bytes of data")]
    TooLong {
        /// The message's command.
        command: RelayCommand,
        /// The length that it claims.
        len: usize,
    },
    /// The data has not the length that the command wants.
    #[error("the peer sent a {command:?} message with {len} bytes of data, which is not its length")]
    WrongLength {
        /// The message's command.
        command: RelayCommand,
        /// The length of its data.
        len: usize,
    },
    /// A stream where none belongs, or none where one does.
    #[error("the peer sent a {command:?} message on stream {stream}")]
    Stream {
        /// The message's command.
        command: RelayCommand,
        /// The stream.
        stream: u16,
    },
    /// A fragment's index above two.
    #[error("the peer sent handshake fragment {0}; there are three")]
    Fragment(u8),
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn round_trip(message: &RelayMessage) -> [u8; PAYLOAD_LEN] {
        let mut payload = [0xee; PAYLOAD_LEN];
        message.encode(&mut payload);
        assert_eq!(RelayMessage::decode(&payload).as_ref(), Ok(message));
        payload
    }

    #[test]
    fn every_message_has_these_first_bytes() {
        let fragment = |index| Fragment { index, chunk: [7; CHUNK_LEN] };
        let cases: [(RelayMessage, &[u8]); 21] = [
            (
                RelayMessage::Begin {
                    stream: StreamId(0x102),
                    service: Service::SOURCE,
                    body: 5,
                    argument: vec![6; 8],
                },
                &[1, 1, 2, 0, 17, 1, 0, 0, 0, 0, 0, 0, 0, 5, 6, 6],
            ),
            (RelayMessage::End { stream: StreamId(1), reason: EndReason::DONE }, &[3, 0, 1, 0, 1, 6, 0]),
            (
                RelayMessage::Connected { stream: StreamId(1), body: OPEN_ENDED },
                &[4, 0, 1, 0, 8, 255, 255, 255, 255, 255, 255, 255, 255, 0],
            ),
            (RelayMessage::Sendme { stream: StreamId(1), tag: [8; 16] }, &[5, 0, 1, 0, 16, 8, 8]),
            (RelayMessage::Sendme { stream: StreamId::CIRCUIT, tag: [8; 16] }, &[5, 0, 0, 0, 16, 8, 8]),
            (RelayMessage::Data { stream: StreamId(1), data: vec![9, 8] }, &[2, 0, 1, 0, 2, 9, 8, 0]),
            (RelayMessage::Drop, &[10, 0, 0, 0, 0, 0]),
            (RelayMessage::Extend { relay: Some([5; 32]), fragment: fragment(0) }, &[14, 0, 0, 1, 0xe8, 0, 5]),
            (RelayMessage::Extend { relay: None, fragment: fragment(2) }, &[14, 0, 0, 1, 0xc8, 2, 7]),
            (RelayMessage::Extended(fragment(0)), &[15, 0, 0, 1, 0xc8, 0, 7]),
            (RelayMessage::EstablishRendezvous(Cookie([3; 20])), &[33, 0, 0, 0, 20, 3, 3]),
            (RelayMessage::RendezvousEstablished, &[39, 0, 0, 0, 0, 0]),
            (
                RelayMessage::Rendezvous1 { cookie: Some(Cookie([4; 20])), fragment: fragment(0) },
                &[36, 0, 0, 1, 0xdc, 0, 4],
            ),
            (RelayMessage::Rendezvous1 { cookie: None, fragment: fragment(1) }, &[36, 0, 0, 1, 0xc8, 1, 7]),
            (RelayMessage::Rendezvous2(fragment(1)), &[37, 0, 0, 1, 0xc8, 1, 7]),
            (
                RelayMessage::EstablishIntro {
                    part: 1,
                    of: 2,
                    auth_keys: Box::new([IntroAuthKey([6; 16]); AUTH_KEYS_PER_CELL]),
                },
                &[32, 0, 0, 1, 0xe2, 1, 2, 6, 6],
            ),
            (RelayMessage::IntroEstablished, &[38, 0, 0, 0, 0, 0]),
            (RelayMessage::Introduce1(fragment(0)), &[34, 0, 0, 1, 0xc8, 0, 7]),
            (RelayMessage::Introduce2(fragment(2)), &[35, 0, 0, 1, 0xc8, 2, 7]),
            (RelayMessage::IntroduceAck { effort: 12, seed: [9; 16] }, &[40, 0, 0, 0, 17, 12, 9, 9]),
            (RelayMessage::RendezvousUnknown, &[52, 0, 0, 0, 0, 0]),
        ];
        for (message, head) in cases {
            assert_eq!(&round_trip(&message)[..head.len()], head, "{message:?}");
        }
    }

    proptest! {
        #[test]
        fn decoding_is_total(bytes in proptest::collection::vec(any::<u8>(), PAYLOAD_LEN), command in 0_u8..60) {
            let mut payload: [u8; PAYLOAD_LEN] = bytes.try_into().unwrap();
            payload[0] = command;
            if let Ok(message) = RelayMessage::decode(&payload) {
                round_trip(&message);
            }
        }

        #[test]
        fn data_of_any_length_survives(data in proptest::collection::vec(any::<u8>(), 0..=MAX_DATA_LEN)) {
            let cell = RelayMessage::data_cell(CircId(3), StreamId(7), &data);
            let message = RelayMessage::Data { stream: StreamId(7), data };
            round_trip(&message);
            assert_eq!(cell, message.to_cell(CircId(3), Command::Relay));
        }
    }
}
