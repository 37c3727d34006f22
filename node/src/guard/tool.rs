//! `kakera-guard`: what a validator has said, on every chain that it ever served, to a file and from one.
//!
//! The file is a JSON array of exported interlocks. Both directions need the node to be stopped: they lock the data
//! directory, as it does, whether it sits in a committee now or stands by.

use super::{GuardFailure, ImportRefused, SignGuard};
use crate::{
    config::{ConfigError, Flags, NodeConfig},
    home::{self, HomeFailure},
};
use clap::{Parser, Subcommand};
use kakera_chain::{
    genesis::{InvalidGenesis, Network},
    hash::NetworkId,
    keys::{InvalidKey, SecretKey},
    replica::SignState,
    units::{ChainId, ShardId},
};
use serde_json::{Value, json};
use std::{
    fs::{self, OpenOptions},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};
use thiserror::Error;

/// Bytes of a file of interlocks at most: one of every chain that a network may have.
const MAX_BYTES: u64 = 8 << 20;
/// The name of an interlock's file in its directory.
const NAME: &str = "sign-state";

/// The command line.
#[derive(Debug, Parser)]
#[command(name = "kakera-guard", version, about = "Carries what a validator has said from one machine to another")]
struct Tool {
    /// What to do.
    #[command(subcommand)]
    way: Way,
}

#[derive(Debug, Subcommand)]
enum Way {
    /// Write what the validator said to a new file; it must not speak on this machine after that.
    Export {
        /// The node's configuration file (node.toml).
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// The file to make.
        file: PathBuf,
    },
    /// Take what the validator said on another machine.
    Import {
        /// The node's configuration file (node.toml).
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// The exported file.
        file: PathBuf,
    },
}

/// Why nothing was carried.
#[derive(Debug, Error)]
pub enum ToolFailure {
    /// The configuration.
    #[error("{0}")]
    Config(#[from] ConfigError),
    /// The genesis file.
    #[error("{}: {reason}", path.display())]
    Genesis {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: InvalidGenesis,
    },
    /// The key file.
    #[error("{}: {reason}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: InvalidKey,
    },
    /// A file that cannot be read or made.
    #[error("{}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The machine's words.
        reason: io::Error,
    },
    /// Not a list of interlocks.
    #[error("{} is no file of exported interlocks", path.display())]
    Format {
        /// The file.
        path: PathBuf,
    },
    /// A chain that the network does not have.
    #[error("the file has an interlock of {chain}, which this network does not have")]
    UnknownChain {
        /// The chain.
        chain: ChainId,
    },
    /// Nothing was ever said here.
    #[error("{} holds nothing that a validator said: there is nothing to export", path.display())]
    Nothing {
        /// The data directory.
        path: PathBuf,
    },
    /// The data directory is in use, or cannot be used.
    #[error("{0}")]
    Home(#[from] HomeFailure),
    /// An interlock of this machine cannot be opened.
    #[error("{0}")]
    Guard(#[from] GuardFailure),
    /// One of the file is not taken.
    #[error("{chain}: {reason}")]
    Refused {
        /// Of which chain.
        chain: ChainId,
        /// Why.
        reason: ImportRefused,
    },
}

/// A node whose interlocks are carried.
#[derive(Debug)]
pub struct Node {
    id: NetworkId,
    shards: u16,
    key: SecretKey,
    data: PathBuf,
}

/// Where the interlock of a chain is made that there is none of in a data directory.
pub fn place(data: &Path, chain: ChainId) -> PathBuf {
    home::of(data, chain).join(NAME)
}

/// The interlocks in a data directory: there, and in the directories in it.
pub fn files(data: &Path) -> Vec<PathBuf> {
    let inner = fs::read_dir(data).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path().join(NAME)));
    let mut files: Vec<PathBuf> = inner.chain([data.join(NAME)]).filter(|path| path.is_file()).collect();
    files.sort();
    files
}

impl Node {
    /// The node that a configuration file describes. Its key need not be registered.
    ///
    /// # Errors
    /// The file at fault.
    pub fn of(config: &Path) -> Result<Node, ToolFailure> {
        let flags = Flags {
            config: config.to_path_buf(),
            listen: None,
            data: None,
            metrics: None,
            log: None,
            die_with_parent: None,
        };
        let config = NodeConfig::load(&flags)?;
        let network = Network::parse(&read(&config.genesis)?)
            .map_err(|reason| ToolFailure::Genesis { path: config.genesis.clone(), reason })?;
        let key = SecretKey::parse(read(&config.key)?.trim())
            .map_err(|reason| ToolFailure::Key { path: config.key.clone(), reason })?;
        Ok(Node { id: network.id, shards: network.genesis.shards, key, data: config.data })
    }

