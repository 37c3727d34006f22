//! The files of one validator: its secrets and its node's configuration.
//!
//! ```text
//! DIR/key          64 hexadecimal digits: whoever has it speaks for the validator
//! DIR/randomness   the secret that its chain of random numbers begins with, and the chain's length
//! DIR/node.toml    what its process is told; paths are relative to the file
//! ```

use crate::{error::Result, keys};
use anyhow::{Context, anyhow};
use kakera_beacon::randomness::{CHAIN_LINKS, Links};
use kakera_chain::{
    hash::Hash,
    keys::{SecretKey, parse_hex},
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fs, net::SocketAddr, os::unix::fs::DirBuilderExt, path::Path};

/// What nobody else may know of a validator.
#[derive(Clone)]
pub struct Secrets {
    /// Its key.
    pub key: SecretKey,
    /// What its chain of random numbers begins with.
    pub randomness: [u8; 32],
}

/// The contents of a `node.toml`; paths are relative to the file.
#[derive(Clone, Debug, Serialize)]
pub struct NodeFile<'a> {
    /// The genesis file.
    pub genesis: &'a str,
    /// The key file.
    pub key: &'a str,
    /// The data directory.
    pub data: &'a str,
    /// Where it listens for gRPC: an address and a port.
    pub listen: &'a str,
    /// Where it serves Prometheus metrics.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics: Option<&'a str>,
    /// Which events it logs.
    pub log: &'a str,
    /// `text` or `json`.
    pub log_format: &'a str,
    /// Where it begins to follow the beacon chain; nowhere in particular: at the genesis file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<CheckpointFile<'a>>,
    /// Relays in the place of validators' endpoints, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub via: BTreeMap<&'a str, SocketAddr>,
}

/// Where a node begins, in its `node.toml`.
#[derive(Clone, Debug, Serialize)]
pub struct CheckpointFile<'a> {
    /// The id of the root of an era of the beacon chain, in hexadecimal digits.
    pub root: &'a str,
    /// Nodes that may have it: `host:port`.
    pub from: Vec<&'a str>,
}

/// The contents of a `randomness` file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RandomnessFile {
    seed: String,
    links: u32,
}

impl Secrets {
    /// Fresh ones, from the operating system's entropy.
    pub fn fresh() -> Result<Secrets> {
        Ok(Secrets { key: keys::fresh_key()?, randomness: keys::entropy()? })
    }

    /// Those in a directory.
    pub fn read(dir: &Path) -> Result<Secrets> {
        let key = read_key(&dir.join("key"))?;
        let path = dir.join("randomness");
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let file: RandomnessFile =
            toml::from_str(&text).with_context(|| format!("{} holds no randomness", path.display()))?;
        let seed = parse_hex(&file.seed).filter(|_| file.links == CHAIN_LINKS);
        let randomness =
            seed.ok_or_else(|| anyhow!("{}: a seed of 64 digits, and {CHAIN_LINKS} links", path.display()))?;
        Ok(Secrets { key, randomness })
    }

    /// Writes them into a directory that has neither file: readable by their owner only.
    pub fn write(&self, dir: &Path) -> Result<()> {
        write_key(&dir.join("key"), &self.key)?;
        let randomness = RandomnessFile { seed: hex::encode(self.randomness), links: CHAIN_LINKS };
        Ok(keys::write_secret(&dir.join("randomness"), &toml::to_string(&randomness).context("randomness")?)?)
    }

    /// The end of its chain of random numbers: what is registered. 65,536 hashes.
    pub fn commitment(&self) -> Hash {
        Links::new(self.randomness).commitment()
    }
}

impl NodeFile<'_> {
    /// Writes it into a directory.
    pub fn write(&self, dir: &Path) -> Result<()> {
        let path = dir.join("node.toml");
        let text = toml::to_string(self).context("node.toml")?;
        Ok(fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?)
    }
}

/// The secret key in a file: 64 hexadecimal digits.
pub fn read_key(path: &Path) -> Result<SecretKey> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(SecretKey::parse(text.trim()).with_context(|| format!("{} holds no key", path.display()))?)
}

/// Writes a secret key into a new file, readable by its owner only.
pub fn write_key(path: &Path, key: &SecretKey) -> Result<()> {
    Ok(keys::write_secret(path, &hex_line(&key.to_seed()))?)
}

/// Makes a directory, and those above it, that only its owner may look into.
pub fn make_private(dir: &Path) -> Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true).mode(0o700);
    Ok(builder.create(dir).with_context(|| format!("cannot create {}", dir.display()))?)
}

pub(crate) fn hex_line(bytes: &[u8]) -> String {
    format!("{}\n", hex::encode(bytes))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_read_as_they_were_written_and_never_written_over() {
        let dir = tempfile::tempdir().unwrap();
        let secrets = Secrets::fresh().unwrap();
        secrets.write(dir.path()).unwrap();
        let read = Secrets::read(dir.path()).unwrap();
        assert_eq!((read.key.public(), read.randomness), (secrets.key.public(), secrets.randomness));
        assert!(Secrets::fresh().unwrap().write(dir.path()).is_err());
        assert_eq!(Secrets::read(dir.path()).unwrap().randomness, secrets.randomness);
        fs::write(dir.path().join("randomness"), "seed = '00'\nlinks = 65536\n").unwrap();
        assert!(Secrets::read(dir.path()).is_err());
    }

    #[test]
    fn the_commitment_is_the_last_link() {
        let secrets = Secrets { key: SecretKey::from_seed([1; 32]), randomness: [7; 32] };
        let end = (0..CHAIN_LINKS).fold(Hash([7; 32]), |link, _| Hash::of(&[&link.0]));
        assert_eq!(secrets.commitment(), end);
    }
}
