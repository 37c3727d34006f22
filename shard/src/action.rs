//! Actions: the closed set of what a transaction can do. A new one is a file below and a line in `Action::program`.

mod batch;
mod bond;
mod exit;
mod resume;
mod submit_evidence;
mod top_up;
mod transfer;

use crate::{checks::InvalidTransaction, execution::Work, fees::Demand, rules::Rules};
use borsh::{BorshDeserialize, BorshSerialize};
use kakera_chain::{address::Address, bond::Bond, hash::Hash, units::ValidatorId};

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
    /// Bonds a validator that the sender will own; its seats are paid for from the sender's account.
    Bond {
        /// What it binds itself to; the proof names the sender as the owner.
        bond: Box<Bond>,
    },
    /// Pays for more seats of a validator of the sender's.
    TopUp {
        /// Which.
        validator: ValidatorId,
        /// How many more.
        seats: u32,
    },
    /// Lets a validator of the sender's leave.
    Exit {
        /// Which.
        validator: ValidatorId,
    },
    /// Brings a suspended validator of the sender's back.
    Resume {
        /// Which.
        validator: ValidatorId,
    },
    /// Reports who broke a rule that costs its stake.
    SubmitEvidence {
        /// The proof, canonical bytes that the beacon judges; 1 to [`Receipt::MAX_EVIDENCE`], and no more than a block
        /// has room for.
        ///
        /// [`Receipt::MAX_EVIDENCE`]: kakera_chain::receipt::Receipt::MAX_EVIDENCE
        bytes: Vec<u8>,
    },
}

/// The rules of one kind of action.
pub(crate) trait Program {
    /// Checks its shape, as far as no state is needed, and says what it takes.
    fn demand(&self, rules: &Rules) -> Result<Demand, InvalidTransaction>;

    /// Checks what is costly and needs no state either.
    fn check(&self, _sender: Address, _rules: &Rules) -> Result<(), InvalidTransaction> {
        Ok(())
    }

    /// Does it: the sender was charged what [`Program::demand`] says, and every lane has room, so it cannot fail.
    fn apply(&self, work: &mut Work<'_>, sender: Address, transaction: Hash);
}

impl Action {
    /// Transfers in a batch at most.
    pub const MAX_TRANSFERS: usize = 64;

    /// What it takes in a block of `rules`' shard, whatever the state is.
    ///
    /// # Errors
    /// Its shape is wrong.
    pub fn demand(&self, rules: &Rules) -> Result<Demand, InvalidTransaction> {
        self.program().demand(rules)
    }

    pub(crate) fn program(&self) -> Box<dyn Program + '_> {
        match self {
            Action::Transfer { to, amount } => Box::new(transfer::Transfer { to: *to, amount: *amount }),
            Action::Batch { transfers } => Box::new(batch::Batch { transfers }),
            Action::Bond { bond } => Box::new(bond::Bonding { bond }),
            Action::TopUp { validator, seats } => Box::new(top_up::TopUp { validator: *validator, seats: *seats }),
            Action::Exit { validator } => Box::new(exit::Exit { validator: *validator }),
            Action::Resume { validator } => Box::new(resume::Resume { validator: *validator }),
            Action::SubmitEvidence { bytes } => Box::new(submit_evidence::SubmitEvidence { bytes }),
        }
    }
}

#[cfg(test)]
mod tests;
