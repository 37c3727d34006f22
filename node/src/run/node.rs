//! Putting the parts of a process together, and taking them down again.

use super::{
    Failure, Opened, Origin,
    beacon::BeaconChain,
    director::Director,
    host::{Ground, finish},
    lasting::lasting,
};
use crate::{
    api::{
        Api,
        accounts::AccountsService,
        admin::AdminService,
        beacon::BeaconService,
        chains::{BeaconHere, ChainsService},
        sync::SyncService,
        transactions::TransactionsService,
        validators::ValidatorsService,
    },
    checkpoint,
    follow::{self, Followed},
    forward::Forwarder,
    hosts::Hosts,
    metrics::{self, Metrics, RefusalSource, StatusSource},
    peers::Switchboard,
    server,
    store::RocksStore,
};
use kakera_beacon::Committees;
use kakera_chain::{genesis::Role, units::ChainId};
use std::{io::Write as _, sync::Arc};
use tokio::{
    net::TcpListener,
    signal::unix::{Signal, SignalKind, signal},
    sync::{Notify, mpsc},
    task::JoinSet,
};

/// News of hosts that wait for the director at most.
const NEWS: usize = 64;

/// The services whose health is told, by their names in `kakera.v1`.
const SERVICES: [&str; 8] = [
    "",
    "kakera.v1.Transactions",
    "kakera.v1.Accounts",
    "kakera.v1.Chains",
    "kakera.v1.Beacon",
    "kakera.v1.Peer",
    "kakera.v1.Sync",
    "kakera.v1.Validators",
];

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

/// Everything of a process that serves.
struct Process {
    opened: Opened,
    api: Api,
    board: Switchboard,
    hosts: Hosts,
    beacon: BeaconHere,
    beacon_store: Arc<RocksStore>,
    director: Director,
    tasks: JoinSet<()>,
}

/// Runs a process until it is asked to stop, or one of its chains halts.
pub(super) async fn run(opened: Opened, mut stop: Signals) -> Result<(), Failure> {
    let origin = Arc::new(Origin::of(&opened.network).map_err(|failure| opened.contents(failure))?);
    let metrics = Arc::new(Metrics::new());
    let board = Switchboard::new(opened.network.id, Arc::clone(&metrics));
    let (forwarder, hosts) = (Arc::new(Forwarder::default()), Hosts::default());
    if let Some(wish) = &opened.checkpoint {
        let store = opened.home.store(ChainId::Beacon)?;
        tokio::select! {
            begun = checkpoint::begin(&store, &opened.network, wish) => begun?,
            () = stop.received() => return Ok(()),
        }
    }
    let chain = BeaconChain::start(&opened, origin.beacon.clone(), origin.beacon_genesis.clone())?;
    let chain = Arc::new(chain);
    let (sender, news) = mpsc::channel(NEWS);
    let ground = Ground {
        network: Arc::clone(&opened.network),
        home: opened.home.clone(),
        key: opened.identity.key.clone(),
        beacon: chain.core.clone(),
        beacon_store: Arc::clone(&chain.store),
        forwarder: Arc::clone(&forwarder),
        board: board.clone(),
        hosts: hosts.clone(),
        metrics: Arc::clone(&metrics),
        hooks: opened.hooks.clone(),
        news: sender,
    };
    let standing = (opened.identity.role, opened.identity.ways.clone());
    let mut director = Director::new(ground, Arc::clone(&chain), origin, standing, news, opened.restored);
    // Whatever comes: the cores end before the process does, because their databases are gone then.
    let ended = match director.begin().await {
        Ok(()) => {
            let mut tasks = JoinSet::new();
            follow_the_beacon(&mut tasks, &opened, &chain, &forwarder, &hosts);
            let api = Api { network: Arc::clone(&opened.network), forwarder, metrics };
            let beacon = chain.here(Arc::clone(&director.beacon_peers));
            let beacon_store = Arc::clone(&chain.store);
            let process = Process { opened, api, board, hosts, beacon, beacon_store, director, tasks };
            process.serve(stop).await
        }
        Err(failure) => {
            director.end().await;
            Err(failure)
        }
    };
    match Arc::try_unwrap(chain) {
        Ok(BeaconChain { core, thread, .. }) => finish(core, thread).await,
        Err(held) => held.core.stop(),
    }
    ended
}

fn follow_the_beacon(
    tasks: &mut JoinSet<()>,
    opened: &Opened,
    chain: &BeaconChain,
    forwarder: &Arc<Forwarder>,
    hosts: &Hosts,
) {
    let followed = Followed {
        chain: ChainId::Beacon,
        timing: opened.network.genesis.beacon,
        core: chain.core.clone(),
        forwarder: Arc::clone(forwarder),
        spread: spread(opened),
        seated: Arc::clone(&chain.seated),
        readers: Some(hosts.clone()),
    };
    lasting(tasks, "follow beacon", move || follow::follow(followed.clone()));
    if opened.identity.role == Role::Beacon {
        let (core, forwarder) = (chain.core.clone(), Arc::clone(forwarder));
        lasting(tasks, "end of era", move || {
            follow::notice_the_end(core.clone(), Arc::clone(&forwarder), ChainId::Beacon)
        });
    }
}

