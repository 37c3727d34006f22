//! What every draw keeps.
#![allow(clippy::unwrap_used, reason = "tests")]
use super::*;
use proptest::prelude::*;

fn ids(numbers: &[u32]) -> Vec<ValidatorId> {
    numbers.iter().copied().map(ValidatorId).collect()
}

fn row(seats: &[u32]) -> Row {
    (0..).map(ValidatorId).zip(seats.iter().copied()).collect()
}

fn benches(shards: &[&[u32]]) -> Benches {
    Benches { beacon: vec![(ValidatorId(900), 1)], shards: shards.iter().map(|bench| Bench(ids(bench))).collect() }
}

fn numbers(benches: &Benches) -> Vec<Vec<u32>> {
    benches.shards.iter().map(|bench| bench.0.iter().map(|holder| holder.0).collect()).collect()
}

fn seed(number: u64) -> Hash {
    Hash::of(&[b"draw test", &number.to_le_bytes()])
}

fn slashed(numbers: &[u32]) -> BTreeSet<ValidatorId> {
    numbers.iter().copied().map(ValidatorId).collect()
}

fn rotate(from: &Benches, row: &Row, gone: &BTreeSet<ValidatorId>, per_mille: u16, number: u64) -> Benches {
    from.rotate(&vec![(ValidatorId(900), 1)], row, gone, per_mille, None, seed(number))
}

/// Places of a bench that another holds now.
fn changed(before: &Bench, after: &Bench) -> usize {
    assert_eq!(before.0.len(), after.0.len(), "W never changes");
    before.0.iter().zip(&after.0).filter(|(before, after)| before != after).count()
}

/// Nobody holds more than its seats.
fn is_within(held: &BTreeMap<ValidatorId, u64>, seats: &BTreeMap<ValidatorId, u64>) -> bool {
    held.iter().all(|(validator, held)| *held <= seats.get(validator).copied().unwrap_or(0))
}

#[test]
fn draws_are_golden() {
    let row = row(&[3, 1, 2, 4, 1, 2]);
    let beacon: Row = vec![(ValidatorId(20), 3), (ValidatorId(21), 5)];
    let first = Benches::first(&beacon, &row, 2, 5, Some(4), draw_seed(Hash([7; 32]), Epoch(0)));
    let next = first.rotate(&beacon, &row, &slashed(&[0]), 400, Some(4), draw_seed(Hash([7; 32]), Epoch(1)));
    let after = fallback(&first, &next, ShardId(1), &row, seed(1));
    assert_eq!(numbers(&first), [[2, 3, 0, 3, 5], [2, 3, 0, 0, 1]]);
    assert_eq!(first.beacon, [(ValidatorId(20), 1), (ValidatorId(21), 3)]);
    // All seats of validator 0, and one seat that the seed picked.
    assert_eq!(numbers(&next), [[2, 3, 5, 3, 5], [2, 3, 3, 4, 1]]);
    assert_eq!(next.beacon, [(ValidatorId(20), 1), (ValidatorId(21), 3)]);
    // All three standbys are named; the last two places stay, and 0 stays where 5 was to come.
    assert_eq!(numbers(&after.0), [[2, 3, 0, 3, 5], [4, 3, 5, 0, 1]]);
    assert_eq!(after.0.shards, after.1.shards);
}

#[test]
fn a_quarter_is_rotated_but_one_at_least() {
    let rotated = |per_mille, size| rotated_seats(per_mille, size);
    assert_eq!((rotated(250, 4), rotated(250, 7), rotated(250, 128)), (1, 1, 32));
    assert_eq!((rotated(0, 4), rotated(1, 4), rotated(1000, 4), rotated(9999, 4)), (1, 1, 4, 4));
}

