//! Gas and fees. One gas is about 20 ns of one core of a common machine, measured as signature checks (20 us batched).

use crate::{checks::InvalidTransaction, rules::Rules, transaction::Transaction};
use kakera_chain::{genesis::Staking, receipt::Receipt, units::ChainId};
use std::collections::BTreeMap;

/// Gas of any transaction: its signature, decoding, hashing.
pub const TRANSACTION_GAS: u64 = 1_000;
/// Gas of each account that is read and written.
pub const ACCOUNT_GAS: u64 = 200;
/// Gas, at the source, of emitting one receipt.
pub const EMIT_GAS: u64 = 200;
/// Gas, at the destination, of processing one receipt; counts against the receipts' share of its block.
pub const DELIVERY_GAS: u64 = 400;
/// Gas, at the source, of checking a bond: two keys' worth of curve arithmetic and a signature.
pub const BOND_GAS: u64 = 2_000;
/// Gas, at the source, of reporting evidence, for the beacon's work on it: some signatures. Its bytes cost more
/// ([`Rules::evidence_gas`]).
pub const EVIDENCE_GAS: u64 = 4_000;
/// Bytes of evidence that cost one gas more at the least: what hashing them takes.
pub const EVIDENCE_BYTES_A_GAS: u64 = 16;
/// A block emits at most this many receipts, returns included.
pub const MAX_EMITTED: usize = 2_048;
/// Canonical bytes of the receipts that a block emits at most, returns included, so that a crosslink can always carry one
/// block.
pub const MAX_EMITTED_BYTES: u64 = 384 * 1024;
/// A block consumes at most this many receipts, so that the returns they may need always fit.
pub const MAX_CONSUMED: usize = 1_024;
/// A witness byte counts as one part in this many of a body byte: witnesses can be dropped after finality.
pub const WITNESS_DISCOUNT: u64 = 4;
/// The base fee moves by at most one part in this many a block (but can always move by one unit).
pub const BASE_FEE_CHANGE: u64 = 8;

/// What a transaction takes, whatever the state is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Demand {
    /// Gas in this block.
    pub gas: u64,
    /// Value that leaves the sender, in the smallest unit; past 2^64 - 1 it is an overdraft of any account.
    pub value: u128,
    /// Receipts to emit, by destination.
    pub receipts: BTreeMap<ChainId, u64>,
    /// Canonical bytes of these receipts at most.
    pub receipt_bytes: u64,
}

/// What a transaction pays at one base fee, in the smallest unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Charge {
    /// Base fee and delivery of receipts: burned.
    pub burned: u128,
    /// To the proposer.
    pub tip: u128,
    /// Everything that leaves the sender: value, burned and tip.
    pub total: u128,
}

/// What a transaction would pay now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quote {
    /// Gas needed.
    pub gas: u64,
    /// Base fee of the next block, in the smallest unit per gas.
    pub base_fee: u64,
    /// Fixed price of delivering its receipts, in the smallest unit, besides gas.
    pub delivery_fee: u64,
    /// All fees without a tip, in the smallest unit.
    pub fee: u64,
    /// Destinations whose lanes are full now: the transaction would wait.
    pub full_lanes: Vec<ChainId>,
}

impl Rules {
    /// Gas that receipts may use in a block; the rest, and what they leave, is the transactions'.
    pub fn receipt_gas(&self) -> u64 {
        let share = u128::from(self.fees.block_gas) * u128::from(self.fees.receipt_gas_percent) / 100;
        u64::try_from(share).expect("a share of a u64")
    }

    /// Gas that one transaction may use: what is left when receipts use their whole share.
    pub fn transaction_gas(&self) -> u64 {
        self.fees.block_gas - self.receipt_gas()
    }

    /// Gas of reporting so many bytes of evidence, which every chain carries on to the beacon and keeps: of what one
    /// transaction may use the same part as of a block's bytes. Who fills blocks with reports pays for full blocks; and
    /// the longest report still fits the smallest block that a network may have.
    pub fn evidence_gas(&self, bytes: u64) -> u64 {
        let room = self.transaction_gas().saturating_sub(TRANSACTION_GAS + ACCOUNT_GAS + EMIT_GAS + EVIDENCE_GAS);
        let part = u128::from(bytes) * u128::from(room) / u128::from(self.fees.block_bytes.max(1));
        let part = u64::try_from(part).unwrap_or(u64::MAX).max(bytes / EVIDENCE_BYTES_A_GAS);
        EVIDENCE_GAS.saturating_add(part)
    }

