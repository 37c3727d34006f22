//! Sound genesis files parse; each fault is named.
#![allow(clippy::unwrap_used, reason = "tests")]
use super::*;
use crate::keys::SecretKey;

fn sample() -> Genesis {
    let validator = |n: u8, role| GenesisValidator {
        name: format!("v{n}"),
        role,
        key: SecretKey::from_seed([n; 32]).public(),
        seats: 1,
        endpoint: format!("127.0.0.1:{}", 4000 + u16::from(n)),
        owner: Address([n; 32]),
        commitment: "00".repeat(32),
    };
    let timing = Timing { slot_ms: 200, delay_ms: 40, heartbeat_slots: 16 };
    Genesis {
        name: "sample".into(),
        genesis_time_ms: 1,
        seed: "11".repeat(32),
        shards: 2,
        committee_seats: 1,
        beacon: timing,
        shard: timing,
        fees: Fees { block_gas: 1_000_000, block_bytes: 65_536, base_fee: 1, receipt_gas_percent: 50 },
        lanes: Lanes { bound: 100, lifetime_slots: 1000 },
        epochs: None,
        staking: None,
        risk: None,
        validators: vec![validator(1, Role::Beacon), validator(2, Role::Shard), validator(3, Role::Shard)],
        accounts: vec![GenesisAccount { address: Address([1; 32]), balance: 5 }],
    }
}

fn parse(genesis: &Genesis) -> Result<Network, InvalidGenesis> {
    Network::parse(&toml::to_string(genesis).unwrap())
}

#[test]
fn a_sound_file_parses_and_every_byte_of_it_counts_in_the_network_id() {
    let text = toml::to_string(&sample()).unwrap();
    let network = Network::parse(&text).unwrap();
    assert_eq!(network.genesis, sample());
    assert_ne!(Network::parse(&format!("{text}\n")).unwrap().id, network.id);
}

#[test]
fn faults_are_named() {
    let refused = |change: fn(&mut Genesis)| {
        let mut genesis = sample();
        change(&mut genesis);
        parse(&genesis).unwrap_err()
    };
    assert!(matches!(refused(|g| g.shards = 0), InvalidGenesis::Range { field: "shards", .. }));
    assert!(matches!(refused(|g| g.shards = 3), InvalidGenesis::Seats { role: Role::Shard, found: 2, needed: 3 }));
    assert!(matches!(refused(|g| g.beacon.delay_ms = 101), InvalidGenesis::Range { field: "delay_ms", .. }));
    let slow = refused(|g| g.beacon.slot_ms = 33 * g.shard.slot_ms);
    assert!(matches!(slow, InvalidGenesis::Range { field: "beacon.slot_ms", .. }));
    let crowd = refused(|g| g.committee_seats = 1025);
    assert!(matches!(crowd, InvalidGenesis::Range { field: "committee_seats", .. }));
    assert!(matches!(refused(|g| g.validators[1].key = g.validators[0].key), InvalidGenesis::Duplicate { .. }));
    assert!(matches!(refused(|g| g.validators[1].key = PublicKey([0; 32])), InvalidGenesis::Key { .. }));
    assert!(matches!(refused(|g| g.accounts.push(g.accounts[0])), InvalidGenesis::Duplicate { what: "account", .. }));
    let unknown = toml::to_string(&sample()).unwrap().replacen("name", "nmae", 1);
    assert!(matches!(Network::parse(&unknown), Err(InvalidGenesis::Toml(_))));
}
