//! What a run measures.

use crate::{
    clock::Moment,
    node::Node,
    rules::Certified,
    setup::Setup,
    twist::evidence,
    workload::{Fate, Workload},
};
use kakera_beacon::{BeaconState, Registry, Status};
use kakera_chain::{
    BlockId,
    units::{ChainId, Height, ValidatorId},
};
use kakera_shard::ShardState;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// What a run measured. Times in microseconds of virtual time.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Measures {
    /// Orders made that should succeed.
    pub ordered: u64,
    /// Of them those whose block was certified.
    pub finalized: u64,
    /// Those that came to their end: executed, and everything sent was delivered or returned.
    pub ended: u64,
    /// Payments that returned.
    pub returned: u64,
    /// From order to certified block.
    pub order_final: Times,
    /// From order to recorded crosslink.
    pub order_recorded: Times,
    /// From order to the last delivery, of orders that cross shards.
    pub order_delivered: Times,
    /// From a block's entry at the first node to its certification, at every honest node: shards.
    pub shard_finality: Times,
    /// The same on the beacon.
    pub beacon_finality: Times,
    /// Certified blocks of each chain.
    pub blocks: BTreeMap<String, u64>,
    /// Blocks that entered a tree and were not certified at the end of the run, of all chains.
    pub orphans: u64,
    /// Eras that any honest node entered, the first ones included, of all chains.
    pub eras: u64,
    /// Committees replaced because they did not follow.
    pub fallbacks: u64,
    /// Certified blocks that roots left out, each counted once.
    pub left_out: u64,
    /// Validators that came while the network ran.
    pub bonded: u64,
    /// Validators that left and were paid their stake.
    pub paid_out: u64,
    /// Validators that lost their stake.
    pub slashed: u64,
    /// Processes killed.
    pub crashes: u64,
    /// Batches lost with them.
    pub lost_batches: u64,
    /// Disks that had to be replaced.
    pub replaced_disks: u64,
    /// Replicas that halted.
    pub halted: u64,
    /// Things that peers, followers and beacon nodes refused, all together.
    pub refused: u64,
    /// The same by kind: who gave it (a peer, a feed, a crosslink) and why it was refused.
    pub refusals: BTreeMap<String, u64>,
    /// What Byzantine members did, by kind.
    pub twists: BTreeMap<String, u64>,
    /// By chain the weight of the members that honest nodes together can show to have equivocated.
    pub evidence_weight: BTreeMap<String, u64>,
    /// By chain the weight of the members that every running honest node holds evidence against.
    pub convicted_weight: BTreeMap<String, u64>,
    /// Whether two branches of a chain were certified, and evidence shows who did it.
    pub broken: bool,
    /// By chain when a block was last certified anywhere, in microseconds.
    pub last_certified_us: BTreeMap<String, u64>,
    /// Messages sent, by all shard nodes.
    pub shard_messages: u64,
    /// Their bytes.
    pub shard_bytes: u64,
    /// Messages sent by all beacon nodes.
    pub beacon_messages: u64,
    /// Their bytes.
    pub beacon_bytes: u64,
    /// Microseconds of virtual work by all shard nodes, and by all beacon nodes.
    pub busy_us: (u64, u64),
    /// Shard nodes and beacon nodes.
    pub nodes: (u64, u64),
    /// Signatures checked, and verdicts recalled.
    pub signatures: (u64, u64),
    #[serde(skip)]
    came: BTreeSet<ValidatorId>,
    #[serde(skip)]
    left: BTreeSet<ValidatorId>,
    #[serde(skip)]
    lost: BTreeSet<BlockId>,
    #[serde(skip)]
    entered: BTreeMap<BlockId, Moment>,
}

/// Times of many events.
#[derive(Clone, Debug, Default)]
pub struct Times(Vec<u32>);

impl Times {
    /// Adds one, in microseconds.
    pub fn add(&mut self, us: u64) {
        self.0.push(u32::try_from(us).unwrap_or(u32::MAX));
    }

    /// Adds all of another.
    pub fn join(&mut self, other: &Times) {
        self.0.extend_from_slice(&other.0);
    }

    /// How many.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The time that `percent` of a hundred stay within; 0 if there are none.
    pub fn percentile(&self, percent: usize) -> u64 {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let index = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
        sorted.get(index).copied().unwrap_or_default().into()
    }
}

impl Serialize for Times {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct;
        let mut fields = serializer.serialize_struct("Times", 4)?;
        fields.serialize_field("count", &self.count())?;
        fields.serialize_field("p50_us", &self.percentile(50))?;
        fields.serialize_field("p95_us", &self.percentile(95))?;
        fields.serialize_field("max_us", &self.percentile(100))?;
        fields.end()
    }
}

impl Measures {
    /// A block entered the tree of some node.
    pub fn included(&mut self, now: Moment, id: BlockId) {
        self.entered.entry(id).or_insert(now);
    }

    /// Certified blocks were taken back at an honest node.
    pub fn undone(&mut self, blocks: &[(Height, BlockId)]) {
        self.lost.extend(blocks.iter().map(|(_, id)| *id));
        self.left_out = self.lost.len() as u64;
    }

