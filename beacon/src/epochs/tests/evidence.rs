//! What members of past committees signed convicts them for the unbonding window, through real blocks.

use super::play::{Play, SEAT, SLOTS, TRANSACTION, UNBONDING, report};
use crate::{
    Status,
    fixture::{BEACON, account, lane, secret},
};
use kakera_chain::{
    BlockId, Slot,
    advances::Advances,
    evidence::{Equivocation, Evidence},
    genesis::Role,
    message::{Estimate, SignedMessage, Statement},
    receipt::{Receipt, ReceiptAction, ReturnReason},
    units::{ChainId, Epoch, ShardId, ValidatorId},
};

/// A member of a committee, by its place.
fn member(play: &Play, chain: ChainId, epoch: Epoch, place: u16) -> ValidatorId {
    play.state().eras[&(chain, epoch)][usize::from(place)].0
}

fn equivocation(play: &Play, chain: ChainId, epoch: Epoch, place: u16, validator: ValidatorId) -> Vec<u8> {
    let say = |vote: u8| {
        let statement = Statement {
            chain,
            epoch,
            root: BlockId([3; 32]),
            sender: kakera_chain::Member(place),
            seq: 4,
            slot: Slot(9),
            base: BlockId([3; 32]),
            advances: Advances::new(Vec::new()),
            cites: [5; 32],
            estimate: Estimate::Vote(BlockId([vote; 32])),
        };
        SignedMessage::sign(statement, &secret(validator.0), play.world.network.id)
    };
    let pair = Equivocation::of(say(1), say(2), play.world.network.id);
    Evidence::Equivocation(Box::new(pair)).to_bytes().unwrap()
}

/// Reports in a block of the next slot, by a crosslink of shard 2; what the beacon emits for it.
fn reported(play: &mut Play, bytes: Vec<u8>) -> Receipt {
    let item = play.ask(2, vec![report(bytes)]);
    let mut receipts = play.block(play.slot + 1, 0, &[item]).receipts;
    assert_eq!((receipts.len(), receipts[0].lane), (1, lane(BEACON, 2)));
    receipts.remove(0)
}

fn bounced(receipt: &Receipt) -> ReturnReason {
    let ReceiptAction::Return { amount: 0, to, reason, .. } = receipt.action else { panic!("{receipt:?}") };
    assert_eq!(to, account(2, 5));
    reason
}

fn slashes(play: &mut Play, bytes: Vec<u8>, validator: ValidatorId) {
    let held = play.state().registry.get(validator).unwrap().balance();
    assert!(held >= SEAT);
    let burned = play.state().registry.burned();
    let paid = reported(play, bytes.clone());
    let (to, amount, transaction) = (account(2, 5), held / 10, TRANSACTION);
    assert_eq!(paid.action, ReceiptAction::Reward { validator, to, amount, transaction });
    let entry = play.state().registry.get(validator).unwrap();
    let from = lane(2, BEACON).from;
    assert!(
        matches!(entry.status, Status::Slashed { at, from: shard, .. } if at == play.state().epoch && shard == from)
    );
    let told = entry.slashing.unwrap();
    assert_eq!((told.reporter, told.reporter_share, told.burned), (to, amount, held - amount));
    assert_eq!((entry.balance(), play.state().registry.burned()), (0, burned + held - held / 10));
    assert_eq!(bounced(&reported(play, bytes)), ReturnReason::AlreadySlashed, "once");
}

#[test]
fn evidence_of_either_kind_convicts_for_the_unbonding_window_and_not_after() {
    let mut play = Play::new();
    let (one, two) = (ChainId::Shard(ShardId(0)), ChainId::Shard(ShardId(1)));
    // Four members of epoch 0 whose guilt is told in epochs 0, 3 and 4.
    let who: Vec<ValidatorId> = (0..4).map(|place| member(&play, one, Epoch(0), place)).collect();
    let elder = member(&play, two, Epoch(0), 1);
    let told = |play: &Play, place: u16| play.conflict(one, Epoch(0), place, who[usize::from(place)]);
    let now = told(&play, 0);
    slashes(&mut play, now, who[0]);
    for epoch in 1..=UNBONDING {
        play.turn(epoch);
    }
    let past = told(&play, 1);
    slashes(&mut play, past, who[1]);
    let past = equivocation(&play, two, Epoch(0), 1, elder);
    slashes(&mut play, past, elder);
    play.turn(UNBONDING + 1);
    let before = play.state().registry.clone();
    let stale = [told(&play, 2), equivocation(&play, one, Epoch(0), 3, who[3])];
    for bytes in stale {
        assert_eq!(bounced(&reported(&mut play, bytes)), ReturnReason::StaleEvidence);
    }
    assert_eq!(play.state().registry, before);
    // One of the epoch after that is in time.
    let young = member(&play, two, Epoch(1), 2);
    let bytes = play.conflict(two, Epoch(1), 2, young);
    slashes(&mut play, bytes, young);
}

