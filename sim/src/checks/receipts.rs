//! Every receipt is recorded as it was emitted, consumed once, in its lane's order, and not before it was recorded; and
//! it ends exactly once: credited or sent back.

use super::{
    Check, Happening, View,
    sequence::{After, Fresh, Sequence, is_followed},
};
use kakera_chain::{
    application::Executed,
    block::Block,
    crosslink::BeaconItem,
    receipt::{Lane, Receipt, ReceiptAction, ReturnReason},
    units::{ChainId, Height},
};
use kakera_shard::{ConsumedOutcome, ShardState};
use std::{collections::BTreeMap, sync::Arc};

/// One lane, as it is known here.
#[derive(Default)]
struct Log {
    /// Receipts in order, from whoever showed them first: the source's blocks or the beacon's.
    receipts: Vec<Receipt>,
    /// By which beacon block each was recorded.
    recorded: Vec<Height>,
    /// How many were consumed by the destination.
    consumed: u64,
}

/// A block, and what it led to where that was seen.
type Waiting = (Arc<Block>, Option<Executed<ShardState>>);

/// Statement 3.
#[derive(Default)]
pub(super) struct Receipts {
    sequence: Sequence,
    lanes: BTreeMap<Lane, Log>,
    /// The highest beacon block that was looked at.
    beacon: Height,
    /// Blocks whose reference was not looked at yet, by chain in height order.
    waiting: BTreeMap<ChainId, Vec<Waiting>>,
}

impl Check for Receipts {
    fn name(&self) -> &'static str {
        "receipts"
    }

    fn after(&mut self, view: &View<'_>, happening: &Happening<'_>) -> Result<(), String> {
        for Fresh { block, certified, emitted, .. } in self.sequence.fresh(view, happening) {
            match block.header.chain {
                ChainId::Beacon => {
                    self.record(&block, &emitted)?;
                    self.beacon = block.header.height;
                    self.look_again(view)?;
                }
                chain @ ChainId::Shard(_) => {
                    let executed = match certified {
                        After::Shard(certified) => Some(certified.executed),
                        _ => None,
                    };
                    for receipt in executed.iter().flat_map(|executed| &executed.receipts) {
                        self.announce(receipt)?;
                    }
                    self.waiting.entry(chain).or_default().push((block, executed));
                    self.look_again(view)?;
                }
            }
        }
        Ok(())
    }

    fn at_end(&mut self, view: &View<'_>) -> Result<(), String> {
        let expect = &view.scenario.expect;
        if expect.may_stall || expect.settled_percent < 100 {
            return Ok(());
        }
        for (lane, log) in &self.lanes {
            // The beacon pays at the end of an epoch, whenever that is.
            let paid = lane.from == ChainId::Beacon;
            let seen = !paid && is_followed(view, lane.from) && is_followed(view, lane.to);
            if seen && log.consumed < log.receipts.len() as u64 {
                return Err(format!("receipt {} of {lane:?} never ended", log.consumed));
            }
        }
        Ok(())
    }
}

impl Receipts {
    /// A receipt is shown by its source or by the beacon.
    fn announce(&mut self, receipt: &Receipt) -> Result<(), String> {
        let (lane, seq) = (receipt.lane, receipt.seq);
        let log = self.lanes.entry(lane).or_default();
        let place = usize::try_from(seq).map_err(|_| format!("receipt {seq} of {lane:?} is far off"))?;
        match log.receipts.get(place) {
            Some(first) if first == receipt => Ok(()),
            Some(first) => Err(format!("receipt {seq} of {lane:?} is {receipt:?}, it was {first:?}")),
            None if place == log.receipts.len() => {
                log.receipts.push(receipt.clone());
                Ok(())
            }
            None => Err(format!("receipt {seq} of {lane:?} came after {} others", log.receipts.len())),
        }
    }

    fn record(&mut self, block: &Block, emitted: &[Receipt]) -> Result<(), String> {
        let mut recorded = Vec::new();
        for bytes in &block.body {
            let item =
                BeaconItem::decode(bytes).map_err(|error| format!("a beacon block's item does not decode: {error}"))?;
            let BeaconItem::Crosslink(crosslink) = item else { continue };
            recorded.extend(crosslink.receipts.into_iter().flatten());
        }
        // What the beacon emits itself is recorded by the block that does; what it is asked for ends there.
        for receipt in recorded.iter().chain(emitted) {
            self.announce(receipt)?;
            let log = self.lanes.entry(receipt.lane).or_default();
            if receipt.seq != log.recorded.len() as u64 {
                return Err(format!("receipt {} of {:?} is recorded out of order", receipt.seq, receipt.lane));
            }
            log.recorded.push(block.header.height);
            if receipt.lane.to == ChainId::Beacon {
                log.consumed = receipt.seq + 1;
            }
        }
        Ok(())
    }

