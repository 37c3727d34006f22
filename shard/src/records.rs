//! What a shard keeps in the store: rows of certified state, and the index of what happened to whom.

#[cfg(test)]
mod tests;

use crate::{
    account::Account,
    state::{BlockOutcome, Meta, ShardState},
    trie::{Builder, Trie},
};
use borsh::{BorshDeserialize, BorshSerialize};
use kakera_chain::{
    BlockId,
    address::Address,
    codec,
    hash::Hash,
    receipt::{Lane, Receipt, ReturnReason},
    store::{Store, StoreFailure, Table, Write},
    units::Height,
};
use std::sync::Arc;

/// The row of [`Table::Meta`] that holds [`Meta`] at the last certified block.
pub const META_KEY: &[u8] = b"shard/meta";

/// Rows read at a time.
const PAGE: usize = 4_096;

/// Where a transaction is included; [`Table::Transactions`], by its id.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct TransactionRecord {
    /// The block's height.
    pub height: Height,
    /// The block.
    pub block: BlockId,
    /// Its place in the block's body.
    pub index: u32,
    /// Receipts it emitted.
    pub receipts: Vec<Receipt>,
}

/// Where and how a receipt toward this shard was consumed; [`Table::Consumed`], by [`consumed_key`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct ConsumedRecord {
    /// The block's height.
    pub height: Height,
    /// The block.
    pub block: BlockId,
    /// What it carried, in the smallest unit.
    pub amount: u64,
    /// How.
    pub outcome: ConsumedOutcome,
}

/// How a receipt was consumed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum ConsumedOutcome {
    /// Its value was credited.
    Credited,
    /// Its value was sent back.
    Returned {
        /// Why.
        reason: ReturnReason,
        /// The return's place in the opposite lane.
        seq: u64,
    },
}

/// The key of a receipt's [`ConsumedRecord`]: the lane's canonical bytes, then `seq`, big-endian.
pub fn consumed_key(lane: &Lane, seq: u64) -> Vec<u8> {
    [codec::encode(lane), seq.to_be_bytes().to_vec()].concat()
}

/// Where a transaction is included, if it is.
pub fn transaction_record(store: &dyn Store, id: &Hash) -> Result<Option<TransactionRecord>, StoreFailure> {
    load(store, Table::Transactions, &id.0)
}

/// What became of a receipt toward this shard, if it was consumed.
pub fn consumed_record(store: &dyn Store, lane: &Lane, seq: u64) -> Result<Option<ConsumedRecord>, StoreFailure> {
    load(store, Table::Consumed, &consumed_key(lane, seq))
}

/// The receipts that the certified block at a height emitted, if it is held.
pub fn receipts_at(store: &dyn Store, height: Height) -> Result<Option<Vec<Receipt>>, StoreFailure> {
    load(store, Table::Receipts, &height.0.to_be_bytes())
}

/// The writes that bring the stored state from `before`'s to `after`'s. The first block writes every account, as the
/// genesis file's are not stored.
pub(crate) fn state_writes(height: Height, before: &ShardState, after: &ShardState) -> Vec<Write> {
    let mut writes: Vec<Write> = if height == Height(1) {
        after.accounts.iter().map(|(address, account)| account_write(&address, &account)).collect()
    } else {
        let changed = |address: &&Address| before.account(address) != after.account(address);
        let touched = after.outcome.touched.iter().filter(changed);
        touched.map(|address| account_write(address, &after.account(address))).collect()
    };
    writes.push(Write::put(Table::Meta, META_KEY, codec::encode(&*after.meta)));
    writes
}

/// The writes that index a certified block.
pub(crate) fn index_writes(
    height: Height,
    block: BlockId,
    outcome: &BlockOutcome,
    receipts: &Vec<Receipt>,
) -> Vec<Write> {
    let mut writes = vec![Write::put(Table::Receipts, height.0.to_be_bytes(), codec::encode(receipts))];
    for (index, (id, receipts)) in (0..).zip(&outcome.transactions) {
        let record = TransactionRecord { height, block, index, receipts: receipts.clone() };
        writes.push(Write::put(Table::Transactions, id.0, codec::encode(&record)));
    }
    for (receipt, outcome) in &outcome.consumed {
        let record = ConsumedRecord { height, block, amount: receipt.amount(), outcome: *outcome };
        writes.push(Write::put(Table::Consumed, consumed_key(&receipt.lane, receipt.seq), codec::encode(&record)));
    }
    writes
}

