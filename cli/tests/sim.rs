//! The simulator as a shell sees it: the same bytes every run, a failing seed that is shrunk, and plots.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use serde_json::Value;
use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

fn kakera(home: &Path, line: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_kakera"))
        .args(line.split_whitespace())
        .current_dir(home)
        .env("HOME", home)
        .env_remove("KAKERA_DIR")
        .output()
        .unwrap()
}

fn done(home: &Path, line: &str) -> Vec<u8> {
    let output = kakera(home, line);
    assert!(output.status.success(), "kakera {line}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn values(lines: &[u8]) -> Vec<Value> {
    let lines = lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_slice(line).unwrap()).collect()
}

#[test]
fn a_seed_gives_the_same_bytes_whatever_the_number_of_threads() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let line = "sim run --scenario crashes --scenario calm --seeds 3..5 --json";
    let printed = done(home, &format!("{line} --jobs 1"));
    assert_eq!(printed, done(home, &format!("{line} --jobs 2")));
    let seeds = values(&printed);
    let names: Vec<_> = seeds.iter().map(|seed| (seed["scenario"].as_str(), seed["seed"].as_u64())).collect();
    let (crashes, calm) = (Some("crashes"), Some("calm"));
    assert_eq!(names, [(crashes, Some(3)), (crashes, Some(4)), (calm, Some(3)), (calm, Some(4))]);

    let line = "sim run --scenario crashes --seeds 3 --trace";
    done(home, &format!("{line} one.trace --jobs 1"));
    done(home, &format!("{line} two.trace --jobs 2"));
    let trace = fs::read(home.join("one.trace")).unwrap();
    assert!(trace.len() > 10_000 && trace == fs::read(home.join("two.trace")).unwrap());
    assert_eq!(kakera(home, "sim run --scenario crashes --trace x").status.code(), Some(2), "ten seeds, one file");
}

#[test]
fn a_seed_that_fails_is_shrunk_and_fails_again() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let scenario = String::from_utf8(done(home, "sim show crashes")).unwrap();
    let cannot_hold = scenario.replace("blocks = ", "blocks = 1000");
    assert_ne!(scenario, cannot_hold);
    fs::write(home.join("mine.toml"), cannot_hold).unwrap();
    let failed = kakera(home, "sim run --scenario mine.toml --seeds 2..4 --shrink-runs 40 --out small");
    assert_eq!(failed.status.code(), Some(6), "{}", String::from_utf8_lossy(&failed.stderr));
    let told = String::from_utf8(failed.stderr).unwrap();
    let again = told.lines().rfind(|line| line.contains("replay")).unwrap();
    let again = again.split_once("kakera ").unwrap().1;
    assert!(again.contains("small/crashes-2-shrunk.toml"), "{told}");
    assert_eq!(kakera(home, &format!("{again} --shrink-runs 0")).status.code(), Some(6), "{again}");
}

#[test]
fn scenarios_are_listed_shown_and_not_found() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    for entry in values(&done(home, "sim list --json")) {
        let name = entry["name"].as_str().unwrap();
        let shown = String::from_utf8(done(home, &format!("sim show {name}"))).unwrap();
        assert!(shown.contains(&format!("name = \"{name}\"")), "{shown}");
    }
    assert_eq!(kakera(home, "sim show nothing").status.code(), Some(5));
    assert_eq!(kakera(home, "sim run --scenario nothing").status.code(), Some(5));
    assert_eq!(kakera(home, "sim run --seeds 5..5").status.code(), Some(2));
}

#[test]
fn a_report_is_plots_and_figures() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let sizes = values(&done(home, "sim report --shards 1,2 --members 4,5 --seeds 1 --out plots --json"));
    assert_eq!(sizes.len(), 4);
    assert!(sizes.iter().all(|size| size["size"]["throughput_per_second"].as_f64().unwrap() > 1.0));
    for by in ["shards", "members"] {
        for plot in ["finality", "orders", "throughput", "messages", "bytes", "work", "forks"] {
            let svg = fs::read_to_string(home.join(format!("plots/{plot}-by-{by}.svg"))).unwrap();
            assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
        }
        let figures = fs::read(home.join(format!("plots/figures-by-{by}.json"))).unwrap();
        assert_eq!(serde_json::from_slice::<Vec<Value>>(&figures).unwrap().len(), 2);
    }
}
