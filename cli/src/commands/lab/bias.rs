//! `kakera lab bias`: what the last revealers of random numbers gain by withholding theirs.

use crate::{
    args::BiasArgs,
    failure::{Failure, Result},
    output::{Output, table},
};
use kakera_beacon::{
    adversary_seats,
    bias::{Bias, LastRevealers, Setting, measure, measure_rotations},
};
use serde_json::{Value, json};

/// Epochs of a chain of rotations.
const EPOCHS: u32 = 24;
/// Draws of a measurement at most: some tens of seconds with committees of 16.
const MOST_DRAWS: u64 = 1 << 18;

/// Prints a row for each number of last revealers.
pub(super) fn run(args: &BiasArgs, output: Output) -> Result<()> {
    let needed = u64::from(args.shards) * u64::from(args.committee);
    if needed > args.seats.into() {
        return Err(Failure::Usage(format!(
            "{} committees of {} need {needed} seats, and there are {}; give more --seats",
            args.shards, args.committee, args.seats
        )));
    }
    let draws = u64::from(args.trials) << args.revealers;
    if draws > MOST_DRAWS {
        return Err(Failure::Usage(format!(
            "{} trials of 2^{} draws are {draws}, and at most {MOST_DRAWS} are made; give fewer --trials or --revealers",
            args.trials, args.revealers
        )));
    }
    let adversary = u32::try_from(adversary_seats(args.seats.into(), args.adversary)).unwrap_or(args.seats);
    let setting = Setting { shards: args.shards, size: args.committee, seats: args.seats, adversary };
    let measured = measure(&setting, args.revealers, args.trials, args.seed);
    // As many draws again: an epoch of a chain takes 2^k of them.
    let chains = (args.trials / EPOCHS).max(1);
    let rotated = |last| measure_rotations(&setting, last, args.rotation, EPOCHS, chains, args.seed);
    let kept: Vec<f64> = (0..=args.revealers).map(|k| rotated(LastRevealers::Always(k))).collect();
    let by_chance = rotated(LastRevealers::Share(args.adversary));
    output.data(&value(args, &setting, &measured, &kept, by_chance), || {
        text(args, adversary, &measured, &kept, by_chance)
    });
    Ok(())
}

fn value(args: &BiasArgs, setting: &Setting, measured: &[Bias], kept: &[f64], by_chance: f64) -> Value {
    let row = |(bias, kept): (&Bias, &f64)| {
        json!({
            "revealers": bias.revealers,
            "seats": bias.seats,
            "seats_expected": bias.seats_expected,
            "stall": bias.stall,
            "stall_expected": bias.stall_expected,
            "stall_bound": bias.stall_bound,
            "capture": bias.capture,
            "capture_bound": bias.capture_bound,
            "some_stall": bias.some_stall,
            "seats_by_rotation": kept,
        })
    };
    json!({
        "seats": setting.seats,
        "adversary_seats": setting.adversary,
        "shards": setting.shards,
        "committee": setting.size,
        "rotation_per_mille": args.rotation,
        "trials": args.trials,
        "seed": args.seed,
        "last_revealers": measured.iter().zip(kept).map(row).collect::<Vec<_>>(),
        "seats_by_rotation_and_chance": by_chance,
    })
}

fn text(args: &BiasArgs, adversary: u32, measured: &[Bias], kept: &[f64], by_chance: f64) -> String {
    let row = |(bias, kept): (&Bias, &f64)| {
        vec![
            bias.revealers.to_string(),
            format!("{:.2}", bias.seats),
            format!("{:.2}", bias.seats_expected),
            format!("{:.3}", bias.stall),
            format!("{:.3}", bias.stall_expected),
            format!("{:.3}", bias.stall_bound),
            format!("{:.3}", bias.some_stall),
            format!("{kept:.2}"),
        ]
    };
    let head = ["k", "seats", "expected", "stalled", "expected", "2^k bound", "some stalled", "seats by rotation"];
    let rows: Vec<Vec<String>> = measured.iter().zip(kept).map(row).collect();
    format!(
        "{adversary} of {} seats hostile, {} shards of {}; {} epochs, seed {}\n\n{}\n\n\
         k last revealers choose among 2^k draws. seats: theirs in the shard of their choice; stalled: how often that is a \
         third of it;\nsome stalled: a third of some shard, if that is what they want; expected: the best of 2^k \
         independent draws.\nseats by rotation: with k in every epoch, when an epoch draws {} thousandths anew.\n\
         With as many as chance gives to {} thousandths of the proposers: {by_chance:.2} seats by rotation.",
        args.seats,
        args.shards,
        args.committee,
        args.trials,
        args.seed,
        table(&head, &rows),
        args.rotation,
        args.adversary
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
mod tests {
    use super::*;

    fn args() -> BiasArgs {
        BiasArgs {
            seats: 20,
            adversary: 250,
            shards: 2,
            committee: 4,
            revealers: 2,
            trials: 24,
            rotation: 250,
            seed: 1,
        }
    }

    #[test]
    fn a_small_measurement_has_a_row_for_each_k() {
        let setting = Setting { shards: 2, size: 4, seats: 20, adversary: 5 };
        let measured = measure(&setting, 2, 24, 1);
        let text = text(&args(), 5, &measured, &[1.0, 1.5, 2.0], 1.25);
        assert!(text.lines().nth(5).unwrap().trim_start().starts_with("2 "), "{text}");
        let value = value(&args(), &setting, &measured, &[1.0, 1.5, 2.0], 1.25);
        assert_eq!(value["last_revealers"].as_array().unwrap().len(), 3);
        assert_eq!((&value["seed"], &value["trials"]), (&1.into(), &24.into()));
        assert_eq!(value["rotation_per_mille"], 250);
    }

    #[test]
    fn what_takes_too_long_or_has_no_seats_is_refused() {
        let output = Output { json: true };
        for wrong in [BiasArgs { committee: 11, ..args() }, BiasArgs { trials: 100_000, revealers: 8, ..args() }] {
            assert!(matches!(run(&wrong, output), Err(Failure::Usage(_))));
        }
    }
}
