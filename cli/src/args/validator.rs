//! The grammar of `kakera validator`.

use clap::{Args, Subcommand, ValueEnum};
use kakera_chain::genesis::Role;
use std::{net::SocketAddr, path::PathBuf};

/// `kakera validator ...`
#[derive(Debug, Subcommand)]
pub(crate) enum ValidatorCommand {
    /// List all validators: stake, status, and where they sit.
    List,
    /// Show one validator.
    Status {
        /// Its name in the genesis file, its number, or its key.
        validator: String,
    },
    /// List who lost its stake, and for what.
    Slashings,
    /// The newest root of an era of the beacon chain from which every shard can be begun: what to tell somebody who joins and
    /// trusts you.
    Checkpoint,
    /// Make a validator and pay for its seats.
    Bond(BondArgs),
    /// Let a validator leave; its stake and rewards are paid out after the unbonding delay.
    Exit(RequestArgs),
    /// Pay for more seats of a validator.
    TopUp {
        /// Which, and who pays.
        #[command(flatten)]
        request: RequestArgs,
        /// How many more.
        #[arg(value_parser = clap::value_parser!(u32).range(1..=65_535))]
        seats: u32,
    },
    /// Bring a suspended validator back.
    Resume(RequestArgs),
    /// Join a running network from a new machine: fetch the genesis file, make a validator, bond it, start its process.
    Join(JoinArgs),
    /// Carry what a validator has said to another machine, so that it never says anything twice.
    #[command(subcommand)]
    Guard(GuardCommand),
}

/// What a validator does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum RoleName {
    /// Is drawn into shards.
    Shard,
    /// Runs the beacon chain.
    Beacon,
}

impl From<RoleName> for Role {
    fn from(name: RoleName) -> Role {
        match name {
            RoleName::Shard => Role::Shard,
            RoleName::Beacon => Role::Beacon,
        }
    }
}

/// `kakera validator bond ...`
#[derive(Debug, Args)]
pub(crate) struct BondArgs {
    /// The directory of its key and its randomness; made if they are not there.
    pub(crate) directory: PathBuf,
    /// Who pays and will own it: a wallet, a key file, or `faucet-N` of a network on this machine.
    #[arg(long, value_name = "WALLET")]
    pub(crate) from: String,
    /// Where others reach its process; part of the bond, which cannot be changed.
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) endpoint: String,
    /// How many seats [default: 1, or what is bonded already].
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=65_535))]
    pub(crate) seats: Option<u32>,
    /// What it will do.
    #[arg(long, value_enum, default_value_t = RoleName::Shard)]
    pub(crate) role: RoleName,
}

/// A validator, and whose order it is.
#[derive(Debug, Args)]
pub(crate) struct RequestArgs {
    /// Its name in the genesis file, its number, or its key.
    pub(crate) validator: String,
    /// Its owner: a wallet, a key file, or `faucet-N` [default: whichever key on this machine owns it].
    #[arg(long, value_name = "WALLET")]
    pub(crate) from: Option<String>,
}

/// `kakera validator join ...`
#[derive(Debug, Args)]
#[command(
    after_help = "Where the account cannot pay yet, the command says what it lacks; given again, it goes on where \
it stopped. A node.toml that is there stays as its operator changed it."
)]
pub(crate) struct JoinArgs {
    /// A node of the network.
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) beacon: String,
    /// The network's id, if you know it: another network's genesis file is refused [default: believe the node].
    #[arg(long, value_name = "ID")]
    pub(crate) network: Option<String>,
    /// Who pays and will own it: a wallet or a key file [default: a key that is made in the directory].
    #[arg(long, value_name = "WALLET")]
    pub(crate) from: Option<String>,
    /// How many seats [default: 1, or what is bonded already].
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=65_535))]
    pub(crate) seats: Option<u32>,
    /// What it will do.
    #[arg(long, value_enum, default_value_t = RoleName::Shard)]
    pub(crate) role: RoleName,
    /// Where its process listens [default: the endpoint's port, on all addresses].
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: Option<SocketAddr>,
    /// Where others reach it [default: where it listens].
    #[arg(long, value_name = "HOST:PORT", required_unless_present = "listen")]
    pub(crate) endpoint: Option<String>,
    /// Begin at this root of an era of the beacon chain, by its id, instead of at the genesis file: an id that somebody you
    /// trust gave you, no older than the unbonding delay (`kakera validator checkpoint` on a node of theirs).
    #[arg(long, value_name = "ID")]
    pub(crate) checkpoint: Option<String>,
    /// Do not start the process; say how to.
    #[arg(long)]
    pub(crate) no_start: bool,
}

/// `kakera validator guard ...`
#[derive(Debug, Subcommand)]
pub(crate) enum GuardCommand {
    /// Write what a stopped validator has said to a new file. After that it must not speak from this machine.
    Export(GuardArgs),
    /// Take what the validator said on another machine, before it is started here.
    Import(GuardArgs),
}

/// Whose, and the file.
#[derive(Debug, Args)]
pub(crate) struct GuardArgs {
    /// The validator's directory: its node.toml is there.
    pub(crate) directory: PathBuf,
    /// The file.
    pub(crate) file: PathBuf,
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
mod tests {
    use crate::args::{Cli, Command, ValidatorCommand};
    use clap::Parser;

    fn parse(line: &str) -> Result<ValidatorCommand, clap::Error> {
        let cli = Cli::try_parse_from(line.split_whitespace())?;
        let Command::Validator(command) = cli.command else { panic!("a validator command") };
        Ok(command)
    }

    #[test]
    fn joining_needs_to_know_where_others_reach_it() {
        let ValidatorCommand::Join(join) =
            parse("kakera validator join --beacon 10.0.0.1:7 --listen 10.0.0.2:7000 --dir there").unwrap()
        else {
            panic!("join")
        };
        assert_eq!((join.seats, join.no_start, join.endpoint, join.from), (None, false, None, None));
        for wrong in [
            "kakera validator join --beacon 10.0.0.1:7",
            "kakera validator join --listen 10.0.0.2:7000",
            "kakera validator join --beacon 10.0.0.1:7 --listen nowhere",
            "kakera validator bond there --endpoint a:1",
            "kakera validator bond there --from alice --endpoint a:1 --seats 0",
            "kakera validator top-up 3",
            "kakera validator",
        ] {
            assert_eq!(parse(wrong).unwrap_err().exit_code(), 2, "{wrong}");
        }
        assert!(matches!(
            parse("kakera validator top-up validator-3 2 --from alice").unwrap(),
            ValidatorCommand::TopUp { seats: 2, .. }
        ));
    }
}
