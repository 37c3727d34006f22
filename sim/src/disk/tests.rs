//! Crashes and damage.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use super::*;

fn put(n: u8, value: u8) -> Write {
    Write::put(Table::Meta, [n], [value])
}

fn rows(disk: &Disk) -> Vec<(u8, u8)> {
    disk.scan(Table::Meta, &[], 100).unwrap().into_iter().map(|(key, value)| (key[0], value[0])).collect()
}

#[test]
fn a_crash_keeps_what_was_synced_and_a_prefix_of_whole_batches_of_the_rest() {
    let states = [vec![(1, 1)], vec![(1, 1), (2, 2), (3, 3)], vec![(1, 9), (3, 3)]];
    let mut seen = BTreeSet::new();
    for seed in 0..64 {
        let disk = Disk::default();
        disk.write(vec![put(1, 1)], true);
        disk.write(vec![put(2, 2), put(3, 3)], false);
        disk.write(vec![put(1, 9), Write::Delete { table: Table::Meta, key: vec![2] }], false);
        let lost = disk.crash(&mut Random::new(seed));
        assert_eq!(rows(&disk), states[2 - lost], "seed {seed}");
        seen.insert(lost);
        assert_eq!(disk.crash(&mut Random::new(seed)), 0, "what survived is on the disk");
    }
    assert_eq!(seen.len(), 3, "every point was cut at");
}

#[test]
fn syncing_covers_everything_before() {
    let disk = Disk::default();
    disk.write(vec![put(1, 1)], false);
    disk.write(vec![put(2, 2)], true);
    assert_eq!(disk.crash(&mut Random::new(3)), 0);
    assert_eq!(rows(&disk), [(1, 1), (2, 2)]);
}

#[test]
fn damage_fails_every_reading_until_it_is_written_over() {
    let disk = Disk::default();
    assert!(!disk.damage(&mut Random::new(1)));
    disk.write(vec![put(1, 1)], true);
    assert!(disk.damage(&mut Random::new(1)) && disk.is_damaged());
    assert!(disk.load(Table::Meta, &[1]).is_err());
    assert!(disk.scan(Table::Meta, &[], 9).is_err() && disk.last(Table::Meta).is_err());
    assert!(disk.load(Table::Meta, &[2]).is_ok() && disk.scan(Table::Blocks, &[], 9).is_ok());
    disk.write(vec![put(1, 2)], true);
    assert_eq!(rows(&disk), [(1, 2)]);
}

#[test]
fn tables_do_not_mix() {
    let disk = Disk::default();
    disk.write(vec![put(7, 1), Write::put(Table::Blocks, [1], [5])], true);
    assert_eq!(disk.last(Table::Meta).unwrap(), Some((vec![7], vec![1])));
    assert_eq!(disk.last(Table::Blocks).unwrap(), Some((vec![1], vec![5])));
    assert_eq!(disk.last(Table::Evidence).unwrap(), None);
    let copy = disk.copy();
    disk.wipe();
    assert_eq!(disk.bytes(), 0);
    disk.replace(&copy);
    assert_eq!(rows(&disk), [(7, 1)]);
}
