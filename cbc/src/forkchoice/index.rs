//! The incremental index: subtree weights and best children of the own view, and its head.
//!
//! A vote that moves adds its weight to each block between the old place and the new one. Blocks are numbered in the
//! order they came, so on a straight chain these are neighbours in one flat array: a *stretch*, of which each block
//! but the first is the only child of the one numbered before it, is added to in one go.

use super::tree::Tree;
use crate::arena::NOTHING;

/// What the index knows of a block beside its weight.
#[derive(Clone, Copy, Debug)]
struct Cell {
    parent: u32,
    /// The heaviest child with weight.
    best: u32,
    /// First block of its stretch.
    stretch: u32,
    /// Whether it is its parent's only child.
    only: bool,
}

/// Flat arrays, by block.
#[derive(Clone, Debug, Default)]
pub(crate) struct Index {
    /// The block at the front.
    first: u32,
    cells: Vec<Cell>,
    /// Own-view weight of each block's subtree. Blocks below the pruning line may hold anything: nobody asks.
    weights: Vec<u64>,
}

impl Index {
    pub(crate) fn new(first: u32) -> Self {
        Self { first, cells: Vec::new(), weights: Vec::new() }
    }

    fn place(&self, block: u32) -> Option<usize> {
        let place = block.checked_sub(self.first)? as usize;
        (place < self.cells.len()).then_some(place)
    }

    /// A new block, and its parent's first child if it has one already.
    pub(crate) fn push(&mut self, block: u32, parent: u32, sibling: Option<u32>) {
        let only = sibling.is_none();
        let above = self.place(parent).filter(|_| only && parent + 1 == block).map(|place| self.cells[place].stretch);
        self.cells.push(Cell { parent, best: NOTHING, stretch: above.unwrap_or(block), only });
        self.weights.push(0);
        if let Some(place) = sibling.and_then(|sibling| self.place(sibling)) {
            self.begin_stretch(place);
        }
    }

    /// A block that was an only child is not any more: its stretch begins with it.
    fn begin_stretch(&mut self, place: usize) {
        let old = std::mem::replace(&mut self.cells[place].only, false).then_some(self.cells[place].stretch);
        let block = self.first + to_u32(place);
        for cell in &mut self.cells[place..] {
            if Some(cell.stretch) != old {
                break;
            }
            cell.stretch = block;
        }
    }

    /// The own-view weight of a block's subtree.
    pub(crate) fn weight(&self, block: u32) -> u64 {
        self.place(block).map_or(0, |place| self.weights[place])
    }

    /// The heaviest child with weight.
    pub(crate) fn best(&self, block: u32) -> u32 {
        self.place(block).map_or(NOTHING, |place| self.cells[place].best)
    }

    /// Forgets the blocks before this one.
    pub(crate) fn forget_below(&mut self, first: u32) {
        let count = (first.saturating_sub(self.first) as usize).min(self.cells.len());
        self.cells.drain(..count);
        self.weights.drain(..count);
        self.first = self.first.max(first);
        // A stretch may have lost its beginning.
        let stretches = (self.first..).zip(&mut self.cells);
        stretches.for_each(|(block, cell)| cell.stretch = cell.stretch.clamp(first.min(block), block));
    }

    /// Changes the weight of a block, the one at `from`, and of those above it down to the block after `end`.
    ///
    /// Answers the next one to change.
    fn change(&mut self, (from, end): (usize, u32), weight: u64, change: &mut Change) -> u32 {
        let first = self.cells[from].stretch.max(end + 1);
        let low = (first - self.first) as usize;
        // A weight is a sum over different members, so that none leaves 64 bits.
        match change.raises {
            true => self.weights[low..=from].iter_mut().for_each(|held| *held = held.wrapping_add(weight)),
            false => self.weights[low..=from].iter_mut().for_each(|held| *held = held.wrapping_sub(weight)),
        }
        // Weights only fall on the way down: what has none now, or had none before, lies at the end of a stretch.
        let crossed = if change.raises { weight } else { 0 };
        let mut place = from;
        while self.cells[place].only && self.weights[place] == crossed {
            if let Some(above) = self.place(self.cells[place].parent) {
                let best = if change.raises { self.first + to_u32(place) } else { NOTHING };
                self.cells[above].best = best;
                change.changed.push(self.cells[place].parent);
            }
            if place == low {
                break;
            }
            place -= 1;
        }
        // Only the first block of a stretch has siblings.
        if !self.cells[low].only {
            let moved = if change.raises { &mut change.raised } else { &mut change.lowered };
            moved.push(first);
        }
        self.cells[low].parent
    }
}

/// What a moving vote has changed so far.
#[derive(Default)]
struct Change {
    /// Whether the weights being changed go up.
    raises: bool,
    /// Blocks with another best child.
    changed: Vec<u32>,
    /// Blocks with siblings that lost weight, and that won some.
    lowered: Vec<u32>,
    raised: Vec<u32>,
}

fn to_u32(place: usize) -> u32 {
    u32::try_from(place).expect("places are differences of u32 numbers")
}

/// Moves `weight` from one vote to another and returns the head that results.
///
/// Only the blocks between the two votes change; the head moves only when a best child changes on
/// the way from `base` to it.
pub(crate) fn shift(tree: &mut Tree, (base, head): (u32, u32), from: Option<u32>, to: Option<u32>, weight: u64) -> u32 {
    let mut change = Change::default();
    let held = |tree: &Tree, block: Option<u32>| block.filter(|block| tree.get(*block).is_some()).unwrap_or(NOTHING);
    let (mut old, mut new) = (held(tree, from), held(tree, to));
    while old != new {
        change.raises = new > old;
        let (side, end) = if change.raises { (&mut new, old) } else { (&mut old, new) };
        *side = match tree.index.place(*side) {
            Some(place) => tree.index.change((place, end), weight, &mut change),
            None => NOTHING,
        };
    }
    // All weights are right from here on. Best children that lost weight come first: any sibling may follow them.
    let Change { mut changed, lowered, raised, .. } = change;
    changed.extend(lowered.into_iter().chain(raised).filter_map(|block| rebest(tree, block)));
    let on_the_way = |at: &u32| *at >= base && *at <= head && tree.descends(*at, base) && tree.descends(head, *at);
    let lowest = changed.into_iter().filter(on_the_way).min();
    lowest.map_or(head, |at| descend(tree, at))
}

/// The block that best children lead to.
pub(crate) fn descend(tree: &Tree, from: u32) -> u32 {
    let mut at = from;
    loop {
        match tree.index.best(at) {
            NOTHING => return at,
            best => at = best,
        }
    }
}

/// Looks again at the best child of this block's parent; answers the parent if it changed.
fn rebest(tree: &mut Tree, block: u32) -> Option<u32> {
    let parent = tree.get(block)?.parent;
    let above = tree.get(parent)?;
    let place = tree.index.place(parent)?;
    let best = tree.index.cells[place].best;
    let weight_of = |child: u32| tree.index.weight(child);
    let rank = |child: u32| tree.rank(child, weight_of(child));
    let new = if best == block {
        let weighty = above.children.iter().copied().filter(|child| weight_of(*child) > 0);
        weighty.max_by_key(|child| rank(*child)).unwrap_or(NOTHING)
    } else if weight_of(block) > 0 && (best == NOTHING || rank(block) > rank(best)) {
        block
    } else {
        best
    };
    tree.index.cells[place].best = new;
    (new != best).then_some(parent)
}
