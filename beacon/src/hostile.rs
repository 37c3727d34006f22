//! What a hostile shard may try on the beacon's record of receipts.
#![allow(clippy::unwrap_used, reason = "tests")]

use crate::{
    InvalidCrosslink,
    fixture::{ALLOCATION, Step, World, lane},
};
use kakera_chain::{
    address::Address,
    crosslink::Crosslink,
    receipt::{Receipt, ReceiptAction},
    units::Height,
};

fn send(to: u16, amount: u64) -> Step {
    Step { sends: vec![(to, amount)], transactions: 1, ..Step::default() }
}

fn take(from: u16, count: u64) -> Step {
    Step { takes: vec![(from, count)], ..Step::default() }
}

/// A crosslink of shard 0 that sends 10 and 20 to shard 1, above one that sent 5.
fn second() -> (World, Crosslink) {
    let mut world = World::new();
    world.advance(0, &[send(1, 5)]);
    let crosslink = world.extend(0, &[Step { sends: vec![(1, 10), (1, 20)], ..Step::default() }]);
    (world, crosslink)
}

/// The refusal of the changed crosslink, sealed again by a captured committee or not.
fn refusal(seal: bool, change: impl FnOnce(&mut World, &mut Vec<Receipt>)) -> InvalidCrosslink {
    let (mut world, mut crosslink) = second();
    let mut receipts = crosslink.receipts[0].clone();
    change(&mut world, &mut receipts);
    crosslink.receipts[0] = receipts;
    if seal {
        world.seal(&mut crosslink);
    }
    let before = world.state.clone();
    let refused = world.record(crosslink).unwrap_err();
    assert_eq!(world.state, before, "nothing changed");
    refused
}

#[test]
fn a_receipt_mutated_in_any_field_is_not_what_the_header_commits_to() {
    let mutations: [fn(&mut Receipt); 9] = [
        |receipt| receipt.lane.from = lane(2, 1).from,
        |receipt| receipt.lane.to = lane(0, 2).to,
        |receipt| receipt.seq += 1,
        |receipt| transfer(receipt, |from, _, _, _| from.0[31] ^= 1),
        |receipt| transfer(receipt, |_, to, _, _| to.0[31] ^= 1),
        |receipt| transfer(receipt, |_, _, amount, _| *amount += 1),
        |receipt| transfer(receipt, |_, _, _, expires_at| *expires_at += 1),
        |receipt| {
            let ReceiptAction::Transfer { transaction, .. } = &mut receipt.action else { unreachable!() };
            transaction.0[0] ^= 1;
        },
        |receipt| {
            let ReceiptAction::Transfer { from, amount, transaction, .. } = receipt.action else { unreachable!() };
            let reason = kakera_chain::receipt::ReturnReason::Expired;
            receipt.action = ReceiptAction::Return { original: 0, to: from, amount, reason, transaction };
        },
    ];
    for (field, mutate) in mutations.into_iter().enumerate() {
        let refused = refusal(false, |_, receipts| mutate(&mut receipts[1]));
        assert_eq!(refused, InvalidCrosslink::OutboxRoot { height: Height(2) }, "mutation {field}");
    }
}

fn transfer(receipt: &mut Receipt, change: impl FnOnce(&mut Address, &mut Address, &mut u64, &mut u64)) {
    let ReceiptAction::Transfer { from, to, amount, expires_at, .. } = &mut receipt.action else { unreachable!() };
    change(from, to, amount, &mut expires_at.0);
}

#[test]
fn a_receipt_replayed_reordered_duplicated_or_revalued_is_refused_even_from_a_captured_committee() {
    use InvalidCrosslink as Refused;
    let lane = lane(0, 1);
    let order = |expected, found| Refused::LaneOrder { lane, expected, found };
    assert_eq!(
        refusal(true, |world, receipts| receipts.insert(0, world.lanes[&lane][0].clone())),
        order(1, 0),
        "replayed"
    );
    assert_eq!(refusal(true, |_, receipts| receipts.swap(0, 1)), order(1, 2), "reordered");
    assert_eq!(refusal(true, |_, receipts| receipts.push(receipts[1].clone())), order(3, 2), "duplicated");
    assert_eq!(refusal(true, |_, receipts| receipts.retain(|receipt| receipt.seq != 1)), order(1, 2), "skipped");
    let valued = refusal(true, |_, receipts| transfer(&mut receipts[0], |_, _, amount, _| *amount = u64::MAX));
    assert_eq!(valued, Refused::Sent { height: Height(2), expected: 5 + 20 + u128::from(u64::MAX), found: 35 });
}

#[test]
fn blocks_orphaned_by_a_recorded_sibling_are_refused_with_their_receipts() {
    let (mut world, mut other) = (World::new(), World::new());
    world.advance(0, &[send(1, 5)]);
    // The same committee certified another block at that height, and one above it.
    let sibling = other.extend(0, &[send(1, 6)]);
    let above = other.extend(0, &[send(1, 7)]);
    let mut both = sibling.clone();
    both.headers.extend(above.headers.clone());
    both.receipts.extend(above.receipts.clone());
    both.certificate = above.certificate.clone();
    let before = world.state.clone();
    for orphaned in [sibling, both] {
        assert_eq!(world.record(orphaned), Err(InvalidCrosslink::Stale { recorded: Height(1) }));
    }
    assert_eq!(world.record(above), Err(InvalidCrosslink::Parent { position: 0 }));
    assert_eq!(world.state, before);
    assert_eq!(world.state.in_flight(), 5);
}

#[test]
fn a_halted_destination_holds_up_its_own_lane_only() {
    let mut world = World::new();
    let bound = usize::try_from(crate::fixture::LANE_BOUND).unwrap();
    // Shard 1 is halted: the lane toward it fills.
    world.advance(0, &[Step { sends: vec![(1, 1); bound], ..Step::default() }]);
    for _ in 0..3 {
        world.advance(0, &[Step { sends: vec![(2, 1); bound], ..Step::default() }]);
        let all = Step { takes: vec![(0, bound as u64)], sends: vec![(0, 1); bound], ..Step::default() };
        world.advance(2, &[all]);
        world.advance(0, &[take(2, bound as u64)]);
    }
    // It comes back and takes what waited.
    world.advance(1, &[take(0, bound as u64)]);
    assert_eq!((world.state.in_flight(), world.state.conservation()), (0, Ok(3 * ALLOCATION)));
}
