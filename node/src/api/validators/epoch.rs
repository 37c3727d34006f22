//! The epoch on the wire: what its committees are drawn from, who sits in them, and which era each shard is in.

use super::{Snapshot, name};
use kakera_beacon::{BeaconState, ShardRecord, draw::Row};
use kakera_chain::{
    genesis::Network,
    units::{Epoch, ShardId},
};
use kakera_proto::v1;

/// Seats of all committees whose holders are told in one answer.
const SEATS_TOLD: usize = 4_096;

/// The epoch as a state knows it; of one shard, or of all.
pub(super) fn epoch(network: &Network, snapshot: &Snapshot, only: Option<ShardId>) -> v1::EpochState {
    let state = &snapshot.state;
    let epochs = state.parameters.epochs;
    let seats: usize = state.shards.iter().map(|record| record.bench.0.len()).sum();
    let left_out = only.is_none() && seats + state.seating.current.beacon.len() > SEATS_TOLD;
    let told = |row: &Row| if left_out { Vec::new() } else { holders(network, row) };
    let shards = (0..).map(ShardId).zip(&state.shards).filter(|(shard, _)| only.is_none_or(|only| only == *shard));
    let begin = epochs.map_or(0, |epochs| epochs.start_of(Epoch(state.epoch.0)).0);
    v1::EpochState {
        height: snapshot.height.0,
        epoch: state.epoch.0,
        slot: snapshot.slot.0,
        slot_in_epoch: snapshot.slot.0.saturating_sub(begin),
        slots_an_epoch: epochs.map_or(0, |epochs| epochs.slots),
        fallback_slots: epochs.map_or(0, |epochs| epochs.fallback_slots),
        rotation_per_mille: epochs.map_or(0, |epochs| epochs.rotation_per_mille.into()),
        unbonding: epochs.map_or(0, |epochs| epochs.unbonding),
        turned_at: state.turned_at.0,
        seed: state.seed.to_string(),
        next_seed: state.seating.next_seed.to_string(),
        mix: state.mix.0.to_string(),
        beacon: told(&state.seating.current.beacon),
        beacon_next: told(&state.seating.next.beacon),
        shards: shards.map(|(shard, record)| shard_epoch(state, shard, record, told)).collect(),
        left_out,
    }
}

fn shard_epoch(
    state: &BeaconState,
    shard: ShardId,
    record: &ShardRecord,
    told: impl Fn(&Row) -> Vec<v1::SeatHolder>,
) -> v1::ShardEpoch {
    let place = usize::from(shard.0);
    let drawn = |benches: &kakera_beacon::draw::Benches| {
        benches.shards.get(place).map(|bench| told(&bench.seats())).unwrap_or_default()
    };
    v1::ShardEpoch {
        shard: shard.0.into(),
        era: record.era.0,
        root: record.root.0.to_vec(),
        root_height: record.root_height.0,
        fallbacks: record.fallbacks,
        committee: told(&record.bench.seats()),
        drawn: drawn(&state.seating.current),
        next: drawn(&state.seating.next),
    }
}

fn holders(network: &Network, row: &Row) -> Vec<v1::SeatHolder> {
    let holder = |(id, seats): &(kakera_chain::units::ValidatorId, u32)| v1::SeatHolder {
        validator: id.0,
        name: name(network, *id),
        seats: *seats,
    };
    row.iter().map(holder).collect()
}
