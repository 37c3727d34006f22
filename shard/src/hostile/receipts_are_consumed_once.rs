//! A receipt is consumed once, as recorded, whatever is repeated, orphaned or restarted.
#![allow(clippy::unwrap_used, reason = "tests")]

use crate::{
    action::Action,
    shard::{Input, Reply},
    testing::{NOW, Setup, World},
};
use kakera_chain::{
    application::Application,
    lanes::Reading,
    receipt::ReceiptAction,
    units::{ChainId, Height, ShardId},
};

const SOURCE: ChainId = ChainId::Shard(ShardId(1));

#[test]
fn a_replayed_receipt_is_consumed_once_even_across_a_restart() {
    let mut world = World::new(Setup::default());
    let to = world.address(0, 0);
    world.send(1, 0, to, 5);
    world.chains[1].step();
    let link = world.chains[1].crosslink().unwrap();
    let recorded = vec![world.beacon.readings(1, vec![link], &[]).swap_remove(0)];
    for _ in 0..3 {
        assert_eq!(world.chains[0].read(recorded.clone()), Reply::BeaconAdvanced(Height(1)));
        world.chains[0].step();
        assert_eq!(world.chains[0].account(&to).balance, 1_000_000_005);
    }
    // The same after a restart.
    let chain = &mut world.chains[0];
    let (mut again, state) = chain.restarted();
    assert_eq!(again.handle(NOW, &state, Input::Beacon(recorded.clone())).reply, Reply::BeaconAdvanced(Height(1)));
    assert!(!again.has_work(&state, &chain.header.reference, chain.header.slot));
    // The same place of the lane once more, in a later reading, is nothing new either.
    let later = world.beacon.readings(1, Vec::new(), &[]).swap_remove(0);
    let twice = Reading { receipts: recorded[0].receipts.clone(), ..later };
    assert_eq!(world.chains[0].read(vec![twice]), Reply::BeaconAdvanced(Height(2)));
    assert!(!world.chains[0].has_work());
    world.chains[0].step();
    assert_eq!(world.chains[0].account(&to).balance, 1_000_000_005);
}

#[test]
fn what_was_taken_back_is_consumed_again_and_once() {
    let mut world = World::new(Setup::default());
    let to = world.address(0, 0);
    for round in 1..=4 {
        world.send(1, 0, to, 5);
        world.chains[1].step();
        let link = world.chains[1].crosslink().unwrap();
        let readings = world.beacon.readings(1, vec![link], &[]);
        for (chain, reading) in world.chains.iter_mut().zip(readings) {
            assert_eq!(chain.read(vec![reading]), Reply::BeaconAdvanced(Height(round)));
        }
        world.chains[0].step();
    }
    // None of them is recorded: all may be taken back, and consumed in other blocks.
    assert_eq!(world.chains[0].account(&to).balance, 1_000_000_020);
    world.chains[0].undo(3);
    assert_eq!(world.chains[0].account(&to).balance, 1_000_000_005);
    assert!(world.chains[0].has_work());
    let block = world.chains[0].step();
    assert_eq!(block.header.figures.inbox[0].next, 4, "all at once now");
    assert_eq!(world.chains[0].account(&to).balance, 1_000_000_020);
    world.record(1);
    world.assert_conserved();
}

#[test]
fn a_receipt_of_an_orphaned_block_is_never_delivered() {
    let mut world = World::new(Setup::default());
    let to = world.address(0, 0);
    // Two siblings emit the first receipt of the lane; one of them is certified.
    let chain = &world.chains[1];
    let mut other = chain.shard.clone();
    let order = world.order(1, 0, Action::Transfer { to, amount: 5 }).sign(&world.key(1, 0));
    other.handle(NOW, &chain.head.state, Input::Submit(order.clone()));
    let orphan = other.propose(&chain.head.state, &chain.context(chain.header.reference), false).unwrap();
    assert!(matches!(orphan.executed.receipts[0].action, ReceiptAction::Transfer { amount: 5, .. }));
    world.send(1, 1, to, 7);
    world.step_all();
    world.record(1);
    let held = world.chains[0].shard.view().receipt(SOURCE, 0).unwrap();
    assert!(matches!(held.action, ReceiptAction::Transfer { amount: 7, .. }));
    world.step_all();
    assert_eq!(world.chains[0].account(&to).balance, 1_000_000_007);
    assert_eq!(world.chains[1].account(&world.address(1, 0)).balance, 1_000_000_000, "the orphan debited nobody");
    // The orphan's transaction is as good as new.
    assert!(matches!(world.chains[1].submit(order), Reply::Accepted { .. }));
    world.step_all();
    world.record(1);
    world.step_all();
    assert_eq!(world.chains[0].account(&to).balance, 1_000_000_012);
    world.assert_conserved();
}

#[test]
fn both_lanes_full_of_expired_receipts_empty_each_other() {
    let lanes = kakera_chain::genesis::Lanes { bound: 3, lifetime_slots: 1 };
    let mut world = World::new(Setup { lanes, ..Setup::default() });
    for round in 0..4 {
        for n in 0..4 {
            let (there, here) = (world.address(1, n), world.address(0, n));
            world.send(0, n, there, 5);
            world.send(1, n, here, 5);
        }
        world.step_all();
        // Everything under way expires; the returns cross each other.
        world.record(10);
        world.step_all();
        world.record(10);
        world.step_all();
        world.record(10);
        world.step_all();
        world.assert_conserved();
        for chain in &world.chains {
            assert!(chain.head.state.meta.sent >= (round + 1) * 15, "shard {} goes on", chain.config.shard);
        }
    }
    for _ in 0..4 {
        world.record(10);
        world.step_all();
    }
    let all: u64 = world.chains.iter().flat_map(|chain| chain.head.state.accounts.iter()).map(|(_, a)| a.balance).sum();
    let burned: u64 = world.chains.iter().map(|chain| chain.head.state.meta.burned + chain.head.state.meta.held).sum();
    assert_eq!(all + burned, 8_000_000_000, "nothing is under way: all came back");
}
