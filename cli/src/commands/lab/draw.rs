//! `kakera lab draw`: a case as a picture.

use super::{cases, svg, terminal};
use crate::{
    args::DrawArgs,
    failure::{Failure, Result},
    output::Output,
};
use anyhow::Context;
use console::Term;
use kakera_cbc::lab;
use std::{
    env, fs,
    io::{self, IsTerminal},
};

/// Columns where there is no terminal.
const COLUMNS: usize = 120;

/// Draws on standard output, or writes an SVG file.
pub(super) fn run(args: &DrawArgs, output: Output) -> Result<()> {
    if output.json && args.svg.as_ref().is_some_and(|path| path.as_os_str() == "-") {
        let message = "--svg - and --json both want standard output: name a file for the picture";
        return Err(Failure::Usage(message.to_owned()));
    }
    let (number, case) = cases::pick(&args.case, args.id.as_deref())?;
    let picture = lab::picture(&case, args.view.as_deref(), args.candidate.as_deref());
    let picture = picture.map_err(|error| cases::refuse(number, &error.to_string()))?;
    match &args.svg {
        Some(path) if path.as_os_str() == "-" => {
            output.line(&svg::svg(&picture));
        }
        Some(path) => {
            fs::write(path, svg::svg(&picture)).with_context(|| format!("cannot write {}", path.display()))?;
            output.note(&format!("wrote {}", path.display()));
        }
        None if output.json => {
            output.line(&serde_json::to_string(&picture).context("a picture is numbers and text")?);
        }
        None => {
            let is_terminal = io::stdout().is_terminal();
            let colour = is_terminal && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
            let size = || Term::stdout().size_checked().map(|(_, columns)| usize::from(columns));
            let width = args.width.map(usize::from).or_else(|| size().filter(|_| is_terminal));
            output.line(&terminal::drawing(&picture, width.unwrap_or(COLUMNS).max(40), colour));
        }
    }
    Ok(())
}
