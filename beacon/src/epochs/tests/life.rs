//! Who takes part, what that earns, and the whole life of a validator.

use super::play::{Play, SEAT, SLOTS, TRANSACTION, UNBONDING, VALIDATORS, at, bond};
use crate::{
    InvalidBeaconBlock, Status,
    fixture::{BEACON, Step, account, lane},
};
use kakera_chain::{
    application::Application,
    crosslink::BeaconItem,
    receipt::ReceiptAction,
    units::{ChainId, Epoch, Height, ShardId, ValidatorId},
};

fn attendance(play: &Play, height: u64, signers: &[u16]) -> BeaconItem {
    BeaconItem::Attendance(Box::new(play.attendance(height, signers)))
}

fn refused(play: &mut Play, item: BeaconItem) -> bool {
    play.judge(play.slot + 1, 0, &[item]).unwrap_err() == InvalidBeaconBlock::Attendance { position: 0 }
}

#[test]
fn a_certificate_shows_attendance_once_and_in_its_epoch_only() {
    let mut play = Play::new();
    let rounds = |play: &Play| play.state().attendance.rounds(ChainId::Beacon);
    let first = attendance(&play, 5, &[0, 1, 2]);
    play.block(1, 0, std::slice::from_ref(&first));
    let (lower, same) = (attendance(&play, 4, &[0, 1, 2, 3]), attendance(&play, 5, &[0, 1, 2, 3]));
    for known in [first, lower, same] {
        assert!(refused(&mut play, known));
    }
    let next = attendance(&play, 6, &[1, 2, 3]);
    play.block(2, 0, &[next]);
    assert_eq!(rounds(&play), 2);
    let presence = |id| play.state().attendance.presence(ValidatorId(id), ChainId::Beacon);
    assert_eq!([0, 1, 3].map(|id| (presence(id).opportunities, presence(id).participations)), [(2, 1), (2, 2), (2, 1)]);
    // The block that turns the epoch still belongs to the old one; then its certificates are too late.
    let (last, late) = (attendance(&play, 7, &[0, 1, 2]), attendance(&play, 8, &[0, 1, 2]));
    play.block(SLOTS, 0, &[last]);
    assert_eq!(rounds(&play), 0, "counted anew");
    assert!(refused(&mut play, late));
    let low = attendance(&play, 7, &[0, 1, 2]);
    assert!(refused(&mut play, low), "heights go on through the epochs");
    let new = attendance(&play, 9, &[0, 1, 2]);
    play.block(SLOTS + 1, 0, &[new]);
    assert_eq!(rounds(&play), 1);
}

#[test]
fn a_proposer_shows_the_newest_certificate_once() {
    let mut play = Play::new();
    let certificate = play.attendance(3, &[0, 1, 3]);
    let other = play.world.beacon.clone();
    let propose = |play: &mut Play, slot, empty| {
        let proposal = play.world.beacon.propose(&play.world.state, &at(slot, 0), empty).unwrap();
        let executed = other.clone().execute(play.state(), &at(slot, 0), &proposal.body, &[]).unwrap();
        assert_eq!(executed.state_root, proposal.executed.state_root);
        play.adopt(slot, &executed);
        proposal.body.len()
    };
    assert_eq!(propose(&mut play, 1, false), 0);
    play.world.beacon.certificate(&certificate);
    assert_eq!(propose(&mut play, 2, true), 0, "an empty block holds what must be there");
    assert_eq!(propose(&mut play, 3, false), 1);
    assert_eq!(propose(&mut play, 4, false), 0);
    play.world.beacon.certificate(&play.attendance(4, &[0, 1, 3]));
    assert_eq!(propose(&mut play, SLOTS, false), 1);
    play.world.beacon.certificate(&play.attendance(5, &[0, 1, 3]));
    let era = kakera_chain::era::Era {
        network: play.world.network.id,
        chain: ChainId::Beacon,
        epoch: Epoch(1),
        root: Default::default(),
    };
    play.world.beacon.enter(&era);
    assert_eq!(propose(&mut play, SLOTS + 1, false), 0, "those of an era end with it");
}

#[test]
fn attendance_and_reveals_pay_and_silence_suspends() {
    let mut play = Play::new();
    let shard = ShardId(1);
    let sitting = play.world.seats(shard).validators;
    for slot in 1..=4 {
        let proposer = u32::try_from(slot % 2).unwrap();
        let mut items: Vec<BeaconItem> = Vec::new();
        // Validator 0 reveals always, 1 half the time.
        if proposer == 0 || slot == 1 {
            items.push(play.reveal(proposer));
        }
        items.push(attendance(&play, slot, &[0, 1, 2]));
        let mut crosslink = play.world.extend(1, &[Step::default()]);
        crosslink.certificate = play.world.certificate(&crosslink, 3);
        items.push(BeaconItem::Crosslink(Box::new(crosslink)));
        play.block(slot, proposer, &items);
    }
    let before = play.state().registry.minted();
    play.block(SLOTS, 2, &[]);
    let rewards = |id: u32| play.state().registry.get(ValidatorId(id)).unwrap().rewards;
    // Validator 2 made one block, and revealed nothing.
    assert_eq!([0, 1, 2, 3].map(rewards), [10, 5, 0, 0]);
    assert_eq!(sitting.iter().map(|id| rewards(id.0)).collect::<Vec<_>>(), [10, 10, 10, 0]);
    assert_eq!((before, play.state().registry.minted()), (0, 45));
    let suspended = |id: &ValidatorId| {
        let status = play.state().registry.get(*id).unwrap().status;
        matches!(status, Status::Suspended { since: Epoch(1) })
    };
    let silent: Vec<ValidatorId> = play.state().registry.iter().map(|(id, _)| id).filter(suspended).collect();
    assert_eq!(silent, [ValidatorId(3), sitting[3]], "members who were seldom asked are not silent");
    // They are in no row from now on, and in no committee once those drawn before are over.
    for epoch in 2..7 {
        play.turn(epoch);
        let row = &play.state().seating;
        assert!(row.shards.iter().chain(&row.beacon).all(|(id, _)| !silent.contains(id)));
    }
    let seated = play.state().seating.current.seated();
    assert!(silent.iter().all(|id| !seated.contains(id)));
    assert_eq!(play.state().seating.current.beacon.len(), 3);
}

