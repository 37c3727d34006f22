//! The second place: what a member has already said, kept outside the database, so that a lost write-ahead log or an
//! old copy of the database cannot make it speak twice.

use anyhow::Context as _;
use kakera_chain::{
    codec,
    hash::{Hash, NetworkId},
    replica::SignState,
    units::ChainId,
};
use std::{
    fs::{self, File, OpenOptions},
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
/// offset 0 and 4096: magic (8) | generation (8, BE) | next_seq (8, BE) | finality_height (8, BE) | checksum (32)
/// ```
#[derive(Debug, Clone)]
pub struct SignGuard {
    path: PathBuf,
    salt: Vec<u8>,
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
    /// The machine refuses.
    #[error("{} cannot be used: {reason}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: io::Error,
    },
}

const MAGIC: &[u8; 8] = b"kkguard1";
/// Slots lie a page apart: no torn sector reaches both.
const SLOT: u64 = 4096;
const BYTES: usize = 64;

impl SignGuard {
    /// Opens the file, which is made (with nothing said) when it does not exist.
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
        let mut newest: Option<(u64, SignState)> = None;
        for slot in 0..2 {
            let mut bytes = [0; BYTES];
            match file.read_exact_at(&mut bytes, slot * SLOT) {
                Ok(()) => newest = newest.max_by_generation(decode(&bytes, &salt)),
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {}
                Err(error) => return Err(unusable(error)),
            }
        }
        let (generation, state) = newest.ok_or_else(|| GuardFailure::Corrupt { path: path.to_path_buf() })?;
        Ok(SignGuard { path: path.to_path_buf(), salt, inner: Arc::new(Mutex::new(Inner { file, generation, state })) })
    }

    /// What was last written.
    pub fn read(&self) -> SignState {
        self.inner.lock().expect("no holder panics").state
    }

    /// Makes `state` durable: it is on the disk when this returns. A state that says less than the last one is kept at
    /// the greater of each part.
    ///
    /// # Errors
    /// The disk's words, with the file: nothing may be said then.
    pub fn write(&self, state: SignState) -> anyhow::Result<()> {
        let mut inner = self.inner.lock().expect("no holder panics");
        let state = SignState {
            next_seq: state.next_seq.max(inner.state.next_seq),
            finality_height: state.finality_height.max(inner.state.finality_height),
        };
        if state == inner.state {
            return Ok(());
        }
        let generation = inner.generation + 1;
        let bytes = encode(generation, state, &self.salt);
        inner
            .file
            .write_all_at(&bytes, (generation % 2) * SLOT)
            .and_then(|()| inner.file.sync_data())
            .with_context(|| format!("writing {}", self.path.display()))?;
        (inner.generation, inner.state) = (generation, state);
        Ok(())
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

/// A file in full or none: made under another name, synced, then renamed.
fn create(path: &Path, salt: &[u8]) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(directory)?;
    let fresh = path.with_extension("new");
    let file = File::create(&fresh)?;
    for slot in 0..2 {
        file.write_all_at(&encode(slot, SignState::default(), salt), slot * SLOT)?;
    }
    file.sync_all()?;
    fs::rename(&fresh, path)?;
    File::open(directory)?.sync_all()
}

fn encode(generation: u64, state: SignState, salt: &[u8]) -> [u8; BYTES] {
    let mut bytes = [0; BYTES];
    bytes[..8].copy_from_slice(MAGIC);
    bytes[8..16].copy_from_slice(&generation.to_be_bytes());
    bytes[16..24].copy_from_slice(&state.next_seq.to_be_bytes());
    bytes[24..32].copy_from_slice(&state.finality_height.to_be_bytes());
    let checksum = Hash::of(&[&bytes[..32], salt]);
    bytes[32..].copy_from_slice(&checksum.0);
    bytes
}

fn decode(bytes: &[u8; BYTES], salt: &[u8]) -> Option<(u64, SignState)> {
    let number = |at: usize| u64::from_be_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
    let state = SignState { next_seq: number(16), finality_height: number(24) };
    (encode(number(8), state, salt) == *bytes).then_some((number(8), state))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    const NETWORK: NetworkId = NetworkId(Hash([1; 32]));

    fn open(path: &Path) -> Result<SignGuard, GuardFailure> {
        SignGuard::open(path, NETWORK, ChainId::Beacon)
    }

    fn said(next_seq: u64) -> SignState {
        SignState { next_seq, finality_height: next_seq / 2 }
    }

    #[test]
    fn the_newest_state_survives_and_never_shrinks() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/sign-state");
        let guard = open(&path).unwrap();
        assert_eq!(guard.read(), SignState::default());
        for seq in 1..6 {
            guard.write(said(seq)).unwrap();
            assert_eq!(open(&path).unwrap().read(), said(seq));
        }
        guard.write(SignState { next_seq: 2, finality_height: 9 }).unwrap();
        assert_eq!(open(&path).unwrap().read(), SignState { next_seq: 5, finality_height: 9 });
    }

    #[test]
    fn a_torn_write_at_any_byte_leaves_the_older_state_or_the_newer_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sign-state");
        let guard = open(&path).unwrap();
        guard.write(said(7)).unwrap();
        let before = fs::read(&path).unwrap();
        guard.write(said(8)).unwrap();
        let after = fs::read(&path).unwrap();
        let differing: Vec<usize> = (0..after.len()).filter(|at| before.get(*at) != after.get(*at)).collect();
        assert!(!differing.is_empty());
        for torn in 0..=differing.len() {
            let mut bytes = before.clone();
            differing[..torn].iter().for_each(|at| bytes[*at] = after[*at]);
            fs::write(&path, bytes).unwrap();
            let expected = if torn == differing.len() { said(8) } else { said(7) };
            assert_eq!(open(&path).unwrap().read(), expected, "{torn} bytes reached the disk");
        }
    }

    #[test]
    fn two_damaged_slots_an_empty_file_and_another_chain_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sign-state");
        open(&path).unwrap().write(said(3)).unwrap();
        let other = SignGuard::open(&path, NetworkId(Hash([2; 32])), ChainId::Beacon);
        assert!(matches!(other, Err(GuardFailure::Corrupt { .. })));
        let whole = fs::read(&path).unwrap();
        let mut bytes = whole.clone();
        bytes[20] ^= 1;
        bytes[4096 + 20] ^= 1;
        for damaged in [bytes, Vec::new(), whole[..10].to_vec()] {
            fs::write(&path, damaged).unwrap();
            assert!(matches!(open(&path), Err(GuardFailure::Corrupt { .. })));
        }
    }

    #[test]
    fn the_format_is_fixed() {
        let bytes = encode(3, SignState { next_seq: 258, finality_height: 1 }, b"salt");
        assert_eq!(&bytes[..8], b"kkguard1");
        assert_eq!(bytes[8..32], [0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!(bytes[32..], Hash::of(&[&bytes[..32], b"salt"]).0);
    }
}
