//! Whole worlds.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod mutants;

use crate::{scenario::Scenario, world::World};
use std::collections::BTreeMap;

#[test]
fn a_calm_world_moves_and_settles() {
    let scenario = Scenario::parse("name = \"calm\"\nabout = \"nothing happens\"").unwrap();
    let outcome = World::new(&scenario, 1, false).run(|_| {});
    println!("{}", serde_json::to_string_pretty(&outcome.measures).unwrap());
    assert_eq!(outcome.violation, None);
    assert_eq!(outcome.measures.ended, outcome.measures.ordered);
}

/// What was asked and answered is not asked again at once: answers are counted, and other questions need them.
#[test]
fn nobody_asks_a_peer_for_one_justification_again_and_again() {
    let scenario = crate::library::find("partition-one").unwrap().scenario;
    let mut worst = BTreeMap::<(u64, String), u32>::new();
    for seed in 70..90 {
        let trace = World::new(&scenario, seed, true).run(|_| {}).trace.unwrap();
        for line in trace.lines().filter(|line| line.contains("want cites")) {
            let (_, question) = line.split_once(' ').unwrap();
            *worst.entry((seed, question.to_owned())).or_default() += 1;
        }
    }
    assert!(!worst.is_empty(), "somebody must ask");
    let most = worst.iter().max_by_key(|(_, count)| **count).unwrap();
    assert!(*most.1 <= 16, "{most:?}");
}

/// The first slot of an epoch belongs to an equivocator: both its blocks end the era, and nothing is built on either. What
/// most of the honest members have chosen becomes certified, nevertheless.
#[test]
fn two_last_blocks_of_an_era_do_not_stop_the_beacon() {
    let scenario = crate::library::find("slashing").unwrap().scenario;
    for seed in [155, 170] {
        assert_eq!(World::new(&scenario, seed, false).run(|_| {}).violation, None, "{seed}");
    }
}

/// Two of three honest members signed the last block of an era, died before the third one heard it, and came back.
#[test]
fn who_signed_the_last_block_of_an_era_and_died_does_not_stop_the_beacon() {
    let scenario = crate::library::find("sampled-beacon-faults").unwrap().scenario;
    assert_eq!(World::new(&scenario, 108, false).run(|_| {}).violation, None);
}

/// What a member misses is said by others, and cites what an equivocator said to those alone: it is found within the time
/// that a chain has to go on once all is healed.
#[test]
fn an_equivocators_other_branch_is_found_in_time() {
    let scenario = crate::library::find("sampled-beacon-faults").unwrap().scenario;
    assert_eq!(World::new(&scenario, 3772, false).run(|_| {}).violation, None);
}
