//! Answers made from a state: what the registry, the epoch and the risk look like on the wire.

#![allow(clippy::unwrap_used, reason = "tests")]
use super::*;
use crate::testing;
use kakera_beacon::{Offence, Source, genesis_header};
use kakera_chain::{
    address::Address,
    block::Figures,
    bond::Bond,
    evidence,
    genesis::{Network, Role},
    hash::Hash,
    keys::SecretKey,
    units::{Epoch, ShardId},
};
use std::collections::BTreeSet;

const OWNER: Address = Address([9; 32]);

fn snapshot(network: &Network, slot: u64) -> Snapshot {
    let figures = Figures { balances: network.allocation(ShardId(0)), ..Figures::default() };
    let headers = vec![genesis_header(ChainId::Shard(ShardId(0)), Hash::ZERO, figures)];
    Snapshot { height: Height(7), state: BeaconState::genesis(network, headers), slot: Slot(slot) }
}

fn secret(n: u16) -> SecretKey {
    let mut seed = [77; 32];
    seed[..2].copy_from_slice(&n.to_be_bytes());
    SecretKey::from_seed(seed)
}

/// Bonds a validator of one seat.
fn bond(network: &Network, snapshot: &mut Snapshot, n: u16) -> ValidatorId {
    let terms = (Role::Shard, 1);
    let bond = Bond::sign(&secret(n), &OWNER, terms, (format!("host:{}", n + 1), Hash([3; 32])), network.id);
    let registry = Arc::make_mut(&mut snapshot.state.registry);
    registry.bond(OWNER, 1000, &bond, Epoch(0), network.id).unwrap()
}

#[test]
fn genesis_validators_are_active_named_and_seated() {
    let network = testing::staked();
    let listed = registry::list(&network, &snapshot(&network, 0), ValidatorId(0), None);
    assert_eq!((listed.height, listed.epoch, listed.next, listed.validators.len()), (7, 0, 0, 4));
    let first = &listed.validators[0];
    assert_eq!((first.name.as_str(), first.role.as_str(), first.status.as_str()), ("validator-0", "beacon", "active"));
    assert_eq!((first.stake, first.rewards, first.seats), (1000, 0, 1));
    assert_eq!(first.owner, Address([0; 32]).to_string());
    let beacon = kakera_proto::v1::ChainSeats { role: "beacon".into(), shard: 0, seats: 1 };
    assert_eq!((&first.seated, &first.named), (&vec![beacon.clone()], &vec![beacon]));
    let seats: u32 = listed.validators[1..].iter().flat_map(|one| &one.seated).map(|place| place.seats).sum();
    assert_eq!(seats, 3, "all places of the one shard");
}

#[test]
fn newcomers_wait_in_order_and_are_found_by_key_on_any_page() {
    let network = testing::staked();
    let mut snapshot = snapshot(&network, 0);
    let ids: Vec<ValidatorId> = (0..3).map(|n| bond(&network, &mut snapshot, n)).collect();
    let key = secret(2).public();
    let listed = registry::list(&network, &snapshot, ValidatorId(0), Some(key));
    assert_eq!((listed.validators.len(), listed.next), (1, 0));
    let last = &listed.validators[0];
    assert_eq!((last.id, last.name.as_str(), last.status.as_str()), (ids[2].0, "", "pending"));
    assert_eq!((last.joining_seats, last.seats_ahead, last.seated.len()), (1, 2, 0));
    assert_eq!((last.key.as_slice(), last.endpoint.as_str()), (key.0.as_slice(), "host:3"));
    let unknown = registry::list(&network, &snapshot, ValidatorId(0), Some(secret(9).public()));
    assert!(unknown.validators.is_empty());

    // More than a page.
    for n in 3..1100 {
        bond(&network, &mut snapshot, n);
    }
    let first = registry::list(&network, &snapshot, ValidatorId(0), None);
    assert_eq!((first.validators.len(), first.next), (PAGE, 1000));
    let second = registry::list(&network, &snapshot, ValidatorId(first.next), None);
    assert_eq!((second.validators[0].id, second.validators.len(), second.next), (1000, 104, 0));
}

#[test]
fn every_status_has_its_word_and_its_epoch() {
    let network = testing::staked();
    let mut snapshot = snapshot(&network, 0);
    let id = bond(&network, &mut snapshot, 0);
    let told = |snapshot: &Snapshot| {
        let listed = registry::list(&network, snapshot, id, None);
        let one = &listed.validators[0];
        (one.status.clone(), one.status_epoch, one.begun, one.stake)
    };
    let turn = |snapshot: &mut Snapshot, epoch: u64| {
        let attendance = kakera_beacon::Attendance::default();
        drop(snapshot.state.turn_registry(Epoch(epoch), &BTreeSet::new(), &attendance));
    };
    turn(&mut snapshot, 1);
    assert_eq!(told(&snapshot), ("active".to_owned(), 0, None, 1000));
    Arc::make_mut(&mut snapshot.state.registry).exit(OWNER, id, Epoch(1)).unwrap();
    assert_eq!(told(&snapshot), ("exiting".to_owned(), 1, None, 1000));
    turn(&mut snapshot, 2);
    assert_eq!(told(&snapshot), ("exiting".to_owned(), 1, Some(2), 1000));
    turn(&mut snapshot, 3);
    assert_eq!(told(&snapshot), ("withdrawable".to_owned(), 5, None, 1000));
    turn(&mut snapshot, 4);
    turn(&mut snapshot, 5);
    assert_eq!(told(&snapshot), ("withdrawn".to_owned(), 5, None, 0));
}

