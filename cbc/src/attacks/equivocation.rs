//! Equivocating leaders: an avalanche of blocks, and one block for each half.

use super::{Outcome, finality_of_honest_blocks, shown};
use crate::net::{Cut, Net, Setup};
use crate::{Member, MessageId};

/// Members; the last five are the adversary's.
const MEMBERS: u16 = 16;
const HONEST: u16 = 11;

/// Honest and Byzantine leaders in turn, as long as there are Byzantine ones.
fn alternating(seed: u64) -> Net {
    let mut setup = Setup::equal(MEMBERS, seed);
    setup.byzantine = (HONEST..MEMBERS).map(Member).collect();
    let turn = |place: u16| match place % 2 {
        1 if place / 2 < MEMBERS - HONEST => Member(HONEST + place / 2),
        _ => Member(place % HONEST),
    };
    setup.leaders = (0..MEMBERS).map(turn).collect();
    Net::new(setup).expect("equal members are a committee")
}

/// In each Byzantine slot every honest member gets another block first, and all of them soon after.
pub(super) fn avalanche(seed: u64) -> Outcome {
    let mut net = alternating(seed);
    let honest = net.honest();
    let mut blocks = 0;
    for slot in (1..u64::from(2 * (MEMBERS - HONEST))).step_by(2) {
        let face = usize::from(HONEST) + usize::try_from(slot / 2).expect("few slots");
        net.run(net.start_of(slot));
        for salt in 0..2 * honest.len() {
            let twin = net.twin(face);
            let block = net.craft_block(twin, slot, salt as u64).expect("its member leads this slot");
            net.discard(twin);
            let first = honest[salt % honest.len()];
            let rest: Vec<usize> = honest.iter().copied().filter(|node| *node != first).collect();
            net.show(&block, &[first], net.now() + 2);
            net.show(&block, &rest, net.now() + 30 + salt as u64);
            blocks += 1;
        }
        net.note(format!("member {face} shows {} blocks at once", 2 * honest.len()));
    }
    let end = u64::from(2 * (MEMBERS - HONEST)) + 2;
    net.run(net.start_of(end + 1) - 1);
    let convicted = |at: &usize| net.node(*at).engine().faulty().count();
    let all_convicted = honest.iter().all(|at| convicted(at) == usize::from(MEMBERS - HONEST));
    let (proposed, final_too) = finality_of_honest_blocks(&net, end);
    let held = honest.iter().map(|at| net.node(*at).most().0).max().unwrap_or(0);
    let said: usize = net.record().said.values().sum();
    // A node takes in two blocks of an equivocator by itself; more only where an honest member has voted on them.
    let bound = said + usize::from(MEMBERS - HONEST) * (2 + honest.len());
    let figures = vec![
        ("equivocating blocks", blocks.to_string()),
        ("honest blocks final", format!("{final_too} of {proposed}")),
        ("most messages held", format!("{held} of at most {bound}")),
    ];
    Outcome::of(&net, all_convicted && proposed == final_too && held <= bound, figures)
}

/// One half sees one block and the votes for it, the other half the other one; all five colluders vote on both sides.
pub(super) fn split(seed: u64) -> Outcome {
    const SLOT: u64 = 3;
    let mut net = alternating(seed);
    let honest = net.honest();
    let halves = [honest[..6].to_vec(), honest[6..].to_vec()];
    let leader = usize::from(HONEST) + 1;
    net.run(net.start_of(SLOT));
    let before = net.finalized_height();
    for (side, half) in halves.iter().enumerate() {
        let twin = net.twin(leader);
        net.deafen(twin, true);
        let block = net.craft_block(twin, SLOT, side as u64).expect("its member leads this slot");
        net.show(&block, half, net.now() + 1);
        for face in usize::from(HONEST)..usize::from(MEMBERS) {
            let voter = net.twin(face);
            net.deafen(voter, true);
            net.teach(voter, &block.id);
            if let Ok(vote) = net.craft_vote(voter, SLOT).map(|vote| (vote, block.estimate.block())) {
                net.show(&vote.0, half, net.now() + 5);
                net.sign(voter, vote.1);
            }
        }
    }
    net.note("one block and five votes for each half");
    net.run(net.start_of(SLOT + 4) - 1);
    let colluders = usize::from(MEMBERS - HONEST);
    let convictions: Vec<usize> = honest.iter().map(|at| net.node(*at).engine().faulty().count()).collect();
    let next = net.finalized_at(before + 1).map(|at| at / net.setup().times.slot_ms);
    let figures = vec![
        ("convicted by each", format!("{convictions:?}")),
        ("next slot with finality", shown(next)),
        ("heads", net.heads().len().to_string()),
    ];
    let convicted = convictions.iter().all(|count| *count == colluders);
    Outcome::of(&net, convicted && net.heads().len() == 1 && next.is_some_and(|slot| slot <= SLOT + 1), figures)
}

