//! The beacon's state: the registry, what is recorded of every shard, and the lanes between them.

use crate::{
    draw::{Bench, Row},
    epochs::Seating,
    randomness::Mix,
    registry::Registry,
    rewards::Attendance,
};
use borsh::{BorshDeserialize, BorshSerialize};
use kakera_chain::{
    BlockId, Slot,
    block::Header,
    codec,
    genesis::{Epochs, Network},
    hash::{Hash, Tag},
    receipt::{Lane, Receipt},
    units::{ChainId, Epoch, Height, ShardId},
};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};
use thiserror::Error;

/// The state after a beacon block. Cheap to clone: a clone shares what a later block leaves alone.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct BeaconState {
    /// The epoch whose committees act.
    pub epoch: Epoch,
    /// The slot of the block that began the epoch.
    pub turned_at: Slot,
    /// What this epoch's committees and leader schedules are drawn from.
    pub seed: Hash,
    /// The committees of this epoch and the next, and what the one after will be drawn from.
    pub seating: Arc<Seating>,
    /// All that was revealed.
    pub mix: Mix,
    /// Who took part since the epoch began.
    pub attendance: Arc<Attendance>,
    /// Who sat in the eras of which evidence is taken, those that go on included.
    pub eras: Arc<BTreeMap<(ChainId, Epoch), Row>>,
    /// Fixed numbers that the rules need.
    pub parameters: Parameters,
    /// All validators, and their stake.
    pub registry: Arc<Registry>,
    /// What is recorded of each shard, by [`ShardId`].
    pub shards: Vec<Arc<ShardRecord>>,
    /// The lanes that ever held a receipt.
    pub lanes: BTreeMap<Lane, Arc<LaneLog>>,
}

/// Fixed numbers that the rules need.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Parameters {
    /// All balances and stakes at genesis, in the smallest unit.
    pub supply: u64,
    /// Ordinary receipts (no returns) recorded and not consumed that a lane holds at most.
    pub lane_bound: u64,
    /// How epochs follow each other; nothing: there is one.
    pub epochs: Option<Epochs>,
}

/// What is recorded of one shard.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct ShardRecord {
    /// The epoch of its era.
    pub era: Epoch,
    /// The root of its era.
    pub root: BlockId,
    /// The root's height.
    pub root_height: Height,
    /// Its era's committee.
    pub bench: Bench,
    /// What its era's leader schedule is drawn from: [`BeaconState::seed`] when the era began.
    pub seed: Hash,
    /// How many eras began with a fallback.
    pub fallbacks: u64,
    /// Its balances at genesis, in the smallest unit.
    pub allocation: u64,
    /// The last header of its last crosslink; before the first one, its genesis block.
    pub last: Recorded,
}

/// A recorded header and its id.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Recorded {
    /// The block.
    pub id: BlockId,
    /// Its header: height, slot, state root, figures.
    pub header: Header,
}

/// What a shard may have sent away, in the smallest unit, counted from genesis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Solvency {
    /// Its balances at genesis.
    pub allocation: u64,
    /// What it consumed.
    pub received: u64,
    /// What it sent.
    pub sent: u64,
    /// What it burned.
    pub burned: u64,
}

/// One lane: the receipts recorded and not yet consumed, and how many came before.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct LaneLog {
    /// Receipts that the destination's recorded headers have consumed: the `seq` of the first one pending.
    pub consumed: u64,
    /// Receipts recorded and not consumed, in `seq` order.
    pub pending: VecDeque<Pending>,
    /// How many of them are ordinary ones.
    pub ordinary: u64,
    /// Returns ever recorded.
    pub returned: u64,
}

/// What the beacon must remember of a receipt until it is consumed; its body is in the block that recorded it, and
/// whoever lacks that block knows the body by its hash ([`crate::verify_bodies`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Pending {
    /// Its value, in the smallest unit.
    pub amount: u64,
    /// Whether it may be sent back.
    pub kind: Kind,
    /// [`Receipt::digest`].
    pub receipt: Hash,
}

/// Whether a receipt may be sent back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Kind {
    /// It gives back what another one carried.
    Return,
    /// It may.
    Ordinary,
    /// The beacon pays it, and it may not.
    Payment,
}

