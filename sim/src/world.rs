//! A world: nodes, links and clients, moved by one queue of events. A function of its scenario and seed.

mod acting;
mod events;
mod following;
mod living;
mod reporting;
mod shelling;
mod twisting;

use crate::{
    checks::{Checks, Violation},
    clock::{Clock, Moment},
    disk::Disk,
    eras::Eras,
    faults::{self, Action},
    links::Wires,
    measures::Measures,
    node::{Delivery, Node, NodeFigures, NodeId, rules_of},
    queue::Queue,
    random::Random,
    scenario::Scenario,
    setup::Setup,
    trace::Trace,
    twist::Twist,
    workload::Workload,
};
use kakera_chain::units::{ChainId, ValidatorId};
use std::{collections::BTreeMap, sync::Arc};

/// How a node's rules are made: replaced by tests that break one.
pub type MakeRules = fn(
    &Setup,
    &Node,
    Option<&dyn kakera_chain::store::Store>,
) -> Result<crate::node::Rules, kakera_chain::replica::InvalidStore>;

/// The nodes that speak for a validator on a chain: one, or several that equivocate.
pub type Instances = BTreeMap<(ChainId, ValidatorId), Vec<NodeId>>;

/// A node's disks at some moment, and what it remembered outside of them.
type Copy = ([Disk; 2], kakera_chain::replica::SignState);

/// A world.
pub struct World {
    /// What it was made from.
    pub scenario: Scenario,
    /// And from which seed.
    pub seed: u64,
    /// What does not change.
    pub setup: Setup,
    /// True time.
    pub now: Moment,
    /// All nodes: the beacon's first, then each shard's, by member; further instances of a member behind.
    pub nodes: Vec<Node>,
    /// The links between them.
    pub wires: Wires,
    /// What clients order.
    pub workload: Workload,
    /// What was measured.
    pub measures: Measures,
    /// Events handled so far.
    pub events: u64,
    instances: Instances,
    pub(crate) eras: Eras,
    pub(crate) twists: BTreeMap<NodeId, Twist>,
    queue: Queue<Event>,
    random: Random,
    checks: Checks,
    pub(crate) trace: Trace,
    violation: Option<Violation>,
    copies: BTreeMap<NodeId, Copy>,
    make_rules: MakeRules,
    #[cfg(test)]
    pub(crate) flaw: Option<crate::mutants::Flaw>,
}

/// What happens.
#[derive(Clone, Debug)]
enum Event {
    /// Something reaches a node, if it still lives the life to which it was sent.
    Arrive { to: NodeId, life: u32, delivery: Delivery },
    /// A node wants to be woken.
    Wake { node: NodeId, life: u32 },
    /// A busy node has time again.
    Free { node: NodeId, life: u32 },
    /// Something befalls the world.
    Fault(Action),
    /// Clients order.
    Order,
    /// What was held back by a Byzantine member leaves it.
    Release { node: NodeId, life: u32 },
}

/// How a world ended.
#[derive(Debug)]
pub struct Outcome {
    /// What broke, if anything did.
    pub violation: Option<Violation>,
    /// SHA-256 of the trace.
    pub digest: kakera_chain::hash::Hash,
    /// The trace, if it was kept.
    pub trace: Option<String>,
    /// Events handled.
    pub events: u64,
    /// What was measured.
    pub measures: Measures,
}

impl World {
    /// Makes a world; `keep_trace`: its outcome holds the whole trace, not only the digest.
    pub fn new(scenario: &Scenario, seed: u64, keep_trace: bool) -> World {
        World::with_rules(scenario, seed, keep_trace, rules_of)
    }

    /// The same with other rules.
    pub fn with_rules(scenario: &Scenario, seed: u64, keep_trace: bool, make_rules: MakeRules) -> World {
        let setup = Setup::new(scenario, seed);
        let mut random = Random::stream(seed, "world");
        let (nodes, instances) = nodes_of(scenario, &setup, seed);
        let wires = Wires::new(scenario.links.clone(), nodes.len(), Random::stream(seed, "links"));
        let twists = Twist::all(scenario, &setup, &nodes, seed);
        let plan = faults::plan(scenario, &nodes, seed);
        let checks = Checks::new();
        let workload = Workload::new(scenario, &setup, seed);
        let mut queue = Queue::default();
        for (at, action) in plan {
            queue.plan(at, Event::Fault(action));
        }
        let first = Moment::ms(scenario.phases.calm_ms.min(500)).plus(random.below(1_000));
        queue.plan(first, Event::Order);
        World {
            scenario: scenario.clone(),
            seed,
            eras: Eras::new(&setup),
            setup,
            now: Moment(0),
            nodes,
            wires,
            workload,
            measures: Measures::default(),
            events: 0,
            instances,
            twists,
            queue,
            random,
            checks,
            trace: Trace::new(keep_trace),
            violation: None,
            copies: BTreeMap::new(),
            make_rules,
            #[cfg(test)]
            flaw: None,
        }
    }

