//! Genesis files: refused with a reason, or a network that means one thing.

use crate::{Target, heap, world};
use kakera_beacon::Committees;
use kakera_chain::{
    genesis::Network,
    units::{ChainId, ShardId},
};

pub(super) const TARGET: Target = Target {
    name: "genesis",
    about: "Network::parse: what passes can be written, read, summed up and drawn from without a panic",
    run,
    seeds,
    max_bytes: 8 * 1024,
    rounds: 1_500,
};

/// Committees larger than this take longer to draw than a fuzzer has.
const DRAWN_SEATS: u64 = 512;

fn run(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let network = match heap::bounded(text.len(), || Network::parse(text)) {
        Ok(network) => network,
        Err(reason) => return assert!(!reason.to_string().is_empty()),
    };
    let again = Network::parse(&toml::to_string(&network.genesis).unwrap()).unwrap();
    assert_eq!(again.genesis, network.genesis, "written and read");
    assert_eq!(Network::parse(text).unwrap().id, network.id);
    let shards = network.genesis.shards;
    let allocated: u64 = (0..shards).map(|shard| network.allocation(ShardId(shard))).sum();
    let held: u64 = network.genesis.validators.iter().map(|validator| u64::from(validator.seats)).sum();
    let staked = network.genesis.staking.map_or(0, |staking| held * staking.seat);
    assert_eq!(allocated + staked, network.supply(), "every account belongs to one shard, and every seat is paid for");
    if held <= DRAWN_SEATS {
        let committees = Committees::draw(&network);
        for chain in [ChainId::Beacon, ChainId::Shard(ShardId(0)), ChainId::Shard(ShardId(shards - 1))] {
            let seats = committees.chain(chain).unwrap();
            assert_eq!(seats.keys.len(), seats.committee.len());
        }
        assert!(committees.chain(ChainId::Shard(ShardId(shards))).is_none());
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let genesis = world::network(false).genesis;
    let text = toml::to_string(&genesis).unwrap();
    let mut lean = genesis.clone();
    lean.accounts.clear();
    lean.validators.truncate(8);
    lean.committee_seats = 1;
    let mut empty = genesis;
    empty.validators.clear();
    let texts = [
        text.clone(),
        toml::to_string(&lean).unwrap(),
        toml::to_string(&empty).unwrap(),
        toml::to_string(&world::network(true).genesis).unwrap(),
        text.replace("shards = 2", "shards = 0"),
        text.replace("balance = ", "balance = 18446744073709551615 # "),
        text.replace("seats = 1", "seats = 65535"),
        format!("speed = 1\n{text}"),
    ];
    texts.into_iter().map(String::into_bytes).collect()
}
