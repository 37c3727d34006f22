//! What happened: messages and bytes by slot, finality, reorganisations, and a log for people.

use super::craft::{message_bytes, short};
use super::{Net, ROOT};
use crate::{BlockEstimate, BlockId, Blocks, Message};
use std::collections::{BTreeMap, BTreeSet};

/// A head that left the chain of the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reorg {
    /// When, milliseconds.
    pub at_ms: u64,
    /// Which node's.
    pub node: usize,
    /// The head before.
    pub from: BlockId,
    /// The head now.
    pub to: BlockId,
    /// Blocks of the chain before that are not in the chain now.
    pub depth: u64,
}

/// Everything that happened.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// Messages of honest members, by slot.
    pub said: BTreeMap<u64, usize>,
    /// Their bytes, about, by slot.
    pub bytes: BTreeMap<u64, u64>,
    /// When honest members proposed a block: its slot, and the time in milliseconds.
    pub proposed: BTreeMap<BlockId, (u64, u64)>,
    /// Which honest node finalized a block when, milliseconds.
    pub finalized: BTreeMap<BlockId, Vec<(usize, u64)>>,
    /// Heads of honest nodes that left their chain.
    pub reorgs: Vec<Reorg>,
    /// What happened, in words.
    pub log: Vec<String>,
    summarised: u64,
}

impl Record {
    pub(super) fn count(&mut self, message: &Message<Blocks>, now: u64) {
        *self.said.entry(message.slot.0).or_default() += 1;
        *self.bytes.entry(message.slot.0).or_default() += message_bytes(message);
        if let BlockEstimate::Proposal(block) = message.estimate {
            self.proposed.insert(block.id, (block.slot.0, now));
        }
    }
}

/// Questions about the whole network; the adversary may ask them too.
impl Net {
    /// Height of a block that was ever proposed; the root's is 0.
    #[must_use]
    pub fn height(&self, block: &BlockId) -> u64 {
        self.library.blocks.get(block).map_or(0, |block| block.height)
    }

    /// Whether a block is another one or below it, whoever holds them.
    #[must_use]
    pub fn descends(&self, block: &BlockId, ancestor: &BlockId) -> bool {
        let (mut at, height) = (*block, self.height(ancestor));
        while self.height(&at) > height {
            at = self.library.blocks.get(&at).map_or(ROOT, |block| block.parent);
        }
        at == *ancestor
    }

    /// The last block that two chains share.
    #[must_use]
    pub fn common(&self, a: &BlockId, b: &BlockId) -> BlockId {
        let mut at = *a;
        while !self.descends(b, &at) {
            at = self.library.blocks.get(&at).map_or(ROOT, |block| block.parent);
        }
        at
    }

    /// The heads of the honest nodes, each once.
    #[must_use]
    pub fn heads(&self) -> BTreeSet<BlockId> {
        self.honest().iter().map(|at| self.nodes[*at].engine().head()).collect()
    }

    /// The lowest height that an honest node has finalized.
    #[must_use]
    pub fn finalized_height(&self) -> u64 {
        let heights = self.honest().into_iter().map(|at| self.height(&self.nodes[at].engine().finalized()));
        heights.min().unwrap_or(0)
    }

    /// Whether no two honest nodes have finalized blocks of two chains, and no certificate contradicts anybody.
    #[must_use]
    pub fn agrees(&self) -> bool {
        let finals: Vec<BlockId> = self.record.finalized.keys().copied().collect();
        let highest = finals.iter().max_by_key(|block| self.height(block)).copied().unwrap_or(ROOT);
        finals.iter().all(|block| self.descends(&highest, block))
            && self.nodes.iter().all(|node| node.breach().is_none())
    }

    /// Whether every honest node has finalized this block.
    #[must_use]
    pub fn all_finalized(&self, block: &BlockId) -> bool {
        let at = |at: usize| self.descends(&self.nodes[at].engine().finalized(), block);
        self.honest().into_iter().all(at)
    }

    /// When the last honest node finalized a block of at least this height, milliseconds.
    #[must_use]
    pub fn finalized_at(&self, height: u64) -> Option<u64> {
        let mut first: BTreeMap<usize, u64> = BTreeMap::new();
        for (block, times) in &self.record.finalized {
            if self.height(block) >= height {
                for (node, at) in times {
                    let known = first.entry(*node).or_insert(*at);
                    *known = (*known).min(*at);
                }
            }
        }
        let all = self.honest().iter().all(|node| first.contains_key(node));
        first.into_values().max().filter(|_| all)
    }

    pub(super) fn note_head(&mut self, node: usize, to: BlockId) {
        let from = std::mem::replace(&mut self.nodes[node].head, to);
        if !self.descends(&to, &from) {
            let depth = self.height(&from) - self.height(&self.common(&from, &to));
            self.record.reorgs.push(Reorg { at_ms: self.now, node, from, to, depth });
        }
    }

    /// One line on the slot that has just ended.
    pub(super) fn summarise(&mut self, begun: u64) {
        if begun <= self.record.summarised {
            return;
        }
        self.record.summarised = begun;
        let Some(slot) = begun.checked_sub(1).filter(|slot| *slot > 0) else { return };
        let said = self.record.said.get(&slot).copied().unwrap_or(0);
        let heads: Vec<String> = self
            .heads()
            .iter()
            .map(|head| {
                let nodes = self.honest().into_iter().filter(|at| self.nodes[*at].engine().head() == *head).count();
                format!("{} at height {} ({nodes} nodes)", short(head), self.height(head))
            })
            .collect();
        let line = format!(
            "slot {slot}: {said} honest messages; heads {}; all finalized height {}",
            heads.join(", "),
            self.finalized_height()
        );
        self.record.log.push(line);
    }
}
