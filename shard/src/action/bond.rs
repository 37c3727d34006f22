//! A new validator. What its seats cost goes to the beacon with the bond, and comes back if that refuses it.

use super::Program;
use crate::{
    checks::InvalidTransaction,
    execution::Work,
    fees::{BOND_GAS, Demand},
    rules::Rules,
};
use kakera_chain::{
    address::Address,
    bond::{Bond, check_seats},
    hash::Hash,
    receipt::ReceiptAction,
};

pub(super) struct Bonding<'a> {
    pub(super) bond: &'a Bond,
}

impl Program for Bonding<'_> {
    fn demand(&self, rules: &Rules) -> Result<Demand, InvalidTransaction> {
        let (mut demand, staking) = Demand::request(rules)?;
        check_seats(self.bond.seats, staking.churn_seats)?;
        demand.gas += BOND_GAS;
        demand.value = u128::from(staking.seat) * u128::from(self.bond.seats);
        Ok(demand)
    }

    fn check(&self, sender: Address, rules: &Rules) -> Result<(), InvalidTransaction> {
        let staking = rules.staking.ok_or(InvalidTransaction::NoStake)?;
        Ok(self.bond.check(&sender, staking.churn_seats, rules.network)?)
    }

    fn apply(&self, work: &mut Work<'_>, sender: Address, transaction: Hash) {
        let amount = work.cost_of(self.bond.seats);
        work.ask(ReceiptAction::Bond { from: sender, amount, bond: Box::new(self.bond.clone()), transaction });
    }
}