    fn age(&self, now: Moment, id: &BlockId) -> Option<u64> {
        self.entered.get(id).map(|entered| now.since(*entered))
    }

    /// A Byzantine member did something.
    pub fn acted(&mut self, what: &str) {
        match self.twists.get_mut(what) {
            Some(count) => *count += 1,
            None => drop(self.twists.insert(what.to_owned(), 1)),
        }
    }

    /// Something was refused: its kind is the first words of what the reason prints as.
    pub fn refused_as(&mut self, source: &str, reason: &impl std::fmt::Debug) {
        self.refused += 1;
        let words = format!("{reason:?}");
        let mut kinds = words.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).take(2);
        let mut kind = format!("{source} {}", kinds.next().unwrap_or_default());
        // A reason within a reason is named as well; a field is not.
        if let Some(inner) = kinds.next().filter(|word| word.starts_with(char::is_uppercase)) {
            kind = format!("{kind} {inner}");
        }
        *self.refusals.entry(kind).or_default() += 1;
    }

    /// Who can be shown to be guilty, at the end of a world.
    pub fn guilt(&mut self, nodes: &[Node], setup: &Setup) {
        if nodes.iter().all(Node::is_honest) {
            return;
        }
        for (chain, proven) in evidence::proven(setup, nodes) {
            let weight = evidence::weight(setup, chain, &proven);
            self.evidence_weight.insert(chain.to_string(), weight);
            let honest = nodes.iter().filter(|node| node.chain == chain && node.is_honest());
            let convicted = honest.filter_map(|node| evidence::convicted(setup, node)).min();
            self.convicted_weight.insert(chain.to_string(), convicted.unwrap_or_default());
        }
    }

    fn certified_at(&mut self, now: Moment, chain: ChainId) {
        self.last_certified_us.insert(chain.to_string(), now.0);
    }

    /// A shard's block became certified at an honest node.
    pub fn certified_shard(&mut self, now: Moment, certified: &Certified<ShardState>) {
        self.certified_at(now, certified.block.header.chain);
        if let Some(age) = self.age(now, &certified.id) {
            self.shard_finality.add(age);
        }
    }

    /// A beacon block became certified at an honest node.
    pub fn certified_beacon(&mut self, now: Moment, certified: &Certified<BeaconState>, setup: &Setup) {
        self.certified_at(now, ChainId::Beacon);
        self.look_at_stake(&certified.executed.state.registry, setup);
        let fallbacks = certified.executed.state.shards.iter().map(|record| record.fallbacks).sum();
        self.fallbacks = self.fallbacks.max(fallbacks);
        if let Some(age) = self.age(now, &certified.id) {
            self.beacon_finality.add(age);
        }
    }

    /// Who has come, left and lost its stake. Those that are gone are forgotten by the registry after a while, but not here.
    fn look_at_stake(&mut self, registry: &Registry, setup: &Setup) {
        if registry.terms().is_none() {
            return;
        }
        let newcomers = setup.newcomers();
        self.came.extend(newcomers.into_iter().filter(|id| registry.get(*id).is_some()));
        let gone = registry.iter().filter(|(_, validator)| matches!(validator.status, Status::Withdrawn { .. }));
        self.left.extend(gone.map(|(id, _)| id));
        self.slashed = self.slashed.max(registry.slashed().len() as u64);
        (self.bonded, self.paid_out) = (self.came.len() as u64, self.left.len() as u64);
    }

    /// Sums up what nodes and clients counted.
    pub fn finish(&mut self, nodes: &[Node], workload: &Workload, setup: &Setup) {
        for order in workload.orders.iter().filter(|order| order.fate == Fate::Succeeds) {
            self.ordered += 1;
            self.returned += u64::from(order.returned);
            if let Some(at) = order.final_at {
                self.finalized += 1;
                self.order_final.add(at.since(order.made));
            }
            if let Some(at) = order.recorded_at {
                self.order_recorded.add(at.since(order.made));
            }
            if let Some(at) = order.ended_at {
                self.ended += 1;
                if !order.receipts.is_empty() {
                    self.order_delivered.add(at.since(order.made));
                }
            }
        }
        let mut certified = 0;
        for chain in setup.chains() {
            let blocks = workload.certified(chain).0;
            certified += blocks;
            self.blocks.insert(chain.to_string(), blocks);
        }
        self.orphans = (self.entered.len() as u64).saturating_sub(certified);
        for node in nodes {
            let figures = &node.figures;
            if node.chain == ChainId::Beacon {
                self.beacon_messages += figures.messages;
                self.beacon_bytes += figures.bytes;
                self.busy_us.1 += figures.busy_us;
                self.nodes.1 += 1;
            } else {
                self.shard_messages += figures.messages;
                self.shard_bytes += figures.bytes;
                self.busy_us.0 += figures.busy_us;
                self.nodes.0 += 1;
            }
        }
        self.signatures = setup.memory.counts();
    }
}
