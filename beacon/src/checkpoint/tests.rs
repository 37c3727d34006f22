//! What a node that begins at a checkpoint knows, and which checkpoints nobody begins at.
#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::{
    Beacon, due_reading,
    fixture::history::{BOUND, History, Node, SLOTS, Shared, network, when},
    missing_bodies, recorded_receipts, state_at, verify_bodies,
};
use kakera_chain::{
    application::Application,
    codec,
    lanes::{LaneCount, LaneCounts},
    replica::{ClosedEra, Input, Phase},
    units::Height,
};
use std::sync::Arc;

/// Of these epochs the fifth is the one in which a shard stands still and is begun anew.
const EPOCHS: u64 = 7;

fn height_of(checkpoint: &Checkpoint) -> usize {
    usize::try_from(checkpoint.block.header.height.0).unwrap()
}

fn id(checkpoint: &Checkpoint, network: &Network) -> BlockId {
    checkpoint.block.header.id(network.id)
}

/// The checkpoint at the root of an epoch's era, as the node that has executed everything serves it.
fn served(history: &History, epoch: u64) -> Option<Checkpoint> {
    checkpoint_of(&*history.node.store, Epoch(epoch)).unwrap()
}

/// A node that begins at a checkpoint.
fn begin(checkpoint: &Checkpoint, network: &Network, validator: Option<u32>) -> Node {
    let store = Arc::<Shared>::default();
    store.persist(adopt(checkpoint, network, &Signatures::default()));
    Node::open(network, store, validator)
}

/// A moment in the first slots of an epoch.
fn at(epoch: u64) -> Timestamp {
    when(&network(), epoch * SLOTS + 1)
}

#[test]
fn who_begins_at_a_checkpoint_knows_block_by_block_what_is_known_by_who_executed_everything() {
    let history = History::run(1, EPOCHS);
    let network = network();
    let mut begun = 0;
    for epoch in EPOCHS - 1 - BOUND..EPOCHS {
        let checkpoint = served(&history, epoch).unwrap();
        let bytes = checkpoint.to_bytes().unwrap();
        let trusted = id(&checkpoint, &network);
        assert_eq!(Checkpoint::open(&bytes, &network, trusted, at(EPOCHS - 1)).as_ref(), Ok(&checkpoint));
        let mut node = begin(&checkpoint, &network, None);
        let first = height_of(&checkpoint);
        assert_eq!(node.replica.certified().id, trusted);
        assert_eq!((node.replica.phase(), node.replica.era().epoch), (Phase::Observer, Epoch(epoch)));
        for height in first..=history.blocks.len() {
            if height > first {
                node.blocks(&history.blocks[height - 1]);
            }
            let certified = node.replica.certified();
            assert_eq!((certified.header.height.0, certified.state), (height as u64, &history.states[height]));
            if height % 7 == 3 {
                let entered = std::mem::take(&mut node.entered);
                node = Node::open(&network, node.store, None);
                assert_eq!(node.replica.certified().header.height.0, height as u64, "after a start");
                node.entered = entered;
            }
        }
        // The same committees in the same order of leaders, on the same roots.
        let later: Vec<_> = history.roots.iter().filter(|plan| plan.epoch > Epoch(epoch)).collect();
        assert_eq!(node.entered.len(), later.len());
        for (entered, plan) in node.entered.iter().zip(later) {
            assert_eq!((entered.epoch, entered.root, &entered.leaders), (plan.epoch, plan.root, &plan.leaders));
            assert_eq!((&entered.seats.validators, &entered.seats.keys), (&plan.seats.validators, &plan.seats.keys));
            begun += 1;
        }
        assert_eq!(node.replica.era(), history.node.replica.era());
        // It serves what it began with and what came later.
        for epoch in epoch..EPOCHS {
            assert_eq!(checkpoint_of(&*node.store, Epoch(epoch)), Ok(served(&history, epoch)));
        }
    }
    assert_eq!(begun, 6);
    assert!(history.world.state.shards[2].fallbacks > 0, "a committee was replaced meanwhile");
}

