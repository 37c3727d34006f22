//! One lane's receipts, as the ledger has them.

use kakera_chain::{
    Slot,
    address::Address,
    hash::Hash,
    receipt::{Lane, Receipt, ReceiptAction, ReturnReason},
};

/// One receipt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Who paid.
    pub from: Address,
    /// Who is to get it.
    pub to: Address,
    /// How much.
    pub amount: u64,
    /// On its way there, or back.
    pub fate: Fate,
    /// The order.
    pub transaction: Hash,
}

/// Where a receipt goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// To whom it was ordered for.
    Transfer {
        /// The last beacon slot of a reference under which it may be credited.
        expires_at: u64,
    },
    /// Back.
    Return {
        /// Its place in the opposite lane.
        original: u64,
        /// Why.
        reason: ReturnReason,
    },
}

/// One lane.
#[derive(Clone, Debug, Default)]
pub struct LaneBook {
    entries: Vec<Entry>,
    /// Value of all receipts up to each, in order.
    sums: Vec<u128>,
    /// How many have ended.
    ended: u64,
    /// How many the beacon has recorded.
    pub recorded: u64,
}

impl Entry {
    /// What a receipt says; nothing if it is none of those that clients' transfers lead to.
    pub fn of(receipt: &Receipt) -> Option<Entry> {
        match receipt.action {
            ReceiptAction::Transfer { from, to, amount, expires_at, transaction } => {
                Some(Entry { from, to, amount, fate: Fate::Transfer { expires_at: expires_at.0 }, transaction })
            }
            // Nobody asks who failed to get what comes back.
            ReceiptAction::Return { original, to, amount, reason, transaction } => {
                Some(Entry { from: to, to, amount, fate: Fate::Return { original, reason }, transaction })
            }
            _ => None,
        }
    }

    fn receipt(&self, lane: Lane, seq: u64) -> Receipt {
        let Entry { from, to, amount, fate, transaction } = *self;
        let action = match fate {
            Fate::Transfer { expires_at } => {
                ReceiptAction::Transfer { from, to, amount, expires_at: Slot(expires_at), transaction }
            }
            Fate::Return { original, reason } => ReceiptAction::Return { original, to, amount, reason, transaction },
        };
        Receipt { lane, seq, action }
    }
}

impl LaneBook {
    /// How many receipts it has had.
    pub fn len(&self) -> u64 {
        self.entries.len() as u64
    }

    /// Whether it has had none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Appends a receipt, and says what it looks like on the chain.
    pub(super) fn push(&mut self, lane: Lane, entry: Entry) -> Receipt {
        let seq = self.len();
        self.sums.push(self.value(seq) + u128::from(entry.amount));
        self.entries.push(entry);
        entry.receipt(lane, seq)
    }

    /// The receipt ends; it must be the next one to do so.
    pub(super) fn end(&mut self, seq: u64) -> Result<Entry, String> {
        let entry = usize::try_from(seq).ok().and_then(|place| self.entries.get(place));
        let entry = *entry.ok_or_else(|| format!("consumes receipt {seq} of {}", self.entries.len()))?;
        if seq != self.ended {
            return Err(format!("consumes receipt {seq} after {} others", self.ended));
        }
        self.ended += 1;
        Ok(entry)
    }

    /// The value of so many receipts from the lane's beginning.
    pub fn value(&self, count: u64) -> u128 {
        let last = count.checked_sub(1).and_then(|last| usize::try_from(last).ok());
        last.and_then(|last| self.sums.get(last)).copied().unwrap_or_default()
    }
}
