//! The fold of beacon blocks into what they say about one shard's lanes.

use super::InvalidBeacon;
use crate::{
    lanes::{LaneCount, LaneTable, count},
    rules::Rules,
};
use borsh::{BorshDeserialize, BorshSerialize};
use kakera_chain::{
    BlockId,
    block::Block,
    crosslink::{BeaconItem, Crosslink},
    receipt::{Receipt, ReceiptAction, Reference},
    units::{ChainId, Height, ShardId},
};
use std::collections::{BTreeMap, BTreeSet};

/// What all certified beacon blocks up to one say.
#[derive(Clone, Debug, BorshSerialize, BorshDeserialize)]
pub(super) struct Ledger {
    /// That block.
    pub(super) reference: Reference,
    /// The lanes of this shard.
    pub(super) lanes: LaneTable,
    /// By shard, the last header of its last crosslink.
    pub(super) crosslinks: BTreeMap<ShardId, (Height, BlockId)>,
    /// By destination, how long the lane from this shard is as recorded.
    sent: BTreeMap<ChainId, u64>,
    /// Recorded returns from this shard not known to be consumed: destination and `seq`.
    returns: BTreeSet<(ChainId, u64)>,
}

/// What one beacon block says.
#[derive(Clone, Debug, BorshSerialize, BorshDeserialize)]
pub(super) struct Entry {
    /// The block.
    pub(super) reference: Reference,
    /// Its crosslinks, in order.
    crosslinks: Vec<Recorded>,
}

/// What one crosslink says about this shard.
#[derive(Clone, Debug, BorshSerialize, BorshDeserialize)]
struct Recorded {
    shard: ShardId,
    /// The first header's height.
    first: Height,
    /// The last header.
    last: (Height, BlockId),
    /// How far the crosslinked shard has consumed the lane from this shard.
    consumed: u64,
    /// Receipts toward this shard; of this shard's own crosslinks, those toward any other.
    receipts: Vec<Receipt>,
}

impl Ledger {
    /// What the beacon's genesis says: nothing.
    pub(super) fn genesis(reference: Reference) -> Ledger {
        Ledger {
            reference,
            lanes: LaneTable::default(),
            crosslinks: BTreeMap::new(),
            sent: BTreeMap::new(),
            returns: BTreeSet::new(),
        }
    }

    /// Adds the next block.
    pub(super) fn apply(&mut self, entry: &Entry, rules: &Rules) -> Result<(), InvalidBeacon> {
        for crosslink in &entry.crosslinks {
            self.record(crosslink, rules)
                .ok_or(InvalidBeacon::Crosslink { height: entry.reference.height, shard: crosslink.shard })?;
        }
        self.reference = entry.reference;
        Ok(())
    }

    /// The beacon's rules forbid what is refused here; checking it again keeps a captured beacon from breaking the
    /// order of a lane, which everything else rests on.
    fn record(&mut self, crosslink: &Recorded, rules: &Rules) -> Option<()> {
        let below = self.crosslinks.get(&crosslink.shard).map_or(Height(0), |(height, _)| *height);
        if crosslink.first != below.next() {
            return None;
        }
        self.crosslinks.insert(crosslink.shard, crosslink.last);
        if crosslink.shard == rules.shard {
            for receipt in &crosslink.receipts {
                let next = self.sent.entry(receipt.lane.to).or_default();
                if receipt.seq != *next {
                    return None;
                }
                *next = next.checked_add(1)?;
                if is_return(receipt) {
                    self.returns.insert((receipt.lane.to, receipt.seq));
                }
            }
            return Some(());
        }
        let other = ChainId::Shard(crosslink.shard);
        for receipt in &crosslink.receipts {
            let before = count(&self.lanes.toward, other);
            if receipt.seq != before.next || before.next == u64::MAX {
                return None;
            }
            self.lanes.toward.insert(other, before.with(is_return(receipt)));
        }
        self.consume(other, crosslink.consumed)
    }

    /// Moves the cursor of `other` in the lane from this shard.
    fn consume(&mut self, other: ChainId, next: u64) -> Option<()> {
        let before = count(&self.lanes.away, other);
        if next < before.next || next > self.sent.get(&other).copied().unwrap_or(0) {
            return None;
        }
        if next > before.next {
            let passed: Vec<_> = self.returns.range((other, before.next)..(other, next)).copied().collect();
            passed.iter().for_each(|passed| {
                self.returns.remove(passed);
            });
            let returns = before.returns + passed.len() as u64;
            self.lanes.away.insert(other, LaneCount { next, returns });
        }
        Some(())
    }
}

impl Entry {
    /// What a block says to this shard.
    pub(super) fn of(block: &Block, rules: &Rules) -> Result<Entry, InvalidBeacon> {
        let header = &block.header;
        let reference = Reference { height: header.height, slot: header.slot, id: header.id(rules.network) };
        let mut crosslinks = Vec::with_capacity(block.body.len());
        for (index, item) in block.body.iter().enumerate() {
            let item = BeaconItem::decode(item).map_err(|_| InvalidBeacon::Item { height: header.height, index })?;
            match item {
                BeaconItem::Crosslink(crosslink) => crosslinks.push(
                    recorded(&crosslink, rules)
                        .ok_or(InvalidBeacon::Crosslink { height: header.height, shard: crosslink.shard })?,
                ),
            }
        }
        Ok(Entry { reference, crosslinks })
    }

    /// The receipts toward this shard that it records.
    pub(super) fn receipts(&self, rules: &Rules) -> Vec<Receipt> {
        let others = self.crosslinks.iter().filter(|crosslink| crosslink.shard != rules.shard);
        others.flat_map(|crosslink| &crosslink.receipts).copied().collect()
    }
}

fn recorded(crosslink: &Crosslink, rules: &Rules) -> Option<Recorded> {
    let (first, last) = (crosslink.headers.first()?, crosslink.headers.last()?);
    let from = ChainId::Shard(crosslink.shard);
    let consecutive = crosslink.headers.windows(2).all(|pair| {
        pair[0].height.0.checked_add(1) == Some(pair[1].height.0) && pair[1].parent == pair[0].id(rules.network)
    });
    let lanes = crosslink.receipts.iter().flatten().all(|receipt| receipt.lane.from == from && receipt.lane.to != from);
    if !consecutive || !lanes || crosslink.shard.0 >= rules.shards || last.height.0 == u64::MAX {
        return None;
    }
    let own = crosslink.shard == rules.shard;
    let relevant = |receipt: &&Receipt| own || receipt.lane.to == rules.chain();
    let cursor = last.figures.inbox.iter().find(|cursor| cursor.from == rules.chain());
    Some(Recorded {
        shard: crosslink.shard,
        first: first.height,
        last: (last.height, last.id(rules.network)),
        consumed: cursor.map_or(0, |cursor| cursor.next),
        receipts: crosslink.receipts.iter().flatten().filter(relevant).copied().collect(),
    })
}

fn is_return(receipt: &Receipt) -> bool {
    matches!(receipt.action, ReceiptAction::Return { .. })
}
