//! The tree of blocks and LMD-GHOST as a pure function on it.

use super::index::Index;
use crate::arena::{Arena, Climb, Link, NOTHING};
use crate::ids::{BlockId, Slot};
use std::collections::BTreeMap;

/// A block as the tree remembers it.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    pub(crate) id: BlockId,
    pub(crate) parent: u32,
    jump: u32,
    pub(crate) height: u64,
    pub(crate) slot: Slot,
    pub(crate) children: Vec<u32>,
}

/// Blocks by dense index; a child's index is above its parent's.
#[derive(Clone, Debug)]
pub(crate) struct Tree {
    blocks: Arena<Block>,
    ids: BTreeMap<BlockId, u32>,
    /// Weights of the own view.
    pub(crate) index: Index,
}

impl Climb for Tree {
    fn link(&self, index: u32) -> Option<Link> {
        let block = self.blocks.get(index)?;
        Some(Link { parent: block.parent, jump: block.jump, depth: block.height })
    }
}

impl Tree {
    /// A tree of one block, which has index 1.
    pub(crate) fn new(root: BlockId, height: u64, slot: Slot) -> Self {
        let blocks = Arena::new();
        let mut tree = Self { index: Index::new(blocks.next()), blocks, ids: BTreeMap::new() };
        tree.insert(root, NOTHING, height, slot);
        tree
    }

    pub(crate) fn insert(&mut self, id: BlockId, parent: u32, height: u64, slot: Slot) -> u32 {
        let index = self.blocks.next();
        let jump = if parent == NOTHING { index } else { self.jump_below(parent) };
        let mut sibling = None;
        if let Some(above) = self.blocks.get_mut(parent) {
            sibling = above.children.first().copied();
            above.children.push(index);
        }
        self.index.push(index, parent, sibling);
        let block = Block { id, parent, jump, height, slot, children: Vec::new() };
        self.ids.insert(id, index);
        self.blocks.push(block)
    }

    pub(crate) fn get(&self, index: u32) -> Option<&Block> {
        self.blocks.get(index)
    }

    pub(crate) fn index_of(&self, id: &BlockId) -> Option<u32> {
        self.ids.get(id).copied()
    }

    /// Whether `ancestor` is `block` or above it.
    pub(crate) fn descends(&self, block: u32, ancestor: u32) -> bool {
        if block == ancestor {
            return block != NOTHING;
        }
        match self.blocks.get(ancestor) {
            Some(above) => self.ancestor_at(block, above.height) == Ok(ancestor),
            None => false,
        }
    }

    /// What decides between two children: weight, then the later slot, then the higher id.
    pub(crate) fn rank(&self, index: u32, weight: u64) -> (u64, Slot, BlockId) {
        let block = self.blocks.get(index).expect("ranked blocks are in the tree");
        (weight, block.slot, block.id)
    }

    /// LMD-GHOST from `base` over weighted votes (zero weights left out by the caller).
    ///
    /// Votes climb towards the base, greatest index first, until all weight is in one block: from
    /// the base to there the way is the only one with weight.
    pub(crate) fn ghost(&self, base: u32, mut votes: Vec<(u32, u64)>) -> u32 {
        votes.sort_unstable_by_key(|vote| vote.0);
        let mut open: BTreeMap<u32, u64> = BTreeMap::new();
        for same in votes.chunk_by(|a, b| a.0 == b.0) {
            let block = same[0].0;
            if self.descends(block, base) {
                open.insert(block, same.iter().map(|vote| vote.1).sum());
            }
        }
        // By block: its heaviest child with weight, and where best children lead to from there.
        let mut best: BTreeMap<u32, (u64, u32, u32)> = BTreeMap::new();
        while let Some((block, weight)) = open.pop_last() {
            let head = best.get(&block).map_or(block, |child| child.2);
            let Some((other, _)) = open.last_key_value() else { return head };
            let child = self.topmost_after(block, *other);
            let parent = self.blocks.get(child).expect("descends() found it").parent;
            *open.entry(parent).or_insert(0) += weight;
            let beaten = best.get(&parent).is_none_or(|old| self.rank(child, weight) > self.rank(old.1, old.0));
            if beaten {
                best.insert(parent, (weight, child, head));
            }
        }
        base
    }

    /// The topmost ancestor-or-self of a block that came after `other`: nothing joins the way up to there.
    fn topmost_after(&self, block: u32, other: u32) -> u32 {
        let mut at = block;
        while let Some(link) = self.link(at) {
            at = if link.jump > other && link.jump != at {
                link.jump
            } else if link.parent > other {
                link.parent
            } else {
                break;
            };
        }
        at
    }

    /// Forgets blocks of slots below the line.
    pub(crate) fn prune(&mut self, line: Slot) {
        let below: Vec<(u32, BlockId)> =
            self.blocks.iter().filter(|(_, block)| block.slot < line).map(|(index, block)| (index, block.id)).collect();
        for (index, id) in below {
            self.blocks.remove(index);
            self.ids.remove(&id);
        }
        self.blocks.compact(|_| false);
        self.index.forget_below(self.blocks.first());
    }
}
