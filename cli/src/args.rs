//! The command line's grammar.

mod faults;
mod lab;
mod odds;
mod sim;
mod validator;

pub(crate) use faults::FaultCommand;
pub(crate) use lab::{AttackArgs, CensusArgs, Chain, DrawArgs, ExplainArgs, LabCommand, RandomArgs};
pub(crate) use odds::{BiasArgs, RiskArgs, ShuffleArgs};
pub(crate) use sim::{SimCommand, SimReportArgs, SimRunArgs};
pub(crate) use validator::{BondArgs, GuardArgs, GuardCommand, JoinArgs, RequestArgs, RoleName, ValidatorCommand};

use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

/// Where help pages show what every command takes.
const GLOBAL: &str = "Global options";

/// Kakera: a sharded proof-of-stake blockchain to start, watch, break and measure on one machine.
///
/// Exit codes: 0 done, 2 wrong usage, 3 no node answers, 4 refused, 5 not found, 6 a simulated network failed,
/// 1 anything else.
#[derive(Debug, Parser)]
#[command(name = "kakera", version, propagate_version = true, disable_help_subcommand = true)]
pub(crate) struct Cli {
    /// Print results as JSON, one value a line, on standard output.
    #[arg(long, global = true, help_heading = GLOBAL)]
    pub(crate) json: bool,
    /// Ask this node (HOST:PORT) instead of those of a directory; may be given several times.
    #[arg(long, global = true, help_heading = GLOBAL, value_name = "HOST:PORT")]
    pub(crate) node: Vec<String>,
    /// The network's directory [default: kakera-testnet]; for `validator join` the validator's [default:
    /// kakera-validator].
    #[arg(long, global = true, help_heading = GLOBAL, env = "KAKERA_DIR", value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// Where wallets are kept [default: ~/.kakera/wallets].
    #[arg(long, global = true, help_heading = GLOBAL, env = "KAKERA_WALLETS", value_name = "DIR")]
    pub(crate) wallets: Option<PathBuf>,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a network of real processes on this machine.
    #[command(subcommand)]
    Testnet(TestnetCommand),
    /// Keys that own accounts.
    #[command(subcommand)]
    Wallet(WalletCommand),
    /// Give an account tokens from its shard's faucet.
    Faucet(FaucetArgs),
    /// Transfer tokens and follow the transaction to its end.
    Send(SendArgs),
    /// Follow a transaction to its end.
    Track(TrackArgs),
    /// Show an account.
    Account {
        /// An address (kk1...) or a wallet's name.
        account: String,
        /// At the head rather than at the last certified block.
        #[arg(long)]
        head: bool,
    },
    /// Show every node: how far it is, what is silent, what holds a chain back; and the epoch and its committees' risk.
    Status,
    /// Show validators; bond one, let it leave, join a running network.
    #[command(
        subcommand,
        after_help = "Examples:
  kakera validator list
  kakera validator status validator-3
  kakera validator join --beacon node.example:7000 --endpoint me.example:7000 --from alice
  kakera validator exit 21 --from alice

docs/validators.md tells a validator's life."
    )]
    Validator(ValidatorCommand),
    /// Study consensus: replay, draw, make up and explain message DAGs.
    #[command(
        subcommand,
        after_help = "Examples:
  kakera lab replay cbc/samples/cbc-cases.jsonl
  kakera lab draw cbc/samples/cbc-cases.jsonl --id swing-014 --svg dag.svg
  kakera lab random --seed 7 | kakera lab draw -
  kakera lab explain cbc/samples/cbc-cases.jsonl --id tie-023 --candidate m8
  kakera lab explain --height 42 --chain shard-0

docs/lab.md has the format of cases and how to read the answers."
    )]
    Lab(LabCommand),
    /// Run whole networks in virtual time, from seeds: faults, Byzantine members, and figures as networks grow.
    #[command(
        subcommand,
        after_help = "Examples:
  kakera sim list
  kakera sim run --seeds 1..101
  kakera sim run --scenario everything --seeds 7 --trace everything-7.trace
  kakera sim report --quick

docs/sim.md says how to write a scenario, replay a failure and read the plots."
    )]
    Sim(SimCommand),
    /// Start twelve processes, load them, kill two on the way, check everything, and leave nothing behind.
    Demo(DemoArgs),
}

/// `kakera testnet ...`
#[derive(Debug, Subcommand)]
pub(crate) enum TestnetCommand {
    /// Create the network if the directory is new, and start all its processes.
    Up {
        /// What a new network consists of: demo, small, rotation, or a TOML file [default: demo].
        #[arg(long)]
        profile: Option<String>,
        /// Let the nodes of a new network reach each other without relays: a little faster, and nothing can happen to
        /// its links (see `partition`).
        #[arg(long)]
        direct: bool,
    },
    /// Stop all processes; the data stays.
    Down,
    /// Show the processes.
    Status,
    /// Show what a process printed.
    Logs {
        /// The process; `supervisor` is one too.
        name: String,
        /// Go on showing what it prints.
        #[arg(long, short)]
        follow: bool,
        /// How many lines of the past.
        #[arg(long, short = 'n', default_value_t = 40)]
        lines: usize,
    },
    /// Kill processes at once, as a power failure would (SIGKILL).
    Kill(Names),
    /// Freeze processes (SIGSTOP).
    Pause(Names),
    /// Let frozen processes go on (SIGCONT).
    Resume(Names),
    /// Start processes that do not run.
    Start(Names),
    /// Break links between nodes, fill a disk, set a clock wrong.
    #[command(flatten)]
    Fault(FaultCommand),
    /// Own the processes of a network until told to stop; started by `up`.
    #[command(hide = true)]
    Supervise,
}

