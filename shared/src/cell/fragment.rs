//! Handshake messages are longer than a cell and travel as exactly three fragments on consecutive cells.

use thiserror::Error;

use super::{BODY_LEN, Cell, CircId, Command};

/// Bytes of the handshake message in one fragment.
pub const CHUNK_LEN: usize = 455;

/// Fragments of one message.
pub const FRAGMENTS: u8 = 3;

/// Length of the longest message that fits.
pub const MAX_MESSAGE_LEN: usize = CHUNK_LEN * FRAGMENTS as usize;

/// One third of a handshake message: `index u8 ‖ chunk (455)`, the last chunk filled with zeros.
#[derive(Clone, PartialEq, Eq)]
pub struct Fragment {
    /// 0, 1 or 2.
    pub index: u8,
    /// The bytes.
    pub chunk: [u8; CHUNK_LEN],
}

impl Fragment {
    /// The fragment that a `Create` or `Created` cell carries at the start of its body.
    pub fn in_cell(cell: &Cell) -> Self {
        let mut fragment = Self { index: cell.body[0], chunk: [0; CHUNK_LEN] };
        fragment.chunk.copy_from_slice(&cell.body[1..=CHUNK_LEN]);
        fragment
    }

    /// A `Create` or `Created` cell with this fragment; the rest of its body is zeros.
    pub fn to_cell(&self, circ: CircId, command: Command) -> Cell {
        let mut cell = Cell { circ, command, body: [0; BODY_LEN] };
        cell.body[0] = self.index;
        cell.body[1..=CHUNK_LEN].copy_from_slice(&self.chunk);
        cell
    }
}

impl core::fmt::Debug for Fragment {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Fragment").field("index", &self.index).finish_non_exhaustive()
    }
}

/// Cuts a message of at most [`MAX_MESSAGE_LEN`] bytes into three fragments; what is beyond that is not sent.
pub fn split(message: &[u8]) -> [Fragment; FRAGMENTS as usize] {
    let mut chunks = message.chunks(CHUNK_LEN);
    [0, 1, 2].map(|index| {
        let mut chunk = [0; CHUNK_LEN];
        for (to, from) in chunk.iter_mut().zip(chunks.next().unwrap_or_default()) {
            *to = *from;
        }
        Fragment { index, chunk }
    })
}

/// Puts three fragments together again.
#[derive(Clone, Debug, Default)]
pub struct Assembler {
    bytes: Vec<u8>,
}

impl Assembler {
    /// Takes the next fragment; gives the message, with its zero filling, at the third.
    ///
    /// # Errors
    ///
    /// If a fragment comes out of its turn.
    pub fn push(&mut self, fragment: &Fragment) -> Result<Option<Vec<u8>>, FragmentError> {
        let expected = u8::try_from(self.bytes.len() / CHUNK_LEN).unwrap_or(FRAGMENTS);
        if fragment.index != expected || expected >= FRAGMENTS {
            return Err(FragmentError { got: fragment.index, expected });
        }
        self.bytes.extend_from_slice(&fragment.chunk);
        if self.bytes.len() == MAX_MESSAGE_LEN {
            return Ok(Some(core::mem::take(&mut self.bytes)));
        }
        Ok(None)
    }

    /// Whether no fragment has come yet.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

/// A fragment came out of its turn.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("the peer sent handshake fragment {got} where {expected} was due")]
pub struct FragmentError {
    /// What came.
    pub got: u8,
    /// What was due.
    pub expected: u8,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_fragments_make_the_message() {
        let message: Vec<u8> = (0..1300_u32).map(|i| i as u8).collect();
        let mut assembler = Assembler::default();
        let [a, b, c] = split(&message);
        assert_eq!(assembler.push(&a), Ok(None));
        assert_eq!(assembler.push(&b), Ok(None));
        let whole = assembler.push(&c).unwrap().unwrap();
        assert_eq!(whole[..1300], message[..]);
        assert!(whole[1300..].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn fragments_out_of_turn_are_refused() {
        let [a, b, _] = split(&[1; 1000]);
        let mut assembler = Assembler::default();
        assert_eq!(assembler.push(&b), Err(FragmentError { got: 1, expected: 0 }));
        assembler.push(&a).unwrap();
        assert_eq!(assembler.push(&a), Err(FragmentError { got: 0, expected: 1 }));
    }
}
