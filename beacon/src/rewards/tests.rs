//! Who took part, and what that earns.

#![allow(clippy::unwrap_used, reason = "tests")]
use super::*;
use crate::fixture::{SEATS, Step, World};
use kakera_chain::{
    BlockId, Committee,
    certificate::Finality,
    keys::{PublicKey, Signature},
    units::{Epoch, ShardId},
};
use proptest::prelude::*;

/// A committee of these validators and seats.
fn committee(members: &[(u32, u64)]) -> Seats {
    Seats {
        keys: vec![PublicKey([0; 32]); members.len()],
        validators: members.iter().map(|(id, _)| ValidatorId(*id)).collect(),
        committee: Committee::new(members.iter().map(|(_, seats)| *seats).collect()).unwrap(),
        signatures: Default::default(),
    }
}

/// A certificate of a beacon block, signed by these members; attendance believes what was verified before.
fn signed(height: u64, signers: &[u16]) -> Certificate {
    let (root, block) = (BlockId::default(), BlockId::default());
    let finality = Finality { chain: ChainId::Beacon, epoch: Epoch(0), root, height: Height(height), block };
    let signatures = signers.iter().map(|member| (Member(*member), Signature([0; 64]))).collect();
    Certificate { finality, signatures }
}

#[test]
fn a_seat_that_is_always_there_earns_its_reward_and_others_their_part_of_it() {
    let seats = committee(&[(3, 1), (5, 2), (8, 1)]);
    let mut attendance = Attendance::default();
    for height in 1..=7 {
        let signers: &[u16] = if height <= 3 { &[0, 1] } else { &[0] };
        assert!(attendance.certificate(&seats, &signed(height, signers)));
    }
    // Two seats for 3 of 7 rounds: 2 x 100 x 3 / 7 = 85.7.
    let earned: Vec<(u32, u64)> = attendance.earned(100).into_iter().map(|(id, sum)| (id.0, sum)).collect();
    assert_eq!(earned, [(3, 100), (5, 85)]);
    assert_eq!(attendance.silent(), [ValidatorId(8)]);
    let presence = attendance.presence(ValidatorId(5), ChainId::Beacon);
    assert_eq!(presence, Presence { opportunities: 7, participations: 3, seats: 6 });
    attendance.restart();
    assert!(attendance.earned(100).is_empty() && attendance.silent().is_empty());
    assert!(!attendance.certificate(&seats, &signed(7, &[2])), "one of the last epoch's");
}

#[test]
fn a_certificate_counts_once() {
    let seats = committee(&[(0, 1), (1, 1)]);
    let mut attendance = Attendance::default();
    assert!(attendance.certificate(&seats, &signed(4, &[0])));
    assert!(!attendance.certificate(&seats, &signed(4, &[0, 1])));
    assert!(!attendance.certificate(&seats, &signed(3, &[0, 1])));
    assert!(attendance.certificate(&seats, &signed(6, &[1])));
    assert_eq!(attendance.rounds(ChainId::Beacon), 2);
    assert_eq!(attendance.earned(10), BTreeMap::from([(ValidatorId(0), 5), (ValidatorId(1), 5)]));
}

#[test]
fn a_crosslink_counts_its_signers_and_its_proposers() {
    let mut world = World::new();
    let mut crosslink = world.extend(0, &[Step::default(), Step::default()]);
    let seats = world.seats(ShardId(0));
    crosslink.headers[1].proposer = Member(5);
    world.seal(&mut crosslink);
    crosslink.certificate = world.certificate(&crosslink, SEATS - 2);
    let mut attendance = Attendance::default();
    attendance.crosslink(&seats, &crosslink);
    let there =
        |member: usize| attendance.presence(seats.validators[member], ChainId::Shard(ShardId(0))).participations;
    assert_eq!((0..6).map(there).collect::<Vec<_>>(), [1, 1, 1, 1, 0, 1], "member 4 neither signed nor proposed");
}

#[test]
fn who_was_seldom_asked_is_not_silent_and_neither_is_a_proposer() {
    let seats = committee(&[(0, 1), (1, 1), (2, 1)]);
    let mut attendance = Attendance::default();
    for height in 1..Attendance::ENOUGH_ROUNDS {
        attendance.certificate(&seats, &signed(height, &[0]));
    }
    assert!(attendance.silent().is_empty());
    attendance.certificate(&seats, &signed(Attendance::ENOUGH_ROUNDS, &[0]));
    assert_eq!(attendance.silent(), [ValidatorId(1), ValidatorId(2)]);
    attendance.proposal(ValidatorId(2), false);
    assert_eq!(attendance.silent(), [ValidatorId(1)]);
}

#[test]
fn proposals_without_a_reveal_cost_their_part() {
    let seats = committee(&[(0, 1), (1, 1)]);
    let mut attendance = Attendance::default();
    attendance.certificate(&seats, &signed(1, &[0, 1]));
    for reveals in [true, false, true] {
        attendance.proposal(ValidatorId(0), reveals);
    }
    assert_eq!(attendance.earned(100), BTreeMap::from([(ValidatorId(0), 66), (ValidatorId(1), 100)]));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// However members come, go and sign: a committee earns at most its seats' rewards, each validator exactly its
    /// rational part rounded down, and all of it where all are always there.
    #[test]
    fn a_committee_earns_at_most_what_its_seats_may(
        rounds in proptest::collection::vec((proptest::collection::vec(1u64..5, 3), any::<u8>()), 1..20),
        reward in 0u64..1 << 48,
    ) {
        let total = 6u64;
        let mut attendance = Attendance::default();
        let mut sums = [0u128; 3];
        for (height, (weights, signers)) in (1..).zip(&rounds) {
            // Three members whose seats change from round to round, and sum to the same.
            let first = weights[0].min(4);
            let second = weights[1].min(total - first - 1);
            let held = [first, second, total - first - second];
            let seats = committee(&[(0, held[0]), (1, held[1]), (2, held[2])]);
            let signers: Vec<u16> = (0..3).filter(|member| signers >> member & 1 == 1).collect();
            attendance.certificate(&seats, &signed(height, &signers));
            signers.iter().for_each(|member| sums[usize::from(*member)] += u128::from(held[usize::from(*member)]));
        }
        let earned = attendance.earned(reward);
        prop_assert!(earned.values().map(|sum| u128::from(*sum)).sum::<u128>() <= u128::from(reward) * u128::from(total));
        for (id, sum) in (0..).map(ValidatorId).zip(sums) {
            let exact = sum * u128::from(reward);
            let found = u128::from(earned.get(&id).copied().unwrap_or(0)) * rounds.len() as u128;
            prop_assert!(found <= exact && exact - found < rounds.len() as u128);
        }
    }
}
