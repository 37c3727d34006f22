//! What is `recorded` or `delivered` stays so, and what is `shard-final` at a node stays so at that node, through crashes.

use super::{Check, Happening, View};
use crate::node::NodeId;
use kakera_beacon::BeaconState;
use kakera_chain::{
    BlockId,
    block::{Block, Header},
    crosslink::BeaconItem,
    receipt::Lane,
    units::{ChainId, Epoch, Height},
};
use kakera_shard::ShardState;
use std::collections::{BTreeMap, BTreeSet};

/// Heights below a node's newest that are looked up again when it starts.
const LOOKED_UP: usize = 64;

/// Statement 7.
#[derive(Default)]
pub(super) struct Undone {
    /// By beacon height: the block, and what is recorded of each shard there.
    recorded: BTreeMap<Height, (BlockId, Vec<(Height, BlockId)>)>,
    /// Recorded and consumed receipts of each lane at the highest of these.
    lanes: BTreeMap<Lane, (u64, u64)>,
    /// Which block of the destination consumed which receipt, in the era of which epoch.
    delivered: BTreeMap<(Lane, u64, Epoch), BlockId>,
    /// What each node has certified, each block with its era's epoch.
    certified: BTreeMap<NodeId, BTreeMap<Height, (BlockId, Epoch)>>,
    /// Shards' blocks that are recorded.
    in_beacon: BTreeSet<BlockId>,
    /// Certified blocks that roots left out.
    lost: BTreeSet<BlockId>,
    /// By shard how many eras began with a fallback.
    fallbacks: Vec<u64>,
    /// Since its start: how much of its own chain each shard node knows to be recorded.
    known: BTreeMap<NodeId, Height>,
}

impl Check for Undone {
    fn name(&self) -> &'static str {
        "undone"
    }

    fn after(&mut self, view: &View<'_>, happening: &Happening<'_>) -> Result<(), String> {
        match happening {
            Happening::Beacon { node, certified } => {
                let height = certified.block.header.height;
                self.certified_at(view, *node, &certified.block.header, certified.id)?;
                self.crosslinked(view, &certified.block, &certified.executed.state)?;
                self.recorded(height, certified.id, &certified.executed.state)
                    .map_err(|what| format!("{}: {what}", view.name(*node)))
            }
            Happening::Shard { node, certified } => {
                let header = &certified.block.header;
                self.certified_at(view, *node, header, certified.id)?;
                self.delivered(header, certified.id, &certified.executed.state)
                    .and_then(|()| self.followed(view, *node))
                    .map_err(|what| format!("{}: {what}", view.name(*node)))
            }
            Happening::Undone { node, blocks } => blocks
                .iter()
                .try_for_each(|(height, id)| self.lose(view, *node, *height, *id))
                .map_err(|what| format!("{} {what}", view.name(*node))),
            Happening::Started { node } if view.nodes[*node].is_honest() => {
                self.known.remove(node);
                self.restored(view, *node).map_err(|what| format!("{} as restored: {what}", view.name(*node)))
            }
            _ => Ok(()),
        }
    }
}

impl Undone {
    fn certified_at(&mut self, view: &View<'_>, node: NodeId, header: &Header, id: BlockId) -> Result<(), String> {
        let (height, epoch) = (header.height, header.epoch);
        let first = *self.certified.entry(node).or_default().entry(height).or_insert((id, epoch));
        if first.0 == id {
            return Ok(());
        }
        if first.1 == epoch {
            return Err(format!("{} certified {} at height {height}, and now {id}", view.name(node), first.0));
        }
        // It was killed after it had taken the other one back, and before it could say so.
        self.lose(view, node, height, first.0).map_err(|what| format!("{} {what}", view.name(node)))?;
        self.certified.entry(node).or_default().insert(height, (id, epoch));
        Ok(())
    }

    /// A certified block is taken back: a shard's that is not recorded, where a committee was replaced.
    fn lose(&mut self, view: &View<'_>, node: NodeId, height: Height, id: BlockId) -> Result<(), String> {
        let ChainId::Shard(shard) = view.nodes[node].chain else {
            return Err(format!("takes back beacon block {id} at height {height}"));
        };
        if self.in_beacon.contains(&id) {
            return Err(format!("takes back block {id} at height {height}, which is recorded"));
        }
        let told =
            view.nodes[node].observer().and_then(|observer| observer.state().shard(shard).map(|at| at.fallbacks));
        let fallbacks = self.fallbacks.get(usize::from(shard.0)).copied().max(told).unwrap_or_default();
        if fallbacks == 0 {
            return Err(format!("takes back block {id} at height {height}, though no committee was replaced"));
        }
        self.lost.insert(id);
        if let Some(had) = self.certified.get_mut(&node) {
            had.retain(|at, (held, _)| *at != height || *held != id);
        }
        Ok(())
    }

