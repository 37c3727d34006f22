//! Orders to the beacon: what they cost, what they send, what comes back, and what is refused before it is sent.
#![allow(clippy::unwrap_used, reason = "tests")]
use super::*;
use crate::{
    execution::unsettled,
    fees::{
        ACCOUNT_GAS, BOND_GAS, DELIVERY_GAS, EMIT_GAS, EVIDENCE_BYTES_A_GAS, EVIDENCE_GAS, MAX_EMITTED,
        MAX_EMITTED_BYTES, TRANSACTION_GAS,
    },
    pool::Refusal,
    records::{self, ConsumedOutcome},
    shard::Reply,
    testing::{Setup, World},
    transaction::Transaction,
};
use kakera_chain::{
    application::Application,
    block::Header,
    bond::InvalidBond,
    certificate::Certificate,
    codec,
    crosslink::Crosslink,
    genesis::{Fees, Lanes, Role, Staking},
    keys::SecretKey,
    receipt::{Lane, Receipt, ReceiptAction, ReturnReason},
    units::{ChainId, ShardId},
};

const BALANCE: u64 = 1_000_000_000;
const SEAT: u64 = 1_000_000;
const TRANSACTION: Hash = Hash([5; 32]);
const VALIDATOR: ValidatorId = ValidatorId(7);

fn staked() -> Setup {
    let staking = Staking { seat: SEAT, churn_seats: 10, reward: 5, reporter_per_mille: 100 };
    Setup { staking: Some(staking), ..Setup::default() }
}

fn bond(world: &World, owner: Address, seats: u32) -> Action {
    let end = ("host:7000".to_owned(), Hash([8; 32]));
    let bond = Bond::sign(&SecretKey::from_seed([3; 32]), &owner, (Role::Beacon, seats), end, world.beacon.network);
    Action::Bond { bond: Box::new(bond) }
}

fn all(world: &World) -> [Action; 5] {
    let owner = world.address(0, 0);
    [
        bond(world, owner, 3),
        Action::TopUp { validator: VALIDATOR, seats: 2 },
        Action::Exit { validator: VALIDATOR },
        Action::Resume { validator: VALIDATOR },
        Action::SubmitEvidence { bytes: vec![9; 33] },
    ]
}

/// Submits an action of account 0 of shard 0.
fn order(world: &mut World, action: Action) -> Reply {
    let (order, key) = (world.order(0, 0, action), world.key(0, 0));
    world.chains[0].submit(order.sign(&key))
}

fn refusal(world: &mut World, action: Action) -> InvalidTransaction {
    match order(world, action) {
        Reply::Refused(Refusal::Invalid(reason)) => reason,
        other => panic!("{other:?}"),
    }
}

fn from_beacon(seq: u64, action: ReceiptAction) -> Receipt {
    Receipt { lane: Lane { from: ChainId::Beacon, to: ChainId::Shard(ShardId(0)) }, seq, action }
}

