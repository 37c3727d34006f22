//! What a drawing of a case shows: lanes, columns, the arrows that say something new, and marks.

use super::case::{Case, CaseError};
use super::free::{ROOT_BLOCK, block_of};
use super::load::{Lab, index};
use crate::arena::{FAULTY, NOTHING};
use crate::detector::NONE;
use serde::Serialize;
use std::collections::BTreeSet;

/// Messages that one picture may have.
pub const DRAWN_MESSAGES: usize = 10_000;
/// Branches that are told apart; the last one stands for all smaller ones.
pub const BRANCHES: usize = 8;
/// Rows that the threads of one equivocator may take.
const ROWS: usize = 4;

/// A case as one view sees it, ready to be drawn.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Picture {
    /// Name of the case.
    pub id: String,
    /// Name of the view; none when the case has none and is seen whole.
    pub view: Option<String>,
    /// Validators in order.
    pub lanes: Vec<Lane>,
    /// Messages in the case's order.
    pub messages: Vec<Drawn>,
    /// Branches, that of the head first.
    pub branches: Vec<Branch>,
    /// Number of columns.
    pub columns: usize,
    /// The view's head; none is the root.
    pub head: Option<usize>,
    /// The deepest final message; none is the root.
    pub finalized: Option<usize>,
    /// The candidate asked about.
    pub candidate: Option<usize>,
    /// Level and quorum at which the messages' levels are counted, with a candidate.
    pub target: Option<(u32, u64)>,
}

/// A validator's lane.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Lane {
    /// The validator's name.
    pub name: String,
    /// Its weight.
    pub weight: u64,
    /// Whether the view holds evidence against it.
    pub equivocates: bool,
    /// Rows that its threads take, at least 1.
    pub rows: usize,
}

/// A branch of the tree of blocks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Branch {
    /// Its last message's name.
    pub tip: String,
    /// Messages in it.
    pub messages: usize,
    /// Whether it stands for several that are too small to be told apart.
    pub is_rest: bool,
}

/// A message in its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Drawn {
    /// Its name.
    pub id: String,
    /// Its validator's lane.
    pub lane: usize,
    /// The row in the lane: above 0 only for branching threads.
    pub row: usize,
    /// Its column: right of all that it cites.
    pub column: usize,
    /// The message whose block it extends; none is the root.
    pub parent: Option<usize>,
    /// The message that it continues in its thread.
    pub previous: Option<usize>,
    /// What it cites and what no other message cited implies, the previous one included.
    pub cites: Vec<usize>,
    /// Its branch.
    pub branch: usize,
    /// Whether the view holds it.
    pub received: bool,
    /// Whether it is final in the view.
    pub is_final: bool,
    /// Whether another message of its sender is neither earlier nor later.
    pub equivocates: bool,
    /// Whether its estimate follows from its justification.
    pub follows: bool,
    /// Its level for the candidate; none when it is no unbroken support, or without a candidate.
    pub level: Option<u32>,
}

/// Lays a case out as a view (none: the first) sees it, with the levels of messages for a candidate.
///
/// # Errors
/// The case is malformed, has no such view or message, or has more than [`DRAWN_MESSAGES`].
pub fn picture(case: &Case, view: Option<&str>, candidate: Option<&str>) -> Result<Picture, CaseError> {
    let messages = case.messages.len();
    if messages > DRAWN_MESSAGES {
        return Err(CaseError::TooLargeToDraw { messages, limit: DRAWN_MESSAGES });
    }
    let lab = Lab::load(case)?;
    let held = lab.held_by(view)?;
    let row = lab.free.closure(&held);
    let head = lab.free.ghost(&row);
    let finalized = lab.finalized(&row, head);
    let candidate = candidate.map(|id| lab.place(id)).transpose()?;
    let ancestors = Ancestors::of(&lab);
    let (branch_of, branches) = branches(&lab, head);
    let (levels, target) = levels(&lab, &row, candidate);
    let mut drawn: Vec<Drawn> = (0..messages)
        .map(|place| {
            let at = index(place);
            Drawn {
                id: lab.name(at).to_owned(),
                lane: lab.free.sender(at).index(),
                row: 0,
                column: 0,
                parent: message_of(lab.free.parent(at)),
                previous: lab.free.dag.node(at).and_then(|node| place_of(node.prev)),
                cites: ancestors.direct(&lab, at),
                branch: branch_of[place],
                received: held.binary_search(&at).is_ok(),
                is_final: finalized != ROOT_BLOCK && lab.free.tree.descends(finalized, block_of(at)),
                equivocates: false,
                follows: lab.unjustified.binary_search(&place).is_err(),
                level: levels[place],
            }
        })
        .collect();
    mark_equivocations(&lab, &ancestors, &mut drawn);
    let (rows, columns) = arrange(case.validators.len(), &mut drawn);
    let lanes = case.validators.iter().zip(&row).zip(rows).map(|((validator, seen), rows)| Lane {
        name: validator.name.to_string(),
        weight: validator.weight,
        equivocates: *seen == FAULTY,
        rows,
    });
    Ok(Picture {
        id: case.id.clone(),
        view: case.view(view)?.map(|view| view.name.clone()),
        lanes: lanes.collect(),
        messages: drawn,
        branches,
        columns,
        head: message_of(head),
        finalized: message_of(finalized),
        candidate,
        target,
    })
}

