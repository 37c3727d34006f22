//! `kakera sim report`: one scenario in several sizes, and what changes as plots.

use super::{
    chart::{Chart, Scale, Series},
    jobs, worked_us,
};
use crate::{
    args::SimReportArgs,
    failure::{Failure, Result},
    output::{Output, table},
    progress::Progress,
};
use anyhow::Context;
use kakera_sim::{
    report::{Size, by_members, by_shards, grow},
    scenario::Scenario,
};
use serde_json::json;
use std::{fs, path::Path};

/// What grows.
struct Axis {
    /// In file names and titles.
    name: &'static str,
    /// Under the horizontal axis.
    label: String,
    /// A size's place there.
    place: fn(&Size) -> u16,
    scenarios: Vec<Scenario>,
}

/// Measures and draws; prints a table, or JSON one size a line.
pub(super) fn run(args: &SimReportArgs, output: Output) -> Result<()> {
    let base = super::scenario(&args.scenario)?;
    let sizes = |given: &[u16], full: &[u16], quick: usize| match (given.is_empty(), args.quick) {
        (false, _) => given.to_vec(),
        (true, true) => full[..quick].to_vec(),
        (true, false) => full.to_vec(),
    };
    let shape = &base.network;
    let axes = [
        Axis {
            name: "shards",
            label: format!("shards, each with {} members; {} on the beacon", shape.members, shape.beacon),
            place: |size| size.shards,
            scenarios: by_shards(&base, &sizes(&args.shards, &[1, 2, 4, 8, 16], 3)),
        },
        Axis {
            name: "members",
            label: format!("members of each committee; {} shards", shape.shards),
            place: |size| size.members,
            scenarios: by_members(&base, &sizes(&args.members, &[4, 7, 10, 13, 16], 3)),
        },
    ];
    let seeds = args.seeds.clone().unwrap_or(if args.quick { 1..2 } else { 1..4 });
    fs::create_dir_all(&args.out).with_context(|| format!("cannot make {}", args.out.display()))?;
    let mut failed = 0;
    for axis in &axes {
        let count = seeds.end - seeds.start;
        let progress = Progress::new(&format!("by {}", axis.name), count * axis.scenarios.len() as u64);
        let grown = grow(&axis.scenarios, seeds.start, count, jobs(args.jobs), worked_us, || progress.advance());
        progress.finish("measured");
        for (size, figures) in &grown {
            failed += size.failed;
            for failure in &figures.failures {
                let (shards, members) = (size.shards, size.members);
                output
                    .note(&format!("{shards} shards, {members} members, seed {}: {}", failure.seed, failure.violation));
            }
        }
        let sizes: Vec<Size> = grown.into_iter().map(|(size, _)| size).collect();
        for (file, chart) in charts(axis, &sizes) {
            let path = args.out.join(format!("{file}-by-{}.svg", axis.name));
            fs::write(&path, chart.svg()).with_context(|| format!("cannot write {}", path.display()))?;
        }
        write_figures(&args.out.join(format!("figures-by-{}.json", axis.name)), &sizes)?;
        print(axis, &sizes, output);
    }
    output.note(&format!("wrote plots and figures to {}", args.out.display()));
    match failed {
        0 => Ok(()),
        _ => Err(Failure::Broken(format!("{failed} seeds failed: what they measured counts up to their failure"))),
    }
}

fn write_figures(path: &Path, sizes: &[Size]) -> Result<()> {
    let text = serde_json::to_string_pretty(sizes).context("figures are numbers")?;
    Ok(fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?)
}

fn print(axis: &Axis, sizes: &[Size], output: Output) {
    if output.json {
        for size in sizes {
            output.data(&json!({ "by": axis.name, "size": size }), String::new);
        }
        return;
    }
    let rows: Vec<Vec<String>> = sizes
        .iter()
        .map(|size| {
            vec![
                (axis.place)(size).to_string(),
                format!("{:.0}", size.shard_finality_p50_ms),
                format!("{:.0}", size.shard_finality_p95_ms),
                format!("{:.0}", size.delivered_p50_ms),
                format!("{:.0}", size.delivered_p95_ms),
                format!("{:.1}", size.throughput_per_second),
                format!("{:.1}", size.shard_messages),
                format!("{:.0}", size.shard_bytes),
                format!("{:.1}", size.beacon_messages),
                format!("{:.0}", size.beacon_bytes),
                format!("{:.1}", size.orphans_percent),
                format!("{:.0}", size.took_us as f64 / 1_000.0),
            ]
        })
        .collect();
    let head = [
        axis.name,
        "final p50",
        "p95",
        "delivered p50",
        "p95",
        "orders/s",
        "shard msgs",
        "bytes",
        "beacon msgs",
        "bytes",
        "orphans %",
        "cpu ms",
    ];
    output.line(&table(&head, &rows));
}

fn charts(axis: &Axis, sizes: &[Size]) -> Vec<(&'static str, Chart)> {
    let series = |name: &str, value: fn(&Size) -> f64| Series {
        name: name.to_owned(),
        values: sizes.iter().map(value).collect(),
    };
    let chart = |title: &str, unit: &str, series: Vec<Series>| Chart {
        title: format!("{title} by {}", axis.name),
        across: axis.label.clone(),
        up: unit.to_owned(),
        places: sizes.iter().map(|size| (axis.place)(size).to_string()).collect(),
        series,
        scale: Scale::Even,
    };
    vec![
        (
            "finality",
            chart(
                "From proposal to certificate",
                "ms of virtual time",
                vec![
                    series("shards, half of all blocks", |size| size.shard_finality_p50_ms),
                    series("shards, 95 of 100", |size| size.shard_finality_p95_ms),
                    series("beacon, half of all blocks", |size| size.beacon_finality_p50_ms),
                    series("beacon, 95 of 100", |size| size.beacon_finality_p95_ms),
                ],
            ),
        ),
        (
            "orders",
            chart(
                "From order to its end",
                "ms of virtual time",
                vec![
                    series("certified, half of all orders", |size| size.order_final_p50_ms),
                    series("certified, 95 of 100", |size| size.order_final_p95_ms),
                    series("delivered on another shard, half", |size| size.delivered_p50_ms),
                    series("delivered on another shard, 95 of 100", |size| size.delivered_p95_ms),
                ],
            ),
        ),
        (
            "throughput",
            chart(
                "Throughput",
                "orders a second, all shards",
                vec![
                    series("ordered", |size| size.ordered_per_second),
                    series("ended: executed, and delivered where it crosses", |size| size.throughput_per_second),
                ],
            ),
        ),
        (
            "messages",
            chart(
                "Messages sent",
                "messages a node and slot",
                vec![
                    series("shard node", |size| size.shard_messages),
                    series("beacon node", |size| size.beacon_messages),
                ],
            ),
        ),
        (
            "bytes",
            chart(
                "Bytes sent",
                "kB a node and slot",
                vec![
                    series("shard node", |size| size.shard_bytes / 1_000.0),
                    series("beacon node", |size| size.beacon_bytes / 1_000.0),
                ],
            ),
        ),
        (
            "work",
            chart(
                "Work, at the scenario's prices",
                "% of time in which a node is busy",
                vec![
                    series("shard node", |size| size.shard_busy_percent),
                    series("beacon node", |size| size.beacon_busy_percent),
                ],
            ),
        ),
        ("forks", chart("Forks", "% of blocks not certified", vec![series("all chains", |size| size.orphans_percent)])),
    ]
}
