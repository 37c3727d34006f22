//! Leader schedule: smooth weighted round robin over a seeded permutation.

use crate::hash::{Hash, Tag};
use kakera_cbc::{Committee, Member};
use std::collections::BTreeMap;

/// The order in which members lead slots, repeated for ever: slot `s` belongs to entry `s mod len`.
///
/// In each cycle of W / gcd(weights) slots a member leads in proportion to its weight, as evenly spread as the smooth
/// weighted round robin (as in nginx) does it, so a member below half of the weight never leads twice in a row. Which of
/// equals goes first is drawn from the seed. Weights are scaled down so that a cycle has at most 65,536 slots;
/// a member whose scaled weight is zero still leads once.
pub fn leader_cycle(committee: &Committee, seed: Hash) -> Vec<Member> {
    const LONGEST: u64 = 65_536;
    let members: Vec<Member> = (0..committee.len()).map(|n| Member(u16::try_from(n).expect("bounded"))).collect();
    let divisor = members.iter().map(|member| committee.weight(*member)).fold(0, gcd).max(1);
    let excess = (committee.total() / divisor).div_ceil(LONGEST).max(1);
    let mut order: Vec<(Hash, Member, i64)> = members
        .into_iter()
        .filter(|member| committee.weight(*member) > 0)
        .map(|member| {
            let weight = (committee.weight(member) / divisor / excess).max(1);
            let place = Hash::of(&[Tag::SEED.bytes(), &seed.0, b"leader", &member.0.to_le_bytes()]);
            (place, member, i64::try_from(weight).expect("scaled below 65,537"))
        })
        .collect();
    order.sort();
    let total: i64 = order.iter().map(|(_, _, weight)| weight).sum();
    let mut credit = vec![0i64; order.len()];
    let mut cycle: Vec<Member> = (0..total)
        .map(|_| {
            for (credit, (_, _, weight)) in credit.iter_mut().zip(&order) {
                *credit += weight;
            }
            let next = (0..order.len()).rev().max_by_key(|index| credit[*index]).expect("some member has weight");
            credit[next] -= total;
            order[next].1
        })
        .collect();
    part_repeats(&mut cycle);
    cycle
}

/// The round robin alone lets a member just below half of the weight lead twice in a row, or last and first. Each such
/// turn moves to the nearest later place between two turns of others; below half of the slots there always is one. Of
/// who has half or more, turns must stand side by side, and stay as they are.
fn part_repeats(cycle: &mut Vec<Member>) {
    let len = cycle.len();
    let mut turns = BTreeMap::<Member, usize>::new();
    for member in &*cycle {
        *turns.entry(*member).or_default() += 1;
    }
    let mut at = 0;
    while at < len {
        let (member, next) = (cycle[at], (at + 1) % len);
        if cycle[next] != member || 2 * turns[&member] >= len {
            at += 1;
            continue;
        }
        let place = (2..len)
            .map(|step| (at + step) % len)
            .find(|place| cycle[*place] != member && cycle[(place + 1) % len] != member);
        match place {
            Some(place) if len > 2 => {
                cycle.remove(next);
                let place = if place > next { place } else { place + 1 };
                cycle.insert(place, member);
                at = 0;
            }
            _ => at += 1,
        }
    }
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use proptest::prelude::*;

    /// Moving the turns of a member that has nearly all of them took billions of steps.
    #[test]
    fn one_member_with_nearly_all_weight_makes_no_endless_work() {
        let committee = Committee::new(vec![1, 1, 1, 65_535]).unwrap();
        let cycle = leader_cycle(&committee, Hash([1; 32]));
        assert_eq!(cycle.iter().filter(|member| member.index() == 0).count(), 1);
        assert!(cycle.len() > 32_000);
    }

    proptest! {
        #[test]
        fn each_leads_in_proportion_and_none_below_half_twice_in_a_row(
            weights in proptest::collection::vec(0u64..9, 1..12), seed in any::<[u8; 32]>()
        ) {
            prop_assume!(weights.iter().sum::<u64>() > 0);
            let committee = Committee::new(weights.clone()).unwrap();
            let cycle = leader_cycle(&committee, Hash(seed));
            let divisor = weights.iter().copied().fold(0, gcd);
            prop_assert_eq!(cycle.len() as u64, committee.total() / divisor);
            for (index, weight) in weights.iter().enumerate() {
                let led = cycle.iter().filter(|member| member.index() == index).count() as u64;
                prop_assert_eq!(led, weight / divisor);
                if 2 * weight < committee.total() {
                    let twice = (0..cycle.len()).any(|at| {
                        cycle[at].index() == index && cycle[(at + 1) % cycle.len()].index() == index
                    });
                    prop_assert!(!twice, "{cycle:?}");
                }
            }
        }
    }
}
