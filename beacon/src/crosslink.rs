//! Why a crosslink is refused.

use kakera_chain::{
    certificate::InvalidCertificate,
    receipt::Lane,
    units::{ChainId, Height, ShardId},
};
use thiserror::Error;

/// Why a crosslink is refused; nothing changed. Amounts are in the smallest unit.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidCrosslink {
    /// No such shard.
    #[error("there is no shard {shard}")]
    UnknownShard {
        /// The one named.
        shard: ShardId,
    },
    /// No header, or more than a crosslink may hold.
    #[error("{found} headers, but a crosslink holds 1 to {limit}")]
    HeaderCount {
        /// How many.
        found: usize,
        /// The most.
        limit: usize,
    },
    /// Not one list of receipts a header.
    #[error("{lists} lists of receipts for {headers} headers")]
    ReceiptLists {
        /// How many headers.
        headers: usize,
        /// How many lists.
        lists: usize,
    },
    /// Too many canonical bytes.
    #[error("{found} bytes exceed the limit of {limit}")]
    TooLong {
        /// Bytes present.
        found: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// Its first header lies at or below what is recorded.
    #[error("the shard is recorded up to height {recorded} already")]
    Stale {
        /// The last recorded height.
        recorded: Height,
    },
    /// Its first header lies further above what is recorded than one height.
    #[error("the shard is recorded up to height {recorded} only, and the first header is at {first}")]
    Gap {
        /// The last recorded height.
        recorded: Height,
        /// The first header's.
        first: Height,
    },
    /// A header's height is not its predecessor's and one.
    #[error("the header at position {position} does not follow in height")]
    HeightOrder {
        /// Where.
        position: usize,
    },
    /// A header's slot is not later than its predecessor's.
    #[error("the header at position {position} is not of a later slot")]
    SlotOrder {
        /// Where.
        position: usize,
    },
    /// A header has read less of the beacon than its predecessor.
    #[error("the header at position {position} names an older reference")]
    ReferenceOrder {
        /// Where.
        position: usize,
    },
    /// A header that names a beacon block which is not below the one that would record it: it could close an era before
    /// its end, and nothing could follow it.
    #[error("the header at position {position} names a beacon block that is not there yet")]
    FutureReference {
        /// Where.
        position: usize,
    },
    /// A header of another chain, epoch or era root.
    #[error("the header at position {position} belongs to another chain or era")]
    OtherEra {
        /// Where.
        position: usize,
    },
    /// A header above its era's switch block.
    #[error("the header at position {position} stands on the block that closed its era")]
    PastEra {
        /// Where.
        position: usize,
    },
    /// A header that does not name its predecessor as its parent.
    #[error("the header at position {position} has another parent")]
    Parent {
        /// Where.
        position: usize,
    },
    /// Receipts other than those that the header commits to.
    #[error("the receipts of height {height} are not those of its outbox root")]
    OutboxRoot {
        /// Whose.
        height: Height,
    },
    /// The certificate does not hold for the last header.
    #[error("certificate: {0}")]
    Certificate(#[from] InvalidCertificate),
    /// A receipt in a lane that another chain writes.
    #[error("a receipt claims to come from {from}")]
    LaneSource {
        /// The chain named.
        from: ChainId,
    },
    /// A receipt to no shard of the network, or to its own, or to the beacon where there is no stake.
    #[error("a receipt goes to {to}, which takes none from here")]
    LaneDestination {
        /// The chain named.
        to: ChainId,
    },
    /// A receipt that lanes between such chains do not hold.
    #[error("receipt {seq} asks for what its destination does not do")]
    LaneAction {
        /// The lane.
        lane: Lane,
        /// Its place there.
        seq: u64,
    },
    /// A receipt out of its lane's order.
    #[error("a receipt has seq {found} where its lane is at {expected}")]
    LaneOrder {
        /// The lane.
        lane: Lane,
        /// The lane's length.
        expected: u64,
        /// The receipt's.
        found: u64,
    },
    /// More ordinary receipts than a lane may hold unconsumed.
    #[error("a lane holds more than {bound} receipts")]
    LaneFull {
        /// The lane.
        lane: Lane,
        /// The most.
        bound: u64,
    },
    /// A return of something that this very header did not consume, or not once, or not of this value.
    #[error("return {seq} gives back what was not consumed beside it")]
    UnfoundedReturn {
        /// The return's lane.
        lane: Lane,
        /// Its place there.
        seq: u64,
    },
    /// Lane cursors out of order, twice, or for no other shard of the network.
    #[error("the lane cursors of height {height} are out of order or name a chain that sends nothing")]
    Inbox {
        /// Whose.
        height: Height,
    },
    /// A lane cursor below what was consumed already, or left out.
    #[error("a lane cursor went back from {consumed} to {found}")]
    CursorRegresses {
        /// The lane.
        lane: Lane,
        /// Consumed before.
        consumed: u64,
        /// Claimed now.
        found: u64,
    },
    /// A lane cursor past what is recorded.
    #[error("a lane cursor is at {found}, but only {recorded} receipts are recorded")]
    CursorAhead {
        /// The lane.
        lane: Lane,
        /// The lane's length.
        recorded: u64,
        /// Claimed.
        found: u64,
    },
    /// The value sent did not grow by the value of the receipts.
    #[error("height {height} states {found} sent, but its receipts make {expected}")]
    Sent {
        /// Whose.
        height: Height,
        /// By the receipts.
        expected: u128,
        /// Stated.
        found: u64,
    },
    /// The value received did not grow by the value of the receipts consumed.
    #[error("height {height} states {found} received, but its lane cursors make {expected}")]
    Received {
        /// Whose.
        height: Height,
        /// By the lanes.
        expected: u128,
        /// Stated.
        found: u64,
    },
    /// The value burned shrank.
    #[error("height {height} states {found} burned, less than {before} before")]
    Burned {
        /// Whose.
        height: Height,
        /// Before.
        before: u64,
        /// Stated.
        found: u64,
    },
    /// The shard sent and burned more than it ever had.
    #[error("at height {height} the shard has sent and burned {left} of {had}")]
    Insolvent {
        /// Whose.
        height: Height,
        /// Sent and burned.
        left: u128,
        /// Allocated and received.
        had: u128,
    },
    /// What the shard holds is not what it had less what left it.
    #[error("at height {height} the shard holds {found}, but {expected} must be there")]
    Unbalanced {
        /// Whose.
        height: Height,
        /// Allocated and received less sent and burned.
        expected: u128,
        /// Balances and held.
        found: u128,
    },
}
