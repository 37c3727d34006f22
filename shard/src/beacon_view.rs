//! What this shard knows of the beacon chain: which certified blocks it may refer to, and what each says about lanes.
//!
//! ```text
//!   base (last certified own block's reference)            tip (newest certified beacon block)
//!     │ entry │ entry │ entry │ ... │ entry │
//!     └ ledger                              └ ledger       receipts: recorded, not yet consumed at base
//! ```
//!
//! A ledger is the fold of all entries up to a height; an entry is what one beacon block says about this shard. Rows:
//! [`Table::Beacon`] holds an entry by big-endian height, [`Table::Meta`] under [`CHECKPOINT_KEY`] a ledger that stands
//! for all entries up to its height, which are then deleted.

mod ledger;
#[cfg(test)]
mod tests;

use crate::{
    lanes::{LaneCounts, LaneTable, count},
    records,
    rules::Rules,
};
use borsh::{BorshDeserialize, BorshSerialize};
use kakera_chain::{
    BlockId, Slot,
    application::{CertifiedBlocks, ReferenceStatus},
    block::Block,
    certificate::{InvalidCertificate, Seats},
    codec,
    receipt::{Receipt, Reference},
    store::{Store, StoreFailure, Table, Write},
    units::{ChainId, Epoch, Height, ShardId},
};
use ledger::{Entry, Ledger};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};
use thiserror::Error;

/// The row of [`Table::Meta`] that holds the ledger from which a start goes on.
pub const CHECKPOINT_KEY: &[u8] = b"shard/beacon";

/// A checkpoint replaces entries once there are this many.
const CHECKPOINT_ENTRIES: u64 = 256;

/// Why certified beacon blocks are refused. Nothing changes.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidBeacon {
    /// No block, too many, or too many bytes.
    #[error("{blocks} blocks of {bytes} bytes: 1 to {most_blocks} blocks and {most_bytes} bytes are allowed")]
    Size {
        /// Blocks present.
        blocks: usize,
        /// Canonical bytes present.
        bytes: usize,
        /// Blocks allowed.
        most_blocks: usize,
        /// Bytes allowed.
        most_bytes: usize,
    },
    /// Blocks are missing between the newest known one and these.
    #[error("the first new block has height {found}, but {expected} is next")]
    Gap {
        /// The height above the newest known block's.
        expected: Height,
        /// The first new block's.
        found: Height,
    },
    /// A block that does not follow the one before: parent, height, slot, chain or era.
    #[error("the block at height {height} does not follow the one below it")]
    Linkage {
        /// Its height.
        height: Height,
    },
    /// A body or witnesses that the header does not commit to.
    #[error("the block at height {height} is not what its header commits to")]
    Torn {
        /// Its height.
        height: Height,
    },
    /// The certificate is not for the last block.
    #[error("the certificate is not for the last block")]
    OtherBlock,
    /// The certificate does not hold.
    #[error("the certificate does not hold: {0}")]
    Certificate(InvalidCertificate),
    /// An item that is not a beacon item.
    #[error("item {index} of the block at height {height} is not canonical")]
    Item {
        /// The block's height.
        height: Height,
        /// The item's place.
        index: usize,
    },
    /// A crosslink that breaks the order of headers or of a lane.
    #[error("a crosslink of shard {shard} at beacon height {height} is out of order")]
    Crosslink {
        /// The beacon block's height.
        height: Height,
        /// Whose.
        shard: ShardId,
    },
}

/// The beacon chain as one shard sees it.
#[derive(Clone, Debug)]
pub struct BeaconView {
    rules: Rules,
    seats: Seats,
    genesis: BlockId,
    base: Ledger,
    tip: Ledger,
    /// Heights above the base up to the tip.
    entries: VecDeque<Entry>,
    /// Heights from the base to the tip, each with the lanes at it.
    known: VecDeque<(Reference, Arc<LaneTable>)>,
    /// Recorded toward this shard and not consumed at the last certified own block, by source and `seq`. Bounded by
    /// what lanes may hold.
    receipts: BTreeMap<(ChainId, u64), Receipt>,
    /// The height of the stored checkpoint.
    saved: Height,
}

/// A ledger and the receipts recorded up to it that are still due, as stored.
#[derive(BorshSerialize, BorshDeserialize)]
struct Checkpoint {
    ledger: Ledger,
    receipts: Vec<Receipt>,
}

impl BeaconView {
    /// Blocks taken at once at most.
    pub const MAX_BLOCKS: usize = 1_024;

