//! Duties of a drawn network, as its epochs turn.
#![allow(clippy::unwrap_used, reason = "tests")]
use super::*;
use crate::testing;
use kakera_beacon::{BeaconState, draw::Bench, genesis_header};
use kakera_chain::{
    block::Figures,
    genesis::Network,
    units::{Epoch, Height},
};
use std::sync::Arc;

/// One shard of three seats, three validators in it and two that stand by.
fn state() -> BeaconState {
    let mut text = testing::genesis_text();
    for index in testing::VALIDATORS..testing::VALIDATORS + 2 {
        text.push_str(&format!(
            "[[validators]]\nname = 'validator-{index}'\nrole = 'shard'\nkey = '{}'\nseats = 1\nendpoint = '127.0.0.1:{}'\n\
             owner = '{}'\ncommitment = '{}'\n",
            testing::secret(index).public(),
            4000 + u16::from(index),
            kakera_chain::address::Address([index; 32]),
            "06".repeat(32)
        ));
    }
    text.push_str("[epochs]\nslots = 20\nfallback_slots = 5\nrotation_per_mille = 250\nunbonding = 2\n");
    let network = Network::parse(&text).unwrap();
    let figures = Figures { balances: network.allocation(ShardId(0)), ..Figures::default() };
    BeaconState::genesis(&network, vec![genesis_header(ChainId::Shard(ShardId(0)), Hash::ZERO, figures)])
}

fn of(state: &BeaconState, duty: Duty) -> Vec<ValidatorId> {
    holders(state, ShardId(0)).into_iter().filter(|(_, found)| *found == duty).map(|(id, _)| id).collect()
}

/// The beacon's epoch turns: who was named is in office, and the shard has not followed yet.
fn turned(mut state: BeaconState) -> BeaconState {
    let seating = Arc::make_mut(&mut state.seating);
    seating.current = seating.next.clone();
    state.epoch = Epoch(1);
    state
}

/// The shard follows into the epoch.
fn followed(mut state: BeaconState) -> BeaconState {
    let before = state.shards[0].bench.seats();
    Arc::make_mut(&mut state.eras).insert((ChainId::Shard(ShardId(0)), Epoch(0)), before);
    let record = Arc::make_mut(&mut state.shards[0]);
    (record.era, record.root_height) = (Epoch(1), Height(7));
    record.bench = state.seating.current.shards[0].clone();
    record.last.header.height = Height(7);
    state
}

#[test]
fn members_come_first_then_the_named_those_who_left_and_one_keeper() {
    let state = state();
    assert_eq!(of(&state, Duty::Member).len(), 3);
    let named = of(&state, Duty::Named);
    assert_eq!(named.len(), 1, "a quarter of three seats, at least one");
    assert_eq!(of(&state, Duty::Left), []);
    assert_eq!(of(&state, Duty::Keeper).len() + named.len(), 2, "whoever stands by and is not named keeps");
    let mut order: Vec<Duty> = holders(&state, ShardId(0)).into_iter().map(|(_, duty)| duty).collect();
    assert!(order.is_sorted());
    order.dedup();
    assert_eq!(holders(&state, ShardId(3)), [], "no such shard");
    let waiting = turned(state.clone());
    assert_eq!(of(&waiting, Duty::Named), named, "until the shard itself has followed");
    let over = followed(waiting);
    let left = of(&over, Duty::Left);
    assert_eq!(left.len(), 1);
    assert!(of(&state, Duty::Member).contains(&left[0]) && !of(&over, Duty::Member).contains(&left[0]));
    for (id, duty) in holders(&over, ShardId(0)) {
        assert_eq!(duties(&over, id).get(&ShardId(0)), Some(&duty));
    }
}

#[test]
fn a_beacon_validator_has_no_duty_to_a_shard_and_speaks_on_its_own_chain() {
    let state = state();
    assert!(duties(&state, ValidatorId(0)).is_empty());
    assert_eq!(speakers(&state, ChainId::Beacon).into_iter().collect::<Vec<_>>(), [ValidatorId(0)]);
    let shard = speakers(&state, ChainId::Shard(ShardId(0)));
    assert_eq!(shard.len(), 4, "three in office and one to come");
    assert!(!shard.contains(&ValidatorId(0)));
}

#[test]
fn a_shard_is_settled_once_its_committee_has_recorded_a_block_of_its_own() {
    let state = state();
    assert!(is_settled(&state, ShardId(0)), "in the first era everybody begins with the genesis file");
    let turned = turned(state);
    assert!(!is_settled(&turned, ShardId(0)), "it has not followed: its committee may be dead, and be replaced");
    let mut over = followed(turned);
    assert!(!is_settled(&over, ShardId(0)));
    Arc::make_mut(&mut over.shards[0]).last.header.height = Height(8);
    assert!(is_settled(&over, ShardId(0)));
    over.epoch.0 += 1;
    assert!(!is_settled(&over, ShardId(0)), "what it has shown in one epoch counts for that one");
}

#[test]
fn the_mark_changes_with_epochs_eras_and_fallbacks_and_with_nothing_else() {
    let before = state();
    let mut state = before.clone();
    Arc::make_mut(&mut state.shards[0]).last.header.height = Height(9);
    assert_eq!(Mark::of(&state), Mark::of(&before));
    Arc::make_mut(&mut state.shards[0]).fallbacks = 1;
    assert_ne!(Mark::of(&state), Mark::of(&before));
    assert_ne!(Mark::of(&turned(before.clone())), Mark::of(&before));
}

#[test]
fn the_keeper_stays_while_others_change() {
    let state = state();
    let keeper = of(&state, Duty::Keeper)[0];
    let mut changed = state.clone();
    let seating = Arc::make_mut(&mut changed.seating);
    seating.next.shards[0] = Bench(vec![state.shards[0].bench.0[0]; 3]);
    assert!(of(&changed, Duty::Keeper).contains(&keeper) || of(&state, Duty::Named).contains(&keeper));
}
