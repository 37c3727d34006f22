//! Dense, never reused u32 indices with room for a few survivors of pruning, and skip pointers.

use std::collections::{BTreeMap, VecDeque};

/// Index 0 means "nothing"; real indices start at 1.
pub(crate) const NOTHING: u32 = 0;
/// The greatest index means "faulty", so that observations order as numbers.
pub(crate) const FAULTY: u32 = u32::MAX;

/// Items by index: recent ones in a deque, old survivors of pruning in a map.
#[derive(Clone, Debug)]
pub(crate) struct Arena<T> {
    first: u32,
    items: VecDeque<Option<T>>,
    old: BTreeMap<u32, T>,
}

impl<T> Arena<T> {
    pub(crate) fn new() -> Self {
        Self { first: 1, items: VecDeque::new(), old: BTreeMap::new() }
    }

    /// The index the next item will have.
    pub(crate) fn next(&self) -> u32 {
        let length = u32::try_from(self.items.len()).expect("an era holds fewer than 2^32 items");
        self.first + length
    }

    /// The lowest index in the deque.
    pub(crate) fn first(&self) -> u32 {
        self.first
    }

    pub(crate) fn push(&mut self, item: T) -> u32 {
        let index = self.next();
        assert!(index < FAULTY - 1, "an era holds fewer than 2^32 items");
        make_room(&mut self.items);
        self.items.push_back(Some(item));
        index
    }

    pub(crate) fn get(&self, index: u32) -> Option<&T> {
        match index.checked_sub(self.first) {
            Some(place) => self.items.get(place as usize)?.as_ref(),
            None => self.old.get(&index),
        }
    }

    pub(crate) fn get_mut(&mut self, index: u32) -> Option<&mut T> {
        match index.checked_sub(self.first) {
            Some(place) => self.items.get_mut(place as usize)?.as_mut(),
            None => self.old.get_mut(&index),
        }
    }

    pub(crate) fn remove(&mut self, index: u32) -> Option<T> {
        match index.checked_sub(self.first) {
            Some(place) => self.items.get_mut(place as usize)?.take(),
            None => self.old.remove(&index),
        }
    }

    /// Indices and items, oldest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        let recent = (self.first..).zip(&self.items).filter_map(|(i, item)| Some((i, item.as_ref()?)));
        self.old.iter().map(|(i, item)| (*i, item)).chain(recent)
    }

    /// Moves `settled` items at the front out of the deque, and drops the holes before them.
    pub(crate) fn compact(&mut self, settled: impl Fn(&T) -> bool) {
        while self.items.front().is_some_and(|item| item.as_ref().is_none_or(&settled)) {
            if let Some(Some(item)) = self.items.pop_front() {
                self.old.insert(self.first, item);
            }
            self.first += 1;
        }
    }
}

/// Room for one more, grown by an eighth: doubling would waste up to as much again as is held.
pub(crate) fn make_room<T>(items: &mut VecDeque<T>) {
    if items.len() == items.capacity() {
        items.reserve_exact(items.len() / 8 + 64);
    }
}

/// One step of a chain: where it leads and how deep it is.
#[derive(Clone, Copy)]
pub(crate) struct Link {
    pub(crate) parent: u32,
    pub(crate) jump: u32,
    pub(crate) depth: u64,
}

/// Trees of items, climbed with skip pointers (Myers 1983, "An applicative random-access stack").
pub(crate) trait Climb {
    fn link(&self, index: u32) -> Option<Link>;

    /// The skip pointer of a new item below `parent`.
    fn jump_below(&self, parent: u32) -> u32 {
        let Some(up) = self.link(parent) else { return parent };
        match self.link(up.jump) {
            Some(over) => match self.link(over.jump) {
                Some(far) if up.depth - over.depth == over.depth - far.depth => over.jump,
                _ => parent,
            },
            None => parent,
        }
    }

    /// The ancestor-or-self at this depth; `Err` when it, or the way there, was pruned.
    fn ancestor_at(&self, from: u32, depth: u64) -> Result<u32, Lost> {
        let mut at = from;
        loop {
            let link = self.link(at).ok_or(Lost)?;
            if link.depth == depth {
                return Ok(at);
            }
            if link.depth < depth {
                return Err(Lost);
            }
            at = match self.link(link.jump) {
                Some(over) if over.depth >= depth && link.jump != at => link.jump,
                _ => link.parent,
            };
        }
    }
}

/// The way up was pruned, or the place does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lost;
