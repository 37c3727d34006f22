//! Executing a block: the receipts that its reference makes due, then its transactions.

pub(crate) mod delivery;
#[cfg(test)]
mod tests;

use crate::{
    account::Account,
    checks::{self, InvalidTransaction},
    fees::{self, Demand, MAX_EMITTED, MAX_EMITTED_BYTES, WITNESS_DISCOUNT},
    lanes::{LaneTable, count},
    records::ConsumedOutcome,
    rules::Rules,
    state::{BlockOutcome, Meta, ShardState},
    transaction::Transaction,
    trie::Trie,
};
use kakera_chain::{
    Slot,
    address::Address,
    application::{Context, Executed},
    hash::Hash,
    keys::Signature,
    receipt::{Lane, Receipt, ReceiptAction},
    units::{ChainId, ValidatorId},
};
use std::{collections::BTreeMap, sync::Arc};
use thiserror::Error;

/// Why a block's content is refused as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidBlock {
    /// The reference is not a certified beacon block that this node knows.
    #[error("the block's reference is not known")]
    UnknownReference,
    /// A receipt that must be processed is not held any more: the parent is below the last certified block.
    #[error("receipt {seq} from {from} is due, but was forgotten as consumed")]
    ForgottenReceipt {
        /// The source.
        from: ChainId,
        /// Its place in the lane.
        seq: u64,
    },
    /// Not one witness an item.
    #[error("{items} items, but {witnesses} witnesses")]
    WitnessCount {
        /// Items of the body.
        items: usize,
        /// Witnesses.
        witnesses: usize,
    },
    /// An item that is not the canonical bytes of a transaction.
    #[error("item {index} is not a canonical transaction")]
    Item {
        /// Its place in the body.
        index: usize,
    },
    /// A witness that is not a signature's 64 bytes.
    #[error("witness {index} is not 64 bytes")]
    Witness {
        /// Its place.
        index: usize,
    },
    /// A transaction that is invalid at its place.
    #[error("transaction {index}: {reason}")]
    Transaction {
        /// Its place in the body.
        index: usize,
        /// Why.
        reason: InvalidTransaction,
    },
    /// The block is full before this transaction.
    #[error("transaction {index} does not fit: {limit}")]
    Full {
        /// Its place in the body.
        index: usize,
        /// What it exceeds.
        limit: Limit,
    },
}

/// A limit of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Limit {
    /// Gas.
    #[error("the block's gas is used up")]
    Gas,
    /// Bytes of body and, at a discount, witnesses.
    #[error("the block's bytes are used up")]
    Bytes,
    /// Receipts emitted, or their bytes.
    #[error("the block emits as many receipts as it may")]
    Receipts,
}

/// A transaction that is not executed, at its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// Whatever the rest of the block is.
    Invalid(InvalidTransaction),
    /// In this block.
    Full(Limit),
}

/// A block in the making: the parent's state, and what has changed.
pub(crate) struct Work<'a> {
    rules: &'a Rules,
    accounts: &'a Trie,
    lanes: &'a LaneTable,
    reference_slot: Slot,
    proposer: ValidatorId,
    changed: BTreeMap<Address, Account>,
    meta: Meta,
    base_fee: u64,
    gas: u64,
    bytes: u64,
    emitted: Vec<Receipt>,
    emitted_bytes: u64,
    consumed: Vec<(Receipt, ConsumedOutcome)>,
    transactions: Vec<(Hash, Vec<Receipt>)>,
}

