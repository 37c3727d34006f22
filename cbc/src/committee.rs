//! The committee: who weighs how much, and which quorums and levels follow from it.

use crate::ids::Member;
use thiserror::Error;

/// The highest detector level that is ever used: past it q_k falls by less than a thousandth of t.
const MAX_LEVELS: u32 = 10;

/// Why a list of weights is not a committee.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum InvalidCommittee {
    /// There are no members.
    #[error("a committee needs at least one member")]
    Empty,
    /// There are more than 65,535 members.
    #[error("{members} members are more than the 65535 a committee may have")]
    TooMany {
        /// How many were given.
        members: usize,
    },
    /// The weights do not fit in 64 bits together.
    #[error("the weights sum past 64 bits")]
    Overflow,
    /// Nobody weighs anything.
    #[error("a committee needs weight")]
    Weightless,
    /// A fault threshold that is not below the whole weight.
    #[error("threshold {threshold} is not below the whole weight {total}")]
    Threshold {
        /// The refused threshold.
        threshold: u64,
        /// The weight W.
        total: u64,
    },
}

/// Fixed members with fixed weights; W, t, q_k, K and M follow from them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committee {
    weights: Vec<u64>,
    /// The same, when all of them together fit 32 bits.
    small: Option<Vec<u32>>,
    total: u64,
    threshold: u64,
    levels: u32,
}

impl Committee {
    /// A committee with these weights, in member order; zero weights are allowed.
    ///
    /// # Errors
    /// No members, more than 65,535, no weight at all, or more than 64 bits of it.
    pub fn new(weights: Vec<u64>) -> Result<Self, InvalidCommittee> {
        if weights.is_empty() {
            return Err(InvalidCommittee::Empty);
        }
        if weights.len() > usize::from(u16::MAX) {
            return Err(InvalidCommittee::TooMany { members: weights.len() });
        }
        let total =
            weights.iter().try_fold(0u64, |sum, weight| sum.checked_add(*weight)).ok_or(InvalidCommittee::Overflow)?;
        if total == 0 {
            return Err(InvalidCommittee::Weightless);
        }
        let narrow = |weight: &u64| u32::try_from(*weight).ok();
        let small = u32::try_from(total).ok().and_then(|_| weights.iter().map(narrow).collect());
        let mut committee = Self { weights, small, total, threshold: (total - 1) / 3, levels: 0 };
        committee.levels = committee.needed_levels();
        Ok(committee)
    }

    /// The same committee with another fault threshold t.
    ///
    /// # Errors
    /// The threshold is not below W.
    pub fn with_threshold(mut self, threshold: u64) -> Result<Self, InvalidCommittee> {
        if threshold >= self.total {
            return Err(InvalidCommittee::Threshold { threshold, total: self.total });
        }
        self.threshold = threshold;
        self.levels = self.levels.max(self.needed_levels());
        Ok(self)
    }

    /// Number of members n.
    #[must_use]
    pub fn len(&self) -> usize {
        self.weights.len()
    }

    /// Never: a committee has members.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.weights.is_empty()
    }

    /// Whether this index is in the committee.
    #[must_use]
    pub fn contains(&self, member: Member) -> bool {
        usize::from(member.0) < self.weights.len()
    }

    /// Weight of a member; outsiders weigh nothing.
    #[must_use]
    pub fn weight(&self, member: Member) -> u64 {
        self.weights.get(usize::from(member.0)).copied().unwrap_or(0)
    }

    /// All weights in member order.
    #[must_use]
    pub fn weights(&self) -> &[u64] {
        &self.weights
    }

    pub(crate) fn small_weights(&self) -> Option<&[u32]> {
        self.small.as_deref()
    }

    /// The members in order.
    pub fn members(&self) -> impl Iterator<Item = Member> + use<> {
        (0..u16::try_from(self.weights.len()).expect("new() refuses more members")).map(Member)
    }

    /// The whole weight W.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The fault threshold t, floor((W - 1) / 3) unless set otherwise.
    #[must_use]
    pub fn threshold(&self) -> u64 {
        self.threshold
    }

    /// q_k: the smallest quorum with (2 q_k - W)(2^k - 1) > t 2^k; none when even W is too little.
    #[must_use]
    pub fn quorum(&self, level: u32) -> Option<u64> {
        if level == 0 || level > 60 {
            return None;
        }
        let power = 1u128 << level;
        let surplus = u128::from(self.threshold) * power / (power - 1) + 1;
        let quorum = (u128::from(self.total) + surplus).div_ceil(2);
        u64::try_from(quorum).ok().filter(|quorum| *quorum <= self.total)
    }

    /// K: the level that the smallest live set above 2W/3 needs, at most 10.
    #[must_use]
    pub fn levels(&self) -> u32 {
        self.levels
    }

    /// M = K + 4: how many messages a member may send in one slot.
    #[must_use]
    pub fn messages_per_slot(&self) -> u32 {
        self.levels + 4
    }

    fn needed_levels(&self) -> u32 {
        let live = u128::from(self.total) * 2 / 3 + 1;
        (1..MAX_LEVELS)
            .find(|level| self.quorum(*level).is_some_and(|quorum| u128::from(quorum) <= live))
            .unwrap_or(MAX_LEVELS)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn equal(members: usize) -> Committee {
        Committee::new(vec![1; members]).unwrap()
    }

    #[test]
    fn four_members_take_two_levels_and_a_hundred_take_six() {
        let levels: Vec<u32> = [1, 4, 16, 100].map(|n| equal(n).levels()).to_vec();
        assert_eq!(levels, [1, 2, 3, 6]);
    }

    #[test]
    fn quorums_are_the_smallest_that_tolerate_the_threshold() {
        for members in 1..60 {
            let committee = equal(members);
            let (total, t) = (i128::from(committee.total()), i128::from(committee.threshold()));
            for level in 1..=10 {
                let holds = |q: i128| (2 * q - total) * ((1 << level) - 1) > t * (1 << level);
                match committee.quorum(level) {
                    Some(q) => assert!(holds(q.into()) && !holds(i128::from(q) - 1)),
                    None => assert!(!holds(total)),
                }
            }
        }
    }

    #[test]
    fn weights_at_the_limit_of_the_type() {
        assert_eq!(Committee::new(vec![u64::MAX, 1]), Err(InvalidCommittee::Overflow));
        let committee = Committee::new(vec![u64::MAX - 1, 1]).unwrap();
        assert_eq!(committee.total(), u64::MAX);
        assert!(committee.quorum(1).unwrap() > u64::MAX / 6 * 5);
        assert_eq!(Committee::new(vec![]), Err(InvalidCommittee::Empty));
        assert_eq!(Committee::new(vec![0]), Err(InvalidCommittee::Weightless));
        assert!(equal(4).with_threshold(4).is_err());
    }
}
