//! Starting and stopping the replica of one shard.

use super::{Failure, lasting::lasting, shard_app};
use crate::{
    api::{LocalShard, chains::Served},
    core::{self, Core, StartFailure, now},
    crosslinks,
    duties::Duty,
    evidence,
    follow::{self, Followed},
    forward::Forwarder,
    home::Home,
    hosts::{Host, Hosts, Told},
    lab::{Hooks, Speaker},
    metrics::Metrics,
    peers::{Peers, Switchboard},
    readings::{self, Ended, Reader},
    store::RocksStore,
    tracker::Tracker,
    versions::Versions,
};
use kakera_beacon::{Beacon, Committees, leader_seed};
use kakera_chain::{
    block::Header,
    genesis::Network,
    keys::SecretKey,
    lanes::Reading,
    leaders::leader_cycle,
    replica::{Replica, ReplicaConfig},
    store::Store,
    units::{ChainId, ShardId, ValidatorId},
};
use std::{
    sync::{Arc, atomic::AtomicBool},
    thread::JoinHandle,
    time::Duration,
};
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{Instant, sleep},
};

/// How long a core has to finish what is queued once it is stopped.
const CORE_GRACE: Duration = Duration::from_secs(5);
/// How long whoever still reads a store that goes is waited for.
const READERS: Duration = Duration::from_secs(2);
/// How often it is looked whether they are done.
const POLL: Duration = Duration::from_millis(10);

/// What every shard here needs.
#[derive(Clone)]
pub(super) struct Ground {
    pub(super) network: Arc<Network>,
    pub(super) home: Home,
    pub(super) key: SecretKey,
    pub(super) beacon: Core<Beacon>,
    pub(super) beacon_store: Arc<RocksStore>,
    pub(super) forwarder: Arc<Forwarder>,
    pub(super) board: Switchboard,
    pub(super) hosts: Hosts,
    pub(super) metrics: Arc<Metrics>,
    pub(super) hooks: Hooks,
    pub(super) news: mpsc::Sender<News>,
}

/// What a host tells the director.
#[derive(Clone, Debug)]
pub(super) enum News {
    /// Its core halted.
    Halted(String),
    /// It cannot be brought up to date by what is held here.
    Stale(ShardId, String),
}

/// A running replica's threads and tasks.
pub(super) struct Running {
    thread: JoinHandle<()>,
    _tasks: JoinSet<()>,
}

/// What may still be held of a shard that was stopped: by whoever still reads, or by a core that does not end.
pub(super) struct Leaving {
    store: Arc<RocksStore>,
    thread: Option<JoinHandle<()>>,
}

impl Leaving {
    /// Whether nothing is: only then is its database opened again, or removed.
    pub(super) fn is_over(&self) -> bool {
        Arc::strong_count(&self.store) == 1 && self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Waits a little for it to be over.
    pub(super) async fn wait(&self) {
        let until = Instant::now() + READERS;
        while !self.is_over() && Instant::now() < until {
            sleep(POLL).await;
        }
    }
}

/// A shard's origin: its genesis header and what the beacon's genesis block says to it.
#[derive(Clone)]
pub(super) struct First {
    pub(super) shard: ShardId,
    pub(super) genesis: Header,
    pub(super) reading: Reading,
    /// How often this process has started it before: it is followed from another node each time.
    pub(super) starts: u16,
}

impl Ground {
    /// Opens a shard on its store and starts everything around it.
    pub(super) fn start(&self, first: &First, me: ValidatorId, duty: Duty, restored: bool) -> Result<Running, Failure> {
        let (shard, chain) = (first.shard, ChainId::Shard(first.shard));
        let store = Arc::new(self.home.store(chain)?);
        let guard = self.home.guard(chain)?;
        let peers = Peers::new(self.network.id, chain, me, self.key.clone(), Arc::clone(&self.metrics));
        let open = {
            let (network, rocks, guard, key) =
                (Arc::clone(&self.network), Arc::clone(&store), guard.clone(), self.key.clone());
            let (first, mut restored) = (first.clone(), restored);
            let seats = Committees::draw(&network).shards[usize::from(shard.0)].clone();
            let leaders = leader_cycle(&seats.committee, leader_seed(&network, chain));
            move || {
                let config = ReplicaConfig {
                    network: Arc::clone(&network),
                    chain,
                    seats: seats.clone(),
                    validator: Some((me, key.clone())),
                    genesis: first.genesis.clone(),
                    leaders: leaders.clone(),
                    guard: guard.read(),
                    restored: std::mem::take(&mut restored),
                    now: now(),
                };
                let app = shard_app(&network, shard, first.reading.clone(), Some(&*rocks))?;
                let rocks: Arc<dyn Store> = rocks.clone();
                Replica::open(config, app, rocks)
            }
        };
        let speaker = Speaker { network: self.network.id, chain, validator: me, key: self.key.clone() };
        let outbox = self.hooks.outbox(speaker, peers.outbox());
        let (core, thread) = core::start(Box::new(open), Arc::clone(&store), Some(guard), outbox)
            .map_err(|reason| started(&store, reason))?;
        let tracker = Tracker::new(shard, core.clone(), Arc::clone(&store), Arc::clone(&self.forwarder));
        let host = Host {
            local: LocalShard { shard, core: core.clone(), store, tracker },
            peers: peers.clone(),
            versions: Versions::new(core.clone()),
            seated: Arc::new(AtomicBool::new(duty == Duty::Member)),
            told: Told::default(),
            duty,
        };
        let tasks = self.tasks(&host, me, first.starts);
        self.hosts.insert(shard, host);
        let deliver = core;
        self.board.connect(&peers, Arc::new(move |from, message| deliver.deliver(from, message)));
        tracing::info!(%shard, %duty, "a shard is hosted");
        Ok(Running { thread, _tasks: tasks })
    }