    /// Runs to the end, or until something breaks. `progress` hears of true time now and then.
    pub fn run(mut self, progress: impl FnMut(Moment)) -> Outcome {
        self.live(progress);
        let (digest, trace) = self.trace.finish();
        self.measures.broken = self.checks.is_broken();
        self.measures.finish(&self.nodes, &self.workload, &self.setup);
        self.measures.guilt(&self.nodes, &self.setup);
        Outcome { violation: self.violation, digest, trace, events: self.events, measures: self.measures }
    }

    /// Everything up to the end.
    pub(crate) fn live(&mut self, mut progress: impl FnMut(Moment)) {
        let end = Moment::ms(self.scenario.phases.end());
        for node in 0..self.nodes.len() {
            self.start(node);
        }
        self.begin_twists();
        while self.violation.is_none()
            && let Some((at, event)) = self.queue.pop()
        {
            if at > end {
                break;
            }
            self.now = self.now.max(at);
            self.events += 1;
            if self.events.is_multiple_of(4_096) {
                progress(self.now);
            }
            self.happen(event);
        }
        if self.violation.is_none() {
            self.now = end;
            self.finish();
        }
    }

    /// The instances of a validator on a chain, as `by` knows them.
    fn instances_of(&self, chain: ChainId, validator: ValidatorId, by: NodeId) -> Vec<NodeId> {
        let Some(all) = self.instances.get(&(chain, validator)) else {
            return Vec::new();
        };
        let knows = |one: NodeId, other: NodeId| {
            self.nodes[one].audience.as_ref().is_none_or(|audience| audience.contains(&other))
        };
        all.iter().copied().filter(|to| knows(by, *to) && knows(*to, by)).collect()
    }

    fn finish(&mut self) {
        let view = crate::checks::View {
            now: self.now,
            scenario: &self.scenario,
            setup: &self.setup,
            nodes: &self.nodes,
            eras: &self.eras,
            workload: &self.workload,
        };
        if let Err(violation) = self.checks.at_end(&view) {
            self.violation = Some(violation);
        }
    }
}

/// All nodes, and the instances of each validator.
fn nodes_of(scenario: &Scenario, setup: &Setup, seed: u64) -> (Vec<Node>, Instances) {
    let mut random = Random::stream(seed, "clocks");
    let mut nodes = Vec::new();
    let mut instances = Instances::new();
    for chain in setup.chains() {
        let validators = &setup.validators(chain);
        let astray = random.index(validators.len());
        for (index, validator) in validators.iter().enumerate() {
            let clock = drawn_clock(scenario, &mut random, index == astray);
            instances.insert((chain, *validator), vec![nodes.len()]);
            nodes.push(Node {
                chain,
                place: u16::try_from(index).expect("at most 65,535 validators"),
                validator: *validator,
                clock,
                disk: Arc::new(Disk::on(&setup.shelf)),
                beacon_disk: Arc::new(Disk::on(&setup.shelf)),
                guard: Default::default(),
                tactics: Default::default(),
                bend: Default::default(),
                audience: None,
                process: None,
                lives: 0,
                figures: NodeFigures::default(),
            });
        }
    }
    crate::twist::cast(scenario, setup, seed, &mut nodes, &mut instances);
    (nodes, instances)
}

fn drawn_clock(scenario: &Scenario, random: &mut Random, astray: bool) -> Clock {
    let clocks = &scenario.clocks;
    let within = |random: &mut Random, most: u32| {
        let most = i64::from(most);
        i64::try_from(random.below(2 * most.unsigned_abs() + 1)).expect("below 2^33") - most
    };
    let (offset_ms, drift_ppm) = (within(random, clocks.skew_ms), within(random, clocks.drift_ppm));
    let offset_ms = if astray && clocks.astray_ms != 0 { clocks.astray_ms } else { offset_ms };
    Clock { offset_ms, drift_ppm }
}