#[test]
fn each_order_becomes_one_receipt_to_the_beacon_with_its_value() {
    let mut world = World::new(staked());
    let from = world.address(0, 0);
    let gas = TRANSACTION_GAS + ACCOUNT_GAS + EMIT_GAS;
    let evidence = Rules::of(&world.chains[0].config.network, ShardId(0)).evidence_gas(33);
    let expected = [(gas + BOND_GAS, 3 * SEAT), (gas, 2 * SEAT), (gas, 0), (gas, 0), (gas + evidence, 0)];
    let mut spent = 0;
    for (seq, (action, (gas, value))) in (0..).zip(all(&world).into_iter().zip(expected)) {
        let base_fee = world.chains[0].head.state.base_fee();
        let quote = world.chains[0].shard.quote(&world.chains[0].head.state, &action).unwrap();
        assert_eq!((quote.gas, quote.delivery_fee), (gas, DELIVERY_GAS * 10), "delivery costs as between shards");
        let order = world.order(0, 0, action.clone());
        let id = order.id();
        let key = world.key(0, 0);
        assert_eq!(world.chains[0].submit(order.sign(&key)), Reply::Accepted { id });
        let block = world.chains[0].step();
        spent += gas * (base_fee + 1) + quote.delivery_fee + value;
        let receipt = world.chains[0].emitted.last().unwrap();
        assert_eq!((receipt.lane.to, receipt.seq, receipt.amount()), (ChainId::Beacon, seq, value));
        let expected = match action {
            Action::Bond { bond } => ReceiptAction::Bond { from, amount: value, bond, transaction: id },
            Action::TopUp { validator, seats } => {
                ReceiptAction::TopUp { from, amount: value, validator, seats, transaction: id }
            }
            Action::Exit { validator } => ReceiptAction::Exit { from, validator, transaction: id },
            Action::Resume { validator } => ReceiptAction::Resume { from, validator, transaction: id },
            Action::SubmitEvidence { bytes } => ReceiptAction::Evidence { from, bytes, transaction: id },
            Action::Transfer { .. } | Action::Batch { .. } => unreachable!(),
        };
        assert_eq!(receipt.action, expected);
        assert_eq!(world.chains[0].account(&from).balance, BALANCE - spent);
        assert_eq!(block.header.figures.sent, if seq == 0 { 3 * SEAT } else { 5 * SEAT });
        world.assert_conserved();
    }
}

#[test]
fn without_stake_every_order_to_the_beacon_is_refused() {
    let mut world = World::new(Setup::default());
    for action in all(&world) {
        assert_eq!(refusal(&mut world, action.clone()), InvalidTransaction::NoStake);
        // Nor does a block that holds one stand.
        let (order, key) = (world.order(0, 0, action), world.key(0, 0));
        let signed = order.sign(&key);
        let chain = &mut world.chains[0];
        let context = chain.context(chain.header.reference);
        let body = [codec::encode(&signed.transaction)];
        let witnesses = [signed.signature.0.to_vec()];
        assert!(chain.validator.execute(&chain.head.state, &context, &body, &witnesses).is_err());
    }
}

#[test]
fn what_the_beacon_would_refuse_whatever_it_knows_is_not_sent() {
    let mut world = World::new(staked());
    let (owner, other) = (world.address(0, 0), world.address(0, 1));
    let action = bond(&world, other, 3);
    assert_eq!(refusal(&mut world, action), InvalidBond::Proof.into(), "bonded for somebody else");
    for seats in [0, 11] {
        let action = bond(&world, owner, seats);
        assert_eq!(refusal(&mut world, action), InvalidBond::Seats { found: seats, most: 10 }.into());
        let action = Action::TopUp { validator: VALIDATOR, seats };
        assert_eq!(refusal(&mut world, action), InvalidBond::Seats { found: seats, most: 10 }.into());
    }
    let Action::Bond { bond: mut named } = bond(&world, owner, 1) else { unreachable!() };
    named.endpoint = "nowhere".into();
    assert_eq!(refusal(&mut world, Action::Bond { bond: named }), InvalidBond::Endpoint.into());
    let none = Action::SubmitEvidence { bytes: Vec::new() };
    let most = 65_536 - 105 - 4 - 16;
    assert_eq!(refusal(&mut world, none), InvalidTransaction::EvidenceSize { found: 0, most });
    let much = Action::SubmitEvidence { bytes: vec![0; most + 1] };
    assert_eq!(refusal(&mut world, much), InvalidTransaction::EvidenceSize { found: most + 1, most });
    let mut poor = World::new(Setup { balance: SEAT, ..staked() });
    let action = bond(&poor, owner, 1);
    assert!(matches!(refusal(&mut poor, action), InvalidTransaction::Overdraft { have: SEAT, .. }));
}

