//! The third member of the family: consensus on an integer, by weighted median.

mod median;
#[cfg(test)]
mod tests;

use crate::forkchoice::{CertifyError, Claim, InvalidEstimate, Protocol, Standing, Value};
use crate::ids::Slot;
use median::Median;
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use thiserror::Error;

/// How many ranges may be declared.
pub const RANGES: usize = 64;

/// Why ranges are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum InvalidRange {
    /// It holds no integer.
    #[error("no integer is at least {low} and at most {high}")]
    Empty {
        /// The lower bound.
        low: i64,
        /// The upper bound.
        high: i64,
    },
    /// More than [`RANGES`] are declared.
    #[error("{ranges} ranges are more than the {RANGES} that may be declared")]
    TooMany {
        /// How many.
        ranges: usize,
    },
}

/// The proposition that an integer lies between two bounds, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "(i64, i64)", into = "(i64, i64)")]
pub struct Range {
    low: i64,
    high: i64,
}

impl Range {
    /// Every integer: nothing is decided.
    pub const ALL: Self = Self { low: i64::MIN, high: i64::MAX };

    /// One integer.
    #[must_use]
    pub fn exactly(integer: i64) -> Self {
        Self { low: integer, high: integer }
    }

    /// At least this.
    #[must_use]
    pub fn at_least(low: i64) -> Self {
        Self { low, ..Self::ALL }
    }

    /// At most this.
    #[must_use]
    pub fn at_most(high: i64) -> Self {
        Self { high, ..Self::ALL }
    }

    /// At least the one and at most the other.
    ///
    /// # Errors
    /// No integer is.
    pub fn between(low: i64, high: i64) -> Result<Self, InvalidRange> {
        if low > high { Err(InvalidRange::Empty { low, high }) } else { Ok(Self { low, high }) }
    }

    /// The only integer in the range, if there is only one.
    #[must_use]
    pub fn single(self) -> Option<i64> {
        (self.low == self.high).then_some(self.low)
    }

    /// Whether every integer of this range is in the other.
    #[must_use]
    pub fn within(self, other: Self) -> bool {
        other.low <= self.low && self.high <= other.high
    }

    /// Whether some integer is in both: propositions that can both be true.
    #[must_use]
    pub fn meets(self, other: Self) -> bool {
        self.low <= other.high && other.low <= self.high
    }
}

impl TryFrom<(i64, i64)> for Range {
    type Error = InvalidRange;

    fn try_from((low, high): (i64, i64)) -> Result<Self, InvalidRange> {
        Self::between(low, high)
    }
}

impl From<Range> for (i64, i64) {
    fn from(range: Range) -> Self {
        (range.low, range.high)
    }
}

const ALL: Value = 1;

/// Consensus on an integer of 64 bits, signed because an offset or a difference can be negative; only
/// the order of integers matters, so any other ordered numbers can be mapped into them.
///
/// The estimator is the weighted median of the latest honest votes: the least integer x such that the
/// votes for at most x weigh at least half of all votes, which is the *lower* median when two qualify.
/// It is always an integer that somebody voted for. From no votes any integer may be said.
///
/// # Candidates
///
/// A candidate is a [`Range`]; a single integer is the range of only itself. Ranges are exactly the
/// sets of integers that a majority can hold the median in: when votes for integers of a range weigh
/// more than W/2, less than half of all votes lie below it and less than half above, so the median is
/// in it. A set with a gap has no such guarantee (half the votes at each side of the gap, and one in
/// it). "At least x" and "at most x" are ranges. Decisions about different ranges fit together: two
/// ranges finalized by honest nodes [meet](Range::meets) while faults are tolerable.
///
/// The protocol knows the range of each integer it admitted and the ranges that were declared when it
/// was made; of the latter, the widest that holds the head and lies in what is finalized is next to be
/// finalized, so a node may know the magnitude before the last digit. Any known range can be asked
/// about with [`Engine::is_summit`](crate::Engine::is_summit).
///
/// # Bounds
///
/// At most one integer is interned a message: at most 64 trie nodes of 24 bytes. Moving a weight in the
/// own view takes 64 steps, whatever the integers are.
///
/// # Example
///
/// Three members saw three prices; they agree on the median, after its magnitude.
///
/// ```
/// use kakera_cbc::*;
/// let hundreds = Range::between(0, 999)?;
/// let price = Integer::new(&[hundreds])?;
/// let committee = Committee::new(vec![1; 3])?;
/// let mut engines: Vec<_> = committee
///     .members()
///     .map(|me| Engine::new(committee.clone(), Some(me), Limits::default(), price.clone()))
///     .collect();
/// let saw = [20, 30, 50_000];
/// for round in 0..3u8 {
///     let mut said = Vec::new();
///     for engine in &mut engines {
///         let (message, _) = engine.say(Slot(round.into()), (), &engine.view(), |draft| {
///             let me = draft.sender;
///             let estimate = draft.value.single().unwrap_or(saw[me.index()]);
///             (MessageId([round * 3 + me.0 as u8; 32]), estimate)
///         })?;
///         said.push(message);
///     }
///     for engine in &mut engines {
///         for message in &said {
///             // The own message is known already.
///             if let Verdict::Valid(checked) = engine.check(message.slot, message) {
///                 for event in engine.insert(checked) {
///                     if let Event::Finalized(range, _) = event {
///                         assert!(range == hundreds || range == Range::exactly(30));
///                     }
///                 }
///             }
///         }
///         assert_eq!(engine.head(), Range::exactly(30));
///     }
/// }
/// assert!(engines.iter().all(|engine| engine.finalized() == Range::exactly(30)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Integer {
    /// By value, from 1: everything, the declared ranges, the integers admitted.
    ranges: Vec<Range>,
    values: BTreeMap<Range, Value>,
    declared: usize,
    own: Median,
}

