//! `kakera`: the command line. Wallets, transactions, networks of real processes, consensus cases, and a demo that
//! checks itself.
//!
//! ```text
//!   args ──▶ commands ──▶ client (gRPC, several nodes) ──▶ nodes
//!                │  └───▶ kakera_deploy (processes)
//!                └──────▶ demo: deploy + client + checks
//!   Data goes to stdout (text, or JSON with --json), everything else to stderr.
//! ```

mod args;
mod client;
mod commands;
mod demo;
mod failure;
mod locate;
mod order;
mod output;
mod progress;
mod tracking;
mod wallet;

use args::{Cli, Command};
use clap::Parser;
use failure::{Failure, Result};
use locate::Place;
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let place = Place::of(&cli);
    match start(cli.command, &place) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let text = if place.output.json { failure.to_json().to_string() } else { format!("error: {failure}") };
            place.output.note(&text);
            ExitCode::from(failure.exit_code())
        }
    }
}

fn start(command: Command, place: &Place) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Failure::Other(anyhow::anyhow!("cannot start the runtime: {error}")))?;
    let outcome = runtime.block_on(run(command, place));
    // A thread that still waits for a terminal or a file must not hold the end up.
    runtime.shutdown_background();
    outcome
}

async fn run(command: Command, place: &Place) -> Result<()> {
    match command {
        Command::Testnet(command) => commands::testnet::run(command, place).await,
        Command::Wallet(command) => commands::wallet::run(command, place).await,
        Command::Faucet(args) => commands::transfer::faucet(args, place).await,
        Command::Send(args) => commands::transfer::send(args, place).await,
        Command::Track(args) => commands::transfer::track(args, place).await,
        Command::Account { account, head } => commands::account::run(&account, head, place).await,
        Command::Status => commands::status::run(place).await,
        Command::Validator(command) => commands::validator::run(command, place).await,
        Command::Lab(command) => commands::lab::run(command, place).await,
        Command::Sim(command) => commands::sim::run(&command, place.output),
        Command::Demo(args) => demo::run(&args, place.output).await,
    }
}
