//! The beacon as a replica sees it: inputs, proposals, execution, storage.
#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::{
    ConsumedAt, consumed_at,
    fixture::{ALLOCATION, Memory, Step, World, context, lane},
    genesis_header, recorded_at, recorded_receipts,
};
use kakera_chain::{codec, hash::Hash, hash::merkle_root};
use proptest::prelude::*;

const NOW: Timestamp = Timestamp(0);

fn send(to: u16, amount: u64) -> Step {
    Step { sends: vec![(to, amount)], transactions: 1, ..Step::default() }
}

fn give(world: &mut World, crosslink: Crosslink) -> Handled<Reply> {
    let head = world.state.clone();
    world.beacon.handle(NOW, &head, crosslink)
}

fn item(crosslink: &Crosslink) -> Vec<u8> {
    codec::encode(&BeaconItem::Crosslink(Box::new(crosslink.clone())))
}

fn reference() -> Reference {
    context(0).reference
}

/// Proposes on the world's state, executes the proposal as another node would, certifies and persists it.
fn produce(world: &mut World, height: u64, store: &mut Memory) -> Block {
    let proposal = world.beacon.propose(&world.state, &context(height), false).unwrap();
    let mut other = Beacon { pool: Pool::new(3), known: KnownCertificates::default(), ..world.beacon.clone() };
    let executed = other.execute(&world.state, &context(height), &proposal.body, &proposal.witnesses).unwrap();
    assert_eq!(executed.state_root, proposal.executed.state_root);
    assert_eq!(executed.figures, proposal.executed.figures);
    let mut header = genesis_header(ChainId::Beacon, executed.state_root, executed.figures.clone());
    header.height = Height(height);
    header.body_root = merkle_root(&proposal.body);
    let block = Block { header, body: proposal.body, witnesses: proposal.witnesses };
    let id = block.header.id(world.network.id);
    let change = world.beacon.certified(id, &block, &world.state, &executed);
    assert_eq!(change.undo, [], "nothing certified is undone on this chain");
    store.persist(change.writes);
    world.state = executed.state;
    block
}

#[test]
fn a_crosslink_goes_from_input_to_index() {
    let mut world = World::new();
    let mut store = Memory::default();
    let crosslink = world.extend(0, &[Step::default(), send(1, 30)]);
    let accepted = give(&mut world, crosslink.clone());
    assert_eq!((accepted.reply, accepted.gossip), (Reply::Accepted, Some(item(&crosslink))));
    assert_eq!(give(&mut world, crosslink.clone()).reply, Reply::Known);
    assert!(world.beacon.has_work(&world.state, &reference(), Slot(0)));
    let block = produce(&mut world, 1, &mut store);
    assert_eq!((block.header.figures.transactions, block.body), (1, vec![item(&crosslink)]));
    assert!(world.beacon.pool().is_empty() && !world.beacon.has_work(&world.state, &reference(), Slot(0)));
    assert_eq!(give(&mut world, crosslink).reply, Reply::Known);

    let taken = world.extend(1, &[Step::default(), Step { takes: vec![(0, 1)], ..Step::default() }]);
    assert_eq!(give(&mut world, taken).reply, Reply::Accepted);
    let block = produce(&mut world, 2, &mut store);

    assert_eq!(recorded_at(&store, ShardId(0), Height(1)), Ok(Some(Height(1))));
    assert_eq!(recorded_at(&store, ShardId(1), Height(2)), Ok(Some(Height(2))));
    assert_eq!(recorded_at(&store, ShardId(0), Height(3)), Ok(None));
    let rows = recorded_receipts(&store, lane(0, 1), 0, 10).unwrap();
    assert_eq!(rows.len(), 1);
    assert_eq!((&rows[0].receipt, rows[0].beacon, rows[0].shard), (&world.lanes[&lane(0, 1)][0], Height(1), Height(2)));
    assert_eq!(recorded_receipts(&store, lane(0, 1), 1, 10), Ok(vec![]));
    assert_eq!(recorded_receipts(&store, lane(0, 0), 0, 10), Ok(vec![]), "another lane's rows are not this lane's");
    let expected = ConsumedAt { beacon: Height(2), shard: Height(2) };
    assert_eq!(consumed_at(&store, lane(0, 1), 0), Ok(Some(expected)));
    assert_eq!(consumed_at(&store, lane(0, 1), 1), Ok(None));

    assert_eq!(world.beacon.restore(&block.header, &store), Ok(Some(world.state.clone())));
    assert_eq!(world.beacon.restore(&block.header, &Memory::default()), Ok(None));
    let mut other = block.header;
    other.state_root = Hash::ZERO;
    assert!(world.beacon.restore(&other, &store).is_err());
}