#[test]
fn a_beacon_committee_is_sampled_above_its_size_only() {
    let shards = row(&[4]);
    let beacon: Row = (10..).map(ValidatorId).zip([2, 3, 5]).collect();
    let drawn = |seats, number| Benches::first(&beacon, &shards, 1, 4, seats, seed(number)).beacon;
    for seats in [None, Some(10), Some(11)] {
        assert_eq!(drawn(seats, 1), beacon);
    }
    let samples: Vec<Row> = (0..20).map(|number| drawn(Some(9), number)).collect();
    for sample in &samples {
        assert_eq!(sample.iter().map(|(_, seats)| seats).sum::<u32>(), 9);
        assert!(sample.iter().zip(&beacon).all(|(sampled, whole)| sampled.0 == whole.0 && sampled.1 <= whole.1));
    }
    assert!(samples.iter().any(|sample| *sample != samples[0]));
}

#[test]
fn a_rotated_beacon_committee_is_without_the_slashed_and_never_empty() {
    let start = benches(&[&[0, 1]]);
    let beacon: Row = (900..).map(ValidatorId).zip([1, 2]).collect();
    let turn = |gone: &[u32], seats| start.rotate(&beacon, &row(&[1, 1]), &slashed(gone), 0, seats, seed(0)).beacon;
    assert_eq!(turn(&[], None), beacon);
    assert_eq!(turn(&[900], None), [(ValidatorId(901), 2)]);
    assert_eq!(turn(&[900], Some(1)), [(ValidatorId(901), 1)]);
    assert_eq!(turn(&[900, 901], None), start.beacon, "a committee of nobody would be none");
}

#[test]
fn a_pool_too_small_keeps_the_last_holders_and_lets_the_slashed_go_first() {
    // Everybody is vacated; 8 and 9 have left, 7 is slashed; one seat only is free.
    let start = benches(&[&[8, 0, 7], &[9, 1, 2]]);
    let row: Row = [0, 1, 2, 3].map(|id| (ValidatorId(id), 1)).to_vec();
    for number in 0..20 {
        let next = rotate(&start, &row, &slashed(&[7]), 1000, number);
        let held = next.held();
        assert_eq!((next.shards[0].0[0], next.shards[1].0[0]), (ValidatorId(8), ValidatorId(9)), "the places stay");
        assert!(!held.contains_key(&ValidatorId(7)));
        assert_eq!(held.keys().copied().collect::<Vec<_>>(), ids(&[0, 1, 2, 3, 8, 9]));
        // With another free seat one of the two leaves: the last one stays.
        let mut more = row.clone();
        more.push((ValidatorId(4), 1));
        let next = rotate(&start, &more, &slashed(&[7]), 1000, number);
        assert_ne!(next.shards[0].0[0], ValidatorId(8));
        assert_eq!(next.shards[1].0[0], ValidatorId(9));
        // With none even the slashed one stays, in its place.
        let next = rotate(&start, &row[..3].to_vec(), &slashed(&[7]), 1000, number);
        assert_eq!(next.shards[0].0[2], ValidatorId(7));
    }
    let nobody = rotate(&start, &Row::new(), &slashed(&[0, 1, 2, 7, 8, 9]), 250, 3);
    assert_eq!(nobody, start);
}

#[test]
fn those_who_left_go_within_the_bound_and_the_slashed_beyond_it() {
    let start = benches(&[&[0, 1, 2, 3, 4, 5, 6, 7]]);
    let all = row(&[1; 16]);
    for number in 0..20 {
        // Two may go; three have left: two of them go, and nobody else.
        let row: Row = all.iter().copied().filter(|(id, _)| ![1, 4, 6].contains(&id.0)).collect();
        let next = rotate(&start, &row, &slashed(&[]), 250, number);
        let left: Vec<usize> = (0..8).filter(|at| next.shards[0].0[*at] != start.shards[0].0[*at]).collect();
        assert!(left.len() == 2 && left.iter().all(|at| [1, 4, 6].contains(at)), "{left:?}");
        // One has left: it goes, and one that the seed picks may.
        let row: Row = all.iter().copied().filter(|(id, _)| id.0 != 4).collect();
        let next = rotate(&start, &row, &slashed(&[]), 250, number);
        assert!(next.shards[0].0[4] != ValidatorId(4) && changed(&start.shards[0], &next.shards[0]) <= 2);
        // Three are slashed: all go, nobody else does.
        let next = rotate(&start, &all, &slashed(&[0, 4, 7]), 250, number);
        let left: Vec<usize> = (0..8).filter(|at| next.shards[0].0[*at] != start.shards[0].0[*at]).collect();
        assert_eq!(left, [0, 4, 7]);
        // A validator with fewer seats than it holds is gone with the last ones.
        let double = benches(&[&[0, 0, 0, 3]]);
        let row: Row = [(0, 2), (3, 1), (5, 1)].map(|(id, seats)| (ValidatorId(id), seats)).to_vec();
        let next = rotate(&double, &row, &slashed(&[]), 250, number);
        assert_eq!(numbers(&next), [[0, 0, 5, 3]]);
    }
}

