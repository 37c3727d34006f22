//! Keys of a new network: validators' and faucets'.

use anyhow::{Context, Result};
use kakera_chain::{address::Address, keys::SecretKey, units::ShardId};
use std::{fs, io::Write, os::unix::fs::OpenOptionsExt, path::Path};

/// A key from the operating system's entropy.
pub(crate) fn fresh_key() -> Result<SecretKey> {
    Ok(SecretKey::from_seed(entropy()?))
}

/// 32 bytes of entropy.
pub(crate) fn entropy() -> Result<[u8; 32]> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).context("the system has no entropy")?;
    Ok(bytes)
}

/// A fresh key whose account lies in `shard`: about `shards` tries.
pub(crate) fn fresh_key_in(shard: ShardId, shards: u16) -> Result<SecretKey> {
    loop {
        let key = fresh_key()?;
        if Address::of(&key.public()).shard(shards) == shard {
            return Ok(key);
        }
    }
}

/// Writes a secret: readable by its owner only, never over an existing file.
pub(crate) fn write_secret(path: &Path, text: &str) -> Result<()> {
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("cannot create {}", path.display()))?;
    file.write_all(text.as_bytes()).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn faucet_keys_land_in_their_shard() {
        for shard in 0..5 {
            let key = fresh_key_in(ShardId(shard), 5).unwrap();
            assert_eq!(Address::of(&key.public()).shard(5), ShardId(shard));
        }
    }

    #[test]
    fn secrets_are_private_and_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        write_secret(&path, "ab").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(write_secret(&path, "cd").is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "ab");
    }
}
