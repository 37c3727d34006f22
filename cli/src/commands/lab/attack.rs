//! `kakera lab attack`: attacks from the literature, run against the engine in virtual time.

use crate::{
    args::AttackArgs,
    failure::{Failure, Result},
    output::{Output, table},
};
use anyhow::Context;
use kakera_cbc::attacks::{self, Attack, Report};
use serde_json::json;

/// Lists the attacks, or runs one or all of them; fails when a claim does not hold.
pub(super) fn run(args: &AttackArgs, output: Output) -> Result<()> {
    let Some(name) = &args.name else {
        list(output);
        return Ok(());
    };
    let chosen: Vec<&Attack> = attacks::all().iter().filter(|attack| name == "all" || attack.name == name).collect();
    if chosen.is_empty() {
        return Err(Failure::NotFound(format!("no attack is named {name}; `kakera lab attack` lists them")));
    }
    let mut broken = Vec::new();
    for attack in chosen {
        for seed in (args.seed..).take(args.count) {
            let report = attacks::run(attack.name, seed).context("a listed attack runs")?;
            if !report.held {
                broken.push(format!("{} with seed {seed}", attack.name));
            }
            let value = serde_json::to_value(&report).context("a report is text")?;
            output.data(&value, || text(attack, &report, args.log));
        }
    }
    if broken.is_empty() {
        return Ok(());
    }
    Err(Failure::refused("CLAIM_BROKEN", format!("what is claimed did not hold: {}", broken.join(", "))))
}

fn list(output: Output) {
    if output.json {
        for Attack { name, about, claim, .. } in attacks::all() {
            let value = json!({ "name": name, "about": about, "claim": claim });
            output.data(&value, String::new);
        }
        return;
    }
    let rows: Vec<Vec<String>> =
        attacks::all().iter().map(|attack| vec![attack.name.to_owned(), attack.claim.to_owned()]).collect();
    output.line(&table(&["attack", "what must hold"], &rows));
    output.note("run one with `kakera lab attack NAME --seed N`, or `all`");
}

fn text(attack: &Attack, report: &Report, log: bool) -> String {
    let verdict = if report.held { "holds" } else { "DOES NOT HOLD" };
    let mut lines = vec![format!("{} (seed {}): {verdict}", report.name, report.seed)];
    lines.push(format!("  attack  {}", attack.about));
    lines.push(format!("  claim   {}", report.claim));
    let width = report.figures.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    lines.extend(report.figures.iter().map(|(name, value)| format!("  {name:<width$}  {value}")));
    if log || !report.held {
        lines.extend(report.log.iter().map(|line| format!("    {line}")));
    }
    lines.join("\n")
}
