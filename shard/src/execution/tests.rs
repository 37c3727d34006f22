//! Statements about blocks: conservation, order, exactly once, and refusals that change nothing.
#![allow(clippy::unwrap_used, reason = "tests")]
use super::*;
use crate::{
    action::Action,
    lanes::LaneCounts,
    records::{self, ConsumedOutcome},
    shard::Reply,
    testing::{
        Setup, World, address,
        events::{events, happen, small_lanes},
    },
    transaction::SignedTransaction,
};
use kakera_chain::{application::Application, codec, genesis::Lanes, receipt::ReturnReason, units::ShardId};
use proptest::prelude::*;

/// Runs until nothing is due or waiting.
fn drain(world: &mut World) {
    for _ in 0..400 {
        world.record(1);
        world.step_all();
        let idle = |chain: &crate::testing::Chain| {
            chain.unrecorded.iter().all(|(_, receipts)| receipts.is_empty())
                && !delivery::anything_due(&chain.head.state.meta, chain.shard.view().lanes())
        };
        if world.chains.iter().all(idle) {
            return;
        }
    }
    panic!("receipts are still due");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn conservation_holds_for_any_block(events in events(60)) {
        let mut world = World::new(small_lanes());
        for event in &events {
            happen(&mut world, event);
            world.assert_conserved();
        }
    }

    #[test]
    fn receipts_are_consumed_exactly_once_in_order(events in events(60)) {
        let mut world = World::new(small_lanes());
        for event in &events {
            happen(&mut world, event);
        }
        drain(&mut world);
        for (source, destination) in (0..3).flat_map(|a| (0..3).map(move |b| (a, b))).filter(|(a, b)| a != b) {
            let (source, destination) = (&world.chains[source], &world.chains[destination]);
            let lane = Lane { from: source.header.chain, to: destination.header.chain };
            let emitted: Vec<_> = source.emitted.iter().filter(|receipt| receipt.lane == lane).collect();
            prop_assert!(emitted.iter().zip(0..).all(|(receipt, seq)| receipt.seq == seq));
            let cursor = count(&destination.head.state.meta.inbox, lane.from);
            prop_assert_eq!(cursor.next, emitted.len() as u64);
            let mut last = (kakera_chain::units::Height(0), 0);
            for receipt in emitted {
                let record = records::consumed_record(&destination.store, &lane, receipt.seq).unwrap().unwrap();
                prop_assert!(record.height >= last.0, "in order");
                last = (record.height, receipt.seq);
                // Each ends in exactly one way: credited, or sent back with a return that names it.
                let back = destination.emitted.iter().filter(|back| back.lane.to == lane.from).filter(|back| {
                    matches!(back.action, ReceiptAction::Return { original, .. } if original == receipt.seq)
                });
                let expected = usize::from(record.outcome != ConsumedOutcome::Credited);
                prop_assert_eq!(back.count(), expected);
            }
        }
        world.assert_conserved();
        let total: u64 = world.chains.iter().map(|chain| chain.head.state.meta.sent).sum();
        let received: u64 = world.chains.iter().map(|chain| chain.head.state.meta.received).sum();
        prop_assert_eq!(total, received);
    }

    #[test]
    fn every_validator_recomputes_the_same_set(events in events(60), ahead in 1u64..4) {
        let mut world = World::new(small_lanes());
        for event in &events {
            happen(&mut world, event);
        }
        // One knows more of the beacon chain than the other: the reference alone decides.
        world.step_all();
        world.record(1);
        let chain = &world.chains[0];
        let (mut near, parent) = (chain.shard.clone(), chain.head.state.clone());
        let context = Context { reference: near.tip(), ..chain.context(near.tip()) };
        for _ in 0..ahead {
            world.chains[1].step();
            world.record(1);
        }
        let mut far = world.chains[0].shard.clone();
        let proposal = near.propose(&parent, &context, false).unwrap();
        let found = far.execute(&parent, &context, &proposal.body, &proposal.witnesses).unwrap();
        prop_assert_eq!(found.state_root, proposal.executed.state_root);
        prop_assert_eq!(found.receipts, proposal.executed.receipts);
    }

    #[test]
    fn block_with_invalid_transaction_changes_nothing(at in 0usize..3, fault in 0usize..12) {
        let mut world = World::new(Setup { lanes: Lanes { bound: 2, lifetime_slots: 9 }, ..Setup::default() });
        world.record(5);
        let order = |n| world.order(0, n, Action::Transfer { to: world.address(0, 3), amount: 5 });
        let mut orders: Vec<Transaction> = (0..3).map(order).collect();
        let remote = world.address(1, 0);
        let expected = break_order(&mut orders[at], fault, remote);
        let signed: Vec<SignedTransaction> = orders
            .into_iter()
            .zip(0..)
            .map(|(order, n)| order.sign(&world.key(u16::from(fault == 1 && n == at as u64), n)))
            .collect();
        let (mut body, mut witnesses) = split(&signed);
        if fault == 11 {
            witnesses[at][5] ^= 1;
        }
        let chain = &mut world.chains[0];
        let context = chain.context(chain.shard.tip());
        let before = chain.head.state.root();
        let found = chain.shard.execute(&chain.head.state, &context, &body, &witnesses).unwrap_err();
        prop_assert!(matches!(found, InvalidBlock::Transaction { index, reason } if index == at && expected(&reason)),
            "fault {}: {:?}", fault, found);
        prop_assert_eq!(chain.head.state.root(), before);
        // What remains without it is a valid block.
        body.remove(at);
        witnesses.remove(at);
        prop_assert!(chain.shard.execute(&chain.head.state, &context, &body, &witnesses).is_ok());
    }
}

