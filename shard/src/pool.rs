//! The pool: transactions that wait for a block. Bounded by count and bytes, in total and for each sender.
//!
//! Past half of a bound it takes only what can be executed in turn: so what waits (for missing nonces, a full lane, a
//! lower base fee), which costs its sender nothing, leaves half of the pool to what goes on.

mod queue;
#[cfg(test)]
mod tests;

use crate::{
    checks::{self, InvalidTransaction},
    fees::Demand,
    rules::Rules,
    state::ShardState,
    transaction::{SignedTransaction, Transaction},
};
use kakera_chain::{Slot, address::Address, hash::Hash, keys::Signature, units::ChainId};
pub(crate) use queue::Queue;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use thiserror::Error;

/// How much a pool holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolLimits {
    /// Transactions in total.
    pub transactions: usize,
    /// Canonical bytes in total.
    pub bytes: usize,
    /// Transactions of one sender; also how far a nonce may be ahead of the account's next.
    pub sender_transactions: usize,
    /// Canonical bytes of one sender.
    pub sender_bytes: usize,
}

impl Default for PoolLimits {
    fn default() -> PoolLimits {
        PoolLimits {
            transactions: 65_536,
            bytes: 32 * 1024 * 1024,
            sender_transactions: 1_024,
            sender_bytes: 1024 * 1024,
        }
    }
}

/// Why a transaction is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Refusal {
    /// It is invalid against the state at the head.
    #[error(transparent)]
    Invalid(#[from] InvalidTransaction),
    /// It is longer than any transaction.
    #[error("the transaction has {found} bytes, but at most {limit} are allowed")]
    TooLong {
        /// Canonical bytes present.
        found: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// The pool is full, or more than half full and this one would wait in it.
    #[error("the pool is full with {transactions} transactions of {bytes} bytes: try again later")]
    PoolFull {
        /// Transactions held.
        transactions: usize,
        /// Bytes held.
        bytes: usize,
    },
    /// The sender's share of the pool is used.
    #[error("{transactions} transactions of this sender wait already: try again when some are executed")]
    SenderFull {
        /// The sender's transactions held.
        transactions: usize,
    },
    /// The nonce is too far ahead of the account's.
    #[error("nonce {found} is too far ahead of the account's next nonce {expected}: send the earlier ones first")]
    NonceTooFar {
        /// The account's next.
        expected: u64,
        /// The transaction's.
        found: u64,
    },
    /// Another transaction with this nonce waits, and this one does not pay enough to replace it.
    #[error("another transaction with this nonce waits: replacing it needs max_fee {max_fee} and tip {tip} at least")]
    Replacement {
        /// The maximum fee needed, per gas.
        max_fee: u64,
        /// The tip needed, per gas.
        tip: u64,
    },
}

/// What a pooled transaction waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PoolStatus {
    /// For a block.
    Executable,
    /// It is executed in the block at the head, which is not certified yet.
    Included,
    /// For earlier nonces.
    Nonce {
        /// The account's next.
        expected: u64,
    },
    /// For a lower base fee.
    BaseFee {
        /// The next block's, per gas.
        base_fee: u64,
    },
    /// For funds.
    Funds {
        /// Value and fees.
        need: u128,
        /// The balance.
        have: u64,
    },
    /// For receipts toward this chain to be settled.
    Lane {
        /// The destination.
        to: ChainId,
    },
    /// For nothing: it is past its last slot and will be dropped.
    Expired,
}

/// A pooled transaction; its signature was checked.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) id: Hash,
    pub(crate) signed: SignedTransaction,
    pub(crate) demand: Demand,
    /// Canonical bytes of the signed transaction.
    pub(crate) bytes: usize,
    /// When it came: the order among equal tips.
    arrival: u64,
}

/// One sender's transactions by nonce.
#[derive(Clone, Debug, Default)]
struct Sender {
    entries: BTreeMap<u64, Entry>,
    bytes: usize,
}

/// Transactions that wait.
#[derive(Clone, Debug)]
pub(crate) struct Pool {
    limits: PoolLimits,
    senders: BTreeMap<Address, Sender>,
    ids: BTreeMap<Hash, (Address, u64)>,
    bytes: usize,
    /// Receipts that the pooled transactions will emit, by destination.
    receipts: BTreeMap<ChainId, u64>,
    arrivals: u64,
    verified: Verified,
}