/// The writes that take [`state_writes`] and [`index_writes`] of a block back. Before the first block nothing is stored.
pub(crate) fn undo_writes(height: Height, before: &ShardState, after: &ShardState) -> Vec<Write> {
    let delete = |table, key: Vec<u8>| Write::Delete { table, key };
    let mut writes = if height == Height(1) {
        vec![Write::Clear { table: Table::State }, delete(Table::Meta, META_KEY.to_vec())]
    } else {
        let changed = |address: &&Address| before.account(address) != after.account(address);
        let touched = after.outcome.touched.iter().filter(changed);
        let mut writes: Vec<Write> = touched.map(|address| account_write(address, &before.account(address))).collect();
        writes.push(Write::put(Table::Meta, META_KEY, codec::encode(&*before.meta)));
        writes
    };
    writes.push(delete(Table::Receipts, height.0.to_be_bytes().to_vec()));
    let (transactions, consumed) = (&after.outcome.transactions, &after.outcome.consumed);
    writes.extend(transactions.iter().map(|(id, _)| delete(Table::Transactions, id.0.to_vec())));
    let keys = consumed.iter().map(|(receipt, _)| consumed_key(&receipt.lane, receipt.seq));
    writes.extend(keys.map(|key| delete(Table::Consumed, key)));
    writes
}

/// The stored state, if there is one.
pub(crate) fn load_state(store: &dyn Store) -> Result<Option<ShardState>, StoreFailure> {
    let Some(meta) = load::<Meta>(store, Table::Meta, META_KEY)? else { return Ok(None) };
    let accounts = load_accounts(store)?;
    Ok(Some(ShardState { accounts, meta: Arc::new(meta), outcome: Arc::default() }))
}

/// The stored accounts.
pub(crate) fn load_accounts(store: &dyn Store) -> Result<Trie, StoreFailure> {
    let mut accounts = Builder::default();
    for_each_row(store, Table::State, &[], |key, value| {
        let address = key.try_into().map(Address).map_err(|_| damaged(Table::State, "a key is not an address"))?;
        let account = parse::<Account>(Table::State, value)?;
        accounts.push(address, account).map_err(|error| damaged(Table::State, &error.to_string()))
    })?;
    Ok(accounts.finish())
}

/// Calls `visit` with every row from the key `from` on, in key order.
pub(crate) fn for_each_row(
    store: &dyn Store,
    table: Table,
    from: &[u8],
    mut visit: impl FnMut(&[u8], &[u8]) -> Result<(), StoreFailure>,
) -> Result<(), StoreFailure> {
    let mut from = from.to_vec();
    loop {
        let rows = store.scan(table, &from, PAGE)?;
        for (key, value) in &rows {
            visit(key, value)?;
        }
        match rows.last() {
            // The smallest key above the last one seen.
            Some((key, _)) if rows.len() == PAGE => from = [&key[..], &[0]].concat(),
            _ => return Ok(()),
        }
    }
}

/// A value and its row.
pub(crate) fn load<T: BorshDeserialize + BorshSerialize>(
    store: &dyn Store,
    table: Table,
    key: &[u8],
) -> Result<Option<T>, StoreFailure> {
    store.load(table, key)?.map(|bytes| parse(table, &bytes)).transpose()
}

/// Decodes what this process wrote itself.
pub(crate) fn parse<T: BorshDeserialize + BorshSerialize>(table: Table, bytes: &[u8]) -> Result<T, StoreFailure> {
    codec::decode(bytes, usize::MAX).map_err(|error| damaged(table, &error.to_string()))
}

pub(crate) fn damaged(table: Table, reason: &str) -> StoreFailure {
    StoreFailure { table, reason: reason.to_owned() }
}

pub(crate) fn account_write(address: &Address, account: &Account) -> Write {
    if account.is_empty() {
        Write::Delete { table: Table::State, key: address.0.to_vec() }
    } else {
        Write::put(Table::State, address.0, codec::encode(account))
    }
}