#[test]
fn what_lies_below_a_checkpoint_is_answered_with_nothing() {
    let history = History::run(2, 5);
    let network = network();
    let checkpoint = served(&history, 3).unwrap();
    let mut node = begin(&checkpoint, &network, None);
    let first = height_of(&checkpoint);
    history.blocks[first..].iter().for_each(|blocks| node.blocks(blocks));
    for height in 0..first as u64 {
        assert!(node.replica.certified_id(Height(height)).is_none());
        assert!(node.replica.certified_blocks(Height(height)).is_none());
        assert_eq!(state_at(&*node.store, Height(height)), Ok(None));
    }
    let mut next = first as u64 + 1;
    while let Some(blocks) = node.replica.certified_blocks(Height(next)) {
        assert_eq!(Some(blocks.clone()), history.node.replica.certified_blocks(Height(next)));
        next += blocks.blocks.len() as u64;
    }
    assert_eq!(next, history.blocks.len() as u64 + 1);
    let root = |epoch: usize| history.roots[epoch - 1].root.1;
    assert_eq!(node.replica.closed(&root(2)), None);
    assert!(node.replica.closed(&root(3)).is_some());
    assert_eq!(node.replica.closed(&root(3)), history.node.replica.closed(&root(3)));
    let (whole, part) = (&*history.node.store, &*node.store);
    for lane in history.world.lanes.keys() {
        let all = recorded_receipts(whole, *lane, 0, 1_000).unwrap();
        let here = recorded_receipts(part, *lane, 0, 1_000).unwrap();
        let later: Vec<_> = all.into_iter().filter(|row| row.beacon.0 > first as u64).collect();
        assert_eq!(here, later);
    }
}

#[test]
fn a_shard_can_be_begun_once_the_bodies_from_before_the_checkpoint_are_fetched() {
    let (mut fetched, mut refused) = (0, 0);
    for seed in 0..4 {
        let mut history = History::run(10 + seed, 3);
        let network = network();
        let checkpoint = served(&history, 2).unwrap();
        let mut node = begin(&checkpoint, &network, None);
        history.blocks[height_of(&checkpoint)..].iter().for_each(|blocks| node.blocks(blocks));
        for shard in (0..3).map(ShardId) {
            for lacking in missing_bodies(&*node.store, &checkpoint.state, shard).unwrap() {
                let answer = crate::RecordedReceipts::of(&*history.node.store, lacking.lane, lacking.from).unwrap();
                let wanted = usize::try_from(lacking.until - lacking.from).unwrap();
                let bodies = &answer.bodies[..wanted];
                node.store.persist(verify_bodies(&checkpoint.state, lacking.lane, lacking.from, bodies).unwrap());
                fetched += wanted;
            }
            assert_eq!(missing_bodies(&*node.store, &checkpoint.state, shard), Ok(vec![]));
        }
        for round in 0..2 {
            for shard in 0..3 {
                let header = history.recorded(shard).clone();
                let cursors = header.figures.inbox.iter();
                let inbox: LaneCounts =
                    cursors.map(|cursor| (cursor.from, LaneCount { next: cursor.next, returns: 0 })).collect();
                let read = |store| due_reading(store, ShardId(shard), &header.reference, &inbox).unwrap();
                let (whole, part) = (read(&*history.node.store).unwrap(), read(&*node.store));
                if header.reference.height < checkpoint.block.header.height {
                    assert_eq!(part, None, "it was not there");
                    refused += 1;
                } else {
                    assert_eq!(part, Some(whole));
                }
            }
            if round == 0 {
                let before = history.blocks.len();
                history.epoch(None);
                history.blocks[before..].iter().for_each(|blocks| node.blocks(blocks));
            }
        }
        let all = newest_checkpoint(&*history.node.store, &history.world.state, true).unwrap().unwrap();
        let read = (0..3).map(|shard| history.recorded(shard).reference.height).min().unwrap();
        assert!(all.block.header.height <= read);
    }
    assert!(fetched > 0 && refused < 12, "{fetched} {refused}");
}

#[test]
fn states_stay_while_shards_refer_to_them_and_roots_until_stake_is_free() {
    let mut history = History::new(5);
    let oldest = |history: &History| history.node.store.rows(Table::State, b"beacon").len();
    history.epoch(None);
    for _ in 1..16 {
        // The third shard records nothing but what a fallback asks for.
        history.epoch(Some(2));
    }
    let (tip, state) = (history.blocks.len() as u64, &history.world.state);
    let read = state.shards.iter().map(|record| record.last.header.reference.height.0).min().unwrap();
    assert!(tip > 90 && read < 10, "{tip} {read}");
    let kept = tip - read.max(1) + 1;
    assert_eq!(oldest(&history) as u64, kept, "down to what the third shard has read");
    for height in read.max(1)..=tip {
        let index = usize::try_from(height).unwrap();
        assert_eq!(state_at(&*history.node.store, Height(height)).unwrap().as_ref(), Some(&history.states[index]));
    }
    // It goes on, and what was kept for it goes.
    let mut emitted = 0;
    for _ in 0..2 {
        history.epoch(None);
        emitted = history.node.store.rows(Table::State, b"emitted").len();
    }
    assert_eq!(oldest(&history), 64);
    assert!(emitted <= 64);
    let epoch = history.world.state.epoch.0;
    for age in 0..=epoch {
        let checkpoint = served(&history, epoch - age);
        assert_eq!(checkpoint.is_some(), age <= BOUND, "{age} epochs old");
    }
    assert_eq!(history.node.store.rows(Table::State, b"root").len() as u64, BOUND + 1);
    let newest = newest_checkpoint(&*history.node.store, &history.world.state, false);
    assert_eq!(newest.unwrap(), served(&history, epoch));
}

