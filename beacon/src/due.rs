//! What is due to a shard that is begun at its last recorded block, and the bodies of receipts that a store lacks.
//!
//! Who begins to execute a shard at a block T needs, of the beacon chain, what the block that T refers to says to the shard,
//! together with every receipt recorded by then that T has not consumed. The rows of [`recorded_receipts`] hold these, unless
//! the node began to follow the beacon at a later checkpoint: it then lacks the bodies of what was recorded before. The state
//! remembers each receipt that is not consumed by its hash ([`crate::Pending`]), so they are fetched from anybody and
//! checked:
//!
//! ```text
//!   missing_bodies ──> Lacking ··asks··> peer: RecordedReceipts::of ··answers··> verify_bodies ──> rows
//! ```

use crate::{
    index::{RecordedReceipt, receipt_row, recorded_receipts, state_at},
    state::{BeaconState, LaneLog},
};
use borsh::{BorshDeserialize, BorshSerialize};
use kakera_chain::{
    BlockId,
    codec::{self, InvalidBytes},
    lanes::{LaneCounts, Reading, count},
    receipt::{Lane, Receipt, Reference},
    store::{Store, StoreFailure, Table, Write},
    units::{ChainId, Height, ShardId},
};
use thiserror::Error;

/// Rows looked at in one step.
const PAGE: u64 = 256;

/// Receipts of one lane whose bodies are lacking: those from `from` up to `until`, which is not one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lacking {
    /// The lane.
    pub lane: Lane,
    /// The first.
    pub from: u64,
    /// The first that is not lacking any more.
    pub until: u64,
}

/// Consecutive receipts of one lane as a peer serves them; they prove nothing by themselves.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct RecordedReceipts {
    /// The lane.
    pub lane: Lane,
    /// The first one's `seq`.
    pub from: u64,
    /// In order; none if the peer does not hold the first.
    pub bodies: Vec<Receipt>,
}

/// Why bodies are refused; nothing is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum InvalidBodies {
    /// No body, or more than one answer holds.
    #[error("{found} bodies: 1 to {limit} are allowed")]
    Count {
        /// Bodies present.
        found: usize,
        /// Bodies allowed.
        limit: usize,
    },
    /// A place at which the state knows no receipt that waits.
    #[error("no receipt waits at {seq} in the lane from {} to {}", lane.from, lane.to)]
    NotPending {
        /// The lane.
        lane: Lane,
        /// The place.
        seq: u64,
    },
    /// Another receipt than the one recorded.
    #[error("the body at {seq} in the lane from {} to {} is not the receipt that was recorded there", lane.from, lane.to)]
    OtherReceipt {
        /// The lane.
        lane: Lane,
        /// The place.
        seq: u64,
    },
}

impl RecordedReceipts {
    /// Receipts in one answer at most.
    pub const MAX: usize = 4_096;
    /// Canonical bytes at most: four of the longest receipts fit, and thousands of transfers.
    pub const MAX_BYTES: usize = 512 * 1024;

    /// What a store holds of a lane from `from` on, as much as one answer may.
    pub fn of(store: &dyn Store, lane: Lane, from: u64) -> Result<RecordedReceipts, StoreFailure> {
        let mut answer = RecordedReceipts { lane, from, bodies: Vec::new() };
        let mut left = RecordedReceipts::MAX_BYTES - codec::encode(&answer).len();
        let mut next = from;
        loop {
            let rows = recorded_receipts(store, lane, next, usize::try_from(PAGE).expect("a few"))?;
            let more = !rows.is_empty();
            for RecordedReceipt { receipt, .. } in rows {
                let length = codec::encode(&receipt).len();
                if receipt.seq != next || length > left || answer.bodies.len() == RecordedReceipts::MAX {
                    return Ok(answer);
                }
                (left, next) = (left - length, next.saturating_add(1));
                answer.bodies.push(receipt);
            }
            if !more {
                return Ok(answer);
            }
        }
    }

    /// Decodes canonical bytes.
    pub fn decode(bytes: &[u8]) -> Result<RecordedReceipts, InvalidBytes> {
        let answer: RecordedReceipts = codec::decode(bytes, RecordedReceipts::MAX_BYTES)?;
        if answer.bodies.len() > RecordedReceipts::MAX {
            return Err(InvalidBytes::Malformed { what: "as many receipts as one answer may hold" });
        }
        Ok(answer)
    }
}