type Expected = fn(&InvalidTransaction) -> bool;

fn break_order(order: &mut Transaction, fault: usize, remote: Address) -> Expected {
    use InvalidTransaction as I;
    match fault {
        0 => {
            order.network.0.0[0] ^= 1;
            |reason| matches!(reason, I::WrongNetwork { .. })
        }
        1 => {
            order.sender = crate::testing::key_on(1, 0, 2).public();
            |reason| matches!(reason, I::WrongShard { expected: ShardId(1), found: ShardId(0) })
        }
        2 => {
            order.nonce = 7;
            |reason| matches!(reason, I::NonceGap { expected: 0, found: 7 })
        }
        3 => {
            order.action = Action::Transfer { to: remote, amount: u64::MAX };
            |reason| matches!(reason, I::Overdraft { have: 1_000_000_000, .. })
        }
        4 => {
            order.valid_until = Slot(4);
            |reason| *reason == I::Expired { valid_until: Slot(4), slot: Slot(5) }
        }
        5 => {
            order.gas_limit = 1_399;
            |reason| *reason == I::GasLimit { needed: 1_400, limit: 1_399 }
        }
        6 => {
            order.max_fee = 8;
            |reason| matches!(reason, I::FeeTooLow { max_fee: 8, .. })
        }
        7 => {
            order.action = Action::Transfer { to: remote, amount: 0 };
            |reason| *reason == I::ZeroAmount
        }
        8 => {
            order.action = Action::Batch { transfers: vec![(remote, 1); 3] };
            |reason| matches!(reason, I::LaneFull { needed: 3, bound: 2, .. })
        }
        9 => {
            order.action = Action::Batch { transfers: Vec::new() };
            |reason| *reason == I::BatchSize { found: 0, most: 64 }
        }
        10 => {
            // Half of it could be paid: refused as a whole.
            order.action = Action::Batch { transfers: vec![(remote, 600_000_000), (remote, 600_000_000)] };
            |reason| matches!(reason, I::Overdraft { need, .. } if *need > 1_200_000_000)
        }
        _ => |reason| *reason == I::BadSignature,
    }
}

