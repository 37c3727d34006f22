//! Why a block of a case is final in a view, or what holds it back.

use super::case::{Case, CaseError};
use super::free::block_of;
use super::load::{Lab, index};
use crate::arena::{FAULTY, NOTHING};
use crate::explain::{Explanation, Matter, MemberFinding, Stand, conclude};
use crate::ids::Member;

/// Explains a message of a case, as a block, in a view (none: the first; a case without views is
/// seen whole), at the committee's own threshold. The members' names are the case's.
///
/// # Errors
/// The case is malformed, or has no such view or message.
pub fn explain(case: &Case, view: Option<&str>, candidate: &str) -> Result<Explanation<String, String>, CaseError> {
    let lab = Lab::load(case)?;
    let held = lab.held_by(view)?;
    let row = lab.free.closure(&held);
    let block = block_of(index(lab.place(candidate)?));
    let finalized = lab.finalized(&row, lab.free.ghost(&row));
    let conflicts = !lab.free.tree.descends(block, finalized) && !lab.free.tree.descends(finalized, block);
    let members = lab.free.committee.members().map(|member| {
        let stand = match row[member.index()] {
            NOTHING => Stand::Silent,
            FAULTY => lab.equivocation(&held, member),
            at => lab.stand(block_of(at), block),
        };
        let last = held.iter().rev().find(|at| lab.free.sender(**at) == member);
        MemberFinding {
            member,
            weight: lab.free.committee.weight(member),
            last: last.map(|at| lab.name(*at).to_owned()),
            last_slot: None,
            stand,
        }
    });
    let matter = Matter {
        candidate: candidate.to_owned(),
        slot: None,
        settled: lab.free.tree.descends(finalized, block),
        conflict: conflicts.then(|| lab.block_name(finalized).to_owned()),
        search: true,
        members: members.collect(),
    };
    Ok(conclude(&lab.free.committee, &lab.support(&row, block), matter))
}

impl Lab<'_> {
    /// What a view holds; without views everything.
    pub(super) fn held_by(&self, view: Option<&str>) -> Result<Vec<u32>, CaseError> {
        match self.case.view(view)? {
            Some(view) => self.held(view),
            None => Ok((0..self.free.len()).map(index).collect()),
        }
    }

    fn stand(&self, vote: u32, block: u32) -> Stand<String, String> {
        let tree = &self.free.tree;
        if tree.descends(vote, block) {
            return Stand::Supports { level: 0 };
        }
        let name = |block| self.block_name(block).to_owned();
        if tree.descends(block, vote) {
            return Stand::Behind { vote: Some(name(vote)) };
        }
        let (theirs, ours) = (self.free.path(vote), self.free.path(block));
        let shared = theirs.iter().zip(&ours).take_while(|(a, b)| a == b).count();
        Stand::Elsewhere { vote: name(vote), branch: name(theirs.get(shared).copied().unwrap_or(vote)) }
    }

    /// The first two held messages of a member of which neither is later.
    pub(super) fn evidence(&self, held: &[u32], member: Member) -> Option<(u32, u32)> {
        let mut newest = NOTHING;
        for at in held.iter().copied().filter(|at| self.free.sender(*at) == member) {
            match self.free.dag.join(member, newest, at) {
                FAULTY => return Some((newest, at)),
                joined => newest = joined,
            }
        }
        None
    }

    fn equivocation(&self, held: &[u32], member: Member) -> Stand<String, String> {
        let (first, second) = self.evidence(held, member).expect("a view's row is the join of what it holds");
        Stand::Faulty { first: self.name(first).to_owned(), second: self.name(second).to_owned() }
    }
}
