//! `kakera sim run`: scenarios times seeds; what broke, how to see it again, and the smallest that still breaks.

use super::{figures, jobs, worked_us};
use crate::{
    args::SimRunArgs,
    failure::{Failure, Result},
    output::Output,
    progress::Progress,
};
use anyhow::Context;
use kakera_sim::{
    campaign::{self, Campaign, Figures, Ran},
    library,
    scenario::Scenario,
    shrink::shrink,
};
use serde_json::{Value, json};
use std::{fs, path::Path, time::Instant};

/// Failing seeds that are shrunk at most: the first one of so many scenarios.
const SHRUNK: usize = 5;

/// Runs, prints the table, and says of each failing scenario what broke.
pub(super) fn run(args: &SimRunArgs, output: Output) -> Result<()> {
    let scenarios = match args.scenario.is_empty() {
        true => library::all().into_iter().map(|entry| entry.scenario).collect(),
        false => args.scenario.iter().map(|name| super::scenario(name)).collect::<Result<Vec<Scenario>>>()?,
    };
    if let Some(path) = &args.trace {
        trace(args, &scenarios, path, output)?;
    }
    let seeds = args.seeds.end - args.seeds.start;
    let progress = Progress::new("seeds", seeds.saturating_mul(scenarios.len() as u64));
    let campaign = Campaign {
        scenarios: &scenarios,
        first: args.seeds.start,
        seeds,
        jobs: jobs(args.jobs),
        keep_going: args.keep_going,
        worked_us,
    };
    let began = Instant::now();
    let figures = campaign.run(|ran| {
        let scenario = &scenarios[ran.scenario];
        if output.json {
            progress.event_data(output, &seed_value(scenario, ran), String::new);
        }
        if let Some(violation) = &ran.outcome.violation {
            progress.event(&format!("{} with seed {}: {violation}", scenario.name, ran.seed));
        }
        progress.advance();
    });
    let (ran, failed) = sums(&figures);
    let passed = if failed == 0 { "all held" } else { "some FAILED" };
    progress.finish(&format!("{ran} in {:.1} s, {passed}", began.elapsed().as_secs_f64()));
    if !output.json {
        output.line(&figures::table(&scenarios, &figures));
        for line in figures::excess(&scenarios, &figures) {
            output.line(&line);
        }
    }
    if failed == 0 {
        return Ok(());
    }
    for (at, failing) in figures.iter().enumerate().filter(|(_, figures)| !figures.failures.is_empty()).take(SHRUNK) {
        let named = args.scenario.get(at).map_or(scenarios[at].name.as_str(), String::as_str);
        explain(args, named, &scenarios[at], failing, output)?;
    }
    Err(Failure::Broken(format!("{failed} of {ran} seeds failed")))
}

fn sums(figures: &[Figures]) -> (u64, usize) {
    let ran = figures.iter().map(|figures| figures.seeds).sum();
    (ran, figures.iter().map(|figures| figures.failures.len()).sum())
}

/// One seed for a program: nothing in it depends on the machine.
fn seed_value(scenario: &Scenario, ran: &Ran) -> Value {
    let outcome = &ran.outcome;
    let violation = outcome
        .violation
        .as_ref()
        .map(|violation| json!({ "check": violation.check, "at_us": violation.at.0, "what": violation.what }));
    json!({
        "scenario": scenario.name,
        "seed": ran.seed,
        "ok": outcome.violation.is_none(),
        "violation": violation,
        "digest": outcome.digest.to_string(),
        "events": outcome.events,
        "measures": outcome.measures,
    })
}

/// Writes the trace of the one seed that is asked for.
fn trace(args: &SimRunArgs, scenarios: &[Scenario], path: &Path, output: Output) -> Result<()> {
    let ([scenario], 1) = (scenarios, args.seeds.end - args.seeds.start) else {
        return Err(Failure::Usage("--trace wants one scenario and one seed: --scenario NAME --seeds N".to_owned()));
    };
    let outcome = campaign::outcome(scenario, args.seeds.start, true);
    let text = outcome.trace.unwrap_or_default();
    fs::write(path, &text).with_context(|| format!("cannot write {}", path.display()))?;
    output.note(&format!("wrote {} ({} lines)", path.display(), text.lines().count()));
    Ok(())
}

/// Says how to see a scenario's first failure again, shrinks it, and says how to see that.
fn explain(args: &SimRunArgs, named: &str, scenario: &Scenario, failing: &Figures, output: Output) -> Result<()> {
    let Some(failure) = failing.failures.first() else { return Ok(()) };
    let seed = failure.seed;
    let command = |scenario: &str, seed: u64| {
        format!("kakera sim run --scenario {scenario} --seeds {seed} --trace {}-{seed}.trace", stem(scenario))
    };
    let replay = command(named, seed);
    output.note(&format!("\n{named} with seed {seed}: {}\n  replay  {replay}", failure.violation));
    let progress = Progress::new("shrinking", u64::from(args.shrink_runs));
    let shrunk = match args.shrink_runs {
        0 => None,
        most => shrink(scenario, seed, most, |runs| progress.set(u64::from(runs))),
    };
    let Some(mut shrunk) = shrunk else {
        progress.finish("nothing was tried");
        return Ok(());
    };
    progress.finish(&format!("{} steps in {} worlds", shrunk.steps.len(), shrunk.runs));
    shrunk.scenario.name = format!("{}-{seed}-shrunk", scenario.name);
    let file = args.out.join(format!("{}.toml", shrunk.scenario.name));
    let text = toml::to_string(&shrunk.scenario).context("a scenario is TOML")?;
    fs::create_dir_all(&args.out).with_context(|| format!("cannot make {}", args.out.display()))?;
    fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
    let again = command(&file.display().to_string(), shrunk.seed);
    output.note(&format!("  shrunk  {}\n  breaks  {}\n  replay  {again}", file.display(), shrunk.violation));
    let without = shrunk.steps.join(", ");
    output.note(&format!("  without {}", if without.is_empty() { "nothing" } else { &without }));
    if output.json {
        let value = json!({ "shrunk": {
            "scenario": named, "seed": seed, "file": file.display().to_string(), "replay_seed": shrunk.seed,
            "check": shrunk.violation.check, "what": shrunk.violation.what, "runs": shrunk.runs, "without": shrunk.steps,
        }});
        output.data(&value, String::new);
    }
    Ok(())
}

/// A scenario's name as part of a file's name.
fn stem(scenario: &str) -> String {
    Path::new(scenario).file_stem().map_or_else(|| scenario.to_owned(), |stem| stem.to_string_lossy().into_owned())
}
