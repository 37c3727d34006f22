//! A node process from its flags to its exit code.

mod address;
mod beacon;
mod director;
mod fetching;
mod host;
pub(crate) mod lasting;
mod node;

use crate::{
    checkpoint::{NoCheckpoint, Wish},
    config::{ConfigError, Flags, Identity, NodeConfig},
    core::{self, now},
    guard::GuardFailure,
    home::{self, Home, HomeFailure, Tenancy},
    lab::Hooks,
    limits,
    server::{self, ServeFailure},
    store::OpenFailure,
    telemetry,
};
use clap::Parser;
use kakera_beacon::{Beacon, Committees, genesis_header};
use kakera_chain::{
    application::Application,
    block::Header,
    genesis::{Network, Role},
    replica::InvalidStore,
    store::StoreFailure,
    units::{ChainId, ShardId, Timestamp},
};
use kakera_shard::{PoolLimits, Shard, ShardConfig, first_reading};
use nix::{
    sys::{prctl, signal::Signal},
    unistd::getppid,
};
use std::{io::Write as _, path::PathBuf, process::ExitCode, sync::Arc};
use thiserror::Error;
use tokio::net::TcpListener;

/// Why a process ends other than on request.
#[derive(Debug, Error)]
pub enum Failure {
    /// It was told nonsense.
    #[error("{0}")]
    Config(#[from] ConfigError),
    /// The data directory.
    #[error("{0}")]
    Home(#[from] HomeFailure),
    /// A database in it.
    #[error("{0}")]
    Store(#[from] OpenFailure),
    /// The second place of what was said.
    #[error("{0}")]
    Guard(#[from] GuardFailure),
    /// What the store holds does not fit together.
    #[error(
        "{} does not fit together ({reason}): move it away and start again to fetch everything from the other members, \
         or restore a copy", path.display()
    )]
    Contents {
        /// The store's directory.
        path: PathBuf,
        /// Why.
        reason: InvalidStore,
    },
    /// Nowhere to begin.
    #[error("{0}")]
    Checkpoint(#[from] NoCheckpoint),
    /// A socket.
    #[error("{0}")]
    Serve(#[from] ServeFailure),
    /// The chain stopped to stay safe.
    #[error("halted: {0}")]
    Halted(String),
    /// Threads or signals.
    #[error("the machine refuses: {0}")]
    Machine(#[from] std::io::Error),
}

impl Failure {
    /// What the process answers its starter: 2 usage or configuration, 3 data directory, 4 a port in use, 5 halted.
    pub fn exit_code(&self) -> u8 {
        match self {
            Failure::Config(_) | Failure::Checkpoint(_) => 2,
            Failure::Home(_) | Failure::Store(_) | Failure::Guard(_) | Failure::Contents { .. } => 3,
            Failure::Serve(ServeFailure::PortInUse { .. }) => 4,
            Failure::Serve(ServeFailure::Listen { .. }) => 2,
            Failure::Halted(_) => 5,
            Failure::Serve(ServeFailure::Ended(_)) | Failure::Machine(_) => 1,
        }
    }
}

/// What a process has opened before its chains.
struct Opened {
    identity: Identity,
    network: Arc<Network>,
    home: Home,
    restored: bool,
    listener: TcpListener,
    metrics_listener: Option<TcpListener>,
    started: Timestamp,
    hooks: Hooks,
    checkpoint: Option<Wish>,
}

/// The chains' applications before any block, and their first headers.
pub(crate) struct Origin {
    pub(crate) beacon: Beacon,
    pub(crate) beacon_genesis: Header,
    pub(crate) shards: Vec<Header>,
}

/// Runs a beacon process (`Role::Beacon`) or a shard process.
pub fn main(role: Role) -> ExitCode {
    main_with(role, &Hooks::default())
}

/// The same with hooks, for labs.
pub fn main_with(role: Role, hooks: &Hooks) -> ExitCode {
    let flags = match Flags::try_parse() {
        Ok(flags) => flags,
        // clap's own codes: 0 for help and version, 2 for usage.
        Err(error) => error.exit(),
    };
    match start(&flags, role, hooks) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // The log may lie on the disk that is full: the exit code must be told all the same.
            let _nowhere = writeln!(std::io::stderr(), "error: {failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}

fn start(flags: &Flags, role: Role, hooks: &Hooks) -> Result<(), Failure> {
    if let Some(parent) = flags.die_with_parent {
        die_with_parent(parent)?;
    }
    let config = NodeConfig::load(flags)?;
    let identity = config.identity(role)?;
    telemetry::init(&config.log, config.log_format)?;
    // Most work is the core thread's; two workers serve a few thousand streams. Lookups of names block, and those that
    // nobody answers must not be all that there is room for.
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).max_blocking_threads(64).enable_all().build()?;
    let ended = runtime.block_on(run(config, identity, hooks.clone()));
    runtime.shutdown_timeout(std::time::Duration::from_millis(500));
    ended
}

async fn run(config: NodeConfig, identity: Identity, hooks: Hooks) -> Result<(), Failure> {
    let stop = node::stop_signal()?;
    core::set_clock(config.clock_offset_ms);
    if let Some(bytes) = config.disk_limit_bytes {
        limits::limit_files(bytes)?;
    }
    if config.clock_offset_ms != 0 || config.disk_limit_bytes.is_some() {
        let (clock_offset_ms, disk_limit_bytes) = (config.clock_offset_ms, config.disk_limit_bytes);
        tracing::warn!(clock_offset_ms, ?disk_limit_bytes, "this node is in a fault lab");
    }
    let (_tenancy, opened) = open(config, identity, hooks).await?;
    node::run(opened, stop).await
}

/// Opens everything that can refuse, sockets first: a port in use must not cost a recovery.
async fn open(config: NodeConfig, identity: Identity, hooks: Hooks) -> Result<(Tenancy, Opened), Failure> {
    let network = Arc::new(identity.network.clone());
    if network.genesis.epochs.is_none() && !has_seat(&network, &identity) {
        return Err(ConfigError::Standby { path: config.key, name: identity.name }.into());
    }
    let listener = server::listen(config.listen, "listen").await?;
    let metrics_listener = match config.metrics {
        Some(address) => Some(server::listen(address, "metrics").await?),
        None => None,
    };
    let checkpoint = config.checkpoint.clone();
    let (tenancy, home, started) = (home::take(&config.data)?, Home::new(&config.data, network.id), now());
    let epoch = network.epoch_of(network.clock(ChainId::Beacon).slot_at(started));
    let restored = home
        .heed_restore(network.genesis.shards, epoch)
        .map_err(|error| Failure::Machine(std::io::Error::other(format!("{error:#}"))))?;
    Ok((tenancy, Opened { identity, network, home, restored, listener, metrics_listener, started, hooks, checkpoint }))
}

/// Whether the genesis file's draw has a seat for this validator.
fn has_seat(network: &Network, identity: &Identity) -> bool {
    let committees = Committees::draw(network);
    let mut all = std::iter::once(&committees.beacon).chain(&committees.shards);
    identity.validator.is_some_and(|validator| all.any(|seats| seats.member(validator).is_some()))
}

impl Opened {
    fn contents(&self, failure: StoreFailure) -> Failure {
        Failure::Contents { path: self.home.path().to_path_buf(), reason: failure.into() }
    }
}

impl Origin {
    /// Computes every chain's first header from the genesis file.
    pub(crate) fn of(network: &Arc<Network>) -> Result<Origin, StoreFailure> {
        let shards = (0..network.genesis.shards)
            .map(|shard| {
                // A shard's genesis does not depend on the beacon's, which depends on it.
                let nothing = first_reading(kakera_chain::BlockId::default(), kakera_chain::BlockId::default());
                let app = shard_app(network, ShardId(shard), nothing, None)?;
                let genesis = app.genesis();
                Ok(genesis_header(ChainId::Shard(ShardId(shard)), genesis.state_root, genesis.figures))
            })
            .collect::<Result<Vec<Header>, StoreFailure>>()?;
        let beacon = Beacon::new(network, shards.clone());
        let genesis = beacon.genesis();
        let beacon_genesis = genesis_header(ChainId::Beacon, genesis.state_root, genesis.figures);
        Ok(Origin { beacon, beacon_genesis, shards })
    }
}

pub(crate) fn shard_app(
    network: &Arc<Network>,
    shard: ShardId,
    first: kakera_chain::lanes::Reading,
    store: Option<&dyn kakera_chain::store::Store>,
) -> Result<Shard, StoreFailure> {
    let config = ShardConfig {
        network: Arc::clone(network),
        shard,
        first,
        signatures: kakera_chain::signatures::Signatures::default(),
        pool: PoolLimits::default(),
    };
    Shard::new(config, store)
}

/// Asks the kernel to end this process with the one that started it, and makes sure that that one still lives.
/// `parent`: its process id, or 0 when not told.
fn die_with_parent(parent: i32) -> Result<(), Failure> {
    prctl::set_pdeathsig(Signal::SIGKILL).map_err(std::io::Error::from)?;
    let found = getppid().as_raw();
    // Orphans belong to process 1; one that was told its parent knows for sure.
    if (parent == 0 && found == 1) || (parent > 1 && found != parent) {
        return Err(Failure::Machine(std::io::Error::other("the process that started this one has ended")));
    }
    Ok(())
}
