//! Putting the parts of a process together, and taking them down again.

use super::{Failure, Opened, Origin, lasting::lasting, shard_app};
use crate::{
    api::{
        Api, LocalShard,
        accounts::AccountsService,
        admin::AdminService,
        beacon::BeaconService,
        chains::{ChainsService, Served},
        transactions::TransactionsService,
    },
    core::{self, Core, Nobody, StartFailure, now},
    crosslinks, follow,
    forward::Forwarder,
    metrics::{self, Metrics, StatusSource},
    peers::{Deliver, Peers},
    readings, server,
    store::RocksStore,
    tracker::Tracker,
};
use kakera_beacon::{Beacon, leader_seed};
use kakera_chain::{
    block::Header,
    leaders::leader_cycle,
    replica::{InvalidStore, Replica, ReplicaConfig, SignState},
    store::{Store, StoreFailure},
    units::{ChainId, ShardId},
};
use kakera_shard::first_reading;
use std::{io::Write as _, sync::Arc, thread::JoinHandle, time::Duration};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::Notify,
    task::JoinSet,
};

/// How long the core has to finish what is queued once the process stops.
const CORE_GRACE: Duration = Duration::from_secs(5);

/// SIGTERM and SIGINT, caught from the very beginning.
pub(super) struct Signals(Signal, Signal);

pub(super) fn stop_signal() -> Result<Signals, Failure> {
    Ok(Signals(signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?))
}

impl Signals {
    async fn received(&mut self) {
        tokio::select! {
            _ = self.0.recv() => {}
            _ = self.1.recv() => {}
        }
    }
}

/// A chain's core with everything around it that both kinds of process have.
struct Running<A: Served> {
    opened: Opened,
    core: Core<A>,
    thread: JoinHandle<()>,
    peers: Peers,
    api: Api,
    tasks: JoinSet<()>,
}

pub(super) async fn run_beacon(opened: Opened, stop: Signals) -> Result<(), Failure> {
    let origin = origin(&opened)?;
    let (beacon, genesis) = (origin.beacon, origin.beacon_genesis);
    let running = Running::start(opened, move |_| Ok(beacon.clone()), genesis)?;
    let local = Some(running.core.clone());
    running.serve(stop, None, local).await
}

pub(super) async fn run_shard(opened: Opened, shard: ShardId, stop: Signals) -> Result<(), Failure> {
    let origin = origin(&opened)?;
    let genesis = origin.shards[usize::from(shard.0)].clone();
    let id = |header: &Header| header.id(opened.network.id);
    let first = first_reading(id(&origin.beacon_genesis), id(&genesis));
    let observer = Observer::start(&opened, origin.beacon, origin.beacon_genesis)?;
    let network = Arc::clone(&opened.network);
    let app = move |store: &dyn Store| shard_app(&network, shard, first.clone(), Some(store));
    let mut running = Running::start(opened, app, genesis)?;
    let (core, forwarder) = (running.core.clone(), Arc::clone(&running.api.forwarder));
    let tracker = Tracker::new(shard, core.clone(), Arc::clone(&running.opened.store), Arc::clone(&forwarder));
    let timing = running.opened.network.genesis.clone();
    let me = running.opened.member;
    let (shard_timing, beacon_timing) = (timing.shard, timing.beacon);
    {
        let tracker = tracker.clone();
        lasting(&mut running.tasks, "tracker", move || tracker.clone().run());
        let (beacon, forwarder) = (observer.core.clone(), Arc::clone(&forwarder));
        lasting(&mut running.tasks, "follow", move || {
            follow::follow(beacon.clone(), Arc::clone(&forwarder), shard, me, beacon_timing)
        });
        let (beacon, store, core) = (observer.core.clone(), Arc::clone(&observer.store), core.clone());
        lasting(&mut running.tasks, "readings", move || {
            readings::pass_on(beacon.clone(), Arc::clone(&store), core.clone(), shard)
        });
    }
    {
        let core = core.clone();
        lasting(&mut running.tasks, "crosslinks", move || {
            crosslinks::submit(core.clone(), Arc::clone(&forwarder), shard_timing, beacon_timing)
        });
    }
    let local = LocalShard { shard, core, store: Arc::clone(&running.opened.store), tracker };
    let ended = running.serve(stop, Some(local), None).await;
    finish(observer.core, observer.thread).await;
    ended
}

