//! A network's links made breakable: every connection from node to node goes through a relay in this process, which
//! cuts, delays, throttles, resets and corrupts what passes. No privileges, no containers.
//!
//! ```text
//!   dialler ──▶ 127.1.(dialler+1).(listener+1) ──▶ listener's endpoint
//!                        Relay, told by the Table what is wrong in each of the two directions
//! ```
//!
//! What is wrong is set for a *direction*: from one node to another. Members of one committee speak only on the
//! connections that they dialled themselves, so cutting a → b there ends a's connection and leaves b's whole. Between
//! nodes of different chains requests go one way and answers the other, so a cut either way ends both connections.

mod faults;
mod names;
mod relay;
mod table;

pub use faults::{Change, Cut, Faults};
pub use names::{Between, select};
pub use table::LinkState;

use crate::{
    error::{Error, Result},
    network::{Network, Process},
};
use anyhow::Context;
use std::{net::SocketAddr, sync::Arc};
use table::Table;
use tokio::{
    net::TcpListener,
    runtime::{Builder, Runtime},
};

/// Processes that a network with relays may have: a listening socket for each ordered pair of them.
pub const MAX_RELAYED: usize = 32;

/// The relays of a network; they end with it.
pub struct Links {
    network: Network,
    table: Arc<Table>,
    runtime: Option<Runtime>,
}

impl Links {
    /// Opens the relays of a network that was created with them; none otherwise.
    pub fn open(network: &Network) -> Result<Option<Links>> {
        if !network.is_relayed() {
            return Ok(None);
        }
        raise_file_limit();
        let processes = network.processes();
        let committees: Vec<_> = processes.iter().map(|process| (process.role, process.shard)).collect();
        let table = Arc::new(Table::new(&committees));
        // One thread carries some thousand small messages a second at a few percent of a core.
        let mut runtime = Builder::new_multi_thread();
        let runtime = runtime.worker_threads(1).thread_name("links").enable_io().enable_time();
        let runtime = runtime.build().context("cannot start the relays")?;
        let inside = runtime.enter();
        for (dialler, _) in processes.iter().enumerate() {
            for (listener, process) in processes.iter().enumerate().filter(|(listener, _)| *listener != dialler) {
                let address = network.relay(dialler, listener).context("a relayed network has an address a pair")?;
                let target = endpoint(process)?;
                // Not bound by the runtime: this may run inside another one, which forbids waiting.
                let socket = bind(address).with_context(|| format!("cannot open the relay {address}"))?;
                runtime.spawn(relay::serve(socket, target, Arc::clone(&table), dialler, listener));
            }
        }
        drop(inside);
        Ok(Some(Links { network: network.clone(), table, runtime: Some(runtime) }))
    }

    /// Changes what is wrong on links; returns how many directions that concerns.
    pub fn apply(&self, between: &Between, change: Change) -> Result<usize> {
        let ways = select(&self.network, between)?;
        for &(from, to) in &ways {
            self.table.way(from, to).change(change);
        }
        Ok(ways.len())
    }

    /// Takes everything that is wrong off all links.
    pub fn heal(&self) {
        for (from, to) in self.table.pairs() {
            self.table.way(from, to).change(Change::Heal);
        }
    }

    /// Every direction, in the order of the registry: what is wrong there and what has passed.
    pub fn states(&self) -> Vec<LinkState> {
        let name = |index: usize| self.network.processes()[index].name.clone();
        self.table.pairs().map(|(from, to)| self.table.way(from, to).state(name(from), name(to))).collect()
    }
}

impl Drop for Links {
    fn drop(&mut self) {
        // Waiting for its tasks is forbidden where this may be dropped, and pointless.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Inside a runtime.
fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = std::net::TcpListener::bind(address)?;
    socket.set_nonblocking(true)?;
    TcpListener::from_std(socket)
}

fn endpoint(process: &Process) -> Result<SocketAddr> {
    Ok(process.endpoint.parse().with_context(|| format!("{} is not an address", process.endpoint))?)
}

/// Refuses a network that has no relays, with what to do.
pub fn require(network: &Network) -> Result<()> {
    if network.is_relayed() { Ok(()) } else { Err(Error::NoLinks { dir: network.dir().to_owned() }) }
}

/// Two sockets a connection and one a pair add up; most systems start processes with a low limit that they may raise.
fn raise_file_limit() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < hard
    {
        // Refused: the old limit serves small networks.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard.min(65_536).max(soft), hard);
    }
}

#[cfg(test)]
mod tests;
