//! What a shard knows of the beacon chain, what it forgets, and what it finds again after a start.
#![allow(clippy::unwrap_used, reason = "tests")]
use super::*;
use crate::testing::{BEACON_GENESIS, Chain, MemoryStore, Setup, World, beacon_genesis};
use kakera_chain::{
    Slot,
    address::Address,
    hash::Hash,
    lanes::LaneCount,
    receipt::{Lane, ReceiptAction},
    units::ShardId,
};
use proptest::prelude::*;

const SOURCE: ChainId = ChainId::Shard(ShardId(1));
const HOME: ChainId = ChainId::Shard(ShardId(0));

fn fingerprint(view: &BeaconView) -> String {
    format!("{view:?}")
}

fn reference(height: u64) -> Reference {
    let id = BlockId(Hash::of(&[&height.to_be_bytes()]).0);
    if height == 0 {
        beacon_genesis()
    } else {
        Reference { height: Height(height), slot: Slot(height.saturating_mul(3)), id }
    }
}

fn own(height: u64) -> (Height, BlockId) {
    (Height(height), BlockId([height as u8; 32]))
}

fn receipt(seq: u64) -> Receipt {
    let (from, to, transaction) = (Address([1; 32]), Address([2; 32]), Hash([3; 32]));
    let action = ReceiptAction::Transfer { from, to, amount: 1 + seq, expires_at: Slot(9), transaction };
    Receipt { lane: Lane { from: SOURCE, to: HOME }, seq, action }
}

fn lanes(toward: u64) -> LaneTable {
    let mut lanes = LaneTable::default();
    if toward > 0 {
        lanes.toward.insert(SOURCE, LaneCount { next: toward, returns: 0 });
    }
    lanes
}

/// Where block `height` of the beacon records the receipt `height - 1`, in era 0.
fn reading(height: u64) -> Reading {
    let receipts = height.checked_sub(1).map(receipt).into_iter().collect();
    Reading { reference: reference(height), lanes: lanes(height), recorded: own(0), era: Epoch(0), receipts }
}

fn readings(heights: std::ops::RangeInclusive<u64>) -> Vec<Reading> {
    heights.map(reading).collect()
}

fn inbox(next: u64) -> LaneCounts {
    lanes(next).toward
}

/// A view that has read up to a height.
fn view(tip: u64) -> BeaconView {
    let mut view = BeaconView::new(first_reading(BEACON_GENESIS, own(0).1));
    view.advance(readings(1..=tip)).unwrap();
    view
}

#[test]
fn the_first_reading_says_nothing() {
    assert_eq!(first_reading(BEACON_GENESIS, own(0).1), reading(0));
}

#[test]
fn readings_are_taken_in_order_and_known_ones_are_skipped() {
    let mut view = view(0);
    let writes = view.advance(readings(1..=2)).unwrap();
    let row = |height: u64| Write::put(Table::Beacon, height.to_be_bytes(), codec::encode(&reading(height)));
    assert_eq!(writes, [row(1), row(2)]);
    assert_eq!(view.advance(readings(1..=2)).unwrap(), [], "nothing new");
    assert_eq!(view.advance(Vec::new()).unwrap(), []);
    assert_eq!(view.advance(readings(0..=4)).unwrap(), [row(3), row(4)]);
    assert_eq!((view.tip(), view.recorded(), view.lanes()), (reference(4), own(0), &lanes(4)));
    for height in 0..=4 {
        assert_eq!(*view.lanes_at(&reference(height)).unwrap(), lanes(height));
    }
    assert_eq!(view.receipt(SOURCE, 3), Some(&receipt(3)));
    assert_eq!(view.receipt(SOURCE, 4), None);
    assert_eq!(view.receipt(HOME, 3), None);
    let (low, high) = (reference(2), reference(4));
    assert_eq!(view.status(&high, &low), ReferenceStatus::Known);
    assert_eq!(view.status(&low, &low), ReferenceStatus::Known);
    assert_eq!(view.status(&low, &high), ReferenceStatus::Invalid, "below the parent's");
    assert_eq!(view.status(&Reference { slot: Slot(1), ..high }, &low), ReferenceStatus::Invalid);
    assert_eq!(view.status(&Reference { id: BlockId([1; 32]), ..high }, &low), ReferenceStatus::Invalid);
    assert_eq!(view.status(&Reference { height: Height(5), ..high }, &low), ReferenceStatus::Unknown);
    assert_eq!(view.status(&Reference { height: Height(u64::MAX), ..high }, &low), ReferenceStatus::Unknown);
    assert_eq!(view.lanes_at(&Reference { slot: Slot(1), ..high }), None);
    assert_eq!(view.lanes_at(&Reference { height: Height(u64::MAX), ..high }), None);
}

