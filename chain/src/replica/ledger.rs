//! Blocks whose content was executed here, with their states, from a little below the last certified one up.

use crate::{application::Executed, block::Block, units::Height};
use kakera_cbc::BlockId;
use std::{collections::BTreeMap, sync::Arc};

/// A block and its outcome.
#[derive(Clone, Debug)]
pub struct Held<S> {
    /// Its id.
    pub id: BlockId,
    /// The block.
    pub block: Arc<Block>,
    /// The state after it, and what it emits.
    pub executed: Executed<S>,
}

impl<S> Held<S> {
    pub(super) fn height(&self) -> Height {
        self.block.header.height
    }
}

/// All held blocks; the last certified one is always among them.
pub(super) struct Ledger<S> {
    held: BTreeMap<BlockId, Arc<Held<S>>>,
    certified: BlockId,
}

impl<S> Ledger<S> {
    pub(super) fn new(certified: Held<S>) -> Self {
        let id = certified.id;
        Ledger { held: BTreeMap::from([(id, Arc::new(certified))]), certified: id }
    }

    pub(super) fn block(&self, id: &BlockId) -> Option<&Arc<Held<S>>> {
        self.held.get(id)
    }

    pub(super) fn certified(&self) -> &Arc<Held<S>> {
        self.held.get(&self.certified).expect("forget_below() keeps the certified block")
    }

    /// The block, or, where its content is not held any more, the last certified one.
    pub(super) fn at_or_below(&self, id: BlockId) -> &Arc<Held<S>> {
        self.held.get(&id).unwrap_or_else(|| self.certified())
    }

    pub(super) fn len(&self) -> usize {
        self.held.len()
    }

    /// The slot of the oldest block held.
    pub(super) fn oldest_slot(&self) -> kakera_cbc::Slot {
        self.held.values().map(|held| held.block.header.slot).min().unwrap_or_default()
    }

    /// The lowest height held.
    pub(super) fn lowest(&self) -> Height {
        self.held.values().map(|held| held.height()).min().unwrap_or_default()
    }

    pub(super) fn insert(&mut self, held: Held<S>) -> Arc<Held<S>> {
        let held = Arc::new(held);
        self.held.insert(held.id, held.clone());
        held
    }

    /// Adds blocks that were executed elsewhere.
    pub(super) fn extend(&mut self, path: impl Iterator<Item = Arc<Held<S>>>) {
        self.held.extend(path.map(|held| (held.id, held)));
    }

    /// Makes a held block below the certified one the certified one, and forgets all that is not at or below its height.
    pub(super) fn retreat(&mut self, certified: BlockId) {
        self.advance(certified);
        let height = self.certified().height();
        self.held.retain(|id, held| held.height() < height || *id == certified);
    }

    /// Forgets everything but the certified block.
    pub(super) fn keep_only_certified(&mut self) {
        let certified = self.certified;
        self.held.retain(|id, _| *id == certified);
    }

    pub(super) fn advance(&mut self, certified: BlockId) {
        assert!(self.held.contains_key(&certified), "only a held block becomes the certified one");
        self.certified = certified;
    }

    /// The blocks above `low` up to and including `high`, ascending; nothing if `high` is not held or not above
    /// the block `low`.
    pub(super) fn path(&self, low: &BlockId, high: &BlockId) -> Option<Vec<Arc<Held<S>>>> {
        let mut path = Vec::new();
        let mut at = *high;
        while at != *low {
            let held = self.held.get(&at)?;
            at = held.block.header.parent;
            path.push(held.clone());
        }
        path.reverse();
        Some(path)
    }

    /// How many held blocks stand at a height.
    pub(super) fn at_height(&self, height: Height) -> usize {
        self.held.values().filter(|held| held.height() == height).count()
    }

    /// Forgets blocks below a height, but never the certified one.
    pub(super) fn forget_below(&mut self, height: Height) {
        let certified = self.certified;
        self.held.retain(|id, held| held.height() >= height || *id == certified);
    }
}
