//! Circuits at the origin: the end that builds them and puts on all the layers.
//!
//! Beside the messages that build a circuit and let two of them meet, a circuit carries streams: to services of its last
//! hop, and, once it is joined to another client's, the one stream to that client. Windows bound what is under way
//! ([`crate::flow`]); what does not fit waits here.

use std::collections::{BTreeMap, VecDeque};

use rand_core::CryptoRng;
use thiserror::Error;

use crate::cell::fragment::{Assembler, Fragment, FragmentError, split};
use crate::cell::message::{EndReason, MAX_DATA_LEN, RelayMessage, RelayMessageError, Service, StreamId};
use crate::cell::{Cell, CircId, Command, DestroyReason};
use crate::crypto::cgo::{ClientBackward, ClientForward, RelayBackward, RelayForward, Tag};
use crate::crypto::handshake::{
    CLIENT_MESSAGE_LEN, CircuitKeys, ClientHandshake, HandshakeError, SERVER_MESSAGE_LEN, ServerPublic,
};
use crate::crypto::keys::{OnionPublic, RelayIdentity};
use crate::flow::{Ended, Flow, FlowError, MAX_STREAMS};

/// The one stream between two joined clients; open from the beginning to the end.
pub const JOINED_STREAM: StreamId = StreamId(1);

/// A relay as the origin knows it from the consensus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hop {
    /// Its identity.
    pub identity: RelayIdentity,
    /// Its onion key.
    pub onion_key: OnionPublic,
}

/// Which part one plays in a meeting of two circuits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RendezvousRole {
    /// Came to the rendezvous relay when it was asked to; in the shared layer it stands where a relay stands.
    Service,
    /// Asked for the meeting and waited; in the shared layer it stands where a client stands.
    Client,
}

/// A circuit at its origin.
pub struct Circuit {
    circ: CircId,
    path: Vec<Hop>,
    layers: Vec<Layer>,
    pending: Option<(ClientHandshake, Assembler)>,
    shared: Option<SharedLayer>,
    /// With the last hop, or with the other client once there is one.
    flow: Flow,
    /// Bytes that wait for a window to open, by stream.
    waiting: BTreeMap<StreamId, VecDeque<u8>>,
}

struct Layer {
    forward: ClientForward,
    backward: ClientBackward,
}

/// The layer that two joined clients share, which the rendezvous relay cannot take off.
enum SharedLayer {
    Service { send: RelayBackward, receive: RelayForward },
    Client { send: ClientForward, receive: ClientBackward },
}

/// What a cell meant.
#[derive(Debug, PartialEq, Eq)]
pub enum Received {
    /// Part of a handshake, or padding.
    Nothing,
    /// The circuit now reaches the end of its path.
    Open,
    /// A message from the last hop.
    Message(Box<RelayMessage>),
    /// The last hop has accepted this stream, and will send so many bytes or [`OPEN_ENDED`](crate::stream::OPEN_ENDED).
    Connected(StreamId, u64),
    /// Bytes of a stream. Once they are dealt with, [`Circuit::consumed`] lets the other end send more.
    Data(StreamId, Vec<u8>),
    /// More may be sent on this stream, or on all streams where it is [`StreamId::CIRCUIT`].
    Writable(StreamId),
    /// The other end has ended this stream. The stream is gone.
    Ended(StreamId, EndReason),
    /// The circuit is gone.
    Destroyed(DestroyReason),
}

impl Circuit {
    /// Starts to build a circuit along `path`; gives it with the cells to send.
    ///
    /// # Errors
    ///
    /// If the path is empty, or a relay's onion key is none.
    pub fn build(
        rng: &mut impl CryptoRng,
        circ: CircId,
        path: Vec<Hop>,
        out: &mut Vec<Cell>,
    ) -> Result<Self, CircuitError> {
        let (circuit, message) = Self::start(rng, circ, path)?;
        for fragment in split(&message) {
            out.push(fragment.to_cell(circ, Command::Create));
        }
        Ok(circuit)
    }

