//! Why a candidate is final here, or what holds it back.
//!
//! A summit of level k needs members of weight q_k that agree and have climbed k levels together.
//! So what is missing is, in this order: that nothing conflicting is final, enough weight that is not
//! faulty, enough votes, and enough messages that have seen each other.

mod sentence;

pub use sentence::decimal;

use crate::arena::{FAULTY, NOTHING};
use crate::committee::Committee;
use crate::detector::{Levels, Support};
use crate::engine::Engine;
use crate::forkchoice::{Protocol, Value};
use crate::ids::{Member, MessageId, Slot};
use serde::Serialize;
use std::collections::BTreeMap;

/// How far the way to a vote is looked at for the place where it leaves the candidate's.
const BRANCH_STEPS: usize = 512;
/// Members above which an engine does not search for the largest quorums: it has other things to do.
const SEARCHED_MEMBERS: usize = 256;

/// One candidate in one view. `C` names candidates, `M` messages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explanation<C, M> {
    /// What is explained.
    pub candidate: C,
    /// Its slot, where there are slots.
    pub slot: Option<Slot>,
    /// Whether it is final in this view.
    pub is_final: bool,
    /// The whole weight W.
    pub total: u64,
    /// The fault threshold t.
    pub threshold: u64,
    /// Weight of the members whose newest message agrees.
    pub support: u64,
    /// Weight of the members known to be faulty.
    pub fault_weight: u64,
    /// Levels 1 to K.
    pub levels: Vec<LevelFinding>,
    /// The level that is nearest: the first with a summit, else the first whose quorum the support
    /// reaches, else K. Members' levels are counted at its quorum.
    pub target: u32,
    /// All members in order.
    pub members: Vec<MemberFinding<C, M>>,
    /// What holds it back.
    pub hold: Hold<C>,
}

/// What one level needs and has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct LevelFinding {
    /// The level k.
    pub level: u32,
    /// The quorum q_k; none when even W is too little.
    pub needed: Option<u64>,
    /// The largest quorum above W/2 with a summit of this level. An engine with more than 256 members
    /// looks only for the one that is needed.
    pub found: Option<u64>,
}

impl LevelFinding {
    /// Tolerated weight of what was found, (2q - W)(2^k - 1) over 2^k.
    #[must_use]
    pub fn tolerated(&self, total: u64) -> Option<(u128, u128)> {
        let surplus = (2 * u128::from(self.found?)).checked_sub(u128::from(total))?;
        let power = 1u128.checked_shl(self.level).filter(|power| *power <= 1 << 63)?;
        Some((surplus * (power - 1), power))
    }

    /// Whether what was found is enough.
    #[must_use]
    pub fn is_reached(&self) -> bool {
        self.needed.zip(self.found).is_some_and(|(needed, found)| found >= needed)
    }
}

/// One member in one view.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MemberFinding<C, M> {
    /// Who.
    pub member: Member,
    /// Its weight.
    pub weight: u64,
    /// Its newest message, while that is held.
    pub last: Option<M>,
    /// The slot of its newest message, where there are slots.
    pub last_slot: Option<Slot>,
    /// Where it stands.
    pub stand: Stand<C, M>,
}

/// Where a member stands on a candidate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "stand", rename_all = "snake_case")]
pub enum Stand<C, M> {
    /// Its newest message agrees.
    Supports {
        /// The level of its newest message at the target's quorum.
        level: u32,
    },
    /// Its newest message votes for something the candidate builds on; none when that left memory.
    Behind {
        /// What it votes for.
        vote: Option<C>,
    },
    /// Its newest message votes for something that conflicts.
    Elsewhere {
        /// What it votes for.
        vote: C,
        /// Where that leaves the candidate's way.
        branch: C,
    },
    /// Nothing of it was seen.
    Silent,
    /// It equivocated: two messages, neither later than the other.
    Faulty {
        /// The one held first.
        first: M,
        /// The other.
        second: M,
    },
}

/// What holds a candidate back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "hold", rename_all = "snake_case")]
pub enum Hold<C> {
    /// Nothing: it is final.
    Nothing {
        /// The level of a summit that shows it now; none when it was finalized by votes that have
        /// moved on since.
        level: Option<u32>,
    },
    /// Something that conflicts is final.
    Conflict {
        /// The final candidate.
        finalized: C,
    },
    /// What is not faulty weighs less than the smallest quorum.
    Faults {
        /// The smallest quorum; none when even W is too little.
        quorum: Option<u64>,
    },
    /// The votes for it weigh less than the smallest quorum.
    Votes {
        /// The smallest quorum.
        quorum: u64,
        /// The weight that is missing.
        missing: u64,
    },
    /// Too few have climbed far enough.
    Climb {
        /// The level that members of a quorum's weight have.
        reached: u32,
        /// The quorum.
        quorum: u64,
        /// The weight missing at the next level.
        missing: u64,
        /// Whose next message would have that level; if nobody's, who is still below it.
        members: Vec<Member>,
        /// Whether one message of each would do.
        ready: bool,
    },
    /// A quorum has climbed far enough, but not together: some have not seen the others.
    Apart {
        /// The quorum.
        quorum: u64,
    },
}

