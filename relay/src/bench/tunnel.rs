//! A link to a guard with circuits over it, without the engine of a client.

use std::collections::{HashMap, VecDeque};

use allium_shared::cell::{CELL_LEN, Cell, CircId, Command, DestroyReason, LinkEnd};
use allium_shared::circuit::{Circuit, Hop, Received};
use allium_shared::link::{Initiator, LinkStep, MAX_CELLS, Opener, RelayAddressee, Sealer};
use allium_shared::netdir::{Authorities, RelayEntry};
use futures_util::{FutureExt, SinkExt, StreamExt};
use rand_chacha::ChaCha20Rng;
use tokio_tungstenite::tungstenite::{self, Message};

use super::{BenchError, PATIENCE};
use crate::dial::{self, Socket};

/// Cells that are sent together when more comes in meanwhile: those that acknowledge a few records.
const TOGETHER: usize = 4;

/// A link to a guard, and the circuits over it.
pub(super) struct Tunnel {
    socket: Socket,
    sealer: Sealer,
    opener: Opener,
    pub(super) rng: ChaCha20Rng,
    circuits: HashMap<CircId, Circuit>,
    next_id: u32,
    cells: Vec<Cell>,
    received: VecDeque<(CircId, Received)>,
}

impl Tunnel {
    /// Opens a link as a page would: anonymously.
    pub(super) async fn open(
        authorities: &Authorities,
        guard: &RelayEntry,
        mut rng: ChaCha20Rng,
    ) -> Result<Self, BenchError> {
        let mut socket = dial::connect(guard.url.as_str()).await?;
        let addressee = RelayAddressee { identity: guard.identity, link_key: guard.link_key };
        let network = authorities.network();
        let (mut initiator, first) = Initiator::new_anonymous(&mut rng, network.as_bytes(), &addressee)?;
        send(&mut socket, first).await?;
        let answer = receive(&mut socket).await?;
        let LinkStep::Established { link, .. } = initiator.receive(&answer)? else {
            return Err(BenchError::Closed);
        };
        Ok(Self {
            socket,
            sealer: link.sealer,
            opener: link.opener,
            rng,
            circuits: HashMap::new(),
            next_id: 0,
            cells: Vec::new(),
            received: VecDeque::new(),
        })
    }

    /// Begins to build a circuit.
    pub(super) fn build(&mut self, path: Vec<Hop>) -> Result<CircId, BenchError> {
        let circ = self.new_id();
        let circuit = Circuit::build(&mut self.rng, circ, path, &mut self.cells)?;
        self.circuits.insert(circ, circuit);
        Ok(circ)
    }

    /// An id that no circuit of this link has had.
    pub(super) fn new_id(&mut self) -> CircId {
        let circ = LinkEnd::Initiator.circ_id(self.next_id);
        self.next_id += 1;
        circ
    }

    /// Sends a cell as it is.
    pub(super) fn send_raw(&mut self, cell: Cell) {
        self.cells.push(cell);
    }

    /// Does something with a circuit; its cells leave with the next [`Self::flush`].
    pub(super) fn with<T>(
        &mut self,
        circ: CircId,
        act: impl FnOnce(&mut Circuit, &mut Vec<Cell>) -> T,
    ) -> Result<T, BenchError> {
        let circuit = self.circuits.get_mut(&circ).ok_or(BenchError::Destroyed(DestroyReason::None))?;
        Ok(act(circuit, &mut self.cells))
    }

    /// Ends a circuit.
    pub(super) fn destroy(&mut self, circ: CircId) {
        if self.circuits.remove(&circ).is_some() {
            self.cells.push(Cell::destroy(circ, DestroyReason::Requested));
        }
    }

    /// Sends what waits.
    pub(super) async fn flush(&mut self) -> Result<(), BenchError> {
        for cells in self.cells.chunks(MAX_CELLS) {
            let mut record = Vec::with_capacity(cells.len() * CELL_LEN + 16);
            cells.iter().for_each(|cell| cell.encode(&mut record));
            self.sealer.seal(&mut record)?;
            self.socket.feed(Message::Binary(record.into())).await.map_err(|_| BenchError::Closed)?;
        }
        self.cells.clear();
        self.socket.flush().await.map_err(|_| BenchError::Closed)
    }

    /// What the next cell means that is of any circuit of ours. Sends what waits before it waits itself.
    pub(super) async fn next(&mut self) -> Result<(CircId, Received), BenchError> {
        loop {
            if let Some(received) = self.received.pop_front() {
                return Ok(received);
            }
            // What has come already is read first, so that acknowledgements of a few records leave together.
            let ready = if self.cells.len() < TOGETHER { self.socket.next().now_or_never() } else { None };
            let mut message = match ready {
                Some(message) => match binary(message)? {
                    Some(message) => message,
                    None => continue,
                },
                None => {
                    if !self.cells.is_empty() {
                        self.flush().await?;
                    }
                    receive(&mut self.socket).await?
                }
            };
            for cell in self.opener.open(&mut message)? {
                let Ok(cell) = Cell::decode(cell) else { return Err(BenchError::Closed) };
                let circ = cell.circ;
                let Some(circuit) = self.circuits.get_mut(&circ) else { continue };
                match circuit.handle(&mut self.rng, cell, &mut self.cells)? {
                    Received::Nothing => {}
                    received => self.received.push_back((circ, received)),
                }
            }
        }
    }

    /// Reads what has come and says that this end lives.
    pub(super) async fn keep_alive(&mut self) -> Result<(), BenchError> {
        self.cells.push(Cell::PADDING);
        self.flush().await?;
        while let Some(message) = self.socket.next().now_or_never() {
            if let Some(mut message) = binary(message)? {
                for cell in self.opener.open(&mut message)? {
                    if Cell::decode(cell).is_ok_and(|cell| cell.command == Command::Destroy) {
                        return Err(BenchError::Destroyed(DestroyReason::None));
                    }
                }
            }
        }
        Ok(())
    }

    /// Reads what has come, whatever it says.
    pub(super) fn skim(&mut self) -> Result<(), BenchError> {
        while let Some(message) = self.socket.next().now_or_never() {
            binary(message)?;
        }
        Ok(())
    }

    /// Waits until a circuit is open.
    pub(super) async fn opened(&mut self, circ: CircId) -> Result<(), BenchError> {
        loop {
            match self.next().await? {
                (other, Received::Open) if other == circ => return Ok(()),
                (other, Received::Destroyed(reason)) if other == circ => return Err(BenchError::Destroyed(reason)),
                _ => {}
            }
        }
    }
}

async fn send(socket: &mut Socket, message: Vec<u8>) -> Result<(), BenchError> {
    socket.send(Message::Binary(message.into())).await.map_err(|_| BenchError::Closed)
}

async fn receive(socket: &mut Socket) -> Result<Vec<u8>, BenchError> {
    loop {
        let message = tokio::time::timeout(PATIENCE, socket.next()).await.map_err(|_| BenchError::Silence)?;
        if let Some(bytes) = binary(message)? {
            return Ok(bytes);
        }
    }
}

/// The bytes of a record, or nothing if the message is none.
fn binary(message: Option<Result<Message, tungstenite::Error>>) -> Result<Option<Vec<u8>>, BenchError> {
    match message {
        Some(Ok(Message::Binary(bytes))) => Ok(Some(bytes.into())),
        Some(Ok(Message::Close(_)) | Err(_)) | None => Err(BenchError::Closed),
        Some(Ok(_)) => Ok(None),
    }
}
