//! Replicas of one committee in virtual time: messages take a few milliseconds, crashes lose unsynced writes.
#![allow(clippy::unwrap_used, reason = "tests")]

mod absence;
pub(in crate::replica) mod bench;
mod conflict;
mod doubt;
mod explain;
mod fetching;
mod footprint;
mod hostile;
mod interlock;
mod past;
mod puppet;

use super::*;
use crate::store::Table;
use bench::{Bench, Disk};

#[test]
fn four_members_certify_what_one_is_given_in_eight_or_nine_messages_a_block() {
    let mut bench = Bench::new(4, 1);
    bench.run(2_000);
    for item in 0..20 {
        bench.give(usize::from(item % 4), item);
        bench.run(250);
    }
    bench.run(2_000);
    bench.assert_agreement(20);
    let (messages, blocks) = bench.messages_per_block();
    assert!((8.0..=9.5).contains(&(messages as f64 / blocks as f64)), "{messages} messages for {blocks} blocks");
}

#[test]
fn three_of_four_go_on_in_about_nine_messages_a_block() {
    let mut bench = Bench::new(4, 2);
    bench.run(2_000);
    bench.crash(2);
    bench.run(2_000);
    for item in 0..20 {
        bench.give([0, 1, 3][usize::from(item % 3)], item);
        bench.run(400);
    }
    bench.run(3_000);
    bench.assert_agreement(20);
    let (messages, blocks) = bench.messages_per_block();
    assert!((8.0..=10.0).contains(&(messages as f64 / blocks as f64)), "{messages} messages for {blocks} blocks");
}

#[test]
fn a_certificate_comes_within_a_few_delays_of_the_proposal() {
    let mut bench = Bench::new(4, 3);
    bench.run(3_000);
    let mut waits: Vec<u64> = (0..20)
        .map(|item| {
            bench.give(usize::from(item % 4), item);
            let given = bench.now();
            while bench.certified_items(0) <= usize::from(item) {
                bench.run(5);
                assert!(bench.now() - given < 3_000, "item {item} is not certified");
            }
            bench.now() - given
        })
        .collect();
    waits.sort_unstable();
    assert!(waits[10] <= 250, "{waits:?}");
}

#[test]
fn two_of_four_stop_say_who_is_silent_and_go_on_when_one_returns() {
    let mut bench = Bench::new(4, 4);
    bench.run(2_000);
    bench.crash(1);
    bench.crash(2);
    bench.run(1_000);
    bench.give(0, 7);
    let before = bench.certified_height(0);
    bench.run(15_000);
    assert!(bench.certified_height(0) <= before + 1, "two of four certify nothing");
    let stalled = bench.status(0).stalled.unwrap();
    assert!(stalled.contains("v1 (silent)") && stalled.contains("v2 (silent)"), "{stalled}");
    bench.restart(1);
    bench.run(6_000);
    bench.assert_agreement(1);
    assert_eq!(bench.status(0).stalled, None);
}

#[test]
fn all_killed_at_once_go_on_from_what_was_synced() {
    let mut bench = Bench::new(4, 5);
    bench.run(2_000);
    (0..5).for_each(|item| bench.give(usize::from(item % 4), item));
    bench.run(1_000);
    let before = bench.certified_height(0);
    (0..4).for_each(|member| bench.crash(member));
    (0..4).for_each(|member| bench.restart(member));
    bench.run(3_000);
    (5..10).for_each(|item| bench.give(usize::from(item % 4), item));
    bench.run(3_000);
    bench.assert_agreement(10);
    assert!(bench.certified_height(0) > before);
}

#[test]
fn what_waits_outlives_the_processes_that_took_it() {
    let mut bench = Bench::new(4, 17);
    bench.run(2_000);
    // In a slot whose leader is dead nothing is proposed; meanwhile all that took the item end, one after the other.
    bench.crash(2);
    while !bench.leads(2) {
        bench.run(10);
    }
    bench.give(0, 9);
    bench.run(10);
    bench.crash(0);
    bench.restart(0);
    bench.run(40);
    bench.crash(1);
    bench.crash(3);
    (1..4).for_each(|member| bench.restart(member));
    bench.run(5_000);
    bench.assert_agreement(1);
}

#[test]
fn no_crash_makes_a_member_equivocate() {
    for seed in 10..16 {
        let mut bench = Bench::new(4, seed);
        bench.run(1_500);
        for item in 0..25u8 {
            let victim = bench.random(4);
            bench.give((victim + 1) % 4, item);
            let pause = bench.random(120) as u64;
            bench.run(pause);
            bench.crash(victim);
            let pause = bench.random(700) as u64;
            bench.run(pause);
            bench.restart(victim);
            let pause = bench.random(900) as u64;
            bench.run(pause);
        }
        bench.run(6_000);
        bench.assert_agreement(0);
        assert_eq!(bench.equivocators(), 0, "seed {seed}");
        assert!(bench.certified_height(0) > 10, "seed {seed}");
    }
}

#[test]
fn after_a_start_any_certified_block_may_be_a_base() {
    for seed in 20..28 {
        let mut bench = Bench::new(4, seed);
        bench.lose_percent = 40;
        for item in 0..30 {
            bench.give(usize::from(item % 4), item);
            bench.run(150);
        }
        bench.lose_percent = 0;
        bench.run(3_000);
        (0..4).for_each(|member| {
            bench.crash(member);
            bench.restart(member);
            assert_eq!(bench.certified_but_no_base(member), [], "seed {seed}, member {member}");
        });
    }
}

#[test]
fn a_member_whose_store_went_back_stays_silent() {
    let mut bench = Bench::new(4, 6);
    bench.run(2_000);
    let old = bench.copy_store(3);
    (0..6).for_each(|item| bench.give(3, item));
    bench.run(2_000);
    bench.crash(3);
    bench.replace_store(3, old);
    bench.restart(3);
    bench.run(4_000);
    assert_eq!(bench.status(3).phase, Phase::Silent);
    assert_eq!(bench.equivocators(), 0);
}

#[test]
fn lost_messages_are_made_up_for() {
    let mut bench = Bench::new(4, 7);
    bench.lose_percent = 20;
    bench.run(3_000);
    for item in 0..20 {
        bench.give(usize::from(item % 4), item);
        bench.run(500);
    }
    bench.lose_percent = 0;
    bench.run(6_000);
    bench.assert_agreement(20);
}

#[test]
fn one_member_alone_is_a_network() {
    let mut bench = Bench::new(1, 8);
    bench.run(1_000);
    bench.give(0, 1);
    bench.run(1_000);
    bench.assert_agreement(1);
}

#[test]
fn sixteen_members_agree() {
    let mut bench = Bench::new(16, 9);
    bench.run(2_000);
    (0..10).for_each(|item| {
        bench.give(usize::from(item), item);
        bench.run(300);
    });
    bench.run(3_000);
    bench.assert_agreement(10);
}

/// The totals are for people: a damaged row of them must not end a member that could go on.
#[test]
fn totals_at_the_end_of_their_range_stay_there() {
    let mut bench = Bench::new(4, 10);
    bench.run(2_000);
    bench.crash(3);
    let mut disk = bench.copy_store(3);
    disk.rows.insert((Table::Meta, record::TOTALS.to_vec()), vec![0xff; 56]);
    bench.replace_store(3, disk);
    bench.restart(3);
    let before = bench.certified_height(3);
    bench.give(0, 1);
    bench.run(4_000);
    assert!(bench.certified_height(3) > before);
    let totals = bench.status(3).totals;
    assert_eq!((totals.blocks, totals.messages, totals.transactions), (u64::MAX, u64::MAX, u64::MAX));
}
