//! Odd amounts, fees, nonces and times are refused with a reason or counted exactly.
#![allow(clippy::unwrap_used, reason = "tests")]

use crate::{
    account::Account,
    action::Action,
    checks::InvalidTransaction,
    execution::InvalidBlock,
    pool::Refusal,
    shard::Reply,
    state::ShardState,
    testing::{Setup, World},
    transaction::{SignedTransaction, Transaction},
};
use kakera_chain::{Slot, application::Application, codec};

fn refused(reply: Reply) -> InvalidTransaction {
    match reply {
        Reply::Refused(Refusal::Invalid(reason)) => reason,
        other => panic!("{other:?}"),
    }
}

fn submit(world: &mut World, n: u64, change: impl FnOnce(&mut Transaction)) -> Reply {
    let mut order = world.order(0, n, Action::Transfer { to: world.address(0, 3), amount: 5 });
    change(&mut order);
    let key = world.key(0, n);
    world.chains[0].submit(order.sign(&key))
}

/// Executes one transaction on a state as a validator that does not know it.
fn execute(world: &mut World, state: &ShardState, signed: &SignedTransaction) -> Result<ShardState, InvalidBlock> {
    let chain = &mut world.chains[0];
    let context = chain.context(chain.shard.tip());
    let (body, witnesses) = ([codec::encode(&signed.transaction)], [signed.signature.0.to_vec()]);
    chain.shard.execute(state, &context, &body, &witnesses).map(|executed| executed.state)
}

#[test]
fn nothing_is_sent_and_a_batch_to_oneself_moves_only_fees() {
    let mut world = World::new(Setup::default());
    let me = world.address(0, 0);
    for to in [me, world.address(0, 1), world.address(1, 1)] {
        let zero = submit(&mut world, 0, |order| order.action = Action::Transfer { to, amount: 0 });
        assert_eq!(refused(zero), InvalidTransaction::ZeroAmount);
        let one_zero = Action::Batch { transfers: vec![(to, 1), (to, 0)] };
        assert_eq!(refused(submit(&mut world, 0, |order| order.action = one_zero)), InvalidTransaction::ZeroAmount);
    }
    let transfers = vec![(me, 400_000_000), (me, 500_000_000)];
    submit(&mut world, 0, |order| order.action = Action::Batch { transfers });
    world.chains[0].step();
    let fee = (1_000 + 3 * 200) * 11;
    assert_eq!(world.chains[0].account(&me), Account { balance: 1_000_000_000 - fee, nonce: 1 });
    // What comes back to the sender does not pay for what goes out: all of it must be there first.
    let transfers = vec![(me, 600_000_000), (me, 600_000_000)];
    let more = submit(&mut world, 0, |order| order.action = Action::Batch { transfers });
    assert!(matches!(refused(more), InvalidTransaction::Overdraft { .. }));
    world.assert_conserved();
}

#[test]
fn everything_sent_to_a_fresh_account_of_another_shard_arrives_or_comes_back() {
    let lanes = kakera_chain::genesis::Lanes { bound: 9, lifetime_slots: 10 };
    for (late, expected) in [(false, true), (true, false)] {
        let mut world = World::new(Setup { lanes, ..Setup::default() });
        let (me, fresh) = (world.address(0, 0), world.address(1, 77));
        let action = |amount| Action::Transfer { to: fresh, amount };
        let quote = world.chains[0].shard.quote(&world.chains[0].head.state, &action(1)).unwrap();
        let everything = 1_000_000_000 - quote.fee;
        let more = submit(&mut world, 0, |order| (order.tip, order.action) = (0, action(everything + 1)));
        assert!(matches!(refused(more), InvalidTransaction::Overdraft { .. }));
        submit(&mut world, 0, |order| (order.tip, order.action) = (0, action(everything)));
        world.step_all();
        assert_eq!(world.chains[0].account(&me), Account { balance: 0, nonce: 1 });
        world.record(if late { 11 } else { 10 });
        world.step_all();
        world.record(1);
        world.step_all();
        let found = (world.chains[0].account(&me).balance, world.chains[1].account(&fresh).balance);
        assert_eq!(found, if expected { (0, everything) } else { (everything, 0) });
        world.assert_conserved();
    }
}

