//! The sources keep the rules that the layers, the purity of the rules crates and the reader's time need.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use kakera_tests::scan::{
    MAX_LINES, PURE, begins_with_sentence, closure, debts, excluded_modules, files, impure, manifests, root, strangers,
    tokens, unreasoned_allows, without_tests,
};
use std::{
    fs,
    path::{Path, PathBuf},
};

fn text(path: &Path) -> Option<String> {
    String::from_utf8(fs::read(root().join(path)).unwrap()).ok()
}

fn is_rust(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "rs")
}

fn rust_files() -> Vec<(PathBuf, String)> {
    let files = files(&root()).into_iter().filter(|path| is_rust(path));
    files.map(|path| (path.clone(), text(&path).unwrap())).collect()
}

fn report(breaches: &[String]) {
    assert!(breaches.is_empty(), "{} breaches:\n{}", breaches.len(), breaches.join("\n"));
}

#[test]
fn arrows_point_down() {
    let manifests = manifests(&root());
    assert!(manifests.len() >= 9, "the members are read from the workspace");
    report(&manifests.iter().flat_map(|manifest| manifest.breaches()).collect::<Vec<_>>());
}

#[test]
fn testing_a_pure_crate_compiles_neither_rocksdb_nor_tokio_nor_tonic() {
    let lock = fs::read_to_string(root().join("Cargo.lock")).unwrap();
    assert!(closure(&lock, "kakera-node").contains("rocksdb"), "the lock file is read");
    for member in PURE {
        let built = closure(&lock, &format!("kakera-{member}"));
        for heavy in ["rocksdb", "librocksdb-sys", "tokio", "tonic", "hyper", "mio"] {
            assert!(!built.contains(heavy), "{member} is built with {heavy}");
        }
    }
}

#[test]
fn pure_crates_touch_nothing_of_the_world() {
    let mut breaches = Vec::new();
    for member in PURE {
        let sources: Vec<_> =
            rust_files().into_iter().filter(|(path, _)| path.starts_with(format!("{member}/src"))).collect();
        assert!(sources.len() > 5, "{member} has sources");
        let excluded: Vec<PathBuf> = sources.iter().flat_map(|(path, text)| test_modules(path, text)).collect();
        for (path, text) in &sources {
            let is_test =
                excluded.iter().any(|module| path == &module.with_extension("rs") || path.starts_with(module));
            if !is_test {
                let found = impure(&without_tests(&tokens(text)));
                breaches.extend(found.iter().map(|name| format!("{}: {name}", path.display())));
            }
        }
    }
    report(&breaches);
}

/// Where the test modules that this file declares live, without extension.
fn test_modules(path: &Path, text: &str) -> Vec<PathBuf> {
    let stem = path.file_stem().unwrap().to_string_lossy().into_owned();
    let parent = path.parent().unwrap();
    let home = if matches!(&*stem, "lib" | "main" | "mod") { parent.to_owned() } else { parent.join(stem) };
    excluded_modules(&tokens(text)).iter().map(|name| home.join(name)).collect()
}

#[test]
fn no_source_file_is_two_ideas_long() {
    let long = |(path, text): (PathBuf, String)| {
        let lines = text.lines().count();
        (lines > MAX_LINES).then(|| format!("{}: {lines} lines, {MAX_LINES} are allowed", path.display()))
    };
    report(&rust_files().into_iter().filter_map(long).collect::<Vec<_>>());
}

#[test]
fn every_file_begins_with_its_sentence() {
    let silent = |(path, text): (PathBuf, String)| (!begins_with_sentence(&text)).then(|| path.display().to_string());
    report(&rust_files().into_iter().filter_map(silent).collect::<Vec<_>>());
}

#[test]
fn no_work_is_left_in_the_code_and_nothing_points_out_of_the_repository() {
    let mut breaches = Vec::new();
    for path in files(&root()) {
        let Some(text) = text(&path) else { continue };
        let found = if is_rust(&path) { debts(&text) } else { Vec::new() };
        let found = found.into_iter().chain(strangers(&text));
        breaches.extend(found.map(|word| format!("{}: {word}", path.display())));
    }
    report(&breaches);
}

/// Whether a patch or a merge left this beside a file that it changed.
fn is_leftover(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "orig" || extension == "rej")
}

#[test]
fn no_patch_has_left_anything_behind() {
    assert!(is_leftover(Path::new("a/b.rs.orig")) && is_leftover(Path::new("b.rs.rej")));
    let left = files(&root()).into_iter().filter(|path| is_leftover(path));
    report(&left.map(|path| path.display().to_string()).collect::<Vec<_>>());
}

#[test]
fn every_allow_has_a_reason() {
    let bare = |(path, text): (PathBuf, String)| {
        let found = unreasoned_allows(&tokens(&text));
        found.into_iter().map(move |allow| format!("{}: {allow}", path.display()))
    };
    report(&rust_files().into_iter().flat_map(bare).collect::<Vec<_>>());
}
