//! Chains through their eras: committees that change, members that lag, roots that leave blocks out.
#![allow(clippy::unwrap_used, reason = "tests")]
use super::super::tests::bench::{Bench, key, plan};
use super::*;
use crate::{
    application::CertifiedBlocks,
    certificate::{Certificate, Finality, FinalitySignature},
    peer::PeerMessage,
};
use kakera_cbc::Member;

mod ending;

/// Members in all, in office at a time, and slots an epoch (of 200 ms).
const MEMBERS: usize = 6;
const SIZE: usize = 4;
const SLOTS: u64 = 20;

fn load(bench: &mut Bench, items: std::ops::Range<u8>, each_ms: u64) {
    for item in items {
        let alive = (0..MEMBERS).filter(|member| bench.is_alive(*member));
        let member = alive.max_by_key(|member| bench.replica(*member).phase() == Phase::Active).unwrap();
        bench.give(member, item);
        bench.run_fed(each_ms);
    }
}

fn epochs(bench: &Bench) -> Vec<u64> {
    (0..MEMBERS).filter(|member| bench.is_alive(*member)).map(|member| bench.replica(member).era().epoch.0).collect()
}

#[test]
fn committees_follow_each_other_and_nothing_that_was_certified_changes() {
    let mut bench = Bench::turning(MEMBERS, SIZE, SLOTS, 1);
    load(&mut bench, 0..100, 200);
    bench.run_fed(3_000);
    assert!(epochs(&bench).iter().all(|epoch| *epoch >= 5), "{:?}", epochs(&bench));
    bench.assert_agreement(90);
    assert!(bench.undone.is_empty() && bench.blocks_refused.is_empty());
    // Every block is of the epoch that its era says, and only switch blocks lie in a later one.
    let replica = bench.replica(0);
    let mut turns = 0;
    let mut below: Option<Header> = None;
    for height in 1..=replica.certified().header.height.0 {
        let header = replica.block(&replica.certified_id(Height(height)).unwrap()).unwrap().header.clone();
        if let Some(below) = below {
            let closed = replica.network().epoch_of(below.slot) > below.epoch;
            assert_eq!(closed, header.root != below.root, "an era ends with its switch block, at height {height}");
            if closed {
                turns += 1;
                assert_eq!((header.root, header.epoch), (header.parent, replica.network().epoch_of(below.slot)));
            }
        }
        below = Some(header);
    }
    assert!(turns >= 5, "{turns} eras");
}

#[test]
fn a_change_of_era_takes_a_few_slots_while_all_are_alive() {
    let mut bench = Bench::turning(MEMBERS, SIZE, SLOTS, 2);
    load(&mut bench, 0..100, 200);
    let replica = bench.replica(0);
    let slots: Vec<u64> = (1..=replica.certified().header.height.0)
        .map(|height| replica.block(&replica.certified_id(Height(height)).unwrap()).unwrap().header.slot.0)
        .collect();
    let widest = slots.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
    assert!(widest <= 3, "{slots:?}");
}

#[test]
fn members_that_were_away_at_the_change_come_back_in_the_era_that_it_is() {
    for seed in 0..6 {
        let mut bench = Bench::turning(MEMBERS, SIZE, SLOTS, 30 + seed);
        load(&mut bench, 0..10, 200);
        let away = bench.random(MEMBERS);
        bench.crash(away);
        let absence = 4_000 + 1_000 * bench.random(8) as u64;
        bench.run_fed(absence);
        bench.restart(away);
        load(&mut bench, 10..40, 200);
        bench.run_fed(5_000);
        let all = epochs(&bench);
        assert!(all.iter().max().unwrap() - all.iter().min().unwrap() <= 1, "{all:?}");
        bench.run_fed(2_000);
        bench.assert_agreement(35);
        assert_eq!(bench.equivocators(), 0);
    }
}

