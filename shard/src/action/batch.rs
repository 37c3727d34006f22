//! Transfers to several accounts at once.

use super::{Action, Program, transfer::add_payment};
use crate::{
    checks::InvalidTransaction,
    execution::Work,
    fees::{ACCOUNT_GAS, Demand, TRANSACTION_GAS},
    rules::Rules,
};
use kakera_chain::{address::Address, hash::Hash};

pub(super) struct Batch<'a> {
    pub(super) transfers: &'a [(Address, u64)],
}

impl Program for Batch<'_> {
    fn demand(&self, rules: &Rules) -> Result<Demand, InvalidTransaction> {
        let (found, most) = (self.transfers.len(), Action::MAX_TRANSFERS);
        if found == 0 || found > most {
            return Err(InvalidTransaction::BatchSize { found, most });
        }
        let mut demand = Demand { gas: TRANSACTION_GAS + ACCOUNT_GAS, ..Demand::default() };
        for (to, amount) in self.transfers {
            add_payment(&mut demand, *to, *amount, rules)?;
        }
        Ok(demand)
    }

    fn apply(&self, work: &mut Work<'_>, sender: Address, transaction: Hash) {
        for (to, amount) in self.transfers {
            work.pay(sender, *to, *amount, transaction);
        }
    }
}
