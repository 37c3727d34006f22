//! Statements about the pool: bounds, order, replacement and refusals.
#![allow(clippy::unwrap_used, reason = "tests")]
use super::*;
use crate::{
    action::Action,
    shard::{Input, Reply},
    testing::{NOW, Setup, World},
};
use kakera_chain::{application::Application, codec};
use proptest::prelude::*;

fn tiny() -> Setup {
    let pool = PoolLimits { transactions: 10, bytes: 1_700, sender_transactions: 4, sender_bytes: 900 };
    Setup { pool, ..Setup::default() }
}

fn order(world: &World, n: u64, nonce: u64, max_fee: u64, tip: u64) -> SignedTransaction {
    let action = Action::Transfer { to: world.address(0, 3), amount: 5 };
    Transaction { nonce, max_fee, tip, ..world.order(0, n, action) }.sign(&world.key(0, n))
}

fn id(reply: Reply) -> Hash {
    match reply {
        Reply::Accepted { id } => id,
        other => panic!("{other:?}"),
    }
}

fn refusal(reply: Reply) -> Refusal {
    match reply {
        Reply::Refused(refusal) => refusal,
        other => panic!("{other:?}"),
    }
}

proptest! {
    #[test]
    fn pool_never_exceeds_its_bound(
        orders in proptest::collection::vec((0u64..4, 0u64..6, 20u64..60, 0u64..9, 0u8..9), 1..80)
    ) {
        let mut world = World::new(tiny());
        for (n, nonce, max_fee, tip, then) in orders {
            let signed = order(&world, n, nonce, max_fee, tip);
            world.chains[0].submit(signed);
            if then == 0 {
                world.chains[0].step();
            }
            let pool = &world.chains[0].shard.pool_for_test();
            let limits = pool.limits;
            prop_assert!(pool.len() <= limits.transactions && pool.bytes() <= limits.bytes);
            let sizes: usize = pool.senders.values().flat_map(|slot| slot.entries.values()).map(|e| e.bytes).sum();
            prop_assert_eq!(sizes, pool.bytes());
            for (sender, slot) in &pool.senders {
                prop_assert!(slot.entries.len() <= limits.sender_transactions && slot.bytes <= limits.sender_bytes);
                for (nonce, entry) in &slot.entries {
                    prop_assert_eq!(pool.ids.get(&entry.id), Some(&(*sender, *nonce)));
                }
            }
            prop_assert_eq!(pool.ids.len(), pool.senders.values().map(|slot| slot.entries.len()).sum::<usize>());
            prop_assert!(pool.verified.known.len() <= limits.transactions);
            prop_assert_eq!(pool.verified.known.len(), pool.verified.order.len());
        }
    }
}

#[test]
fn a_full_pool_and_a_full_sender_refuse_typed() {
    let mut world = World::new(tiny());
    for nonce in 0..4 {
        let signed = order(&world, 0, nonce, 50, 1);
        id(world.chains[0].submit(signed));
    }
    let signed = order(&world, 0, 4, 50, 1);
    assert_eq!(refusal(world.chains[0].submit(signed)), Refusal::NonceTooFar { expected: 0, found: 4 });
    let big = Action::Batch { transfers: vec![(world.address(0, 3), 1); 15] };
    let big = Transaction { gas_limit: 100_000, ..world.order(0, 1, big) }.sign(&world.key(0, 1));
    id(world.chains[0].submit(big));
    let signed = order(&world, 1, 1, 50, 1);
    assert_eq!(refusal(world.chains[0].submit(signed)), Refusal::SenderFull { transactions: 1 });
    let signed = order(&world, 2, 0, 50, 1);
    assert_eq!(refusal(world.chains[0].submit(signed)), Refusal::PoolFull { transactions: 5, bytes: 1_609 });
}