/// The process's own replica of the beacon chain, which follows it.
struct Observer {
    core: Core<Beacon>,
    store: Arc<RocksStore>,
    thread: JoinHandle<()>,
}

impl Observer {
    fn start(opened: &Opened, beacon: Beacon, genesis: Header) -> Result<Observer, Failure> {
        let path = opened.data.join("beacon");
        let network = Arc::clone(&opened.network);
        let rocks = Arc::new(RocksStore::open(&path, network.id, ChainId::Beacon)?);
        let store: Arc<dyn Store> = rocks.clone();
        let seats = opened.committees.beacon.clone();
        let leaders = leader_cycle(&seats.committee, leader_seed(&network, ChainId::Beacon));
        let open = move || {
            let config = ReplicaConfig {
                network: Arc::clone(&network),
                chain: ChainId::Beacon,
                seats: seats.clone(),
                validator: None,
                genesis: genesis.clone(),
                leaders: leaders.clone(),
                guard: SignState::default(),
                restored: false,
                now: now(),
            };
            Replica::open(config, beacon.clone(), Arc::clone(&store))
        };
        let (core, thread) =
            core::start(Box::new(open), Arc::clone(&rocks), None, Nobody).map_err(|reason| started(&rocks, reason))?;
        Ok(Observer { core, store: rocks, thread })
    }
}

fn origin(opened: &Opened) -> Result<Origin, Failure> {
    Origin::of(&opened.network).map_err(|failure| contents(opened, failure.into()))
}

fn started(store: &RocksStore, reason: StartFailure) -> Failure {
    match reason {
        StartFailure::Store(reason) => Failure::Contents { path: store.path().to_path_buf(), reason },
        StartFailure::Machine(reason) => Failure::Machine(reason),
    }
}

fn contents(opened: &Opened, reason: InvalidStore) -> Failure {
    Failure::Contents { path: opened.store.path().to_path_buf(), reason }
}

impl<A: Served> Running<A> {
    /// Opens the replica and starts its core and the streams to its peers. `app` makes its rules of what is stored.
    fn start(
        opened: Opened,
        app: impl Fn(&dyn Store) -> Result<A, StoreFailure> + Send + 'static,
        genesis: Header,
    ) -> Result<Running<A>, Failure> {
        let (network, chain, me) = (Arc::clone(&opened.network), opened.chain, opened.identity.validator);
        let seats = opened.committees.chain(chain).expect("every chain of the network has a committee").clone();
        let key = opened.identity.key.clone();
        let metrics = Arc::new(Metrics::new());
        let peers = Peers::new(&network, chain, &seats, me, key.clone(), &opened.identity.ways, Arc::clone(&metrics));
        let (guard, mut restored) = (opened.guard.clone(), opened.restored);
        let store: Arc<dyn Store> = opened.store.clone();
        let leaders = leader_cycle(&seats.committee, leader_seed(&network, chain));
        let open = {
            let (network, guard) = (Arc::clone(&network), guard.clone());
            move || {
                let config = ReplicaConfig {
                    network: Arc::clone(&network),
                    chain,
                    seats: seats.clone(),
                    validator: Some((me, key.clone())),
                    genesis: genesis.clone(),
                    leaders: leaders.clone(),
                    guard: guard.read(),
                    restored: std::mem::take(&mut restored),
                    now: now(),
                };
                Replica::open(config, app(&*store)?, Arc::clone(&store))
            }
        };
        let (core, thread) = core::start(Box::new(open), Arc::clone(&opened.store), Some(guard), peers.outbox())
            .map_err(|reason| started(&opened.store, reason))?;
        let forwarder = Arc::new(Forwarder::new(&network, &opened.committees, me, &opened.identity.ways));
        let mut tasks = JoinSet::new();
        peers.dial(&mut tasks);
        Ok(Running { api: Api { network, forwarder, metrics }, opened, core, thread, peers, tasks })
    }

