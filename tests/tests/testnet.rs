//! The command line on a network that stays up: up, wallets, faucet, send, kill, start, down; and its supervisor killed.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use kakera_deploy::{Network, ProcessState};
use kakera_tests::{
    program,
    wait::{PATIENCE, check, until},
};
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// A network's directory, taken down with it.
struct Place(PathBuf);

impl Place {
    /// Runs `kakera --json` with these words; what it printed, a value a line. Panics unless it ends with `code`.
    fn kakera(&self, words: &str, code: i32) -> Vec<Value> {
        let ended = program::run(program::kakera(&self.0).arg("--json").args(words.split(' ')), PATIENCE);
        assert_eq!(ended.code, Some(code), "kakera {words}: {}", ended.all());
        ended.output.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn network(&self) -> Network {
        Network::open(&self.0).unwrap()
    }

    fn states(&self) -> Vec<(String, ProcessState)> {
        let network = self.network();
        let names = network.processes().iter().map(|process| process.name.clone());
        names.map(|name| (name.clone(), network.state(&name).unwrap())).collect()
    }

    fn wait_states(&self, word: &str) {
        until(&format!("all processes to be {word}"), || {
            let others: Vec<_> = self.states().into_iter().filter(|(_, state)| state.word() != word).collect();
            check(others.is_empty(), || format!("{others:?}"))
        });
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        program::run(program::kakera(&self.0).args(["testnet", "down"]), PATIENCE);
    }
}

#[test]
fn a_testnet_is_driven_from_the_command_line_and_leaves_no_orphan() {
    let dir = tempfile::tempdir().unwrap();
    let place = Place(dir.path().join("net"));
    place.kakera("status", 5);
    place.kakera("testnet up --profile small", 0);
    place.wait_states("running");
    place.kakera("testnet up", 4);

    place.kakera("wallet new alice", 0);
    place.kakera("wallet new bob", 0);
    place.kakera("wallet new bob", 4);
    assert_eq!(place.kakera("wallet list", 0).len(), 1, "one list of two");
    assert_eq!(place.kakera("faucet alice 1_000_000", 0).last().unwrap()["stage"], "recorded");
    place.kakera("testnet kill validator-2 beacon-3", 0);
    assert_eq!(place.kakera("send alice bob 500", 0).last().unwrap()["stage"], "recorded");
    place.kakera("send alice bob 100_000_000", 4);
    place.kakera("send alice bob none", 2);
    place.kakera("send carol bob 1", 5);
    let bob = place.kakera("account bob", 0).remove(0);
    assert_eq!((&bob["balance"], &bob["nonce"]), (&500.into(), &0.into()));
    place.kakera("testnet kill validator-2", 4);
    place.kakera("testnet kill validator-9", 5);
    place.kakera("testnet start validator-2 beacon-3", 0);
    place.wait_states("running");

    // The supervisor killed as the system would when memory runs out: nothing of it is left, and it comes up again.
    kill_supervisor(&place.0);
    place.wait_states("dead");
    place.kakera("account bob", 3);
    place.kakera("testnet up", 0);
    place.wait_states("running");
    let bob = place.kakera("account bob", 0).remove(0);
    assert_eq!(bob["balance"], 500);
    place.kakera("testnet down", 0);
    place.wait_states("stopped");
}

fn kill_supervisor(dir: &Path) {
    let text = fs::read_to_string(dir.join("supervisor/pid")).unwrap();
    let pid = text.split(' ').next().unwrap();
    assert!(Command::new("kill").args(["-9", pid]).status().unwrap().success());
}
