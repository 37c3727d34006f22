//! A member's store with lost, damaged and misplaced rows: it does not open, or opens and goes on.

use crate::{
    Target,
    choices::Choices,
    world::{Contents, recorded, reopen},
};
use kakera_chain::{Member, machine::StateMachine, replica::Input, store::Table, units::Timestamp};

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
    while !choices.is_over() {
        damage(&mut rows, &mut choices);
    }
    let mut there = match reopen(me, rows, recorded.end) {
        Ok(there) => there,
        Err(reason) => return assert!(!reason.to_string().is_empty()),
    };
    // It may find out later and halt; it must not panic.
    for (number, (_, from, message)) in (0..).zip(recorded.heard.iter().rev().take(12).rev()) {
        let now = Timestamp(recorded.end + 5 * number);
        drop(there.replica.handle(now, Input::Peer { from: *from, message: message.clone() }));
    }
    drop(there.replica.handle(Timestamp(recorded.end + 4_000), Input::Tick));
    drop(there.replica.status(Timestamp(recorded.end + 4_000)));
    drop(there.replica.certified_blocks(kakera_chain::units::Height(1)));
}

fn damage(rows: &mut Contents, choices: &mut Choices<'_>) {
    let table = *choices.of(&Table::ALL);
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
        tables.flat_map(|table| [0, 2, 4].map(|kind| vec![(kind / 2) % 2, table, 3, 9, kind])).collect();
    seeds.extend((0..12u8).map(|kind| vec![1, 0, kind, 1, 1, 0, kind, 8, 1, 0]));
    seeds.extend([vec![0], vec![1]]);
    seeds
}