#[test]
fn gaps_wait_ties_keep_their_order_and_the_best_tip_goes_first() {
    let mut world = World::new(Setup::default());
    let submit = |world: &mut World, n, nonce, tip| {
        let signed = order(world, n, nonce, 1_000, tip);
        id(world.chains[0].submit(signed))
    };
    let gap = submit(&mut world, 0, 2, 900);
    let (low, late) = (submit(&mut world, 0, 0, 1), submit(&mut world, 0, 1, 1));
    let (first, best) = (submit(&mut world, 1, 0, 1), submit(&mut world, 2, 0, 2));
    let chain = &world.chains[0];
    let status = |id| chain.shard.pool_status(&chain.head.state, &id);
    assert_eq!(status(gap), Some(PoolStatus::Nonce { expected: 0 }));
    assert_eq!(status(low), Some(PoolStatus::Executable));
    assert_eq!(status(Hash::ZERO), None);
    let block = world.chains[0].step();
    let taken: Vec<Hash> = crate::transactions_of(&block, world.beacon.network).into_iter().map(|(id, _)| id).collect();
    assert_eq!(taken, vec![best, low, late, gap, first]);
    assert_eq!(world.chains[0].shard.pool_size(), (0, 0), "certified ones are gone");
}

#[test]
fn replacement_needs_a_tenth_more() {
    let mut world = World::new(Setup::default());
    let submit = |world: &mut World, max_fee, tip| {
        let signed = order(world, 0, 0, max_fee, tip);
        world.chains[0].submit(signed)
    };
    let old = id(submit(&mut world, 100, 5));
    assert_eq!(submit(&mut world, 100, 5), Reply::Known { id: old });
    assert_eq!(refusal(submit(&mut world, 109, 6)), Refusal::Replacement { max_fee: 110, tip: 6 });
    assert_eq!(refusal(submit(&mut world, 110, 5)), Refusal::Replacement { max_fee: 110, tip: 6 });
    let new = id(submit(&mut world, 110, 6));
    assert_eq!(world.chains[0].shard.pool_size().0, 1);
    assert!(world.chains[0].shard.pooled(&old).is_none() && world.chains[0].shard.pooled(&new).is_some());
}

