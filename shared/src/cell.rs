//! Cells: the one size in which everything travels between two neighbours.
//!
//! ```text
//!  0        4    5                                             514
//!  ├ CircId ┼ cmd ┼ body (509) ───────────────────────────────────┤
//! ```

use thiserror::Error;

pub use crate::crypto::cgo::BODY_LEN;

pub mod fragment;
pub mod introduction;
pub mod message;
pub mod stream;

/// Length of a cell's circuit id and command, in bytes.
const HEADER_LEN: usize = 4 + 1;

/// Length of a cell, in bytes.
pub const CELL_LEN: usize = HEADER_LEN + BODY_LEN;

/// A circuit's name on one link.
///
/// Zero names no circuit (link padding). The top bit says which end of the link chose the id, so that both ends can
/// open circuits at the same moment without a clash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CircId(pub u32);

impl CircId {
    /// The id of cells that belong to no circuit.
    pub const NONE: Self = Self(0);

    /// Which end of the link chose this id.
    pub const fn chosen_by(self) -> LinkEnd {
        if self.0 & 0x8000_0000 == 0 { LinkEnd::Responder } else { LinkEnd::Initiator }
    }
}

/// The two ends of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LinkEnd {
    /// Opened the WebSocket; its circuit ids have the top bit set.
    Initiator,
    /// Accepted the WebSocket; its circuit ids have the top bit clear.
    Responder,
}

impl LinkEnd {
    /// The end at the other side.
    pub const fn other(self) -> Self {
        match self {
            Self::Initiator => Self::Responder,
            Self::Responder => Self::Initiator,
        }
    }

    /// The `n`th circuit id of this end; skips zero.
    pub const fn circ_id(self, n: u32) -> CircId {
        let low = n % 0x7fff_ffff + 1;
        match self {
            Self::Initiator => CircId(low | 0x8000_0000),
            Self::Responder => CircId(low),
        }
    }
}

macro_rules! commands {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $number:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum $name {
            $($(#[$doc])* $variant = $number,)*
        }

        impl $name {
            /// The command with this number, if there is one.
            pub const fn from_u8(number: u8) -> Option<Self> {
                match number {
                    $($number => Some(Self::$variant),)*
                    _ => None,
                }
            }

            /// Every command there is.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];
        }
    };
}
pub(crate) use commands;

commands! {
    /// What a cell is; Tor's numbers where the meaning is Tor's (tor-spec, "Cells").
    Command {
        /// Nothing; on an idle link, so that neither silence nor speech shows. `CircId` 0.
        Padding = 0,
        /// An onion-encrypted message on a circuit.
        Relay = 3,
        /// The circuit is gone; the first byte of the body is a [`DestroyReason`].
        Destroy = 4,
        /// As `Relay`, towards the last hop only, and at most [`MAX_EARLY`] times: the only cells that may extend.
        RelayEarly = 9,
        /// One of three fragments of the handshake that opens a circuit.
        Create = 10,
        /// One of three fragments of the answer.
        Created = 11,
    }
}

/// How many `RelayEarly` cells a circuit may carry: bounds its length.
pub const MAX_EARLY: u8 = 8;

commands! {
    /// Why a circuit ended. Says no more than a neighbour may know.
    DestroyReason {
        /// None given.
        None = 0,
        /// The peer broke the protocol.
        Protocol = 1,
        /// The sender could not go on for reasons of its own.
        Internal = 2,
        /// The end of the circuit asked for it.
        Requested = 3,
        /// The sender will take no more circuits now.
        ResourceLimit = 5,
        /// The next relay could not be reached.
        ConnectFailed = 6,
        /// A link on the circuit's way was lost.
        LinkClosed = 8,
        /// The circuit or its handshake took too long.
        Timeout = 10,
        /// The cell named a circuit that the sender does not know.
        NoSuchCircuit = 12,
    }
}

/// A cell.
#[derive(Clone, PartialEq, Eq)]
pub struct Cell {
    /// The circuit, or [`CircId::NONE`].
    pub circ: CircId,
    /// What the body is.
    pub command: Command,
    /// The body.
    pub body: [u8; BODY_LEN],
}

impl Cell {
    /// A padding cell.
    pub const PADDING: Self = Self { circ: CircId::NONE, command: Command::Padding, body: [0; BODY_LEN] };

    /// A cell that ends `circ`.
    pub fn destroy(circ: CircId, reason: DestroyReason) -> Self {
        let mut body = [0; BODY_LEN];
        body[0] = reason as u8;
        Self { circ, command: Command::Destroy, body }
    }

    /// The reason that a `Destroy` cell gives; unknown numbers read as none.
    pub fn destroy_reason(&self) -> DestroyReason {
        DestroyReason::from_u8(self.body[0]).unwrap_or(DestroyReason::None)
    }

    /// Reads a cell.
    ///
    /// # Errors
    ///
    /// If the command is unknown, or the circuit id does not fit it.
    pub fn decode(bytes: &[u8; CELL_LEN]) -> Result<Self, CellError> {
        let ([a, b, c, d, command], body) = bytes.split_first_chunk::<HEADER_LEN>().ok_or(CellError::Short)?;
        let circ = CircId(u32::from_be_bytes([*a, *b, *c, *d]));
        let command = Command::from_u8(*command).ok_or(CellError::UnknownCommand(*command))?;
        if (circ == CircId::NONE) != (command == Command::Padding) {
            return Err(CellError::CircIdMismatch { command, circ });
        }
        let body = *body.first_chunk().ok_or(CellError::Short)?;
        Ok(Self { circ, command, body })
    }

    /// Appends the cell's 514 bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.circ.0.to_be_bytes());
        out.push(self.command as u8);
        out.extend_from_slice(&self.body);
    }
}

