//! Committee risk: the hypergeometric probability, over seats, that a drawn committee is captured.

/// What an adversary that holds some of all seats can expect of one committee drawn from them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CommitteeRisk {
    /// The probability that it holds at least a third of the committee's seats: no certificate without it.
    pub stall: f64,
    /// The probability that it holds more than two thirds: it certifies alone.
    pub capture: f64,
}

/// The seats that an adversary with this share of all seats holds, rounded up.
pub fn adversary_seats(total_seats: u64, share_per_mille: u16) -> u64 {
    let seats = (u128::from(total_seats) * u128::from(share_per_mille.min(1000))).div_ceil(1000);
    u64::try_from(seats).expect("not more than all seats")
}

/// The risk of one committee of `committee` seats drawn without replacement from `total` seats of which `adversary` are
/// the adversary's. Arguments above `total` count as `total`; of an empty committee nobody holds a part: no risk.
///
/// Every outcome's weight follows from its neighbour's by an exact ratio, starting with 1 at the likeliest outcome, and a
/// probability is the sum of its outcomes over the sum of all. All terms are positive, so nothing cancels: the relative
/// error is below `8 * committee * 2^-53` (4,096 seats: 4e-12). Only + * / are used: every machine gets the same bits.
/// Terms 300 decimal orders below the likeliest count as 0.
pub fn committee_risk(total: u64, adversary: u64, committee: u64) -> CommitteeRisk {
    let (adversary, committee) = (adversary.min(total), committee.min(total));
    let honest = total - adversary;
    let (least, most) = (committee.saturating_sub(honest), adversary.min(committee));
    if committee == 0 {
        return CommitteeRisk { stall: 0.0, capture: 0.0 };
    }
    let mode = likeliest(total, adversary, committee).clamp(least, most);
    // weight(k + 1) / weight(k) of drawing exactly k of the adversary's seats.
    let ratio =
        |k: u64| (real(adversary - k) * real(committee - k)) / (real(k + 1) * real(honest - (committee - k - 1)));
    let mut sums = Sums { committee, all: 0.0, stall: 0.0, capture: 0.0 };
    sums.add(mode, 1.0);
    let mut weight = 1.0;
    for k in mode..most {
        weight *= ratio(k);
        sums.add(k + 1, weight);
    }
    weight = 1.0;
    for k in (least..mode).rev() {
        weight /= ratio(k);
        sums.add(k, weight);
    }
    CommitteeRisk { stall: sums.stall / sums.all, capture: sums.capture / sums.all }
}

fn likeliest(total: u64, adversary: u64, committee: u64) -> u64 {
    let mode = (u128::from(adversary) + 1) * (u128::from(committee) + 1) / (u128::from(total) + 2);
    u64::try_from(mode).unwrap_or(u64::MAX)
}

#[allow(clippy::cast_precision_loss, reason = "seats are far below 2^53, and a probability is a report, not a rule")]
fn real(seats: u64) -> f64 {
    seats as f64
}

struct Sums {
    committee: u64,
    all: f64,
    stall: f64,
    capture: f64,
}

impl Sums {
    fn add(&mut self, held: u64, weight: f64) {
        let (thrice, size) = (3 * u128::from(held), u128::from(self.committee));
        self.all += weight;
        if thrice >= size {
            self.stall += weight;
        }
        if thrice > 2 * size {
            self.capture += weight;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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
        assert_eq!(
            (adversary_seats(10, 250), adversary_seats(10, 0), adversary_seats(u64::MAX, 9999)),
            (3, 0, u64::MAX)
        );
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
}
