//! Why a transaction is invalid, and the checks that find out.

use crate::{
    fees::{Charge, Demand},
    rules::Rules,
    transaction::Transaction,
};
use kakera_chain::{
    Slot,
    address::Address,
    bond::InvalidBond,
    hash::NetworkId,
    units::{ChainId, ShardId},
};
use thiserror::Error;

/// Why a transaction cannot be executed. Each message says what its sender can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum InvalidTransaction {
    /// Made for another network.
    #[error("the transaction is for network {found}, but this is {expected}: sign it again for this network")]
    WrongNetwork {
        /// This network.
        expected: NetworkId,
        /// The transaction's.
        found: NetworkId,
    },
    /// The signature is not the sender's over the transaction's id.
    #[error("the signature does not verify: sign the transaction's id with the sender's key")]
    BadSignature,
    /// The sender's account lives on another shard.
    #[error("the sender's account lives on shard {expected}, not here on shard {found}: submit it there")]
    WrongShard {
        /// The sender's shard.
        expected: ShardId,
        /// This shard.
        found: ShardId,
    },
    /// The nonce was used.
    #[error("nonce {found} was used: the account's next nonce is {expected}")]
    NonceUsed {
        /// The account's next.
        expected: u64,
        /// The transaction's.
        found: u64,
    },
    /// Earlier nonces are missing.
    #[error("nonce {found} must wait: the account's next nonce is {expected}, send the missing ones")]
    NonceGap {
        /// The account's next.
        expected: u64,
        /// The transaction's.
        found: u64,
    },
    /// More than the account holds.
    #[error("value and fees need {need}, but the account holds {have}: send less or fund the account")]
    Overdraft {
        /// Value and fees, in the smallest unit.
        need: u128,
        /// The balance.
        have: u64,
    },
    /// Past its last slot.
    #[error("valid until beacon slot {valid_until}, but it is {slot}: sign it again with a later slot")]
    Expired {
        /// The transaction's last slot.
        valid_until: Slot,
        /// The reference's.
        slot: Slot,
    },
    /// The gas limit is below what the action takes, or the action takes more than a block gives.
    #[error("the action takes {needed} gas, but may use only {limit}: raise the gas limit or split the action")]
    GasLimit {
        /// Gas the action takes.
        needed: u64,
        /// The smaller of the transaction's limit and what a block gives to one.
        limit: u64,
    },
    /// Below the base fee.
    #[error("the maximum fee {max_fee} a gas is below the base fee {base_fee}: raise it or wait")]
    FeeTooLow {
        /// The transaction's, per gas.
        max_fee: u64,
        /// The block's, per gas.
        base_fee: u64,
    },
    /// A transfer of nothing.
    #[error("a transfer must carry more than zero")]
    ZeroAmount,
    /// The lane to another chain is full.
    #[error("{unsettled} receipts toward {to} are not settled and {needed} more exceed {bound}: wait")]
    LaneFull {
        /// The destination.
        to: ChainId,
        /// Receipts not yet settled.
        unsettled: u64,
        /// Receipts that the transaction emits into this lane.
        needed: u64,
        /// The lane's bound.
        bound: u64,
    },
    /// Too few or too many transfers in a batch.
    #[error("a batch carries 1 to {most} transfers, not {found}")]
    BatchSize {
        /// Transfers present.
        found: usize,
        /// Transfers allowed.
        most: usize,
    },
    /// An order that only a network with stake takes.
    #[error("this network has no stake: nobody bonds, leaves or is slashed here")]
    NoStake,
    /// A bond or top-up that the beacon would refuse whatever it knows.
    #[error(transparent)]
    Bond(#[from] InvalidBond),
    /// No evidence, or more than one order can carry.
    #[error("evidence has 1 to {most} bytes, not {found}")]
    EvidenceSize {
        /// Bytes present.
        found: usize,
        /// Bytes allowed.
        most: usize,
    },
    /// The shard's counters of value end at 2^64 - 1.
    #[error("the shard has counted as much value as fits 64 bits: use another shard")]
    CountersFull,
}

/// What can be said without any state: network, shard, shape and gas. Returns what the transaction takes.
pub(crate) fn check_alone(transaction: &Transaction, rules: &Rules) -> Result<Demand, InvalidTransaction> {
    if transaction.network != rules.network {
        return Err(InvalidTransaction::WrongNetwork { expected: rules.network, found: transaction.network });
    }
    let sender = Address::of(&transaction.sender);
    let home = rules.shard_of(&sender);
    if home != rules.shard {
        return Err(InvalidTransaction::WrongShard { expected: home, found: rules.shard });
    }
    let program = transaction.action.program();
    let demand = program.demand(rules)?;
    let limit = transaction.gas_limit.min(rules.transaction_gas());
    if demand.gas > limit {
        return Err(InvalidTransaction::GasLimit { needed: demand.gas, limit });
    }
    check_lanes(&demand, rules, |_| 0)?;
    program.check(sender, rules)?;
    Ok(demand)
}

/// Whether it may still be executed under a reference of this slot.
pub(crate) fn check_window(transaction: &Transaction, slot: Slot) -> Result<(), InvalidTransaction> {
    let valid_until = transaction.valid_until;
    if slot > valid_until { Err(InvalidTransaction::Expired { valid_until, slot }) } else { Ok(()) }
}

/// Whether it is the account's next.
pub(crate) fn check_nonce(transaction: &Transaction, expected: u64) -> Result<(), InvalidTransaction> {
    let found = transaction.nonce;
    match found.cmp(&expected) {
        // The last nonce is never used, so that the account's next one always exists.
        std::cmp::Ordering::Equal if found < u64::MAX => Ok(()),
        std::cmp::Ordering::Greater => Err(InvalidTransaction::NonceGap { expected, found }),
        _ => Err(InvalidTransaction::NonceUsed { expected, found }),
    }
}

/// Whether the account can pay.
pub(crate) fn check_funds(charge: &Charge, have: u64) -> Result<(), InvalidTransaction> {
    let need = charge.total;
    if need > u128::from(have) { Err(InvalidTransaction::Overdraft { need, have }) } else { Ok(()) }
}

/// Whether every lane that it needs has room.
pub(crate) fn check_lanes(
    demand: &Demand,
    rules: &Rules,
    unsettled: impl Fn(ChainId) -> u64,
) -> Result<(), InvalidTransaction> {
    let bound = rules.lanes.bound;
    for (to, needed) in &demand.receipts {
        let (to, needed, unsettled) = (*to, *needed, unsettled(*to));
        if unsettled.saturating_add(needed) > bound {
            return Err(InvalidTransaction::LaneFull { to, unsettled, needed, bound });
        }
    }
    Ok(())
}
