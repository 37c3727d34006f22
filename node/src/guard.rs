//! The second place: what a member has already said, kept outside the database, so that a lost write-ahead log or an
//! old copy of the database cannot make it speak twice.

mod portable;
pub mod tool;

pub use portable::ImportRefused;

use anyhow::Context as _;
use kakera_chain::{
    BlockId, codec,
    hash::{Hash, NetworkId},
    replica::SignState,
    units::{ChainId, Epoch},
};
use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};
use thiserror::Error;

/// One file with two checksummed slots, written in turn: a torn write leaves the older one, which is the newest state
/// that anything was sent under.
///
/// ```text
/// offset 0 and 4096: "kkguard2" | generation (8) | epoch (8) | root (32) | next_seq (8) | finality_height (8) | checksum (32)
/// written before epochs were: "kkguard1" | generation (8) | next_seq (8) | finality_height (8) | checksum (32)
/// ```
///
/// Numbers are big-endian; the checksum covers all before it, the network and the chain. The file is locked while it is
/// open: no two processes speak under one of them.
#[derive(Debug, Clone)]
pub struct SignGuard {
    path: PathBuf,
    network: NetworkId,
    chain: ChainId,
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug)]
struct Inner {
    file: File,
    generation: u64,
    state: SignState,
}

/// Why the file cannot be used.
#[derive(Debug, Error)]
pub enum GuardFailure {
    /// Neither slot holds: a member must not guess what it said.
    #[error(
        "{} is damaged or belongs to another network or chain: restore it, or move the whole data directory away \
         and start again as a member that remembers nothing", path.display()
    )]
    Corrupt {
        /// The file.
        path: PathBuf,
    },
    /// Another process has it open.
    #[error("{} is in use: another process speaks for this member; stop that one first", path.display())]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// The machine refuses.
    #[error("{} cannot be used: {reason}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: io::Error,
    },
}

const MAGIC: &[u8; 8] = b"kkguard2";
/// What was written before there were epochs: all of it is of epoch 0.
const OLD_MAGIC: &[u8; 8] = b"kkguard1";
/// Slots lie a page apart: no torn sector reaches both.
const SLOT: u64 = 4096;
const BYTES: usize = 104;
const OLD_BYTES: usize = 64;

impl SignGuard {
    /// Opens and locks the file, which is made (with nothing said) when it does not exist.
    ///
    /// # Errors
    /// [`GuardFailure`]; each names the file.
    pub fn open(path: &Path, network: NetworkId, chain: ChainId) -> Result<SignGuard, GuardFailure> {
        let unusable = |reason| GuardFailure::Unusable { path: path.to_path_buf(), reason };
        let salt = codec::encode(&(network, chain));
        if !path.exists() {
            create(path, &salt).map_err(unusable)?;
        }
        let file = OpenOptions::new().read(true).write(true).open(path).map_err(unusable)?;
        file.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => GuardFailure::Locked { path: path.to_path_buf() },
            TryLockError::Error(reason) => unusable(reason),
        })?;
        let mut newest: Option<(u64, SignState)> = None;
        for slot in 0..2 {
            let bytes = read_slot(&file, slot).map_err(unusable)?;
            newest = newest.max_by_generation(decode(&bytes, &salt));
        }
        let (generation, state) = newest.ok_or_else(|| GuardFailure::Corrupt { path: path.to_path_buf() })?;
        let inner = Arc::new(Mutex::new(Inner { file, generation, state }));
        Ok(SignGuard { path: path.to_path_buf(), network, chain, inner })
    }

    /// What was last written.
    pub fn read(&self) -> SignState {
        self.inner.lock().expect("no holder panics").state
    }

    /// Makes `state` durable: it is on the disk when this returns. A state of the same era that says less than the last
    /// one is kept at the greater of each part.
    ///
    /// # Errors
    /// It is of an earlier era, or the disk's words, with the file: nothing may be said then.
    pub fn write(&self, state: SignState) -> anyhow::Result<()> {
        let mut inner = self.inner.lock().expect("no holder panics");
        let held = inner.state;
        let next = held.then(state).with_context(|| {
            let (found, known) = (state.epoch, held.epoch);
            format!(
                "{} is of epoch {known}: nothing may be said in epoch {found} of root {}",
                self.path.display(),
                state.root
            )
        })?;
        if next == held {
            return Ok(());
        }
        let generation = inner.generation + 1;
        let bytes = encode(generation, next, &codec::encode(&(self.network, self.chain)));
        inner
            .file
            .write_all_at(&bytes, (generation % 2) * SLOT)
            .and_then(|()| inner.file.sync_data())
            .with_context(|| format!("writing {}", self.path.display()))?;
        (inner.generation, inner.state) = (generation, next);
        Ok(())
    }

    /// Nothing is said any more in any era up to this epoch: the database beside it is an old copy.
    ///
    /// # Errors
    /// The disk's words.
    pub fn spend(&self, epoch: Epoch) -> anyhow::Result<()> {
        self.write(SignState::spent(epoch.max(self.read().epoch)))
    }
}

