//! A world's network from its scenario and seed: keys, genesis file, committees, first blocks.

use crate::{clock::EPOCH_MS, disk::Shelf, memory::Memory, observer::Outcomes, random::Random, scenario::Scenario};
use kakera_beacon::{Beacon, Committees, genesis_header, leader_seed, randomness::Links};
use kakera_chain::{
    BlockId, Member,
    address::Address,
    application::Application,
    block::Header,
    certificate::Seats,
    genesis::{Epochs, Fees, Genesis, GenesisAccount, GenesisValidator, Lanes, Network, Role, Staking, Timing},
    keys::SecretKey,
    leaders::leader_cycle,
    signatures::Signatures,
    units::{ChainId, ShardId, ValidatorId},
};
use kakera_shard::{PoolLimits, Shard, ShardConfig, first_reading};
use std::{collections::BTreeMap, sync::Arc};

/// What an account has at genesis, in the smallest unit.
pub const BALANCE: u64 = 1_000_000_000_000;

/// Slot 0 begins so many ms after the world.
const GENESIS_AFTER_MS: u64 = 200;

/// Everything about a network that does not change.
pub struct Setup {
    /// Genesis.
    pub network: Arc<Network>,
    /// Who sits where; their signatures are checked through the world's memory.
    pub committees: Committees,
    /// The world's memory of verdicts.
    pub memory: Arc<Memory>,
    /// How signatures are checked: through that memory.
    pub signatures: Signatures,
    /// What beacon blocks lead to, for all that follow the beacon.
    pub outcomes: Arc<Outcomes>,
    /// Blocks that stand on many disks.
    pub shelf: Arc<Shelf>,
    /// Each validator's key, in registry order.
    pub keys: Vec<SecretKey>,
    /// What each beacon validator reveals, where there are epochs.
    links: Vec<Links>,
    /// Accounts by shard, each with its key.
    pub accounts: Vec<Vec<(Address, SecretKey)>>,
    /// Each chain's first header.
    pub genesis: BTreeMap<ChainId, Header>,
    /// Each chain's leaders.
    pub leaders: BTreeMap<ChainId, Vec<Member>>,
    /// Another committee than the chain's, as a node sees it by a broken rule.
    #[cfg(test)]
    pub(crate) favours: Option<fn(&Setup, &crate::node::Node) -> Seats>,
}

/// A key drawn from a seed.
pub fn secret(random: &mut Random) -> SecretKey {
    SecretKey::from_seed(secret_bytes(random))
}

fn secret_bytes(random: &mut Random) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes.chunks_exact_mut(8).for_each(|chunk| chunk.copy_from_slice(&random.number().to_le_bytes()));
    bytes
}

impl Setup {
    /// Draws a network.
    ///
    /// # Panics
    /// If the scenario was not checked.
    pub fn new(scenario: &Scenario, seed: u64) -> Setup {
        let mut random = Random::stream(seed, "setup");
        let shape = &scenario.network;
        let shard_members = usize::from(shape.shards) * usize::from(shape.members);
        let validators = usize::from(shape.beacon) + shard_members + usize::from(shape.standbys);
        let newcomers = shape.epochs.map_or(0, |epochs| usize::from(epochs.newcomers));
        let keys: Vec<SecretKey> = (0..validators + newcomers).map(|_| secret(&mut random)).collect();
        let accounts = accounts(shape.shards, usize::from(scenario.load.accounts), &mut random);
        let links = match shape.epochs {
            Some(_) => (0..shape.beacon).map(|_| Links::new(secret_bytes(&mut random))).collect(),
            None => Vec::new(),
        };
        let genesis = genesis_of(scenario, &keys[..validators], &links, &accounts, &mut random);
        let text = toml::to_string(&genesis).expect("a genesis is TOML");
        let network = Arc::new(Network::parse(&text).expect("a checked scenario makes a sound genesis"));
        let memory = Arc::new(Memory::default());
        let mut committees = Committees::draw(&network);
        let signatures = Signatures::remembered(memory.clone());
        committees.beacon.signatures = signatures.clone();
        committees.shards.iter_mut().for_each(|seats| seats.signatures = signatures.clone());
        let genesis = shard_genesis(&network, &signatures);
        let beacon = beacon_of(&network, &genesis, &signatures);
        let mut setup = Setup {
            outcomes: Arc::new(Outcomes::new(beacon)),
            shelf: Arc::default(),
            network,
            committees,
            memory,
            signatures,
            keys,
            links,
            accounts,
            genesis,
            leaders: BTreeMap::new(),
            #[cfg(test)]
            favours: None,
        };
        let first = setup.beacon().genesis();
        setup.genesis.insert(ChainId::Beacon, genesis_header(ChainId::Beacon, first.state_root, first.figures));
        for chain in setup.chains() {
            let leaders = leader_cycle(&setup.seats(chain).committee, leader_seed(&setup.network, chain));
            setup.leaders.insert(chain, leaders);
        }
        setup
    }