fn split(signed: &[SignedTransaction]) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let body = signed.iter().map(|signed| codec::encode(&signed.transaction)).collect();
    (body, signed.iter().map(|signed| signed.signature.0.to_vec()).collect())
}

#[test]
fn expired_receipts_come_back() {
    let mut world = World::new(Setup { lanes: Lanes { bound: 9, lifetime_slots: 10 }, ..Setup::default() });
    let (sender, to) = (world.address(0, 0), world.address(1, 0));
    let Reply::Accepted { id } = world.send(0, 0, to, 500) else { panic!("refused") };
    world.chains[0].step();
    let debited = world.chains[0].account(&sender).balance;
    world.record(1);
    world.record(20);
    world.chains[1].step();
    assert_eq!(world.chains[1].account(&to).balance, 1_000_000_000, "too late");
    let lane = Lane { from: ChainId::Shard(ShardId(0)), to: ChainId::Shard(ShardId(1)) };
    let record = records::consumed_record(&world.chains[1].store, &lane, 0).unwrap().unwrap();
    assert_eq!(record.outcome, ConsumedOutcome::Returned { reason: ReturnReason::Expired, seq: 0 });
    let back = world.chains[1].emitted[0].clone();
    let reason = ReturnReason::Expired;
    assert_eq!(back.action, ReceiptAction::Return { original: 0, to: sender, amount: 500, reason, transaction: id });
    // The return comes late too, and is credited all the same.
    world.record(1_000);
    world.chains[0].step();
    assert_eq!(world.chains[0].account(&sender).balance, debited + 500);
    world.assert_conserved();
}

#[test]
fn a_receipt_is_delivered_at_the_last_slot_of_its_life() {
    let mut world = World::new(Setup { lanes: Lanes { bound: 9, lifetime_slots: 10 }, ..Setup::default() });
    let to = world.address(1, 0);
    world.send(0, 0, to, 500);
    world.chains[0].step();
    world.record(10);
    world.chains[1].step();
    assert_eq!(world.chains[1].account(&to).balance, 1_000_000_500);
}

#[test]
fn a_receipt_for_an_account_of_another_shard_comes_back() {
    let mut world = World::new(Setup::default());
    let (sender, to) = (world.address(0, 0), world.address(1, 0));
    world.send(0, 0, to, 500);
    world.chains[0].step();
    // A captured source shard lies about where the account lives.
    let (_, receipts) = world.chains[0].unrecorded.last_mut().unwrap();
    let ReceiptAction::Transfer { to, .. } = &mut receipts[0].action else { panic!("a transfer") };
    *to = sender;
    world.record(1);
    world.chains[1].step();
    let back = world.chains[1].emitted[0].clone();
    assert!(matches!(back.action, ReceiptAction::Return { reason: ReturnReason::WrongShard, amount: 500, .. }));
    world.assert_conserved();
}

#[test]
fn a_full_lane_waits_while_others_go_on_and_opens_when_settled() {
    let mut world = World::new(Setup { shards: 3, lanes: Lanes { bound: 2, lifetime_slots: 100 }, ..Setup::default() });
    let (to, other) = (world.address(1, 0), world.address(2, 0));
    for n in 0..3 {
        assert!(matches!(world.send(0, n, to, 5), Reply::Accepted { .. }));
    }
    let Reply::Accepted { id: free } = world.send(0, 3, other, 5) else { panic!("refused") };
    let block = world.chains[0].step();
    assert_eq!(block.body.len(), 3, "two of the first lane, one of the second");
    assert!(records::transaction_record(&world.chains[0].store, &free).unwrap().is_some());
    let chain = &world.chains[0];
    assert_eq!(chain.shard.pool_size().0, 1);
    assert!(!chain.has_work(), "it waits, so nothing is due");
    let action = Action::Transfer { to, amount: 5 };
    assert_eq!(chain.shard.quote(&chain.head.state, &action).unwrap().full_lanes, vec![ChainId::Shard(ShardId(1))]);
    // Recorded is not settled; recorded as consumed is.
    world.record(1);
    assert_eq!(world.chains[0].step().body.len(), 0);
    world.chains[1].step();
    world.record(1);
    assert_eq!(world.chains[0].step().body.len(), 1);
    assert_eq!(world.chains[0].shard.pool_size(), (0, 0));
}

