//! Rules about the sources themselves, as functions over text: each returns what breaks it.

mod layers;
mod tokens;

pub use layers::{Manifest, allowed, closure, manifests};
pub use tokens::{excluded_modules, impure, tokens, unreasoned_allows, without_tests};

use std::{
    fs,
    path::{Path, PathBuf},
};

/// The crates without clock, entropy, file, socket, thread, async and hash-table order.
pub const PURE: [&str; 4] = ["cbc", "chain", "beacon", "shard"];

/// Lines that a source file may have.
pub const MAX_LINES: usize = 500;

/// The workspace's directory.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().expect("this crate lies in the workspace").to_owned()
}

/// All files of the workspace that people write, by their path below `root`, in order; build output and anything
/// hidden but `.ci` is left out.
pub fn files(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    walk(root, &mut found);
    let mut below: Vec<PathBuf> =
        found.iter().map(|path| path.strip_prefix(root).expect("found below it").to_owned()).collect();
    below.sort();
    below
}

fn walk(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display())).flatten() {
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        let skipped = (name.starts_with('.') && name != ".ci") || matches!(&*name, "target" | "__pycache__" | "venv");
        if path.is_dir() && !skipped {
            walk(&path, found);
        } else if path.is_file() && !name.starts_with('.') {
            found.push(path);
        }
    }
}

/// Words that stand for work not done.
pub fn debts(text: &str) -> Vec<&'static str> {
    // Joined here, so that this file does not hold them.
    const WORDS: [&str; 5] = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("to", "do!"),
        concat!("unimple", "mented!"),
        concat!("#[ig", "nore"),
    ];
    WORDS.into_iter().filter(|word| holds_word(text, word)).collect()
}

// "TODOs" and "XTODO" are other words; what ends in a sign has no end of word.
fn holds_word(text: &str, word: &str) -> bool {
    let letter = |found: Option<char>| found.is_some_and(|c| c.is_alphanumeric() || c == '_');
    let ends_in_letter = letter(word.chars().next_back());
    let begins_with_letter = letter(word.chars().next());
    text.match_indices(word).any(|(at, _)| {
        let before = begins_with_letter && letter(text[..at].chars().next_back());
        let after = ends_in_letter && letter(text[at + word.len()..].chars().next());
        !before && !after
    })
}

/// Mentions of where and how this was written, which no reader can follow.
pub fn strangers(text: &str) -> Vec<&'static str> {
    const WORDS: [&str; 2] = [concat!("/wo", "rk/"), concat!("issue tra", "cker")];
    WORDS.into_iter().filter(|word| text.contains(word)).collect()
}

/// Whether a Rust file begins with a sentence about its module.
pub fn begins_with_sentence(text: &str) -> bool {
    let first = text.lines().next().unwrap_or_default();
    first.strip_prefix("//!").is_some_and(|sentence| sentence.trim().len() > 10)
}

#[cfg(test)]
mod tests;
