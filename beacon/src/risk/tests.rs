//! Risks against enumeration, exact rational arithmetic, and the draw itself.
#![allow(clippy::unwrap_used, clippy::cast_precision_loss, reason = "tests")]
use super::*;
use crate::draw::{Benches, Row};
use crate::fixture::network_of;
use kakera_chain::{genesis::Epochs, hash::Hash, units::ValidatorId};
use num_bigint::BigInt;
use num_rational::BigRational;
use proptest::prelude::*;

fn close(found: f64, expected: f64) -> bool {
    (found - expected).abs() <= 1e-12 * expected.abs().max(1e-300)
}

/// Draws every committee there is and counts.
fn enumerated(total: u32, adversary: u32, committee: u32) -> CommitteeRisk {
    let (mut all, mut stall, mut capture) = (0u32, 0u32, 0u32);
    for drawn in (0u32..1 << total).filter(|drawn| drawn.count_ones() == committee) {
        let held = (drawn & ((1 << adversary) - 1)).count_ones();
        all += 1;
        stall += u32::from(3 * held >= committee);
        capture += u32::from(3 * held > 2 * committee);
    }
    CommitteeRisk { stall: f64::from(stall) / f64::from(all), capture: f64::from(capture) / f64::from(all) }
}

#[test]
fn small_risks_equal_the_enumeration() {
    for total in 1..=11u32 {
        for adversary in 0..=total {
            for committee in 1..=total {
                let found = committee_risk(total.into(), adversary.into(), committee.into());
                let expected = enumerated(total, adversary, committee);
                assert!(
                    close(found.stall, expected.stall) && close(found.capture, expected.capture),
                    "{total} {adversary} {committee}: {found:?} {expected:?}"
                );
            }
        }
    }
}

#[test]
fn middling_risks_equal_exact_binomials() {
    let choose = |n: u128, k: u128| (0..k).fold(1u128, |product, i| product * (n - i) / (i + 1));
    // 60 seats, 20 of them the adversary's, committees of 15: all products stay below 2^127.
    let exact = |from: u128| (from..=15).map(|k| choose(20, k) * choose(40, 15 - k)).sum::<u128>();
    let all = exact(0);
    assert_eq!(all, choose(60, 15));
    let share = |part: u128| real(u64::try_from(part).expect("small")) / real(u64::try_from(all).expect("small"));
    let found = committee_risk(60, 20, 15);
    assert!(close(found.stall, share(exact(5))), "{found:?}");
    assert!(close(found.capture, share(exact(11))), "{found:?}");
}

#[test]
fn edges_are_certain() {
    let risk = |total, adversary, committee| {
        let found = committee_risk(total, adversary, committee);
        (found.stall, found.capture)
    };
    assert_eq!(risk(0, 0, 0), (0.0, 0.0));
    assert_eq!(risk(10, 0, 4), (0.0, 0.0));
    assert_eq!(risk(10, 10, 4), (1.0, 1.0));
    assert_eq!(risk(10, 99, 99), (1.0, 1.0));
    assert_eq!(risk(9, 3, 9), (1.0, 0.0), "everybody is in: exactly a third stalls");
    assert_eq!(risk(9, 6, 9), (1.0, 0.0), "exactly two thirds certify nothing");
    assert_eq!((adversary_seats(10, 250), adversary_seats(10, 0), adversary_seats(u64::MAX, 9999)), (3, 0, u64::MAX));
}

proptest! {
    #[test]
    fn more_adversary_is_never_less_risk(total in 1u64..5_000, committee in 1u64..500, adversary in 0u64..5_000) {
        let less = committee_risk(total, adversary, committee);
        let more = committee_risk(total, adversary + 1, committee);
        for (less, more) in [(less.stall, more.stall), (less.capture, more.capture)] {
            prop_assert!((0.0..=1.0 + 1e-12).contains(&less) && more >= less * (1.0 - 1e-9), "{less} {more}");
        }
    }
}

fn choose(n: u64, k: u64) -> BigInt {
    if k > n {
        return BigInt::from(0);
    }
    (0..k).fold(BigInt::from(1), |product, i| product * (n - i) / (i + 1))
}