#[test]
fn a_gap_or_another_block_at_a_known_height_is_refused_and_nothing_changes() {
    let mut view = view(4);
    let before = fingerprint(&view);
    let gap = |expected, found| InvalidBeacon::Gap { expected: Height(expected), found: Height(found) };
    let other = |height| InvalidBeacon::OtherBlock { height: Height(height) };
    let fork =
        |height| Reading { reference: Reference { id: BlockId([9; 32]), ..reference(height) }, ..reading(height) };
    let cases = [
        (vec![reading(6)], gap(5, 6)),
        (vec![reading(u64::MAX)], gap(5, u64::MAX)),
        (vec![reading(5), reading(7)], gap(6, 7)),
        (vec![reading(5), reading(5)], gap(6, 5)),
        (vec![reading(5), reading(6), reading(5)], gap(7, 5)),
        (vec![fork(4), reading(5)], other(4)),
        (vec![reading(5), fork(2)], other(2)),
        (vec![fork(0)], other(0)),
        (vec![Reading { reference: Reference { slot: Slot(1), ..reference(3) }, ..reading(3) }], other(3)),
    ];
    for (readings, expected) in cases {
        assert_eq!(view.advance(readings), Err(expected));
        assert_eq!(fingerprint(&view), before);
    }
    // Below the base nothing is known any more: such a reading is old, whatever it says.
    view.certified(Height(1), reference(2), &inbox(2));
    view.advance(vec![Reading { recorded: own(1), ..reading(5) }]).unwrap();
    assert_eq!(view.advance(vec![fork(1), reading(6)]).unwrap().len(), 1);
    assert_eq!(view.advance(vec![fork(2)]), Err(other(2)));
}

#[test]
fn references_of_another_era_are_invalid_and_none_of_them_is_named() {
    let era = |height, era| Reading { era: Epoch(era), ..reading(height) };
    let mut view = view(2);
    view.advance(vec![era(3, 2), era(4, 2), era(5, 5)]).unwrap();
    assert_eq!((view.era(), view.named_era()), (Epoch(0), Epoch(5)));
    let known = |view: &BeaconView| {
        let status = |height| view.status(&reference(height), &reference(0));
        (0..=6).map(status).collect::<Vec<_>>()
    };
    use ReferenceStatus::{Invalid, Known, Unknown};
    assert_eq!(known(&view), [Known, Known, Known, Invalid, Invalid, Invalid, Unknown], "none that has closed it");
    assert_eq!(view.newest_reference(&reference(0)), Some(reference(2)));
    assert_eq!(view.newest_reference(&reference(2)), Some(reference(2)));
    assert_eq!(view.newest_reference(&reference(3)), None, "below the parent's");
    view.enter(Epoch(2));
    assert_eq!(known(&view), [Invalid, Invalid, Invalid, Known, Known, Invalid, Unknown], "none from before it");
    assert_eq!(view.newest_reference(&reference(2)), Some(reference(4)));
    assert_eq!(view.newest_reference(&reference(5)), None);
    view.enter(Epoch(5));
    assert_eq!(known(&view), [Invalid, Invalid, Invalid, Invalid, Invalid, Known, Unknown]);
    assert_eq!(view.newest_reference(&reference(2)), Some(reference(5)));
    // An era of which nothing is read yet.
    view.enter(Epoch(6));
    assert_eq!(view.newest_reference(&reference(0)), None);
    assert_eq!(view.status(&reference(5), &reference(0)), Invalid);
    view.advance(vec![era(6, 6)]).unwrap();
    assert_eq!(view.newest_reference(&reference(5)), Some(reference(6)));
}