    /// What the beacon records is never one of those that were left out.
    fn crosslinked(&mut self, view: &View<'_>, block: &Block, state: &BeaconState) -> Result<(), String> {
        if view.scenario.network.epochs.is_none() {
            return Ok(());
        }
        for item in &block.body {
            let Ok(BeaconItem::Crosslink(crosslink)) = BeaconItem::decode(item) else { continue };
            for header in &crosslink.headers {
                let id = header.id(view.setup.network.id);
                if self.lost.contains(&id) {
                    return Err(format!("block {id} of {} is recorded, and was left out", header.chain));
                }
                self.in_beacon.insert(id);
            }
        }
        self.fallbacks.resize(state.shards.len().max(self.fallbacks.len()), 0);
        for (most, record) in self.fallbacks.iter_mut().zip(&state.shards) {
            *most = record.fallbacks.max(*most);
        }
        Ok(())
    }

    fn recorded(&mut self, height: Height, id: BlockId, state: &BeaconState) -> Result<(), String> {
        let shards: Vec<(Height, BlockId)> =
            state.shards.iter().map(|shard| (shard.last.header.height, shard.last.id)).collect();
        if let Some((_, first)) = self.recorded.get(&height) {
            return match *first == shards {
                true => Ok(()),
                false => Err(format!("beacon block {height} records {shards:?}, elsewhere {first:?}")),
            };
        }
        let newest = self.recorded.last_key_value();
        let grows = newest.is_none_or(|(newest, _)| *newest < height);
        if let Some((below, (_, before))) = newest.filter(|_| grows) {
            for (shard, (now, before)) in shards.iter().zip(before).enumerate() {
                let same = now.0 > before.0 || now == before;
                if !same {
                    return Err(format!(
                        "of shard {shard} beacon block {height} records height {} {}, block {below} recorded {} {}",
                        now.0, now.1, before.0, before.1
                    ));
                }
            }
        }
        if grows {
            self.lanes_grow(height, state)?;
        }
        self.recorded.insert(height, (id, shards));
        Ok(())
    }

    fn lanes_grow(&mut self, height: Height, state: &BeaconState) -> Result<(), String> {
        for (lane, before) in &mut self.lanes {
            let now = state.lane(lane).map_or((0, 0), |log| (log.recorded(), log.consumed));
            if now.0 < before.0 || now.1 < before.1 {
                return Err(format!(
                    "of {lane:?} {} receipts are recorded and {} consumed at beacon block {height}, before {} and {}",
                    now.0, now.1, before.0, before.1
                ));
            }
        }
        self.lanes.extend(state.lanes.iter().map(|(lane, log)| (*lane, (log.recorded(), log.consumed))));
        Ok(())
    }

    fn delivered(&mut self, header: &Header, id: BlockId, state: &ShardState) -> Result<(), String> {
        for (receipt, _) in &state.outcome.consumed {
            let (lane, seq, chain) = (receipt.lane, receipt.seq, header.chain);
            let first = *self.delivered.entry((lane, seq, header.epoch)).or_insert(id);
            if first != id {
                return Err(format!("block {id} of {chain} consumes receipt {seq} of {lane:?}, {first} did before"));
            }
        }
        Ok(())
    }

    /// What a shard node knows of the beacon is on the one chain, and in one life it never knows less.
    fn followed(&mut self, view: &View<'_>, node: NodeId) -> Result<(), String> {
        let (Some(replica), ChainId::Shard(shard)) = (view.nodes[node].shard(), view.nodes[node].chain) else {
            return Ok(());
        };
        let (tip, recorded) = (replica.app().inner().tip(), replica.app().inner().recorded());
        let before = self.known.insert(node, recorded.0);
        if before.is_some_and(|before| before > recorded.0) {
            return Err(format!("height {} is known to be recorded, {:?} was before", recorded.0, before));
        }
        // An honest beacon node may not have told yet.
        let Some((id, shards)) = self.recorded.get(&tip.height) else { return Ok(()) };
        // Before the first crosslink a shard knows of none.
        let none = recorded.0 == Height(0) && shards.get(usize::from(shard.0)).is_some_and(|(at, _)| at.0 == 0);
        match *id == tip.id && (none || shards.get(usize::from(shard.0)) == Some(&recorded)) {
            true => Ok(()),
            false => Err(format!(
                "follows beacon block {} {}, others have {id}; recorded {recorded:?}, others {shards:?}",
                tip.height, tip.id
            )),
        }
    }

    /// What a node finds on its disk is what it had, as far as it goes.
    fn restored(&mut self, view: &View<'_>, id: NodeId) -> Result<(), String> {
        let node = &view.nodes[id];
        let had = self.certified.entry(id).or_default();
        let newest = had.iter().rev().take(LOOKED_UP);
        for (height, (before, _)) in newest {
            let now = node.certified_id(*height);
            // Where an era's root leaves blocks out, [`Undone::certified_at`] looks at what stands there now.
            let same_era = view.scenario.network.epochs.is_none();
            if same_era && now.is_some_and(|now| now != *before) {
                return Err(format!("block {now:?} is certified at height {height}, {before} was"));
            }
        }
        if let Some(replica) = node.beacon() {
            let certified = replica.certified();
            let shards: Vec<(Height, BlockId)> =
                certified.state.shards.iter().map(|shard| (shard.last.header.height, shard.last.id)).collect();
            if let Some((_, before)) = self.recorded.get(&certified.header.height)
                && *before != shards
            {
                return Err(format!("beacon block {} records {shards:?}, not {before:?}", certified.header.height));
            }
        }
        self.followed(view, id)
    }
}
