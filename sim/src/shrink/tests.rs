//! Shrinking, where what fails is known.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use super::*;
use crate::{clock::Moment, library, scenario::Fault};

fn broken(check: &'static str) -> Option<Violation> {
    Some(Violation { check, at: Moment::ms(4_000), what: "as planned".to_owned() })
}

#[test]
fn what_does_not_matter_is_taken_away() {
    let scenario = library::find("everything").unwrap().scenario;
    let has_pauses = |scenario: &Scenario| {
        scenario.faults.iter().any(|fault| matches!(fault, Fault::Pauses { count, .. } if *count >= 2))
    };
    let mut other = 0;
    let shrunk = shrink_with(
        &scenario,
        7,
        2_000,
        |_| {},
        |scenario, seed| {
            if scenario.network.shards < 2 {
                other += 1;
                return broken("another");
            }
            (has_pauses(scenario) && seed == 8 || *scenario == library::find("everything").unwrap().scenario)
                .then(|| broken("this one"))
                .flatten()
        },
    );
    let shrunk = shrunk.unwrap();
    assert!(other > 0, "another check's failure does not count");
    assert_eq!((shrunk.seed, shrunk.violation.check), (8, "this one"));
    let [Fault::Pauses { count: 2, most_ms: 1 }] = shrunk.scenario.faults[..] else {
        panic!("{:?}", shrunk.scenario.faults)
    };
    assert_eq!((shrunk.scenario.network.shards, shrunk.scenario.network.members), (2, 1));
    assert_eq!((shrunk.scenario.load.per_second, shrunk.scenario.links.loss_ppm), (0, 0));
    assert!(!shrunk.steps.is_empty());
}

#[test]
fn a_world_that_cannot_keep_a_promise_is_shrunk_to_a_small_one() {
    let mut scenario = library::find("crashes").unwrap().scenario;
    scenario.expect.blocks = 1_000_000;
    let shrunk = shrink(&scenario, 3, 300, |_| {}).unwrap();
    assert_eq!(shrunk.violation.check, "progress");
    assert!(shrunk.runs <= 300);
    assert!(shrunk.scenario.faults.is_empty() && shrunk.scenario.network.shards == 1, "{:?}", shrunk.scenario);
    // What is printed fails as well.
    let read = Scenario::parse(&toml::to_string(&shrunk.scenario).unwrap()).unwrap();
    assert_eq!(outcome(&read, shrunk.seed, false).violation, Some(shrunk.violation));
}

#[test]
fn what_does_not_fail_is_not_shrunk_and_runs_are_bounded() {
    let scenario = library::find("crashes").unwrap().scenario;
    assert_eq!(shrink_with(&scenario, 1, 10, |_| {}, |_, _| None), None);
    let shrunk = shrink_with(&scenario, 1, 10, |_| {}, |_, _| broken("always")).unwrap();
    assert_eq!(shrunk.runs, 10);
}
