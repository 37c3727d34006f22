//! Newcomers that begin in the middle of a chain.
#![allow(clippy::unwrap_used, reason = "tests")]
use super::super::tests::bench::{Bench, Disk, plan};
use super::*;
use crate::{
    replica::Phase,
    units::{Epoch, Height},
};

/// Members in all, in office at a time, and slots an epoch (of 200 ms).
const MEMBERS: usize = 6;
const SIZE: usize = 4;
const SLOTS: u64 = 20;

/// One of the members was never there; the others have come some epochs far.
fn without(newcomer: usize, seed: u64) -> Bench {
    let mut bench = Bench::turning(MEMBERS, SIZE, SLOTS, seed);
    bench.crash(newcomer);
    load(&mut bench, newcomer, 0..45);
    bench
}

fn load(bench: &mut Bench, newcomer: usize, items: std::ops::Range<u8>) {
    for item in items {
        let others = (0..MEMBERS).filter(|member| *member != newcomer);
        let member = others.max_by_key(|member| bench.replica(*member).phase() == Phase::Active).unwrap();
        bench.give(member, item);
        bench.run_fed(200);
    }
}

/// The newcomer begins at this height; answers the era in which it does.
fn begin(bench: &mut Bench, newcomer: usize, height: Height, follows: bool) -> Epoch {
    let replica = bench.replica((newcomer + 1) % MEMBERS);
    let block = |height: Height| {
        let id = replica.certified_id(height).unwrap();
        (id, replica.block(&id).unwrap())
    };
    let (id, taken) = block(height);
    let reached = replica.network().epoch_of(taken.header.slot);
    let (epoch, root) = if reached > taken.header.epoch {
        (reached, (height, id))
    } else {
        let root = taken.header.root;
        (taken.header.epoch, (replica.block(&root).map_or(Height(0), |root| root.header.height), root))
    };
    let root_slot = replica.block(&root.1).map_or(Slot(0), |root| root.header.slot);
    let bodies = (1..=height.0).flat_map(|height| block(Height(height)).1.body.clone());
    let items: Vec<u8> = bodies.map(|item| item[0]).collect();
    let mut writes = adopt(&plan(&bench.seats, SIZE, epoch, root), root_slot, &taken, id, follows);
    writes.push(Write::put(Table::State, *b"items", items));
    let mut disk = Disk::default();
    disk.apply(writes);
    disk.synced = 1;
    bench.replace_store(newcomer, disk);
    bench.restart(newcomer);
    assert_eq!((bench.replica(newcomer).era().epoch, bench.certified_height(newcomer)), (epoch, height.0));
    epoch
}

/// The heights of the roots of eras.
fn roots(bench: &Bench, member: usize) -> Vec<Height> {
    let replica = bench.replica(member);
    let header = |height| replica.block(&replica.certified_id(Height(height)).unwrap()).unwrap().header.clone();
    let closes = |height: &u64| replica.network().epoch_of(header(*height).slot) > header(*height).epoch;
    (1..=replica.certified().header.height.0).filter(closes).map(Height).collect()
}

#[test]
fn who_begins_at_the_root_of_an_era_takes_part_in_it() {
    for newcomer in 0..MEMBERS {
        let mut bench = without(newcomer, 80 + newcomer as u64);
        let root = *roots(&bench, (newcomer + 1) % MEMBERS).last().unwrap();
        let epoch = begin(&mut bench, newcomer, root, false);
        let has_seat = bench.replica(newcomer).me().is_some();
        let expected = if has_seat { Phase::Joining } else { Phase::Observer };
        assert_eq!(bench.replica(newcomer).phase(), expected);
        bench.run_fed(800);
        if has_seat && bench.replica(newcomer).era().epoch == epoch {
            assert_eq!(bench.replica(newcomer).phase(), Phase::Active);
        }
        load(&mut bench, newcomer, 45..90);
        bench.run_fed(2_000);
        bench.assert_agreement(85);
        assert_eq!(bench.equivocators(), 0);
    }
}

#[test]
fn who_begins_within_an_era_follows_there_and_takes_part_in_the_next() {
    for (newcomer, back) in [(0, 0), (1, 3), (2, 20), (3, 1), (4, 30), (5, 7)] {
        let mut bench = without(newcomer, 90 + newcomer as u64);
        let top = bench.certified_height((newcomer + 1) % MEMBERS);
        let all = roots(&bench, (newcomer + 1) % MEMBERS);
        let height = (0..=top - back).rev().map(Height).find(|height| !all.contains(height)).unwrap();
        let epoch = begin(&mut bench, newcomer, height, true);
        assert_eq!(bench.replica(newcomer).phase(), Phase::Observer);
        let mut active = Vec::new();
        for item in 45..120u8 {
            load(&mut bench, newcomer, item..item + 1);
            let replica = bench.replica(newcomer);
            if replica.era().epoch > epoch {
                let expected = if replica.me().is_some() { Phase::Active } else { Phase::Observer };
                assert_eq!(replica.phase(), expected);
                active.extend(replica.me().map(|_| replica.era().epoch));
            } else {
                assert_eq!(replica.phase(), Phase::Observer, "it only follows at first");
            }
        }
        assert!(active.len() >= 10, "{active:?}");
        bench.run_fed(2_000);
        bench.assert_agreement(110);
        assert_eq!(bench.equivocators(), 0);
    }
}

#[test]
fn what_lies_below_the_block_is_not_there_and_nothing_trips_over_it() {
    let mut bench = without(5, 99);
    let top = bench.certified_height(0);
    let all = roots(&bench, 0);
    let height = (0..=top - 5).rev().map(Height).find(|height| !all.contains(height)).unwrap();
    begin(&mut bench, 5, height, true);
    let began = bench.replica(5).era().root;
    bench.run_fed(6_000);
    let replica = bench.replica(5);
    assert!(replica.era().root != began);
    for below in 0..height.0 {
        assert!(replica.certified_id(Height(below)).is_none() && replica.certified_blocks(Height(below)).is_none());
    }
    assert!(replica.closed(&began).is_none(), "the era's root is not held");
    let served = replica.certified_blocks(height.next()).unwrap();
    assert_eq!(served.blocks[0], bench.replica(0).certified_blocks(height.next()).unwrap().blocks[0]);
    let next = *roots(&bench, 0).iter().find(|root| **root > height).unwrap();
    let root = replica.certified_id(next).unwrap();
    assert_eq!(replica.closed(&root), bench.replica(0).closed(&root));
    bench.crash(5);
    bench.restart(5);
    bench.run_fed(2_000);
    bench.assert_agreement(40);
}
