//! The family: what a protocol adds to the engine, and nothing more.
//!
//! Safety is argued once, for the engine: a protocol only says which value a set of weighted votes
//! supports and whether one value agrees with another.

pub(crate) mod blocks;
pub(crate) mod index;
pub(crate) mod tree;

use crate::ids::{Member, Slot};
use std::fmt::Debug;
use thiserror::Error;

/// A value a message can support, interned by the protocol; 0 is never a value.
pub type Value = u32;

/// Where a base stands in this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Not known to be certified here.
    Uncertified,
    /// Certified, but below the pruning line.
    Pruned,
    /// Certified and held.
    Certified(Value),
}

/// What validity asks about an estimate.
#[derive(Clone, Copy, Debug)]
pub struct Claim<'a, E> {
    /// Who claims it.
    pub sender: Member,
    /// In which slot.
    pub slot: Slot,
    /// The estimate.
    pub estimate: &'a E,
    /// The estimator's value on the message's own justification.
    pub follows: Value,
}

/// Why an estimate is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum InvalidEstimate {
    /// It is not the estimator's value on the message's own justification.
    #[error("the estimate does not follow from the justification")]
    DoesNotFollow,
    /// The block's parent is not the estimator's value.
    #[error("the block's parent does not follow from the justification")]
    ParentDoesNotFollow,
    /// The sender does not lead the slot.
    #[error("the sender does not lead this slot")]
    NotLeader,
    /// The block names another slot than its message.
    #[error("the block names another slot than its message")]
    OtherSlot,
    /// The block's slot is not later than its parent's.
    #[error("the block is not later than its parent")]
    NotLater,
    /// The height is not the parent's plus one.
    #[error("the height is not the parent's plus one")]
    WrongHeight,
    /// The block is its own parent.
    #[error("the block is its own parent")]
    OwnParent,
    /// The same block id with other data is in the tree.
    #[error("the block id is taken by another block")]
    IdTaken,
    /// The order does not list exactly the items, each once.
    #[error("the order does not list exactly the items")]
    OtherItems,
}

/// Why a base cannot be marked certified.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum CertifyError {
    /// The candidate is not held.
    #[error("the certified block is not in the tree")]
    Unknown,
    /// It conflicts with what this node finalized or knew as certified: a safety breach.
    #[error("the certified block conflicts with a finalized or certified one")]
    Conflict,
}

/// One member of the family; it may be implemented outside this crate, as
/// `examples/switches_and_light.rs` does.
///
/// The engine's safety rests on two laws. *Majorities win*: when more of the weight of the votes that the
/// estimator is given agrees with a candidate than does not, the estimator's value agrees with it. More
/// than half of the committee's whole weight is not asked for: members marked faulty give no vote, and
/// the soundness argument in the crate documentation counts them on neither side. *Agreement is
/// transitive*: what agrees with a value agrees with every candidate that the value agrees with.
pub trait Protocol: Clone + Debug {
    /// What a message builds on.
    type Base: Copy + Ord + Debug;
    /// What a message supports.
    type Estimate: Clone + Debug + PartialEq;
    /// What can be finalized.
    type Candidate: Copy + Ord + Debug;

    /// Where a base stands.
    fn standing(&self, base: &Self::Base) -> Standing;
    /// The newest certified base.
    fn newest_base(&self) -> Self::Base;
    /// First slot above the base.
    fn slot_of(&self, base: Value) -> Slot;
    /// Marks a base certified; `finalized` is what this node finalized.
    ///
    /// # Errors
    /// It is not held, or conflicts.
    fn certify(&mut self, base: Self::Base, finalized: Value) -> Result<(), CertifyError>;
    /// Whether supporting `value` supports `candidate` too.
    fn agrees(&self, value: Value, candidate: Value) -> bool;
    /// The estimator: a pure function of the base and of weighted honest latest votes.
    fn estimate(&self, base: Value, votes: Vec<(Value, u64)>) -> Value;
    /// Whether an estimate may be said.
    ///
    /// # Errors
    /// It does not follow, or a block breaks a rule of blocks.
    fn judge(&self, claim: &Claim<'_, Self::Estimate>) -> Result<(), InvalidEstimate>;
    /// Whether the estimate is a proposal.
    fn proposes(estimate: &Self::Estimate) -> bool;
    /// Interns a judged estimate.
    fn admit(&mut self, estimate: &Self::Estimate) -> Value;
    /// The candidate of a held value.
    fn candidate(&self, value: Value) -> Option<Self::Candidate>;
    /// The value of a held candidate.
    fn value(&self, candidate: &Self::Candidate) -> Option<Value>;
    /// What is final from the start.
    fn root(&self) -> Value;
    /// The next candidate after `from` on the way to `to`.
    fn toward(&self, from: Value, to: Value) -> Option<Value>;
    /// Moves weight in the incremental index of the own view.
    fn shift(&mut self, from: Option<Value>, to: Option<Value>, weight: u64);
    /// The fork choice of the own view, from the newest base.
    fn head(&self) -> Value;
    /// Forgets values below the line.
    fn prune(&mut self, line: Slot);
}