#[test]
fn only_what_blocks_below_the_last_recorded_one_need_is_forgotten() {
    let mut view = view(6);
    for (height, read) in [(1, 2), (2, 4), (3, 6)] {
        view.certified(Height(height), reference(read), &inbox(read - 1));
    }
    let held = |view: &BeaconView| {
        let receipts: Vec<u64> = (0..20).filter(|seq| view.receipt(SOURCE, *seq).is_some()).collect();
        (view.known[0].reference.height.0, receipts)
    };
    assert_eq!(held(&view), (0, (0..6).collect()), "certified is not recorded");
    view.advance(vec![Reading { recorded: own(2), ..reading(7) }]).unwrap();
    assert_eq!(view.recorded(), own(2));
    assert_eq!(held(&view), (4, (3..7).collect()), "the second block has read four, and consumed three");
    assert_eq!(view.status(&reference(3), &reference(2)), ReferenceStatus::Unknown, "forgotten is not invalid");
    // The third is taken back, and another certified in its place.
    view.undone(Height(2));
    view.advance(vec![Reading { recorded: own(2), ..reading(8) }]).unwrap();
    assert_eq!(held(&view), (4, (3..8).collect()));
    view.certified(Height(3), reference(5), &inbox(4));
    view.advance(vec![Reading { recorded: own(3), ..reading(9) }]).unwrap();
    assert_eq!(held(&view), (5, (4..9).collect()), "not what the block that was taken back had consumed");
    // A block that the beacon has recorded before it is certified here may be forgotten at once.
    view.advance(vec![Reading { recorded: own(5), ..reading(10) }]).unwrap();
    view.certified(Height(4), reference(7), &inbox(6));
    assert_eq!(held(&view), (7, (6..10).collect()));
    view.certified(Height(5), reference(10), &inbox(10));
    assert_eq!(held(&view), (10, Vec::new()), "the tip stays");
    assert_eq!(view.status(&reference(10), &reference(10)), ReferenceStatus::Known);
}

#[test]
fn of_many_blocks_that_are_not_recorded_the_newest_are_remembered() {
    let mut view = view(2);
    for height in 1..=2_000 {
        view.certified(Height(height), reference(if height < 1_500 { 1 } else { 2 }), &inbox(0));
    }
    assert_eq!(view.unrecorded.len(), UNRECORDED);
    let at = |height| (Height(height), BlockId([0; 32]));
    view.advance(vec![Reading { recorded: at(900), ..reading(3) }]).unwrap();
    assert_eq!(view.known[0].reference, reference(0), "no longer remembered: nothing is forgotten");
    view.advance(vec![Reading { recorded: at(1_400), ..reading(4) }]).unwrap();
    assert_eq!(view.known[0].reference, reference(1));
    view.advance(vec![Reading { recorded: at(2_000), ..reading(5) }]).unwrap();
    assert_eq!((view.known[0].reference, view.unrecorded.len()), (reference(2), 0));
}

#[test]
fn recorded_crosslinks_and_receipts_are_seen_by_height_and_dropped_once_recorded_as_consumed() {
    let mut world = World::new(Setup::default());
    assert_eq!(world.chains[1].shard.recorded(), (Height(0), world.chains[1].id()));
    let to = world.address(0, 0);
    world.send(1, 0, to, 5);
    world.chains[1].step();
    world.record(1);
    assert_eq!(world.chains[1].shard.recorded(), (Height(1), world.chains[1].id()));
    let view = world.chains[0].shard.view();
    assert!(matches!(view.receipt(SOURCE, 0).unwrap().action, ReceiptAction::Transfer { amount: 5, .. }));
    assert_eq!(view.lanes_at(&view.tip()).unwrap().toward[&SOURCE].next, 1);
    assert!(view.lanes_at(&beacon_genesis()).unwrap().toward.is_empty());
    world.chains[0].step();
    let view = world.chains[0].shard.view();
    assert!(view.receipt(SOURCE, 0).is_some() && view.lanes_at(&beacon_genesis()).is_some(), "it may be taken back");
    world.record(1);
    let view = world.chains[0].shard.view();
    assert_eq!(view.receipt(SOURCE, 0), None);
    assert_eq!(view.lanes_at(&beacon_genesis()), None, "below the recorded block's reference");
    assert_eq!(world.chains[1].shard.view().lanes().away[&HOME].next, 1);
}

/// What a view must find again, whatever it remembers of own blocks.
fn kept(view: &BeaconView) -> String {
    let known: Vec<_> = view.known.iter().map(|known| (known.reference, &*known.lanes, known.era)).collect();
    format!("{known:?} {:?} {:?}", view.recorded, view.receipts)
}

/// A long life: receipts come, blocks are certified, some of them recorded late.
fn long_life() -> World {
    let mut world = World::new(Setup::default());
    let to = world.address(0, 0);
    for round in 0..600 {
        if round % 50 == 7 {
            world.send(1, 0, to, 5);
            world.chains[1].step();
        }
        if round % 100 == 20 {
            world.chains[0].step();
        }
        if round % 30 == 29 { world.record(1) } else { world.record_one(1) }
    }
    world
}

