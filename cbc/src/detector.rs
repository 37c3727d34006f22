//! The finality detector: Highway's summits, in integers.
//!
//! Highway (Kane, Fackler, Gągol, Straszak 2021), definition of a (q,k)-summit, with committees
//! computed as the greatest fixpoint instead of guessed; so the answer is exact and polynomial.

use crate::arena::{Climb, FAULTY, NOTHING};
use crate::committee::Committee;
use crate::dag::Dag;
use crate::ids::Member;
use crate::row::seen_weight;

/// No message of a member has the level; no real index reaches it.
pub(crate) const NONE: u32 = FAULTY;

/// One view looked at for one candidate: newest messages, and where level 0 starts.
#[derive(Clone, Debug)]
pub(crate) struct Support<'a> {
    dag: &'a Dag,
    committee: &'a Committee,
    /// Newest message of each member in the view; `NONE` for the faulty and the silent.
    newest: Vec<u32>,
    /// First level-0 message of each member.
    start: Vec<u32>,
}

/// First message of a member's unbroken agreeing end of thread, back from `newest`.
///
/// Votes within a run only extend each other, so agreement inside one is monotone.
pub(crate) fn level_zero(dag: &Dag, newest: u32, agrees: &impl Fn(u32) -> bool) -> u32 {
    let mut start = NONE;
    let mut at = newest;
    while let Some(node) = dag.node(at).filter(|node| agrees(node.vote)) {
        let Some(run) = dag.node(node.run) else {
            // The run began below the pruning line, where nothing voted for what is not final yet.
            return first_above(dag, (0, at), |index| agrees(dag.vote(index)));
        };
        if agrees(run.vote) {
            start = node.run;
            at = run.prev;
            continue;
        }
        return first_in_thread(dag, (node.run, at), |index| agrees(dag.vote(index)));
    }
    start
}

/// The first message after `low`, up to `high`, of a thread for which `holds`, which is monotone and
/// holds for `high`.
fn first_in_thread(dag: &Dag, (low, high): (u32, u32), holds: impl Fn(u32) -> bool) -> u32 {
    match dag.node(low) {
        Some(node) => first_above(dag, (node.seq, high), holds),
        None => high,
    }
}

/// The same after this depth; what left memory does not hold.
fn first_above(dag: &Dag, (mut below, high): (u64, u32), holds: impl Fn(u32) -> bool) -> u32 {
    let Some(mut above) = dag.node(high).map(|node| node.seq) else { return high };
    let mut found = high;
    // What is looked for is near the end as a rule: steps back double until one goes too far, then halve.
    let (mut step, mut too_far) = (1, false);
    while below + 1 < above {
        let half = below + (above - below) / 2;
        let target = if too_far { half } else { above.saturating_sub(step).max(below + 1) };
        match dag.ancestor_at(found, target) {
            Ok(index) if holds(index) => (found, above, step) = (index, target, step * 2),
            _ => (below, too_far) = (target, true),
        }
    }
    found
}

impl<'a> Support<'a> {
    /// Looks at a view for a candidate; `agrees` says whether a vote supports it.
    pub(crate) fn new(dag: &'a Dag, committee: &'a Committee, row: &[u32], agrees: &impl Fn(u32) -> bool) -> Self {
        let start = row
            .iter()
            .map(|newest| match *newest {
                NOTHING | FAULTY => NONE,
                at => level_zero(dag, at, agrees),
            })
            .collect();
        Self::known(dag, committee, row, start)
    }

    /// The same when the starts are known already.
    pub(crate) fn known(dag: &'a Dag, committee: &'a Committee, row: &[u32], start: Vec<u32>) -> Self {
        let newest = row.iter().map(|at| if *at == NOTHING { NONE } else { *at }).collect();
        Self { dag, committee, newest, start }
    }

    /// Weight of the members whose newest message agrees.
    pub(crate) fn weight(&self) -> u64 {
        self.weight_of(&self.start)
    }

