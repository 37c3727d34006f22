//! What this process hosts, as the certified beacon state says: it starts and stops shards, has their state handed over
//! (`fetching.rs`), and knows whom to speak with about what (`address.rs`).
//!
//! ```text
//!   beacon state ──> duties ──┬─> held already: start      ├─> new: fetch its state, then start
//!                             └─> no longer: stop, and let the data go     ways and peers: as the state names them
//! ```

use super::{
    Failure, Origin,
    beacon::BeaconChain,
    fetching::Fetching,
    host::{First, Ground, News, Running, stop_all},
};
use crate::{
    core::{ChainEvent, now},
    duties::{Duty, Mark, duties, is_settled},
    peers::Peers,
    ways::Ways,
};
use kakera_beacon::BeaconState;
use kakera_chain::{
    Slot,
    genesis::Role,
    units::{ChainId, Height, ShardId, ValidatorId},
};
use kakera_shard::{first_reading, handover::unfinished};
use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};
use tokio::{
    sync::{broadcast::error::RecvError, mpsc},
    time::interval,
};

/// How often it is looked for what no change of the state brings about.
const LOOK: Duration = Duration::from_secs(5);
/// A shard that follows and stands below what is recorded for this long is fetched anew.
const STUCK: Duration = Duration::from_secs(45);
/// A beacon state whose block is older than this many slots, and half an epoch, decides about nothing.
const FRESH_SLOTS: u64 = 32;

/// The process's standing.
pub(super) struct Director {
    pub(super) ground: Ground,
    pub(super) beacon: Arc<BeaconChain>,
    /// Set once this process speaks on the beacon chain.
    pub(super) beacon_peers: Arc<OnceLock<Peers>>,
    pub(super) origin: Arc<Origin>,
    pub(super) role: Role,
    pub(super) ways: Ways,
    pub(super) news: mpsc::Receiver<News>,
    pub(super) running: BTreeMap<ShardId, Running>,
    /// How often each was started.
    starts: BTreeMap<ShardId, u16>,
    pub(super) fetching: Fetching,
    mark: Option<Mark>,
    /// Who held each shard's state since its committee last showed that it does, the present holders first.
    pub(super) held_by: BTreeMap<ShardId, Vec<ValidatorId>>,
    /// Of shards that follow: the certified height, and since when it is that.
    pub(super) heights: BTreeMap<ShardId, (Height, Instant)>,
    restored: bool,
    /// Whether the beacon chain is known here from its first block on.
    from_genesis: bool,
}

/// What a look at the beacon state finds.
pub(super) struct Look {
    pub(super) state: BeaconState,
    slot: Slot,
}

impl Director {
    /// One that has begun nothing.
    pub(super) fn new(
        ground: Ground,
        beacon: Arc<BeaconChain>,
        origin: Arc<Origin>,
        (role, ways): (Role, Ways),
        news: mpsc::Receiver<News>,
        restored: bool,
    ) -> Director {
        Director {
            ground,
            beacon,
            beacon_peers: Arc::default(),
            origin,
            role,
            ways,
            news,
            running: BTreeMap::new(),
            starts: BTreeMap::new(),
            fetching: Fetching::default(),
            mark: None,
            held_by: BTreeMap::new(),
            heights: BTreeMap::new(),
            restored,
            from_genesis: true,
        }
    }

    /// Starts all that is here already: what a start finds broken is told before anything is served.
    pub(super) async fn begin(&mut self) -> Result<(), Failure> {
        let Some(look) = self.look().await else { return Ok(()) };
        let known = self.beacon.core.query(|replica, _| {
            replica.certified().header.height == Height(0) || replica.certified_id(Height(1)).is_some()
        });
        self.from_genesis = known.await.unwrap_or(true);
        self.learn_who(&look.state).await;
        let Some(me) = self.me().filter(|_| self.role == Role::Shard) else {
            self.address(&look.state);
            return Ok(());
        };
        self.sort_out()?;
        let (wanted, fresh) = (duties(&look.state, me), self.is_fresh(&look));
        for shard in self.ground.home.shards(self.ground.network.genesis.shards) {
            let duty = wanted.get(&shard).copied().unwrap_or(Duty::Left);
            if self.is_begun(shard)? {
                self.start(shard, me, duty)?;
            }
        }
        // What else is to be here, the state says only once it is of the present.
        for (shard, duty) in wanted.into_iter().filter(|_| fresh) {
            self.host(&look.state, shard, me, duty)?;
        }
        self.address(&look.state);
        self.restored = false;
        self.mark = fresh.then(|| Mark::of(&look.state));
        Ok(())
    }

