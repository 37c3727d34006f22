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
    println!("{} {sum:?}", scenario.name);
    assert!(broken.is_empty(), "{}", broken.join("\n"));
    sum
}

const FEW: std::ops::Range<u64> = 1..4;

/// Evidence against every equivocator reaches every honest member.
fn convict(scenario: &Scenario) {
    for seed in FEW {
        let measures = run(scenario, seed).measures;
        assert!(measures.convicted_weight.values().all(|weight| *weight == 1), "{:?}", measures.convicted_weight);
        assert_eq!(measures.convicted_weight, measures.evidence_weight);
    }
}

#[test]
fn two_faces_are_seen_and_finality_goes_on() {
    let scenario = scenario!("equivocate-halves");
    assert_eq!(survive(&scenario, FEW).acted("becomes several"), 9);
    convict(&scenario);
}

#[test]
fn a_face_for_each_is_seen_and_finality_goes_on() {
    let scenario = scenario!("equivocate-each");
    assert_eq!(survive(&scenario, FEW).acted("becomes several"), 9);
    convict(&scenario);
}

/// An honest member's justification named one branch of an equivocator, another one's messages had been taken instead,
/// and a third of the honest members never heard the others again.
#[test]
fn one_equivocator_of_four_stalls_nobody() {
    for seed in [1_007, 1_022, 1_034] {
        survive(&scenario!("equivocate-each"), seed..seed + 1);
    }
}

#[test]
fn votes_to_some_or_nobody_stop_nothing() {
    let sum = survive(&scenario!("withhold-votes"), FEW);
    assert!(sum.acted("vote to nobody") > 10 && sum.acted("vote to some") > 10);
}

#[test]
fn blocks_late_to_some_or_to_nobody_stop_nothing() {
    let sum = survive(&scenario!("withhold-blocks"), FEW);
    assert!(sum.acted("block to nobody") > 10 && sum.acted("releases") > 10);
}

#[test]
fn invalid_blocks_are_refused_whatever_is_wrong() {
    let sum = survive(&scenario!("invalid-state"), FEW);
    assert!(sum.acted("proposal") > 20);
    for kind in ["peer Content", "peer Header", "peer Block"] {
        assert!(sum.refused(kind) > 0, "{kind}: {:?}", sum.refusals);
    }
}

#[test]
fn a_censored_account_is_served_by_honest_leaders() {
    assert!(survive(&scenario!("censor"), FEW).acted("ignores a client") > 0);
}

#[test]
fn receipts_left_out_or_swapped_are_found_by_execution() {
    for scenario in [scenario!("skip-receipts"), scenario!("reorder-receipts")] {
        assert!(survive(&scenario, FEW).refused("peer Content") > 10);
    }
}

#[test]
fn forgeries_are_refused_for_what_is_wrong_with_them() {
    let sum = survive(&scenario!("forge-certificates"), FEW);
    let kinds = [
        "peer Certificate OtherEra",
        "peer Certificate Signature",
        "peer Certificate SignerOrder",
        "peer Certificate TooLittleWeight",
        "peer Certificate UnknownSigner",
        "peer Signature",
        "crosslink Certificate Signature",
        "crosslink Certificate SignerOrder",
        "crosslink Certificate TooLittleWeight",
        "crosslink OutboxRoot",
        "feed Certificate Signature",
    ];
    for kind in kinds {
        assert!(sum.refused(kind) > 0, "{kind}: {:?}", sum.refusals);
    }
    assert!(sum.acted("second share") > 0);
}

#[test]
fn corrupt_answers_mislead_nobody() {
    let sum = survive(&scenario!("corrupt-answers"), FEW);
    assert!(sum.acted("message") > 5 && sum.refused("peer Signature") > 0);
}

#[test]
fn old_words_change_nothing() {
    let sum = survive(&scenario!("replay"), FEW);
    assert!(sum.acted("says old things") > 100 && sum.refused("crosslink Stale") > 0);
}

#[test]
fn silent_members_are_done_without() {
    assert!(survive(&scenario!("silent"), FEW).acted("says nothing") > 100);
}

#[test]
fn everything_at_once_just_under_what_is_tolerated() {
    survive(&scenario!("just-under"), FEW);
}

/// Two of four equivocate, and links are cut as they like. Whatever comes of it, it is known who did it.
#[test]
fn just_over_ends_in_silence_or_in_evidence() {
    let scenario = scenario!("just-over");
    // In the second of them two branches are certified: the checker of agreement asks for evidence itself.
    for seed in [1_000, 1_019] {
        let outcome = run(&scenario, seed);
        let measures = &outcome.measures;
        assert_eq!(outcome.violation, None, "seed {seed}");
        let proven = measures.evidence_weight.values().filter(|weight| **weight == 2).count();
        assert!(proven > 0, "seed {seed}: {:?}", measures.evidence_weight);
    }
}

/// Whatever a captured committee claims, what it says it has left is refused for it, and other shards go on.
#[test]
fn minted_value_stays_where_it_was_minted() {
    let scenario = scenario!("mint");
    let wanted =
        ["Burned", "CursorAhead", "Insolvent", "LaneSource", "Received", "Sent", "Unbalanced", "UnfoundedReturn"];
    let mut sum = Sum::default();
    for seed in [1_000, 1_001, 1_003, 1_005, 1_006, 1_008, 1_009, 1_016, 1_024] {
        let outcome = run(&scenario, seed);
        assert_eq!(outcome.violation, None, "seed {seed}");
        assert!(outcome.measures.blocks["shard 1"] > 20 && outcome.measures.blocks["beacon"] > 20);
        sum.add(&outcome.measures);
    }
    for kind in wanted {
        assert!(sum.refused(&format!("crosslink {kind}")) > 0, "{kind}: {:?}", sum.refusals);
    }
}

#[test]
fn the_same_seed_is_the_same_world() {
    let scenario = scenario!("just-under");
    assert_eq!(run(&scenario, 7).digest, run(&scenario, 7).digest);
}