    /// The fixed price of delivering one receipt, in the smallest unit: its gas at the network's first base fee.
    pub fn delivery_fee(&self) -> u64 {
        DELIVERY_GAS * self.fees.base_fee
    }
}

impl Demand {
    /// Adds a receipt of at most so many canonical bytes.
    pub(crate) fn emit(&mut self, to: ChainId, bytes: usize) {
        *self.receipts.entry(to).or_default() += 1;
        self.receipt_bytes += bytes as u64;
        self.gas += EMIT_GAS;
    }

    /// What any order takes that emits a request to the beacon, without its value; nothing in a network without stake.
    pub(crate) fn request(rules: &Rules) -> Result<(Demand, Staking), InvalidTransaction> {
        let staking = rules.staking.ok_or(InvalidTransaction::NoStake)?;
        let mut demand = Demand { gas: TRANSACTION_GAS + ACCOUNT_GAS, ..Demand::default() };
        demand.emit(ChainId::Beacon, Receipt::REQUEST_BYTES);
        Ok((demand, staking))
    }

    /// The fixed price of delivering its receipts.
    pub fn delivery_fee(&self, rules: &Rules) -> u64 {
        self.receipts.values().sum::<u64>().saturating_mul(rules.delivery_fee())
    }

    /// What `transaction`, whose demand this is, pays at `base_fee`.
    pub fn charge(
        &self,
        transaction: &Transaction,
        base_fee: u64,
        rules: &Rules,
    ) -> Result<Charge, InvalidTransaction> {
        let room = transaction
            .max_fee
            .checked_sub(base_fee)
            .ok_or(InvalidTransaction::FeeTooLow { max_fee: transaction.max_fee, base_fee })?;
        let per_gas = |price: u64| u128::from(self.gas) * u128::from(price);
        let burned = per_gas(base_fee) + u128::from(self.delivery_fee(rules));
        let tip = per_gas(transaction.tip.min(room));
        // Gas is below 2^41 and a batch has 64 transfers at most: nothing here comes near 2^128.
        Ok(Charge { burned, tip, total: burned + tip + self.value })
    }
}

/// The base fee after a block with base fee `base_fee` that used `used` of `limit` gas (EIP-1559): at half the limit it
/// stays; it is at least 1, and each step is at least one unit so that small fees move too.
pub fn next_base_fee(base_fee: u64, used: u64, limit: u64) -> u64 {
    let target = (limit / 2).max(1);
    let step = |distance: u64| {
        let step = u128::from(base_fee) * u128::from(distance) / u128::from(target) / u128::from(BASE_FEE_CHANGE);
        u64::try_from(step).unwrap_or(u64::MAX).max(1)
    };
    match used.cmp(&target) {
        std::cmp::Ordering::Greater => base_fee.saturating_add(step(used - target)),
        std::cmp::Ordering::Less => base_fee.saturating_sub(step(target - used)).max(1),
        std::cmp::Ordering::Equal => base_fee,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_base_fee_follows_demand() {
        assert_eq!(next_base_fee(800, 500, 1_000), 800);
        assert_eq!(next_base_fee(800, 1_000, 1_000), 900);
        assert_eq!(next_base_fee(800, 0, 1_000), 700);
        assert_eq!(next_base_fee(1, 0, 1_000), 1);
        assert_eq!(next_base_fee(1, 1_000, 1_000), 2, "small fees must be able to grow");
        assert_eq!(next_base_fee(u64::MAX, 1_000, 1_000), u64::MAX);
    }

    proptest! {
        #[test]
        fn the_base_fee_moves_by_at_most_an_eighth(base in 1u64.., limit in 2u64..1 << 41, used in any::<u64>()) {
            let limit = limit & !1;
            let next = next_base_fee(base, used % (limit + 1), limit);
            prop_assert!(next >= 1);
            prop_assert!(next.abs_diff(base) <= (base / 8).max(1));
        }
    }
}