    /// Goes on until the process ends or a chain halts; returns why.
    pub(super) async fn run(&mut self) -> Result<(), Failure> {
        let mut events = self.beacon.core.events();
        let mut ticks = interval(LOOK);
        loop {
            tokio::select! {
                event = events.recv() => match event {
                    Ok(ChainEvent::Certified { .. }) | Err(RecvError::Lagged(_)) => {
                        // Several at once are one look.
                        while events.try_recv().is_ok() {}
                        self.follow_the_state().await?;
                    }
                    Ok(_) => {}
                    // Its end is the process's, and is told elsewhere.
                    Err(RecvError::Closed) => std::future::pending().await,
                },
                fetched = self.fetching.next() => self.fetched(fetched).await?,
                news = self.news.recv() => match news {
                    Some(News::Halted(reason)) => return Err(Failure::Halted(reason)),
                    Some(News::Stale(shard, reason)) => self.begin_anew(shard, true, &reason)?,
                    None => std::future::pending().await,
                },
                _ = ticks.tick() => self.look_around().await?,
            }
        }
    }

    /// Stops every shard.
    pub(super) async fn end(mut self) {
        self.fetching.end();
        stop_all(&self.ground, std::mem::take(&mut self.running)).await;
    }

    pub(super) fn me(&self) -> Option<ValidatorId> {
        self.beacon.me.get().copied()
    }

    pub(super) async fn look(&self) -> Option<Look> {
        let asked = self.beacon.core.query(|replica, _| {
            let certified = replica.certified();
            Look { state: certified.state.clone(), slot: certified.header.slot }
        });
        asked.await.ok()
    }

    /// Whether a state is near enough to the present to act on.
    fn is_fresh(&self, look: &Look) -> bool {
        let Some(epochs) = self.ground.network.genesis.epochs else { return true };
        let slot = self.ground.network.clock(ChainId::Beacon).slot_at(now());
        slot.0.saturating_sub(look.slot.0) <= FRESH_SLOTS.max(epochs.slots / 2)
    }

    async fn follow_the_state(&mut self) -> Result<(), Failure> {
        let Some(look) = self.look().await else { return Ok(()) };
        let mark = Mark::of(&look.state);
        if self.mark.as_ref() == Some(&mark) || !self.is_fresh(&look) {
            return Ok(());
        }
        self.mark = Some(mark);
        self.learn_who(&look.state).await;
        // First: whoever is to be hosted is fetched from those that are named here.
        self.address(&look.state);
        let Some(me) = self.me().filter(|_| self.role == Role::Shard) else { return Ok(()) };
        self.host_all(&look.state, me)?;
        self.let_go(&look.state, me).await?;
        self.address(&look.state);
        Ok(())
    }

    /// Stops what this process has no duty to any more, once others hold it; until then it says that it has left.
    async fn let_go(&mut self, state: &BeaconState, me: ValidatorId) -> Result<(), Failure> {
        let wanted = duties(state, me);
        let over = self.running.keys().copied().filter(|shard| !wanted.contains_key(shard));
        for shard in over.collect::<Vec<_>>() {
            self.ground.hosts.set_duty(shard, Duty::Left);
            if !is_settled(state, shard) || self.fetching.is_under_way(shard) {
                continue;
            }
            if let Some(running) = self.running.remove(&shard) {
                self.forget(shard, running).await?;
            }
        }
        Ok(())
    }

