//! A network in a directory: who is there and where, what state each process is in, and signals to them.
//!
//! ```text
//! DIR/network.toml      this network's processes            DIR/<name>/node.toml, key, randomness
//! DIR/genesis.toml      the genesis file                    DIR/<name>/data/    the node's own
//! DIR/profile.toml      what it was created from            DIR/<name>/log.txt  what it printed
//! DIR/faucet/shard-N.key                                    DIR/<name>/pid      id and start time while it runs
//! DIR/supervisor/       pid, log and control socket         DIR/<name>/exit     how it ended last
//! ```

use crate::{
    error::{Error, Result},
    process::{self, ProcessState, Running},
};
use anyhow::Context;
use kakera_chain::{
    genesis::{self, Role},
    keys::SecretKey,
    units::ShardId,
};
use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};
use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// The version of the directory's layout.
pub const FORMAT: u32 = 1;

/// How long a process has after SIGTERM before it is killed.
pub const STOP_DEADLINE: Duration = Duration::from_secs(10);

/// The contents of `network.toml`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NetworkFile {
    pub(crate) format: u32,
    pub(crate) name: String,
    pub(crate) shards: u16,
    /// Whether committees change.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) epochs: bool,
    /// The port of the relays, for a network that has them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) relays: Option<u16>,
    pub(crate) processes: Vec<Process>,
}

/// One process of a network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Process {
    /// Its validator's name, also its directory's.
    pub name: String,
    /// Which binary it is.
    pub role: Role,
    /// The shard that it serves at first; none for the beacon and for standbys.
    pub shard: Option<u16>,
    /// Where it answers gRPC: `host:port`.
    pub endpoint: String,
    /// Where it answers Prometheus: `host:port`.
    pub metrics: String,
}

/// Every address of 127.0.0.0/8 is this machine: one port serves all pairs, and the address names the pair.
pub(crate) fn relay(port: u16, dialler: usize, listener: usize) -> Option<SocketAddr> {
    let byte = |index: usize| index.checked_add(1).and_then(|place| u8::try_from(place).ok());
    Some(SocketAddr::from(([127, 1, byte(dialler)?, byte(listener)?], port)))
}

/// A network that was created in a directory. Cheap to clone; holds no process.
#[derive(Clone, Debug)]
pub struct Network {
    dir: PathBuf,
    file: NetworkFile,
}

impl Network {
    /// Opens the network in `dir`.
    pub fn open(dir: &Path) -> Result<Network> {
        let refuse = |reason: String| Error::NoNetwork { dir: dir.to_owned(), reason };
        let text =
            fs::read_to_string(dir.join("network.toml")).map_err(|error| refuse(format!("network.toml: {error}")))?;
        let file: NetworkFile = toml::from_str(&text).map_err(|error| refuse(format!("network.toml: {error}")))?;
        if file.format != FORMAT {
            return Err(refuse(format!("its format is {}, this program knows {FORMAT}", file.format)));
        }
        let dir = fs::canonicalize(dir).with_context(|| format!("cannot resolve {}", dir.display()))?;
        Ok(Network { dir, file })
    }

    /// Whether `dir` holds a network, complete or not readable.
    pub fn exists(dir: &Path) -> bool {
        dir.join("network.toml").exists()
    }

    /// The directory, absolute.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The network's name.
    pub fn name(&self) -> &str {
        &self.file.name
    }

    /// Number of shards.
    pub fn shards(&self) -> u16 {
        self.file.shards
    }

    /// Whether its committees change from epoch to epoch.
    pub fn has_epochs(&self) -> bool {
        self.file.epochs
    }

    /// Whether a process has anything to do: a standby has only where committees change.
    pub fn runs(&self, process: &Process) -> bool {
        self.file.epochs || process.role == Role::Beacon || process.shard.is_some()
    }

    /// The processes that have anything to do, in the order of the registry.
    pub fn running_ones(&self) -> impl Iterator<Item = &Process> {
        self.file.processes.iter().filter(|process| self.runs(process))
    }

    /// Whether its nodes reach each other through relays, so that its links can be broken.
    pub fn is_relayed(&self) -> bool {
        self.file.relays.is_some()
    }

    /// The relay from one process to another, by their places in the registry; none without relays.
    pub fn relay(&self, dialler: usize, listener: usize) -> Option<SocketAddr> {
        self.file.relays.and_then(|port| relay(port, dialler, listener))
    }

