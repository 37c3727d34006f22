//! A failing seed made small: fewer faults, members, shards and orders, and less time, as long as the same check fails.

mod steps;

use crate::{campaign::outcome, checks::Violation, scenario::Scenario};

/// Seeds tried with each smaller scenario: the failing one and the next ones, because what a seed draws depends on what
/// there is to draw from.
const SEEDS: u64 = 3;

/// A failing scenario that could not be made smaller.
#[derive(Clone, Debug, PartialEq)]
pub struct Shrunk {
    /// The scenario.
    pub scenario: Scenario,
    /// The seed with which it fails.
    pub seed: u64,
    /// How.
    pub violation: Violation,
    /// Worlds that were run to find it.
    pub runs: u32,
    /// What was taken away, in order.
    pub steps: Vec<String>,
}

/// Shrinks a scenario that fails with a seed, in at most so many worlds. Nothing: it does not fail.
pub fn shrink(scenario: &Scenario, seed: u64, most_runs: u32, progress: impl FnMut(u32)) -> Option<Shrunk> {
    shrink_with(scenario, seed, most_runs, progress, |scenario, seed| outcome(scenario, seed, false).violation)
}

/// The same where `fails` says what breaks.
pub fn shrink_with(
    scenario: &Scenario,
    seed: u64,
    most_runs: u32,
    mut progress: impl FnMut(u32),
    mut fails: impl FnMut(&Scenario, u64) -> Option<Violation>,
) -> Option<Shrunk> {
    let violation = fails(scenario, seed)?;
    let mut shrunk = Shrunk { scenario: scenario.clone(), seed, violation, runs: 1, steps: Vec::new() };
    // One round over all steps after another, until one changes nothing.
    let (mut at, mut in_vain) = (0, 0);
    loop {
        let steps = steps::steps(&shrunk.scenario, &shrunk.violation);
        if in_vain >= steps.len() || shrunk.runs >= most_runs {
            return Some(shrunk);
        }
        let (what, smaller) = &steps[at % steps.len()];
        match shrunk.tried(smaller, seed, most_runs, &mut progress, &mut fails) {
            Some((seed, violation)) => {
                (shrunk.scenario, shrunk.seed, shrunk.violation) = (smaller.clone(), seed, violation);
                shrunk.steps.push(what.clone());
                in_vain = 0;
            }
            None => in_vain += 1,
        }
        // Each kind of step has its turn before one that succeeded is tried once more.
        at = (at + 1) % steps.len();
    }
}

impl Shrunk {
    fn tried(
        &mut self,
        smaller: &Scenario,
        first: u64,
        most_runs: u32,
        progress: &mut impl FnMut(u32),
        fails: &mut impl FnMut(&Scenario, u64) -> Option<Violation>,
    ) -> Option<(u64, Violation)> {
        // What cannot be read back is no scenario.
        let text = toml::to_string(smaller).ok()?;
        Scenario::parse(&text).ok()?;
        for seed in first..first.saturating_add(SEEDS) {
            if self.runs >= most_runs {
                return None;
            }
            self.runs += 1;
            progress(self.runs);
            let violation = fails(smaller, seed).filter(|violation| violation.check == self.violation.check);
            if let Some(violation) = violation {
                return Some((seed, violation));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests;
