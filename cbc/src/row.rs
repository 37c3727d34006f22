//! Rows: one u32 a member, the whole of a justification, a closure or a view.

use crate::arena::{FAULTY, NOTHING};
use crate::committee::Committee;
use crate::ids::Member;
use std::sync::Arc;

/// What one view holds of every member. Meaningful only to the engine that made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row(pub(crate) Arc<[u32]>);

impl Row {
    pub(crate) fn at(&self, member: Member) -> u32 {
        self.0.get(usize::from(member.0)).copied().unwrap_or(NOTHING)
    }

    /// Whether this view marks the member faulty.
    #[must_use]
    pub fn is_faulty(&self, member: Member) -> bool {
        self.at(member) == FAULTY
    }

    /// Whether this view holds nothing of the member.
    #[must_use]
    pub fn is_nothing(&self, member: Member) -> bool {
        self.at(member) == NOTHING
    }
}

/// Weight of the members of which `row` holds something at or after `start`.
///
/// One pass over flat arrays: the inner loop of detector and oracle. Weights that fit 32 bits together are summed in
/// those, twice as many at a time.
pub(crate) fn seen_weight(row: &[u32], start: &[u32], committee: &Committee) -> u64 {
    let counts = |(seen, start): (&u32, &u32)| *seen >= *start && *seen != FAULTY;
    match committee.small_weights() {
        Some(weights) => {
            let each = row.iter().zip(start).zip(weights);
            let sum = each.fold(0u32, |sum, (pair, weight)| sum.wrapping_add(if counts(pair) { *weight } else { 0 }));
            u64::from(sum)
        }
        None => {
            let each = row.iter().zip(start).zip(committee.weights());
            each.fold(0u64, |sum, (pair, weight)| sum.wrapping_add(if counts(pair) { *weight } else { 0 }))
        }
    }
}
