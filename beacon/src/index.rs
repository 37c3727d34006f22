//! The index: rows about recorded crosslinks and receipts, so that queries are answered without replaying blocks.
//!
//! | table | key | value |
//! | --- | --- | --- |
//! | `State` | `beacon` ‖ height BE | [`BeaconState`] after a certified block |
//! | `State` | `emitted` ‖ height BE | the receipts that such a block emitted itself, where there are any |
//! | `State` | `root` ‖ epoch BE | height and id of the root of the beacon's era, and [`BeaconState`] after it |
//! | `Transactions` | `crosslink` ‖ shard BE ‖ shard height BE | height of the beacon block that recorded the header |
//! | `Receipts` | borsh(lane) ‖ `seq` BE | [`RecordedReceipt`] |
//! | `Consumed` | borsh(lane) ‖ `seq` BE | [`ConsumedAt`] |
//!
//! **How long states stay.** One stays while some shard's last recorded header refers to that height or a lower one: from
//! there on the shard can be begun. All together they take [`STATES_BYTES`] at most, measured by the newest one, and the last
//! [`STATES_KEPT`] stay in any case. The state after the root of an era of this chain stays for `epochs.unbonding` epochs:
//! with the root's block it is a [`Checkpoint`](crate::Checkpoint). What goes follows from the states before and after a block
//! alone; nothing is searched for.

use crate::state::BeaconState;
use borsh::{BorshDeserialize, BorshSerialize};
use kakera_chain::{
    BlockId,
    block::Header,
    codec,
    crosslink::Crosslink,
    receipt::{Lane, LaneCursor, Receipt},
    store::{Store, StoreFailure, Table, Write},
    units::{ChainId, Epoch, Height, ShardId},
};

/// A recorded receipt and where.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct RecordedReceipt {
    /// The receipt.
    pub receipt: Receipt,
    /// The beacon block that recorded it; 0: not known, as this node has begun above it and fetched the receipt.
    pub beacon: Height,
    /// The source's block that emitted it; of the beacon's own, that very block. 0 where the other one is.
    pub shard: Height,
}

/// Where a receipt was consumed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct ConsumedAt {
    /// The beacon block that recorded it.
    pub beacon: Height,
    /// The destination's block that consumed it; of a request to the beacon, the block that recorded it.
    pub shard: Height,
}

/// States kept at least, the newest one included.
pub const STATES_KEPT: u64 = 64;
/// Bytes of the states kept at most, if these are more than [`STATES_KEPT`].
pub const STATES_BYTES: u64 = 256 * 1024 * 1024;

const ROOT_KEY: &[u8] = b"root";
const STATE_KEY: &[u8] = b"beacon";
const EMITTED_KEY: &[u8] = b"emitted";
/// A row's value is below this: a receipt and two heights are the longest.
const MAX_VALUE: usize = Receipt::MAX_BYTES + 64;

/// The beacon height at which a shard's header was recorded, if it is.
pub fn recorded_at(store: &dyn Store, shard: ShardId, height: Height) -> Result<Option<Height>, StoreFailure> {
    read(store, Table::Transactions, &crosslink_key(shard, height))
}

/// A lane's recorded receipts from `seq` on, in order, at most `limit`.
pub fn recorded_receipts(
    store: &dyn Store,
    lane: Lane,
    seq: u64,
    limit: usize,
) -> Result<Vec<RecordedReceipt>, StoreFailure> {
    let prefix = codec::encode(&lane);
    let rows = store.scan(Table::Receipts, &receipt_key(lane, seq), limit)?;
    rows.iter()
        .take_while(|(key, _)| key.starts_with(&prefix))
        .map(|(_, value)| parse(Table::Receipts, value))
        .collect()
}

/// Where a receipt was consumed, if it is recorded.
pub fn consumed_at(store: &dyn Store, lane: Lane, seq: u64) -> Result<Option<ConsumedAt>, StoreFailure> {
    read(store, Table::Consumed, &receipt_key(lane, seq))
}

/// The writes that store the state after a block and what it emitted, and forget what is not needed any more.
pub(crate) fn state_rows(
    (height, id): (Height, BlockId),
    before: &BeaconState,
    state: &BeaconState,
    emitted: &Vec<Receipt>,
) -> Vec<Write> {
    let bytes = codec::encode(state);
    let length_before = borsh::object_length(before).unwrap_or(bytes.len());
    let oldest_before = Height(height.0.saturating_sub(1));
    let oldest_before = oldest_kept(oldest_before, before, length_before, STATES_BYTES);
    let oldest = oldest_kept(height, state, bytes.len(), STATES_BYTES);
    let mut writes = Vec::new();
    if before.epoch < state.epoch {
        writes.push(root_row((height, id), state));
        let beacon = |state: &BeaconState, epoch| state.eras.contains_key(&(ChainId::Beacon, epoch));
        let gone = before.eras.keys().filter(|(chain, epoch)| *chain == ChainId::Beacon && !beacon(state, *epoch));
        writes.extend(gone.map(|(_, epoch)| Write::Delete { table: Table::State, key: root_key(*epoch) }));
    }
    writes.push(Write::put(Table::State, at(STATE_KEY, height), bytes));
    if !emitted.is_empty() {
        writes.push(Write::put(Table::State, at(EMITTED_KEY, height), codec::encode(emitted)));
    }
    for old in (oldest_before.0..oldest.0).map(Height) {
        writes.extend([STATE_KEY, EMITTED_KEY].map(|key| Write::Delete { table: Table::State, key: at(key, old) }));
    }
    writes
}

