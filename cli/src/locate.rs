//! Finding the network that a command is about: named nodes, or those of a directory.

use crate::{
    args::Cli,
    client::Client,
    failure::{Failure, Result},
    output::Output,
    wallet::Wallets,
};
use kakera_chain::hash::{Hash, NetworkId};
use kakera_deploy::Network;
use std::path::{Path, PathBuf};

/// The network's directory, where none is named.
const DIR: &str = "kakera-testnet";

/// What the global options say.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// Nodes that were named.
    nodes: Vec<String>,
    /// The network's directory.
    pub(crate) dir: PathBuf,
    /// Whether it was named.
    named: bool,
    /// Where wallets are.
    wallets: Option<PathBuf>,
    /// Where results go.
    pub(crate) output: Output,
}

impl Place {
    /// From the command line.
    pub(crate) fn of(cli: &Cli) -> Place {
        Place {
            nodes: cli.node.clone(),
            dir: cli.dir.clone().unwrap_or_else(|| PathBuf::from(DIR)),
            named: cli.dir.is_some(),
            wallets: cli.wallets.clone(),
            output: Output { json: cli.json },
        }
    }

    /// The directory that was named, if one was.
    pub(crate) fn named_dir(&self) -> Option<&Path> {
        self.named.then_some(&self.dir)
    }

    /// The network in the directory.
    pub(crate) fn network(&self) -> Result<Network> {
        Ok(Network::open(&self.dir)?)
    }

    /// The named nodes, else the directory's.
    pub(crate) fn endpoints(&self) -> Result<Vec<String>> {
        if !self.nodes.is_empty() {
            return Ok(self.nodes.clone());
        }
        let network = Network::open(&self.dir).map_err(|error| match error {
            error @ kakera_deploy::Error::NoNetwork { .. } => {
                Failure::NotFound(format!("{error}, or name a node of a running one with --node HOST:PORT"))
            }
            error => error.into(),
        })?;
        Ok(network.running_ones().map(|process| process.endpoint.clone()).collect())
    }

    /// A client of those nodes.
    pub(crate) fn client(&self) -> Result<Client> {
        Client::new(&self.endpoints()?)
    }

    /// The wallets.
    pub(crate) fn wallets(&self) -> Result<Wallets> {
        Wallets::at(self.wallets.clone())
    }
}

/// A network id as a node sends it.
pub(crate) fn network_id(bytes: &[u8]) -> Result<NetworkId> {
    let hash = <[u8; 32]>::try_from(bytes)
        .map_err(|_| Failure::Other(anyhow::anyhow!("the node's network id has {} bytes, not 32", bytes.len())))?;
    Ok(NetworkId(Hash(hash)))
}
