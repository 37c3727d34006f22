//! `kakera lab census`: what the speaking rule costs, in messages and hops.

use crate::{args::CensusArgs, failure::Result, output::Output, output::table};
use anyhow::Context;
use kakera_cbc::net::{Rule, Stage, census};

const HEAD: [&str; 8] = ["members", "live", "K", "rule", "messages a block", "a live member", "hops", "bytes a block"];

/// Prints a row a committee: all alive, and with the tolerable third silent.
pub(super) fn run(args: &CensusArgs, output: Output) -> Result<()> {
    let mut rows = Vec::new();
    for members in &args.members {
        let third = (members - 1) / 3;
        for silent in [0, third].into_iter().take(if third == 0 { 1 } else { 2 }) {
            let rule = if args.eager { Rule::Eager } else { Rule::Speaker };
            let stage =
                Stage { members: *members, silent, jitter_ms: args.jitter, rule, slots: args.slots, seed: args.seed };
            let census = census(&stage).context("equal members are a committee")?;
            // In an era's first two slots the silent are waited for.
            let last = census.messages.len().saturating_sub(1);
            let messages = census.messages.get(last).copied().unwrap_or(0);
            let hops = census.hops().get(last).copied().flatten();
            let value = serde_json::to_value(&census).context("a census is numbers")?;
            if output.json {
                output.data(&value, String::new);
            }
            #[allow(clippy::cast_precision_loss, reason = "a few hundred messages")]
            let each = messages as f64 / f64::from(census.live);
            rows.push(vec![
                members.to_string(),
                census.live.to_string(),
                census.levels.to_string(),
                if args.eager { "eager" } else { "speaker" }.to_owned(),
                messages.to_string(),
                format!("{each:.1}"),
                hops.map_or_else(|| "not final in its slot".to_owned(), |hops| hops.to_string()),
                census.bytes.get(last).copied().unwrap_or(0).to_string(),
            ]);
        }
    }
    if !output.json {
        output.line(&table(&HEAD, &rows));
    }
    Ok(())
}