#[test]
fn a_newcomer_is_drawn_serves_and_leaves_with_its_exact_stake_and_rewards() {
    let mut play = Play::new();
    let supply = play.state().conservation().unwrap();
    let (id, owner) = (ValidatorId(VALIDATORS), account(1, 9));
    let action = bond(&play.world.network, VALIDATORS, (1, 9), 4);
    let item = play.ask(1, vec![action]);
    play.block(1, 0, &[item]);
    let status = |play: &Play| play.state().registry.get(id).unwrap().status;
    assert_eq!(status(&play), Status::Pending { since: Epoch(0) });
    let sits = |play: &Play| play.state().seating.current.held().get(&id).copied().unwrap_or(0);
    let mut epoch = 0;
    let (mut served, mut earned) = (Vec::new(), 0);
    while served.len() < 4 {
        epoch += 1;
        assert!(epoch < 30, "it is drawn");
        play.turn(epoch);
        assert_eq!(status(&play), Status::Active);
        if sits(&play) > 0 {
            served.push(epoch);
        }
        // All heartbeats of an epoch are signed by all: each seat earns all that it may.
        let rewards = play.state().registry.get(id).unwrap().rewards;
        assert!(rewards >= earned);
        earned = rewards;
    }
    assert!(served[0] >= 3, "frozen with the row of epoch 1, from which epoch 3 is drawn");
    assert!(earned > 0);
    let exit = ReceiptAction::Exit { from: owner, validator: id, transaction: TRANSACTION };
    let item = play.ask(1, vec![exit]);
    play.block(play.slot + 1, 0, &[item]);
    assert_eq!(status(&play), Status::Exiting { since: Epoch(epoch), begun: None });
    let (mut last_seat, mut withdrawn) = (epoch, None);
    while withdrawn.is_none() {
        epoch += 1;
        assert!(epoch < 60, "it gets away");
        let held = play.state().registry.get(id).unwrap().balance();
        let turned = play.turn(epoch);
        if sits(&play) > 0 {
            last_seat = epoch;
            assert!(matches!(status(&play), Status::Exiting { .. }), "it leaves when it sits nowhere");
        }
        let paid = turned.receipts.iter().find(|receipt| receipt.lane == lane(BEACON, 1));
        if let Some(receipt) = paid {
            let amount = held;
            assert_eq!(receipt.action, ReceiptAction::Withdraw { validator: id, to: owner, amount });
            withdrawn = Some((receipt.clone(), amount));
        }
    }
    let (receipt, amount) = withdrawn.unwrap();
    assert!(epoch > last_seat + UNBONDING, "evidence of its last seat was taken before");
    assert_eq!(amount, 4 * SEAT + (play.state().registry.minted() - others(&play, id)));
    assert_eq!((status(&play), receipt.seq), (Status::Withdrawn { at: Epoch(epoch) }, 0));
    let item = play.step(1, Step { takes: vec![(BEACON, 1)], ..Step::default() });
    play.block(play.slot + 1, 0, &[item]);
    assert_eq!((play.state().in_flight(), play.state().conservation()), (0, Ok(supply)));
    for later in 1..=UNBONDING + 3 {
        assert!(play.state().registry.get(id).is_some() || later > UNBONDING);
        play.turn(epoch + later);
    }
    assert!(play.state().registry.get(id).is_none(), "forgotten");
    assert!(play.state().eras.keys().all(|(_, of)| of.0 > epoch));
}

/// What everybody else holds of rewards; nobody else was paid out.
fn others(play: &Play, id: ValidatorId) -> u64 {
    play.state().registry.iter().filter(|(other, _)| *other != id).map(|(_, validator)| validator.rewards).sum()
}

#[test]
fn who_serves_on_in_an_era_that_is_not_over_has_not_left() {
    let mut play = Play::new();
    let shard = 0;
    // Everybody who sits in shard 0 leaves; the shard stops, and its era outlasts the next epoch's turn.
    let members: Vec<ValidatorId> = play.record(shard).bench.0.clone();
    let owner = play.state().registry.get(members[0]).unwrap().owner;
    let exits = members.iter().map(|id| ReceiptAction::Exit { from: owner, validator: *id, transaction: TRANSACTION });
    let item = play.ask(0, exits.collect());
    play.block(1, 0, &[item]);
    for epoch in 1..4 {
        play.block(epoch * SLOTS + SLOTS - 2, 0, &[]);
        assert_eq!(play.record(shard).era, Epoch(0), "the chain sleeps through what would have been due");
        for id in &members {
            let validator = play.state().registry.get(*id).unwrap();
            assert_eq!(
                (validator.status, validator.seated),
                (Status::Exiting { since: Epoch(0), begun: Some(Epoch(1)) }, Epoch(epoch))
            );
        }
    }
    let beats = play.heartbeats();
    play.block(4 * SLOTS, 0, &beats);
    assert_eq!(play.record(shard).era, Epoch(3), "named before the block turned the epoch");
    assert_eq!(play.record(shard).last.header.height, Height(2));
}
