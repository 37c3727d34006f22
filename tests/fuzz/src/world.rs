//! A small network whose chains have really run: two shards, their beacon, real keys, certificates and receipts.

mod chains;
mod committee;
mod messages;
mod network;
mod room;

pub(crate) use chains::{ShardChain, above, certify};
pub(crate) use committee::{Contents, Watched, open, recorded, reopen};
pub(crate) use messages::{hello, unusual};
pub(crate) use network::{ACCOUNTS, account_key, network, secret};
pub(crate) use room::Room;

use chains::BeaconChain;
use kakera_beacon::{Beacon, BeaconState, genesis_header};
use kakera_chain::{
    application::{Application, CertifiedBlocks},
    block::Header,
    certificate::Seats,
    crosslink::Crosslink,
    genesis::Network,
    hash::NetworkId,
    units::{ChainId, ShardId},
};
use kakera_shard::{BeaconView, Shard, ShardConfig};
use std::sync::{Arc, LazyLock};

/// Shards of the network.
pub(crate) const SHARDS: u16 = 2;

/// What targets start from.
pub(crate) struct World {
    pub(crate) network: Arc<Network>,
    /// The beacon before its first block.
    pub(crate) beacon: Beacon,
    pub(crate) beacon_genesis: Header,
    /// Each beacon block with its certificate, from height 1 on.
    pub(crate) blocks: Vec<CertifiedBlocks>,
    /// The beacon's state below each block, and above the last.
    pub(crate) states: Vec<BeaconState>,
    /// Crosslinks and the place in `states` of what records them.
    pub(crate) crosslinks: Vec<(usize, Crosslink)>,
    /// The shards after the last block.
    pub(crate) shards: Vec<ShardChain>,
}

static WORLD: LazyLock<World> = LazyLock::new(World::new);

impl World {
    /// The one world.
    pub(crate) fn of_all() -> &'static World {
        &WORLD
    }

    pub(crate) fn id(&self) -> NetworkId {
        self.network.id
    }

    /// A chain's committee.
    pub(crate) fn seats(&self, chain: ChainId) -> &Seats {
        self.beacon.committees().chain(chain).unwrap()
    }

    /// The identity of a shard's chain.
    pub(crate) fn shard_chain(&self, shard: u16) -> ChainId {
        ChainId::Shard(ShardId(shard))
    }

    /// A chain's headers, from height 1 on.
    pub(crate) fn headers(&self, chain: ChainId) -> Vec<Header> {
        match chain {
            ChainId::Beacon => {
                self.blocks.iter().flat_map(|certified| &certified.blocks).map(|b| b.header.clone()).collect()
            }
            ChainId::Shard(shard) => {
                self.shards[usize::from(shard.0)].blocks.iter().map(|block| block.header.clone()).collect()
            }
        }
    }

    /// A shard before its first block.
    pub(crate) fn shard(&self, shard: u16) -> Shard {
        Shard::new(self.shard_config(shard), None).unwrap()
    }

    fn shard_config(&self, shard: u16) -> ShardConfig {
        ShardConfig {
            network: Arc::clone(&self.network),
            shard: ShardId(shard),
            beacon_seats: self.seats(ChainId::Beacon).clone(),
            beacon_genesis: self.beacon_genesis.id(self.id()),
            pool: kakera_shard::PoolLimits::default(),
        }
    }

    /// What a shard knows of the beacon chain once it has taken the first `blocks` blocks.
    pub(crate) fn view(&self, shard: u16, blocks: usize) -> BeaconView {
        let mut view = self.shard(shard).view().clone();
        self.blocks[..blocks].iter().for_each(|block| drop(view.advance(block).unwrap()));
        view
    }

    fn new() -> World {
        let network = Arc::new(network());
        let shard_genesis: Vec<Header> = (0..SHARDS)
            .map(|shard| {
                // What a shard's state begins with does not depend on the beacon's committee or genesis.
                let nobody = Beacon::new(&network, placeholder(&network));
                let seats = nobody.committees().chain(ChainId::Beacon).unwrap().clone();
                let config = ShardConfig {
                    network: Arc::clone(&network),
                    shard: ShardId(shard),
                    beacon_seats: seats,
                    beacon_genesis: kakera_chain::BlockId::default(),
                    pool: kakera_shard::PoolLimits::default(),
                };
                let genesis = Shard::new(config, None).unwrap().genesis();
                genesis_header(ChainId::Shard(ShardId(shard)), genesis.state_root, genesis.figures)
            })
            .collect();
        let beacon = Beacon::new(&network, shard_genesis.clone());
        let genesis = beacon.genesis();
        let beacon_genesis = genesis_header(ChainId::Beacon, genesis.state_root, genesis.figures);
        let mut world = World {
            network,
            beacon: beacon.clone(),
            beacon_genesis: beacon_genesis.clone(),
            blocks: Vec::new(),
            states: vec![genesis.state.clone()],
            crosslinks: Vec::new(),
            shards: Vec::new(),
        };
        world.shards = (0..SHARDS)
            .zip(shard_genesis)
            .map(|(shard, header)| {
                let seats = world.seats(ChainId::Shard(ShardId(shard))).clone();
                ShardChain::new(world.shard(shard), header, seats, world.id())
            })
            .collect();
        world.live(BeaconChain::new(beacon, beacon_genesis));
        world
    }

    /// Six rounds: each shard makes a block or two with transfers inside, across and of no value left; the beacon
    /// records them and the shards take what it certified.
    fn live(&mut self, mut chain: BeaconChain) {
        for round in 0..6u64 {
            for shard in 0..SHARDS {
                let mine = &mut self.shards[usize::from(shard)];
                for block in 0..=round % 2 {
                    mine.spend(round * 2 + block, shard);
                    mine.step();
                }
                let crosslink = mine.crosslink();
                self.crosslinks.push((self.states.len() - 1, crosslink.clone()));
                chain.offer(crosslink);
            }
            let certified = chain.step(self.seats(ChainId::Beacon), self.id());
            self.shards.iter_mut().for_each(|shard| shard.follow(&certified));
            self.states.push(chain.state().clone());
            self.blocks.push(certified);
        }
    }
}

/// Genesis headers that state each shard's allocation, and nothing else.
fn placeholder(network: &Network) -> Vec<Header> {
    let figures = |shard| kakera_chain::block::Figures { balances: network.allocation(shard), ..Default::default() };
    let header = |shard| genesis_header(ChainId::Shard(shard), kakera_chain::hash::Hash([1; 32]), figures(shard));
    (0..network.genesis.shards).map(|shard| header(ShardId(shard))).collect()
}
