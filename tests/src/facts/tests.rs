//! Each checker against what it must catch.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use super::*;
use kakera_proto::v1::Supply;
use std::panic::catch_unwind;

fn block(height: u64, ids: &[u8], supply: Supply) -> BlockInfo {
    let transaction_ids = ids.iter().map(|id| vec![*id; 32]).collect();
    BlockInfo { height, transaction_ids, supply: Some(supply), ..BlockInfo::default() }
}

#[test]
fn supply_that_leaks_or_grows_is_caught() {
    let supply = |balances| Supply { balances, held: 1, burned: 2, sent: 3, received: 4 };
    check_conserved(102, &[block(1, &[], supply(100))]);
    for wrong in [99, 101, 0, u64::MAX] {
        let blocks = [block(1, &[], supply(100)), block(2, &[], supply(wrong))];
        assert!(catch_unwind(|| check_conserved(102, &blocks)).is_err(), "{wrong}");
    }
}

#[test]
fn a_transaction_applied_twice_or_never_is_caught() {
    let blocks = |ids: [&[u8]; 2]| ids.map(|ids| block(1, ids, Supply::default()));
    let expected = || [1u8, 2].map(|id| Hash([id; 32])).into_iter();
    check_exactly_once(&blocks([&[1], &[2, 3]]), expected());
    for wrong in [[&[1u8, 2][..], &[2]], [&[1, 1], &[2]], [&[1], &[3]]] {
        assert!(catch_unwind(|| check_exactly_once(&blocks(wrong), expected())).is_err(), "{wrong:?}");
    }
}

#[test]
fn evidence_and_two_messages_of_one_seq_are_caught_on_disk() {
    let key = |member: u16, seq: u64, number: u64| {
        [&member.to_be_bytes()[..], &seq.to_be_bytes(), &number.to_be_bytes()].concat()
    };
    let store = |rows: &[(Table, Vec<u8>)]| {
        let dir = tempfile::tempdir().unwrap();
        let mut options = Options::default();
        options.create_if_missing(true);
        options.create_missing_column_families(true);
        let db = DB::open_cf(&options, dir.path(), Table::ALL.map(Table::name)).unwrap();
        for (table, key) in rows {
            db.put_cf(db.cf_handle(table.name()).unwrap(), key, b"value").unwrap();
        }
        dir
    };
    let sound = vec![(Table::Threads, key(0, 0, 1)), (Table::Threads, key(0, 1, 2)), (Table::Threads, key(1, 0, 3))];
    check_store(store(&sound).path());
    for extra in [(Table::Evidence, vec![0, 1]), (Table::Threads, key(1, 0, 9))] {
        let dir = store(&[&sound[..], &[extra]].concat());
        assert!(catch_unwind(|| check_store(dir.path())).is_err());
    }
    assert!(catch_unwind(|| check_store(store(&[]).path())).is_err(), "an empty store proves nothing");
}