/// What is shown to one side of a cut: a face of each colluder, and the honest members there.
struct Side {
    faces: Vec<usize>,
    half: Vec<usize>,
}

impl Side {
    /// Every face learns what was said on its side, and votes.
    fn vote(&self, net: &mut Net, slot: u64, said: &mut Vec<MessageId>) {
        for node in &self.half {
            said.extend(net.node(*node).journal().iter().map(|message| message.id));
        }
        let mut votes = Vec::new();
        for face in &self.faces {
            said.iter().for_each(|id| net.teach(*face, id));
            if let Ok(vote) = net.craft_vote(*face, slot) {
                net.show(&vote, &self.half, net.now() + 1);
                votes.push(vote.id);
            }
        }
        said.extend(votes);
    }
}

/// Eight of sixteen collude, for four slots of a cut between two halves of the others.
pub(super) fn beyond_threshold(seed: u64) -> Outcome {
    const FROM: u64 = 2;
    const HEALED: u64 = 4;
    const COLLUDE: u16 = 8;
    let mut setup = Setup::equal(MEMBERS, seed);
    setup.byzantine = (COLLUDE..MEMBERS).map(Member).collect();
    // One slot is led on each side.
    setup.leaders = vec![Member(0), Member(1), Member(0), Member(COLLUDE - 1)];
    let mut net = Net::new(setup).expect("equal members are a committee");
    let honest = net.honest();
    let halves = [honest[..4].to_vec(), honest[4..].to_vec()];
    let cut = Cut { from_ms: net.start_of(FROM), to_ms: net.start_of(HEALED), parts: halves.to_vec(), lost: true };
    net.cut(cut);
    let colluders = usize::from(COLLUDE)..usize::from(MEMBERS);
    net.run(net.start_of(FROM));
    let sides = halves.map(|half| Side { faces: colluders.clone().map(|face| net.twin(face)).collect(), half });
    // Faces that hear both sides would tell each what the other says.
    sides.iter().flat_map(|side| side.faces.clone()).chain(colluders).for_each(|face| net.deafen(face, true));
    let mut said = [Vec::new(), Vec::new()];
    for slot in FROM..HEALED {
        for round in 1..6 {
            net.run(net.start_of(slot) + round * 220);
            for (side, said) in sides.iter().zip(&mut said) {
                side.vote(&mut net, slot, said);
            }
        }
    }
    let broken = !net.agrees();
    net.note("the link heals");
    net.run(net.start_of(HEALED + 4) - 1);
    let threshold = net.committee().threshold();
    let convicted = honest.iter().map(|at| net.node(*at).engine().faulty().count()).min().unwrap_or(0);
    let figures = vec![
        ("conflicting blocks final", broken.to_string()),
        ("fault threshold", threshold.to_string()),
        ("convicted by each, at least", convicted.to_string()),
    ];
    let named = u64::try_from(convicted).is_ok_and(|convicted| convicted > threshold);
    let mut outcome = Outcome::of(&net, true, figures);
    outcome.held = broken && named;
    outcome
}
