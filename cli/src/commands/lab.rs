//! `kakera lab`: consensus cases replayed without a network.

use crate::{
    failure::{Failure, Result},
    output::Output,
};
use anyhow::Context;
use kakera_cbc::lab::{self, Case};
use std::{
    fs::File,
    io::{self, BufRead, BufReader, ErrorKind},
    path::Path,
};

/// Replays the cases of a file, one JSON object a line; prints one JSON object a line, with or without `--json`.
pub(crate) fn replay(path: &Path, output: Output) -> Result<()> {
    let reader: Box<dyn BufRead> = if path.as_os_str() == "-" {
        Box::new(BufReader::new(io::stdin()))
    } else {
        match File::open(path) {
            Ok(file) => Box::new(BufReader::new(file)),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(Failure::NotFound(format!("there is no file {}", path.display())));
            }
            Err(error) => {
                return Err(anyhow::anyhow!(error).context(format!("cannot read {}", path.display())).into());
            }
        }
    };
    for (number, line) in (1..).zip(reader.lines()) {
        let line = line.with_context(|| format!("cannot read {}", path.display()))?;
        if line.trim().is_empty() {
            continue;
        }
        let refuse = |reason: String| Failure::refused("BAD_CASE", format!("line {number}: {reason}"));
        let case: Case = serde_json::from_str(&line).map_err(|error| refuse(error.to_string()))?;
        let result = lab::replay(&case).map_err(|error| refuse(error.to_string()))?;
        let value = serde_json::to_value(&result).context("a result is numbers and text")?;
        output.data(&value, || value.to_string());
    }
    Ok(())
}