#[test]
fn killing_everybody_around_the_change_at_any_moment_makes_nobody_equivocate() {
    for seed in 0..8 {
        let mut bench = Bench::turning(MEMBERS, SIZE, SLOTS, 50 + seed);
        load(&mut bench, 0..8, 200);
        for item in 10..60u8 {
            let victim = bench.random(MEMBERS);
            let active = |member: &usize| bench.is_alive(*member) && bench.replica(*member).phase() == Phase::Active;
            let given = (0..MEMBERS).find(active).unwrap_or(0);
            bench.give(given, item);
            let pause = bench.random(150) as u64;
            bench.run_fed(50 * (pause / 50));
            bench.run(pause % 50);
            bench.crash(victim);
            let pause = bench.random(300) as u64;
            bench.run(pause);
            bench.restart(victim);
            bench.run_fed(150);
        }
        bench.run_fed(8_000);
        bench.assert_agreement(30);
        assert_eq!(bench.equivocators(), 0, "seed {seed}");
        assert!(epochs(&bench).iter().all(|epoch| *epoch >= 2));
    }
}

/// What the beacon has recorded of the next era may lie beside the blocks that are followed still.
#[test]
fn how_to_go_back_to_a_root_is_not_forgotten_before_it_is_entered() {
    let mut bench = Bench::turning(MEMBERS, SIZE, 1 << 20, 94);
    for item in 0..80 {
        bench.give(usize::from(item) % SIZE, item);
        bench.run(250);
    }
    let blocks = bench.replica(0).certified_blocks(Height(1)).unwrap();
    assert_eq!(blocks.certificate.finality.height, Height(64));
    let root = (Height(60), bench.replica(0).certified_id(Height(60)).unwrap());
    let seats = bench.seats.clone();
    bench.announce(5, plan(&seats, SIZE, Epoch(1), root));
    bench.replicas[5].as_mut().unwrap().app.settled = Height(100);
    bench.blocks(5, blocks);
    (0..3).for_each(|_| bench.tick(5));
    assert_eq!((bench.replica(5).era().epoch, bench.certified_height(5)), (Epoch(1), 60));
}

#[test]
fn a_root_below_the_certified_block_takes_back_what_lies_above_and_says_which() {
    // No epochs of its own: the era is named from outside, as the beacon names a shard's.
    for restart in [false, true] {
        let mut bench = Bench::new(4, 7);
        for item in 0..10 {
            bench.give(usize::from(item % 4), item);
            bench.run(250);
        }
        bench.run(1_000);
        if restart {
            // Nothing but the certified block is in memory then: the store alone must do.
            bench.crash(0);
            bench.restart(0);
        }
        let top = bench.certified_height(0);
        let root = Height(top - 3);
        let id = bench.replica(0).certified_id(root).unwrap();
        let lost: Vec<_> = (top - 2..=top)
            .map(|height| (Height(height), bench.replica(0).certified_id(Height(height)).unwrap()))
            .collect();
        let held = bench.replica(0).block(&id).unwrap();
        let seats = bench.seats.clone();
        for member in 0..4 {
            bench.announce(member, plan(&seats, 4, Epoch(1), (root, id)));
            bench.tick(member);
        }
        assert_eq!(bench.undone[..3], lost, "what is lost is named");
        assert_eq!(bench.certified_height(0), root.0);
        assert_eq!(bench.replica(0).certified().header, &held.header);
        assert_eq!(bench.replica(0).status(crate::units::Timestamp(bench.now())).totals.undone, 3);
        for item in 100..110 {
            bench.give(usize::from(item % 4), item);
            bench.run(250);
        }
        bench.run(3_000);
        bench.assert_agreement(10);
        assert!(bench.certified_height(0) > top && epochs4(&bench).iter().all(|epoch| *epoch == 1));
        let found: Vec<_> = lost.iter().map(|(height, _)| bench.replica(0).certified_id(*height).unwrap()).collect();
        assert!(found.iter().zip(&lost).all(|(found, (_, lost))| found != lost), "other blocks stand there now");
    }
}

