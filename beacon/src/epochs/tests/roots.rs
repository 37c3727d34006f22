//! Which root each era of a shard has, and what is refused from then on.

use super::play::{LATE, Play, SIZE, SLOTS, crosslink, report};
use crate::{
    InvalidBeaconBlock, InvalidCrosslink, Reply, certificates_of,
    fixture::{BEACON, Step, account, lane},
};
use kakera_chain::{
    BlockId, Slot,
    application::Application,
    block::Block,
    codec,
    crosslink::BeaconItem,
    lanes::LaneCount,
    receipt::{ReceiptAction, Reference},
    signatures::Signatures,
    units::{ChainId, Epoch, Height, ShardId, Timestamp, ValidatorId},
};
use std::collections::BTreeSet;

fn refusal(play: &mut Play, item: &BeaconItem) -> InvalidCrosslink {
    match play.judge(play.slot + 1, 0, std::slice::from_ref(item)).unwrap_err() {
        InvalidBeaconBlock::Crosslink { position: 0, reason } => reason,
        other => panic!("{other}"),
    }
}

#[test]
fn a_switch_block_recorded_names_the_root_the_era_and_the_bench() {
    let mut play = Play::new();
    let first = play.heartbeats();
    play.block(1, 0, &first);
    play.block(SLOTS, 0, &[]);
    // A crosslink may come to its switch block in the middle of what it shows.
    play.world.reference.slot = Slot(SLOTS - 1);
    let mut both = crosslink(&play.heartbeat(0)).clone();
    play.world.reference.slot = Slot(SLOTS);
    let last = crosslink(&play.heartbeat(0)).clone();
    both.headers.extend(last.headers.clone());
    both.receipts.extend(last.receipts.clone());
    both.certificate = last.certificate.clone();
    play.block(SLOTS + 1, 0, &[BeaconItem::Crosslink(Box::new(both))]);
    let root = (Height(3), last.headers[0].id(play.world.network.id));
    let (record, state) = (play.record(0), play.state());
    assert_eq!((record.era, record.root_height, record.root), (Epoch(1), root.0, root.1));
    assert_eq!((&record.bench, record.fallbacks), (&state.seating.current.shards[0], 0));
    let plan = state.era_of(ShardId(0), &Signatures::default()).unwrap();
    assert_eq!((plan.epoch, plan.root), (Epoch(1), root));
    let members: Vec<ValidatorId> = record.bench.seats().into_iter().map(|(id, _)| id).collect();
    assert_eq!(plan.seats.validators, members);
    assert_eq!((play.record(1).era, play.record(2).era), (Epoch(0), Epoch(0)), "nobody else's");
    // A shard that comes epochs later begins the era that it is then.
    play.block(SLOTS + 2, 0, &[]);
    play.block(5 * SLOTS, 0, &[]);
    let late = play.heartbeat(1);
    play.block(5 * SLOTS + 1, 0, &[late]);
    assert_eq!((play.record(1).era, play.record(1).fallbacks), (Epoch(5), 0));
    assert_eq!(play.record(1).bench, play.state().seating.current.shards[1]);
}

#[test]
fn a_shard_finds_its_own_certificates_in_what_a_block_records() {
    let mut play = Play::new();
    let (reveal, attendance) = (play.reveal(0), BeaconItem::Attendance(Box::new(play.attendance(1, &[0, 1, 2]))));
    let crosslinks = [1, 0, 1].map(|shard| play.heartbeat(shard));
    let certificates = crosslinks.each_ref().map(|item| crosslink(item).certificate.clone());
    let mut body: Vec<Vec<u8>> = [reveal, attendance].iter().chain(&crosslinks).map(codec::encode).collect();
    let header = play.world.genesis_headers().remove(0);
    let block = |body: &[Vec<u8>]| Block { header: header.clone(), body: body.to_vec(), witnesses: Vec::new() };
    let found = |shard| certificates_of(ShardId(shard), &block(&body));
    assert_eq!(found(0), [certificates[1].clone()]);
    assert_eq!(found(1), [certificates[0].clone(), certificates[2].clone()]);
    assert!(found(2).is_empty());
    // What is no item hides none of the others.
    body.insert(0, vec![0xff; 9]);
    assert_eq!(certificates_of(ShardId(0), &block(&body)), [certificates[1].clone()]);
}

