//! Checkpoints and bodies of receipts as a peer serves them: what is trusted by its id or hash is taken whole, anything
//! else is refused; and a checkpoint that a captured committee made does no more than to begin another history.

use super::canonical;
use crate::{
    Target,
    choices::Choices,
    heap,
    world::{Contents, Rows, World},
};
use kakera_beacon::{
    BeaconState, Checkpoint, InvalidCheckpoint, RecordedReceipts, adopt, checkpoint_of, due_reading, missing_bodies,
    newest_checkpoint, state_at, verify_bodies,
};
use kakera_chain::{
    BlockId,
    block::Block,
    codec,
    lanes::LaneCounts,
    receipt::{Receipt, Reference},
    replica::{Phase, Replica, ReplicaConfig, SignState},
    store::Store as _,
    units::{ChainId, Height, ShardId, Timestamp},
};
use std::sync::{Arc, LazyLock};

pub(super) const TARGET: Target = Target {
    name: "checkpoints",
    about: "a checkpoint or a fetched receipt with any change is refused; trusted ones begin a store that goes on",
    run,
    seeds,
    max_bytes: 512,
    rounds: 250,
};

/// The one checkpoint of the world of two eras, and its bytes.
struct Served {
    checkpoint: Checkpoint,
    bytes: Vec<u8>,
    id: BlockId,
    now: Timestamp,
}

static SERVED: LazyLock<Served> = LazyLock::new(|| {
    let world = World::of_eras();
    let ends = |block: &Block| world.network.epoch_of(block.header.slot) > block.header.epoch;
    let place = world.blocks.iter().position(|certified| ends(&certified.blocks[0])).unwrap();
    let (block, state) = (world.blocks[place].blocks[0].clone(), world.states[place + 1].clone());
    let now = world.network.clock(ChainId::Beacon).start_of(block.header.slot);
    let id = block.header.id(world.id());
    let checkpoint = Checkpoint { block, state };
    let bytes = checkpoint.to_bytes().unwrap();
    Served { checkpoint, bytes, id, now }
});

fn run(bytes: &[u8]) {
    let mut choices = Choices::new(bytes);
    match choices.below(5) {
        0 => raw(choices.rest()),
        1 => changed(&mut choices),
        2 => captured(&mut choices),
        3 => aged(&mut choices),
        _ => bodies(&mut choices),
    }
}

/// Bytes as they come.
fn raw(bytes: &[u8]) {
    let (world, served) = (World::of_eras(), &*SERVED);
    drop(canonical(bytes, Checkpoint::decode));
    let opened = heap::bounded(bytes.len(), || Checkpoint::open(bytes, &world.network, served.id, served.now));
    assert!(opened.is_err(), "no such bytes are the checkpoint");
    if let Some(answer) = canonical(bytes, RecordedReceipts::decode) {
        assert!(answer.bodies.len() <= RecordedReceipts::MAX);
        for state in &world.states {
            drop(verify_bodies(state, answer.lane, answer.from, &answer.bodies));
        }
    }
}

/// The checkpoint, changed: refused, unless nothing is changed.
fn changed(choices: &mut Choices<'_>) {
    let (world, served) = (World::of_eras(), &*SERVED);
    let other = codec::encode(choices.of(&world.states));
    let bytes = choices.change(&served.bytes, &other);
    let network = &world.network;
    match Checkpoint::open(&bytes, network, served.id, served.now) {
        Ok(checkpoint) => assert!(bytes == served.bytes && checkpoint == served.checkpoint, "another one was taken"),
        Err(reason) => assert!(bytes != served.bytes && !reason.to_string().is_empty()),
    }
    if bytes != served.bytes
        && let Ok(checkpoint) = Checkpoint::decode(&bytes)
    {
        assert!(checkpoint.verify(network, served.id, served.now).is_err(), "another one was taken");
    }
}

/// At any time.
fn aged(choices: &mut Choices<'_>) {
    let (world, served) = (World::of_eras(), &*SERVED);
    let unbonding = world.network.genesis.epochs.unwrap().unbonding;
    let now = Timestamp(choices.number());
    let epoch = world.network.epoch_of(world.network.clock(ChainId::Beacon).slot_at(now));
    match served.checkpoint.verify(&world.network, served.id, now) {
        Ok(reference) => {
            assert_eq!(reference.id, served.id);
            assert!(epoch.0 <= 1 + unbonding);
        }
        Err(InvalidCheckpoint::TooOld { age, .. }) => assert!(age > unbonding && epoch.0 == 1 + age),
        Err(reason) => panic!("{reason}"),
    }
}

/// A state that somebody made up, in a block that is trusted.
fn captured(choices: &mut Choices<'_>) {
    let (world, served) = (World::of_eras(), &*SERVED);
    let other = codec::encode(choices.of(&world.states));
    let state = codec::encode(&served.checkpoint.state);
    let Ok(state) = codec::decode::<BeaconState>(&choices.change(&state, &other), BeaconState::MAX_BYTES) else {
        return;
    };
    let weighs = |(_, seats): &(_, u32)| *seats > 1_000;
    if state.seating.current.beacon.iter().any(weighs) {
        // A schedule with one member far above all others takes seconds to make.
        return;
    }
    let mut block = served.checkpoint.block.clone();
    block.header.state_root = state.root();
    let checkpoint = Checkpoint { block, state };
    let id = checkpoint.block.header.id(world.id());
    if checkpoint.verify(&world.network, id, served.now).is_ok() {
        begin(&checkpoint, id);
    }
}

