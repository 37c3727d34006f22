//! What a shard does, after `shard/src/execution.rs` and `shard/src/execution/delivery.rs`.

use super::{
    model::Lanes,
    mutants::Mutant,
    state::{Block, Count, FEE, Mark, Outcome, Receipt, SHARDS, State},
};

/// The shard at the other end of both lanes.
pub(crate) fn other(shard: usize) -> usize {
    SHARDS - 1 - shard
}

impl Lanes {
    /// `Shard::execute` (`shard/src/shard.rs`): what the reference makes due, then the transactions. Nothing if the
    /// reference is not known or a transaction is refused.
    pub(crate) fn execute(
        &self,
        state: &State,
        shard: usize,
        parent: &Block,
        reference: u8,
        body: u8,
    ) -> Option<Block> {
        let read = *state.beacon.marks.get(usize::from(reference))?;
        let mark = if self.mutant == Some(Mutant::ExecutesAtTheTip) { state.beacon.newest() } else { read };
        let mut block = Block { reference, body, emitted: Vec::new(), ..parent.clone() };
        self.deliver(state, shard, &mark, &mut block);
        for transfer in (0..).take_while(|bit| body >> bit != 0).filter(|bit| body >> bit & 1 == 1) {
            self.pay(state, shard, &mark, transfer, &mut block)?;
        }
        let asleep = self.mutant == Some(Mutant::WakesForTransactionsOnly) && body == 0;
        (!asleep).then_some(block)
    }

    /// `Work::deliver`: the due receipts in `seq` order, until the share is used.
    fn deliver(&self, state: &State, shard: usize, mark: &Mark, block: &mut Block) {
        for _ in 0..self.setup.share {
            let Some(receipt) = self.due(state, shard, mark, block.inbox.next) else { return };
            self.process(&receipt, mark, block);
        }
        if self.mutant == Some(Mutant::PassesOverTheRest) {
            block.inbox = Count::of(&state.beacon.logs[other(shard)], mark.recorded[other(shard)]);
        }
    }

    /// The receipt at a cursor, if the reference makes it due: `BeaconView::lanes_at`, `BeaconView::receipt`.
    fn due(&self, state: &State, shard: usize, mark: &Mark, seq: u8) -> Option<Receipt> {
        let lane = other(shard);
        if seq < mark.recorded[lane] {
            return Some(state.beacon.logs[lane][usize::from(seq)]);
        }
        let emitted = || state.chains[lane].blocks.iter().flat_map(|block| &block.emitted).copied();
        let early = self.mutant == Some(Mutant::DeliversUnrecorded);
        early.then(|| emitted().find(|receipt| receipt.seq == seq)).flatten()
    }

    /// `Work::process`.
    fn process(&self, receipt: &Receipt, mark: &Mark, block: &mut Block) {
        let (amount, transfer) = (self.amount(receipt), receipt.transfer);
        block.inbox = block.inbox.with(receipt.original.is_some());
        block.received += amount;
        let expired = mark.slot > receipt.expires_at;
        if receipt.original.is_some() {
            if expired && self.mutant == Some(Mutant::ReturnsExpire) {
                block.burned += amount;
                block.taken.push(transfer, Outcome::Burned);
            } else {
                block.balances += amount;
                block.taken.push(transfer, Outcome::Refunded);
            }
            return;
        }
        if !expired || self.mutant == Some(Mutant::ExpiredIsCreditedToo) {
            block.balances += amount;
            block.taken.push(transfer, Outcome::Credited);
        }
        if expired {
            // With the mutant a return inherits the transfer's last slot, as if the field had been copied.
            let inherits = self.mutant == Some(Mutant::ReturnsExpire);
            let expires_at = if inherits { receipt.expires_at } else { mark.slot };
            emit(block, Receipt { seq: 0, transfer, expires_at, original: Some(receipt.seq) }, amount);
            block.taken.push(transfer, Outcome::SentBack);
        }
    }

    /// `Work::execute` and `Work::pay` of a transfer to the other shard, if its lane has room (`checks::check_lanes`),
    /// the account can pay (`checks::check_funds`) and
    /// no earlier nonce is missing (`checks::check_nonce`).
    fn pay(&self, state: &State, shard: usize, mark: &Mark, transfer: u8, block: &mut Block) -> Option<()> {
        let amount = self.setup.transfers[usize::from(transfer)].amount;
        let total = amount + FEE;
        let earlier = self.pool(shard) & ((1 << transfer) - 1);
        if self.setup.one_sender && earlier & !block.executed != 0 {
            return None;
        }
        if self.unsettled(state, shard, mark, block) + 1 > self.setup.bound || total > block.balances {
            return None;
        }
        block.balances -= total;
        block.burned += FEE;
        block.executed |= 1 << transfer;
        emit(block, Receipt { seq: 0, transfer, expires_at: mark.slot, original: None }, amount);
        Some(())
    }

    /// `execution::unsettled`.
    pub(crate) fn unsettled(&self, state: &State, shard: usize, mark: &Mark, block: &Block) -> u8 {
        let (logs, to) = (&state.beacon.logs, other(shard));
        let away = Count::of(&logs[shard], mark.consumed[shard]);
        let toward = Count::of(&logs[to], mark.recorded[to]);
        let open = block.outbox.ordinary().saturating_sub(away.ordinary());
        let back = toward.returns.saturating_sub(block.inbox.returns);
        if self.mutant == Some(Mutant::BoundForgetsReturns) { open } else { open + back }
    }

    /// A crash: `Replica::open` continues from the certified block; blocks that were certified elsewhere meanwhile are
    /// executed once more, here all since the record.
    pub(crate) fn restart(&self, state: &mut State, shard: usize) {
        let chain = &state.chains[shard];
        let (recorded, certified) = (chain.recorded, chain.certified);
        for at in recorded..certified {
            let (parent, block) = (&chain.blocks[at], &chain.blocks[at + 1]);
            let again = self.execute(state, shard, parent, block.reference, block.body);
            if again.as_ref() != Some(block) {
                state.diverged = true;
                return;
            }
        }
        let cursor = state.beacon.records[shard].inbox;
        let chain = &mut state.chains[shard];
        chain.blocks.truncate(certified + 1);
        match self.mutant {
            Some(Mutant::CrashForgetsCertificates) => {
                chain.blocks.truncate(recorded + 1);
                chain.certified = recorded;
            }
            Some(Mutant::CursorOutsideTheState) => chain.blocks[certified].inbox = cursor,
            _ => {}
        }
    }
}

/// `Work::emit`: the next receipt of the lane to the other shard.
fn emit(block: &mut Block, receipt: Receipt, amount: u8) {
    block.emitted.push(Receipt { seq: block.outbox.next, ..receipt });
    block.outbox = block.outbox.with(receipt.original.is_some());
    block.sent += amount;
}