    /// The same where something else carries the first handshake: returns the circuit with the message to the first relay,
    /// whose answer is for [`Self::answered`].
    ///
    /// # Errors
    ///
    /// As [`Self::build`].
    pub fn start(
        rng: &mut impl CryptoRng,
        circ: CircId,
        path: Vec<Hop>,
    ) -> Result<(Self, [u8; CLIENT_MESSAGE_LEN]), CircuitError> {
        let first = path.first().ok_or(CircuitError::EmptyPath)?;
        let (handshake, message) = start(rng, first)?;
        let pending = Some((handshake, Assembler::default()));
        let (flow, waiting) = (Flow::new(), BTreeMap::new());
        Ok((Self { circ, path, layers: Vec::new(), pending, shared: None, flow, waiting }, message))
    }

    /// Extends an open circuit by one hop; [`Received::Open`] says when it is done.
    ///
    /// # Errors
    ///
    /// If the circuit is not open or has streams, or the relay's onion key is none.
    pub fn extend(&mut self, rng: &mut impl CryptoRng, hop: Hop, out: &mut Vec<Cell>) -> Result<(), CircuitError> {
        if !self.is_open() || self.shared.is_some() || self.flow.streams() > 0 {
            return Err(CircuitError::NotOpen);
        }
        self.path.push(hop);
        self.extend_next(rng, out)
    }

    /// The circuit's id on its link.
    pub fn circ_id(&self) -> CircId {
        self.circ
    }

    /// The hops, the guard first, whether reached yet or not.
    pub fn path(&self) -> &[Hop] {
        &self.path
    }

    /// How many hops have been reached.
    pub fn reached(&self) -> usize {
        self.layers.len()
    }

    /// Whether the whole path has been reached.
    pub fn is_open(&self) -> bool {
        self.layers.len() == self.path.len()
    }

    /// Puts the shared layer on: from now on the circuit reaches the other client.
    pub fn join(&mut self, side: RendezvousRole, keys: &CircuitKeys) {
        self.shared = Some(match side {
            RendezvousRole::Service => SharedLayer::Service {
                send: RelayBackward::new(&keys.backward),
                receive: RelayForward::new(&keys.forward),
            },
            RendezvousRole::Client => SharedLayer::Client {
                send: ClientForward::new(&keys.forward),
                receive: ClientBackward::new(&keys.backward),
            },
        });
        self.waiting.clear();
        self.flow = Flow::new();
        // The only stream, so neither taken nor one too many.
        let _ = self.flow.accept(JOINED_STREAM);
    }

    /// Sends a message that belongs to no stream to the last hop.
    pub fn send(&mut self, message: &RelayMessage, out: &mut Vec<Cell>) {
        self.originate(message, out);
    }

    /// Opens a stream to a service of the last hop, and announces so many bytes or
    /// [`OPEN_ENDED`](crate::stream::OPEN_ENDED); [`Received::Connected`] or [`Received::Ended`] answers.
    ///
    /// # Errors
    ///
    /// If the circuit is not open or joined to another client's, or has too many streams.
    pub fn begin(
        &mut self,
        service: Service,
        body: u64,
        argument: &[u8],
        out: &mut Vec<Cell>,
    ) -> Result<StreamId, CircuitError> {
        if !self.is_open() || self.shared.is_some() {
            return Err(CircuitError::NotOpen);
        }
        let stream = self.flow.free_id().ok_or(FlowError::TooManyStreams)?;
        self.flow.begin(stream)?;
        let argument = argument.to_vec();
        self.originate(&RelayMessage::Begin { stream, service, body, argument }, out);
        Ok(stream)
    }

    /// Whether one more stream may be opened.
    pub fn has_free_stream(&self) -> bool {
        self.is_open() && self.shared.is_none() && self.flow.streams() < MAX_STREAMS
    }

    /// Whether the windows allow one more message on a stream.
    pub fn may_send(&self, stream: StreamId) -> bool {
        self.flow.may_send(stream) > 0
    }

