//! Counting lanes, and what one certified beacon block says to one shard.

use crate::{
    receipt::{Receipt, Reference},
    units::{ChainId, Epoch, Height},
};
use borsh::{BorshDeserialize, BorshSerialize};
use kakera_cbc::BlockId;
use std::collections::BTreeMap;

/// A prefix of a lane: its length, and how many of these receipts are returns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct LaneCount {
    /// The first `seq` past the prefix.
    pub next: u64,
    /// Returns within the prefix.
    pub returns: u64,
}

impl LaneCount {
    /// Receipts of the prefix that are not returns.
    pub fn ordinary(&self) -> u64 {
        self.next.saturating_sub(self.returns)
    }

    /// The prefix that is one receipt longer.
    #[must_use]
    pub fn with(self, is_return: bool) -> LaneCount {
        let next = self.next.checked_add(1).expect("a lane never reaches 2^64 receipts");
        LaneCount { next, returns: self.returns + u64::from(is_return) }
    }
}

/// One prefix for each chain on the other side; absent means nothing yet.
pub type LaneCounts = BTreeMap<ChainId, LaneCount>;

/// What a certified beacon block says about the lanes of one shard.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct LaneTable {
    /// By source: what is recorded of the lane toward this shard.
    pub toward: LaneCounts,
    /// By destination: what that chain has recorded as consumed of the lane from this shard.
    pub away: LaneCounts,
}

/// The prefix for a chain.
pub fn count(counts: &LaneCounts, chain: ChainId) -> LaneCount {
    counts.get(&chain).copied().unwrap_or_default()
}

/// What one certified beacon block says to one shard. It is made by who has executed that block, and believed.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Reading {
    /// The block.
    pub reference: Reference,
    /// The lanes of the shard as of it.
    pub lanes: LaneTable,
    /// The shard's last recorded header as of it.
    pub recorded: (Height, BlockId),
    /// The epoch of the era that the shard is in as of it.
    pub era: Epoch,
    /// Receipts toward the shard that this very block recorded, in each lane's order.
    pub receipts: Vec<Receipt>,
}
