//! A replica that hears an honest committee's messages among changed ones, by one faulty member or by anybody.

use crate::{
    Target,
    choices::Choices,
    world::{Watched, World, open, recorded, secret},
};
use kakera_chain::{
    Member, codec,
    crosslink::BeaconItem,
    message::{SignedMessage, Statement},
    peer::{Carried, PeerMessage},
    replica::Input,
    units::{ChainId, Height},
};

pub(super) const TARGET: Target = Target {
    name: "replica",
    about: "a replica given changed messages keeps only what is signed and whole, certifies the same, can restart",
    run,
    seeds,
    max_bytes: 1024,
    rounds: 60,
};

/// The one member that may be faulty.
const FAULTY: Member = Member(3);

fn run(bytes: &[u8]) {
    let recorded = recorded();
    let mut choices = Choices::new(bytes);
    let mut there = open(choices.flag().then_some(Member(0)));
    let mut next = choices.below(recorded.heard.len());
    let mut now = recorded.heard.first().unwrap().0;
    for (at, from, message) in &recorded.heard[..next] {
        now = *at;
        there.hear(now, *from, message.clone());
    }
    let mut steps = 0;
    while !choices.is_over() && steps < 40 {
        steps += 1;
        let from = Member(u16::from(choices.u8() % 4));
        let message = match choices.below(8) {
            0 => {
                let Some((at, from, message)) = recorded.heard.get(next) else { break };
                (now, next) = (now.max(*at), next + 1);
                there.hear(now, *from, message.clone());
                continue;
            }
            1 => choices.of(&recorded.heard).2.clone(),
            2 => {
                now += u64::from(choices.u8()) * 8;
                there.step(now, Input::Tick);
                continue;
            }
            3 => match PeerMessage::decode(choices.bytes(300)) {
                Ok(message) => message,
                Err(_) => continue,
            },
            4 => {
                let crosslink = choices.of(&World::of_all().crosslinks).1.clone();
                let item = codec::encode(&BeaconItem::Crosslink(Box::new(crosslink)));
                PeerMessage::Application(choices.change(&item, &[0; 40]))
            }
            5 => {
                let (valid, other) = (codec::encode(any(&mut choices)), codec::encode(any(&mut choices)));
                match PeerMessage::decode(&choices.change(&valid, &other)) {
                    Ok(message) => message,
                    Err(_) => continue,
                }
            }
            _ => match forged(&mut choices) {
                Some(message) => message,
                None => continue,
            },
        };
        there.hear(now, from, message);
    }
    for (at, from, message) in &recorded.heard[next..] {
        now = now.max(*at);
        there.hear(now, *from, message.clone());
    }
    now = now.max(recorded.end);
    there.step(now, Input::Tick);
    if there.replica.me().is_none() {
        // Who has no seat hears none of this, and follows.
        assert_eq!(there.replica.certified().header.height, Height(0));
        there.step(now, Input::Blocks(Box::new(recorded.blocks.clone())));
    }
    judge(&there);
    there.check_restart(now);
}

fn any<'a>(choices: &mut Choices<'_>) -> &'a PeerMessage {
    let recorded = recorded();
    match choices.flag() {
        true => choices.of(&recorded.kinds),
        false => &choices.of(&recorded.heard).2,
    }
}

/// Something that the faulty member really signed: an honest message with its statement changed.
fn forged(choices: &mut Choices<'_>) -> Option<PeerMessage> {
    let world = World::of_all();
    let recorded = recorded();
    let start = choices.below(recorded.heard.len());
    let carried = recorded.heard[start..].iter().find_map(|(_, _, message)| match message {
        PeerMessage::Message(carried) if carried.message.statement.sender == FAULTY || start % 2 == 1 => Some(carried),
        _ => None,
    })?;
    let statement = codec::encode(&carried.message.statement);
    let mut statement: Statement = codec::decode(&choices.change(&statement, &[0xff; 40]), 4096).ok()?;
    statement.sender = FAULTY;
    let key = secret(world.seats(ChainId::Beacon).validators[FAULTY.index()]);
    let message = SignedMessage::sign(statement, &key, world.id());
    Some(PeerMessage::Message(Box::new(Carried { message, ..(**carried).clone() })))
}

/// Whatever was heard: what is certified here is what the committee certified; all of it, by who follows.
fn judge(there: &Watched) {
    let recorded = recorded();
    let certified = there.replica.certified();
    let height = usize::try_from(certified.header.height.0).unwrap();
    for (height, expected) in (1..=height as u64).zip(&recorded.certified) {
        assert_eq!(there.replica.certified_id(Height(height)).as_ref(), Some(expected), "height {height}");
    }
    if there.replica.me().is_none() {
        assert_eq!(height, recorded.certified.len());
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let mut seeds: Vec<Vec<u8>> = (0..8u8)
        .map(|kind| {
            let step = [1, kind, 5 + kind, 40, kind, 0, 30 * kind, 0, 33, 7, 7];
            [vec![0, 10 * kind, 0], step.repeat(3)].concat()
        })
        .collect();
    seeds.extend((0..12u8).map(|kind| [vec![kind & 1, 40, 0], [3, 6, 20 * kind, 0, 0, kind, 9, 3].repeat(4)].concat()));
    seeds.push(vec![0, 0, 0]);
    seeds.push(vec![1, 0, 0]);
    for kind in &recorded().kinds {
        let bytes = codec::encode(kind);
        if bytes.len() < 300 {
            seeds.push([vec![0, 30, 0, 2, 3], bytes].concat());
        }
    }
    seeds
}