impl Integer {
    /// No votes yet; ranges of interest are declared here.
    ///
    /// # Errors
    /// More than [`RANGES`] are declared.
    pub fn new(declared: &[Range]) -> Result<Self, InvalidRange> {
        if declared.len() > RANGES {
            return Err(InvalidRange::TooMany { ranges: declared.len() });
        }
        let (ranges, values) = (Vec::new(), BTreeMap::new());
        let mut integer = Self { ranges, values, declared: 0, own: Median::new() };
        integer.intern(Range::ALL);
        for range in declared {
            integer.intern(*range);
        }
        integer.declared = integer.ranges.len();
        Ok(integer)
    }

    fn intern(&mut self, range: Range) -> Value {
        if let Some(value) = self.values.get(&range) {
            return *value;
        }
        self.ranges.push(range);
        let value = Value::try_from(self.ranges.len()).expect("memory ends before 32 bits of values do");
        self.values.insert(range, value);
        value
    }

    fn range(&self, value: Value) -> Option<Range> {
        self.ranges.get(usize::try_from(value.checked_sub(ALL)?).ok()?).copied()
    }

    fn voted(&self, value: Value) -> Option<i64> {
        self.range(value)?.single()
    }

    fn median_value(&self, median: Option<i64>) -> Value {
        median.map_or(ALL, |integer| {
            *self.values.get(&Range::exactly(integer)).expect("a median is a vote, and votes are interned")
        })
    }
}

impl Protocol for Integer {
    type Base = ();
    type Estimate = i64;
    type Candidate = Range;

    fn standing(&self, (): &()) -> Standing {
        Standing::Certified(ALL)
    }

    fn newest_base(&self) {}

    fn slot_of(&self, _: Value) -> Slot {
        Slot(0)
    }

    fn certify(&mut self, (): (), _: Value) -> Result<(), CertifyError> {
        Ok(())
    }

    fn agrees(&self, value: Value, candidate: Value) -> bool {
        match (self.range(value), self.range(candidate)) {
            (Some(range), Some(proposition)) => range.within(proposition),
            _ => false,
        }
    }

    fn estimate(&self, _: Value, votes: Vec<(Value, u64)>) -> Value {
        let known = votes.into_iter().filter_map(|(value, weight)| Some((self.voted(value)?, weight)));
        self.median_value(median::of(known.collect()))
    }

    fn judge(&self, claim: &Claim<'_, i64>) -> Result<(), InvalidEstimate> {
        if claim.follows == ALL || self.voted(claim.follows) == Some(*claim.estimate) {
            Ok(())
        } else {
            Err(InvalidEstimate::DoesNotFollow)
        }
    }

    fn proposes(_: &i64) -> bool {
        false
    }

    fn admit(&mut self, estimate: &i64) -> Value {
        self.intern(Range::exactly(*estimate))
    }

    fn candidate(&self, value: Value) -> Option<Range> {
        self.range(value)
    }

    fn value(&self, candidate: &Range) -> Option<Value> {
        self.values.get(candidate).copied()
    }

    fn root(&self) -> Value {
        ALL
    }

    fn toward(&self, from: Value, to: Value) -> Option<Value> {
        let (known, head) = (self.range(from)?, self.range(to)?);
        let declared = self.ranges.get(..self.declared).unwrap_or_default();
        let next = declared
            .iter()
            .chain([&head])
            .filter(|range| head.within(**range) && range.within(known) && **range != known)
            .max_by_key(|range| (range.high.abs_diff(range.low), Reverse(range.low)))?;
        self.values.get(next).copied()
    }

    fn shift(&mut self, from: Option<Value>, to: Option<Value>, weight: u64) {
        if let Some(integer) = from.and_then(|value| self.voted(value)) {
            self.own.remove(integer, weight);
        }
        if let Some(integer) = to.and_then(|value| self.voted(value)) {
            self.own.add(integer, weight);
        }
    }

    fn head(&self) -> Value {
        self.median_value(self.own.median())
    }

    fn prune(&mut self, _: Slot) {}
}
