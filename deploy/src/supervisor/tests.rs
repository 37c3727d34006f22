//! The supervisor's requests and its tie to whoever started it.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use super::*;
use crate::{
    create::{Wiring, create_wired},
    links::Cut,
    orchestrator::tests::sleeper,
    profiles::Profile,
};
use std::{net::TcpListener, os::unix::net::UnixStream as Pipe};

/// A supervised network of sleepers whose endpoints are opened here.
struct Supervised {
    network: Network,
    starter: Option<Pipe>,
    thread: thread::JoinHandle<Result<()>>,
    _listeners: Vec<TcpListener>,
    _dir: tempfile::TempDir,
}

fn supervised() -> Supervised {
    supervised_wired(Wiring::Direct)
}

fn supervised_wired(wiring: Wiring) -> Supervised {
    let dir = tempfile::tempdir().unwrap();
    // Deeper than a socket's path may be.
    let deep = dir.path().join("d".repeat(120)).join("net");
    let network = create_wired(&deep, &Profile::small(), wiring).unwrap();
    let listeners = network.processes().iter().map(|process| TcpListener::bind(&process.endpoint).unwrap()).collect();
    let (starter, received) = Pipe::pair().unwrap();
    let orchestrator = Orchestrator::with_commands(network.clone(), Box::new(sleeper)).unwrap();
    let thread = thread::spawn(move || supervise(&orchestrator, &Arc::new(AtomicBool::new(false)), received));
    wait_until(|| network.processes().iter().all(|process| network.running(&process.name).is_ok()));
    Supervised { network, starter: Some(starter), thread, _listeners: listeners, _dir: dir }
}

fn wait_until(mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < Duration::from_secs(20));
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn the_network_ends_with_its_starter_until_it_is_detached() {
    let mut supervised = supervised();
    drop(supervised.starter.take());
    supervised.thread.join().unwrap().unwrap();
    for process in supervised.network.processes() {
        assert!(supervised.network.running(&process.name).is_err());
    }
    assert!(matches!(request_start(&supervised.network, "beacon-0"), Err(Error::NotUp { .. })));
}

#[test]
fn a_detached_network_serves_requests_until_it_is_told_to_stop() {
    let mut supervised = supervised();
    let network = supervised.network.clone();
    let mut starter = supervised.starter.take().unwrap();
    starter.write_all(DETACH.as_bytes()).unwrap();
    drop(starter);
    thread::sleep(Duration::from_millis(200));
    network.kill("beacon-2").unwrap();
    wait_until(|| network.state("beacon-2").unwrap() == ProcessState::Dead { how: Some("signal SIGKILL".to_owned()) });
    request_start(&network, "beacon-2").unwrap();
    let refusal = request_start(&network, "beacon-2").unwrap_err().to_string();
    assert!(refusal.contains("already running"), "{refusal}");
    assert!(matches!(request_start(&network, "nobody"), Err(Error::UnknownProcess { .. })));
    // The test's own process is the supervisor here: only the polite way of `down` may be taken.
    request(&network, "stop").unwrap();
    supervised.thread.join().unwrap().unwrap();
    for process in network.processes() {
        assert!(network.running(&process.name).is_err());
    }
}

#[test]
fn links_are_changed_and_listed_and_processes_restarted_on_request() {
    let mut supervised = supervised_wired(Wiring::Relayed);
    let network = supervised.network.clone();
    supervised.starter.as_mut().unwrap().write_all(DETACH.as_bytes()).unwrap();
    let cut = Between::pair("beacon-0", "validator-*");
    assert_eq!(request_change(&network, &cut, Change::Cut(Cut::Silent)).unwrap(), 8);
    let wrong = |states: Vec<LinkState>| states.into_iter().filter(|state| !state.faults.is_empty()).count();
    assert_eq!(wrong(request_links(&network).unwrap()), 8);
    let error = request_change(&network, &Between::around(&["nobody"]), Change::Heal).unwrap_err();
    assert!(error.is_not_found(), "{error}");
    assert_eq!(request_change(&network, &Between::around(&["all"]), Change::Heal).unwrap(), 56);
    assert_eq!(wrong(request_links(&network).unwrap()), 0);
    let before = network.running("validator-1").unwrap();
    request_restart(&network, "validator-1").unwrap();
    assert_ne!(network.running("validator-1").unwrap(), before);
    assert!(request(&network, "change nonsense").is_err());
    request(&network, "stop").unwrap();
    supervised.thread.join().unwrap().unwrap();
    assert!(matches!(request_links(&network), Err(Error::NotUp { .. })));
}
