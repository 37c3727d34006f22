//! What a state records and what it refuses, as statements over hand-made shard chains.
#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::fixture::{ALLOCATION, LANE_BOUND, SHARDS, Step, World, lane};
use kakera_chain::{
    BlockId, Member, Slot, certificate::InvalidCertificate, codec, hash::Hash, receipt::Reference, units::Epoch,
};
use proptest::prelude::*;

fn send(to: u16, amount: u64) -> Step {
    Step { sends: vec![(to, amount)], transactions: 1, ..Step::default() }
}

fn take(from: u16, count: u64) -> Step {
    Step { takes: vec![(from, count)], ..Step::default() }
}

/// The refusal of a crosslink with one empty block, one that sends 30 to shard 1 and one that takes 50 from shard 2, once
/// `change` was made to it and it was sealed again.
fn refusal(change: impl FnOnce(&mut Crosslink)) -> InvalidCrosslink {
    let mut world = World::new();
    world.advance(2, &[send(0, 50)]);
    let mut crosslink = world.extend(0, &[Step::default(), send(1, 30), take(2, 1)]);
    change(&mut crosslink);
    world.seal(&mut crosslink);
    let before = world.state.clone();
    let refused = world.record(crosslink).unwrap_err();
    assert_eq!(world.state, before);
    refused
}

#[test]
fn a_chain_of_crosslinks_is_recorded() {
    let mut world = World::new();
    world.advance(0, &[Step::default(), send(1, 30), Step { burns: 5, ..send(1, 40) }]);
    assert_eq!(world.state.lane(&lane(0, 1)).unwrap().recorded(), 2);
    assert_eq!(world.state.in_flight(), 70);
    world.advance(1, &[take(0, 1), Step { takes: vec![(0, 1)], returns: vec![(0, 1)], ..Step::default() }]);
    let there = world.state.lane(&lane(0, 1)).unwrap();
    assert_eq!((there.consumed, there.pending.len(), there.ordinary), (2, 0, 0));
    let back = world.state.lane(&lane(1, 0)).unwrap();
    assert_eq!((back.recorded(), back.ordinary, world.state.in_flight()), (1, 0, 40));
    world.advance(0, &[take(1, 1)]);
    let solvency = world.state.shard(ShardId(0)).unwrap().solvency();
    assert_eq!((solvency.sent, solvency.received, solvency.burned), (70, 40, 5));
    assert_eq!(world.state.conservation(), Ok(3 * ALLOCATION));
    assert_eq!(world.state.shard(ShardId(0)).unwrap().last.header.height, Height(4));
}

#[test]
fn crosslinks_continue_what_is_recorded() {
    use InvalidCrosslink as Refused;
    let mut world = World::new();
    let first = world.extend(0, &[Step::default()]);
    let second = world.extend(0, &[Step::default(), Step::default()]);
    assert_eq!(world.record(second.clone()), Err(Refused::Gap { recorded: Height(0), first: Height(2) }));
    assert_eq!(world.record(first.clone()), Ok(()));
    assert_eq!(world.record(first.clone()), Err(Refused::Stale { recorded: Height(1) }));
    let mut beside = second.clone();
    beside.headers[0].parent = BlockId([3; 32]);
    world.seal(&mut beside);
    assert_eq!(world.record(beside), Err(Refused::Parent { position: 0 }));
    assert_eq!(
        world.record(Crosslink { shard: ShardId(SHARDS), ..first }),
        Err(Refused::UnknownShard { shard: ShardId(SHARDS) })
    );
    let empty = Crosslink { headers: Vec::new(), receipts: Vec::new(), ..second.clone() };
    assert_eq!(world.record(empty), Err(Refused::HeaderCount { found: 0, limit: 64 }));
    assert_eq!(world.record(second), Ok(()));
    let long = world.extend(0, &vec![Step::default(); 65]);
    assert_eq!(world.record(long), Err(Refused::HeaderCount { found: 65, limit: 64 }));
}

