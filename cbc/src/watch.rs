//! The watch: the detector's running levels for the one candidate that may be finalized next.

use crate::committee::Committee;
use crate::dag::Dag;
use crate::detector::{NONE, Support};
use crate::row::seen_weight;

/// Levels that messages have reached at one q_k, each member for itself.
///
/// A level-k message of a summit has at least this level, so before members weighing q_k reach
/// level k here there is no (q_k,k)-summit. Where a level starts never moves while votes only join,
/// so each message is looked at once.
#[derive(Clone, Debug)]
struct Ladder {
    level: u32,
    quorum: u64,
    /// First message of each member that has level 1, 2, .. k.
    starts: Vec<Vec<u32>>,
    /// Weight of the members that have reached level k.
    reached: u64,
}

/// One candidate and its ladders.
#[derive(Clone, Debug)]
pub(crate) struct Watch {
    pub(crate) candidate: u32,
    start: Vec<u32>,
    ladders: Vec<Ladder>,
}

impl Ladder {
    fn climb(&mut self, row: &[u32], start: &[u32], committee: &Committee, (member, index): (usize, u32)) {
        let weights = committee.weights();
        for level in 0..self.starts.len() {
            if self.starts[level][member] != NONE {
                continue;
            }
            let below = if level == 0 { start } else { &self.starts[level - 1] };
            if seen_weight(row, below, weights) < self.quorum {
                return;
            }
            self.starts[level][member] = index;
            if level + 1 == self.starts.len() {
                self.reached += weights[member];
            }
        }
    }
}

impl Watch {
    pub(crate) fn new(
        dag: &Dag,
        committee: &Committee,
        candidate: u32,
        view: &[u32],
        agrees: &impl Fn(u32) -> bool,
    ) -> Self {
        let support = Support::new(dag, committee, view, agrees);
        let ladders = (1..=committee.levels())
            .filter_map(|level| {
                let quorum = committee.quorum(level)?;
                let mut starts = support.levels(quorum, level).into_starts();
                starts.remove(0);
                starts.resize(level as usize, vec![NONE; view.len()]);
                let top = starts.last().expect("levels start at 1");
                let reached = support.weight_of(top);
                Some(Ladder { level, quorum, starts, reached })
            })
            .collect();
        Self { candidate, start: support.starts().to_vec(), ladders }
    }

    /// A member's newest message is now `index`; answers false when the watch must be made anew.
    pub(crate) fn advance(
        &mut self,
        dag: &Dag,
        committee: &Committee,
        (member, index): (usize, u32),
        agrees: bool,
    ) -> bool {
        if !agrees {
            // Others have seen what no longer counts: rare, and cheaper to count again.
            return self.start[member] == NONE;
        }
        if self.start[member] == NONE {
            self.start[member] = index;
        }
        if let Some(row) = dag.row(index) {
            for ladder in &mut self.ladders {
                ladder.climb(row, &self.start, committee, (member, index));
            }
        }
        true
    }

    /// The first level k with a (q_k,k)-summit.
    pub(crate) fn finality(&self, dag: &Dag, committee: &Committee, view: &[u32]) -> Option<u32> {
        let mut ripe = self.ladders.iter().filter(|ladder| ladder.reached >= ladder.quorum).peekable();
        ripe.peek()?;
        let support = Support::known(dag, committee, view, self.start.clone());
        ripe.find(|ladder| support.is_summit(ladder.quorum, ladder.level)).map(|ladder| ladder.level)
    }
}
