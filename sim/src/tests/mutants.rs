//! Every check catches rules that are broken on purpose, and lets the honest ones pass the very same world.

use crate::{
    mutants::{FIRST, Flaw, Mutant},
    node::{Node, Rules, rules_of},
    rules::{BeaconRules, ShardRules},
    scenario::{Fault, PartitionShape, Scenario},
    setup::Setup,
    world::{MakeRules, Outcome, World},
};
use kakera_chain::{Member, replica::InvalidStore, store::Store, units::ChainId};

type Made = Result<Rules, InvalidStore>;

/// Each check and the test below in which it catches something.
const CAUGHT: [(&str, &[&str]); 11] = [
    ("soundness", &["a_panic_is_caught"]),
    ("equivocation", &["a_node_that_syncs_nothing_is_caught_to_equivocate"]),
    ("agreement", &["thresholds_of_whoever_is_reachable_are_caught_to_disagree"]),
    (
        "eras",
        &[
            "a_root_that_is_another_one_here_is_caught",
            "a_seat_that_is_not_drawn_is_caught",
            "a_world_without_its_epochs_is_caught",
        ],
    ),
    ("roots", &["a_state_that_is_not_what_it_says_is_caught", "a_state_that_is_restored_wrongly_is_caught"]),
    ("undone", &["a_record_that_goes_back_is_caught", "a_root_below_what_is_recorded_is_caught"]),
    (
        "receipts",
        &[
            "a_receipt_that_is_passed_over_is_caught",
            "a_receipt_that_is_credited_twice_is_caught",
            "a_receipt_that_is_kept_and_returned_is_caught",
            "a_receipt_that_never_ends_is_caught",
        ],
    ),
    (
        "stake",
        &[
            "a_stake_that_is_taken_from_who_kept_the_rules_is_caught",
            "who_breaks_a_rule_and_keeps_its_stake_is_caught",
            "a_newcomer_that_is_never_paid_is_caught",
        ],
    ),
    (
        "supply",
        &[
            "a_token_out_of_nothing_is_caught",
            "a_token_that_no_sum_shows_is_caught",
            "a_fee_that_is_not_burned_is_caught",
            "a_stake_out_of_nothing_is_caught",
        ],
    ),
    ("growth", &["a_pool_without_a_limit_is_caught"]),
    (
        "progress",
        &[
            "a_node_that_never_asks_is_caught_to_stand_still",
            "a_world_that_does_less_than_it_must_is_caught",
            "an_era_that_begins_late_is_caught",
        ],
    ),
];

#[test]
fn every_check_has_a_mutant_that_it_catches() {
    let names = crate::checks::Checks::new().names();
    assert_eq!(names, CAUGHT.map(|(name, _)| name));
    let here = include_str!("mutants.rs");
    for (name, tests) in CAUGHT {
        assert!(!tests.is_empty(), "{name} catches nothing");
        for test in tests {
            let at = here.find(&format!("fn {test}()")).unwrap_or_else(|| panic!("there is no test {test}"));
            let body = &here[at..at + here[at..].find("\n}\n").unwrap()];
            assert!(body.contains(&format!("caught_by(\"{name}\"")), "{test} does not say that {name} catches it");
        }
    }
}

/// Two shards, all of whose members keep the rules; enough happens that every rule is used.
fn scenario() -> Scenario {
    let mut scenario = Scenario::parse("name = \"mutants\"\nabout = \"a world in which to break a rule\"").unwrap();
    scenario.load.cross_percent = 60;
    scenario.phases.faults_ms = 1_000;
    scenario
}

/// The same with committees that follow each other.
fn turning() -> Scenario {
    let mut scenario = scenario();
    scenario.network.standbys = 2;
    scenario.network.epochs = Some(crate::scenario::EpochShape { slots: 10, fallback_slots: 5, ..Default::default() });
    scenario.expect.epochs = 3;
    scenario
}

fn run(scenario: &Scenario, rules: MakeRules, flaw: Option<Flaw>) -> Outcome {
    let mut world = World::with_rules(scenario, 7, false, rules);
    world.flaw = flaw;
    world.run(|_| {})
}

/// The honest rules pass, the broken ones are caught by this check.
fn caught_by(name: &str, scenario: &Scenario, rules: MakeRules, flaw: Option<Flaw>) {
    assert_eq!(run(scenario, rules_of, None).violation, None, "honest rules are blamed");
    let violation = run(scenario, rules, flaw).violation.expect("nothing is caught");
    is_caught_by(name, &violation);
}

/// The rules of all nodes, broken in one way.
fn mutated(setup: &Setup, node: &Node, store: Option<&dyn Store>, mutant: Mutant) -> Made {
    Ok(match node.chain {
        ChainId::Beacon => {
            let beacon = setup.beacon_of(node.validator);
            Rules::Beacon(Box::new(BeaconRules::new(beacon, node.bend.clone()).mutated(Some(mutant))))
        }
        ChainId::Shard(shard) => {
            Rules::Shard(Box::new(ShardRules::new(setup.shard(shard, store)?, node.bend.clone()).mutated(Some(mutant))))
        }
    })
}

