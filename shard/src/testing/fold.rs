//! A model of the beacon chain's state, as far as one shard reads it: hand-made blocks fold into readings.
//!
//! It counts the lanes by itself, from the crosslinks and what the blocks emit. A block that breaks a lane's order is the
//! test's own mistake, and panics.

use crate::rules::Rules;
use kakera_chain::{
    BlockId,
    block::{Block, Header},
    crosslink::{BeaconItem, Crosslink},
    lanes::{LaneCount, LaneTable, Reading, count},
    receipt::{Receipt, Reference},
    units::{ChainId, Epoch, Height, ShardId},
};
use std::collections::{BTreeMap, BTreeSet};

/// What all beacon blocks up to one say about one shard.
#[derive(Clone, Debug)]
pub(crate) struct Fold {
    rules: Rules,
    lanes: LaneTable,
    era: Epoch,
    /// The shard's last recorded header.
    recorded: (Height, BlockId),
    /// By shard, the height of its last recorded header.
    heights: BTreeMap<ShardId, Height>,
    /// By destination, how long the lane from this shard is as recorded.
    sent: BTreeMap<ChainId, u64>,
    /// Recorded returns from this shard not known to be consumed: destination and `seq`.
    returns: BTreeSet<(ChainId, u64)>,
    /// Whether the next block redraws the shard's committee, whatever is recorded.
    fallback: bool,
}

impl Fold {
    /// What the beacon's genesis says: nothing.
    pub(crate) fn genesis(rules: Rules, shard_genesis: BlockId) -> Fold {
        Fold {
            rules,
            lanes: LaneTable::default(),
            era: Epoch(0),
            recorded: (Height(0), shard_genesis),
            heights: BTreeMap::new(),
            sent: BTreeMap::new(),
            returns: BTreeSet::new(),
            fallback: false,
        }
    }

    /// The next block names a new era for the shard, with what is recorded then for its root.
    pub(crate) fn fall_back(&mut self) {
        self.fallback = true;
    }

    /// Adds the next block, which emits these receipts: what it says to the shard.
    pub(crate) fn read(&mut self, block: &Block, emitted: &[Receipt]) -> Reading {
        let header = &block.header;
        let reference = Reference { height: header.height, slot: header.slot, id: header.id(self.rules.network) };
        let mut receipts = Vec::new();
        let mut closed = std::mem::take(&mut self.fallback);
        for item in &block.body {
            let BeaconItem::Crosslink(crosslink) = BeaconItem::decode(item).expect("made by the test") else {
                continue;
            };
            let last = crosslink.headers.last().expect("made by the test");
            self.follows(&crosslink);
            if crosslink.shard == self.rules.shard {
                closed |= self.is_closed_by(last);
                self.recorded = (last.height, last.id(self.rules.network));
                self.send(&crosslink);
            } else {
                let other = ChainId::Shard(crosslink.shard);
                let all = crosslink.receipts.iter().flatten();
                let toward = all.filter(|receipt| receipt.lane.to == self.rules.chain()).cloned().collect();
                self.receive(other, &toward);
                receipts.extend(toward);
                let cursor = last.figures.inbox.iter().find(|cursor| cursor.from == self.rules.chain());
                self.consumed(other, cursor.map_or(0, |cursor| cursor.next));
            }
        }
        let toward = emitted.iter().filter(|receipt| receipt.lane.to == self.rules.chain()).cloned().collect();
        self.receive(ChainId::Beacon, &toward);
        receipts.extend(toward);
        if let Some(epochs) = self.rules.epochs.filter(|_| closed) {
            self.era = epochs.of(header.slot);
        }
        Reading { reference, lanes: self.lanes.clone(), recorded: self.recorded, era: self.era, receipts }
    }

    fn is_closed_by(&self, header: &Header) -> bool {
        self.rules.epochs.is_some_and(|epochs| epochs.of(header.reference.slot) > self.era)
    }

    fn follows(&mut self, crosslink: &Crosslink) {
        let below = self.heights.entry(crosslink.shard).or_default();
        for header in &crosslink.headers {
            assert_eq!(header.height, below.next(), "shard {}", crosslink.shard);
            *below = header.height;
        }
    }

    /// The shard's own crosslink.
    fn send(&mut self, crosslink: &Crosslink) {
        for receipt in crosslink.receipts.iter().flatten() {
            let next = self.sent.entry(receipt.lane.to).or_default();
            assert_eq!(receipt.seq, *next, "in the order of its lane");
            *next += 1;
            if receipt.action.is_return() {
                self.returns.insert((receipt.lane.to, receipt.seq));
            }
        }
        // The beacon consumes what it is asked in the block that records it.
        if let Some(next) = self.sent.get(&ChainId::Beacon) {
            self.consumed(ChainId::Beacon, *next);
        }
    }

    /// Appends to the lane from `other`.
    fn receive(&mut self, other: ChainId, receipts: &Vec<Receipt>) {
        for receipt in receipts {
            let before = count(&self.lanes.toward, other);
            assert_eq!((receipt.lane.from, receipt.seq), (other, before.next), "in the order of its lane");
            self.lanes.toward.insert(other, before.with(receipt.action.is_return()));
        }
    }

    /// Moves the cursor of `other` in the lane from this shard.
    fn consumed(&mut self, other: ChainId, next: u64) {
        let before = count(&self.lanes.away, other);
        assert!(before.next <= next && next <= self.sent.get(&other).copied().unwrap_or(0));
        if next > before.next {
            let passed = |place: &(ChainId, u64)| place.0 == other && place.1 < next;
            let returns = before.returns + self.returns.iter().filter(|place| passed(place)).count() as u64;
            self.returns.retain(|place| !passed(place));
            self.lanes.away.insert(other, LaneCount { next, returns });
        }
    }
}
