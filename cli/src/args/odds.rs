//! The grammar of what the lab says about draws: `kakera lab shuffle`, `risk` and `bias`.

use clap::Args;
use std::path::PathBuf;

/// Longest list that is shuffled.
pub(crate) const MOST_SHUFFLED: u64 = 1 << 20;

/// `kakera lab shuffle ...`
#[derive(Debug, Args)]
pub(crate) struct ShuffleArgs {
    /// 32 bytes: 64 hexadecimal digits, with or without 0x.
    #[arg(long, value_name = "HEX", value_parser = seed)]
    pub(crate) seed: [u8; 32],
    /// How many indices, 0 to 1048576.
    #[arg(long, value_name = "N", value_parser = count)]
    pub(crate) count: u64,
}

/// `kakera lab risk ...`
#[derive(Debug, Args)]
pub(crate) struct RiskArgs {
    /// Seats of all shard validators, 1 to 1000000.
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub(crate) seats: u64,
    /// The part of them that an adversary holds, 0 to 1 in thousandths.
    #[arg(long, value_name = "PART", default_value = "0.25", value_parser = per_mille)]
    pub(crate) adversary: u16,
    /// Shards, 1 to 1024.
    #[arg(long, value_name = "S", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=1_024))]
    pub(crate) shards: u16,
    /// A committee of so many seats only, 1 to 1024 [default: 1, 2, 4, ... and all that there are seats for].
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u32).range(1..=1_024))]
    pub(crate) committee: Option<u32>,
    /// Write a plot by size to this file (`-` is standard output, instead of the table).
    #[arg(long, value_name = "FILE", conflicts_with = "committee")]
    pub(crate) svg: Option<PathBuf>,
}

/// `kakera lab bias ...`
#[derive(Debug, Args)]
pub(crate) struct BiasArgs {
    /// Seats of all shard validators, 1 to 10000.
    #[arg(long, value_name = "N", default_value_t = 80, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) seats: u32,
    /// The part of them that an adversary holds, 0 to 1 in thousandths.
    #[arg(long, value_name = "PART", default_value = "0.25", value_parser = per_mille)]
    pub(crate) adversary: u16,
    /// Shards, 1 to 64.
    #[arg(long, value_name = "S", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(crate) shards: u16,
    /// Seats a committee, 1 to 1024.
    #[arg(long, value_name = "K", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1_024))]
    pub(crate) committee: u32,
    /// Last revealers that are one, 0 to 8.
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(0..=8))]
    pub(crate) revealers: u32,
    /// Epochs that are drawn, 1 to 100000.
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) trials: u32,
    /// The part of each committee that an epoch draws anew, 0 to 1 in thousandths.
    #[arg(long, value_name = "PART", default_value = "0.25", value_parser = per_mille)]
    pub(crate) rotation: u16,
    /// Everything follows from it.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
}

fn seed(text: &str) -> Result<[u8; 32], String> {
    let mut seed = [0; 32];
    let digits = text.strip_prefix("0x").unwrap_or(text);
    if let Some((place, other)) = (1..).zip(digits.chars()).find(|(_, letter)| !letter.is_ascii_hexdigit()) {
        return Err(format!("a seed is 64 hexadecimal digits, and {other:?}, letter {place} of it, is none"));
    }
    match hex::decode_to_slice(digits, &mut seed) {
        Ok(()) => Ok(seed),
        Err(_) => Err(format!("a seed is 32 bytes, 64 hexadecimal digits; these are {}", digits.len())),
    }
}

fn count(text: &str) -> Result<u64, String> {
    let count: u64 = text.parse().map_err(|_| "a count is a whole number, 0 or more".to_owned())?;
    if count > MOST_SHUFFLED {
        return Err(format!(
            "at most {MOST_SHUFFLED} indices are shuffled at once (a list of 2^20 takes some seconds)"
        ));
    }
    Ok(count)
}

/// A part of one, in thousandths.
fn per_mille(text: &str) -> Result<u16, String> {
    let wrong = || "a part is a number from 0 to 1 with at most three digits after the point, as 0.25".to_owned();
    let (whole, digits) = text.split_once('.').unwrap_or((text, "0"));
    if digits.is_empty() || digits.len() > 3 || !text.chars().all(|letter| letter.is_ascii_digit() || letter == '.') {
        return Err(wrong());
    }
    let whole: u16 = whole.parse().map_err(|_| wrong())?;
    let thousandths: u16 = format!("{digits:0<3}").parse().map_err(|_| wrong())?;
    let part = whole.checked_mul(1000).and_then(|whole| whole.checked_add(thousandths));
    part.filter(|part| *part <= 1000).ok_or_else(wrong)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
mod tests {
    use super::*;
    use crate::args::{Cli, Command, LabCommand};
    use clap::Parser;

    fn parse(line: &str) -> Result<LabCommand, clap::Error> {
        let cli = Cli::try_parse_from(line.split_whitespace())?;
        let Command::Lab(command) = cli.command else { panic!("{line} is about the lab") };
        Ok(command)
    }

    #[test]
    fn parts_are_thousandths() {
        let parsed = ["0", "1", "0.25", "0.333", "1.000", "0.5"].map(|text| per_mille(text).unwrap());
        assert_eq!(parsed, [0, 1000, 250, 333, 1000, 500]);
        for wrong in ["", ".", ".5", "0.", "1.001", "2", "0.3333", "-0.1", "a", "1e-1", "0.2.5", "+1", "99999"] {
            assert!(per_mille(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn seeds_and_counts_are_checked() {
        let digits = "ab".repeat(32);
        for digits in [digits.clone(), format!("0x{digits}")] {
            let line = format!("kakera lab shuffle --seed {digits} --count 1048576 --json");
            let LabCommand::Shuffle(args) = parse(&line).unwrap() else { panic!() };
            assert_eq!((args.seed, args.count), ([0xab; 32], MOST_SHUFFLED));
        }
        let refused = parse(&format!("kakera lab shuffle --seed {digits} --count 1048577")).unwrap_err();
        assert!(refused.to_string().contains("at most 1048576 indices"), "{refused}");
        let refused = parse("kakera lab shuffle --seed abcd --count 3").unwrap_err();
        assert!(refused.to_string().contains("these are 4"), "{refused}");
        let strange = format!("0x{}g{}", "ab".repeat(4), "c".repeat(55));
        let refused = parse(&format!("kakera lab shuffle --seed {strange} --count 3")).unwrap_err();
        assert!(refused.to_string().contains("'g', letter 9 of it, is none"), "{refused}");
        for wrong in [
            "kakera lab shuffle --count 3".to_owned(),
            format!("kakera lab shuffle --seed {digits}"),
            format!("kakera lab shuffle --seed {digits} --count -1"),
            "kakera lab risk --adversary 25".to_owned(),
            "kakera lab risk --seats 0".to_owned(),
            "kakera lab risk --committee 4 --svg x.svg".to_owned(),
            "kakera lab bias --revealers 9".to_owned(),
        ] {
            assert_eq!(parse(&wrong).unwrap_err().exit_code(), 2, "{wrong}");
        }
    }

    #[test]
    fn risks_have_defaults() {
        let LabCommand::Risk(args) = parse("kakera lab risk").unwrap() else { panic!() };
        assert_eq!((args.seats, args.adversary, args.shards, args.committee), (1_000, 250, 4, None));
        let LabCommand::Bias(args) = parse("kakera lab bias").unwrap() else { panic!() };
        assert_eq!((args.seats, args.adversary, args.committee, args.revealers), (80, 250, 16, 4));
    }
}
