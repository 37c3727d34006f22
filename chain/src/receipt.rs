//! Receipts: records of local state changes that another chain must complete, in ordered lanes.

use crate::{
    address::Address,
    bond::Bond,
    codec,
    hash::{Hash, Tag},
    units::{ChainId, Height, ValidatorId},
};
use borsh::{
    BorshDeserialize, BorshSerialize,
    io::{Error, ErrorKind, Read},
};
use kakera_cbc::Slot;

/// The ordered log of receipts from one chain to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub struct Lane {
    /// The chain that emits.
    pub from: ChainId,
    /// The chain that consumes.
    pub to: ChainId,
}

/// What the destination has to do. Amounts are in the smallest unit.
///
/// Transfers go from shard to shard. Requests (bond to evidence) go from a shard to the beacon, which carries them out
/// in the block that records them, or sends them back. What the beacon pays goes to a shard and cannot be refused.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
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
        /// In the smallest unit; zero if what is refused carried nothing.
        amount: u64,
        /// Why the destination did not credit.
        reason: ReturnReason,
        /// The transaction that debited.
        transaction: Hash,
    },
    /// A new validator.
    Bond {
        /// Who owns it, and was debited.
        from: Address,
        /// What its seats cost.
        amount: u64,
        /// What it binds itself to.
        bond: Box<Bond>,
        /// The transaction that debited.
        transaction: Hash,
    },
    /// More seats for a validator.
    TopUp {
        /// Its owner, who was debited.
        from: Address,
        /// What the seats cost.
        amount: u64,
        /// Whose.
        validator: ValidatorId,
        /// How many more.
        seats: u32,
        /// The transaction that debited.
        transaction: Hash,
    },
    /// A validator wants to leave.
    Exit {
        /// Its owner.
        from: Address,
        /// Who.
        validator: ValidatorId,
        /// The transaction that asks.
        transaction: Hash,
    },
    /// A suspended validator is back.
    Resume {
        /// Its owner.
        from: Address,
        /// Who.
        validator: ValidatorId,
        /// The transaction that asks.
        transaction: Hash,
    },
    /// Somebody broke a rule that costs its stake.
    Evidence {
        /// Who reports it, and gets the reporter's share.
        from: Address,
        /// The proof; at most [`Receipt::MAX_EVIDENCE`] bytes.
        #[borsh(deserialize_with = "read_evidence")]
        bytes: Vec<u8>,
        /// The transaction that reports.
        transaction: Hash,
    },
    /// A validator's stake and rewards, paid out to its owner.
    Withdraw {
        /// Whose.
        validator: ValidatorId,
        /// The owner.
        to: Address,
        /// How much.
        amount: u64,
    },
    /// The reporter's share of a slashed stake.
    Reward {
        /// Who was slashed.
        validator: ValidatorId,
        /// The reporter.
        to: Address,
        /// How much.
        amount: u64,
        /// The transaction that reported.
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
    /// A bond whose shape, key or proof is refused.
    InvalidBond,
    /// The amount is not what the seats cost.
    WrongAmount,
    /// The key belongs to a validator already.
    KeyTaken,
    /// No more validators, or none of this role, or no more seats for this one.
    Full,
    /// No such validator.
    UnknownValidator,
    /// The validator belongs to another account.
    NotOwner,
    /// The validator's status does not allow it.
    WrongStatus,
    /// The evidence proves nothing.
    InvalidEvidence,
    /// The evidence is of an epoch too long ago, or its stake was paid out.
    StaleEvidence,
    /// The validator was slashed already.
    AlreadySlashed,
}

/// One entry of a lane.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Receipt {
    /// The lane.
    pub lane: Lane,
    /// Its place in the lane, from 0 without gaps.
    pub seq: u64,
    /// What to do.
    pub action: ReceiptAction,
}

impl Receipt {
    /// Bytes of evidence in one receipt at most.
    pub const MAX_EVIDENCE: usize = 64 * 1024;
    /// Canonical bytes of a transfer between shards; a return has fewer.
    pub const TRANSFER_BYTES: usize = 6 + 8 + 1 + 112;
    /// Canonical bytes of a request to the beacon at most, the bytes of evidence left out.
    pub const REQUEST_BYTES: usize = 4 + 8 + 1 + 32 + 8 + Bond::MAX_BYTES + 32;
    /// Canonical bytes of one receipt at most.
    pub const MAX_BYTES: usize = Receipt::MAX_EVIDENCE + Receipt::REQUEST_BYTES;

    /// The value it carries.
    pub fn amount(&self) -> u64 {
        self.action.amount()
    }

    /// What is remembered of it where its body is not: `SHA-256(receipt tag ‖ borsh(receipt))`.
    pub fn digest(&self) -> Hash {
        Hash::of(&[Tag::RECEIPT.bytes(), &codec::encode(self)])
    }
}

impl ReceiptAction {
    /// The value it carries.
    pub fn amount(&self) -> u64 {
        match self {
            ReceiptAction::Transfer { amount, .. }
            | ReceiptAction::Return { amount, .. }
            | ReceiptAction::Bond { amount, .. }
            | ReceiptAction::TopUp { amount, .. }
            | ReceiptAction::Withdraw { amount, .. }
            | ReceiptAction::Reward { amount, .. } => *amount,
            ReceiptAction::Exit { .. } | ReceiptAction::Resume { .. } | ReceiptAction::Evidence { .. } => 0,
        }
    }

    /// Whether it gives back what another receipt carried.
    pub fn is_return(&self) -> bool {
        matches!(self, ReceiptAction::Return { .. })
    }

    /// Who ordered it by which transaction, if it may be sent back.
    pub fn ordered(&self) -> Option<(Address, Hash)> {
        match self {
            ReceiptAction::Transfer { from, transaction, .. }
            | ReceiptAction::Bond { from, transaction, .. }
            | ReceiptAction::TopUp { from, transaction, .. }
            | ReceiptAction::Exit { from, transaction, .. }
            | ReceiptAction::Resume { from, transaction, .. }
            | ReceiptAction::Evidence { from, transaction, .. } => Some((*from, *transaction)),
            ReceiptAction::Return { .. } | ReceiptAction::Withdraw { .. } | ReceiptAction::Reward { .. } => None,
        }
    }

    /// Whether it is a request to the beacon.
    pub fn is_request(&self) -> bool {
        self.ordered().is_some() && !matches!(self, ReceiptAction::Transfer { .. })
    }

    /// Whether a lane between such chains can hold it.
    pub fn belongs_in(&self, lane: &Lane) -> bool {
        match (lane.from, lane.to) {
            (ChainId::Shard(from), ChainId::Shard(to)) => {
                from != to && matches!(self, ReceiptAction::Transfer { .. } | ReceiptAction::Return { .. })
            }
            (ChainId::Shard(_), ChainId::Beacon) => self.is_request(),
            (ChainId::Beacon, ChainId::Shard(_)) => self.ordered().is_none(),
            (ChainId::Beacon, ChainId::Beacon) => false,
        }
    }
}

/// Reads evidence; more bytes than it may have are refused before they are read.
fn read_evidence<R: Read>(reader: &mut R) -> borsh::io::Result<Vec<u8>> {
    let length = usize::try_from(u32::deserialize_reader(reader)?).unwrap_or(usize::MAX);
    if length > Receipt::MAX_EVIDENCE {
        return Err(Error::new(ErrorKind::InvalidData, "more evidence than a receipt may carry"));
    }
    let mut bytes = vec![0; length];
    reader.read_exact(&mut bytes)?;
    Ok(bytes)
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

#[cfg(test)]
mod tests;
