//! The median, its index, and what ranges mean.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::*;
use proptest::prelude::*;

fn integers() -> impl Strategy<Value = i64> {
    prop_oneof![-3i64..4, any::<i64>(), Just(i64::MIN), Just(i64::MAX)]
}

#[test]
fn the_median_is_the_lower_one() {
    assert_eq!(median::of(vec![]), None);
    assert_eq!(median::of(vec![(7, 0)]), None);
    assert_eq!(median::of(vec![(4, 1), (1, 1)]), Some(1));
    assert_eq!(median::of(vec![(9, 1), (1, 1), (4, 1)]), Some(4));
    assert_eq!(median::of(vec![(9, 3), (1, 1), (4, 1)]), Some(9));
    assert_eq!(median::of(vec![(i64::MAX, u64::MAX / 2 + 1), (i64::MIN, u64::MAX / 2)]), Some(i64::MAX));
}

#[test]
fn declared_ranges_come_before_the_integer_widest_first() {
    let range = |low, high| Range::between(low, high).unwrap();
    let declared = [range(10, 19), range(0, 99), Range::at_least(50), Range::ALL, range(90, 120)];
    let mut integer = Integer::new(&declared).unwrap();
    let way = |integer: &Integer, to: Value| {
        let mut at = integer.root();
        let mut way = Vec::new();
        while let Some(next) = integer.toward(at, to) {
            way.push(integer.candidate(next).unwrap());
            at = next;
        }
        way
    };
    let twelve = integer.admit(&12);
    assert_eq!(way(&integer, twelve), [range(0, 99), range(10, 19), Range::exactly(12)]);
    let ninety = integer.admit(&95);
    assert_eq!(way(&integer, ninety), [Range::at_least(50), range(90, 120), Range::exactly(95)]);
    assert_eq!(way(&integer, integer.root()), []);
    assert_eq!(integer.toward(twelve, ninety), None);
    assert_eq!(integer.value(&range(3, 4)), None);
    assert_eq!(integer.value(&Range::ALL), Some(integer.root()));
}

#[test]
fn ranges_are_refused_when_empty_or_too_many() {
    assert_eq!(Range::between(2, 1), Err(InvalidRange::Empty { low: 2, high: 1 }));
    assert_eq!(Range::try_from((5, 4)).unwrap_err(), InvalidRange::Empty { low: 5, high: 4 });
    let many = vec![Range::exactly(0); RANGES + 1];
    assert_eq!(Integer::new(&many).unwrap_err(), InvalidRange::TooMany { ranges: RANGES + 1 });
    assert_eq!(serde_json::from_str::<Range>("[1,2]").unwrap(), Range::between(1, 2).unwrap());
    assert!(serde_json::from_str::<Range>("[2,1]").is_err());
}

#[test]
fn an_estimate_must_be_the_median_unless_there_is_none() {
    let mut integer = Integer::new(&[]).unwrap();
    let three = integer.admit(&3);
    let judge = |follows, estimate: i64| {
        let claim = Claim { sender: crate::Member(0), slot: Slot(0), estimate: &estimate, follows };
        integer.judge(&claim)
    };
    assert_eq!(judge(three, 3), Ok(()));
    assert_eq!(judge(three, 4), Err(InvalidEstimate::DoesNotFollow));
    assert_eq!(judge(integer.root(), i64::MIN), Ok(()));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_index_is_the_estimator_after_every_move(
        weights in prop::collection::vec(0u64..6, 1..7),
        moves in prop::collection::vec((any::<prop::sample::Index>(), prop::option::of(integers())), 1..60),
        heavy in any::<bool>(),
    ) {
        let scale = if heavy { u64::MAX / 42 } else { 1 };
        let mut integer = Integer::new(&[]).unwrap();
        let mut votes: Vec<Option<Value>> = vec![None; weights.len()];
        for (who, to) in moves {
            let member = who.index(weights.len());
            let to = to.map(|to| integer.admit(&to));
            integer.shift(votes[member], to, weights[member] * scale);
            votes[member] = to;
            let held = votes.iter().zip(&weights).filter_map(|(vote, weight)| Some(((*vote)?, weight * scale)));
            prop_assert_eq!(integer.head(), integer.estimate(integer.root(), held.collect()));
        }
    }

    #[test]
    fn half_of_the_votes_lie_on_each_side_of_the_median(
        votes in prop::collection::vec((integers(), 1u64..9), 1..12),
    ) {
        let median = median::of(votes.clone()).unwrap();
        let sum = |keep: &dyn Fn(i64) -> bool| votes.iter().filter(|v| keep(v.0)).map(|v| v.1).sum::<u64>();
        let total = sum(&|_| true);
        prop_assert!(votes.iter().any(|vote| vote.0 == median));
        prop_assert!(sum(&|x| x < median) * 2 < total, "the least integer that qualifies");
        prop_assert!(sum(&|x| x <= median) * 2 >= total);
    }
}