fn epochs4(bench: &Bench) -> Vec<u64> {
    (0..4).map(|member| bench.replica(member).era().epoch.0).collect()
}

#[test]
fn a_root_that_is_not_the_certified_block_halts_the_member_that_is_told() {
    let mut bench = Bench::new(4, 8);
    bench.halted = Some(Vec::new());
    bench.run(9_000);
    let root = (Height(bench.certified_height(1) - 1), BlockId([9; 32]));
    let seats = bench.seats.clone();
    bench.announce(1, plan(&seats, 4, Epoch(1), root));
    bench.tick(1);
    assert!(matches!(bench.halted.as_deref(), Some([Breach::ConflictingRoot { .. }])), "{:?}", bench.halted);
}

#[test]
fn nothing_is_built_on_a_switch_block_in_its_own_era() {
    let mut bench = Bench::turning(4, 4, SLOTS, 9);
    bench.refused = Some(Vec::new());
    // One cut off before the change stays in the old era, where it leads alone; then it hears of the others.
    bench.run_fed(3_600);
    bench.cut.insert(2);
    bench.run_fed(4_000);
    assert_eq!(bench.replica(2).era().epoch, Epoch(0));
    let over = |header: &Header| bench.replica(2).network().epoch_of(header.slot) > Epoch(0);
    let head = bench.replica(2).head().header.clone();
    let parent = bench.replica(2).block(&head.parent).map(|block| block.header.clone());
    assert!(over(&head) && !parent.is_some_and(|parent| over(&parent)), "one block past the end at most");
    bench.cut.clear();
    bench.run_fed(3_000);
    assert!(epochs4(&bench).iter().all(|epoch| *epoch >= 1), "{:?}", epochs4(&bench));
    bench.assert_agreement(0);
}

#[test]
fn the_head_of_who_follows_is_the_newest_certified_block() {
    let mut bench = Bench::turning(MEMBERS, SIZE, SLOTS, 9);
    load(&mut bench, 0..10, 200);
    let observers =
        (0..MEMBERS).map(|member| bench.replica(member)).filter(|replica| replica.phase() == Phase::Observer);
    let heads: Vec<_> = observers.map(|replica| (replica.head().id, replica.certified())).collect();
    assert_eq!(heads.len(), MEMBERS - SIZE);
    for (head, certified) in heads {
        assert!(certified.header.height > Height(2), "it has followed");
        assert_eq!(head, certified.id);
    }
}

