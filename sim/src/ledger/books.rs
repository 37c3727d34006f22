//! One shard's accounts and sums, as the ledger has them.

use kakera_chain::{
    BlockId,
    address::Address,
    receipt::Receipt,
    units::{ChainId, Height},
};
use std::collections::{BTreeMap, BTreeSet};

/// Sums after a block, in the smallest unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Totals {
    /// The block.
    pub id: BlockId,
    /// All balances.
    pub balances: u128,
    /// Tips kept for proposers.
    pub tips: u128,
    /// Burned so far.
    pub burned: u128,
    /// Value of receipts emitted so far.
    pub sent: u128,
    /// Value of receipts consumed so far.
    pub received: u128,
}

/// One shard's accounts and sums.
#[derive(Clone, Debug)]
pub struct Books {
    /// What each account holds, and how many of its orders were executed.
    pub accounts: BTreeMap<Address, (u64, u64)>,
    balances: u128,
    pub(super) tips: u128,
    pub(super) burned: u128,
    pub(super) sent: u128,
    pub(super) received: u128,
    /// Of the next block.
    pub base_fee: u64,
    /// How far each lane toward this shard is consumed.
    pub consumed: BTreeMap<ChainId, u64>,
    /// Accounts that the last block changed.
    pub touched: BTreeSet<Address>,
    /// Receipts that the last block emitted.
    pub emitted: Vec<Receipt>,
    /// Sums after each block that may still be recorded.
    pub history: BTreeMap<Height, Totals>,
}

impl Books {
    pub(super) fn new(base_fee: u64) -> Books {
        Books {
            accounts: BTreeMap::new(),
            balances: 0,
            tips: 0,
            burned: 0,
            sent: 0,
            received: 0,
            base_fee,
            consumed: BTreeMap::new(),
            touched: BTreeSet::new(),
            emitted: Vec::new(),
            history: BTreeMap::new(),
        }
    }

    /// The highest block that was followed.
    pub fn height(&self) -> Height {
        self.history.last_key_value().map(|(height, _)| *height).unwrap_or_default()
    }

    /// Sums now.
    pub fn totals(&self) -> Option<&Totals> {
        self.history.last_key_value().map(|(_, totals)| totals)
    }

    /// A block begins.
    pub(super) fn open(&mut self) {
        self.touched.clear();
        self.emitted.clear();
    }

    /// A block ends.
    pub(super) fn close(&mut self, height: Height, id: BlockId, next_base_fee: u64) {
        self.base_fee = next_base_fee;
        let Books { balances, tips, burned, sent, received, .. } = *self;
        self.history.insert(height, Totals { id, balances, tips, burned, sent, received });
    }

    pub(super) fn credit(&mut self, to: Address, amount: u64) {
        let (balance, _) = self.accounts.entry(to).or_default();
        *balance = balance.saturating_add(amount);
        self.balances += u128::from(amount);
        self.touched.insert(to);
    }

    /// An account pays for its next order.
    pub(super) fn debit(&mut self, from: Address, amount: u128, nonce: u64) -> Result<(), String> {
        let (balance, executed) = self.accounts.entry(from).or_default();
        if *executed != nonce {
            return Err(format!("executes order {nonce} of {from}, of which {executed} were"));
        }
        let left = u64::try_from(amount).ok().and_then(|amount| balance.checked_sub(amount));
        *balance = left.ok_or_else(|| format!("takes {amount} from {from}, which has {balance}"))?;
        *executed += 1;
        self.balances -= amount;
        self.touched.insert(from);
        Ok(())
    }
}