/// Signatures checked lately, so that a block does not check them again; the oldest are forgotten.
#[derive(Clone, Debug, Default)]
struct Verified {
    known: BTreeSet<(Hash, Signature)>,
    order: VecDeque<(Hash, Signature)>,
}

/// What the state at the head says to the pool.
pub(crate) struct Head<'a> {
    pub(crate) rules: &'a Rules,
    pub(crate) state: &'a ShardState,
    /// Of the newest reference.
    pub(crate) slot: Slot,
}

impl Pool {
    pub(crate) fn new(limits: PoolLimits) -> Pool {
        Pool {
            limits,
            senders: BTreeMap::new(),
            ids: BTreeMap::new(),
            bytes: 0,
            receipts: BTreeMap::new(),
            arrivals: 0,
            verified: Verified::default(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.ids.len()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn entry(&self, id: &Hash) -> Option<&Entry> {
        let (sender, nonce) = self.ids.get(id)?;
        self.senders.get(sender)?.entries.get(nonce)
    }

    /// The first nonce from `nonce` on that no pooled transaction of this sender has.
    pub(crate) fn next_nonce(&self, sender: &Address, nonce: u64) -> u64 {
        let pooled = |nonce: &u64| self.senders.get(sender).is_some_and(|slot| slot.entries.contains_key(nonce));
        (nonce..u64::MAX).find(|nonce| !pooled(nonce)).unwrap_or(u64::MAX)
    }

    /// All that wait, each sender's by nonce.
    pub(crate) fn all(&self) -> impl Iterator<Item = &SignedTransaction> {
        self.senders.values().flat_map(|slot| slot.entries.values()).map(|entry| &entry.signed)
    }

    /// Whether this signature was checked lately, and held.
    pub(crate) fn has_verified(&self, id: &Hash, signature: &Signature) -> bool {
        self.verified.known.contains(&(*id, *signature))
    }

    /// Everything that can be checked without the signature, which costs the most.
    pub(crate) fn check(
        &self,
        signed: &SignedTransaction,
        bytes: usize,
        head: &Head<'_>,
        unsettled: impl Fn(ChainId) -> u64,
    ) -> Result<Demand, Refusal> {
        let transaction = &signed.transaction;
        let limit = SignedTransaction::MAX_BYTES;
        if bytes > limit {
            return Err(Refusal::TooLong { found: bytes, limit });
        }
        let demand = checks::check_alone(transaction, head.rules)?;
        checks::check_window(transaction, head.slot)?;
        let sender = Address::of(&transaction.sender);
        let account = head.state.account(&sender);
        let (expected, found) = (account.nonce, transaction.nonce);
        match checks::check_nonce(transaction, expected) {
            Err(InvalidTransaction::NonceGap { .. })
                if found - expected < self.limits.sender_transactions as u64 && found < u64::MAX => {}
            Err(InvalidTransaction::NonceGap { .. }) => return Err(Refusal::NonceTooFar { expected, found }),
            other => other?,
        }
        let charge = demand.charge(transaction, head.state.base_fee(), head.rules)?;
        let before = self.pledged(&sender, expected, found, head);
        let need = charge.total + before;
        if need > u128::from(account.balance) {
            return Err(InvalidTransaction::Overdraft { need, have: account.balance }.into());
        }
        self.check_room(&sender, transaction, bytes)?;
        if self.is_crowded() && !self.goes_on(&sender, expected..found, &demand, head, unsettled) {
            return Err(Refusal::PoolFull { transactions: self.len(), bytes: self.bytes });
        }
        Ok(demand)
    }

    /// Takes a transaction that passed [`Pool::check`] and whose signature holds.
    pub(crate) fn insert(&mut self, id: Hash, signed: SignedTransaction, demand: Demand, bytes: usize) {
        let (sender, nonce) = (Address::of(&signed.transaction.sender), signed.transaction.nonce);
        self.remove(sender, nonce);
        self.verified.remember((id, signed.signature), self.limits.transactions);
        let arrival = self.arrivals;
        self.arrivals += 1;
        for (to, receipts) in &demand.receipts {
            *self.receipts.entry(*to).or_default() += receipts;
        }
        let slot = self.senders.entry(sender).or_default();
        slot.entries.insert(nonce, Entry { id, signed, demand, bytes, arrival });
        slot.bytes += bytes;
        self.bytes += bytes;
        self.ids.insert(id, (sender, nonce));
    }

    /// What a pooled transaction waits for.
    pub(crate) fn status(&self, id: &Hash, head: &Head<'_>, unsettled: impl Fn(ChainId) -> u64) -> Option<PoolStatus> {
        let entry = self.entry(id)?;
        let transaction = &entry.signed.transaction;
        let account = head.state.account(&Address::of(&transaction.sender));
        let checked = checks::check_nonce(transaction, account.nonce)
            .and_then(|()| checks::check_window(transaction, head.slot))
            .and_then(|()| entry.demand.charge(transaction, head.state.base_fee(), head.rules))
            .and_then(|charge| checks::check_funds(&charge, account.balance))
            .and_then(|()| checks::check_lanes(&entry.demand, head.rules, unsettled));
        Some(match checked {
            Ok(()) => PoolStatus::Executable,
            Err(InvalidTransaction::NonceUsed { .. }) => PoolStatus::Included,
            Err(InvalidTransaction::NonceGap { expected, .. }) => PoolStatus::Nonce { expected },
            Err(InvalidTransaction::FeeTooLow { base_fee, .. }) => PoolStatus::BaseFee { base_fee },
            Err(InvalidTransaction::Overdraft { need, have }) => PoolStatus::Funds { need, have },
            Err(InvalidTransaction::LaneFull { to, .. }) => PoolStatus::Lane { to },
            Err(_) => PoolStatus::Expired,
        })
    }

    /// Whether some transaction could be executed now.
    pub(crate) fn has_executable(&self, head: &Head<'_>, unsettled: impl Fn(ChainId) -> u64 + Copy) -> bool {
        self.senders.iter().any(|(sender, slot)| {
            let nonce = head.state.account(sender).nonce;
            let entry = slot.entries.get(&nonce);
            entry.is_some_and(|entry| self.status(&entry.id, head, unsettled) == Some(PoolStatus::Executable))
        })
    }

    /// A block became certified: drops what can never be executed above it, and, when the pool is crowded, what cannot
    /// be executed at its base fee.
    pub(crate) fn settle(&mut self, touched: &[Address], head: &Head<'_>) {
        for sender in touched {
            let Some(slot) = self.senders.get(sender) else { continue };
            let account = head.state.account(sender);
            let mut drop: Vec<u64> = slot.entries.range(..account.nonce).map(|(nonce, _)| *nonce).collect();
            // Once one cannot be paid, those after it wait for nothing that is in sight.
            let mut pledged = 0u128;
            for (nonce, entry) in slot.entries.range(account.nonce..) {
                let charge = entry.demand.charge(&entry.signed.transaction, head.state.base_fee(), head.rules);
                pledged += charge.map_or(entry.demand.value, |charge| charge.total);
                if pledged > u128::from(account.balance) {
                    drop.push(*nonce);
                }
            }
            drop.into_iter().for_each(|nonce| self.remove(*sender, nonce));
        }
        let base_fee = head.state.base_fee();
        if self.len() > self.limits.transactions / 4 * 3 || self.bytes > self.limits.bytes / 4 * 3 {
            self.drop_where(|transaction| transaction.max_fee < base_fee);
        }
    }

    /// Drops what is past its last slot.
    pub(crate) fn expire(&mut self, slot: Slot) {
        self.drop_where(|transaction| transaction.valid_until < slot);
    }

    /// The transactions in the order in which a block takes them.
    pub(crate) fn queue(&self, base_fee: u64, nonce_of: impl Fn(&Address) -> u64) -> Queue<'_> {
        Queue::new(self.senders.iter().map(|(sender, slot)| (*sender, &slot.entries)), base_fee, nonce_of)
    }

    fn drop_where(&mut self, unwanted: impl Fn(&Transaction) -> bool) {
        let all =
            self.senders.iter().flat_map(|(sender, slot)| slot.entries.values().map(move |entry| (sender, entry)));
        let drop: Vec<(Address, u64)> = all
            .filter(|(_, entry)| unwanted(&entry.signed.transaction))
            .map(|(sender, entry)| (*sender, entry.signed.transaction.nonce))
            .collect();
        drop.into_iter().for_each(|(sender, nonce)| self.remove(sender, nonce));
    }

    /// What the sender's other pooled transactions from its next nonce on take.
    fn pledged(&self, sender: &Address, expected: u64, but: u64, head: &Head<'_>) -> u128 {
        let Some(slot) = self.senders.get(sender) else { return 0 };
        let others = slot.entries.range(expected..).filter(|(nonce, _)| **nonce != but);
        others
            .map(|(_, entry)| {
                let charge = entry.demand.charge(&entry.signed.transaction, head.state.base_fee(), head.rules);
                charge.map_or(entry.demand.value, |charge| charge.total)
            })
            .sum()
    }

    fn check_room(&self, sender: &Address, transaction: &Transaction, bytes: usize) -> Result<(), Refusal> {
        let slot = self.senders.get(sender);
        let replaced = slot.and_then(|slot| slot.entries.get(&transaction.nonce));
        if let Some(old) = replaced.map(|entry| &entry.signed.transaction) {
            let (max_fee, tip) = (tenth_more(old.max_fee), tenth_more(old.tip));
            if transaction.max_fee < max_fee || transaction.tip < tip || transaction.max_fee == old.max_fee {
                return Err(Refusal::Replacement { max_fee, tip });
            }
        }
        let freed = replaced.map_or(0, |entry| entry.bytes);
        let added = usize::from(replaced.is_none());
        let (count, held) = slot.map_or((0, 0), |slot| (slot.entries.len(), slot.bytes));
        if count + added > self.limits.sender_transactions || held - freed + bytes > self.limits.sender_bytes {
            return Err(Refusal::SenderFull { transactions: count });
        }
        if self.len() + added > self.limits.transactions || self.bytes - freed + bytes > self.limits.bytes {
            return Err(Refusal::PoolFull { transactions: self.len(), bytes: self.bytes });
        }
        Ok(())
    }

    fn is_crowded(&self) -> bool {
        self.len() >= self.limits.transactions / 2 || self.bytes >= self.limits.bytes / 2
    }

    /// Whether a newcomer can be executed as soon as its turn comes: its sender's transactions of the nonces `before` it
    /// are all here, none of them priced out, and the lanes of all take what the whole pool has for them.
    fn goes_on(
        &self,
        sender: &Address,
        before: std::ops::Range<u64>,
        demand: &Demand,
        head: &Head<'_>,
        unsettled: impl Fn(ChainId) -> u64,
    ) -> bool {
        let fits = |to: &ChainId, more: u64| {
            let pooled = self.receipts.get(to).copied().unwrap_or(0);
            unsettled(*to).saturating_add(pooled).saturating_add(more) <= head.rules.lanes.bound
        };
        let mut lanes: BTreeSet<ChainId> = BTreeSet::new();
        let Some(slot) = self.senders.get(sender) else {
            return before.is_empty() && demand.receipts.iter().all(|(to, more)| fits(to, *more));
        };
        let mut next = before.start;
        for (nonce, entry) in slot.entries.range(before.clone()) {
            if *nonce != next || entry.signed.transaction.max_fee < head.state.base_fee() {
                return false;
            }
            next += 1;
            lanes.extend(entry.demand.receipts.keys());
        }
        next == before.end
            && lanes.iter().all(|to| fits(to, 0))
            && demand.receipts.iter().all(|(to, more)| fits(to, *more))
    }

    fn remove(&mut self, sender: Address, nonce: u64) {
        let Some(slot) = self.senders.get_mut(&sender) else { return };
        if let Some(entry) = slot.entries.remove(&nonce) {
            slot.bytes -= entry.bytes;
            self.bytes -= entry.bytes;
            self.ids.remove(&entry.id);
            for (to, receipts) in &entry.demand.receipts {
                let held = self.receipts.entry(*to).or_default();
                *held -= receipts;
                if *held == 0 {
                    self.receipts.remove(to);
                }
            }
        }
        if slot.entries.is_empty() {
            self.senders.remove(&sender);
        }
    }
}

impl Verified {
    fn remember(&mut self, checked: (Hash, Signature), limit: usize) {
        if self.known.insert(checked) {
            self.order.push_back(checked);
        }
        if self.order.len() > limit
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }
}

/// A tenth more, rounded up.
fn tenth_more(price: u64) -> u64 {
    price.saturating_add(price.div_ceil(10))
}
