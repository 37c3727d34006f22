//! Networks of real processes: create one in a directory, start, stop, kill, pause and watch its processes.
//!
//! ```text
//!   Profile ──create──▶ directory ──Network::open──▶ Network       who is there, signals, status, logs
//!                                                      │
//!                          Orchestrator  owns the child processes; they end when it ends, however it ends
//!                                                      │
//!                          Links         relays between the nodes, to cut, delay and corrupt what passes
//!                          Supervisor    an orchestrator in a process of its own, for a network that stays up
//! ```
//!
//! ```
//! # fn main() -> Result<(), kakera_deploy::Error> {
//! # let dir = tempfile::tempdir().expect("a temporary directory");
//! let network = kakera_deploy::create(&dir.path().join("net"), &kakera_deploy::Profile::small())?;
//! assert_eq!(network.processes().len(), 8);
//! assert_eq!(network.state("beacon-0")?, kakera_deploy::ProcessState::Stopped);
//! # Ok(())
//! # }
//! ```
//!
//! Invariants:
//! - No orphan. Every node is started with `--die-with-parent` from a thread that lives as long as its
//!   [`Orchestrator`]: the kernel kills the nodes when that thread ends, even by `kill -9` of the whole process.
//! - No stranger is ever signalled: a process is named by its id *and* its start time, so a reused id is noticed.
//! - A directory becomes a network only when all of it is written (`network.toml` comes last).

pub mod binaries;
pub mod create;
pub mod error;
pub mod files;
mod keys;
pub mod links;
pub mod logs;
pub mod network;
pub mod orchestrator;
mod ports;
pub mod process;
pub mod profiles;
pub mod settings;
pub mod supervisor;

pub use binaries::Binaries;
pub use create::{Wiring, create, create_wired};
pub use error::Error;
pub use files::{NodeFile, Secrets};
pub use links::Links;
pub use network::{Network, Process};
pub use orchestrator::Orchestrator;
pub use process::ProcessState;
pub use profiles::Profile;
