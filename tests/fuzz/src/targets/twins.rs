//! A member that runs twice, honest code with one key: whatever reaches whom and when, the others stay one chain.

use crate::{
    Target,
    choices::Choices,
    world::{Room, World},
};
use kakera_chain::{Member, replica::Input, units::Height};

pub(super) const TARGET: Target = Target {
    name: "twins",
    about: "one member as two processes whose links the bytes decide: agreement, progress, no honest one refused",
    run,
    seeds,
    max_bytes: 512,
    rounds: 12,
};

/// The member that runs twice.
const TWICE: Member = Member(3);
const HONEST: usize = 3;

fn run(bytes: &[u8]) {
    let world = World::of_all();
    let mut choices = Choices::new(bytes);
    let (own, other) = (choices.below(HONEST + 2), choices.below(HONEST + 2));
    let mut room = Room::twins(TWICE, choices.rest());
    let mut refused = room.run(400);
    drop(room.give(own, Input::Application(world.crosslinks[0].1.clone())));
    refused.extend(room.run(500));
    drop(room.give(other, Input::Application(world.crosslinks[1].1.clone())));
    refused.extend(room.run(800));
    let before = honest(&room).iter().copied().max().unwrap();
    room.members.truncate(HONEST);
    room.members.extend([None, None]);
    drop(room.give(0, Input::Application(world.crosslinks[0].1.clone())));
    refused.extend(room.run(4_000));
    refused.retain(|(from, _, _)| *from != TWICE);
    assert!(refused.is_empty(), "honest members refused each other: {refused:?}");
    let heights = honest(&room);
    assert!(heights.iter().all(|height| *height > before), "no progress: {before} and {heights:?}");
    let lowest = *heights.iter().min().unwrap();
    let ids: Vec<_> = room.replicas().map(|replica| replica.certified_id(lowest)).collect();
    assert!(ids.iter().all(|id| id == &ids[0]), "{ids:?}");
    room.members.iter().flatten().for_each(|member| member.check_restart(room.now));
}

fn honest(room: &Room) -> Vec<Height> {
    room.replicas().take(HONEST).map(|replica| replica.certified().header.height).collect()
}

fn seeds() -> Vec<Vec<u8>> {
    let steady = |delay: u8| [vec![0, 4], vec![delay; 400]].concat();
    let turns = |one: u8, two: u8| [vec![3, 1], [one, one, two, two, one].repeat(90)].concat();
    vec![
        Vec::new(),
        steady(0),
        steady(0x21),
        steady(0x73),
        turns(0, 0xff),
        turns(0xff, 0),
        turns(0x44, 0xff),
        turns(0, 0x9f),
    ]
}
