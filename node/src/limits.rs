//! A limit on the files that this process may write: a full disk for fault labs, met where a real one would be.

use nix::sys::{
    resource::{Resource, getrlimit, setrlimit},
    signal::Signal,
};
use std::io;
use tokio::signal::unix::{SignalKind, signal};

/// From now on a write that would make a file longer than `bytes` fails ("File too large"). Call it in the runtime,
/// once, before anything is opened.
///
/// # Errors
/// The machine's words.
pub fn limit_files(bytes: u64) -> io::Result<()> {
    // The kernel also sends a signal, which ends a process that does not listen for it. Once listened for, it is
    // caught for the process's whole life; the write's own error is what is acted on.
    drop(signal(SignalKind::from_raw(Signal::SIGXFSZ as i32))?);
    let (_, hard) = getrlimit(Resource::RLIMIT_FSIZE).map_err(io::Error::from)?;
    setrlimit(Resource::RLIMIT_FSIZE, bytes.min(hard), hard).map_err(io::Error::from)
}
