//! The constants of one shard chain, all from the genesis file.

use kakera_chain::{
    address::Address,
    genesis::{Epochs, Fees, Lanes, Network, Staking},
    hash::NetworkId,
    units::{ChainId, ShardId},
};

/// What execution depends on besides state, context and content.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// The network.
    pub network: NetworkId,
    /// This shard.
    pub shard: ShardId,
    /// Shards in the network.
    pub shards: u16,
    /// Gas and fees.
    pub fees: Fees,
    /// Lanes.
    pub lanes: Lanes,
    /// Stake; nothing: nothing goes to the beacon.
    pub staking: Option<Staking>,
    /// How epochs follow each other; nothing: there is one.
    pub epochs: Option<Epochs>,
    /// This shard's balances at genesis.
    pub allocation: u64,
}

impl Rules {
    /// The rules of `shard` in `network`.
    pub fn of(network: &Network, shard: ShardId) -> Rules {
        Rules {
            network: network.id,
            shard,
            shards: network.genesis.shards,
            fees: network.genesis.fees,
            lanes: network.genesis.lanes,
            epochs: network.genesis.epochs,
            staking: network.genesis.staking,
            allocation: network.allocation(shard),
        }
    }

    /// This chain.
    pub fn chain(&self) -> ChainId {
        ChainId::Shard(self.shard)
    }

    /// The shard that holds an account.
    pub fn shard_of(&self, address: &Address) -> ShardId {
        address.shard(self.shards)
    }
}
