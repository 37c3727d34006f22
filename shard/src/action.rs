//! Actions: the closed set of what a transaction can do. A new one is a file below and a line in `Action::program`.

mod batch;
mod transfer;

use crate::{checks::InvalidTransaction, execution::Work, fees::Demand, rules::Rules};
use borsh::{BorshDeserialize, BorshSerialize};
use kakera_chain::{address::Address, hash::Hash};

/// What a transaction does.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Action {
    /// Moves value to one account, on any shard.
    Transfer {
        /// Who gets it.
        to: Address,
        /// In the smallest unit; above zero.
        amount: u64,
    },
    /// Moves value to several accounts, on any shards; all or nothing at the source.
    Batch {
        /// Who gets how much; 1 to [`Action::MAX_TRANSFERS`].
        transfers: Vec<(Address, u64)>,
    },
}

/// The rules of one kind of action.
pub(crate) trait Program {
    /// Checks its shape, and says what it takes.
    fn demand(&self, rules: &Rules) -> Result<Demand, InvalidTransaction>;

    /// Does it: the sender was charged what [`Program::demand`] says, and every lane has room, so it cannot fail.
    fn apply(&self, work: &mut Work<'_>, sender: Address, transaction: Hash);
}

impl Action {
    /// Transfers in a batch at most.
    pub const MAX_TRANSFERS: usize = 64;

    pub(crate) fn program(&self) -> Box<dyn Program + '_> {
        match self {
            Action::Transfer { to, amount } => Box::new(transfer::Transfer { to: *to, amount: *amount }),
            Action::Batch { transfers } => Box::new(batch::Batch { transfers }),
        }
    }
}
