//! What each certified beacon block says to a hosted shard, given to it in order.
//!
//! This process executes the beacon chain itself ([`crate::follow`]); a reading is made of the state after each block.
//! Where a state names the shard a new era, its plan is given with the reading: every one, in order, because each is
//! entered on its own root.

use crate::{
    core::{ChainEvent, Core, Stopped},
    hosts::Told,
    store::RocksStore,
};
use kakera_beacon::{Beacon, BeaconState, certificates_of, emitted_at, receipts_toward, state_at};
use kakera_chain::{
    certificate::Certificate,
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

/// What is read, and to whom.
#[derive(Clone)]
pub struct Reader {
    /// The beacon chain here.
    pub beacon: Core<Beacon>,
    /// Its store.
    pub store: Arc<RocksStore>,
    /// The shard's replica.
    pub core: Core<Shard>,
    /// Which.
    pub shard: ShardId,
    /// How far it has been read.
    pub told: Told,
}

/// Why nothing more is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// One of the two cores has stopped.
    Stopped,
    /// What the shard would have to be read next is not held any more.
    Lacks(StoreFailure),
}

impl From<Stopped> for Ended {
    fn from(Stopped: Stopped) -> Ended {
        Ended::Stopped
    }
}

/// Gives the shard all that the beacon says to it, until either stops or what comes next is not held any more.
pub async fn pass_on(reader: Reader) -> Ended {
    let mut events = reader.beacon.events();
    let ended = match reader.give_all(&mut events).await {
        Ok(never) => match never {},
        Err(ended) => ended,
    };
    // Nobody waits for a reader that reads no more.
    reader.told.up_to(u64::MAX);
    ended
}

impl Reader {
    async fn give_all(
        &self,
        events: &mut tokio::sync::broadcast::Receiver<ChainEvent>,
    ) -> Result<std::convert::Infallible, Ended> {
        let (tip, era) = self.core.query(|replica, _| (replica.app().tip().height, replica.era().epoch)).await?;
        let (store, shard) = (Arc::clone(&self.store), self.shard);
        // The era that the tip names may not have been entered before the process ended.
        let plans = self.beacon.query(move |replica, _| named(replica, &*store, shard, tip, era)).await?;
        let mut known = era;
        for plan in plans.map_err(Ended::Lacks)? {
            known = plan.epoch;
            self.core.enter(plan).await?;
        }
        self.told.up_to(tip.0);
        let mut next = tip.next();
        loop {
            while self.give(&mut next, &mut known).await? {}
            loop {
                match events.recv().await {
                    Ok(ChainEvent::Certified { .. }) | Err(RecvError::Lagged(_)) => break,
                    Ok(ChainEvent::Ended) | Err(RecvError::Closed) => return Err(Ended::Stopped),
                    Ok(_) => {}
                }
            }
        }
    }

    /// One step; whether there was something to give.
    async fn give(&self, next: &mut Height, known: &mut Epoch) -> Result<bool, Ended> {
        let (store, shard, from, era) = (Arc::clone(&self.store), self.shard, *next, *known);
        let read = self.beacon.query(move |replica, _| read(replica, &*store, shard, from, era)).await?;
        let Read { readings, certificates, plan } = read.map_err(Ended::Lacks)?;
        let Some(last) = readings.last().map(|reading| reading.reference.height) else { return Ok(false) };
        // Before the readings are kept: who is killed between the two reads both again.
        if !certificates.is_empty() {
            self.core.record(certificates).await?;
        }
        match self.core.submit(Input::Beacon(readings)).await? {
            Reply::BeaconAdvanced(height) => {
                tracing::debug!(%height, shard = %self.shard, "the beacon is known further")
            }
            Reply::BeaconRefused(reason) => {
                let reason = format!("the shard's view of the beacon chain is not what is executed here: {reason}");
                return Err(Ended::Lacks(StoreFailure { table: Table::Beacon, reason }));
            }
            _ => return Err(Ended::Stopped),
        }
        if let Some(plan) = plan {
            *known = plan.epoch;
            self.core.enter(plan).await?;
        }
        self.told.up_to(last.0);
        *next = last.next();
        Ok(true)
    }
}

/// The beacon state after a certified block, in memory or in the store.
fn state_after(replica: &Replica<Beacon>, store: &dyn Store, height: Height) -> Result<BeaconState, StoreFailure> {
    let lacks = || StoreFailure { table: Table::State, reason: format!("no beacon state at height {height}") };
    let certified = replica.certified();
    if certified.header.height == height {
        return Ok(certified.state.clone());
    }
    let held = replica.certified_id(height).and_then(|id| replica.held(&id).map(|held| held.state.clone()));
    match held {
        Some(state) => Ok(state),
        None => state_at(store, height)?.ok_or_else(lacks),
    }
}

/// The era that the state at `tip` names, if it is later than `era`; nothing of a state that is not held, unless an era
/// may have been named since.
fn named(
    replica: &Replica<Beacon>,
    store: &dyn Store,
    shard: ShardId,
    tip: Height,
    era: Epoch,
) -> Result<Vec<EraPlan>, StoreFailure> {
    let newest = replica.certified().state.shard(shard).map_or(era, |record| record.era);
    if newest <= era {
        return Ok(Vec::new());
    }
    let state = state_after(replica, store, tip)?;
    Ok(plan(&state, replica, shard, era).into_iter().collect())
}

fn plan(state: &BeaconState, replica: &Replica<Beacon>, shard: ShardId, era: Epoch) -> Option<EraPlan> {
    state.shard(shard).filter(|record| record.era > era)?;
    state.era_of(shard, replica.app().signatures())
}

/// What certified beacon blocks say to a shard.
#[derive(Default)]
struct Read {
    readings: Vec<Reading>,
    /// What they record of it.
    certificates: Vec<Certificate>,
    /// The era that the last of them names.
    plan: Option<EraPlan>,
}

/// The next readings, up to one that names an era after `era`.
fn read(
    replica: &Replica<Beacon>,
    store: &dyn Store,
    shard: ShardId,
    next: Height,
    era: Epoch,
) -> Result<Read, StoreFailure> {
    let last = replica.certified().header.height.0.min(next.0.saturating_add(AT_ONCE - 1));
    let mut all = Read::default();
    for height in (next.0..=last).map(Height) {
        let lacks = || StoreFailure { table: Table::Blocks, reason: format!("no beacon block at height {height}") };
        let id = replica.certified_id(height).ok_or_else(lacks)?;
        let block = replica.block(&id).ok_or_else(lacks)?;
        let state = state_after(replica, store, height)?;
        let receipts = receipts_toward(shard, &block, &emitted_at(store, height)?);
        let reference = Reference { height, slot: block.header.slot, id };
        all.readings.push(state.reading(shard, reference, receipts).ok_or_else(lacks)?);
        all.certificates.extend(certificates_of(shard, &block));
        all.plan = plan(&state, replica, shard, era);
        if all.plan.is_some() {
            break;
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests;