    /// Sends one message on a stream, of at most [`MAX_DATA_LEN`] bytes; nothing unless [`Self::may_send`].
    pub fn send_data(&mut self, stream: StreamId, bytes: &[u8], out: &mut Vec<Cell>) {
        if self.may_send(stream)
            && let Some(tag) = self.originate_cell(RelayMessage::data_cell(self.circ, stream, bytes), out)
        {
            self.flow.sent(stream, &tag);
        }
    }

    /// Says something on a stream: what the windows allow at once, the rest when they open. Nothing, if there is no such
    /// stream or this end has ended it.
    ///
    /// [`Self::waiting`] tells how much waits; whoever does not look keeps that in memory.
    pub fn write(&mut self, stream: StreamId, bytes: &[u8], out: &mut Vec<Cell>) {
        if !self.flow.is_open(stream) {
            return;
        }
        self.waiting.entry(stream).or_default().extend(bytes);
        self.pump(stream, out);
    }

    /// How many bytes wait for a window to open.
    pub fn waiting(&self, stream: StreamId) -> usize {
        self.waiting.get(&stream).map_or(0, VecDeque::len)
    }

    /// What one [`Received::Data`] brought is dealt with: the other end may send as much again.
    pub fn consumed(&mut self, stream: StreamId, out: &mut Vec<Cell>) {
        if let Some(tag) = self.flow.consumed(stream) {
            self.originate(&RelayMessage::Sendme { stream, tag }, out);
        }
    }

    /// Ends a stream: says no more on it, and wants to hear no more.
    pub fn end(&mut self, stream: StreamId, reason: EndReason, out: &mut Vec<Cell>) {
        if self.flow.end(stream) {
            self.waiting.remove(&stream);
            self.originate(&RelayMessage::End { stream, reason }, out);
        }
    }

    /// Sends what waits on a stream, as far as the windows allow.
    fn pump(&mut self, stream: StreamId, out: &mut Vec<Cell>) {
        while self.pump_one(stream, out) {}
    }

    /// Sends what waits on all streams, which take turns.
    fn pump_all(&mut self, out: &mut Vec<Cell>) {
        loop {
            let streams: Vec<_> = self.waiting.keys().copied().collect();
            let sent = streams.into_iter().filter(|stream| self.pump_one(*stream, out)).count();
            if sent == 0 {
                return;
            }
        }
    }

    /// Sends one message of what waits on a stream, if there is any and the windows allow it.
    fn pump_one(&mut self, stream: StreamId, out: &mut Vec<Cell>) -> bool {
        if !self.may_send(stream) {
            return false;
        }
        let Some(waiting) = self.waiting.get_mut(&stream) else { return false };
        let data: Vec<u8> = waiting.drain(..waiting.len().min(MAX_DATA_LEN)).collect();
        if waiting.is_empty() {
            self.waiting.remove(&stream);
        }
        if data.is_empty() {
            return false;
        }
        self.send_data(stream, &data, out);
        true
    }

    /// Makes the cell of a message to the other client, or while there is none to the last hop; gives its tag.
    fn originate(&mut self, message: &RelayMessage, out: &mut Vec<Cell>) -> Option<Tag> {
        let early = message.is_early();
        self.originate_cell(message.to_cell(self.circ, if early { Command::RelayEarly } else { Command::Relay }), out)
    }

    /// Puts the layers on a cell, and sends it; gives its tag.
    fn originate_cell(&mut self, mut cell: Cell, out: &mut Vec<Cell>) -> Option<Tag> {
        let command = cell.command as u8;
        let (tag, passed) = match &mut self.shared {
            Some(SharedLayer::Service { send, .. }) => (send.originate(command, &mut cell.body), &mut self.layers[..]),
            Some(SharedLayer::Client { send, .. }) => (send.originate(command, &mut cell.body), &mut self.layers[..]),
            None => {
                let (last, others) = self.layers.split_last_mut()?;
                (last.forward.originate(command, &mut cell.body), others)
            }
        };
        for layer in passed.iter_mut().rev() {
            layer.forward.pass(command, &mut cell.body);
        }
        out.push(cell);
        Some(tag)
    }

