//! Checkpoints: beginning to follow the beacon chain at the root of an era instead of at genesis.
//!
//! A checkpoint is the switch block that ended an era and the state after it, which names the committee of the next. Its
//! operator hands a new node the block's id, got from somebody he trusts (weak subjectivity); any node serves the rest, and
//! cannot change a bit of it: the id commits to the header, the header to body and state. From there on certificates
//! alone show what follows, era by era.
//!
//! ```text
//!   trusted id ──> header ──> state root ──> state ──> committee of the era ──> certified blocks ──> next committee ...
//! ```
//!
//! **No older than the unbonding delay.** Whoever sat in a committee loses its stake for signing another history, but only
//! as long as the stake is bound. Signatures of a committee that has been paid out cost nobody anything, so an id may not be
//! older than `epochs.unbonding` epochs, by the clock of who begins.

use crate::{
    index::{root_at, root_row, state_row},
    state::BeaconState,
};
use borsh::{BorshDeserialize, BorshSerialize};
use kakera_chain::{
    BlockId,
    block::Block,
    codec::{self, InvalidBytes},
    era::epoch_reached,
    genesis::Network,
    hash::{Hash, Tag},
    receipt::Reference,
    replica,
    signatures::Signatures,
    store::{Store, StoreFailure, Table, Write},
    units::{ChainId, Epoch, Height, ShardId, Timestamp, ValidatorId},
};
use thiserror::Error;

/// The root of an era of the beacon chain, and the state after it.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Checkpoint {
    /// The switch block that is the era's root.
    pub block: Block,
    /// The state after it.
    pub state: BeaconState,
}

/// Why a checkpoint is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum InvalidCheckpoint {
    /// Not the canonical bytes of a checkpoint.
    #[error("the checkpoint is damaged: {0}")]
    Bytes(InvalidBytes),
    /// Another block: of a conflicting history, of another network, or simply another one.
    #[error(
        "the checkpoint offered is block {offered}, but the trusted one is {trusted}: whoever offers it knows another \
         history or another checkpoint; ask another node"
    )]
    OtherBlock {
        /// What was offered.
        offered: BlockId,
        /// What is trusted.
        trusted: BlockId,
    },
    /// Of a shard.
    #[error("the block is one of {chain}, and a checkpoint is one of the beacon chain")]
    OtherChain {
        /// Whose.
        chain: ChainId,
    },
    /// A network of one epoch has one committee, which its genesis file names.
    #[error("this network has one epoch: begin at its genesis file")]
    OneEpoch,
    /// Not the root of an era.
    #[error("the block at height {height} ends no epoch: a checkpoint is the last block of an era of the beacon chain")]
    NoRoot {
        /// The block's.
        height: Height,
    },
    /// A body or witnesses that the header does not commit to.
    #[error("the block is not what its header commits to")]
    Torn,
    /// Another state than the one after the block.
    #[error("the state has the root {found}, and the block commits to {expected}")]
    OtherState {
        /// Of the state offered.
        found: Hash,
        /// In the header.
        expected: Hash,
    },
    /// A state that no chain of this network can have.
    #[error("the state cannot be one of this network: {what}")]
    Unsound {
        /// What is wrong with it.
        what: &'static str,
    },
    /// So old that those who were in office may have been paid out.
    #[error(
        "the checkpoint is of epoch {epoch}, and it is epoch {now}: {age} epochs ago, and stake is bound for {unbonding} \
         only, so its committee may sign anything now; ask somebody you trust for the id of the newest checkpoint"
    )]
    TooOld {
        /// The era's that it begins.
        epoch: Epoch,
        /// By the clock.
        now: Epoch,
        /// The difference.
        age: u64,
        /// Epochs allowed.
        unbonding: u64,
    },
    /// Of an epoch that has not begun by the clock here.
    #[error("the checkpoint is of epoch {epoch}, and it is epoch {now} by this machine's clock: set the clock")]
    NotYet {
        /// The era's that it begins.
        epoch: Epoch,
        /// By the clock.
        now: Epoch,
    },
}

impl Checkpoint {
    /// Canonical bytes at most; of a greater state no checkpoint can be made.
    pub const MAX_BYTES: usize = 256 * 1024 * 1024;