/// Processes by name.
#[derive(Debug, Args)]
pub(crate) struct Names {
    /// The processes, or `all`.
    #[arg(required = true, value_name = "NAME")]
    pub(crate) names: Vec<String>,
}

/// `kakera wallet ...`
#[derive(Debug, Subcommand)]
pub(crate) enum WalletCommand {
    /// Make a key.
    New {
        /// Letters, digits, `-` and `_`.
        name: String,
        /// Make keys until the account lies in this shard.
        #[arg(long)]
        shard: Option<u16>,
        /// How many shards the network has, when no network is reachable to say so.
        #[arg(long, requires = "shard")]
        shards: Option<u16>,
    },
    /// List the wallets.
    List,
    /// Show a wallet's address.
    Show {
        /// Its name.
        name: String,
        /// Show the secret key too. Whoever sees it owns the account.
        #[arg(long)]
        secret: bool,
    },
}

/// `kakera faucet ...`
#[derive(Debug, Args)]
pub(crate) struct FaucetArgs {
    /// An address (kk1...) or a wallet's name.
    pub(crate) account: String,
    /// In the smallest unit; `_` may group digits.
    #[arg(value_parser = amount)]
    pub(crate) amount: u64,
    /// Return once the transaction is accepted.
    #[arg(long)]
    pub(crate) no_wait: bool,
}

/// `kakera send ...`
#[derive(Debug, Args)]
pub(crate) struct SendArgs {
    /// The wallet that pays.
    pub(crate) from: String,
    /// An address (kk1...) or a wallet's name.
    pub(crate) to: String,
    /// In the smallest unit; `_` may group digits.
    #[arg(value_parser = amount)]
    pub(crate) amount: u64,
    /// Return once the transaction is accepted.
    #[arg(long)]
    pub(crate) no_wait: bool,
    /// What the proposer gets, in the smallest unit per gas.
    #[arg(long, default_value_t = 0)]
    pub(crate) tip: u64,
    /// What to pay at most, per gas, tip included [default: twice the base fee, and the tip].
    #[arg(long)]
    pub(crate) max_fee: Option<u64>,
    /// For how many beacon slots from now it may be executed.
    #[arg(long, default_value_t = 600)]
    pub(crate) valid_for: u64,
    /// Use this nonce instead of the account's next.
    #[arg(long)]
    pub(crate) nonce: Option<u64>,
}

/// `kakera track ...`
#[derive(Debug, Args)]
pub(crate) struct TrackArgs {
    /// 64 hexadecimal digits, as `send` printed.
    pub(crate) transaction: String,
    /// The sender's shard.
    #[arg(long)]
    pub(crate) shard: u16,
    /// Give up after this many seconds.
    #[arg(long, default_value_t = 120)]
    pub(crate) timeout: u64,
}

/// `kakera demo ...`
#[derive(Clone, Debug, Args)]
pub(crate) struct DemoArgs {
    /// Repeat the choices of an earlier run [default: drawn and printed].
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    /// Signed transfers under load.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(10..=100_000))]
    pub(crate) transfers: u32,
    /// Keep the network's directory even when all checks hold.
    #[arg(long)]
    pub(crate) keep: bool,
}

/// An amount: digits, grouped by `_` if wished.
fn amount(text: &str) -> Result<u64, String> {
    let digits = text.replace('_', "");
    match digits.parse::<u64>() {
        Ok(0) => Err("an amount is above zero".to_owned()),
        Ok(amount) if !digits.starts_with('+') => Ok(amount),
        _ => Err("an amount is a whole number of the smallest unit, at most 2^64 - 1".to_owned()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split_whitespace())
    }

    #[test]
    fn the_grammar_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn global_options_stand_anywhere() {
        let cli = parse("kakera send alice bob 1_000 --json --dir /tmp/net --no-wait").unwrap();
        assert!(cli.json && cli.dir.is_some_and(|dir| dir.ends_with("net")));
        let Command::Send(send) = cli.command else { panic!("send") };
        assert_eq!((send.from.as_str(), send.to.as_str(), send.amount, send.no_wait), ("alice", "bob", 1_000, true));
        let cli = parse("kakera --node 127.0.0.1:1 --node 127.0.0.1:2 status").unwrap();
        assert_eq!(cli.node.len(), 2);
    }

    #[test]
    fn help_shows_what_every_command_takes_apart() {
        let help = parse("kakera validator join --help").unwrap_err().to_string();
        let (own, global) = help.split_once("Global options:").unwrap();
        assert!(own.contains("--beacon") && !own.contains("--json"), "{help}");
        assert!(global.contains("--json") && global.contains("[default: kakera-validator]"), "{help}");
        assert_eq!(help.matches("--dir").count(), 1, "{help}");
    }

    #[test]
    fn amounts_are_whole_and_above_zero() {
        for wrong in ["0", "-1", "1.5", "ten", "18446744073709551616", "+1", ""] {
            assert!(amount(wrong).is_err(), "{wrong}");
        }
        assert_eq!(amount("18_446_744_073_709_551_615"), Ok(u64::MAX));
    }

    #[test]
    fn wrong_usage_is_refused() {
        for line in [
            "kakera",
            "kakera testnet kill",
            "kakera send alice bob",
            "kakera demo --transfers 3",
            "kakera track abc",
            "kakera wallet new x --shards 2",
            "kakera fly",
        ] {
            assert_eq!(parse(line).unwrap_err().exit_code(), 2, "{line}");
        }
        assert!(matches!(
            parse("kakera testnet logs beacon-0 -f").unwrap().command,
            Command::Testnet(TestnetCommand::Logs { follow: true, lines: 40, .. })
        ));
    }
}
