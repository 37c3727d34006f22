//! A shard as its replica sees it: proposals, receipts, restarts.
#![allow(clippy::unwrap_used, reason = "tests")]
use super::*;
use crate::{
    records::{ConsumedOutcome, META_KEY},
    testing::{
        MemoryStore, Setup, World, address,
        events::{events, happen, small_lanes},
        key_on,
    },
};
use kakera_chain::{
    genesis::Epochs,
    receipt::{Lane, LaneCursor},
    units::{ChainId, Epoch},
};
use proptest::prelude::*;

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
    let (mut again, state) = chain.restarted();
    assert_eq!(state.root(), chain.head.state_root);
    assert_eq!(again.tip(), chain.shard.tip());
    let context = chain.context(chain.header.reference);
    let a = again.propose(&state, &context, true).unwrap();
    let b = chain.shard.propose(&chain.head.state, &context, true).unwrap();
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
    assert!(world.chains[1].has_work(), "a receipt is due");
    let block = world.chains[1].step();
    let lane = Lane { from: ChainId::Shard(ShardId(0)), to: ChainId::Shard(ShardId(1)) };
    let destination = &world.chains[1];
    let record = records::consumed_record(&destination.store, &lane, 0).unwrap().unwrap();
    assert_eq!(record.outcome, ConsumedOutcome::Credited);
    assert_eq!((record.height, record.block), (Height(1), block.header.id(world.beacon.network)));
    assert_eq!(records::consumed_record(&destination.store, &lane, 1), Ok(None));
    assert_eq!(block.header.figures.inbox, vec![LaneCursor { from: lane.from, next: 1 }]);
    assert_eq!(block.header.figures.received, 9);
    assert!(!destination.has_work());
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
    let proposal = chain.shard.propose(&chain.head.state, &context, true).unwrap();
    assert!(proposal.body.is_empty());
    assert_eq!(proposal.executed.figures.received, 5);
    assert_eq!(proposal.reference, chain.shard.tip());
}

const EPOCHS: Epochs =
    Epochs { slots: 10, fallback_slots: 2, rotation_per_mille: 100, beacon_seats: None, unbonding: 4 };

fn world_of_epochs() -> World {
    World::new(Setup { epochs: Some(EPOCHS), ..Setup::default() })
}

#[test]
fn an_era_is_closed_once_the_newest_known_beacon_block_is_of_a_later_epoch() {
    let mut world = world_of_epochs();
    world.pass(9);
    assert!(!world.chains[0].has_work(), "still epoch 0");
    world.pass(1);
    assert!(world.chains[0].has_work(), "epoch 1 has begun");
    let switch = world.chains[0].step();
    assert_eq!(switch.header.reference, world.beacon.tip);
    let era = world.chains[0].era;
    assert!(era.is_closed_by(&switch.header, &world.chains[0].config.network));
    // Its recording names the next era: nothing more is due in this one, whatever waits.
    let to = world.address(0, 1);
    world.send(0, 0, to, 5);
    world.record(1);
    let (view, reference) = (world.chains[0].shard.view(), world.chains[0].header.reference);
    assert_eq!((view.era(), view.named_era()), (Epoch(0), Epoch(1)));
    assert!(!world.chains[0].has_work());
    assert_eq!(view.status(&world.beacon.tip, &reference), ReferenceStatus::Invalid, "it says that the era is over");
    world.chains[0].enter();
    assert!(world.chains[0].has_work(), "what waited goes on in the new era");
    let first = world.chains[0].step();
    assert_eq!((first.header.epoch, first.header.reference), (Epoch(1), world.beacon.tip));
    assert_eq!(first.body.len(), 1);
    assert!(!world.chains[0].has_work());
    // Epochs may be jumped over.
    world.pass(50);
    assert!(world.chains[0].has_work());
    world.chains[0].step();
    world.record(1);
    assert_eq!(world.chains[0].shard.view().named_era(), Epoch(6));
}

