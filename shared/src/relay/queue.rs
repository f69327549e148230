//! Cells that wait for a link's writer: a queue for each circuit, served in turn.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};

use crate::cell::{Cell, CircId};

/// How many cells one circuit may have waiting. A client that keeps to its windows never comes near.
pub const MAX_QUEUED: usize = 1024;

/// Per-circuit queues of one link.
///
/// A circuit that had nothing waiting is served before those that keep the link busy; those are served in turn, a cell
/// each. A circuit's own cells keep their order.
#[derive(Debug, Default)]
pub struct CellQueue {
    circuits: HashMap<CircId, VecDeque<Cell>>,
    quiet: VecDeque<CircId>,
    busy: VecDeque<CircId>,
    overruns: Vec<CircId>,
    len: usize,
}

impl CellQueue {
    /// An empty queue.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a cell in.
    ///
    /// # Errors
    ///
    /// [`Overrun`], which [`Self::take_overrun`] repeats, when the circuit already has [`MAX_QUEUED`] cells waiting. They are dropped, and the circuit must be
    /// destroyed: nothing is ever dropped from a circuit that lives.
    pub fn push(&mut self, cell: Cell) -> Result<(), Overrun> {
        let circ = cell.circ;
        match self.circuits.entry(circ) {
            Entry::Vacant(entry) => {
                entry.insert(VecDeque::from([cell]));
                self.quiet.push_back(circ);
            }
            Entry::Occupied(mut entry) if entry.get().len() < MAX_QUEUED => entry.get_mut().push_back(cell),
            Entry::Occupied(mut entry) => {
                self.len -= entry.get().len();
                entry.get_mut().clear();
                self.overruns.push(circ);
                return Err(Overrun(circ));
            }
        }
        self.len += 1;
        Ok(())
    }

    /// Takes the next cell out.
    pub fn pop(&mut self) -> Option<Cell> {
        loop {
            let circ = self.quiet.pop_front().or_else(|| self.busy.pop_front())?;
            let Some(cells) = self.circuits.get_mut(&circ) else { continue };
            let cell = cells.pop_front();
            if cells.is_empty() {
                self.circuits.remove(&circ);
            } else {
                self.busy.push_back(circ);
            }
            if let Some(cell) = cell {
                self.len -= 1;
                return Some(cell);
            }
        }
    }

    /// A circuit that has overrun its queue since the last call.
    pub fn take_overrun(&mut self) -> Option<CircId> {
        self.overruns.pop()
    }

    /// How many cells wait, over all circuits.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no cell waits.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// A circuit whose reader is too slow for what is sent to it; names the circuit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overrun(pub CircId);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cell::Command;

    fn cell(circ: u32, n: u8) -> Cell {
        Cell { circ: CircId(circ), command: Command::Relay, body: [n; 509] }
    }

    fn popped(queue: &mut CellQueue) -> Vec<(u32, u8)> {
        std::iter::from_fn(|| queue.pop()).map(|cell| (cell.circ.0, cell.body[0])).collect()
    }

    #[test]
    fn a_quiet_circuit_goes_before_a_busy_one() {
        let mut queue = CellQueue::new();
        for n in 0..4 {
            queue.push(cell(1, n)).unwrap();
        }
        assert_eq!(queue.pop().map(|cell| cell.body[0]), Some(0));
        queue.push(cell(2, 0)).unwrap();
        queue.push(cell(2, 1)).unwrap();
        assert_eq!(popped(&mut queue), [(2, 0), (1, 1), (2, 1), (1, 2), (1, 3)]);
        assert!(queue.is_empty());
    }

    #[test]
    fn an_overrun_costs_only_its_own_circuit() {
        let mut queue = CellQueue::new();
        queue.push(cell(2, 9)).unwrap();
        for _ in 0..MAX_QUEUED {
            queue.push(cell(1, 0)).unwrap();
        }
        assert_eq!(queue.push(cell(1, 0)), Err(Overrun(CircId(1))));
        assert_eq!(popped(&mut queue), [(2, 9)]);
        assert_eq!(queue.len(), 0);
        queue.push(cell(1, 5)).unwrap();
        assert_eq!(popped(&mut queue), [(1, 5)]);
    }
}
