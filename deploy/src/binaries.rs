//! Where the node binaries are, and the command that starts one.

use crate::{
    error::{Error, Result},
    network::{Network, Process},
};
use anyhow::Context;
use kakera_chain::genesis::Role;
use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

/// The directory of the node binaries `kakera-beacon` and `kakera-shard`.
#[derive(Clone, Debug)]
pub struct Binaries {
    dir: PathBuf,
}

impl Binaries {
    /// Finds the binaries: in `KAKERA_BIN_DIR` if set, else beside the running program (or, for a test that Cargo
    /// runs from `deps`, one directory above).
    pub fn find() -> Result<Binaries> {
        Binaries::among(&Binaries::places()?)
    }

    fn places() -> Result<Vec<PathBuf>> {
        if let Some(dir) = env::var_os("KAKERA_BIN_DIR") {
            return Ok(vec![PathBuf::from(dir)]);
        }
        let program = env::current_exe().context("the running program has no path")?;
        let beside = program.parent().map(Path::to_owned).unwrap_or_default();
        let above = beside.parent().map(Path::to_owned).unwrap_or_default();
        Ok(vec![beside, above])
    }

    /// One program of this project, looked for where the binaries are.
    pub fn program(name: &str) -> Result<PathBuf> {
        let dirs = Binaries::places()?;
        let found = dirs.iter().map(|dir| dir.join(name)).find(|path| path.is_file());
        found.ok_or_else(|| Error::NoBinary { name: name.to_owned(), looked: listed(&dirs) })
    }

    /// The first of `dirs` that holds both binaries.
    pub fn among(dirs: &[PathBuf]) -> Result<Binaries> {
        let holds = |dir: &&PathBuf, role: Role| dir.join(file_name(role)).is_file();
        let found = dirs.iter().find(|dir| holds(dir, Role::Beacon) && holds(dir, Role::Shard));
        found.map(|dir| Binaries { dir: dir.clone() }).ok_or_else(|| Error::NoBinary {
            name: format!("{} or {}", file_name(Role::Beacon), file_name(Role::Shard)),
            looked: listed(dirs),
        })
    }

    /// The command that runs one process of a network; it ends when the thread that spawns it does.
    pub fn command(&self, network: &Network, process: &Process) -> Command {
        let mut command = Command::new(self.dir.join(file_name(process.role)));
        command.arg("--config").arg(network.process_dir(&process.name).join("node.toml"));
        command.arg(format!("--die-with-parent={}", std::process::id()));
        command
    }
}

fn listed(dirs: &[PathBuf]) -> String {
    dirs.iter().map(|dir| dir.display().to_string()).collect::<Vec<_>>().join(", ")
}

fn file_name(role: Role) -> &'static str {
    match role {
        Role::Beacon => "kakera-beacon",
        Role::Shard => "kakera-shard",
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
mod tests {
    use super::*;

    #[test]
    fn both_binaries_must_be_there() {
        let dir = tempfile::tempdir().unwrap();
        let dirs = [PathBuf::from("/nowhere"), dir.path().to_owned()];
        std::fs::write(dir.path().join("kakera-beacon"), "").unwrap();
        let error = Binaries::among(&dirs).unwrap_err();
        assert!(error.is_not_found() && error.to_string().contains("KAKERA_BIN_DIR"), "{error}");
        std::fs::write(dir.path().join("kakera-shard"), "").unwrap();
        assert_eq!(Binaries::among(&dirs).unwrap().dir, dir.path());
    }
}
