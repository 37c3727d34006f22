//! The beacon's state: the registry, what is recorded of every shard, and the lanes between them.

use borsh::{BorshDeserialize, BorshSerialize};
use kakera_chain::{
    BlockId,
    address::Address,
    block::Header,
    codec,
    genesis::{GenesisValidator, Network, Role},
    hash::{Hash, NetworkId, Tag},
    keys::{PublicKey, parse_hex},
    receipt::{Lane, Receipt, ReceiptAction},
    units::{ChainId, Epoch, ShardId},
};
use std::{
    collections::{BTreeMap, VecDeque},
    io::{Read, Write},
    sync::Arc,
};
use thiserror::Error;

/// The state after a beacon block. Cheap to clone: a clone shares what a later block leaves alone.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct BeaconState {
    /// The epoch whose committees act.
    pub epoch: Epoch,
    /// What this epoch's committees are drawn from.
    pub seed: Hash,
    /// Fixed numbers that the rules need.
    pub parameters: Parameters,
    /// All validators, by `ValidatorId`.
    pub registry: Arc<Vec<Validator>>,
    /// What is recorded of each shard, by [`ShardId`].
    pub shards: Vec<Arc<ShardRecord>>,
    /// The lanes that ever held a receipt.
    pub lanes: BTreeMap<Lane, Arc<LaneLog>>,
}

/// Fixed numbers that the rules need.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Parameters {
    /// All balances at genesis, in the smallest unit.
    pub supply: u64,
    /// Ordinary receipts (no returns) recorded and not consumed that a lane holds at most.
    pub lane_bound: u64,
}

/// One entry of the registry.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Validator {
    /// Its Ed25519 key.
    pub key: PublicKey,
    /// What it does.
    #[borsh(serialize_with = "write_role", deserialize_with = "read_role")]
    pub role: Role,
    /// Its seats.
    pub seats: u32,
    /// The account that owns it.
    pub owner: Address,
    /// Where its process listens for gRPC.
    pub endpoint: String,
    /// The end of its SHA-256 hash chain of random numbers.
    pub commitment: Hash,
    /// Where it is in its life.
    pub status: Status,
}

/// Where a validator is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Status {
    /// May be drawn.
    Active,
}

/// What is recorded of one shard.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct ShardRecord {
    /// The root of its era.
    pub root: BlockId,
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
}

/// What the beacon must remember of a receipt until it is consumed; its body is in the block that recorded it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Pending {
    /// Its value, in the smallest unit.
    pub amount: u64,
    /// Whether it may be sent back: it is no return itself.
    pub ordinary: bool,
}

/// The value in the network is not what it was at genesis: an invariant is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the network holds {found}, but {supply} was allocated at genesis")]
pub struct Imbalance {
    /// What was summed.
    pub found: u128,
    /// What it must be.
    pub supply: u64,
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
        let shards = (0..genesis.shards).map(ShardId).zip(shard_genesis);
        let state = BeaconState {
            epoch: Epoch(0),
            seed: network.seed(),
            parameters: Parameters { supply: network.supply(), lane_bound: genesis.lanes.bound },
            registry: Arc::new(genesis.validators.iter().map(Validator::of).collect()),
            shards: shards
                .map(|(shard, header)| {
                    Arc::new(ShardRecord::genesis(network.id, shard, network.allocation(shard), header))
                })
                .collect(),
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

    /// The value of all receipts recorded and not consumed, in the smallest unit.
    pub fn in_flight(&self) -> u128 {
        self.lanes.values().flat_map(|log| &log.pending).map(|pending| u128::from(pending.amount)).sum()
    }

    /// Conservation: with every shard at its recorded crosslink, balances + held + burned + receipts not consumed is the
    /// genesis supply, which is returned.
    pub fn conservation(&self) -> Result<u64, Imbalance> {
        let inside: u128 = self.shards.iter().map(|shard| shard.last.header.figures.inside()).sum();
        let found = inside + self.in_flight();
        let supply = self.parameters.supply;
        if found == u128::from(supply) { Ok(supply) } else { Err(Imbalance { found, supply }) }
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

impl Validator {
    fn of(genesis: &GenesisValidator) -> Validator {
        Validator {
            key: genesis.key,
            role: genesis.role,
            seats: genesis.seats,
            owner: genesis.owner,
            endpoint: genesis.endpoint.clone(),
            commitment: Hash(parse_hex(&genesis.commitment).expect("checked with the genesis file")),
            status: Status::Active,
        }
    }
}

impl ShardRecord {
    fn genesis(network: NetworkId, shard: ShardId, allocation: u64, header: Header) -> ShardRecord {
        assert_eq!(header.chain, ChainId::Shard(shard), "the genesis headers come in the shards' order");
        assert_eq!(header.height.0, 0, "a genesis block has height 0");
        assert_eq!(header.figures.inside(), u128::from(allocation), "a shard begins with its allocation");
        assert_eq!((header.figures.sent, header.figures.received), (0, 0), "a shard begins with no receipts");
        let id = header.id(network);
        ShardRecord { root: id, allocation, last: Recorded { id, header } }
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

    pub(crate) fn push(&mut self, receipt: &Receipt) {
        let ordinary = matches!(receipt.action, ReceiptAction::Transfer { .. });
        self.ordinary += u64::from(ordinary);
        self.pending.push_back(Pending { amount: receipt.amount(), ordinary });
    }

    /// Consumes the first receipt pending; its `seq` is the cursor before.
    pub(crate) fn pop(&mut self) -> Option<Pending> {
        let pending = self.pending.pop_front()?;
        self.consumed += 1;
        self.ordinary -= u64::from(pending.ordinary);
        Some(pending)
    }
}

fn write_role<W: Write>(role: &Role, writer: &mut W) -> std::io::Result<()> {
    let byte: u8 = match role {
        Role::Beacon => 0,
        Role::Shard => 1,
    };
    BorshSerialize::serialize(&byte, writer)
}

fn read_role<R: Read>(reader: &mut R) -> std::io::Result<Role> {
    match u8::deserialize_reader(reader)? {
        0 => Ok(Role::Beacon),
        1 => Ok(Role::Shard),
        _ => Err(std::io::ErrorKind::InvalidData.into()),
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
        assert_eq!(state.root().to_string(), "44770efa2fb012c7401ff5b0eba80a1679def8433561501b1834c67801135bad");
        assert_eq!(state.conservation(), Ok(state.parameters.supply));
    }

    #[test]
    fn an_unknown_role_does_not_decode() {
        let mut bytes = codec::encode(&World::new().state.registry[0]);
        assert!(codec::decode::<Validator>(&bytes, 1000).is_ok());
        bytes[32] = 2;
        assert!(codec::decode::<Validator>(&bytes, 1000).is_err());
    }

    #[test]
    fn created_money_is_an_imbalance() {
        let mut state = World::new().state;
        let shard = Arc::make_mut(&mut state.shards[1]);
        shard.last.header.figures.balances += 1;
        let supply = state.parameters.supply;
        assert_eq!(state.conservation(), Err(Imbalance { found: u128::from(supply) + 1, supply }));
    }

    #[test]
    fn solvency_knows_what_is_left() {
        let solvency = Solvency { allocation: 10, received: u64::MAX, sent: 7, burned: 3 };
        assert_eq!(solvency.available(), Some(u128::from(u64::MAX)));
        assert_eq!(Solvency { received: 0, burned: 4, ..solvency }.available(), None);
    }
}
