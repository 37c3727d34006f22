//! Certified blocks in height order, each once: at the first honest node that shows it.

use super::{Happening, View};
use crate::rules::Certified;
use kakera_beacon::BeaconState;
use kakera_chain::{
    BlockId,
    block::Block,
    units::{ChainId, Height},
};
use kakera_shard::ShardState;
use std::{collections::BTreeMap, sync::Arc};

/// A certified block that was not seen before.
pub(super) struct Fresh<'a> {
    /// Its id.
    pub(super) id: BlockId,
    /// The block.
    pub(super) block: Arc<Block>,
    /// What it led to; nothing where the node that certified it was killed before it could say so.
    pub(super) certified: After<'a>,
}

/// What a block led to at the node that showed it.
#[derive(Clone, Copy)]
pub(super) enum After<'a> {
    /// Nobody has said.
    Unseen,
    /// A beacon block.
    Beacon(&'a Certified<BeaconState>),
    /// A shard's block.
    Shard(&'a Certified<ShardState>),
}

/// How far each chain was followed.
#[derive(Default)]
pub(super) struct Sequence(BTreeMap<ChainId, Height>);

impl Sequence {
    /// Certified blocks that were not seen before, ascending.
    pub(super) fn fresh<'a>(&mut self, view: &View<'_>, happening: &Happening<'a>) -> Vec<Fresh<'a>> {
        let (node, id, block, certified) = match happening {
            Happening::Beacon { node, certified } => (*node, certified.id, &certified.block, After::Beacon(certified)),
            Happening::Shard { node, certified } => (*node, certified.id, &certified.block, After::Shard(certified)),
            _ => return Vec::new(),
        };
        let header = &block.header;
        let reached = self.0.entry(header.chain).or_default();
        if header.height <= *reached {
            return Vec::new();
        }
        let mut fresh = Vec::new();
        let node = &view.nodes[node];
        while reached.next() < header.height {
            // A node that was killed between writing and telling has these on its disk.
            let next = reached.next();
            let found = node.certified_id(next).and_then(|id| Some((id, node.block(&id)?)));
            let Some((id, block)) = found else { return fresh };
            fresh.push(Fresh { id, block, certified: After::Unseen });
            *reached = next;
        }
        *reached = header.height;
        fresh.push(Fresh { id, block: block.clone(), certified });
        fresh
    }
}

/// Chains of which at least one node keeps the rules: of the others nothing is seen, and nothing is promised.
pub(super) fn is_followed(view: &View<'_>, chain: ChainId) -> bool {
    view.nodes.iter().any(|node| node.chain == chain && node.is_honest())
}