#[test]
fn the_view_is_rebuilt_from_the_store_across_checkpoints_with_all_that_is_due() {
    let mut world = long_life();
    let to = world.address(0, 0);
    world.send(1, 0, to, 5);
    world.chains[1].step();
    world.record_one(1);
    let rows = |chain: &Chain| chain.store.rows.keys().filter(|(table, _)| *table == Table::Beacon).count();
    let chain = &mut world.chains[0];
    assert!((1..400).contains(&rows(chain)), "{} rows: those below the checkpoint are deleted", rows(chain));
    assert!(chain.store.rows.contains_key(&(Table::Meta, CHECKPOINT_KEY.to_vec())));
    let (mut again, state) = chain.restarted();
    assert_eq!(state.root(), chain.head.state_root);
    // It keeps more, as it does not know how far the recorded blocks had read: never less.
    let (a, b) = (chain.shard.view(), again.view());
    assert_eq!((a.tip(), a.recorded(), a.lanes(), a.era()), (b.tip(), b.recorded(), b.lanes(), b.era()));
    assert!(a.receipts.iter().all(|(place, receipt)| b.receipts.get(place) == Some(receipt)));
    assert!(a.known.iter().all(|known| b.lanes_at(&known.reference).as_deref() == Some(&*known.lanes)));
    assert!(b.receipts.len() >= 2, "{} are due", b.receipts.len());
    // Both make the same block, and once that is recorded keep the same.
    let context = chain.context(chain.header.reference);
    use kakera_chain::application::Application;
    let found = again.propose(&state, &context, false).unwrap();
    let block = chain.step();
    assert_eq!(found.executed.state_root, block.header.state_root);
    again.certified(chain.id(), &block, &state, &found.executed);
    let link = chain.crosslink().unwrap();
    let reading = world.beacon.readings(1, vec![link], &[]).swap_remove(0);
    chain.read(vec![reading.clone()]);
    again.handle(crate::testing::NOW, &found.executed.state, crate::Input::Beacon(vec![reading]));
    assert_eq!(kept(chain.shard.view()), kept(again.view()));
}

#[test]
fn a_damaged_store_is_noticed() {
    let world = long_life();
    let chain = &world.chains[0];
    let open = |store: &MemoryStore| crate::Shard::new(chain.config.clone(), Some(store));
    assert!(open(&chain.store).is_ok());
    let rows: Vec<_> = chain.store.rows.keys().filter(|(table, _)| *table == Table::Beacon).cloned().collect();
    for key in [&rows[0], &rows[rows.len() / 2]] {
        let mut damaged = chain.store.clone();
        damaged.rows.remove(key);
        assert!(open(&damaged).is_err(), "a missing height");
    }
    for key in [&rows[0], &(Table::Meta, CHECKPOINT_KEY.to_vec())] {
        let mut damaged = chain.store.clone();
        damaged.rows.get_mut(key).unwrap().push(0);
        assert!(open(&damaged).is_err(), "a byte too many");
        damaged.rows.get_mut(key).unwrap().truncate(20);
        assert!(open(&damaged).is_err(), "cut short");
    }
    let mut damaged = chain.store.clone();
    damaged.rows.remove(&(Table::Meta, CHECKPOINT_KEY.to_vec()));
    assert!(open(&damaged).is_err(), "without what the readings go on from");
}

#[test]
fn a_view_can_begin_with_any_reading() {
    let mut store = MemoryStore::default();
    store.write(view(3).advance(readings(4..=5)).unwrap());
    let first = Reading { era: Epoch(4), recorded: own(77), receipts: (7..9).map(receipt).collect(), ..reading(9) };
    store.write(BeaconView::begin_with(&first));
    let mut view = BeaconView::load(reading(0), &store).unwrap();
    assert_eq!((view.tip(), view.era(), view.recorded()), (reference(9), Epoch(4), own(77)));
    assert_eq!([6, 7, 8, 9].map(|seq| view.receipt(SOURCE, seq).is_some()), [false, true, true, false]);
    store.write(view.advance(readings(10..=12)).unwrap());
    let again = BeaconView::load(reading(0), &store).unwrap();
    assert_eq!(kept(&view), kept(&again));
}

/// What the shard or the beacon does next.
#[derive(Clone, Debug)]
enum Step {
    /// Readings, in each of which so many receipts are recorded.
    Read(Vec<u64>),
    /// An own block that reads so many more beacon blocks, and consumes so many more receipts.
    Certify(u64, u64),
    /// So many own blocks are recorded in the next reading.
    Record(usize),
    /// So many own blocks are taken back.
    Undo(usize),
    /// Another process on the same store.
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => proptest::collection::vec(0u64..3, 1..90).prop_map(Step::Read),
        4 => (0u64..100, 0u64..20).prop_map(|(read, consumed)| Step::Certify(read, consumed)),
        2 => (0usize..4).prop_map(Step::Record),
        1 => (0usize..3).prop_map(Step::Undo),
        1 => Just(Step::Restart),
    ];
    proptest::collection::vec(step, 1..60)
}

