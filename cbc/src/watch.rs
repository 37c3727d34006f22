//! The watch: the detector's running levels for the one candidate that may be finalized next.

use crate::arena::FAULTY;
use crate::committee::Committee;
use crate::dag::Dag;
use crate::detector::{NONE, Support};
use crate::ids::Member;
use crate::row::seen_weight;

/// Levels that messages have reached at one q_k, each member for itself.
///
/// A level-k message of a summit has at least this level, so before members weighing q_k reach
/// level k here there is no (q_k,k)-summit. Where a level starts never moves while votes only join,
/// so each message is looked at once.
#[derive(Clone, Debug)]
pub(crate) struct Ladder {
    level: u32,
    quorum: u64,
    /// First message of each member that has level 1, 2, .. k.
    starts: Vec<Vec<u32>>,
    /// What that message has seen of the level below.
    seen: Vec<Vec<u64>>,
    /// Weight of the members that have reached level 1, 2, .. k.
    reached: Vec<u64>,
    /// Weight that must speak before there can be a summit.
    idle: u64,
}

/// One candidate and its ladders.
#[derive(Clone, Debug)]
pub(crate) struct Watch {
    pub(crate) candidate: u32,
    start: Vec<u32>,
    /// Weight of the members that agree.
    started: u64,
    ladders: Vec<Ladder>,
    /// Whether some level may start too early in `ladders`, because what it had seen counts no more.
    stale: bool,
    /// Messages since a summit was looked for in vain while it was so.
    vain: Option<usize>,
}

impl Ladder {
    fn climb(&mut self, row: &[u32], committee: &Committee, at: (usize, u32), level_zero: &mut LevelZero<'_>) {
        let (member, index) = at;
        for level in 0..self.starts.len() {
            if self.starts[level][member] != NONE {
                continue;
            }
            let seen = match level.checked_sub(1) {
                None => level_zero.seen(row, committee, self.quorum),
                Some(below) if self.reached[below] < self.quorum => return,
                Some(below) => seen_weight(row, &self.starts[below], committee),
            };
            if seen < self.quorum {
                return;
            }
            self.starts[level][member] = index;
            self.seen[level][member] = seen;
            self.reached[level] += committee.weights()[member];
        }
    }

    /// Forgets a member's messages, which `start` said where to find at level 0. Answers whether some message had its
    /// level from them.
    fn forget(&mut self, dag: &Dag, committee: &Committee, member: usize, start: u32) -> bool {
        let weight = committee.weights()[member];
        let mut lost = false;
        let mut below = start;
        for level in 0..self.starts.len() {
            if below != NONE && weight > 0 {
                for (at, seen) in self.starts[level].iter().zip(&mut self.seen[level]) {
                    if *at == NONE {
                        continue;
                    }
                    let held = dag.row(*at).map_or(below, |row| row[member]);
                    if held >= below && held != FAULTY {
                        *seen = seen.saturating_sub(weight);
                        lost |= *seen < self.quorum;
                    }
                }
            }
            below = std::mem::replace(&mut self.starts[level][member], NONE);
            if below != NONE {
                self.reached[level] -= weight;
            }
        }
        lost
    }

    fn top(&self) -> u64 {
        self.reached.last().copied().unwrap_or(0)
    }

    /// The level of the newest message of a member that agrees.
    fn of(&self, member: Member) -> u32 {
        let count = self.starts.iter().take_while(|starts| starts[member.index()] != NONE).count();
        u32::try_from(count).expect("there are few levels")
    }

    /// See [`Watch::next_levels`].
    fn next(&self, committee: &Committee, member: Member, started: u64) -> Option<u32> {
        let own = committee.weight(member);
        let counts = |below: usize| match below.checked_sub(1) {
            None => started >= self.quorum,
            Some(level) if self.starts[level][member.index()] != NONE => self.reached[level] >= self.quorum,
            Some(level) => self.reached[level] + own >= self.quorum,
        };
        let next = (0..self.starts.len()).take_while(|below| counts(*below)).count();
        let next = u32::try_from(next).expect("there are few levels");
        (next > self.of(member)).then_some(next)
    }
}

/// What a message has seen of level 0: the same for all ladders.
struct LevelZero<'a> {
    start: &'a [u32],
    started: u64,
    seen: Option<u64>,
}

impl LevelZero<'_> {
    fn seen(&mut self, row: &[u32], committee: &Committee, quorum: u64) -> u64 {
        if self.started < quorum {
            return 0;
        }
        *self.seen.get_or_insert_with(|| seen_weight(row, self.start, committee))
    }
}

