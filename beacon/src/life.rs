//! The life of validators in the beacon's state: requests are carried out in the block that records them, and what the
//! beacon owes leaves it as receipts of its own.
//!
//! ```text
//!   shard ── bond, top-up, exit, resume, evidence ──> recorded, and consumed at once ──> registry
//!   shard <── return of what is refused ─────────────┘                                      │ turn of an epoch
//!   shard <── withdrawal, reward of a reporter ─────────────────────────────────────────────┘
//! ```

use crate::{
    registry::{Offence, Source, Turned},
    rewards::Attendance,
    state::BeaconState,
};
use kakera_chain::{
    address::Address,
    hash::NetworkId,
    receipt::{Lane, Receipt, ReceiptAction, ReturnReason},
    units::{ChainId, Epoch, ValidatorId},
};
use std::{collections::BTreeSet, sync::Arc};

/// Says what evidence proves, or why it changes nothing; a function of state and bytes.
pub type Judge = dyn Fn(&BeaconState, &[u8], NetworkId) -> Result<Offence, ReturnReason>;

/// What judging requests needs besides the state.
#[derive(Clone, Copy)]
pub struct Court<'a> {
    /// The network, which proofs of possession name.
    pub network: NetworkId,
    /// The judge.
    pub judge: &'a Judge,
}

impl Court<'_> {
    /// One that no evidence convinces.
    pub fn without_evidence(network: NetworkId) -> Court<'static> {
        Court { network, judge: &|_, _, _| Err(ReturnReason::InvalidEvidence) }
    }
}

impl BeaconState {
    /// Whether receipts may go to the beacon and come from it: the network has stake.
    pub fn has_stake(&self) -> bool {
        self.registry.terms().is_some()
    }

    /// Turns the registry to `epoch` and returns the receipts that pay those out who are gone; see
    /// [`crate::Registry::turn`].
    pub fn turn_registry(
        &mut self,
        epoch: Epoch,
        seated: &BTreeSet<ValidatorId>,
        attendance: &Attendance,
    ) -> (Turned, Vec<Receipt>) {
        if !self.has_stake() {
            return Default::default();
        }
        let turned = Arc::make_mut(&mut self.registry).turn(epoch, seated, attendance);
        let paid = turned.withdrawals.clone().into_iter();
        let receipts = paid
            .map(|(validator, to, amount)| self.pay(to, ReceiptAction::Withdraw { validator, to, amount }))
            .collect();
        (turned, receipts)
    }

    /// Consumes recorded requests of a shard, in the order of its lane, and returns what the beacon emits for them.
    pub(crate) fn consume<'a>(
        &mut self,
        requests: impl Iterator<Item = &'a Receipt>,
        court: &Court<'_>,
    ) -> Vec<Receipt> {
        let mut emitted = Vec::new();
        for request in requests {
            let log = self.lanes.get_mut(&request.lane).expect("the request was recorded");
            Arc::make_mut(log).pop().expect("requests are consumed as they are recorded");
            match self.carry_out(request, court) {
                Ok(reward) => emitted.extend(reward),
                Err(reason) => emitted.push(self.send_back(request, reason)),
            }
        }
        emitted
    }

    /// Does what a request says, or says why not; then nothing has changed.
    fn carry_out(&mut self, request: &Receipt, court: &Court<'_>) -> Result<Option<Receipt>, ReturnReason> {
        let epoch = self.epoch;
        if let ReceiptAction::Evidence { from, bytes, transaction } = &request.action {
            let (validator, amount) = self.punish(request, *from, bytes, court)?;
            let (to, transaction) = (*from, *transaction);
            // Who reports itself gets the reporter's share, and loses the rest.
            let reward = ReceiptAction::Reward { validator, to, amount, transaction };
            return Ok((amount > 0).then(|| self.pay(to, reward)));
        }
        // A shard speaks for its own accounts only, whoever holds its committee.
        let asking = request.action.ordered().map(|(from, _)| self.home(from));
        if asking != Some(request.lane.from) {
            return Err(ReturnReason::NotOwner);
        }
        let registry = Arc::make_mut(&mut self.registry);
        match &request.action {
            ReceiptAction::Bond { from, amount, bond, .. } => {
                registry.bond(*from, *amount, bond, epoch, court.network).map(drop)
            }
            ReceiptAction::TopUp { from, amount, validator, seats, .. } => {
                registry.top_up(*from, *amount, *validator, *seats)
            }
            ReceiptAction::Exit { from, validator, .. } => registry.exit(*from, *validator, epoch),
            ReceiptAction::Resume { from, validator, .. } => registry.resume(*from, *validator, epoch),
            ReceiptAction::Evidence { .. }
            | ReceiptAction::Transfer { .. }
            | ReceiptAction::Return { .. }
            | ReceiptAction::Withdraw { .. }
            | ReceiptAction::Reward { .. } => unreachable!("no lane to the beacon holds it"),
        }?;
        Ok(None)
    }

    /// Slashes whom evidence convicts, and says what the reporter gets.
    fn punish(
        &mut self,
        request: &Receipt,
        who: Address,
        bytes: &[u8],
        court: &Court<'_>,
    ) -> Result<(ValidatorId, u64), ReturnReason> {
        let offence = (court.judge)(self, bytes, court.network)?;
        let source = Source { from: request.lane.from, seq: request.seq, who };
        let slashed = Arc::make_mut(&mut self.registry).slash(offence, self.epoch, source)?;
        Ok((offence.validator, slashed.reporter_share))
    }

    /// Gives back what a refused request carried, or says that it is refused if it carried nothing.
    fn send_back(&mut self, request: &Receipt, reason: ReturnReason) -> Receipt {
        let (to, transaction) = request.action.ordered().expect("requests are ordered by somebody");
        let (original, amount) = (request.seq, request.amount());
        self.emit(request.lane.from, ReceiptAction::Return { original, to, amount, reason, transaction })
    }

    /// Pays an account on its shard.
    fn pay(&mut self, to: Address, action: ReceiptAction) -> Receipt {
        self.emit(self.home(to), action)
    }

    /// The chain that holds an account.
    fn home(&self, account: Address) -> ChainId {
        let shards = u16::try_from(self.shards.len()).expect("at most 1,024 shards");
        ChainId::Shard(account.shard(shards))
    }

    /// Appends to the lane toward a shard.
    fn emit(&mut self, to: ChainId, action: ReceiptAction) -> Receipt {
        let lane = Lane { from: ChainId::Beacon, to };
        let log = Arc::make_mut(self.lanes.entry(lane).or_default());
        let receipt = Receipt { lane, seq: log.recorded(), action };
        log.push(&receipt);
        receipt
    }
}

#[cfg(test)]
mod tests;