#[test]
fn headers_are_linked_and_of_their_era() {
    use InvalidCrosslink as Refused;
    assert_eq!(refusal(|c| c.receipts.truncate(2)), Refused::ReceiptLists { headers: 3, lists: 2 });
    assert_eq!(refusal(|c| c.headers[1].height = Height(5)), Refused::HeightOrder { position: 1 });
    assert_eq!(refusal(|c| c.headers[2].height = Height(u64::MAX)), Refused::HeightOrder { position: 2 });
    assert_eq!(refusal(|c| c.headers[2].slot = c.headers[1].slot), Refused::SlotOrder { position: 2 });
    assert_eq!(refusal(|c| c.headers[0].slot = Slot(0)), Refused::SlotOrder { position: 0 });
    let read = Reference { height: Height(7), slot: Slot(9), id: BlockId([1; 32]) };
    assert_eq!(refusal(|c| c.headers[1].reference = read), Refused::ReferenceOrder { position: 2 });
    assert_eq!(refusal(|c| c.headers[0].epoch = Epoch(1)), Refused::OtherEra { position: 0 });
    assert_eq!(refusal(|c| c.headers[1].root = BlockId([1; 32])), Refused::OtherEra { position: 1 });
    assert_eq!(refusal(|c| c.headers[2].chain = ChainId::Beacon), Refused::OtherEra { position: 2 });
    assert_eq!(refusal(|c| c.shard = ShardId(1)), Refused::OtherEra { position: 0 });
}

/// The refusal of a sound crosslink once `change` was made to it and it was not sealed again.
fn unsealed(change: impl FnOnce(&World, &mut Crosslink)) -> InvalidCrosslink {
    let mut world = World::new();
    let mut crosslink = world.extend(0, &[send(1, 30), send(2, 40)]);
    change(&world, &mut crosslink);
    world.record(crosslink).unwrap_err()
}

#[test]
fn forged_certificates_are_refused() {
    use InvalidCertificate as Forged;
    let certificate = |change: fn(&World, &mut Crosslink)| match unsealed(change) {
        InvalidCrosslink::Certificate(reason) => reason,
        other => panic!("{other}"),
    };
    let two_thirds = certificate(|world, c| c.certificate = world.certificate(c, 4));
    assert_eq!(two_thirds, Forged::TooLittleWeight { weight: 4, total: 6 });
    let same_twice = certificate(|_, c| c.certificate.signatures[5] = c.certificate.signatures[4]);
    assert_eq!(same_twice, Forged::SignerOrder { position: 5 });
    let stranger = certificate(|_, c| c.certificate.signatures[5].0 = Member(6));
    assert_eq!(stranger, Forged::UnknownSigner { member: Member(6) });
    let swapped = certificate(|_, c| c.certificate.signatures[5].1 = c.certificate.signatures[4].1);
    assert_eq!(swapped, Forged::Signature { member: Member(5) });
    let other_block = certificate(|world, c| {
        let first = Crosslink { headers: vec![c.headers[0].clone()], ..c.clone() };
        c.certificate = world.certificate(&first, 6);
    });
    assert_eq!(other_block, Forged::OtherBlock);
    let other_era = certificate(|_, c| c.certificate.finality.epoch = Epoch(1));
    assert_eq!(other_era, Forged::OtherEra);
    let other_shard = certificate(|world, c| {
        c.certificate = world.certificate(&Crosslink { shard: ShardId(1), ..c.clone() }, 6);
    });
    assert!(matches!(other_shard, Forged::Signature { .. }));
}

#[test]
fn five_of_six_certify() {
    let mut world = World::new();
    let mut crosslink = world.extend(0, &[send(1, 30)]);
    crosslink.certificate = world.certificate(&crosslink, 5);
    assert_eq!(world.record(crosslink), Ok(()));
}

#[test]
fn receipts_and_links_are_what_the_headers_commit_to() {
    let outbox = InvalidCrosslink::OutboxRoot { height: Height(1) };
    assert_eq!(unsealed(|_, c| c.receipts[0].clear()), outbox);
    assert_eq!(unsealed(|_, c| c.receipts.swap(0, 1)), outbox);
    let doubled = unsealed(|_, c| {
        let first = c.receipts[0][0].clone();
        c.receipts[0].push(first);
    });
    assert_eq!(doubled, outbox);
    assert_eq!(unsealed(|_, c| c.headers[0].state_root = Hash([9; 32])), InvalidCrosslink::Parent { position: 1 });
}