impl<C> Hold<C> {
    /// One stable word for programs.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Nothing { .. } => "FINAL",
            Self::Conflict { .. } => "CONFLICT",
            Self::Faults { .. } => "FAULTS",
            Self::Votes { .. } => "VOTES",
            Self::Climb { .. } => "CLIMB",
            Self::Apart { .. } => "APART",
        }
    }
}

/// What is known of a candidate before its levels are looked at.
pub(crate) struct Matter<C, M> {
    pub(crate) candidate: C,
    pub(crate) slot: Option<Slot>,
    /// Whether it is final whatever the levels say.
    pub(crate) settled: bool,
    /// Something final that conflicts.
    pub(crate) conflict: Option<C>,
    /// Whether to search for the largest quorums, which costs up to log W times as much.
    pub(crate) search: bool,
    /// All members; the levels of supporters are filled in here.
    pub(crate) members: Vec<MemberFinding<C, M>>,
}

/// Looks at the levels and names what holds the candidate back.
pub(crate) fn conclude<C, M>(committee: &Committee, support: &Support<'_>, matter: Matter<C, M>) -> Explanation<C, M> {
    let Matter { candidate, slot, settled, conflict, search, mut members } = matter;
    let levels = if search { level_findings(committee, support) } else { needed_levels(committee, support) };
    let weight = support.weight();
    let reached = levels.iter().find(|level| level.is_reached()).map(|level| level.level);
    let enough = |level: &&LevelFinding| level.needed.is_some_and(|needed| needed <= weight);
    let target =
        reached.or_else(|| levels.iter().find(enough).map(|level| level.level)).unwrap_or_else(|| committee.levels());
    let climbed = committee.quorum(target).map(|quorum| (quorum, support.levels(quorum, target)));
    for finding in &mut members {
        if let Stand::Supports { level } = &mut finding.stand {
            *level = climbed.as_ref().and_then(|(_, levels)| levels.of(finding.member)).unwrap_or(0);
        }
    }
    let faulty = |finding: &&MemberFinding<C, M>| matches!(finding.stand, Stand::Faulty { .. });
    let fault_weight: u64 = members.iter().filter(faulty).map(|finding| finding.weight).sum();
    let smallest = levels.iter().filter_map(|level| level.needed).min();
    let is_final = settled || (reached.is_some() && conflict.is_none());
    let hold = match (conflict, smallest) {
        _ if is_final => Hold::Nothing { level: reached },
        (Some(finalized), _) => Hold::Conflict { finalized },
        (None, None) => Hold::Faults { quorum: None },
        (None, Some(quorum)) if committee.total() - fault_weight < quorum => Hold::Faults { quorum: Some(quorum) },
        (None, Some(quorum)) if weight < quorum => Hold::Votes { quorum, missing: quorum - weight },
        (None, Some(_)) => {
            let (quorum, levels) = climbed.expect("the target's quorum is within the support");
            climb(&levels, quorum, target, &members)
        }
    };
    let (total, threshold) = (committee.total(), committee.threshold());
    Explanation {
        candidate,
        slot,
        is_final,
        total,
        threshold,
        support: weight,
        fault_weight,
        levels,
        target,
        members,
        hold,
    }
}

/// Levels 1 to K. Levels nest, so a level's quorum is looked for below the last one's.
fn level_findings(committee: &Committee, support: &Support<'_>) -> Vec<LevelFinding> {
    let mut last = Some(support.weight()).filter(|weight| *weight > committee.total() / 2);
    (1..=committee.levels())
        .map(|level| {
            last = last.filter(|quorum| support.is_summit(*quorum, level)).or_else(|| {
                last?;
                support.largest_quorum(level)
            });
            LevelFinding { level, needed: committee.quorum(level), found: last }
        })
        .collect()
}