#[test]
fn an_observer_takes_nothing_but_linked_certified_blocks() {
    let mut bench = Bench::turning(MEMBERS, SIZE, 1 << 20, 10);
    for item in 0..6 {
        bench.give(0, item);
        bench.run(300);
    }
    let good = bench.replica(0).certified_blocks(Height(1)).unwrap();
    assert!(good.blocks.len() >= 5 && bench.replica(5).phase() == Phase::Observer);
    let refusal = |bench: &mut Bench, blocks: CertifiedBlocks| {
        bench.blocks(5, blocks);
        assert_eq!(bench.certified_height(5), 0, "nothing changes");
        bench.blocks_refused.pop()
    };
    let with = |change: &dyn Fn(&mut CertifiedBlocks)| {
        let mut blocks = good.clone();
        change(&mut blocks);
        blocks
    };
    let header = Header { height: Height(100), ..good.blocks[4].header.clone() };
    let closed = ClosedEra { header, certificate: good.certificate.clone() };
    bench.closed(0, closed);
    assert!(matches!(bench.blocks_refused.pop(), Some(InvalidBlocks::Linkage { .. })), "an era that goes on");
    let cases: [(&str, CertifiedBlocks); 9] = [
        ("none", with(&|blocks| blocks.blocks.clear())),
        ("a gap", with(&|blocks| drop(blocks.blocks.remove(0)))),
        ("a gap inside", with(&|blocks| drop(blocks.blocks.remove(1)))),
        ("out of order", with(&|blocks| blocks.blocks.swap(0, 1))),
        ("another body", with(&|blocks| blocks.blocks[0].body.push(vec![77]))),
        ("the last missing", with(&|blocks| drop(blocks.blocks.pop()))),
        ("another epoch", with(&|blocks| blocks.blocks[1].header.epoch = Epoch(1))),
        ("a signature less", with(&|blocks| blocks.certificate.signatures.truncate(2))),
        ("a signature changed", with(&|blocks| blocks.certificate.signatures[0].1.0[5] ^= 1)),
    ];
    for (what, blocks) in cases {
        assert!(refusal(&mut bench, blocks).is_some(), "{what}");
    }
    // Headers of one chain with the certificate of another block of it.
    let shorter = bench.replica(0).certified_blocks(Height(2)).unwrap();
    let elsewhere = Certificate { finality: shorter.certificate.finality, ..good.certificate.clone() };
    let mixed = CertifiedBlocks { blocks: good.blocks[..2].to_vec(), certificate: elsewhere };
    assert_eq!(refusal(&mut bench, mixed), Some(InvalidBlocks::OtherBlock));
    bench.blocks(5, good.clone());
    assert_eq!(bench.certified_height(5), good.certificate.finality.height.0);
    // Known ones at the front are skipped, and known ones alone change nothing.
    bench.blocks(5, good);
    assert!(bench.blocks_refused.is_empty());
}

#[test]
fn an_observer_whose_clock_is_slow_holds_no_more_than_is_stated() {
    let mut bench = Bench::turning(MEMBERS, SIZE, 1 << 20, 11);
    for item in 0..6 {
        bench.give(0, item);
        bench.run(300);
    }
    let blocks = bench.replica(0).certified_blocks(Height(1)).unwrap();
    bench.crash(5);
    bench.set_now(1_000);
    bench.restart(5);
    bench.blocks(5, blocks.clone());
    let certified = bench.replica(5).certified().header;
    assert_eq!(certified.height, blocks.certificate.finality.height);
    assert!(certified.slot > bench.replica(5).status(crate::units::Timestamp(bench.now())).slot);
    assert_eq!(bench.replica(5).footprint().excess(), None);
}

/// What a link does to the epoch of a message is not what its speaker said: a member once stopped speaking for it.
#[test]
fn messages_of_later_epochs_alone_end_no_era() {
    for epochs in [false, true] {
        let mut bench = if epochs { Bench::turning(4, 4, 1 << 20, 11) } else { Bench::new(4, 11) };
        bench.run(2_000);
        for from in 1..4 {
            for epoch in [1, 2, 1 << 40, u64::MAX] {
                let message = PeerMessage::Since(vec![0; 4]);
                bench.hear_in(0, from, Epoch(epoch), message);
            }
        }
        bench.run(2_000);
        assert_eq!(bench.replica(0).phase(), Phase::Active);
        let before = bench.certified_height(0);
        bench.give(0, 1);
        bench.run(2_000);
        assert!(bench.certified_height(0) > before);
    }
}

/// The beacon may name any certified block of a shard the root of an era, when all of its committee have lost power.
#[test]
fn what_a_member_has_certified_is_not_lost_with_its_power() {
    let mut bench = Bench::turning(4, 4, 1 << 20, 13);
    for item in 0..20 {
        bench.give(usize::from(item % 4), item);
        bench.run(100);
        let member = usize::from(item % 4);
        let certified = bench.certified_height(member);
        bench.crash(member);
        bench.restart(member);
        assert_eq!(bench.certified_height(member), certified);
        bench.run(300);
    }
    assert!(bench.certified_height(0) > 5);
}