fn place_of(at: u32) -> Option<usize> {
    (at as usize).checked_sub(1)
}

fn message_of(block: u32) -> Option<usize> {
    (block as usize).checked_sub(2)
}

/// The closure of every message, as bits.
struct Ancestors {
    words: usize,
    bits: Vec<u64>,
}

impl Ancestors {
    fn of(lab: &Lab<'_>) -> Self {
        let words = lab.free.len().div_ceil(64);
        let mut bits = vec![0u64; words * lab.free.len()];
        for place in 0..lab.free.len() {
            let (before, own) = bits.split_at_mut(place * words);
            for cited in lab.free.cited(index(place)).iter().filter_map(|at| place_of(*at)) {
                let theirs = &before[cited * words..(cited + 1) * words];
                own[..words].iter_mut().zip(theirs).for_each(|(own, theirs)| *own |= theirs);
                own[cited / 64] |= 1 << (cited % 64);
            }
        }
        Self { words, bits }
    }

    /// Whether the message at place `earlier` is in the closure of the one at `later`.
    fn holds(&self, later: usize, earlier: usize) -> bool {
        self.bits[later * self.words + earlier / 64] >> (earlier % 64) & 1 == 1
    }

    /// What a message cites and no other message that it cites holds.
    fn direct(&self, lab: &Lab<'_>, at: u32) -> Vec<usize> {
        let cited: BTreeSet<usize> = lab.free.cited(at).iter().filter_map(|at| place_of(*at)).collect();
        let implied = |place: &usize| cited.range(place + 1..).any(|later| self.holds(*later, *place));
        cited.iter().copied().filter(|place| !implied(place)).collect()
    }
}

fn mark_equivocations(lab: &Lab<'_>, ancestors: &Ancestors, drawn: &mut [Drawn]) {
    let everything: Vec<u32> = (0..lab.free.len()).map(index).collect();
    let row = lab.free.closure(&everything);
    for member in lab.free.committee.members().filter(|member| row[member.index()] == FAULTY) {
        let own: Vec<usize> = (0..drawn.len()).filter(|place| drawn[*place].lane == member.index()).collect();
        for (nth, earlier) in own.iter().enumerate() {
            for later in &own[nth + 1..] {
                if !ancestors.holds(*later, *earlier) {
                    drawn[*earlier].equivocates = true;
                    drawn[*later].equivocates = true;
                }
            }
        }
    }
}

