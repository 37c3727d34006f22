//! Merkle roots of bodies, witnesses and receipts: equal exactly for equal lists.

use crate::{Target, choices::Choices};
use kakera_chain::hash::{Hash, merkle_root};

pub(super) const TARGET: Target = Target {
    name: "merkle",
    about: "Merkle roots: two lists have one root only if they are the same list",
    run,
    seeds,
    max_bytes: 1024,
    rounds: 6_000,
};

fn run(bytes: &[u8]) {
    let mut choices = Choices::new(bytes);
    let first = list(&mut choices);
    let mut second = first.clone();
    for _ in 0..=choices.below(4) {
        change(&mut second, &mut choices);
    }
    assert_eq!(merkle_root(&first) == merkle_root(&second), first == second, "{first:?} and {second:?}");
    let (root, own) = (merkle_root(&first), list(&mut choices));
    assert_eq!(merkle_root(&own) == root, own == first);
    assert_eq!(root == Hash::ZERO, first.is_empty());
}

fn list(choices: &mut Choices<'_>) -> Vec<Vec<u8>> {
    let count = choices.below(12);
    (0..count)
        .map(|_| {
            let length = choices.below(70);
            choices.bytes(length).to_vec()
        })
        .collect()
}

/// Also what attacks use: inner nodes offered as leaves, duplicated ends, moved borders.
fn change(list: &mut Vec<Vec<u8>>, choices: &mut Choices<'_>) {
    let at = choices.below(list.len().max(1));
    match choices.below(8) {
        0 => list.extend(list.last().cloned()),
        1 => drop(list.pop()),
        2 if list.len() > 1 => list.swap(at, 0),
        3 => {
            let count = list.len();
            list.extend_from_within(count / 2..);
        }
        4 => {
            let leaf = |leaf: &Vec<u8>| Hash::of(&[&[0], leaf]).0.to_vec();
            *list = list.chunks(2).map(|pair| pair.iter().flat_map(leaf).collect()).collect();
        }
        5 => {
            let leaf = |leaf: &Vec<u8>| Hash::of(&[&[0], leaf]).0.to_vec();
            *list = list.chunks(2).map(|pair| [vec![1], pair.iter().flat_map(leaf).collect()].concat()).collect();
        }
        6 if at + 1 < list.len() => {
            let next = list.remove(at + 1);
            list[at].extend(next);
        }
        _ => {
            if let Some(item) = list.get_mut(at) {
                item.push(choices.u8());
            }
        }
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let leaves = |count: u8| [vec![count], (0..count).flat_map(|leaf| [3, leaf, leaf, leaf]).collect()].concat();
    (0..8u8).flat_map(|kind| [3, 4, 7].map(|count| [leaves(count), vec![0, 0, kind]].concat())).collect()
}
