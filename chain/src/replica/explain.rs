//! Why a block is final here, or what holds it back: the detector's view, and what is certified.

use super::Replica;
use crate::{
    application::Application,
    units::{Height, ValidatorId},
};
use kakera_cbc::{BlockId, Explanation, Hold, Member, MessageId, Slot};

/// What is known of a block's finality.
#[derive(Clone, Debug)]
pub struct BlockExplanation {
    /// The block.
    pub id: BlockId,
    /// Its height.
    pub height: Height,
    /// Its slot.
    pub slot: Slot,
    /// Whether it is certified.
    pub certified: bool,
    /// The certified block of its height, where that is another.
    pub other: Option<BlockId>,
    /// What the own detector sees; none when the votes have left memory.
    pub votes: Option<Explanation<BlockId, MessageId>>,
    /// The committee's validators in order.
    pub validators: Vec<ValidatorId>,
}

impl BlockExplanation {
    /// A stable word: the detector's ([`Hold::word`]), or CERTIFIED, CONFLICT or FORGOTTEN without its votes.
    pub fn reason(&self) -> &'static str {
        match (&self.votes, self.conflict()) {
            (Some(votes), None) => votes.hold.word(),
            (_, Some(_)) => "CONFLICT",
            (None, None) if self.certified => "CERTIFIED",
            (None, None) => "FORGOTTEN",
        }
    }

    /// What it conflicts with: a certified block, or one that the own detector has finalized.
    pub fn conflict(&self) -> Option<BlockId> {
        let finalized = self.votes.as_ref().and_then(|votes| match &votes.hold {
            Hold::Conflict { finalized } => Some(*finalized),
            _ => None,
        });
        self.other.or(finalized)
    }

    /// The same for a person; `name` names members.
    pub fn sentence(&self, name: impl Fn(Member) -> String) -> String {
        const GONE: &str = "the votes on it have left memory";
        match (&self.votes, self.other) {
            (Some(votes), None) if self.certified && !votes.is_final => format!(
                "certified: more than two thirds signed it as final; this node's own detector does not show it yet: {}",
                votes.sentence(name)
            ),
            (Some(votes), None) if self.certified => format!("certified, and {}", votes.sentence(name)),
            (Some(votes), None) => votes.sentence(name),
            (_, Some(other)) => format!("conflicts with {other}, which is certified at its height"),
            (None, None) if self.certified => {
                format!("certified: more than two thirds signed it as final; {GONE}")
            }
            (None, None) => format!("it is not certified, and {GONE}"),
        }
    }
}

impl<A: Application> Replica<A> {
    /// Explains the certified block of a height, else the one on the way from there to the head.
    pub fn explain_at(&self, height: Height) -> Option<BlockExplanation> {
        if let Some(id) = self.certified_id(height) {
            return self.explain(&id);
        }
        let (tree, certified) = (self.engine.protocol(), self.ledger.certified());
        // The era's root has no certificate, and nothing else does at and below the certified height.
        if height <= certified.height() {
            return self.explain(&self.era.root).filter(|root| root.height == height);
        }
        let above = height.0.checked_sub(certified.height().0 + 1)?;
        let path = tree.path(&certified.id, &self.engine.head());
        self.explain(path.get(usize::try_from(above).ok()?)?)
    }

    /// Explains a block held in memory or in the store.
    pub fn explain(&self, id: &BlockId) -> Option<BlockExplanation> {
        let (height, slot) = match self.engine.protocol().block(id) {
            Some(block) => (Height(block.height), block.slot),
            None => self.block(id).map(|block| (block.header.height, block.header.slot))?,
        };
        let at_height = self.certified_id(height);
        Some(BlockExplanation {
            id: *id,
            height,
            slot,
            certified: at_height == Some(*id) || self.engine.is_certified(id),
            other: at_height.filter(|certified| certified != id),
            votes: self.engine.explain(id),
            validators: self.seats.validators.clone(),
        })
    }
}
