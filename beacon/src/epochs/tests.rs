//! How the state turns, what the committees are drawn from, and who may reveal what.
#![allow(clippy::unwrap_used, reason = "tests")]

mod evidence;
mod hostile;
mod life;
mod play;
mod roots;
mod schedule;

use super::*;
use crate::{
    Beacon, InvalidBeaconBlock,
    fixture::{Step, World, context},
    randomness::{InvalidReveal, Links, Reveal},
};
use kakera_chain::{
    application::{Application, Context},
    crosslink::BeaconItem,
};
use play::{LATE, Play, SLOTS, UNBONDING, VALIDATORS, at, bond, link};

#[test]
fn a_chain_without_epochs_never_turns() {
    let mut world = World::new();
    let before = world.state.clone();
    assert_eq!(before.parameters.epochs, None);
    let slot = Slot(u64::MAX);
    let far = world.beacon.execute(&before, &Context { slot, ..context(1) }, &[], &[]).unwrap();
    assert_eq!((far.state, far.receipts.len()), (before.clone(), 0));
    assert!(!before.is_due(slot) && !world.beacon.has_work(&before, &context(1).reference, slot));
    // Nothing that a shard reads closes its era.
    let height = Height(1 << 40);
    world.reference = Reference { height, slot: Slot(1 << 40), ..world.reference };
    let (root, era) = (world.state.shards[0].root, world.state.shards[0].era);
    for _ in 0..2 {
        world.advance(0, &[Step::default(), Step::default()]);
    }
    assert_eq!((world.state.shards[0].root, world.state.shards[0].era), (root, era));
}

#[test]
fn the_first_block_of_a_later_epoch_turns_the_state_and_epochs_slept_through_are_jumped() {
    let mut play = Play::new();
    let turned = |play: &Play| (play.state().epoch.0, play.state().turned_at.0);
    play.block(SLOTS - 1, 0, &[]);
    assert_eq!(turned(&play), (0, 0));
    assert!(!play.state().is_due(Slot(SLOTS - 1)) && play.state().is_due(Slot(SLOTS)));
    assert!(play.world.beacon.has_work(play.state(), &context(0).reference, Slot(SLOTS)));
    play.block(SLOTS + 1, 0, &[]);
    assert_eq!(turned(&play), (1, SLOTS + 1));
    play.block(SLOTS + 2, 0, &[]);
    assert_eq!(turned(&play), (1, SLOTS + 1), "once an epoch");
    let named = play.state().seating.next.clone();
    play.block(7 * SLOTS - 1, 0, &[]);
    assert_eq!(turned(&play), (6, 7 * SLOTS - 1));
    assert_eq!(play.state().seating.current, named, "the committees that were next act in whatever epoch comes");
    let older: Vec<_> = play.state().eras.keys().filter(|(_, epoch)| epoch.0 < 6).copied().collect();
    let serving: Vec<_> = (0..3).map(|shard| (ChainId::Shard(ShardId(shard)), Epoch(0))).collect();
    assert_eq!(older, serving, "others are past evidence");
}

#[test]
fn committees_are_known_one_epoch_ahead_and_rotate_within_the_bound() {
    let mut play = Play::new();
    for epoch in 1..8 {
        let (named, seed) = (play.state().seating.next.clone(), play.state().seating.next_seed);
        let reveal = play.reveal(0);
        play.block(epoch * SLOTS - 1, 0, &[reveal]);
        assert_eq!(play.state().seating.next, named, "reveals change nothing that is named already");
        play.turn(epoch);
        let seating = &play.state().seating;
        assert_eq!((&seating.current, play.state().seed), (&named, seed));
        for (current, next) in seating.current.shards.iter().zip(&seating.next.shards) {
            let changed = current.0.iter().zip(&next.0).filter(|(one, other)| one != other).count();
            assert!(changed <= 1, "300 of 1,000 of four seats");
        }
        for (shard, bench) in (0..).zip(&seating.current.shards) {
            assert_eq!((play.record(shard).era, &play.record(shard).bench), (Epoch(epoch), bench));
        }
        for (chain, row) in seating.current.eras(Epoch(epoch)) {
            assert_eq!(play.state().eras[&chain], row);
        }
        let oldest = play.state().eras.keys().map(|(_, epoch)| epoch.0).min();
        assert_eq!(oldest, Some(epoch.saturating_sub(UNBONDING)));
    }
    assert!(play.state().shards.iter().all(|record| record.fallbacks == 0));
}

