//! Numbers of rankings, ranked pairs, and the index.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

fn order(items: usize) -> Order {
    Order::new((0..items).map(|item| format!("item {item}"))).unwrap()
}

fn ranking(items: &[u8]) -> Ranking {
    Ranking::new(items).unwrap()
}

fn orders(items: usize) -> impl Strategy<Value = Vec<u8>> {
    let all: Vec<u8> = (0..items as u8).collect();
    Just(all).prop_shuffle()
}

fn winner(protocol: &mut Order, votes: &[(&[u8], u64)]) -> Vec<u8> {
    let votes = votes.iter().map(|(items, weight)| (protocol.admit(&ranking(items)), *weight)).collect();
    let value = protocol.estimate(protocol.root(), votes);
    protocol.candidate(value).unwrap().items().to_vec()
}

#[test]
fn numbers_count_all_rankings_of_five_items() {
    let numbers = Numbers::new(5);
    let mut seen = BTreeMap::new();
    for value in 1..=326 {
        let ranking = numbers.ranking(value).unwrap();
        assert_eq!(numbers.number(&ranking), Some(value));
        assert_eq!(numbers.length(value), Some(ranking.items().len()));
        seen.insert(ranking, value);
    }
    assert_eq!(seen.len(), 326, "1 + 5 + 20 + 60 + 120 + 120");
    assert_eq!((numbers.ranking(0), numbers.ranking(327)), (None, None));
    for (long, value) in &seen {
        for length in 0..=5 {
            let short = long.items().get(..length).map(|items| seen[&ranking(items)]);
            assert_eq!(numbers.beginning(*value, length), short);
        }
    }
}

#[test]
fn numbers_of_twelve_items_fit() {
    let numbers = Numbers::new(ITEMS);
    let last: Vec<u8> = (0..ITEMS as u8).rev().collect();
    assert_eq!(numbers.number(&ranking(&last)), Some(1_302_061_345));
    assert_eq!(numbers.ranking(1_302_061_345), Some(ranking(&last)));
    assert_eq!(numbers.ranking(1_302_061_346), None);
    assert_eq!(numbers.number(&ranking(&[])), Some(UNDECIDED));
    assert_eq!(Numbers::new(3).number(&ranking(&[3])), None);
}

#[test]
fn the_majority_wins_where_the_sum_of_positions_fails_it() {
    let votes: [(&[u8], u64); 2] = [(&[0, 1, 2], 3), (&[1, 2, 0], 2)];
    let mut sums = [0; 3];
    for (items, weight) in votes {
        (0..).zip(items).for_each(|(place, item): (u64, _)| sums[usize::from(*item)] += weight * place);
    }
    assert_eq!(sums, [4, 3, 8], "the sum puts item 1 first");
    assert_eq!(winner(&mut order(3), &votes), [0, 1, 2]);
}

#[test]
fn cycles_are_cut_at_their_lightest_pair_and_ties_go_to_lower_items() {
    // 0 before 1: 7 of 9; 1 before 2: 6; 2 before 0: 5.
    let cycle: [(&[u8], u64); 3] = [(&[0, 1, 2], 4), (&[1, 2, 0], 2), (&[2, 0, 1], 3)];
    assert_eq!(winner(&mut order(3), &cycle), [0, 1, 2]);
    let even: [(&[u8], u64); 3] = [(&[0, 1, 2], 1), (&[1, 2, 0], 1), (&[2, 0, 1], 1)];
    assert_eq!(winner(&mut order(3), &even), [0, 1, 2]);
    let tie: [(&[u8], u64); 2] = [(&[2, 1, 0], 5), (&[0, 1, 2], 5)];
    assert_eq!(winner(&mut order(3), &tie), [0, 1, 2]);
    assert!(winner(&mut order(3), &[]).is_empty());
    assert_eq!(winner(&mut order(1), &[(&[0], 1)]), [0]);
}

#[test]
fn items_and_rankings_are_refused_with_a_reason() {
    assert_eq!(Order::new([""; 0]).unwrap_err(), InvalidItems::None);
    assert_eq!(Order::new((0..13).map(|i| i.to_string())).unwrap_err(), InvalidItems::TooMany { items: 13 });
    assert_eq!(Order::new(["a", "b", "a"]).unwrap_err(), InvalidItems::Twice { name: "a".into() });
    assert_eq!(Ranking::new(&[12]), Err(InvalidRanking::NoSuchItem { item: 12 }));
    assert_eq!(Ranking::new(&[3, 3]), Err(InvalidRanking::Twice { item: 3 }));
    assert_eq!(Ranking::new(&[0; 300]), Err(InvalidRanking::Twice { item: 0 }));
    assert_eq!(serde_json::from_str::<Ranking>("[2,0]").unwrap(), ranking(&[2, 0]));
    assert!(serde_json::from_str::<Ranking>("[2,2]").is_err());
    let abc = Order::new(["a", "b", "c"]).unwrap();
    assert_eq!(abc.ranking(&["c", "a"]), Some(ranking(&[2, 0])));
    assert_eq!((abc.ranking(&["d"]), abc.ranking(&["a", "a"])), (None, None));
    assert_eq!(abc.names(&ranking(&[2, 9, 0])), ["c", "a"]);
}

