//! A small network whose chains have really run: two shards, their beacon, real keys, certificates and receipts.

mod chains;
mod committee;
mod messages;
mod network;
mod room;

pub(crate) use chains::{ShardChain, above, certify};
pub(crate) use committee::{Contents, Rows, Watched, heard, open, recorded, reopen};
pub(crate) use messages::{hello, unusual};
pub(crate) use network::{ACCOUNTS, account_key, network, secret};
pub(crate) use room::Room;

use chains::BeaconChain;
use kakera_beacon::{Beacon, BeaconState, Committees, genesis_header};
use kakera_chain::{
    application::{Application, CertifiedBlocks},
    block::Header,
    certificate::Seats,
    crosslink::Crosslink,
    genesis::Network,
    hash::NetworkId,
    lanes::Reading,
    units::{ChainId, ShardId},
};
use kakera_shard::{Shard, ShardConfig, first_reading};
use std::sync::{Arc, LazyLock};

/// Shards of the network.
pub(crate) const SHARDS: u16 = 2;

/// What targets start from.
pub(crate) struct World {
    pub(crate) network: Arc<Network>,
    /// The first committees.
    committees: Committees,
    /// The beacon before its first block.
    pub(crate) beacon: Beacon,
    pub(crate) beacon_genesis: Header,
    /// Each beacon block with its certificate, from height 1 on.
    pub(crate) blocks: Vec<CertifiedBlocks>,
    /// What each of them says to each shard.
    pub(crate) readings: Vec<Vec<Reading>>,
    /// The beacon's state below each block, and above the last.
    pub(crate) states: Vec<BeaconState>,
    /// Crosslinks and the place in `states` of what records them.
    pub(crate) crosslinks: Vec<(usize, Crosslink)>,
    /// The shards after the last block.
    pub(crate) shards: Vec<ShardChain>,
    /// Their genesis headers.
    pub(crate) shard_genesis: Vec<Header>,
}

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let (mut world, mut chain) = World::new(network(false));
    world.live(&mut chain, 0..6);
    world
});

static ERAS: LazyLock<World> = LazyLock::new(|| {
    let (mut world, mut chain) = World::new(network(true));
    world.live(&mut chain, 0..4);
    world.turn(&mut chain);
    world.live(&mut chain, 4..6);
    world
});

impl World {
    /// The one world of one epoch.
    pub(crate) fn of_all() -> &'static World {
        &WORLD
    }

    /// The one world of two eras, and with stake.
    pub(crate) fn of_eras() -> &'static World {
        &ERAS
    }

    /// Both.
    pub(crate) fn both() -> impl Iterator<Item = &'static World> {
        [World::of_all(), World::of_eras()].into_iter()
    }

    pub(crate) fn id(&self) -> NetworkId {
        self.network.id
    }

    /// A chain's first committee.
    pub(crate) fn seats(&self, chain: ChainId) -> &Seats {
        self.committees.chain(chain).unwrap()
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

    pub(crate) fn shard_config(&self, shard: u16) -> ShardConfig {
        let genesis = self.shard_genesis[usize::from(shard)].id(self.id());
        config(&self.network, shard, first_reading(self.beacon_genesis.id(self.id()), genesis))
    }

    fn new(network: Network) -> (World, BeaconChain) {
        let network = Arc::new(network);
        let shard_genesis: Vec<Header> = (0..SHARDS)
            .map(|shard| {
                // What a shard's state begins with does not depend on the beacon's genesis.
                let nothing = first_reading(kakera_chain::BlockId::default(), kakera_chain::BlockId::default());
                let genesis = Shard::new(config(&network, shard, nothing), None).unwrap().genesis();
                genesis_header(ChainId::Shard(ShardId(shard)), genesis.state_root, genesis.figures)
            })
            .collect();
        let beacon = Beacon::new(&network, shard_genesis.clone());
        let genesis = beacon.genesis();
        let beacon_genesis = genesis_header(ChainId::Beacon, genesis.state_root, genesis.figures);
        let mut world = World {
            committees: Committees::draw(&network),
            network,
            beacon: beacon.clone(),
            beacon_genesis: beacon_genesis.clone(),
            blocks: Vec::new(),
            readings: Vec::new(),
            states: vec![genesis.state.clone()],
            crosslinks: Vec::new(),
            shards: Vec::new(),
            shard_genesis: shard_genesis.clone(),
        };
        let plan = |shard| genesis.state.era_of(ShardId(shard), &Default::default()).unwrap();
        let id = world.id();
        let made = |(shard, header)| ShardChain::new(world.shard(shard), header, plan(shard), id);
        world.shards = (0..SHARDS).zip(shard_genesis).map(made).collect();
        let chain = BeaconChain::new(beacon, beacon_genesis, id);
        (world, chain)
    }

    /// Rounds: each shard makes a block or two with transfers inside, across and of no value left; the beacon
    /// records them and the shards take what it certified.
    fn live(&mut self, chain: &mut BeaconChain, rounds: std::ops::Range<u64>) {
        for round in rounds {
            for shard in 0..SHARDS {
                let mine = &mut self.shards[usize::from(shard)];
                for block in 0..=round % 2 {
                    mine.spend(round * 2 + block, shard);
                    if self.network.genesis.staking.is_some() {
                        mine.ask(round * 2 + block, shard);
                    }
                    mine.step();
                }
            }
            self.record(chain);
        }
    }

    /// A beacon block with all crosslinks that there are.
    fn record(&mut self, chain: &mut BeaconChain) {
        for shard in &mut self.shards {
            let Some(crosslink) = shard.crosslink() else { continue };
            self.crosslinks.push((self.states.len() - 1, crosslink.clone()));
            chain.offer(crosslink);
        }
        let (certified, readings) = chain.step();
        self.shards.iter_mut().zip(&readings).for_each(|(shard, reading)| shard.follow(reading));
        self.states.push(chain.state().clone());
        self.blocks.push(certified);
        self.readings.push(readings);
    }

    /// The first epoch ends: the beacon's switch block, those of the shards, and all of them in their next eras.
    fn turn(&mut self, chain: &mut BeaconChain) {
        chain.wait(self.network.genesis.epochs.unwrap().slots);
        self.record(chain);
        chain.enter();
        self.shards.iter_mut().for_each(ShardChain::step);
        self.record(chain);
        self.shards.iter_mut().for_each(|shard| shard.enter(chain.state()));
    }
}

fn config(network: &Arc<Network>, shard: u16, first: Reading) -> ShardConfig {
    ShardConfig {
        network: Arc::clone(network),
        shard: ShardId(shard),
        first,
        signatures: Default::default(),
        pool: kakera_shard::PoolLimits::default(),
    }
}