#[test]
fn who_is_slashed_is_in_no_later_draw_and_loses_a_named_seat_at_the_next_turn() {
    let mut play = Play::new();
    let chain = ChainId::Shard(ShardId(0));
    let guilty: Vec<ValidatorId> = (0..3).map(|place| member(&play, chain, Epoch(0), place)).collect();
    let reporter = member(&play, ChainId::Beacon, Epoch(0), 3);
    for (place, validator) in (0..).zip(&guilty) {
        let bytes = equivocation(&play, chain, Epoch(0), place, *validator);
        slashes(&mut play, bytes, *validator);
    }
    let bytes = play.conflict(ChainId::Beacon, Epoch(0), 3, reporter);
    // The beacon's members are judged alike.
    play.turn(1);
    slashes(&mut play, bytes, reporter);
    for epoch in 2..9 {
        play.turn(epoch);
        let state = play.state();
        let drawn = state.seating.next.seated();
        for validator in guilty.iter().chain([&reporter]) {
            assert!(!drawn.contains(validator), "epoch {epoch}");
            assert!(epoch < 3 || !state.seating.current.seated().contains(validator));
        }
        assert!(state.registry.rows(Role::Shard).iter().all(|(id, _)| !guilty.contains(id)));
    }
    // Their keys stay known for as long as their committees are, and then they are forgotten.
    assert!(guilty.iter().all(|id| play.state().registry.get(*id).is_none()));
    assert!(play.state().eras.values().flatten().all(|(id, _)| play.state().registry.get(*id).is_some()));
}

#[test]
fn a_committee_of_slashed_members_that_stops_is_replaced_by_others() {
    let mut play = Play::new();
    play.block(SLOTS, 0, &[]);
    let beats = play.heartbeats();
    play.block(SLOTS + 1, 0, &beats);
    let chain = ChainId::Shard(ShardId(0));
    let members: Vec<ValidatorId> = (0..4).map(|place| member(&play, chain, Epoch(1), place)).collect();
    for (place, validator) in (0..).zip(&members).take(3) {
        let bytes = play.conflict(chain, Epoch(1), place, *validator);
        let item = play.ask(2, vec![report(bytes)]);
        play.block(play.slot + 1, 0, &[item]);
    }
    play.block(2 * SLOTS, 0, &[]);
    play.block(2 * SLOTS + super::LATE, 0, &[]);
    assert_eq!((play.record(0).era, play.record(0).fallbacks), (Epoch(2), 1));
    assert!(play.record(0).bench.0.iter().all(|holder| !members[..3].contains(holder)));
}

#[test]
fn evidence_of_what_a_validator_did_not_sign_or_where_it_did_not_sit_convicts_nobody() {
    let mut play = Play::new();
    let chain = ChainId::Shard(ShardId(0));
    let (member_0, member_1) = (member(&play, chain, Epoch(0), 0), member(&play, chain, Epoch(0), 1));
    let nonsense = [
        play.conflict(chain, Epoch(0), 0, member_1),
        equivocation(&play, chain, Epoch(0), 1, member_0),
        play.conflict(chain, Epoch(1), 0, member_0),
        play.conflict(ChainId::Shard(ShardId(9)), Epoch(0), 0, member_0),
        play.conflict(chain, Epoch(0), 9, member_0),
        Vec::new(),
        vec![0xff; 900],
    ];
    let before = play.state().registry.clone();
    for bytes in nonsense {
        assert_eq!(bounced(&reported(&mut play, bytes)), ReturnReason::InvalidEvidence);
    }
    assert_eq!(play.state().registry, before);
}

#[test]
fn who_serves_on_in_an_old_era_is_convicted_of_what_it_does_there_however_long_that_lasts() {
    let (mut play, chain) = (Play::new(), ChainId::Shard(ShardId(0)));
    let [first, second] = [1, 2].map(|place| member(&play, chain, Epoch(0), place));
    // The beacon sleeps through what would replace the committees.
    for epoch in 1..UNBONDING + 4 {
        play.block(epoch * SLOTS + SLOTS - 2, 0, &[]);
    }
    assert_eq!(play.record(0).era, Epoch(0));
    let bytes = equivocation(&play, chain, Epoch(0), 1, first);
    slashes(&mut play, bytes, first);
    play.turn(UNBONDING + 5);
    play.turn(UNBONDING + 6);
    assert_eq!(play.record(0).era, Epoch(UNBONDING + 6), "that era is over");
    let bytes = equivocation(&play, chain, Epoch(0), 2, second);
    assert_eq!(bounced(&reported(&mut play, bytes)), ReturnReason::StaleEvidence);
}