    /// The checkpoint that these canonical bytes are, if it is [sound](Checkpoint::verify). Nothing of the state is decoded
    /// before its bytes are known to be what the trusted block commits to.
    pub fn open(
        bytes: &[u8],
        network: &Network,
        trusted: BlockId,
        now: Timestamp,
    ) -> Result<Checkpoint, InvalidCheckpoint> {
        let (found, limit) = (bytes.len(), Checkpoint::MAX_BYTES);
        if found > limit {
            return Err(InvalidCheckpoint::Bytes(InvalidBytes::TooLong { found, limit }));
        }
        let mut rest = bytes;
        let malformed = InvalidCheckpoint::Bytes(InvalidBytes::Malformed { what: "a checkpoint's block" });
        let block = Block::deserialize(&mut rest).map_err(|_| malformed)?;
        judge(&block, network, trusted)?;
        commits(&block, Hash::of(&[Tag::STATE.bytes(), rest]))?;
        let checkpoint = Checkpoint::decode(bytes).map_err(InvalidCheckpoint::Bytes)?;
        checkpoint.verify(network, trusted, now)?;
        Ok(checkpoint)
    }

    /// Decodes canonical bytes; what they say is not checked.
    pub fn decode(bytes: &[u8]) -> Result<Checkpoint, InvalidBytes> {
        codec::decode(bytes, Checkpoint::MAX_BYTES)
    }

    /// The canonical bytes, if they are not too many.
    pub fn to_bytes(&self) -> Option<Vec<u8>> {
        let bytes = codec::encode(self);
        (bytes.len() <= Checkpoint::MAX_BYTES).then_some(bytes)
    }

    /// Checks that this is the root of an era of this network's beacon chain with the state after it, under the id that is
    /// trusted, and no older than the unbonding delay at `now`. Returns where it stands.
    pub fn verify(&self, network: &Network, trusted: BlockId, now: Timestamp) -> Result<Reference, InvalidCheckpoint> {
        judge(&self.block, network, trusted)?;
        commits(&self.block, self.state.root())?;
        let header = &self.block.header;
        if self.state.epoch != epoch_reached(header, network) {
            return Err(InvalidCheckpoint::Unsound { what: "its epoch is not its block's" });
        }
        self.state.fits(network).map_err(|what| InvalidCheckpoint::Unsound { what })?;
        let unbonding = network.genesis.epochs.map_or(0, |epochs| epochs.unbonding);
        let (epoch, now) = (self.state.epoch, network.epoch_of(network.clock(ChainId::Beacon).slot_at(now)));
        let age = now.0.saturating_sub(epoch.0);
        if age > unbonding {
            return Err(InvalidCheckpoint::TooOld { epoch, now, age, unbonding });
        }
        // Another clock may be a little ahead of this one at the turn of an epoch.
        if epoch.0 > now.0.saturating_add(1) {
            return Err(InvalidCheckpoint::NotYet { epoch, now });
        }
        Ok(Reference { height: header.height, slot: header.slot, id: trusted })
    }
}

/// Whether a block is the trusted one, and the root of an era.
fn judge(block: &Block, network: &Network, trusted: BlockId) -> Result<(), InvalidCheckpoint> {
    let header = &block.header;
    let offered = header.id(network.id);
    if offered != trusted {
        return Err(InvalidCheckpoint::OtherBlock { offered, trusted });
    }
    if header.chain != ChainId::Beacon {
        return Err(InvalidCheckpoint::OtherChain { chain: header.chain });
    }
    if network.genesis.epochs.is_none() {
        return Err(InvalidCheckpoint::OneEpoch);
    }
    if epoch_reached(header, network) <= header.epoch {
        return Err(InvalidCheckpoint::NoRoot { height: header.height });
    }
    if block.is_whole() { Ok(()) } else { Err(InvalidCheckpoint::Torn) }
}

fn commits(block: &Block, found: Hash) -> Result<(), InvalidCheckpoint> {
    let expected = block.header.state_root;
    if found == expected { Ok(()) } else { Err(InvalidCheckpoint::OtherState { found, expected }) }
}