#[test]
fn a_slashing_says_what_was_done_and_who_told() {
    let network = testing::staked();
    let mut snapshot = snapshot(&network, 0);
    assert!(registry::slashings(&network, &snapshot.state, ValidatorId(0)).slashings.is_empty());
    let chain = ChainId::Shard(ShardId(0));
    let acts = [
        evidence::Offence::Equivocation { seq: 17 },
        evidence::Offence::ConflictingFinality { low: Height(4), high: Height(6) },
    ];
    for (n, act) in (2..).zip(acts) {
        let offence = Offence { validator: ValidatorId(n), chain, epoch: Epoch(0), act };
        let source = Source { from: chain, seq: 5, who: OWNER };
        Arc::make_mut(&mut snapshot.state.registry).slash(offence, Epoch(0), source).unwrap();
    }
    let found = registry::slashings(&network, &snapshot.state, ValidatorId(0));
    assert_eq!((found.slashings.len(), found.next), (2, 0));
    let one = &found.slashings[0];
    assert_eq!(
        (one.validator, one.name.as_str(), one.offence.as_str(), one.seq),
        (2, "validator-2", "equivocation", 17)
    );
    assert_eq!((one.role.as_str(), one.shard, one.epoch, one.at_epoch), ("shard", 0, 0, 0));
    assert_eq!((one.reporter.clone(), one.reporter_share, one.burned), (OWNER.to_string(), 100, 900));
    assert_eq!((one.from_shard, one.receipt_seq), (0, 5));
    let other = &found.slashings[1];
    assert_eq!((other.offence.as_str(), other.low_height, other.high_height), ("conflicting-finality", 4, 6));
    assert_eq!(registry::slashings(&network, &snapshot.state, ValidatorId(3)).slashings.len(), 1);
    let listed = registry::list(&network, &snapshot, ValidatorId(2), None);
    assert_eq!((listed.validators[0].status.as_str(), listed.validators[0].stake), ("slashed", 0));
}

#[test]
fn the_epoch_tells_seeds_eras_and_committees() {
    let network = testing::staked();
    let mut snapshot = snapshot(&network, 130);
    let told = epoch::epoch(&network, &snapshot, None);
    assert_eq!((told.epoch, told.slot, told.slot_in_epoch, told.slots_an_epoch), (0, 130, 130, 100), "late to turn");
    assert_eq!((told.fallback_slots, told.rotation_per_mille, told.unbonding), (30, 250, 2));
    assert_eq!((told.seed.as_str(), told.mix.as_str()), ("05".repeat(32).as_str(), "05".repeat(32).as_str()));
    let shard = &told.shards[0];
    assert_eq!((shard.era, shard.fallbacks, shard.root_height), (0, 0, 0));
    assert_eq!(shard.root, snapshot.state.shards[0].root.0);
    assert_eq!((&shard.committee, shard.committee.len()), (&shard.drawn, 3));
    assert_eq!((told.beacon.len(), told.beacon[0].name.as_str(), told.left_out), (1, "validator-0", false));
    snapshot.state.epoch = Epoch(1);
    assert_eq!(epoch::epoch(&network, &snapshot, Some(ShardId(0))).slot_in_epoch, 30);

    // A state without epochs.
    let plain = testing::network();
    let told = epoch::epoch(&plain, &self::snapshot(&plain, 130), None);
    assert_eq!((told.slots_an_epoch, told.slot_in_epoch, told.shards.len()), (0, 130, 1));
}

#[tokio::test]
async fn risk_is_that_of_the_seats_there_are() {
    let mut network = testing::staked();
    assert_eq!(risk::share(&network, None).unwrap(), 250);
    assert_eq!(risk::share(&network, Some(1000)).unwrap(), 1000);
    let refused = risk::share(&network, Some(1001)).unwrap_err();
    assert_eq!(refused.kind(), (tonic::Code::InvalidArgument, "OUT_OF_RANGE"));
    let state = snapshot(&network, 0).state;
    let risks = risk::Risks::default();
    let told = risks.answer(risk::Asked::of(&network, &state, 400)).await.unwrap();
    // Two of three seats: the one shard has all three.
    assert_eq!((told.seats, told.adversary_seats, told.some_stall, told.some_capture), (3, 2, 1.0, 0.0));
    let [beacon, shard] = &told.committees[..] else { panic!("two chains") };
    assert_eq!((beacon.role.as_str(), beacon.seats, beacon.stall_seats, beacon.capture_seats), ("beacon", 1, 1, 1));
    assert_eq!((shard.seats, shard.stall_seats, shard.capture_seats, shard.stall), (3, 1, 3, 1.0));
    assert_eq!((told.exact, told.limit), (true, None));
    let limit = kakera_chain::genesis::RiskLimit { adversary_per_mille: 300, capture: 0.5, stall: 1.0 };
    network.genesis.risk = Some(limit);
    assert_eq!(risk::share(&network, None).unwrap(), 300);
    let told = risks.answer(risk::Asked::of(&network, &state, 400)).await.unwrap();
    assert_eq!(told.limit.map(|limit| limit.adversary_per_mille), Some(300));
}
