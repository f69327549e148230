//! Cells that wait for a link's writer.

use super::fair_queue::FairQueue;
use crate::cell::{Cell, CircId};
use crate::flow::CIRCUIT_WINDOW;

/// How many cells one circuit may have waiting: its window, and room for what windows do not count (the beginnings and ends
/// of streams, acknowledgements). Who keeps to the rules never has more.
pub const MAX_QUEUED: usize = CIRCUIT_WINDOW as usize + 256;

/// Cells for which an idle link keeps room: a record.
const KEPT: usize = 31;

/// The cells that wait on one link, a line for each circuit, which take turns.
#[derive(Debug, Default)]
pub struct CellQueue {
    /// Where in `cells` each one lies.
    turns: FairQueue<CircId, u32>,
    /// Cells are large, and most circuits have few: so they share one place, in which each stays until it leaves.
    cells: Vec<Cell>,
    free: Vec<u32>,
    overruns: Vec<CircId>,
}

impl CellQueue {
    /// An empty queue.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a copy of a cell in.
    ///
    /// # Errors
    ///
    /// [`Overrun`], which [`Self::take_overrun`] repeats, when the circuit already has [`MAX_QUEUED`] cells waiting. They
    /// are dropped, and the circuit must be destroyed: nothing is ever dropped from a circuit that lives.
    pub fn push(&mut self, cell: &Cell) -> Result<(), Overrun> {
        // Behind a gap nothing may follow.
        if self.overruns.contains(&cell.circ) {
            return Err(Overrun(cell.circ));
        }
        let at = match self.free.pop() {
            Some(at) => {
                if let Some(place) = self.cells.get_mut(at as usize) {
                    place.clone_from(cell);
                }
                at
            }
            None => {
                self.cells.push(cell.clone());
                // A link has far fewer cells waiting than u32 counts.
                (self.cells.len() - 1) as u32
            }
        };
        if self.turns.push(cell.circ, at) > MAX_QUEUED {
            return Err(self.overrun(cell.circ));
        }
        Ok(())
    }

    /// Appends the next cell's bytes to a record; `false` when none waits.
    pub fn pop_into(&mut self, record: &mut Vec<u8>) -> bool {
        let Some((_, at)) = self.turns.pop() else { return false };
        if let Some(cell) = self.cells.get(at as usize) {
            cell.encode(record);
        }
        self.free.push(at);
        self.rest();
        true
    }

    /// Gives memory back that only a burst needed: never more than half of the places are empty, but for a few.
    fn rest(&mut self) {
        if self.turns.is_empty() {
            self.free.clear();
            self.cells.clear();
            if self.cells.capacity() > KEPT {
                self.cells = Vec::with_capacity(KEPT);
                self.free = Vec::new();
            }
        } else if self.free.len() > self.turns.len() + 4 * KEPT {
            self.compact();
        }
    }

    /// Moves all cells together.
    fn compact(&mut self) {
        let mut cells = Vec::with_capacity(self.turns.len() + KEPT);
        for at in self.turns.things_mut() {
            let cell = self.cells.get(*at as usize).cloned().unwrap_or(Cell::PADDING);
            *at = cells.len() as u32;
            cells.push(cell);
        }
        self.cells = cells;
        self.free = Vec::new();
    }

    /// Gives up the circuits that have most waiting, until at least so many cells are gone.
    pub fn shed(&mut self, cells: usize) {
        let enough = self.len().saturating_sub(cells);
        while self.len() > enough {
            let worst = self.turns.owners().max_by_key(|(circ, waiting)| (*waiting, **circ)).map(|(circ, _)| *circ);
            let Some(circ) = worst else { break };
            self.overrun(circ);
        }
        self.compact();
    }

    /// For how many cells there is memory, taken or kept.
    pub const fn kept(&self) -> usize {
        self.cells.len()
    }

    fn overrun(&mut self, circ: CircId) -> Overrun {
        self.free.extend(self.turns.clear(&circ));
        self.overruns.push(circ);
        self.rest();
        Overrun(circ)
    }

    /// A circuit that has overrun its queue since the last call, or was given up.
    pub fn take_overrun(&mut self) -> Option<CircId> {
        self.overruns.pop()
    }

    /// How many cells wait, over all circuits.
    pub const fn len(&self) -> usize {
        self.turns.len()
    }

    /// Whether no cell waits.
    pub const fn is_empty(&self) -> bool {
        self.turns.is_empty()
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
        let mut record = Vec::new();
        while queue.pop_into(&mut record) {}
        record
            .as_chunks()
            .0
            .iter()
            .map(|bytes| Cell::decode(bytes).unwrap())
            .map(|cell| (cell.circ.0, cell.body[0]))
            .collect()
    }

    #[test]
    fn an_overrun_costs_only_its_own_circuit() {
        let mut queue = CellQueue::new();
        queue.push(&cell(2, 9)).unwrap();
        for _ in 0..MAX_QUEUED {
            queue.push(&cell(1, 0)).unwrap();
        }
        assert_eq!(queue.push(&cell(1, 0)), Err(Overrun(CircId(1))));
        assert_eq!(queue.take_overrun(), Some(CircId(1)));
        assert_eq!(popped(&mut queue), [(2, 9)]);
        assert_eq!(queue.len(), 0);
        queue.push(&cell(1, 5)).unwrap();
        assert_eq!(popped(&mut queue), [(1, 5)]);
    }

    #[test]
    fn the_circuit_with_most_waiting_is_shed_first() {
        let mut queue = CellQueue::new();
        for (circ, count) in [(1, 3), (2, 5), (3, 4)] {
            (0..count).for_each(|n| queue.push(&cell(circ, n)).unwrap());
        }
        queue.shed(4);
        assert_eq!((queue.take_overrun(), queue.len()), (Some(CircId(2)), 7));
        queue.shed(5);
        assert_eq!((queue.take_overrun(), queue.take_overrun(), queue.len()), (Some(CircId(1)), Some(CircId(3)), 0));
    }

    #[test]
    fn memory_follows_what_waits() {
        let mut queue = CellQueue::new();
        for n in 0..16_000_u32 {
            queue.push(&cell(n % 100, (n / 100) as u8)).unwrap();
        }
        let mut record = Vec::new();
        while queue.len() > 50 {
            queue.pop_into(&mut record);
        }
        assert!(queue.kept() < 300, "{} places for 50 cells", queue.kept());
        record.clear();
        let mut left = popped(&mut queue);
        left.sort_unstable();
        left.dedup();
        assert_eq!(left.len(), 50, "each is still there, once");
        assert!(left.iter().all(|(_, n)| *n == 159), "and they are the last ones");
        assert_eq!(queue.kept(), 0);
    }

    #[test]
    fn nothing_follows_behind_a_gap() {
        let mut queue = CellQueue::new();
        for _ in 0..=MAX_QUEUED {
            let _ = queue.push(&cell(1, 0));
        }
        assert_eq!(queue.push(&cell(1, 1)), Err(Overrun(CircId(1))));
        assert!(queue.is_empty());
        assert_eq!(queue.take_overrun(), Some(CircId(1)));
        queue.push(&cell(1, 2)).unwrap();
    }
}
