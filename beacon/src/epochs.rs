//! Epochs: how the state turns, which root each era has, and what happens to a shard that does not follow.
//!
//! ```text
//!   epoch e-1              epoch e                        epoch e+1
//!   ─────────────────┬────────────────────────────────┬──────────────
//!   row frozen (e-1) │ committees e+1 drawn over row  │ committees e+2 drawn over row (e), by the mix after
//!   reveals enter ───┘ (e-1), by the mix after the    │ the reveals of e
//!   the mix            reveals of e-1; row frozen (e) │
//! ```
//!
//! The first beacon block whose slot lies in a later epoch turns the state when all its items are done; epochs in which
//! the chain slept are jumped over. A shard's era then ends with its switch block (`kakera_chain::era`): the crosslink
//! that records it names it the root of the shard's next era. If none is recorded within the fallback's slots, the last
//! recorded block is the root, and the committee is drawn anew from those who stand by. From the moment a root is named,
//! crosslinks of earlier eras are refused, because they name another one.

use crate::{
    committees::seats_of,
    draw::{Bench, Benches, Row, draw_seed, fallback},
    registry::Registry,
    state::{BeaconState, Recorded, ShardRecord},
};
use borsh::{BorshDeserialize, BorshSerialize};
use kakera_chain::{
    BlockId, Slot,
    block::{Block, Header},
    certificate::{Certificate, Seats},
    codec,
    crosslink::BeaconItem,
    era::EraPlan,
    genesis::{Network, Role},
    hash::{Hash, Tag},
    lanes::{LaneCount, LaneTable, Reading},
    leaders::leader_cycle,
    receipt::{Lane, Receipt, Reference},
    signatures::Signatures,
    units::{ChainId, Epoch, Height, ShardId, ValidatorId},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// The committees of this epoch and the next, and what the one after that will be drawn from.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Seating {
    /// In office.
    pub current: Benches,
    /// Named for the next epoch: joiners have this long to fetch what they need.
    pub next: Benches,
    /// What the next epoch's committees were drawn from.
    pub next_seed: Hash,
    /// Over whom: the shard validators that were eligible when the epoch before this one began.
    pub drawn_over: Row,
    /// Eligible beacon validators when this epoch began.
    pub beacon: Row,
    /// Eligible shard validators when this epoch began.
    pub shards: Row,
}

impl Seating {
    /// Epochs 0 and 1, both drawn from the network's seed over the registry of the genesis file.
    pub(crate) fn genesis(network: &Network, registry: &Registry) -> Seating {
        let genesis = &network.genesis;
        let (beacon, shards) = (registry.rows(Role::Beacon), registry.rows(Role::Shard));
        let beacon_seats = genesis.epochs.and_then(|epochs| epochs.beacon_seats);
        let (count, size) = (genesis.shards, genesis.committee_seats);
        let seed = |epoch| draw_seed(network.seed(), Epoch(epoch));
        let current = Benches::first(&beacon, &shards, count, size, beacon_seats, seed(0));
        let next = match genesis.epochs {
            None => current.clone(),
            Some(epochs) => {
                let per_mille = epochs.rotation_per_mille;
                current.rotate(&beacon, &shards, &registry.slashed(), per_mille, beacon_seats, seed(1))
            }
        };
        Seating { current, next, next_seed: network.seed(), drawn_over: shards.clone(), beacon, shards }
    }
}

impl Benches {
    /// Who sits where, as it is remembered of an epoch.
    pub(crate) fn eras(&self, epoch: Epoch) -> BTreeMap<(ChainId, Epoch), Row> {
        let shards = (0..).map(ShardId).zip(&self.shards);
        let shards = shards.map(|(shard, bench)| ((ChainId::Shard(shard), epoch), bench.seats()));
        std::iter::once(((ChainId::Beacon, epoch), self.beacon.clone())).chain(shards).collect()
    }
}

impl Bench {
    /// Its holders, ascending, and the seats of each.
    pub fn seats(&self) -> Row {
        let mut seats = BTreeMap::<ValidatorId, u32>::new();
        for holder in &self.0 {
            *seats.entry(*holder).or_default() += 1;
        }
        seats.into_iter().collect()
    }
}

impl BeaconState {
    /// Whether a shard's block is the last one of its era.
    pub(crate) fn closes(&self, record: &ShardRecord, header: &Header) -> bool {
        self.parameters.epochs.is_some_and(|epochs| epochs.of(header.reference.slot) > record.era)
    }

    /// A shard's record once its headers are recorded up to `last`: a switch block is the root of its next era.
    pub(crate) fn recorded(&self, record: &ShardRecord, last: Recorded) -> ShardRecord {
        let closed = self.closes(record, &last.header) && record.era < self.epoch;
        let record = ShardRecord { last, ..record.clone() };
        if closed { self.rooted(record) } else { record }
    }

