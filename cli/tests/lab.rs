//! The lab as a shell sees it: cases made, then replayed, drawn and explained.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use serde_json::Value;
use std::{
    fs,
    path::Path,
    process::{Command, Output, Stdio},
};

fn kakera(home: &Path, line: &str, input: &[u8]) -> Output {
    let given = home.join("input.jsonl");
    fs::write(&given, input).unwrap();
    Command::new(env!("CARGO_BIN_EXE_kakera"))
        .args(line.split_whitespace())
        .current_dir(home)
        .env("HOME", home)
        .env_remove("KAKERA_DIR")
        .stdin(Stdio::from(fs::File::open(given).unwrap()))
        .output()
        .unwrap()
}

fn done(home: &Path, line: &str, input: &[u8]) -> Vec<u8> {
    let output = kakera(home, line, input);
    assert!(output.status.success(), "kakera {line}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

#[test]
fn cases_travel_through_pipes() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let made = done(home, "lab random --seed 7 --count 3", b"");
    assert_eq!(made, done(home, "lab random --seed 7 --count 3", b""), "the same bytes");
    let replayed = done(home, "lab replay -", &made);
    assert_eq!(replayed, done(home, "lab random --seed 7 --count 3 --replay", b""));
    assert_eq!(replayed.iter().filter(|byte| **byte == b'\n').count(), 3);
    let first: Value = serde_json::from_slice(made.split(|byte| *byte == b'\n').next().unwrap()).unwrap();
    let (id, view) = (first["id"].as_str().unwrap(), first["views"][1]["name"].as_str().unwrap());

    let drawn = String::from_utf8(done(home, &format!("lab draw - --id {id} --view {view}"), &made)).unwrap();
    assert!(drawn.starts_with(&format!("{id}, view {view}: head ")) && !drawn.contains('\u{1b}'), "{drawn}");
    let svg = done(home, "lab draw - --svg -", &made);
    assert!(svg.starts_with(b"<svg ") && svg.ends_with(b"</svg>\n"));
    done(home, "lab draw - --svg out.svg --candidate m1", &made);
    assert!(fs::read_to_string(home.join("out.svg")).unwrap().contains("level for the candidate"));
    let layout: Value = serde_json::from_slice(&done(home, "lab draw - --json", &made)).unwrap();
    assert_eq!(layout["messages"].as_array().unwrap().len(), first["messages"].as_array().unwrap().len());

    let told = String::from_utf8(done(home, &format!("lab explain - --id {id} --candidate m0"), &made)).unwrap();
    assert!(told.starts_with(&format!("m0 of {id} in view global: ")), "{told}");
    let value: Value = serde_json::from_slice(&done(home, "lab explain - --candidate m0 --json", &made)).unwrap();
    let summits = serde_json::from_slice::<Value>(replayed.split(|byte| *byte == b'\n').next().unwrap()).unwrap();
    assert_eq!(value["fault_weight"], summits["views"][0]["fault_weight"]);
}

#[test]
fn what_is_not_there_is_told_apart_from_what_is_wrong() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let made = done(home, "lab random --seed 7", b"");
    for (line, input, code) in [
        ("lab draw nowhere.jsonl", &b""[..], 5),
        ("lab draw -", b"", 5),
        ("lab draw - --id nobody", &made, 5),
        ("lab draw - --view nobody", &made, 4),
        ("lab draw -", b"{}", 4),
        ("lab explain - --candidate nobody", &made, 4),
        ("lab random --seed 1 --validators 1000", b"", 2),
        ("lab random --seed 1 --validators 3 --equivocators 4", b"", 2),
        ("lab explain --height 1", b"", 5),
        ("lab explain --height 1 --node 127.0.0.1:1", b"", 3),
    ] {
        let output = kakera(home, line, input);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "kakera {line}: {errors}");
        assert!(errors.starts_with("error: ") && output.stdout.is_empty(), "kakera {line}: {errors}");
    }
}
