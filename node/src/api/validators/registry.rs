//! The registry on the wire: validators with their stake and seats, and what slashed ones lost it for.

use super::{PAGE, Snapshot, chain_words, name};
use kakera_beacon::{BeaconState, Status, Validator, draw::Row};
use kakera_chain::{
    evidence::Offence,
    genesis::{Network, Role},
    keys::PublicKey,
    units::{ChainId, ShardId, ValidatorId},
};
use kakera_proto::v1;
use std::collections::BTreeMap;

/// Seats of each validator, chain by chain.
type Seated = BTreeMap<ValidatorId, Vec<v1::ChainSeats>>;

/// A page of the registry from a number on, or the one with a key.
pub(super) fn list(
    network: &Network,
    snapshot: &Snapshot,
    from: ValidatorId,
    key: Option<PublicKey>,
) -> v1::ListValidatorsResponse {
    let state = &snapshot.state;
    let found = key.map(|key| state.registry.by_key(&key));
    let wanted = |id: &ValidatorId| *id >= from && found.is_none_or(|found| found == Some(*id));
    let mut wanted = state.registry.iter().filter(|(id, _)| wanted(id));
    let page: Vec<_> = wanted.by_ref().take(PAGE).collect();
    let (seated, named, queued) = (in_office(state), next(state), queued(state));
    let seats = |seats: &Seated, id: &ValidatorId| seats.get(id).cloned().unwrap_or_default();
    let shown = page.into_iter().map(|(id, validator)| {
        let (joining_seats, seats_ahead) = queued.get(&id).copied().unwrap_or_default();
        v1::Validator {
            id: id.0,
            name: name(network, id),
            seated: seats(&seated, &id),
            named: seats(&named, &id),
            joining_seats,
            seats_ahead,
            ..shown(validator)
        }
    });
    let validators: Vec<v1::Validator> = shown.collect();
    let next = wanted.next().map_or(0, |(id, _)| id.0);
    v1::ListValidatorsResponse { height: snapshot.height.0, epoch: state.epoch.0, validators, next }
}

fn shown(validator: &Validator) -> v1::Validator {
    let (status, status_epoch, begun) = status(&validator.status);
    let role = match validator.role {
        Role::Beacon => "beacon",
        Role::Shard => "shard",
    };
    v1::Validator {
        role: role.to_owned(),
        key: validator.key.0.to_vec(),
        seats: validator.seats,
        endpoint: validator.endpoint.clone(),
        owner: validator.owner.to_string(),
        status: status.to_owned(),
        status_epoch,
        begun,
        stake: validator.stake,
        rewards: validator.rewards,
        last_seated: validator.seated.0,
        ..v1::Validator::default()
    }
}

/// The word for a status, its epoch, and from when on one that leaves is not drawn.
fn status(status: &Status) -> (&'static str, u64, Option<u64>) {
    match *status {
        Status::Active => ("active", 0, None),
        Status::Pending { since } => ("pending", since.0, None),
        Status::Suspended { since } => ("suspended", since.0, None),
        Status::Exiting { since, begun } => ("exiting", since.0, begun.map(|begun| begun.0)),
        Status::Withdrawable { at } => ("withdrawable", at.0, None),
        Status::Withdrawn { at } => ("withdrawn", at.0, None),
        Status::Slashed { at, .. } => ("slashed", at.0, None),
    }
}

fn seated(rows: impl Iterator<Item = (ChainId, Row)>) -> Seated {
    let mut seated = Seated::new();
    for (chain, row) in rows {
        let (role, shard) = chain_words(chain);
        for (id, seats) in row {
            seated.entry(id).or_default().push(v1::ChainSeats { role: role.clone(), shard, seats });
        }
    }
    seated
}

/// Who sits in the eras that chains are in: not yet this epoch's committee where a shard has not followed.
fn in_office(state: &BeaconState) -> Seated {
    let shards = (0..).map(ShardId).zip(&state.shards).map(|(shard, record)| (shard, record.bench.seats()));
    let shards = shards.map(|(shard, row)| (ChainId::Shard(shard), row));
    seated(std::iter::once((ChainId::Beacon, state.seating.current.beacon.clone())).chain(shards))
}

fn next(state: &BeaconState) -> Seated {
    let next = &state.seating.next;
    let shards = (0..).map(ShardId).zip(&next.shards);
    let shards = shards.map(|(shard, bench)| (ChainId::Shard(shard), bench.seats()));
    seated(std::iter::once((ChainId::Beacon, next.beacon.clone())).chain(shards))
}

/// Each validator's seats that wait to become active, and those of others before its first one.
fn queued(state: &BeaconState) -> BTreeMap<ValidatorId, (u32, u64)> {
    let mut queued = BTreeMap::<ValidatorId, (u32, u64)>::new();
    let mut ahead = 0u64;
    for joining in state.registry.joining() {
        let (seats, _) = queued.entry(joining.validator).or_insert((0, ahead));
        *seats = seats.saturating_add(joining.seats);
        ahead = ahead.saturating_add(joining.seats.into());
    }
    queued
}

/// A page of those who lost their stake, from a number on.
pub(super) fn slashings(network: &Network, state: &BeaconState, from: ValidatorId) -> v1::SlashingsResponse {
    let mut all = state.registry.iter().filter(|(id, _)| *id >= from);
    let mut found = all.by_ref().filter_map(|(id, validator)| slashing(network, id, validator));
    let slashings: Vec<v1::Slashing> = found.by_ref().take(PAGE).collect();
    let next = found.next().map_or(0, |slashing| slashing.validator);
    v1::SlashingsResponse { slashings, next }
}

fn slashing(network: &Network, id: ValidatorId, validator: &Validator) -> Option<v1::Slashing> {
    let Status::Slashed { at, from, seq } = validator.status else { return None };
    let from_shard = chain_words(from).1;
    let blank = v1::Slashing {
        validator: id.0,
        name: name(network, id),
        key: validator.key.0.to_vec(),
        at_epoch: at.0,
        from_shard,
        receipt_seq: seq,
        ..v1::Slashing::default()
    };
    let Some(told) = validator.slashing else { return Some(blank) };
    let (role, shard) = chain_words(told.chain);
    let (offence, seq, (low, high)) = match told.act {
        Offence::Equivocation { seq } => ("equivocation", seq, (0, 0)),
        Offence::ConflictingFinality { low, high } => ("conflicting-finality", 0, (low.0, high.0)),
    };
    Some(v1::Slashing {
        role,
        shard,
        epoch: told.epoch.0,
        offence: offence.to_owned(),
        seq,
        low_height: low,
        high_height: high,
        reporter: told.reporter.to_string(),
        reporter_share: told.reporter_share,
        burned: told.burned,
        ..blank
    })
}
