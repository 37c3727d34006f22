//! Balancing: votes released late keep two halves on two branches.
//!
//! Nothing here equivocates: the adversary's members only choose whom they listen to, so that the rules let them vote
//! for either branch, and show such a vote to the one half that would otherwise leave its branch.

use super::{Outcome, shown};
use crate::net::{Net, Rule, Setup};
use crate::{BlockId, Blocks, Member, Message};
use std::sync::Arc;

/// Members; the last five, all but the tolerable weight, are the adversary's.
const MEMBERS: u16 = 16;
const BYZANTINE: u16 = 5;
/// The slot before which the adversary stops, and the one in which everything must be well again.
const STOPS: u64 = 8;
const WELL: u64 = STOPS + 2;
/// The first slot with an honest leader, and the one by which defences that work have finality.
const HONEST_LEADER: u64 = 3;
const DEFENDED: u64 = HONEST_LEADER + 1;

/// The adversary's state: two branches, and the half of the honest members that each is meant for.
struct Balancer {
    branches: [BlockId; 2],
    halves: [Vec<usize>; 2],
    faces: Vec<usize>,
    released: u64,
    /// What was under way to each half when it was last looked at.
    looked: [Option<(usize, usize)>; 2],
}

pub(super) fn with_view_merge(seed: u64) -> Outcome {
    run(seed, Rule::Speaker, DEFENDED)
}

pub(super) fn without_view_merge(seed: u64) -> Outcome {
    run(seed, Rule::NoViewMerge, WELL)
}

fn run(seed: u64, rule: Rule, final_by: u64) -> Outcome {
    let honest = MEMBERS - BYZANTINE;
    let mut setup = Setup::equal(MEMBERS, seed);
    setup.rule = rule;
    setup.byzantine = (honest..MEMBERS).map(Member).collect();
    // Two of the adversary's members lead slots 1 and 2, honest ones all others.
    setup.leaders = (0..honest).map(Member).collect();
    setup.leaders[1] = Member(honest);
    setup.leaders[2] = Member(honest + 1);
    let mut net = Net::new(setup).expect("equal members are a committee");
    let faces: Vec<usize> = (usize::from(honest)..usize::from(MEMBERS)).collect();
    faces.iter().for_each(|face| net.deafen(*face, true));
    net.run(net.start_of(1));
    let left = net.craft_block(faces[0], 1, 0).expect("it leads slot 1");
    net.run(net.start_of(2));
    let right = net.craft_block(faces[1], 2, 0).expect("it leads slot 2, and knows no block");
    let half = usize::from(honest).div_ceil(2);
    let halves = [(0..half).collect::<Vec<usize>>(), (half..usize::from(honest)).collect()];
    net.show(&left, &halves[0], net.now() + 1);
    net.show(&right, &halves[1], net.now() + 1);
    net.note("two withheld blocks are shown, each to one half");
    let branches = [left.estimate.block(), right.estimate.block()];
    let mut balancer = Balancer { branches, halves, faces, released: 0, looked: [None, None] };
    net.play(net.start_of(STOPS) - 1, |net| balancer.act(net));
    net.note(format!("the adversary stops after {} votes", balancer.released));
    net.run(net.start_of(WELL + 1));
    let first = net.finalized_at(1).map(|at| at / net.setup().times.slot_ms);
    let figures = vec![
        ("votes released", balancer.released.to_string()),
        ("first slot with finality", shown(first)),
        ("slots delayed", shown(first.map(|slot| slot.saturating_sub(HONEST_LEADER)))),
    ];
    Outcome::of(&net, first.is_some_and(|slot| slot <= final_by), figures)
}

impl Balancer {
    fn act(&mut self, net: &mut Net) {
        for side in 0..2 {
            for _ in 0..self.faces.len() {
                if self.holds(net, side) {
                    break;
                }
                let Some(vote) = self.swing(net, side) else { break };
                net.show(&vote, &self.halves[side], net.now() + 1);
                self.released += 1;
            }
        }
    }

    /// Whether this half will stay on its branch with all that is under way to it; one of it stands for all.
    fn holds(&mut self, net: &mut Net, side: usize) -> bool {
        let one = self.halves[side][0];
        let look = Some((net.node(one).journal().len(), net.coming(one)));
        if self.looked[side] == look {
            return true;
        }
        let head = net.foresee(one);
        let holds = net.descends(&head, &self.branches[side]);
        self.looked[side] = look.filter(|_| holds);
        holds
    }

    /// A new vote for a branch: by the first member whom the rules let say so once it cites enough votes for it.
    fn swing(&mut self, net: &mut Net, side: usize) -> Option<Arc<Message<Blocks>>> {
        let branch = self.branches[side];
        for place in 0..self.faces.len() {
            let face = self.faces[place];
            let engine = net.node(face).engine();
            let last = engine.me().and_then(|member| engine.latest_vote(member));
            if last.is_some_and(|block| net.descends(&block, &branch)) {
                continue;
            }
            let trial = net.twin(face);
            for vote in net.supporters(&branch) {
                if net.descends(&net.node(trial).engine().head(), &branch) {
                    break;
                }
                net.teach(trial, &vote);
            }
            if net.descends(&net.node(trial).engine().head(), &branch)
                && let Ok(vote) = net.craft_vote(trial, net.slot())
            {
                net.replace(face, trial);
                return Some(vote);
            }
            net.discard(trial);
        }
        None
    }
}
