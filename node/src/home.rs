//! The data directory: a store and a guard for each chain that the process hosts.
//!
//! ```text
//!   data/beacon/{db,sign-state}   data/shard-0/{db,sign-state}   data/shard-3/...   data/restored (see `guard.rs`)
//! ```
//!
//! A shard's database goes when its duty ends; what was signed for it stays for ever.

use crate::{
    guard::{GuardFailure, SignGuard},
    store::{OpenFailure, RocksStore},
};
use anyhow::Context as _;
use kakera_chain::{
    hash::NetworkId,
    units::{ChainId, Epoch, ShardId},
};
use std::{
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
};
use thiserror::Error;

/// Its presence in the data directory declares that the databases were restored from an old copy.
const RESTORED: &str = "restored";

/// The data directory of a process.
#[derive(Clone, Debug)]
pub struct Home {
    data: PathBuf,
    network: NetworkId,
}

/// The file that is locked while a process, or the tool that carries what it said, uses the data directory.
const LOCK: &str = "lock";

/// Why a data directory cannot be used.
#[derive(Debug, Error)]
pub enum HomeFailure {
    /// Another process uses it.
    #[error("{} is in use by another process; stop that one first", data.display())]
    Locked {
        /// The directory.
        data: PathBuf,
    },
    /// The machine refuses.
    #[error("{} cannot be used: {reason}", data.display())]
    Unusable {
        /// The directory.
        data: PathBuf,
        /// Why.
        reason: io::Error,
    },
}

/// As long as it lives, nobody else uses the data directory.
#[derive(Debug)]
pub struct Tenancy(#[expect(dead_code, reason = "its lock ends with it")] File);

/// Takes a data directory, which is made if it does not exist. Shards come and go in it: what is locked is the whole.
///
/// # Errors
/// Another process uses it, or the disk's words.
pub fn take(data: &Path) -> Result<Tenancy, HomeFailure> {
    let unusable = |reason| HomeFailure::Unusable { data: data.to_path_buf(), reason };
    fs::create_dir_all(data).map_err(unusable)?;
    let file = File::options().create(true).append(true).open(data.join(LOCK)).map_err(unusable)?;
    file.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => HomeFailure::Locked { data: data.to_path_buf() },
        TryLockError::Error(reason) => unusable(reason),
    })?;
    Ok(Tenancy(file))
}

/// A chain's part of a data directory.
pub fn of(data: &Path, chain: ChainId) -> PathBuf {
    match chain {
        ChainId::Beacon => data.join("beacon"),
        ChainId::Shard(shard) => data.join(format!("shard-{shard}")),
    }
}

impl Home {
    /// The directory, which need not exist.
    pub fn new(data: &Path, network: NetworkId) -> Home {
        Home { data: data.to_path_buf(), network }
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.data
    }

    fn of(&self, chain: ChainId) -> PathBuf {
        of(&self.data, chain)
    }

    /// Opens a chain's database, which is made when it does not exist.
    ///
    /// # Errors
    /// See [`OpenFailure`].
    pub fn store(&self, chain: ChainId) -> Result<RocksStore, OpenFailure> {
        RocksStore::open(&self.of(chain).join("db"), self.network, chain)
    }

    /// Opens and locks a chain's guard.
    ///
    /// # Errors
    /// See [`GuardFailure`].
    pub fn guard(&self, chain: ChainId) -> Result<SignGuard, GuardFailure> {
        SignGuard::open(&self.of(chain).join("sign-state"), self.network, chain)
    }

    /// The shards of which there is a database.
    pub fn shards(&self, count: u16) -> Vec<ShardId> {
        (0..count).map(ShardId).filter(|shard| self.of(ChainId::Shard(*shard)).join("db").exists()).collect()
    }

    /// Removes a chain's database; what was signed stays. Nobody may have it open.
    ///
    /// # Errors
    /// The disk's words.
    pub fn remove_store(&self, chain: ChainId) -> io::Result<()> {
        let (database, going) = (self.of(chain).join("db"), self.of(chain).join("db-going"));
        // Renamed first: what is left of an interrupted removal is never taken for a database.
        if going.exists() {
            fs::remove_dir_all(&going)?;
        }
        if database.exists() {
            fs::rename(&database, &going)?;
            fs::remove_dir_all(&going)?;
        }
        Ok(())
    }

    /// Heeds the declaration that the databases are old copies: from then on nothing is said in any era up to `epoch`, on no
    /// chain, also on those of which the copy knows nothing: the validator may have sat there after it was made. Says
    /// whether there was one.
    ///
    /// # Errors
    /// The guards', or the disk's words.
    pub fn heed_restore(&self, shards: u16, epoch: Epoch) -> anyhow::Result<bool> {
        let marker = self.data.join(RESTORED);
        if !marker.try_exists().with_context(|| format!("looking for {}", marker.display()))? {
            return Ok(false);
        }
        let all = (0..shards).map(|shard| ChainId::Shard(ShardId(shard))).chain([ChainId::Beacon]);
        for chain in all {
            self.guard(chain)?.spend(epoch)?;
        }
        fs::remove_file(&marker).with_context(|| format!("removing {}", marker.display()))?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use kakera_chain::{hash::Hash, replica::SignState};

    const SHARD: ChainId = ChainId::Shard(ShardId(2));

    fn home(data: &Path) -> Home {
        Home::new(data, NetworkId(Hash([7; 32])))
    }

    #[test]
    fn a_declared_restore_silences_every_chain_whether_the_copy_knows_of_it_or_not() {
        let dir = tempfile::tempdir().unwrap();
        let home = home(dir.path());
        for chain in [SHARD, ChainId::Beacon] {
            drop(home.guard(chain).unwrap());
        }
        assert!(!home.heed_restore(4, Epoch(3)).unwrap());
        fs::write(dir.path().join(RESTORED), "").unwrap();
        assert!(home.heed_restore(4, Epoch(3)).unwrap());
        for chain in [SHARD, ChainId::Beacon, ChainId::Shard(ShardId(1)), ChainId::Shard(ShardId(3))] {
            assert_eq!(home.guard(chain).unwrap().read(), SignState::spent(Epoch(3)));
        }
        assert_eq!(home.shards(4), [], "and makes no database");
        assert!(!home.heed_restore(4, Epoch(3)).unwrap(), "heeded once");
    }

    #[test]
    fn one_process_at_a_time_uses_a_data_directory() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        let held = take(&data).unwrap();
        let refused = take(&data).unwrap_err();
        assert!(matches!(&refused, HomeFailure::Locked { .. }), "{refused}");
        assert!(refused.to_string().contains("in use by another process"), "{refused}");
        drop(held);
        take(&data).unwrap();
    }

    #[test]
    fn a_removed_store_is_gone_and_what_was_signed_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let home = home(dir.path());
        drop(home.store(SHARD).unwrap());
        home.guard(SHARD).unwrap().spend(Epoch(1)).unwrap();
        assert_eq!(home.shards(4), [ShardId(2)]);
        home.remove_store(SHARD).unwrap();
        home.remove_store(SHARD).unwrap();
        assert_eq!(home.shards(4), []);
        assert_eq!(home.guard(SHARD).unwrap().read(), SignState::spent(Epoch(1)));
    }
}
