//! A network that stays up: an orchestrator in a process of its own, told what to do over a socket in the directory.
//!
//! `kakera testnet up` starts the supervisor and keeps its end of a pipe. Until `up` writes "detach" into it, the
//! end of the pipe (`up` was interrupted or killed) ends the supervisor and with it every node; afterwards the
//! network lives until it is told to stop. If the supervisor itself is killed, the kernel kills the nodes.

use crate::{
    error::{Error, Result},
    links::{self, Between, Change, LinkState},
    network::{Network, STOP_DEADLINE},
    orchestrator::Orchestrator,
    process::{ProcessState, Running, state_in},
};
use anyhow::{Context, anyhow};
use serde::Serialize;
use std::{
    fs::{self, File},
    io::{BufRead, BufReader, ErrorKind, Read, Write},
    os::{
        fd::AsRawFd,
        unix::net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// What the starter writes into the supervisor's standard input to let go of it.
pub const DETACH: &str = "detach\n";

/// What the supervisor prints once all nodes accept connections.
pub const READY: &str = "ready";

/// How long the nodes may take to accept connections.
const START_LIMIT: Duration = Duration::from_secs(60);

/// How long a request may take: longer than a stop with its deadline.
const REQUEST_LIMIT: Duration = Duration::from_secs(30);

/// Bytes of one request: two lists of the names of all processes.
const REQUEST_BYTES: u64 = 64 * 1024;

/// Bytes of one answer: a line about each of a thousand links.
const ANSWER_BYTES: u64 = 1024 * 1024;

fn supervisor_dir(network: &Network) -> PathBuf {
    network.dir().join("supervisor")
}

/// The supervisor's log.
pub fn log_path(network: &Network) -> PathBuf {
    supervisor_dir(network).join("log.txt")
}

/// The supervisor's process, if it lives.
pub fn supervisor_of(network: &Network) -> Option<Running> {
    match state_in(&supervisor_dir(network)) {
        ProcessState::Running(running) | ProcessState::Paused(running) => Some(running),
        ProcessState::Stopped | ProcessState::Dead { .. } => None,
    }
}

/// Runs the network until it is told to stop: starts all processes, prints [`READY`], serves requests.
///
/// `stop` is set by the caller's signal handler. `starter` is where [`DETACH`] or the end of the starter arrives.
/// Leaves the caller's session, so that closing the terminal does not reach it.
pub fn supervise(
    orchestrator: &Orchestrator,
    stop: &Arc<AtomicBool>,
    starter: impl Read + Send + 'static,
) -> Result<()> {
    let network = orchestrator.network();
    let dir = supervisor_dir(network);
    fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
    if let Some(running) = supervisor_of(network) {
        return Err(Error::AlreadyUp { dir: network.dir().to_owned(), pid: running.pid });
    }
    // Fails only for the leader of a group, for instance when started by hand from a shell: then the session stays.
    let _ = nix::unistd::setsid();
    let me = i32::try_from(std::process::id()).ok().and_then(Running::of).context("the kernel does not list us")?;
    me.record(&dir)?;
    watch_starter(starter, stop);
    let outcome = serve(orchestrator, stop, &dir);
    let stopped = orchestrator.stop_all(STOP_DEADLINE);
    let _ = fs::remove_file(dir.join("control.sock"));
    let _ = fs::remove_file(dir.join("pid"));
    outcome?;
    stopped.map(|_| ())
}

fn serve(orchestrator: &Orchestrator, stop: &AtomicBool, dir: &Path) -> Result<()> {
    let socket = ShortPath::to(dir)?;
    let _ = fs::remove_file(dir.join("control.sock"));
    let listener = UnixListener::bind(socket.file("control.sock")).context("cannot open the control socket")?;
    listener.set_nonblocking(true).context("cannot open the control socket")?;
    orchestrator.start_all()?;
    let names: Vec<String> = orchestrator.network().running_ones().map(|process| process.name.clone()).collect();
    let mut interrupted = false;
    let limit = Instant::now() + START_LIMIT;
    // In short rounds, so that a stop is heard meanwhile.
    loop {
        interrupted |= stop.load(Ordering::Relaxed);
        match orchestrator.wait_listening(&names, Duration::from_millis(300), |_| {}) {
            _ if interrupted => return Ok(()),
            Ok(()) => break,
            Err(Error::TimedOut { .. }) if Instant::now() < limit => {}
            Err(error) => return Err(error),
        }
    }
    // The starter may be gone already; its end of the other pipe then tells what to do.
    let _ = writeln!(std::io::stdout(), "{READY}");
    while !stop.load(Ordering::Relaxed) {
        for ended in orchestrator.collect() {
            eprintln!("{} ended: {}", ended.name, ended.how);
        }
        match listener.accept() {
            Ok((stream, _)) => {
                if let Err(error) = answer(orchestrator, stop, &stream) {
                    eprintln!("a request failed: {error:#}");
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(Duration::from_millis(50)),
            Err(error) => return Err(anyhow!(error).context("the control socket failed").into()),
        }
    }
    Ok(())
}

fn watch_starter(starter: impl Read + Send + 'static, stop: &Arc<AtomicBool>) {
    let stop = Arc::clone(stop);
    thread::spawn(move || {
        let mut line = String::new();
        let read = BufReader::new(starter).read_line(&mut line);
        if read.is_err() || line != DETACH {
            stop.store(true, Ordering::Relaxed);
        }
    });
}

fn answer(orchestrator: &Orchestrator, stop: &AtomicBool, stream: &UnixStream) -> anyhow::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    stream.set_write_timeout(Some(Duration::from_secs(2)))?;
    let mut request = String::new();
    BufReader::new(stream.take(REQUEST_BYTES)).read_line(&mut request)?;
    let done = |outcome: Result<()>| outcome.map(|()| String::new());
    let outcome = match request.trim_end().split_once(' ') {
        None if request.trim_end() == "stop" => {
            stop.store(true, Ordering::Relaxed);
            Ok(String::new())
        }
        None if request.trim_end() == "links" => orchestrator.links().and_then(|links| json(&links.states())),
        Some(("change", change)) => change_links(orchestrator, change),
        Some(("start", name)) => done(start_one(orchestrator, name)),
        Some(("restart", name)) => done(restart_one(orchestrator, name)),
        _ => Err(Error::Supervisor(format!("unknown request {request:?}"))),
    };
    let mut stream = stream;
    match outcome {
        Ok(data) => writeln!(stream, "ok {data}")?,
        Err(error) => writeln!(stream, "{}", error.to_string().replace('\n', "\t"))?,
    }
    Ok(())
}

fn start_one(orchestrator: &Orchestrator, name: &str) -> Result<()> {
    orchestrator.start(name)?;
    orchestrator.wait_listening(&[name.to_owned()], Duration::from_secs(20), |_| {})
}

fn restart_one(orchestrator: &Orchestrator, name: &str) -> Result<()> {
    orchestrator.restart(name)?;
    orchestrator.wait_listening(&[name.to_owned()], Duration::from_secs(20), |_| {})
}

fn json<T: Serialize>(value: &T) -> Result<String> {
    Ok(serde_json::to_string(value).context("an answer does not fit JSON")?)
}

fn change_links(orchestrator: &Orchestrator, change: &str) -> Result<String> {
    let (between, change): (Between, Change) =
        serde_json::from_str(change).map_err(|error| Error::Supervisor(format!("no change of links: {error}")))?;
    json(&orchestrator.links()?.apply(&between, change)?)
}

/// Asks the supervisor to change what is wrong on links; returns how many directions that concerns.
pub fn request_change(network: &Network, between: &Between, change: Change) -> Result<usize> {
    links::require(network)?;
    links::select(network, between)?;
    let answer = request(network, &format!("change {}", json(&(between, change))?))?;
    Ok(serde_json::from_str(&answer).context("the supervisor's answer")?)
}

/// Asks the supervisor what is wrong on every link, and what has passed there.
pub fn request_links(network: &Network) -> Result<Vec<LinkState>> {
    links::require(network)?;
    Ok(serde_json::from_str(&request(network, "links")?).context("the supervisor's answer")?)
}

/// Asks the supervisor to stop a process, if it runs, and to start it again.
pub fn request_restart(network: &Network, name: &str) -> Result<()> {
    network.process(name)?;
    request(network, &format!("restart {name}")).map(drop)
}

/// Asks the supervisor to start a process and waits until it accepts connections.
pub fn request_start(network: &Network, name: &str) -> Result<()> {
    network.process(name)?;
    request(network, &format!("start {name}")).map(drop)
}

/// Stops the network: through its supervisor, and whatever a killed supervisor left by its pid files. Returns
/// whether anything was running.
pub fn down(network: &Network) -> Result<bool> {
    let names: Vec<String> = network.processes().iter().map(|process| process.name.clone()).collect();
    let mut anything = false;
    if let Some(supervisor) = supervisor_of(network) {
        anything = true;
        // A supervisor that does not answer is told by signal.
        if request(network, "stop").is_err() {
            supervisor.signal(nix::sys::signal::Signal::SIGTERM)?;
        }
        let started = Instant::now();
        while supervisor.is_alive() && started.elapsed() < STOP_DEADLINE + Duration::from_secs(5) {
            thread::sleep(Duration::from_millis(20));
        }
        supervisor.signal(nix::sys::signal::Signal::SIGKILL)?;
    }
    for name in &names {
        anything |= network.state(name)?.running().is_some();
    }
    network.stop(&names, STOP_DEADLINE)?;
    Ok(anything)
}

/// Asks the supervisor; what it answers beside "ok".
fn request(network: &Network, line: &str) -> Result<String> {
    if supervisor_of(network).is_none() {
        return Err(Error::NotUp { dir: network.dir().to_owned() });
    }
    let socket = ShortPath::to(&supervisor_dir(network))?;
    let mut stream = UnixStream::connect(socket.file("control.sock")).context("the supervisor does not answer")?;
    stream.set_read_timeout(Some(REQUEST_LIMIT)).context("control socket")?;
    writeln!(stream, "{line}").context("the supervisor does not answer")?;
    let mut reply = String::new();
    BufReader::new(stream.take(ANSWER_BYTES)).read_line(&mut reply).context("the supervisor does not answer")?;
    match reply.trim_end() {
        "ok" => Ok(String::new()),
        good if good.starts_with("ok ") => Ok(good["ok ".len()..].to_owned()),
        "" => Err(Error::Supervisor("the supervisor ended while it was asked".to_owned())),
        refusal => Err(Error::Supervisor(refusal.replace('\t', "\n"))),
    }
}

/// A short name for a directory: socket paths end at 108 bytes, directories may be deeper.
struct ShortPath {
    dir: File,
}

impl ShortPath {
    fn to(dir: &Path) -> Result<ShortPath> {
        Ok(ShortPath { dir: File::open(dir).with_context(|| format!("cannot open {}", dir.display()))? })
    }

    fn file(&self, name: &str) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}/{name}", self.dir.as_raw_fd()))
    }
}

#[cfg(test)]
mod tests;
