//! The grammar of `kakera testnet partition`, `delay` and the other faults.

use clap::{Args, Subcommand};
use kakera_deploy::links::{Between, Change, Cut};

/// Which links.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub(crate) struct LinkArgs {
    /// The links of these nodes: a name, `beacon` or `shard-N` (a committee), `all`, or a beginning and a star (`beacon-*`).
    #[arg(value_name = "NAME", required_unless_present = "from", conflicts_with_all = ["from", "to"])]
    pub(crate) names: Vec<String>,
    /// Only links between these nodes ...
    #[arg(long, value_name = "NAME", num_args = 1.., value_delimiter = ',')]
    pub(crate) from: Vec<String>,
    /// ... and these [default: all others].
    #[arg(long, value_name = "NAME", num_args = 1.., value_delimiter = ',', requires = "from")]
    pub(crate) to: Vec<String>,
    /// Only what the former say to the latter.
    #[arg(long)]
    pub(crate) one_way: bool,
}

/// Links that all are meant when none is named.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub(crate) struct HealArgs {
    /// The links of these nodes [default: all].
    #[arg(value_name = "NAME", conflicts_with_all = ["from", "to"])]
    pub(crate) names: Vec<String>,
    /// Only links between these nodes ...
    #[arg(long, value_name = "NAME", num_args = 1.., value_delimiter = ',')]
    pub(crate) from: Vec<String>,
    /// ... and these [default: all others].
    #[arg(long, value_name = "NAME", num_args = 1.., value_delimiter = ',', requires = "from")]
    pub(crate) to: Vec<String>,
}

/// What happens to links, and to a node's disk and clock.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub(crate) enum FaultCommand {
    /// Cut links: connections end, and new ones are refused, until they are healed.
    #[command(after_help = "Examples:
  kakera testnet partition beacon-0                                    # from everybody else
  kakera testnet partition beacon-0 beacon-1                           # these two from all others, not from each other
  kakera testnet partition --from shard-0 --to beacon                  # a whole shard from the beacon
  kakera testnet partition --from validator-0 --to validator-1 --one-way   # nothing that validator-0 says arrives
  kakera testnet partition validator-3 --silent                        # connections stay open, and nothing passes
  kakera testnet heal")]
    Partition {
        /// Which.
        #[command(flatten)]
        links: LinkArgs,
        /// Tell nobody: nothing passes until the link is healed, and what was under way arrives then.
        #[arg(long)]
        silent: bool,
    },
    /// Take everything that is wrong off links.
    #[command(after_help = "Examples:
  kakera testnet heal                                # all links
  kakera testnet heal beacon-0                       # those of beacon-0
  kakera testnet heal --from shard-0 --to beacon")]
    Heal(HealArgs),
    /// Let what nodes say arrive late.
    #[command(after_help = "Examples:
  kakera testnet delay all --ms 40 --jitter 20       # every link: 40 to 60 ms each way
  kakera testnet delay validator-0 --ms 300 --one-way    # all that validator-0 says
  kakera testnet delay --from beacon --to shard-1 --ms 100")]
    Delay {
        /// Which.
        #[command(flatten)]
        links: LinkArgs,
        /// How late, in ms.
        #[arg(long, value_parser = clap::value_parser!(u64).range(0..=600_000))]
        ms: u64,
        /// Up to this much later still, in ms; order is kept.
        #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=600_000))]
        jitter: u64,
    },
    /// Let only so many bytes a second pass.
    #[command(after_help = "Examples:
  kakera testnet throttle validator-0 --bytes-per-second 2000
  kakera testnet throttle --from beacon --to shard-0 --one-way --bytes-per-second 10000")]
    Throttle {
        /// Which.
        #[command(flatten)]
        links: LinkArgs,
        /// In each direction of each link.
        #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u64).range(1..))]
        bytes_per_second: u64,
    },
    /// Flip single bits of what passes.
    #[command(after_help = "Examples:
  kakera testnet corrupt validator-0 --per-million 200
  kakera testnet corrupt all --per-million 5")]
    Corrupt {
        /// Which.
        #[command(flatten)]
        links: LinkArgs,
        /// Of a million bytes, how many have a bit flipped.
        #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
        per_million: u32,
    },
    /// End the open connections, once.
    #[command(after_help = "Examples:
  kakera testnet reset validator-0
  kakera testnet reset --from shard-1 --to beacon")]
    Reset {
        /// Which.
        #[command(flatten)]
        links: LinkArgs,
    },
    /// Show the links where something is wrong, and what has passed there.
    Links {
        /// Those where nothing is wrong too.
        #[arg(long)]
        all: bool,
    },
    /// Limit a node's disk: a write that makes a file too long fails, as when the disk is full. Restarts the node.
    #[command(after_help = "Examples:
  kakera testnet disk validator-0 --bytes 500000     # its log of writes soon reaches that, and the node ends
  kakera testnet disk validator-0 --unlimited")]
    Disk {
        /// The node.
        #[arg(value_name = "NAME")]
        name: String,
        /// How long a file may get.
        #[arg(long, required_unless_present = "unlimited", conflicts_with = "unlimited", value_parser = clap::value_parser!(u64).range(16_384..))]
        bytes: Option<u64>,
        /// As long as the machine's disk lets it.
        #[arg(long)]
        unlimited: bool,
    },
    /// Set a node's clock wrong. Restarts the node.
    #[command(after_help = "Examples:
  kakera testnet clock validator-0 --offset-ms 2000      # two seconds ahead
  kakera testnet clock validator-0 --offset-ms -86400000 # a day behind
  kakera testnet clock validator-0 --offset-ms 0         # right again")]
    Clock {
        /// The node.
        #[arg(value_name = "NAME")]
        name: String,
        /// How far ahead of the machine's, in ms; negative is behind, 0 is right.
        #[arg(long, allow_hyphen_values = true, value_parser = clap::value_parser!(i64).range(-YEAR_MS..=YEAR_MS))]
        offset_ms: i64,
    },
}

