//! An explanation in one sentence.

use super::{Explanation, Hold, MemberFinding, Stand};
use crate::ids::Member;
use std::fmt::Display;

/// Members that a sentence names; the rest are counted.
const NAMED: usize = 8;

/// Tolerated weight as people read it: `1.5`, at most three digits after the point.
#[must_use]
pub fn decimal((numerator, denominator): (u128, u128)) -> String {
    let (whole, rest) = (numerator / denominator.max(1), numerator % denominator.max(1));
    let thousandths = rest * 1000 / denominator.max(1);
    let digits = format!("{whole}.{thousandths:03}");
    digits.trim_end_matches('0').trim_end_matches('.').to_owned()
}

impl<C: Display, M: Display> Explanation<C, M> {
    /// What holds the candidate back, or why it is final, in one sentence; `name` names members.
    #[must_use]
    pub fn sentence(&self, name: impl Fn(Member) -> String) -> String {
        match &self.hold {
            Hold::Nothing { level } => self.is_final_by(*level),
            Hold::Conflict { finalized } => format!("conflicts with {finalized}, which is final here"),
            Hold::Faults { quorum: None } => {
                format!("no weight is enough: the fault threshold {} is too high for {}", self.threshold, self.total)
            }
            Hold::Faults { quorum: Some(quorum) } => format!(
                "fault weight {} exceeds what is tolerated: the {} that remain of {} are less than the smallest quorum \
                 {quorum} ({})",
                self.fault_weight,
                self.total - self.fault_weight,
                self.total,
                self.listed(|finding| matches!(finding.stand, Stand::Faulty { .. }), |found| name(found.member)),
            ),
            Hold::Votes { quorum, missing } => {
                let absent = self.absent(name);
                format!(
                    "votes of weight {} support it, {missing} less than the smallest quorum {quorum}{absent}",
                    self.support
                )
            }
            Hold::Climb { reached, quorum, missing, members, ready } => {
                let who = self.listed(|finding| members.contains(&finding.member), |found| name(found.member));
                let weight: u64 =
                    members.iter().filter_map(|member| self.members.get(member.index())).map(|m| m.weight).sum();
                let step = if *ready { "one more message" } else { "messages that have seen more" };
                let among = if weight > *missing { format!("weight {missing} among ") } else { String::new() };
                format!(
                    "level {reached} of {} reached at quorum {quorum}; level {} needs {step} of {among}{who}",
                    self.target,
                    reached + 1,
                )
            }
            Hold::Apart { quorum } => format!(
                "members of weight {quorum} have reached level {}, but not all have seen each other do so: it needs one \
                 more message of those behind",
                self.target
            ),
        }
    }

    fn is_final_by(&self, level: Option<u32>) -> String {
        let finding = self.levels.iter().find(|finding| Some(finding.level) == level);
        match finding.and_then(|finding| Some((finding, finding.found?, finding.tolerated(self.total)?))) {
            Some((finding, quorum, tolerated)) => format!(
                "final: a summit of level {} and quorum {quorum} survives faults of weight below {} of {}",
                finding.level,
                decimal(tolerated),
                self.total
            ),
            None => "final: the summit that showed it is past, and finality is never undone".to_owned(),
        }
    }

    /// Who does not support it, group by group.
    fn absent(&self, name: impl Fn(Member) -> String) -> String {
        let mut text = String::new();
        let mut group = |one: &str, many: &str, belongs: &dyn Fn(&MemberFinding<C, M>) -> bool| {
            let found = self.members.iter().filter(|finding| finding.weight > 0 && belongs(finding));
            let (count, weight) = found.fold((0, 0), |(count, weight), finding| (count + 1, weight + finding.weight));
            if count > 0 {
                let (members, verb) = if count == 1 { ("member", one) } else { ("members", many) };
                let who = self.listed(belongs, |finding| self.with_reason(finding, &name));
                text.push_str(&format!("; {count} {members} of weight {weight} {verb}: {who}"));
            }
        };
        group("has not voted", "have not voted", &|finding| {
            matches!(finding.stand, Stand::Silent | Stand::Behind { .. })
        });
        group("votes elsewhere", "vote elsewhere", &|finding| matches!(finding.stand, Stand::Elsewhere { .. }));
        group("is faulty", "are faulty", &|finding| matches!(finding.stand, Stand::Faulty { .. }));
        text
    }

    fn with_reason(&self, finding: &MemberFinding<C, M>, name: impl Fn(Member) -> String) -> String {
        let name = name(finding.member);
        match &finding.stand {
            Stand::Silent => format!("{name} never heard"),
            Stand::Behind { vote } => match (finding.last_slot, self.slot, &finding.last, vote) {
                (Some(last), Some(slot), _, _) if last < slot => format!("{name} silent since slot {last}"),
                (Some(last), _, _, Some(vote)) => format!("{name} in slot {last} still for {vote}"),
                (Some(last), _, _, None) => format!("{name} silent since slot {last}"),
                (None, _, Some(last), _) => format!("{name} silent since {last}"),
                (None, _, None, _) => format!("{name} silent"),
            },
            Stand::Elsewhere { branch, .. } => format!("{name} for {branch}"),
            Stand::Supports { .. } | Stand::Faulty { .. } => name,
        }
    }

    fn listed(
        &self,
        belongs: impl Fn(&MemberFinding<C, M>) -> bool,
        show: impl Fn(&MemberFinding<C, M>) -> String,
    ) -> String {
        let found: Vec<_> = self.members.iter().filter(|finding| finding.weight > 0 && belongs(finding)).collect();
        let mut names: Vec<String> = found.iter().take(NAMED).map(|finding| show(finding)).collect();
        if found.len() > NAMED {
            names.push(format!("{} more", found.len() - NAMED));
        }
        names.join(", ")
    }
}
