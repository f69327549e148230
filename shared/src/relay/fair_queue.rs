//! Things that wait in line by whom they belong to, so that nobody is kept waiting by those who want much.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

use foldhash::quality::RandomState;

/// One line for each owner, served in turn.
///
/// An owner who had nothing in line goes before those who keep it busy, once; then all take turns, one thing each. An owner
/// with an empty line keeps its turn until that comes up, so coming back each time with a single thing gives no
/// precedence over the others (the scheme of FQ-CoDel, RFC 8290, section 4.2). Things of one owner keep their order.
#[derive(Debug)]
pub struct FairQueue<K, T> {
    lines: HashMap<K, VecDeque<T>, RandomState>,
    /// Owners whose first thing has not been served.
    new: VecDeque<K>,
    /// Owners who have been served, each once.
    old: VecDeque<K>,
    len: usize,
}

impl<K, T> Default for FairQueue<K, T> {
    fn default() -> Self {
        Self { lines: HashMap::default(), new: VecDeque::new(), old: VecDeque::new(), len: 0 }
    }
}

impl<K: Copy + Eq + Hash, T> FairQueue<K, T> {
    /// Puts a thing at the end of its owner's line; gives how much is in it now.
    pub fn push(&mut self, owner: K, thing: T) -> usize {
        self.len += 1;
        match self.lines.entry(owner) {
            Entry::Vacant(entry) => {
                entry.insert(VecDeque::from([thing]));
                self.new.push_back(owner);
                1
            }
            Entry::Occupied(entry) => {
                let line = entry.into_mut();
                line.push_back(thing);
                line.len()
            }
        }
    }

    /// Takes the next thing out.
    pub fn pop(&mut self) -> Option<(K, T)> {
        while self.len > 0 {
            let (owner, is_new) = match self.new.pop_front() {
                Some(owner) => (owner, true),
                None => (self.old.pop_front()?, false),
            };
            let Some(line) = self.lines.get_mut(&owner) else { continue };
            match line.pop_front() {
                Some(thing) => {
                    self.old.push_back(owner);
                    self.len -= 1;
                    if self.len == 0 {
                        self.rest();
                    }
                    return Some((owner, thing));
                }
                None if is_new => self.old.push_back(owner),
                None => {
                    self.lines.remove(&owner);
                }
            }
        }
        None
    }

    /// Nothing waits, so nobody has to be remembered.
    fn rest(&mut self) {
        self.lines.clear();
        self.new.clear();
        self.old.clear();
        if self.lines.capacity() > 1024 {
            *self = Self::default();
        }
    }

    /// Takes out all that one owner has in line.
    pub fn clear(&mut self, owner: &K) -> VecDeque<T> {
        let cleared = self.lines.get_mut(owner).map(std::mem::take).unwrap_or_default();
        self.len -= cleared.len();
        if self.len == 0 {
            self.rest();
        }
        cleared
    }

    /// All things in line.
    pub fn things_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.lines.values_mut().flatten()
    }

    /// The owners with something in line, and how much each.
    pub fn owners(&self) -> impl Iterator<Item = (&K, usize)> {
        self.lines.iter().map(|(owner, line)| (owner, line.len())).filter(|(_, len)| *len > 0)
    }

    /// How much waits, over all owners.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing waits.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn popped(turns: &mut FairQueue<char, u8>) -> Vec<(char, u8)> {
        std::iter::from_fn(|| turns.pop()).collect()
    }

    #[test]
    fn whoever_was_quiet_goes_first_once() {
        let mut turns = FairQueue::default();
        (0..4).for_each(|n| _ = turns.push('a', n));
        assert_eq!(turns.pop(), Some(('a', 0)));
        turns.push('b', 0);
        turns.push('b', 1);
        assert_eq!(popped(&mut turns), [('b', 0), ('a', 1), ('b', 1), ('a', 2), ('a', 3)]);
        assert!(turns.is_empty());
    }

    #[test]
    fn coming_back_with_one_thing_each_time_starves_nobody() {
        let mut turns = FairQueue::default();
        (0..100).for_each(|n| _ = turns.push('a', n));
        let mut served = 0;
        for n in 0..100 {
            turns.push('b', n);
            turns.push('c', n);
            served += usize::from(turns.pop().unwrap().0 == 'a');
        }
        assert!(served >= 32, "{served} of 100 turns went to the one that waits");
    }

    #[test]
    fn what_is_cleared_does_not_come_out() {
        let mut turns = FairQueue::default();
        (0..4).for_each(|n| _ = turns.push('a', n));
        turns.push('b', 9);
        assert_eq!(turns.clear(&'a').len(), 4);
        assert_eq!(turns.len(), 1);
        turns.push('a', 7);
        let mut rest = popped(&mut turns);
        rest.sort_unstable();
        assert_eq!(rest, [('a', 7), ('b', 9)]);
        assert!(turns.clear(&'x').is_empty());
    }

    #[test]
    fn nothing_is_kept_of_those_who_have_gone() {
        let mut turns = FairQueue::default();
        for owner in 0..10_000_u32 {
            turns.push(owner, ());
        }
        while turns.pop().is_some() {}
        assert_eq!((turns.lines.len(), turns.new.len(), turns.old.len()), (0, 0, 0));
        assert!(turns.lines.capacity() <= 1024);
    }
}