/// The epochs of the messages with which a member answered anybody since `sends` was emptied.
fn told_by(bench: &mut Bench, member: usize) -> Vec<Epoch> {
    let sends = bench.sends.take().unwrap();
    let told = sends.iter().filter_map(|(_, from, _, message)| match message {
        PeerMessage::Messages(list) if *from == member => Some(list),
        _ => None,
    });
    told.flatten().map(|carried| carried.message.statement.epoch).collect()
}

#[test]
fn who_asks_early_in_a_new_era_is_not_told_what_the_old_one_said() {
    let mut bench = Bench::turning(MEMBERS, SIZE, SLOTS, 12);
    load(&mut bench, 0..12, 200);
    bench.sends = Some(Vec::new());
    // Both have a seat in this epoch and the next.
    bench.hear_in(1, 2, Epoch(1), PeerMessage::Since(vec![0; SIZE]));
    assert_eq!(told_by(&mut bench, 1), [], "it is not in that era yet");
    bench.sends = Some(Vec::new());
    load(&mut bench, 20..30, 200);
    assert!(bench.replica(1).era().epoch >= Epoch(1));
    let told = told_by(&mut bench, 1);
    assert!(!told.contains(&Epoch(0)), "{told:?}");
}

#[test]
fn who_asks_at_the_moment_when_an_era_begins_is_not_told_what_the_old_one_said() {
    let mut bench = Bench::new(4, 12);
    for item in 0..12 {
        bench.give(usize::from(item % 4), item);
        bench.run(200);
    }
    let root = Height(bench.certified_height(1));
    let id = bench.replica(1).certified_id(root).unwrap();
    let seats = bench.seats.clone();
    bench.announce(1, plan(&seats, 4, Epoch(1), (root, id)));
    bench.sends = Some(Vec::new());
    bench.hear_in(1, 2, Epoch(1), PeerMessage::Since(vec![0; 4]));
    assert_eq!(bench.replica(1).era().epoch, Epoch(1), "the question makes it enter");
    bench.tick(1);
    let told = told_by(&mut bench, 1);
    assert!(!told.contains(&Epoch(0)), "{told:?}");
}

#[test]
fn what_a_member_of_an_earlier_era_did_is_not_held_against_who_has_its_place_now() {
    let mut bench = Bench::turning(MEMBERS, SIZE, SLOTS, 95);
    bench.refused = Some(Vec::new());
    load(&mut bench, 0..4, 300);
    let (era, network) = (*bench.replica(0).era(), bench.network.id);
    for block in [1, 2] {
        let (root, height, block) = (era.root, Height(100), BlockId([block; 32]));
        let finality = Finality { chain: era.chain, epoch: era.epoch, root, height, block };
        let share = FinalitySignature::sign(finality, Member(3), &key(3), network);
        bench.hear(0, 3, PeerMessage::Finality(share));
    }
    bench.run_fed(100);
    assert!(bench.status(0).members[3].faulty && bench.status(1).members[3].faulty);
    let all = |bench: &mut Bench, items| {
        load(bench, items, 300);
        let seated = (0..MEMBERS).filter(|member| bench.replica(*member).phase() == Phase::Active);
        seated.map(|member| (bench.status(member).members[3].faulty, member)).collect::<Vec<_>>()
    };
    let seated = all(&mut bench, 4..30);
    assert!(epochs(&bench).iter().all(|epoch| *epoch > era.epoch.0), "{:?}", epochs(&bench));
    assert!(seated.len() > 2 && seated.iter().all(|(faulty, _)| !faulty), "{seated:?}");
    for (_, member) in seated {
        let held = bench.replica(member).evidence().unwrap().len();
        bench.crash(member);
        bench.restart(member);
        assert!(!bench.status(member).members[3].faulty, "member {member} after a restart");
        assert_eq!(bench.replica(member).evidence().unwrap().len(), held, "what can still be shown is kept");
    }
    let before = bench.certified_height(0);
    load(&mut bench, 30..50, 300);
    assert!(bench.certified_height(0) > before);
}
