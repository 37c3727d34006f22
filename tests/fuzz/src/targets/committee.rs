//! Three honest members and a fourth played by the fuzzer, closed loop: they agree, go on, and never blame each other.

use crate::{
    Target,
    choices::Choices,
    world::{Room, World, heard, secret},
};
use kakera_chain::{
    Member, codec,
    message::{SignedMessage, Statement},
    peer::{Carried, PeerMessage},
    replica::Input,
    units::{ChainId, Height},
};

pub(super) const TARGET: Target = Target {
    name: "committee",
    about: "three honest members and one that says what the fuzzer wants: agreement, progress, no honest one refused",
    run,
    seeds,
    max_bytes: 512,
    rounds: 12,
};

const FAULTY: Member = Member(3);
/// Inputs of the faulty member at most.
const STEPS: usize = 24;

fn run(bytes: &[u8]) {
    let world = World::of_all();
    let mut choices = Choices::new(bytes);
    let mut room = Room::new(&[FAULTY]);
    drop(room.give(1, Input::Application(world.crosslinks[0].1.clone())));
    let mut refused = room.run(300);
    let mut steps = 0;
    while !choices.is_over() && steps < STEPS {
        steps += 1;
        refused.extend(room.run(u64::from(choices.u8() % 64)));
        let Some(message) = said(&room, &mut choices) else { continue };
        let listeners = choices.u8();
        for to in (0..3usize).filter(|to| listeners >> to & 1 == 0) {
            drop(room.give(to, heard(FAULTY, message.clone())));
        }
    }
    // With everything said, and the faulty member silent, the others certify something new.
    let before = room.replicas().map(|replica| replica.certified().header.height).max().unwrap();
    drop(room.give(0, Input::Application(world.crosslinks[1].1.clone())));
    refused.extend(room.run(3_000));
    refused.retain(|(from, _, _)| *from != FAULTY);
    assert!(refused.is_empty(), "honest members refused each other: {refused:?}");
    let heights: Vec<Height> = room.replicas().map(|replica| replica.certified().header.height).collect();
    assert!(heights.iter().all(|height| *height > before), "no progress: {before} and {heights:?}");
    room.members.iter().flatten().for_each(|member| member.check_restart(room.now));
    let lowest = heights.iter().min().unwrap();
    let ids: Vec<_> = room.replicas().map(|replica| replica.certified_id(*lowest)).collect();
    assert!(ids.iter().all(|id| id == &ids[0]), "{ids:?}");
}

/// What the faulty member says now: from what it heard, changed and signed by it, or bytes.
fn said(room: &Room, choices: &mut Choices<'_>) -> Option<PeerMessage> {
    let heard: Vec<_> = room.heard.iter().rev().filter(|(_, _, to, _)| *to == FAULTY).take(32).collect();
    let (_, _, _, message) = heard.get(choices.below(heard.len()))?;
    match choices.below(6) {
        0 => PeerMessage::decode(choices.bytes(200)).ok(),
        1 => PeerMessage::decode(&choices.change(&codec::encode(message), &[0xff; 40])).ok(),
        2 => Some((*message).clone()),
        _ => {
            let carried = room.heard.iter().rev().skip(choices.below(64)).find_map(|(_, _, _, heard)| match heard {
                PeerMessage::Message(carried) => Some(carried),
                _ => None,
            })?;
            Some(PeerMessage::Message(Box::new(resaid(carried, choices)?)))
        }
    }
}

/// Another's message, said again by the faulty member: at its own place in its thread, changed or not.
fn resaid(carried: &Carried, choices: &mut Choices<'_>) -> Option<Carried> {
    let world = World::of_all();
    let mut statement = carried.message.statement.clone();
    statement.sender = FAULTY;
    statement.seq = u64::from(choices.u8() % 8);
    if choices.flag() {
        let changed = choices.change(&codec::encode(&statement), &[0xff; 40]);
        statement = codec::decode::<Statement>(&changed, 4096).ok()?;
        statement.sender = FAULTY;
    }
    let key = secret(world.seats(ChainId::Beacon).validators[FAULTY.index()]);
    let message = SignedMessage::sign(statement, &key, world.id());
    Some(Carried { message, ..carried.clone() })
}

fn seeds() -> Vec<Vec<u8>> {
    let steps = |kind: u8| [20 + kind, kind, kind % 6, 3 * kind, 0, kind % 2, 1, kind, 9, 3, kind % 8];
    (0..12u8).map(|kind| steps(kind).repeat(4)).chain([Vec::new()]).collect()
}
