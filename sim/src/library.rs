//! The scenarios that come with the crate: files of `sim/scenarios`, part of the program.

use crate::scenario::Scenario;

/// Names and files of scenarios.
type Files = &'static [(&'static str, &'static str)];

macro_rules! files {
    ($($name:literal)*) => {
        &[$(($name, include_str!(concat!("../scenarios/", $name, ".toml")))),*]
    };
}

/// What befalls honest members: links, processes, disks, clocks, load.
const HONEST: Files = files![
    "calm"
    "wan"
    "lossy"
    "disorder"
    "bandwidth"
    "busy"
    "partition-halves"
    "partition-one"
    "partition-one-way"
    "flapping-links"
    "beacon-cut-off"
    "shard-cut-off"
    "crashes"
    "crashes-of-many"
    "blackout"
    "pauses"
    "damage"
    "restores"
    "clock-skew"
    "clock-drift"
    "clock-astray"
    "back-pressure"
    "expiry"
    "odd-orders"
    "everything"
    "seven-members"
    "many-shards"
    "growth"
];

/// Committees that follow each other.
const EPOCHS: Files = files![
    "rotation"
    "rotation-of-many"
    "sampled-beacon"
    "sampled-beacon-faults"
    "rotation-faults"
    "rotation-byzantine"
    "rotation-everything"
    "dead-committee"
    "slashing"
    "slashing-faults"
    "newcomers"
    "newcomers-faults"
];

/// Members that do not keep the rules.
const BYZANTINE: Files = files![
    "just-under"
    "just-over"
    "equivocate-halves"
    "equivocate-each"
    "withhold-votes"
    "withhold-blocks"
    "invalid-state"
    "censor"
    "skip-receipts"
    "reorder-receipts"
    "forge-certificates"
    "corrupt-answers"
    "replay"
    "silent"
    "mint"
];

/// A scenario of the library.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Its file's text.
    pub toml: &'static str,
    /// What that says.
    pub scenario: Scenario,
}

/// All scenarios, in the order of their lists.
///
/// # Panics
/// Never: a test reads every file.
pub fn all() -> Vec<Entry> {
    HONEST.iter().chain(BYZANTINE).chain(EPOCHS).map(|(name, toml)| entry(name, toml)).collect()
}

/// The scenario of a name.
pub fn find(name: &str) -> Option<Entry> {
    HONEST.iter().chain(BYZANTINE).chain(EPOCHS).find(|(known, _)| *known == name).map(|(name, toml)| entry(name, toml))
}

fn entry(name: &str, toml: &'static str) -> Entry {
    let scenario = Scenario::parse(toml).unwrap_or_else(|error| panic!("{name}.toml: {error}"));
    Entry { toml, scenario }
}

#[cfg(test)]
mod tests;
