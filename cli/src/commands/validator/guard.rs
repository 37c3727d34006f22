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
use std::{
    fs,
    io::{ErrorKind, Read},
    path::Path,
    process::Command,
};

/// Bytes of a file of interlocks at most, as `kakera-guard` reads it.
const MOST_BYTES: u64 = 8 << 20;

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
    if way == "export" {
        check_new(&file)?
    } else {
        check_exported(&file)?
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

/// An export makes a file, and writes over none.
fn check_new(file: &Path) -> Result<()> {
    if file.symlink_metadata().is_ok() {
        let message =
            format!("{} is there already, and an export writes over nothing: name a new file", file.display());
        return Err(Failure::Usage(message));
    }
    Ok(())
}

/// Whether a file looks like what an export wrote; what it says is judged by `kakera-guard`.
fn check_exported(file: &Path) -> Result<()> {
    let mut text = String::new();
    match fs::File::open(file).and_then(|open| open.take(MOST_BYTES).read_to_string(&mut text)) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let message = format!(
                "{} is not there: copy the file that `kakera validator guard export` wrote on the other machine",
                file.display()
            );
            return Err(Failure::NotFound(message));
        }
        Err(error) if error.kind() != ErrorKind::InvalidData => {
            return Err(anyhow!(error).context(format!("cannot read {}", file.display())).into());
        }
        Ok(_) | Err(_) => {}
    }
    let is_one = |value: &Value| value.get("kakera_interlock").is_some() && value.get("chain").is_some();
    match serde_json::from_str::<Vec<Value>>(&text) {
        Ok(all) if !all.is_empty() && all.iter().all(is_one) => Ok(()),
        _ => {
            let message = format!(
                "{} is no file of exported interlocks, or not all of one: copy it anew from the other machine",
                file.display()
            );
            Err(Failure::refused("NOT_EXPORTED", message))
        }
    }
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
#[allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
mod tests {
    use super::*;

    #[test]
    fn files_are_told_apart_before_the_interlock_is_asked() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("said.json");
        assert_eq!(check_exported(&file).unwrap_err().exit_code(), 5);
        check_new(&file).unwrap();
        let whole = r#"[{"kakera_interlock": 1, "chain": "Beacon"}]"#;
        for wrong in [&b""[..], b"[]", b"{}", b"[1]", b"\xff", &whole.as_bytes()[..20], b"[{\"chain\": \"Beacon\"}]"] {
            fs::write(&file, wrong).unwrap();
            let refused = check_exported(&file).unwrap_err();
            assert!(matches!(&refused, Failure::Refused { reason, .. } if reason == "NOT_EXPORTED"), "{refused}");
        }
        fs::write(&file, whole).unwrap();
        check_exported(&file).unwrap();
        let there = check_new(&file).unwrap_err();
        assert!(there.exit_code() == 2 && there.to_string().contains("name a new file"), "{there}");
    }

    #[test]
    fn what_was_said_is_a_row_a_chain() {
        let said = serde_json::json!([{"chain": "shard 2", "epoch": 4, "next_seq": 17, "finality_height": 9}]);
        let text = text(&said);
        assert_eq!(text.lines().count(), 2);
        assert!(text.contains("shard 2") && text.contains("17"), "{text}");
    }
}
