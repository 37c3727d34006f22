//! What a shard has kept of the beacon chain, with lost, damaged and misplaced rows: refused, or a view that can be used.

use super::restart::damage;
use crate::{
    Target,
    choices::Choices,
    world::{Contents, Rows, World},
};
use kakera_chain::{
    lanes::Reading,
    receipt::Reference,
    store::Table,
    units::{ChainId, Height},
};
use kakera_shard::{BeaconView, InvalidBeacon};

pub(super) const TARGET: Target = Target {
    name: "readings",
    about: "a damaged store of readings is refused with a reason, or a view that goes on; readings in order or refused",
    run,
    seeds,
    max_bytes: 512,
    rounds: 800,
};

fn run(bytes: &[u8]) {
    let world = World::of_eras();
    let mut choices = Choices::new(bytes);
    let shard = u16::from(choices.flag());
    let all: Vec<Reading> = world.readings.iter().map(|readings| readings[usize::from(shard)].clone()).collect();
    let first = world.shard_config(shard).first;
    let stored = choices.below(all.len() + 1);
    let rows = Rows::of(Contents::new());
    // A view that begins somewhere, and has read on from there.
    let begin = choices.below(stored + 1);
    let mut view = BeaconView::new(first.clone());
    if let Some(begin) = begin.checked_sub(1) {
        rows.keep(BeaconView::begin_with(&all[begin]));
        view = BeaconView::new(all[begin].clone());
    }
    rows.keep(view.advance(all[begin..stored].to_vec()).unwrap());
    let whole = BeaconView::load(first.clone(), &rows).unwrap();
    assert_eq!((whole.tip(), whole.recorded(), whole.lanes()), (view.tip(), view.recorded(), view.lanes()));
    use_it(whole, &all, &mut choices, true);
    // The same rows, damaged.
    let mut damaged = rows.contents();
    for _ in 0..1 + choices.below(3) {
        let table = if choices.below(4) == 0 { Table::Meta } else { Table::Beacon };
        damage(&mut damaged, table, &mut choices);
    }
    match BeaconView::load(first, &Rows::of(damaged)) {
        Ok(view) => use_it(view, &all, &mut choices, false),
        Err(reason) => assert!(!reason.to_string().is_empty()),
    }
}

/// Asks a view everything, and gives it readings in any order.
fn use_it(mut view: BeaconView, all: &[Reading], choices: &mut Choices<'_>, sound: bool) {
    let tip = view.tip();
    let odd = Reference { height: Height(choices.number()), ..tip };
    for reference in all.iter().map(|reading| reading.reference).chain([tip, odd]) {
        let status = view.status(&reference, &tip);
        assert_eq!(status, view.status(&reference, &tip));
        drop(view.lanes_at(&reference));
        if let Some(newest) = view.newest_reference(&reference) {
            assert!(newest.height >= reference.height && view.lanes_at(&newest).is_some());
        }
    }
    let _ = view.receipt(ChainId::Beacon, choices.number());
    for _ in 0..3 {
        let (at, count) = (choices.below(all.len()), choices.below(4));
        let mut some: Vec<Reading> = all.iter().skip(at).take(count).cloned().collect();
        if choices.flag() {
            some.reverse();
        }
        let before = format!("{view:?}");
        let (tip, next) = (view.tip(), some.iter().map(|reading| reading.reference.height).max());
        match view.advance(some) {
            Ok(_) => assert_eq!(view.tip().height, next.unwrap_or_default().max(tip.height)),
            Err(reason) => {
                assert_eq!(format!("{view:?}"), before, "refused readings changed the view");
                assert!(!sound || matches!(reason, InvalidBeacon::Gap { .. }), "{reason}");
            }
        }
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let damage = |kind: u8| vec![kind & 1, 8 - kind % 3, kind % 4, 0, kind, 2, 0, 1, 1, 1, kind, 1, kind % 6, 1, 0, 9];
    let tail = |kind: u8| [70, 65, kind, 3, 0, kind, 2, 1, kind, 3, 0, 2, 1, kind, 0, kind % 6, kind, 40, 7, 200, 3];
    let mut seeds: Vec<Vec<u8>> = (0..14).map(|kind| [damage(kind), tail(kind).to_vec()].concat()).collect();
    seeds.extend([Vec::new(), vec![1, 8, 0], vec![0, 4, 4]]);
    seeds
}
