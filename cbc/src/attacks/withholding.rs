//! Withheld blocks and votes: against the next leader's block, or saved up to cost work.

use super::{Outcome, finality_of_honest_blocks, shown};
use crate::net::{Net, Rule, Setup};
use crate::{BlockId, Blocks, Member, Message};
use std::sync::Arc;

/// Members; the last five are the adversary's.
const MEMBERS: u16 = 16;
const HONEST: u16 = 11;
/// The slot of the block that is withheld; an honest member leads the next one.
const WITHHELD: u64 = 3;

fn network(seed: u64, rule: Rule) -> Net {
    let mut setup = Setup::equal(MEMBERS, seed);
    setup.byzantine = (HONEST..MEMBERS).map(Member).collect();
    setup.leaders = (0..HONEST).map(Member).collect();
    setup.leaders[3] = Member(HONEST);
    setup.rule = rule;
    Net::new(setup).expect("equal members are a committee")
}

fn faces() -> impl Iterator<Item = usize> {
    usize::from(HONEST)..usize::from(MEMBERS)
}

/// How long before the end of a slot something is shown, up to so many milliseconds: other seeds, other moments.
fn moment(seed: u64, most: u64) -> u64 {
    seed.wrapping_mul(70) % most + 20
}

/// The withheld block, and a vote of each other colluder for it.
fn withhold(net: &mut Net) -> Vec<Arc<Message<Blocks>>> {
    net.run(net.start_of(WITHHELD) + 10);
    let first = usize::from(HONEST);
    let block = net.craft_block(first, WITHHELD, 0).expect("its member leads this slot");
    let mut held = vec![block.clone()];
    for face in faces().skip(1) {
        net.teach(face, &block.id);
        held.push(net.craft_vote(face, WITHHELD).expect("the block is its face's head"));
    }
    net.note("a block and four votes for it are withheld");
    held
}

/// The block of the slot after the withheld one.
fn victim(net: &Net) -> Option<BlockId> {
    net.record().proposed.iter().find(|(_, (slot, _))| *slot == WITHHELD + 1).map(|(block, _)| *block)
}

fn ex_ante(seed: u64, rule: Rule) -> Outcome {
    let mut net = network(seed, rule);
    let held = withhold(&mut net);
    // Shortly before the next slot, and to all but its leader.
    let delay = net.setup().times.delay_ms;
    let at = net.start_of(WITHHELD + 1) - moment(seed, 6 * delay);
    let leader = usize::try_from(WITHHELD + 1).expect("few slots");
    let others: Vec<usize> = net.honest().into_iter().filter(|node| *node != leader).collect();
    held.iter().for_each(|message| net.show(message, &others, at));
    net.run(net.start_of(WITHHELD + 4) - 1);
    reorg_outcome(&net, victim(&net), rule == Rule::Speaker)
}

fn reorg_outcome(net: &Net, victim: Option<BlockId>, survives: bool) -> Outcome {
    let survived = victim.is_some_and(|block| net.all_finalized(&block));
    let after = net.record().proposed.iter().find(|(_, (slot, _))| *slot == WITHHELD + 2);
    let went_on = after.is_some_and(|(block, _)| net.all_finalized(block));
    let depth = net.record().reorgs.iter().map(|reorg| reorg.depth).max().unwrap_or(0);
    let figures = vec![
        ("the honest block", if survived { "final" } else { "displaced" }.to_owned()),
        ("the block after it", if went_on { "final" } else { "not final" }.to_owned()),
        ("deepest reorganisation", depth.to_string()),
    ];
    Outcome::of(net, went_on && depth <= 1 && (survived || !survives), figures)
}

pub(super) fn ex_ante_reorg(seed: u64) -> Outcome {
    ex_ante(seed, Rule::Speaker)
}

pub(super) fn ex_ante_without_view_merge(seed: u64) -> Outcome {
    ex_ante(seed, Rule::NoViewMerge)
}

/// The withheld block alone, at the last moment, to every second member.
fn late(seed: u64, rule: Rule) -> Outcome {
    let mut net = network(seed, rule);
    net.run(net.start_of(WITHHELD + 1) - 650);
    let block = net.craft_block(usize::from(HONEST), WITHHELD, 0).expect("its member leads this slot");
    net.note("the leader shows its block at the end of its slot, to every second member");
    let leader = usize::try_from(WITHHELD + 1).expect("few slots");
    let half: Vec<usize> = net.honest().into_iter().filter(|node| node % 2 == 1 && *node != leader).collect();
    net.show(&block, &half, net.start_of(WITHHELD + 1) - moment(seed, 600));
    net.run(net.start_of(WITHHELD + 4) - 1);
    reorg_outcome(&net, victim(&net), rule == Rule::Speaker)
}

pub(super) fn late_leader(seed: u64) -> Outcome {
    late(seed, Rule::Speaker)
}

pub(super) fn late_without_view_merge(seed: u64) -> Outcome {
    late(seed, Rule::NoViewMerge)
}

/// M votes a slot of each colluder for an old branch, all shown at once.
pub(super) fn saved_votes(seed: u64) -> Outcome {
    const RELEASED: u64 = 12;
    let mut net = network(seed, Rule::Speaker);
    net.run(net.start_of(WITHHELD) + 10);
    let block = net.craft_block(usize::from(HONEST), WITHHELD, 0).expect("its member leads this slot");
    faces().for_each(|face| net.deafen(face, true));
    let mut saved = vec![block.clone()];
    let limit = net.committee().messages_per_slot();
    for slot in WITHHELD..RELEASED {
        for face in faces() {
            net.teach(face, &block.id);
            for _ in 0..limit {
                saved.extend(net.craft_vote(face, slot).ok());
            }
        }
    }
    net.run(net.start_of(RELEASED) + 1);
    let honest = net.honest();
    saved.iter().for_each(|message| net.show(message, &honest, net.start_of(RELEASED) + 2));
    net.note(format!("{} saved votes are shown at once", saved.len()));
    net.run(net.start_of(RELEASED + 3) - 1);
    let (proposed, final_too) = finality_of_honest_blocks(&net, RELEASED + 2);
    let said: usize = net.record().said.values().sum();
    let (most, waiting) = honest
        .iter()
        .map(|at| net.node(*at).most())
        .fold((0, 0), |(most, waiting), (held, parked)| (most.max(held), waiting.max(parked)));
    let reorgs = net.record().reorgs.len();
    let bound = said + saved.len();
    let figures = vec![
        ("saved votes", saved.len().to_string()),
        ("honest blocks final", format!("{final_too} of {proposed}")),
        ("most messages held", format!("{most} of at most {bound}")),
        ("most messages waiting", waiting.to_string()),
        ("newest finality, slot", shown(net.finalized_at(net.finalized_height()).map(|at| at / 2_000))),
    ];
    Outcome::of(&net, proposed == final_too && most <= bound && reorgs == 0, figures)
}
