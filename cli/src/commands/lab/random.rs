//! `kakera lab random`: cases from a seed.

use crate::{
    args::RandomArgs,
    failure::{Failure, Result},
    output::Output,
};
use kakera_cbc::lab::{self, Case, CaseResult, RandomCase};
use std::io::{self, IsTerminal};

/// What was made, for a person.
#[derive(Debug, Default)]
struct Summary {
    cases: usize,
    messages: usize,
    views: usize,
    equivocating: usize,
    unjustified: usize,
    judged: usize,
    with_summit: usize,
}

impl Summary {
    fn count(&mut self, case: &Case, result: &CaseResult) {
        self.cases += 1;
        self.messages += case.messages.len();
        self.unjustified += result.unjustified.len();
        self.views += result.views.len();
        self.equivocating += result.views.iter().filter(|view| !view.equivocators.is_empty()).count();
        let judged = || result.views.iter().flat_map(|view| view.candidates.values());
        self.judged += judged().count();
        self.with_summit += judged().filter(|candidate| !candidate.summit.is_empty()).count();
    }

    fn text(&self) -> String {
        format!(
            "{} cases, {} messages ({} do not follow), {} views ({} see equivocators), {} blocks judged ({} with a summit)",
            self.cases, self.messages, self.unjustified, self.views, self.equivocating, self.judged, self.with_summit
        )
    }
}

/// Prints cases, or with `--replay` what they give, one a line.
pub(super) fn run(args: &RandomArgs, output: Output) -> Result<()> {
    let mut summary = Summary::default();
    for nth in 0..args.count {
        let settings = RandomCase {
            seed: args.seed.wrapping_add(nth),
            family: args.family,
            validators: args.validators,
            messages: args.messages,
            equivocators: args.equivocators,
            partitions: args.partitions,
            weights: args.weights,
        };
        let case = settings.make().map_err(|invalid| Failure::Usage(invalid.to_string()))?;
        if !args.replay {
            if !output.line(&super::case_line(&case)?) {
                break;
            }
            continue;
        }
        let result = lab::replay(&case).map_err(|error| anyhow::anyhow!("{}: {error}", case.id))?;
        summary.count(&case, &result);
        if !output.line(&super::result_line(&result)?) {
            break;
        }
    }
    if args.replay && io::stderr().is_terminal() {
        output.note(&summary.text());
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
mod tests {
    use super::*;

    #[test]
    fn a_case_printed_is_the_case_read() {
        let case = RandomCase { seed: 7, ..RandomCase::default() }.make().unwrap();
        let line = super::super::case_line(&case).unwrap();
        assert!(!line.contains('\n'));
        assert_eq!(serde_json::from_str::<Case>(&line).unwrap(), case);
    }

    #[test]
    fn summaries_count() {
        let case = RandomCase { seed: 7, messages: Some(20), ..RandomCase::default() }.make().unwrap();
        let mut summary = Summary::default();
        summary.count(&case, &lab::replay(&case).unwrap());
        assert!(summary.text().starts_with("1 cases, 20 messages"), "{}", summary.text());
    }
}