#[test]
fn submission_is_refused_with_the_reason() {
    use InvalidTransaction as I;
    let mut world = World::new(Setup::default());
    world.record(5);
    let to = world.address(0, 3);
    let base = world.order(0, 0, Action::Transfer { to, amount: 5 });
    let key = world.key(0, 0);
    let mut refused = |change: &dyn Fn(&mut SignedTransaction), resign: bool| {
        let mut signed = base.clone().sign(&key);
        change(&mut signed);
        if resign {
            signed = signed.transaction.sign(&key);
        }
        match refusal(world.chains[0].submit(signed)) {
            Refusal::Invalid(reason) => reason,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(refused(&|s| s.signature.0[1] ^= 1, false), I::BadSignature);
    assert_eq!(refused(&|s| s.transaction.tip = 2, false), I::BadSignature, "of another transaction");
    assert!(matches!(refused(&|s| s.transaction.network.0.0[0] = 0, true), I::WrongNetwork { .. }));
    assert!(matches!(refused(&|s| s.transaction.valid_until = Slot(4), true), I::Expired { .. }));
    assert!(matches!(refused(&|s| s.transaction.max_fee = 9, true), I::FeeTooLow { max_fee: 9, base_fee: 10 }));
    let amount = 1_000_000_000;
    let all = |s: &mut SignedTransaction| s.transaction.action = Action::Transfer { to, amount };
    assert_eq!(refused(&all, true), I::Overdraft { need: 1_000_015_400, have: 1_000_000_000 });
    let foreign = crate::testing::key_on(1, 0, 2).public();
    assert!(matches!(refused(&|s| s.transaction.sender = foreign, true), I::WrongShard { .. }));
    let batch = |s: &mut SignedTransaction| s.transaction.action = Action::Batch { transfers: vec![(to, 1); 65] };
    assert_eq!(refused(&batch, true), I::BatchSize { found: 65, most: 64 });
    let extreme = |s: &mut SignedTransaction| {
        s.transaction.action = Action::Batch { transfers: vec![(to, u64::MAX); 64] };
        (s.transaction.max_fee, s.transaction.tip) = (u64::MAX, u64::MAX);
    };
    assert!(matches!(refused(&extreme, true), I::Overdraft { have: 1_000_000_000, .. }));
    assert_eq!(world.chains[0].shard.pool_size(), (0, 0));
    id(world.chains[0].submit(base.clone().sign(&key)));
    world.chains[0].step();
    let used = refusal(world.chains[0].submit(base.sign(&key)));
    assert_eq!(used, Refusal::Invalid(I::NonceUsed { expected: 1, found: 0 }));
}

#[test]
fn several_orders_together_cannot_promise_more_than_the_balance() {
    let mut world = World::new(Setup::default());
    let half = |world: &World, nonce| {
        let action = Action::Transfer { to: world.address(0, 3), amount: 600_000_000 };
        Transaction { nonce, ..world.order(0, 0, action) }.sign(&world.key(0, 0))
    };
    let (first, second) = (half(&world, 0), half(&world, 1));
    id(world.chains[0].submit(first));
    let reason = refusal(world.chains[0].submit(second));
    assert!(matches!(reason, Refusal::Invalid(InvalidTransaction::Overdraft { .. })), "{reason}");
}

#[test]
fn expired_ones_are_dropped_and_replaced_nonces_too() {
    let mut world = World::new(Setup::default());
    let mut signed = order(&world, 0, 0, 100, 1);
    signed.transaction.valid_until = Slot(3);
    let signed = signed.transaction.sign(&world.key(0, 0));
    id(world.chains[0].submit(signed));
    world.record(3);
    assert_eq!(world.chains[0].shard.pool_size().0, 1, "its last slot");
    world.record(1);
    assert_eq!(world.chains[0].shard.pool_size(), (0, 0));
    // Somebody else's block used the nonce.
    let (mine, other) = (order(&world, 0, 0, 100, 1), order(&world, 0, 0, 100, 2));
    let state = world.chains[0].head.state.clone();
    world.chains[0].validator.handle(NOW, &state, Input::Submit(mine));
    assert_eq!(world.chains[0].validator.pool_size().0, 1);
    id(world.chains[0].submit(other));
    world.chains[0].step();
    assert_eq!(world.chains[0].validator.pool_size(), (0, 0));
}

#[test]
fn gossip_is_passed_on_once_and_garbage_is_dropped() {
    let mut world = World::new(Setup::default());
    let bytes = codec::encode(&order(&world, 0, 0, 100, 1));
    let chain = &mut world.chains[0];
    let head = chain.head.state.clone();
    let mut gossip = |bytes: &[u8]| chain.shard.gossip(NOW, &head, bytes).gossip;
    assert_eq!(gossip(&bytes[1..]), None);
    assert_eq!(gossip(&[]), None);
    assert_eq!(gossip(&bytes), Some(bytes.clone()));
    assert_eq!(gossip(&bytes), None, "known");
    let mut forged = bytes;
    *forged.last_mut().unwrap() ^= 1;
    assert_eq!(gossip(&forged), None);
}

#[test]
fn the_next_nonce_counts_what_waits_up_to_the_first_gap() {
    let mut world = World::new(Setup::default());
    for nonce in [0, 1, 3] {
        let signed = order(&world, 0, nonce, 50, 1);
        id(world.chains[0].submit(signed));
    }
    let pool = world.chains[0].shard.pool_for_test();
    let next = |n, nonce| pool.next_nonce(&world.address(0, n), nonce);
    assert_eq!((next(0, 0), next(0, 2), next(0, 3), next(1, 7)), (2, 2, 4, 7));
}
