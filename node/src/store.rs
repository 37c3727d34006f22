//! What a node keeps on disk: RocksDB with one column family a table, opened so that damage is named and never hidden.

use anyhow::Context as _;
use borsh::BorshDeserialize;
use kakera_chain::{
    codec,
    hash::{Hash, NetworkId},
    store::{Row, Store, StoreFailure, Table, Write},
    units::ChainId,
};
use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamily, ColumnFamilyDescriptor, DB, DBCompressionType, DBRecoveryMode, Direction,
    ErrorKind, IteratorMode, LogLevel, Options, WriteBatch, WriteOptions,
};
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};
use thiserror::Error;

/// The layout of the tables that this program writes; a store of a newer layout is refused.
pub const SCHEMA: u32 = 2;

/// Under this key of [`Table::Meta`]: schema (u32, little-endian), network id (32 bytes), chain (borsh).
const IDENTITY: &[u8] = b"store-identity";
const MIB: usize = 1024 * 1024;

/// A chain's tables in one directory, held by this process alone.
pub struct RocksStore {
    db: DB,
    path: PathBuf,
}

/// Why a store does not open. Nothing is ever deleted or repaired here.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum OpenFailure {
    /// The directory holds another network's data.
    #[error(
        "{} holds data of network {found}, but the genesis file is of network {expected}: \
         use another data directory or the other genesis file", path.display()
    )]
    OtherNetwork {
        /// The store's directory.
        path: PathBuf,
        /// The network it was made for.
        found: NetworkId,
        /// The network of this process.
        expected: NetworkId,
    },
    /// The directory holds another chain's data.
    #[error("{} holds the data of {found}, but this process serves {expected}: use another data directory", path.display())]
    OtherChain {
        /// The store's directory.
        path: PathBuf,
        /// The chain it was made for.
        found: ChainId,
        /// The chain of this process.
        expected: ChainId,
    },
    /// Written by a newer program.
    #[error("{} has layout {found}, but this program knows layouts up to {known}: run a newer program", path.display())]
    NewerSchema {
        /// The store's directory.
        path: PathBuf,
        /// Its layout.
        found: u32,
        /// The newest layout known here.
        known: u32,
    },
    /// Damaged: bytes are missing or changed.
    #[error(
        "{} is damaged ({reason}): move it away and start again to fetch everything from the other members, \
         or restore a copy", path.display()
    )]
    Corrupt {
        /// The store's directory.
        path: PathBuf,
        /// What was found, in RocksDB's words.
        reason: String,
    },
    /// Another process has it open.
    #[error("{} is in use by another process: stop that one first, two nodes must never share a directory", path.display())]
    Locked {
        /// The store's directory.
        path: PathBuf,
    },
    /// The machine refuses: permissions, space, a read-only disk.
    #[error("{} cannot be opened: {reason}", path.display())]
    Unusable {
        /// The store's directory.
        path: PathBuf,
        /// The machine's words.
        reason: String,
    },
}

