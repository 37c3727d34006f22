//! A member's store with lost, damaged and misplaced rows: it does not open, or opens and goes on.

use crate::{
    Target,
    choices::Choices,
    world::{Contents, World, heard, recorded, reopen},
};
use kakera_chain::{Member, codec, machine::StateMachine, replica::Input, store::Table, units::Timestamp};

pub(super) const TARGET: Target = Target {
    name: "restart",
    about: "a store with lost, damaged and misplaced rows is refused with a reason, or the replica goes on from it",
    run,
    seeds,
    max_bytes: 256,
    rounds: 150,
};

fn run(bytes: &[u8]) {
    let recorded = recorded();
    let mut choices = Choices::new(bytes);
    let me = choices.flag().then_some(Member(1));
    let mut rows = recorded.rows.clone();
    if choices.flag() {
        rows.insert((Table::Meta, b"replica/era".to_vec()), era());
    }
    while !choices.is_over() {
        let table = *choices.of(&Table::ALL);
        damage(&mut rows, table, &mut choices);
    }
    let mut there = match reopen(me, rows, recorded.end) {
        Ok(there) => there,
        Err(reason) => return assert!(!reason.to_string().is_empty()),
    };
    // It may find out later and halt; it must not panic.
    for (number, (_, from, message)) in (0..).zip(recorded.heard.iter().rev().take(12).rev()) {
        let now = Timestamp(recorded.end + 5 * number);
        drop(there.replica.handle(now, heard(*from, message.clone())));
    }
    drop(there.replica.handle(Timestamp(recorded.end + 4_000), Input::Tick));
    drop(there.replica.status(Timestamp(recorded.end + 4_000)));
    drop(there.replica.certified_blocks(kakera_chain::units::Height(1)));
}

/// The first era as it would be stored: a network of one epoch never stores it.
fn era() -> Vec<u8> {
    let world = World::of_all();
    let genesis = &world.beacon_genesis;
    let plan = world.states[0].beacon_era((genesis.height, genesis.id(world.id())), &Default::default());
    let weights = plan.seats.committee.weights();
    let members = plan.seats.validators.iter().zip(&plan.seats.keys).zip(weights);
    let members: Vec<_> = members.map(|((validator, key), weight)| (*validator, *key, *weight)).collect();
    codec::encode(&(plan.epoch, plan.root, genesis.slot, members, plan.leaders))
}

/// Loses, damages or misplaces a row.
pub(super) fn damage(rows: &mut Contents, table: Table, choices: &mut Choices<'_>) {
    let keys: Vec<_> = rows.keys().filter(|(of, _)| *of == table).cloned().collect();
    if keys.is_empty() {
        return;
    }
    let (at, other) = (choices.of(&keys).clone(), choices.of(&keys).clone());
    match choices.below(6) {
        0 => drop(rows.remove(&at)),
        1 => {
            let value = choices.change(&rows[&at], &rows[&other]);
            rows.insert(at, value);
        }
        // Misplaced: another row's value, under this key or an unknown one.
        2 => drop(rows.insert(at, rows[&other].clone())),
        3 => {
            let key = choices.change(&at.1, &other.1);
            let value = rows[&at].clone();
            rows.insert((table, key), value);
        }
        // A lost end.
        4 => rows.retain(|row, _| row.0 != table || *row < at),
        _ => rows.retain(|row, _| row.0 != table),
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let tables = 0..u8::try_from(Table::ALL.len()).expect("few tables");
    let mut seeds: Vec<Vec<u8>> =
        tables.flat_map(|table| [0, 2, 4].map(|kind| vec![(kind / 2) % 2, 1, table, 3, 9, kind])).collect();
    seeds.extend((0..12u8).map(|kind| vec![1, kind & 1, 0, kind, 1, 1, 0, kind, 8, 1, 0]));
    seeds.extend([vec![0], vec![1], vec![0, 1], vec![1, 1]]);
    // The era's row, changed here and there.
    seeds.extend((0..16u8).map(|kind| vec![kind & 1, 1, 0, 2 + kind % 2, 3, 1, 0, kind % 12, 16 * kind, 8, kind]));
    seeds
}