#[test]
fn an_estimate_must_be_the_whole_order_that_follows() {
    let protocol = order(3);
    let number = |items: &[u8]| protocol.value(&ranking(items)).unwrap();
    let judge = |follows, items: &[u8]| {
        let estimate = ranking(items);
        let claim = Claim { sender: crate::Member(0), slot: Slot(0), estimate: &estimate, follows };
        protocol.judge(&claim)
    };
    assert_eq!(judge(number(&[2, 1, 0]), &[2, 1, 0]), Ok(()));
    assert_eq!(judge(number(&[2, 1, 0]), &[2, 0, 1]), Err(InvalidEstimate::DoesNotFollow));
    assert_eq!(judge(UNDECIDED, &[2, 0, 1]), Ok(()));
    for other in [&[2, 0][..], &[], &[0, 1, 3], &[0, 1, 2, 3]] {
        assert_eq!(judge(UNDECIDED, other), Err(InvalidEstimate::OtherItems));
    }
}

#[test]
fn an_order_is_finalized_from_its_top() {
    let protocol = order(3);
    let number = |items: &[u8]| protocol.value(&ranking(items)).unwrap();
    let whole = number(&[2, 0, 1]);
    assert_eq!(protocol.toward(UNDECIDED, whole), Some(number(&[2])));
    assert_eq!(protocol.toward(number(&[2]), whole), Some(number(&[2, 0])));
    assert_eq!(protocol.toward(number(&[2, 0]), whole), Some(whole));
    assert_eq!(protocol.toward(whole, whole), None);
    assert_eq!(protocol.toward(number(&[0]), whole), None);
    assert_eq!(protocol.toward(number(&[2]), UNDECIDED), None);
    assert!(protocol.agrees(whole, number(&[2])) && !protocol.agrees(number(&[2]), whole));
    assert!(!protocol.agrees(whole, 0) && !protocol.agrees(0, UNDECIDED));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_index_is_the_estimator_after_every_move(
        weights in prop::collection::vec(0u64..6, 1..7),
        moves in prop::collection::vec((any::<prop::sample::Index>(), prop::option::of(orders(4))), 1..50),
        heavy in any::<bool>(),
    ) {
        let scale = if heavy { u64::MAX / 42 } else { 1 };
        let mut protocol = order(4);
        let mut votes: Vec<Option<Value>> = vec![None; weights.len()];
        for (who, to) in moves {
            let member = who.index(weights.len());
            let to = to.map(|to| protocol.admit(&ranking(&to)));
            protocol.shift(votes[member], to, weights[member] * scale);
            votes[member] = to;
            let held = votes.iter().zip(&weights).filter_map(|(vote, weight)| Some(((*vote)?, weight * scale)));
            prop_assert_eq!(protocol.head(), protocol.estimate(protocol.root(), held.collect()));
        }
    }

    #[test]
    fn a_majority_for_a_beginning_wins_whatever_comes_after_it(
        beginning in orders(6),
        length in 1usize..=6,
        tails in prop::collection::vec(any::<u64>(), 1..6),
        others in prop::collection::vec((orders(6), 1u64..5), 0..6),
        silent in 0u64..4,
    ) {
        let mut protocol = order(6);
        let against: u64 = others.iter().map(|other| other.1).sum::<u64>() + silent;
        // Every tail has a vote; the last brings the weight just above half.
        let lone = tails.len() as u64 - 1;
        let last = (against + 1).saturating_sub(lone).max(1);
        let mut votes: Vec<(Value, u64)> = Vec::new();
        for (place, seed) in (1..).zip(&tails) {
            let mut items = beginning.clone();
            items[length..].rotate_left((*seed % 6) as usize % (6 - length).max(1));
            votes.push((protocol.admit(&ranking(&items)), if place == tails.len() { last } else { 1 }));
        }
        votes.extend(others.iter().map(|(items, weight)| (protocol.admit(&ranking(items)), *weight)));
        let wanted = protocol.value(&ranking(&beginning[..length])).unwrap();
        let estimate = protocol.estimate(protocol.root(), votes);
        prop_assert!(protocol.agrees(estimate, wanted));
    }
}
