//! Beginning in the middle of a chain: the rows with which a replica goes on from a block that it has not reached itself.
//!
//! Who has no history of a chain takes a certified block, the state after it and the era that it lies in or begins, from
//! whatever shows all three; how, is the caller's matter. From that block on it is a replica like every other:
//!
//! ```text
//!   no rows ...... block taken ── certified blocks, by the era's certificates ── next root ── next era, as everybody
//! ```
//!
//! What lies below is not there: questions about it are answered with nothing, and no root can take it back.

use super::record;
use crate::{
    block::Block,
    codec,
    era::EraPlan,
    store::{Store, StoreFailure, Table, Write},
};
use kakera_cbc::{BlockId, Slot};

/// The rows of a store that holds nothing of this chain yet, with which [`Replica::open`](super::Replica::open) goes on
/// from `block`, certified under `id`, in the era `plan`: the block is that era's root or lies in it. The application's
/// state after the block is the caller's to add.
///
/// `follows`: it only follows in this era, also with a seat, as everybody does who begins above the era's root; the messages
/// that led there are not asked for. The next era begins as for all. Who takes part needs `root_slot`, the root's; for who
/// follows it decides nothing.
pub fn adopt(plan: &EraPlan, root_slot: Slot, block: &Block, id: BlockId, follows: bool) -> Vec<Write> {
    let height = block.header.height;
    let mut writes = vec![
        Write::put(Table::Meta, record::ERA, codec::encode(&plan.stored(root_slot))),
        Write::put(Table::Meta, record::CERTIFIED, codec::encode(&(height, id))),
        Write::put(Table::Blocks, id.0, codec::encode(block)),
        Write::put(Table::Heights, height.0.to_be_bytes(), codec::encode(&id)),
    ];
    if follows {
        writes.push(Write::put(Table::Meta, record::FOLLOWS, codec::encode(&plan.epoch)));
    }
    writes
}

/// Whether a store holds a chain that has certified a block or begun at one.
pub fn is_begun(store: &dyn Store) -> Result<bool, StoreFailure> {
    Ok(store.load(Table::Meta, record::CERTIFIED)?.is_some())
}

#[cfg(test)]
mod tests;