    /// All processes, in the order of the registry.
    pub fn processes(&self) -> &[Process] {
        &self.file.processes
    }

    /// The beacon's processes.
    pub fn beacons(&self) -> impl Iterator<Item = &Process> {
        self.file.processes.iter().filter(|process| process.role == Role::Beacon)
    }

    /// The processes of a shard's first committee.
    pub fn members_of(&self, shard: ShardId) -> impl Iterator<Item = &Process> {
        self.file.processes.iter().filter(move |process| process.shard == Some(shard.0))
    }

    /// A process by name.
    pub fn process(&self, name: &str) -> Result<&Process> {
        self.file.processes.iter().find(|process| process.name == name).ok_or_else(|| Error::UnknownProcess {
            name: name.to_owned(),
            known: self.file.processes.iter().map(|process| process.name.as_str()).collect::<Vec<_>>().join(", "),
        })
    }

    /// The checked genesis file.
    pub fn genesis(&self) -> Result<genesis::Network> {
        let path = self.dir.join("genesis.toml");
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let network = genesis::Network::parse(&text).with_context(|| format!("{} is refused", path.display()))?;
        Ok(network)
    }

    /// The key of a shard's faucet.
    pub fn faucet(&self, shard: ShardId) -> Result<SecretKey> {
        let path = self.dir.join("faucet").join(format!("shard-{shard}.key"));
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let key = SecretKey::parse(text.trim()).with_context(|| format!("{} holds no key", path.display()))?;
        Ok(key)
    }

    /// The directory of a process.
    pub fn process_dir(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The log of a process.
    pub fn log_path(&self, name: &str) -> PathBuf {
        self.process_dir(name).join("log.txt")
    }

    /// The state of a process, from its pid file and the kernel.
    pub fn state(&self, name: &str) -> Result<ProcessState> {
        self.process(name)?;
        Ok(process::state_in(&self.process_dir(name)))
    }

    /// The running process behind a name.
    pub fn running(&self, name: &str) -> Result<Running> {
        match self.state(name)? {
            ProcessState::Running(running) | ProcessState::Paused(running) => Ok(running),
            ProcessState::Stopped | ProcessState::Dead { .. } => Err(Error::NotRunning { name: name.to_owned() }),
        }
    }

    /// Kills a process at once, as a power failure would (SIGKILL), and waits until it is gone.
    pub fn kill(&self, name: &str) -> Result<()> {
        let running = self.running(name)?;
        running.signal(Signal::SIGKILL)?;
        self.wait_gone(name, &running, Duration::from_secs(10))
    }

    /// Freezes a process (SIGSTOP).
    pub fn pause(&self, name: &str) -> Result<()> {
        Ok(self.running(name)?.signal(Signal::SIGSTOP)?)
    }

    /// Lets a frozen process go on (SIGCONT).
    pub fn resume(&self, name: &str) -> Result<()> {
        Ok(self.running(name)?.signal(Signal::SIGCONT)?)
    }

    /// Asks processes to end (SIGTERM), all at once, and kills those that have not after `deadline`. Those that do
    /// not run are passed over. Returns the names of those that had to be killed.
    pub fn stop(&self, names: &[String], deadline: Duration) -> Result<Vec<String>> {
        let mut ending = Vec::new();
        for name in names {
            let (ProcessState::Running(running) | ProcessState::Paused(running)) = self.state(name)? else { continue };
            running.signal(Signal::SIGTERM)?;
            // A frozen process takes no SIGTERM before it goes on.
            running.signal(Signal::SIGCONT)?;
            ending.push((name, running));
        }
        let started = Instant::now();
        while started.elapsed() < deadline && ending.iter().any(|(_, running)| running.is_alive()) {
            std::thread::sleep(Duration::from_millis(20));
        }
        let mut killed = Vec::new();
        for (name, running) in ending {
            if running.is_alive() {
                running.signal(Signal::SIGKILL)?;
                self.wait_gone(name, &running, Duration::from_secs(10))?;
                killed.push(name.clone());
            } else {
                process::forget(&self.process_dir(name));
            }
        }
        Ok(killed)
    }

    fn wait_gone(&self, name: &str, running: &Running, limit: Duration) -> Result<()> {
        let started = Instant::now();
        while running.is_alive() {
            if started.elapsed() > limit {
                return Err(Error::TimedOut {
                    what: format!("the end of {name}"),
                    seconds: limit.as_secs(),
                    dir: self.dir.clone(),
                });
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }
}
