//! The owner of a network's processes: it starts and collects them, and they end when it ends, however it ends.

use crate::{
    binaries::Binaries,
    error::{Error, Result},
    links::Links,
    logs,
    network::{Network, Process, STOP_DEADLINE},
    process::{self, ProcessState, Running},
};
use anyhow::{Context, anyhow};
use std::{
    collections::BTreeMap,
    fs,
    net::TcpStream,
    os::unix::process::CommandExt,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Mutex, MutexGuard,
        mpsc::{self, Receiver, Sender},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// Makes the command that runs a process; it must end when the thread that spawns it does.
pub type CommandOf = Box<dyn Fn(&Network, &Process) -> Command + Send + Sync>;

/// Exit code of a node whose port is taken.
const PORT_IN_USE: i32 = 4;

/// How often a node whose port was taken is started again.
const PORT_RETRIES: u32 = 8;

/// Owns the processes of one network. Dropped (also by a panic), it stops them all; killed, the kernel kills them.
pub struct Orchestrator {
    network: Network,
    command_of: CommandOf,
    children: Mutex<BTreeMap<String, Child>>,
    links: Option<Links>,
    spawner: Spawner,
}

/// A process that ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Its name.
    pub name: String,
    /// Exit code or signal, in words.
    pub how: String,
    /// The exit code, where there is one.
    pub code: Option<i32>,
}

impl Orchestrator {
    /// Will run the node binaries. Starts no process yet, but opens the relays of a network that has them.
    pub fn new(network: Network, binaries: Binaries) -> Result<Orchestrator> {
        Orchestrator::with_commands(network, Box::new(move |network, process| binaries.command(network, process)))
    }

    /// Will run other programs in the nodes' place.
    pub fn with_commands(network: Network, command_of: CommandOf) -> Result<Orchestrator> {
        let links = Links::open(&network)?;
        Ok(Orchestrator { network, command_of, children: Mutex::default(), links, spawner: Spawner::start()? })
    }

    /// The relays between the nodes.
    ///
    /// # Errors
    /// [`Error::NoLinks`] for a network that was created without.
    pub fn links(&self) -> Result<&Links> {
        self.links.as_ref().ok_or_else(|| Error::NoLinks { dir: self.network.dir().to_owned() })
    }

    /// The network.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// Starts one process; its output is appended to its log.
    pub fn start(&self, name: &str) -> Result<Running> {
        let process = self.network.process(name)?;
        self.collect();
        if let Some(running) = self.network.state(name)?.running() {
            return Err(Error::AlreadyRunning { name: name.to_owned(), pid: running.pid });
        }
        let log_path = self.network.log_path(name);
        let open = || fs::OpenOptions::new().create(true).append(true).open(&log_path);
        let log = open().with_context(|| format!("cannot open {}", log_path.display()))?;
        let errors = log.try_clone().context("cannot share a log between two streams")?;
        let mut command = (self.command_of)(&self.network, process);
        // A group of its own: Ctrl-C in the terminal reaches only the orchestrator, which ends the rest in order.
        command.stdin(Stdio::null()).stdout(log).stderr(errors).process_group(0);
        let child = self.spawner.spawn(command).with_context(|| format!("cannot start {name}"))?;
        let pid = i32::try_from(child.id()).context("a process id past the kernel's range")?;
        // Even if it has ended already: a child not yet collected keeps its entry.
        let running = Running::of(pid).with_context(|| format!("{name} vanished"))?;
        let recorded = running.record(&self.network.process_dir(name));
        self.children().insert(name.to_owned(), child);
        recorded?;
        Ok(running)
    }

    /// Starts every process that has something to do and does not run.
    pub fn start_all(&self) -> Result<()> {
        for process in self.network.running_ones() {
            if self.network.state(&process.name)?.running().is_none() {
                self.start(&process.name)?;
            }
        }
        Ok(())
    }

    /// Stops one process (SIGTERM, SIGKILL after a deadline) and starts it again.
    pub fn restart(&self, name: &str) -> Result<Running> {
        self.network.stop(&[name.to_owned()], STOP_DEADLINE)?;
        self.start(name)
    }

    /// Stops all processes; returns the names of those that had to be killed after `deadline`.
    pub fn stop_all(&self, deadline: Duration) -> Result<Vec<String>> {
        let names: Vec<String> = self.network.processes().iter().map(|process| process.name.clone()).collect();
        // Collected meanwhile, or the ended ones would linger in the process table.
        let killed = self.network.stop(&names, deadline);
        self.collect();
        killed
    }