    pub(crate) fn starts(&self) -> &[u32] {
        &self.start
    }

    /// Weight of the members that start somewhere.
    pub(crate) fn weight_of(&self, start: &[u32]) -> u64 {
        let weights = start.iter().zip(self.committee.weights());
        weights.filter(|(start, _)| **start != NONE).map(|(_, weight)| *weight).sum()
    }

    fn newest_row(&self, member: usize) -> &'a [u32] {
        self.dag.row(self.newest[member]).unwrap_or_default()
    }

    /// What each member's newest message has seen of level 0.
    pub(crate) fn seen(&self) -> Vec<u64> {
        self.seen_of(&self.start)
    }

    fn seen_of(&self, start: &[u32]) -> Vec<u64> {
        let seen = |i: usize| match start[i] {
            NONE => 0,
            _ => seen_weight(self.newest_row(i), start, self.committee),
        };
        (0..start.len()).map(seen).collect()
    }

    /// Whether there is a (q,k)-summit.
    pub(crate) fn is_summit(&self, quorum: u64, level: u32) -> bool {
        self.weight() >= quorum && self.summit(&self.seen(), quorum, level).is_ok()
    }

    /// Whether there is a (q,k)-summit, `seen` being what [`Support::seen`] says; if not, a quorum below q above which
    /// there is none either.
    pub(crate) fn summit(&self, seen: &[u64], quorum: u64, level: u32) -> Result<(), u64> {
        let weights = self.committee.weights();
        let enough: u64 =
            seen.iter().zip(weights).filter(|(seen, _)| **seen >= quorum).map(|(_, weight)| *weight).sum();
        if enough < quorum {
            return Err(self.largest_seen(seen));
        }
        let missed = Err(quorum - 1);
        let mut start = self.start.clone();
        let mut seen = seen.to_vec();
        for k in 1..=level {
            self.narrow(&mut start, seen, quorum);
            if self.weight_of(&start) < quorum {
                return missed;
            }
            if k == level {
                break;
            }
            start = self.raise(&start, quorum);
            seen = self.seen_of(&start);
        }
        Ok(())
    }

    /// The largest quorum such that members weighing as much have seen as much: no summit has a larger one.
    fn largest_seen(&self, seen: &[u64]) -> u64 {
        let mut members: Vec<(u64, u64)> = seen.iter().copied().zip(self.committee.weights().iter().copied()).collect();
        members.sort_unstable_by(|a, b| b.cmp(a));
        let mut sum = 0;
        let best = members.into_iter().map(|(seen, weight)| {
            sum += weight;
            seen.min(sum)
        });
        best.max().unwrap_or(0)
    }

    /// Drops members whose newest message, which has seen so much, has not seen a quorum of the others left, until
    /// none is.
    fn narrow(&self, start: &mut [u32], mut seen: Vec<u64>, quorum: u64) {
        let weights = self.committee.weights();
        loop {
            let below = |i: &usize| start[*i] != NONE && seen[*i] < quorum;
            let dropped: Vec<usize> = (0..start.len()).filter(below).collect();
            if dropped.is_empty() {
                return;
            }
            let from: Vec<u32> = dropped.iter().map(|i| std::mem::replace(&mut start[*i], NONE)).collect();
            // Looking up some of a row costs as much as going through all of one some 16 times as long.
            if dropped.len() > start.len() / 16 {
                seen = self.seen_of(start);
                continue;
            }
            for (i, seen) in seen.iter_mut().enumerate().filter(|(i, _)| start[*i] != NONE) {
                let row = self.newest_row(i);
                for (member, from) in dropped.iter().zip(&from) {
                    let held = row.get(*member).copied().unwrap_or(NOTHING);
                    if held >= *from && held != FAULTY {
                        *seen -= weights[*member];
                    }
                }
            }
        }
    }

    /// Per member the first message, from its start on, that has seen starts weighing a quorum.
    ///
    /// Levels nest, as in Highway's definition: a level-k message is a level-(k-1) message.
    fn raise(&self, start: &[u32], quorum: u64) -> Vec<u32> {
        let reaches =
            |index: u32| self.dag.row(index).is_some_and(|row| seen_weight(row, start, self.committee) >= quorum);
        (0..start.len())
            .map(|i| match start[i] {
                NONE => NONE,
                first if reaches(first) => first,
                first if reaches(self.newest[i]) => first_in_thread(self.dag, (first, self.newest[i]), reaches),
                _ => NONE,
            })
            .collect()
    }

    /// The largest quorum above W/2 with a (q,k)-summit.
    pub(crate) fn largest_quorum(&self, level: u32) -> Option<u64> {
        let mut low = self.committee.total() / 2 + 1;
        let mut high = self.weight();
        if high < low || !self.is_summit(low, level) {
            return None;
        }
        while low < high {
            let middle = low + (high - low).div_ceil(2);
            if self.is_summit(middle, level) {
                low = middle;
            } else {
                high = middle - 1;
            }
        }
        Some(low)
    }

    /// Levels 1 to `cap` at a quorum: where each starts, and what that message has seen of the level below.
    pub(crate) fn counted(&self, quorum: u64, cap: u32) -> Vec<(Vec<u32>, Vec<u64>)> {
        let mut below = self.start.clone();
        let mut levels = Vec::new();
        for _ in 0..cap {
            let possible = self.weight_of(&below) >= quorum;
            let starts = if possible { self.raise(&below, quorum) } else { vec![NONE; below.len()] };
            let seen = |at: &u32| self.dag.row(*at).map_or(0, |row| seen_weight(row, &below, self.committee));
            let seen = starts.iter().map(seen).collect();
            below.clone_from(&starts);
            levels.push((starts, seen));
        }
        levels
    }

    /// Levels that messages have reached at a quorum, up to `cap`: where each level starts.
    pub(crate) fn levels(&self, quorum: u64, cap: u32) -> Levels {
        let mut starts = vec![self.start.clone()];
        for _ in 0..cap.min(64) {
            let last = starts.last().expect("level 0 is there");
            if self.weight_of(last) < quorum {
                break;
            }
            starts.push(self.raise(last, quorum));
        }
        Levels { starts, quorum, cap, weights: self.committee.weights().to_vec() }
    }
}