impl RocksStore {
    /// Opens the store in `path`, which is made when it does not exist, and checks that it belongs to this network and
    /// chain.
    ///
    /// # Errors
    /// See [`OpenFailure`]; each names the directory.
    pub fn open(path: &Path, network: NetworkId, chain: ChainId) -> Result<RocksStore, OpenFailure> {
        let unusable =
            |error: std::io::Error| OpenFailure::Unusable { path: path.to_path_buf(), reason: error.to_string() };
        fs::create_dir_all(path).map_err(unusable)?;
        let exists = is_database(path)?;
        let options = database_options(!exists);
        let mut names: BTreeSet<String> = Table::ALL.iter().map(|table| table.name().to_owned()).collect();
        if exists {
            // RocksDB opens only when every column family present is named, those of a newer layout too.
            names.extend(DB::list_cf(&options, path).map_err(|error| classify(path, &error))?);
        }
        let cache = Cache::new_lru_cache(8 * MIB);
        let families = names.into_iter().map(|name| ColumnFamilyDescriptor::new(name, family_options(&cache)));
        let db = DB::open_cf_descriptors(&options, path, families).map_err(|error| classify(path, &error))?;
        let store = RocksStore { db, path: path.to_path_buf() };
        store.check_identity(network, chain)?;
        Ok(store)
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Applies all writes or none. `synced`: they are on the disk when this returns; otherwise they survive the end of
    /// the process, but perhaps not of the machine.
    ///
    /// # Errors
    /// The disk's words, with the directory.
    pub fn write(&self, writes: &[Write], synced: bool) -> anyhow::Result<()> {
        let mut batch = WriteBatch::default();
        for write in writes {
            match write {
                Write::Put { table, key, value } => batch.put_cf(self.family(*table), key, value),
                Write::Delete { table, key } => batch.delete_cf(self.family(*table), key),
                // No key of any table is as long or as great as this one.
                Write::Clear { table } => batch.delete_range_cf(self.family(*table), [].as_slice(), &[0xff; 256]),
                Write::Below { table, key } => batch.delete_range_cf(self.family(*table), [].as_slice(), key),
            }
        }
        let mut options = WriteOptions::default();
        options.set_sync(synced);
        self.db.write_opt(batch, &options).with_context(|| format!("writing to {}", self.path.display()))
    }

    fn family(&self, table: Table) -> &ColumnFamily {
        self.db.cf_handle(table.name()).expect("open() names every table")
    }

    fn failure(&self, table: Table, error: &rocksdb::Error) -> StoreFailure {
        StoreFailure { table, reason: format!("{}: {error}", self.path.display()) }
    }

    fn check_identity(&self, network: NetworkId, chain: ChainId) -> Result<(), OpenFailure> {
        let path = || self.path.clone();
        let corrupt = |reason: String| OpenFailure::Corrupt { path: path(), reason };
        let found = self.load(Table::Meta, IDENTITY).map_err(|failure| corrupt(failure.reason))?;
        let Some(found) = found else {
            return self.write_identity(network, chain);
        };
        let schema = found.first_chunk::<4>().map(|bytes| u32::from_le_bytes(*bytes));
        let schema = schema.ok_or_else(|| corrupt("its identity is cut short".into()))?;
        if schema > SCHEMA {
            return Err(OpenFailure::NewerSchema { path: path(), found: schema, known: SCHEMA });
        }
        let (found_network, found_chain) = <(Hash, ChainId)>::try_from_slice(&found[4..])
            .map_err(|_| corrupt("its identity does not decode".into()))?;
        if found_network != network.0 {
            return Err(OpenFailure::OtherNetwork { path: path(), found: NetworkId(found_network), expected: network });
        }
        if found_chain != chain {
            return Err(OpenFailure::OtherChain { path: path(), found: found_chain, expected: chain });
        }
        Ok(())
    }

    fn write_identity(&self, network: NetworkId, chain: ChainId) -> Result<(), OpenFailure> {
        for table in Table::ALL {
            let corrupt = |reason: String| OpenFailure::Corrupt { path: self.path.clone(), reason };
            let row = self.last(table).map_err(|failure| corrupt(failure.reason))?;
            if row.is_some() {
                return Err(corrupt(format!("table {} has rows, but the store has no identity", table.name())));
            }
        }
        let value = [&SCHEMA.to_le_bytes()[..], &codec::encode(&(network.0, chain))].concat();
        self.write(&[Write::put(Table::Meta, IDENTITY, value)], true)
            .map_err(|error| OpenFailure::Unusable { path: self.path.clone(), reason: format!("{error:#}") })
    }
}

impl Store for RocksStore {
    fn load(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreFailure> {
        self.db.get_cf(self.family(table), key).map_err(|error| self.failure(table, &error))
    }

    fn scan(&self, table: Table, from: &[u8], limit: usize) -> Result<Vec<Row>, StoreFailure> {
        self.db
            .iterator_cf(self.family(table), IteratorMode::From(from, Direction::Forward))
            .take(limit)
            .map(|row| row.map(|(key, value)| (key.into(), value.into())).map_err(|error| self.failure(table, &error)))
            .collect()
    }

    fn last(&self, table: Table) -> Result<Option<Row>, StoreFailure> {
        let row = self.db.iterator_cf(self.family(table), IteratorMode::End).next().transpose();
        row.map(|row| row.map(|(key, value)| (key.into(), value.into()))).map_err(|error| self.failure(table, &error))
    }
}

/// Whether a database is there. One that lost its CURRENT file must not be taken for an empty directory: RocksDB would
/// make a new one in its place, and a member would forget what it said.
fn is_database(path: &Path) -> Result<bool, OpenFailure> {
    if path.join("CURRENT").exists() {
        return Ok(true);
    }
    let unusable =
        |error: std::io::Error| OpenFailure::Unusable { path: path.to_path_buf(), reason: error.to_string() };
    for entry in fs::read_dir(path).map_err(unusable)? {
        let name = entry.map_err(unusable)?.file_name();
        if matches!(Path::new(&name).extension().and_then(|text| text.to_str()), Some("sst" | "log")) {
            let reason = format!("the file CURRENT is missing, but {} is there", name.display());
            return Err(OpenFailure::Corrupt { path: path.to_path_buf(), reason });
        }
    }
    Ok(false)
}

/// A dozen nodes share a laptop: few threads, small buffers.
fn database_options(create: bool) -> Options {
    let mut options = Options::default();
    options.create_if_missing(create);
    options.create_missing_column_families(true);
    // A torn tail is what a crash leaves; damage before it must be an error and not a silent loss.
    options.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
    options.set_paranoid_checks(true);
    options.set_db_write_buffer_size(16 * MIB);
    options.set_max_total_wal_size(32 * 1024 * 1024);
    options.set_max_open_files(128);
    options.set_max_background_jobs(2);
    options.set_keep_log_file_num(2);
    options.set_max_log_file_size(MIB);
    options.set_log_level(LogLevel::Warn);
    options.set_stats_dump_period_sec(0);
    options.set_stats_persist_period_sec(0);
    options
}

fn family_options(cache: &Cache) -> Options {
    let mut blocks = BlockBasedOptions::default();
    blocks.set_block_cache(cache);
    let mut options = Options::default();
    options.set_block_based_table_factory(&blocks);
    options.set_write_buffer_size(8 * MIB);
    options.set_arena_block_size(64 * 1024);
    options.set_compression_type(DBCompressionType::Lz4);
    options
}

fn classify(path: &Path, error: &rocksdb::Error) -> OpenFailure {
    let (path, reason) = (path.to_path_buf(), error.to_string());
    let lowered = reason.to_lowercase();
    match error.kind() {
        ErrorKind::IOError if lowered.contains("lock") => OpenFailure::Locked { path },
        ErrorKind::Corruption | ErrorKind::NotFound | ErrorKind::InvalidArgument => {
            OpenFailure::Corrupt { path, reason }
        }
        ErrorKind::IOError if lowered.contains("no such file") => OpenFailure::Corrupt { path, reason },
        _ => OpenFailure::Unusable { path, reason },
    }
}

#[cfg(test)]
mod tests;
