//! Consensus messages as they are signed, sent and stored.

use crate::{
    advances::Advances,
    certificate::Seats,
    hash::{Hash, NetworkId, Tag, identity},
    keys::{InvalidSignature, SecretKey, Signature, Verified},
    units::{ChainId, Epoch},
};
use borsh::{BorshDeserialize, BorshSerialize};
use kakera_cbc::{BlockEstimate, BlockId, Blocks, Member, Message, MessageId, NewBlock, Slot};

/// What a member says, unsigned: its identity is [`Tag::MESSAGE`]'s.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Statement {
    /// The chain.
    pub chain: ChainId,
    /// The era's epoch.
    pub epoch: Epoch,
    /// The era's root.
    pub root: BlockId,
    /// Who says it.
    pub sender: Member,
    /// Its place in the sender's thread, from 0.
    pub seq: u64,
    /// When it was said.
    pub slot: Slot,
    /// The newest certified block the sender knew.
    pub base: BlockId,
    /// What the justification adds to the closure of the sender's previous message, or to nothing when that one is
    /// older than the base.
    pub advances: Advances,
    /// Digest over all cited ids, see `kakera_cbc`.
    pub cites: [u8; 32],
    /// What it supports.
    pub estimate: Estimate,
}

/// A vote or a proposal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Estimate {
    /// The fork choice of the justification.
    Vote(BlockId),
    /// A new child of it; its slot is the statement's.
    Proposal {
        /// The new block.
        block: BlockId,
        /// Its parent.
        parent: BlockId,
        /// Its height.
        height: u64,
    },
}

/// A signed consensus message.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct SignedMessage {
    /// What is said.
    pub statement: Statement,
    /// Over the statement's identity.
    pub signature: Signature,
}

impl Statement {
    /// The message's identity.
    pub fn id(&self, network: NetworkId) -> MessageId {
        MessageId(identity(Tag::MESSAGE, network, self).0)
    }

    /// The consensus engine's form: of a stranger's statement only once its signature is checked and its advances name
    /// members of the committee alone, because each bit of them takes 24 bytes there.
    pub fn to_message(&self, id: MessageId) -> Message<Blocks> {
        Message {
            id,
            sender: self.sender,
            seq: self.seq,
            slot: self.slot,
            base: self.base,
            advances: self.advances.iter().collect(),
            cites: self.cites,
            estimate: match self.estimate {
                Estimate::Vote(block) => BlockEstimate::Vote(block),
                Estimate::Proposal { block, parent, height } => {
                    BlockEstimate::Proposal(NewBlock { id: block, parent, height, slot: self.slot })
                }
            },
        }
    }
}

impl SignedMessage {
    /// Canonical bytes of a message at most: an advance for each of 65,535 members.
    pub const MAX_BYTES: usize = 768 * 1024;

    /// Signs a statement.
    pub fn sign(statement: Statement, key: &SecretKey, network: NetworkId) -> SignedMessage {
        let signature = key.sign(&Hash(statement.id(network).0));
        SignedMessage { statement, signature }
    }

    /// Checks the signature against the committee; returns the message's id as well.
    pub fn verify(
        self,
        seats: &Seats,
        network: NetworkId,
    ) -> Result<(MessageId, Verified<SignedMessage>), InvalidSignature> {
        let key = *seats.key(self.statement.sender).ok_or(InvalidSignature)?;
        let (id, signature) = (self.statement.id(network), self.signature);
        Ok((id, Verified::check(self, &Hash(id.0), &key, &signature, &seats.signatures)?))
    }
}
