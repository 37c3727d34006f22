//! A campaign's figures as a table.

use crate::output;
use kakera_sim::{
    campaign::{Excess, Figures},
    measures::Times,
    scenario::Scenario,
};

const HEAD: [&str; 13] = [
    "scenario",
    "seeds",
    "failed",
    "virtual s",
    "cpu ms",
    "blocks",
    "least",
    "orphans",
    "final p50",
    "p95",
    "delivered p50",
    "p95",
    "ended",
];

/// A row a scenario that was run: figures of one seed on average, latencies in milliseconds of virtual time.
pub(super) fn table(scenarios: &[Scenario], figures: &[Figures]) -> String {
    let ran = scenarios.iter().zip(figures).filter(|(_, figures)| figures.seeds > 0);
    let rows: Vec<Vec<String>> = ran.map(|(scenario, figures)| row(scenario, figures)).collect();
    output::table(&HEAD, &rows)
}

/// What came of more faults than are tolerated, in words: a line for each scenario that has so many.
pub(super) fn excess(scenarios: &[Scenario], figures: &[Figures]) -> Vec<String> {
    let of = |(scenario, figures): (&Scenario, &Figures)| {
        let (excess, seeds) = (figures.excess?, figures.seeds);
        let Excess { stalled, broken, proven, proven_somewhere } = excess;
        Some(format!(
            "{}: of {seeds} seeds {stalled} ended without finality in some chain; {broken} certified two branches, each \
             time with evidence of who did it; evidence against more than is tolerated: in every chain {proven}, in \
             some {proven_somewhere}",
            scenario.name
        ))
    };
    scenarios.iter().zip(figures).filter_map(of).collect()
}

fn row(scenario: &Scenario, figures: &Figures) -> Vec<String> {
    let measures = &figures.measures;
    let each = |total: u64| total / figures.seeds.max(1);
    let tenths = |us: u64| format!("{}.{}", us / 1_000, us % 1_000 / 100);
    let time = |times: &Times, percent| match times.count() {
        0 => "-".to_owned(),
        _ => tenths(times.percentile(percent)),
    };
    let failed = if figures.failures.is_empty() { "-".to_owned() } else { figures.failures.len().to_string() };
    vec![
        scenario.name.clone(),
        figures.seeds.to_string(),
        failed,
        tenths(each(figures.virtual_us) / 1_000),
        tenths(each(figures.took_us)),
        each(figures.blocks()).to_string(),
        figures.least_blocks.to_string(),
        each(measures.orphans).to_string(),
        time(&measures.shard_finality, 50),
        time(&measures.shard_finality, 95),
        time(&measures.order_delivered, 50),
        time(&measures.order_delivered, 95),
        format!("{}/{}", measures.ended, measures.ordered),
    ]
}