#[test]
fn a_token_out_of_nothing_is_caught() {
    caught_by("supply", &scenario(), |setup, node, store| mutated(setup, node, store, Mutant::Mints), None);
}

#[test]
fn a_token_that_no_sum_shows_is_caught() {
    caught_by("supply", &scenario(), |setup, node, store| mutated(setup, node, store, Mutant::MintsUnseen), None);
}

#[test]
fn a_fee_that_is_not_burned_is_caught() {
    caught_by("supply", &scenario(), |setup, node, store| mutated(setup, node, store, Mutant::KeepsFees), None);
}

#[test]
fn a_receipt_that_is_passed_over_is_caught() {
    caught_by("receipts", &scenario(), |setup, node, store| mutated(setup, node, store, Mutant::SkipsReceipts), None);
}

#[test]
fn a_receipt_that_is_credited_twice_is_caught() {
    caught_by("receipts", &scenario(), |setup, node, store| mutated(setup, node, store, Mutant::CreditsTwice), None);
}

#[test]
fn a_receipt_that_is_kept_and_returned_is_caught() {
    caught_by("receipts", &scenario(), |setup, node, store| mutated(setup, node, store, Mutant::KeepsAndReturns), None);
}

#[test]
fn a_state_that_is_not_what_it_says_is_caught() {
    let rules: MakeRules = |setup, node, store| match (node.chain, node.place) {
        (FIRST, 1) => mutated(setup, node, store, Mutant::ClaimsTheRoot),
        _ => rules_of(setup, node, store),
    };
    caught_by("roots", &scenario(), rules, None);
}

#[test]
fn a_state_that_is_restored_wrongly_is_caught() {
    let mut scenario = scenario();
    scenario.phases.calm_ms = 2_000;
    scenario.faults = vec![Fault::Crashes { count: 8, least_down_ms: 20, most_down_ms: 100, at_once: 0 }];
    caught_by("roots", &scenario, |setup, node, store| mutated(setup, node, store, Mutant::RestoresMore), None);
}

#[test]
fn a_panic_is_caught() {
    caught_by("soundness", &scenario(), |setup, node, store| mutated(setup, node, store, Mutant::Panics), None);
}

#[test]
fn a_record_that_goes_back_is_caught() {
    let rules: MakeRules = |setup, node, store| mutated(setup, node, store, Mutant::TakesBackRecords);
    caught_by("undone", &scenario(), rules, None);
}

#[test]
fn a_node_that_syncs_nothing_is_caught_to_equivocate() {
    let mut scenario = scenario();
    scenario.phases.faults_ms = 4_000;
    scenario.faults = vec![Fault::Blackout { count: 2, most_down_ms: 300 }];
    caught_by("equivocation", &scenario, rules_of, Some(Flaw::NeverSyncs));
}

#[test]
fn a_node_that_never_asks_is_caught_to_stand_still() {
    let mut scenario = scenario();
    scenario.phases.faults_ms = 5_000;
    scenario.faults =
        vec![Fault::Partitions { count: 2, most_ms: 4_000, shape: PartitionShape::Halves, one_way: false }];
    scenario.expect.recovery_slots = 15;
    caught_by("progress", &scenario, rules_of, Some(Flaw::NeverAsks));
}

/// Nobody breaks a rule, but what the scenario asks for does not come: neither blocks, nor what is late, nor orders.
#[test]
fn a_world_that_does_less_than_it_must_is_caught() {
    let mut more_blocks = scenario();
    more_blocks.expect.blocks = 1_000;
    let mut more_returns = scenario();
    more_returns.expect.returns = 1;
    let mut more_orders = breathless();
    (more_orders.load.cross_percent, more_orders.load.odd_percent) = (0, 0);
    for scenario in [more_blocks, more_returns, more_orders] {
        is_caught_by("progress", &run(&scenario, rules_of, None).violation.expect("nothing is caught"));
    }
}

/// Load goes on until the world ends: no time is left for what was ordered last.
fn breathless() -> Scenario {
    let mut scenario = scenario();
    scenario.phases.healed_ms = 4_900;
    scenario.phases.drain_ms = 100;
    scenario
}

#[test]
fn a_receipt_that_never_ends_is_caught() {
    is_caught_by("receipts", &run(&breathless(), rules_of, None).violation.expect("nothing is caught"));
}