    /// A shard's era that begins now, on its last recorded block.
    fn rooted(&self, record: ShardRecord) -> ShardRecord {
        let bench = self.seating.current.shards[usize::from(record.shard().0)].clone();
        let (root, root_height) = (record.last.id, record.last.header.height);
        ShardRecord { era: self.epoch, root, root_height, bench, seed: self.seed, ..record }
    }

    /// What every block ends with. Returns the receipts that the beacon emits for it.
    pub(crate) fn end_block(&mut self, slot: Slot) -> Vec<Receipt> {
        let Some(epochs) = self.parameters.epochs else { return Vec::new() };
        let reached = epochs.of(slot);
        let receipts = if reached > self.epoch { self.turn(reached, slot) } else { Vec::new() };
        for place in 0..self.shards.len() {
            if self.is_late(place, slot) {
                self.fall_back(place);
            }
        }
        receipts
    }

    /// Whether a shard has not followed in time.
    fn is_late(&self, place: usize, slot: Slot) -> bool {
        let Some(epochs) = self.parameters.epochs else { return false };
        let due = self.turned_at.0.saturating_add(epochs.fallback_slots);
        self.shards[place].era < self.epoch && slot.0 >= due
    }

    /// Whether a block of this slot has something to do besides its items: to turn the epoch, or to replace a committee.
    pub(crate) fn is_due(&self, slot: Slot) -> bool {
        self.parameters.epochs.is_some_and(|epochs| epochs.of(slot) > self.epoch)
            || (0..self.shards.len()).any(|place| self.is_late(place, slot))
    }

    fn turn(&mut self, epoch: Epoch, slot: Slot) -> Vec<Receipt> {
        let Some(epochs) = self.parameters.epochs else { return Vec::new() };
        let seating = Arc::unwrap_or_clone(std::mem::replace(&mut self.seating, Arc::new(Seating::default())));
        let drawn = seating.next.rotate(
            &seating.beacon,
            &seating.shards,
            &self.registry.slashed(),
            epochs.rotation_per_mille,
            epochs.beacon_seats,
            draw_seed(self.mix.0, Epoch(epoch.0 + 1)),
        );
        (self.epoch, self.turned_at, self.seed) = (epoch, slot, seating.next_seed);
        let (current, next) = (seating.next, drawn);
        let mut seated = current.seated();
        seated.extend(next.seated());
        // Who serves on in an era that is not over yet has not left.
        seated.extend(self.shards.iter().flat_map(|record| record.bench.0.iter().copied()));
        let attendance = self.attendance.clone();
        let (_, receipts) = self.turn_registry(epoch, &seated, &attendance);
        Arc::make_mut(&mut self.attendance).restart();

        let eras = Arc::make_mut(&mut self.eras);
        // Who still serves in an era of long ago can still be convicted of what it does there.
        let serving: BTreeSet<_> =
            self.shards.iter().map(|record| (ChainId::Shard(record.shard()), record.era)).collect();
        eras.retain(|era, _| era.1.0.saturating_add(epochs.unbonding) >= epoch.0 || serving.contains(era));
        eras.insert((ChainId::Beacon, epoch), current.beacon.clone());
        for (shard, bench) in (0..).map(ShardId).zip(&current.shards) {
            eras.insert((ChainId::Shard(shard), epoch), bench.seats());
        }
        let (beacon, shards) = (self.registry.rows(Role::Beacon), self.registry.rows(Role::Shard));
        let (next_seed, drawn_over) = (self.mix.0, seating.shards);
        self.seating = Arc::new(Seating { current, next, next_seed, drawn_over, beacon, shards });
        receipts
    }

    /// Draws a committee for a shard that has not followed: over the row and from the mix of the newest draw, so that
    /// nobody who knows the mix can still change over whom it is drawn, but by being slashed.
    fn fall_back(&mut self, place: usize) {
        let shard = self.shards[place].shard();
        let seating = Arc::make_mut(&mut self.seating);
        let seed = Hash::of(&[Tag::SEED.bytes(), &draw_seed(seating.next_seed, self.epoch).0, b"fallback"]);
        // Who is slashed may be forgotten already, where epochs were slept through.
        let stays = |id: ValidatorId| self.registry.get(id).is_some_and(|validator| !validator.status.is_gone());
        let row: Row = seating.drawn_over.iter().copied().filter(|(id, _)| stays(*id)).collect();
        let (current, next) = fallback(&seating.current, &seating.next, shard, &row, seed);
        (seating.current, seating.next) = (current, next);
        let bench = seating.current.shards[place].seats();
        Arc::make_mut(&mut self.eras).insert((ChainId::Shard(shard), self.epoch), bench);
        let record = self.rooted(ShardRecord::clone(&self.shards[place]));
        self.shards[place] = Arc::new(ShardRecord { fallbacks: record.fallbacks + 1, ..record });
    }

