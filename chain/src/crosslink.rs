//! What the beacon chain records: crosslinks of the shards.

use crate::{
    block::Header,
    certificate::Certificate,
    codec::{self, InvalidBytes},
    hash::Hash,
    receipt::{LaneCursor, Receipt},
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

    /// Whether it carries anything but empty blocks: transactions, emitted or consumed receipts. `inbox`: how far the last
    /// recorded header has consumed the lanes.
    pub fn has_content(&self, inbox: &[LaneCursor]) -> bool {
        self.headers.iter().any(|header| header.figures.transactions > 0 || header.figures.inbox != inbox)
            || self.receipts.iter().any(|list| !list.is_empty())
    }
}

/// A link of the proposer's SHA-256 hash chain: what a beacon block adds to the randomness.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Reveal {
    /// The link below the proposer's commitment.
    pub link: Hash,
    /// The end of a new chain, from which the proposer reveals in later epochs.
    pub next: Option<Hash>,
}

/// One item of a beacon block's body. At most one reveal and one attendance, in this order, stand before all crosslinks.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum BeaconItem {
    /// A crosslink.
    Crosslink(Box<Crosslink>),
    /// The proposer's next link.
    Reveal(Reveal),
    /// A certificate of an earlier block of this chain and epoch: who was there.
    Attendance(Box<Certificate>),
}

impl BeaconItem {
    /// Decodes one body item of a beacon block.
    pub fn decode(bytes: &[u8]) -> Result<BeaconItem, InvalidBytes> {
        codec::decode(bytes, Crosslink::MAX_BYTES + 1)
    }
}
