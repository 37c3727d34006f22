//! The committed corpus keeps every property, and so do seeded changes of it: a short run without a fuzzer.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use kakera_fuzz::{Random, TARGETS, Target};
use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

/// The heap's counter is the process's: one target at a time.
static ONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Inputs of all targets that are committed at most, and bytes of one.
const MOST_FILES: usize = 900;
const MOST_BYTES: u64 = 16 * 1024;

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")
}

fn inputs(target: &Target) -> Vec<(PathBuf, Vec<u8>)> {
    let directory = corpus().join(target.name);
    let entries = fs::read_dir(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.into_iter().map(|file| (file.clone(), fs::read(file).unwrap())).collect()
}

#[test]
fn every_committed_input_keeps_its_targets_properties() {
    let _heap = alone();
    for target in TARGETS {
        let inputs = inputs(target);
        assert!(!inputs.is_empty(), "{} has no corpus", target.name);
        for (file, bytes) in inputs {
            let kept = catch_unwind(AssertUnwindSafe(|| (target.run)(&bytes)));
            assert!(kept.is_ok(), "{} is broken by {}", target.name, file.display());
        }
    }
}

#[test]
fn seeded_changes_of_the_corpus_keep_every_property() {
    let _heap = alone();
    for target in TARGETS {
        let inputs = inputs(target);
        let mut random = Random(7);
        for round in 0..target.rounds {
            let mut pick = || &inputs[usize::try_from(random.number() % inputs.len() as u64).unwrap()].1;
            let (valid, other) = (pick(), pick());
            let mut bytes = random.change(valid, other);
            bytes.truncate(target.max_bytes);
            let kept = catch_unwind(AssertUnwindSafe(|| (target.run)(&bytes)));
            if kept.is_err() {
                let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-{round}", target.name));
                fs::write(&file, &bytes).unwrap();
                panic!("cargo run --release -p kakera-fuzz -- replay {} {}", target.name, file.display());
            }
        }
    }
}

#[test]
fn todays_seeds_keep_every_property_and_the_corpus_stays_small() {
    let _heap = alone();
    let mut files = 0;
    for target in TARGETS {
        let inputs = inputs(target);
        let seeds = (target.seeds)();
        assert!(inputs.len() >= seeds.len(), "{}: run kakera-fuzz seeds tests/fuzz/corpus", target.name);
        for (number, seed) in seeds.iter().enumerate() {
            assert!(seed.len() <= target.max_bytes, "seed {number} of {} is too long", target.name);
            (target.run)(seed);
        }
        for (file, bytes) in &inputs {
            assert!(bytes.len() as u64 <= MOST_BYTES, "{} is too long", file.display());
        }
        files += inputs.len();
    }
    assert!(files <= MOST_FILES, "{files} inputs, {MOST_FILES} are enough");
    let mut directories: Vec<String> = fs::read_dir(corpus())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    let mut names: Vec<&str> = kakera_fuzz::names();
    directories.sort();
    names.sort_unstable();
    assert_eq!(directories, names, "a directory for each target, and no other");
}
