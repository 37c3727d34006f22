//! The network's genesis and everybody's keys.

use super::SHARDS;
use kakera_chain::{
    address::Address,
    genesis::{Epochs, Fees, Genesis, GenesisAccount, GenesisValidator, Lanes, Network, Role, Staking, Timing},
    keys::SecretKey,
    units::{ShardId, ValidatorId},
};

/// Accounts of each shard.
pub(crate) const ACCOUNTS: u64 = 3;

const EPOCHS: Epochs =
    Epochs { slots: 100, fallback_slots: 20, rotation_per_mille: 300, beacon_seats: None, unbonding: 2 };
const STAKING: Staking = Staking { seat: 1_000, churn_seats: 4, reward: 3, reporter_per_mille: 100 };

/// A validator's key.
pub(crate) fn secret(validator: ValidatorId) -> SecretKey {
    let mut seed = [9; 32];
    seed[..4].copy_from_slice(&validator.0.to_le_bytes());
    SecretKey::from_seed(seed)
}

/// The key of the `n`th account of a shard.
pub(crate) fn account_key(shard: u16, n: u64) -> SecretKey {
    let key = |seed: u64| {
        let mut bytes = [7; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        SecretKey::from_seed(bytes)
    };
    let here = |key: &SecretKey| Address::of(&key.public()).shard(SHARDS) == ShardId(shard);
    (0..).map(key).filter(here).nth(usize::try_from(n).unwrap()).unwrap()
}

/// Four beacon validators; two shards of four seats, held by seven validators of which one has two. With epochs or without.
pub(crate) fn network(turns: bool) -> Network {
    let roles = [vec![(Role::Beacon, 1); 4], vec![(Role::Shard, 1); 6], vec![(Role::Shard, 2)]].concat();
    let validator = |(index, (role, seats)): (u32, (Role, u32))| GenesisValidator {
        name: format!("v{index}"),
        role,
        key: secret(ValidatorId(index)).public(),
        seats,
        endpoint: format!("127.0.0.1:{}", 4000 + index),
        owner: Address([7; 32]),
        commitment: "0c".repeat(32),
    };
    let account = |(shard, n)| GenesisAccount {
        address: Address::of(&account_key(shard, n).public()),
        balance: if n == 0 { 1_000_000_000_000 } else { 1_000_000 * n },
    };
    let timing = Timing { slot_ms: 200, delay_ms: 40, heartbeat_slots: 4 };
    let genesis = Genesis {
        name: "fuzz".into(),
        genesis_time_ms: 1_000,
        seed: "11".repeat(32),
        shards: SHARDS,
        committee_seats: 4,
        beacon: timing,
        shard: timing,
        fees: Fees { block_gas: 1_000_000, block_bytes: 65_536, base_fee: 1, receipt_gas_percent: 50 },
        lanes: Lanes { bound: 8, lifetime_slots: 1_000 },
        epochs: turns.then_some(EPOCHS),
        staking: turns.then_some(STAKING),
        risk: None,
        validators: (0..).zip(roles).map(validator).collect(),
        accounts: (0..SHARDS).flat_map(|shard| (0..ACCOUNTS).map(move |n| (shard, n))).map(account).collect(),
    };
    Network::parse(&toml::to_string(&genesis).unwrap()).unwrap()
}
