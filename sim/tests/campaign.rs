//! Every scenario of the library with many seeds, on all cores; the same digests whatever the number of threads.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a test reads clocks and stops at the first surprise"
)]

use kakera_sim::{
    campaign::{Campaign, Figures},
    library,
    scenario::Scenario,
};
use std::{fs, thread, time::Instant};

/// Seeds of each scenario, unless `KAKERA_SIM_SEEDS` says otherwise.
const SEEDS: u64 = 10;

/// Microseconds that this thread has worked; where the system does not say, none.
fn worked_us() -> u64 {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split_whitespace().next().and_then(|number| number.parse::<u64>().ok()).unwrap_or(0) / 1_000
}

fn scenarios() -> Vec<Scenario> {
    let only = std::env::var("KAKERA_SIM_ONLY").ok();
    let all = library::all().into_iter().map(|entry| entry.scenario);
    all.filter(|scenario| only.as_ref().is_none_or(|only| only.split(',').any(|name| scenario.name == name))).collect()
}

fn ms(us: u64) -> String {
    format!("{}.{}", us / 1_000, us % 1_000 / 100)
}

fn line(scenario: &Scenario, figures: &Figures) -> String {
    let measures = &figures.measures;
    format!(
        "{:18} {:5} {:4} {:8} {:9} {:6} {:5} {:>7} {:>7} {:>7} {:>7} {:6}/{:<6} {:4}",
        scenario.name,
        figures.seeds,
        figures.failures.len(),
        ms(figures.virtual_us / figures.seeds.max(1)),
        ms(figures.took_us / figures.seeds.max(1)),
        figures.least_blocks,
        measures.orphans,
        ms(measures.shard_finality.percentile(50)),
        ms(measures.shard_finality.percentile(95)),
        ms(measures.order_delivered.percentile(50)),
        ms(measures.order_delivered.percentile(95)),
        measures.ended,
        measures.ordered,
        measures.returned,
    )
}

#[test]
fn every_scenario_holds_with_many_seeds() {
    let scenarios = scenarios();
    let seeds = std::env::var("KAKERA_SIM_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(SEEDS);
    let jobs = thread::available_parallelism().map_or(1, usize::from);
    let began = Instant::now();
    let campaign = Campaign { scenarios: &scenarios, first: 1, seeds, jobs, keep_going: true, worked_us };
    let figures = campaign.run(|ran| {
        if let Some(violation) = &ran.outcome.violation {
            println!("{} with seed {}: {violation}", scenarios[ran.scenario].name, ran.seed);
        }
    });
    println!(
        "scenario           seeds fail  ms each   cpu ms  blocks orph.  final50 final95  deliv50 deliv95  ended/ordered  returned"
    );
    for (scenario, figures) in scenarios.iter().zip(&figures) {
        println!("{}", line(scenario, figures));
    }
    let run: u64 = figures.iter().map(|figures| figures.seeds).sum();
    println!("{run} seeds in {} s on {jobs} threads", began.elapsed().as_secs());
    let failed: usize = figures.iter().map(|figures| figures.failures.len()).sum();
    assert_eq!(failed, 0, "see above");
}

#[test]
fn the_same_seed_gives_the_same_digest_on_any_number_of_threads() {
    let scenarios: Vec<Scenario> =
        ["everything", "crashes", "wan"].iter().map(|name| library::find(name).unwrap().scenario).collect();
    let digests = |jobs| {
        let mut digests = Vec::new();
        let campaign = Campaign { scenarios: &scenarios, first: 40, seeds: 2, jobs, keep_going: true, worked_us: || 0 };
        campaign.run(|ran| digests.push((ran.scenario, ran.seed, ran.outcome.digest)));
        digests
    };
    let one = digests(1);
    assert_eq!(one.len(), 6);
    assert_eq!(one, digests(1), "once more");
    assert_eq!(one, digests(2), "with two threads");
}
