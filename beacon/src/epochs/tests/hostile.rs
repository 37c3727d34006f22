//! Bodies that a hostile proposer may make.

use super::play::{Play, SLOTS, at, crosslink};
use crate::{InvalidBeaconBlock as Refused, MAX_BODY_BYTES, fixture::World, randomness::Reveal};
use kakera_chain::{
    Member,
    application::Application,
    certificate::Finality,
    codec::{self, InvalidBytes},
    crosslink::{BeaconItem, Crosslink},
    hash::Hash,
    keys::Signature,
    units::{ChainId, Epoch, Height},
};
use proptest::prelude::*;

/// The next reveal of validator 0, an attendance, and heartbeats of two shards.
fn items(play: &mut Play) -> [BeaconItem; 4] {
    let attendance = BeaconItem::Attendance(Box::new(play.attendance(3, &[0, 1, 2])));
    [play.reveal(0), attendance, play.heartbeat(0), play.heartbeat(1)]
}

#[test]
fn items_stand_in_one_order() {
    let mut play = Play::new();
    let [reveal, attendance, one, two] = items(&mut play);
    let later = BeaconItem::Attendance(Box::new(play.attendance(4, &[0, 1, 2])));
    let below = BeaconItem::Reveal(Reveal { link: super::link(0, 38), next: None });
    let mut judge = |items: &[&BeaconItem]| {
        let items: Vec<BeaconItem> = items.iter().map(|item| (*item).clone()).collect();
        play.judge(1, 0, &items).map(|executed| executed.figures.transactions)
    };
    assert_eq!(judge(&[&reveal, &attendance, &one, &two]), Ok(4));
    assert_eq!(judge(&[&reveal, &two, &one]), Ok(3));
    assert_eq!(judge(&[&attendance, &two]), Ok(2));
    let order = |position| Err(Refused::Order { position });
    assert_eq!(judge(&[&attendance, &reveal]), order(1));
    assert_eq!(judge(&[&one, &reveal]), order(1));
    assert_eq!(judge(&[&reveal, &below]), order(1), "two reveals");
    assert_eq!(judge(&[&reveal, &reveal]), order(1));
    assert_eq!(judge(&[&reveal, &one, &attendance]), order(2));
    assert_eq!(judge(&[&attendance, &later]), order(1), "two attendances");
    assert!(matches!(judge(&[&one, &two, &one]), Err(Refused::ShardTwice { position: 2, .. })));
}

#[test]
fn attendance_is_of_this_chain_and_epoch_signed_by_more_than_two_thirds() {
    let mut play = Play::new();
    play.turn(1);
    let good = play.attendance(3, &[0, 1, 2]);
    let signed = |change: &dyn Fn(&mut Finality)| {
        let mut finality = good.finality;
        change(&mut finality);
        play.certificate(finality, &[0, 1, 2, 3])
    };
    let shards = crosslink(&Play::new().heartbeat(0)).certificate.clone();
    let mut unsigned = good.clone();
    unsigned.finality.height = Height(4);
    let mut twice = good.clone();
    twice.signatures[1] = twice.signatures[0];
    let mut strangers = good.clone();
    strangers.signatures.extend((3..60_000).map(|member| (Member(member), Signature([1; 64]))));
    strangers.signatures.truncate(5_000);
    let mut forged = good.clone();
    forged.signatures[2].1 = Signature([1; 64]);
    let refused = [
        ("another chain", signed(&|finality| finality.chain = ChainId::Shard(kakera_chain::units::ShardId(0)))),
        ("a shard's", shards),
        ("the epoch before", signed(&|finality| finality.epoch = Epoch(0))),
        ("the epoch after", signed(&|finality| finality.epoch = Epoch(2))),
        ("height 0", signed(&|finality| finality.height = Height(0))),
        ("too few", play.attendance(3, &[0, 3])),
        ("nobody", play.attendance(3, &[])),
        ("unsigned", unsigned),
        ("one twice", twice),
        ("members that there are not", strangers),
        ("forged", forged),
    ];
    for (what, certificate) in refused {
        let item = BeaconItem::Attendance(Box::new(certificate));
        assert_eq!(play.judge(SLOTS + 2, 0, &[item]).unwrap_err(), Refused::Attendance { position: 0 }, "{what}");
    }
    assert!(play.judge(SLOTS + 2, 0, &[BeaconItem::Attendance(Box::new(good))]).is_ok());
}

