//! A shard as its replica sees it: proposals, receipts, restarts.
#![allow(clippy::unwrap_used, reason = "tests")]
use super::*;
use crate::{
    records::{ConsumedOutcome, META_KEY},
    testing::{MemoryStore, Setup, World},
};
use kakera_chain::{
    receipt::{Lane, LaneCursor},
    units::ChainId,
};

fn busy_world() -> World {
    let mut world = World::new(Setup::default());
    for round in 0..4 {
        let (near, far) = (world.address(0, 50 + round), world.address(1, round));
        world.send(0, 0, near, 100);
        world.send(0, 1, far, 100);
        let back = world.address(0, round);
        world.send(1, 2, back, 7);
        world.step_all();
        world.record(1);
    }
    world.step_all();
    world
}

#[test]
fn the_stored_state_is_restored_and_goes_on_alike() {
    let mut world = busy_world();
    let chain = &mut world.chains[0];
    let mut again = Shard::new(chain.config.clone(), Some(&chain.store)).unwrap();
    let state = again.restore(&chain.header, &chain.store).unwrap().unwrap();
    assert_eq!(state.root(), chain.head.state_root);
    assert_eq!(again.tip(), chain.shard.tip());
    let context = chain.context(chain.header.reference);
    let (a, b) = (again.propose(&state, &context, true), chain.shard.propose(&chain.head.state, &context, true));
    assert_eq!((a.executed.state_root, a.executed.figures), (b.executed.state_root, b.executed.figures));
    assert_eq!(again.recorded(), chain.shard.recorded());
}

#[test]
fn damaged_state_is_noticed_and_an_empty_store_holds_none() {
    let world = busy_world();
    let chain = &world.chains[0];
    let mut shard = Shard::new(chain.config.clone(), None).unwrap();
    assert!(shard.restore(&chain.header, &MemoryStore::default()).unwrap().is_none());
    let rows = chain.store.rows.keys().filter(|(table, _)| *table == Table::State);
    let meta = (Table::Meta, META_KEY.to_vec());
    for key in rows.chain([&meta]) {
        let mut damaged = chain.store.clone();
        *damaged.rows.get_mut(key).unwrap().last_mut().unwrap() ^= 1;
        assert!(shard.restore(&chain.header, &damaged).is_err());
        damaged.rows.remove(key);
        assert!(!matches!(shard.restore(&chain.header, &damaged), Ok(Some(_))));
    }
}

#[test]
fn what_happened_can_be_looked_up() {
    let mut world = World::new(Setup::default());
    let far = world.address(1, 0);
    let Reply::Accepted { id } = world.send(0, 0, far, 9) else { panic!("refused") };
    assert_eq!(records::transaction_record(&world.chains[0].store, &id), Ok(None));
    let block = world.chains[0].step();
    let block_id = block.header.id(world.beacon.network);
    let source = &world.chains[0];
    let record = records::transaction_record(&source.store, &id).unwrap().unwrap();
    assert_eq!((record.height, record.block, record.index), (Height(1), block_id, 0));
    assert_eq!(record.receipts, source.emitted);
    assert_eq!(records::receipts_at(&source.store, Height(1)), Ok(Some(source.emitted.clone())));
    assert_eq!(transactions_of(&block, world.beacon.network)[0].0, id);
    world.record(1);
    let before = world.chains[1].shard.has_work(&world.chains[1].head.state, &world.chains[1].header.reference);
    assert!(before, "a receipt is due");
    let block = world.chains[1].step();
    let lane = Lane { from: ChainId::Shard(ShardId(0)), to: ChainId::Shard(ShardId(1)) };
    let destination = &world.chains[1];
    let record = records::consumed_record(&destination.store, &lane, 0).unwrap().unwrap();
    assert_eq!(record.outcome, ConsumedOutcome::Credited);
    assert_eq!((record.height, record.block), (Height(1), block.header.id(world.beacon.network)));
    assert_eq!(records::consumed_record(&destination.store, &lane, 1), Ok(None));
    assert_eq!(block.header.figures.inbox, vec![LaneCursor { from: lane.from, next: 1 }]);
    assert_eq!(block.header.figures.received, 9);
    assert!(!destination.shard.has_work(&destination.head.state, &destination.header.reference));
}

#[test]
fn an_account_is_proved_under_the_header_s_state_root() {
    let world = busy_world();
    let chain = &world.chains[0];
    for (shard, n) in [(0, 0), (0, 50), (0, 90), (1, 0)] {
        let address = world.address(shard, n);
        let proof = chain.head.state.prove(&address);
        assert_eq!(proof.verify(chain.header.state_root, &address), Ok(chain.account(&address)));
        assert!(proof.verify(Hash::ZERO, &address).is_err());
        // Of another address it proves nothing, or what is true.
        let other = world.address(0, 1);
        let claimed = proof.verify(chain.header.state_root, &other);
        assert!(claimed.is_err() || claimed == Ok(chain.account(&other)));
    }
}

#[test]
fn a_quote_is_what_the_transaction_then_costs() {
    let mut world = World::new(Setup::default());
    let (me, far) = (world.address(0, 0), world.address(1, 1));
    let action = Action::Batch { transfers: vec![(far, 5), (me, 6), (far, 7)] };
    let chain = &world.chains[0];
    let quote = chain.shard.quote(&chain.head.state, &action).unwrap();
    assert_eq!((quote.gas, quote.base_fee, quote.delivery_fee), (1_000 + 200 + 200 + 2 * 200, 10, 2 * 400 * 10));
    let order = Transaction { tip: 0, ..world.order(0, 0, action) }.sign(&world.key(0, 0));
    world.chains[0].submit(order);
    world.chains[0].step();
    assert_eq!(world.chains[0].account(&me).balance, 1_000_000_000 - quote.fee - 12);
    assert_eq!(world.chains[0].head.state.meta.burned, quote.fee);
}

#[test]
fn an_empty_proposal_takes_due_receipts_but_nothing_from_the_pool() {
    let mut world = World::new(Setup::default());
    let to = world.address(0, 0);
    world.send(1, 0, to, 5);
    world.step_all();
    world.record(1);
    world.send(0, 1, to, 5);
    let chain = &mut world.chains[0];
    let context = chain.context(chain.header.reference);
    let proposal = chain.shard.propose(&chain.head.state, &context, true);
    assert!(proposal.body.is_empty());
    assert_eq!(proposal.executed.figures.received, 5);
    assert_eq!(proposal.reference, chain.shard.tip());
}
