//! Having states handed over, and what becomes of the directories of shards.
//!
//! ```text
//!   shard-2/db ........ the database of a shard that is hosted, or whose state is handed over for the first time
//!   shard-2/db-anew ... a state that is handed over beside it, because it is not brought up to date any more
//! ```
//!
//! What is here is given up for nothing less than a whole state: its holder may be the only one left. And nothing happens to
//! a database as long as anything in this process still holds it.

use super::{
    Failure,
    director::Director,
    host::{Leaving, Running},
};
use crate::{
    duties::{Duty, duties, is_settled},
    handover::{Download, Newcomer},
    home,
    store::RocksStore,
};
use kakera_chain::{
    replica::Phase,
    units::{ChainId, Height, ShardId},
};
use std::{collections::BTreeMap, fs, path::PathBuf, sync::Arc};
use tokio::task::{JoinError, JoinSet, block_in_place};

/// The hand-overs of a process.
#[derive(Default)]
pub(super) struct Fetching {
    tasks: JoinSet<Fetched>,
    under_way: BTreeMap<ShardId, Purpose>,
    /// Shards that were stopped while something still held them.
    leaving: BTreeMap<ShardId, (Leaving, Then)>,
}

/// A hand-over that has ended.
pub(super) type Fetched = (ShardId, Result<(), Failure>);

/// What a state is handed over for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    /// The shard is not here.
    Begin,
    /// It is here and does not get on; `lacks`: it cannot, by what this process knows of the beacon chain.
    Renew { lacks: bool },
}

/// What becomes of the database of a shard that was stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    /// It is removed.
    Remove,
    /// The one beside it takes its place.
    Replace,
}

impl Fetching {
    /// The next hand-over that ends; never, if none is under way.
    pub(super) async fn next(&mut self) -> Result<Fetched, JoinError> {
        match self.tasks.join_next().await {
            Some(fetched) => fetched,
            None => std::future::pending().await,
        }
    }

    /// Whether a shard is not to be started: its state comes, or its database is still held.
    pub(super) fn holds_up(&self, shard: ShardId) -> bool {
        self.is_under_way(shard) || self.leaving.contains_key(&shard)
    }

    /// Whether a shard's state is being handed over.
    pub(super) fn is_under_way(&self, shard: ShardId) -> bool {
        self.under_way.contains_key(&shard)
    }

    /// All of them end.
    pub(super) fn end(&mut self) {
        self.tasks.abort_all();
    }
}

impl Director {
    /// Has the state of a shard handed over that is not here.
    pub(super) fn fetch(&mut self, shard: ShardId, duty: Duty) -> Result<(), Failure> {
        let store = self.ground.home.store(ChainId::Shard(shard))?;
        self.ground.hosts.fetch(shard, duty);
        self.hand_over(shard, store, Purpose::Begin);
        Ok(())
    }

    fn hand_over(&mut self, shard: ShardId, store: RocksStore, purpose: Purpose) {
        let (shards, forwarder) = (self.ground.network.genesis.shards, Arc::clone(&self.ground.forwarder));
        let newcomer = Newcomer {
            beacon: self.beacon.core.clone(),
            beacon_store: Arc::clone(&self.beacon.store),
            download: Download { shard, shards, store: Arc::new(store), forwarder },
        };
        self.fetching.under_way.insert(shard, purpose);
        self.fetching.tasks.spawn(async move {
            let fetched = newcomer.fetch().await;
            (shard, fetched.map_err(|reason| Failure::Halted(format!("handing over shard {shard}: {reason}"))))
        });
    }

    /// A hand-over has ended.
    pub(super) async fn fetched(&mut self, fetched: Result<Fetched, JoinError>) -> Result<(), Failure> {
        let (shard, done) = fetched.map_err(|error| Failure::Halted(format!("a hand-over ended: {error}")))?;
        let purpose = self.fetching.under_way.remove(&shard);
        done?;
        match (purpose, self.running.remove(&shard)) {
            (Some(Purpose::Renew { lacks }), Some(running)) => self.renew(shard, running, lacks).await,
            (_, Some(running)) => {
                self.running.insert(shard, running);
                Ok(())
            }
            (_, None) => self.take_up(shard).await,
        }
    }

    /// A shard cannot be brought up to date block by block: its state is handed over anew, and what is here stays until
    /// that is whole. `lacks`: it is not for others to mend.
    pub(super) fn begin_anew(&mut self, shard: ShardId, lacks: bool, reason: &str) -> Result<(), Failure> {
        if self.ground.network.genesis.epochs.is_none() {
            let reason =
                format!("the stores of beacon and shard have come apart ({reason}): move the data directory away");
            return Err(Failure::Halted(reason));
        }
        if let Some(Purpose::Renew { lacks: known }) = self.fetching.under_way.get_mut(&shard) {
            *known |= lacks;
            return Ok(());
        }
        if !self.running.contains_key(&shard) || self.fetching.holds_up(shard) {
            return Ok(());
        }
        tracing::warn!(%shard, reason, "the state of a shard is fetched anew");
        let store = RocksStore::open(&self.beside(shard), self.ground.network.id, ChainId::Shard(shard))?;
        self.hand_over(shard, store, Purpose::Renew { lacks });
        Ok(())
    }