#[test]
fn headers_above_a_switch_block_are_refused() {
    let mut play = Play::new();
    play.block(SLOTS, 0, &[]);
    let above = play.world.extend(0, &[Step::default(), Step::default()]);
    let above = BeaconItem::Crosslink(Box::new(above));
    assert_eq!(refusal(&mut play, &above), InvalidCrosslink::PastEra { position: 1 });
    play.world.forget_unrecorded(0);
    let switch = play.heartbeat(0);
    play.block(SLOTS + 1, 0, &[switch]);
    assert_eq!(play.record(0).era, Epoch(1));
}

#[test]
fn crosslinks_of_the_old_era_are_recorded_until_a_root_is_named_and_refused_then() {
    let mut play = Play::new();
    play.block(SLOTS, 0, &[]);
    play.world.reference.slot = Slot(3);
    let old = play.heartbeat(0);
    play.block(SLOTS + 1, 0, &[old]);
    assert_eq!(play.record(0).era, Epoch(0), "it has not read that the epoch is over");
    let (switch, mut above) = (play.heartbeat(0), crosslink(&play.heartbeat(0)).clone());
    play.block(SLOTS + 2, 0, &[switch]);
    assert_eq!(play.record(0).era, Epoch(1));
    // The old committee signs on, above the root.
    assert_eq!(above.headers[0].parent, play.record(0).root);
    let signed = BeaconItem::Crosslink(Box::new(above.clone()));
    assert_eq!(refusal(&mut play, &signed), InvalidCrosslink::OtherEra { position: 0 });
    // It cannot pass for the new one, either.
    (above.headers[0].epoch, above.headers[0].root) = (Epoch(1), play.record(0).root);
    let certificate = above.certificate.clone();
    play.world.seal(&mut above);
    above.certificate.signatures = certificate.signatures;
    let forged = BeaconItem::Crosslink(Box::new(above));
    assert!(matches!(refusal(&mut play, &forged), InvalidCrosslink::Certificate(_)));
}

#[test]
fn a_shard_that_does_not_follow_in_time_goes_on_from_its_last_recorded_block_with_standbys() {
    let mut play = Play::new();
    let beats = play.heartbeats();
    play.block(1, 0, &beats);
    play.block(SLOTS + 1, 0, &[]);
    let late = play.heartbeat(0);
    let beats = [play.heartbeat(1), play.heartbeat(2)];
    play.block(SLOTS + 2, 0, &beats);
    let due = SLOTS + 1 + LATE;
    assert!(!play.state().is_due(Slot(due - 1)) && play.state().is_due(Slot(due)));
    let (before, last) = (play.state().clone(), play.record(0).last.clone());
    play.block(due, 0, &[]);
    let record = play.record(0).clone();
    assert_eq!((record.era, record.fallbacks), (Epoch(1), 1));
    assert_eq!((record.root, record.root_height), (last.id, last.header.height));
    let sat: BTreeSet<ValidatorId> = before.seating.current.shards.iter().flat_map(|bench| bench.0.clone()).collect();
    assert!(record.bench.0.iter().all(|holder| !sat.contains(holder)), "six seats stand by for four places");
    assert_eq!(record.bench.0.iter().collect::<BTreeSet<_>>().len(), SIZE as usize);
    let seating = &play.state().seating;
    assert_eq!((&seating.current.shards[0], &seating.next.shards[0]), (&record.bench, &record.bench));
    for (shard, old) in (1u16..).zip(&before.shards[1..]) {
        assert_eq!(play.record(shard), old.as_ref(), "others keep theirs");
        assert_eq!(seating.current.shards[usize::from(shard)], before.seating.current.shards[usize::from(shard)]);
    }
    assert_eq!(play.state().eras[&(ChainId::Shard(ShardId(0)), Epoch(1))], record.bench.seats());
    assert_eq!(refusal(&mut play, &late), InvalidCrosslink::OtherEra { position: 0 });
    // The new committee goes on from there, once.
    play.world.forget_unrecorded(0);
    let item = play.heartbeat(0);
    assert_eq!(crosslink(&item).headers[0].parent, record.root);
    play.block(due + 1, 0, &[item]);
    play.block(2 * SLOTS - 1, 0, &[]);
    assert_eq!((play.record(0).era, play.record(0).fallbacks, play.record(0).root), (Epoch(1), 1, record.root));
    play.turn(2);
    assert_eq!((play.record(0).era, play.record(0).fallbacks), (Epoch(2), 1));
}

