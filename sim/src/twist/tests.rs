//! What each tactic leads to: it acts, honest members stay safe and live, and what must be refused is refused.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use crate::{
    measures::Measures,
    scenario::Scenario,
    world::{Outcome, World},
};
use std::collections::BTreeMap;

macro_rules! scenario {
    ($name:literal) => {
        Scenario::parse(include_str!(concat!("../../scenarios/", $name, ".toml"))).unwrap()
    };
}

/// What many seeds led to.
#[derive(Default, Debug)]
struct Sum {
    acts: BTreeMap<String, u64>,
    refusals: BTreeMap<String, u64>,
    ordered: u64,
    ended: u64,
    least_blocks: BTreeMap<String, u64>,
}

fn run(scenario: &Scenario, seed: u64) -> Outcome {
    World::new(scenario, seed, false).run(|_| {})
}

fn join(into: &mut BTreeMap<String, u64>, from: &BTreeMap<String, u64>) {
    from.iter().for_each(|(kind, count)| *into.entry(kind.clone()).or_default() += count);
}

impl Sum {
    fn add(&mut self, measures: &Measures) {
        join(&mut self.acts, &measures.twists);
        join(&mut self.refusals, &measures.refusals);
        self.ordered += measures.ordered;
        self.ended += measures.ended;
        for (chain, blocks) in &measures.blocks {
            let least = self.least_blocks.entry(chain.clone()).or_insert(*blocks);
            *least = (*least).min(*blocks);
        }
    }

    fn acted(&self, what: &str) -> u64 {
        self.acts.iter().filter(|(kind, _)| kind.contains(what)).map(|(_, count)| count).sum()
    }

    fn refused(&self, kind: &str) -> u64 {
        self.refusals.get(kind).copied().unwrap_or_default()
    }
}

/// Runs seeds; honest members stay safe and live, and every order comes to its end.
fn survive(scenario: &Scenario, seeds: std::ops::Range<u64>) -> Sum {
    let mut sum = Sum::default();
    let mut broken = Vec::new();
    for seed in seeds {
        let outcome = run(scenario, seed);
        sum.add(&outcome.measures);
        let measures = &outcome.measures;
        if let Some(violation) = &outcome.violation {
            broken.push(format!("{} seed {seed}: {violation}", scenario.name));
        } else if measures.ended < measures.ordered {
            broken.push(format!(
                "{} seed {seed}: {} of {} ended, blocks {:?}",
                scenario.name, measures.ended, measures.ordered, measures.blocks
            ));
        }
    }
    println!("{} {sum:#?}", scenario.name);
    assert!(broken.is_empty(), "{}", broken.join("\n"));
    sum
}

macro_rules! many {
    ($($test:ident $name:literal)*) => {
        mod many {
            use super::*;
            $(
                #[test]
                #[ignore = "takes long"]
                fn $test() {
                    survive(&scenario!($name), 1_000..1_050);
                }
            )*
        }
    };
}

many! {
    equivocate_halves "equivocate-halves"
    equivocate_each "equivocate-each"
    withhold_votes "withhold-votes"
    withhold_blocks "withhold-blocks"
    invalid_state "invalid-state"
    censor "censor"
    skip_receipts "skip-receipts"
    reorder_receipts "reorder-receipts"
    forge_certificates "forge-certificates"
    corrupt_answers "corrupt-answers"
    replay "replay"
    silent "silent"
    just_under "just-under"
}

#[test]
#[ignore = "takes long"]
fn many_mints() {
    let scenario = scenario!("mint");
    let mut sum = Sum::default();
    for seed in 1_000..1_050 {
        let outcome = run(&scenario, seed);
        println!("{seed} {:?} {:?} {:?}", outcome.violation, outcome.measures.refusals, outcome.measures.blocks);
        sum.add(&outcome.measures);
    }
    println!("{sum:#?}");
}

#[test]
#[ignore = "takes long"]
fn many_just_over() {
    let scenario = scenario!("just-over");
    for seed in 1_000..1_050 {
        let outcome = run(&scenario, seed);
        let measures = &outcome.measures;
        println!(
            "{seed} {:?} evidence {:?} convicted {:?} last {:?}",
            outcome.violation, measures.evidence_weight, measures.convicted_weight, measures.last_certified_us
        );
    }
}
