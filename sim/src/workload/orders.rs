//! What a client ordered and what became of it.

use crate::clock::Moment;
use kakera_chain::{
    address::Address,
    hash::Hash,
    receipt::{Lane, ReceiptAction},
    units::{Epoch, Height, ShardId},
};
use kakera_shard::SignedTransaction;
use std::sync::Arc;

/// An order.
#[derive(Clone, Debug)]
pub struct Order {
    /// The transaction's id.
    pub id: Hash,
    /// The shard of the account that orders.
    pub shard: ShardId,
    /// The transaction.
    pub signed: Arc<SignedTransaction>,
    /// Who is to get what.
    pub payments: Vec<Payment>,
    /// What the beacon is asked for instead.
    pub request: Option<Request>,
    /// What must become of it.
    pub fate: Fate,
    /// When it was made.
    pub made: Moment,
    /// When it was last submitted.
    pub tried: Moment,
    /// Which of the shard's running nodes was asked last.
    pub asked: Option<usize>,
    /// When a node first took it.
    pub accepted: Option<Moment>,
    /// When its block was first certified.
    pub final_at: Option<Moment>,
    /// That block's height, and the epoch of its era.
    pub height: Option<(Height, Epoch)>,
    /// When that block was first recorded.
    pub recorded_at: Option<Moment>,
    /// When its last payment was first delivered or had returned.
    pub ended_at: Option<Moment>,
    /// The receipts that it emitted.
    pub receipts: Vec<(Lane, u64)>,
    /// Those that have not ended.
    pub open_receipts: usize,
    /// Payments that came back.
    pub returned: u32,
}

/// Who is to get how much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payment {
    /// Who.
    pub to: Address,
    /// In the smallest unit.
    pub amount: u64,
}

/// What is asked of the beacon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// As the receipt says it.
    pub action: ReceiptAction,
    /// Gas beyond that of any order that emits one receipt.
    pub gas: u64,
}

/// What must become of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is executed, and every payment arrives or returns.
    Succeeds,
    /// It is refused.
    Refused,
}

impl Order {
    /// An order that was just made.
    pub fn new(
        id: Hash,
        shard: ShardId,
        signed: SignedTransaction,
        payments: Vec<Payment>,
        fate: Fate,
        now: Moment,
    ) -> Order {
        Order {
            id,
            shard,
            signed: Arc::new(signed),
            payments,
            request: None,
            fate,
            made: now,
            tried: now,
            asked: None,
            accepted: None,
            final_at: None,
            height: None,
            recorded_at: None,
            ended_at: None,
            receipts: Vec::new(),
            open_receipts: 0,
            returned: 0,
        }
    }

    /// The block that executed it is left out: it is to be executed again.
    pub fn undo(&mut self) {
        (self.final_at, self.height, self.ended_at) = (None, None, None);
        self.receipts.clear();
        self.open_receipts = 0;
    }

    /// Whether all that it asks for has happened.
    pub fn has_ended(&self) -> bool {
        self.ended_at.is_some()
    }
}
