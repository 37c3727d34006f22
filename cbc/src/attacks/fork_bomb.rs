//! The fork bomb: exponentially many branches, none of which cites an equivocation.
//!
//! Forker i speaks on top of what forker i - 1 has said, once citing an honest member's message as well and once not.
//! Whoever follows the choices at all twenty forkers finds 2^20 last messages, each valid by itself. (The paper's bomb
//! has two colluders a level; an honest member's message serves as the second one.) Nothing is made before it is
//! shown: a path is twenty messages.

use super::{Outcome, shown as number};
use crate::net::{Net, Setup, mix};
use crate::{Blocks, Member, Message, MessageId};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Honest members of weight 2, and forkers of weight 1.
const HONEST: u16 = 22;
const DEPTH: u16 = 20;
/// Slots, and paths shown in each.
const SLOTS: u64 = 2;
const PATHS: u64 = 24;
/// Slots after the bomb's last until there is new finality.
const WITHIN: u64 = 10;

/// Messages of the bomb by forker and by the choices up to it.
type Made = BTreeMap<(u16, u32), Arc<Message<Blocks>>>;

pub(super) fn fork_bomb(seed: u64) -> Outcome {
    let mut setup = Setup::equal(HONEST + DEPTH, seed);
    setup.weights = (0..HONEST + DEPTH).map(|member| if member < HONEST { 2 } else { 1 }).collect();
    setup.leaders = (0..HONEST).map(Member).collect();
    setup.byzantine = (HONEST..HONEST + DEPTH).map(Member).collect();
    let mut net = Net::new(setup).expect("equal members are a committee");
    (HONEST..HONEST + DEPTH).for_each(|face| net.deafen(usize::from(face), true));
    let honest = net.honest();
    let (mut chance, mut made, mut shown) = (seed, Made::new(), 0);
    // The first block is what half of the messages cite.
    net.run(net.start_of(1) + 110);
    let cited = net.node(1).engine().first_proposal(crate::Slot(1)).expect("member 1 leads slot 1");
    for slot in 1..=SLOTS {
        for turn in 0..PATHS {
            net.run(net.start_of(slot) + 110 + turn * 60);
            let choices = u32::try_from(mix(&mut chance) >> 44).expect("twenty bits");
            let to = honest[usize::try_from(mix(&mut chance) % u64::from(HONEST)).expect("few members")];
            for level in 0..DEPTH {
                let message = forker(&mut net, &mut made, cited, (level, choices));
                net.show(&message, &[to], net.now() + 1 + u64::from(level));
                shown += 1;
            }
        }
        net.note(format!("{shown} messages of the bomb shown so far, {} different ones", made.len()));
    }
    // Whoever lacks branches that others cite asks for them one below the other, half of all peers in vain.
    let before = net.finalized_height();
    for slot in SLOTS + 1..=SLOTS + WITHIN {
        net.run(net.start_of(slot + 1) - 1);
        if net.finalized_height() > before {
            break;
        }
    }
    let said: usize = net.record().said.values().sum();
    let most = honest.iter().map(|at| net.node(*at).most()).max().unwrap_or((0, 0));
    // Two of a forker convict it here; others may have taken in two as well before the evidence reached them, and
    // what they say on it brings those along.
    let bound = said + usize::from(DEPTH) * 2 * honest.len();
    let dropped: u64 = honest.iter().map(|at| net.node(*at).dropped()).sum();
    let last = net.finalized_height();
    let newest = net.finalized_at(last).filter(|_| last > 0).map(|at| at / net.setup().times.slot_ms);
    let first = net.finalized_at(1).map(|at| at / net.setup().times.slot_ms);
    let convicted = honest.iter().map(|at| net.node(*at).engine().faulty().count()).min().unwrap_or(0);
    let bombs = honest.iter().map(|at| bomb_held(&net, *at)).max().unwrap_or(0);
    let figures = vec![
        ("branches there are", (1u64 << DEPTH).to_string()),
        ("messages shown", shown.to_string()),
        ("different ones", made.len().to_string()),
        ("most of them held by one node", bombs.to_string()),
        ("dropped unjudged", dropped.to_string()),
        ("most messages held", format!("{} of at most {bound}", most.0)),
        ("convicted by all", convicted.to_string()),
        ("first slot with finality", number(first)),
        ("newest slot with finality", number(newest)),
    ];
    Outcome::of(&net, most.0 <= bound && newest > Some(SLOTS), figures)
}

/// Messages of forkers that a node took in.
fn bomb_held(net: &Net, at: usize) -> usize {
    net.node(at).journal().iter().filter(|message| message.sender >= Member(HONEST)).count()
}

/// The message of one forker on a path.
fn forker(net: &mut Net, made: &mut Made, cited: MessageId, (level, choices): (u16, u32)) -> Arc<Message<Blocks>> {
    let key = |level: u16| (level, choices & ((2u32 << level) - 1));
    if let Some(known) = made.get(&key(level)) {
        return known.clone();
    }
    let twin = net.twin(usize::from(HONEST + level));
    if let Some(id) = level.checked_sub(1).and_then(|below| made.get(&key(below))).map(|below| below.id) {
        net.teach(twin, &id);
    }
    if choices >> level & 1 == 1 {
        net.teach(twin, &cited);
    }
    let message = net.craft_vote(twin, net.slot()).expect("nothing that it cites equivocates");
    net.discard(twin);
    made.insert(key(level), message.clone());
    message
}