/// Levels 1 to K, each at the quorum that it needs.
fn needed_levels(committee: &Committee, support: &Support<'_>) -> Vec<LevelFinding> {
    let weight = support.weight();
    (1..=committee.levels())
        .map(|level| {
            let needed = committee.quorum(level);
            let found = needed.filter(|quorum| *quorum <= weight && support.is_summit(*quorum, level));
            LevelFinding { level, needed, found }
        })
        .collect()
}

/// Why members whose votes are enough make no summit yet.
fn climb<C, M>(levels: &Levels, quorum: u64, target: u32, members: &[MemberFinding<C, M>]) -> Hold<C> {
    let below = |level: u32| {
        let supports = members.iter().filter(|finding| finding.weight > 0);
        supports.filter(move |finding| matches!(finding.stand, Stand::Supports { level: own } if own < level))
    };
    let at_least = |level: u32| -> u64 {
        let there =
            |finding: &&MemberFinding<C, M>| matches!(finding.stand, Stand::Supports { level: own } if own >= level);
        members.iter().filter(there).map(|finding| finding.weight).sum()
    };
    let Some(level) = (1..=target).find(|level| at_least(*level) < quorum) else { return Hold::Apart { quorum } };
    let missing = quorum - at_least(level);
    let next = below(level).filter(|finding| levels.next(finding.member) >= level);
    let ready: Vec<Member> = next.map(|finding| finding.member).collect();
    let weight = |members: &[Member]| -> u64 {
        below(level).filter(|finding| members.contains(&finding.member)).map(|finding| finding.weight).sum()
    };
    let is_ready = weight(&ready) >= missing;
    let members = if is_ready { ready } else { below(level).map(|finding| finding.member).collect() };
    Hold::Climb { reached: level - 1, quorum, missing, members, ready: is_ready }
}

impl<P: Protocol> Engine<P> {
    /// Why a candidate is final in the own view, or what holds it back; none when it is not held
    /// (unknown, or its votes have left memory).
    #[must_use]
    pub fn explain(&self, candidate: &P::Candidate) -> Option<Explanation<P::Candidate, MessageId>> {
        let value = self.protocol.value(candidate)?;
        let finalized = self.finalized_value();
        let settled = self.protocol.agrees(finalized, value);
        let conflict = (!settled && !self.protocol.agrees(value, finalized)).then(|| self.named(finalized));
        let evidence: BTreeMap<Member, (MessageId, MessageId)> =
            self.faulty().map(|(member, first, second)| (member, (first, second))).collect();
        let mut branches = BTreeMap::new();
        let members = self.committee.members().map(|member| {
            let newest = self.view.get(member.index()).copied().unwrap_or(NOTHING);
            let stand = match (evidence.get(&member), newest) {
                (Some((first, second)), _) => Stand::Faulty { first: *first, second: *second },
                (None, NOTHING | FAULTY) => Stand::Silent,
                (None, at) => self.stand_of(self.dag.vote(at), value, &mut branches),
            };
            let weight = self.committee.weight(member);
            let last = self.latest(member).map(|(_, id)| id);
            MemberFinding { member, weight, last, last_slot: self.latest_slot(member), stand }
        });
        let (members, slot) = (members.collect(), Some(self.protocol.slot_of(value)));
        let search = self.committee.len() <= SEARCHED_MEMBERS;
        let matter = Matter { candidate: *candidate, slot, settled, conflict, search, members };
        let agrees = |vote| self.protocol.agrees(vote, value);
        let support = Support::new(&self.dag, &self.committee, &self.view, &agrees);
        Some(conclude(&self.committee, &support, matter))
    }

    fn stand_of(
        &self,
        vote: Value,
        value: Value,
        branches: &mut BTreeMap<Value, P::Candidate>,
    ) -> Stand<P::Candidate, MessageId> {
        let held = self.protocol.candidate(vote);
        match held {
            Some(_) if self.protocol.agrees(vote, value) => Stand::Supports { level: 0 },
            Some(vote_for) if !self.protocol.agrees(value, vote) => {
                let branch = *branches.entry(vote).or_insert_with(|| self.branch(vote, value).unwrap_or(vote_for));
                Stand::Elsewhere { vote: vote_for, branch }
            }
            vote => Stand::Behind { vote },
        }
    }

    /// The first candidate on the way from the finalized one to `vote` that is not on the way to
    /// `value`.
    fn branch(&self, vote: Value, value: Value) -> Option<P::Candidate> {
        let mut at = self.finalized_value();
        for _ in 0..BRANCH_STEPS {
            let next = self.protocol.toward(at, vote)?;
            if self.protocol.toward(at, value) != Some(next) {
                return self.protocol.candidate(next);
            }
            at = next;
        }
        None
    }
}
