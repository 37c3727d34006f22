//! Which links are meant: by the names of nodes, of committees, and beginnings of names.

use crate::{
    error::{Error, Result},
    network::Network,
};
use kakera_chain::genesis::Role;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// The links between nodes. A name is a node's, `beacon` or `shard-N` (its committee), `all`, or a beginning of names
/// and a star, as in `beacon-*`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Between {
    /// These ...
    pub from: Vec<String>,
    /// ... and those; everybody else when empty.
    pub to: Vec<String>,
    /// Only what the former say to the latter.
    pub one_way: bool,
    /// With `to` empty: the links among `from` too.
    pub inside: bool,
}

impl Between {
    /// The links of some nodes to all others, both ways.
    pub fn around(names: &[&str]) -> Between {
        Between { from: names.iter().map(|name| (*name).to_owned()).collect(), ..Between::default() }
    }

    /// The links between two nodes or groups, both ways.
    pub fn pair(from: &str, to: &str) -> Between {
        Between { to: vec![to.to_owned()], ..Between::around(&[from]) }
    }

    /// What `from` says to `to`.
    pub fn one_way(from: &str, to: &str) -> Between {
        Between { one_way: true, ..Between::pair(from, to) }
    }
}

/// The directions that are meant, as pairs of places in the registry, in order.
pub fn select(network: &Network, between: &Between) -> Result<Vec<(usize, usize)>> {
    let from = places(network, &between.from)?;
    let all: BTreeSet<usize> = (0..network.processes().len()).collect();
    let everybody = from == all && between.to.is_empty();
    let to = if between.to.is_empty() {
        if between.inside || everybody { all } else { all.difference(&from).copied().collect() }
    } else {
        places(network, &between.to)?
    };
    let mut ways = BTreeSet::new();
    for &a in &from {
        for &b in to.iter().filter(|b| **b != a) {
            ways.insert((a, b));
            if !between.one_way {
                ways.insert((b, a));
            }
        }
    }
    Ok(ways.into_iter().collect())
}

fn places(network: &Network, names: &[String]) -> Result<BTreeSet<usize>> {
    let mut found = BTreeSet::new();
    for name in names {
        let meant = |index: &usize| is_meant(network, *index, name);
        let matching: Vec<usize> = (0..network.processes().len()).filter(meant).collect();
        if matching.is_empty() {
            let known = network.processes().iter().map(|process| process.name.clone());
            let groups = (0..network.shards()).map(|shard| format!("shard-{shard}"));
            let known: Vec<String> = known.chain(["all".to_owned(), "beacon".to_owned()]).chain(groups).collect();
            return Err(Error::UnknownProcess { name: name.clone(), known: known.join(", ") });
        }
        found.extend(matching);
    }
    Ok(found)
}

fn is_meant(network: &Network, index: usize, name: &str) -> bool {
    let process = &network.processes()[index];
    if let Some(beginning) = name.strip_suffix('*') {
        return process.name.starts_with(beginning);
    }
    if let Some(shard) = name.strip_prefix("shard-").and_then(|number| number.parse().ok()) {
        return process.shard == Some(shard);
    }
    match name {
        "all" => true,
        "beacon" => process.role == Role::Beacon,
        _ => process.name == name,
    }
}
