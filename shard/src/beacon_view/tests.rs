//! What a shard believes of the beacon chain, and what it refuses.
#![allow(clippy::unwrap_used, reason = "tests")]
use super::*;
use crate::testing::{BEACON_GENESIS, Beacon, MemoryStore, Setup, World};
use kakera_chain::{application::Application, receipt::ReceiptAction};

fn view() -> (Beacon, BeaconView) {
    let network = Setup::default().network();
    let beacon = Beacon::new(network.id);
    let view = BeaconView::new(Rules::of(&network, ShardId(0)), beacon.seats(), BEACON_GENESIS);
    (beacon, view)
}

fn fingerprint(view: &BeaconView) -> String {
    format!("{view:?}")
}

#[test]
fn certified_blocks_are_taken_in_order_and_known_ones_are_skipped() {
    let (mut beacon, mut view) = view();
    let blocks: Vec<Block> = (0..5).map(|_| beacon.block(3, Vec::new())).collect();
    let first = beacon.certify(blocks[..2].to_vec(), 4);
    assert_eq!(view.advance(&first).unwrap().len(), 2);
    assert_eq!(view.tip().height, Height(2));
    assert_eq!(view.advance(&first).unwrap().len(), 0, "nothing new");
    let rest = beacon.certify(blocks[1..].to_vec(), 3);
    assert_eq!(view.advance(&rest).unwrap().len(), 3);
    assert_eq!(view.tip(), beacon.tip);
    let reference = |block: &Block| Reference {
        height: block.header.height,
        slot: block.header.slot,
        id: block.header.id(beacon.network),
    };
    let (low, high) = (reference(&blocks[1]), reference(&blocks[3]));
    assert_eq!(view.status(&high, &low), ReferenceStatus::Known);
    assert_eq!(view.status(&low, &low), ReferenceStatus::Known);
    assert_eq!(view.status(&low, &high), ReferenceStatus::Invalid, "below the parent's");
    assert_eq!(view.status(&Reference { slot: Slot(1), ..high }, &low), ReferenceStatus::Invalid);
    assert_eq!(view.status(&Reference { id: BlockId([1; 32]), ..high }, &low), ReferenceStatus::Invalid);
    assert_eq!(view.status(&Reference { height: Height(9), ..high }, &low), ReferenceStatus::Unknown);
    assert_eq!(view.status(&Reference { height: Height(u64::MAX), ..high }, &low), ReferenceStatus::Unknown);
}

#[test]
fn forged_and_disordered_blocks_are_refused_and_change_nothing() {
    let (mut beacon, mut view) = view();
    let start = beacon.block(1, Vec::new());
    view.advance(&beacon.certify(vec![start], 4)).unwrap();
    let blocks: Vec<Block> = (0..3).map(|_| beacon.block(1, Vec::new())).collect();
    let good = beacon.certify(blocks.clone(), 3);
    let before = fingerprint(&view);
    let mut refused = |change: &dyn Fn(&mut CertifiedBlocks)| {
        let mut certified = good.clone();
        change(&mut certified);
        let error = view.advance(&certified).unwrap_err();
        assert_eq!(fingerprint(&view), before, "{error}");
        error
    };
    assert!(matches!(refused(&|c| c.blocks.clear()), InvalidBeacon::Size { blocks: 0, .. }));
    let many = |c: &mut CertifiedBlocks| c.blocks = vec![c.blocks[0].clone(); 1_025];
    assert!(matches!(refused(&many), InvalidBeacon::Size { blocks: 1_025, .. }));
    let huge = |c: &mut CertifiedBlocks| c.blocks[0].witnesses = vec![vec![0; CertifiedBlocks::MAX_BYTES]];
    assert!(matches!(refused(&huge), InvalidBeacon::Size { blocks: 3, .. }));
    let gap = InvalidBeacon::Gap { expected: Height(2), found: Height(3) };
    assert_eq!(refused(&|c| drop(c.blocks.remove(0))), gap);
    assert_eq!(refused(&|c| drop(c.blocks.remove(1))), InvalidBeacon::Linkage { height: Height(4) });
    assert_eq!(refused(&|c| c.blocks[0].header.slot = Slot(1)), InvalidBeacon::Linkage { height: Height(2) });
    assert_eq!(
        refused(&|c| c.blocks[0].header.chain = ChainId::Shard(ShardId(0))),
        InvalidBeacon::Linkage { height: Height(2) }
    );
    assert_eq!(refused(&|c| c.blocks[2].body.push(vec![1])), InvalidBeacon::Torn { height: Height(4) });
    assert_eq!(refused(&|c| drop(c.blocks.pop())), InvalidBeacon::OtherBlock);
    let two = beacon.certify(blocks, 2);
    let weak = refused(&|c| c.certificate = two.certificate.clone());
    assert_eq!(weak, InvalidBeacon::Certificate(InvalidCertificate::TooLittleWeight { weight: 2, total: 4 }));
    assert!(matches!(refused(&|c| c.certificate.signatures[1].1.0[3] ^= 1), InvalidBeacon::Certificate(_)));
    view.advance(&good).unwrap();
}