#[test]
fn receipts_stay_in_their_lanes() {
    use InvalidCrosslink as Refused;
    let sent = |change: fn(&mut Receipt)| refusal(|c| change(&mut c.receipts[1][0]));
    assert_eq!(sent(|r| r.lane.from = lane(1, 2).from), Refused::LaneSource { from: lane(1, 2).from });
    assert_eq!(sent(|r| r.lane.to = r.lane.from), Refused::LaneDestination { to: lane(0, 0).to });
    assert_eq!(sent(|r| r.lane.to = ChainId::Beacon), Refused::LaneDestination { to: ChainId::Beacon });
    assert_eq!(sent(|r| r.lane.to = lane(0, SHARDS).to), Refused::LaneDestination { to: lane(0, SHARDS).to });
    assert_eq!(sent(|r| r.seq = 1), Refused::LaneOrder { lane: lane(0, 1), expected: 0, found: 1 });
    assert_eq!(sent(|r| r.seq = u64::MAX), Refused::LaneOrder { lane: lane(0, 1), expected: 0, found: u64::MAX });
}

#[test]
fn inbox_cursors_go_forward_within_what_is_recorded() {
    use InvalidCrosslink as Refused;
    let from = |n: u16| ChainId::Shard(ShardId(n));
    let inbox = |cursors: &[(ChainId, u64)]| {
        let cursors: Vec<LaneCursor> =
            cursors.iter().map(|(from, next)| LaneCursor { from: *from, next: *next }).collect();
        refusal(|c| c.headers[2].figures.inbox = cursors)
    };
    assert_eq!(inbox(&[(from(2), 2)]), Refused::CursorAhead { lane: lane(2, 0), recorded: 1, found: 2 });
    assert_eq!(inbox(&[(from(2), u64::MAX)]), Refused::CursorAhead { lane: lane(2, 0), recorded: 1, found: u64::MAX });
    assert_eq!(inbox(&[]), Refused::Received { height: Height(3), expected: 0, found: 50 });
    for odd in [
        vec![(from(2), 1), (from(1), 0)],
        vec![(from(2), 1); 2],
        vec![(from(0), 0)],
        vec![(from(SHARDS), 0)],
        vec![(ChainId::Beacon, 0)],
    ] {
        assert_eq!(inbox(&odd), Refused::Inbox { height: Height(3) }, "{odd:?}");
    }
    for (next, inbox) in [(0, vec![LaneCursor { from: from(2), next: 0 }]), (0, vec![])] {
        let mut world = World::new();
        world.advance(2, &[send(0, 50)]);
        world.advance(0, &[take(2, 1)]);
        let mut crosslink = world.extend(0, &[Step::default()]);
        crosslink.headers[0].figures.inbox = inbox;
        world.seal(&mut crosslink);
        let expected = Refused::CursorRegresses { lane: lane(2, 0), consumed: 1, found: next };
        assert_eq!(world.record(crosslink), Err(expected));
    }
}

#[test]
fn figures_follow_from_receipts() {
    use InvalidCrosslink as Refused;
    let height = Height(3);
    let figures = |change: fn(&mut Figures)| refusal(|c| change(&mut c.headers[2].figures));
    assert_eq!(figures(|f| f.sent += 1), Refused::Sent { height, expected: 30, found: 31 });
    assert_eq!(figures(|f| f.sent -= 1), Refused::Sent { height, expected: 30, found: 29 });
    assert_eq!(figures(|f| f.received += 1), Refused::Received { height, expected: 50, found: 51 });
    let expected = u128::from(ALLOCATION) + 20;
    assert_eq!(figures(|f| f.balances += 1), Refused::Unbalanced { height, expected, found: expected + 1 });
    assert_eq!(
        figures(|f| f.held = u64::MAX),
        Refused::Unbalanced { height, expected, found: expected + u128::from(u64::MAX) }
    );
    assert_eq!(figures(|f| f.burned = 1), Refused::Unbalanced { height, expected: expected - 1, found: expected });
    let burned = refusal(|c| {
        c.headers[1].figures.burned = 2;
        c.headers[1].figures.balances -= 2;
    });
    assert_eq!(burned, Refused::Burned { height, before: 2, found: 0 });
    let insolvent = figures(|f| {
        f.burned = u64::MAX;
        f.balances = 0;
    });
    let had = u128::from(ALLOCATION) + 50;
    assert_eq!(insolvent, Refused::Insolvent { height, left: u128::from(u64::MAX) + 30, had });
}

