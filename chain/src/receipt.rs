//! Receipts: records of local state changes that another chain must complete, in ordered lanes.

use crate::{
    address::Address,
    hash::Hash,
    units::{ChainId, Height},
};
use borsh::{BorshDeserialize, BorshSerialize};
use kakera_cbc::Slot;

/// The ordered log of receipts from one chain to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub struct Lane {
    /// The chain that emits.
    pub from: ChainId,
    /// The chain that consumes.
    pub to: ChainId,
}

/// What the destination has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum ReceiptAction {
    /// Credit `amount` to `to`, or send it back.
    Transfer {
        /// The account debited at the source, where a return goes.
        from: Address,
        /// The account to credit at the destination.
        to: Address,
        /// In the smallest unit; above zero.
        amount: u64,
        /// The last beacon slot of a reference under which the destination may credit.
        expires_at: Slot,
        /// The transaction that debited.
        transaction: Hash,
    },
    /// Give back what a receipt of the opposite lane carried. Never expires and cannot fail.
    Return {
        /// The returned receipt's `seq` in the opposite lane.
        original: u64,
        /// The account that was debited.
        to: Address,
        /// In the smallest unit.
        amount: u64,
        /// Why the destination did not credit.
        reason: ReturnReason,
        /// The transaction that debited.
        transaction: Hash,
    },
}

/// Why a receipt was sent back instead of credited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum ReturnReason {
    /// Processed under a reference past `expires_at`.
    Expired,
    /// The credited account does not belong to the destination.
    WrongShard,
}

/// One entry of a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Receipt {
    /// The lane.
    pub lane: Lane,
    /// Its place in the lane, from 0 without gaps.
    pub seq: u64,
    /// What to do.
    pub action: ReceiptAction,
}

impl Receipt {
    /// Canonical bytes of one receipt at most.
    pub const MAX_BYTES: usize = 256;

    /// The value it carries.
    pub fn amount(&self) -> u64 {
        match self.action {
            ReceiptAction::Transfer { amount, .. } | ReceiptAction::Return { amount, .. } => amount,
        }
    }
}

/// A certified beacon block that a shard block names: how far it has read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub struct Reference {
    /// Its height.
    pub height: Height,
    /// Its slot.
    pub slot: Slot,
    /// Its id.
    pub id: kakera_cbc::BlockId,
}

/// How far a chain has consumed a lane toward it: receipts below `next` are done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct LaneCursor {
    /// The chain that emits.
    pub from: ChainId,
    /// The first receipt not consumed.
    pub next: u64,
}