#[test]
fn a_switch_block_is_in_time_in_the_block_that_would_have_replaced_its_committee() {
    let mut play = Play::new();
    play.block(SLOTS, 0, &[]);
    let beats = play.heartbeats();
    play.block(SLOTS + LATE, 0, &beats);
    for shard in 0..3 {
        assert_eq!((play.record(shard).era, play.record(shard).fallbacks), (Epoch(1), 0));
    }
}

#[test]
fn all_shards_may_fall_back_at_once_and_again_and_again() {
    let mut play = Play::new();
    for epoch in 1..6 {
        play.block(epoch * SLOTS, 0, &[]);
        play.block(epoch * SLOTS + LATE, 0, &[]);
        let records: Vec<_> = (0..3).map(|shard| (play.record(shard).era.0, play.record(shard).fallbacks)).collect();
        assert_eq!(records, [(epoch, epoch); 3]);
        let held = play.state().seating.current.held();
        assert!(held.values().all(|seats| *seats == 1), "six standbys for twelve places, and no seat in two of them");
    }
    assert!(play.state().shards.iter().all(|record| record.root_height == Height(0)), "nothing was recorded");
}

#[test]
fn who_leads_an_era_is_the_same_in_every_state_that_names_it() {
    let mut play = Play::new();
    let reveal = play.reveal(0);
    play.block(1, 0, &[reveal]);
    play.turn(1);
    let reveal = play.reveal(0);
    play.block(SLOTS + 2, 0, &[reveal]);
    play.turn(2);
    let leaders = |play: &Play| play.state().era_of(ShardId(1), &Signatures::default()).unwrap().leaders;
    let known = leaders(&play);
    // The epoch has turned, but the shard's era goes on.
    play.block(3 * SLOTS, 0, &[]);
    assert_eq!(play.record(1).era, Epoch(2));
    assert_eq!(leaders(&play), known);
}

