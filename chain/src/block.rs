//! Blocks: header, body and witnesses, and the roots that tie them.

use crate::{
    codec::{self, InvalidBytes},
    hash::{Hash, NetworkId, Tag, identity, merkle_root},
    receipt::{LaneCursor, Receipt, Reference},
    units::{ChainId, Epoch, Height},
};
use borsh::{BorshDeserialize, BorshSerialize};
use kakera_cbc::{BlockId, Member, Slot};

/// What a chain states about itself after a block, so that others can judge it without executing: amounts in the
/// smallest unit, counted from genesis where not said otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Figures {
    /// Gas used by this block.
    pub gas_used: u64,
    /// Gas this block may use.
    pub gas_limit: u64,
    /// Base fee of this block, in the smallest unit per gas.
    pub base_fee: u64,
    /// Sum of all balances.
    pub balances: u64,
    /// Held by programs and uncollected tips.
    pub held: u64,
    /// Burned so far.
    pub burned: u64,
    /// Value of all receipts emitted so far.
    pub sent: u64,
    /// Value of all receipts consumed so far.
    pub received: u64,
    /// Transactions in this block.
    pub transactions: u32,
    /// How far each lane toward this chain is consumed, sorted by source.
    pub inbox: Vec<LaneCursor>,
}

/// A block's header; its id is [`Tag::BLOCK`]'s identity of it.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Header {
    /// The chain.
    pub chain: ChainId,
    /// The era's epoch.
    pub epoch: Epoch,
    /// The era's root block.
    pub root: BlockId,
    /// The block below.
    pub parent: BlockId,
    /// The parent's height and one.
    pub height: Height,
    /// The slot; later than the parent's.
    pub slot: Slot,
    /// The slot's leader.
    pub proposer: Member,
    /// How far this block has read the beacon chain (a beacon block: its parent).
    pub reference: Reference,
    /// The state after this block.
    pub state_root: Hash,
    /// Merkle root of the body's items.
    pub body_root: Hash,
    /// Merkle root of the witnesses.
    pub witness_root: Hash,
    /// Merkle root of the receipts this block emits, canonical bytes in order.
    pub outbox_root: Hash,
    /// What the chain states about itself.
    pub figures: Figures,
}

impl Header {
    /// Canonical bytes of a header at most: a cursor for every one of 1,024 chains.
    pub const MAX_BYTES: usize = 16 * 1024;

    /// The block's identity.
    pub fn id(&self, network: NetworkId) -> BlockId {
        BlockId(identity(Tag::BLOCK, network, self).0)
    }
}

/// A whole block. Items and witnesses are canonical bytes that the chain's application decodes.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Block {
    /// The header.
    pub header: Header,
    /// Transactions without signatures, or what the beacon records.
    pub body: Vec<Vec<u8>>,
    /// The items' signatures, in order; kept apart so that they can be dropped after finality.
    pub witnesses: Vec<Vec<u8>>,
}

impl Block {
    /// Canonical bytes of a block at most.
    pub const MAX_BYTES: usize = 2 * 1024 * 1024;

    /// Decodes a block and checks that the header commits to body and witnesses.
    pub fn decode(bytes: &[u8]) -> Result<Block, InvalidBytes> {
        let block: Block = codec::decode(bytes, Block::MAX_BYTES)?;
        if block.is_whole() { Ok(block) } else { Err(InvalidBytes::Malformed { what: "a block whose roots match" }) }
    }

    /// Whether the header commits to this body and these witnesses.
    pub fn is_whole(&self) -> bool {
        self.header.body_root == merkle_root(&self.body) && self.header.witness_root == merkle_root(&self.witnesses)
    }
}

/// The outbox root of the receipts a block emits.
pub fn outbox_root(receipts: &[Receipt]) -> Hash {
    let leaves: Vec<Vec<u8>> = receipts.iter().map(codec::encode).collect();
    merkle_root(&leaves)
}