    /// Serves until asked to stop or the core halts.
    async fn serve(
        mut self,
        mut stop: Signals,
        shard: Option<LocalShard>,
        beacon: Option<Core<Beacon>>,
    ) -> Result<(), Failure> {
        let asked = Arc::new(Notify::new());
        let chains = ChainsService {
            api: self.api.clone(),
            core: self.core.clone(),
            peers: self.peers.clone(),
            name: self.opened.identity.entry().name.as_str().into(),
            started: self.opened.started,
            explaining: Default::default(),
        };
        if let Some(listener) = self.opened.metrics_listener.take() {
            self.tasks.spawn(serve_metrics(listener, chains.clone()));
        }
        let deliver: Deliver = {
            let core = self.core.clone();
            Arc::new(move |from, message| core.deliver(from, message))
        };
        let names = ["", "Transactions", "Accounts", "Chains", "Beacon", "Peer"];
        let names: Vec<String> = names
            .iter()
            .map(|name| if name.is_empty() { String::new() } else { format!("kakera.v1.{name}") })
            .collect();
        let mut routes = server::base_routes(&names.iter().map(String::as_str).collect::<Vec<_>>()).await;
        routes
            .add_service(TransactionsService { api: self.api.clone(), local: shard.clone() }.into_server())
            .add_service(AccountsService { api: self.api.clone(), local: shard }.into_server())
            .add_service(chains.into_server())
            .add_service(BeaconService::new(self.api.clone(), beacon).into_server())
            .add_service(AdminService { api: self.api.clone(), stop: Arc::clone(&asked) }.into_server())
            .add_service(self.peers.service(deliver).into_server());
        let address = self.opened.listener.local_addr()?;
        announce(&self.opened, address);
        let mut halted = None;
        {
            let (core, halted) = (&self.core, &mut halted);
            let ended = async move {
                tokio::select! {
                    () = stop.received() => {}
                    () = asked.notified() => {}
                    reason = core.stopped() => *halted = Some(reason.unwrap_or_else(|| "the core ended".into())),
                }
            };
            server::serve(self.opened.listener, routes.routes(), Arc::clone(&self.api.metrics), ended).await?;
        }
        self.tasks.abort_all();
        tracing::info!("stopping");
        finish(self.core, self.thread).await;
        halted.map_or(Ok(()), |reason| Err(Failure::Halted(reason)))
    }
}

/// Lets the core write what it has decided; a core that hangs is left to the end of the process.
async fn finish<A: Served>(core: Core<A>, thread: JoinHandle<()>) {
    let joined = tokio::task::spawn_blocking(move || {
        core.stop();
        thread.join().is_ok()
    });
    if !matches!(tokio::time::timeout(CORE_GRACE, joined).await, Ok(Ok(true))) {
        tracing::warn!("the core did not end in time");
    }
}

async fn serve_metrics<A: Served>(listener: tokio::net::TcpListener, chains: ChainsService<A>) {
    let metrics = Arc::clone(&chains.api.metrics);
    let core = chains.core.clone();
    let status: StatusSource = Arc::new(move || {
        let chains = chains.clone();
        Box::pin(async move { chains.status().await.ok() })
    });
    if let Err(error) = metrics::serve(listener, metrics, status, Arc::clone(core.refused())).await {
        tracing::error!(%error, "metrics are served no more");
    }
}

/// The line that says that the process is ready.
fn announce(opened: &Opened, address: std::net::SocketAddr) {
    let (name, chain) = (&opened.identity.entry().name, opened.chain);
    let role = match chain {
        ChainId::Beacon => "beacon".to_owned(),
        ChainId::Shard(shard) => format!("shard {shard}"),
    };
    let network = &opened.network.genesis.name;
    tracing::info!(%address, validator = name, %chain, network = %opened.network.id, "listening");
    // A closed standard output is nobody's loss.
    let mut out = std::io::stdout().lock();
    let _closed =
        writeln!(out, "listening on {address} as {name} ({role}) of network {network}").and_then(|()| out.flush());
}
