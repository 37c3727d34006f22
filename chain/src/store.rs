//! The store contract: synchronous reads; writes are effects only.

use borsh::{BorshDeserialize, BorshSerialize};
use thiserror::Error;

/// What is kept, one column family each. Keys are big-endian so that scans run in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub enum Table {
    /// Names to small values: network, chain, heights reached, own finality.
    Meta,
    /// Block id to block.
    Blocks,
    /// Height to the id of the certified block there.
    Heights,
    /// Height to certificate, where one is held.
    Certificates,
    /// Insertion number to consensus message.
    Messages,
    /// Message id to insertion number.
    MessageIds,
    /// Member and `seq` to insertion number.
    Threads,
    /// Message id to the whole justification, of messages whose advances alone do not tell it.
    Cites,
    /// Member to evidence of an equivocation; member and 1 to evidence of conflicting finality signatures.
    Evidence,
    /// Epoch and member to evidence of earlier eras.
    PastEvidence,
    /// Height to the writes that take its block back, while a fallback may still leave it out.
    Undo,
    /// The application's state at the last certified block held.
    State,
    /// Height to the receipts its block emitted.
    Receipts,
    /// Transaction id to where it is included.
    Transactions,
    /// Lane and `seq` to where a receipt was consumed.
    Consumed,
    /// Beacon height to what a shard process keeps of the beacon chain.
    Beacon,
}

impl Table {
    /// Every table.
    pub const ALL: [Table; 16] = [
        Table::Meta,
        Table::Blocks,
        Table::Heights,
        Table::Certificates,
        Table::Messages,
        Table::MessageIds,
        Table::Threads,
        Table::Cites,
        Table::Evidence,
        Table::PastEvidence,
        Table::Undo,
        Table::State,
        Table::Receipts,
        Table::Transactions,
        Table::Consumed,
        Table::Beacon,
    ];

    /// The column family's name.
    pub fn name(self) -> &'static str {
        match self {
            Table::Meta => "meta",
            Table::Blocks => "blocks",
            Table::Heights => "heights",
            Table::Certificates => "certificates",
            Table::Messages => "messages",
            Table::MessageIds => "message_ids",
            Table::Threads => "threads",
            Table::Cites => "cites",
            Table::Evidence => "evidence",
            Table::PastEvidence => "past_evidence",
            Table::Undo => "undo",
            Table::State => "state",
            Table::Receipts => "receipts",
            Table::Transactions => "transactions",
            Table::Consumed => "consumed",
            Table::Beacon => "beacon",
        }
    }
}

/// One change; changes persisted together happen together, in their order, or not at all.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Write {
    /// Sets a key.
    Put {
        /// Where.
        table: Table,
        /// The key.
        key: Vec<u8>,
        /// The value.
        value: Vec<u8>,
    },
    /// Removes a key.
    Delete {
        /// Where.
        table: Table,
        /// The key.
        key: Vec<u8>,
    },
    /// Removes every key of a table.
    Clear {
        /// Which.
        table: Table,
    },
    /// Removes every key below one.
    Below {
        /// Where.
        table: Table,
        /// The first key that stays.
        key: Vec<u8>,
    },
}

impl Write {
    /// Sets `key` to `value`.
    pub fn put(table: Table, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> Write {
        Write::Put { table, key: key.into(), value: value.into() }
    }
}

/// The machine under the store failed, or what it holds is damaged.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the store failed at table {}: {reason}", table.name())]
pub struct StoreFailure {
    /// Where.
    pub table: Table,
    /// The store's own words.
    pub reason: String,
}

/// A key and its value.
pub type Row = (Vec<u8>, Vec<u8>);

/// Synchronous reads of what was persisted.
pub trait Store: Send + Sync {
    /// The value of a key.
    fn load(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreFailure>;
    /// Up to `limit` rows in key order, beginning with the first key not below `from`.
    fn scan(&self, table: Table, from: &[u8], limit: usize) -> Result<Vec<Row>, StoreFailure>;
    /// The row with the greatest key.
    fn last(&self, table: Table) -> Result<Option<Row>, StoreFailure>;
}
