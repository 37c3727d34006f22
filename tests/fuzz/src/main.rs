//! What `make fuzz` runs: lists and replays targets, writes their seeds, and drives libFuzzer over all of them.

mod campaign;

use anyhow::{Context as _, bail};
use clap::{Parser, Subcommand};
use kakera_fuzz::{TARGETS, Target, names, target};
use std::{fs, path::PathBuf};

#[derive(Debug, Parser)]
#[command(about = "Fuzz targets of Kakera: docs/fuzzing.md says how to use them")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the targets.
    List,
    /// Run a target on files: it panics if one of them breaks its properties.
    Replay {
        /// The target.
        target: String,
        /// Inputs.
        files: Vec<PathBuf>,
    },
    /// Write each target's valid examples into its directory below this one.
    Seeds {
        /// The corpus.
        corpus: PathBuf,
    },
    /// Run libFuzzer on targets, one after the other.
    Run(campaign::Campaign),
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Command::List => TARGETS.iter().for_each(|target| println!("{:<14} {}", target.name, target.about)),
        Command::Replay { target, files } => {
            let target = named(&target)?;
            for file in files {
                let bytes = fs::read(&file).with_context(|| format!("{} cannot be read", file.display()))?;
                println!("{}: {} bytes", file.display(), bytes.len());
                (target.run)(&bytes);
            }
            println!("nothing found");
        }
        Command::Seeds { corpus } => {
            for target in TARGETS {
                let directory = corpus.join(target.name);
                fs::create_dir_all(&directory)?;
                let seeds = (target.seeds)();
                for (number, seed) in seeds.iter().enumerate() {
                    fs::write(directory.join(format!("seed-{number:02}")), seed)?;
                }
                println!("{}: {} seeds", target.name, seeds.len());
            }
        }
        Command::Run(campaign) => campaign.run()?,
    }
    Ok(())
}

fn named(name: &str) -> anyhow::Result<&'static Target> {
    match target(name) {
        Some(target) => Ok(target),
        None => bail!("{name} is no target; there are: {}", names().join(", ")),
    }
}
