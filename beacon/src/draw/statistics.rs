//! Draw statistics over 10,000 seeds: Pearson's chi-squared of each place against each seat.
//!
//! The seeds are fixed, so the outcome is too. Each test's critical value is the upper 10^-5 quantile of its chi-squared
//! distribution; with the 59 tests here (Bonferroni) a sound draw would have failed with probability below 6 * 10^-4 had
//! the seeds been chosen at random. That the tests can fail is shown with draws that are slightly wrong.
#![allow(clippy::unwrap_used, clippy::cast_precision_loss, reason = "tests")]
use super::*;

const SEEDS: u64 = 10_000;
/// Three shards of four seats and five seats that stand by, each seat its own validator.
const SHARDS: usize = 3;
const SIZE: usize = 4;
const PLACES: usize = SHARDS * SIZE;
const SEATS: usize = PLACES + 5;

/// The upper 10^-5 quantile of the chi-squared distribution.
fn critical(freedom: usize) -> f64 {
    match freedom {
        4 => 28.473,
        11 => 43.206,
        12 => 45.076,
        13 => 46.912,
        16 => 52.245,
        271 => 381.959,
        other => panic!("no test has {other} degrees of freedom"),
    }
}

/// Chi-squared over its critical value: above 1 the test fails. What cannot happen and did is infinite.
fn excess(counts: &[u64], probabilities: &[f64]) -> f64 {
    let (mut sum, mut cells) = (0.0, 0);
    assert!((probabilities.iter().sum::<f64>() - 1.0).abs() < 1e-9 && counts.iter().sum::<u64>() == SEEDS);
    for (count, probability) in counts.iter().zip(probabilities) {
        if *probability == 0.0 {
            sum += if *count == 0 { 0.0 } else { f64::INFINITY };
            continue;
        }
        let expected = probability * SEEDS as f64;
        assert!(expected > 5.0, "enough is expected of each cell");
        sum += (*count as f64 - expected).powi(2) / expected;
        cells += 1;
    }
    sum / critical(cells - 1)
}

fn seeds() -> impl Iterator<Item = Hash> {
    (0..SEEDS).map(|number| Hash::of(&[b"draw statistics", &number.to_le_bytes()]))
}

fn everybody() -> Row {
    (0..u32::try_from(SEATS).unwrap()).map(|id| (ValidatorId(id), 1)).collect()
}

/// Everybody in order: the first twelve sit, the last five stand by.
fn start() -> Benches {
    let ids: Vec<ValidatorId> = everybody().into_iter().map(|(id, _)| id).collect();
    Benches { beacon: Row::new(), shards: ids[..PLACES].chunks(SIZE).map(|bench| Bench(bench.to_vec())).collect() }
}

fn first(seed: Hash) -> Benches {
    Benches::first(&Row::new(), &everybody(), 3, 4, None, seed)
}

fn rotated(seed: Hash, per_mille: u16) -> Benches {
    start().rotate(&Row::new(), &everybody(), &BTreeSet::new(), per_mille, None, seed)
}

/// Who sits at each place, counted through all benches.
fn sitting(benches: &Benches) -> Vec<usize> {
    benches.shards.iter().flat_map(|bench| &bench.0).map(|holder| usize::try_from(holder.0).unwrap()).collect()
}

/// How often each place had each seat, and the first places of the first two benches each pair.
struct Counted {
    places: Vec<Vec<u64>>,
    pairs: Vec<u64>,
}

fn count(draw: impl Fn(Hash) -> Benches) -> Counted {
    let mut counted = Counted { places: vec![vec![0; SEATS]; PLACES], pairs: vec![0; SEATS * SEATS] };
    for seed in seeds() {
        let sitting = sitting(&draw(seed));
        for (place, seat) in sitting.iter().enumerate() {
            counted.places[place][*seat] += 1;
        }
        counted.pairs[sitting[0] * SEATS + sitting[SIZE]] += 1;
    }
    counted
}

/// The worst excess of each place over all seats (16 degrees of freedom), of each seat over all places and standing by
/// (12), and of two places together (271).
fn worst_of_first_draws(draw: impl Fn(Hash) -> Benches) -> [f64; 3] {
    let counted = count(draw);
    let even = vec![1.0 / SEATS as f64; SEATS];
    let by_place = counted.places.iter().map(|counts| excess(counts, &even)).fold(0.0, f64::max);
    let mut spread = vec![1.0 / SEATS as f64; PLACES];
    spread.push((SEATS - PLACES) as f64 / SEATS as f64);
    let by_seat = (0..SEATS).map(|seat| {
        let mut counts: Vec<u64> = counted.places.iter().map(|counts| counts[seat]).collect();
        counts.push(SEEDS - counts.iter().sum::<u64>());
        excess(&counts, &spread)
    });
    let pair = |at: usize| if at / SEATS == at % SEATS { 0.0 } else { 1.0 / (SEATS * (SEATS - 1)) as f64 };
    let pairs: Vec<f64> = (0..SEATS * SEATS).map(pair).collect();
    [by_place, by_seat.fold(0.0, f64::max), excess(&counted.pairs, &pairs)]
}

