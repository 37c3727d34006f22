//! Who holds a shard's state, and why: read off a certified beacon state, so that every node knows the same.
//!
//! A shard's state is held by the committee of its era, by those named for an era to come (they have an epoch to fetch
//! it), by those who sat in the era before (whoever fetches needs somebody who holds it), and by one validator that stands
//! by, in case all others are gone.

use kakera_beacon::BeaconState;
use kakera_chain::{
    hash::Hash,
    units::{ChainId, ShardId, ValidatorId},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

/// Why a validator holds a shard's state; the first that applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Duty {
    /// It sits in the committee of the shard's era.
    Member,
    /// It is named for an era that has not begun.
    Named,
    /// It sat in the era before; or its duty is over, and the state stays until others have shown that they hold it.
    Left,
    /// It stands by and keeps the state for whoever needs it.
    Keeper,
}

impl fmt::Display for Duty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Duty::Member => "member",
            Duty::Named => "named",
            Duty::Left => "left",
            Duty::Keeper => "keeper",
        })
    }
}

/// What decides about duties: while this stays, they stay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark(Vec<u64>);

impl Mark {
    /// Of a state.
    pub fn of(state: &BeaconState) -> Mark {
        let eras = state.shards.iter().flat_map(|record| [record.era.0, record.fallbacks]);
        // A key or an endpoint that becomes known has its place at the end of the registry.
        let registry = u64::try_from(state.registry.len()).unwrap_or(u64::MAX);
        Mark([state.epoch.0, registry].into_iter().chain(eras).collect())
    }
}

/// Whoever holds a shard's state by this beacon state, the committee first.
pub fn holders(state: &BeaconState, shard: ShardId) -> Vec<(ValidatorId, Duty)> {
    let mut found = BTreeMap::new();
    let Some(record) = state.shard(shard) else { return Vec::new() };
    let mut add = |ids: Vec<ValidatorId>, duty: Duty| {
        for id in ids {
            found.entry(id).or_insert(duty);
        }
    };
    let here = usize::from(shard.0);
    add(record.bench.0.clone(), Duty::Member);
    for benches in [&state.seating.current, &state.seating.next] {
        add(benches.shards.get(here).map(|bench| bench.0.clone()).unwrap_or_default(), Duty::Named);
    }
    let before = state.eras.range((ChainId::Shard(shard), kakera_chain::units::Epoch(0))..);
    let before = before.take_while(|((chain, epoch), _)| *chain == ChainId::Shard(shard) && *epoch < record.era);
    add(before.last().map(|(_, row)| row.iter().map(|(id, _)| *id).collect()).unwrap_or_default(), Duty::Left);
    if state.parameters.epochs.is_some() {
        add(keeper(state, shard).into_iter().collect(), Duty::Keeper);
    }
    let mut holders: Vec<(ValidatorId, Duty)> = found.into_iter().collect();
    holders.sort_by_key(|(id, duty)| (*duty, *id));
    holders
}

/// Whether the committee in office has shown that it holds a shard's state: the shard has followed into the epoch, and has
/// recorded a block of its own there. Until then whoever held the state before keeps it: the new ones fetch it from
/// somebody, and a committee that does not follow is replaced by others who do.
pub fn is_settled(state: &BeaconState, shard: ShardId) -> bool {
    state.shard(shard).is_none_or(|record| {
        record.era == state.epoch && (record.era.0 == 0 || record.last.header.height > record.root_height)
    })
}

/// The validator that stands by for a shard: of all that sit nowhere the one with the lowest hash, so that a change of
/// the others moves it seldom.
fn keeper(state: &BeaconState, shard: ShardId) -> Option<ValidatorId> {
    let in_office = state.shards.iter().flat_map(|record| &record.bench.0);
    let seated: BTreeSet<ValidatorId> = in_office.copied().chain(state.seating.current.seated()).collect();
    let standing_by = state.seating.shards.iter().map(|(id, _)| *id).filter(|id| !seated.contains(id));
    standing_by.min_by_key(|id| Hash::of(&[b"keeper", &shard.0.to_be_bytes(), &id.0.to_be_bytes()]).0)
}

/// Those who speak to each other about a chain: its committee, and those of this epoch and the next.
pub fn speakers(state: &BeaconState, chain: ChainId) -> BTreeSet<ValidatorId> {
    let benches = [&state.seating.current, &state.seating.next];
    match chain {
        ChainId::Beacon => benches.iter().flat_map(|benches| benches.beacon.iter().map(|(id, _)| *id)).collect(),
        ChainId::Shard(shard) => {
            let of = |benches: &&kakera_beacon::draw::Benches| {
                benches.shards.get(usize::from(shard.0)).map(|bench| bench.0.clone()).unwrap_or_default()
            };
            let named = benches.iter().flat_map(of);
            state
                .shard(shard)
                .map(|record| record.bench.0.clone())
                .unwrap_or_default()
                .into_iter()
                .chain(named)
                .collect()
        }
    }
}

/// What one validator holds.
pub fn duties(state: &BeaconState, me: ValidatorId) -> BTreeMap<ShardId, Duty> {
    let shards = (0..state.shards.len()).filter_map(|place| u16::try_from(place).ok()).map(ShardId);
    let mine = |shard| {
        let duty = holders(state, shard).into_iter().find(|(id, _)| *id == me)?.1;
        Some((shard, duty))
    };
    shards.filter_map(mine).collect()
}

#[cfg(test)]
mod tests;
