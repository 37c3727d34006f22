//! When what befalls the world: a plan drawn from the seed within what the scenario allows.

use crate::{
    clock::Moment,
    node::{Node, NodeId},
    random::Random,
    scenario::{Fault, PartitionShape, Scenario},
    twist,
};
use kakera_chain::units::ChainId;
use std::collections::{BTreeMap, BTreeSet};

/// One thing that befalls the world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// A process ends, at once or after so many more of its effects.
    Kill {
        /// Whose.
        node: NodeId,
        /// Between which two effects.
        after_effects: Option<u32>,
    },
    /// All honest members of a shard's committee end, as it is then, and start again.
    KillCommittee {
        /// Of which.
        chain: ChainId,
        /// After how long.
        down_ms: u64,
    },
    /// A process starts, if it does not run.
    Start(NodeId),
    /// A process stops.
    Freeze(NodeId),
    /// And goes on.
    Thaw(NodeId),
    /// Links are cut, each in one direction.
    Cut(Vec<(NodeId, NodeId)>),
    /// And mended.
    Mend(Vec<(NodeId, NodeId)>),
    /// A row of a disk is damaged.
    Damage(NodeId),
    /// A disk is copied.
    Copy(NodeId),
    /// The copy is put back.
    Restore(NodeId),
    /// A clock jumps.
    StepClock {
        /// Whose.
        node: NodeId,
        /// By how much.
        ms: i64,
    },
    /// Everything is whole again.
    Heal,
}

struct Planner<'a> {
    seed: u64,
    random: Random,
    nodes: &'a [Node],
    /// Members of the beacon's committee and of each shard's.
    sizes: [usize; 2],
    from: u64,
    until: u64,
    /// Honest nodes by chain.
    honest: BTreeMap<ChainId, Vec<NodeId>>,
    /// When which node of a chain is away, in ms.
    away: BTreeMap<ChainId, Vec<(u64, u64, NodeId)>>,
    plan: Vec<(Moment, Action)>,
}

/// The whole plan, in no order; the last thing in it heals everything.
pub fn plan(scenario: &Scenario, nodes: &[Node], seed: u64) -> Vec<(Moment, Action)> {
    let (beacon, members) = (usize::from(scenario.network.beacon), usize::from(scenario.network.members));
    let mut honest: BTreeMap<ChainId, Vec<NodeId>> = BTreeMap::new();
    for (id, node) in nodes.iter().enumerate().filter(|(_, node)| node.is_honest()) {
        honest.entry(node.chain).or_default().push(id);
    }
    let mut planner = Planner {
        seed,
        random: Random::stream(seed, "faults"),
        nodes,
        sizes: [beacon, members],
        from: scenario.phases.calm_ms,
        until: scenario.phases.heal_at(),
        honest,
        away: BTreeMap::new(),
        plan: Vec::new(),
    };
    for fault in &scenario.faults {
        planner.draw(fault);
    }
    planner.plan.push((Moment::ms(planner.until), Action::Heal));
    planner.plan
}

