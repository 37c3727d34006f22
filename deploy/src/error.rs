//! What can go wrong with a network of processes, in a form that callers can match and people can act on.

use std::path::PathBuf;
use thiserror::Error as ThisError;

/// Why an operation on a network was refused or failed.
#[derive(Debug, ThisError)]
pub enum Error {
    /// A network is only created in a new or empty directory.
    #[error("{dir} is not empty; choose another directory, or remove it first")]
    NotEmpty {
        /// The directory.
        dir: PathBuf,
    },
    /// There is no network in the directory.
    #[error("{dir} holds no network ({reason}); create one with `kakera testnet up --dir {dir}`")]
    NoNetwork {
        /// The directory.
        dir: PathBuf,
        /// What is missing or wrong.
        reason: String,
    },
    /// A profile that is not built in and not a readable file.
    #[error("profile {profile}: {reason}")]
    Profile {
        /// As it was asked for.
        profile: String,
        /// What is wrong.
        reason: String,
    },
    /// No process of this name.
    #[error("no process is called {name}; there are: {known}")]
    UnknownProcess {
        /// As it was asked for.
        name: String,
        /// The names that exist.
        known: String,
    },
    /// It runs already.
    #[error("{name} is already running (process {pid})")]
    AlreadyRunning {
        /// Which.
        name: String,
        /// Its process id.
        pid: i32,
    },
    /// It does not run.
    #[error("{name} is not running; start it with `kakera testnet start {name}`")]
    NotRunning {
        /// Which.
        name: String,
    },
    /// The network as a whole runs already.
    #[error("the network in {dir} is already up (supervisor process {pid})")]
    AlreadyUp {
        /// Its directory.
        dir: PathBuf,
        /// The supervisor's process id.
        pid: i32,
    },
    /// Nobody supervises the network.
    #[error("the network in {dir} is not up; start it with `kakera testnet up --dir {dir}`")]
    NotUp {
        /// Its directory.
        dir: PathBuf,
    },
    /// Its nodes reach each other directly.
    #[error(
        "the nodes of {dir} reach each other directly, so nothing can happen to its links; make a network with relays: \
         `kakera testnet up --dir OTHER` (without --direct, at most 32 processes)"
    )]
    NoLinks {
        /// Its directory.
        dir: PathBuf,
    },
    /// A process ended by itself while it was expected to run.
    #[error("{name} ended with {status}; the end of its log ({log}):\n{tail}")]
    Ended {
        /// Which.
        name: String,
        /// Exit code or signal, in words.
        status: String,
        /// Its log file.
        log: PathBuf,
        /// The log's last lines.
        tail: String,
    },
    /// Something did not happen in time.
    #[error("{what} took longer than {seconds} s; the logs are in {dir}")]
    TimedOut {
        /// What was waited for.
        what: String,
        /// For how long.
        seconds: u64,
        /// The network's directory.
        dir: PathBuf,
    },
    /// A node binary is missing.
    #[error(
        "{name} was not found in {looked}; build it with `cargo build --release --workspace`, or set KAKERA_BIN_DIR"
    )]
    NoBinary {
        /// Its file name.
        name: String,
        /// Where it was looked for.
        looked: String,
    },
    /// The supervisor refused or failed.
    #[error("{0}")]
    Supervisor(String),
    /// The machine failed: disk, process table, sockets.
    #[error("{0:#}")]
    Machine(#[from] anyhow::Error),
}

impl Error {
    /// Whether what was asked for does not exist.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Error::NoNetwork { .. } | Error::UnknownProcess { .. } | Error::NoBinary { .. })
    }

    /// Whether the request conflicts with the state of things.
    pub fn is_refusal(&self) -> bool {
        matches!(
            self,
            Error::NotEmpty { .. }
                | Error::AlreadyRunning { .. }
                | Error::NotRunning { .. }
                | Error::AlreadyUp { .. }
                | Error::NotUp { .. }
                | Error::NoLinks { .. }
                | Error::Profile { .. }
        )
    }
}

/// The result of an operation on a network.
pub type Result<T> = std::result::Result<T, Error>;