#[test]
fn a_pool_without_a_limit_is_caught() {
    let mut scenario = scenario();
    scenario.network.shards = 1;
    scenario.network.block_gas = 100_000;
    scenario.load.accounts = 2;
    scenario.load.per_second = 1_000;
    scenario.load.odd_percent = 0;
    scenario.load.again_ms = 60_000;
    scenario.expect.settled_percent = 0;
    let rules: MakeRules = |setup, node, store| match node.chain {
        ChainId::Beacon => rules_of(setup, node, store),
        ChainId::Shard(shard) => {
            let endless = kakera_shard::PoolLimits {
                transactions: usize::MAX,
                bytes: usize::MAX,
                sender_transactions: usize::MAX,
                sender_bytes: usize::MAX,
            };
            Ok(Rules::Shard(Box::new(ShardRules::new(setup.shard_with(shard, store, endless)?, node.bend.clone()))))
        }
    };
    caught_by("growth", &scenario, rules, None);
}

/// Each node takes the members on its side of a cut for the whole committee, or nearly so.
#[test]
fn thresholds_of_whoever_is_reachable_are_caught_to_disagree() {
    let scenario = torn();
    let mut world = torn_world(&scenario);
    world.setup.favours = Some(favours);
    let honest = torn_world(&scenario).run(|_| {});
    assert_eq!(honest.violation, None, "honest rules are blamed");
    let violation = world.run(|_| {}).violation.expect("nothing is caught");
    is_caught_by("agreement", &violation);
    // What nobody is guilty of is not allowed by a scenario that allows what somebody is guilty of, either.
    let mut scenario = torn();
    scenario.expect.may_break_with_evidence = true;
    let mut world = torn_world(&scenario);
    world.setup.favours = Some(favours);
    let violation = world.run(|_| {}).violation.expect("nothing is caught");
    is_caught_by("agreement", &violation);
}

fn is_caught_by(name: &str, violation: &crate::checks::Violation) {
    println!("{violation}");
    assert_eq!(violation.check, name, "{violation}");
}

fn torn() -> Scenario {
    let mut scenario = scenario();
    scenario.phases.faults_ms = 4_000;
    scenario.expect.recovery_slots = 20;
    scenario
}

/// From the beginning until all is healed no link crosses between the two halves of any chain.
fn torn_world(scenario: &Scenario) -> World {
    let mut world = World::new(scenario, 7, false);
    let side = |node: &Node| node.place % 2;
    for from in 0..world.nodes.len() {
        for to in 0..world.nodes.len() {
            if side(&world.nodes[from]) != side(&world.nodes[to]) {
                world.wires.cut(from, to);
            }
        }
    }
    world
}

/// Ten seats for each member of the own half, one for each of the other.
fn favours(setup: &Setup, node: &Node) -> kakera_chain::certificate::Seats {
    let mut seats = setup.seats(node.chain).clone();
    let near = |member: &Member| member.0 % 2 == node.place % 2;
    let weights = seats.committee.members().map(|member| if near(&member) { 10 } else { 1 }).collect();
    seats.committee = kakera_chain::Committee::new(weights).unwrap();
    seats
}

#[test]
fn a_root_that_is_another_one_here_is_caught() {
    caught_by("eras", &turning(), rules_of, Some(Flaw::OtherLeaders));
}

#[test]
fn a_seat_that_is_not_drawn_is_caught() {
    caught_by("eras", &turning(), |setup, node, store| mutated(setup, node, store, Mutant::StuffsBenches), None);
}

#[test]
fn a_world_without_its_epochs_is_caught() {
    let mut later = turning();
    later.expect.epochs = 100;
    let mut replaced = turning();
    replaced.expect.fallbacks = 1;
    for scenario in [later, replaced] {
        is_caught_by("eras", &run(&scenario, rules_of, None).violation.expect("nothing is caught"));
    }
}

#[test]
fn a_root_below_what_is_recorded_is_caught() {
    caught_by("undone", &turning(), rules_of, Some(Flaw::EarlierRoots));
}

#[test]
fn an_era_that_begins_late_is_caught() {
    let mut scenario = turning();
    scenario.expect.era_gap_slots = 3;
    scenario.phases.healed_ms = 6_000;
    caught_by("progress", &scenario, rules_of, Some(Flaw::LateEras));
}

/// The same with seats that cost something.
fn staked() -> Scenario {
    let mut scenario = turning();
    scenario.network.epochs.as_mut().unwrap().seat = 1_000_000;
    scenario
}

#[test]
fn a_stake_out_of_nothing_is_caught() {
    caught_by("supply", &staked(), |setup, node, store| mutated(setup, node, store, Mutant::BondsFromNothing), None);
}

#[test]
fn a_stake_that_is_taken_from_who_kept_the_rules_is_caught() {
    caught_by("stake", &staked(), |setup, node, store| mutated(setup, node, store, Mutant::SlashesAnybody), None);
}

#[test]
fn who_breaks_a_rule_and_keeps_its_stake_is_caught() {
    let scenario = crate::library::find("slashing").unwrap().scenario;
    caught_by("stake", &scenario, rules_of, Some(Flaw::NeverReports));
}

#[test]
fn a_newcomer_that_is_never_paid_is_caught() {
    let mut scenario = staked();
    scenario.expect.withdrawals = 1;
    is_caught_by("stake", &run(&scenario, rules_of, None).violation.expect("nothing is caught"));
}