#[test]
fn a_receipt_sent_back_is_not_settled_until_the_return_is_consumed() {
    let mut world = World::new(Setup { lanes: Lanes { bound: 1, lifetime_slots: 1 }, ..Setup::default() });
    let to = world.address(1, 0);
    world.send(0, 0, to, 5);
    world.chains[0].step();
    world.record(9);
    world.chains[1].step();
    // Shard 1 has consumed it and emitted a return; its own lane toward shard 0 has room, as returns do not count.
    let back = world.address(0, 0);
    assert!(matches!(world.send(1, 0, back, 5), Reply::Accepted { .. }));
    assert_eq!(world.chains[1].step().body.len(), 1);
    let chain = &world.chains[0];
    let lanes = chain.shard.view().lanes();
    assert_eq!(unsettled(&chain.head.state.meta, lanes, ChainId::Shard(ShardId(1))), 1);
    world.record(1);
    let chain = &world.chains[0];
    assert_eq!(unsettled(&chain.head.state.meta, chain.shard.view().lanes(), ChainId::Shard(ShardId(1))), 1);
    world.chains[0].step();
    let chain = &world.chains[0];
    assert_eq!(unsettled(&chain.head.state.meta, chain.shard.view().lanes(), ChainId::Shard(ShardId(1))), 0);
}

#[test]
fn lanes_take_turns_and_the_first_due_receipt_is_always_processed() {
    let mut setup = Setup { shards: 3, ..Setup::default() };
    // Less than any genesis file may say: not even one receipt fits the share.
    setup.fees.block_gas = 10_000;
    setup.fees.receipt_gas_percent = 1;
    let mut world = World::new(setup);
    let to = world.address(0, 0);
    for n in 0..3 {
        world.send(1, n, to, 10);
        world.send(2, n, to, 10);
    }
    world.step_all();
    world.record(1);
    let inbox = |world: &World| {
        let inbox = &world.chains[0].head.state.meta.inbox;
        [1, 2].map(|shard| count(inbox, ChainId::Shard(ShardId(shard))).next)
    };
    let mut seen = Vec::new();
    for _ in 0..6 {
        world.chains[0].step();
        seen.push(inbox(&world));
    }
    assert_eq!(seen, vec![[1, 0], [1, 1], [2, 1], [2, 2], [3, 2], [3, 3]]);
    assert_eq!(world.chains[0].account(&to).balance, 1_000_000_060);
}

#[test]
fn transfers_to_oneself_to_a_fresh_account_and_of_everything_work() {
    let mut world = World::new(Setup::default());
    let (me, fresh) = (world.address(0, 0), world.address(0, 99));
    assert!(matches!(world.send(0, 0, me, 10), Reply::Accepted { .. }));
    world.chains[0].step();
    let fee = 1_400 * 11;
    assert_eq!(world.chains[0].account(&me), Account { balance: 1_000_000_000 - fee, nonce: 1 });
    // The base fee fell by an eighth, rounded down to at least one unit.
    let everything = 1_000_000_000 - fee - 1_400 * 10;
    assert!(matches!(world.send(0, 0, fresh, everything + 1), Reply::Refused(_)));
    assert!(matches!(world.send(0, 0, fresh, everything), Reply::Accepted { .. }));
    world.chains[0].step();
    assert_eq!(world.chains[0].account(&me), Account { balance: 0, nonce: 2 });
    assert_eq!(world.chains[0].account(&fresh).balance, everything);
    assert_eq!(world.chains[0].head.state.meta.tips[&ValidatorId(1)], 2_800);
    world.assert_conserved();
}

