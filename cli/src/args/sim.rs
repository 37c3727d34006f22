//! The grammar of `kakera sim`.

use clap::{Args, Subcommand};
use std::{ops::Range, path::PathBuf};

/// `kakera sim ...`
#[derive(Debug, Subcommand)]
pub(crate) enum SimCommand {
    /// Run scenarios with many seeds; a seed that fails is shrunk and can be replayed.
    #[command(after_help = "Examples:
  kakera sim run
  kakera sim run --scenario crashes --scenario wan --seeds 1..101
  kakera sim run --scenario everything --seeds 7 --trace everything-7.trace
  kakera sim run --scenario mine.toml --seeds 1..1001 --keep-going --json

The same scenario and seed give the same trace on every machine, whatever --jobs. Exit code 6 when a seed fails.")]
    Run(SimRunArgs),
    /// List the scenarios that come with the program.
    List,
    /// Print a scenario's TOML, to begin one's own with.
    Show {
        /// Which; `kakera sim list` has them.
        name: String,
    },
    /// Measure networks of growing size and draw what changes, as SVG files.
    #[command(after_help = "Examples:
  kakera sim report --out figures
  kakera sim report --quick --jobs 2
  kakera sim report --shards 1,4,16 --members 4 --scenario mine.toml

docs/sim.md says how to read the plots.")]
    Report(SimReportArgs),
}

/// `kakera sim run ...`
#[derive(Debug, Args)]
pub(crate) struct SimRunArgs {
    /// A scenario's name or file; may be given several times [default: all that come with the program].
    #[arg(long, value_name = "NAME|FILE")]
    pub(crate) scenario: Vec<String>,
    /// Seeds A to B - 1 of each scenario, or a single one.
    #[arg(long, value_name = "A..B", default_value = "1..11", value_parser = seeds)]
    pub(crate) seeds: Range<u64>,
    /// Threads [default: one a core].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) jobs: Option<u16>,
    /// Write the trace of the one seed that is run to this file.
    #[arg(long, value_name = "FILE")]
    pub(crate) trace: Option<PathBuf>,
    /// Go on after a seed that fails.
    #[arg(long)]
    pub(crate) keep_going: bool,
    /// Worlds to run at most while a failing seed is shrunk; 0: it is not.
    #[arg(long, value_name = "N", default_value_t = 200)]
    pub(crate) shrink_runs: u32,
    /// Where shrunk scenarios are written.
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub(crate) out: PathBuf,
}

/// `kakera sim report ...`
#[derive(Debug, Args)]
pub(crate) struct SimReportArgs {
    /// Where the files are written.
    #[arg(long, value_name = "DIR", default_value = "kakera-sim-report")]
    pub(crate) out: PathBuf,
    /// Small sizes and one seed each: some seconds.
    #[arg(long)]
    pub(crate) quick: bool,
    /// The scenario that grows, by name or file.
    #[arg(long, value_name = "NAME|FILE", default_value = "growth")]
    pub(crate) scenario: String,
    /// Numbers of shards [default: 1,2,4,8,16].
    #[arg(long, value_name = "N,...", value_delimiter = ',', value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) shards: Vec<u16>,
    /// Numbers of members of each committee [default: 4,7,10,13,16].
    #[arg(long, value_name = "N,...", value_delimiter = ',', value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) members: Vec<u16>,
    /// Seeds of each size [default: 1..4].
    #[arg(long, value_name = "A..B", value_parser = seeds)]
    pub(crate) seeds: Option<Range<u64>>,
    /// Threads [default: one a core].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) jobs: Option<u16>,
}

/// `A..B`, or one seed.
fn seeds(text: &str) -> Result<Range<u64>, String> {
    let number = |text: &str| text.replace('_', "").parse::<u64>().map_err(|_| format!("{text:?} is no seed"));
    let seeds = match text.split_once("..") {
        Some((first, end)) => number(first)?..number(end)?,
        None => {
            let seed = number(text)?;
            seed..seed.checked_add(1).ok_or("that seed is too large")?
        }
    };
    if seeds.is_empty() {
        return Err("the range is empty: A..B goes from A to B - 1".to_owned());
    }
    Ok(seeds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_a_range_or_one() {
        assert_eq!((seeds("1..11"), seeds("7"), seeds("1..10_001")), (Ok(1..11), Ok(7..8), Ok(1..10_001)));
        for wrong in ["", "..", "3..3", "5..2", "a", "-1", "18446744073709551615"] {
            assert!(seeds(wrong).is_err(), "{wrong}");
        }
    }
}