#[test]
fn a_damaged_stored_state_is_a_failure() {
    let mut world = World::new();
    let mut store = Memory::default();
    let block = produce(&mut world, 1, &mut store);
    for value in store.0.values_mut() {
        value.pop();
    }
    assert!(world.beacon.restore(&block.header, &store).is_err());
}

#[test]
fn a_heartbeat_is_recorded_but_wakes_nobody() {
    let mut world = World::new();
    let heartbeat = world.extend(2, &[Step::default()]);
    assert_eq!(give(&mut world, heartbeat).reply, Reply::Accepted);
    assert!(!world.beacon.has_work(&world.state, &reference(), Slot(0)));
    let empty = world.beacon.propose(&world.state, &context(1), true).unwrap();
    assert_eq!((empty.body.len(), empty.executed.state_root), (0, world.state.root()));
    assert_eq!(world.beacon.propose(&world.state, &context(1), false).unwrap().body.len(), 1);
}

#[test]
fn the_longest_that_applies_is_proposed() {
    let mut world = World::new();
    let short = world.extend(0, &[Step::default()]);
    let mut long = short.clone();
    let rest = world.extend(0, &[send(1, 5)]);
    long.headers.extend(rest.headers.clone());
    long.receipts.extend(rest.receipts.clone());
    long.certificate = rest.certificate.clone();
    for crosslink in [&short, &long] {
        assert_eq!(give(&mut world, crosslink.clone()).reply, Reply::Accepted);
    }
    assert_eq!(world.beacon.propose(&world.state, &context(1), false).unwrap().body, [item(&long)]);
    assert_eq!(world.record(short), Ok(()));
    assert!(
        world.beacon.propose(&world.state, &context(2), false).unwrap().body.is_empty(),
        "neither continues the parent now"
    );
    assert_eq!(give(&mut world, rest.clone()).reply, Reply::Accepted);
    assert_eq!(world.beacon.propose(&world.state, &context(2), false).unwrap().body, [item(&rest)]);
}

#[test]
fn content_goes_first_and_a_block_stays_within_its_bytes() {
    let mut world = World::new();
    let heartbeat = world.extend(1, &[Step::default()]);
    let content = world.extend(2, &[send(1, 5)]);
    for crosslink in [&heartbeat, &content] {
        assert_eq!(give(&mut world, crosslink.clone()).reply, Reply::Accepted);
    }
    assert_eq!(
        world.beacon.propose(&world.state, &context(1), false).unwrap().body,
        [item(&content), item(&heartbeat)]
    );
    let body = vec![vec![0; 1]; MAX_BODY_BYTES + 1];
    let refused = world.beacon.execute(&world.state, &context(1), &body, &[]).unwrap_err();
    assert_eq!(refused, InvalidBeaconBlock::TooLong { found: MAX_BODY_BYTES + 1, limit: MAX_BODY_BYTES });
    let header = Header::MAX_BYTES;
    assert!(MAX_BODY_BYTES + header + 8 * 1024 < Block::MAX_BYTES, "a full body of 1,024 items fits a block");
}

