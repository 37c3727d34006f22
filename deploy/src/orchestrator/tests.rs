//! The orchestrator with small real programs in the nodes' place.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use super::*;
use crate::{create, profiles::Profile};
use std::{env, path::Path};

const ORCHESTRATED: &str = "KAKERA_TEST_ORCHESTRATED_DIR";

/// A program that runs for a minute and dies with the thread that started it, as the nodes do.
pub(crate) fn sleeper(_: &Network, _: &Process) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "sleep", "60"]);
    command
}

fn sleepers(dir: &Path) -> Orchestrator {
    let network = create(&dir.join("net"), &Profile::small()).unwrap();
    Orchestrator::with_commands(network, Box::new(sleeper)).unwrap()
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < Duration::from_secs(20), "{what}");
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_process_is_started_killed_and_started_again() {
    let dir = tempfile::tempdir().unwrap();
    let orchestrator = sleepers(dir.path());
    let network = orchestrator.network();
    let first = orchestrator.start("beacon-0").unwrap();
    assert_eq!(network.state("beacon-0").unwrap(), ProcessState::Running(first));
    assert!(matches!(orchestrator.start("beacon-0"), Err(Error::AlreadyRunning { .. })));
    network.kill("beacon-0").unwrap();
    assert_eq!(network.state("beacon-0").unwrap(), ProcessState::Dead { how: None });
    let ended = orchestrator.collect();
    assert_eq!(ended, [Ended { name: "beacon-0".to_owned(), how: "signal SIGKILL".to_owned(), code: None }]);
    assert_eq!(network.state("beacon-0").unwrap().word(), "dead");
    let second = orchestrator.start("beacon-0").unwrap();
    assert_ne!(first, second);
    let third = orchestrator.restart("beacon-0").unwrap();
    assert!(!second.is_alive() && third.is_alive());
}

#[test]
fn a_paused_process_can_be_resumed_and_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let orchestrator = sleepers(dir.path());
    let network = orchestrator.network();
    let running = orchestrator.start("validator-1").unwrap();
    network.pause("validator-1").unwrap();
    wait_until("paused", || network.state("validator-1").unwrap() == ProcessState::Paused(running));
    network.resume("validator-1").unwrap();
    wait_until("resumed", || network.state("validator-1").unwrap() == ProcessState::Running(running));
    network.pause("validator-1").unwrap();
    let killed = network.stop(&["validator-1".to_owned(), "validator-2".to_owned()], Duration::from_secs(5)).unwrap();
    assert_eq!(killed, Vec::<String>::new(), "a frozen process is woken to hear the request");
    assert_eq!(network.state("validator-1").unwrap(), ProcessState::Stopped);
}

#[test]
fn a_process_that_ignores_sigterm_is_killed_after_the_deadline() {
    let dir = tempfile::tempdir().unwrap();
    let network = create(&dir.path().join("net"), &Profile::small()).unwrap();
    let stubborn: CommandOf = Box::new(|_, _| {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "sh", "-c", "trap '' TERM; echo deaf; while :; do sleep 0.1; done"]);
        command
    });
    let orchestrator = Orchestrator::with_commands(network, stubborn).unwrap();
    orchestrator.start("beacon-1").unwrap();
    let log = orchestrator.network().log_path("beacon-1");
    wait_until("the trap is set", || logs::tail(&log, 1) == "deaf");
    let killed = orchestrator.network().stop(&["beacon-1".to_owned()], Duration::from_millis(300)).unwrap();
    assert_eq!(killed, ["beacon-1"]);
}

#[test]
fn dropping_the_orchestrator_ends_its_processes() {
    let dir = tempfile::tempdir().unwrap();
    let orchestrator = sleepers(dir.path());
    orchestrator.start_all().unwrap();
    let network = orchestrator.network().clone();
    let running: Vec<Running> =
        network.processes().iter().map(|process| network.running(&process.name).unwrap()).collect();
    assert_eq!(running.len(), 8);
    drop(orchestrator);
    assert!(running.iter().all(|process| !process.is_alive()));
}

#[test]
fn a_process_that_ends_at_once_is_reported_with_its_log() {
    let dir = tempfile::tempdir().unwrap();
    let network = create(&dir.path().join("net"), &Profile::small()).unwrap();
    let failing: CommandOf = Box::new(|_, _| {
        let mut command = Command::new("sh");
        command.args(["-c", "echo 'unknown key: speed' >&2; exit 2"]);
        command
    });
    let orchestrator = Orchestrator::with_commands(network, failing).unwrap();
    orchestrator.start("beacon-0").unwrap();
    let error =
        orchestrator.wait_listening(&["beacon-0".to_owned()], Duration::from_secs(10), |_| {}).unwrap_err().to_string();
    assert!(error.contains("exit code 2") && error.contains("unknown key: speed"), "{error}");
}

#[test]
fn a_process_whose_port_was_taken_is_started_again() {
    let dir = tempfile::tempdir().unwrap();
    let network = create(&dir.path().join("net"), &Profile::small()).unwrap();
    let mark = dir.path().join("mark");
    // Fails once with the code for a taken port, then lives.
    let script = format!("if [ -e {0} ]; then exec sleep 60; fi; touch {0}; exit 4", mark.display());
    let command_of: CommandOf = Box::new(move |_, _| {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "sh", "-c", &script]);
        command
    });
    // Stands in for the listening socket of the node.
    let _listener = std::net::TcpListener::bind(&network.process("beacon-0").unwrap().endpoint).unwrap();
    let orchestrator = Orchestrator::with_commands(network, command_of).unwrap();
    orchestrator.start("beacon-0").unwrap();
    wait_until("the first start failed", || mark.exists());
    wait_until("and ended", || orchestrator.network().state("beacon-0").unwrap().running().is_none());
    orchestrator.wait_listening(&["beacon-0".to_owned()], Duration::from_secs(10), |_| {}).unwrap();
    assert_eq!(orchestrator.network().state("beacon-0").unwrap().word(), "running");
}

/// Not a test of its own: the body of the process that the next test kills.
#[test]
fn orchestrate_until_killed() {
    let Some(dir) = env::var_os(ORCHESTRATED) else { return };
    let orchestrator = sleepers(Path::new(&dir));
    orchestrator.start_all().unwrap();
    fs::write(Path::new(&dir).join("started"), "").unwrap();
    thread::sleep(Duration::from_secs(60));
}

#[test]
fn no_process_outlives_a_killed_orchestrator() {
    let dir = tempfile::tempdir().unwrap();
    let mut orchestrator = Command::new(env::current_exe().unwrap())
        .args(["--exact", "orchestrator::tests::orchestrate_until_killed", "--nocapture"])
        .env(ORCHESTRATED, dir.path())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    wait_until("the network started", || dir.path().join("started").exists());
    let network = Network::open(&dir.path().join("net")).unwrap();
    let running: Vec<Running> =
        network.processes().iter().map(|process| network.running(&process.name).unwrap()).collect();
    // A program that execs keeps its id; give setpriv the moment it needs to ask for the death signal.
    wait_until("all sleep", || {
        running.iter().all(|process| {
            fs::read_to_string(format!("/proc/{}/comm", process.pid)).is_ok_and(|comm| comm.trim() == "sleep")
        })
    });
    orchestrator.kill().unwrap();
    orchestrator.wait().unwrap();
    wait_until("the kernel killed them all", || running.iter().all(|process| !process.is_alive()));
    assert_eq!(network.state("beacon-0").unwrap(), ProcessState::Dead { how: None });
}