impl<'a> Work<'a> {
    /// An empty block above `parent` with `lanes` as of the context's reference.
    pub(crate) fn new(rules: &'a Rules, parent: &'a ShardState, context: &Context, lanes: &'a LaneTable) -> Work<'a> {
        Work {
            rules,
            accounts: &parent.accounts,
            lanes,
            reference_slot: context.reference.slot,
            proposer: context.validator,
            changed: BTreeMap::new(),
            meta: Meta::clone(&parent.meta),
            base_fee: parent.meta.base_fee,
            gas: 0,
            bytes: 0,
            emitted: Vec::new(),
            emitted_bytes: 0,
            consumed: Vec::new(),
            transactions: Vec::new(),
        }
    }

    /// An account as of now.
    pub(crate) fn account(&self, address: &Address) -> Account {
        self.changed.get(address).copied().unwrap_or_else(|| self.accounts.account(address))
    }

    /// Gas not used.
    pub(crate) fn gas_left(&self) -> u64 {
        self.rules.fees.block_gas.saturating_sub(self.gas)
    }

    /// Executes a transaction whose signature was checked and whose demand is `demand`; a refused one changes nothing.
    pub(crate) fn execute(
        &mut self,
        id: Hash,
        transaction: &Transaction,
        demand: &Demand,
        item_bytes: usize,
    ) -> Result<(), Refused> {
        let sender = Address::of(&transaction.sender);
        let account = self.account(&sender);
        let charge = self.check(transaction, demand, &account).map_err(Refused::Invalid)?;
        let bytes = self.bytes.saturating_add(block_bytes(item_bytes));
        let receipts = demand.receipts.values().sum::<u64>();
        if demand.gas > self.gas_left() {
            return Err(Refused::Full(Limit::Gas));
        }
        if bytes > u64::from(self.rules.fees.block_bytes) {
            return Err(Refused::Full(Limit::Bytes));
        }
        let too_many = receipts > (MAX_EMITTED - self.emitted.len().min(MAX_EMITTED)) as u64;
        if too_many || self.emitted_bytes.saturating_add(demand.receipt_bytes) > MAX_EMITTED_BYTES {
            return Err(Refused::Full(Limit::Receipts));
        }
        // Checked above: from here on nothing fails.
        self.gas += demand.gas;
        self.bytes = bytes;
        let [total, burned, tip] = [charge.total, charge.burned, charge.tip].map(narrow);
        let account = Account { balance: account.balance - total, nonce: account.nonce + 1 };
        self.changed.insert(sender, account);
        self.meta.balances -= total;
        self.meta.burned += burned;
        self.meta.held += tip;
        if tip > 0 {
            *self.meta.tips.entry(self.proposer).or_default() += tip;
        }
        let first = self.emitted.len();
        transaction.action.program().apply(self, sender, id);
        self.transactions.push((id, self.emitted[first..].to_vec()));
        Ok(())
    }

    /// Moves `amount`, already taken from `from`, to an account here or into the lane toward its shard.
    pub(crate) fn pay(&mut self, from: Address, to: Address, amount: u64, transaction: Hash) {
        let shard = self.rules.shard_of(&to);
        if shard == self.rules.shard {
            self.credit(to, amount);
            return;
        }
        let expires_at = Slot(self.reference_slot.0.saturating_add(self.rules.lanes.lifetime_slots));
        self.emit(ChainId::Shard(shard), ReceiptAction::Transfer { from, to, amount, expires_at, transaction });
    }

    /// What so many seats cost, already taken from whoever pays for them.
    pub(crate) fn cost_of(&self, seats: u32) -> u64 {
        let seat = self.rules.staking.map_or(0, |staking| staking.seat);
        seat.checked_mul(u64::from(seats)).expect("not above a balance")
    }

    /// Asks something of the beacon, with value already taken from whoever asks.
    pub(crate) fn ask(&mut self, action: ReceiptAction) {
        self.emit(ChainId::Beacon, action);
    }

    /// The state, its root, and the receipts.
    pub(crate) fn finish(self) -> Executed<ShardState> {
        let mut meta = self.meta;
        meta.base_fee = fees::next_base_fee(self.base_fee, self.gas, self.rules.fees.block_gas);
        assert!(meta.conserves(self.rules.allocation), "value was made or lost: {meta:?}");
        let mut accounts = self.accounts.clone();
        for (address, account) in &self.changed {
            accounts.set(*address, *account);
        }
        let outcome = BlockOutcome {
            touched: self.changed.into_keys().collect(),
            consumed: self.consumed,
            transactions: self.transactions,
        };
        let state = ShardState { accounts, meta: Arc::new(meta), outcome: Arc::new(outcome) };
        let figures = state.figures(self.rules, self.gas, self.base_fee);
        Executed { state_root: state.root(), receipts: self.emitted, figures, state }
    }

    fn check(
        &self,
        transaction: &Transaction,
        demand: &Demand,
        account: &Account,
    ) -> Result<fees::Charge, InvalidTransaction> {
        checks::check_window(transaction, self.reference_slot)?;
        checks::check_nonce(transaction, account.nonce)?;
        let charge = demand.charge(transaction, self.base_fee, self.rules)?;
        checks::check_lanes(demand, self.rules, |to| unsettled(&self.meta, self.lanes, to))?;
        checks::check_funds(&charge, account.balance)?;
        let leaving = if demand.receipts.is_empty() { 0 } else { demand.value };
        let meta = &self.meta;
        let added = [(meta.sent, leaving), (meta.burned, charge.burned), (meta.held, charge.tip)];
        let room = added.iter().all(|(counter, more)| counter.checked_add(narrow(*more)).is_some());
        if room { Ok(charge) } else { Err(InvalidTransaction::CountersFull) }
    }

    fn credit(&mut self, to: Address, amount: u64) {
        let mut account = self.account(&to);
        account.balance += amount;
        self.meta.balances += amount;
        self.changed.insert(to, account);
    }

    fn emit(&mut self, to: ChainId, action: ReceiptAction) -> u64 {
        let before = count(&self.meta.outbox, to);
        let receipt = Receipt { lane: Lane { from: self.rules.chain(), to }, seq: before.next, action };
        self.meta.outbox.insert(to, before.with(receipt.action.is_return()));
        self.meta.sent += receipt.amount();
        self.emitted_bytes += borsh::object_length(&receipt).expect("memory has room") as u64;
        self.emitted.push(receipt);
        before.next
    }
}

/// An amount that was checked against a balance.
fn narrow(amount: u128) -> u64 {
    u64::try_from(amount).expect("not above a balance")
}

/// Ordinary receipts toward a chain that are not settled: not consumed as far as `lanes` says, or consumed and sent
/// back, the return not consumed here.
pub(crate) fn unsettled(meta: &Meta, lanes: &LaneTable, to: ChainId) -> u64 {
    let open = count(&meta.outbox, to).ordinary().saturating_sub(count(&lanes.away, to).ordinary());
    let back = count(&lanes.toward, to).returns.saturating_sub(count(&meta.inbox, to).returns);
    open.saturating_add(back)
}

/// What an item counts against the block's bytes: its own, and its signature's at a discount.
pub(crate) fn block_bytes(item_bytes: usize) -> u64 {
    item_bytes as u64 + 64 / WITNESS_DISCOUNT
}

/// A body's transaction with its id, signature and demand.
pub(crate) struct Item {
    pub(crate) id: Hash,
    pub(crate) transaction: Transaction,
    pub(crate) signature: Signature,
    demand: Demand,
    bytes: usize,
}

/// Decodes a body and checks what needs no state; signatures are not checked.
pub(crate) fn decode_body(rules: &Rules, body: &[Vec<u8>], witnesses: &[Vec<u8>]) -> Result<Vec<Item>, InvalidBlock> {
    if body.len() != witnesses.len() {
        return Err(InvalidBlock::WitnessCount { items: body.len(), witnesses: witnesses.len() });
    }
    let mut total = 0u64;
    let mut items = Vec::with_capacity(body.len());
    for (index, (bytes, witness)) in body.iter().zip(witnesses).enumerate() {
        // Before anything is decoded: what does not fit costs nothing.
        total = total.saturating_add(block_bytes(bytes.len()));
        if total > u64::from(rules.fees.block_bytes) {
            return Err(InvalidBlock::Full { index, limit: Limit::Bytes });
        }
        let transaction = Transaction::decode(bytes).map_err(|_| InvalidBlock::Item { index })?;
        let signature = witness.as_slice().try_into().map(Signature).map_err(|_| InvalidBlock::Witness { index })?;
        let demand =
            checks::check_alone(&transaction, rules).map_err(|reason| InvalidBlock::Transaction { index, reason })?;
        let id = Transaction::id_of(rules.network, bytes);
        items.push(Item { id, transaction, signature, demand, bytes: bytes.len() });
    }
    Ok(items)
}

/// Executes decoded items in order, after the receipts.
pub(crate) fn run_items(work: &mut Work<'_>, items: &[Item]) -> Result<(), InvalidBlock> {
    for (index, item) in items.iter().enumerate() {
        work.execute(item.id, &item.transaction, &item.demand, item.bytes).map_err(|refused| match refused {
            Refused::Invalid(reason) => InvalidBlock::Transaction { index, reason },
            Refused::Full(limit) => InvalidBlock::Full { index, limit },
        })?;
    }
    Ok(())
}
