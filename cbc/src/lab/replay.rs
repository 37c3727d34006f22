//! Replaying a case: what each observer concludes, figure by figure.

use super::case::{Case, CaseError, CaseView, Name};
use super::free::block_of;
use super::load::{Lab, index};
use crate::arena::{FAULTY, NOTHING};
use crate::clique::clique_weight;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Steps the clique oracle may take for one candidate.
pub const CLIQUE_STEPS: u64 = 1 << 20;
/// Levels of summits that are reported.
const SUMMIT_LEVELS: u32 = 4;

/// What replaying a case gives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaseResult {
    /// Name of the case.
    pub id: String,
    /// Messages whose parent is not the fork choice of their own justification, sorted.
    pub unjustified: Vec<String>,
    /// Per observer.
    pub views: Vec<ViewResult>,
}

/// What one observer concludes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ViewResult {
    /// Name of the observer.
    pub name: String,
    /// LMD-GHOST over the latest honest messages.
    pub head: String,
    /// Who equivocates, sorted.
    pub equivocators: Vec<Name>,
    /// Their weight.
    pub fault_weight: u64,
    /// Latest message of everybody else.
    pub honest_latest: BTreeMap<String, String>,
    /// Per candidate.
    pub candidates: BTreeMap<String, CandidateResult>,
}

/// What an observer knows about the safety of a block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CandidateResult {
    /// Weight of the heaviest clique; none when the oracle refused.
    pub clique_weight: Option<u64>,
    /// Why the oracle refused, where it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clique_refused: Option<String>,
    /// By level, up to 4.
    pub summit: BTreeMap<u32, SummitResult>,
}

/// The best summit of one level.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SummitResult {
    /// The largest quorum.
    pub q: u64,
    /// Tolerated weight: numerator and denominator, [(2q - W)(2^k - 1), 2^k].
    pub ft: [u128; 2],
}

/// Replays a case.
///
/// # Errors
/// The case is malformed: unknown, duplicate or forward names, no committee, too large.
pub fn replay(case: &Case) -> Result<CaseResult, CaseError> {
    let lab = Lab::load(case)?;
    let views = case.views.iter().map(|view| judge(&lab, view)).collect::<Result<_, _>>()?;
    let mut unjustified: Vec<String> = lab.unjustified.iter().map(|place| case.messages[*place].id.clone()).collect();
    unjustified.sort();
    Ok(CaseResult { id: case.id.clone(), unjustified, views })
}

fn judge(lab: &Lab<'_>, view: &CaseView) -> Result<ViewResult, CaseError> {
    let row = lab.free.closure(&lab.held(view)?);
    let mut equivocators = Vec::new();
    let mut honest_latest = BTreeMap::new();
    let mut fault_weight = 0;
    for (validator, at) in lab.case.validators.iter().zip(&row) {
        match *at {
            NOTHING => {}
            FAULTY => {
                equivocators.push(validator.name.clone());
                fault_weight += validator.weight;
            }
            at => {
                honest_latest.insert(validator.name.to_string(), lab.name(at).to_owned());
            }
        }
    }
    equivocators.sort();
    let mut candidates = BTreeMap::new();
    for id in &view.candidates {
        let block = block_of(index(lab.place(id)?));
        candidates.insert(id.clone(), candidate(lab, &row, block));
    }
    let head = lab.block_name(lab.free.ghost(&row)).to_owned();
    Ok(ViewResult { name: view.name.clone(), head, equivocators, fault_weight, honest_latest, candidates })
}

fn candidate(lab: &Lab<'_>, row: &[u32], block: u32) -> CandidateResult {
    let agrees = |vote| lab.free.tree.descends(vote, block);
    let committee = &lab.free.committee;
    let (clique_weight, clique_refused) = match clique_weight(&lab.free.dag, committee, row, &agrees, CLIQUE_STEPS) {
        Ok(weight) => (Some(weight), None),
        Err(refused) => (None, Some(refused.to_string())),
    };
    let support = lab.support(row, block);
    let total = u128::from(committee.total());
    // Levels nest: where one has no summit, none above it has.
    let summit = (1..=SUMMIT_LEVELS)
        .map_while(|level| {
            let q = support.largest_quorum(level)?;
            let power = 1u128 << level;
            Some((level, SummitResult { q, ft: [(2 * u128::from(q) - total) * (power - 1), power] }))
        })
        .collect();
    CandidateResult { clique_weight, clique_refused, summit }
}
