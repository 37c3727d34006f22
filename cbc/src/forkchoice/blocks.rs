//! The blockchain protocol: LMD-GHOST over a tree of blocks.

use super::tree::Tree;
use super::{CertifyError, Claim, InvalidEstimate, Protocol, Standing, Value, index};
use crate::arena::Climb;
use crate::ids::{BlockId, Member, Slot};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A new block, as consensus sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewBlock {
    /// Its id.
    pub id: BlockId,
    /// The block it extends.
    pub parent: BlockId,
    /// The parent's height plus one.
    pub height: u64,
    /// The slot of the message that proposes it.
    pub slot: Slot,
}

/// What a message of the blockchain protocol supports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BlockEstimate {
    /// A block already in the justification.
    Vote(BlockId),
    /// A new block.
    Proposal(NewBlock),
}

impl BlockEstimate {
    /// The block the message supports.
    #[must_use]
    pub fn block(&self) -> BlockId {
        match self {
            Self::Vote(id) => *id,
            Self::Proposal(block) => block.id,
        }
    }
}

/// Who may propose in which slot: a cycle of members.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leaders(Vec<Member>);

impl Leaders {
    /// Slot s is led by `cycle[s % len]`; with an empty cycle nobody leads.
    #[must_use]
    pub fn new(cycle: Vec<Member>) -> Self {
        Self(cycle)
    }

    /// The leader of a slot.
    #[must_use]
    pub fn leader(&self, slot: Slot) -> Option<Member> {
        let length = u64::try_from(self.0.len()).ok()?;
        let place = slot.0.checked_rem(length)?;
        self.0.get(usize::try_from(place).ok()?).copied()
    }
}

impl From<Vec<Member>> for Leaders {
    fn from(cycle: Vec<Member>) -> Self {
        Self::new(cycle)
    }
}

/// Blocks, votes and certificates of one era.
#[derive(Clone, Debug)]
pub struct Blocks {
    tree: Tree,
    leaders: Leaders,
    root: Value,
    /// Every certified block with its slot, pruned ones included.
    certified: BTreeMap<BlockId, Slot>,
    newest: Value,
    head: Value,
}

impl Blocks {
    /// A tree holding only the era's root, which is certified.
    #[must_use]
    pub fn new(root: BlockId, root_height: u64, root_slot: Slot, leaders: Leaders) -> Self {
        let tree = Tree::new(root, root_height, root_slot);
        let at = tree.index_of(&root).expect("a new tree holds its root");
        let certified = BTreeMap::from([(root, root_slot)]);
        Self { tree, leaders, root: at, certified, newest: at, head: at }
    }

    /// The leader of a slot.
    #[must_use]
    pub fn leader(&self, slot: Slot) -> Option<Member> {
        self.leaders.leader(slot)
    }

    /// A block in the tree.
    #[must_use]
    pub fn block(&self, id: &BlockId) -> Option<NewBlock> {
        let block = self.tree.get(self.tree.index_of(id)?)?;
        let parent = self.tree.get(block.parent).map_or(block.id, |parent| parent.id);
        Some(NewBlock { id: block.id, parent, height: block.height, slot: block.slot })
    }

    /// Weight of the own view's latest messages that support the block; 0 when it is not held.
    #[must_use]
    pub fn weight(&self, id: &BlockId) -> u64 {
        self.tree.index_of(id).map_or(0, |at| self.tree.index.weight(at))
    }

    /// Whether the block is in the tree.
    #[must_use]
    pub fn contains(&self, id: &BlockId) -> bool {
        self.tree.index_of(id).is_some()
    }

    /// Whether `descendant` is `ancestor` or below it; false when either is not held.
    #[must_use]
    pub fn descends(&self, descendant: &BlockId, ancestor: &BlockId) -> bool {
        match (self.tree.index_of(descendant), self.tree.index_of(ancestor)) {
            (Some(below), Some(above)) => self.tree.descends(below, above),
            _ => false,
        }
    }

    /// Blocks in the tree above `finalized` up to `block`, lowest first; empty when not on one chain.
    #[must_use]
    pub fn path(&self, finalized: &BlockId, block: &BlockId) -> Vec<BlockId> {
        let (Some(low), Some(high)) = (self.tree.index_of(finalized), self.tree.index_of(block)) else {
            return Vec::new();
        };
        if !self.tree.descends(high, low) {
            return Vec::new();
        }
        let mut path = Vec::new();
        let mut at = high;
        while at != low {
            let block = self.tree.get(at).expect("descends() walked this way");
            path.push(block.id);
            at = block.parent;
        }
        path.reverse();
        path
    }