impl Planner<'_> {
    fn draw(&mut self, fault: &Fault) {
        match *fault {
            Fault::Crashes { count, least_down_ms, most_down_ms, at_once } => {
                for _ in 0..count {
                    self.crash(least_down_ms, most_down_ms, at_once);
                }
            }
            Fault::Blackout { count, most_down_ms } => (0..count).for_each(|_| self.blackout(most_down_ms)),
            Fault::Pauses { count, most_ms } => (0..count).for_each(|_| self.pause(most_ms)),
            Fault::Partitions { count, most_ms, shape, one_way } => {
                (0..count).for_each(|_| self.partition(most_ms, shape, one_way));
            }
            Fault::Damage { count } => {
                for _ in 0..count {
                    self.lasting(|node, at| vec![(at, Action::Damage(node))]);
                }
            }
            Fault::Restores { count } => {
                for _ in 0..count {
                    self.lasting(|node, at| {
                        let copied = Moment(at.0 / 2);
                        vec![(copied, Action::Copy(node)), (at, Action::Restore(node))]
                    });
                }
            }
            Fault::Committee { count, down_ms } => (0..count).for_each(|_| self.committee(down_ms)),
            Fault::ClockSteps { count, most_ms } => (0..count).for_each(|_| self.clock_step(most_ms)),
        }
    }

    fn moment(&mut self) -> u64 {
        self.random.between(self.from, self.until.saturating_sub(1))
    }

    fn plan(&mut self, at_ms: u64, action: Action) {
        let us = self.random.below(1_000);
        self.plan.push((Moment::ms(at_ms).plus(us), action));
    }

    fn chain(&mut self) -> Option<ChainId> {
        let chains: Vec<ChainId> = self.honest.keys().copied().collect();
        self.random.pick(&chains).copied()
    }

    /// Members that a committee can lose: less than a third of it, Byzantine ones counted.
    fn tolerated(&self, chain: ChainId) -> usize {
        // Several instances of one member are one.
        let of = |node: &&Node| node.chain == chain && !node.is_honest();
        let byzantine = self.nodes.iter().filter(of).map(|node| node.validator).collect::<BTreeSet<_>>().len();
        let all = self.sizes[usize::from(chain != ChainId::Beacon)];
        ((all.max(1) - 1) / 3).saturating_sub(byzantine)
    }

    /// A node of any chain that can be away from `start` to `end` with at most `at_once` of its chain.
    fn free(&mut self, start: u64, end: u64, at_once: u32) -> Option<NodeId> {
        let chain = self.chain()?;
        let most = if at_once == 0 { self.tolerated(chain) } else { usize::try_from(at_once).unwrap_or(usize::MAX) };
        let away = self.away.entry(chain).or_default();
        let overlapping: Vec<NodeId> =
            away.iter().filter(|(from, to, _)| *from <= end && start <= *to).map(|(_, _, node)| *node).collect();
        if overlapping.len() >= most {
            return None;
        }
        let free: Vec<NodeId> =
            self.honest[&chain].iter().copied().filter(|node| !overlapping.contains(node)).collect();
        let node = *self.random.pick(&free)?;
        self.away.entry(chain).or_default().push((start, end, node));
        Some(node)
    }

    fn crash(&mut self, least_down: u64, most_down: u64, at_once: u32) {
        const TRIES: usize = 12;
        for _ in 0..TRIES {
            let start = self.moment();
            let down = self.random.between(least_down, most_down);
            let end = (start + down).min(self.until);
            let Some(node) = self.free(start, end, at_once) else { continue };
            // Half of the deaths come between two effects of one step.
            let after_effects = self.random.chance(500_000).then(|| self.random.below(9) as u32);
            self.plan(start, Action::Kill { node, after_effects });
            self.plan(end, Action::Start(node));
            return;
        }
    }

    fn blackout(&mut self, most_down: u64) {
        let start = self.moment();
        for node in self.honest.values().flatten().copied().collect::<Vec<_>>() {
            let down = self.random.between(50, most_down);
            self.plan(start, Action::Kill { node, after_effects: None });
            self.plan((start + down).min(self.until), Action::Start(node));
        }
    }

    fn pause(&mut self, most_ms: u64) {
        let start = self.moment();
        let end = (start + self.random.between(50, most_ms)).min(self.until);
        if let Some(node) = self.free(start, end, 0) {
            self.plan(start, Action::Freeze(node));
            self.plan(end, Action::Thaw(node));
        }
    }

    /// A fault from which a member may not come back to speak in this era.
    fn lasting(&mut self, actions: impl Fn(NodeId, Moment) -> Vec<(Moment, Action)>) {
        let start = self.moment();
        if let Some(node) = self.free(start, u64::MAX, 0) {
            self.plan.extend(actions(node, Moment::ms(start)));
        }
    }

    fn committee(&mut self, down_ms: u64) {
        let shards: Vec<ChainId> = self.honest.keys().copied().filter(|chain| *chain != ChainId::Beacon).collect();
        // Early enough that it is not all healed before the committee has been away for so long.
        let at = self.random.between(self.from, self.until.saturating_sub(down_ms + 1).max(self.from));
        if let Some(chain) = self.random.pick(&shards).copied() {
            self.plan(at, Action::KillCommittee { chain, down_ms });
        }
    }

    fn clock_step(&mut self, most_ms: u64) {
        let at = self.moment();
        if let Some(node) = self.free(at, u64::MAX, 0) {
            let by = i64::try_from(self.random.between(1, most_ms)).unwrap_or(i64::MAX);
            let ms = if self.random.chance(500_000) { by } else { -by };
            self.plan(at, Action::StepClock { node, ms });
        }
    }

    fn partition(&mut self, most_ms: u64, shape: PartitionShape, one_way: bool) {
        let start = self.moment();
        let end = (start + self.random.between(most_ms / 4, most_ms)).min(self.until);
        let links = self.links(shape, one_way);
        self.plan(start, Action::Cut(links.clone()));
        self.plan(end, Action::Mend(links));
    }

    fn links(&mut self, shape: PartitionShape, one_way: bool) -> Vec<(NodeId, NodeId)> {
        let mut apart = vec![false; self.nodes.len()];
        match shape {
            PartitionShape::Halves => {
                let mut chains: BTreeMap<ChainId, Vec<NodeId>> = BTreeMap::new();
                for (id, node) in self.nodes.iter().enumerate() {
                    chains.entry(node.chain).or_default().push(id);
                }
                for (chain, mut members) in chains {
                    // Equivocators choose who is cut off from whom.
                    if let Some(side) = twist::one_side(self.nodes, chain, self.seed) {
                        side.into_iter().for_each(|node| apart[node] = true);
                        continue;
                    }
                    self.random.shuffle(&mut members);
                    members.iter().take(members.len() / 2).for_each(|node| apart[*node] = true);
                }
            }
            PartitionShape::One => {
                for members in self.honest.values() {
                    if let Some(node) = self.random.pick(members) {
                        apart[*node] = true;
                    }
                }
            }
            PartitionShape::Beacon => {
                (0..apart.len()).for_each(|node| apart[node] = self.nodes[node].chain == ChainId::Beacon);
            }
            PartitionShape::Shard => {
                let shards: Vec<ChainId> =
                    self.honest.keys().copied().filter(|chain| *chain != ChainId::Beacon).collect();
                let chosen = self.random.pick(&shards).copied();
                (0..apart.len()).for_each(|node| apart[node] = Some(self.nodes[node].chain) == chosen);
            }
            PartitionShape::Links => return self.half_of_links(),
        }
        let mut links = Vec::new();
        for from in 0..apart.len() {
            for to in (0..apart.len()).filter(|to| apart[from] && !apart[*to]) {
                links.push((from, to));
                if !one_way {
                    links.push((to, from));
                }
            }
        }
        if one_way && self.random.chance(500_000) {
            links.iter_mut().for_each(|(from, to)| std::mem::swap(from, to));
        }
        links
    }

    fn half_of_links(&mut self) -> Vec<(NodeId, NodeId)> {
        let mut links = Vec::new();
        for from in 0..self.nodes.len() {
            for to in 0..self.nodes.len() {
                if from != to && self.random.chance(500_000) {
                    links.push((from, to));
                }
            }
        }
        links
    }
}