/// The height of the oldest state kept once the block at `height` has led to this one, whose canonical bytes are `length`
/// many.
fn oldest_kept(height: Height, state: &BeaconState, length: usize, most_bytes: u64) -> Height {
    let read = state.shards.iter().map(|record| record.last.header.reference.height);
    let needed = read.min().unwrap_or(height);
    let always = height.0.saturating_sub(STATES_KEPT - 1);
    let most = (most_bytes / (length as u64).max(1)).max(STATES_KEPT);
    Height(needed.0.min(always).max(height.0.saturating_sub(most - 1)))
}

/// The row of the root of an era of this chain, and the state that begins the era.
pub(crate) fn root_row(root: (Height, BlockId), state: &BeaconState) -> Write {
    Write::put(Table::State, root_key(state.epoch), [codec::encode(&root), codec::encode(state)].concat())
}

/// The row of the state after a block that was not executed here.
pub(crate) fn state_row(height: Height, state: &BeaconState) -> Write {
    Write::put(Table::State, at(STATE_KEY, height), codec::encode(state))
}

/// Where the root of an era of this chain stands, and the bytes of the state after it.
pub(crate) type Root = ((Height, BlockId), Vec<u8>);

/// The root of the beacon's era of an epoch, if it is kept.
pub(crate) fn root_at(store: &dyn Store, epoch: Epoch) -> Result<Option<Root>, StoreFailure> {
    const ROOT_BYTES: usize = 8 + 32;
    let Some(mut bytes) = store.load(Table::State, &root_key(epoch))? else { return Ok(None) };
    let damaged = |reason: &dyn std::fmt::Display| StoreFailure { table: Table::State, reason: reason.to_string() };
    let state = bytes.split_off(bytes.len().min(ROOT_BYTES));
    let root = codec::decode(&bytes, ROOT_BYTES).map_err(|error| damaged(&error))?;
    Ok(Some((root, state)))
}

fn root_key(epoch: Epoch) -> Vec<u8> {
    [ROOT_KEY, &epoch.0.to_be_bytes()].concat()
}

/// The stored state after the certified block at a height, if it is kept.
pub fn state_at(store: &dyn Store, height: Height) -> Result<Option<BeaconState>, StoreFailure> {
    let Some(bytes) = store.load(Table::State, &at(STATE_KEY, height))? else { return Ok(None) };
    let state = codec::decode(&bytes, BeaconState::MAX_BYTES);
    state.map(Some).map_err(|error| StoreFailure { table: Table::State, reason: error.to_string() })
}

/// The receipts that the certified block at a height emitted itself; of older ones than are kept, none are found.
pub fn emitted_at(store: &dyn Store, height: Height) -> Result<Vec<Receipt>, StoreFailure> {
    let Some(bytes) = store.load(Table::State, &at(EMITTED_KEY, height))? else { return Ok(Vec::new()) };
    let receipts = codec::decode(&bytes, BeaconState::MAX_BYTES);
    receipts.map_err(|error| StoreFailure { table: Table::State, reason: error.to_string() })
}

fn at(name: &[u8], height: Height) -> Vec<u8> {
    [name, &height.0.to_be_bytes()].concat()
}

/// The rows of a crosslink that the beacon block at height `beacon` recorded on top of the shard's header `below`.
pub(crate) fn crosslink_rows(below: &Header, crosslink: &Crosslink, beacon: Height) -> Vec<Write> {
    let mut writes = Vec::new();
    let mut inbox = &below.figures.inbox;
    for (header, receipts) in crosslink.headers.iter().zip(&crosslink.receipts) {
        let shard = header.height;
        let key = crosslink_key(crosslink.shard, shard);
        writes.push(Write::put(Table::Transactions, key, codec::encode(&beacon)));
        for receipt in receipts {
            writes.push(receipt_row(receipt, beacon, shard));
            if receipt.lane.to == ChainId::Beacon {
                let value = codec::encode(&ConsumedAt { beacon, shard: beacon });
                writes.push(Write::put(Table::Consumed, receipt_key(receipt.lane, receipt.seq), value));
            }
        }
        let value = codec::encode(&ConsumedAt { beacon, shard });
        for cursor in &header.figures.inbox {
            let lane = Lane { from: cursor.from, to: ChainId::Shard(crosslink.shard) };
            for seq in next(inbox, cursor.from)..cursor.next {
                writes.push(Write::put(Table::Consumed, receipt_key(lane, seq), value.clone()));
            }
        }
        inbox = &header.figures.inbox;
    }
    writes
}