    /// The view that knows the beacon's genesis only.
    pub fn new(rules: Rules, seats: Seats, genesis: BlockId) -> BeaconView {
        let base = Ledger::genesis(Reference { height: Height(0), slot: Slot(0), id: genesis });
        let known = VecDeque::from([(base.reference, Arc::new(base.lanes.clone()))]);
        BeaconView {
            rules,
            seats,
            genesis,
            tip: base.clone(),
            base,
            entries: VecDeque::new(),
            known,
            receipts: BTreeMap::new(),
            saved: Height(0),
        }
    }

    /// The view that was stored.
    pub fn load(rules: Rules, seats: Seats, genesis: BlockId, store: &dyn Store) -> Result<BeaconView, StoreFailure> {
        let mut view = BeaconView::new(rules, seats, genesis);
        if let Some(Checkpoint { ledger, receipts }) = records::load(store, Table::Meta, CHECKPOINT_KEY)? {
            view.saved = ledger.reference.height;
            view.known = VecDeque::from([(ledger.reference, Arc::new(ledger.lanes.clone()))]);
            view.tip = ledger.clone();
            view.base = ledger;
            view.keep_receipts(&receipts);
        }
        let from = view.saved.next().0.to_be_bytes();
        records::for_each_row(store, Table::Beacon, &from, |_, value| {
            let entry: Entry = records::parse(Table::Beacon, value)?;
            if entry.reference.height != view.tip.reference.height.next() {
                return Err(records::damaged(Table::Beacon, "a height is missing"));
            }
            let rules = view.rules;
            view.tip.apply(&entry, &rules).map_err(|error| records::damaged(Table::Beacon, &error.to_string()))?;
            view.push(entry);
            Ok(())
        })?;
        Ok(view)
    }

    /// The newest certified beacon block known.
    pub fn tip(&self) -> Reference {
        self.tip.reference
    }

    /// This shard's last recorded crosslink as of the tip: the last header's height and id. Height 0 with a zero id
    /// until one is recorded.
    pub fn recorded(&self) -> (Height, BlockId) {
        self.recorded_of(self.rules.shard).unwrap_or_default()
    }

    /// Any shard's last recorded crosslink as of the tip.
    pub fn recorded_of(&self, shard: ShardId) -> Option<(Height, BlockId)> {
        self.tip.crosslinks.get(&shard).copied()
    }

    /// What the tip says about lanes.
    pub fn lanes(&self) -> &LaneTable {
        &self.tip.lanes
    }

    /// What a certified beacon block says about lanes, if it is known and not below the last certified own block's
    /// reference.
    pub fn lanes_at(&self, reference: &Reference) -> Option<Arc<LaneTable>> {
        let index = reference.height.0.checked_sub(self.base.reference.height.0)?;
        let (known, lanes) = self.known.get(usize::try_from(index).ok()?)?;
        (known == reference).then(|| Arc::clone(lanes))
    }

    /// A receipt toward this shard that is recorded and was not consumed at the last certified own block.
    pub fn receipt(&self, from: ChainId, seq: u64) -> Option<&Receipt> {
        self.receipts.get(&(from, seq))
    }

    /// Whether `reference` can be used above a block with reference `parent`.
    pub fn status(&self, reference: &Reference, parent: &Reference) -> ReferenceStatus {
        if reference.height < parent.height {
            ReferenceStatus::Invalid
        } else if reference.height > self.tip.reference.height || reference.height < self.base.reference.height {
            // Not read yet, or forgotten: a verdict may depend on neither.
            ReferenceStatus::Unknown
        } else if self.lanes_at(reference).is_some() {
            ReferenceStatus::Known
        } else {
            ReferenceStatus::Invalid
        }
    }

    /// Takes certified blocks. Known ones at the front are skipped. Returns the writes that keep them.
    pub fn advance(&mut self, certified: &CertifiedBlocks) -> Result<Vec<Write>, InvalidBeacon> {
        let fresh = self.fresh(certified)?;
        let entries = self.follow(fresh)?;
        let Some(last) = entries.last() else { return Ok(Vec::new()) };
        if certified.certificate.finality.block != last.reference.id {
            return Err(InvalidBeacon::OtherBlock);
        }
        // The last check, as it costs the most.
        certified
            .certificate
            .clone()
            .verify(ChainId::Beacon, Epoch(0), self.genesis, &self.seats, self.rules.network)
            .map_err(InvalidBeacon::Certificate)?;
        let mut tip = self.tip.clone();
        for entry in &entries {
            tip.apply(entry, &self.rules)?;
        }
        // Nothing can fail any more: now the view changes, one entry at a time so that each height keeps its lanes.
        let mut writes = Vec::with_capacity(entries.len());
        for entry in entries {
            writes.push(Write::put(Table::Beacon, entry.reference.height.0.to_be_bytes(), codec::encode(&entry)));
            self.tip.apply(&entry, &self.rules).expect("it was just applied to a copy");
            self.push(entry);
        }
        Ok(writes)
    }