#[test]
fn oversized_items_are_refused_before_they_are_decoded() {
    let mut play = Play::new();
    let mut attendance = play.attendance(3, &[0, 1, 2]);
    attendance.signatures = vec![(Member(0), Signature([1; 64])); Crosslink::MAX_BYTES / 66 + 1];
    let long = codec::encode(&BeaconItem::Attendance(Box::new(attendance)));
    assert!(long.len() > Crosslink::MAX_BYTES + 1 && long.len() < MAX_BODY_BYTES);
    let state = play.state().clone();
    let refused = play.world.beacon.execute(&state, &at(1, 0), &[long], &[]).unwrap_err();
    assert!(matches!(refused, Refused::Bytes { position: 0, reason: InvalidBytes::TooLong { .. } }), "{refused}");
    let mut reveal = codec::encode(&play.reveal(0));
    reveal.push(0);
    let refused = play.world.beacon.execute(&state, &at(1, 0), &[reveal], &[]).unwrap_err();
    assert!(matches!(refused, Refused::Bytes { position: 0, .. }), "nothing may follow");
}

#[test]
fn reveals_and_attendances_are_not_gossip() {
    let mut play = Play::new();
    let [reveal, attendance, heartbeat, _] = items(&mut play);
    let head = play.state().clone();
    let mut passed = |item: &BeaconItem| {
        let bytes = codec::encode(item);
        play.world.beacon.gossip(kakera_chain::units::Timestamp(0), &head, &bytes).gossip.is_some()
    };
    assert_eq!([&reveal, &attendance, &heartbeat].map(&mut passed), [false, false, true]);
}

#[test]
fn a_network_without_epochs_takes_reveals_and_knows_no_stake() {
    let mut world = World::new();
    let promised = world.state.registry.get(kakera_chain::units::ValidatorId(0)).unwrap().commitment;
    assert_eq!(promised.link, Hash([0x0c; 32]));
    let reveal = BeaconItem::Reveal(Reveal { link: Hash([1; 32]), next: None });
    let refused = world.beacon.execute(&world.state, &at(1, 0), &[codec::encode(&reveal)], &[]).unwrap_err();
    assert!(matches!(refused, Refused::Reveal { position: 0, .. }));
    let empty = world.beacon.execute(&world.state, &at(1, 0), &[], &[]).unwrap();
    assert_eq!(empty.state, world.state, "nobody's attendance is counted");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever is done to a good body, its execution ends, changes nothing in what it was executed on, and what it
    /// accepts conserves the supply.
    #[test]
    fn no_damaged_body_panics_the_beacon(
        order in Just(vec![0usize, 1, 2, 3]).prop_shuffle(), count in 0usize..=4,
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u8>()), 0..3),
        slot in 1u64..40, proposer in 0u32..6,
    ) {
        let mut play = Play::new();
        let items = items(&mut play);
        let mut body: Vec<Vec<u8>> = order.iter().take(count).map(|at| codec::encode(&items[*at])).collect();
        for (item, place, value) in &damage {
            if !body.is_empty() {
                let at = item.index(body.len());
                let bytes = &mut body[at];
                let place = place.index(bytes.len());
                bytes[place] ^= value;
            }
        }
        let before = play.state().clone();
        if let Ok(executed) = play.world.beacon.execute(&before, &at(slot, proposer), &body, &[]) {
            prop_assert!(executed.state.conservation().is_ok());
            prop_assert_eq!(executed.state_root, executed.state.root());
        }
        prop_assert_eq!(play.state(), &before);
    }
}
