//! A message DAG without rules: what enters is taken as it is, and only looked at.

use crate::arena::{FAULTY, NOTHING};
use crate::committee::Committee;
use crate::dag::{Dag, NewNode};
use crate::forkchoice::tree::Tree;
use crate::ids::{BlockId, Member, MessageId, Slot};

/// Index of the root block in the tree.
pub(super) const ROOT_BLOCK: u32 = 1;

/// Messages from 1 on in the order in which they came; message `at` is block `at + 1`.
pub(super) struct FreeDag {
    pub(super) committee: Committee,
    pub(super) dag: Dag,
    pub(super) tree: Tree,
    /// Cited messages, by message.
    cited: Vec<Vec<u32>>,
    /// Whether a message's own closure proves its sender an equivocator. The DAG's rows cannot say
    /// so, as a row always names its own message.
    self_proved: Vec<bool>,
}

/// The block that a message is.
pub(super) fn block_of(at: u32) -> u32 {
    at + 1
}

/// Ids that order like ranks.
pub(super) fn ranked(rank: usize) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&(rank as u64).to_be_bytes());
    bytes
}

impl FreeDag {
    pub(super) fn new(committee: Committee) -> Self {
        let dag = Dag::new(committee.len());
        let tree = Tree::new(BlockId(ranked(0)), 0, Slot(0));
        Self { committee, dag, tree, cited: Vec::new(), self_proved: Vec::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.cited.len()
    }

    pub(super) fn cited(&self, at: u32) -> &[u32] {
        &self.cited[at as usize - 1]
    }

    pub(super) fn sender(&self, at: u32) -> Member {
        self.dag.node(at).expect("nothing is pruned here").sender
    }

    /// The block that a message's block extends.
    pub(super) fn parent(&self, at: u32) -> u32 {
        self.tree.get(block_of(at)).expect("nothing is pruned here").parent
    }

    /// Adds a message: `cited` are earlier messages, `row` is their closure, `parent` is a block.
    pub(super) fn add(&mut self, sender: Member, id: [u8; 32], cited: Vec<u32>, row: Vec<u32>, parent: u32) -> u32 {
        // Who proves itself an equivocator continues the thread that it names, if any.
        let proved = row[sender.index()] == FAULTY;
        let prev = match row[sender.index()] {
            FAULTY => cited.iter().copied().find(|at| self.sender(*at) == sender).unwrap_or(NOTHING),
            at => at,
        };
        let height = self.tree.get(parent).map_or(0, |block| block.height) + 1;
        let vote = self.tree.insert(BlockId(id), parent, height, Slot(0));
        let old = self.dag.vote(prev);
        let extends = old != NOTHING && self.tree.descends(vote, old);
        let (row, slot, id) = (row.into_boxed_slice(), Slot(0), MessageId(id));
        let new = NewNode { id, sender, slot, prev, base: ROOT_BLOCK, vote, proposes: false, extends, row };
        let at = self.dag.push(new);
        self.cited.push(cited);
        self.self_proved.push(proved);
        assert_eq!((at as usize, vote), (self.len(), block_of(at)), "indices follow the order of arrival");
        at
    }

    /// Joins the closure of a message into a row.
    pub(super) fn join(&self, row: &mut [u32], at: u32) {
        let seen = self.dag.row(at).expect("nothing is pruned here");
        for (member, seen) in self.committee.members().zip(seen) {
            let place = &mut row[member.index()];
            *place = self.dag.join(member, *place, *seen);
        }
        if self.self_proved[at as usize - 1] {
            row[self.sender(at).index()] = FAULTY;
        }
    }

    /// The join of the closures of some messages.
    pub(super) fn closure(&self, messages: &[u32]) -> Vec<u32> {
        let mut joined = vec![NOTHING; self.committee.len()];
        messages.iter().for_each(|at| self.join(&mut joined, *at));
        joined
    }

    /// LMD-GHOST over the honest latest messages of a row: a block.
    pub(super) fn ghost(&self, row: &[u32]) -> u32 {
        self.tree.ghost(ROOT_BLOCK, self.dag.honest_votes(row, self.committee.weights()))
    }

    /// The blocks from below the root down to a block.
    pub(super) fn path(&self, block: u32) -> Vec<u32> {
        let mut path = Vec::new();
        let mut at = block;
        while at != ROOT_BLOCK {
            path.push(at);
            at = self.tree.get(at).expect("a block's ancestors are in the tree").parent;
        }
        path.reverse();
        path
    }
}
