//! What this shard knows of the beacon chain: what each certified block says about its lanes, and to which it may refer.
//!
//! ```text
//!   base                                    tip
//!     │ reading │ reading │ ... │ reading │        receipts: recorded, not consumed at the last recorded own block
//!       the last recorded own block's reference    newest certified beacon block
//! ```
//!
//! Readings ([`Reading`]) are made by who executes the beacon chain in the same process, and believed. Rows:
//! [`Table::Beacon`] holds a reading by big-endian height, [`Table::Meta`] under [`CHECKPOINT_KEY`] the reading at the base
//! with all receipts that are due then; older ones are deleted.

#[cfg(test)]
mod tests;

use crate::records;
use kakera_chain::{
    BlockId,
    application::ReferenceStatus,
    codec,
    lanes::{LaneCounts, LaneTable, Reading, count},
    receipt::{Receipt, Reference},
    store::{Store, StoreFailure, Table, Write},
    units::{ChainId, Epoch, Height},
};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};
use thiserror::Error;

/// The row of [`Table::Meta`] that holds the reading from which a start goes on.
pub const CHECKPOINT_KEY: &[u8] = b"shard/beacon";

/// A checkpoint replaces readings once there are this many.
const CHECKPOINT_EVERY: u64 = 256;
/// Own blocks that are certified and not recorded whose cursors are remembered at most; of more, later ones do as well.
const UNRECORDED: usize = 1_024;

/// Why readings are refused. Nothing changes.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidBeacon {
    /// Readings are missing between the newest known one and these.
    #[error("the first new reading has height {found}, but {expected} is next")]
    Gap {
        /// The height above the newest known one's.
        expected: Height,
        /// The first new one's.
        found: Height,
    },
    /// Another block than the one known at a height.
    #[error("another beacon block than the one known at height {height}")]
    OtherBlock {
        /// Which.
        height: Height,
    },
}

/// What is kept of a reading.
#[derive(Clone, Debug)]
struct Known {
    reference: Reference,
    lanes: Arc<LaneTable>,
    era: Epoch,
}

/// A certified own block: what it had read, and how far it had consumed the lanes.
#[derive(Clone, Debug)]
struct Own {
    height: Height,
    reference: Reference,
    inbox: LaneCounts,
}

/// The beacon chain as one shard sees it.
#[derive(Clone, Debug)]
pub struct BeaconView {
    /// Consecutive, from the base to the tip; never empty.
    known: VecDeque<Known>,
    /// This shard's last recorded header as of the tip.
    recorded: (Height, BlockId),
    /// Recorded toward this shard and not consumed at the base's own block, by source and `seq`. Bounded by what lanes
    /// may hold.
    receipts: BTreeMap<(ChainId, u64), Receipt>,
    /// Certified own blocks that are not recorded: a fallback may take them back.
    unrecorded: VecDeque<Own>,
    /// The era that this shard is in.
    era: Epoch,
    /// The height of the stored checkpoint.
    saved: Height,
}

impl BeaconView {
    /// The view that begins with this reading; its receipts are all that are due.
    pub fn new(first: Reading) -> BeaconView {
        let (recorded, era) = (first.recorded, first.era);
        let saved = first.reference.height;
        let mut view = BeaconView {
            known: VecDeque::new(),
            recorded,
            receipts: BTreeMap::new(),
            unrecorded: VecDeque::new(),
            era,
            saved,
        };
        view.push(first);
        view
    }

    /// The view that was stored; where nothing is, the one that begins with `first`.
    pub fn load(first: Reading, store: &dyn Store) -> Result<BeaconView, StoreFailure> {
        let checkpoint = records::load::<Reading>(store, Table::Meta, CHECKPOINT_KEY)?;
        let mut view = BeaconView::new(checkpoint.unwrap_or(first));
        let from = view.saved.next().0.to_be_bytes();
        records::for_each_row(store, Table::Beacon, &from, |_, value| {
            let reading: Reading = records::parse(Table::Beacon, value)?;
            if reading.reference.height != view.tip().height.next() {
                return Err(records::damaged(Table::Beacon, "a height is missing"));
            }
            view.push(reading);
            Ok(())
        })?;
        Ok(view)
    }

    /// The writes that make a view begin with this reading, for a shard that is fetched at some height.
    pub fn begin_with(first: &Reading) -> Vec<Write> {
        vec![Write::Clear { table: Table::Beacon }, Write::put(Table::Meta, CHECKPOINT_KEY, codec::encode(first))]
    }

    /// The newest certified beacon block known.
    pub fn tip(&self) -> Reference {
        self.newest().reference
    }

    /// The epoch of the era that the newest known beacon block names for this shard.
    pub fn named_era(&self) -> Epoch {
        self.newest().era
    }

    /// The era that this shard is in.
    pub fn era(&self) -> Epoch {
        self.era
    }

    /// The shard goes on in this era.
    pub(crate) fn enter(&mut self, era: Epoch) {
        self.era = era;
    }

    /// The newest certified beacon block that a block of this era may name above a block with reference `parent`; nothing
    /// if none may.
    pub fn newest_reference(&self, parent: &Reference) -> Option<Reference> {
        let mut usable = self.known.iter().rev().filter(|known| known.era == self.era);
        usable.next().map(|known| known.reference).filter(|newest| newest.height >= parent.height)
    }

    /// This shard's last recorded crosslink as of the tip: the last header's height and id.
    pub fn recorded(&self) -> (Height, BlockId) {
        self.recorded
    }

    /// What the tip says about lanes.
    pub fn lanes(&self) -> &LaneTable {
        &self.newest().lanes
    }

