//! What a node is told: a TOML file, flags that override it, and the network and key they lead to.

use crate::{checkpoint::Wish, ways::Ways};
use clap::{Parser, ValueEnum};
use kakera_beacon::{TooRisky, check_risk, randomness::CHAIN_LINKS};
use kakera_chain::{
    genesis::{GenesisValidator, InvalidGenesis, Network, Role},
    keys::{InvalidKey, PublicKey, SecretKey},
    units::ValidatorId,
};
use serde::Deserialize;
use std::{
    collections::BTreeMap,
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};
use thiserror::Error;

/// Flags of the node binaries; each overrides the file's value.
#[derive(Debug, Clone, Parser)]
#[command(version, about = "Runs one validator of a Kakera network, as its configuration file says")]
pub struct Flags {
    /// The node's configuration file (node.toml).
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// Where to listen for gRPC, host:port.
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<SocketAddr>,
    /// The data directory.
    #[arg(long, value_name = "DIRECTORY")]
    pub data: Option<PathBuf>,
    /// Where to serve Prometheus metrics, host:port.
    #[arg(long, value_name = "ADDRESS")]
    pub metrics: Option<SocketAddr>,
    /// Which events to log, as in RUST_LOG: "info", "kakera_node=debug,warn".
    #[arg(long, value_name = "FILTER")]
    pub log: Option<String>,
    /// End when the process that started this one ends; with its process id, also when it ended already.
    #[arg(long, value_name = "PID", num_args = 0..=1, require_equals = true, default_missing_value = "0")]
    pub die_with_parent: Option<i32>,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// The configuration file. Paths are relative to it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeConfig {
    /// The network's genesis file.
    pub genesis: PathBuf,
    /// A file with the validator's secret key: 64 hexadecimal digits.
    pub key: PathBuf,
    /// The data directory; made when missing.
    pub data: PathBuf,
    /// Where to listen for gRPC.
    pub listen: SocketAddr,
    /// Where to serve Prometheus metrics; nowhere if absent.
    pub metrics: Option<SocketAddr>,
    /// Which events to log.
    #[serde(default = "default_log")]
    pub log: String,
    /// How log lines look.
    #[serde(default)]
    pub log_format: LogFormat,
    /// Where to begin following the beacon chain, instead of at the genesis file; heeded once, by an empty data directory.
    pub checkpoint: Option<Wish>,
    /// Relays in the place of validators' endpoints, by the validators' names: only for fault labs.
    #[serde(default)]
    pub via: BTreeMap<String, SocketAddr>,
    /// The longest file that this process may write, in bytes, as if the disk were full then: only for fault labs.
    pub disk_limit_bytes: Option<u64>,
    /// How far this process's clock is ahead of the machine's, in ms (negative: behind): only for fault labs.
    #[serde(default)]
    pub clock_offset_ms: i64,
}

/// A configuration whose files were read and checked against each other.
#[derive(Clone)]
pub struct Identity {
    /// The network.
    pub network: Network,
    /// The genesis file as it was read.
    pub genesis_text: Arc<str>,
    /// This validator's key.
    pub key: SecretKey,
    /// What it does, or is to do.
    pub role: Role,
    /// Its place in the registry, where the genesis file lists it; others are found in the beacon's state.
    pub validator: Option<ValidatorId>,
    /// Its name, for people.
    pub name: String,
    /// The secret of its hash chain of random numbers: what it reveals in the blocks that it proposes.
    pub randomness: Option<[u8; 32]>,
    /// Where the others are dialled.
    pub ways: Ways,
}

/// Why a node is not configured. Each message names the file and what to do.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// A file that cannot be read.
    #[error("{}: {what} cannot be read ({reason}): correct the path or make the file", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What it is for.
        what: &'static str,
        /// The machine's words.
        reason: io::Error,
    },
    /// A configuration file that is not TOML of this shape.
    #[error("{}: not a node configuration: {reason}", path.display())]
    Shape {
        /// The file.
        path: PathBuf,
        /// The parser's words: key, line and what was expected.
        reason: String,
    },
    /// A genesis file that is refused.
    #[error("{}: {reason}: use the genesis file of the network, unchanged", path.display())]
    Genesis {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: InvalidGenesis,
    },
    /// A network whose committees are likelier captured than its own limit allows.
    #[error("{}: {reason}", path.display())]
    Risk {
        /// The genesis file.
        path: PathBuf,
        /// How likely, and what would do.
        reason: TooRisky,
    },
    /// A key file that holds no key.
    #[error("{}: {reason}: put the validator's secret key there, 64 hexadecimal digits", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: InvalidKey,
    },
    /// A key that no validator of the network has, where nobody can become one.
    #[error(
        "{}: its public key {public} belongs to no validator of {}: use the key of a validator that the genesis file \
         lists", path.display(), genesis.display()
    )]
    NotAValidator {
        /// The key file.
        path: PathBuf,
        /// The public half of what it holds.
        public: PublicKey,
        /// The genesis file.
        genesis: PathBuf,
    },
    /// A `randomness` file that holds no secret of a hash chain.
    #[error("{}: {reason}: put the validator's own file back, or remove it (its blocks then reveal nothing)", path.display())]
    Randomness {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A validator of the other role.
    #[error("{}: validator {name} has the role {found:?}: start kakera-{} with this key", path.display(), binary(*found))]
    WrongRole {
        /// The key file.
        path: PathBuf,
        /// Whose key it is.
        name: String,
        /// The validator's role.
        found: Role,
    },
    /// A shard validator whose seats were not drawn.
    #[error(
        "{}: validator {name} is a standby: no seat of it was drawn into a committee, so there is nothing to run; \
         give it more seats or use more shards in a new genesis file", path.display()
    )]
    Standby {
        /// The key file.
        path: PathBuf,
        /// Whose key it is.
        name: String,
    },
    /// A relay for nobody.
    #[error("via: {name} is no validator of the genesis file: correct the name or remove the line")]
    Via {
        /// The name.
        name: String,
    },
    /// A log filter that does not parse.
    #[error("log = {filter:?}: {reason}: use a level (error, warn, info, debug, trace) or target=level pairs")]
    LogFilter {
        /// The filter.
        filter: String,
        /// The parser's words.
        reason: String,
    },
}