    /// Handles a cell of this circuit. After an error the circuit is of no use: destroy it.
    ///
    /// # Errors
    ///
    /// If the cell is not what this state allows, or nobody on the circuit can have sent it.
    pub fn handle(
        &mut self,
        rng: &mut impl CryptoRng,
        mut cell: Cell,
        out: &mut Vec<Cell>,
    ) -> Result<Received, CircuitError> {
        match cell.command {
            Command::Destroy => Ok(Received::Destroyed(cell.destroy_reason())),
            Command::Created if self.layers.is_empty() => self.answer(rng, &Fragment::in_cell(&cell), out),
            Command::Relay => {
                let command = cell.command as u8;
                for hop in 0..self.layers.len() {
                    let Some(layer) = self.layers.get_mut(hop) else { break };
                    if let Some(tag) = layer.backward.process(command, &mut cell.body) {
                        return self.handle_message(rng, hop, &cell, &tag, out);
                    }
                }
                let recognised = match &mut self.shared {
                    Some(SharedLayer::Service { receive, .. }) => receive.process(command, &mut cell.body),
                    Some(SharedLayer::Client { receive, .. }) => receive.process(command, &mut cell.body),
                    None => None,
                };
                let tag = recognised.ok_or(CircuitError::Unrecognised)?;
                match RelayMessage::in_cell(&cell)? {
                    RelayMessage::Drop => Ok(Received::Nothing),
                    message @ (RelayMessage::Data { .. } | RelayMessage::Sendme { .. }) => {
                        self.handle_stream(message, &tag, out)
                    }
                    _ => Err(CircuitError::UnexpectedFromClient),
                }
            }
            command => Err(CircuitError::Unexpected(command)),
        }
    }

    fn handle_message(
        &mut self,
        rng: &mut impl CryptoRng,
        hop: usize,
        cell: &Cell,
        tag: &Tag,
        out: &mut Vec<Cell>,
    ) -> Result<Received, CircuitError> {
        let is_last = hop + 1 == self.layers.len();
        match RelayMessage::in_cell(cell)? {
            RelayMessage::Drop => Ok(Received::Nothing),
            RelayMessage::Extended(fragment) if is_last => self.answer(rng, &fragment, out),
            message if is_last && self.is_open() && self.shared.is_none() => self.handle_stream(message, tag, out),
            // Whoever comes puts the shared layer on at once, and hears only then that nobody waits.
            message @ RelayMessage::RendezvousUnknown if is_last && self.shared.is_some() => {
                Ok(Received::Message(Box::new(message)))
            }
            _ => Err(CircuitError::UnexpectedMessage { hop }),
        }
    }

    /// Takes what the far end of the circuit's streams has sent.
    fn handle_stream(
        &mut self,
        message: RelayMessage,
        tag: &Tag,
        out: &mut Vec<Cell>,
    ) -> Result<Received, CircuitError> {
        match message {
            RelayMessage::Data { stream, data } => {
                let arrived = self.flow.received(stream, tag)?;
                if let Some(tag) = arrived.sendme {
                    self.originate(&RelayMessage::Sendme { stream: StreamId::CIRCUIT, tag }, out);
                }
                Ok(if arrived.wanted { Received::Data(stream, data) } else { Received::Nothing })
            }
            RelayMessage::Sendme { stream, tag } => {
                self.flow.acknowledged(stream, &tag)?;
                if stream == StreamId::CIRCUIT {
                    self.pump_all(out);
                } else {
                    self.pump(stream, out);
                }
                Ok(Received::Writable(stream))
            }
            RelayMessage::Connected { stream, body } => {
                self.flow.connected(stream)?;
                Ok(Received::Connected(stream, body))
            }
            RelayMessage::End { stream, reason } => match self.flow.ended(stream)? {
                Ended::ByBoth => Ok(Received::Nothing),
                Ended::ByPeer => {
                    self.waiting.remove(&stream);
                    self.originate(&RelayMessage::End { stream, reason: EndReason::DONE }, out);
                    Ok(Received::Ended(stream, reason))
                }
            },
            message => Ok(Received::Message(Box::new(message))),
        }
    }