    fn chains(&self) -> impl Iterator<Item = ChainId> {
        std::iter::once(ChainId::Beacon).chain((0..self.shards).map(|shard| ChainId::Shard(ShardId(shard))))
    }

    /// The interlock in a file, of whatever chain it is.
    fn open(&self, path: &Path) -> Result<(ChainId, SignGuard), ToolFailure> {
        let mut refused = None;
        for chain in self.chains() {
            match SignGuard::open(path, self.id, chain) {
                Ok(guard) => return Ok((chain, guard)),
                Err(reason @ GuardFailure::Corrupt { .. }) => refused = Some(reason),
                Err(reason) => return Err(reason.into()),
            }
        }
        Err(refused.expect("a network has a beacon chain").into())
    }

    fn held(&self) -> Result<Vec<(ChainId, SignGuard)>, ToolFailure> {
        files(&self.data).iter().map(|path| self.open(path)).collect()
    }

    /// All interlocks as the text of one file, and what they say.
    ///
    /// # Errors
    /// There is none, or one cannot be opened.
    pub fn export(&self) -> Result<(String, Vec<(ChainId, SignState)>), ToolFailure> {
        if !self.data.exists() {
            return Err(ToolFailure::Nothing { path: self.data.clone() });
        }
        let _tenancy = home::take(&self.data)?;
        let held = self.held()?;
        if held.is_empty() {
            return Err(ToolFailure::Nothing { path: self.data.clone() });
        }
        let one = |guard: &SignGuard| {
            serde_json::from_str::<Value>(&guard.export(self.key.public())).expect("what was just written is JSON")
        };
        let all: Vec<Value> = held.iter().map(|(_, guard)| one(guard)).collect();
        let text = format!("{:#}\n", Value::Array(all));
        Ok((text, held.iter().map(|(chain, guard)| (*chain, guard.read())).collect()))
    }

    /// Takes all interlocks of a file. Each one only ever adds to what is remembered here, so that a file refused half-way
    /// can be offered again.
    ///
    /// # Errors
    /// The first that is refused.
    pub fn import(&self, path: &Path, text: &str) -> Result<Vec<(ChainId, SignState)>, ToolFailure> {
        let format = || ToolFailure::Format { path: path.to_path_buf() };
        let offered: Vec<Value> = serde_json::from_str(text).map_err(|_| format())?;
        if offered.is_empty() {
            return Err(format());
        }
        let _tenancy = home::take(&self.data)?;
        let mut held = self.held()?;
        let mut taken = Vec::new();
        for value in &offered {
            let chain = value.get("chain").cloned().and_then(|chain| serde_json::from_value::<ChainId>(chain).ok());
            let chain = chain.ok_or_else(format)?;
            if !self.chains().any(|known| known == chain) {
                return Err(ToolFailure::UnknownChain { chain });
            }
            let at = match held.iter().position(|(found, _)| *found == chain) {
                Some(at) => at,
                None => {
                    held.push((chain, SignGuard::open(&place(&self.data, chain), self.id, chain)?));
                    held.len() - 1
                }
            };
            let state = held[at].1.import(&value.to_string(), self.key.public());
            taken.push((chain, state.map_err(|reason| ToolFailure::Refused { chain, reason })?));
        }
        Ok(taken)
    }
}

fn read(path: &Path) -> Result<String, ToolFailure> {
    let failed = |reason| ToolFailure::File { path: path.to_path_buf(), reason };
    let mut text = String::new();
    fs::File::open(path).and_then(|file| file.take(MAX_BYTES).read_to_string(&mut text)).map_err(failed)?;
    Ok(text)
}

fn make(path: &Path, text: &str) -> Result<(), ToolFailure> {
    let failed = |reason| ToolFailure::File { path: path.to_path_buf(), reason };
    let mut file = OpenOptions::new().write(true).create_new(true).open(path).map_err(failed)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)
}

fn run(way: &Way) -> Result<Vec<(ChainId, SignState)>, ToolFailure> {
    match way {
        Way::Export { config, file } => {
            let (text, said) = Node::of(config)?.export()?;
            make(file, &text)?;
            Ok(said)
        }
        Way::Import { config, file } => Node::of(config)?.import(file, &read(file)?),
    }
}

