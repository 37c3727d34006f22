//! `kakera testnet`: a network of real processes on this machine.

mod faults;

use crate::{
    args::{Names, TestnetCommand},
    client::Client,
    failure::{Failure, Result},
    locate::Place,
    output::table,
    progress::Progress,
};
use anyhow::{Context, anyhow};
use kakera_chain::genesis::Role;
use kakera_deploy::{
    Binaries, Network, Orchestrator, ProcessState, Profile, Wiring, links,
    logs::{self, Follower},
    process, supervisor,
};
use serde_json::{Value, json};
use std::{
    fs,
    os::unix::process::CommandExt,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::signal::unix::{SignalKind, signal};

/// How long the chains may take to certify their first block.
const FIRST_BLOCK_LIMIT: Duration = Duration::from_secs(60);

/// Runs a testnet command.
pub(crate) async fn run(command: TestnetCommand, place: &Place) -> Result<()> {
    match command {
        TestnetCommand::Up { profile, direct } => up(profile.as_deref(), direct, place).await,
        TestnetCommand::Down => down(place).await,
        TestnetCommand::Status => status(place),
        TestnetCommand::Logs { name, follow, lines } => show_logs(place, &name, follow, lines).await,
        TestnetCommand::Kill(names) => each(place, &names, "killed", |network, name| Ok(network.kill(name)?)),
        TestnetCommand::Pause(names) => each(place, &names, "paused", |network, name| Ok(network.pause(name)?)),
        TestnetCommand::Resume(names) => each(place, &names, "resumed", |network, name| Ok(network.resume(name)?)),
        TestnetCommand::Start(names) => {
            each(place, &names, "started", |network, name| Ok(supervisor::request_start(network, name)?))
        }
        TestnetCommand::Fault(command) => faults::run(command, place).await,
        TestnetCommand::Supervise => supervise(place).await,
    }
}

fn open_or_create(profile: Option<Profile>, direct: bool, place: &Place) -> Result<Network> {
    if Network::exists(&place.dir) {
        let network = place.network()?;
        if let Some(wanted) = profile {
            let wanted = wanted.name;
            if wanted != network.name() {
                let message = format!(
                    "{} holds a network of profile {}, not {wanted}: choose another directory",
                    place.dir.display(),
                    network.name()
                );
                return Err(Failure::refused("OTHER_NETWORK", message));
            }
        }
        return Ok(network);
    }
    let profile = profile.unwrap_or_else(Profile::demo);
    let relayed = !direct && profile.processes() as usize <= links::MAX_RELAYED;
    let wiring = if relayed { Wiring::Relayed } else { Wiring::Direct };
    Ok(kakera_deploy::create_wired(&place.dir, &profile, wiring)?)
}

async fn up(profile: Option<&str>, direct: bool, place: &Place) -> Result<()> {
    // A wrong name is told whether there are binaries or not.
    let profile = profile.map(Profile::load).transpose()?;
    Binaries::find()?;
    let network = open_or_create(profile, direct, place)?;
    if let Some(running) = supervisor::supervisor_of(&network) {
        return Err(kakera_deploy::Error::AlreadyUp { dir: network.dir().to_owned(), pid: running.pid }.into());
    }
    let count = network.running_ones().count();
    let progress = Progress::new(&format!("starting {count} processes"), 0);
    // Until it is told otherwise the supervisor ends, and its processes with it, when its standard input does:
    // whatever ends this function early ends the network too.
    let mut child = spawn_supervisor(&network)?;
    let stdout = child.stdout.take().context("the supervisor's output is a pipe")?;
    let ready = tokio::task::spawn_blocking(move || {
        use std::io::{BufRead, BufReader};
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).map(|_| line.trim_end() == supervisor::READY)
    });
    let ready = ready.await.context("waiting for the supervisor")?.context("reading from the supervisor")?;
    if !ready {
        let tail = logs::tail(&supervisor::log_path(&network), 20);
        return Err(Failure::Other(anyhow!("the network did not start:\n{tail}")));
    }
    progress.finish("all accept connections");
    let endpoints: Vec<&str> = network.running_ones().map(|process| process.endpoint.as_str()).collect();
    wait_certified(&Client::new(&endpoints)?, 1, FIRST_BLOCK_LIMIT).await?;
    use std::io::Write;
    let mut stdin = child.stdin.take().context("the supervisor's input is a pipe")?;
    stdin.write_all(supervisor::DETACH.as_bytes()).context("the supervisor ended")?;
    let dir = network.dir().display().to_string();
    place.output.data(&json!({"dir": dir, "processes": count, "up": true, "nodes": endpoints}), || {
        format!(
            "{count} processes run in {dir}\nlook:  kakera status --dir {dir}\nstop:  kakera testnet down --dir {dir}"
        )
    });
    Ok(())
}

fn spawn_supervisor(network: &Network) -> Result<Child> {
    let log_path = supervisor::log_path(network);
    let dir = log_path.parent().context("a log lies in a directory")?;
    fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let log = fs::OpenOptions::new().create(true).append(true).open(&log_path).context("the supervisor's log")?;
    let program = std::env::current_exe().context("the running program has no path")?;
    let child = Command::new(program)
        .args(["testnet", "supervise", "--dir"])
        .arg(network.dir())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(log)
        // Ctrl-C reaches `up` alone; the supervisor notices by its input's end.
        .process_group(0)
        .spawn()
        .context("cannot start the supervisor")?;
    Ok(child)
}

