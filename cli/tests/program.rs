//! The program as a shell sees it: exit codes, streams and JSON.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

fn kakera(home: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_kakera"))
        .args(arguments)
        .current_dir(home)
        .env("HOME", home)
        .env_remove("KAKERA_DIR")
        .env_remove("KAKERA_WALLETS")
        .output()
        .unwrap()
}

fn code(home: &Path, line: &str) -> i32 {
    kakera(home, &line.split_whitespace().collect::<Vec<_>>()).status.code().unwrap()
}

#[test]
fn exit_codes_tell_what_went_wrong() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    for (line, expected) in [
        ("--version", 0),
        ("wallet new alice", 0),
        ("wallet new alice", 4),
        ("wallet show nobody", 5),
        ("wallet new ../x", 2),
        ("fly", 2),
        ("send alice bob 0", 2),
        ("status", 5),
        ("status --node 127.0.0.1:1", 3),
        ("status --node nonsense", 2),
        ("account kk1wrong --node 127.0.0.1:1", 2),
        ("testnet up --profile nothing", 2),
        ("testnet down", 5),
        ("lab replay nowhere.jsonl", 5),
        ("validator list", 5),
        ("validator list --node 127.0.0.1:1", 3),
        ("validator join --beacon 127.0.0.1:1 --endpoint host:7 --no-start", 3),
        ("validator join --beacon 127.0.0.1:1", 2),
        ("validator guard export nowhere said.json", 5),
    ] {
        assert_eq!(code(home, line), expected, "kakera {line}");
    }
    assert!(home.join(".kakera/wallets/alice.key").exists());
    for made in ["kakera-testnet", "kakera-validator"] {
        assert!(!home.join(made).exists(), "nothing was made on the way: {made}");
    }
}

#[test]
fn failures_name_what_is_wrong_and_what_to_do() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    fs::create_dir(home.join("mine")).unwrap();
    fs::write(home.join("mine/node.toml"), "listen = '127.0.0.1:1'\n").unwrap();
    fs::write(home.join("said.json"), "{").unwrap();
    for (line, code, part) in [
        ("validator list", 5, "--node HOST:PORT"),
        ("validator join --beacon 127.0.0.1:1 --endpoint host:7 --no-start", 3, "--beacon HOST:PORT"),
        ("validator guard import mine missing.json", 5, "missing.json is not there"),
        ("validator guard import mine said.json", 4, "NOT_EXPORTED"),
        ("validator guard export mine said.json", 2, "name a new file"),
        ("lab risk --svg - --json", 2, "standard output"),
        ("lab draw said.json --svg - --json", 2, "standard output"),
    ] {
        let ended = kakera(home, &line.split_whitespace().collect::<Vec<_>>());
        let errors = String::from_utf8_lossy(&ended.stderr);
        assert!(errors.contains(part) && ended.stdout.is_empty(), "kakera {line}: {errors}");
        assert_eq!(ended.status.code(), Some(code), "kakera {line}: {errors}");
    }
}

#[test]
fn data_goes_to_stdout_and_errors_to_stderr() {
    let home = tempfile::tempdir().unwrap();
    let made = kakera(home.path(), &["--json", "wallet", "new", "alice"]);
    let value: Value = serde_json::from_slice(&made.stdout).unwrap();
    assert!(value["address"].as_str().unwrap().starts_with("kk1"));
    assert!(made.stderr.is_empty());
    let refused = kakera(home.path(), &["--json", "wallet", "new", "alice"]);
    assert!(refused.stdout.is_empty());
    let value: Value = serde_json::from_slice(&refused.stderr).unwrap();
    assert_eq!(value["error"]["reason"], "WALLET_EXISTS");
}

#[test]
fn the_lab_replays_the_sample_cases_with_the_expected_figures() {
    let samples = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../cbc/samples/cbc-cases.jsonl");
    let home = tempfile::tempdir().unwrap();
    let replayed = kakera(home.path(), &["lab", "replay", samples.to_str().unwrap()]);
    assert!(replayed.status.success());
    let results: Vec<Value> =
        String::from_utf8(replayed.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let cases: Vec<Value> =
        fs::read_to_string(&samples).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((cases.len(), results.len()), (40, 40));
    for (case, result) in cases.iter().zip(&results) {
        assert_eq!(case["id"], result["id"]);
        let mut unjustified: Vec<&str> = case["messages"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|message| message["estimate_follows"] == false)
            .map(|message| message["id"].as_str().unwrap())
            .collect();
        unjustified.sort_unstable();
        assert_eq!(result["unjustified"], serde_json::json!(unjustified), "{}", case["id"]);
        for (view, found) in case["views"].as_array().unwrap().iter().zip(result["views"].as_array().unwrap()) {
            let expected = &view["expected"];
            for field in ["equivocators", "fault_weight", "honest_latest", "candidates"] {
                assert_eq!(expected[field], found[field], "{} {} {field}", case["id"], view["name"]);
            }
            // Where children tie, the head follows our rule and the file names the candidates only.
            if expected["tie"].is_null() {
                assert_eq!(expected["head"], found["head"], "{} {}", case["id"], view["name"]);
            }
        }
    }
}

#[test]
fn a_bad_case_names_its_line() {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("bad.jsonl"), "\n{\"id\": 3}\n").unwrap();
    let refused = kakera(home.path(), &["lab", "replay", "bad.jsonl"]);
    assert_eq!(refused.status.code(), Some(4));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("line 2"));
}
