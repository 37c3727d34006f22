//! What is written can be taken back.
#![allow(clippy::unwrap_used, reason = "tests")]
use super::*;
use crate::testing::{
    Chain, MemoryStore, Setup, World,
    events::{events, happen, small_lanes},
};
use kakera_chain::application::Executed;
use proptest::prelude::*;

/// The state after each block, from the first.
fn outcomes(chain: &Chain) -> Vec<&Executed<ShardState>> {
    chain.blocks.iter().skip(1).map(|done| &done.below.1).chain([&chain.head]).collect()
}

/// Rows of others, which no block may touch: in every table but the accounts' own.
fn alien() -> MemoryStore {
    let mut store = MemoryStore::default();
    let rows = Table::ALL.into_iter().filter(|table| *table != Table::State);
    store.rows.extend(rows.map(|table| ((table, b"shard/mess".to_vec()), vec![1])));
    store
}

/// Writes all blocks of a chain, each twice and once taken back in between.
fn assert_undone(chain: &Chain) {
    let mut store = alien();
    let mut stores = Vec::new();
    for (done, after) in chain.blocks.iter().zip(outcomes(chain)) {
        let (height, before) = (done.block.header.height, &done.below.1.state);
        let id = done.block.header.id(chain.config.network.id);
        let mut writes = state_writes(height, before, &after.state);
        writes.extend(index_writes(height, id, &after.state.outcome, &done.receipts));
        stores.push(store.rows.clone());
        store.write(writes.clone());
        let written = store.rows.clone();
        assert_ne!(written, *stores.last().unwrap());
        store.write(undo_writes(height, before, &after.state));
        assert_eq!(store.rows, *stores.last().unwrap(), "height {height}");
        store.write(writes);
        assert_eq!(store.rows, written);
        assert_eq!(load_state(&store).unwrap().unwrap().root(), done.block.header.state_root);
    }
    // All of them in one go, the newest first.
    for (done, rows) in chain.blocks.iter().zip(stores).rev() {
        store.write(done.undo.clone());
        assert_eq!(store.rows, rows);
    }
    assert!(load_state(&store).unwrap().is_none(), "before the first block nothing is stored");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn taking_a_block_back_restores_every_row(events in events(60)) {
        let mut world = World::new(small_lanes());
        for event in &events {
            happen(&mut world, event);
        }
        world.step_all();
        world.chains.iter().for_each(assert_undone);
    }
}

#[test]
fn accounts_that_came_or_were_emptied_are_taken_back_too() {
    let mut world = World::new(Setup::default());
    let (fresh, to) = (world.address(0, 99), world.address(0, 1));
    // The first block already makes an account, and leaves others as the genesis file has them.
    world.send(0, 0, fresh, 10_000_000);
    world.chains[0].step();
    assert_eq!(world.chains[0].account(&fresh).balance, 10_000_000);
    world.send(0, 2, to, 5);
    world.chains[0].step();
    world.chains[0].step();
    assert_undone(&world.chains[0]);
    assert_eq!(world.chains[0].blocks.len(), 3);
    let heights: Vec<usize> = world.chains[0].blocks.iter().map(|done| done.undo.len()).collect();
    assert!(heights[0] < 6 && heights[2] == 2, "{heights:?}: an empty block takes back meta and receipts only");
}