trait Newest {
    fn max_by_generation(self, other: Self) -> Self;
}

impl Newest for Option<(u64, SignState)> {
    fn max_by_generation(self, other: Self) -> Self {
        [self, other].into_iter().flatten().max_by_key(|(generation, _)| *generation)
    }
}

/// A file in full or none: made under another name, synced, then linked. A file that another process has made meanwhile
/// stays.
fn create(path: &Path, salt: &[u8]) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(directory)?;
    let fresh = path.with_extension(format!("new-{}", std::process::id()));
    match fs::remove_file(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = File::create_new(&fresh)?;
    for slot in 0..2 {
        file.write_all_at(&encode(slot, SignState::default(), salt), slot * SLOT)?;
    }
    file.sync_all()?;
    match fs::hard_link(&fresh, path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    fs::remove_file(&fresh)?;
    File::open(directory)?.sync_all()
}

/// As many of a slot's bytes as there are.
fn read_slot(file: &File, slot: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; BYTES];
    let mut length = 0;
    while length < BYTES {
        match file.read_at(&mut bytes[length..], slot * SLOT + length as u64) {
            Ok(0) => break,
            Ok(more) => length += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(length);
    Ok(bytes)
}

fn encode(generation: u64, state: SignState, salt: &[u8]) -> [u8; BYTES] {
    let mut bytes = [0; BYTES];
    bytes[..8].copy_from_slice(MAGIC);
    bytes[8..16].copy_from_slice(&generation.to_be_bytes());
    bytes[16..24].copy_from_slice(&state.epoch.0.to_be_bytes());
    bytes[24..56].copy_from_slice(&state.root.0);
    bytes[56..64].copy_from_slice(&state.next_seq.to_be_bytes());
    bytes[64..72].copy_from_slice(&state.finality_height.to_be_bytes());
    let checksum = Hash::of(&[&bytes[..72], salt]);
    bytes[72..].copy_from_slice(&checksum.0);
    bytes
}

/// The generation and state in a slot, if it is whole.
fn decode(bytes: &[u8], salt: &[u8]) -> Option<(u64, SignState)> {
    let number = |at: usize| Some(u64::from_be_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
    let whole = |length: usize| Some(bytes.get(length..length + 32)? == Hash::of(&[&bytes[..length], salt]).0);
    let magic = bytes.get(..8)?;
    let state = if magic == MAGIC && whole(BYTES - 32)? {
        let root = BlockId(bytes.get(24..56)?.try_into().ok()?);
        SignState { epoch: Epoch(number(16)?), root, next_seq: number(56)?, finality_height: number(64)? }
    } else if magic == OLD_MAGIC && whole(OLD_BYTES - 32)? {
        SignState { next_seq: number(16)?, finality_height: number(24)?, ..SignState::default() }
    } else {
        return None;
    };
    Some((number(8)?, state))
}

#[cfg(test)]
mod tests;
