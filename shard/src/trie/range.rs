//! Runs: neighbouring leaves of a trie, with what proves that no leaf between them is missing.
//!
//! ```text
//!                 root                    leaves   the run, ascending: every leaf from the first to the last
//!               /      \                  left     subtrees left of the path to the first leaf, from the root down
//!           [left]      o                 right    subtrees right of the path to the last leaf, from the root down
//!                    /     \
//!                  o       [right]        What lies between the two paths is made of the run's own leaves, so a leaf
//!                /   \                    that was left out, added or changed leads to another root.
//!           [left]    o
//!                   /   \
//!              leaves ... leaves
//! ```
//!
//! A trie's keys stand in order, so all keys below the subtrees in `left` are smaller than the first leaf's, and all
//! below those in `right` greater than the last one's; if `left` is empty, no key is smaller, and likewise `right`. A
//! path has at most 256 steps, so a run's proof is at most 2 * 256 * 33 bytes whatever the shape of the trie.

#[cfg(test)]
pub(crate) mod tests;

use super::{
    Node, Step, Trie,
    ascending::{Ascending, NotAscending},
    bit_of, first_difference, inner_hash, leaf_hash,
};
use crate::account::Account;
use borsh::{BorshDeserialize, BorshSerialize};
use kakera_chain::{address::Address, hash::Hash};
use thiserror::Error;

/// Neighbouring leaves, and the hashes of all that is beside them.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Run {
    /// Ascending; none only of an empty trie.
    pub leaves: Vec<(Address, Account)>,
    /// Left of the path to the first leaf, from the root down.
    pub left: Vec<Step>,
    /// Right of the path to the last leaf, from the root down.
    pub right: Vec<Step>,
}

/// Which side of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Before the first leaf.
    Left,
    /// After the last leaf.
    Right,
}

/// Why a run leads to no root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum InvalidRun {
    /// Two leaves of one key, or in the wrong order.
    #[error("the leaf at position {position} is not above the one before it")]
    LeafOrder {
        /// Where.
        position: usize,
    },
    /// An account that no trie holds.
    #[error("the leaf at position {position} is empty")]
    EmptyLeaf {
        /// Where.
        position: usize,
    },
    /// The bits of the steps do not ascend.
    #[error("the steps at the {side:?} side are out of order at position {position}")]
    StepOrder {
        /// Of which side.
        side: Side,
        /// Where.
        position: usize,
    },
    /// The outermost leaf lies on the side that the step claims for another subtree, or there is no leaf at all.
    #[error("the step at position {position} is not at the {side:?} side")]
    StepSide {
        /// Of which side.
        side: Side,
        /// Where.
        position: usize,
    },
}

impl Trie {
    /// The run for the keys from `from` to `until`, both included. It begins with the greatest key not above `from`, or
    /// else with the first; it ends with the first key not below `until`, or after `limit` leaves not below `from`, or
    /// with the last key. What it holds follows from the trie and these three alone.
    pub fn run(&self, from: &Address, until: &Address, limit: usize) -> Run {
        let mut run = Run::default();
        let (Some(root), Some(start)) = (&self.root, self.start(from)) else { return run };
        // Right of the path to the last leaf, from the root down.
        let mut ahead: Vec<(u8, &Node)> = Vec::new();
        let mut node = &**root;
        loop {
            match node {
                Node::Inner(inner) => {
                    let side = bit_of(&start, inner.bit);
                    match side {
                        1 => run.left.push(Step { bit: inner.bit, sibling: inner.children[0].hash() }),
                        _ => ahead.push((inner.bit, &inner.children[1])),
                    }
                    node = &inner.children[side];
                }
                Node::Leaf(leaf) => {
                    run.leaves.push((leaf.key, leaf.account));
                    let witnesses = usize::from(start < *from);
                    if leaf.key >= *until || run.leaves.len() - witnesses >= limit {
                        break;
                    }
                    let Some((_, next)) = ahead.pop() else { break };
                    node = leftmost(next, &mut ahead);
                }
            }
        }
        run.right = ahead.into_iter().map(|(bit, node)| Step { bit, sibling: node.hash() }).collect();
        run
    }

    /// The greatest key not above `key`, or else the first.
    fn start(&self, key: &Address) -> Option<Address> {
        let nearest = self.nearest(key)?;
        let Some(difference) = first_difference(&nearest.key, key) else { return Some(*key) };
        let root = &**self.root.as_ref().expect("nearest() found a leaf");
        // Of the subtrees of smaller keys that the search passes, the last one: it has the greatest keys.
        let (mut node, mut smaller) = (root, None);
        while let Node::Inner(inner) = node
            && inner.bit < difference
        {
            let side = bit_of(key, inner.bit);
            if side == 1 {
                smaller = Some(&*inner.children[0]);
            }
            node = &inner.children[side];
        }
        // From here on all keys are on one side of `key`.
        if bit_of(key, difference) == 1 {
            smaller = Some(node);
        }
        let (mut node, side) = smaller.map_or((root, 0), |node| (node, 1));
        loop {
            match node {
                Node::Leaf(leaf) => return Some(leaf.key),
                Node::Inner(inner) => node = &inner.children[side],
            }
        }
    }
}

/// The first leaf below a node; the subtrees passed on the way are put on `ahead`.
fn leftmost<'a>(mut node: &'a Node, ahead: &mut Vec<(u8, &'a Node)>) -> &'a Node {
    while let Node::Inner(inner) = node {
        ahead.push((inner.bit, &inner.children[1]));
        node = &inner.children[0];
    }
    node
}

impl Run {
    /// The root of the trie that this is a run of; all zero for a run of nothing.
    pub fn root(&self) -> Result<Hash, InvalidRun> {
        let (first, last) = (self.leaves.first(), self.leaves.last());
        let left = steps(&self.left, Side::Left, first.map(|(key, _)| key))?;
        let right = steps(&self.right, Side::Right, last.map(|(key, _)| key))?;
        let join = |bit, left, right| inner_hash(bit, &left, &right);
        let mut fold = Ascending::after(left);
        for (position, (key, account)) in self.leaves.iter().enumerate() {
            if account.is_empty() {
                return Err(InvalidRun::EmptyLeaf { position });
            }
            fold.push(*key, leaf_hash(key, account), join)
                .map_err(|NotAscending| InvalidRun::LeafOrder { position })?;
        }
        Ok(fold.before(right, join).unwrap_or(Hash::ZERO))
    }
}

/// The steps of one side, checked against the leaf that is outermost there.
fn steps(steps: &[Step], side: Side, leaf: Option<&Address>) -> Result<Vec<(u8, Hash)>, InvalidRun> {
    let mut checked: Vec<(u8, Hash)> = Vec::with_capacity(steps.len());
    for (position, step) in steps.iter().enumerate() {
        if checked.last().is_some_and(|(before, _)| *before >= step.bit) {
            return Err(InvalidRun::StepOrder { side, position });
        }
        let expected = usize::from(side == Side::Left);
        if leaf.is_none_or(|leaf| bit_of(leaf, step.bit) != expected) {
            return Err(InvalidRun::StepSide { side, position });
        }
        checked.push((step.bit, step.sibling));
    }
    Ok(checked)
}
