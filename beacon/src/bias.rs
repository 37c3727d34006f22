//! What the last revealers of an epoch can buy: those who reveal last, if they are one, know every mix that revealing or
//! withholding each of their k links leads to, and choose among 2^k draws.
//!
//! For any event of probability p in one draw, the best of 2^k draws has it with probability at most `2^k p` (each of
//! the draws taken alone is a fair one), and `1 - (1 - p)^(2^k)` if they are independent, as different mixes are. The
//! experiments here are functions of their settings and a seed: real links are mixed, and the real draw is made.

use crate::{
    draw::{Benches, Row, draw_seed},
    randomness::Mix,
    risk::{captures, outcomes, stalls},
};
use kakera_chain::{
    hash::Hash,
    units::{Epoch, ValidatorId},
};
use std::collections::BTreeSet;

/// Validators of one seat each, some of them the adversary's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Shards.
    pub shards: u16,
    /// Seats a committee.
    pub size: u32,
    /// Seats of shard validators; at least `shards * size`.
    pub seats: u32,
    /// How many of them are the adversary's.
    pub adversary: u32,
}

/// How many of an epoch's last revealers are the adversary's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LastRevealers {
    /// So many in every epoch: the worst case.
    Always(u32),
    /// As many as chance gives it when each proposer is its with this probability in thousandths: most often none.
    Share(u16),
}

/// Choices that are tried at most: 2^8.
const MOST_IN_ROTATIONS: u32 = 8;

/// What k last revealers attain when they want as many seats as possible in one shard.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bias {
    /// How many links they may withhold: k.
    pub revealers: u32,
    /// Their seats in the shard of their choice, on average.
    pub seats: f64,
    /// What the best of 2^k independent draws gives: the exact mean of the greatest of 2^k hypergeometric numbers.
    pub seats_expected: f64,
    /// How often they hold a third of it.
    pub stall: f64,
    /// `1 - (1 - p)^(2^k)`, where p is the exact probability in one draw.
    pub stall_expected: f64,
    /// `2^k p`, at most 1: what no dependence between the draws can exceed.
    pub stall_bound: f64,
    /// How often they hold more than two thirds of it.
    pub capture: f64,
    /// `2^k p`, at most 1.
    pub capture_bound: f64,
    /// How often they hold a third of some shard, when that is what they want.
    pub some_stall: f64,
}

/// Measures first draws in `trials` epochs, for 0 to `revealers` last revealers (at most 16): with k of them the choice
/// is among the first 2^k of the same draws.
pub fn measure(setting: &Setting, revealers: u32, trials: u32, seed: u64) -> Vec<Bias> {
    let revealers = revealers.min(16);
    let mut sums = vec![[0u64; 4]; usize::try_from(revealers).expect("at most 16") + 1];
    for trial in 0..trials {
        let (mut best, mut best_of_some) = (0, 0);
        let mut level = 0;
        for choice in 0..1u32 << revealers {
            let mix = mixed(seed, trial, Epoch(0), revealers, choice);
            let drawn = setting.first(draw_seed(mix.0, Epoch(2)));
            best = best.max(setting.held(&drawn, 0));
            let everywhere = (0..drawn.shards.len()).map(|shard| setting.held(&drawn, shard));
            best_of_some = best_of_some.max(everywhere.max().unwrap_or(0));
            if choice + 1 == 1 << level {
                let size = u64::from(setting.size);
                let found =
                    [best, stalls(best, size).into(), captures(best, size).into(), stalls(best_of_some, size).into()];
                sums[level].iter_mut().zip(found).for_each(|(sum, found)| *sum += found);
                level += 1;
            }
        }
    }
    let mean = |sum: u64| real(sum) / f64::from(trials.max(1));
    (0..)
        .zip(sums)
        .map(|(k, [seats, stall, capture, some])| setting.bias(k, [seats, stall, capture, some].map(mean)))
        .collect()
}

/// The adversary's seats in shard 0, averaged over the last half of `epochs` and over `trials` chains of rotations, when
/// in each epoch it takes the draw that gives it the most seats there, among those that its last revealers (at most 8)
/// can choose from.
pub fn measure_rotations(
    setting: &Setting,
    last: LastRevealers,
    per_mille: u16,
    epochs: u32,
    trials: u32,
    seed: u64,
) -> f64 {
    let row = setting.row();
    let (mut sum, mut count) = (0u64, 0u32);
    for trial in 0..trials {
        let mut benches = setting.first(draw_seed(mixed(seed, trial, Epoch(0), 0, 0).0, Epoch(0)));
        for epoch in (1..=u64::from(epochs)).map(Epoch) {
            let revealers = last.in_epoch(seed, trial, epoch).min(MOST_IN_ROTATIONS);
            let draws = (0..1u32 << revealers).map(|choice| {
                let mix = mixed(seed, trial, epoch, revealers, choice);
                benches.rotate(&Row::new(), &row, &BTreeSet::new(), per_mille, None, draw_seed(mix.0, epoch))
            });
            benches = draws.max_by_key(|drawn| setting.held(drawn, 0)).expect("one choice at least");
            if 2 * epoch.0 > u64::from(epochs) {
                sum += setting.held(&benches, 0);
                count += 1;
            }
        }
    }
    real(sum) / f64::from(count.max(1))
}

impl LastRevealers {
    fn in_epoch(self, seed: u64, trial: u32, epoch: Epoch) -> u32 {
        let share = match self {
            LastRevealers::Always(count) => return count,
            LastRevealers::Share(share) => u64::from(share),
        };
        let is_its = |slot: &u32| {
            let trial = u64::from(trial).to_le_bytes();
            let drawn = Hash::of(&[b"slot", &seed.to_le_bytes(), &trial, &epoch.0.to_le_bytes(), &slot.to_le_bytes()]);
            u64::from_le_bytes(drawn.0[..8].try_into().expect("eight of thirty-two bytes")) % 1000 < share
        };
        let run = (0..MOST_IN_ROTATIONS).take_while(is_its).count();
        u32::try_from(run).expect("at most 8")
    }
}

