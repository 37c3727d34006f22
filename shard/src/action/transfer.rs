//! A transfer to one account.

use super::Program;
use crate::{
    checks::InvalidTransaction,
    execution::Work,
    fees::{ACCOUNT_GAS, Demand, TRANSACTION_GAS},
    rules::Rules,
};
use kakera_chain::{address::Address, hash::Hash, receipt::Receipt, units::ChainId};

pub(super) struct Transfer {
    pub(super) to: Address,
    pub(super) amount: u64,
}

impl Program for Transfer {
    fn demand(&self, rules: &Rules) -> Result<Demand, InvalidTransaction> {
        let mut demand = Demand { gas: TRANSACTION_GAS + ACCOUNT_GAS, ..Demand::default() };
        add_payment(&mut demand, self.to, self.amount, rules)?;
        Ok(demand)
    }

    fn apply(&self, work: &mut Work<'_>, sender: Address, transaction: Hash) {
        work.pay(sender, self.to, self.amount, transaction);
    }
}

/// What one payment adds to a demand: an account here, or a receipt.
pub(super) fn add_payment(
    demand: &mut Demand,
    to: Address,
    amount: u64,
    rules: &Rules,
) -> Result<(), InvalidTransaction> {
    if amount == 0 {
        return Err(InvalidTransaction::ZeroAmount);
    }
    demand.value += u128::from(amount);
    let shard = rules.shard_of(&to);
    if shard == rules.shard {
        demand.gas += ACCOUNT_GAS;
    } else {
        demand.emit(ChainId::Shard(shard), Receipt::TRANSFER_BYTES);
    }
    Ok(())
}
