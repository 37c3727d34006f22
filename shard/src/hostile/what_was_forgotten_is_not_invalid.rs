//! A verdict never rests on what this node has forgotten: another one may still hold it.
#![allow(clippy::unwrap_used, reason = "tests")]

use crate::testing::{Setup, World};
use kakera_chain::application::{Application, ReferenceStatus};

#[test]
fn a_forgotten_reference_is_undecidable_rather_than_invalid() {
    let mut world = World::new(Setup::default());
    world.record(1);
    let (old, start) = (world.chains[0].shard.tip(), world.chains[0].header.reference);
    assert_eq!(world.chains[0].shard.reference_status(&old, &start), ReferenceStatus::Known);
    world.record(1);
    world.chains[0].step();
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
    // The block that reads all this is certified, but its writes are lost with the checkpoint among them.
    let mut lost = world.chains[0].store.clone();
    world.chains[0].step();
    let chain = &mut world.chains[0];
    let rows = chain.store.rows.iter().filter(|((table, _), _)| *table != kakera_chain::store::Table::Beacon);
    lost.rows.extend(
        rows.filter(|((_, key), _)| key != crate::beacon_view::CHECKPOINT_KEY).map(|(k, v)| (k.clone(), v.clone())),
    );
    chain.store = lost;
    chain.shard = crate::Shard::new(chain.config.clone(), Some(&chain.store)).unwrap();
    chain.shard.restore(&chain.header, &chain.store).unwrap().unwrap();
    chain.step();
    let left = chain.store.rows.keys().filter(|(table, _)| *table == kakera_chain::store::Table::Beacon).count();
    assert_eq!(left, 0, "the next block's checkpoint replaces all of them");
}