/// Runs the program: what was carried as JSON on standard output. Exit code 4: refused.
pub fn main() -> ExitCode {
    let tool = Tool::parse();
    match run(&tool.way) {
        Ok(said) => {
            let one = |(chain, state): &(ChainId, SignState)| {
                json!({"chain": chain.to_string(), "epoch": state.epoch.0, "next_seq": state.next_seq,
                       "finality_height": state.finality_height})
            };
            let value = Value::Array(said.iter().map(one).collect());
            // A closed standard output is nobody's loss.
            let _closed = writeln!(io::stdout(), "{value}");
            ExitCode::SUCCESS
        }
        Err(failure) => {
            let _nowhere = writeln!(io::stderr(), "{failure}");
            ExitCode::from(4)
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::testing;
    use kakera_chain::{BlockId, units::Epoch};

    /// A node's directory with validator 1's key.
    fn node(dir: &Path) -> PathBuf {
        fs::create_dir_all(dir).unwrap();
        fs::write(dir.join("genesis.toml"), testing::genesis_text()).unwrap();
        fs::write(dir.join("key"), hex::encode(testing::secret(1).to_seed())).unwrap();
        let config = "genesis = 'genesis.toml'\nkey = 'key'\ndata = 'data'\nlisten = '127.0.0.1:4001'\n";
        fs::write(dir.join("node.toml"), config).unwrap();
        dir.join("node.toml")
    }

    const SHARD: ChainId = ChainId::Shard(ShardId(0));

    fn said(epoch: u64, next_seq: u64) -> SignState {
        SignState { epoch: Epoch(epoch), root: BlockId([3; 32]), next_seq, finality_height: 9 }
    }

    #[test]
    fn what_was_said_moves_to_another_machine_and_never_back() {
        let dir = tempfile::tempdir().unwrap();
        let (here, there) = (node(&dir.path().join("here")), node(&dir.path().join("there")));
        let (old, new) = (Node::of(&here).unwrap(), Node::of(&there).unwrap());
        assert!(matches!(old.export(), Err(ToolFailure::Nothing { .. })));
        let guard = SignGuard::open(&old.data.join("first").join(NAME), old.id, SHARD).unwrap();
        guard.write(said(4, 17)).unwrap();
        assert!(matches!(old.export(), Err(ToolFailure::Guard(GuardFailure::Locked { .. }))), "it still runs");
        drop(guard);
        let running = home::take(&old.data).unwrap();
        assert!(matches!(old.export(), Err(ToolFailure::Home(HomeFailure::Locked { .. }))), "though it sits nowhere");
        drop(running);

        let file = dir.path().join("said.json");
        assert_eq!(run(&Way::Export { config: here.clone(), file: file.clone() }).unwrap(), [(SHARD, said(4, 17))]);
        assert!(run(&Way::Export { config: here, file: file.clone() }).is_err(), "no file is written over");
        let import = || run(&Way::Import { config: there.clone(), file: file.clone() });
        assert_eq!(import().unwrap(), [(SHARD, said(4, 17))]);
        assert_eq!(import().unwrap(), [(SHARD, said(4, 17))], "once more changes nothing");
        let guard = SignGuard::open(&place(&new.data, SHARD), new.id, SHARD).unwrap();
        guard.write(said(4, 18)).unwrap();
        drop(guard);
        let back = import().unwrap_err();
        assert!(matches!(back, ToolFailure::Refused { reason: ImportRefused::GoesBack { .. }, .. }), "{back}");
    }

    #[test]
    fn files_of_others_and_nonsense_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let config = node(dir.path());
        let node = Node::of(&config).unwrap();
        let import = |text: &str| node.import(Path::new("file"), text).unwrap_err();
        for text in ["", "{}", "[]", "[1]", "[{\"chain\": 3}]"] {
            assert!(matches!(import(text), ToolFailure::Format { .. }), "{text}");
        }
        let far = import("[{\"chain\": {\"Shard\": 7}}]");
        assert!(matches!(far, ToolFailure::UnknownChain { chain: ChainId::Shard(ShardId(7)) }), "{far}");
        let torn = import("[{\"chain\": \"Beacon\"}]");
        assert!(matches!(torn, ToolFailure::Refused { reason: ImportRefused::Format(_), .. }), "{torn}");
    }
}
