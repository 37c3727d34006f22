//! Proofs that an address holds an account, or none, under a root.

use super::{Node, Trie, bit_of, inner_hash, leaf_hash};
use crate::account::Account;
use borsh::{BorshDeserialize, BorshSerialize};
use kakera_chain::{address::Address, hash::Hash};
use thiserror::Error;

/// One inner node on the way from the root to the leaf.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Step {
    /// Where the keys below it first differ.
    pub bit: u8,
    /// The hash of the child that the way does not take.
    pub sibling: Hash,
}

/// The way that a search for an address takes. It ends at the address's own leaf, or at another one (or at nothing,
/// in an empty trie), which proves that the address was never used.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct AccountProof {
    /// Where the search ends.
    pub leaf: Option<(Address, Account)>,
    /// From the root down.
    pub path: Vec<Step>,
}

/// Why a proof proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum InvalidProof {
    /// The bits of the steps do not ascend.
    #[error("the proof's steps are out of order at position {position}")]
    StepOrder {
        /// Where.
        position: usize,
    },
    /// The leaf is not where a search for the address ends.
    #[error("the proof is for another address")]
    OtherAddress,
    /// The hashes lead elsewhere.
    #[error("the proof leads to root {found}, not to {expected}")]
    Root {
        /// The root it leads to.
        found: Hash,
        /// The root asked for.
        expected: Hash,
    },
}

impl Trie {
    /// The proof of what `key` holds in this version.
    pub fn prove(&self, key: &Address) -> AccountProof {
        let mut path = Vec::new();
        let mut node = self.root.as_deref();
        while let Some(Node::Inner(inner)) = node {
            let side = bit_of(key, inner.bit);
            path.push(Step { bit: inner.bit, sibling: inner.children[1 - side].hash() });
            node = Some(&inner.children[side]);
        }
        let leaf = node.map(|node| match node {
            Node::Leaf(leaf) => (leaf.key, leaf.account),
            Node::Inner(_) => unreachable!("the loop ends at a leaf"),
        });
        AccountProof { leaf, path }
    }
}

impl AccountProof {
    /// What `key` holds under `root`; an empty account if it was never used.
    pub fn verify(&self, root: Hash, key: &Address) -> Result<Account, InvalidProof> {
        if let Some(position) = self.path.windows(2).position(|pair| pair[0].bit >= pair[1].bit) {
            return Err(InvalidProof::StepOrder { position: position + 1 });
        }
        let (found, account) = match &self.leaf {
            None if self.path.is_empty() => (Hash::ZERO, Account::default()),
            None => return Err(InvalidProof::OtherAddress),
            Some((leaf, account)) => {
                if self.path.iter().any(|step| bit_of(leaf, step.bit) != bit_of(key, step.bit)) {
                    return Err(InvalidProof::OtherAddress);
                }
                let up = |below: Hash, step: &Step| match bit_of(key, step.bit) {
                    0 => inner_hash(step.bit, &below, &step.sibling),
                    _ => inner_hash(step.bit, &step.sibling, &below),
                };
                let found = self.path.iter().rev().fold(leaf_hash(leaf, account), up);
                (found, if leaf == key { *account } else { Account::default() })
            }
        };
        if found == root { Ok(account) } else { Err(InvalidProof::Root { found, expected: root }) }
    }
}
