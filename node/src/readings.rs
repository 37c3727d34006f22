//! What each certified beacon block says to this process's shard, given to it in order.
//!
//! This process executes the beacon chain itself ([`crate::follow`]); a reading is made of the state after each block.

use crate::core::{ChainEvent, Core, Stopped};
use crate::store::RocksStore;
use kakera_beacon::{Beacon, emitted_at, receipts_toward, state_at};
use kakera_chain::{
    lanes::Reading,
    receipt::Reference,
    replica::{EraPlan, Replica},
    store::{Store, StoreFailure, Table},
    units::{Epoch, Height, ShardId},
};
use kakera_shard::{Input, Reply, Shard};
use std::sync::Arc;
use tokio::sync::broadcast::error::RecvError;

/// Readings given at once at most.
const AT_ONCE: u64 = 32;

/// Gives the shard all that the beacon says to it, until either stops.
pub async fn pass_on(beacon: Core<Beacon>, store: Arc<RocksStore>, core: Core<Shard>, shard: ShardId) {
    let mut events = beacon.events();
    loop {
        match give(&beacon, &store, &core, shard).await {
            Ok(true) => continue,
            Ok(false) => {}
            Err(Stopped) => return,
        }
        loop {
            match events.recv().await {
                Ok(ChainEvent::Certified { .. }) | Err(RecvError::Lagged(_)) => break,
                Ok(_) => {}
                Err(RecvError::Closed) => return,
            }
        }
    }
}

/// One step; whether there was something to give.
async fn give(
    beacon: &Core<Beacon>,
    store: &Arc<RocksStore>,
    core: &Core<Shard>,
    shard: ShardId,
) -> Result<bool, Stopped> {
    let (next, era) = core.query(|replica, _| (replica.app().tip().height.next(), replica.era().epoch)).await?;
    let store = Arc::clone(store);
    let read = beacon.query(move |replica, _| read(replica, &*store, shard, next, era)).await?;
    let (readings, plan) = read.map_err(|failure| {
        // Both were written by this process; one of them was put back, or lost more than the other can make good.
        tracing::error!(%failure, "the stores of beacon and shard have come apart: move the data directory away");
        Stopped
    })?;
    let given = !readings.is_empty();
    if given {
        match core.submit(Input::Beacon(readings)).await? {
            Reply::BeaconAdvanced(height) => tracing::debug!(%height, "the beacon is known further"),
            Reply::BeaconRefused(reason) => {
                tracing::error!(%reason, "the shard's view of the beacon chain is not what this process has executed");
                return Err(Stopped);
            }
            _ => return Err(Stopped),
        }
    }
    if let Some(plan) = plan {
        core.enter(plan).await?;
    }
    Ok(given)
}

/// The next readings, and the era that the last of them names if it is a new one.
fn read(
    replica: &Replica<Beacon>,
    store: &dyn Store,
    shard: ShardId,
    next: Height,
    era: Epoch,
) -> Result<(Vec<Reading>, Option<EraPlan>), StoreFailure> {
    let last = replica.certified().header.height.0.min(next.0.saturating_add(AT_ONCE - 1));
    let (mut readings, mut newest) = (Vec::new(), None);
    for height in (next.0..=last).map(Height) {
        let lacks = || StoreFailure { table: Table::State, reason: format!("no beacon state at height {height}") };
        let id = replica.certified_id(height).ok_or_else(lacks)?;
        let block = replica.block(&id).ok_or_else(lacks)?;
        let state = match replica.held(&id) {
            Some(held) => held.state.clone(),
            None => state_at(store, height)?.ok_or_else(lacks)?,
        };
        let receipts = receipts_toward(shard, &block, &emitted_at(store, height)?);
        let reference = Reference { height, slot: block.header.slot, id };
        readings.push(state.reading(shard, reference, receipts).ok_or_else(lacks)?);
        newest = Some(state);
    }
    let state = newest.unwrap_or_else(|| replica.certified().state.clone());
    let plan = state.era_of(shard, replica.app().signatures()).filter(|plan| plan.epoch > era);
    Ok((readings, plan))
}
