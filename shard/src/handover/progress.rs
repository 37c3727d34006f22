//! What of a state is held already, and the rows that say so.

use super::{
    head::StateHead,
    part::{Wanted, successor},
};
use crate::records::{META_KEY, load, parse};
use borsh::{BorshDeserialize, BorshSerialize};
use kakera_chain::{
    BlockId,
    address::Address,
    codec,
    hash::Hash,
    store::{Store, StoreFailure, Table, Write},
    units::{Height, ShardId},
};

/// Pieces that the key space may be divided into.
pub const MAX_PIECES: u16 = 256;

/// The row of [`Table::Meta`] that says how far a fetch has come; absent before one began and after it ended.
pub const PROGRESS_KEY: &[u8] = b"shard/handover";

/// The row of [`Table::Meta`] that holds the [`StateHead`] of a fetch.
pub const HEAD_KEY: &[u8] = b"shard/handover/head";

/// The state that is fetched: that of a certified block, whose header the caller has checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Target {
    /// The block.
    pub block: BlockId,
    /// Its height.
    pub height: Height,
    /// The state root in its header.
    pub state_root: Hash,
}

/// One interval of keys, fetched from its first key on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct Piece {
    /// The first key that is not held; none once all are.
    pub(crate) next: Option<Address>,
    /// The last key.
    pub(crate) until: Address,
}

/// The progress row.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) enum Progress {
    /// Rows of something else are being removed.
    Clearing,
    /// All rows belong to this state, and what lies before each piece's next key is complete.
    Fetching {
        /// Which state.
        target: Target,
        /// Ascending; together all keys.
        pieces: Vec<Piece>,
    },
}

/// Whether the stored rows are those of a fetch that did not end: no chain may run on them.
pub fn unfinished(store: &dyn Store) -> Result<bool, StoreFailure> {
    Ok(store.load(Table::Meta, PROGRESS_KEY)?.is_some())
}

impl Piece {
    /// What to ask for next.
    pub(crate) fn wanted(&self, limit: u32) -> Option<Wanted> {
        self.next.map(|from| Wanted { from, until: self.until, limit })
    }
}

impl Progress {
    /// The write that makes this the progress.
    pub(crate) fn write(&self) -> Write {
        Write::put(Table::Meta, PROGRESS_KEY, codec::encode(self))
    }
}

/// Head and pieces of a fetch of `target` that was interrupted; none if what is stored is anything else.
pub(crate) fn resume(store: &dyn Store, target: &Target) -> Result<Option<(StateHead, Vec<Piece>)>, StoreFailure> {
    let Some(bytes) = store.load(Table::Meta, PROGRESS_KEY)? else { return Ok(None) };
    // A row of another layout is no damage: what it counts is fetched again.
    let Ok(Progress::Fetching { target: stored, pieces }) = parse(Table::Meta, &bytes) else { return Ok(None) };
    let Some(head) = load::<StateHead>(store, Table::Meta, HEAD_KEY)? else { return Ok(None) };
    let usable = stored == *target && head.verify(target.state_root).is_ok() && is_division(&pieces);
    Ok(usable.then_some((head, pieces)))
}

/// Whether pieces cover all keys, each once.
fn is_division(pieces: &[Piece]) -> bool {
    let mut first = Some(Address([0; 32]));
    for piece in pieces {
        let Some(from) = first else { return false };
        if from > piece.until || piece.next.is_some_and(|next| next < from || next > piece.until) {
            return false;
        }
        first = successor(&piece.until);
    }
    first.is_none() && pieces.len() <= usize::from(MAX_PIECES)
}

/// All keys in `count` pieces: the shard's slice of the addresses evenly, and what lies beside it, where no account should
/// be, with the first and the last.
pub(crate) fn divide(shard: ShardId, shards: u16, count: u16) -> Vec<Piece> {
    let (shards, count) = (u128::from(shards.max(1)), u128::from(count.clamp(1, MAX_PIECES)));
    let shard = u128::from(shard.0).min(shards - 1);
    // The first prefix of eight bytes that belongs to a shard.
    let begin = |shard: u128| (shard << 64).div_ceil(shards);
    let (low, high) = (begin(shard), begin(shard + 1));
    // The prefix that each piece but the first begins with.
    let edge = |index: u128| u64::try_from(low + (high - low) * index / count).expect("below the last prefix");
    let key = |prefix: u64, rest: u8| {
        let mut key = [rest; 32];
        key[..8].copy_from_slice(&prefix.to_be_bytes());
        Address(key)
    };
    let piece = |index: u128| Piece {
        next: Some(if index == 0 { Address([0; 32]) } else { key(edge(index), 0) }),
        until: if index + 1 == count { Address([0xff; 32]) } else { key(edge(index + 1) - 1, 0xff) },
    };
    (0..count).map(piece).collect()
}

/// The writes that make what was fetched the stored state.
pub(crate) fn completion(head: &StateHead) -> Vec<Write> {
    vec![
        Write::put(Table::Meta, META_KEY, codec::encode(&head.meta)),
        Write::Delete { table: Table::Meta, key: HEAD_KEY.to_vec() },
        Write::Delete { table: Table::Meta, key: PROGRESS_KEY.to_vec() },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_cover_all_keys_once_and_divide_the_shard_evenly() {
        for (shard, shards) in [(0, 1), (0, 2), (1, 2), (2, 3), (63, 64), (u16::MAX - 1, u16::MAX)] {
            for count in [1, 2, 64, 256] {
                let pieces = divide(ShardId(shard), shards, count);
                assert_eq!(pieces.len(), usize::from(count));
                assert!(is_division(&pieces), "{shard}/{shards} in {count}");
                let starts = pieces[1..].iter().filter_map(|piece| piece.next);
                assert!(starts.into_iter().all(|start| start.shard(shards) == ShardId(shard)));
            }
        }
        assert!(!is_division(&[]));
        let pieces = divide(ShardId(0), 1, 4);
        assert!(!is_division(&pieces[..3]));
        assert!(!is_division(&[&pieces[1..], &pieces[..1]].concat()));
        assert!(!is_division(&[&pieces[..2], &pieces[1..]].concat()));
    }
}