/// The mix after an epoch in which the honest revealed, and the last ones those links whose bit is set in `choice`.
fn mixed(seed: u64, trial: u32, epoch: Epoch, revealers: u32, choice: u32) -> Mix {
    let number = [seed.to_le_bytes(), u64::from(trial).to_le_bytes(), epoch.0.to_le_bytes()].concat();
    let link = |name: &[u8], which: u32| Hash::of(&[name, &number, &which.to_le_bytes()]);
    let honest = Mix::genesis(link(b"honest", 0)).with(ValidatorId(0), link(b"honest", 1));
    (0..revealers)
        .filter(|last| choice >> last & 1 == 1)
        .fold(honest, |mix, last| mix.with(ValidatorId(last + 1), link(b"last", last)))
}

impl Setting {
    fn row(&self) -> Row {
        (0..self.seats).map(|id| (ValidatorId(id), 1)).collect()
    }

    fn first(&self, seed: Hash) -> Benches {
        Benches::first(&Row::new(), &self.row(), self.shards, self.size, None, seed)
    }

    /// The adversary's seats in a shard: the first ones of the row are its.
    fn held(&self, drawn: &Benches, shard: usize) -> u64 {
        let held = drawn.shards[shard].0.iter().filter(|holder| holder.0 < self.adversary).count();
        u64::try_from(held).expect("a count")
    }

    fn bias(&self, revealers: u32, [seats, stall, capture, some_stall]: [f64; 4]) -> Bias {
        let draws = 1u32 << revealers;
        let size = u64::from(self.size);
        let mut held = outcomes(self.seats.into(), self.adversary.into(), size);
        held.sort_by_key(|(held, _)| *held);
        let all: f64 = held.iter().map(|(_, weight)| weight).sum();
        let part = |wanted: &dyn Fn(u64) -> bool| {
            held.iter().filter(|(held, _)| wanted(*held)).map(|(_, weight)| weight).sum::<f64>() / all
        };
        // The mean of a number is the sum, over all n above zero, of the probability that it is at least n.
        let none_of = |p: f64| (0..draws).fold(1.0, |none, _| none * (1.0 - p));
        let seats_expected = (1..=size).map(|least| 1.0 - none_of(part(&|held| held >= least))).sum();
        let (p_stall, p_capture) = (part(&|held| stalls(held, size)), part(&|held| captures(held, size)));
        Bias {
            revealers,
            seats,
            seats_expected,
            stall,
            stall_expected: 1.0 - none_of(p_stall),
            stall_bound: (f64::from(draws) * p_stall).min(1.0),
            capture,
            capture_bound: (f64::from(draws) * p_capture).min(1.0),
            some_stall,
        }
    }
}

#[allow(clippy::cast_precision_loss, reason = "counts far below 2^53")]
fn real(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTING: Setting = Setting { shards: 4, size: 16, seats: 80, adversary: 20 };
    const TRIALS: u32 = 1_000;

    #[test]
    fn one_to_four_last_revealers_stay_within_the_best_of_two_to_the_k_draws() {
        let measured = measure(&SETTING, 4, TRIALS, 1);
        assert_eq!(measured.len(), 5);
        for bias in &measured {
            println!(
                "k = {}: {:.2} seats (best of {} draws: {:.2}); a third {:.3} ({:.3}, bound {:.3}); captured {:.4} (bound {:.4}); a third of some shard {:.3}",
                bias.revealers,
                bias.seats,
                1 << bias.revealers,
                bias.seats_expected,
                bias.stall,
                bias.stall_expected,
                bias.stall_bound,
                bias.capture,
                bias.capture_bound,
                bias.some_stall
            );
            // Four standard deviations of 1,000 trials; a seat count deviates by less than 1.8.
            let deviation = |p: f64| 4.0 * (p * (1.0 - p) / f64::from(TRIALS)).sqrt();
            assert!((bias.seats - bias.seats_expected).abs() < 4.0 * 1.8 / f64::from(TRIALS).sqrt());
            assert!((bias.stall - bias.stall_expected).abs() < deviation(bias.stall_expected));
            assert!(bias.stall <= bias.stall_bound + deviation(bias.stall_bound.min(0.5)));
            assert!(bias.capture <= bias.capture_bound + deviation(bias.capture_bound.min(0.5)));
            assert!(bias.some_stall >= bias.stall);
        }
        assert!(measured.windows(2).all(|pair| pair[0].seats < pair[1].seats), "each link is worth something");
    }

    #[test]
    fn rotation_keeps_what_the_last_revealers_won_for_some_epochs() {
        let mut measured = Vec::new();
        for revealers in 0..=4 {
            let seats = measure_rotations(&SETTING, LastRevealers::Always(revealers), 250, 24, 12, 1);
            println!("k = {revealers} in every epoch: {seats:.2} of 16 seats, a quarter rotated an epoch");
            measured.push(seats);
        }
        assert!((measured[0] - 4.0).abs() < 0.6, "without bias a quarter");
        assert!(measured.windows(2).all(|pair| pair[0] < pair[1]), "{measured:?}");
        assert!(measured[4] < 12.0, "{measured:?}");
        // A quarter of the proposers: none is the last one in three epochs of four.
        let seats = measure_rotations(&SETTING, LastRevealers::Share(250), 250, 24, 60, 1);
        println!("as many as a quarter of the proposers gives: {seats:.2} of 16 seats");
        assert!(measured[0] < seats && seats < measured[1], "{seats}");
    }
}