/// The value in the network is not what it was at genesis: an invariant is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the network holds {found}, but {supply} was allocated at genesis and {minted} minted")]
pub struct Imbalance {
    /// What was summed.
    pub found: u128,
    /// What there was at genesis.
    pub supply: u64,
    /// What was minted since; with the supply, what the sum must be.
    pub minted: u64,
}

impl BeaconState {
    /// Canonical bytes at most: the largest registry and every lane of 1,024 shards within reason.
    pub const MAX_BYTES: usize = 1 << 30;

    /// The state before the first beacon block. `shard_genesis` are the shards' genesis headers, by [`ShardId`].
    ///
    /// # Panics
    /// If these are not the genesis headers of this network's shards, each of which states its whole allocation.
    pub fn genesis(network: &Network, shard_genesis: Vec<Header>) -> BeaconState {
        let genesis = &network.genesis;
        assert_eq!(shard_genesis.len(), usize::from(genesis.shards), "one genesis header a shard");
        let registry = Registry::genesis(network);
        let seating = Seating::genesis(network, &registry);
        let shards: Vec<Arc<ShardRecord>> = (0..genesis.shards)
            .map(ShardId)
            .zip(shard_genesis)
            .zip(&seating.current.shards)
            .map(|((shard, header), bench)| Arc::new(ShardRecord::genesis(network, shard, header, bench.clone())))
            .collect();
        let state = BeaconState {
            epoch: Epoch(0),
            turned_at: Slot(0),
            seed: network.seed(),
            eras: Arc::new(seating.current.eras(Epoch(0))),
            seating: Arc::new(seating),
            mix: Mix(network.seed()),
            attendance: Arc::default(),
            parameters: Parameters {
                supply: network.supply(),
                lane_bound: genesis.lanes.bound,
                epochs: genesis.epochs,
            },
            registry: Arc::new(registry),
            shards,
            lanes: BTreeMap::new(),
        };
        state.conservation().expect("the shards' genesis figures hold the allocations");
        state
    }

    /// The commitment to this state that the beacon's headers carry: `SHA-256(state tag ‖ borsh(state))`.
    pub fn root(&self) -> Hash {
        Hash::of(&[Tag::STATE.bytes(), &codec::encode(self)])
    }

    /// What is recorded of a shard.
    pub fn shard(&self, shard: ShardId) -> Option<&ShardRecord> {
        self.shards.get(usize::from(shard.0)).map(Arc::as_ref)
    }

    /// A lane; nothing if it never held a receipt.
    pub fn lane(&self, lane: &Lane) -> Option<&LaneLog> {
        self.lanes.get(lane).map(Arc::as_ref)
    }

    /// Whether this is a shard of the network.
    pub fn is_shard(&self, chain: ChainId) -> bool {
        matches!(chain, ChainId::Shard(shard) if usize::from(shard.0) < self.shards.len())
    }

    /// The value of all receipts recorded and not consumed, in the smallest unit; those to the beacon are never among
    /// them.
    pub fn in_flight(&self) -> u128 {
        self.lanes.values().flat_map(|log| &log.pending).map(|pending| u128::from(pending.amount)).sum()
    }

    /// Conservation: with every shard at its recorded crosslink, balances + held + burned of all shards + receipts not
    /// consumed + stake and rewards held by the registry + stake burned - rewards minted is the genesis supply, which is
    /// returned.
    pub fn conservation(&self) -> Result<u64, Imbalance> {
        let inside: u128 = self.shards.iter().map(|shard| shard.last.header.figures.inside()).sum();
        let (registry, supply) = (&self.registry, self.parameters.supply);
        let found = inside + self.in_flight() + registry.stake() + u128::from(registry.burned());
        let minted = registry.minted();
        if found == u128::from(supply) + u128::from(minted) {
            Ok(supply)
        } else {
            Err(Imbalance { found, supply, minted })
        }
    }
}

/// What a shard's figures say that it holds or has burned.
trait Inside {
    fn inside(&self) -> u128;
}

impl Inside for kakera_chain::block::Figures {
    fn inside(&self) -> u128 {
        u128::from(self.balances) + u128::from(self.held) + u128::from(self.burned)
    }
}

