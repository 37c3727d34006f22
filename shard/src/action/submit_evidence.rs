//! A report of who broke a rule. The beacon judges it; one that proves nothing costs its sender the fee.

use super::Program;
use crate::{
    checks::InvalidTransaction,
    execution::{self, Work},
    fees::Demand,
    rules::Rules,
};
use kakera_chain::{
    address::Address,
    hash::Hash,
    receipt::{Receipt, ReceiptAction},
};

/// Canonical bytes of a transaction around its evidence.
const AROUND: usize = 105 + 4;

pub(super) struct SubmitEvidence<'a> {
    pub(super) bytes: &'a [u8],
}

impl Program for SubmitEvidence<'_> {
    fn demand(&self, rules: &Rules) -> Result<Demand, InvalidTransaction> {
        let (mut demand, _) = Demand::request(rules)?;
        let block = usize::try_from(rules.fees.block_bytes).unwrap_or(usize::MAX);
        let overhead = usize::try_from(execution::block_bytes(AROUND)).unwrap_or(usize::MAX);
        let (found, most) = (self.bytes.len(), block.saturating_sub(overhead).min(Receipt::MAX_EVIDENCE));
        if found == 0 || found > most {
            return Err(InvalidTransaction::EvidenceSize { found, most });
        }
        demand.receipt_bytes += found as u64;
        demand.gas += rules.evidence_gas(found as u64);
        Ok(demand)
    }

    fn apply(&self, work: &mut Work<'_>, sender: Address, transaction: Hash) {
        work.ask(ReceiptAction::Evidence { from: sender, bytes: self.bytes.to_vec(), transaction });
    }
}
