//! Fuzz targets: what every decoder and verifier must do with the bytes of strangers.
//!
//! ```text
//!   corpus/NAME/* ──┐                    ┌─> decode:  refused, or canonical and bounded
//!   libFuzzer ──────┼─> Target::run(bytes) ─> change: a valid thing, changed as the bytes say, then verified
//!   seeded change ──┘                    └─> drive:   a pool, a beacon, a replica, given many such things
//! ```
//!
//! A target panics exactly when a property is broken: a defect of the code under test. It is a function of its bytes.
//! `World` is what all of them start from: a small network with real keys whose chains have really run.
#![allow(clippy::unwrap_used, reason = "a target's panic is its finding")]

mod choices;
mod heap;
mod targets;
mod world;

pub use choices::Random;

/// One fuzz target.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, also of its corpus directory.
    pub name: &'static str,
    /// What it checks, in one line.
    pub about: &'static str,
    /// Checks it for these bytes; panics where it does not hold.
    pub run: fn(&[u8]),
    /// Valid and almost valid examples, the same at every call.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Bytes of an input at most.
    pub max_bytes: usize,
    /// Changed inputs that `make test` tries.
    pub rounds: u32,
}

/// All targets.
pub const TARGETS: &[Target] = targets::ALL;

/// The target of this name.
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}

/// The names of all targets.
pub fn names() -> Vec<&'static str> {
    TARGETS.iter().map(|target| target.name).collect()
}