#[test]
fn who_has_a_seat_in_an_era_that_is_over_is_told_so_and_follows() {
    let history = History::run(6, 4);
    let network = network();
    let checkpoint = served(&history, 2).unwrap();
    let member = checkpoint.state.seating.current.beacon[0].0.0;
    let mut node = begin(&checkpoint, &network, Some(member));
    assert_eq!(node.replica.phase(), Phase::Joining);
    let closed: ClosedEra = history.node.replica.closed(&id(&checkpoint, &network)).unwrap();
    node.give(Input::Closed(Box::new(closed)));
    assert_eq!(node.replica.phase(), Phase::Observer);
    let end = usize::try_from(history.roots[2].root.0.0).unwrap();
    history.blocks[height_of(&checkpoint)..end].iter().for_each(|blocks| node.blocks(blocks));
    assert_eq!((node.replica.certified().id, node.replica.era().epoch), (history.roots[2].root.1, Epoch(3)));
}

#[test]
fn an_older_checkpoint_is_refused_and_says_how_old_it_is() {
    let history = History::run(7, 4);
    let network = network();
    let checkpoint = served(&history, 2).unwrap();
    let trusted = id(&checkpoint, &network);
    let header = &checkpoint.block.header;
    let reference = Reference { height: header.height, slot: header.slot, id: trusted };
    for now in 1..=2 + BOUND {
        assert_eq!(checkpoint.verify(&network, trusted, at(now)), Ok(reference), "epoch {now}");
    }
    let refused = checkpoint.verify(&network, trusted, at(2 + BOUND + 1)).unwrap_err();
    let expected = InvalidCheckpoint::TooOld { epoch: Epoch(2), now: Epoch(6), age: 4, unbonding: BOUND };
    assert_eq!(refused, expected);
    let text = refused.to_string();
    assert!(text.contains("4 epochs ago") && text.contains("ask somebody you trust"), "{text}");
    let bytes = checkpoint.to_bytes().unwrap();
    assert_eq!(
        Checkpoint::open(&bytes, &network, trusted, at(9)).unwrap_err().to_string(),
        text.replace("epoch 6: 4", "epoch 9: 7")
    );
    assert!(matches!(checkpoint.verify(&network, trusted, Timestamp(u64::MAX)), Err(InvalidCheckpoint::TooOld { .. })));
    let early = checkpoint.verify(&network, trusted, at(0));
    assert_eq!(early, Err(InvalidCheckpoint::NotYet { epoch: Epoch(2), now: Epoch(0) }));
}

#[test]
fn a_conflicting_history_is_refused_and_named() {
    let network = network();
    let (one, other) = (History::run(20, 3), History::run(21, 3));
    for epoch in 1..3 {
        let (mine, theirs) = (served(&one, epoch).unwrap(), served(&other, epoch).unwrap());
        let (trusted, offered) = (id(&mine, &network), id(&theirs, &network));
        assert_ne!(trusted, offered);
        let refused = theirs.verify(&network, trusted, at(3)).unwrap_err();
        assert_eq!(refused, InvalidCheckpoint::OtherBlock { offered, trusted });
        let text = refused.to_string();
        assert!(text.contains(&offered.to_string()) && text.contains(&trusted.to_string()), "{text}");
        let bytes = theirs.to_bytes().unwrap();
        assert_eq!(Checkpoint::open(&bytes, &network, trusted, at(3)), Err(refused));
        // One's block with the other's state, and the other way round.
        let mixed = Checkpoint { block: mine.block.clone(), state: theirs.state.clone() };
        let (found, expected) = (theirs.state.root(), mine.state.root());
        assert_eq!(mixed.verify(&network, trusted, at(3)), Err(InvalidCheckpoint::OtherState { found, expected }));
    }
    // The same block in another network.
    let mut elsewhere = network.clone();
    elsewhere.id.0.0[0] ^= 1;
    let mine = served(&one, 2).unwrap();
    let trusted = id(&mine, &network);
    assert!(matches!(mine.verify(&elsewhere, trusted, at(3)), Err(InvalidCheckpoint::OtherBlock { .. })));
}

#[test]
fn a_checkpoint_with_any_bit_changed_is_refused() {
    let history = History::run(8, 2);
    let network = network();
    let checkpoint = served(&history, 1).unwrap();
    let (trusted, now) = (id(&checkpoint, &network), at(1));
    let bytes = checkpoint.to_bytes().unwrap();
    assert!(Checkpoint::open(&bytes, &network, trusted, now).is_ok());
    for bit in 0..8 * bytes.len() {
        let mut changed = bytes.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(Checkpoint::open(&changed, &network, trusted, now).is_err(), "bit {bit}");
        if bit % 13 == 0
            && let Ok(decoded) = Checkpoint::decode(&changed)
        {
            assert!(decoded.verify(&network, trusted, now).is_err(), "bit {bit}");
        }
    }
    for length in [0, 1, 40, bytes.len() - 1] {
        assert!(Checkpoint::open(&bytes[..length], &network, trusted, now).is_err());
    }
    assert!(Checkpoint::open(&[&bytes[..], &[0]].concat(), &network, trusted, now).is_err());
}