fn default_log() -> String {
    "info".to_owned()
}

fn binary(role: Role) -> &'static str {
    match role {
        Role::Beacon => "beacon",
        Role::Shard => "shard",
    }
}

fn read(path: &Path, what: &'static str) -> Result<String, ConfigError> {
    fs::read_to_string(path).map_err(|reason| ConfigError::Unreadable { path: path.to_path_buf(), what, reason })
}

impl NodeConfig {
    /// Reads the file that the flags name and lets them override it.
    ///
    /// # Errors
    /// The file, or a key of it, and what to do.
    pub fn load(flags: &Flags) -> Result<NodeConfig, ConfigError> {
        let text = read(&flags.config, "the configuration file")?;
        let mut config = NodeConfig::parse(&text, &flags.config)?;
        let directory = flags.config.parent().unwrap_or(Path::new(""));
        for path in [&mut config.genesis, &mut config.key, &mut config.data] {
            *path = directory.join(&*path);
        }
        if let Some(listen) = flags.listen {
            config.listen = listen;
        }
        if let Some(data) = &flags.data {
            config.data.clone_from(data);
        }
        config.metrics = flags.metrics.or(config.metrics);
        if let Some(log) = &flags.log {
            config.log.clone_from(log);
        }
        Ok(config)
    }

    /// The contents of the file at `path`.
    fn parse(text: &str, path: &Path) -> Result<NodeConfig, ConfigError> {
        toml::from_str(text).map_err(|error| ConfigError::Shape { path: path.to_owned(), reason: error.to_string() })
    }

    /// Reads genesis and key and checks that the key is a validator's of this role.
    ///
    /// # Errors
    /// The file at fault and what to do.
    pub fn identity(&self, role: Role) -> Result<Identity, ConfigError> {
        let genesis_text: Arc<str> = read(&self.genesis, "the genesis file")?.into();
        let network = Network::parse(&genesis_text)
            .map_err(|reason| ConfigError::Genesis { path: self.genesis.clone(), reason })?;
        check_risk(&network).map_err(|reason| ConfigError::Risk { path: self.genesis.clone(), reason })?;
        let key = SecretKey::parse(read(&self.key, "the key file")?.trim())
            .map_err(|reason| ConfigError::Key { path: self.key.clone(), reason })?;
        let public = key.public();
        let mine = (0..).zip(&network.genesis.validators).find(|(_, validator)| validator.key == public);
        let ways = Ways::new(&network, &self.via)?;
        let randomness = self.randomness()?;
        let Some((index, validator)) = mine else {
            // Where stake is taken, anybody may become a validator; until then the process follows.
            if network.genesis.epochs.is_none() || network.genesis.staking.is_none() {
                let (path, genesis) = (self.key.clone(), self.genesis.clone());
                return Err(ConfigError::NotAValidator { path, public, genesis });
            }
            let name = format!("validator {}", &public.to_string()[..8]);
            return Ok(Identity { network, genesis_text, key, role, validator: None, name, randomness, ways });
        };
        if validator.role != role {
            let (path, name, found) = (self.key.clone(), validator.name.clone(), validator.role);
            return Err(ConfigError::WrongRole { path, name, found });
        }
        let name = validator.name.clone();
        Ok(Identity { network, genesis_text, key, role, validator: Some(ValidatorId(index)), name, randomness, ways })
    }

    /// The secret in the file `randomness` beside the key, if there is one.
    fn randomness(&self) -> Result<Option<[u8; 32]>, ConfigError> {
        let path = self.key.with_file_name("randomness");
        if !path.exists() {
            return Ok(None);
        }
        let text = read(&path, "the randomness file")?;
        let refuse = |reason: String| ConfigError::Randomness { path: path.clone(), reason };
        let file: RandomnessFile = toml::from_str(&text).map_err(|error| refuse(error.to_string()))?;
        if file.links != CHAIN_LINKS {
            return Err(refuse(format!("a chain of {} links, but this program uses {CHAIN_LINKS}", file.links)));
        }
        let seed = kakera_chain::keys::parse_hex(&file.seed);
        seed.map(Some).ok_or_else(|| refuse("seed must be 64 hexadecimal digits".to_owned()))
    }
}

/// The contents of a `randomness` file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RandomnessFile {
    seed: String,
    links: u32,
}

/// A validator's name: the genesis file's, or its number where it came later.
pub fn name(network: &Network, id: ValidatorId) -> String {
    validator(network, id).map_or_else(|| format!("validator {id}"), |entry| entry.name.clone())
}

/// A validator's entry in the genesis file.
pub fn validator(network: &Network, id: ValidatorId) -> Option<&GenesisValidator> {
    network.genesis.validators.get(usize::try_from(id.0).ok()?)
}

#[cfg(test)]
mod tests;
