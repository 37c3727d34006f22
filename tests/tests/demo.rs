//! `kakera demo`, as a newcomer runs it: it checks itself, and this checks that it does.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use kakera_tests::program;
use std::{path::Path, process::Command, time::Duration};

#[test]
fn the_demo_ends_green_and_reports_its_checks() {
    let ended = program::run(Command::new(program::kakera_path()).args(["demo", "--json"]), Duration::from_secs(300));
    assert_eq!(ended.code, Some(0), "{}", ended.all());
    let report: serde_json::Value = serde_json::from_str(ended.output.trim()).unwrap();
    println!("{report:#}");
    assert_eq!(report["ok"], true);
    let checks = report["checks"].as_array().unwrap();
    assert!(checks.len() >= 4 && checks.iter().all(|check| check["ok"] == true), "{checks:#?}");
    assert_eq!(report["load"]["transfers"], 1_000);
    assert_eq!(report["shards"].as_array().unwrap().len(), 2);
    assert_eq!(report["killed"].as_array().unwrap().len(), 2);
    for reason in ["BAD_SIGNATURE", "NONCE_USED", "OVERDRAFT", "WRONG_NETWORK", "EXPIRED"] {
        assert!(report["refusals"][reason].as_u64().is_some_and(|count| count > 0), "{reason}");
    }
    let dir = report["dir"].as_str().unwrap();
    assert!(!Path::new(dir).exists(), "a network whose checks hold leaves nothing behind: {dir}");
}
