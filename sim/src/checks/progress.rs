//! After the network heals, every chain that can goes on within the stated time; and at the end what clients ordered
//! has come to its end. A world in which nothing happened does not pass.

use super::{Check, Happening, View, sequence::is_followed};
use crate::{
    clock::{EPOCH_MS, Moment},
    node::{Node, NodeId},
    workload::Fate,
};
use kakera_beacon::BeaconState;
use kakera_chain::{
    BlockId, Slot,
    block::Header,
    replica::Phase,
    units::{ChainId, Epoch, Timestamp},
};
use std::collections::BTreeMap;

/// Statement 8.
#[derive(Default)]
pub(super) struct Progress {
    /// Chains that have not certified a block proposed after all was healed: the slot it was then, and until when.
    healing: BTreeMap<ChainId, (Slot, Moment)>,
    /// The earliest of these.
    next: Option<Moment>,
    /// By chain the newest era whose first block was looked at.
    begun: BTreeMap<ChainId, Epoch>,
    /// By chain the epoch of the newest certified block.
    newest: BTreeMap<ChainId, Epoch>,
    /// By shard the root of its newest era, and the epoch since which a running process holds it.
    held: BTreeMap<ChainId, (BlockId, Epoch)>,
}

impl Check for Progress {
    fn name(&self) -> &'static str {
        "progress"
    }

    fn after(&mut self, view: &View<'_>, happening: &Happening<'_>) -> Result<(), String> {
        if self.next.is_some_and(|next| view.now > next) {
            self.overdue(view)?;
        }
        match happening {
            Happening::Healed if !view.scenario.expect.may_stall => self.healed(view),
            Happening::Beacon { node, certified } => {
                self.certified(&certified.block.header);
                self.begins(view, *node, &certified.block.header)?;
                self.speaks(view, &certified.executed.state)?;
            }
            Happening::Shard { node, certified } => {
                self.certified(&certified.block.header);
                self.begins(view, *node, &certified.block.header)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn at_end(&mut self, view: &View<'_>) -> Result<(), String> {
        self.overdue(view)?;
        if let Some(surprise) = view.workload.surprises.first() {
            return Err(surprise.clone());
        }
        let expect = &view.scenario.expect;
        let blocks = |chain: ChainId| view.workload.certified(chain).0;
        if view.setup.chains().all(|chain| blocks(chain) == 0) && expect.blocks > 0 {
            return Err("nothing happened".to_owned());
        }
        if expect.may_stall {
            return Ok(());
        }
        for chain in view.setup.chains().filter(|chain| is_followed(view, *chain)) {
            if blocks(chain) < expect.blocks {
                let (found, most) = (blocks(chain), expect.blocks);
                return Err(format!("{chain} certified {found} blocks, not {most}{}", others(view)));
            }
        }
        ended(view)
    }
}

impl Progress {
    fn healed(&mut self, view: &View<'_>) {
        let now = Timestamp(EPOCH_MS + view.now.0 / 1_000);
        for chain in view.setup.chains().filter(|chain| is_followed(view, *chain)) {
            let clock = view.setup.network.clock(chain);
            let until = view.now.plus(view.scenario.expect.recovery_slots * clock.slot_ms * 1_000);
            self.healing.insert(chain, (clock.slot_at(now), until));
        }
        self.plan();
    }

    /// The first block of an era comes soon after its root, while there is load.
    fn begins(&mut self, view: &View<'_>, node: NodeId, header: &Header) -> Result<(), String> {
        let most = view.scenario.expect.era_gap_slots;
        let first =
            header.parent == header.root && header.epoch > self.begun.get(&header.chain).copied().unwrap_or_default();
        if most == 0 || !first {
            return Ok(());
        }
        self.begun.insert(header.chain, header.epoch);
        let loaded = view.now < Moment::ms(view.scenario.phases.load_until());
        let root = view.nodes[node].block(&header.root).filter(|_| loaded);
        let gap = root.map_or(0, |root| header.slot.0 - root.header.slot.0);
        match gap <= most {
            true => Ok(()),
            false => Err(format!("{} took {gap} slots to begin epoch {}", header.chain, header.epoch)),
        }
    }

    /// No shard is silent for longer than the scenario says, whatever became of its committee.
    /// That is counted from when a process runs that holds the root: nobody can build on a block that died with all who
    /// had it.
    fn speaks(&mut self, view: &View<'_>, state: &BeaconState) -> Result<(), String> {
        let (most, epoch) = (view.scenario.expect.silent_epochs, state.epoch);
        for record in state.shards.iter().filter(|_| most > 0) {
            let chain = record.last.header.chain;
            if self.held.get(&chain).is_none_or(|(root, _)| *root != record.root) {
                let holds = |node: &Node| node.chain == chain && node.block(&record.root).is_some();
                if record.root_height.0 > 0 && !view.nodes.iter().any(holds) {
                    continue;
                }
                self.held.insert(chain, (record.root, epoch));
            }
            let newest = self.newest.get(&chain).copied().unwrap_or_default();
            let since = self.held.get(&chain).map_or(epoch, |(_, held)| newest.max(*held));
            if epoch.0 > since.0 + most {
                return Err(format!("{chain} has certified nothing since epoch {newest}, and it is epoch {epoch}"));
            }
        }
        Ok(())
    }

    fn plan(&mut self) {
        self.next = self.healing.values().map(|(_, until)| *until).min();
    }

    fn certified(&mut self, header: &Header) {
        let newest = self.newest.entry(header.chain).or_default();
        *newest = header.epoch.max(*newest);
        if self.healing.get(&header.chain).is_some_and(|(slot, _)| header.slot > *slot) {
            self.healing.remove(&header.chain);
            self.plan();
        }
    }

    /// Chains whose time is up: an error if enough of their members could have gone on.
    fn overdue(&mut self, view: &View<'_>) -> Result<(), String> {
        let overdue: Vec<ChainId> =
            self.healing.iter().filter(|(_, (_, until))| view.now > *until).map(|(chain, _)| *chain).collect();
        for chain in overdue {
            self.healing.remove(&chain);
            let (.., seats) = view.eras.newest(chain);
            let able = view.nodes.iter().filter(|node| node.chain == chain && can_speak(node));
            let members = able.filter_map(|node| seats.member(node.validator));
            let weight: u64 = members.map(|member| seats.committee.weight(member)).sum();
            if seats.is_supermajority(weight) {
                let slots = view.scenario.expect.recovery_slots;
                let what = format!("{chain} certified nothing new within {slots} slots after all was healed");
                return Err(format!("{what}{}", others(view)));
            }
        }
        self.plan();
        Ok(())
    }
}

/// An honest member that runs and may speak in this era, or soon will.
fn can_speak(node: &Node) -> bool {
    node.is_honest() && matches!(node.phase(), Some(Phase::Joining | Phase::Active))
}

/// Honest members that are not active, for whoever reads what is wrong.
fn others(view: &View<'_>) -> String {
    let honest = view.nodes.iter().filter(|node| node.is_honest());
    let others = honest.filter_map(|node| match node.phase() {
        Some(Phase::Active) => None,
        Some(phase) => Some(format!("; {} is {phase}", node.name())),
        None => Some(format!("; {} is down", node.name())),
    });
    others.collect()
}

/// What clients ordered has come to its end.
fn ended(view: &View<'_>) -> Result<(), String> {
    let expect = &view.scenario.expect;
    // What is asked of the beacon may be asked at the very end, and is looked at elsewhere.
    let clients = || view.workload.orders.iter().filter(|order| order.request.is_none());
    let orders = || clients().filter(|order| order.fate == Fate::Succeeds);
    let (made, ended) = (orders().count(), orders().filter(|order| order.has_ended()).count());
    if view.scenario.load.per_second > 0 && made == 0 {
        return Err("nothing was ordered".to_owned());
    }
    if ended * 100 < made * usize::from(expect.settled_percent) {
        let open = orders().position(|order| !order.has_ended());
        return Err(format!("{ended} of {made} orders have ended, the first that has not: {open:?}"));
    }
    let returned: u64 = orders().map(|order| u64::from(order.returned)).sum();
    if returned < expect.returns {
        return Err(format!("{returned} payments came back, at least {} must", expect.returns));
    }
    Ok(())
}