#[test]
fn returns_give_back_once_what_was_consumed_beside_them() {
    let mut world = World::new();
    world.advance(1, &[Step { sends: vec![(0, 10), (0, 10), (0, 20)], ..Step::default() }]);
    let good = Step { takes: vec![(1, 2)], returns: vec![(1, 0), (1, 1)], ..Step::default() };
    let crosslink = world.extend(0, &[good]);
    for wrong in [0, 2, u64::MAX] {
        let mut changed = crosslink.clone();
        let ReceiptAction::Return { original, .. } = &mut changed.receipts[0][1].action else { unreachable!() };
        *original = wrong;
        world.seal(&mut changed);
        assert_eq!(world.record(changed), Err(InvalidCrosslink::UnfoundedReturn { lane: lane(0, 1), seq: 1 }));
    }
    assert_eq!(world.record(crosslink), Ok(()));
    let of_a_return = world.extend(1, &[Step { takes: vec![(0, 1)], returns: vec![(0, 0)], ..Step::default() }]);
    assert_eq!(world.record(of_a_return), Err(InvalidCrosslink::UnfoundedReturn { lane: lane(1, 0), seq: 3 }));
}

#[test]
fn a_lane_holds_a_bounded_number_of_ordinary_receipts() {
    let mut world = World::new();
    let bound = usize::try_from(LANE_BOUND).unwrap();
    world.advance(0, &[Step { sends: vec![(1, 1); bound], ..Step::default() }]);
    let mut full = World::new();
    let over = full.extend(0, &[Step { sends: vec![(1, 1); bound + 1], ..Step::default() }]);
    assert_eq!(full.record(over), Err(InvalidCrosslink::LaneFull { lane: lane(0, 1), bound: LANE_BOUND }));
    // Returns do not count, and what is consumed makes room.
    world.advance(
        1,
        &[Step { takes: vec![(0, 3)], sends: vec![(0, 1); bound], returns: vec![(0, 1)], ..Step::default() }],
    );
    world.advance(0, &[Step { sends: vec![(1, 1); 3], ..Step::default() }]);
}

#[test]
fn too_many_bytes_are_refused() {
    let mut world = World::new();
    let mut crosslink = world.extend(0, &[Step::default()]);
    let cursor = LaneCursor { from: ChainId::Beacon, next: 0 };
    crosslink.headers[0].figures.inbox = vec![cursor; 60_000];
    world.seal(&mut crosslink);
    assert!(matches!(world.record(crosslink), Err(InvalidCrosslink::TooLong { limit: Crosslink::MAX_BYTES, .. })));
}

/// A shard, what it sends, how many receipts it takes from each other shard, what it burns.
type Round = (u16, Vec<(u16, u64)>, u64, u64);

fn rounds() -> impl Strategy<Value = Vec<Round>> {
    let sends = proptest::collection::vec((1..SHARDS, 0u64..1000), 0..4);
    proptest::collection::vec((0..SHARDS, sends, 0u64..9, 0u64..50), 1..12)
}