    /// An own block with this reference is certified, with the lanes toward this shard consumed up to `inbox`: forgets
    /// what is below it, as only blocks above it are executed from now on.
    pub fn forget(&mut self, reference: &Reference, inbox: &LaneCounts) {
        self.receipts.retain(|(from, seq), _| *seq >= count(inbox, *from).next);
        while self.base.reference.height < reference.height
            && let Some(entry) = self.entries.pop_front()
        {
            self.base.apply(&entry, &self.rules).expect("it was applied to the tip");
            self.known.pop_front();
        }
    }

    /// The writes that keep the store small: now and then the base replaces the entries up to it.
    pub fn checkpoint(&mut self) -> Vec<Write> {
        let height = self.base.reference.height;
        if height.0 < self.saved.0.saturating_add(CHECKPOINT_ENTRIES) {
            return Vec::new();
        }
        let due = |receipt: &&Receipt| receipt.seq < count(&self.base.lanes.toward, receipt.lane.from).next;
        let receipts = self.receipts.values().filter(due).copied().collect();
        let checkpoint = Checkpoint { ledger: self.base.clone(), receipts };
        let mut writes = vec![Write::put(Table::Meta, CHECKPOINT_KEY, codec::encode(&checkpoint))];
        let old = self.saved.0 + 1..=height.0;
        writes.extend(old.map(|old| Write::Delete { table: Table::Beacon, key: old.to_be_bytes().to_vec() }));
        self.saved = height;
        writes
    }

    /// The blocks that are new, after checks of size and order.
    fn fresh<'a>(&self, certified: &'a CertifiedBlocks) -> Result<&'a [Block], InvalidBeacon> {
        let (blocks, most_blocks) = (certified.blocks.len(), BeaconView::MAX_BLOCKS);
        let (bytes, most_bytes) = (borsh::object_length(certified).unwrap_or(usize::MAX), CertifiedBlocks::MAX_BYTES);
        if blocks == 0 || blocks > most_blocks || bytes > most_bytes {
            return Err(InvalidBeacon::Size { blocks, bytes, most_blocks, most_bytes });
        }
        let tip = self.tip.reference.height;
        let skipped = certified.blocks.iter().take_while(|block| block.header.height <= tip).count();
        let fresh = &certified.blocks[skipped..];
        match fresh.first() {
            Some(first) if first.header.height != tip.next() => {
                Err(InvalidBeacon::Gap { expected: tip.next(), found: first.header.height })
            }
            _ => Ok(fresh),
        }
    }

    /// The entries of new blocks, if each follows the one before it.
    fn follow(&self, blocks: &[Block]) -> Result<Vec<Entry>, InvalidBeacon> {
        let mut below = self.tip.reference;
        let mut entries = Vec::with_capacity(blocks.len());
        for block in blocks {
            let header = &block.header;
            let height = header.height;
            let era = (header.chain, header.epoch, header.root) == (ChainId::Beacon, Epoch(0), self.genesis);
            if !era || header.parent != below.id || height != below.height.next() || header.slot <= below.slot {
                return Err(InvalidBeacon::Linkage { height });
            }
            if !block.is_whole() {
                return Err(InvalidBeacon::Torn { height });
            }
            let entry = Entry::of(block, &self.rules)?;
            below = entry.reference;
            entries.push(entry);
        }
        Ok(entries)
    }

    /// Remembers an entry that was just applied to the tip.
    fn push(&mut self, entry: Entry) {
        let (_, last) = self.known.back().expect("the base is always known");
        // Most beacon blocks say nothing new about this shard's lanes: they share one table.
        let lanes = if **last == self.tip.lanes { Arc::clone(last) } else { Arc::new(self.tip.lanes.clone()) };
        self.known.push_back((entry.reference, lanes));
        self.keep_receipts(&entry.receipts(&self.rules));
        self.entries.push_back(entry);
    }

    fn keep_receipts(&mut self, receipts: &[Receipt]) {
        self.receipts.extend(receipts.iter().map(|receipt| ((receipt.lane.from, receipt.seq), *receipt)));
    }
}
