//! The second member of the family: consensus on one bit, by weighted majority.

use crate::forkchoice::{CertifyError, Claim, InvalidEstimate, Protocol, Standing, Value};
use crate::ids::Slot;
use serde::{Deserialize, Serialize};

/// What can be decided about a bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Stance {
    /// Nothing yet: every message agrees with that.
    Undecided,
    /// This bit.
    Decided(bool),
}

const UNDECIDED: Value = 1;
const FALSE: Value = 2;
const TRUE: Value = 3;

/// Consensus on one bit; ties are false, and from nothing either bit follows.
///
/// # Example
///
/// Two members of weight 1 say no, one of weight 3 says yes; once they have heard each other, all say
/// yes, and once they have heard each other say it, it is final.
///
/// ```
/// use kakera_cbc::*;
/// let committee = Committee::new(vec![1, 1, 3])?;
/// let mut engines: Vec<_> = committee
///     .members()
///     .map(|me| Engine::new(committee.clone(), Some(me), Limits::default(), Binary::new()))
///     .collect();
/// for round in 0..3u8 {
///     let mut said = Vec::new();
///     for engine in &mut engines {
///         let (message, _) = engine.say(Slot(round.into()), (), &engine.view(), |draft| {
///             let me = draft.sender;
///             let bit = match draft.value {
///                 Stance::Undecided => me == Member(2),
///                 Stance::Decided(bit) => bit,
///             };
///             (MessageId([round * 3 + me.0 as u8; 32]), bit)
///         })?;
///         said.push(message);
///     }
///     for engine in &mut engines {
///         for message in &said {
///             // The own message is known already.
///             if let Verdict::Valid(checked) = engine.check(message.slot, message) {
///                 engine.insert(checked);
///             }
///         }
///         assert_eq!(engine.head(), Stance::Decided(true));
///         let finalized = engine.finalized() == Stance::Decided(true);
///         assert_eq!(finalized, round == 2);
///     }
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Binary {
    weights: [u64; 2],
}

impl Binary {
    /// No votes yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn majority(no: u64, yes: u64) -> Value {
        match (no, yes) {
            (0, 0) => UNDECIDED,
            _ if yes > no => TRUE,
            _ => FALSE,
        }
    }

    fn of(bit: bool) -> Value {
        if bit { TRUE } else { FALSE }
    }
}

impl Protocol for Binary {
    type Base = ();
    type Estimate = bool;
    type Candidate = Stance;

    fn standing(&self, (): &()) -> Standing {
        Standing::Certified(UNDECIDED)
    }

    fn newest_base(&self) {}

    fn slot_of(&self, _: Value) -> Slot {
        Slot(0)
    }

    fn certify(&mut self, (): (), _: Value) -> Result<(), CertifyError> {
        Ok(())
    }

    fn agrees(&self, value: Value, candidate: Value) -> bool {
        candidate == UNDECIDED || value == candidate
    }

    fn estimate(&self, _: Value, votes: Vec<(Value, u64)>) -> Value {
        let sum = |bit| votes.iter().filter(|vote| vote.0 == bit).map(|vote| vote.1).sum();
        Self::majority(sum(FALSE), sum(TRUE))
    }

    fn judge(&self, claim: &Claim<'_, bool>) -> Result<(), InvalidEstimate> {
        if claim.follows == UNDECIDED || claim.follows == Self::of(*claim.estimate) {
            Ok(())
        } else {
            Err(InvalidEstimate::DoesNotFollow)
        }
    }

    fn proposes(_: &bool) -> bool {
        false
    }

    fn admit(&mut self, estimate: &bool) -> Value {
        Self::of(*estimate)
    }

    fn candidate(&self, value: Value) -> Option<Stance> {
        match value {
            UNDECIDED => Some(Stance::Undecided),
            FALSE => Some(Stance::Decided(false)),
            TRUE => Some(Stance::Decided(true)),
            _ => None,
        }
    }

    fn value(&self, candidate: &Stance) -> Option<Value> {
        Some(match candidate {
            Stance::Undecided => UNDECIDED,
            Stance::Decided(bit) => Self::of(*bit),
        })
    }

    fn root(&self) -> Value {
        UNDECIDED
    }

    fn toward(&self, from: Value, to: Value) -> Option<Value> {
        (from == UNDECIDED && to != UNDECIDED).then_some(to)
    }

    fn shift(&mut self, from: Option<Value>, to: Option<Value>, weight: u64) {
        for (value, add) in [(from, false), (to, true)] {
            let Some(place) = value.and_then(|value| value.checked_sub(FALSE)) else { continue };
            let sum = &mut self.weights[place as usize];
            let moved = if add { sum.checked_add(weight) } else { sum.checked_sub(weight) };
            *sum = moved.expect("what leaves was added before, and all weights fit 64 bits");
        }
    }

    fn head(&self) -> Value {
        Self::majority(self.weights[0], self.weights[1])
    }

    fn prune(&mut self, _: Slot) {}
}