impl Watch {
    /// The levels of a view for a candidate. Where they would have to be counted they are taken for reached at once:
    /// that finds no summit that is not there, and hides none.
    pub(crate) fn new(support: &Support<'_>, committee: &Committee, candidate: u32) -> Self {
        let (start, started) = (support.starts().to_vec(), support.weight());
        let quorums = (1..=committee.levels()).filter_map(|level| Some((level, committee.quorum(level)?)));
        let mut stale = false;
        let mut ladder = |(level, quorum): (u32, u64)| {
            let levels = level as usize;
            let possible = started >= quorum;
            stale |= possible;
            let (starts, reached) = if possible { (start.clone(), started) } else { (vec![NONE; start.len()], 0) };
            Ladder {
                level,
                quorum,
                starts: vec![starts; levels],
                seen: vec![vec![started; start.len()]; levels],
                reached: vec![reached; levels],
                idle: 0,
            }
        };
        let ladders: Vec<Ladder> = quorums.map(&mut ladder).collect();
        Self { candidate, start, started, ladders, stale, vain: None }
    }

    /// Counts all levels.
    pub(crate) fn recount(&mut self, support: &Support<'_>) {
        for ladder in &mut self.ladders {
            let counted = support.counted(ladder.quorum, ladder.level);
            ladder.reached = counted.iter().map(|(starts, _)| support.weight_of(starts)).collect();
            (ladder.starts, ladder.seen) = counted.into_iter().unzip();
        }
        (self.stale, self.vain) = (false, None);
    }

    /// Whether it is time to count again: at once for who speaks by the levels, else when looking in vain has cost
    /// as much.
    pub(crate) fn is_due(&self, speaks: bool) -> bool {
        self.stale && (speaks || self.vain.is_some_and(|messages| messages >= self.start.len() / 8))
    }

    /// A member's newest message is now `index`.
    pub(crate) fn advance(&mut self, dag: &Dag, committee: &Committee, at: (usize, u32), agrees: bool) {
        let (member, index) = at;
        let weight = committee.weights()[member];
        self.vain = self.vain.map(|messages| messages + 1);
        for ladder in &mut self.ladders {
            ladder.idle = ladder.idle.saturating_sub(weight);
        }
        if !agrees {
            self.forget(dag, committee, member);
            return;
        }
        if self.start[member] == NONE {
            self.start[member] = index;
            self.started += weight;
        }
        let Some(row) = dag.row(index) else { return };
        let mut level_zero = LevelZero { start: &self.start, started: self.started, seen: None };
        for ladder in &mut self.ladders {
            ladder.climb(row, committee, at, &mut level_zero);
        }
    }

    /// A member's messages count no more: it votes for something else, or it equivocates.
    pub(crate) fn forget(&mut self, dag: &Dag, committee: &Committee, member: usize) {
        let start = std::mem::replace(&mut self.start[member], NONE);
        if start == NONE {
            return;
        }
        self.started -= committee.weights()[member];
        for ladder in &mut self.ladders {
            self.stale |= ladder.forget(dag, committee, member, start);
        }
    }

    /// The first level k with a (q_k,k)-summit.
    ///
    /// One message raises the largest quorum of a summit by its sender's weight at most: without that message the
    /// others still are a summit of so much less. So after a vain look, none is worth while until as much as was
    /// lacking has spoken.
    pub(crate) fn finality(&mut self, dag: &Dag, committee: &Committee, view: &[u32]) -> Option<u32> {
        let ripe = |ladder: &&mut Ladder| ladder.idle == 0 && ladder.top() >= ladder.quorum;
        let mut ripe = self.ladders.iter_mut().filter(ripe).peekable();
        ripe.peek()?;
        let support = Support::known(dag, committee, view, self.start.clone());
        let seen = support.seen();
        for ladder in ripe {
            match support.summit(&seen, ladder.quorum, ladder.level) {
                Ok(()) => return Some(ladder.level),
                Err(largest) => ladder.idle = ladder.quorum - largest,
            }
            self.vain = self.vain.or(self.stale.then_some(0));
        }
        None
    }

    /// Whether all levels start where they must.
    pub(crate) fn is_exact(&self) -> bool {
        !self.stale
    }

    /// The levels that the member's next message would have if it cited the whole view, where that is more than its
    /// newest has: `(ladder, level)`.
    pub(crate) fn next_levels(&self, committee: &Committee, member: Member) -> Vec<(usize, u32)> {
        let agrees = self.start.get(member.index()).is_some_and(|start| *start != NONE);
        let next = |ladder: &Ladder| ladder.next(committee, member, self.started);
        let each = self.ladders.iter().enumerate().filter(|_| agrees);
        each.filter_map(|(place, ladder)| Some((place, next(ladder)?))).collect()
    }

    /// Whether a member's newest message agrees and has a level on a ladder.
    pub(crate) fn has(&self, member: Member, ladder: usize, level: u32) -> bool {
        self.start[member.index()] != NONE && self.ladders[ladder].of(member) >= level
    }
}
