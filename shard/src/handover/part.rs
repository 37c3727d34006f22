//! Parts: all accounts of one interval of keys, proved under the root of the accounts.

#[cfg(test)]
mod tests;

use crate::{
    account::Account,
    state::ShardState,
    trie::{InvalidRun, Run},
};
use borsh::{BorshDeserialize, BorshSerialize};
use kakera_chain::{
    address::Address,
    codec::{self, InvalidBytes},
    hash::Hash,
};
use thiserror::Error;

/// Accounts that one request may ask for.
pub const PART_ACCOUNTS: u32 = 4_096;

/// What is asked for: the accounts with keys from `from` to `until`, both included, from the lowest on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Wanted {
    /// The first key.
    pub from: Address,
    /// The last key; not below `from`.
    pub until: Address,
    /// How many leaves at most; from 1 to [`PART_ACCOUNTS`].
    pub limit: u32,
}

/// The answer: the run for [`Wanted`] as [`Trie::run`](crate::Trie::run) defines it. At its edges it may hold one leaf
/// below `from` and one above `until`, which only prove that none is missing in between.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Part {
    /// Leaves and hashes.
    pub run: Run,
}

/// What a part proves: these are all accounts from `from` up to, and not including, `next`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Covered<'a> {
    /// Ascending, within what was wanted.
    pub accounts: &'a [(Address, Account)],
    /// The first key about which nothing is proved; none if everything wanted is covered.
    pub next: Option<Address>,
}

/// Why a part is refused. No honest peer that was asked for it can have made it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidPart {
    /// Not canonical, or too long.
    #[error(transparent)]
    Bytes(#[from] InvalidBytes),
    /// The run leads to no root.
    #[error(transparent)]
    Run(#[from] InvalidRun),
    /// The hashes lead elsewhere.
    #[error("the part leads to root {found}, not to {expected}")]
    Root {
        /// The root it leads to.
        found: Hash,
        /// The root of the accounts.
        expected: Hash,
    },
    /// It begins above the first key wanted, and smaller keys exist.
    #[error("the part begins at {first}, and what is wanted may lie below")]
    Start {
        /// Its first leaf.
        first: Address,
    },
    /// A leaf that this answer must not hold: another before the first key wanted, or after it has to end.
    #[error("the leaf at position {position} was not wanted")]
    Surplus {
        /// Where.
        position: usize,
    },
    /// It ends before it must.
    #[error("the part ends after {found} of {limit} accounts, before everything wanted is covered")]
    Short {
        /// Leaves not below the first key wanted.
        found: usize,
        /// How many there must be.
        limit: u32,
    },
}

impl Wanted {
    /// Whether it can be answered.
    pub fn is_valid(&self) -> bool {
        self.from <= self.until && (1..=PART_ACCOUNTS).contains(&self.limit)
    }
}

impl Part {
    /// Canonical bytes at most: 4,097 leaves of 48 bytes and 512 steps of 33 are less.
    pub const MAX_BYTES: usize = 256 * 1024;

    /// Decodes canonical bytes from a peer.
    pub fn decode(bytes: &[u8]) -> Result<Part, InvalidPart> {
        Ok(codec::decode(bytes, Part::MAX_BYTES)?)
    }

    /// What this part proves of what is wanted under `accounts_root`. `wanted` is our own and valid.
    pub fn verify(&self, accounts_root: Hash, wanted: &Wanted) -> Result<Covered<'_>, InvalidPart> {
        let next = self.next(wanted)?;
        let found = self.run.root()?;
        if found != accounts_root {
            return Err(InvalidPart::Root { found, expected: accounts_root });
        }
        let leaves = &self.run.leaves;
        let begin = leaves.partition_point(|(key, _)| *key < wanted.from);
        let end = leaves.partition_point(|(key, _)| *key <= wanted.until);
        Ok(Covered { accounts: &leaves[begin..end], next })
    }

    /// Checks that the run begins and ends where it must, if it is a run. Its leaves need not ascend yet.
    fn next(&self, wanted: &Wanted) -> Result<Option<Address>, InvalidPart> {
        let leaves = &self.run.leaves;
        let (Some((first, _)), Some((last, _))) = (leaves.first(), leaves.last()) else { return Ok(None) };
        if *first > wanted.from && !self.run.left.is_empty() {
            return Err(InvalidPart::Start { first: *first });
        }
        let witnesses = usize::from(*first < wanted.from);
        let found = leaves.len() - witnesses;
        let limit = usize::try_from(wanted.limit).expect("at most PART_ACCOUNTS");
        // Whether a leaf is one too many: a second one before `from`, or one after another that must be the last.
        let below = |at: usize| at > 0 && leaves[at].0 <= wanted.from;
        let after = |at: usize| at > 0 && (leaves[at - 1].0 >= wanted.until || at >= limit + witnesses);
        if let Some(position) = (0..leaves.len()).find(|at| below(*at) || after(*at)) {
            return Err(InvalidPart::Surplus { position });
        }
        if *last >= wanted.until || self.run.right.is_empty() {
            return Ok(None);
        }
        if found < limit {
            return Err(InvalidPart::Short { found, limit: wanted.limit });
        }
        Ok(successor(last))
    }
}

impl ShardState {
    /// The part of this version that answers a valid `wanted`; takes time by the part, not by the state.
    pub fn part(&self, wanted: &Wanted) -> Part {
        let limit = usize::try_from(wanted.limit.clamp(1, PART_ACCOUNTS)).expect("at most PART_ACCOUNTS");
        Part { run: self.accounts.run(&wanted.from, &wanted.until, limit) }
    }
}

/// The next key; none after the last.
pub(crate) fn successor(key: &Address) -> Option<Address> {
    let mut next = *key;
    for byte in next.0.iter_mut().rev() {
        *byte = byte.wrapping_add(1);
        if *byte != 0 {
            return Some(next);
        }
    }
    None
}
