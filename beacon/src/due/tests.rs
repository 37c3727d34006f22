//! What is due to who begins in the middle, and bodies that are fetched.
#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::fixture::{
    SHARDS,
    history::{History, Shared},
};
use kakera_chain::{block::Header, lanes::LaneCount};
use proptest::prelude::*;

fn inbox(header: &Header) -> LaneCounts {
    header.figures.inbox.iter().map(|cursor| (cursor.from, LaneCount { next: cursor.next, returns: 0 })).collect()
}

/// What is due at a shard's last recorded block, by the whole history.
fn expected(history: &History, shard: u16) -> Vec<Receipt> {
    let header = history.recorded(shard);
    let state = &history.states[usize::try_from(header.reference.height.0).unwrap()];
    let taken = inbox(header);
    let mut due = Vec::new();
    for (lane, log) in history.world.lanes.iter().filter(|(lane, _)| lane.to == header.chain) {
        let recorded = state.lane(lane).map_or(0, LaneLog::recorded);
        due.extend(
            log.iter().filter(|receipt| (count(&taken, lane.from).next..recorded).contains(&receipt.seq)).cloned(),
        );
    }
    due
}

fn due(history: &History, store: &dyn Store, shard: u16) -> Option<Reading> {
    let header = history.recorded(shard);
    due_reading(store, ShardId(shard), &header.reference, &inbox(header)).unwrap()
}

#[test]
fn all_that_is_recorded_and_not_consumed_is_due() {
    let mut some = 0;
    for seed in 0..4 {
        let mut history = History::new(seed);
        for _ in 0..3 {
            history.epoch(None);
            for shard in 0..SHARDS {
                let header = history.recorded(shard).clone();
                let reading = due(&history, &*history.node.store, shard).unwrap();
                assert_eq!(reading.receipts, expected(&history, shard));
                some += reading.receipts.len();
                let state = &history.states[usize::try_from(header.reference.height.0).unwrap()];
                let plain = state.reading(ShardId(shard), header.reference, reading.receipts.clone()).unwrap();
                assert_eq!(reading, plain);
            }
        }
    }
    assert!(some > 20, "{some} receipts");
}

#[test]
fn nothing_is_due_at_a_block_that_is_not_held() {
    let history = History::run(9, 2);
    let header = history.recorded(0).clone();
    let ask =
        |reference: Reference| due_reading(&*history.node.store, ShardId(0), &reference, &inbox(&header)).unwrap();
    assert!(ask(header.reference).is_some());
    assert_eq!(ask(Reference { id: BlockId([9; 32]), ..header.reference }), None, "another block");
    assert_eq!(ask(Reference { height: Height(1_000), ..header.reference }), None, "not there yet");
    assert_eq!(ask(Reference { height: Height(0), ..header.reference }), None, "the genesis block says nothing");
    assert_eq!(
        due_reading(&*history.node.store, ShardId(SHARDS), &header.reference, &inbox(&header)),
        Ok(None),
        "no such shard"
    );
}

#[test]
fn a_lacking_body_is_named_and_nothing_is_due_without_it() {
    let history = History::run(3, 3);
    let (shard, reading) = (0..SHARDS)
        .map(|shard| (shard, due(&history, &*history.node.store, shard).unwrap()))
        .max_by_key(|(_, reading)| reading.receipts.len())
        .unwrap();
    let state = &history.states[usize::try_from(reading.reference.height.0).unwrap()];
    for gone in &reading.receipts {
        let store = copy(&history);
        let row = receipt_row(gone, Height(1), Height(1));
        let Write::Put { table, key, .. } = row else { unreachable!() };
        store.persist(vec![Write::Delete { table, key }]);
        let (lane, seq) = (gone.lane, gone.seq);
        let lacking = Lacking { lane, from: seq, until: seq + 1 };
        assert_eq!(missing_bodies(&*store, state, ShardId(shard)), Ok(vec![lacking]));
        assert_eq!(due(&history, &*store, shard), None);
        store.persist(verify_bodies(state, lane, seq, std::slice::from_ref(gone)).unwrap());
        assert_eq!(missing_bodies(&*store, state, ShardId(shard)), Ok(vec![]));
        assert_eq!(due(&history, &*store, shard).as_ref(), Some(&reading));
    }
    assert!(!reading.receipts.is_empty());
}