#[test]
fn the_most_evidence_fits_the_smallest_block_that_a_network_may_have() {
    let fees = Fees { block_gas: 100_000, block_bytes: 4_096, base_fee: 1, receipt_gas_percent: 90 };
    let mut world = World::new(Setup { fees, ..staked() });
    let most = 4_096 - 105 - 4 - 16;
    let bytes = vec![1; most];
    assert!(matches!(order(&mut world, Action::SubmitEvidence { bytes }), Reply::Accepted { .. }));
    world.chains[0].step();
    assert_eq!(world.chains[0].emitted.len(), 1);
    let gas = TRANSACTION_GAS + ACCOUNT_GAS + EMIT_GAS + EVIDENCE_GAS;
    assert!(
        gas + Receipt::MAX_EVIDENCE as u64 / EVIDENCE_BYTES_A_GAS <= 100_000 / 10,
        "hashing the most takes no more"
    );
}

#[test]
fn evidence_takes_the_same_part_of_a_blocks_gas_as_of_its_bytes() {
    let fees = Fees { block_gas: 20_000_000, block_bytes: 256 * 1024, base_fee: 1, receipt_gas_percent: 40 };
    let world = World::new(Setup { fees, ..staked() });
    let rules = Rules::of(&world.chains[0].config.network, ShardId(0));
    let fixed = TRANSACTION_GAS + ACCOUNT_GAS + EMIT_GAS + EVIDENCE_GAS;
    let gas = |bytes: u64| TRANSACTION_GAS + ACCOUNT_GAS + EMIT_GAS + rules.evidence_gas(bytes);
    assert_eq!(gas(256 * 1024), 12_000_000, "all that transactions may use");
    assert_eq!(gas(64 * 1024), fixed + (12_000_000 - fixed) / 4);
    assert_eq!(gas(1_000), fixed + 45_755, "an offence proved in 1,000 bytes");
    assert_eq!(gas(0), fixed);
}

#[test]
fn what_the_beacon_pays_and_sends_back_is_credited_in_order_and_once() {
    let mut world = World::new(staked());
    let (one, two) = (world.address(0, 1), world.address(0, 2));
    let (validator, transaction) = (VALIDATOR, TRANSACTION);
    let reason = ReturnReason::KeyTaken;
    let emitted = [
        from_beacon(0, ReceiptAction::Return { original: 0, to: one, amount: 3 * SEAT, reason, transaction }),
        from_beacon(1, ReceiptAction::Withdraw { validator, to: two, amount: 40 }),
        from_beacon(2, ReceiptAction::Return { original: 1, to: one, amount: 0, reason, transaction }),
        from_beacon(3, ReceiptAction::Reward { validator, to: two, amount: 2, transaction }),
    ];
    world.record_emitting(1, &emitted);
    let block = world.chains[0].step();
    let figures = &block.header.figures;
    assert_eq!((figures.received, figures.sent), (3 * SEAT + 42, 0));
    assert_eq!((figures.inbox[0].from, figures.inbox[0].next), (ChainId::Beacon, 4));
    assert_eq!(world.chains[0].account(&one).balance, BALANCE + 3 * SEAT);
    assert_eq!(world.chains[0].account(&two).balance, BALANCE + 42);
    for receipt in &emitted {
        let record = records::consumed_record(&world.chains[0].store, &receipt.lane, receipt.seq).unwrap().unwrap();
        assert_eq!((record.amount, record.outcome), (receipt.amount(), ConsumedOutcome::Credited));
    }
    // After a restart nothing of it is due again.
    let chain = &world.chains[0];
    let (again, state) = chain.restarted();
    assert!(!again.has_work(&state, &chain.header.reference, chain.header.slot));
    world.chains[0].step();
    assert_eq!(world.chains[0].account(&two).balance, BALANCE + 42);
}