/// Epochs 0 to 2 with the same reveals, a bond of four seats recorded in a block of this slot, if there is one.
fn bonded_at(when: Option<u64>) -> Play {
    bonded(when, 2 * SLOTS + 2)
}

/// The same up to the block below a slot.
fn bonded(when: Option<u64>, until: u64) -> Play {
    let mut play = Play::new();
    for slot in 1..until {
        let mut items = vec![play.reveal(0)];
        if slot % SLOTS == 1 {
            items.extend(play.heartbeats());
        } else if when == Some(slot) {
            let action = bond(&play.world.network, VALIDATORS, (1, 9), 4);
            items.push(play.ask(1, vec![action]));
        }
        play.block(slot, 0, &items);
    }
    play
}

#[test]
fn who_joins_after_the_row_is_frozen_cannot_change_the_draw() {
    let newcomer = ValidatorId(VALIDATORS);
    let seating = |when| Seating::clone(&bonded_at(when).state().seating);
    let without = seating(None);
    let knows = |row: &Row| row.contains(&(newcomer, 4));
    // Frozen with the block that turns to epoch 1: what that very block records is before it.
    for before in [2, SLOTS - 1, SLOTS] {
        let with = seating(Some(before));
        assert_eq!(with.current, without.current);
        assert_ne!(with.next, without.next, "bonded in slot {before}");
        assert!(knows(&with.shards));
    }
    // Later ones cannot look at a single reveal of epoch 1 and gain from it: epoch 3 is drawn as if they were not there.
    for after in [SLOTS + 2, 2 * SLOTS - 1, 2 * SLOTS] {
        let with = seating(Some(after));
        assert_eq!((&with.current, &with.next), (&without.current, &without.next), "bonded in slot {after}");
        assert!(knows(&with.shards), "but it stands in the next row");
    }
}

#[test]
fn who_joins_after_the_row_is_frozen_cannot_change_whom_a_fallback_names() {
    // No shard follows into epoch 2.
    let replaced = |when| {
        let mut play = bonded(when, 2 * SLOTS + 1);
        play.block(2 * SLOTS + LATE, 0, &[]);
        assert!(play.state().shards.iter().all(|record| record.fallbacks == 1));
        play.state().seating.current.shards.clone()
    };
    let without = replaced(None);
    assert_ne!(replaced(Some(2)), without, "frozen with the block that turns to epoch 1");
    // What the fallback is drawn by is known in epoch 2, and contains no reveal from before epoch 1.
    for after in [SLOTS + 2, 2 * SLOTS - 1, 2 * SLOTS] {
        assert_eq!(replaced(Some(after)), without, "bonded in slot {after}");
    }
}

#[test]
fn reveals_change_the_draw_and_a_block_without_one_is_valid() {
    // The last block that enters the draw of epoch 3 is the one that turns to epoch 2.
    let drawn = |revealing: Option<u64>| {
        let mut play = Play::new();
        for slot in 1..=2 * SLOTS {
            let mut items: Vec<BeaconItem> = (revealing == Some(slot)).then(|| play.reveal(1)).into_iter().collect();
            if slot == SLOTS + 1 {
                items.extend(play.heartbeats());
            }
            play.block(slot, 1, &items);
        }
        Seating::clone(&play.state().seating)
    };
    let without = drawn(None);
    assert_eq!(without.next_seed, Play::new().state().seed);
    for slot in [1, SLOTS, SLOTS + 1, 2 * SLOTS] {
        let with = drawn(Some(slot));
        assert_ne!(with.next_seed, without.next_seed);
        assert_ne!(with.next, without.next, "revealed in slot {slot}");
        let enters_epoch_2 = slot <= SLOTS;
        assert_eq!(with.current != without.current, enters_epoch_2, "revealed in slot {slot}");
    }
}