impl core::fmt::Debug for Cell {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Cell").field("circ", &self.circ).field("command", &self.command).finish_non_exhaustive()
    }
}

/// What was wrong with a cell; ends the link that brought it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CellError {
    /// Fewer than 514 bytes.
    #[error("the peer sent a cell of fewer than 514 bytes")]
    Short,
    /// No such command.
    #[error("the peer sent a cell with the unknown command {0}")]
    UnknownCommand(u8),
    /// A circuit cell without a circuit, or padding on one.
    #[error("the peer sent a {command:?} cell with circuit id {}", circ.0)]
    CircIdMismatch {
        /// The cell's command.
        command: Command,
        /// Its circuit id.
        circ: CircId,
    },
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn destroy_is_these_bytes() {
        let mut bytes = Vec::new();
        Cell::destroy(CircId(0x8000_0001), DestroyReason::ConnectFailed).encode(&mut bytes);
        assert_eq!(bytes.len(), CELL_LEN);
        assert_eq!(bytes[..7], [0x80, 0, 0, 1, 4, 6, 0]);
        assert!(bytes[7..].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn circuit_ids_say_who_chose_them() {
        for n in [0, 1, 0x7fff_fffe, 0x7fff_ffff, u32::MAX] {
            for end in [LinkEnd::Initiator, LinkEnd::Responder] {
                let id = end.circ_id(n);
                assert_ne!(id, CircId::NONE);
                assert_eq!(id.chosen_by(), end);
            }
        }
    }

    #[test]
    fn padding_on_a_circuit_is_refused() {
        let mut bytes = [0; CELL_LEN];
        bytes[3] = 7;
        assert_eq!(Cell::decode(&bytes), Err(CellError::CircIdMismatch { command: Command::Padding, circ: CircId(7) }));
        bytes[4] = 200;
        assert_eq!(Cell::decode(&bytes), Err(CellError::UnknownCommand(200)));
    }

    proptest! {
        #[test]
        fn decoding_is_total_and_inverts_encoding(bytes in proptest::collection::vec(any::<u8>(), CELL_LEN)) {
            let bytes: [u8; CELL_LEN] = bytes.try_into().unwrap();
            if let Ok(cell) = Cell::decode(&bytes) {
                let mut again = Vec::new();
                cell.encode(&mut again);
                prop_assert_eq!(&again[..], &bytes[..]);
            }
        }
    }
}