#[test]
fn the_beacons_lane_takes_its_turn_among_the_others() {
    let mut world = World::new(Setup { shards: 3, ..staked() });
    world.send(1, 0, world.address(0, 3), 1);
    world.send(2, 0, world.address(0, 3), 1);
    world.step_all();
    let to = world.address(0, 1);
    let pay = |seq| from_beacon(seq, ReceiptAction::Withdraw { validator: VALIDATOR, to, amount: 1 });
    world.record_emitting(1, &[pay(0), pay(1)]);
    world.chains[0].step();
    let order: Vec<ChainId> =
        world.chains[0].head.state.outcome.consumed.iter().map(|(receipt, _)| receipt.lane.from).collect();
    let shard = |id| ChainId::Shard(ShardId(id));
    assert_eq!(order, [ChainId::Beacon, shard(1), shard(2), ChainId::Beacon]);
}

#[test]
fn orders_to_the_beacon_wait_while_their_lane_is_full_and_are_settled_once_recorded() {
    let mut world = World::new(Setup { lanes: Lanes { bound: 2, lifetime_slots: 9 }, ..staked() });
    let exit = Action::Exit { validator: VALIDATOR };
    for nonce in 0..3 {
        let key = world.key(0, 0);
        let order = Transaction { nonce, ..world.order(0, 0, exit.clone()) };
        assert!(matches!(world.chains[0].submit(order.sign(&key)), Reply::Accepted { .. }));
    }
    let count = |world: &World| world.chains[0].emitted.len();
    let open = |world: &World| {
        let chain = &world.chains[0];
        unsettled(&chain.head.state.meta, chain.shard.view().lanes(), ChainId::Beacon)
    };
    world.chains[0].step();
    assert_eq!((count(&world), open(&world)), (2, 2));
    let full = world.chains[0].shard.quote(&world.chains[0].head.state, &exit).unwrap().full_lanes;
    assert_eq!(full, [ChainId::Beacon]);
    // Both are recorded, and consumed there; one is refused. Until its return is consumed here it is not settled.
    let back = ReceiptAction::Return {
        original: 1,
        to: world.address(0, 0),
        amount: 0,
        reason: ReturnReason::NotOwner,
        transaction: TRANSACTION,
    };
    world.record_emitting(1, &[from_beacon(0, back)]);
    assert_eq!(open(&world), 1);
    world.chains[0].step();
    assert_eq!((count(&world), open(&world)), (3, 1), "the return is consumed, and the third order goes");
    world.record(1);
    assert_eq!(open(&world), 0);
}

#[test]
fn a_block_full_of_evidence_still_fits_a_crosslink() {
    let fees = Fees { block_gas: 200_000, block_bytes: 1 << 20, base_fee: 10, receipt_gas_percent: 50 };
    let mut world = World::new(Setup { fees, ..staked() });
    let action = Action::SubmitEvidence { bytes: vec![7; Receipt::MAX_EVIDENCE] };
    for n in 0..2 {
        let key = world.key(0, n);
        for nonce in 0..5 {
            let signed = Transaction { nonce, ..world.order(0, n, action.clone()) }.sign(&key);
            assert!(matches!(world.chains[0].submit(signed), Reply::Accepted { .. }));
        }
    }
    world.chains[0].step();
    assert_eq!(world.chains[0].emitted.len(), 5, "of ten reports of 64 KiB");
    let crosslink = world.chains[0].crosslink().unwrap();
    let receipts = codec::encode(&crosslink.receipts).len();
    let around = 4 + 4;
    assert!(receipts <= usize::try_from(MAX_EMITTED_BYTES).unwrap() + around);
    let most = usize::try_from(MAX_EMITTED_BYTES).unwrap() + around;
    assert!(most + Header::MAX_BYTES + Certificate::MAX_BYTES + 16 <= Crosslink::MAX_BYTES);
    let transfers = MAX_EMITTED * Receipt::TRANSFER_BYTES;
    assert!(transfers as u64 <= MAX_EMITTED_BYTES, "as many transfers as may be emitted always fit");
    world.chains[0].step();
    assert_eq!(world.chains[0].emitted.len(), 10, "the rest follows");
}
