//! Whole worlds.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod mutants;

use crate::{scenario::Scenario, world::World};

#[test]
fn a_calm_world_moves_and_settles() {
    let scenario = Scenario::parse("name = \"calm\"\nabout = \"nothing happens\"").unwrap();
    let outcome = World::new(&scenario, 1, false).run(|_| {});
    println!("{}", serde_json::to_string_pretty(&outcome.measures).unwrap());
    assert_eq!(outcome.violation, None);
    assert_eq!(outcome.measures.ended, outcome.measures.ordered);
}
