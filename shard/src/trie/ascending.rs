//! Leaves in ascending order, folded from left to right into the trie above them, with no tree in between.
//!
//! What is kept on the way is the path to the last leaf: the subtrees left of it whose right siblings are still to come,
//! at most 256. The same fold makes hashes of a run of leaves ([`Run::root`](super::Run::root)) and nodes of a whole
//! trie ([`Builder`]).

use super::{Inner, Leaf, Node, Trie, bit_of, first_difference};
use crate::account::Account;
use kakera_chain::address::Address;
use std::sync::{Arc, OnceLock};
use thiserror::Error;

/// A key that is not above the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the keys do not ascend")]
pub struct NotAscending;

/// The fold: `T` is what stands for a subtree.
pub(super) struct Ascending<T> {
    /// Left of the path to the last leaf, from the root down: where each branches off, ascending.
    left: Vec<(u8, T)>,
    last: Option<(Address, T)>,
}

impl<T> Ascending<T> {
    /// Begins with the subtrees left of the path to the first leaf: bits ascend, and the first leaf's are 1 there.
    pub(super) fn after(left: Vec<(u8, T)>) -> Ascending<T> {
        Ascending { left, last: None }
    }

    /// The next leaf.
    pub(super) fn push(&mut self, key: Address, leaf: T, join: impl Fn(u8, T, T) -> T) -> Result<(), NotAscending> {
        let Some((before, mut node)) = self.last.take() else {
            self.last = Some((key, leaf));
            return Ok(());
        };
        let bit = match first_difference(&before, &key) {
            Some(bit) if bit_of(&key, bit) == 1 => bit,
            _ => return Err(NotAscending),
        };
        // Everything below the new branch is complete. None branches off at `bit` itself: there the key before has a 0,
        // and left of a path are only places where it has a 1.
        while let Some((at, left)) = self.left.pop_if(|(at, _)| *at > bit) {
            node = join(at, left, node);
        }
        self.left.push((bit, node));
        self.last = Some((key, leaf));
        Ok(())
    }

    /// The root, given the subtrees right of the path to the last leaf: bits ascend, and the last leaf's are 0 there.
    /// Nothing if there was no leaf.
    pub(super) fn before(mut self, mut right: Vec<(u8, T)>, join: impl Fn(u8, T, T) -> T) -> Option<T> {
        let (_, mut node) = self.last?;
        loop {
            let (left_bit, right_bit) = (self.left.last().map(|(bit, _)| *bit), right.last().map(|(bit, _)| *bit));
            let next = if left_bit > right_bit { self.left.pop() } else { right.pop() };
            let Some((bit, sibling)) = next else { return Some(node) };
            node = if left_bit > right_bit { join(bit, sibling, node) } else { join(bit, node, sibling) };
        }
    }
}

/// Makes a trie of accounts that come in ascending order: each node is made once.
#[derive(Default)]
pub struct Builder {
    nodes: Ascending<Arc<Node>>,
    len: usize,
}

impl<T> Default for Ascending<T> {
    fn default() -> Ascending<T> {
        Ascending::after(Vec::new())
    }
}

impl Builder {
    /// The next account; an empty one is left out.
    pub fn push(&mut self, key: Address, account: Account) -> Result<(), NotAscending> {
        if account.is_empty() {
            return Ok(());
        }
        let leaf = Arc::new(Node::Leaf(Leaf { key, account, hash: OnceLock::new() }));
        self.nodes.push(key, leaf, join)?;
        self.len += 1;
        Ok(())
    }

    /// The trie of all that came.
    pub fn finish(self) -> Trie {
        Trie { root: self.nodes.before(Vec::new(), join), len: self.len }
    }
}

fn join(bit: u8, left: Arc<Node>, right: Arc<Node>) -> Arc<Node> {
    Arc::new(Node::Inner(Inner { bit, children: [left, right], hash: OnceLock::new() }))
}