#[test]
fn shards_take_turns_at_going_first() {
    let mut world = World::new();
    let heartbeats: Vec<Crosslink> = (0..3).map(|shard| world.extend(shard, &[Step::default()])).collect();
    for heartbeat in &heartbeats {
        assert_eq!(give(&mut world, heartbeat.clone()).reply, Reply::Accepted);
    }
    let first = |world: &mut World, height| {
        world.beacon.propose(&world.state, &context(height), false).unwrap().body[0].clone()
    };
    for height in 1..7u64 {
        assert_eq!(first(&mut world, height), item(&heartbeats[usize::try_from(height % 3).unwrap()]));
    }
}

#[test]
fn one_bad_item_makes_the_block_bad() {
    let mut world = World::new();
    let good = item(&world.extend(0, &[send(1, 5)]));
    let next = item(&world.extend(0, &[send(1, 5)]));
    let stale = item(&World::new().extend(1, &[Step { burns: ALLOCATION + 1, ..Step::default() }]));
    let mut execute = |body: &[Vec<u8>], witnesses: &[Vec<u8>]| {
        world.beacon.execute(&world.state, &context(1), body, witnesses).map(|executed| executed.figures.transactions)
    };
    assert_eq!(execute(std::slice::from_ref(&good), &[]), Ok(1));
    assert_eq!(execute(&[], &[]), Ok(0));
    assert_eq!(execute(&[], &[vec![]]), Err(InvalidBeaconBlock::Witnesses { found: 1 }));
    let shard = ShardId(0);
    assert_eq!(execute(&[good.clone(), next], &[]), Err(InvalidBeaconBlock::ShardTwice { position: 1, shard }));
    assert!(matches!(execute(&[good.clone(), vec![9]], &[]), Err(InvalidBeaconBlock::Bytes { position: 1, .. })));
    let refused = execute(&[good, stale], &[]);
    let insolvent = |reason: &InvalidCrosslink| matches!(reason, InvalidCrosslink::Insolvent { .. });
    assert!(matches!(refused, Err(InvalidBeaconBlock::Crosslink { position: 1, reason }) if insolvent(&reason)));
}

#[test]
fn gossip_is_passed_on_once_and_only_if_sound() {
    let mut world = World::new();
    let crosslink = world.extend(0, &[send(1, 5)]);
    let bytes = item(&crosslink);
    let state = world.state.clone();
    assert_eq!(world.beacon.gossip(NOW, &state, &bytes[1..]).gossip, None);
    let mut forged = crosslink;
    forged.certificate.signatures.truncate(4);
    assert_eq!(world.beacon.gossip(NOW, &state, &item(&forged)).gossip, None);
    assert!(world.beacon.pool().is_empty());
    assert_eq!(world.beacon.gossip(NOW, &state, &bytes).gossip, Some(bytes.clone()));
    assert_eq!(world.beacon.gossip(NOW, &state, &bytes).gossip, None);
    // Other signatures over the same headers are nothing new.
    forged.certificate = world.certificate(&forged, 5);
    assert_eq!(give(&mut world, forged).reply, Reply::Known);
}

#[test]
fn a_beacon_block_carries_its_parents_reference() {
    let beacon = World::new().beacon;
    let other = Reference { height: Height(1), ..reference() };
    assert_eq!(beacon.reference_status(&reference(), &reference()), ReferenceStatus::Known);
    assert_eq!(beacon.reference_status(&other, &reference()), ReferenceStatus::Invalid);
}

#[test]
#[should_panic(expected = "a shard begins with its allocation")]
fn a_genesis_that_prints_money_does_not_start() {
    let world = World::new();
    let mut headers: Vec<Header> = world.state.shards.iter().map(|shard| shard.last.header.clone()).collect();
    headers[1].figures.balances += 1;
    let _ = Beacon::new(&world.network, headers);
}

proptest! {
    #[test]
    fn no_bytes_panic_the_beacon(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let mut world = World::new();
        let state = world.state.clone();
        prop_assert_eq!(world.beacon.gossip(NOW, &state, &bytes).gossip, None);
        prop_assert!(world.beacon.execute(&state, &context(1), &[bytes], &[]).is_err());
    }
}
