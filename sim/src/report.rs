//! How figures change as a network grows: one scenario in several sizes.

use crate::{
    campaign::{Campaign, Figures},
    scenario::Scenario,
};
use serde::Serialize;

/// One size of a network and what was measured in it.
#[derive(Clone, Debug, Serialize)]
pub struct Size {
    /// Shard chains.
    pub shards: u16,
    /// Members of each shard's committee.
    pub members: u16,
    /// Members of the beacon's committee.
    pub beacon: u16,
    /// Seeds run.
    pub seeds: u64,
    /// Those that failed.
    pub failed: u64,
    /// From a block's entry to its certification on shards: half of them, in ms.
    pub shard_finality_p50_ms: f64,
    /// And 95 of a hundred.
    pub shard_finality_p95_ms: f64,
    /// The same on the beacon.
    pub beacon_finality_p50_ms: f64,
    /// And 95 of a hundred.
    pub beacon_finality_p95_ms: f64,
    /// From order to certified block, half of them, in ms.
    pub order_final_p50_ms: f64,
    /// And 95 of a hundred.
    pub order_final_p95_ms: f64,
    /// From order to delivery on another shard: half of them, in ms.
    pub delivered_p50_ms: f64,
    /// And 95 of a hundred.
    pub delivered_p95_ms: f64,
    /// Orders made a second of load.
    pub ordered_per_second: f64,
    /// Orders that came to their end, a second of load.
    pub throughput_per_second: f64,
    /// Messages that a shard node sends a slot.
    pub shard_messages: f64,
    /// Bytes that a shard node sends a slot.
    pub shard_bytes: f64,
    /// Messages that a beacon node sends a slot.
    pub beacon_messages: f64,
    /// Bytes that a beacon node sends a slot.
    pub beacon_bytes: f64,
    /// Of a hundred blocks that entered a tree, those that were not certified.
    pub orphans_percent: f64,
    /// Of a hundred microseconds of virtual time, those in which a shard node worked.
    pub shard_busy_percent: f64,
    /// The same of a beacon node.
    pub beacon_busy_percent: f64,
    /// Microseconds that a seed's world took.
    pub took_us: u64,
}

/// Runs scenarios that differ in size, in their order; `each` hears of every seed.
pub fn grow(
    scenarios: &[Scenario],
    first: u64,
    seeds: u64,
    jobs: usize,
    worked_us: fn() -> u64,
    mut each: impl FnMut(),
) -> Vec<(Size, Figures)> {
    let campaign = Campaign { scenarios, first, seeds, jobs, keep_going: true, worked_us };
    let figures = campaign.run(|_| each());
    scenarios.iter().zip(figures).map(|(scenario, figures)| (size(scenario, &figures), figures)).collect()
}

/// The same scenario with other numbers of shards.
pub fn by_shards(base: &Scenario, shards: &[u16]) -> Vec<Scenario> {
    let with = |shards: &u16| {
        let mut scenario = base.clone();
        scenario.network.shards = *shards;
        scenario
    };
    shards.iter().map(with).collect()
}

/// The same scenario with other numbers of members in every committee, the beacon's too.
pub fn by_members(base: &Scenario, members: &[u16]) -> Vec<Scenario> {
    let with = |members: &u16| {
        let mut scenario = base.clone();
        (scenario.network.members, scenario.network.beacon) = (*members, *members);
        scenario
    };
    members.iter().map(with).collect()
}

#[allow(clippy::cast_precision_loss, reason = "figures for people")]
fn size(scenario: &Scenario, figures: &Figures) -> Size {
    let measures = &figures.measures;
    let (shape, phases) = (&scenario.network, &scenario.phases);
    let part = |part: u64, of: f64| if of > 0.0 { part as f64 / of } else { 0.0 };
    let ms = |us: u64| us as f64 / 1_000.0;
    let load = figures.seeds as f64 * (phases.load_until() as f64 / 1_000.0);
    // Each seed's nodes are counted in `nodes`.
    let slots = |nodes: u64, slot_ms: u64| nodes as f64 * phases.end() as f64 / slot_ms as f64;
    let shard = slots(measures.nodes.0, shape.slot_ms);
    let beacon = slots(measures.nodes.1, shape.beacon_slot_ms);
    let time = |nodes: u64| nodes as f64 * phases.end() as f64 * 1_000.0;
    Size {
        shards: shape.shards,
        members: shape.members,
        beacon: shape.beacon,
        seeds: figures.seeds,
        failed: figures.failures.len() as u64,
        shard_finality_p50_ms: ms(measures.shard_finality.percentile(50)),
        shard_finality_p95_ms: ms(measures.shard_finality.percentile(95)),
        beacon_finality_p50_ms: ms(measures.beacon_finality.percentile(50)),
        beacon_finality_p95_ms: ms(measures.beacon_finality.percentile(95)),
        order_final_p50_ms: ms(measures.order_final.percentile(50)),
        order_final_p95_ms: ms(measures.order_final.percentile(95)),
        delivered_p50_ms: ms(measures.order_delivered.percentile(50)),
        delivered_p95_ms: ms(measures.order_delivered.percentile(95)),
        ordered_per_second: part(measures.ordered, load),
        throughput_per_second: part(measures.ended, load),
        shard_messages: part(measures.shard_messages, shard),
        shard_bytes: part(measures.shard_bytes, shard),
        beacon_messages: part(measures.beacon_messages, beacon),
        beacon_bytes: part(measures.beacon_bytes, beacon),
        orphans_percent: part(100 * measures.orphans, (measures.orphans + figures.blocks()) as f64),
        shard_busy_percent: part(100 * measures.busy_us.0, time(measures.nodes.0)),
        beacon_busy_percent: part(100 * measures.busy_us.1, time(measures.nodes.1)),
        took_us: figures.took_us / figures.seeds.max(1),
    }
}