/// Which beacon node is read first: the members of a committee spread evenly over them.
fn spread(opened: &Opened) -> u16 {
    let Some(me) = opened.identity.validator else { return 0 };
    let committees = Committees::draw(&opened.network);
    let seat = |(shard, seats): (u16, &kakera_chain::certificate::Seats)| Some(shard + seats.member(me)?.0);
    let placed = (0..).zip(&committees.shards).find_map(seat);
    placed.unwrap_or_else(|| u16::try_from(me.0 % 1024).unwrap_or(0))
}

impl Process {
    /// Serves until asked to stop or a core halts.
    async fn serve(mut self, mut stop: Signals) -> Result<(), Failure> {
        let asked = Arc::new(Notify::new());
        let chains = ChainsService {
            api: self.api.clone(),
            beacon: self.beacon.clone(),
            hosts: self.hosts.clone(),
            role: self.opened.identity.role,
            name: self.opened.identity.name.as_str().into(),
            started: self.opened.started,
            explaining: Default::default(),
        };
        if let Some(listener) = self.opened.metrics_listener.take() {
            self.tasks.spawn(serve_metrics(listener, chains.clone()));
        }
        let hosts = || self.hosts.clone();
        let mut routes = server::base_routes(&SERVICES).await;
        routes
            .add_service(TransactionsService { api: self.api.clone(), hosts: hosts() }.into_server())
            .add_service(AccountsService { api: self.api.clone(), hosts: hosts() }.into_server())
            .add_service(chains.into_server())
            .add_service(BeaconService::new(self.api.clone(), self.beacon.clone()).into_server())
            .add_service(
                SyncService::new(self.api.clone(), (self.beacon.core.clone(), self.beacon_store), hosts())
                    .into_server(),
            )
            .add_service(
                ValidatorsService::new(
                    self.api.clone(),
                    self.beacon.core.clone(),
                    Arc::clone(&self.opened.identity.genesis_text),
                )
                .into_server(),
            )
            .add_service(AdminService { api: self.api.clone(), stop: Arc::clone(&asked) }.into_server())
            .add_service(self.board.service().into_server());
        let announced = announce(&self.opened, &self.hosts);
        let mut halted = announced.err();
        let served = {
            let (core, director, halted) = (&self.beacon.core, &mut self.director, &mut halted);
            let ended = async move {
                if halted.is_some() {
                    return;
                }
                tokio::select! {
                    () = stop.received() => {}
                    () = asked.notified() => {}
                    failure = director.run() => *halted = failure.err(),
                    reason = core.stopped() => {
                        *halted = Some(Failure::Halted(reason.unwrap_or_else(|| "the core ended".into())));
                    }
                }
            };
            server::serve(self.opened.listener, routes.routes(), Arc::clone(&self.api.metrics), ended).await
        };
        self.tasks.abort_all();
        tracing::info!("stopping");
        self.director.end().await;
        served?;
        halted.map_or(Ok(()), Err)
    }
}

async fn serve_metrics(listener: TcpListener, chains: ChainsService) {
    let metrics = Arc::clone(&chains.api.metrics);
    let counted = chains.clone();
    let refused: RefusalSource = Arc::new(move || counted.refusals());
    let status: StatusSource = Arc::new(move || {
        let chains = chains.clone();
        Box::pin(async move { chains.status(None).await.ok() })
    });
    if let Err(error) = metrics::serve(listener, metrics, status, refused).await {
        tracing::error!(%error, "metrics are served no more");
    }
}

/// The line that says that the process is ready.
fn announce(opened: &Opened, hosts: &Hosts) -> Result<(), Failure> {
    let address = opened.listener.local_addr()?;
    let name = &opened.identity.name;
    let role = match (opened.identity.role, hosts.first()) {
        (Role::Beacon, _) => "beacon".to_owned(),
        (Role::Shard, Some(host)) => format!("shard {}", host.local.shard),
        (Role::Shard, None) => "standby".to_owned(),
    };
    let network = &opened.network.genesis.name;
    tracing::info!(%address, validator = name, role, network = %opened.network.id, "listening");
    // A closed standard output is nobody's loss.
    let mut out = std::io::stdout().lock();
    let _closed =
        writeln!(out, "listening on {address} as {name} ({role}) of network {network}").and_then(|()| out.flush());
    Ok(())
}