fn refused(play: &mut Play, slot: u64, proposer: u32, link: Hash) -> InvalidReveal {
    let reveal = BeaconItem::Reveal(Reveal { link, next: None });
    match play.judge(slot, proposer, &[reveal]).unwrap_err() {
        InvalidBeaconBlock::Reveal { position: 0, reason } => reason,
        other => panic!("{other}"),
    }
}

#[test]
fn only_the_proposers_own_next_link_is_revealed() {
    let mut play = Play::new();
    let promised = |play: &Play, id| play.state().registry.get(ValidatorId(id)).unwrap().commitment.link;
    let not_below = |commitment| InvalidReveal::NotBelow { commitment };
    let (own, other) = (promised(&play, 0), promised(&play, 1));
    assert_eq!(refused(&mut play, 1, 0, link(0, 38)), not_below(own), "two below");
    assert_eq!(refused(&mut play, 1, 0, own), not_below(own), "the commitment itself");
    assert_eq!(refused(&mut play, 1, 1, link(0, 39)), not_below(other), "another's");
    assert_eq!(refused(&mut play, 1, 99, link(0, 39)), not_below(Hash::ZERO), "nobody's");
    let mix = play.state().mix;
    let reveal = play.reveal(0);
    play.block(1, 0, &[reveal]);
    assert_eq!(play.state().mix, mix.with(ValidatorId(0), link(0, 39)));
    assert_eq!(promised(&play, 0), link(0, 39));
    assert_eq!(refused(&mut play, 2, 0, link(0, 39)), not_below(link(0, 39)), "again");
    let reveal = play.reveal(0);
    play.block(2, 0, &[reveal]);
}

#[test]
fn a_new_chain_is_revealed_from_in_the_next_epoch() {
    let mut play = Play::new();
    let end = Hash::of(&[&Hash([5; 32]).0]);
    let reveal = Reveal { link: play.next_link(0), next: Some(end) };
    play.block(1, 0, &[BeaconItem::Reveal(reveal)]);
    assert_eq!(refused(&mut play, 2, 0, link(0, 38)), InvalidReveal::TooEarly { from: Epoch(1), epoch: Epoch(0) });
    // The block that turns the epoch belongs to the one before.
    let early = InvalidReveal::TooEarly { from: Epoch(1), epoch: Epoch(0) };
    assert_eq!(refused(&mut play, SLOTS, 0, Hash([5; 32])), early);
    play.block(SLOTS, 0, &[]);
    assert_eq!(
        refused(&mut play, SLOTS + 1, 0, link(0, 38)),
        InvalidReveal::NotBelow { commitment: end },
        "the old one"
    );
    play.block(SLOTS + 1, 0, &[BeaconItem::Reveal(Reveal { link: Hash([5; 32]), next: None })]);
}