/// A shard falls back on both of two branches, on the same block; on one of them a standby was slashed before.
#[test]
fn a_certificate_that_held_on_one_branch_is_judged_anew_on_another_with_another_committee() {
    let mut network = super::play::network();
    network.genesis.staking.as_mut().unwrap().reporter_per_mille = 0;
    let mut play = Play::of(network);
    play.block(SLOTS, 0, &[]);
    let beats = [play.heartbeat(1), play.heartbeat(2)];
    play.block(SLOTS + 1, 0, &beats);
    let fork = play.state().clone();
    let beacon = play.world.beacon.clone();
    play.block(SLOTS + LATE, 0, &[]);
    let here = play.record(0).clone();
    let item = play.heartbeat(0);
    assert!(play.judge(SLOTS + LATE + 1, 0, std::slice::from_ref(&item)).is_ok());

    // On the other branch one of those drawn is not eligible any more.
    let mut there = fork;
    let gone = here.bench.0[0];
    let source = crate::Source { from: ChainId::Shard(ShardId(1)), seq: 0, who: account(1, 1) };
    let offence = crate::fixture::offence(gone, Epoch(0));
    assert!(std::sync::Arc::make_mut(&mut there.registry).slash(offence, Epoch(1), source).is_ok());
    let other = |beacon: &mut crate::Beacon| {
        let fallen = beacon.execute(&there, &super::play::at(SLOTS + LATE, 0), &[], &[]).unwrap().state;
        let record = fallen.shard(ShardId(0)).unwrap();
        assert_eq!((record.era, record.root), (here.era, here.root));
        assert_ne!(record.bench, here.bench);
        beacon.execute(&fallen, &super::play::at(SLOTS + LATE + 1, 0), &[codec::encode(&item)], &[]).map(drop)
    };
    let fresh = other(&mut beacon.clone());
    assert!(matches!(fresh, Err(InvalidBeaconBlock::Crosslink { reason: InvalidCrosslink::Certificate(_), .. })));
    assert_eq!(other(&mut play.world.beacon), fresh, "whatever was executed before");
}

#[test]
fn crosslinks_of_an_era_that_was_left_behind_do_not_crowd_out_new_ones() {
    let mut play = Play::new();
    play.block(SLOTS, 0, &[]);
    play.world.reference.slot = Slot(3);
    // Four that wait, and are not recorded in time.
    let mut longest: Option<kakera_chain::crosslink::Crosslink> = None;
    for _ in 0..crate::Pool::PER_SHARD {
        let next = crosslink(&play.heartbeat(0)).clone();
        let joined = match longest {
            None => next,
            Some(mut below) => {
                below.headers.extend(next.headers);
                below.receipts.extend(next.receipts);
                below.certificate = next.certificate;
                below
            }
        };
        let head = play.state().clone();
        assert_eq!(play.world.beacon.handle(Timestamp(0), &head, joined.clone()).reply, Reply::Accepted);
        longest = Some(joined);
    }
    let before = play.state().clone();
    let executed = play.judge(SLOTS + LATE, 0, &[]).unwrap();
    let header = crate::genesis_header(ChainId::Beacon, executed.state_root, executed.figures.clone());
    let block = Block { header, body: Vec::new(), witnesses: Vec::new() };
    play.world.beacon.certified(BlockId::default(), &block, &before, &executed);
    play.adopt(SLOTS + LATE, &executed);
    assert!(play.world.beacon.pool().is_empty(), "none of them can ever be recorded");
    play.world.forget_unrecorded(0);
    let item = play.heartbeat(0);
    let head = play.state().clone();
    let reply = play.world.beacon.handle(Timestamp(0), &head, crosslink(&item).clone()).reply;
    assert_eq!((reply, play.world.beacon.pool().len()), (Reply::Accepted, 1));
}

#[test]
fn a_captured_committee_cannot_claim_to_have_read_what_is_not_there_yet() {
    let mut play = Play::new();
    play.block(1, 0, &[]);
    let real = play.world.reference;
    for claimed in [Reference { height: Height(3), ..real }, Reference { slot: Slot(3), ..real }] {
        play.world.reference = claimed;
        let item = play.heartbeat(0);
        // Recorded, it would bind all later blocks of the shard, whoever makes them: references never go back.
        assert_eq!(play.judge(3, 0, std::slice::from_ref(&item)).map(drop), Err(future()));
        assert!(play.judge(4, 0, &[item]).is_ok(), "below the recording block it may be true");
        play.world.forget_unrecorded(0);
    }
    play.world.reference = real;
    let item = play.heartbeat(0);
    play.block(3, 0, &[item]);
}

fn future() -> InvalidBeaconBlock {
    InvalidBeaconBlock::Crosslink { position: 0, reason: InvalidCrosslink::FutureReference { position: 0 } }
}