    /// What a certified beacon block says about lanes, if it is known and not below the base.
    pub fn lanes_at(&self, reference: &Reference) -> Option<Arc<LaneTable>> {
        self.at(reference).map(|known| Arc::clone(&known.lanes))
    }

    /// A receipt toward this shard that is recorded and was not consumed at the last recorded own block.
    pub fn receipt(&self, from: ChainId, seq: u64) -> Option<&Receipt> {
        self.receipts.get(&(from, seq))
    }

    /// Whether `reference` can be used in this era above a block with reference `parent`.
    ///
    /// A reference is usable only if its state names this very era: not from before it began, and none whose state has
    /// closed it.
    pub fn status(&self, reference: &Reference, parent: &Reference) -> ReferenceStatus {
        if reference.height < parent.height {
            ReferenceStatus::Invalid
        } else if reference.height > self.tip().height || reference.height < self.base().height {
            // Not read yet, or forgotten: a verdict may depend on neither.
            ReferenceStatus::Unknown
        } else if self.at(reference).is_some_and(|known| known.era == self.era) {
            ReferenceStatus::Known
        } else {
            ReferenceStatus::Invalid
        }
    }

    /// Takes readings. Known ones at the front are skipped. Returns the writes that keep them.
    pub fn advance(&mut self, readings: Vec<Reading>) -> Result<Vec<Write>, InvalidBeacon> {
        let mut next = self.tip().height;
        for reading in &readings {
            let height = reading.reference.height;
            if height <= self.tip().height {
                if height >= self.base().height && self.at(&reading.reference).is_none() {
                    return Err(InvalidBeacon::OtherBlock { height });
                }
            } else if height == next.next() {
                next = height;
            } else {
                return Err(InvalidBeacon::Gap { expected: next.next(), found: height });
            }
        }
        let tip = self.tip().height;
        let mut writes = Vec::new();
        for reading in readings.into_iter().filter(|reading| reading.reference.height > tip) {
            let key = reading.reference.height.0.to_be_bytes();
            writes.push(Write::put(Table::Beacon, key, codec::encode(&reading)));
            self.push(reading);
        }
        self.forget();
        Ok(writes)
    }

    /// An own block is certified that had read up to `reference` and consumed the lanes up to `inbox`.
    pub(crate) fn certified(&mut self, height: Height, reference: Reference, inbox: &LaneCounts) {
        if self.unrecorded.len() >= UNRECORDED {
            self.unrecorded.pop_front();
        }
        self.unrecorded.push_back(Own { height, reference, inbox: inbox.clone() });
        self.forget();
    }

    /// Own blocks above a height were taken back.
    pub(crate) fn undone(&mut self, height: Height) {
        self.unrecorded.retain(|own| own.height <= height);
    }

    /// The writes that keep the store small: now and then the base replaces the readings up to it.
    pub(crate) fn checkpoint(&mut self) -> Vec<Write> {
        let base = self.base();
        if base.height.0 < self.saved.0.saturating_add(CHECKPOINT_EVERY) {
            return Vec::new();
        }
        let Known { reference, lanes, era } = &self.known[0];
        let due = |receipt: &&Receipt| receipt.seq < count(&lanes.toward, receipt.lane.from).next;
        let receipts = self.receipts.values().filter(due).cloned().collect();
        let (reference, lanes, era) = (*reference, LaneTable::clone(lanes), *era);
        let first = Reading { reference, lanes, recorded: self.recorded, era, receipts };
        self.saved = base.height;
        let key = base.height.next().0.to_be_bytes().to_vec();
        vec![Write::put(Table::Meta, CHECKPOINT_KEY, codec::encode(&first)), Write::Below { table: Table::Beacon, key }]
    }

    /// Forgets what only blocks below the last recorded own one could need: no other is executed from now on.
    fn forget(&mut self) {
        // What is recorded in a later era may lie beside own blocks of the same heights, which are taken back then.
        if self.named_era() != self.era {
            return;
        }
        let mut newest = None;
        while self.unrecorded.front().is_some_and(|own| own.height <= self.recorded.0) {
            newest = self.unrecorded.pop_front();
        }
        let Some(own) = newest else { return };
        self.receipts.retain(|(from, seq), _| *seq >= count(&own.inbox, *from).next);
        while self.known.len() > 1 && self.base().height < own.reference.height {
            self.known.pop_front();
        }
    }

    fn push(&mut self, reading: Reading) {
        let Reading { reference, lanes, recorded, era, receipts } = reading;
        // Most beacon blocks say nothing new about this shard's lanes: they share one table.
        let lanes = match self.known.back() {
            Some(known) if *known.lanes == lanes => Arc::clone(&known.lanes),
            _ => Arc::new(lanes),
        };
        self.receipts.extend(receipts.into_iter().map(|receipt| ((receipt.lane.from, receipt.seq), receipt)));
        self.recorded = recorded;
        self.known.push_back(Known { reference, lanes, era });
    }

    fn at(&self, reference: &Reference) -> Option<&Known> {
        let index = reference.height.0.checked_sub(self.base().height.0)?;
        self.known.get(usize::try_from(index).ok()?).filter(|known| known.reference == *reference)
    }

    fn base(&self) -> Reference {
        self.known.front().expect("the base is always known").reference
    }

    fn newest(&self) -> &Known {
        self.known.back().expect("the base is always known")
    }
}

/// What the beacon's genesis block says to a shard with this genesis block: nothing.
pub fn first_reading(beacon_genesis: BlockId, shard_genesis: BlockId) -> Reading {
    let reference = Reference { height: Height(0), slot: kakera_chain::Slot(0), id: beacon_genesis };
    let recorded = (Height(0), shard_genesis);
    Reading { reference, lanes: LaneTable::default(), recorded, era: Epoch(0), receipts: Vec::new() }
}
