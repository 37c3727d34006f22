//! A leader that wants more than its slot: many blocks in one, far slots, other members' slots.

use super::{Outcome, finality_of_honest_blocks};
use crate::net::{Net, ROOT, Setup};
use crate::{BlockEstimate, BlockId, Invalid, InvalidEstimate, Member, NewBlock, Slot};

const MEMBERS: u16 = 7;
const SLOT: u64 = 5;
/// Messages for slots far ahead.
const FAR: u64 = 400;

pub(super) fn greedy_leader(seed: u64) -> Outcome {
    let mut setup = Setup::equal(MEMBERS, seed);
    setup.byzantine = vec![Member(5), Member(6)];
    let limit = setup.limits.pending_per_sender;
    let mut net = Net::new(setup).expect("equal members are a committee");
    let honest = net.honest();
    net.run(net.start_of(SLOT));
    let (greedy, other) = (5, 6);
    // Its block, and three more of the same slot on top of one another.
    let first = net.craft_block(greedy, SLOT, 0).expect("it leads this slot");
    net.show(&first, &honest, net.now() + 1);
    let mut refused = Vec::new();
    let mut parent = first.estimate.block();
    for height in 0..3 {
        let id = BlockId([0xa0 + height; 32]);
        let under = net.height(&parent) + 1;
        let chained = net.forge(greedy, SLOT, |message| {
            message.estimate = BlockEstimate::Proposal(NewBlock { id, parent, height: under, slot: Slot(SLOT) });
        });
        net.show(&chained, &honest, net.now() + 2);
        refused.push(chained.id);
        parent = id;
    }
    net.note("four blocks of one leader in one slot");
    // A block in a slot that somebody else leads.
    let head = net.node(other).engine().head();
    let usurped = NewBlock { id: BlockId([0xb0; 32]), parent: head, height: net.height(&head) + 1, slot: Slot(SLOT) };
    let usurped = net.forge(other, SLOT, |message| message.estimate = BlockEstimate::Proposal(usurped));
    net.show(&usurped, &honest, net.now() + 2);
    refused.push(usurped.id);
    // Blocks for all its slots of a far future, each on the one before, more than may wait.
    let far = net.twin(other);
    net.deafen(far, true);
    let slots = (1..=FAR).map(|turn| turn * u64::from(MEMBERS) + 6);
    let blocks: Vec<_> = slots.filter_map(|slot| net.craft_block(far, slot, 0).ok()).collect();
    blocks.iter().for_each(|block| net.show(block, &honest, net.now() + 3));
    net.note(format!("{} blocks for slots ahead", blocks.len()));
    net.run(net.now() + 100);
    let typed = honest.iter().all(|at| {
        let reason = |id| net.node(*at).refused().iter().find(|(refused, _)| refused == id).map(|(_, reason)| *reason);
        let not_leader = Some(Invalid::Estimate(InvalidEstimate::NotLeader));
        // Of the chained ones only the first follows what is held; the others claim its place in the thread.
        let chained = [Some(Invalid::SecondBlockInSlot), Some(Invalid::Estimate(InvalidEstimate::ParentDoesNotFollow))];
        refused[..3].iter().all(|id| chained.contains(&reason(id))) && reason(&refused[3]) == not_leader
    });
    let waiting = honest.iter().map(|at| net.node(*at).most().1).max().unwrap_or(0);
    net.run(net.start_of(SLOT + 4) - 1);
    let (proposed, final_too) = finality_of_honest_blocks(&net, SLOT + 3);
    let silent = honest.iter().all(|at| net.node(*at).engine().head() != ROOT);
    let figures = vec![
        ("refused for good", refused.len().to_string()),
        ("blocks for slots ahead", blocks.len().to_string()),
        ("most messages waiting", format!("{waiting}, of one sender at most {limit}")),
        ("honest blocks final", format!("{final_too} of {proposed}")),
    ];
    let bounded = waiting <= limit + honest.len();
    Outcome::of(&net, typed && bounded && silent && proposed == final_too, figures)
}
