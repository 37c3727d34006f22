//! `kakera lab`: consensus cases and draws without a network, and the finality of a running one.

mod attack;
mod bias;
mod cases;
mod census;
mod draw;
mod explain;
mod live;
mod random;
mod risk;
mod shuffle;
pub(crate) mod svg;
mod terminal;

use crate::{args::LabCommand, failure::Result, locate::Place, output::Output};
use anyhow::Context;
use kakera_cbc::lab::{self, Case, CaseResult};
use std::path::Path;

/// Runs a command of the lab.
pub(crate) async fn run(command: LabCommand, place: &Place) -> Result<()> {
    match command {
        LabCommand::Replay { file } => replay(&file, place.output),
        LabCommand::Draw(args) => draw::run(&args, place.output),
        LabCommand::Random(args) => random::run(&args, place.output),
        LabCommand::Attack(args) => attack::run(&args, place.output),
        LabCommand::Census(args) => census::run(&args, place.output),
        LabCommand::Shuffle(args) => shuffle::run(&args, place.output),
        LabCommand::Risk(args) => risk::run(&args, place.output),
        LabCommand::Bias(args) => bias::run(&args, place.output),
        LabCommand::Explain(args) => match &args.case {
            Some(case) => explain::of_case(case, &args, place.output),
            None => live::run(&args, place).await,
        },
    }
}

/// Replays the cases of a file, one JSON object a line; prints one JSON object a line, with or without `--json`.
fn replay(path: &Path, output: Output) -> Result<()> {
    cases::each(path, |number, case| {
        let result = lab::replay(&case).map_err(|error| cases::refuse(number, &error.to_string()))?;
        output.line(&result_line(&result)?);
        Ok(())
    })
}

/// A result in one line.
fn result_line(result: &CaseResult) -> Result<String> {
    // Figures past 64 bits are written as they are, where a JSON value would not hold them.
    let line = match serde_json::to_value(result) {
        Ok(value) => value.to_string(),
        Err(_) => serde_json::to_string(result).context("a result is numbers and text")?,
    };
    Ok(line)
}

/// A case in one line.
fn case_line(case: &Case) -> Result<String> {
    Ok(serde_json::to_string(case).context("a case is numbers and text")?)
}

/// Text from a file or a node as it may be printed: control characters and what turns text around become `\u{fffd}`.
fn printable(text: &str) -> String {
    let strange = |letter: char| {
        letter.is_control()
            || matches!(letter, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}')
    };
    text.chars().map(|letter| if strange(letter) { '\u{fffd}' } else { letter }).collect()
}

/// At most so many letters of a text, the last of which says that some are left out.
fn shortened(text: &str, letters: usize) -> String {
    if text.chars().count() <= letters {
        return text.to_owned();
    }
    let kept = text.chars().take(letters.saturating_sub(1));
    kept.chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_outside_cannot_steer_a_terminal() {
        assert_eq!(printable("a\u{1b}[31mb\u{202e}c\nd"), "a\u{fffd}[31mb\u{fffd}c\u{fffd}d");
        assert_eq!(printable("欠片 é"), "欠片 é");
    }

    #[test]
    fn figures_past_64_bits_are_printed_as_they_are() {
        let case = r#"{"id":"big","validators":[{"name":"a","weight":18446744073709551615}],
            "messages":[{"id":"x","sender":"a","parent":"G"}],
            "views":[{"name":"v","delivery_order":["x"],"candidates":["x"]}]}"#;
        let case: Case = serde_json::from_str(case).expect("a case");
        let line = result_line(&lab::replay(&case).expect("it is sound")).expect("numbers and text");
        assert!(line.contains("[276701161105643274225,16]"), "{line}");
    }

    #[test]
    fn long_texts_say_that_they_go_on() {
        assert_eq!((shortened("abcdef", 4), shortened("abcd", 4)), ("abc…".to_owned(), "abcd".to_owned()));
    }
}