    /// Looks at blocks whose reference is known by now.
    fn look_again(&mut self, view: &View<'_>) -> Result<(), String> {
        let known = self.beacon;
        let mut ready = Vec::new();
        for blocks in self.waiting.values_mut() {
            let count = blocks.iter().take_while(|(block, _)| block.header.reference.height <= known).count();
            ready.extend(blocks.drain(..count));
        }
        ready.iter().try_for_each(|(block, executed)| self.consume(view, block, executed.as_ref()))
    }

    /// What a block consumed is what its cursors say, each receipt ended, and none was consumed before.
    fn consume(
        &mut self,
        view: &View<'_>,
        block: &Block,
        executed: Option<&Executed<ShardState>>,
    ) -> Result<(), String> {
        let header = &block.header;
        let at = format!("block {} of {}", header.height, header.chain);
        let mut due: BTreeMap<Lane, std::ops::Range<u64>> = BTreeMap::new();
        for cursor in &header.figures.inbox {
            let lane = Lane { from: cursor.from, to: header.chain };
            let log = self.lanes.entry(lane).or_default();
            if cursor.next < log.consumed {
                return Err(format!("{at} takes {lane:?} back from {} to {}", log.consumed, cursor.next));
            }
            for seq in log.consumed..cursor.next {
                let recorded = usize::try_from(seq).ok().and_then(|place| log.recorded.get(place));
                if recorded.is_none_or(|recorded| *recorded > header.reference.height) {
                    let reference = header.reference.height;
                    return Err(format!(
                        "{at} consumes receipt {seq} of {lane:?}, recorded at {recorded:?}, with reference {reference}"
                    ));
                }
            }
            due.insert(lane, log.consumed..cursor.next);
            log.consumed = cursor.next;
        }
        let Some(executed) = executed else { return Ok(()) };
        for (receipt, outcome) in &executed.state.outcome.consumed {
            let next = due.get_mut(&receipt.lane).and_then(Iterator::next);
            if next != Some(receipt.seq) {
                let (lane, seq) = (receipt.lane, receipt.seq);
                return Err(format!("{at} consumes receipt {seq} of {lane:?}, but its turn is {next:?}"));
            }
            self.announce(receipt)?;
            let shards = view.setup.network.genesis.shards;
            ends(receipt, outcome, header.chain, header.reference.slot.0, shards, &executed.receipts)
                .map_err(|what| format!("{at}: receipt {} of {:?} {what}", receipt.seq, receipt.lane))?;
        }
        match due.into_iter().find(|(_, left)| !left.is_empty()) {
            None => Ok(()),
            Some((lane, left)) => Err(format!("{at} passes over receipts {left:?} of {lane:?}")),
        }
    }
}

/// A receipt ends as it must: credited in time where it belongs, otherwise sent back whole.
fn ends(
    receipt: &Receipt,
    outcome: &ConsumedOutcome,
    chain: ChainId,
    slot: u64,
    shards: u16,
    emitted: &[Receipt],
) -> Result<(), String> {
    let (must_return, sender, amount, transaction) = match &receipt.action {
        ReceiptAction::Transfer { from, to, amount, expires_at, transaction } => {
            let wrong = (ChainId::Shard(to.shard(shards)) != chain).then_some(ReturnReason::WrongShard);
            let late = (slot > expires_at.0).then_some(ReturnReason::Expired);
            (wrong.or(late), Some(*from), *amount, Some(*transaction))
        }
        // What comes back, and what the beacon pays, cannot be refused.
        _ => (None, None, 0, None),
    };
    match (must_return, outcome) {
        (None, ConsumedOutcome::Credited) => Ok(()),
        (Some(why), ConsumedOutcome::Returned { reason, seq }) if why == *reason => {
            let back = Lane { from: receipt.lane.to, to: receipt.lane.from };
            let returned = emitted.iter().find(|other| other.lane == back && other.seq == *seq);
            match returned.map(|other| &other.action) {
                Some(ReceiptAction::Return { original, to, amount: whole, transaction: of, .. })
                    if (*original, Some(*to), *whole, Some(*of)) == (receipt.seq, sender, amount, transaction) =>
                {
                    Ok(())
                }
                other => Err(format!("was sent back as {other:?}")),
            }
        }
        (must, found) => Err(format!("ended as {found:?}, to be returned: {must:?}")),
    }
}
