//! A validator that leaves. The beacon knows whether it is the sender's.

use super::Program;
use crate::{checks::InvalidTransaction, execution::Work, fees::Demand, rules::Rules};
use kakera_chain::{address::Address, hash::Hash, receipt::ReceiptAction, units::ValidatorId};

pub(super) struct Exit {
    pub(super) validator: ValidatorId,
}

impl Program for Exit {
    fn demand(&self, rules: &Rules) -> Result<Demand, InvalidTransaction> {
        Demand::request(rules).map(|(demand, _)| demand)
    }

    fn apply(&self, work: &mut Work<'_>, sender: Address, transaction: Hash) {
        work.ask(ReceiptAction::Exit { from: sender, validator: self.validator, transaction });
    }
}