#[test]
fn crosslinks_that_break_a_lane_are_refused() {
    let mut world = World::new(Setup::default());
    let to = world.address(0, 0);
    world.send(1, 0, to, 5);
    world.chains[1].step();
    let good = world.chains[1].crosslink().unwrap();
    let mut refused = |change: &dyn Fn(&mut kakera_chain::crosslink::Crosslink)| {
        let mut link = good.clone();
        change(&mut link);
        let tip = world.beacon.tip;
        let block = world.beacon.block(1, vec![link]);
        let certified = world.beacon.certify(vec![block], 4);
        world.beacon.tip = tip;
        let mut view = world.chains[0].shard.view().clone();
        let before = fingerprint(&view);
        assert!(matches!(view.advance(&certified), Err(InvalidBeacon::Crosslink { height: Height(1), .. })));
        assert_eq!(fingerprint(&view), before);
    };
    refused(&|link| link.receipts[0][0].seq = 1);
    refused(&|link| link.receipts.push(link.receipts[0].clone()));
    refused(&|link| link.receipts[0][0].lane.from = ChainId::Beacon);
    refused(&|link| link.headers[0].height = Height(2));
    refused(&|link| link.headers.clear());
    refused(&|link| link.shard = ShardId(7));
    let cursor = |next| kakera_chain::receipt::LaneCursor { from: ChainId::Shard(ShardId(0)), next };
    refused(&|link| link.headers[0].figures.inbox = vec![cursor(1)]);
    let garbage = {
        let tip = world.beacon.tip;
        let mut block = world.beacon.block(1, Vec::new());
        block.body.push(vec![9, 9]);
        block.header.body_root = kakera_chain::hash::merkle_root(&block.body);
        world.beacon.tip = tip;
        world.beacon.certify(vec![block], 4)
    };
    let mut view = world.chains[0].shard.view().clone();
    assert_eq!(view.advance(&garbage), Err(InvalidBeacon::Item { height: Height(1), index: 0 }));
}

#[test]
fn recorded_crosslinks_and_receipts_are_seen_by_height_and_dropped_once_consumed() {
    let mut world = World::new(Setup::default());
    assert_eq!(world.chains[1].shard.recorded(), (Height(0), BlockId::default()));
    let to = world.address(0, 0);
    world.send(1, 0, to, 5);
    world.chains[1].step();
    world.record(1);
    let header = &world.chains[1].header;
    assert_eq!(world.chains[1].shard.recorded(), (Height(1), header.id(world.beacon.network)));
    let source = ChainId::Shard(ShardId(1));
    let view = world.chains[0].shard.view();
    assert!(matches!(view.receipt(source, 0).unwrap().action, ReceiptAction::Transfer { amount: 5, .. }));
    assert_eq!(view.lanes_at(&view.tip()).unwrap().toward[&source].next, 1);
    let genesis = Reference { height: Height(0), slot: Slot(0), id: BEACON_GENESIS };
    assert!(view.lanes_at(&genesis).unwrap().toward.is_empty());
    world.chains[0].step();
    let view = world.chains[0].shard.view();
    assert_eq!(view.receipt(source, 0), None);
    assert_eq!(view.lanes_at(&genesis), None, "below the certified block's reference");
    world.record(1);
    let home = ChainId::Shard(ShardId(0));
    assert_eq!(world.chains[1].shard.view().lanes().away[&home].next, 1);
}

#[test]
fn the_view_is_rebuilt_from_the_store_across_checkpoints() {
    let mut world = World::new(Setup::default());
    let to = world.address(0, 0);
    for round in 0..600 {
        if round % 50 == 7 {
            world.send(1, 0, to, 5);
            world.chains[1].step();
        }
        world.record(1);
        if round % 100 == 20 {
            world.chains[0].step();
        }
    }
    let chain = &world.chains[0];
    let beacon_rows = chain.store.rows.keys().filter(|(table, _)| *table == Table::Beacon).count();
    assert!(beacon_rows < 400, "{beacon_rows} rows: entries below the checkpoint are deleted");
    let mut again = crate::Shard::new(chain.config.clone(), Some(&chain.store)).unwrap();
    let state = again.restore(&chain.header, &chain.store).unwrap().unwrap();
    assert_eq!(state.root(), chain.head.state_root);
    let (a, b) = (chain.shard.view(), again.view());
    assert_eq!((a.tip(), &a.receipts, &a.known), (b.tip(), &b.receipts, &b.known));
    assert_eq!(codec::encode(&a.base), codec::encode(&b.base));
    assert_eq!(codec::encode(&a.tip), codec::encode(&b.tip));

    let mut damaged: MemoryStore = chain.store.clone();
    let key = damaged.rows.keys().find(|(table, _)| *table == Table::Beacon).unwrap().clone();
    damaged.rows.remove(&key);
    assert!(crate::Shard::new(chain.config.clone(), Some(&damaged)).is_err(), "a missing height is noticed");
}
