//! What the speaking rule asks of the detector: levels of messages for unfinalized candidates.

use crate::detector::{Levels, Support};
use crate::engine::Engine;
use crate::forkchoice::Protocol;
use crate::row::Row;
use crate::watch::Watch;
use std::borrow::Cow;

impl<P: Protocol> Engine<P> {
    /// Levels of everybody's newest messages in a view, for a candidate at a quorum, up to `cap`;
    /// none when the candidate is not held.
    #[must_use]
    pub fn levels(&self, row: &Row, candidate: &P::Candidate, quorum: u64, cap: u32) -> Option<Levels> {
        let support = self.support(row, candidate)?;
        Some(support.levels(quorum, cap))
    }

    /// The level of the newest message of `me` in a view (see [`Levels`]), up to K.
    #[must_use]
    pub fn level_of(&self, row: &Row, candidate: &P::Candidate, quorum: u64) -> Option<u32> {
        self.levels(row, candidate, quorum, self.committee.levels())?.of(self.me?)
    }

    /// Whether a view holds a (q,k)-summit for a candidate.
    #[must_use]
    pub fn is_summit(&self, row: &Row, candidate: &P::Candidate, quorum: u64, level: u32) -> bool {
        self.support(row, candidate).is_some_and(|support| support.is_summit(quorum, level))
    }

    /// The largest q above W/2 with a (q,k)-summit for a candidate in a view.
    #[must_use]
    pub fn largest_quorum(&self, row: &Row, candidate: &P::Candidate, level: u32) -> Option<u64> {
        self.support(row, candidate)?.largest_quorum(level)
    }

    pub(crate) fn support(&self, row: &Row, candidate: &P::Candidate) -> Option<Support<'_>> {
        let candidate = self.protocol.value(candidate)?;
        let agrees = |vote| self.protocol.agrees(vote, candidate);
        Some(Support::new(&self.dag, &self.committee, &row.0, &agrees))
    }

    /// The running levels of the own view for a held candidate, counted if there are none.
    pub(crate) fn watched(&self, candidate: &P::Candidate) -> Option<Cow<'_, Watch>> {
        let value = self.protocol.value(candidate)?;
        if let Some(watch) = self.watch.as_ref().filter(|watch| watch.candidate == value && watch.is_exact()) {
            return Some(Cow::Borrowed(watch));
        }
        let agrees = |vote| self.protocol.agrees(vote, value);
        let support = Support::new(&self.dag, &self.committee, &self.view, &agrees);
        let mut watch = Watch::new(&support, &self.committee, value);
        watch.recount(&support);
        Some(Cow::Owned(watch))
    }

    /// Unfinalized candidates that `supported` supports, lowest first, at most `bound` of them.
    #[must_use]
    pub fn unfinalized(&self, supported: &P::Candidate, bound: usize) -> Vec<P::Candidate> {
        let Some(top) = self.protocol.value(supported) else { return Vec::new() };
        let mut at = self.finalized_value();
        let mut found = Vec::new();
        while let Some(next) = self.protocol.toward(at, top).filter(|_| found.len() < bound) {
            found.push(self.named(next));
            at = next;
        }
        found
    }
}
