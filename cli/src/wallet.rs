//! Wallets: one key file each, 64 hexadecimal digits, readable by its owner only.

use crate::failure::{Failure, Result};
use anyhow::{Context, anyhow};
use kakera_chain::{address::Address, keys::SecretKey, units::ShardId};
use std::{
    env, fs,
    io::{ErrorKind, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    str::FromStr,
};

const EXTENSION: &str = "key";

/// The directory of a person's wallets.
#[derive(Clone, Debug)]
pub(crate) struct Wallets {
    dir: PathBuf,
}

/// A key with a name.
#[derive(Clone, Debug)]
pub(crate) struct Wallet {
    /// Its name.
    pub(crate) name: String,
    /// Its key.
    pub(crate) key: SecretKey,
}

impl Wallet {
    /// Its account.
    pub(crate) fn address(&self) -> Address {
        Address::of(&self.key.public())
    }
}

impl Wallets {
    /// In `dir`, or in `~/.kakera/wallets`.
    pub(crate) fn at(dir: Option<PathBuf>) -> Result<Wallets> {
        let dir = match (dir, env::var_os("HOME")) {
            (Some(dir), _) => dir,
            (None, Some(home)) => Path::new(&home).join(".kakera").join("wallets"),
            (None, None) => {
                return Err(Failure::Usage("HOME is not set: name a directory with --wallets DIR".to_owned()));
            }
        };
        Ok(Wallets { dir })
    }

    /// Makes a key; in a shard of so many, if asked. Never replaces one.
    pub(crate) fn create(&self, name: &str, place: Option<(ShardId, u16)>) -> Result<Wallet> {
        let path = self.path(name)?;
        if place.is_some_and(|(shard, shards)| shard.0 >= shards) {
            return Err(Failure::Usage("there is no such shard: they count from 0".to_owned()));
        }
        let key = loop {
            let mut seed = [0; 32];
            getrandom::fill(&mut seed).map_err(|error| anyhow!("the system has no entropy: {error}"))?;
            let key = SecretKey::from_seed(seed);
            if place.is_none_or(|(shard, shards)| Address::of(&key.public()).shard(shards) == shard) {
                break key;
            }
        };
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.dir)
            .with_context(|| format!("cannot create {}", self.dir.display()))?;
        let opened = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        let mut file = match opened {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                let message = format!("a wallet called {name} exists already: choose another name");
                return Err(Failure::refused("WALLET_EXISTS", message));
            }
            Err(error) => return Err(anyhow!(error).context(format!("cannot create {}", path.display())).into()),
        };
        let text = format!("{}\n", hex::encode(key.to_seed()));
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).context("cannot write the key")?;
        Ok(Wallet { name: name.to_owned(), key })
    }

    /// Opens a wallet by name.
    pub(crate) fn open(&self, name: &str) -> Result<Wallet> {
        let path = self.path(name)?;
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let message = format!(
                    "no wallet is called {name} in {}: make it with `kakera wallet new {name}`",
                    self.dir.display()
                );
                return Err(Failure::NotFound(message));
            }
            Err(error) => return Err(anyhow!(error).context(format!("cannot read {}", path.display())).into()),
        };
        let key = SecretKey::parse(text.trim())
            .map_err(|error| anyhow!("{} is damaged ({error}): restore it from a copy", path.display()))?;
        Ok(Wallet { name: name.to_owned(), key })
    }

    /// All wallets by name.
    pub(crate) fn list(&self) -> Result<Vec<Wallet>> {
        let entries = match fs::read_dir(&self.dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(anyhow!(error).context(format!("cannot read {}", self.dir.display())).into()),
        };
        let mut names: Vec<String> = entries
            .filter_map(|entry| {
                let path = entry.ok()?.path();
                let is_key = path.extension().is_some_and(|extension| extension == EXTENSION);
                is_key.then(|| path.file_stem()?.to_str().map(str::to_owned)).flatten()
            })
            .collect();
        names.sort();
        names.iter().map(|name| self.open(name)).collect()
    }

    /// The address that a person means: bech32m text, or a wallet's name.
    pub(crate) fn address(&self, text: &str) -> Result<Address> {
        match Address::from_str(text) {
            Ok(address) => Ok(address),
            Err(reason) if text.starts_with("kk1") => {
                Err(Failure::Usage(format!("{text} is not an address: {reason}")))
            }
            Err(_) => Ok(self.open(text)?.address()),
        }
    }

    fn path(&self, name: &str) -> Result<PathBuf> {
        let harmless = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if name.is_empty() || name.len() > 64 || !name.chars().all(harmless) || name.starts_with("kk1") {
            let rule = "a wallet's name is 1 to 64 letters, digits, '-' and '_', and does not begin with kk1";
            return Err(Failure::Usage(rule.to_owned()));
        }
        Ok(self.dir.join(format!("{name}.{EXTENSION}")))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn wallets(dir: &tempfile::TempDir) -> Wallets {
        Wallets::at(Some(dir.path().join("wallets"))).unwrap()
    }

    #[test]
    fn a_wallet_is_private_kept_and_never_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let wallets = wallets(&dir);
        assert!(wallets.list().unwrap().is_empty());
        let made = wallets.create("alice", None).unwrap();
        assert_eq!(wallets.open("alice").unwrap().address(), made.address());
        assert_eq!(wallets.create("alice", None).unwrap_err().exit_code(), 4);
        assert_eq!(wallets.open("alice").unwrap().address(), made.address());
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&dir.path().join("wallets/alice.key")), 0o600);
        assert_eq!(mode(&dir.path().join("wallets")), 0o700);
        wallets.create("bob", None).unwrap();
        let names: Vec<String> = wallets.list().unwrap().into_iter().map(|wallet| wallet.name).collect();
        assert_eq!(names, ["alice", "bob"]);
    }

    #[test]
    fn a_wallet_can_be_placed_in_a_shard() {
        let dir = tempfile::tempdir().unwrap();
        let wallet = wallets(&dir).create("there", Some((ShardId(2), 3))).unwrap();
        assert_eq!(wallet.address().shard(3), ShardId(2));
        assert_eq!(wallets(&dir).create("nowhere", Some((ShardId(3), 3))).unwrap_err().exit_code(), 2);
    }

    #[test]
    fn names_cannot_leave_the_directory() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["../escape", "a/b", "", ".", "kk1name", "a b", &"x".repeat(65)] {
            assert_eq!(wallets(&dir).create(name, None).unwrap_err().exit_code(), 2, "{name}");
        }
    }

    #[test]
    fn an_account_is_an_address_or_a_wallet() {
        let dir = tempfile::tempdir().unwrap();
        let wallets = wallets(&dir);
        let alice = wallets.create("alice", None).unwrap().address();
        assert_eq!(wallets.address("alice").unwrap(), alice);
        assert_eq!(wallets.address(&alice.to_string()).unwrap(), alice);
        assert_eq!(wallets.address("nobody").unwrap_err().exit_code(), 5);
        let mut wrong = alice.to_string();
        wrong.pop();
        assert_eq!(wallets.address(&wrong).unwrap_err().exit_code(), 2);
        fs::write(dir.path().join("wallets/hurt.key"), "12").unwrap();
        assert!(wallets.open("hurt").unwrap_err().to_string().contains("damaged"));
    }
}