/// All that was ever read, and the own blocks.
struct Model {
    readings: Vec<Reading>,
    /// What each own block, from the genesis on, had read and consumed.
    blocks: Vec<(u64, u64)>,
    recorded: usize,
}

impl Model {
    fn next(&mut self, recorded: u64) -> Reading {
        let height = self.readings.len() as u64;
        let toward = count(&self.readings.last().unwrap().lanes.toward, SOURCE).next;
        let next = Reading {
            reference: reference(height),
            lanes: lanes(toward + recorded),
            recorded: own(self.recorded as u64),
            era: Epoch(0),
            receipts: (toward..toward + recorded).map(receipt).collect(),
        };
        self.readings.push(next.clone());
        next
    }

    fn toward(&self, height: u64) -> u64 {
        count(&self.readings[height as usize].lanes.toward, SOURCE).next
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn all_that_a_block_above_the_last_recorded_one_can_need_is_kept(steps in steps()) {
        let mut model = Model { readings: vec![reading(0)], blocks: vec![(0, 0)], recorded: 0 };
        let mut view = BeaconView::new(reading(0));
        let mut store = MemoryStore::default();
        for step in steps {
            match step {
                Step::Read(counts) => {
                    let readings: Vec<_> = counts.into_iter().map(|count| model.next(count)).collect();
                    store.write(view.advance(readings).unwrap());
                }
                Step::Certify(read, consumed) => {
                    let below = *model.blocks.last().unwrap();
                    let read = (below.0 + read).min(model.readings.len() as u64 - 1);
                    let consumed = (below.1 + consumed).min(model.toward(read));
                    let height = model.blocks.len() as u64;
                    model.blocks.push((read, consumed));
                    view.certified(Height(height), reference(read), &inbox(consumed));
                    store.write(view.checkpoint());
                }
                Step::Record(more) => {
                    model.recorded = (model.recorded + more).min(model.blocks.len() - 1);
                    let reading = model.next(0);
                    store.write(view.advance(vec![reading]).unwrap());
                }
                Step::Undo(less) => {
                    let left = (model.blocks.len() - less.min(model.blocks.len())).max(model.recorded + 1);
                    model.blocks.truncate(left);
                    view.undone(Height(left as u64 - 1));
                }
                Step::Restart => {
                    view = BeaconView::load(reading(0), &store).unwrap();
                    let (read, consumed) = *model.blocks.last().unwrap();
                    if model.blocks.len() > 1 {
                        view.certified(Height(model.blocks.len() as u64 - 1), reference(read), &inbox(consumed));
                    }
                }
            }
            let newest = model.readings.last().unwrap();
            prop_assert_eq!((view.tip(), view.lanes(), view.recorded()), (newest.reference, &newest.lanes, newest.recorded));
            let (read, consumed) = model.blocks[model.recorded];
            for at in &model.readings[read as usize..] {
                prop_assert_eq!(view.status(&at.reference, &reference(read)), ReferenceStatus::Known);
                let held = view.lanes_at(&at.reference);
                prop_assert_eq!(held.as_deref(), Some(&at.lanes));
            }
            for seq in consumed..model.toward(newest.reference.height.0) {
                let wanted = receipt(seq);
                prop_assert_eq!(view.receipt(SOURCE, seq), Some(&wanted));
            }
        }
        let rows = store.rows.keys().filter(|(table, _)| *table == Table::Beacon).count() as u64;
        prop_assert!(rows <= view.tip().height.0 - view.saved.0);
    }
}

/// A later era's blocks may be recorded at heights where certified ones of this era stand that are about to be taken back.
/// What those had consumed was forgotten, and the later era's leaders panicked for it.
#[test]
fn what_is_recorded_in_an_era_that_has_not_been_entered_forgets_nothing() {
    let mut view = view(4);
    view.certified(Height(1), reference(4), &inbox(4));
    let elsewhere = Reading { recorded: own(1), era: Epoch(1), ..reading(5) };
    view.advance(vec![elsewhere]).unwrap();
    view.undone(Height(0));
    view.enter(Epoch(1));
    view.certified(Height(1), reference(5), &inbox(1));
    for seq in 1..=4 {
        assert_eq!(view.receipt(SOURCE, seq), Some(&receipt(seq)));
    }
    assert_eq!(view.receipt(SOURCE, 0), None, "consumed and recorded");
}