    fn judge_block(&self, block: &NewBlock, claim: &Claim<'_, BlockEstimate>) -> Result<(), InvalidEstimate> {
        let parent = self.tree.get(claim.follows).ok_or(InvalidEstimate::ParentDoesNotFollow)?;
        if block.id == block.parent {
            return Err(InvalidEstimate::OwnParent);
        }
        if block.parent != parent.id {
            return Err(InvalidEstimate::ParentDoesNotFollow);
        }
        if self.leader(claim.slot) != Some(claim.sender) {
            return Err(InvalidEstimate::NotLeader);
        }
        if block.slot != claim.slot {
            return Err(InvalidEstimate::OtherSlot);
        }
        if block.slot <= parent.slot {
            return Err(InvalidEstimate::NotLater);
        }
        if Some(block.height) != parent.height.checked_add(1) {
            return Err(InvalidEstimate::WrongHeight);
        }
        match self.tree.index_of(&block.id).and_then(|at| self.tree.get(at)) {
            Some(held) if held.parent != claim.follows || held.height != block.height || held.slot != block.slot => {
                Err(InvalidEstimate::IdTaken)
            }
            _ => Ok(()),
        }
    }
}

impl Protocol for Blocks {
    type Base = BlockId;
    type Estimate = BlockEstimate;
    type Candidate = BlockId;

    fn standing(&self, base: &BlockId) -> Standing {
        match (self.certified.contains_key(base), self.tree.index_of(base)) {
            (false, _) => Standing::Uncertified,
            (true, None) => Standing::Pruned,
            (true, Some(at)) => Standing::Certified(at),
        }
    }

    fn newest_base(&self) -> BlockId {
        self.tree.get(self.newest).expect("prune() keeps the newest base").id
    }

    fn slot_of(&self, base: Value) -> Slot {
        self.tree.get(base).map_or(Slot(0), |block| block.slot)
    }

    fn certify(&mut self, base: BlockId, finalized: Value) -> Result<(), CertifyError> {
        if self.certified.contains_key(&base) {
            return Ok(());
        }
        let at = self.tree.index_of(&base).ok_or(CertifyError::Unknown)?;
        let on_chain = |other| self.tree.descends(at, other) || self.tree.descends(other, at);
        if !on_chain(finalized) || !on_chain(self.newest) {
            return Err(CertifyError::Conflict);
        }
        self.certified.insert(base, self.slot_of(at));
        if self.tree.descends(at, self.newest) {
            self.newest = at;
            self.head = index::descend(&self.tree, at);
        }
        Ok(())
    }

    fn agrees(&self, value: Value, candidate: Value) -> bool {
        self.tree.descends(value, candidate)
    }

    fn estimate(&self, base: Value, votes: Vec<(Value, u64)>) -> Value {
        self.tree.ghost(base, votes)
    }

    fn judge(&self, claim: &Claim<'_, BlockEstimate>) -> Result<(), InvalidEstimate> {
        match claim.estimate {
            BlockEstimate::Vote(id) if self.tree.index_of(id) == Some(claim.follows) => Ok(()),
            BlockEstimate::Vote(_) => Err(InvalidEstimate::DoesNotFollow),
            BlockEstimate::Proposal(block) => self.judge_block(block, claim),
        }
    }

    fn proposes(estimate: &BlockEstimate) -> bool {
        matches!(estimate, BlockEstimate::Proposal(_))
    }

    fn admit(&mut self, estimate: &BlockEstimate) -> Value {
        if let Some(at) = self.tree.index_of(&estimate.block()) {
            return at;
        }
        let BlockEstimate::Proposal(block) = estimate else {
            panic!("judge() admits only votes for blocks in the tree");
        };
        let parent = self.tree.index_of(&block.parent).expect("judge() found the parent");
        self.tree.insert(block.id, parent, block.height, block.slot)
    }

    fn candidate(&self, value: Value) -> Option<BlockId> {
        self.tree.get(value).map(|block| block.id)
    }

    fn value(&self, candidate: &BlockId) -> Option<Value> {
        self.tree.index_of(candidate)
    }

    fn root(&self) -> Value {
        self.root
    }

    fn toward(&self, from: Value, to: Value) -> Option<Value> {
        let height = self.tree.get(from)?.height.checked_add(1)?;
        let next = self.tree.ancestor_at(to, height).ok()?;
        (self.tree.get(next)?.parent == from).then_some(next)
    }

    fn shift(&mut self, from: Option<Value>, to: Option<Value>, weight: u64) {
        if weight > 0 {
            self.head = index::shift(&mut self.tree, (self.newest, self.head), from, to, weight);
        }
    }

    fn head(&self) -> Value {
        self.head
    }

    fn prune(&mut self, line: Slot) {
        self.tree.prune(line);
    }
}
