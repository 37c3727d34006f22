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
            let receipt = *view.receipt(from, seq).ok_or(InvalidBlock::ForgottenReceipt { from, seq })?;
            if !self.counters_take(receipt.amount()) {
                break;
            }
            self.process(&receipt);
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
        let is_return = matches!(receipt.action, ReceiptAction::Return { .. });
        self.meta.inbox.insert(from, count(&self.meta.inbox, from).with(is_return));
        self.meta.received += receipt.amount();
        let outcome = match receipt.action {
            // A return cannot fail: it credits even an account that does not belong here, which only a captured
            // shard could ask for, with value of its own.
            ReceiptAction::Return { to, amount, .. } => {
                self.credit(to, amount);
                ConsumedOutcome::Credited
            }
            ReceiptAction::Transfer { from: sender, to, amount, expires_at, transaction } => {
                let refused = if self.rules.shard_of(&to) != self.rules.shard {
                    Some(ReturnReason::WrongShard)
                } else if self.reference_slot > expires_at {
                    Some(ReturnReason::Expired)
                } else {
                    None
                };
                match refused {
                    None => {
                        self.credit(to, amount);
                        ConsumedOutcome::Credited
                    }
                    Some(reason) => {
                        let original = receipt.seq;
                        let action = ReceiptAction::Return { original, to: sender, amount, reason, transaction };
                        ConsumedOutcome::Returned { reason, seq: self.emit(from, action) }
                    }
                }
            }
        };
        self.consumed.push((*receipt, outcome));
    }
}

/// The smallest chain above `chain`.
fn after(chain: ChainId) -> ChainId {
    match chain {
        ChainId::Beacon => ChainId::Shard(ShardId(0)),
        ChainId::Shard(shard) => shard.0.checked_add(1).map_or(ChainId::Beacon, |next| ChainId::Shard(ShardId(next))),
    }
}
