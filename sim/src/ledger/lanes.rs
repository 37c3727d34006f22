//! One lane's receipts, as the ledger has them.

use kakera_chain::{
    Slot,
    address::Address,
    hash::Hash,
    receipt::{Receipt, ReceiptAction, ReturnReason},
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
    /// To the beacon, which is asked for something.
    Asked,
    /// From the beacon, to whom it owes that.
    Paid,
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
    /// What a receipt says.
    pub fn of(receipt: &Receipt) -> Entry {
        match receipt.action {
            ReceiptAction::Transfer { from, to, amount, expires_at, transaction } => {
                Entry { from, to, amount, fate: Fate::Transfer { expires_at: expires_at.0 }, transaction }
            }
            // Nobody asks who failed to get what comes back.
            ReceiptAction::Return { original, to, amount, reason, transaction } => {
                Entry { from: to, to, amount, fate: Fate::Return { original, reason }, transaction }
            }
            ReceiptAction::Withdraw { to, amount, .. } | ReceiptAction::Reward { to, amount, .. } => {
                Entry { from: to, to, amount, fate: Fate::Paid, transaction: Hash::ZERO }
            }
            ReceiptAction::Bond { from, .. }
            | ReceiptAction::TopUp { from, .. }
            | ReceiptAction::Exit { from, .. }
            | ReceiptAction::Resume { from, .. }
            | ReceiptAction::Evidence { from, .. } => Entry::asked(from, &receipt.action),
        }
    }

    /// What somebody asks of the beacon.
    pub(super) fn asked(from: Address, action: &ReceiptAction) -> Entry {
        Entry { from, to: from, amount: action.amount(), fate: Fate::Asked, transaction: Hash::ZERO }
    }

    /// What the receipt of a transfer says, on its way there or back.
    pub(super) fn action(&self) -> Option<ReceiptAction> {
        let Entry { from, to, amount, fate, transaction } = *self;
        match fate {
            Fate::Transfer { expires_at } => {
                Some(ReceiptAction::Transfer { from, to, amount, expires_at: Slot(expires_at), transaction })
            }
            Fate::Return { original, reason } => {
                Some(ReceiptAction::Return { original, to, amount, reason, transaction })
            }
            Fate::Asked | Fate::Paid => None,
        }
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

    /// Appends a receipt. Returns its place.
    pub(super) fn push(&mut self, entry: Entry) -> u64 {
        let seq = self.len();
        self.sums.push(self.value(seq) + u128::from(entry.amount));
        self.entries.push(entry);
        seq
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