    /// A committee with its keys; who is not in the registry is not in a committee.
    pub fn seats(&self, row: &Row, signatures: &Signatures) -> Seats {
        let known = row.iter().filter_map(|(id, seats)| Some((*id, u64::from(*seats), self.registry.get(*id)?.key)));
        let keys: BTreeMap<ValidatorId, _> = known.clone().map(|(id, _, key)| (id, key)).collect();
        let weights = known.map(|(id, seats, _)| (id, seats)).collect();
        let seats = seats_of(weights, |id| keys[&id]);
        Seats { signatures: signatures.clone(), ..seats }
    }

    /// The era that a shard is in, as this state names it.
    pub fn era_of(&self, shard: ShardId, signatures: &Signatures) -> Option<EraPlan> {
        let record = self.shard(shard)?;
        let seats = self.seats(&record.bench.seats(), signatures);
        // The state's own seed may be of a later epoch: this era may have begun before.
        let leaders = leader_cycle(&seats.committee, leader_seed(record.seed, record.era, ChainId::Shard(shard)));
        Some(EraPlan { epoch: record.era, root: (record.root_height, record.root), seats, leaders })
    }

    /// The beacon's own era that begins on a block with this state.
    pub fn beacon_era(&self, root: (Height, BlockId), signatures: &Signatures) -> EraPlan {
        let seats = self.seats(&self.seating.current.beacon, signatures);
        let leaders = leader_cycle(&seats.committee, leader_seed(self.seed, self.epoch, ChainId::Beacon));
        EraPlan { epoch: self.epoch, root, seats, leaders }
    }

    /// What a certified block with this state says to a shard. `receipts` are those that the block recorded toward it.
    pub fn reading(&self, shard: ShardId, reference: Reference, receipts: Vec<Receipt>) -> Option<Reading> {
        let record = self.shard(shard)?;
        let here = ChainId::Shard(shard);
        let shards = (0..self.shards.len()).filter_map(|place| u16::try_from(place).ok());
        let others = std::iter::once(ChainId::Beacon).chain(shards.map(|place| ChainId::Shard(ShardId(place))));
        let mut lanes = LaneTable::default();
        for other in others {
            if let Some(log) = self.lane(&Lane { from: other, to: here }).filter(|log| log.recorded() > 0) {
                lanes.toward.insert(other, LaneCount { next: log.recorded(), returns: log.returned });
            }
            if let Some(log) = self.lane(&Lane { from: here, to: other }).filter(|log| log.consumed > 0) {
                let returns = log.returned - log.returns();
                lanes.away.insert(other, LaneCount { next: log.consumed, returns });
            }
        }
        let recorded = (record.last.header.height, record.last.id);
        Some(Reading { reference, lanes, recorded, era: record.era, receipts })
    }
}

/// The receipts toward a shard that a beacon block records: those of its crosslinks, then those that it emits itself.
pub fn receipts_toward(shard: ShardId, block: &Block, emitted: &[Receipt]) -> Vec<Receipt> {
    let items = block.body.iter().filter_map(|item| BeaconItem::decode(item).ok());
    let crosslinks = items.filter_map(|item| match item {
        BeaconItem::Crosslink(crosslink) => Some(crosslink.receipts),
        BeaconItem::Reveal(_) | BeaconItem::Attendance(_) => None,
    });
    let here = ChainId::Shard(shard);
    let recorded = crosslinks.flatten().flatten().filter(|receipt| receipt.lane.to == here);
    recorded.chain(emitted.iter().filter(|receipt| receipt.lane.to == here).cloned()).collect()
}

/// The certificates of a shard's crosslinks that a beacon block records, in order.
pub fn certificates_of(shard: ShardId, block: &Block) -> Vec<Certificate> {
    let items = block.body.iter().filter_map(|item| BeaconItem::decode(item).ok());
    let of_shard = items.filter_map(|item| match item {
        BeaconItem::Crosslink(crosslink) if crosslink.shard == shard => Some(crosslink.certificate),
        _ => None,
    });
    of_shard.collect()
}

impl Default for Seating {
    fn default() -> Self {
        Seating {
            current: Benches::default(),
            next: Benches::default(),
            next_seed: Hash::ZERO,
            drawn_over: Row::new(),
            beacon: Row::new(),
            shards: Row::new(),
        }
    }
}

/// The seed of a chain's leader schedule in an epoch whose committees were drawn from `origin`:
/// `SHA-256(seed tag ‖ SHA-256(seed tag ‖ origin ‖ "leaders" ‖ epoch) ‖ chain)`.
pub(crate) fn leader_seed(origin: Hash, epoch: Epoch, chain: ChainId) -> Hash {
    let drawn = Hash::of(&[Tag::SEED.bytes(), &origin.0, b"leaders", &codec::encode(&epoch)]);
    Hash::of(&[Tag::SEED.bytes(), &drawn.0, &codec::encode(&chain)])
}

#[cfg(test)]
mod tests;
