//! More seats for a validator. The beacon knows whether it is the sender's, and gives the value back if it is not.

use super::Program;
use crate::{checks::InvalidTransaction, execution::Work, fees::Demand, rules::Rules};
use kakera_chain::{address::Address, bond::check_seats, hash::Hash, receipt::ReceiptAction, units::ValidatorId};

pub(super) struct TopUp {
    pub(super) validator: ValidatorId,
    pub(super) seats: u32,
}

impl Program for TopUp {
    fn demand(&self, rules: &Rules) -> Result<Demand, InvalidTransaction> {
        let (mut demand, staking) = Demand::request(rules)?;
        check_seats(self.seats, staking.churn_seats)?;
        demand.value = u128::from(staking.seat) * u128::from(self.seats);
        Ok(demand)
    }

    fn apply(&self, work: &mut Work<'_>, sender: Address, transaction: Hash) {
        let (validator, seats, amount) = (self.validator, self.seats, work.cost_of(self.seats));
        work.ask(ReceiptAction::TopUp { from: sender, amount, validator, seats, transaction });
    }
}
