//! `kakera sim`: whole networks in virtual time.

pub(crate) mod chart;
mod figures;
mod report;
mod run;

use crate::{
    args::SimCommand,
    failure::{Failure, Result},
    output::{Output, table},
};
use anyhow::Context;
use kakera_sim::{library, scenario::Scenario};
use serde_json::json;
use std::{fs, path::Path, thread};

/// Runs a command of the simulator.
pub(crate) fn run(command: &SimCommand, output: Output) -> Result<()> {
    match command {
        SimCommand::Run(args) => run::run(args, output),
        SimCommand::List => {
            list(output);
            Ok(())
        }
        SimCommand::Show { name } => show(name, output),
        SimCommand::Report(args) => report::run(args, output),
    }
}

fn list(output: Output) {
    let entries = library::all();
    if output.json {
        for library::Entry { scenario, .. } in &entries {
            output.data(&json!({ "name": scenario.name, "about": scenario.about }), String::new);
        }
        return;
    }
    let rows: Vec<Vec<String>> =
        entries.iter().map(|entry| vec![entry.scenario.name.clone(), entry.scenario.about.clone()]).collect();
    output.line(&table(&["scenario", "what it is about"], &rows));
}

fn show(name: &str, output: Output) -> Result<()> {
    let entry = library::find(name).ok_or_else(|| unknown(name))?;
    output.data(&serde_json::to_value(&entry.scenario).context("a scenario is text and numbers")?, || {
        entry.toml.to_owned()
    });
    Ok(())
}

fn unknown(name: &str) -> Failure {
    Failure::NotFound(format!("{name} is neither a scenario's name (`kakera sim list`) nor a file"))
}

/// The scenario of a name, or in a file.
fn scenario(name: &str) -> Result<Scenario> {
    if let Some(entry) = library::find(name) {
        return Ok(entry.scenario);
    }
    if !Path::new(name).is_file() {
        return Err(unknown(name));
    }
    let text = fs::read_to_string(name).with_context(|| format!("cannot read {name}"))?;
    Scenario::parse(&text).map_err(|invalid| Failure::Usage(format!("{name}: {invalid}")))
}

/// Threads, by default one a core.
fn jobs(wanted: Option<u16>) -> usize {
    wanted.map_or_else(|| thread::available_parallelism().map_or(1, usize::from), usize::from)
}

/// Microseconds that this thread has spent on a core; where the system does not say, none.
fn worked_us() -> u64 {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split_whitespace().next().and_then(|ns| ns.parse::<u64>().ok()).unwrap_or(0) / 1_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_scenario_is_told_apart_from_what_is_not_there() {
        assert!(matches!(scenario("calm"), Ok(found) if found.name == "calm"));
        assert_eq!(scenario("none of these").map_err(|failure| failure.exit_code()), Err(5));
        let file = tempfile::NamedTempFile::new().expect("a file");
        let name = file.path().to_string_lossy().into_owned();
        assert_eq!(scenario(&name).map_err(|failure| failure.exit_code()), Err(2));
    }
}
