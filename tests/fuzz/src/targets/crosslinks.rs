//! Crosslinks: a changed one is never recorded as something else, and not even a captured committee prints money.

use super::canonical;
use crate::{
    Target,
    choices::Choices,
    world::{World, above, certify},
};
use kakera_beacon::{Beacon, BeaconState, Court};
use kakera_chain::{
    application::{Application, Context},
    block::outbox_root,
    codec,
    crosslink::{BeaconItem, Crosslink},
    era::EraPlan,
    receipt::Receipt,
    units::{ChainId, Timestamp},
};

pub(super) const TARGET: Target = Target {
    name: "crosslinks",
    about: "a changed crosslink is refused; sealed by a captured committee it still conserves every unit",
    run,
    seeds,
    max_bytes: 512,
    rounds: 500,
};

fn run(bytes: &[u8]) {
    let mut choices = Choices::new(bytes);
    let all =
        World::both().flat_map(|world| world.crosslinks.iter().map(move |(at, crosslink)| (world, *at, crosslink)));
    let all: Vec<_> = all.collect();
    let (world, at, good) = *choices.of(&all);
    let state = &world.states[at];
    let other = choices.of(&all).2;
    let mut changed = good.clone();
    let sealed = choices.below(3);
    for _ in 0..=choices.below(3) {
        change(&mut changed, other, &mut choices);
    }
    if sealed == 1 {
        seal(&mut changed, world, state);
    }
    let mut beacon = world.beacon.clone();
    let mut after = state.clone();
    let court = Court::without_evidence(world.id());
    let recorded = beacon.examine(&after, changed.clone()).and_then(|sound| after.record(&sound, &court));
    match &recorded {
        Ok(_) => {
            after.conservation().expect("what is recorded conserves the supply");
            if sealed != 1 {
                assert_eq!((&changed.headers, &changed.receipts), (&good.headers, &good.receipts), "another content");
            }
        }
        Err(_) => assert!(after == *state, "a refused crosslink changed the state"),
    }
    // The same as an item of a block, beside whatever else, and as gossip.
    let item = codec::encode(&BeaconItem::Crosslink(Box::new(changed)));
    let context = next(world, at);
    let mut body = vec![item.clone()];
    if choices.flag() {
        body.push(codec::encode(&BeaconItem::Crosslink(Box::new(other.clone()))));
    }
    let executed = beacon.execute(state, &context, &body, &[]);
    assert!(executed.is_err() || recorded.is_ok(), "a block recorded what alone is refused");
    drop(beacon.gossip(Timestamp(1), state, &item));
    propose(&mut beacon, at, world);
    // And bytes as they come.
    let raw = choices.rest();
    drop(canonical(raw, BeaconItem::decode));
    drop(beacon.gossip(Timestamp(1), state, raw));
}

/// The context of the block above this many.
fn next(world: &World, at: usize) -> Context {
    let header = at.checked_sub(1).map_or(&world.beacon_genesis, |below| &world.blocks[below].blocks[0].header);
    above(header, world.seats(ChainId::Beacon), header.reference)
}

/// What waits in the pool makes a block that everybody can execute.
fn propose(beacon: &mut Beacon, at: usize, world: &World) {
    let (state, context) = (&world.states[at], next(world, at));
    let proposal = beacon.propose(state, &context, false).expect("the beacon always can");
    let again = world.beacon.clone().execute(state, &context, &proposal.body, &proposal.witnesses);
    assert_eq!(again.unwrap().state_root, proposal.executed.state_root);
}

fn change(crosslink: &mut Crosslink, other: &Crosslink, choices: &mut Choices<'_>) {
    let at = choices.below(crosslink.headers.len().max(1));
    match choices.below(12) {
        0 if at < crosslink.receipts.len() => {
            let list = &mut crosslink.receipts[at];
            let place = choices.below(list.len().max(1));
            if let Some(receipt) = list.get(place) {
                let bytes = choices.change(&codec::encode(receipt), &codec::encode(other));
                if let Ok(receipt) = codec::decode(&bytes, Receipt::MAX_BYTES) {
                    list[place] = receipt;
                }
            }
        }
        1 if at < crosslink.receipts.len() => {
            crosslink.receipts[at].extend(other.receipts.iter().flatten().cloned());
        }
        2 if at < crosslink.receipts.len() => drop(crosslink.receipts[at].pop()),
        3 if at < crosslink.receipts.len() => crosslink.receipts[at].reverse(),
        4 | 5 if at < crosslink.headers.len() => {
            let figures = &mut crosslink.headers[at].figures;
            let number = choices.number();
            let place = match choices.below(6) {
                0 => &mut figures.balances,
                1 => &mut figures.held,
                2 => &mut figures.burned,
                3 => &mut figures.sent,
                4 => &mut figures.received,
                _ => match figures.inbox.first_mut() {
                    Some(cursor) => &mut cursor.next,
                    None => return,
                },
            };
            *place = if choices.flag() { number } else { place.wrapping_add(number) };
        }
        6 if at < crosslink.headers.len() => {
            let bytes = choices.change(&codec::encode(&crosslink.headers[at]), &codec::encode(other));
            if let Ok(header) = codec::decode(&bytes, 16 * 1024) {
                crosslink.headers[at] = header;
            }
        }
        7 => {
            crosslink.headers.extend(other.headers.clone());
            crosslink.receipts.extend(other.receipts.clone());
        }
        8 => drop((crosslink.headers.pop(), crosslink.receipts.pop())),
        9 => drop(crosslink.certificate.signatures.pop()),
        10 => crosslink.certificate = other.certificate.clone(),
        _ => {
            let bytes = choices.change(&codec::encode(crosslink), &codec::encode(other));
            if let Some(changed) = canonical(&bytes, Crosslink::decode) {
                *crosslink = changed;
            }
        }
    }
}

/// Makes a changed crosslink consistent again, as a captured committee could.
fn seal(crosslink: &mut Crosslink, world: &World, state: &BeaconState) {
    let (mut below, mut height) = (None, None);
    for (header, receipts) in crosslink.headers.iter_mut().zip(&crosslink.receipts) {
        header.outbox_root = outbox_root(receipts);
        header.parent = below.unwrap_or(header.parent);
        header.height.0 = height.map_or(header.height.0, |height: u64| height.wrapping_add(1));
        (below, height) = (Some(header.id(world.id())), Some(header.height.0));
    }
    let Some(last) = crosslink.headers.last() else { return };
    if let Some(EraPlan { seats, .. }) = state.era_of(crosslink.shard, &Default::default()) {
        crosslink.certificate = certify(last, &seats, seats.keys.len(), world.id());
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let kinds = (0..24u8).map(|kind| vec![kind, 11 - kind % 12, kind & 1, 0, 0, kind % 12, 0, kind, 65, 1, 1, 9]);
    let figures = (0..6u8).map(|which| vec![which, 3, 1, 0, 0, 4, 70 + which, which, which & 1]);
    kinds.chain(figures).chain([Vec::new(), vec![3, 3, 1, 1, 0, 7, 0, 3], vec![5, 1, 1, 2, 0, 1, 0, 3, 0, 2]]).collect()
}