/// A store that begins with a checkpoint: a replica stands there, and serves it.
fn begin(checkpoint: &Checkpoint, id: BlockId) {
    let world = World::of_eras();
    let rows = Arc::new(Rows::of(Contents::new()));
    rows.keep(adopt(checkpoint, &world.network, &Default::default()));
    let genesis = (Height(0), world.beacon_genesis.id(world.id()));
    let first = world.states[0].beacon_era(genesis, &Default::default());
    let config = ReplicaConfig {
        network: Arc::clone(&world.network),
        chain: ChainId::Beacon,
        seats: first.seats,
        validator: None,
        genesis: world.beacon_genesis.clone(),
        leaders: first.leaders,
        guard: SignState::default(),
        restored: false,
        now: SERVED.now,
    };
    let replica = Replica::open(config, world.beacon.clone(), Arc::<Rows>::clone(&rows)).unwrap();
    let (certified, header) = (replica.certified(), &checkpoint.block.header);
    assert_eq!((certified.id, certified.header, certified.state), (id, header, &checkpoint.state));
    assert_eq!(
        (replica.phase(), replica.era().epoch, replica.era().root),
        (Phase::Observer, checkpoint.state.epoch, id)
    );
    assert_eq!(checkpoint_of(&*rows, checkpoint.state.epoch).unwrap().as_ref(), Some(checkpoint));
    assert_eq!(state_at(&*rows, header.height).unwrap().as_ref(), Some(&checkpoint.state));
    let newest = newest_checkpoint(&*rows, &checkpoint.state, false).unwrap();
    assert!(newest.is_none_or(|newest| newest == *checkpoint));
    let reference = Reference { height: header.height, slot: header.slot, id };
    for shard in (0..crate::world::SHARDS + 1).map(ShardId) {
        let missing = missing_bodies(&*rows, &checkpoint.state, shard).unwrap();
        let due = due_reading(&*rows, shard, &reference, &LaneCounts::new()).unwrap();
        assert!(missing.is_empty() || due.is_none());
        assert_eq!(checkpoint.state.era_of(shard, &Default::default()).is_some(), shard.0 < crate::world::SHARDS);
    }
    assert!(rows.load(kakera_chain::store::Table::Blocks, &id.0).unwrap().is_some());
}

/// Receipts that wait, changed.
fn bodies(choices: &mut Choices<'_>) {
    let world = World::of_eras();
    let all: Vec<Receipt> =
        world.crosslinks.iter().flat_map(|(_, link)| link.receipts.iter().flatten()).cloned().collect();
    let state = choices.of(&world.states);
    let waiting: Vec<_> = state.lanes.iter().filter(|(_, log)| !log.pending.is_empty()).collect();
    if waiting.is_empty() {
        return;
    }
    let (lane, log) = *choices.of(&waiting);
    let honest: Vec<Receipt> = all
        .iter()
        .filter(|receipt| receipt.lane == *lane && (log.consumed..log.recorded()).contains(&receipt.seq))
        .cloned()
        .collect();
    let served = RecordedReceipts { lane: *lane, from: log.consumed, bodies: honest };
    let other = codec::encode(choices.of(&all));
    let bytes = choices.change(&codec::encode(&served), &other);
    let Some(answer) = canonical(&bytes, RecordedReceipts::decode) else { return };
    match verify_bodies(state, answer.lane, answer.from, &answer.bodies) {
        Ok(rows) => {
            assert_eq!(rows.len(), answer.bodies.len());
            let known = answer.bodies.iter().all(|body| {
                // What the beacon emits itself is in no crosslink.
                body.lane.from == ChainId::Beacon || all.contains(body)
            });
            assert!(known, "a receipt that nobody recorded was taken");
        }
        Err(reason) => assert!(!reason.to_string().is_empty()),
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let world = World::of_eras();
    let mut seeds: Vec<Vec<u8>> = (0..12u8).map(|kind| vec![1, 1, 0, kind, 40 * (kind % 6), 3, 8, kind]).collect();
    seeds.extend((0..12u8).map(|kind| vec![2, 1, 0, kind, 90, kind, 4, 9]));
    seeds.extend([vec![1, 0], vec![2, 0], vec![3, 0], vec![3, 3], vec![3, 100], vec![3, 255, 1, 2, 3, 4, 5, 0, 0, 0]]);
    seeds.extend((0..8u8).map(|kind| vec![4, kind, 1, 2, 0, kind, 20, 7, 1]));
    let receipt = world.crosslinks.iter().flat_map(|(_, link)| link.receipts.iter().flatten()).next().unwrap();
    let answer = RecordedReceipts { lane: receipt.lane, from: receipt.seq, bodies: vec![receipt.clone()] };
    seeds.push([vec![0], codec::encode(&answer)].concat());
    seeds.push(vec![0]);
    seeds
}
