//! A receipt is consumed once, as recorded, whatever is repeated, orphaned or restarted.
#![allow(clippy::unwrap_used, reason = "tests")]

use crate::{
    Shard,
    action::Action,
    shard::{Input, Reply},
    testing::{NOW, Setup, World},
};
use kakera_chain::{
    application::Application,
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
    let block = world.beacon.block(1, vec![link.clone()]);
    let recorded = world.beacon.certify(vec![block], 4);
    for _ in 0..3 {
        assert_eq!(world.chains[0].take_beacon(&recorded), Reply::BeaconAdvanced(Height(1)));
        world.chains[0].step();
        assert_eq!(world.chains[0].account(&to).balance, 1_000_000_005);
    }
    // The same after a restart, and the crosslink recorded again is refused.
    let chain = &mut world.chains[0];
    let mut again = Shard::new(chain.config.clone(), Some(&chain.store)).unwrap();
    let state = again.restore(&chain.header, &chain.store).unwrap().unwrap();
    assert_eq!(again.handle(NOW, &state, Input::Beacon(recorded)).reply, Reply::BeaconAdvanced(Height(1)));
    assert!(!again.has_work(&state, &chain.header.reference));
    let block = world.beacon.block(1, vec![link]);
    let twice = world.beacon.certify(vec![block], 4);
    assert!(matches!(world.chains[0].take_beacon(&twice), Reply::BeaconRefused(_)));
    world.chains[0].step();
    assert_eq!(world.chains[0].account(&to).balance, 1_000_000_005);
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
    let orphan = other.propose(&chain.head.state, &chain.context(chain.header.reference), false);
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