/// The worst excess of each place over all seats after a rotation of `vacated` places a bench: 13 degrees of freedom if
/// it is one, where nobody of the same bench can come, else 16.
fn worst_of_rotations(vacated: usize, draw: impl Fn(Hash) -> Benches) -> f64 {
    let counted = count(draw);
    let size = SIZE as f64;
    let part = vacated as f64 / size;
    let each = 1.0 / ((SEATS - PLACES) + SHARDS * vacated) as f64;
    let both = part * (vacated as f64 - 1.0) / (size - 1.0);
    let probability = |place: usize, seat: usize| match seat {
        seat if seat == place => 1.0 - part + part * each,
        seat if seat >= PLACES => part * each,
        seat if seat / SIZE == place / SIZE => both * each,
        _ => part * part * each,
    };
    let of_place = |(place, counts): (usize, &Vec<u64>)| {
        let probabilities: Vec<f64> = (0..SEATS).map(|seat| probability(place, seat)).collect();
        excess(counts, &probabilities)
    };
    counted.places.iter().enumerate().map(of_place).fold(0.0, f64::max)
}

/// One byte of chance that the draw itself does not use.
fn byte(seed: Hash) -> u8 {
    Hash::of(&[b"bias", &seed.0]).0[0]
}

#[test]
fn first_draws_are_uniform_over_ten_thousand_seeds() {
    let worst = worst_of_first_draws(first);
    println!("chi-squared over critical value, worst by place, by seat, of a pair: {worst:.3?}");
    assert!(worst.iter().all(|excess| *excess < 1.0), "{worst:?}");
}

#[test]
fn rotations_are_uniform_over_ten_thousand_seeds() {
    for (vacated, per_mille) in [(1, 250), (2, 500)] {
        let worst = worst_of_rotations(vacated, |seed| rotated(seed, per_mille));
        println!("chi-squared over critical value, worst by place, {vacated} of {SIZE} vacated: {worst:.3}");
        assert!(worst < 1.0, "{worst}");
    }
}

#[test]
fn fallbacks_are_uniform_over_ten_thousand_seeds() {
    let counted = count(|seed| fallback(&start(), &start(), ShardId(1), &everybody(), seed).0);
    for place in SIZE..2 * SIZE {
        // Four degrees of freedom: one of the five that stand by.
        assert!(excess(&counted.places[place][PLACES..], &[0.2; 5]) < 1.0);
    }
}

#[test]
fn beacon_samples_are_uniform_over_ten_thousand_seeds() {
    let beacon: Row = (0..12).map(|id| (ValidatorId(id), 1)).collect();
    let mut counts = [0u64; 12];
    for seed in seeds() {
        let sampled = Benches::first(&beacon, &everybody(), 1, 1, Some(8), seed).beacon;
        assert_eq!(sampled.len(), 8);
        sampled.iter().for_each(|(id, _)| counts[usize::try_from(id.0).unwrap()] += 1);
    }
    // Eight of twelve without replacement: the variance of a count is n p (1 - p), and they sum to a constant.
    let (expected, p) = (SEEDS as f64 * 8.0 / 12.0, 8.0 / 12.0);
    let sum: f64 = counts.iter().map(|count| (*count as f64 - expected).powi(2) / (expected * (1.0 - p))).sum();
    assert!(sum * 11.0 / 12.0 < critical(11), "{counts:?}");
}

#[test]
fn a_seat_favoured_in_two_of_a_hundred_draws_is_seen() {
    let favoured = |seed: Hash| {
        let mut drawn = first(seed);
        if byte(seed) < 5 {
            // Seat 0 changes places with whoever sits at the first one.
            let moved = std::mem::replace(&mut drawn.shards[0].0[0], ValidatorId(0));
            let places = drawn.shards.iter_mut().flat_map(|bench| &mut bench.0).skip(1);
            places.filter(|holder| holder.0 == 0).for_each(|holder| *holder = moved);
        }
        drawn
    };
    let [by_place, by_seat, _] = worst_of_first_draws(favoured);
    assert!(by_place > 1.0 && by_seat > 1.0, "{by_place} {by_seat}");
}

#[test]
fn a_draw_that_only_turns_the_row_is_seen_by_pairs() {
    let turned = |seed: Hash| {
        let by = u64::from_le_bytes(seed.0[..8].try_into().unwrap()) % 17;
        let mut drawn = start();
        for holder in drawn.shards.iter_mut().flat_map(|bench| &mut bench.0) {
            holder.0 = (holder.0 + u32::try_from(by).unwrap()) % 17;
        }
        drawn
    };
    let [by_place, by_seat, of_pairs] = worst_of_first_draws(turned);
    assert!(by_place < 1.0 && by_seat < 1.0, "each place alone looks fair");
    assert!(of_pairs > 1.0);
}

#[test]
fn a_place_vacated_too_often_is_seen() {
    // In one draw of ten the seed is tried again until the first place changes.
    let impatient = |seed: Hash| {
        let again = |seed: &Hash| Some(Hash::of(&[b"again", &seed.0]));
        let draws = std::iter::successors(Some(seed), again).map(|seed| rotated(seed, 250));
        let wanted = |drawn: &Benches| byte(seed) >= 26 || drawn.shards[0].0[0] != ValidatorId(0);
        draws.into_iter().find(wanted).unwrap()
    };
    assert!(worst_of_rotations(1, impatient) > 1.0);
}
