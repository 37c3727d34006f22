//! The lab: message DAGs from files, replayed without any rule of validity.
//!
//! Cases may hold messages whose estimate does not follow and members that skip their own previous
//! message, so they enter the DAG itself, past the engine's checks. There is no `seq` to trust
//! either: an equivocation is what the papers say, two messages of which neither is later.

use crate::arena::{FAULTY, NOTHING};
use crate::clique::clique_weight;
use crate::committee::{Committee, InvalidCommittee};
use crate::dag::{Dag, NewNode};
use crate::detector::Support;
use crate::forkchoice::tree::Tree;
use crate::ids::{BlockId, Member, MessageId, Slot};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use thiserror::Error;

/// Members times messages above which a case is refused.
pub const CASE_CELLS: usize = 1 << 26;
/// Steps the clique oracle may take for one candidate.
pub const CLIQUE_STEPS: u64 = 1 << 20;
/// Levels of summits that are reported.
const SUMMIT_LEVELS: u32 = 4;
/// The name of the root block.
const ROOT: &str = "G";

/// Name of a validator: a number or a word.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Name {
    /// A number.
    Number(u64),
    /// A word.
    Word(String),
}

impl fmt::Display for Name {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(out),
            Self::Word(word) => word.fmt(out),
        }
    }
}

/// One message DAG and its observers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Case {
    /// Name of the case.
    pub id: String,
    /// The committee.
    pub validators: Vec<CaseValidator>,
    /// Messages in topological order.
    pub messages: Vec<CaseMessage>,
    /// Observers.
    pub views: Vec<CaseView>,
}

/// A validator of a case.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CaseValidator {
    /// Its name.
    pub name: Name,
    /// Its weight.
    pub weight: u64,
}

/// A message of a case: also a block.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CaseMessage {
    /// Its name.
    pub id: String,
    /// Who says it.
    pub sender: Name,
    /// Its claimed place in the sender's thread; not used.
    #[serde(default)]
    pub seq: u64,
    /// The block it extends; "G" is the root.
    pub parent: String,
    /// Latest message seen, by validator.
    #[serde(default)]
    pub justification: BTreeMap<String, String>,
}

/// One observer of a case.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CaseView {
    /// Its name.
    pub name: String,
    /// What it received, in order; what lacks a justification waits.
    pub delivery_order: Vec<String>,
    /// Messages to judge as blocks.
    #[serde(default)]
    pub candidates: Vec<String>,
}

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

/// Why a case cannot be replayed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CaseError {
    /// The weights are no committee.
    #[error(transparent)]
    Committee(#[from] InvalidCommittee),
    /// Two validators have one name.
    #[error("validator {name} is there twice")]
    ValidatorTwice {
        /// The name.
        name: String,
    },
    /// Two messages have one name, or one is named like the root.
    #[error("message {id} is there twice")]
    MessageTwice {
        /// The name.
        id: String,
    },
    /// A name of no validator.
    #[error("{name} is no validator")]
    UnknownValidator {
        /// The name.
        name: String,
    },
    /// A name of no message, or of one that comes later (a cycle, or not topological).
    #[error("{id} is no message that comes before")]
    UnknownMessage {
        /// The name.
        id: String,
    },
    /// A justification names somebody else's message.
    #[error("message {id} cites {cited} for {validator}, who did not send it")]
    WrongSender {
        /// The citing message.
        id: String,
        /// The cited one.
        cited: String,
        /// Whom it is cited for.
        validator: String,
    },
    /// More than [`CASE_CELLS`].
    #[error("{validators} validators times {messages} messages are too many")]
    TooLarge {
        /// Validators.
        validators: usize,
        /// Messages.
        messages: usize,
    },
}