/// All C(n, k) with k up to `most`, each from the one before it.
fn chooses(n: u64, most: u64) -> Vec<BigInt> {
    let mut row = vec![BigInt::from(1)];
    for k in 0..most {
        row.push(if k < n { &row[usize::try_from(k).unwrap()] * (n - k) / (k + 1) } else { BigInt::from(0) });
    }
    row
}

fn exactly(total: u64, adversary: u64, committee: u64) -> (BigRational, BigRational) {
    let (ours, others) = (chooses(adversary, committee), chooses(total - adversary, committee));
    let (mut stall, mut capture) = (BigInt::from(0), BigInt::from(0));
    for k in 0..=committee {
        let ways = &ours[usize::try_from(k).unwrap()] * &others[usize::try_from(committee - k).unwrap()];
        if 3 * k > 2 * committee {
            capture += &ways;
        }
        if 3 * k >= committee {
            stall += ways;
        }
    }
    let all = choose(total, committee);
    (BigRational::new(stall, all.clone()), BigRational::new(capture, all))
}

/// |found - exact| <= `units` * 2^-53 * exact, in rational arithmetic; below 10^-290 it is enough to be so small.
fn is_exact(found: f64, exact: &BigRational, units: u64) -> bool {
    let found = BigRational::from_float(found).unwrap();
    let tiny = BigRational::new(BigInt::from(1), BigInt::from(10).pow(290));
    if *exact < tiny {
        return found <= tiny
            && (found > BigRational::from_integer(0.into())) <= (*exact > BigRational::from_integer(0.into()));
    }
    let error = if found > *exact { &found - exact } else { exact - &found };
    error <= exact * BigRational::new(BigInt::from(units), BigInt::from(1u64 << 53))
}

#[test]
fn risks_equal_exact_rational_arithmetic_over_a_wide_grid() {
    let mut compared = 0;
    for total in [1u64, 2, 3, 5, 9, 16, 17, 40, 100, 128, 257, 1_000, 4_096] {
        let shares = [0, 1, 50, 100, 200, 250, 300, 333, 334, 400, 500, 667, 900, 1000];
        for adversary in shares.map(|share| adversary_seats(total, share)) {
            let sizes = [1u64, 2, 3, 4, 5, 6, 7, 16, 31, 64, 100, 128, 333, 512, 1_024];
            for committee in sizes.into_iter().filter(|size| *size <= total) {
                let found = committee_risk(total, adversary, committee);
                let (stall, capture) = exactly(total, adversary, committee);
                let units = 8 * committee;
                assert!(is_exact(found.stall, &stall, units), "{total} {adversary} {committee}: {found:?} {stall}");
                assert!(
                    is_exact(found.capture, &capture, units),
                    "{total} {adversary} {committee}: {found:?} {capture}"
                );
                compared += 2;
            }
        }
    }
    println!("{compared} probabilities equal exact rational arithmetic within 8 K 2^-53");
}

/// The number of ways to place the adversary's seats, among all seats, such that no committee is bad: the coefficient of
/// x^adversary in (sum over sound k of C(size, k) x^k)^committees (1 + x)^rest.
fn sound_exactly(total: u64, adversary: u64, size: u64, committees: u64, bad: fn(u64, u64) -> bool) -> BigRational {
    let one: Vec<BigInt> = (0..=size).map(|k| if bad(k, size) { BigInt::from(0) } else { choose(size, k) }).collect();
    let rest: Vec<BigInt> = chooses(total - committees * size, total - committees * size);
    let product = (0..committees).fold(rest, |product, _| {
        let mut longer = vec![BigInt::from(0); product.len() + one.len() - 1];
        for (i, left) in product.iter().enumerate() {
            for (j, right) in one.iter().enumerate() {
                longer[i + j] += left * right;
            }
        }
        longer
    });
    let sound = product.get(usize::try_from(adversary).unwrap()).cloned().unwrap_or_default();
    BigRational::new(sound, choose(total, adversary))
}

#[test]
fn the_risk_of_some_committee_equals_exact_rational_arithmetic() {
    let certain = BigRational::from_integer(1.into());
    for (total, size, committees) in [
        (4u64, 1u64, 4u64),
        (9, 3, 3),
        (16, 4, 4),
        (17, 4, 3),
        (40, 5, 8),
        (64, 16, 3),
        (120, 30, 4),
        (200, 64, 3),
        (256, 16, 16),
    ] {
        for share in [0, 30, 100, 250, 333, 500, 700, 1000] {
            let adversary = adversary_seats(total, share);
            let found = network_risk(total, adversary, size, committees);
            assert!(found.exact);
            let some = |bad| &certain - sound_exactly(total, adversary, size, committees, bad);
            let units = 64 * size * committees;
            let at = format!("{total} {adversary} {size} {committees}: {found:?}");
            assert!(is_exact(found.stall, &some(stalls), units), "{at} {}", some(stalls));
            assert!(is_exact(found.capture, &some(captures), units), "{at} {}", some(captures));
        }
    }
}

