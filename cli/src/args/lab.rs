//! The grammar of `kakera lab`.

use super::odds::{BiasArgs, RiskArgs, ShuffleArgs};
use clap::{ArgGroup, Args, Subcommand};
use kakera_cbc::lab::{Family, Weights};
use std::path::PathBuf;

/// `kakera lab ...`
#[derive(Debug, Subcommand)]
pub(crate) enum LabCommand {
    /// Replay message DAGs, one JSON case a line, and print each observer's verdicts.
    Replay {
        /// The file of cases; `-` is standard input.
        file: PathBuf,
    },
    /// Draw a message DAG: a line a validator, time to the right, lines to what each message cites.
    #[command(after_help = "Examples:
  kakera lab draw cases.jsonl --id swing-014
  kakera lab draw cases.jsonl --view validator-3 --candidate m8 --svg swing.svg
  kakera lab random --seed 7 | kakera lab draw -

On a terminal the colour is the branch a message votes for (NO_COLOR turns it off).")]
    Draw(DrawArgs),
    /// Make random message DAGs from a seed, with observers, as `replay` and `draw` read them.
    #[command(after_help = "Examples:
  kakera lab random --seed 7 | kakera lab replay -
  kakera lab random --seed 1 --count 100 --family equiv-paper --replay
  kakera lab random --seed 3 --validators 16 --messages 200 --partitions 2 | kakera lab draw - --svg dag.svg

The same options give the same bytes on every machine; case n of --count has seed SEED + n.")]
    Random(RandomArgs),
    /// Run attacks from the literature against the engine, in virtual time; without a name, list them.
    #[command(after_help = "Examples:
  kakera lab attack
  kakera lab attack balancing --seed 7 --log
  kakera lab attack all --count 20

A name with `without` switches the defence off and claims the bad outcome. The same seed gives the same report on every
machine. Exit code 4 when a claim does not hold.")]
    Attack(AttackArgs),
    /// Count messages a block and hops to finality, by committee, with none and with the tolerable third silent.
    #[command(after_help = "Examples:
  kakera lab census
  kakera lab census --members 4,16,64 --jitter 25
  kakera lab census --members 16 --jitter 25 --eager")]
    Census(CensusArgs),
    /// Say why a block is final, or what holds it back: of a case, or of a running network.
    #[command(after_help = "Examples:
  kakera lab explain cases.jsonl --id tie-023 --view global --candidate m4
  kakera lab explain --height 42 --chain shard-0
  kakera lab explain --block 50772b5d... --json

For each level k: q_k, the quorum that is needed; q, the largest found; and the faulty weight that q survives,
(2q - W)(2^k - 1) / 2^k. For each member: how far it has climbed, or why it does not count.")]
    Explain(ExplainArgs),
    /// Shuffle 0 to N - 1 by a seed: `compute_shuffled_index` of the Ethereum consensus specification, 90 rounds.
    #[command(after_help = "Example:
  kakera lab shuffle --seed 26655aab58c18b66870f50a133171c85d9a5ae9dde55c0ca049491a27f4f63e7 --count 5 --json

Prints {\"shuffled\": [compute_shuffled_index(0, N, seed), compute_shuffled_index(1, N, seed), ...]}.")]
    Shuffle(ShuffleArgs),
    /// How likely a drawn committee is to be stalled (a third hostile) or captured (more than two thirds), by its size.
    #[command(after_help = "Examples:
  kakera lab risk
  kakera lab risk --seats 16 --shards 4 --committee 4
  kakera lab risk --seats 4000 --adversary 0.3 --shards 16 --svg risk.svg

`one` is one committee, `some` is any of all shards'. Figures are exact, but where `some` is marked `at most`: there it
is the sum over all committees, which is never below it.")]
    Risk(RiskArgs),
    /// Measure what the last revealers of random numbers gain by withholding theirs, with real draws.
    #[command(after_help = "Example:
  kakera lab bias --revealers 4 --trials 1000

The same options give the same figures on every machine.")]
    Bias(BiasArgs),
}

/// `kakera lab draw ...`
#[derive(Debug, Args)]
pub(crate) struct DrawArgs {
    /// The file of cases, one JSON object a line; `-` is standard input.
    pub(crate) case: PathBuf,
    /// Which case [default: the first].
    #[arg(long)]
    pub(crate) id: Option<String>,
    /// Whose view [default: the first].
    #[arg(long, value_name = "NAME")]
    pub(crate) view: Option<String>,
    /// Mark this block and how far each message has climbed for it.
    #[arg(long, value_name = "MESSAGE")]
    pub(crate) candidate: Option<String>,
    /// Write an SVG picture to this file (`-` is standard output) instead of drawing on the terminal.
    #[arg(long, value_name = "FILE")]
    pub(crate) svg: Option<PathBuf>,
    /// Columns to draw in [default: the terminal's, else 120].
    #[arg(long, conflicts_with = "svg", value_parser = clap::value_parser!(u16).range(40..))]
    pub(crate) width: Option<u16>,
}