    /// Puts a state that was handed over in the place of the one that is here, unless that has got on meanwhile.
    async fn renew(&mut self, shard: ShardId, running: Running, lacks: bool) -> Result<(), Failure> {
        if !lacks && self.has_got_on(shard).await {
            tracing::info!(%shard, "a shard has got on by itself");
            self.running.insert(shard, running);
            return remove(self.beside(shard));
        }
        self.heights.remove(&shard);
        self.leave(shard, running, Then::Replace).await
    }

    async fn has_got_on(&self, shard: ShardId) -> bool {
        let (Some(host), Some(look)) = (self.ground.hosts.of(shard), self.look().await) else { return false };
        let recorded = look.state.shard(shard).map_or(Height(0), |record| record.last.header.height);
        let asked = host.local.core.query(move |replica, _| {
            replica.phase() != Phase::Observer || replica.certified().header.height >= recorded
        });
        asked.await.unwrap_or(false)
    }

    /// Lets a shard and its data go.
    pub(super) async fn forget(&mut self, shard: ShardId, running: Running) -> Result<(), Failure> {
        self.heights.remove(&shard);
        self.leave(shard, running, Then::Remove).await
    }

    async fn leave(&mut self, shard: ShardId, running: Running, then: Then) -> Result<(), Failure> {
        let Some(leaving) = self.ground.stop(shard, running).await else { return Ok(()) };
        leaving.wait().await;
        if !leaving.is_over() {
            tracing::warn!(%shard, "the data of a shard that was stopped is still in use here: it is waited for");
        }
        self.fetching.leaving.insert(shard, (leaving, then));
        self.clear_up().await
    }

    /// Sees to the databases that nothing holds any more.
    pub(super) async fn clear_up(&mut self) -> Result<(), Failure> {
        let leaving = &mut self.fetching.leaving;
        let over: Vec<ShardId> =
            leaving.iter().filter(|(_, (leaving, _))| leaving.is_over()).map(|(shard, _)| *shard).collect();
        for shard in over {
            let Some((leaving, then)) = self.fetching.leaving.remove(&shard) else { continue };
            let (home, chain) = (&self.ground.home, ChainId::Shard(shard));
            // Its database is closed here.
            let removed = block_in_place(|| {
                drop(leaving);
                home.remove_store(chain)
            });
            match (removed, then) {
                (Ok(()), Then::Remove) => tracing::info!(%chain, "a chain is hosted no more, and its data is gone"),
                (Ok(()), Then::Replace) => {
                    fs::rename(self.beside(shard), self.database(shard))?;
                    self.take_up(shard).await?;
                }
                (Err(reason), Then::Remove) => {
                    tracing::warn!(%chain, %reason, "the data of a chain that is hosted no more cannot be removed");
                }
                (Err(reason), Then::Replace) => return Err(Failure::Machine(reason)),
            }
        }
        Ok(())
    }

    /// Starts a shard whose state is whole now, or lets it go if it is nobody's matter here any more.
    async fn take_up(&mut self, shard: ShardId) -> Result<(), Failure> {
        let (Some(look), Some(me)) = (self.look().await, self.me()) else { return Ok(()) };
        let duty = duties(&look.state, me).get(&shard).copied();
        // Who has it and is not asked for it any more may be the only one who has: it is let go like any other.
        if let Some(duty) = duty.or((!is_settled(&look.state, shard)).then_some(Duty::Left)) {
            self.start(shard, me, duty)?;
            self.address(&look.state);
        } else {
            self.ground.hosts.remove(shard);
            self.ground.home.remove_store(ChainId::Shard(shard))?;
        }
        Ok(())
    }

    /// What an earlier process left beside the databases: the rest of a hand-over, or a state whose place had been made.
    pub(super) fn sort_out(&self) -> Result<(), Failure> {
        for shard in (0..self.ground.network.genesis.shards).map(ShardId) {
            let (beside, database) = (self.beside(shard), self.database(shard));
            if beside.exists() && !database.exists() {
                fs::rename(beside, database)?;
            } else {
                remove(beside)?;
            }
        }
        Ok(())
    }

    fn beside(&self, shard: ShardId) -> PathBuf {
        home::of(self.ground.home.path(), ChainId::Shard(shard)).join("db-anew")
    }

    fn database(&self, shard: ShardId) -> PathBuf {
        home::of(self.ground.home.path(), ChainId::Shard(shard)).join("db")
    }
}

fn remove(directory: PathBuf) -> Result<(), Failure> {
    if directory.exists() {
        fs::remove_dir_all(directory)?;
    }
    Ok(())
}
