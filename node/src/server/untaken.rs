//! What was answered and is not taken yet: counted in bytes, and never left lying for long.
//!
//! A client of HTTP/2 may ask and make no room for the answer, or read a byte now and then. Nothing below the transport can
//! end such a stream, so that its connection is closed.

use super::shares::{Caller, Limits, Share, Shares};
use crate::errors::ApiError;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};
use tonic::codegen::Bytes;

/// Bytes of answers that are not taken yet at most.
const BYTES: Limits = Limits { all: 256 * MIB, address: 64 * MIB, connection: 64 * MIB };
const MIB: usize = 1024 * 1024;
/// What a piece of an answer counts at least: its stream takes room, too. One connection may have this many pieces for
/// each stream that it may open.
pub(super) const LEAST: usize = 4 * 1024;
/// How long a piece may wait before its connection is closed.
const TAKEN_WITHIN: Duration = Duration::from_secs(30);

/// A handle; clones share everything.
#[derive(Clone)]
pub(super) struct Untaken {
    bytes: Shares,
    within: Duration,
    since: Arc<Mutex<Since>>,
}

/// Since when each piece waits, the oldest of a connection first.
#[derive(Default)]
struct Since {
    pieces: BTreeMap<(Caller, u64), Instant>,
    next: u64,
}

/// A piece of an answer. The transport drops it once it is written, or its stream or connection is over.
struct Piece {
    bytes: Bytes,
    untaken: Untaken,
    place: (Caller, u64),
    _share: Share,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        self.untaken.lock().pieces.remove(&self.place);
    }
}

impl Untaken {
    /// Nothing yet, with this server's limits.
    pub(super) fn new() -> Untaken {
        Untaken::within(BYTES, TAKEN_WITHIN)
    }

    /// Nothing yet, with other limits.
    pub(super) fn within(bytes: Limits, within: Duration) -> Untaken {
        Untaken { bytes: Shares::new("bytes of answers that are not taken", bytes), within, since: Arc::default() }
    }

    /// Counts a piece until it is dropped.
    pub(super) fn hold(&self, caller: Caller, bytes: Bytes) -> Result<Bytes, ApiError> {
        let share = self.bytes.take(caller, bytes.len().max(LEAST))?;
        let mut since = self.lock();
        let place = (caller, since.next);
        since.next += 1;
        since.pieces.insert(place, Instant::now());
        drop(since);
        Ok(Bytes::from_owner(Piece { bytes, untaken: self.clone(), place, _share: share }))
    }

    /// Whether something has waited too long on a connection.
    pub(super) fn overdue(&self, caller: Caller) -> bool {
        let since = self.lock();
        let oldest = since.pieces.range((caller, 0)..=(caller, u64::MAX)).next();
        oldest.is_some_and(|(_, since)| since.elapsed() > self.within)
    }

    /// How often a connection is to be looked at.
    pub(super) fn look_every(&self) -> Duration {
        self.within / 4
    }

    fn lock(&self) -> MutexGuard<'_, Since> {
        self.since.lock().expect("no holder panics")
    }

    /// How much waits.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.bytes.held()
    }
}