#[test]
fn a_reading_tells_a_shard_its_era_and_its_lanes_the_beacons_too() {
    let mut play = Play::new();
    let exit = |id| ReceiptAction::Exit {
        from: account(1, 1),
        validator: ValidatorId(id),
        transaction: super::play::TRANSACTION,
    };
    // Two requests that come back, and one payment on the way to shard 2 from a report of shard 1.
    let step = Step { sends: vec![(0, 5), (2, 6), (0, 7)], asks: vec![exit(5), exit(99)], ..Step::default() };
    let item = play.step(1, step);
    let executed = play.block(1, 0, &[item]);
    assert_eq!(executed.receipts.len(), 2);
    let bytes = play.conflict(ChainId::Shard(ShardId(0)), Epoch(0), 0, play.record(0).bench.seats()[0].0);
    let item = play.ask(1, vec![report(bytes)]);
    let reward = play.block(2, 0, &[item]);
    assert_eq!(reward.receipts[0].lane, lane(BEACON, 2));
    // Shard 0 takes two and gives one back; shard 1 takes that, and one answer of the beacon.
    let item = play.step(0, Step { takes: vec![(1, 2)], returns: vec![(1, 1)], ..Step::default() });
    play.block(3, 0, &[item]);
    let item = play.step(1, Step { takes: vec![(BEACON, 1), (0, 1)], ..Step::default() });
    play.block(4, 0, &[item]);

    let reference = Reference { height: Height(4), slot: Slot(4), id: BlockId([8; 32]) };
    let read = |play: &Play, shard| play.state().reading(ShardId(shard), reference, Vec::new()).unwrap();
    let count = |next, returns| LaneCount { next, returns };
    let chain = |shard| ChainId::Shard(ShardId(shard));
    let one = read(&play, 1);
    let toward = [(ChainId::Beacon, count(2, 2)), (chain(0), count(1, 1))];
    let away = [(ChainId::Beacon, count(3, 0)), (chain(0), count(2, 0))];
    assert_eq!((one.lanes.toward, one.lanes.away), (toward.into(), away.into()));
    assert_eq!((one.recorded, one.era), ((Height(3), play.record(1).last.id), Epoch(0)));
    let two = read(&play, 2);
    let toward = [(ChainId::Beacon, count(1, 0)), (chain(1), count(1, 0))];
    assert_eq!((two.lanes.toward, two.lanes.away.len()), (toward.into(), 0));
    let zero = read(&play, 0);
    assert_eq!(zero.lanes.toward, [(chain(1), count(2, 0))].into());
    assert_eq!(zero.lanes.away, [(chain(1), count(1, 1))].into());
    assert!(play.state().reading(ShardId(3), reference, Vec::new()).is_none());
    play.turn(1);
    assert_eq!(read(&play, 2).era, Epoch(1));
}

#[test]
fn a_switch_block_wakes_the_beacon_as_content_does() {
    let mut play = Play::new();
    play.block(SLOTS, 0, &[]);
    play.world.reference.slot = Slot(3);
    let (old, head) = (crosslink(&play.heartbeat(0)).clone(), play.state().clone());
    let awake = |play: &Play| play.world.beacon.has_work(play.state(), &play.world.reference, Slot(SLOTS + 1));
    assert_eq!(play.world.beacon.handle(Timestamp(0), &head, old).reply, Reply::Accepted);
    assert!(!awake(&play), "a heartbeat of the old era can wait");
    play.world.reference.slot = Slot(SLOTS);
    let switch = crosslink(&play.heartbeat(1)).clone();
    assert_eq!(play.world.beacon.handle(Timestamp(0), &head, switch).reply, Reply::Accepted);
    assert!(awake(&play));
    let proposal = play.world.beacon.propose(&play.world.state, &super::play::at(SLOTS + 1, 0), false).unwrap();
    let eras: Vec<u64> = proposal.executed.state.shards.iter().map(|record| record.era.0).collect();
    assert_eq!((proposal.body.len(), eras), (2, vec![0, 1, 0]));
}
