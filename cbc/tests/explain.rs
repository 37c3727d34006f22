//! Why a block is final in an engine's own view, or what holds it back.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{World, engine, proposal, say};
use kakera_cbc::{BlockId, Blocks, Engine, Explanation, Hold, Member, MessageId, Slot, Stand};
use proptest::prelude::*;
use std::collections::BTreeSet;

fn sentence(found: &Explanation<BlockId, MessageId>) -> String {
    found.sentence(|member| format!("v{member}"))
}

/// Four members of weight 1; member 1 leads slot 1 and the ones named vote; an observer of it all.
fn observed(voters: &[usize]) -> (Engine<Blocks>, BlockId) {
    let mut world = World::new(&[1; 4], 0);
    world.speak(1);
    for face in voters {
        (0..world.said.len()).for_each(|which| world.deliver(*face, which));
        world.speak(*face);
    }
    let observer = world.observer(0..world.said.len());
    let block = world.said[0].estimate.block();
    (observer, block)
}

#[test]
fn missing_votes_are_counted_and_named() {
    let (observer, block) = observed(&[2]);
    let found = observer.explain(&block).unwrap();
    assert_eq!((found.is_final, found.support, found.slot), (false, 2, Some(Slot(1))));
    assert_eq!(found.hold, Hold::Votes { quorum: 3, missing: 1 });
    assert_eq!(
        sentence(&found),
        "votes of weight 2 support it, 1 less than the smallest quorum 3; 2 members of weight 2 have not voted: v0 never \
         heard, v3 never heard"
    );
}

#[test]
fn missing_levels_name_who_speaks_next_and_then_it_is_final() {
    let (observer, block) = observed(&[2, 3]);
    let found = observer.explain(&block).unwrap();
    let members = vec![Member(1), Member(2)];
    assert_eq!(found.hold, Hold::Climb { reached: 0, quorum: 3, missing: 2, members, ready: true });
    let (observer, block) = observed(&[2, 3, 1, 2, 3]);
    let found = observer.explain(&block).unwrap();
    let members = vec![Member(1)];
    assert_eq!(found.hold, Hold::Climb { reached: 1, quorum: 3, missing: 1, members, ready: true });
    assert_eq!(sentence(&found), "level 1 of 2 reached at quorum 3; level 2 needs one more message of v1");
    let (observer, block) = observed(&[2, 3, 1, 2, 3, 1]);
    let found = observer.explain(&block).unwrap();
    assert_eq!((found.is_final, observer.finalized()), (true, block));
    assert_eq!(found.hold, Hold::Nothing { level: Some(2) });
    for (member, level) in [(1, 2), (2, 2), (3, 2)] {
        assert!(matches!(found.members[member].stand, Stand::Supports { level: own } if own == level), "{found:?}");
    }
    // What is finalized shows as final whatever the votes are now, and all above is too.
    let root = observer.explain(&common::ROOT).unwrap();
    assert!(root.is_final, "{}", sentence(&root));
}

#[test]
fn conflicts_and_faults_are_named() {
    let mut world = World::new(&[1; 4], 0);
    let mut lonely = engine(vec![1; 4], Some(1));
    let other = proposal(&lonely, 1, 9);
    say(&mut lonely, &other);
    world.archive.insert(other.id, lonely.observations(&other.id).unwrap());
    world.speak(1);
    for face in [2, 3, 0, 2, 3, 0, 2, 3, 0] {
        (0..world.said.len()).for_each(|which| world.deliver(face, which));
        world.speak(face);
    }
    let block = world.said[0].estimate.block();
    world.said.push(other);
    let observer = world.observer(0..world.said.len());
    assert_eq!(observer.finalized(), block);
    let found = observer.explain(&world.said.last().unwrap().estimate.block()).unwrap();
    assert_eq!(found.hold, Hold::Conflict { finalized: block });
    assert_eq!(sentence(&found), format!("conflicts with {block}, which is final here"));
    let first = world.said[0].id;
    assert!(matches!(found.members[1].stand, Stand::Faulty { first: held, .. } if held == first), "{found:?}");
    assert_eq!(found.fault_weight, 1);
}

#[test]
fn members_that_stay_behind_are_silent_since_a_slot() {
    let mut world = World::new(&[1; 4], 0);
    world.speak(1);
    for face in [0, 2, 3] {
        world.deliver(face, 0);
        world.speak(face);
    }
    world.slot = 2;
    (0..world.said.len()).for_each(|which| world.deliver(2, which));
    world.speak(2);
    let observer = world.observer(0..world.said.len());
    let block = world.said.last().unwrap().estimate.block();
    let found = observer.explain(&block).unwrap();
    assert_eq!(found.slot, Some(Slot(2)));
    assert!(sentence(&found).ends_with(
        "3 members of weight 3 have not voted: v0 silent since slot 1, v1 silent since slot 1, v3 silent since slot 1"
    ));
}

#[test]
fn what_is_not_held_is_not_explained() {
    let (mut observer, block) = observed(&[2, 3, 1, 2, 3, 1]);
    assert_eq!(observer.explain(&BlockId([9; 32])), None);
    observer.certify(block).unwrap();
    observer.prune(Slot(1));
    assert_eq!(observer.explain(&common::ROOT), None, "its votes have left memory");
    assert!(observer.explain(&block).unwrap().is_final);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn explanations_agree_with_what_the_engine_finalized(
        weights in prop::collection::vec(0u64..4, 2..6).prop_filter("weight", |weights| weights.iter().sum::<u64>() > 0),
        equivocators in 0usize..2,
        script in prop::collection::vec((any::<u8>(), any::<u8>(), any::<u16>()), 20..160),
    ) {
        let mut world = World::new(&weights, equivocators);
        world.run(&script);
        let observer = world.observer(0..world.said.len());
        let blocks: BTreeSet<BlockId> = world.said.iter().map(|message| message.estimate.block()).collect();
        for block in &blocks {
            let found = observer.explain(block).unwrap();
            let is_final = observer.protocol().descends(&observer.finalized(), block);
            prop_assert_eq!(found.is_final, is_final, "{}", sentence(&found));
            prop_assert_eq!(matches!(found.hold, Hold::Nothing { .. }), is_final);
            for level in &found.levels {
                prop_assert_eq!(level.found, observer.largest_quorum(&observer.view(), block, level.level));
                prop_assert_eq!(level.needed, observer.committee().quorum(level.level));
            }
            for member in &found.members {
                let faulty = matches!(member.stand, Stand::Faulty { .. });
                prop_assert_eq!(faulty, observer.is_faulty(member.member));
            }
            prop_assert!(!sentence(&found).is_empty());
        }
    }
}
