//! Rows: one u32 a member, the whole of a justification, a closure or a view.

use crate::arena::{FAULTY, NOTHING};
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
/// One pass over two flat arrays: the inner loop of detector and oracle.
pub(crate) fn seen_weight(row: &[u32], start: &[u32], weights: &[u64]) -> u64 {
    row.iter()
        .zip(start)
        .zip(weights)
        .map(|((seen, start), weight)| if *seen >= *start && *seen != FAULTY { *weight } else { 0 })
        .sum()
}