/// The branch of every message, and the branches: the way to the head, then by size.
fn branches(lab: &Lab<'_>, head: u32) -> (Vec<usize>, Vec<Branch>) {
    let messages = lab.free.len();
    let parent = |place: usize| lab.free.parent(index(place)) as usize;
    let mut sizes = vec![1usize; messages + 2];
    for place in (0..messages).rev() {
        sizes[parent(place)] += sizes[block_of(index(place)) as usize];
    }
    // The child that continues a block's branch: towards the head, else the one with most below it.
    let mut heir = vec![0usize; messages + 2];
    for place in 0..messages {
        let (block, above) = (block_of(index(place)) as usize, parent(place));
        if heir[above] == 0 || sizes[block] > sizes[heir[above]] {
            heir[above] = block;
        }
    }
    for block in lab.free.path(head) {
        heir[parent(block as usize - 2)] = block as usize;
    }
    let mut first = vec![0usize; messages + 2];
    for place in 0..messages {
        let (block, above) = (block_of(index(place)) as usize, parent(place));
        let continues = heir[above] == block && above != ROOT_BLOCK as usize;
        first[block] = if continues { first[above] } else { block };
    }
    let mut found: Vec<(usize, usize, usize)> = Vec::new();
    for start in (2..messages + 2).filter(|block| first[*block] == *block) {
        let mut last = start;
        let mut count = 1;
        while heir[last] != 0 {
            last = heir[last];
            count += 1;
        }
        found.push((start, count, last));
    }
    let main = first[head as usize];
    found.sort_by_key(|(start, count, _)| (*start != main, std::cmp::Reverse(*count), *start));
    let mut rank = vec![0usize; messages + 2];
    for (nth, (start, ..)) in found.iter().enumerate() {
        rank[*start] = nth.min(BRANCHES - 1);
    }
    let branch_of = (0..messages).map(|place| rank[first[place + 2]]).collect();
    let named = |(_, count, last): &(usize, usize, usize)| {
        let tip = lab.block_name(u32::try_from(*last).expect("an index of the tree")).to_owned();
        Branch { tip, messages: *count, is_rest: false }
    };
    let mut branches: Vec<Branch> = found.iter().take(BRANCHES).map(named).collect();
    if found.len() > BRANCHES {
        let messages = found[BRANCHES - 1..].iter().map(|(_, count, _)| count).sum();
        branches[BRANCHES - 1] = Branch { tip: String::new(), messages, is_rest: true };
    }
    (branch_of, branches)
}

/// The level of every message for the candidate, and at which level and quorum they are counted.
fn levels(lab: &Lab<'_>, row: &[u32], candidate: Option<usize>) -> (Vec<Option<u32>>, Option<(u32, u64)>) {
    let mut levels = vec![None; lab.free.len()];
    let Some(candidate) = candidate else { return (levels, None) };
    let support = lab.support(row, block_of(index(candidate)));
    let committee = &lab.free.committee;
    let reached = |level: &u32| committee.quorum(*level).is_some_and(|quorum| support.is_summit(quorum, *level));
    let possible = |level: &u32| committee.quorum(*level).is_some_and(|quorum| quorum <= support.weight());
    let all = || 1..=committee.levels();
    let target = all().find(reached).or_else(|| all().find(possible)).unwrap_or_else(|| committee.levels());
    let Some(quorum) = committee.quorum(target) else { return (levels, None) };
    for (level, starts) in (0..).zip(support.levels(quorum, target).into_starts()) {
        for (start, newest) in starts.iter().zip(row).filter(|(start, _)| **start != NONE) {
            let mut at = *newest;
            while at >= *start && at != NOTHING && at != FAULTY {
                levels[at as usize - 1] = Some(level);
                at = lab.free.dag.node(at).map_or(NOTHING, |node| node.prev);
            }
        }
    }
    (levels, Some((target, quorum)))
}

/// Gives every message its row and column; answers the rows of each lane and the number of columns.
fn arrange(lanes: usize, drawn: &mut [Drawn]) -> (Vec<usize>, usize) {
    let mut rows = vec![0usize; lanes];
    let mut continued = vec![false; drawn.len()];
    let mut taken = BTreeSet::new();
    let mut columns = 0;
    for place in 0..drawn.len() {
        let (lane, previous) = (drawn[place].lane, drawn[place].previous);
        let row = match previous.filter(|previous| !continued[*previous]) {
            Some(previous) => {
                continued[previous] = true;
                drawn[previous].row
            }
            None => {
                rows[lane] = (rows[lane] + 1).min(ROWS);
                rows[lane] - 1
            }
        };
        let after = drawn[place].cites.iter().map(|cited| drawn[*cited].column + 1).max();
        let mut column = after.unwrap_or(0);
        while !taken.insert((lane, row, column)) {
            column += 1;
        }
        drawn[place].row = row;
        drawn[place].column = column;
        columns = columns.max(column + 1);
    }
    (rows.into_iter().map(|rows| rows.max(1)).collect(), columns)
}
