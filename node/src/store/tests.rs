//! The store against reopening, damage, other networks and second processes.

#![allow(clippy::unwrap_used, reason = "tests")]
use super::*;
use kakera_chain::units::ShardId;
use std::{fs::OpenOptions, io::Write as _};

const NETWORK: NetworkId = NetworkId(Hash([1; 32]));
const CHAIN: ChainId = ChainId::Shard(ShardId(1));

fn open(path: &Path) -> Result<RocksStore, OpenFailure> {
    RocksStore::open(path, NETWORK, CHAIN)
}

fn refused(path: &Path) -> OpenFailure {
    match open(path) {
        Ok(_) => panic!("{} should not open", path.display()),
        Err(failure) => failure,
    }
}

/// A store with `rows` blocks of a kilobyte, closed again.
fn filled(rows: u64) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    for row in 0..rows {
        let value: Vec<u8> = (0..1000u64).map(|byte| (byte * 31 + row) as u8).collect();
        store.write(&[Write::put(Table::Blocks, row.to_be_bytes(), value)], false).unwrap();
    }
    store.write(&[Write::put(Table::Meta, *b"rows", rows.to_be_bytes())], true).unwrap();
    dir
}

fn files(dir: &Path, matches: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| matches(&path.file_name().unwrap().to_string_lossy()))
        .collect();
    found.sort();
    found
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 0x55;
    fs::write(path, bytes).unwrap();
}

#[test]
fn what_was_written_is_there_after_reopening_in_key_order() {
    let dir = filled(300);
    let store = open(dir.path()).unwrap();
    let rows = store.scan(Table::Blocks, &100u64.to_be_bytes(), 3).unwrap();
    let keys: Vec<u64> = rows.iter().map(|(key, _)| u64::from_be_bytes(key[..].try_into().unwrap())).collect();
    assert_eq!(keys, [100, 101, 102]);
    assert_eq!(store.last(Table::Blocks).unwrap().unwrap().0, 299u64.to_be_bytes());
    assert_eq!(store.last(Table::Evidence).unwrap(), None);
    assert_eq!(store.load(Table::Blocks, b"none").unwrap(), None);
    store.write(&[Write::Delete { table: Table::Blocks, key: 299u64.to_be_bytes().into() }], false).unwrap();
    assert_eq!(store.last(Table::Blocks).unwrap().unwrap().0, 298u64.to_be_bytes());
}

#[test]
fn another_network_chain_or_a_newer_layout_is_named() {
    let dir = filled(1);
    let other = NetworkId(Hash([2; 32]));
    let found = RocksStore::open(dir.path(), other, CHAIN).err().unwrap();
    assert_eq!(found, OpenFailure::OtherNetwork { path: dir.path().into(), found: NETWORK, expected: other });
    assert!(found.to_string().contains(&dir.path().display().to_string()));
    let found = RocksStore::open(dir.path(), NETWORK, ChainId::Beacon).err().unwrap();
    assert_eq!(found, OpenFailure::OtherChain { path: dir.path().into(), found: CHAIN, expected: ChainId::Beacon });
    let store = open(dir.path()).unwrap();
    let newer = [&(SCHEMA + 1).to_le_bytes()[..], b"whatever a later program keeps here"].concat();
    store.write(&[Write::put(Table::Meta, IDENTITY, newer)], true).unwrap();
    drop(store);
    let failure = refused(dir.path());
    assert_eq!(failure, OpenFailure::NewerSchema { path: dir.path().into(), found: SCHEMA + 1, known: SCHEMA });
}

#[test]
fn column_families_of_another_layout_do_not_keep_it_from_opening() {
    let dir = filled(1);
    {
        let names = DB::list_cf(&Options::default(), dir.path()).unwrap();
        let mut db = DB::open_cf(&database_options(false), dir.path(), names).unwrap();
        db.create_cf("from-the-future", &Options::default()).unwrap();
    }
    assert!(open(dir.path()).is_ok());
}

#[test]
fn a_second_opening_is_refused_as_locked() {
    let dir = filled(1);
    let first = open(dir.path()).unwrap();
    assert_eq!(refused(dir.path()), OpenFailure::Locked { path: dir.path().into() });
    drop(first);
    assert!(open(dir.path()).is_ok());
}

#[test]
fn a_torn_tail_of_the_log_costs_only_the_torn_write() {
    let dir = filled(50);
    let log = files(dir.path(), |name| name.ends_with(".log")).pop().unwrap();
    let length = fs::metadata(&log).unwrap().len();
    OpenOptions::new().write(true).open(&log).unwrap().set_len(length - 10).unwrap();
    let store = open(dir.path()).unwrap();
    assert_eq!(store.load(Table::Meta, b"rows").unwrap(), None, "the last write was torn");
    assert_eq!(store.scan(Table::Blocks, &[], 100).unwrap().len(), 50, "all before it are whole");
}

#[test]
fn damage_in_the_middle_of_the_log_is_an_error_that_names_the_directory() {
    let dir = filled(200);
    let log = files(dir.path(), |name| name.ends_with(".log")).pop().unwrap();
    flip(&log, usize::try_from(fs::metadata(&log).unwrap().len()).unwrap() / 2);
    let failure = refused(dir.path());
    assert!(matches!(&failure, OpenFailure::Corrupt { path, .. } if path == dir.path()), "{failure}");
}

#[test]
fn damaged_or_missing_current_and_manifest_are_named_and_nothing_is_made_anew() {
    let damages: [&dyn Fn(&Path); 5] = [
        &|dir| fs::remove_file(dir.join("CURRENT")).unwrap(),
        &|dir| fs::write(dir.join("CURRENT"), b"rubbish").unwrap(),
        &|dir| fs::write(dir.join("CURRENT"), b"").unwrap(),
        &|dir| fs::remove_file(files(dir, |name| name.starts_with("MANIFEST")).pop().unwrap()).unwrap(),
        &|dir| flip(&files(dir, |name| name.starts_with("MANIFEST")).pop().unwrap(), 20),
    ];
    for (index, damage) in damages.iter().enumerate() {
        let dir = filled(20);
        damage(dir.path());
        for _ in 0..2 {
            let failure = refused(dir.path());
            assert!(matches!(&failure, OpenFailure::Corrupt { path, .. } if path == dir.path()), "{index}: {failure}");
        }
    }
}

#[test]
fn a_damaged_or_missing_table_file_is_named() {
    let dir = filled(200);
    drop(open(dir.path()).unwrap()); // The log of the first opening becomes table files at the second.
    let largest = |dir: &Path| {
        let tables = files(dir, |name| name.ends_with(".sst"));
        tables.into_iter().max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap()
    };
    flip(&largest(dir.path()), 100);
    let store = open(dir.path()).unwrap();
    let failure = store.scan(Table::Blocks, &[], 1000).unwrap_err();
    assert!(failure.table == Table::Blocks && failure.reason.contains(&dir.path().display().to_string()), "{failure}");
    drop(store);
    fs::remove_file(largest(dir.path())).unwrap();
    assert!(matches!(refused(dir.path()), OpenFailure::Corrupt { .. }));
}

#[test]
fn a_file_in_the_place_of_the_directory_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("data");
    fs::File::create(&path).unwrap().write_all(b"not a directory").unwrap();
    assert!(matches!(refused(&path), OpenFailure::Unusable { .. }));
    assert_eq!(fs::read(&path).unwrap(), b"not a directory");
}