#[test]
fn standbys_that_are_not_named_go_first_in_a_fallback() {
    let current = benches(&[&[0, 1], &[2, 3]]);
    // 4 is named for shard 0; 5, 6 and 7 are not named.
    let next = benches(&[&[4, 1], &[2, 3]]);
    let row = row(&[1; 8]);
    let mut seen = BTreeSet::new();
    for number in 0..60 {
        let (now, then) = fallback(&current, &next, ShardId(1), &row, seed(number));
        assert_eq!(numbers(&now)[0], [0, 1], "other shards' benches stay");
        assert_eq!(numbers(&then), [vec![4, 1], numbers(&now)[1].clone()]);
        assert!(now.shards[1].0.iter().all(|holder| (5..8).contains(&holder.0)), "{now:?}");
        seen.insert(now.shards[1].0.clone());
    }
    assert_eq!(seen.len(), 6, "three, two at a time, in each order");
}

#[test]
fn a_named_standby_that_is_taken_loses_its_next_seat_whose_holder_stays() {
    let current = benches(&[&[0, 1], &[2, 3]]);
    let next = benches(&[&[4, 1], &[2, 3]]);
    // 4 is the only standby beside 5.
    let (now, then) = fallback(&current, &next, ShardId(1), &row(&[1; 6]), seed(3));
    assert_eq!(numbers(&now), [[0, 1], [5, 4]]);
    assert_eq!(numbers(&then), [[0, 1], [5, 4]], "0 stays where 4 was to come");
}

#[test]
fn a_holder_that_stays_loses_the_next_seat_it_was_to_move_to() {
    // 4 comes for 0, 0 moves to the place of 2, and 2 stands by from the next epoch on.
    let current = benches(&[&[0, 1], &[2, 3], &[5, 6]]);
    let next = benches(&[&[4, 1], &[0, 3], &[5, 6]]);
    let (now, then) = fallback(&current, &next, ShardId(2), &row(&[1; 7]), seed(3));
    assert_eq!(numbers(&now), [[0, 1], [2, 3], [4, 6]], "the last seat, which no standby can fill, keeps its holder");
    assert_eq!(numbers(&then), [[0, 1], [2, 3], [4, 6]]);
}

#[test]
fn a_member_of_the_dead_committee_that_was_to_move_still_does() {
    // 5 moves from the dead shard to shard 0; 7 stands by.
    let current = benches(&[&[0], &[5]]);
    let next = benches(&[&[5], &[0]]);
    let (now, then) = fallback(&current, &next, ShardId(1), &row(&[1, 0, 0, 0, 0, 1, 0, 1]), seed(3));
    assert_eq!((numbers(&now), numbers(&then)), (vec![vec![0], vec![7]], vec![vec![5], vec![7]]));
    // With no standby it stays where it is, and so does who was to make place for it.
    let (now, then) = fallback(&current, &next, ShardId(1), &row(&[1, 0, 0, 0, 0, 1]), seed(3));
    assert_eq!((numbers(&now), numbers(&then)), (vec![vec![0], vec![5]], vec![vec![0], vec![5]]));
}

#[test]
fn a_standby_seat_of_a_validator_that_sits_elsewhere_is_not_named_by_its_other_seat() {
    let current = benches(&[&[0, 0], &[2, 3]]);
    let row: Row = [(0, 3), (2, 1), (3, 1)].map(|(id, seats)| (ValidatorId(id), seats)).to_vec();
    let (now, then) = fallback(&current, &current, ShardId(1), &row, seed(0));
    assert_eq!(numbers(&now), [[0, 0], [0, 3]]);
    assert_eq!(then, now);
}