/// Replays a case.
///
/// # Errors
/// The case is malformed: unknown, duplicate or forward names, no committee, too large.
pub fn replay(case: &Case) -> Result<CaseResult, CaseError> {
    let lab = Lab::load(case)?;
    let views = case.views.iter().map(|view| lab.view(view)).collect::<Result<_, _>>()?;
    let mut unjustified: Vec<String> = lab.unjustified.iter().map(|place| case.messages[*place].id.clone()).collect();
    unjustified.sort();
    Ok(CaseResult { id: case.id.clone(), unjustified, views })
}

/// A case in the DAG: message i has index i + 1 there and i + 2 in the tree, whose root is 1.
struct Lab<'a> {
    case: &'a Case,
    committee: Committee,
    places: BTreeMap<&'a str, usize>,
    dag: Dag,
    tree: Tree,
    /// Cited messages by message.
    cited: Vec<Vec<u32>>,
    unjustified: Vec<usize>,
}

/// Ids that order like the names.
fn ranked(rank: usize) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&(rank as u64).to_be_bytes());
    bytes
}

impl<'a> Lab<'a> {
    fn load(case: &'a Case) -> Result<Self, CaseError> {
        let (validators, messages) = (case.validators.len(), case.messages.len());
        if validators.checked_mul(messages).is_none_or(|cells| cells > CASE_CELLS) {
            return Err(CaseError::TooLarge { validators, messages });
        }
        let committee = Committee::new(case.validators.iter().map(|v| v.weight).collect())?;
        let mut members = BTreeMap::new();
        for (member, validator) in committee.members().zip(&case.validators) {
            let name = validator.name.to_string();
            if members.insert(name.clone(), member).is_some() {
                return Err(CaseError::ValidatorTwice { name });
            }
        }
        let mut ranks: BTreeMap<&str, usize> = BTreeMap::new();
        for message in &case.messages {
            if message.id == ROOT || ranks.insert(&message.id, 0).is_some() {
                return Err(CaseError::MessageTwice { id: message.id.clone() });
            }
        }
        ranks.values_mut().zip(1..).for_each(|(rank, next)| *rank = next);
        let mut lab = Self {
            case,
            dag: Dag::new(committee.len()),
            tree: Tree::new(BlockId(ranked(0)), 0, Slot(0)),
            committee,
            places: BTreeMap::new(),
            cited: Vec::new(),
            unjustified: Vec::new(),
        };
        for (place, message) in case.messages.iter().enumerate() {
            let id = ranked(ranks[message.id.as_str()]);
            lab.add(place, message, id, &members)?;
        }
        Ok(lab)
    }

    fn place(&self, id: &str) -> Result<usize, CaseError> {
        let place = self.places.get(id).copied();
        place.ok_or_else(|| CaseError::UnknownMessage { id: id.to_owned() })
    }

    fn add(
        &mut self,
        place: usize,
        message: &'a CaseMessage,
        id: [u8; 32],
        members: &BTreeMap<String, Member>,
    ) -> Result<(), CaseError> {
        let member_of = |name: &str| {
            let member = members.get(name).copied();
            member.ok_or_else(|| CaseError::UnknownValidator { name: name.to_owned() })
        };
        let sender = member_of(&message.sender.to_string())?;
        let mut cited = Vec::with_capacity(message.justification.len());
        for (validator, seen) in &message.justification {
            let at = index(self.place(seen)?);
            let member = member_of(validator)?;
            if self.dag.node(at).is_none_or(|node| node.sender != member) {
                return Err(CaseError::WrongSender {
                    id: message.id.clone(),
                    cited: seen.clone(),
                    validator: validator.clone(),
                });
            }
            cited.push(at);
        }
        let parent = match message.parent.as_str() {
            ROOT => 1,
            parent => index(self.place(parent)?) + 1,
        };
        let row = self.closure(&cited);
        let votes = self.dag.honest_votes(&row, self.committee.weights());
        if self.tree.ghost(1, votes) != parent {
            self.unjustified.push(place);
        }
        // Who proves itself an equivocator continues the thread that it names, if any.
        let prev = match row[usize::from(sender.0)] {
            FAULTY => {
                let own = |at: &&u32| self.dag.node(**at).is_some_and(|node| node.sender == sender);
                cited.iter().find(own).copied().unwrap_or(NOTHING)
            }
            at => at,
        };
        let height = self.tree.get(parent).map_or(0, |block| block.height) + 1;
        let vote = self.tree.insert(BlockId(id), parent, height, Slot(0));
        let old = self.dag.vote(prev);
        let extends = old != NOTHING && self.tree.descends(vote, old);
        let row = row.into_boxed_slice();
        let (slot, id) = (Slot(0), MessageId(id));
        let new = NewNode { id, sender, slot, prev, base: 1, vote, proposes: false, extends, row };
        let at = self.dag.push(new);
        assert_eq!((at, vote), (index(place), index(place) + 1), "indices follow the order of the case");
        self.places.insert(&message.id, place);
        self.cited.push(cited);
        Ok(())
    }

