//! `kakera demo`: a network of twelve processes is started, loaded, hurt, checked and removed.
//!
//! ```text
//!   start ─▶ fund 50 wallets ─▶ idle: processor, 20 single transfers ─▶ load: 1,000 transfers, two SIGKILLs
//!         ─▶ refusals ─▶ checks by asking the nodes ─▶ report ─▶ stop; the directory goes unless something failed
//! ```

mod cast;
mod checks;
mod flight;
mod idle;
mod load;
mod refusals;
mod report;
mod rng;
mod scene;

use crate::{
    args::DemoArgs,
    failure::{Failure, Result},
    output::Output,
};
use anyhow::{Context, anyhow};
use cast::Ledger;
use idle::Desk;
use load::Victims;
use report::{Check, Phase, Report};
use rng::Rng;
use scene::Scene;
use std::{fs, path::Path, time::Instant};
use tokio::signal::unix::{SignalKind, signal};

/// Wallets.
const WALLETS: usize = 50;

/// Runs the demo; fails with the reasons when any check does.
pub(crate) async fn run(args: &DemoArgs, output: Output) -> Result<()> {
    let seed = match args.seed {
        Some(seed) => seed,
        None => getrandom::u64().map_err(|error| anyhow!("the system has no entropy: {error}"))?,
    };
    let dir = scene::fresh_dir()?;
    output.note(&format!("seed {seed} (repeat with --seed {seed}), directory {}", dir.display()));
    let outcome = tokio::select! {
        outcome = play(args, seed, &dir) => outcome,
        name = interrupted() => Err(Failure::Other(anyhow!("interrupted ({})", name?))),
    };
    let outcome = outcome.and_then(|report| {
        let value = serde_json::to_value(&report).context("a report is numbers and text")?;
        output.data(&value, || report.to_text());
        if report.ok {
            Ok(())
        } else {
            Err(Failure::Check(format!("a check failed\n{}", report.failures().join("\n"))))
        }
    });
    if dir.exists() {
        if outcome.is_ok() && !args.keep {
            fs::remove_dir_all(&dir).with_context(|| format!("cannot remove {}", dir.display()))?;
        } else {
            output.note(&format!("the network's directory, with all logs, is kept: {}", dir.display()));
        }
    }
    outcome
}

async fn interrupted() -> Result<&'static str> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for signals")?;
    let mut hangup = signal(SignalKind::hangup()).context("cannot listen for signals")?;
    tokio::select! {
        _ = tokio::signal::ctrl_c() => Ok("SIGINT"),
        _ = terminate.recv() => Ok("SIGTERM"),
        _ = hangup.recv() => Ok("SIGHUP"),
    }
}

/// Measures the parts of a run.
struct Phases {
    started: Instant,
    last: Instant,
    done: Vec<Phase>,
}

impl Phases {
    fn end(&mut self, name: &'static str) {
        let now = Instant::now();
        self.done.push(Phase { name, seconds: (now - self.last).as_secs_f64() });
        self.last = now;
    }
}

async fn play(args: &DemoArgs, seed: u64, dir: &Path) -> Result<Report> {
    let now = Instant::now();
    let mut phases = Phases { started: now, last: now, done: Vec::new() };
    let mut rng = Rng::new(seed);
    let mut ledger = Ledger::default();
    let scene = Scene::open(dir).await?;
    phases.end("start");
    let mut players = cast::players(WALLETS, scene.shards(), &mut rng);
    let desk = Desk::open(&scene).await?;
    idle::fund(&scene, &desk, &players, &mut ledger).await?;
    phases.end("fund");
    let cpu_percent = idle::cpu_percent(&scene).await?;
    let mut idle = idle::singles(&scene, &desk, (&mut players, &mut rng), &mut ledger).await?;
    idle.cpu_percent = cpu_percent;
    phases.end("idle");
    let victims = Victims::choose(&scene, &mut rng)?;
    let transfers = usize::try_from(args.transfers).context("a count fits the machine")?;
    let loaded = load::run(&scene, &desk, (&mut players, &mut rng, transfers), &victims, &mut ledger).await?;
    phases.end("load");
    let (refusals, wrong) = refusals::run(&scene, &desk, &players, &mut rng).await?;
    let mut checks = vec![Check {
        name: "every bad transaction was refused for its reason".to_owned(),
        ok: wrong.is_empty(),
        found: if wrong.is_empty() { format!("{} refusals", refusals.values().sum::<u64>()) } else { wrong.join("; ") },
    }];
    checks.extend(checks::run(&scene, &players, &victims, &ledger).await?);
    let shards = checks::shard_rows(&scene).await?;
    let peak_memory_kib = scene.peak_memory_kib();
    phases.end("checks");
    let killed = scene.close().await?;
    checks.push(Check {
        name: "every process stopped when asked".to_owned(),
        ok: killed.is_empty(),
        found: if killed.is_empty() { "by SIGTERM".to_owned() } else { format!("killed: {}", killed.join(", ")) },
    });
    phases.end("stop");
    Ok(Report {
        ok: checks.iter().all(|check| check.ok),
        seed,
        dir: dir.display().to_string(),
        seconds: phases.started.elapsed().as_secs_f64(),
        phases: phases.done,
        idle,
        load: loaded.load,
        killed: victims.names().to_vec(),
        shards,
        refusals,
        peak_memory_kib,
        messages_per_block: loaded.messages_per_block,
        checks,
    })
}