/// Plays rounds, each one crosslink of two blocks; lanes at their bound are given nothing more.
fn play(rounds: Vec<Round>) -> World {
    let mut world = World::new();
    for (shard, sends, take, burns) in rounds {
        let waiting =
            |world: &World, from, to| world.state.lane(&lane(from, to)).map_or(0, |log| log.pending.len() as u64);
        let others: Vec<u16> = (0..SHARDS).filter(|other| *other != shard).collect();
        let takes = others.iter().map(|from| (*from, waiting(&world, *from, shard).min(take))).collect();
        let sends = sends
            .into_iter()
            .map(|(offset, amount)| ((shard + offset) % SHARDS, amount))
            .filter(|(to, _)| waiting(&world, shard, *to) + 4 <= LANE_BOUND)
            .collect();
        world.advance(shard, &[Step { takes, ..Step::default() }, Step { sends, burns, ..Step::default() }]);
    }
    world
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn lanes_have_no_gaps(rounds in rounds()) {
        let mut world = play(rounds);
        for (lane, receipts) in world.lanes.clone() {
            let log = world.state.lane(&lane).unwrap();
            prop_assert_eq!(log.recorded(), receipts.len() as u64);
            let pending: Vec<u64> = log.pending.iter().map(|pending| pending.amount).collect();
            let amounts: Vec<u64> = receipts.iter().map(Receipt::amount).collect();
            prop_assert_eq!(pending, &amounts[usize::try_from(log.consumed).unwrap()..]);
            prop_assert_eq!(log.ordinary, log.pending.len() as u64);
        }
        prop_assert_eq!(world.state.conservation(), Ok(3 * ALLOCATION));
        // A receipt left out of the log, by a committee that seals the rest.
        let mut gap = world.extend(0, &[Step { sends: vec![(1, 1), (1, 1)], ..Step::default() }]);
        let at = gap.receipts[0].remove(0).seq;
        world.seal(&mut gap);
        prop_assert_eq!(world.record(gap), Err(InvalidCrosslink::LaneOrder { lane: lane(0, 1), expected: at, found: at + 1 }));
    }

    #[test]
    fn an_insolvent_shard_is_refused(rounds in rounds(), shard in 0..SHARDS, above in 1u64..1000) {
        let mut world = play(rounds);
        let had = world.state.shard(ShardId(shard)).unwrap().solvency().available().unwrap();
        let amount = u64::try_from(had).unwrap() + above;
        let overdraw = world.extend(shard, &[Step { burns: amount, ..Step::default() }]);
        let before = world.state.root();
        let refused = world.record(overdraw).unwrap_err();
        prop_assert!(matches!(refused, InvalidCrosslink::Insolvent { left, had, .. } if left == had + u128::from(above)), "{refused}");
        prop_assert_eq!(world.state.root(), before);
    }

    #[test]
    fn refused_crosslinks_change_nothing(rounds in rounds(), field in 0..7, by in 1u64..u64::MAX) {
        let mut world = play(rounds);
        let mut crosslink = world.extend(0, &[send(1, 1), send(2, 1), Step::default()]);
        let figures = &mut crosslink.headers[2].figures;
        let changed = match field {
            0 => &mut figures.balances,
            1 => &mut figures.held,
            2 => &mut figures.burned,
            3 => &mut figures.sent,
            4 => &mut figures.received,
            5 => &mut crosslink.receipts[1][0].seq,
            _ => &mut crosslink.headers[2].height.0,
        };
        *changed = changed.wrapping_add(by);
        world.seal(&mut crosslink);
        let before = world.state.clone();
        prop_assert!(world.record(crosslink).is_err());
        prop_assert_eq!(&world.state, &before);
    }

    #[test]
    fn any_mutation_of_a_crosslink_is_refused(bit in any::<proptest::sample::Index>()) {
        let mut world = World::new();
        world.advance(2, &[send(0, 50)]);
        let crosslink = world.extend(0, &[send(1, 30), take(2, 1)]);
        let mut bytes = codec::encode(&crosslink);
        let bit = bit.index(bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        if let Ok(mutated) = Crosslink::decode(&bytes) {
            prop_assert!(world.record(mutated).is_err(), "bit {bit}");
        }
        prop_assert_eq!(world.record(crosslink), Ok(()));
    }
}

#[test]
fn every_byte_of_a_crosslink_counts() {
    let mut world = World::new();
    world.advance(2, &[send(0, 50)]);
    let crosslink = world.extend(0, &[send(1, 30), take(2, 1)]);
    let bytes = codec::encode(&crosslink);
    for at in 0..bytes.len() {
        let mut mutated = bytes.clone();
        mutated[at] ^= 1 << (at % 8);
        if let Ok(mutated) = Crosslink::decode(&mutated) {
            assert!(world.record(mutated).is_err(), "byte {at}");
        }
    }
}
