//! `kakera demo`, as a newcomer runs it: it checks itself, and this checks that it does.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use kakera_tests::program;
use std::{process::Command, time::Duration};

#[test]
fn the_demo_ends_green_and_reports_its_checks() {
    let ended = program::run(Command::new(program::kakera_path()).args(["demo", "--json"]), Duration::from_secs(300));
    assert_eq!(ended.code, Some(0), "{}", ended.all());
    let report: serde_json::Value = serde_json::from_str(ended.output.trim()).unwrap();
    println!("{report:#}");
}