/// `kakera lab random ...`
#[derive(Debug, Args)]
pub(crate) struct RandomArgs {
    /// Everything follows from it.
    #[arg(long)]
    pub(crate) seed: u64,
    /// Validators, 1 to 256 [default: 3 to 8].
    #[arg(long, value_name = "N")]
    pub(crate) validators: Option<usize>,
    /// Messages, 1 to 20000 [default: 12 to 60].
    #[arg(long, value_name = "N")]
    pub(crate) messages: Option<usize>,
    /// How many validators equivocate [default: 1 or 2 in the families of equivocation, else none].
    #[arg(long, value_name = "N")]
    pub(crate) equivocators: Option<usize>,
    /// How often the network splits in two and heals [default: once or twice in the family of partitions, else never].
    #[arg(long, value_name = "N")]
    pub(crate) partitions: Option<usize>,
    /// equal, random (1 to 400) or zero (some weigh nothing) [default: the family's].
    #[arg(long, value_parser = weights)]
    pub(crate) weights: Option<Weights>,
    /// honest-sync, honest-delay, partition, swing, equiv-peer, equiv-paper, zero-weight or tie [default: the seed's].
    #[arg(long, value_parser = |text: &str| text.parse::<Family>())]
    pub(crate) family: Option<Family>,
    /// How many cases.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub(crate) count: u64,
    /// Print what a replay gives instead of the cases.
    #[arg(long)]
    pub(crate) replay: bool,
}

/// `kakera lab attack ...`
#[derive(Debug, Args)]
pub(crate) struct AttackArgs {
    /// Which one; `all` is each in turn.
    pub(crate) name: Option<String>,
    /// Everything follows from it.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// How many seeds, from --seed on.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) count: usize,
    /// Show what happened, slot by slot.
    #[arg(long)]
    pub(crate) log: bool,
}

/// `kakera lab census ...`
#[derive(Debug, Args)]
pub(crate) struct CensusArgs {
    /// Committees of equal members.
    #[arg(long, value_delimiter = ',', default_value = "4,16,64,128", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) members: Vec<u16>,
    /// By how many milliseconds at most a message is earlier than the network delay of 100.
    #[arg(long, value_name = "MS", default_value_t = 0, value_parser = clap::value_parser!(u64).range(..=100))]
    pub(crate) jitter: u64,
    /// Slots; the last one is shown.
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u64).range(3..=100))]
    pub(crate) slots: u64,
    /// Where the jitter comes from.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Say each level as soon as it is within reach, for comparison.
    #[arg(long)]
    pub(crate) eager: bool,
}

/// `kakera lab explain ...`
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("what").required(true).args(["case", "block", "height"]))]
pub(crate) struct ExplainArgs {
    /// The file of cases, one JSON object a line; `-` is standard input.
    #[arg(requires = "candidate")]
    pub(crate) case: Option<PathBuf>,
    /// Which case [default: the first].
    #[arg(long, requires = "case")]
    pub(crate) id: Option<String>,
    /// Whose view [default: the first].
    #[arg(long, value_name = "NAME", requires = "case")]
    pub(crate) view: Option<String>,
    /// Which message, as a block.
    #[arg(long, value_name = "MESSAGE", requires = "case")]
    pub(crate) candidate: Option<String>,
    /// A block of a running network, 64 hexadecimal digits.
    #[arg(long, value_name = "ID", value_parser = block_id)]
    pub(crate) block: Option<[u8; 32]>,
    /// A height of a running network: the certified block there, else the one on the way to the head.
    #[arg(long, value_name = "N")]
    pub(crate) height: Option<u64>,
    /// beacon or shard-N [default: with --block whichever has it, with --height that of the only chain asked].
    #[arg(long, value_parser = chain, conflicts_with = "case")]
    pub(crate) chain: Option<Chain>,
}

/// A chain named on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Chain {
    /// The beacon chain.
    Beacon,
    /// A shard.
    Shard(u32),
}

fn weights(text: &str) -> Result<Weights, String> {
    match text {
        "equal" => Ok(Weights::Equal),
        "random" => Ok(Weights::Random),
        "zero" => Ok(Weights::Zero),
        _ => Err("weights are equal, random or zero".to_owned()),
    }
}