/// What the certified beacon block `reference` says to a shard that is begun at a block which has read up to there and
/// consumed the lanes up to `inbox`: the reading with all receipts that are due. Nothing if the state there is not held
/// any more or was not held ever, if the block certified there is another one, or if a body is lacking
/// ([`missing_bodies`]).
pub fn due_reading(
    store: &dyn Store,
    shard: ShardId,
    reference: &Reference,
    inbox: &LaneCounts,
) -> Result<Option<Reading>, StoreFailure> {
    if certified_at(store, reference.height)? != Some(reference.id) {
        return Ok(None);
    }
    let Some(state) = state_at(store, reference.height)? else { return Ok(None) };
    let mut due = Vec::new();
    for (lane, log) in toward(&state, shard) {
        let first = count(inbox, lane.from).next;
        let rows = usize::try_from(log.recorded().saturating_sub(first)).unwrap_or(usize::MAX);
        let rows = recorded_receipts(store, *lane, first, rows)?;
        let seqs = rows.iter().map(|row| row.receipt.seq);
        if !seqs.eq(first..log.recorded().max(first)) {
            return Ok(None);
        }
        due.extend(rows.into_iter().map(|row| row.receipt));
    }
    Ok(state.reading(shard, *reference, due))
}

/// The receipts toward a shard that wait as of a state and whose bodies a store lacks, in order: none once all that came
/// before a checkpoint was fetched.
pub fn missing_bodies(store: &dyn Store, state: &BeaconState, shard: ShardId) -> Result<Vec<Lacking>, StoreFailure> {
    let mut missing: Vec<Lacking> = Vec::new();
    for (lane, log) in toward(state, shard) {
        let (mut next, end) = (log.consumed, log.recorded());
        while next < end {
            let page = PAGE.min(end - next);
            let rows = recorded_receipts(store, *lane, next, usize::try_from(page).expect("a few"))?;
            let mut ended = (rows.len() as u64) < page;
            let mut expected = next;
            for seq in rows.iter().map(|row| row.receipt.seq) {
                if seq >= end {
                    ended = true;
                    break;
                }
                if seq > expected {
                    missing.push(Lacking { lane: *lane, from: expected, until: seq });
                }
                expected = seq + 1;
            }
            if ended && expected < end {
                missing.push(Lacking { lane: *lane, from: expected, until: end });
            }
            next = if ended { end } else { expected };
        }
    }
    Ok(missing)
}

/// The rows that store fetched bodies of a lane, once each is the receipt that the state remembers at its place. Where it
/// was recorded is not known then: both heights of [`RecordedReceipt`] are 0.
pub fn verify_bodies(
    state: &BeaconState,
    lane: Lane,
    from: u64,
    bodies: &[Receipt],
) -> Result<Vec<Write>, InvalidBodies> {
    let (found, limit) = (bodies.len(), RecordedReceipts::MAX);
    if found == 0 || found > limit {
        return Err(InvalidBodies::Count { found, limit });
    }
    let mut rows = Vec::with_capacity(bodies.len());
    for (place, body) in (0..).zip(bodies) {
        let seq = from.saturating_add(place);
        let log = state.lane(&lane).ok_or(InvalidBodies::NotPending { lane, seq })?;
        let place = seq.checked_sub(log.consumed).and_then(|place| usize::try_from(place).ok());
        let pending = place.and_then(|place| log.pending.get(place)).ok_or(InvalidBodies::NotPending { lane, seq })?;
        // The hash is of lane and place, too.
        if body.digest() != pending.receipt {
            return Err(InvalidBodies::OtherReceipt { lane, seq });
        }
        rows.push(receipt_row(body, Height(0), Height(0)));
    }
    Ok(rows)
}

/// The lanes toward a shard.
fn toward(state: &BeaconState, shard: ShardId) -> impl Iterator<Item = (&Lane, &LaneLog)> {
    let here = ChainId::Shard(shard);
    let lanes = state.lanes.iter().filter(move |(lane, _)| lane.to == here);
    lanes.map(|(lane, log)| (lane, log.as_ref()))
}

/// The certified block at a height.
fn certified_at(store: &dyn Store, height: Height) -> Result<Option<BlockId>, StoreFailure> {
    let Some(bytes) = store.load(Table::Heights, &height.0.to_be_bytes())? else { return Ok(None) };
    let id = codec::decode(&bytes, 32);
    id.map(Some).map_err(|error| StoreFailure { table: Table::Heights, reason: error.to_string() })
}

#[cfg(test)]
mod tests;