impl ShardRecord {
    fn genesis(network: &Network, shard: ShardId, header: Header, bench: Bench) -> ShardRecord {
        let allocation = network.allocation(shard);
        assert_eq!(header.chain, ChainId::Shard(shard), "the genesis headers come in the shards' order");
        assert_eq!(header.height.0, 0, "a genesis block has height 0");
        assert_eq!(header.figures.inside(), u128::from(allocation), "a shard begins with its allocation");
        assert_eq!((header.figures.sent, header.figures.received), (0, 0), "a shard begins with no receipts");
        let id = header.id(network.id);
        let last = Recorded { id, header };
        let (era, root_height, seed) = (Epoch(0), Height(0), network.seed());
        ShardRecord { era, root: id, root_height, bench, seed, fallbacks: 0, allocation, last }
    }

    /// Which shard.
    pub(crate) fn shard(&self) -> ShardId {
        match self.last.header.chain {
            ChainId::Shard(shard) => shard,
            ChainId::Beacon => unreachable!("a shard's headers are of that shard"),
        }
    }

    /// What this shard may have sent away, and did.
    pub fn solvency(&self) -> Solvency {
        let figures = &self.last.header.figures;
        Solvency { allocation: self.allocation, received: figures.received, sent: figures.sent, burned: figures.burned }
    }
}

impl Solvency {
    /// What the shard can still send or burn; nothing if it has overdrawn.
    pub fn available(&self) -> Option<u128> {
        let had = u128::from(self.allocation) + u128::from(self.received);
        had.checked_sub(u128::from(self.sent) + u128::from(self.burned))
    }
}

impl LaneLog {
    /// The lane's recorded length: the `seq` of the next receipt.
    pub fn recorded(&self) -> u64 {
        let pending = u64::try_from(self.pending.len()).expect("a length fits");
        self.consumed.checked_add(pending).expect("a lane never reaches 2^64 receipts")
    }

    /// How many of the receipts pending are returns.
    pub(crate) fn returns(&self) -> u64 {
        self.pending.iter().map(|pending| u64::from(pending.kind == Kind::Return)).sum()
    }

    pub(crate) fn push(&mut self, receipt: &Receipt) {
        let kind = if receipt.action.is_return() {
            Kind::Return
        } else if receipt.action.ordered().is_some() {
            Kind::Ordinary
        } else {
            Kind::Payment
        };
        self.ordinary += u64::from(kind == Kind::Ordinary);
        self.returned += u64::from(kind == Kind::Return);
        self.pending.push_back(Pending { amount: receipt.amount(), kind, receipt: receipt.digest() });
    }

    /// Consumes the first receipt pending; its `seq` is the cursor before.
    pub(crate) fn pop(&mut self) -> Option<Pending> {
        let pending = self.pending.pop_front()?;
        self.consumed += 1;
        self.ordinary -= u64::from(pending.kind == Kind::Ordinary);
        Some(pending)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::fixture::World;

    #[test]
    fn the_state_round_trips_and_its_root_is_golden() {
        let state = World::new().state;
        let bytes = codec::encode(&state);
        assert_eq!(codec::decode::<BeaconState>(&bytes, BeaconState::MAX_BYTES), Ok(state.clone()));
        assert_eq!(state.root().to_string(), "0340c1055f9823d3e01baa86d5bc653c5cc49b1ca329e30d1ea4b8deebcae65b");
        assert_eq!(state.conservation(), Ok(state.parameters.supply));
    }

    #[test]
    fn created_money_is_an_imbalance() {
        let mut state = World::new().state;
        let shard = Arc::make_mut(&mut state.shards[1]);
        shard.last.header.figures.balances += 1;
        let supply = state.parameters.supply;
        assert_eq!(state.conservation(), Err(Imbalance { found: u128::from(supply) + 1, supply, minted: 0 }));
    }

    #[test]
    fn solvency_knows_what_is_left() {
        let solvency = Solvency { allocation: 10, received: u64::MAX, sent: 7, burned: 3 };
        assert_eq!(solvency.available(), Some(u128::from(u64::MAX)));
        assert_eq!(Solvency { received: 0, burned: 4, ..solvency }.available(), None);
    }
}
