//! What passes between nodes, and from clients to them.

use super::NodeId;
use kakera_chain::{
    BlockId,
    application::CertifiedBlocks,
    crosslink::Crosslink,
    peer::PeerMessage,
    replica::ClosedEra,
    units::{Epoch, Height, ValidatorId},
};
use kakera_shard::SignedTransaction;
use std::sync::Arc;

/// What reaches a node.
#[derive(Clone, Debug)]
pub enum Delivery {
    /// What another member of its committee says.
    Peer {
        /// Who.
        from: ValidatorId,
        /// In the era of which epoch.
        epoch: Epoch,
        /// What.
        message: Arc<PeerMessage>,
    },
    /// A client's order.
    Submit {
        /// The order's number.
        order: usize,
        /// The transaction.
        signed: Arc<SignedTransaction>,
    },
    /// A shard node wants to follow the beacon.
    Follow {
        /// Who.
        from: NodeId,
        /// Which of its streams.
        stream: u64,
        /// From which height on.
        next: Height,
    },
    /// The beacon node's answer to that: the stream is open.
    Followed {
        /// Which.
        stream: u64,
    },
    /// Certified beacon blocks for a follower.
    Feed {
        /// On which stream.
        stream: u64,
        /// The blocks.
        blocks: Arc<CertifiedBlocks>,
    },
    /// A crosslink for the beacon.
    Crosslink {
        /// From whom.
        from: NodeId,
        /// Which attempt.
        attempt: u64,
        /// The crosslink.
        crosslink: Arc<Crosslink>,
        /// A beacon node that has no seat has handed it on.
        handed_on: bool,
    },
    /// The beacon node's answer to one.
    CrosslinkTaken {
        /// Which attempt.
        attempt: u64,
    },
    /// A node wants to know how its chain went on.
    Pull {
        /// Who.
        from: NodeId,
        /// The root of the era that it is in.
        root: BlockId,
        /// From which height on.
        next: Height,
    },
    /// Another node's answer to that.
    Pulled {
        /// That era is over.
        closed: Option<Arc<ClosedEra>>,
        /// Certified blocks.
        blocks: Option<Arc<CertifiedBlocks>>,
    },
}

impl Delivery {
    /// Its canonical bytes; about so many where it has none.
    pub fn bytes(&self) -> usize {
        let length = match self {
            Delivery::Peer { message, .. } => borsh::object_length(&**message),
            Delivery::Submit { signed, .. } => borsh::object_length(&**signed),
            Delivery::Feed { blocks, .. } => borsh::object_length(&**blocks),
            Delivery::Crosslink { crosslink, .. } => borsh::object_length(&**crosslink),
            Delivery::Pulled { closed, blocks } => {
                let closed = closed.as_deref().map_or(Ok(0), borsh::object_length);
                let blocks = blocks.as_deref().map_or(Ok(0), borsh::object_length);
                closed.and_then(|closed| Ok(closed + blocks?))
            }
            Delivery::Pull { .. } => Ok(48),
            Delivery::Follow { .. } | Delivery::Followed { .. } | Delivery::CrosslinkTaken { .. } => Ok(16),
        };
        length.unwrap_or(usize::MAX)
    }
}