#[test]
fn amounts_near_the_maximum_neither_overflow_nor_get_lost() {
    let mut world = World::new(Setup { balance: u64::MAX / 8, ..Setup::default() });
    for round in 0..12 {
        for shard in [0u16, 1] {
            for n in 0..4 {
                let have = world.chains[usize::from(shard)].account(&world.address(shard, n)).balance;
                let to = world.address(1 - shard, n);
                world.send(shard, n, to, have.saturating_sub(50_000_000).max(1));
            }
        }
        world.step_all();
        world.record(1);
        world.assert_conserved();
        assert!(world.chains.iter().all(|chain| chain.head.state.meta.sent > 0), "round {round}");
    }
    assert!(world.chains[0].head.state.meta.sent > u64::MAX / 8 * 7);
}

#[test]
fn what_does_not_fit_the_counters_waits_typed() {
    let mut world = World::new(Setup::default());
    let (near, far) = (world.address(0, 0), world.address(1, 0));
    world.send(1, 0, near, 5);
    world.chains[1].step();
    world.record(1);
    let order = world.order(0, 0, Action::Transfer { to: far, amount: 5 });
    let (body, witnesses) = split(&[order.sign(&world.key(0, 0))]);
    let chain = &mut world.chains[0];
    let context = chain.context(chain.shard.tip());
    // As if that much had been counted; the balances follow, so that nothing is made or lost.
    let mut state = chain.head.state.clone();
    let meta = Arc::make_mut(&mut state.meta);
    (meta.sent, meta.received) = (u64::MAX - 4, u64::MAX - 4);
    let executed = chain.shard.execute(&state, &context, &[], &[]).unwrap();
    assert_eq!(executed.state.meta.inbox, LaneCounts::new(), "the receipt stays due, nothing is lost");
    let found = chain.shard.execute(&state, &context, &body, &witnesses).map(|_| ()).unwrap_err();
    assert_eq!(found, InvalidBlock::Transaction { index: 0, reason: InvalidTransaction::CountersFull });
}

#[test]
fn a_block_past_its_bytes_or_gas_or_with_torn_parts_is_refused() {
    let mut setup = Setup::default();
    setup.fees.block_bytes = 4_096;
    let mut world = World::new(setup);
    let to = world.address(0, 1);
    let key = world.key(0, 0);
    let order = world.order(0, 0, Action::Transfer { to, amount: 1 });
    let signed: Vec<_> = (0..30).map(|nonce| Transaction { nonce, ..order.clone() }.sign(&key)).collect();
    let (body, witnesses) = split(&signed);
    let chain = &mut world.chains[0];
    let context = chain.context(chain.shard.tip());
    let mut run = |body: &[Vec<u8>], witnesses: &[Vec<u8>]| {
        chain.shard.execute(&chain.head.state, &context, body, witnesses).map(|_| ()).unwrap_err()
    };
    assert_eq!(run(&body, &witnesses), InvalidBlock::Full { index: 25, limit: Limit::Bytes });
    assert_eq!(run(&body[..2], &witnesses[..1]), InvalidBlock::WitnessCount { items: 2, witnesses: 1 });
    assert_eq!(run(&body[..1], &[vec![0; 63]]), InvalidBlock::Witness { index: 0 });
    assert_eq!(run(&[body[0][..144].to_vec()], &witnesses[..1]), InvalidBlock::Item { index: 0 });
    let mut context = context;
    context.reference.height.0 += 1;
    let found = chain.shard.execute(&chain.head.state, &context, &[], &[]).map(|_| ()).unwrap_err();
    assert_eq!(found, InvalidBlock::UnknownReference);
    assert_eq!(address(&key), Address::of(&signed[0].transaction.sender));
}