#[test]
fn fees_and_gas_at_the_maximum_take_no_more_than_the_account_holds() {
    let balance = u64::MAX / 8;
    let mut world = World::new(Setup { balance, ..Setup::default() });
    let all = |order: &mut Transaction| (order.max_fee, order.tip, order.gas_limit) = (u64::MAX, u64::MAX, u64::MAX);
    assert!(matches!(refused(submit(&mut world, 0, all)), InvalidTransaction::Overdraft { .. }));
    // All of the account but the remainder of a division goes to the proposer.
    let tip = (balance - 5 - 1_400 * 10) / 1_400;
    let priced = |order: &mut Transaction| (order.max_fee, order.tip, order.gas_limit) = (u64::MAX, tip, u64::MAX);
    assert!(matches!(submit(&mut world, 0, priced), Reply::Accepted { .. }));
    world.chains[0].step();
    let left = world.chains[0].account(&world.address(0, 0)).balance;
    assert_eq!(left, balance - 5 - 1_400 * (10 + tip));
    assert_eq!(world.chains[0].head.state.meta.held, 1_400 * tip);
    world.assert_conserved();
}

#[test]
fn the_last_nonce_is_never_used() {
    let mut world = World::new(Setup::default());
    let me = world.address(0, 0);
    let mut state = world.chains[0].head.state.clone();
    let set = |state: &mut ShardState, nonce| state.accounts.set(me, Account { balance: 1_000_000_000, nonce });
    set(&mut state, u64::MAX - 1);
    let order = world.order(0, 0, Action::Transfer { to: world.address(0, 3), amount: 5 });
    let sign = |nonce| Transaction { nonce, ..order.clone() }.sign(&world.key(0, 0));
    let (last_but_one, last) = (sign(u64::MAX - 1), sign(u64::MAX));
    let after = execute(&mut world, &state, &last_but_one).unwrap();
    assert_eq!(after.account(&me).nonce, u64::MAX);
    for signed in [last, last_but_one] {
        let reason = execute(&mut world, &after, &signed).unwrap_err();
        assert!(
            matches!(reason, InvalidBlock::Transaction { reason: InvalidTransaction::NonceUsed { .. }, .. }),
            "{reason}"
        );
    }
}

#[test]
fn a_transaction_that_failed_leaves_nothing_and_is_not_applied_once_it_is_too_late() {
    let mut world = World::new(Setup::default());
    let (me, far) = (world.address(0, 0), world.address(1, 0));
    let order = world.order(0, 0, Action::Transfer { to: far, amount: 1_000_000_000 });
    let signed = Transaction { valid_until: Slot(5), ..order }.sign(&world.key(0, 0));
    let before = world.chains[0].head.state.clone();
    let overdraft = execute(&mut world, &before, &signed).unwrap_err();
    assert!(matches!(overdraft, InvalidBlock::Transaction { reason: InvalidTransaction::Overdraft { .. }, .. }));
    assert!(matches!(refused(world.chains[0].submit(signed.clone())), InvalidTransaction::Overdraft { .. }));
    assert_eq!(world.chains[0].head.state.account(&me), Account { balance: 1_000_000_000, nonce: 0 });
    // Funded before its last slot it could still be executed; after it, never.
    let key = world.key(0, 1);
    let fund = world.order(0, 1, Action::Transfer { to: me, amount: 500_000_000 });
    world.chains[0].submit(fund.sign(&key));
    world.chains[0].step();
    let funded = world.chains[0].head.state.clone();
    assert!(execute(&mut world, &funded, &signed).is_ok());
    world.record(6);
    let late = execute(&mut world, &funded, &signed).unwrap_err();
    assert!(matches!(late, InvalidBlock::Transaction { reason: InvalidTransaction::Expired { .. }, .. }));
    assert!(matches!(refused(world.chains[0].submit(signed)), InvalidTransaction::Expired { .. }));
}