    /// Who runs a node on a chain: its committee, or, where committees change, everybody who may come into it.
    pub fn validators(&self, chain: ChainId) -> Vec<ValidatorId> {
        let newcomers = if chain == ChainId::Beacon { Vec::new() } else { self.newcomers() };
        if self.network.genesis.epochs.is_none() {
            return self.seats(chain).validators.clone();
        }
        let role = if chain == ChainId::Beacon { Role::Beacon } else { Role::Shard };
        let all = (0..).map(ValidatorId).zip(&self.network.genesis.validators);
        all.filter(|(_, validator)| validator.role == role).map(|(id, _)| id).chain(newcomers).collect()
    }

    /// Those that are bonded while the network runs, in that order: they follow the last one of the genesis file.
    pub fn newcomers(&self) -> Vec<ValidatorId> {
        let first = self.network.genesis.validators.len();
        (first..self.keys.len()).filter_map(|id| u32::try_from(id).ok()).map(ValidatorId).collect()
    }

    /// A validator's key.
    pub fn key(&self, validator: ValidatorId) -> &SecretKey {
        &self.keys[validator.0 as usize]
    }

    /// All chains, the beacon first.
    pub fn chains(&self) -> impl Iterator<Item = ChainId> + use<> {
        let shards = (0..self.network.genesis.shards).map(|shard| ChainId::Shard(ShardId(shard)));
        std::iter::once(ChainId::Beacon).chain(shards)
    }

    /// A chain's committee.
    ///
    /// # Panics
    /// If there is no such chain.
    pub fn seats(&self, chain: ChainId) -> &Seats {
        self.committees.chain(chain).expect("a chain of the network")
    }

    /// The rules of a shard before any block, or as its store has them.
    ///
    /// # Errors
    /// What the store says.
    pub fn shard(
        &self,
        shard: ShardId,
        store: Option<&dyn kakera_chain::store::Store>,
    ) -> Result<Shard, kakera_chain::store::StoreFailure> {
        self.shard_with(shard, store, PoolLimits::default())
    }

    /// The same with a pool of these limits.
    ///
    /// # Errors
    /// What the store says.
    pub fn shard_with(
        &self,
        shard: ShardId,
        store: Option<&dyn kakera_chain::store::Store>,
        pool: PoolLimits,
    ) -> Result<Shard, kakera_chain::store::StoreFailure> {
        let id = |chain: ChainId| self.genesis[&chain].id(self.network.id);
        let first = first_reading(id(ChainId::Beacon), id(ChainId::Shard(shard)));
        let (network, signatures) = (self.network.clone(), self.signatures.clone());
        Shard::new(ShardConfig { network, shard, first, signatures, pool }, store)
    }

    /// The beacon's rules before any block.
    pub fn beacon(&self) -> Beacon {
        beacon_of(&self.network, &self.genesis, &self.signatures)
    }

    /// The same as a validator runs them, who has something to reveal where there are epochs.
    pub fn beacon_of(&self, validator: ValidatorId) -> Beacon {
        match self.links.get(validator.0 as usize) {
            Some(links) => self.beacon().with_links(validator, links.clone()),
            None => self.beacon(),
        }
    }
}