fn block_id(text: &str) -> Result<[u8; 32], String> {
    let mut id = [0; 32];
    match hex::decode_to_slice(text, &mut id) {
        Ok(()) => Ok(id),
        Err(_) => Err("a block's id is 64 hexadecimal digits".to_owned()),
    }
}

fn chain(text: &str) -> Result<Chain, String> {
    match text.strip_prefix("shard-").map(str::parse) {
        Some(Ok(shard)) => Ok(Chain::Shard(shard)),
        _ if text == "beacon" => Ok(Chain::Beacon),
        _ => Err("a chain is beacon or shard-N".to_owned()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
mod tests {
    use super::*;
    use crate::args::{Cli, Command};
    use clap::Parser;

    fn parse(line: &str) -> Result<LabCommand, clap::Error> {
        let cli = Cli::try_parse_from(line.split_whitespace())?;
        let Command::Lab(command) = cli.command else { panic!("{line} is about the lab") };
        Ok(command)
    }

    #[test]
    fn a_case_or_a_block_or_a_height_is_explained() {
        let id = "ab".repeat(32);
        let LabCommand::Explain(args) = parse(&format!("kakera lab explain --block {id}")).unwrap() else { panic!() };
        assert_eq!((args.block, args.chain), (Some([0xab; 32]), None));
        let LabCommand::Explain(args) = parse("kakera lab explain --height 7 --chain shard-3").unwrap() else {
            panic!()
        };
        assert_eq!((args.height, args.chain), (Some(7), Some(Chain::Shard(3))));
        let line = "kakera lab explain - --candidate m1 --view v --id x --json";
        assert!(matches!(parse(line).unwrap(), LabCommand::Explain(ExplainArgs { case: Some(_), .. })));
        for wrong in [
            "kakera lab explain",
            "kakera lab explain cases.jsonl",
            "kakera lab explain --candidate m1",
            "kakera lab explain --height 7 --block abc",
            "kakera lab explain --height 7 --view x",
            "kakera lab explain --height 7 --chain moon",
            "kakera lab explain --height 7 --chain shard-",
            "kakera lab explain cases.jsonl --candidate m1 --chain beacon",
            "kakera lab explain cases.jsonl --candidate m1 --height 7",
        ] {
            assert_eq!(parse(wrong).unwrap_err().exit_code(), 2, "{wrong}");
        }
    }

    #[test]
    fn attacks_and_committees_are_checked_as_far_as_words_go() {
        let LabCommand::Attack(args) = parse("kakera lab attack").unwrap() else { panic!() };
        assert_eq!((args.name, args.seed, args.count, args.log), (None, 1, 1, false));
        let LabCommand::Census(args) = parse("kakera lab census --members 4,16 --jitter 25").unwrap() else { panic!() };
        assert_eq!((args.members, args.jitter, args.slots, args.eager), (vec![4, 16], 25, 4, false));
        for wrong in [
            "kakera lab attack balancing --seed x",
            "kakera lab census --members 0",
            "kakera lab census --members 4,1000",
            "kakera lab census --jitter 101",
            "kakera lab census --slots 2",
        ] {
            assert_eq!(parse(wrong).unwrap_err().exit_code(), 2, "{wrong}");
        }
    }

    #[test]
    fn random_settings_are_checked_as_far_as_words_go() {
        let line = "kakera lab random --seed 7 --family equiv-paper --weights zero --count 3 --replay";
        let LabCommand::Random(args) = parse(line).unwrap() else { panic!() };
        assert_eq!((args.family, args.weights), (Some(Family::EquivocationPaper), Some(Weights::Zero)));
        assert_eq!((args.count, args.replay, args.validators), (3, true, None));
        for wrong in [
            "kakera lab random",
            "kakera lab random --seed -1",
            "kakera lab random --seed 1 --family gossip",
            "kakera lab random --seed 1 --weights heavy",
            "kakera lab random --seed 1 --count 0",
        ] {
            assert_eq!(parse(wrong).unwrap_err().exit_code(), 2, "{wrong}");
        }
    }

    #[test]
    fn a_drawing_needs_a_case() {
        let LabCommand::Draw(args) = parse("kakera lab draw - --svg out.svg --candidate m3").unwrap() else { panic!() };
        assert_eq!((args.candidate.as_deref(), args.view), (Some("m3"), None));
        for wrong in ["kakera lab draw", "kakera lab draw - --width 12", "kakera lab draw - --svg x --width 100"] {
            assert_eq!(parse(wrong).unwrap_err().exit_code(), 2, "{wrong}");
        }
    }
}