#[test]
fn nothing_is_proposed_where_no_reference_of_the_era_is_known() {
    let mut world = world_of_epochs();
    world.pass(3);
    let chain = &mut world.chains[0];
    assert!(chain.proposal().is_some());
    let era = Era { epoch: Epoch(1), ..chain.era };
    chain.shard.enter(&era);
    assert!(chain.proposal().is_none(), "not from before the era began");
    chain.shard.enter(&chain.era);
    let high = chain.context(Reference { height: Height(9), ..chain.header.reference });
    assert!(chain.shard.propose(&chain.head.state, &high, false).is_none(), "nor below the parent's");
}

#[test]
fn after_a_fallback_the_shard_goes_on_from_its_last_recorded_block() {
    let mut world = world_of_epochs();
    let (to, far) = (world.address(0, 0), world.address(1, 3));
    world.send(1, 0, to, 5);
    world.chains[1].step();
    world.record(1);
    world.chains[0].step();
    world.record(1);
    // Two more blocks, one of which takes a receipt and one of which sends one, are never recorded.
    world.send(1, 0, to, 7);
    world.chains[1].step();
    world.record_one(1);
    world.send(0, 1, far, 9);
    world.chains[0].step();
    let spent = world.chains[0].account(&world.address(0, 1)).balance;
    world.chains[0].step();
    assert_eq!(world.chains[0].account(&to).balance, 1_000_000_012);
    world.beacon.folds[0].fall_back();
    world.pass(12);
    let chain = &mut world.chains[0];
    assert_eq!((chain.shard.settled(), chain.shard.view().named_era()), (Height(1), Epoch(1)));
    let old = chain.blocks[1].block.header.reference;
    chain.undo(2);
    assert_eq!(chain.id(), chain.shard.recorded().1);
    chain.enter();
    assert_eq!(chain.account(&to).balance, 1_000_000_005);
    assert_eq!(chain.shard.reference_status(&old, &chain.header.reference), ReferenceStatus::Invalid);
    assert!(chain.has_work(), "the receipt is due again");
    chain.step();
    assert_eq!(chain.account(&to).balance, 1_000_000_012);
    assert!(chain.emitted.is_empty() && chain.account(&address(&key_on(0, 1, 2))).balance > spent, "never sent");
    // A process that starts on this store sees the same.
    let (mut again, state) = chain.restarted();
    assert_eq!(state.root(), chain.head.state_root);
    let context = chain.context(chain.header.reference);
    let found = again.propose(&state, &context, false).unwrap().executed.state_root;
    assert_eq!(found, chain.proposal().unwrap().executed.state_root);
    world.record(1);
    assert_eq!(world.chains[0].shard.settled(), Height(2));
    world.assert_conserved();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn what_is_not_recorded_can_be_taken_back_and_executed_again_alike(
        rounds in proptest::collection::vec((events(12), 0u16..3, 0usize..6, any::<(bool, bool)>()), 1..8),
    ) {
        let mut world = World::new(small_lanes());
        for (events, shard, count, (restart, again)) in &rounds {
            for event in events {
                happen(&mut world, event);
            }
            let chain = &mut world.chains[usize::from(*shard)];
            if *restart {
                (chain.shard, _) = chain.restarted();
            }
            let (head, rows) = (chain.head.state_root, chain.store.rows.clone());
            let unrecorded = chain.unrecorded.len();
            prop_assert_eq!(chain.shard.settled().0 as usize, chain.blocks.len() - unrecorded);
            let blocks = chain.undo((*count).min(unrecorded));
            let below = chain.restarted().1;
            prop_assert_eq!(below.root(), chain.head.state_root, "the store holds what it held then");
            // The same blocks lead to the same roots and rows; or others are made instead.
            if *again {
                blocks.into_iter().for_each(|block| chain.follow(block));
                prop_assert_eq!((chain.head.state_root, &chain.store.rows), (head, &rows));
            }
            world.assert_conserved();
        }
        // In the end all settles.
        for _ in 0..400 {
            world.record(1);
            world.step_all();
        }
        for chain in &world.chains {
            prop_assert!(!delivery::anything_due(&chain.head.state.meta, chain.shard.view().lanes()));
        }
        world.assert_conserved();
    }
}