#[test]
fn what_is_too_large_to_sum_is_bounded_from_above() {
    // The same figures by the bound, where both can be had: never below.
    for share in [100u16, 200, 250, 300] {
        let (total, size, committees) = (1_024, 64, 16);
        let adversary = adversary_seats(total, share);
        let found = network_risk(total, adversary, size, committees);
        let one = committee_risk(total, adversary, size);
        assert!(found.exact && found.stall >= one.stall * (1.0 - 1e-9) && found.capture >= one.capture * (1.0 - 1e-9));
        assert!(found.stall <= (16.0 * one.stall).min(1.0) * (1.0 + 1e-9));
        assert!(found.capture <= (16.0 * one.capture).min(1.0) * (1.0 + 1e-9));
    }
    let large = network_risk(200_000, 50_000, 128, 1_024);
    let one = committee_risk(200_000, 50_000, 128);
    assert!(!large.exact && (large.capture - 1024.0 * one.capture).abs() < 1e-12 * large.capture && large.stall <= 1.0);
}

#[test]
fn a_monte_carlo_of_the_draw_lies_within_its_interval() {
    // Sixteen validators of one to five seats; the adversary's hold 12 (a quarter) or 24 (a half) of 48.
    let row: Row = (0..).map(ValidatorId).zip([4, 3, 5, 5, 3, 2, 2, 1, 1, 2, 4, 4, 3, 3, 5, 1]).collect();
    assert_eq!(row.iter().map(|(_, seats)| seats).sum::<u32>(), 48);
    for (hostile, seats) in [(3u32, 12u64), (7, 24)] {
        assert_eq!(row[..hostile as usize].iter().map(|(_, seats)| u64::from(*seats)).sum::<u64>(), seats);
        let mut counts = [0u32; 4];
        for number in 0..10_000u64 {
            let seed = Hash::of(&[b"monte carlo", &number.to_le_bytes()]);
            let drawn = Benches::first(&Row::new(), &row, 3, 12, None, seed);
            let held: Vec<u64> =
                drawn.shards.iter().map(|bench| bench.0.iter().filter(|id| id.0 < hostile).count() as u64).collect();
            let found = [
                stalls(held[0], 12),
                captures(held[0], 12),
                held.iter().any(|held| stalls(*held, 12)),
                held.iter().any(|held| captures(*held, 12)),
            ];
            counts.iter_mut().zip(found).for_each(|(count, found)| *count += u32::from(found));
        }
        let (one, some) = (committee_risk(48, seats, 12), network_risk(48, seats, 12, 3));
        for (count, p) in counts.into_iter().zip([one.stall, one.capture, some.stall, some.capture]) {
            // Four standard deviations of 10,000 draws, and one draw.
            let (found, interval) = (f64::from(count) / 1e4, 4.0 * (p * (1.0 - p) / 1e4).sqrt() + 1e-4);
            println!("{seats} of 48 seats hostile: drawn {found:.4}, computed {p:.4} +- {interval:.4}");
            assert!((found - p).abs() <= interval);
        }
    }
}

fn limit(adversary_per_mille: u16, capture: f64, stall: f64) -> RiskLimit {
    RiskLimit { adversary_per_mille, capture, stall }
}

#[test]
fn the_size_that_would_do_is_the_smallest_one() {
    let limit = limit(250, 1e-6, 1.0);
    let size = size_that_would_do(&limit, 2_000, 4).unwrap();
    let capture = |size: u32| network_risk(2_000, 500, size.into(), 4).capture;
    assert!(capture(size) <= 1e-6 && (1..size).all(|size| capture(size) > 1e-6), "{size}");
    println!("2,000 seats, a quarter hostile, four shards: {size} seats a committee for 1e-6");
    assert_eq!(size_that_would_do(&limit, 16, 4), None);
    assert_eq!(size_that_would_do(&limit, 2_000, 0), None, "no shard, no committee");
    let certain = RiskLimit { adversary_per_mille: 1000, capture: 1.0, stall: 1.0 };
    assert_eq!(size_that_would_do(&certain, 4, 4), Some(1));
}