impl BeaconState {
    /// Whether a chain of this network may come to this state, as far as the state alone shows: what is executed on it may
    /// rely on that.
    fn fits(&self, network: &Network) -> Result<(), &'static str> {
        let genesis = &network.genesis;
        let parameters = &self.parameters;
        if (parameters.supply, parameters.lane_bound, parameters.epochs)
            != (network.supply(), genesis.lanes.bound, genesis.epochs)
        {
            return Err("its parameters are not those of the genesis file");
        }
        if self.registry.terms().copied() != crate::Terms::of(network) {
            return Err("its terms of staking are not those of the genesis file");
        }
        if self.registry.iter().any(|(_, validator)| validator.stake.checked_add(validator.rewards).is_none()) {
            return Err("a validator holds more than there is");
        }
        let (count, size) = (usize::from(genesis.shards), usize::try_from(genesis.committee_seats).unwrap_or(0));
        if self.shards.len() != count {
            return Err("it has another number of shards");
        }
        let known = |id: &ValidatorId| self.registry.get(*id).is_some();
        for (shard, record) in (0..).map(ShardId).zip(&self.shards) {
            let header = &record.last.header;
            if header.chain != ChainId::Shard(shard) || header.id(network.id) != record.last.id {
                return Err("what is recorded of a shard is not of that shard");
            }
            if record.era > self.epoch || record.root_height > header.height {
                return Err("a shard's era begins after it is recorded");
            }
            if record.bench.0.len() != size || !record.bench.0.iter().all(known) {
                return Err("a shard's committee is not one");
            }
            if record.allocation != network.allocation(shard) || record.solvency().available().is_none() {
                return Err("a shard has sent more than it had");
            }
        }
        for benches in [&self.seating.current, &self.seating.next] {
            let beacon = &benches.beacon;
            let ascending = beacon.windows(2).all(|pair| pair[0].0 < pair[1].0);
            if beacon.is_empty() || !ascending || !beacon.iter().all(|(id, seats)| *seats > 0 && known(id)) {
                return Err("the beacon's committee is not one");
            }
            let whole = |bench: &crate::draw::Bench| bench.0.len() == size && bench.0.iter().all(known);
            if benches.shards.len() != count || !benches.shards.iter().all(whole) {
                return Err("a committee in office is not one");
            }
        }
        if self.lanes.values().any(|log| log.consumed.checked_add(log.pending.len() as u64).is_none()) {
            return Err("a lane is longer than a lane can be");
        }
        self.conservation().map(drop).map_err(|_| "it does not conserve the supply")
    }
}

/// The rows with which a node that holds nothing of the beacon chain goes on from a checkpoint, which is
/// [sound](Checkpoint::verify): [`Replica::open`](replica::Replica::open) stands at its block and in the era that begins
/// there.
///
/// Who has no seat in that era follows it. Who has one takes part, as after any start; if the era is over by now, the proof of
/// that ([`replica::ClosedEra`]) makes it follow. Receipts recorded up to here are not in the store: see
/// [`missing_bodies`](crate::missing_bodies).
pub fn adopt(checkpoint: &Checkpoint, network: &Network, signatures: &Signatures) -> Vec<Write> {
    let Checkpoint { block, state } = checkpoint;
    let header = &block.header;
    let root = (header.height, header.id(network.id));
    let plan = state.beacon_era(root, signatures);
    let mut writes = replica::adopt(&plan, header.slot, block, root.1, false);
    writes.extend([state_row(header.height, state), root_row(root, state)]);
    writes
}

/// The checkpoint at the root of the beacon's era of an epoch, if a node holds it: for `epochs.unbonding` epochs. The first
/// era has none, as its root is the genesis block.
pub fn checkpoint_of(store: &dyn Store, epoch: Epoch) -> Result<Option<Checkpoint>, StoreFailure> {
    let Some(((_, id), state)) = root_at(store, epoch)? else { return Ok(None) };
    let Some(block) = store.load(Table::Blocks, &id.0)? else { return Ok(None) };
    let damaged = |table| move |error: InvalidBytes| StoreFailure { table, reason: error.to_string() };
    let block = Block::decode(&block).map_err(damaged(Table::Blocks))?;
    let state = codec::decode(&state, BeaconState::MAX_BYTES).map_err(damaged(Table::State))?;
    Ok(Some(Checkpoint { block, state }))
}

/// Where the checkpoint at the root of the beacon's era of an epoch stands, if a node holds it.
pub fn checkpoint_at(store: &dyn Store, epoch: Epoch) -> Result<Option<(Height, BlockId)>, StoreFailure> {
    Ok(root_at(store, epoch)?.map(|(root, _)| root))
}

/// The newest checkpoint that a node with this newest certified state holds; with `every_shard`, the newest one from which
/// every shard can be begun at its last recorded block: at or below all that their last recorded headers have read.
pub fn newest_checkpoint(
    store: &dyn Store,
    newest: &BeaconState,
    every_shard: bool,
) -> Result<Option<Checkpoint>, StoreFailure> {
    let read = newest.shards.iter().map(|record| record.last.header.reference.height);
    let highest = read.min().filter(|_| every_shard).unwrap_or(Height(u64::MAX));
    let epochs = newest.eras.keys().rev().filter(|(chain, _)| *chain == ChainId::Beacon);
    for (_, epoch) in epochs {
        if checkpoint_at(store, *epoch)?.is_some_and(|(height, _)| height <= highest) {
            return checkpoint_of(store, *epoch);
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests;
