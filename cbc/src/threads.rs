//! Threads: for each member and `seq` the messages held, several only after equivocation.

use crate::arena::NOTHING;
use std::collections::{BTreeMap, VecDeque};

/// One member's messages by `seq`.
#[derive(Clone, Debug, Default)]
struct Thread {
    /// `seq` of the front of `line`.
    first: u64,
    /// The message held first at each `seq`; `NOTHING` where none is left.
    line: VecDeque<u32>,
    /// All messages of a `seq` that has several.
    twins: BTreeMap<u64, Vec<u32>>,
}

/// The threads of all members.
#[derive(Clone, Debug)]
pub(crate) struct Threads(Vec<Thread>);

impl Threads {
    pub(crate) fn new(members: usize) -> Self {
        Self(vec![Thread::default(); members])
    }

    /// The messages held at a place, oldest first.
    pub(crate) fn at(&self, member: usize, seq: u64) -> &[u32] {
        self.0.get(member).map_or(&[], |thread| thread.at(seq))
    }

    /// The first message held of a member.
    pub(crate) fn front(&self, member: usize) -> Option<u32> {
        self.0.get(member)?.line.front().copied()
    }

    /// Adds a message; answers whether the thread branches there.
    pub(crate) fn add(&mut self, member: usize, seq: u64, index: u32) -> bool {
        self.0[member].add(seq, index)
    }

    pub(crate) fn remove(&mut self, member: usize, seq: u64, index: u32) {
        self.0[member].remove(seq, index);
    }
}

impl Thread {
    fn place(&self, seq: u64) -> Option<usize> {
        let place = usize::try_from(seq.checked_sub(self.first)?).ok()?;
        (place < self.line.len()).then_some(place)
    }

    fn at(&self, seq: u64) -> &[u32] {
        if let Some(all) = self.twins.get(&seq).filter(|_| !self.twins.is_empty()) {
            return all;
        }
        match self.place(seq).map(|place| &self.line[place]) {
            Some(only) if *only != NOTHING => std::slice::from_ref(only),
            _ => &[],
        }
    }

    fn add(&mut self, seq: u64, index: u32) -> bool {
        if self.line.is_empty() {
            self.first = seq;
        }
        // Beside what pruning has forgotten: who has spoken past this place said something else there.
        let passed = seq < self.first.saturating_add(self.line.len() as u64);
        while seq < self.first {
            self.line.push_front(NOTHING);
            self.first -= 1;
        }
        let place = usize::try_from(seq - self.first).expect("a thread is held in memory");
        while self.line.len() <= place {
            self.line.push_back(NOTHING);
        }
        if self.line[place] == NOTHING {
            self.line[place] = index;
            return passed;
        }
        let first = self.line[place];
        self.twins.entry(seq).or_insert_with(|| vec![first]).push(index);
        true
    }

    fn remove(&mut self, seq: u64, index: u32) {
        let Some(place) = self.place(seq) else { return };
        if let Some(all) = self.twins.get_mut(&seq) {
            all.retain(|at| *at != index);
            self.line[place] = all.first().copied().unwrap_or(NOTHING);
            if all.len() < 2 {
                self.twins.remove(&seq);
            }
        } else if self.line[place] == index {
            self.line[place] = NOTHING;
        }
        while self.line.front() == Some(&NOTHING) {
            self.line.pop_front();
            self.first += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_hold_what_was_added_and_not_removed() {
        let mut threads = Threads::new(2);
        for (seq, index) in [(0, 3), (1, 5), (2, 8)] {
            assert!(!threads.add(1, seq, index));
        }
        assert!(threads.add(1, 1, 9) && threads.add(1, 1, 11));
        assert_eq!((threads.at(1, 1), threads.at(1, 2), threads.at(0, 0)), (&[5, 9, 11][..], &[8][..], &[][..]));
        threads.remove(1, 1, 5);
        threads.remove(1, 1, 11);
        threads.remove(1, 0, 3);
        assert_eq!((threads.at(1, 0), threads.at(1, 1), threads.front(1)), (&[][..], &[9][..], Some(9)));
        assert!(threads.add(1, 0, 12));
        assert_eq!((threads.at(1, 0), threads.at(1, 3)), (&[12][..], &[][..]));
    }
}