const YEAR_MS: i64 = 366 * 86_400_000;

impl LinkArgs {
    fn between(&self, inside: bool) -> Between {
        let from = if self.names.is_empty() { &self.from } else { &self.names };
        Between {
            from: from.clone(),
            to: self.to.clone(),
            one_way: self.one_way,
            inside: inside && self.from.is_empty(),
        }
    }
}

impl HealArgs {
    fn between(&self) -> Between {
        let all = self.names.is_empty() && self.from.is_empty();
        let names = if all { vec!["all".to_owned()] } else { self.names.clone() };
        let links = LinkArgs { names, from: self.from.clone(), to: self.to.clone(), one_way: false };
        links.between(true)
    }
}

impl FaultCommand {
    /// Which links change and how, for the commands that change links.
    pub(crate) fn change(&self) -> Option<(Between, Change)> {
        Some(match self {
            // A group that is cut off from the rest stays together.
            FaultCommand::Partition { links, silent } => {
                (links.between(false), Change::Cut(if *silent { Cut::Silent } else { Cut::Closed }))
            }
            FaultCommand::Heal(links) => (links.between(), Change::Heal),
            FaultCommand::Delay { links, ms, jitter } => {
                (links.between(true), Change::Delay { ms: *ms, jitter_ms: *jitter })
            }
            FaultCommand::Throttle { links, bytes_per_second } => {
                (links.between(true), Change::Throttle { bytes_per_second: *bytes_per_second })
            }
            FaultCommand::Corrupt { links, per_million } => {
                (links.between(true), Change::Corrupt { per_million: *per_million })
            }
            FaultCommand::Reset { links } => (links.between(true), Change::Reset),
            FaultCommand::Links { .. } | FaultCommand::Disk { .. } | FaultCommand::Clock { .. } => return None,
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
mod tests {
    use super::*;
    use crate::args::{Cli, Command, TestnetCommand};
    use clap::Parser;

    fn parse(line: &str) -> Result<FaultCommand, clap::Error> {
        let words = ["kakera", "testnet"].into_iter().chain(line.split_whitespace());
        match Cli::try_parse_from(words)?.command {
            Command::Testnet(TestnetCommand::Fault(command)) => Ok(command),
            _ => panic!("{line} is no fault"),
        }
    }

    fn change(line: &str) -> (Between, Change) {
        parse(line).unwrap().change().unwrap()
    }

    #[test]
    fn names_mean_a_group_against_the_rest_and_from_to_means_two_groups() {
        let cut = Change::Cut(Cut::Closed);
        assert_eq!(change("partition beacon-0 beacon-1"), (Between::around(&["beacon-0", "beacon-1"]), cut));
        assert_eq!(change("partition --from shard-0 --to beacon"), (Between::pair("shard-0", "beacon"), cut));
        assert_eq!(change("partition --from a --to b --one-way"), (Between::one_way("a", "b"), cut));
        let two = Between { to: vec!["c".into(), "d".into()], ..Between::around(&["a", "b"]) };
        assert_eq!(change("partition --from a,b --to c d --silent"), (two, Change::Cut(Cut::Silent)));
        let inside = Between { inside: true, ..Between::around(&["beacon"]) };
        assert_eq!(change("delay beacon --ms 40 --jitter 9"), (inside.clone(), Change::Delay { ms: 40, jitter_ms: 9 }));
        assert_eq!(change("throttle beacon --bytes-per-second 7").1, Change::Throttle { bytes_per_second: 7 });
        assert_eq!(change("corrupt beacon --per-million 3"), (inside.clone(), Change::Corrupt { per_million: 3 }));
        assert_eq!(change("reset beacon"), (inside.clone(), Change::Reset));
        assert_eq!(change("heal beacon"), (inside, Change::Heal));
        assert_eq!(change("heal").0.from, ["all"]);
        assert_eq!(change("heal --from a --to b"), (Between::pair("a", "b"), Change::Heal));
    }

    #[test]
    fn disks_and_clocks_are_set_for_one_node() {
        let clock = |ms| FaultCommand::Clock { name: "a".into(), offset_ms: ms };
        assert_eq!(parse("clock a --offset-ms -86400000").unwrap(), clock(-86_400_000));
        assert_eq!(parse("clock a --offset-ms=2000").unwrap(), clock(2_000));
        let disk = |bytes, unlimited| FaultCommand::Disk { name: "a".into(), bytes, unlimited };
        assert_eq!(parse("disk a --bytes 500000").unwrap(), disk(Some(500_000), false));
        assert_eq!(parse("disk a --unlimited").unwrap(), disk(None, true));
        assert!(parse("links --all").unwrap().change().is_none());
    }

    #[test]
    fn wrong_usage_is_refused() {
        for line in [
            "partition",
            "partition --to beacon",
            "partition a --from b",
            "delay a",
            "delay a --ms -1",
            "throttle a --bytes-per-second 0",
            "corrupt a --per-million 0",
            "corrupt a --per-million 1000001",
            "disk a",
            "disk a --bytes 7",
            "disk a --bytes 500000 --unlimited",
            "clock a",
            "clock a b --offset-ms 5",
        ] {
            assert_eq!(parse(line).unwrap_err().exit_code(), 2, "{line}");
        }
    }
}
