//! Circuits at the origin: the end that builds them and puts on all the layers.

use rand_core::CryptoRng;
use thiserror::Error;

use crate::cell::fragment::{Assembler, Fragment, FragmentError, split};
use crate::cell::message::{RelayMessage, RelayMessageError};
use crate::cell::{Cell, CircId, Command, DestroyReason};
use crate::crypto::cgo::{ClientBackward, ClientForward, RelayBackward, RelayForward};
use crate::crypto::handshake::{
    CLIENT_MESSAGE_LEN, CircuitKeys, ClientHandshake, HandshakeError, SERVER_MESSAGE_LEN, ServerPublic,
};
use crate::crypto::keys::{OnionPublic, RelayIdentity};

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
pub enum Side {
    /// Waited at the rendezvous relay; in the shared layer it stands where a relay stands.
    Host,
    /// Came with the cookie; in the shared layer it stands where a client stands.
    Visitor,
}

/// A circuit at its origin.
pub struct Circuit {
    circ: CircId,
    path: Vec<Hop>,
    layers: Vec<Layer>,
    pending: Option<(ClientHandshake, Assembler)>,
    shared: Option<SharedLayer>,
}

struct Layer {
    forward: ClientForward,
    backward: ClientBackward,
}

/// The layer that two joined clients share, which the rendezvous relay cannot take off.
enum SharedLayer {
    Host { send: RelayBackward, receive: RelayForward },
    Visitor { send: ClientForward, receive: ClientBackward },
}

/// What a cell meant.
#[derive(Debug, PartialEq, Eq)]
pub enum Received {
    /// Part of a handshake, or padding.
    Nothing,
    /// The circuit now reaches the end of its path.
    Open,
    /// A message from one's own hop with this index.
    Message(usize, RelayMessage),
    /// A message from the client at the other end of a joined circuit.
    Joined(RelayMessage),
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
        let first = path.first().ok_or(CircuitError::EmptyPath)?;
        let (handshake, message) = start(rng, first)?;
        for fragment in split(&message) {
            out.push(fragment.to_cell(circ, Command::Create));
        }
        let pending = Some((handshake, Assembler::default()));
        Ok(Self { circ, path, layers: Vec::new(), pending, shared: None })
    }

    /// Extends an open circuit by one hop; [`Received::Open`] says when it is done.
    ///
    /// # Errors
    ///
    /// If the circuit is not open, or the relay's onion key is none.
    pub fn extend(&mut self, rng: &mut impl CryptoRng, hop: Hop, out: &mut Vec<Cell>) -> Result<(), CircuitError> {
        if !self.is_open() || self.shared.is_some() {
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
    pub fn join(&mut self, side: Side, keys: &CircuitKeys) {
        self.shared = Some(match side {
            Side::Host => SharedLayer::Host {
                send: RelayBackward::new(&keys.backward),
                receive: RelayForward::new(&keys.forward),
            },
            Side::Visitor => SharedLayer::Visitor {
                send: ClientForward::new(&keys.forward),
                receive: ClientBackward::new(&keys.backward),
            },
        });
    }

    /// Sends a message to the last hop.
    pub fn send(&mut self, message: &RelayMessage, out: &mut Vec<Cell>) {
        let mut cell = self.cell_of(message);
        if let Some((last, others)) = self.layers.split_last_mut() {
            last.forward.originate(cell.command as u8, &mut cell.body);
            for layer in others.iter_mut().rev() {
                layer.forward.pass(cell.command as u8, &mut cell.body);
            }
            out.push(cell);
        }
    }

    /// Sends a message to the client at the other end.
    ///
    /// # Errors
    ///
    /// If the circuit is not joined.
    pub fn send_joined(&mut self, message: &RelayMessage, out: &mut Vec<Cell>) -> Result<(), CircuitError> {
        let mut cell = self.cell_of(message);
        let command = cell.command as u8;
        match self.shared.as_mut().ok_or(CircuitError::NotJoined)? {
            SharedLayer::Host { send, .. } => send.originate(command, &mut cell.body),
            SharedLayer::Visitor { send, .. } => send.originate(command, &mut cell.body),
        };
        for layer in self.layers.iter_mut().rev() {
            layer.forward.pass(command, &mut cell.body);
        }
        out.push(cell);
        Ok(())
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
                for (hop, layer) in self.layers.iter_mut().enumerate() {
                    if layer.backward.process(command, &mut cell.body).is_some() {
                        let message = RelayMessage::in_cell(&cell)?;
                        return self.handle_message(rng, hop, message, out);
                    }
                }
                let recognised = match &mut self.shared {
                    Some(SharedLayer::Host { receive, .. }) => receive.process(command, &mut cell.body),
                    Some(SharedLayer::Visitor { receive, .. }) => receive.process(command, &mut cell.body),
                    None => None,
                };
                if recognised.is_none() {
                    return Err(CircuitError::Unrecognised);
                }
                match RelayMessage::in_cell(&cell)? {
                    RelayMessage::Drop => Ok(Received::Nothing),
                    message => Ok(Received::Joined(message)),
                }
            }
            command => Err(CircuitError::Unexpected(command)),
        }
    }

    fn handle_message(
        &mut self,
        rng: &mut impl CryptoRng,
        hop: usize,
        message: RelayMessage,
        out: &mut Vec<Cell>,
    ) -> Result<Received, CircuitError> {
        match message {
            RelayMessage::Drop => Ok(Received::Nothing),
            RelayMessage::Extended(fragment) if hop + 1 == self.layers.len() => self.answer(rng, &fragment, out),
            message if hop + 1 == self.layers.len() && self.is_open() && self.shared.is_none() => {
                Ok(Received::Message(hop, message))
            }
            _ => Err(CircuitError::UnexpectedMessage { hop }),
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
        let Some((handshake, _)) = self.pending.take() else { return Ok(Received::Nothing) };
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

    fn cell_of(&self, message: &RelayMessage) -> Cell {
        let command = if message.is_early() { Command::RelayEarly } else { Command::Relay };
        message.to_cell(self.circ, command)
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
#[derive(Debug, PartialEq, Eq, Error)]
pub enum CircuitError {
    /// A path without relays.
    #[error("a circuit needs at least one relay")]
    EmptyPath,
    /// Only an open circuit can be extended.
    #[error("the circuit is not open")]
    NotOpen,
    /// Nobody is at the other end.
    #[error("the circuit is not joined to another")]
    NotJoined,
    /// A relay could not prove who it is, or its answer is none.
    #[error("the handshake with a relay failed: {0}")]
    Handshake(#[from] HandshakeError),
    /// A fragment out of its turn.
    #[error(transparent)]
    Fragment(#[from] FragmentError),
    /// A message that cannot be read.
    #[error(transparent)]
    Message(#[from] RelayMessageError),
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