#[test]
fn a_network_past_its_limit_is_refused_with_a_size_that_would_do() {
    let mut network = network_of(4, 4, &[(Role::Beacon, 1), (Role::Shard, 16)]);
    assert_eq!(check_risk(&network), Ok(()), "no limit");
    network.genesis.risk = Some(limit(250, 1.0, 1.0));
    assert_eq!(check_risk(&network), Ok(()));
    // A quarter of sixteen seats is four; unless one of four shards has two of them, each has one.
    network.genesis.risk = Some(limit(250, 1.0, 0.5));
    let refused = check_risk(&network).unwrap_err();
    let text = refused.to_string();
    assert_eq!((refused.would_do, refused.risk.exact), (None, true));
    let (size, seats) = refused.with_more.unwrap();
    assert!(text.contains(&format!("committee_seats = {size} would, with {seats} seats")), "{text}");
    // With so many seats it does.
    let mut larger = network_of(4, size, &[(Role::Beacon, 1), (Role::Shard, u32::try_from(seats).unwrap())]);
    larger.genesis.risk = network.genesis.risk;
    assert_eq!(check_risk(&larger), Ok(()));
    let mut sparse = network_of(4, 4, &[(Role::Beacon, 1), (Role::Shard, 4_000)]);
    sparse.genesis.risk = Some(limit(250, 1e-6, 1.0));
    let refused = check_risk(&sparse).unwrap_err();
    let size = refused.would_do.unwrap();
    let text = refused.to_string();
    assert!(text.contains(&format!("committee_seats = {size} is the smallest size that would do")), "{text}");
    println!("{text}");
    sparse.genesis.committee_seats = size;
    assert_eq!(check_risk(&sparse), Ok(()));
    sparse.genesis.risk = Some(limit(1000, 0.0, 0.0));
    let text = check_risk(&sparse).unwrap_err().to_string();
    assert!(text.contains("no committee size would do, with any number of seats"), "{text}");
}

#[test]
fn a_drawn_beacon_committee_past_the_limit_is_refused_too() {
    let mut network = network_of(1, 4, &[(Role::Beacon, 400), (Role::Shard, 4)]);
    let epochs = |beacon_seats| {
        let (slots, fallback_slots, rotation_per_mille, unbonding) = (8, 2, 250, 2);
        Some(Epochs { slots, fallback_slots, rotation_per_mille, beacon_seats, unbonding })
    };
    // All shard seats sit: a quarter of them is one of four, which neither stalls nor captures.
    network.genesis.risk = Some(limit(250, 1e-6, 1.0));
    network.genesis.epochs = epochs(None);
    assert_eq!(check_risk(&network), Ok(()), "all beacon validators sit");
    network.genesis.epochs = epochs(Some(4));
    let refused = check_risk(&network).unwrap_err();
    assert_eq!((refused.role, refused.seats, refused.committees, refused.size), (Role::Beacon, 400, 1, 4));
    assert_eq!(refused.risk.capture, committee_risk(400, 100, 4).capture);
    let (size, text) = (refused.would_do.unwrap(), refused.to_string());
    assert!(text.contains(&format!("epochs.beacon_seats = {size} is the smallest size that would do")), "{text}");
    println!("{text}");
    network.genesis.epochs = epochs(Some(size));
    assert_eq!(check_risk(&network), Ok(()));
    // As many places as there are seats: nothing is drawn, and nothing is left to chance.
    network.genesis.epochs = epochs(Some(400));
    network.genesis.risk = Some(limit(250, 0.0, 0.0));
    assert_eq!(check_risk(&network), Ok(()));
}

#[test]
fn a_small_testnet_shows_the_mechanism_and_not_security() {
    let risk = network_risk(16, 4, 4, 4);
    println!("16 seats, 4 hostile, four shards of four: {risk:?}");
    // Two of four seats are a third and more; one of four is not. All four shards have one with 4^4 / C(16, 4).
    assert!(is_exact(risk.stall, &BigRational::new((1820 - 256).into(), 1820.into()), 1 << 10));
}