    /// Collects processes that have ended since the last call, and notes how.
    pub fn collect(&self) -> Vec<Ended> {
        let mut ended = Vec::new();
        self.children().retain(|name, child| match child.try_wait() {
            Ok(Some(status)) => {
                process::record_end(&self.network.process_dir(name), status);
                ended.push(Ended {
                    name: name.clone(),
                    how: process::describe(status),
                    code: ExitStatus::code(&status),
                });
                false
            }
            Ok(None) => true,
            Err(_) => false,
        });
        ended
    }

    /// Waits until every process of `names` accepts connections; `progress` hears how many do. A process whose port
    /// was taken is started again a few times; one that ends otherwise is an error with the end of its log.
    pub fn wait_listening(&self, names: &[String], limit: Duration, mut progress: impl FnMut(usize)) -> Result<()> {
        let started = Instant::now();
        let mut waiting: Vec<&Process> = names.iter().map(|name| self.network.process(name)).collect::<Result<_>>()?;
        let mut retries = PORT_RETRIES;
        while !waiting.is_empty() {
            for ended in self.collect() {
                if ended.code == Some(PORT_IN_USE) && retries > 0 {
                    retries -= 1;
                    thread::sleep(Duration::from_millis(250));
                    self.start(&ended.name)?;
                }
            }
            let mut still = Vec::new();
            for process in waiting {
                if !self.listens(process)? {
                    still.push(process);
                }
            }
            waiting = still;
            progress(names.len() - waiting.len());
            if !waiting.is_empty() {
                if started.elapsed() > limit {
                    let what = format!("the start of {}", waiting[0].name);
                    return Err(Error::TimedOut { what, seconds: limit.as_secs(), dir: self.network.dir().to_owned() });
                }
                thread::sleep(Duration::from_millis(50));
            }
        }
        Ok(())
    }

    fn listens(&self, process: &Process) -> Result<bool> {
        match self.network.state(&process.name)? {
            // A zombie that is not collected yet counts as dead here; the next round knows how it ended.
            ProcessState::Dead { how: None } => return Ok(false),
            ProcessState::Running(_) | ProcessState::Paused(_) => {}
            ProcessState::Stopped => return Err(self.ended(process, "exit code 0 (stopped on request)".to_owned())),
            ProcessState::Dead { how: Some(how) } => return Err(self.ended(process, how)),
        }
        let address = process.endpoint.parse().with_context(|| format!("{} is not an address", process.endpoint))?;
        Ok(TcpStream::connect_timeout(&address, Duration::from_millis(200)).is_ok())
    }

    fn ended(&self, process: &Process, status: String) -> Error {
        let log = self.network.log_path(&process.name);
        Error::Ended { name: process.name.clone(), status, tail: logs::tail(&log, 12), log }
    }

    fn children(&self) -> MutexGuard<'_, BTreeMap<String, Child>> {
        // A panic elsewhere leaves the map whole; the children must still be ended.
        self.children.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Drop for Orchestrator {
    fn drop(&mut self) {
        // Nothing to report to any more; whatever is left is killed, by us or by the kernel.
        let _ = self.stop_all(Duration::from_secs(5));
        for child in self.children().values_mut() {
            let _ = child.kill();
            let _ = child.wait();
        }
        self.spawner.stop();
    }
}

/// The thread that spawns all children: the kernel ends a child when the *thread* that spawned it ends, so this
/// one lives as long as the orchestrator.
struct Spawner {
    requests: Mutex<Option<Sender<SpawnRequest>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct SpawnRequest {
    command: Command,
    reply: Sender<std::io::Result<Child>>,
}

impl Spawner {
    fn start() -> Result<Spawner> {
        let (requests, received): (Sender<SpawnRequest>, Receiver<SpawnRequest>) = mpsc::channel();
        let serve = move || {
            while let Ok(mut request) = received.recv() {
                // The asker waits for the answer; if it is gone, so is the orchestrator.
                let _ = request.reply.send(request.command.spawn());
            }
        };
        let thread = thread::Builder::new().name("spawner".to_owned()).spawn(serve).context("cannot start a thread")?;
        Ok(Spawner { requests: Mutex::new(Some(requests)), thread: Mutex::new(Some(thread)) })
    }

    fn spawn(&self, command: Command) -> anyhow::Result<Child> {
        let (reply, answer) = mpsc::channel();
        let gone = || anyhow!("the spawning thread has ended");
        let requests = self.requests.lock().map_err(|_| gone())?.clone().ok_or_else(gone)?;
        requests.send(SpawnRequest { command, reply }).map_err(|_| gone())?;
        Ok(answer.recv().map_err(|_| gone())??)
    }

    fn stop(&self) {
        if let Ok(mut requests) = self.requests.lock() {
            requests.take();
        }
        if let Some(thread) = self.thread.lock().ok().and_then(|mut thread| thread.take()) {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
