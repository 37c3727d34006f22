//! The index: rows about recorded crosslinks and receipts, so that queries are answered without replaying blocks.
//!
//! | table | key | value |
//! | --- | --- | --- |
//! | `State` | `beacon` ‖ height BE | [`BeaconState`] after a certified block, of the last [`STATES_KEPT`] ones |
//! | `State` | `emitted` ‖ height BE | the receipts that such a block emitted itself, where there are any |
//! | `Transactions` | `crosslink` ‖ shard BE ‖ shard height BE | height of the beacon block that recorded the header |
//! | `Receipts` | borsh(lane) ‖ `seq` BE | [`RecordedReceipt`] |
//! | `Consumed` | borsh(lane) ‖ `seq` BE | [`ConsumedAt`] |

use crate::state::BeaconState;
use borsh::{BorshDeserialize, BorshSerialize};
use kakera_chain::{
    block::Header,
    codec,
    crosslink::Crosslink,
    receipt::{Lane, LaneCursor, Receipt},
    store::{Store, StoreFailure, Table, Write},
    units::{ChainId, Height, ShardId},
};

/// A recorded receipt and where.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct RecordedReceipt {
    /// The receipt.
    pub receipt: Receipt,
    /// The beacon block that recorded it.
    pub beacon: Height,
    /// The source's block that emitted it; of the beacon's own, that very block.
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

/// States kept, the newest one included.
pub const STATES_KEPT: u64 = 64;

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

/// The writes that store the state after a block and what it emitted, and forget what is older than needed: who follows
/// several chains in one process may have stored more of one than of the other.
pub(crate) fn state_rows(height: Height, state: &BeaconState, emitted: &Vec<Receipt>) -> Vec<Write> {
    let mut writes = vec![Write::put(Table::State, at(STATE_KEY, height), codec::encode(state))];
    if !emitted.is_empty() {
        writes.push(Write::put(Table::State, at(EMITTED_KEY, height), codec::encode(emitted)));
    }
    if let Some(old) = height.0.checked_sub(STATES_KEPT) {
        let delete = |key| Write::Delete { table: Table::State, key: at(key, Height(old)) };
        writes.extend([delete(STATE_KEY), delete(EMITTED_KEY)]);
    }
    writes
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

fn receipt_row(receipt: &Receipt, beacon: Height, shard: Height) -> Write {
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