    /// Takes one fragment of the next hop's handshake; adds its layer at the third.
    fn answer(
        &mut self,
        rng: &mut impl CryptoRng,
        fragment: &Fragment,
        out: &mut Vec<Cell>,
    ) -> Result<Received, CircuitError> {
        let (_, answer) = self.pending.as_mut().ok_or(CircuitError::Unexpected(Command::Created))?;
        let Some(message) = answer.push(fragment)? else { return Ok(Received::Nothing) };
        self.answered(rng, &message, out)
    }

    /// Takes the next hop's whole answer to its handshake, and adds its layer.
    ///
    /// # Errors
    ///
    /// If no handshake is under way, or the relay does not prove who it is. The circuit is of no use then.
    pub fn answered(
        &mut self,
        rng: &mut impl CryptoRng,
        message: &[u8],
        out: &mut Vec<Cell>,
    ) -> Result<Received, CircuitError> {
        let (handshake, _) = self.pending.take().ok_or(CircuitError::Unexpected(Command::Created))?;
        let mut stream = handshake.finish(message.get(..SERVER_MESSAGE_LEN).unwrap_or_default())?;
        let keys = CircuitKeys::from(&mut stream);
        self.layers
            .push(Layer { forward: ClientForward::new(&keys.forward), backward: ClientBackward::new(&keys.backward) });
        if self.is_open() {
            return Ok(Received::Open);
        }
        self.extend_next(rng, out)?;
        Ok(Received::Nothing)
    }

    fn extend_next(&mut self, rng: &mut impl CryptoRng, out: &mut Vec<Cell>) -> Result<(), CircuitError> {
        let Some(hop) = self.path.get(self.layers.len()) else { return Ok(()) };
        let relay = *hop.identity.as_bytes();
        let (handshake, message) = start(rng, hop)?;
        self.pending = Some((handshake, Assembler::default()));
        for fragment in split(&message) {
            let relay = (fragment.index == 0).then_some(relay);
            self.send(&RelayMessage::Extend { relay, fragment }, out);
        }
        Ok(())
    }
}

fn start(rng: &mut impl CryptoRng, hop: &Hop) -> Result<(ClientHandshake, [u8; CLIENT_MESSAGE_LEN]), CircuitError> {
    let server = ServerPublic { identity: *hop.identity.as_bytes(), onion_key: *hop.onion_key.as_bytes() };
    Ok(ClientHandshake::start(rng, &server, b"")?)
}

impl core::fmt::Debug for Circuit {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Circuit").field("circ", &self.circ).field("reached", &self.reached()).finish_non_exhaustive()
    }
}

/// Why a circuit cannot go on.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CircuitError {
    /// A path without relays.
    #[error("a circuit needs at least one relay")]
    EmptyPath,
    /// Only an open circuit without streams can be extended, and only an open one has streams.
    #[error("the circuit is not open, or has streams")]
    NotOpen,
    /// A relay could not prove who it is, or its answer is none.
    #[error("the handshake with a relay failed: {0}")]
    Handshake(#[from] HandshakeError),
    /// A fragment out of its turn.
    #[error(transparent)]
    Fragment(#[from] FragmentError),
    /// A message that cannot be read.
    #[error(transparent)]
    Message(#[from] RelayMessageError),
    /// More than a window allows, or a false acknowledgement.
    #[error(transparent)]
    Flow(#[from] FlowError),
    /// A message that only relays send.
    #[error("the client at the other end sent a message that clients do not send")]
    UnexpectedFromClient,
    /// A cell that this state does not allow.
    #[error("a relay sent a {0:?} cell, which the circuit's state does not allow")]
    Unexpected(Command),
    /// A message that this state does not allow.
    #[error("the relay at hop {hop} sent a message that the circuit's state does not allow")]
    UnexpectedMessage {
        /// The hop, from zero.
        hop: usize,
    },
    /// No hop recognises the cell: somebody changed it, or made it up.
    #[error("a cell came that no hop of the circuit can have sent")]
    Unrecognised,
}

#[cfg(test)]
mod tests;
