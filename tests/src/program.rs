//! One program run to its end, with all it said.

use kakera_deploy::{Binaries, Network};
use std::{
    env,
    io::Read,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// How a program ended.
#[derive(Clone, Debug)]
pub struct Ended {
    /// Its exit code; none when a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub output: String,
    /// Standard error.
    pub errors: String,
}

impl Ended {
    /// Everything it said.
    pub fn all(&self) -> String {
        format!("{}\n{}", self.output, self.errors)
    }
}

/// Runs a program; kills it after `limit`.
///
/// # Panics
/// When it cannot be started or does not end in time: with all it said.
pub fn run(command: &mut Command, limit: Duration) -> Ended {
    let named = format!("{command:?}");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot start {named}: {error}"));
    let output = reader(child.stdout.take().expect("piped"));
    let errors = reader(child.stderr.take().expect("piped"));
    let started = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().expect("a child can be waited for") {
            break Some(status);
        }
        if started.elapsed() > limit {
            child.kill().expect("a child can be killed");
            child.wait().expect("a child can be waited for");
            break None;
        }
        thread::sleep(Duration::from_millis(20));
    };
    let text = |thread: thread::JoinHandle<String>| thread.join().expect("a reader does not panic");
    let (output, errors) = (text(output), text(errors));
    let Some(status) = status else { panic!("{named} did not end within {limit:?}; it said:\n{output}\n{errors}") };
    Ended { code: status.code(), output, errors }
}

fn reader(mut source: impl Read + Send + 'static) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        // What was read before a failure is still worth showing.
        let _ = source.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// The command that runs one node of a network.
pub fn node(network: &Network, name: &str) -> Command {
    let process = network.process(name).expect("a process of this network");
    Binaries::find().expect("the node binaries are built").command(network, process)
}

/// The `kakera` command line, working on the network in `dir`.
pub fn kakera(dir: &Path) -> Command {
    let mut command = Command::new(kakera_path());
    command.arg("--dir").arg(dir).env("KAKERA_WALLETS", dir.join("wallets"));
    command
}

/// Where `kakera` is: in `KAKERA_BIN_DIR`, or beside this test's directory as Cargo lays it out.
pub fn kakera_path() -> PathBuf {
    let here = env::current_exe().expect("the running program has a path");
    let above = here.parent().and_then(Path::parent).map(Path::to_owned).unwrap_or_default();
    let path = env::var_os("KAKERA_BIN_DIR").map_or(above, PathBuf::from).join("kakera");
    assert!(path.is_file(), "{} is missing: build it with `cargo build --release --workspace`", path.display());
    path
}
