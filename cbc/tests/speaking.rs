//! The speaking rule's price: messages a block, and hops until finality.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use kakera_cbc::Member;
use kakera_cbc::net::{Census, Latency, Net, Rule, Setup, Stage, census};

/// Exact lockstep, and messages that arrive up to a quarter of the 100 ms delay apart: proposal and vote may both be
/// late, together by no more than the half delay that a level is waited for.
const LOCKSTEP: u64 = 0;
const JITTERED: u64 = 25;
/// More than that.
const UNEVEN: u64 = 40;

fn run(rule: Rule, members: u16, silent: u16, jitter_ms: u64, slots: u64) -> Census {
    let census = census(&Stage { members, silent, jitter_ms, rule, slots, seed: 7 }).unwrap();
    println!("{rule:?}, jitter {jitter_ms:>2} ms: {census}");
    census
}

/// All alive: exactly 2n messages a block, and three hops.
fn all_alive(members: u16, jitter_ms: u64, slots: u64) {
    let census = run(Rule::Speaker, members, 0, jitter_ms, slots);
    assert_eq!(census.messages, vec![2 * usize::from(members); census.messages.len()], "{census}");
    assert!(census.hops().iter().all(|hops| *hops == Some(3)), "{census}");
}

/// Only the smallest live set: K + 1 messages a live member and block, and K + 2 hops. In an era's first two slots
/// the silent are waited for, half a delay at each level.
fn smallest_live_set(members: u16, levels: u32, jitter_ms: u64, slots: u64) {
    let census = run(Rule::Speaker, members, (members - 1) / 3, jitter_ms, slots);
    assert_eq!(census.levels, levels);
    let k = usize::try_from(levels).unwrap();
    let messages = usize::from(census.live) * (k + 1);
    assert_eq!(census.messages, vec![messages; census.messages.len()], "{census}");
    for (slot, time) in (1..).zip(&census.final_ms) {
        let hops = u64::from(levels) + 2;
        let waits = if slot <= 2 { u64::from(levels) * census.delay_ms / 2 } else { 0 };
        let bound = hops * census.delay_ms + waits;
        assert!(time.is_some_and(|ms| ms <= bound), "slot {slot}, at most {bound} ms: {census}");
    }
}

#[test]
fn four_members() {
    all_alive(4, LOCKSTEP, 6);
    all_alive(4, JITTERED, 12);
    smallest_live_set(4, 2, LOCKSTEP, 6);
    smallest_live_set(4, 2, JITTERED, 12);
}

/// Proposal and vote may come so late that three of four climb on without the last: a few messages more.
#[test]
fn four_of_four_say_little_more_when_messages_come_unevenly() {
    let census = run(Rule::Speaker, 4, 0, UNEVEN, 24);
    let said: usize = census.messages.iter().sum();
    assert!(census.hops().iter().all(|hops| *hops == Some(3)), "{census}");
    assert!(census.messages.iter().all(|said| (8..=12).contains(said)) && said <= 24 * 9, "{census}");
}

#[test]
fn sixteen_members() {
    for jitter in [LOCKSTEP, JITTERED, UNEVEN] {
        all_alive(16, jitter, 6);
        smallest_live_set(16, 3, jitter, 6);
    }
}

#[test]
fn sixty_four_members() {
    for jitter in [LOCKSTEP, JITTERED] {
        all_alive(64, jitter, 3);
        smallest_live_set(64, 5, jitter, 3);
    }
}

#[test]
fn a_hundred_and_twenty_eight_members_in_lockstep() {
    all_alive(128, LOCKSTEP, 3);
    smallest_live_set(128, 5, LOCKSTEP, 3);
}

#[test]
fn a_hundred_and_twenty_eight_members_jittered() {
    all_alive(128, JITTERED, 2);
    smallest_live_set(128, 5, JITTERED, 1);
}

#[test]
fn one_of_one_says_one_message() {
    let census = run(Rule::Speaker, 1, 0, LOCKSTEP, 6);
    assert_eq!(census.messages, [1; 6]);
    assert_eq!(census.final_ms, [Some(0); 6]);
}

/// What waiting for others saves: a message for each level at once costs twice as many and more, and a message for
/// everything heard uses up what a slot allows, so that finality waits for the next one.
#[test]
fn rules_that_do_not_wait_say_twice_as_much() {
    for members in [4, 16] {
        let said = |rule| run(rule, members, 0, UNEVEN, 6).messages.iter().sum::<usize>();
        let (speaker, eager, chatty) = (said(Rule::Speaker), said(Rule::Eager), said(Rule::Chatty));
        assert!(2 * eager >= 3 * speaker && chatty >= 2 * speaker, "{members}: {speaker}, {eager}, {chatty}");
    }
    let (speaker, eager) = (run(Rule::Speaker, 16, 0, UNEVEN, 6), run(Rule::Eager, 16, 0, UNEVEN, 6));
    assert!(eager.messages.iter().sum::<usize>() > 2 * speaker.messages.iter().sum::<usize>());
    let chatty = run(Rule::Chatty, 16, 5, UNEVEN, 6);
    assert!(chatty.hops().iter().all(|hops| hops.is_none_or(|hops| hops > 5)), "{chatty}");
}

/// What helps against balancing and late blocks costs nothing while nobody attacks.
#[test]
fn view_merge_and_calm_cost_nothing() {
    for (members, silent) in [(4, 0), (4, 1), (16, 0), (16, 5), (64, 0)] {
        for jitter in [LOCKSTEP, JITTERED] {
            let [with, without] = [Rule::Speaker, Rule::NoViewMerge].map(|rule| run(rule, members, silent, jitter, 4));
            assert_eq!((with.messages, with.final_ms), (without.messages, without.final_ms));
        }
    }
}

#[test]
fn a_silent_leader_costs_its_slot_only() {
    let mut setup = Setup::equal(4, 7);
    setup.silent = vec![Member(2)];
    setup.status_ms = None;
    setup.latency = Latency::Fixed(100);
    let mut net = Net::new(setup).unwrap();
    net.run(net.start_of(13) - 1);
    let record = net.record();
    assert_eq!(record.proposed.len(), 9, "slots 2, 6 and 10 have no leader");
    assert_eq!(record.finalized.len(), 9);
    assert!(record.said.values().all(|count| *count == 9), "{:?}", record.said);
    assert!(net.agrees() && record.reorgs.is_empty());
}