async fn supervise(place: &Place) -> Result<()> {
    let network = place.network()?;
    let orchestrator = Orchestrator::new(network, Binaries::find()?)?;
    let stop = Arc::new(AtomicBool::new(false));
    for kind in [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()] {
        let mut signals = signal(kind).context("cannot listen for signals")?;
        let stop = Arc::clone(&stop);
        tokio::spawn(async move {
            signals.recv().await;
            stop.store(true, Ordering::Relaxed);
        });
    }
    let supervising =
        tokio::task::spawn_blocking(move || supervisor::supervise(&orchestrator, &stop, std::io::stdin()));
    Ok(supervising.await.context("the supervisor panicked")??)
}

/// Waits until every node answers and its chain has certified the block of `height`.
pub(crate) async fn wait_certified(client: &Client, height: u64, limit: Duration) -> Result<()> {
    let progress = Progress::new("waiting for certified blocks on every node", client.len() as u64);
    let started = Instant::now();
    let mut waiting: Vec<(usize, Client)> = (0..client.len()).map(|index| (index, client.only(index))).collect();
    let mut last = String::new();
    while !waiting.is_empty() {
        let mut still = Vec::new();
        for (index, one) in waiting {
            match one.status().await {
                Ok(status) if status.certified_height >= height => {}
                Ok(status) => {
                    last = format!("{}: {} {}", status.validator, status.phase, status.stall_reason);
                    still.push((index, one));
                }
                Err(failure) => {
                    last = failure.to_string();
                    still.push((index, one));
                }
            }
        }
        waiting = still;
        progress.set((client.len() - waiting.len()) as u64);
        if let Some((index, _)) = waiting.first() {
            if started.elapsed() > limit {
                return Err(Failure::Connection(format!(
                    "{} certified no block in {} s ({last})",
                    client.endpoint(*index),
                    limit.as_secs()
                )));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    progress.finish(&format!("{} nodes in {:.1} s", client.len(), started.elapsed().as_secs_f64()));
    Ok(())
}

async fn down(place: &Place) -> Result<()> {
    let network = place.network()?;
    let progress = Progress::new("stopping the processes", 0);
    let dir = network.dir().display().to_string();
    let stopped = tokio::task::spawn_blocking(move || supervisor::down(&network)).await.context("stopping")??;
    progress.finish("done");
    place.output.data(&json!({"dir": dir, "stopped": stopped}), || {
        if stopped { format!("stopped; the data stays in {dir}") } else { "nothing was running".to_owned() }
    });
    Ok(())
}

fn status(place: &Place) -> Result<()> {
    let network = place.network()?;
    let mut rows = Vec::new();
    let mut values = Vec::new();
    for process in network.processes() {
        let state = network.state(&process.name)?;
        let chain = match (process.role, process.shard) {
            (Role::Beacon, _) => "beacon".to_owned(),
            (Role::Shard, Some(shard)) => format!("shard {shard}"),
            (Role::Shard, None) => "standby".to_owned(),
        };
        let pid = state.running().map(|running| running.pid);
        let peak_kib = pid.and_then(process::peak_memory_kib);
        let how = if let ProcessState::Dead { how: Some(how) } = &state { how.clone() } else { String::new() };
        values.push(json!({
            "name": process.name, "chain": chain, "state": state.word(), "ended": how, "pid": pid,
            "peak_memory_kib": peak_kib, "endpoint": process.endpoint, "metrics": process.metrics,
        }));
        rows.push(vec![
            process.name.clone(),
            chain,
            state.word().to_owned(),
            pid.map(|pid| pid.to_string()).unwrap_or_default(),
            peak_kib.map(|kib| format!("{} MiB", kib / 1024)).unwrap_or_default(),
            process.endpoint.clone(),
            process.metrics.clone(),
            how,
        ]);
    }
    let supervisor = supervisor::supervisor_of(&network).map(|running| running.pid);
    let value =
        json!({"dir": network.dir(), "name": network.name(), "supervisor_pid": supervisor, "processes": values});
    place.output.data(&value, || {
        table(&["process", "chain", "state", "pid", "peak memory", "endpoint", "metrics", "ended"], &rows)
    });
    Ok(())
}

async fn show_logs(place: &Place, name: &str, follow: bool, lines: usize) -> Result<()> {
    let network = place.network()?;
    let path = if name == "supervisor" {
        supervisor::log_path(&network)
    } else {
        network.log_path(&network.process(name)?.name)
    };
    let mut follower = Follower::at_end(&path);
    let show = |text: &str| place.output.data(&json!({"name": name, "text": text}), || text.to_owned());
    let tail = logs::tail(&path, lines);
    if !tail.is_empty() {
        show(&tail);
    }
    if !follow {
        return Ok(());
    }
    // Until the reader has seen enough (Ctrl-C).
    loop {
        let more = follower.read()?;
        if !more.is_empty() {
            show(&more);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

fn each(place: &Place, names: &Names, done: &str, act: impl Fn(&Network, &str) -> Result<()>) -> Result<()> {
    let network = place.network()?;
    let all = names.names.iter().any(|name| name == "all");
    let listed: Vec<String> = if all {
        let wanted = |state: &ProcessState| state.running().is_some() != (done == "started");
        let mut matching = Vec::new();
        for process in network.running_ones() {
            if wanted(&network.state(&process.name)?) {
                matching.push(process.name.clone());
            }
        }
        matching
    } else {
        names.names.clone()
    };
    // Every name is judged before anything happens to any.
    for name in &listed {
        network.process(name)?;
    }
    for name in &listed {
        act(&network, name)?;
    }
    let value: Vec<Value> = listed.iter().map(|name| json!({"name": name, "done": done})).collect();
    place.output.data(&Value::Array(value), || {
        if listed.is_empty() { format!("no process to be {done}") } else { format!("{done}: {}", listed.join(", ")) }
    });
    Ok(())
}