    fn tasks(&self, host: &Host, me: ValidatorId, starts: u16) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        let LocalShard { shard, core, tracker, .. } = host.local.clone();
        lasting(&mut tasks, "tracker", move || tracker.clone().run());
        let reader = Reader {
            beacon: self.beacon.clone(),
            store: Arc::clone(&self.beacon_store),
            core: core.clone(),
            shard,
            told: host.told.clone(),
        };
        let news = self.news.clone();
        lasting(&mut tasks, "readings", move || {
            let (reader, news) = (reader.clone(), news.clone());
            async move {
                if let Ended::Lacks(reason) = readings::pass_on(reader).await {
                    // The director may be gone with the process.
                    let _gone = news.send(News::Stale(shard, reason.to_string())).await;
                }
            }
        });
        let (shard_timing, beacon_timing) = (self.network.genesis.shard, self.network.genesis.beacon);
        let (submitting, forwarder) = (core.clone(), Arc::clone(&self.forwarder));
        lasting(&mut tasks, "crosslinks", move || {
            crosslinks::submit(submitting.clone(), Arc::clone(&forwarder), shard_timing, beacon_timing)
        });
        let followed = Followed {
            chain: ChainId::Shard(shard),
            timing: shard_timing,
            core: core.clone(),
            forwarder: Arc::clone(&self.forwarder),
            spread: u16::try_from(me.0 % 1024).unwrap_or(0).saturating_add(starts),
            seated: Arc::clone(&host.seated),
            readers: None,
        };
        lasting(&mut tasks, "follow shard", move || follow::follow(followed.clone()));
        self.report(&mut tasks, core.clone(), me);
        let news = self.news.clone();
        tasks.spawn(async move {
            if let Some(reason) = core.stopped().await {
                let _gone = news.send(News::Halted(reason)).await;
            }
        });
        tasks
    }

    /// Reports who broke the rules of a chain here, as long as it is here.
    pub(super) fn report<A: Served>(&self, tasks: &mut JoinSet<()>, core: Core<A>, me: ValidatorId) {
        let (beacon, forwarder) = (self.beacon.clone(), Arc::clone(&self.forwarder));
        let (network, key) = (Arc::clone(&self.network), self.key.clone());
        lasting(tasks, "evidence", move || {
            let (forwarder, network) = (Arc::clone(&forwarder), Arc::clone(&network));
            evidence::submit(core.clone(), beacon.clone(), forwarder, network, key.clone(), me)
        });
    }

    /// Stops a shard; returns what may still be held of it.
    pub(super) async fn stop(&self, shard: ShardId, running: Running) -> Option<Leaving> {
        self.board.disconnect(ChainId::Shard(shard));
        let Host { local, .. } = self.hosts.remove(shard)?;
        // The tasks go when the core has ended: listeners are told so before.
        let Running { thread, _tasks: tasks } = running;
        let LocalShard { core, store, tracker, .. } = local;
        let thread = end(core, thread).await;
        tracker.close();
        drop((tracker, tasks));
        Some(Leaving { store, thread })
    }
}

pub(super) fn started(store: &RocksStore, reason: StartFailure) -> Failure {
    match reason {
        StartFailure::Store(reason) => Failure::Contents { path: store.path().to_path_buf(), reason },
        StartFailure::Machine(reason) => Failure::Machine(reason),
    }
}

/// Lets a core write what it has decided; one that hangs is left to the end of the process.
pub(super) async fn finish<A: Served>(core: Core<A>, thread: JoinHandle<()>) {
    end(core, thread).await;
}

/// The same; returns the thread of one that hangs.
async fn end<A: Served>(core: Core<A>, thread: JoinHandle<()>) -> Option<JoinHandle<()>> {
    // It is told from a thread of its own: a core with much to do is waited for, and the runtime's threads may all be taken.
    if let Err(reason) = std::thread::Builder::new().name("stop".into()).spawn(move || core.stop()) {
        tracing::error!(%reason, "there is no thread to stop a core with");
    }
    let until = Instant::now() + CORE_GRACE;
    while !thread.is_finished() && Instant::now() < until {
        sleep(POLL).await;
    }
    if !thread.is_finished() {
        tracing::warn!("the core did not end in time");
        return Some(thread);
    }
    if thread.join().is_err() {
        tracing::error!("the core has panicked");
    }
    None
}

/// The shards' replicas as a process ends.
pub(super) async fn stop_all(ground: &Ground, running: impl IntoIterator<Item = (ShardId, Running)>) {
    for (shard, running) in running {
        ground.stop(shard, running).await;
    }
}
