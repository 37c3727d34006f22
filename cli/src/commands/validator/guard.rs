//! `kakera validator guard`: what a validator has said, from one machine to another, by the program `kakera-guard`.

use crate::{
    args::{GuardArgs, GuardCommand},
    failure::{Failure, Result},
    locate::Place,
    output::table,
};
use anyhow::{Context, anyhow};
use kakera_deploy::Binaries;
use serde_json::Value;
use std::process::Command;

/// Runs one of the two.
pub(super) async fn run(command: GuardCommand, place: &Place) -> Result<()> {
    let (way, args) = match command {
        GuardCommand::Export(args) => ("export", args),
        GuardCommand::Import(args) => ("import", args),
    };
    let GuardArgs { directory, file } = args;
    let config = directory.join("node.toml");
    if !config.is_file() {
        let message = format!("{} is no validator's directory: node.toml is missing", directory.display());
        return Err(Failure::NotFound(message));
    }
    let mut program = Command::new(Binaries::program("kakera-guard")?);
    program.arg(way).arg("--config").arg(&config).arg(&file);
    let done = tokio::task::spawn_blocking(move || program.output()).await.context("waiting for kakera-guard")?;
    let done = done.context("cannot start kakera-guard")?;
    if !done.status.success() {
        let message = String::from_utf8_lossy(&done.stderr).trim().to_owned();
        return Err(Failure::refused("INTERLOCK", message));
    }
    let said: Value =
        serde_json::from_slice(&done.stdout).map_err(|error| anyhow!("kakera-guard's answer: {error}"))?;
    place.output.data(&said, || text(&said));
    if way == "export" {
        place.output.note("do not start it here again: what it says after this is not in the file");
    }
    Ok(())
}

fn text(said: &Value) -> String {
    let field = |one: &Value, name: &str| match &one[name] {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let names = ["chain", "epoch", "next_seq", "finality_height"];
    let rows = said.as_array().into_iter().flatten();
    let rows: Vec<Vec<String>> = rows.map(|one| names.iter().map(|name| field(one, name)).collect()).collect();
    table(&["chain", "epoch", "next message", "signed up to height"], &rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_said_is_a_row_a_chain() {
        let said = serde_json::json!([{"chain": "shard 2", "epoch": 4, "next_seq": 17, "finality_height": 9}]);
        let text = text(&said);
        assert_eq!(text.lines().count(), 2);
        assert!(text.contains("shard 2") && text.contains("17"), "{text}");
    }
}
