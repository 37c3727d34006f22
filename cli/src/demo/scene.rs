//! The demo's network: twelve processes in a temporary directory, owned by this process.

use crate::{
    client::Client,
    commands::testnet::wait_certified,
    failure::{Failure, Result},
    progress::Progress,
};
use anyhow::Context;
use kakera_chain::{genesis, units::ShardId};
use kakera_deploy::{Binaries, Network, Orchestrator, Process, Profile, process};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

/// How long the processes may take to accept connections.
const START_LIMIT: Duration = Duration::from_secs(40);

/// How long the chains may take to certify their first blocks.
const FIRST_BLOCK_LIMIT: Duration = Duration::from_secs(40);

/// A running network and ways to talk to it.
pub(crate) struct Scene {
    /// The processes; they end with it.
    pub(crate) orchestrator: Arc<Orchestrator>,
    /// Every node.
    pub(crate) client: Arc<Client>,
    /// The checked genesis file.
    pub(crate) genesis: genesis::Network,
}

/// Where the demo's directory is: new, in the system's place for temporary files.
pub(crate) fn fresh_dir() -> Result<PathBuf> {
    let tag = getrandom::u32().map_err(|error| anyhow::anyhow!("the system has no entropy: {error}"))?;
    Ok(std::env::temp_dir().join(format!("kakera-demo-{}-{tag:08x}", std::process::id())))
}

impl Scene {
    /// Creates and starts the network; ready when every chain certifies blocks on every node.
    pub(crate) async fn open(dir: &Path) -> Result<Scene> {
        let binaries = Binaries::find()?;
        let network = kakera_deploy::create(dir, &Profile::demo())?;
        let genesis = network.genesis()?;
        let names: Vec<String> = network.processes().iter().map(|process| process.name.clone()).collect();
        let endpoints: Vec<String> = network.processes().iter().map(|process| process.endpoint.clone()).collect();
        let orchestrator = Arc::new(Orchestrator::new(network, binaries)?);
        let progress = Progress::new("starting processes", names.len() as u64);
        let owner = Arc::clone(&orchestrator);
        let started = Instant::now();
        let starting = tokio::task::spawn_blocking(move || {
            owner.start_all()?;
            owner.wait_listening(&names, START_LIMIT, |count| progress.set(count as u64))?;
            progress.finish(&format!("{} listen after {:.1} s", names.len(), started.elapsed().as_secs_f64()));
            Ok::<(), kakera_deploy::Error>(())
        });
        starting.await.context("starting the processes")??;
        let client = Arc::new(Client::new(&endpoints)?);
        wait_certified(&client, 1, FIRST_BLOCK_LIMIT).await?;
        Ok(Scene { orchestrator, client, genesis })
    }

    /// The network.
    pub(crate) fn network(&self) -> &Network {
        self.orchestrator.network()
    }

    /// Number of shards.
    pub(crate) fn shards(&self) -> u16 {
        self.genesis.genesis.shards
    }

    /// A client of the nodes that `choose` names.
    pub(crate) fn nodes(&self, choose: impl Fn(&Process) -> bool) -> Client {
        let chosen = self.network().processes().iter().enumerate().filter(|(_, process)| choose(process));
        self.client.subset(&chosen.map(|(index, _)| index).collect::<Vec<_>>())
    }

    /// A client of a shard's nodes.
    pub(crate) fn shard_nodes(&self, shard: ShardId) -> Client {
        self.nodes(|process| process.shard == Some(shard.0))
    }

    /// A client of the beacon's nodes.
    pub(crate) fn beacon_nodes(&self) -> Client {
        self.nodes(|process| process.role == genesis::Role::Beacon)
    }

    /// A client of one node by name.
    pub(crate) fn node(&self, name: &str) -> Client {
        self.nodes(|process| process.name == name)
    }

    /// Kills a process at once (SIGKILL).
    pub(crate) async fn kill(&self, name: &str) -> Result<()> {
        let (network, name) = (self.network().clone(), name.to_owned());
        Ok(tokio::task::spawn_blocking(move || network.kill(&name)).await.context("killing a process")??)
    }

    /// Starts a process again and waits until it listens.
    pub(crate) async fn start(&self, name: &str) -> Result<()> {
        let (orchestrator, name) = (Arc::clone(&self.orchestrator), name.to_owned());
        let starting = tokio::task::spawn_blocking(move || {
            orchestrator.start(&name)?;
            orchestrator.wait_listening(&[name], START_LIMIT, |_| {})
        });
        Ok(starting.await.context("starting a process")??)
    }

    /// Processor time used by all processes so far, in us.
    pub(crate) fn cpu_us(&self) -> Result<u64> {
        let mut sum = 0;
        for process in self.network().processes() {
            let running = self.network().running(&process.name)?;
            sum += process::cpu_us(running.pid)
                .ok_or_else(|| Failure::Check(format!("{} has ended by itself", process.name)))?;
        }
        Ok(sum)
    }

    /// The peak memory of each process, in KiB.
    pub(crate) fn peak_memory_kib(&self) -> BTreeMap<String, u64> {
        let measure = |process: &Process| {
            let running = self.network().running(&process.name).ok()?;
            Some((process.name.clone(), process::peak_memory_kib(running.pid)?))
        };
        self.network().processes().iter().filter_map(measure).collect()
    }

    /// Stops all processes.
    pub(crate) async fn close(&self) -> Result<Vec<String>> {
        let orchestrator = Arc::clone(&self.orchestrator);
        let stopping = tokio::task::spawn_blocking(move || orchestrator.stop_all(Duration::from_secs(10)));
        Ok(stopping.await.context("stopping the processes")??)
    }
}