#[test]
fn a_shard_that_there_is_not_is_left_alone() {
    let (current, next) = (benches(&[&[0]]), benches(&[&[1]]));
    let same = fallback(&current, &next, ShardId(1), &row(&[1; 3]), seed(0));
    assert_eq!(same, (current, next));
}

#[test]
fn a_seat_vacated_on_one_bench_does_not_fill_two_places() {
    // Validator 0 has one seat less and 100 four less than they hold: whatever is vacated, nobody gets more.
    let start = benches(&[&[0, 0, 100, 100], &[0, 100, 100, 100]]);
    let row: Row = vec![(ValidatorId(0), 2), (ValidatorId(100), 1)];
    for number in 0..64 {
        let held = rotate(&start, &row, &slashed(&[]), 750, number).held();
        assert_eq!(held, start.held(), "seed {number}");
    }
}

#[test]
fn an_honest_bench_is_never_drawn_by_the_same_seed_as_another() {
    let one = Benches::first(&vec![], &row(&[1; 40]), 2, 10, None, draw_seed(Hash([1; 32]), Epoch(4)));
    let other = Benches::first(&vec![], &row(&[1; 40]), 2, 10, None, draw_seed(Hash([1; 32]), Epoch(5)));
    assert_ne!(one, other);
}

/// A row with seats to spare or none, and how many shards of which size it fills.
fn settings() -> impl Strategy<Value = (Row, u16, u32)> {
    (1u16..4, 1u32..7, proptest::collection::vec(0u32..4, 1..12)).prop_map(|(shards, size, seats)| {
        let mut row = row(&seats);
        let missing = (u32::from(shards) * size).saturating_sub(seats.iter().sum());
        row.push((ValidatorId(100), missing));
        (row, shards, size)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn a_first_draw_seats_each_seat_once((row, shards, size) in settings(), number: u64) {
        let drawn = Benches::first(&row, &row, shards, size, None, seed(number));
        prop_assert!(drawn.shards.len() == usize::from(shards) && drawn.shards.iter().all(|bench| bench.0.len() == size as usize));
        let mut held = drawn.held();
        for (validator, seats) in drawn.standbys(&row) {
            *held.entry(validator).or_default() += seats;
        }
        let mut all = counts(&row);
        all.retain(|_, seats| *seats > 0);
        prop_assert_eq!(held, all);
    }

    #[test]
    fn a_draw_does_not_depend_on_the_order_of_its_input(
        (row, shards, size) in settings(), turns in proptest::collection::vec(any::<prop::sample::Index>(), 8), number: u64
    ) {
        let mut mixed = row.clone();
        for pair in turns.chunks(2) {
            let (one, other) = (pair[0].index(row.len()), pair[1].index(row.len()));
            mixed.swap(one, other);
        }
        // One validator's seats in two entries.
        let last = mixed.pop().unwrap();
        mixed.insert(0, (last.0, last.1 / 2));
        mixed.push((last.0, last.1 - last.1 / 2));
        let first = |row: &Row| Benches::first(row, row, shards, size, Some(3), seed(number));
        let start = first(&row);
        prop_assert_eq!(&start, &first(&mixed));
        let turn = |row: &Row| start.rotate(row, row, &slashed(&[1]), 250, Some(3), seed(number + 1));
        prop_assert_eq!(turn(&row), turn(&mixed));
        let replaced = |row: &Row| fallback(&start, &turn(row), ShardId(0), row, seed(number));
        prop_assert_eq!(replaced(&row), replaced(&mixed));
    }

    #[test]
    fn a_rotation_keeps_every_rule(
        (old, shards, size) in settings(), change in proptest::collection::vec(0u32..4, 12), gone in proptest::collection::btree_set(0u32..13, 0..4),
        per_mille in 0u16..=1000, number in 0u64..1 << 32
    ) {
        let start = Benches::first(&old, &old, shards, size, None, seed(number));
        // Most keep their seats; some have others, or none, and some are slashed.
        let new: Row = old.iter().zip(&change).map(|((id, seats), change)| (*id, if number % 3 == 0 { *change } else { *seats })).collect();
        let gone: BTreeSet<ValidatorId> = gone.into_iter().map(|id| if id == 12 { ValidatorId(100) } else { ValidatorId(id) }).collect();
        let next = rotate(&start, &new, &gone, per_mille, number + 1);
        let mut eligible = counts(&new);
        eligible.retain(|id, _| !gone.contains(id));
        let bound = rotated_seats(per_mille, size as usize);
        let mut kept_slashed = 0;
        for (before, after) in start.shards.iter().zip(&next.shards) {
            let must = before.0.iter().filter(|holder| gone.contains(holder)).count();
            prop_assert!(changed(before, after) <= bound.max(must), "{before:?} {after:?}");
            for (before, after) in before.0.iter().zip(&after.0) {
                prop_assert!(before == after || eligible.contains_key(after), "only eligible seats are drawn");
                kept_slashed += usize::from(gone.contains(after));
            }
        }
        let (held, before) = (next.held(), start.held());
        for (id, seats) in &held {
            prop_assert!(*seats <= eligible.get(id).copied().unwrap_or(0).max(before.get(id).copied().unwrap_or(0)));
        }
        if kept_slashed > 0 {
            prop_assert!(next.standbys(&new).keys().all(|id| gone.contains(id)), "no eligible seat is left");
        }
        if gone.is_empty() && new == old {
            prop_assert!(is_within(&held, &eligible), "each seat is held once at most");
        }
    }

    #[test]
    fn a_fallback_keeps_every_rule(
        (row, shards, size) in settings(), spare in 0u32..9, dead: prop::sample::Index, per_mille in 0u16..=1000, number in 0u64..1 << 32
    ) {
        let mut row = row;
        row.push((ValidatorId(101), spare));
        let shard = dead.index(shards.into());
        let current = Benches::first(&vec![], &row, shards, size, None, seed(number));
        let next = rotate(&current, &row, &slashed(&[]), per_mille, number + 1);
        let (now, then) = fallback(&current, &next, ShardId(u16::try_from(shard).unwrap()), &row, seed(number + 2));
        let seats = counts(&row);
        prop_assert!(is_within(&now.held(), &seats) && is_within(&then.held(), &seats), "{now:?} {then:?}");
        prop_assert_eq!(&then.shards[shard], &now.shards[shard]);
        let free: u64 = current.standbys(&row).values().sum();
        let kept = (size as usize).saturating_sub(usize::try_from(free).unwrap());
        let (old, new) = (&current.shards[shard].0, &now.shards[shard].0);
        prop_assert_eq!(&old[size as usize - kept..], &new[size as usize - kept..], "the last ones stay");
        for at in (0..usize::from(shards)).filter(|at| *at != shard) {
            prop_assert_eq!(&now.shards[at], &current.shards[at]);
            for (place, holder) in then.shards[at].0.iter().enumerate() {
                prop_assert!(*holder == next.shards[at].0[place] || *holder == current.shards[at].0[place]);
            }
        }
        // If those who are not named suffice, nobody loses a next seat.
        let named = next.held();
        let spare = |(id, free): (ValidatorId, u64)| free.min(seats[&id] - named.get(&id).copied().unwrap_or(0));
        let unnamed: u64 = current.standbys(&row).into_iter().map(spare).sum();
        if unnamed >= u64::from(size) {
            let others = |benches: &Benches| -> Vec<Bench> { benches.shards.iter().enumerate().filter(|(at, _)| *at != shard).map(|(_, bench)| bench.clone()).collect() };
            prop_assert_eq!(others(&then), others(&next));
        }
    }

    #[test]
    fn seats_registered_after_the_freeze_are_no_part_of_the_draw((row, shards, size) in settings(), number: u64) {
        // The row is all that a draw knows of the registry: a validator that is not in it is never drawn.
        let start = Benches::first(&row, &row, shards, size, None, seed(number));
        let next = rotate(&start, &row, &slashed(&[]), 500, number + 1);
        let known: BTreeSet<ValidatorId> = row.iter().map(|(id, _)| *id).collect();
        prop_assert!(next.held().keys().all(|id| known.contains(id)));
    }
}
