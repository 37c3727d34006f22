//! What must hold on every chain, asked of the nodes themselves and of what they left on disk.

use crate::net::Net;
use kakera_chain::{
    codec,
    evidence::Evidence,
    hash::Hash,
    store::Table,
    units::{ChainId, ShardId},
};
use kakera_proto::v1::BlockInfo;
use rocksdb::{DB, IteratorMode, Options};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// A chain's certified blocks from height 1 to the lowest certified height of `nodes`, after checking that all of them
/// hold the same.
pub fn agreed_blocks(net: &Net, nodes: &[String]) -> Vec<BlockInfo> {
    let certified = |name: &String| net.status(name).expect("it answers").certified_height;
    let common = nodes.iter().map(certified).min().expect("at least one node");
    let block = |name: &String, height| {
        net.block(name, height).unwrap_or_else(|status| panic!("{name} has no block {height}: {status}"))
    };
    let compare = |height| {
        let first = block(&nodes[0], height);
        for other in &nodes[1..] {
            let found = block(other, height);
            assert_eq!(found.id, first.id, "{} and {other} certified different blocks at height {height}", nodes[0]);
            assert_eq!(found.state_root, first.state_root, "{} and {other} differ at height {height}", nodes[0]);
        }
        assert!(first.certified, "height {height} is not certified");
        first
    };
    (1..=common).map(compare).collect()
}

/// Supply is conserved in every one of a shard's blocks, to the unit.
pub fn check_supply(net: &Net, shard: ShardId, blocks: &[BlockInfo]) {
    check_conserved(net.genesis().allocation(shard), blocks);
}

fn check_conserved(allocation: u64, blocks: &[BlockInfo]) {
    for block in blocks {
        let supply = block.supply.expect("a shard's block states its supply");
        let held = [supply.balances, supply.held, supply.burned, supply.sent].map(u128::from).iter().sum::<u128>();
        let given = u128::from(allocation) + u128::from(supply.received);
        assert_eq!(held, given, "supply at height {}: {supply:?}", block.height);
    }
}

/// No transaction stands twice in these blocks, and all of `expected` stand in them.
pub fn check_exactly_once(blocks: &[BlockInfo], expected: impl Iterator<Item = Hash>) {
    let mut seen = BTreeMap::new();
    for block in blocks {
        for id in &block.transaction_ids {
            if let Some(before) = seen.insert(id.clone(), block.height) {
                panic!("transaction {} stands in blocks {before} and {}", hex::encode(id), block.height);
            }
        }
    }
    for id in expected {
        assert!(seen.contains_key(&id.0[..]), "transaction {id} stands in no block");
    }
}

/// No node of a chain holds evidence against anyone.
pub fn check_no_equivocation(net: &Net, chain: ChainId) {
    for name in net.members(chain) {
        let status = net.status(&name).expect("it answers");
        assert_eq!(status.totals.expect("it counts").equivocators, 0, "{name} saw an equivocation");
        let faulty: Vec<_> = status.members.iter().filter(|member| member.faulty).collect();
        assert!(faulty.is_empty(), "{name} marks as faulty: {faulty:?}");
    }
}

/// What stopped nodes left on disk: no evidence, and no two messages of one member and `seq`.
pub fn check_stores(net: &Net, names: &[String]) {
    for name in names {
        check_store(&database_in(&net.network().process_dir(name).join("data")));
    }
}

fn check_store(database: &Path) {
    let named = database.display();
    let evidence = rows(database, Table::Evidence);
    assert!(evidence.is_empty(), "{named} holds evidence: {} rows", evidence.len());
    // Keys: member (2 bytes), seq (8), insertion number (8): equivocations stand side by side.
    let threads = rows(database, Table::Threads);
    let said: BTreeSet<&[u8]> = threads.iter().map(|key| &key[..10]).collect();
    assert_eq!(said.len(), threads.len(), "{named} holds two messages of one member and seq");
    assert!(!threads.is_empty(), "{named} holds no messages at all");
}

/// The greatest `seq` of a member's messages that a stopped node has on disk.
pub fn last_said(net: &Net, name: &str, member: u16) -> Option<u64> {
    let threads = rows(&database_in(&net.network().process_dir(name).join("data")), Table::Threads);
    let seq = |key: &Vec<u8>| {
        let (of, rest) = key.split_first_chunk::<2>()?;
        let seq = rest.first_chunk::<8>()?;
        (u16::from_be_bytes(*of) == member).then_some(u64::from_be_bytes(*seq))
    };
    threads.iter().filter_map(seq).max()
}

/// The RocksDB database, in a process's data directory, of the chain that it helps to make: a shard's, the lowest one, if
/// it hosts any; else the beacon's, which every process has.
pub fn database_in(data: &Path) -> PathBuf {
    let chains = fs::read_dir(data).expect("a data directory").filter_map(|entry| Some(entry.ok()?.path()));
    let mut databases: Vec<PathBuf> = chains.map(|chain| chain.join("db")).filter(|db| db.is_dir()).collect();
    // "beacon" comes before every "shard-N".
    databases.sort();
    let shards = databases.iter().filter(|database| !database.starts_with(data.join("beacon")));
    let database = shards.into_iter().next().or(databases.first()).cloned();
    database.unwrap_or_else(|| panic!("no database in {}", data.display()))
}

/// The evidence of the present era that a stopped node has on disk.
pub fn evidence(net: &Net, name: &str) -> Vec<Evidence> {
    let database = database_in(&net.network().process_dir(name).join("data"));
    let read = |(key, bytes): (Vec<u8>, Vec<u8>)| match key.len() {
        // Keys: the accused member, and one byte more where it signed two blocks.
        2 => codec::decode(&bytes, usize::MAX).map(|pair| Evidence::Equivocation(Box::new(pair))),
        _ => codec::decode(&bytes, usize::MAX).map(|conflict| Evidence::Conflict(Box::new(conflict))),
    };
    table(&database, Table::Evidence).into_iter().map(read).collect::<Result<_, _>>().expect("what was stored decodes")
}

/// The keys of one table of a database that nobody writes to.
fn rows(database: &Path, of: Table) -> Vec<Vec<u8>> {
    table(database, of).into_iter().map(|(key, _)| key).collect()
}

/// One table of a database that nobody writes to.
fn table(database: &Path, table: Table) -> Vec<(Vec<u8>, Vec<u8>)> {
    let options = Options::default();
    let families = DB::list_cf(&options, database).expect("a database lists its families");
    let db = DB::open_cf_for_read_only(&options, database, &families, false).expect("it opens read-only");
    let family = db.cf_handle(table.name()).unwrap_or_else(|| panic!("no table {}", table.name()));
    let read = |(key, value): (Box<[u8]>, Box<[u8]>)| (key.into_vec(), value.into_vec());
    db.iterator_cf(family, IteratorMode::Start).map(|row| read(row.expect("a row reads"))).collect()
}

#[cfg(test)]
mod tests;