    /// The join of the closures of some messages.
    fn closure(&self, messages: &[u32]) -> Vec<u32> {
        let mut joined = vec![NOTHING; self.committee.len()];
        for row in messages.iter().filter_map(|at| self.dag.row(*at)) {
            for (member, seen) in self.committee.members().zip(row) {
                let place = &mut joined[usize::from(member.0)];
                *place = self.dag.join(member, *place, *seen);
            }
        }
        joined
    }

    /// The messages that a view holds: delivered, with all they cite.
    fn held(&self, view: &CaseView) -> Result<Vec<u32>, CaseError> {
        let mut delivered = BTreeSet::new();
        for id in &view.delivery_order {
            delivered.insert(self.place(id)?);
        }
        let mut held = BTreeSet::new();
        for place in delivered {
            if self.cited[place].iter().all(|at| held.contains(at)) {
                held.insert(index(place));
            }
        }
        Ok(held.into_iter().collect())
    }

    fn view(&self, view: &CaseView) -> Result<ViewResult, CaseError> {
        let row = self.closure(&self.held(view)?);
        let votes = self.dag.honest_votes(&row, self.committee.weights());
        let head = self.tree.ghost(1, votes);
        let mut equivocators = Vec::new();
        let mut honest_latest = BTreeMap::new();
        let mut fault_weight = 0;
        for (validator, at) in self.case.validators.iter().zip(&row) {
            match *at {
                NOTHING => {}
                FAULTY => {
                    equivocators.push(validator.name.clone());
                    fault_weight += validator.weight;
                }
                at => {
                    honest_latest.insert(validator.name.to_string(), self.name(at).to_owned());
                }
            }
        }
        equivocators.sort();
        let mut candidates = BTreeMap::new();
        for id in &view.candidates {
            let block = index(self.place(id)?) + 1;
            candidates.insert(id.clone(), self.candidate(&row, block));
        }
        let head = if head == 1 { ROOT } else { self.name(head - 1) };
        Ok(ViewResult {
            name: view.name.clone(),
            head: head.to_owned(),
            equivocators,
            fault_weight,
            honest_latest,
            candidates,
        })
    }

    fn name(&self, at: u32) -> &str {
        &self.case.messages[at as usize - 1].id
    }

    fn candidate(&self, row: &[u32], block: u32) -> CandidateResult {
        let agrees = |vote| self.tree.descends(vote, block);
        let clique = clique_weight(&self.dag, &self.committee, row, &agrees, CLIQUE_STEPS);
        let support = Support::new(&self.dag, &self.committee, row, &agrees);
        let total = u128::from(self.committee.total());
        let summit = (1..=SUMMIT_LEVELS)
            .filter_map(|level| {
                let q = support.largest_quorum(level)?;
                let power = 1u128 << level;
                Some((level, SummitResult { q, ft: [(2 * u128::from(q) - total) * (power - 1), power] }))
            })
            .collect();
        CandidateResult { clique_weight: clique.ok(), summit }
    }
}

fn index(place: usize) -> u32 {
    u32::try_from(place + 1).expect("CASE_CELLS bounds the messages")
}
