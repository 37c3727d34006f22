//! The era change of one shard, checked in every state that a small model of it can reach. `docs/model.md` says what is
//! modelled and what is not.

mod eras {
    pub(crate) mod beacon;
    pub(crate) mod member;
    pub(crate) mod model;
    pub(crate) mod mutants;
    pub(crate) mod properties;
    pub(crate) mod state;
}

use eras::{
    model::Eras,
    mutants::{CAPTURED, FALLBACK_FIRST, JUMPS, Mutant, RECORD_FIRST, TWICE},
    state::Setup,
};
use stateright::{Checker, Expectation, HasDiscoveries, Model};
use std::io::{Write, stderr};

/// Says it even if the test passes: the figures are what a run is for.
fn say(line: &str) {
    writeln!(stderr(), "{line}").expect("standard error is open");
}

fn holds(setup: Setup) {
    let checker = Eras { setup, mutant: None }.checker().spawn_bfs().join();
    let (unique, all, depth) = (checker.unique_state_count(), checker.state_count(), checker.max_depth());
    say(&format!("{}: {unique} unique states, {all} steps between them, depth {depth}", setup.name));
    for property in checker.model().properties() {
        let expected = property.expectation == Expectation::Sometimes && !setup.never.contains(&property.name);
        let path = checker.discovery(property.name).map(|path| path.into_actions());
        assert_eq!(path.is_some(), expected, "{}: \"{}\" {path:?}", setup.name, property.name);
    }
}

#[test]
fn two_changes_in_a_row_keep_every_property() {
    holds(TWICE);
}

#[test]
fn epochs_that_are_jumped_over_keep_every_property() {
    holds(JUMPS);
}

#[test]
fn a_committee_that_lies_about_its_reference_breaks_no_property() {
    holds(CAPTURED);
}

#[test]
fn recording_before_the_turn_keeps_every_property() {
    holds(RECORD_FIRST);
}

#[test]
fn a_fallback_before_recording_keeps_every_property() {
    holds(FALLBACK_FIRST);
}

#[test]
fn every_mutant_is_found_by_its_property() {
    for mutant in Mutant::ALL {
        let (broken, setup) = mutant.breaks();
        let found = HasDiscoveries::AllOf(broken.iter().copied().collect());
        let checker = Eras { setup, mutant: Some(mutant) }.checker().finish_when(found).spawn_bfs().join();
        for property in broken {
            let steps = checker.discovery(property).map(|path| path.into_actions()).unwrap_or_default();
            assert!(!steps.is_empty(), "{mutant:?} keeps \"{property}\"");
            say(&format!("{mutant:?} ({}): \"{property}\" breaks in {} steps", setup.name, steps.len()));
            println!("    {steps:?}");
        }
    }
}
