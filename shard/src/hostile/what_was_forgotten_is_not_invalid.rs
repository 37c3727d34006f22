//! A verdict never rests on what this node has forgotten: another one may still hold it.
#![allow(clippy::unwrap_used, reason = "tests")]

use crate::testing::{Chain, Setup, World};
use kakera_chain::{
    application::{Application, ReferenceStatus},
    store::Table,
};

#[test]
fn a_forgotten_reference_is_undecidable_rather_than_invalid() {
    let mut world = World::new(Setup::default());
    world.record(1);
    let (old, start) = (world.chains[0].shard.tip(), world.chains[0].header.reference);
    assert_eq!(world.chains[0].shard.reference_status(&old, &start), ReferenceStatus::Known);
    world.record(1);
    world.chains[0].step();
    // Until that block is recorded it may be taken back, and another one may name what it had read.
    assert_eq!(world.chains[0].shard.reference_status(&old, &start), ReferenceStatus::Known);
    world.record(1);
    let chain = &world.chains[0];
    assert_eq!(chain.shard.reference_status(&old, &start), ReferenceStatus::Unknown);
    let newer = chain.header.reference;
    assert_eq!(chain.shard.reference_status(&old, &newer), ReferenceStatus::Invalid, "below the parent's");
}

#[test]
fn what_a_start_forgets_is_still_cleaned_from_the_store() {
    let mut world = World::new(Setup::default());
    for _ in 0..300 {
        world.record(1);
    }
    // The block that reads all this is certified and recorded, but the writes of the next one, the checkpoint among
    // them, are lost.
    world.chains[0].step();
    world.record(1);
    let chain = &mut world.chains[0];
    let (store, header, head) = (chain.store.clone(), chain.header.clone(), chain.head.clone());
    chain.step();
    (chain.store, chain.header, chain.head) = (store, header, head);
    (chain.shard, _) = chain.restarted();
    chain.validator = chain.shard.clone();
    let rows = |chain: &Chain| chain.store.rows.keys().filter(|(table, _)| *table == Table::Beacon).count();
    assert_eq!(rows(chain), 301);
    chain.step();
    assert_eq!(rows(chain), 1, "the next block's checkpoint replaces all but the one above the base");
}
