//! Certified blocks in height order, each once: at the first honest node that shows it.

use super::{Happening, View};
use crate::{node::NodeId, rules::Certified};
use kakera_beacon::BeaconState;
use kakera_chain::{
    BlockId,
    block::{Block, Header},
    hash::Hash,
    receipt::Receipt,
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
    /// Of a beacon block: the receipts that it emits itself.
    pub(super) emitted: Vec<Receipt>,
}

/// What a block led to at the node that showed it.
#[derive(Clone)]
#[allow(clippy::large_enum_variant, reason = "made and taken apart, one at a time")]
pub(super) enum After<'a> {
    /// Nobody has said.
    Unseen,
    /// A beacon block.
    Beacon(&'a Certified<BeaconState>),
    /// A shard's block.
    Shard(Certified<ShardState>),
}

/// How far each chain was followed. Where eras change, a certified block of a shard may be left out until it is recorded:
/// then shards are followed as far as they are recorded, and their blocks come just before the beacon's that records them.
#[derive(Default)]
pub(super) struct Sequence {
    reached: BTreeMap<ChainId, Height>,
    /// Shards' blocks that are not recorded yet.
    certified: BTreeMap<BlockId, Certified<ShardState>>,
    /// The root of the state after the last beacon block.
    root: Option<Hash>,
}

impl Sequence {
    /// Certified blocks that were not seen before, ascending.
    pub(super) fn fresh<'a>(&mut self, view: &View<'_>, happening: &Happening<'a>) -> Vec<Fresh<'a>> {
        let eras = view.scenario.network.epochs.is_some();
        match happening {
            Happening::Shard { certified, .. } if eras => {
                let header = &certified.block.header;
                if header.height > self.reached.get(&header.chain).copied().unwrap_or_default() {
                    self.certified.insert(certified.id, (*certified).clone());
                }
                Vec::new()
            }
            Happening::Beacon { node, certified } => {
                let mut fresh = Vec::new();
                let is_new =
                    certified.block.header.height > self.reached.get(&ChainId::Beacon).copied().unwrap_or_default();
                if eras && is_new {
                    let shards = certified.executed.state.shards.iter();
                    shards.for_each(|record| fresh.extend(self.recorded(view, record.last.id, &record.last.header)));
                }
                let beacon = self.up_to(view, *node, certified.id, &certified.block, After::Beacon(certified));
                for mut block in beacon {
                    block.emitted = self.emitted(view, &block);
                    fresh.push(block);
                }
                fresh
            }
            Happening::Shard { node, certified } => {
                self.up_to(view, *node, certified.id, &certified.block, After::Shard((*certified).clone()))
            }
            _ => Vec::new(),
        }
    }

    /// What a beacon block emits: as the node that shows it says, or worked out from the block before.
    fn emitted(&mut self, view: &View<'_>, fresh: &Fresh<'_>) -> Vec<Receipt> {
        if view.setup.network.genesis.staking.is_none() {
            return Vec::new();
        }
        let header = &fresh.block.header;
        let first = || view.setup.genesis[&ChainId::Beacon].state_root;
        let before = self.root.replace(header.state_root).unwrap_or_else(first);
        if let After::Beacon(certified) = &fresh.certified {
            return certified.executed.receipts.clone();
        }
        let proposer = view.eras.validator(ChainId::Beacon, header.epoch, header.root, header.proposer);
        proposer.map(|proposer| view.setup.outcomes.emitted(before, &fresh.block, proposer)).unwrap_or_default()
    }

    /// A shard's blocks up to the last recorded one.
    fn recorded<'a>(&mut self, view: &View<'_>, last: BlockId, header: &Header) -> Vec<Fresh<'a>> {
        let chain = header.chain;
        let reached = self.reached.entry(chain).or_default();
        let (mut path, mut at, mut height) = (Vec::new(), last, header.height);
        while height > *reached {
            let fresh = match self.certified.get(&at) {
                Some(certified) => Fresh {
                    id: at,
                    block: certified.block.clone(),
                    certified: After::Shard(certified.clone()),
                    emitted: Vec::new(),
                },
                None => {
                    let mut honest = view.nodes.iter().filter(|node| node.chain == chain && node.is_honest());
                    let Some(block) = honest.find_map(|node| node.block(&at)) else { return Vec::new() };
                    Fresh { id: at, block, certified: After::Unseen, emitted: Vec::new() }
                }
            };
            (at, height) = (fresh.block.header.parent, Height(height.0 - 1));
            path.push(fresh);
        }
        *reached = header.height.max(*reached);
        let reached = *reached;
        self.certified.retain(|_, one| one.block.header.chain != chain || one.block.header.height > reached);
        path.reverse();
        path
    }

    fn up_to<'a>(
        &mut self,
        view: &View<'_>,
        node: NodeId,
        id: BlockId,
        block: &Arc<Block>,
        certified: After<'a>,
    ) -> Vec<Fresh<'a>> {
        let header = &block.header;
        let reached = self.reached.entry(header.chain).or_default();
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
            fresh.push(Fresh { id, block, certified: After::Unseen, emitted: Vec::new() });
            *reached = next;
        }
        *reached = header.height;
        fresh.push(Fresh { id, block: block.clone(), certified, emitted: Vec::new() });
        fresh
    }
}

/// Chains of which at least one node keeps the rules: of the others nothing is seen, and nothing is promised.
pub(super) fn is_followed(view: &View<'_>, chain: ChainId) -> bool {
    view.nodes.iter().any(|node| node.chain == chain && node.is_honest())
}