#[test]
fn a_proposer_reveals_what_the_state_says_comes_next_even_in_an_empty_block() {
    let mut network = play::network();
    let links = Links::new([6; 32]);
    network.genesis.validators[2].commitment = hex::encode(links.commitment().0);
    let mut play = Play::of(network);
    play.world.beacon = play.world.beacon.clone().with_links(ValidatorId(2), links);
    let other = Beacon::clone(&Play::of(play.world.network.clone()).world.beacon);
    for (slot, empty) in [(1, false), (2, true), (SLOTS, true), (2 * SLOTS, false)] {
        let proposal = play.world.beacon.propose(&play.world.state, &at(slot, 2), empty).unwrap();
        assert!(matches!(BeaconItem::decode(&proposal.body[0]), Ok(BeaconItem::Reveal(_))));
        assert_eq!(proposal.body.len(), 1);
        let executed = other.clone().execute(play.state(), &at(slot, 2), &proposal.body, &[]).unwrap();
        assert_eq!(executed.state_root, proposal.executed.state_root);
        let again = play.world.beacon.propose(&play.world.state, &at(slot, 2), empty).unwrap();
        assert_eq!(again.body, proposal.body, "what is not decided may be proposed again");
        assert!(
            play.world.beacon.propose(&play.world.state, &at(slot, 1), empty).unwrap().body.is_empty(),
            "nobody else's"
        );
        play.adopt(slot, &executed);
    }
}

#[test]
fn a_certified_switch_block_of_the_beacon_names_its_next_era() {
    let mut play = Play::new();
    let reveal = play.reveal(3);
    play.block(1, 3, &[reveal]);
    let mut schedules = Vec::new();
    for epoch in 1..4 {
        let executed = play.block(epoch * SLOTS + LATE - 1, 0, &[]);
        let mut header = crate::genesis_header(ChainId::Beacon, executed.state_root, executed.figures.clone());
        header.height = Height(epoch);
        let id = header.id(play.world.network.id);
        let plan = play.world.beacon.successor(id, &header, &executed.state).unwrap();
        assert_eq!((plan.epoch, plan.root), (Epoch(epoch), (Height(epoch), id)));
        let row: Vec<ValidatorId> = play.state().seating.current.beacon.iter().map(|(id, _)| *id).collect();
        assert_eq!(plan.seats.validators, row);
        assert_eq!(
            plan.leaders,
            leader_cycle(&plan.seats.committee, leader_seed(play.state().seed, Epoch(epoch), ChainId::Beacon))
        );
        schedules.push(plan.leaders);
    }
    assert!(schedules.windows(2).any(|pair| pair[0] != pair[1]));
}

#[test]
fn epochs_turn_without_stake() {
    let mut network = play::network();
    network.genesis.staking = None;
    let mut play = Play::of(network);
    let registry = play.state().registry.clone();
    let mut benches = BTreeSet::new();
    for epoch in 1..6 {
        let reveal = play.reveal(1);
        play.block(epoch * SLOTS - 1, 1, &[reveal]);
        assert_eq!(play.turn(epoch).receipts, []);
        benches.insert(play.record(0).bench.0.clone());
    }
    assert!(benches.len() > 2, "committees rotate");
    let rows = |registry: &Registry| (registry.rows(Role::Beacon), registry.rows(Role::Shard));
    assert_eq!(rows(&play.state().registry), rows(&registry));
    assert_eq!(*play.state().attendance, crate::Attendance::default());
    assert_eq!(play.state().conservation(), Ok(3 * crate::fixture::ALLOCATION));
}

#[test]
fn a_beacon_committee_of_fewer_seats_is_sampled_anew_each_epoch() {
    let mut network = play::network();
    network.genesis.epochs.as_mut().unwrap().beacon_seats = Some(2);
    let mut play = Play::of(network);
    let mut drawn = BTreeSet::new();
    for epoch in 1..9 {
        let reveal = play.reveal(0);
        play.block(epoch * SLOTS - 1, 0, &[reveal]);
        play.turn(epoch);
        let row = play.state().seating.current.beacon.clone();
        assert_eq!(row.iter().map(|(_, seats)| seats).sum::<u32>(), 2);
        assert_eq!(play.state().eras[&(ChainId::Beacon, Epoch(epoch))], row);
        let plan = play.state().beacon_era((Height(epoch), BlockId::default()), &Signatures::default());
        assert_eq!(plan.seats.validators, row.iter().map(|(id, _)| *id).collect::<Vec<_>>());
        drawn.insert(row);
    }
    assert!(drawn.len() > 2);
}
