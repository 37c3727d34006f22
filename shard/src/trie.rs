//! A persistent binary Merkle-Patricia trie from addresses to accounts: every version is cheap, old ones stay intact.
//!
//! Nodes are immutable once shared; a change copies the path to the leaf and shares everything else. An inner node
//! stands where two keys first differ, so its place follows from the keys alone and the root depends on the contents
//! only. A leaf's hash is `SHA-256(0x00 ‖ address ‖ borsh(account))`, an inner node's
//! `SHA-256(0x01 ‖ bit ‖ left ‖ right)` where `bit` (one byte, 0 the most significant of the address) is the position
//! at which the keys below differ. The root of nothing is all zero.

mod ascending;
mod proof;
mod range;
#[cfg(test)]
mod tests;

pub use ascending::{Builder, NotAscending};
pub use proof::{AccountProof, InvalidProof, Step};
#[cfg(test)]
pub(crate) use range::tests as range_strategies;
pub use range::{InvalidRun, Run, Side};

use crate::account::Account;
use kakera_chain::{address::Address, codec, hash::Hash};
use std::sync::{Arc, OnceLock};

/// A version of the accounts. Cloning costs one reference count.
#[derive(Clone, Default)]
pub struct Trie {
    root: Option<Arc<Node>>,
    len: usize,
}

#[derive(Clone)]
enum Node {
    Leaf(Leaf),
    Inner(Inner),
}

#[derive(Clone)]
struct Leaf {
    key: Address,
    account: Account,
    hash: OnceLock<Hash>,
}

#[derive(Clone)]
struct Inner {
    bit: u8,
    children: [Arc<Node>; 2],
    hash: OnceLock<Hash>,
}

impl Trie {
    /// Number of accounts that are not empty.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no account is used.
    pub fn is_empty(&self) -> bool {
        self.root.is_none()
    }

    /// An account; one that was never used is empty.
    pub fn account(&self, key: &Address) -> Account {
        match self.nearest(key) {
            Some(leaf) if leaf.key == *key => leaf.account,
            _ => Account::default(),
        }
    }

    /// Sets an account; an empty one is removed.
    pub fn set(&mut self, key: Address, account: Account) {
        if account.is_empty() { self.remove(&key) } else { self.insert(key, account) }
    }

    /// The commitment to all accounts. Each node that changed since the last call is hashed once.
    pub fn root(&self) -> Hash {
        self.root.as_ref().map_or(Hash::ZERO, |node| node.hash())
    }

    /// All accounts that are not empty, ascending by address.
    pub fn iter(&self) -> impl Iterator<Item = (Address, Account)> + '_ {
        let mut stack: Vec<&Node> = self.root.iter().map(|node| &**node).collect();
        std::iter::from_fn(move || {
            loop {
                match stack.pop()? {
                    Node::Leaf(leaf) => return Some((leaf.key, leaf.account)),
                    Node::Inner(inner) => stack.extend([&*inner.children[1], &*inner.children[0]]),
                }
            }
        })
    }

    /// The leaf that a search for `key` ends at: its own, if it is there.
    fn nearest(&self, key: &Address) -> Option<&Leaf> {
        let mut node = self.root.as_ref()?;
        loop {
            match &**node {
                Node::Leaf(leaf) => return Some(leaf),
                Node::Inner(inner) => node = &inner.children[bit_of(key, inner.bit)],
            }
        }
    }

    fn insert(&mut self, key: Address, account: Account) {
        let fresh = |key, account| Arc::new(Node::Leaf(Leaf { key, account, hash: OnceLock::new() }));
        let difference = match self.nearest(&key) {
            None => {
                self.root = Some(fresh(key, account));
                self.len = 1;
                return;
            }
            Some(leaf) if leaf.key == key && leaf.account == account => return,
            Some(leaf) => first_difference(&leaf.key, &key),
        };
        let root = self.root.as_mut().expect("nearest() found a leaf");
        let slot = descend(root, &key, difference.map_or(256, u16::from));
        match difference {
            None => *slot = fresh(key, account),
            Some(bit) => {
                let (old, new) = (Arc::clone(slot), fresh(key, account));
                let children = if bit_of(&key, bit) == 1 { [old, new] } else { [new, old] };
                *slot = Arc::new(Node::Inner(Inner { bit, children, hash: OnceLock::new() }));
                self.len += 1;
            }
        }
    }

    fn remove(&mut self, key: &Address) {
        if self.nearest(key).is_none_or(|leaf| leaf.key != *key) {
            return;
        }
        self.len -= 1;
        let root = self.root.as_mut().expect("nearest() found a leaf");
        let Some(last) = last_bit(root, key) else {
            self.root = None;
            return;
        };
        // The sibling takes the place of the inner node that held both.
        let slot = descend(root, key, u16::from(last));
        let Node::Inner(inner) = &**slot else { unreachable!("last_bit() named an inner node of this path") };
        *slot = Arc::clone(&inner.children[1 - bit_of(key, last)]);
    }
}

impl FromIterator<(Address, Account)> for Trie {
    fn from_iter<I: IntoIterator<Item = (Address, Account)>>(accounts: I) -> Trie {
        let mut trie = Trie::default();
        for (key, account) in accounts {
            trie.set(key, account);
        }
        trie
    }
}

impl std::fmt::Debug for Trie {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Trie({} accounts, root {:?})", self.len, self.root())
    }
}

impl Node {
    // The recursion is as deep as a path: at most 256.
    fn hash(&self) -> Hash {
        match self {
            Node::Leaf(leaf) => *leaf.hash.get_or_init(|| leaf_hash(&leaf.key, &leaf.account)),
            Node::Inner(inner) => *inner.hash.get_or_init(|| {
                let [left, right] = &inner.children;
                inner_hash(inner.bit, &left.hash(), &right.hash())
            }),
        }
    }
}

/// Goes down the path of `key` to the first node that does not branch before bit `stop`, making it this version's own.
fn descend<'a>(root: &'a mut Arc<Node>, key: &Address, stop: u16) -> &'a mut Arc<Node> {
    let mut slot = root;
    loop {
        let goes_on = matches!(&**slot, Node::Inner(inner) if u16::from(inner.bit) < stop);
        if !goes_on {
            return slot;
        }
        let Node::Inner(inner) = Arc::make_mut(slot) else { unreachable!("just seen to be an inner node") };
        inner.hash = OnceLock::new();
        slot = &mut inner.children[bit_of(key, inner.bit)];
    }
}

/// The bit of the last inner node on the path of `key`.
fn last_bit(root: &Arc<Node>, key: &Address) -> Option<u8> {
    let (mut node, mut last) = (root, None);
    while let Node::Inner(inner) = &**node {
        last = Some(inner.bit);
        node = &inner.children[bit_of(key, inner.bit)];
    }
    last
}

fn bit_of(key: &Address, bit: u8) -> usize {
    usize::from(key.0[usize::from(bit / 8)] >> (7 - bit % 8) & 1)
}

fn first_difference(a: &Address, b: &Address) -> Option<u8> {
    let index = a.0.iter().zip(&b.0).position(|(a, b)| a != b)?;
    let bit = 8 * index + (a.0[index] ^ b.0[index]).leading_zeros() as usize;
    Some(u8::try_from(bit).expect("a position in 256 bits"))
}

fn leaf_hash(key: &Address, account: &Account) -> Hash {
    Hash::of(&[&[0], &key.0, &codec::encode(account)])
}

fn inner_hash(bit: u8, left: &Hash, right: &Hash) -> Hash {
    Hash::of(&[&[1, bit], &left.0, &right.0])
}
