//! What the beacon chain records: crosslinks of the shards.

use crate::{
    block::Header,
    certificate::Certificate,
    codec::{self, InvalidBytes},
    receipt::Receipt,
    units::ShardId,
};
use borsh::{BorshDeserialize, BorshSerialize};

/// Consecutive headers of one shard from just above the last recorded one, the last one's certificate, and all the
/// receipts that they emit, one list a header.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Crosslink {
    /// The shard.
    pub shard: ShardId,
    /// Ascending, consecutive; 1 to [`Crosslink::MAX_HEADERS`].
    pub headers: Vec<Header>,
    /// For each header the receipts that its outbox root commits to.
    pub receipts: Vec<Vec<Receipt>>,
    /// Of the last header.
    pub certificate: Certificate,
}

impl Crosslink {
    /// Headers in one crosslink at most.
    pub const MAX_HEADERS: usize = 64;
    /// Canonical bytes at most.
    pub const MAX_BYTES: usize = 512 * 1024;

    /// Decodes canonical bytes.
    pub fn decode(bytes: &[u8]) -> Result<Crosslink, InvalidBytes> {
        codec::decode(bytes, Crosslink::MAX_BYTES)
    }

    /// Whether it carries anything but empty blocks: transactions, emitted or consumed receipts. `received` is the
    /// value of receipts consumed by the last recorded header.
    pub fn has_content(&self, received: u64) -> bool {
        self.headers.iter().any(|header| header.figures.transactions > 0 || header.figures.received != received)
            || self.receipts.iter().any(|list| !list.is_empty())
    }
}

/// One item of a beacon block's body.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum BeaconItem {
    /// A crosslink.
    Crosslink(Box<Crosslink>),
}

impl BeaconItem {
    /// Decodes one body item of a beacon block.
    pub fn decode(bytes: &[u8]) -> Result<BeaconItem, InvalidBytes> {
        codec::decode(bytes, Crosslink::MAX_BYTES + 1)
    }
}
