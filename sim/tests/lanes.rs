//! The cross-shard lane protocol, checked in every state that a small model of it can reach. `docs/model.md` says what
//! is modelled and what is not.

mod lanes {
    pub(crate) mod beacon;
    pub(crate) mod model;
    pub(crate) mod mutants;
    pub(crate) mod properties;
    pub(crate) mod shard;
    pub(crate) mod state;
}

use lanes::{
    model::Lanes,
    mutants::{CROSSING, Mutant, ONE_WAY, ONWARD},
    state::Setup,
};
use stateright::{Checker, Expectation, HasDiscoveries, Model};
use std::{
    collections::BTreeSet,
    io::{Write, stderr},
};

/// Says it even if the test passes: the figures are what a run is for.
fn say(line: &str) {
    writeln!(stderr(), "{line}").expect("standard error is open");
}

fn holds(setup: Setup) {
    let checker = Lanes { setup, mutant: None }.checker().spawn_bfs().join();
    let (unique, all, depth) = (checker.unique_state_count(), checker.state_count(), checker.max_depth());
    say(&format!("{}: {unique} unique states, {all} steps between them, depth {depth}", setup.name));
    for property in checker.model().properties() {
        let expected = property.expectation == Expectation::Sometimes && !setup.never.contains(&property.name);
        let path = checker.discovery(property.name).map(|path| path.into_actions());
        assert_eq!(path.is_some(), expected, "{}: \"{}\" {path:?}", setup.name, property.name);
    }
}

#[test]
fn transfers_that_cross_each_other_keep_every_property() {
    holds(CROSSING);
}

#[test]
fn transfers_one_way_keep_every_property() {
    holds(ONE_WAY);
}

#[test]
fn transfers_sent_on_keep_every_property() {
    holds(ONWARD);
}

#[test]
fn every_mutant_is_found_by_its_property() {
    for mutant in Mutant::ALL {
        let (property, setup) = mutant.breaks();
        let found = HasDiscoveries::AllOf(BTreeSet::from([property]));
        let checker = Lanes { setup, mutant: Some(mutant) }.checker().finish_when(found).spawn_bfs().join();
        let steps = checker.discovery(property).map(|path| path.into_actions()).unwrap_or_default();
        assert!(!steps.is_empty(), "{mutant:?} keeps \"{property}\"");
        let states = checker.unique_state_count();
        say(&format!("{mutant:?} ({}): \"{property}\" breaks in {} steps, {states} states", setup.name, steps.len()));
        println!("    {steps:?}");
    }
}
