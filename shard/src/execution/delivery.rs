//! Processing due receipts: which, in what order, and what becomes of each.

use super::{InvalidBlock, Work};
use crate::{
    beacon_view::BeaconView,
    fees::{DELIVERY_GAS, MAX_CONSUMED},
    lanes::{LaneTable, count},
    records::ConsumedOutcome,
    state::Meta,
};
use kakera_chain::{
    receipt::{Receipt, ReceiptAction, ReturnReason},
    units::{ChainId, ShardId},
};

/// A lane of which something is due.
struct Due {
    from: ChainId,
    next: u64,
    end: u64,
}

/// Whether any receipt is due under a reference with these lanes.
pub(crate) fn anything_due(meta: &Meta, lanes: &LaneTable) -> bool {
    lanes.toward.iter().any(|(from, recorded)| recorded.next > count(&meta.inbox, *from).next)
}

impl Work<'_> {
    /// Processes due receipts: one of each source lane in turn, in `seq` order, beginning with the state's pointer,
    /// until the receipts' share of gas is used; the first one whatever it is.
    pub(crate) fn deliver(&mut self, view: &BeaconView) -> Result<(), InvalidBlock> {
        let mut due: Vec<Due> = self
            .lanes
            .toward
            .iter()
            .map(|(from, recorded)| Due { from: *from, next: count(&self.meta.inbox, *from).next, end: recorded.next })
            .filter(|due| due.next < due.end)
            .collect();
        let mut turn = due.iter().position(|due| due.from >= self.meta.pointer).unwrap_or(0);
        let share = self.rules.receipt_gas();
        while let Some(lane) = due.get_mut(turn) {
            let fits = self.gas + DELIVERY_GAS <= share && self.consumed.len() < MAX_CONSUMED;
            if !(fits || self.consumed.is_empty()) {
                break;
            }
            let (from, seq) = (lane.from, lane.next);
            let receipt = view.receipt(from, seq).ok_or(InvalidBlock::ForgottenReceipt { from, seq })?;
            if !self.counters_take(receipt.amount()) {
                break;
            }
            self.process(receipt);
            self.gas += DELIVERY_GAS;
            lane.next += 1;
            if lane.next == lane.end {
                due.remove(turn);
            } else {
                turn += 1;
            }
            if turn >= due.len() {
                turn = 0;
            }
            self.meta.pointer = due.get(turn).map_or_else(|| after(from), |lane| lane.from);
        }
        Ok(())
    }

    /// Whether counting this value stays below 2^64. If not, the receipt stays due for ever: only a network that has
    /// moved more than 2^64 units into one shard gets there, and no unit of it is lost or made.
    fn counters_take(&self, amount: u64) -> bool {
        [self.meta.received, self.meta.sent, self.meta.balances]
            .iter()
            .all(|counter| counter.checked_add(amount).is_some())
    }

    fn process(&mut self, receipt: &Receipt) {
        let from = receipt.lane.from;
        self.meta.inbox.insert(from, count(&self.meta.inbox, from).with(receipt.action.is_return()));
        self.meta.received += receipt.amount();
        let outcome = match &receipt.action {
            // These cannot fail: they credit even an account that does not belong here, which only a captured shard
            // or beacon could ask for, with value of its own.
            ReceiptAction::Return { to, amount, .. }
            | ReceiptAction::Withdraw { to, amount, .. }
            | ReceiptAction::Reward { to, amount, .. } => {
                self.credit(*to, *amount);
                ConsumedOutcome::Credited
            }
            ReceiptAction::Transfer { to, amount, expires_at, .. } => {
                if self.rules.shard_of(to) != self.rules.shard {
                    self.send_back(receipt, ReturnReason::WrongShard)
                } else if self.reference_slot > *expires_at {
                    self.send_back(receipt, ReturnReason::Expired)
                } else {
                    self.credit(*to, *amount);
                    ConsumedOutcome::Credited
                }
            }
            // No lane toward a shard holds these (the ledger sees to it); whoever paid gets everything back.
            ReceiptAction::Bond { .. }
            | ReceiptAction::TopUp { .. }
            | ReceiptAction::Exit { .. }
            | ReceiptAction::Resume { .. }
            | ReceiptAction::Evidence { .. } => self.send_back(receipt, ReturnReason::WrongShard),
        };
        self.consumed.push((receipt.clone(), outcome));
    }

    fn send_back(&mut self, receipt: &Receipt, reason: ReturnReason) -> ConsumedOutcome {
        let (to, transaction) = receipt.action.ordered().expect("what is refused was ordered by somebody");
        let (original, amount) = (receipt.seq, receipt.amount());
        let action = ReceiptAction::Return { original, to, amount, reason, transaction };
        ConsumedOutcome::Returned { reason, seq: self.emit(receipt.lane.from, action) }
    }
}

/// The smallest chain above `chain`.
fn after(chain: ChainId) -> ChainId {
    match chain {
        ChainId::Beacon => ChainId::Shard(ShardId(0)),
        ChainId::Shard(shard) => shard.0.checked_add(1).map_or(ChainId::Beacon, |next| ChainId::Shard(ShardId(next))),
    }
}
