//! A suspended validator that is back. The beacon knows whether it is the sender's.

use super::Program;
use crate::{checks::InvalidTransaction, execution::Work, fees::Demand, rules::Rules};
use kakera_chain::{address::Address, hash::Hash, receipt::ReceiptAction, units::ValidatorId};

pub(super) struct Resume {
    pub(super) validator: ValidatorId,
}

impl Program for Resume {
    fn demand(&self, rules: &Rules) -> Result<Demand, InvalidTransaction> {
        Demand::request(rules).map(|(demand, _)| demand)
    }

    fn apply(&self, work: &mut Work<'_>, sender: Address, transaction: Hash) {
        work.ask(ReceiptAction::Resume { from: sender, validator: self.validator, transaction });
    }
}