fn beacon_of(network: &Network, genesis: &BTreeMap<ChainId, Header>, signatures: &Signatures) -> Beacon {
    let shards = (0..network.genesis.shards).map(|shard| ChainId::Shard(ShardId(shard)));
    Beacon::new(network, shards.map(|chain| genesis[&chain].clone()).collect()).with_signatures(signatures.clone())
}

/// The shards' first headers. A shard's own genesis does not depend on the beacon's, which depends on it.
fn shard_genesis(network: &Arc<Network>, signatures: &Signatures) -> BTreeMap<ChainId, Header> {
    let none = BlockId([0; 32]);
    let of = |shard: ShardId| {
        let (network, signatures) = (network.clone(), signatures.clone());
        let (first, pool) = (first_reading(none, none), PoolLimits::default());
        let shard = Shard::new(ShardConfig { network, shard, first, signatures, pool }, None);
        shard.expect("no store is asked").genesis()
    };
    let shards = (0..network.genesis.shards).map(ShardId);
    shards
        .map(|shard| {
            let (chain, first) = (ChainId::Shard(shard), of(shard));
            (chain, genesis_header(chain, first.state_root, first.figures))
        })
        .collect()
}

/// So many accounts of each shard.
fn accounts(shards: u16, each: usize, random: &mut Random) -> Vec<Vec<(Address, SecretKey)>> {
    let mut accounts: Vec<Vec<(Address, SecretKey)>> = vec![Vec::new(); usize::from(shards)];
    let mut missing = accounts.len();
    while missing > 0 {
        let key = secret(random);
        let address = Address::of(&key.public());
        let list = &mut accounts[usize::from(address.shard(shards).0)];
        if list.len() < each {
            list.push((address, key));
            missing -= usize::from(list.len() == each);
        }
    }
    accounts
}

fn genesis_of(
    scenario: &Scenario,
    keys: &[SecretKey],
    links: &[Links],
    accounts: &[Vec<(Address, SecretKey)>],
    random: &mut Random,
) -> Genesis {
    let shape = &scenario.network;
    let hex = |random: &mut Random| (0..4).map(|_| format!("{:016x}", random.number())).collect::<String>();
    let owner = accounts[0][0].0;
    let validators = keys.iter().enumerate().map(|(index, key)| {
        let beacon = index < usize::from(shape.beacon);
        GenesisValidator {
            name: if beacon { format!("beacon-{index}") } else { format!("validator-{index}") },
            role: if beacon { Role::Beacon } else { Role::Shard },
            key: key.public(),
            seats: 1,
            endpoint: format!("127.0.0.1:{}", 10_000 + index),
            owner,
            commitment: links.get(index).map_or("00".repeat(32), |links| links.commitment().to_string()),
        }
    });
    let timing =
        |slot_ms| Timing { slot_ms, delay_ms: shape.delay_ms.min(slot_ms / 2), heartbeat_slots: shape.heartbeat_slots };
    let rich = accounts.iter().flatten().map(|(address, _)| GenesisAccount { address: *address, balance: BALANCE });
    Genesis {
        name: "sim".to_owned(),
        genesis_time_ms: EPOCH_MS + GENESIS_AFTER_MS,
        seed: hex(random),
        shards: shape.shards,
        committee_seats: u32::from(shape.members),
        beacon: timing(shape.beacon_slot_ms),
        shard: timing(shape.slot_ms),
        fees: Fees { block_gas: shape.block_gas, block_bytes: 1 << 20, base_fee: 10, receipt_gas_percent: 50 },
        lanes: Lanes { bound: shape.lane_bound, lifetime_slots: shape.lifetime_slots },
        epochs: shape.epochs.map(|epochs| Epochs {
            slots: epochs.slots,
            fallback_slots: epochs.fallback_slots,
            rotation_per_mille: epochs.rotation_per_mille,
            beacon_seats: Some(epochs.beacon_seats.into()).filter(|seats| *seats > 0),
            unbonding: epochs.unbonding,
        }),
        staking: shape.epochs.filter(|epochs| epochs.seat > 0).map(|epochs| Staking {
            seat: epochs.seat,
            churn_seats: 1,
            reward: epochs.seat / 1_000,
            reporter_per_mille: 100,
        }),
        risk: None,
        validators: validators.collect(),
        accounts: rich.collect(),
    }
}
