//! What reports of evidence cost: the fee, always; what is false, doctored, stale or told before gets nothing back.

use crate::{BALANCE, SEAT, World, address, owner, secret};
use kakera_beacon::Status;
use kakera_chain::{
    BlockId, Member, Slot,
    advances::Advances,
    application::Application,
    evidence::{Equivocation, Evidence},
    message::{Estimate, SignedMessage, Statement},
    receipt::{ReceiptAction, ReturnReason},
    units::{ChainId, Epoch, ShardId, Timestamp, ValidatorId},
};
use kakera_shard::{Action, Input, Reply, Transaction};

/// That a member of a shard said two things, signed by a validator.
fn equivocation(world: &World, shard: u16, member: u16, by: ValidatorId) -> Vec<u8> {
    let say = |vote: u8| {
        let statement = Statement {
            chain: ChainId::Shard(ShardId(shard)),
            epoch: Epoch(0),
            root: BlockId([3; 32]),
            sender: Member(member),
            seq: 4,
            slot: Slot(9),
            base: BlockId([3; 32]),
            advances: Advances::default(),
            cites: [5; 32],
            estimate: Estimate::Vote(BlockId([vote; 32])),
        };
        SignedMessage::sign(statement, &secret(2, by.0.into()), world.network.id)
    };
    let pair = Equivocation::of(say(1), say(2), world.network.id);
    Evidence::Equivocation(Box::new(pair)).to_bytes().unwrap()
}

/// The member of a shard's committee of one.
fn member(world: &World, shard: u16) -> ValidatorId {
    world.state.shard(ShardId(shard)).unwrap().bench.0[0]
}

fn balance(world: &World) -> u64 {
    world.chains[0].head.state.account(&address(0, 1)).balance
}

/// Account 1 of shard 0 reports: what that cost it, what came back in the end, and the reason if it was refused.
fn report(world: &mut World, bytes: Vec<u8>) -> (u64, u64, Option<ReturnReason>) {
    let (key, before) = (owner(0, 1), balance(world));
    let chain = &mut world.chains[0];
    let order = Transaction {
        network: world.network.id,
        sender: key.public(),
        nonce: chain.head.state.account(&address(0, 1)).nonce,
        valid_until: Slot(u64::MAX),
        gas_limit: 100_000,
        max_fee: 1_000,
        tip: 1,
        action: Action::SubmitEvidence { bytes },
    };
    let reply = chain.shard.handle(Timestamp(0), &chain.head.state, Input::Submit(order.sign(&key))).reply;
    assert!(matches!(reply, Reply::Accepted { .. }), "{reply:?}");
    world.step(0, usize::MAX);
    let paid = before - balance(world);
    assert!(paid > 5_000, "gas of some signature checks, delivery included: {paid}");
    world.record(&[0, 1], false);
    let unheard = world.chains[0].unheard.iter().flat_map(|reading| &reading.receipts);
    let answers: Vec<ReceiptAction> = unheard.map(|receipt| receipt.action.clone()).collect();
    assert_eq!(answers.len(), 1, "{answers:?}");
    world.step(0, usize::MAX);
    let back = balance(world) - (before - paid);
    let reason = match &answers[0] {
        ReceiptAction::Return { to, amount: 0, reason, .. } if *to == address(0, 1) => Some(*reason),
        ReceiptAction::Reward { to, amount, .. } if *to == address(0, 1) && *amount == back => None,
        other => panic!("{other:?}"),
    };
    (paid, back, reason)
}

#[test]
fn evidence_that_convicts_nobody_anew_costs_its_sender_the_fee_and_changes_nothing() {
    let mut world = World::new();
    let (guilty, innocent) = (member(&world, 0), member(&world, 1));
    let good = equivocation(&world, 0, 0, guilty);
    let mut doctored = good.clone();
    let last = doctored.len() - 1;
    doctored[last] ^= 1;
    let mut longer = good.clone();
    longer.push(0);
    let Evidence::Equivocation(pair) = Evidence::decode(&good).unwrap() else { panic!("a pair") };
    let swapped = Equivocation { first: pair.second.clone(), second: pair.first.clone() };
    let twice = Equivocation { first: pair.first.clone(), second: pair.first };
    let bytes = |pair| Evidence::Equivocation(Box::new(pair)).to_bytes().unwrap();
    let refused = [
        vec![7; 40],
        doctored,
        longer,
        bytes(swapped),
        bytes(twice),
        equivocation(&world, 1, 0, guilty),
        equivocation(&world, 0, 1, guilty),
        equivocation(&world, 7, 0, guilty),
    ];
    let (mut spent, registry) = (0, world.state.registry.clone());
    for bytes in refused {
        let (paid, back, reason) = report(&mut world, bytes);
        assert_eq!((back, reason), (0, Some(ReturnReason::InvalidEvidence)));
        spent += paid;
        assert_eq!(world.state.registry, registry);
    }
    // What holds pays for itself, once.
    let (paid, back, reason) = report(&mut world, good.clone());
    assert_eq!((back, reason), (SEAT / 10, None));
    assert!(matches!(world.state.registry.get(guilty).unwrap().status, Status::Slashed { .. }));
    spent += paid;
    let (again, back, reason) = report(&mut world, good);
    assert_eq!((back, reason), (0, Some(ReturnReason::AlreadySlashed)));
    // And not when it is too late.
    let late = equivocation(&world, 1, 0, innocent);
    world.state.epoch = Epoch(3);
    let registry = world.state.registry.clone();
    let (stale, back, reason) = report(&mut world, late);
    assert_eq!((back, reason), (0, Some(ReturnReason::StaleEvidence)));
    assert_eq!(world.state.registry, registry);
    assert_eq!(balance(&world), BALANCE - spent - again - stale + SEAT / 10);
    assert_eq!(world.state.conservation().ok(), Some(world.network.supply()));
}