/// A checkpoint whose block says what it must of another state, and is trusted: what a captured committee and a deceived
/// operator could agree on.
fn captured(history: &History, change: impl FnOnce(&mut Checkpoint)) -> Result<Reference, InvalidCheckpoint> {
    let network = network();
    let mut checkpoint = served(history, 2).unwrap();
    change(&mut checkpoint);
    checkpoint.block.header.state_root = checkpoint.state.root();
    let bytes = checkpoint.to_bytes().unwrap();
    let trusted = id(&checkpoint, &network);
    let verdict = checkpoint.verify(&network, trusted, at(3));
    assert_eq!(Checkpoint::open(&bytes, &network, trusted, at(3)).map(drop), verdict.clone().map(drop));
    verdict
}

#[test]
fn what_is_no_root_of_an_era_with_a_state_of_this_network_is_refused_also_if_it_is_trusted() {
    let history = History::run(9, 3);
    assert!(captured(&history, |_| ()).is_ok());
    let shard = |c: &mut Checkpoint| c.block.header.chain = ChainId::Shard(ShardId(0));
    assert_eq!(captured(&history, shard), Err(InvalidCheckpoint::OtherChain { chain: ChainId::Shard(ShardId(0)) }));
    let later = |c: &mut Checkpoint| c.block.header.epoch = Epoch(2);
    assert!(matches!(captured(&history, later), Err(InvalidCheckpoint::NoRoot { .. })));
    assert_eq!(captured(&history, |c| c.block.body.push(vec![1])), Err(InvalidCheckpoint::Torn));
    assert_eq!(captured(&history, |c| c.block.witnesses.push(vec![1])), Err(InvalidCheckpoint::Torn));
    let changes: [fn(&mut BeaconState); 15] = [
        |state| state.epoch.0 += 1,
        |state| state.parameters.supply += 1,
        |state| state.parameters.lane_bound += 1,
        |state| state.parameters.epochs = None,
        |state| drop(state.shards.pop()),
        |state| state.shards.swap(0, 1),
        |state| Arc::make_mut(&mut state.shards[0]).bench.0.clear(),
        |state| Arc::make_mut(&mut state.shards[0]).bench.0[0] = ValidatorId(9_999),
        |state| Arc::make_mut(&mut state.shards[0]).era = Epoch(99),
        |state| Arc::make_mut(&mut state.shards[0]).last.header.figures.balances += 1,
        |state| Arc::make_mut(&mut state.shards[0]).allocation += 1,
        |state| Arc::make_mut(&mut state.seating).current.beacon.clear(),
        |state| Arc::make_mut(&mut state.seating).next.beacon[0].1 = 0,
        |state| drop(Arc::make_mut(&mut state.seating).current.shards.pop()),
        |state| state.lanes.clear(),
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let refused = captured(&history, |checkpoint| change(&mut checkpoint.state));
        assert!(matches!(refused, Err(InvalidCheckpoint::Unsound { .. })), "change {number}: {refused:?}");
    }
    let genesis = Beacon::new(&network(), crate::fixture::World::of(network()).genesis_headers()).genesis();
    assert!(matches!(captured(&history, |c| c.state = genesis.state), Err(InvalidCheckpoint::Unsound { .. })));
}

#[test]
fn a_network_of_one_epoch_has_no_checkpoints() {
    let history = History::run(9, 3);
    let mut network = network();
    network.genesis.epochs = None;
    let checkpoint = served(&history, 2).unwrap();
    let trusted = id(&checkpoint, &network);
    assert_eq!(checkpoint.verify(&network, trusted, at(3)), Err(InvalidCheckpoint::OneEpoch));
    assert_eq!(checkpoint_of(&*history.node.store, Epoch(0)), Ok(None), "the first era begins with the genesis block");
    let damaged = Arc::<Shared>::default();
    for (key, value) in history.node.store.rows(Table::State, b"root") {
        damaged.persist(vec![Write::put(Table::State, key, &value[..value.len() - 1])]);
    }
    let row = Write::put(Table::Blocks, trusted.0, codec::encode(&checkpoint.block));
    damaged.persist(vec![row]);
    assert!(checkpoint_of(&*damaged, Epoch(2)).is_err());
    assert_eq!(checkpoint_of(&*damaged, Epoch(1)), Ok(None), "without its block");
}