/// Levels of messages in one view at one quorum.
///
/// A message has level k when it has seen level-(k-1) messages of members weighing at least q,
/// itself included: the same ladder as a summit's, without asking that all climb together. A
/// summit's own levels would be of no use to somebody who is about to speak first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Levels {
    starts: Vec<Vec<u32>>,
    quorum: u64,
    cap: u32,
    weights: Vec<u64>,
}

impl Levels {
    /// First messages by level, from 0, then by member.
    pub(crate) fn into_starts(self) -> Vec<Vec<u32>> {
        self.starts
    }

    /// The level of the member's newest message; none when it does not agree.
    #[must_use]
    pub fn of(&self, member: Member) -> Option<u32> {
        let place = usize::from(member.0);
        let reached = |starts: &&Vec<u32>| starts.get(place).is_some_and(|start| *start != NONE);
        let count = self.starts.iter().take_while(reached).count();
        u32::try_from(count).ok()?.checked_sub(1)
    }

    /// The level that an agreeing message of the member citing the whole view would have.
    #[must_use]
    pub fn next(&self, member: Member) -> u32 {
        let place = usize::from(member.0);
        let mut level = 0;
        for starts in self.starts.iter().take(self.cap as usize) {
            let others = starts.iter().enumerate().filter(|(i, start)| *i != place && **start != NONE);
            let seen: u64 = others.map(|(i, _)| self.weights[i]).sum();
            let own = self.weights.get(place).copied().unwrap_or(0);
            if seen + own < self.quorum {
                break;
            }
            level += 1;
        }
        level
    }
}
