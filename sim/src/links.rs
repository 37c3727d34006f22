//! The network between nodes: how long what one says takes to reach another, and whether it does.

mod regions;

pub use regions::{REGIONS, region_latency_us};

use crate::{
    clock::Moment,
    random::{MILLION, Random},
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// How links behave. Chances are parts of a million.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Links {
    /// How long things take.
    pub latency: Latency,
    /// What a node can send at most, in bytes a second; 0: no limit.
    pub bandwidth: u64,
    /// Chance that something is lost.
    pub loss_ppm: u32,
    /// Chance that something arrives twice.
    pub duplicate_ppm: u32,
    /// Chance that something takes ten times as long.
    pub straggler_ppm: u32,
    /// Whether what one node says to another arrives in the order in which it was said, as over a TCP stream.
    pub ordered: bool,
}

/// How long something takes from one node to another, besides bandwidth.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Latency {
    /// Evenly distributed, in microseconds.
    Uniform {
        /// At least.
        least_us: u64,
        /// At most.
        most_us: u64,
    },
    /// Nodes are spread over [`REGIONS`]; a tenth of jitter on top.
    Regions,
}

impl Default for Links {
    fn default() -> Links {
        Links {
            latency: Latency::Uniform { least_us: 300, most_us: 2_000 },
            bandwidth: 0,
            loss_ppm: 0,
            duplicate_ppm: 0,
            straggler_ppm: 0,
            ordered: true,
        }
    }
}

/// The state of all links of a world.
#[derive(Debug)]
pub struct Wires {
    /// How links behave now.
    pub links: Links,
    random: Random,
    regions: Vec<usize>,
    /// When each node's uplink is free.
    uplink: Vec<Moment>,
    /// The last arrival of each ordered pair.
    last: BTreeMap<(usize, usize), Moment>,
    /// Ordered pairs that nothing passes.
    cut: BTreeSet<(usize, usize)>,
}

impl Wires {
    /// Links between `nodes` nodes. Regions are given out in turn, from a drawn beginning.
    pub fn new(links: Links, nodes: usize, mut random: Random) -> Wires {
        let mut regions: Vec<usize> = (0..nodes).map(|node| node % REGIONS.len()).collect();
        random.shuffle(&mut regions);
        Wires { links, random, regions, uplink: vec![Moment(0); nodes], last: BTreeMap::new(), cut: BTreeSet::new() }
    }

    /// A node's region, an index of [`REGIONS`].
    pub fn region(&self, node: usize) -> usize {
        self.regions[node]
    }

    /// Nothing said by `from` reaches `to` any more.
    pub fn cut(&mut self, from: usize, to: usize) {
        self.cut.insert((from, to));
    }

    /// It does again.
    pub fn mend(&mut self, from: usize, to: usize) {
        self.cut.remove(&(from, to));
    }

    /// All links are whole again.
    pub fn mend_all(&mut self) {
        self.cut.clear();
    }

    /// Whether a link is cut.
    pub fn is_cut(&self, from: usize, to: usize) -> bool {
        self.cut.contains(&(from, to))
    }

    /// When `bytes` that leave `from` at `at` arrive at `to`: never, once or twice.
    pub fn send(&mut self, at: Moment, from: usize, to: usize, bytes: usize) -> Vec<Moment> {
        let leaves = self.leave(at, from, bytes);
        if self.is_cut(from, to) || self.random.chance(self.links.loss_ppm) {
            return Vec::new();
        }
        let copies = 1 + usize::from(self.random.chance(self.links.duplicate_ppm));
        (0..copies).map(|_| self.arrive(leaves, from, to)).collect()
    }

    fn leave(&mut self, at: Moment, from: usize, bytes: usize) -> Moment {
        if self.links.bandwidth == 0 {
            return at;
        }
        let took = bytes as u64 * u64::from(MILLION) / self.links.bandwidth;
        let leaves = self.uplink[from].max(at).plus(took);
        self.uplink[from] = leaves;
        leaves
    }

    fn arrive(&mut self, leaves: Moment, from: usize, to: usize) -> Moment {
        let mut took = match self.links.latency {
            Latency::Uniform { least_us, most_us } => self.random.between(least_us, most_us),
            Latency::Regions => {
                let base = region_latency_us(self.regions[from], self.regions[to]);
                base + self.random.below(base / 10 + 1)
            }
        };
        if self.random.chance(self.links.straggler_ppm) {
            took *= 10;
        }
        let arrives = leaves.plus(took);
        if !self.links.ordered {
            return arrives;
        }
        let last = self.last.entry((from, to)).or_default();
        *last = arrives.max(*last);
        *last
    }
}

#[cfg(test)]
mod tests;
