//! What a shard believes of the beacon chain: certified blocks as they are, or nothing.

use super::canonical;
use crate::{
    Target,
    choices::Choices,
    world::{World, certify},
};
use kakera_chain::{
    application::CertifiedBlocks,
    codec,
    crosslink::{BeaconItem, Crosslink},
    hash::merkle_root,
    store::Write,
    units::ChainId,
};
use kakera_shard::BeaconView;
use std::sync::LazyLock;

pub(super) const TARGET: Target = Target {
    name: "beacon_view",
    about: "changed certified blocks are refused and change nothing, or are what the beacon certified",
    run,
    seeds,
    max_bytes: 512,
    rounds: 400,
};

/// The views of shard 0 after each of the blocks.
static VIEWS: LazyLock<Vec<BeaconView>> = LazyLock::new(|| {
    let world = World::of_all();
    (0..=world.blocks.len()).map(|blocks| world.view(0, blocks)).collect()
});

/// Everything that a view holds, in words.
fn held(view: &BeaconView) -> String {
    format!("{view:?}")
}

fn run(bytes: &[u8]) {
    let world = World::of_all();
    let mut choices = Choices::new(bytes);
    let from = choices.below(VIEWS.len());
    let first = choices.below(world.blocks.len());
    let last = (first + choices.below(3)).min(world.blocks.len() - 1);
    let blocks = world.blocks[first..=last].iter().flat_map(|certified| certified.blocks.clone()).collect();
    let good = CertifiedBlocks { blocks, certificate: world.blocks[last].certificate.clone() };
    let other = choices.of(&world.blocks);
    let mut changed = good;
    let sealed = choices.flag();
    for _ in 0..choices.below(3) {
        change(&mut changed, other, &mut choices);
    }
    if sealed {
        seal(&mut changed);
    }
    let mut view = VIEWS[from].clone();
    let before = held(&view);
    match view.advance(&changed) {
        Err(_) => assert!(held(&view) == before, "refused blocks changed the view"),
        Ok(writes) if sealed => {
            let entries = writes.iter().filter(|write| matches!(write, Write::Put { .. })).count() as u64;
            assert_eq!(view.tip().height.0, VIEWS[from].tip().height.0 + entries);
        }
        Ok(_) => {
            let height = usize::try_from(view.tip().height.0).unwrap();
            assert_eq!(held(&view), held(&VIEWS[height]), "accepted something that the beacon did not certify");
        }
    }
    // Whatever was accepted, taking it again changes nothing.
    let after = held(&view);
    drop(view.advance(&changed));
    assert_eq!(held(&view), after);
}

fn change(certified: &mut CertifiedBlocks, other: &CertifiedBlocks, choices: &mut Choices<'_>) {
    let at = choices.below(certified.blocks.len().max(1));
    match choices.below(10) {
        0 if at < certified.blocks.len() => {
            let block = &mut certified.blocks[at];
            let bytes = choices.change(&codec::encode(block), &codec::encode(&other.blocks[0]));
            if let Ok(changed) = codec::decode(&bytes, 1 << 20) {
                *block = changed;
            }
        }
        1 if at < certified.blocks.len() => {
            let header = &mut certified.blocks[at].header;
            let bytes = choices.change(&codec::encode(header), &codec::encode(&other.blocks[0].header));
            if let Ok(changed) = codec::decode(&bytes, 1 << 20) {
                *header = changed;
            }
        }
        2 | 3 if at < certified.blocks.len() => {
            let body = &mut certified.blocks[at].body;
            let place = choices.below(body.len().max(1));
            if let Some(Ok(BeaconItem::Crosslink(crosslink))) = body.get(place).map(|item| BeaconItem::decode(item)) {
                let bytes = choices.change(&codec::encode(&*crosslink), &other.blocks[0].body.concat());
                if let Some(crosslink) = canonical(&bytes, Crosslink::decode) {
                    body[place] = codec::encode(&BeaconItem::Crosslink(Box::new(crosslink)));
                }
            }
        }
        4 => certified.blocks.extend(other.blocks.clone()),
        5 if at < certified.blocks.len() => drop(certified.blocks.remove(at)),
        6 if at < certified.blocks.len() => {
            let body = &mut certified.blocks[at].body;
            body.push(body.last().cloned().unwrap_or_default());
        }
        7 => certified.certificate = other.certificate.clone(),
        8 => drop(certified.certificate.signatures.pop()),
        _ => {
            let bytes = choices.change(&codec::encode(certified), &codec::encode(other));
            let decode = |bytes: &[u8]| codec::decode::<CertifiedBlocks>(bytes, CertifiedBlocks::MAX_BYTES);
            if let Some(changed) = canonical(&bytes, decode) {
                *certified = changed;
            }
        }
    }
}

/// Links and certifies changed blocks, as a captured beacon committee could.
fn seal(certified: &mut CertifiedBlocks) {
    let world = World::of_all();
    let mut below = None;
    for block in &mut certified.blocks {
        block.header.body_root = merkle_root(&block.body);
        block.header.witness_root = merkle_root(&block.witnesses);
        block.header.parent = below.unwrap_or(block.header.parent);
        below = Some(block.header.id(world.id()));
    }
    if let Some(last) = certified.blocks.last() {
        let seats = world.seats(ChainId::Beacon);
        certified.certificate = certify(&last.header, seats, seats.keys.len(), world.id());
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let kinds = (0..20u8).map(|kind| vec![kind % 6, kind % 6, kind % 3, 2, kind & 1, 1, 0, kind % 10, 0, 4, 40, 7]);
    kinds.chain([vec![0, 0, 2, 1, 0, 0], vec![2, 1, 2, 0, 0, 0], vec![3, 3, 0, 0, 1, 2, 0, 2, 0, 0, 1, 2]]).collect()
}