/// A store with the same rows.
fn copy(history: &History) -> std::sync::Arc<Shared> {
    let store = std::sync::Arc::<Shared>::default();
    for table in Table::ALL {
        let rows = history.node.store.rows(table, &[]);
        store.persist(rows.into_iter().map(|(key, value)| Write::put(table, key, value)).collect());
    }
    store
}

#[test]
fn a_peer_serves_bodies_that_hold_and_any_other_is_refused() {
    let history = History::run(5, 3);
    let state = &history.world.state;
    let (lane, log) = state.lanes.iter().max_by_key(|(_, log)| log.pending.len()).unwrap();
    assert!(log.pending.len() >= 2);
    let served = RecordedReceipts::of(&*history.node.store, *lane, log.consumed).unwrap();
    assert_eq!(RecordedReceipts::decode(&codec::encode(&served)), Ok(served.clone()));
    assert_eq!(served.bodies.len(), log.pending.len());
    let rows = verify_bodies(state, *lane, served.from, &served.bodies).unwrap();
    assert_eq!(rows.len(), served.bodies.len());
    let verdict = |from: u64, bodies: &[Receipt]| verify_bodies(state, *lane, from, bodies).map(drop).unwrap_err();
    let (from, lane) = (served.from, *lane);
    assert_eq!(verdict(from, &[]), InvalidBodies::Count { found: 0, limit: RecordedReceipts::MAX });
    let beyond = [served.bodies.clone(), vec![served.bodies[0].clone()]].concat();
    assert_eq!(verdict(from, &beyond), InvalidBodies::NotPending { lane, seq: log.recorded() });
    assert_eq!(verdict(u64::MAX, &served.bodies), InvalidBodies::NotPending { lane, seq: u64::MAX });
    if from > 0 {
        assert_eq!(verdict(from - 1, &served.bodies), InvalidBodies::NotPending { lane, seq: from - 1 });
    }
    assert_eq!(verdict(from, &served.bodies[1..]), InvalidBodies::OtherReceipt { lane, seq: from });
    // Every bit of a body counts.
    let bytes = codec::encode(&served.bodies[0]);
    for bit in 0..8 * bytes.len() {
        let mut changed = bytes.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        if let Ok(body) = codec::decode::<Receipt>(&changed, Receipt::MAX_BYTES) {
            assert_eq!(verdict(from, &[body]), InvalidBodies::OtherReceipt { lane, seq: from });
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn gaps_are_found_wherever_they_are(seed in 0u64..3, gone in prop::collection::vec(any::<prop::sample::Index>(), 0..9)) {
        let history = History::run(seed, 2);
        let state = &history.world.state;
        let store = copy(&history);
        let all = history.node.store.rows(Table::Receipts, &[]);
        for index in gone {
            store.persist(vec![Write::Delete { table: Table::Receipts, key: all[index.index(all.len())].0.clone() }]);
        }
        for shard in (0..SHARDS).map(ShardId) {
            let mut lacking = Vec::new();
            for missing in missing_bodies(&*store, state, shard).unwrap() {
                prop_assert!(missing.from < missing.until);
                lacking.extend((missing.from..missing.until).map(|seq| (missing.lane, seq)));
            }
            let pending = toward(state, shard).flat_map(|(lane, log)| (log.consumed..log.recorded()).map(|seq| (*lane, seq)));
            let held = |(lane, seq): &(Lane, u64)| recorded_receipts(&*store, *lane, *seq, 1).unwrap().iter().any(|row| row.receipt.seq == *seq);
            let expected: Vec<_> = pending.filter(|place| !held(place)).collect();
            prop_assert_eq!(lacking, expected);
        }
    }
}
