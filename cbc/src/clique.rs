//! The clique oracle, exact for small committees: for study and cross-checks.
//!
//! The sound tolerance of a clique is its weight - W/2. The well-known reference computes
//! 2 * weight - W, which 17 messages of 4 members break (`samples/overclaim.json`).

use crate::arena::FAULTY;
use crate::committee::Committee;
use crate::dag::Dag;
use crate::detector::{NONE, Support, level_zero};
use crate::engine::Engine;
use crate::forkchoice::Protocol;
use crate::row::Row;
use thiserror::Error;

/// Members in the graph above which the oracle refuses.
pub const CLIQUE_MEMBERS: usize = 128;

/// Why the heaviest clique is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum CliqueRefused {
    /// Too many members agree.
    #[error("{members} agreeing members are more than {CLIQUE_MEMBERS}")]
    TooManyMembers {
        /// How many.
        members: usize,
    },
    /// The search took more steps than allowed.
    #[error("no answer within {steps} steps")]
    BudgetSpent {
        /// The allowance.
        steps: u64,
    },
}

/// The heaviest clique of members that agree and have seen each other agree; 0 when there is none of
/// at least two, or when all that agree weigh less than W/2.
pub(crate) fn clique_weight(
    dag: &Dag,
    committee: &Committee,
    row: &[u32],
    agrees: &impl Fn(u32) -> bool,
    steps: u64,
) -> Result<u64, CliqueRefused> {
    let start: Vec<u32> =
        row.iter().map(|newest| if *newest == FAULTY { NONE } else { level_zero(dag, *newest, agrees) }).collect();
    // Below half of the weight no clique tolerates anything: the figure is 0, as in the reference.
    let support = Support::known(dag, committee, row, start.clone());
    if u128::from(support.weight()) * 2 < u128::from(committee.total()) {
        return Ok(0);
    }
    let members: Vec<usize> = (0..row.len()).filter(|i| start[*i] != NONE).collect();
    if members.len() > CLIQUE_MEMBERS {
        return Err(CliqueRefused::TooManyMembers { members: members.len() });
    }
    let sees = |i: usize, j: usize| {
        let held = dag.row(row[i]).and_then(|row| row.get(j)).copied().unwrap_or(0);
        held >= start[j] && held != FAULTY
    };
    let friends: Vec<u128> = members
        .iter()
        .map(|i| {
            let mutual = |j: &usize| i != j && sees(*i, *j) && sees(*j, *i);
            let marks = members.iter().enumerate().filter(|(_, j)| mutual(j));
            marks.fold(0, |set, (bit, _)| set | (1u128 << bit))
        })
        .collect();
    let weights: Vec<u64> = members.iter().map(|i| committee.weights()[*i]).collect();
    heaviest(&friends, &weights, steps)
}

/// Branch and bound over (clique weight, size, candidates), with a stack of its own.
fn heaviest(friends: &[u128], weights: &[u64], steps: u64) -> Result<u64, CliqueRefused> {
    let all = (0..friends.len()).fold(0u128, |set, bit| set | (1 << bit));
    let mut stack = vec![(0u64, 0u32, all)];
    let mut best = 0;
    let mut left = steps;
    while let Some((weight, size, open)) = stack.pop() {
        left = left.checked_sub(1).ok_or(CliqueRefused::BudgetSpent { steps })?;
        if size >= 2 {
            best = best.max(weight);
        }
        let rest: u64 = bits(open).map(|bit| weights[bit]).sum();
        if open == 0 || weight + rest <= best {
            continue;
        }
        // Some heaviest clique holds the pivot or one of those it is no friend of.
        let pivot = bits(open).max_by_key(|bit| (friends[*bit] & open).count_ones()).expect("open is not empty");
        let mut left_open = open;
        for bit in bits(open & !friends[pivot]) {
            stack.push((weight + weights[bit], size + 1, left_open & friends[bit]));
            left_open &= !(1u128 << bit);
        }
    }
    Ok(best)
}

fn bits(set: u128) -> impl Iterator<Item = usize> {
    let mut rest = set;
    std::iter::from_fn(move || {
        let bit = rest.trailing_zeros();
        (rest != 0).then(|| {
            rest &= rest - 1;
            bit as usize
        })
    })
}

impl<P: Protocol> Engine<P> {
    /// Weight of the heaviest clique for a candidate in a view; 0 for an unknown candidate.
    ///
    /// # Errors
    /// More than [`CLIQUE_MEMBERS`] agree, or the search exceeds `steps`.
    pub fn clique_weight(&self, row: &Row, candidate: &P::Candidate, steps: u64) -> Result<u64, CliqueRefused> {
        let Some(candidate) = self.protocol.value(candidate) else { return Ok(0) };
        let agrees = |vote| self.protocol.agrees(vote, candidate);
        clique_weight(&self.dag, &self.committee, &row.0, &agrees, steps)
    }
}