    fn host_all(&mut self, state: &BeaconState, me: ValidatorId) -> Result<(), Failure> {
        for (shard, duty) in duties(state, me) {
            self.host(state, shard, me, duty)?;
        }
        Ok(())
    }

    /// Sees to it that a shard is hosted, or will be once its state is here.
    fn host(&mut self, state: &BeaconState, shard: ShardId, me: ValidatorId, duty: Duty) -> Result<(), Failure> {
        if self.running.contains_key(&shard) {
            self.ground.hosts.set_duty(shard, duty);
            return Ok(());
        }
        if self.fetching.holds_up(shard) {
            return Ok(());
        }
        // In the first era everybody begins with the genesis file, and where there is only one, too; but for who does not
        // know what the beacon has said since.
        let first = self.from_genesis
            && state.shard(shard).is_none_or(|record| record.era.0 == 0 || record.last.header.height == Height(0));
        if self.ground.network.genesis.epochs.is_none() || first || self.is_begun(shard)? {
            return self.start(shard, me, duty);
        }
        self.fetch(shard, duty)
    }

    /// Whether the store of a shard holds a chain that has begun; makes no store.
    fn is_begun(&self, shard: ShardId) -> Result<bool, Failure> {
        let chain = ChainId::Shard(shard);
        if !self.ground.home.shards(self.ground.network.genesis.shards).contains(&shard) {
            return Ok(false);
        }
        let store = self.ground.home.store(chain)?;
        let broken = |reason: kakera_chain::store::StoreFailure| Failure::Contents {
            path: store.path().to_path_buf(),
            reason: reason.into(),
        };
        let epochs = self.ground.network.genesis.epochs.is_some();
        if epochs && unfinished(&store).map_err(broken)? {
            return Ok(false);
        }
        Ok(!epochs || kakera_chain::replica::is_begun(&store).map_err(broken)?)
    }

    pub(super) fn start(&mut self, shard: ShardId, me: ValidatorId, duty: Duty) -> Result<(), Failure> {
        let id = |header: &kakera_chain::block::Header| header.id(self.ground.network.id);
        let genesis = self.origin.shards[usize::from(shard.0)].clone();
        let reading = first_reading(id(&self.origin.beacon_genesis), id(&genesis));
        let starts = self.starts.entry(shard).or_default();
        let first = First { shard, genesis, reading, starts: *starts };
        *starts = starts.saturating_add(1);
        let running = self.ground.start(&first, me, duty, self.restored)?;
        self.running.insert(shard, running);
        Ok(())
    }

    /// What was held up is done now, if it can be.
    async fn look_around(&mut self) -> Result<(), Failure> {
        if self.ground.network.genesis.epochs.is_none() {
            return Ok(());
        }
        self.clear_up().await?;
        let Some(look) = self.look().await else { return Ok(()) };
        if let Some(me) = self.me().filter(|_| self.role == Role::Shard && self.is_fresh(&look)) {
            self.let_go(&look.state, me).await?;
            let before = self.running.len();
            self.host_all(&look.state, me)?;
            if self.running.len() != before {
                self.address(&look.state);
            }
        }
        self.look_for_the_stuck(&look).await
    }

    /// A shard that follows and does not get on, though the beacon has recorded more, is fetched anew.
    async fn look_for_the_stuck(&mut self, look: &Look) -> Result<(), Failure> {
        let mut stuck = Vec::new();
        for (shard, host) in self.ground.hosts.all() {
            let asked = host.local.core.query(|replica, _| {
                (replica.certified().header.height, replica.phase() == kakera_chain::replica::Phase::Observer)
            });
            let Ok((height, follows)) = asked.await else { continue };
            let recorded = look.state.shard(shard).map_or(Height(0), |record| record.last.header.height);
            let since = match self.heights.get(&shard) {
                Some((before, since)) if *before == height && follows && height < recorded => *since,
                _ => Instant::now(),
            };
            self.heights.insert(shard, (height, since));
            if since.elapsed() >= STUCK {
                stuck.push(shard);
            }
        }
        for shard in stuck {
            self.begin_anew(shard, false, "it follows and has not got on")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