/// The rows of what the beacon block at height `beacon` emitted itself.
pub(crate) fn emitted_rows(receipts: &[Receipt], beacon: Height) -> Vec<Write> {
    receipts.iter().map(|receipt| receipt_row(receipt, beacon, beacon)).collect()
}

pub(crate) fn receipt_row(receipt: &Receipt, beacon: Height, shard: Height) -> Write {
    let value = codec::encode(&RecordedReceipt { receipt: receipt.clone(), beacon, shard });
    Write::put(Table::Receipts, receipt_key(receipt.lane, receipt.seq), value)
}

fn next(inbox: &[LaneCursor], from: ChainId) -> u64 {
    inbox.iter().find(|cursor| cursor.from == from).map_or(0, |cursor| cursor.next)
}

fn crosslink_key(shard: ShardId, height: Height) -> Vec<u8> {
    [b"crosslink".as_slice(), &shard.0.to_be_bytes(), &height.0.to_be_bytes()].concat()
}

fn receipt_key(lane: Lane, seq: u64) -> Vec<u8> {
    [codec::encode(&lane).as_slice(), &seq.to_be_bytes()].concat()
}

fn read<T: BorshSerialize + BorshDeserialize>(
    store: &dyn Store,
    table: Table,
    key: &[u8],
) -> Result<Option<T>, StoreFailure> {
    store.load(table, key)?.map(|value| parse(table, &value)).transpose()
}

fn parse<T: BorshSerialize + BorshDeserialize>(table: Table, value: &[u8]) -> Result<T, StoreFailure> {
    codec::decode(value, MAX_VALUE).map_err(|error| StoreFailure { table, reason: error.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{Step, World, lane};
    use kakera_chain::hash::Hash;
    use std::sync::Arc;

    #[test]
    fn states_stay_down_to_what_is_read_but_for_so_many_bytes_and_never_less_than_64() {
        let mut state = World::new().state;
        let oldest = |state: &BeaconState, height, length, bytes| oldest_kept(Height(height), state, length, bytes).0;
        assert_eq!(oldest(&state, 1_000, 100, 1 << 30), 0, "nothing is read yet");
        assert_eq!(oldest(&state, 1_000, 100, 50_000), 501, "500 rows");
        assert_eq!(oldest(&state, 1_000, 100, 1_000), 937, "64 rows");
        assert_eq!(oldest(&state, 1_000, 0, 1_000), 1, "no length divides");
        for (shard, read) in state.shards.iter_mut().zip([700, 650, 990]) {
            Arc::make_mut(shard).last.header.reference.height = Height(read);
        }
        assert_eq!(oldest(&state, 1_000, 100, 1 << 30), 650);
        assert_eq!(oldest(&state, 700, 100, 1 << 30), 637);
        assert_eq!(oldest(&state, 10, 100, 1 << 30), 0);
        assert_eq!(oldest(&state, u64::MAX, 1 << 30, 1), u64::MAX - 63);
    }

    #[test]
    fn the_rows_of_a_crosslink_are_golden() {
        let mut world = World::new();
        world.advance(1, &[Step { sends: vec![(0, 7), (0, 8)], ..Step::default() }]);
        let below = world.state.shards[0].last.header.clone();
        let takes = vec![(1, 2)];
        let crosslink = world.extend(0, &[Step { takes, returns: vec![(1, 1)], ..Step::default() }]);
        let rows = crosslink_rows(&below, &crosslink, Height(258));
        let text: Vec<String> = rows
            .iter()
            .map(|row| match row {
                Write::Put { table, key, value } => {
                    format!("{} {} {}", table.name(), hex::encode(key), Hash::of(&[value]))
                }
                _ => unreachable!("rows are only added"),
            })
            .collect();
        let seq = |n: u8| format!("000000000000000{n}");
        assert_eq!(lane(1, 0), Lane { from: ChainId::Shard(ShardId(1)), to: ChainId::Shard(ShardId(0)) });
        let starts = [
            format!("transactions {}0000{}", hex::encode("crosslink"), seq(1)),
            format!("receipts 010000010100{}", seq(0)),
            format!("consumed 010100010000{}", seq(0)),
            format!("consumed 010100010000{}", seq(1)),
        ];
        assert_eq!(text.len(), starts.len());
        for (text, start) in text.iter().zip(starts) {
            assert!(text.starts_with(&start), "{text}, not {start}");
        }
        assert_eq!(
            Hash::of(&[text.join("\n").as_bytes()]).to_string(),
            "b61c957b6fd271d64903180fc673c4a23305cb764755754a4d2e41fcb68222a0"
        );
    }
}
