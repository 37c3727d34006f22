//! Whole Kakera networks in one process: virtual time, one seed, and the very state machines that the processes run.

pub mod bend;
pub mod campaign;
pub mod checks;
pub mod clock;
pub mod disk;
pub mod eras;
pub mod faults;
pub mod ledger;
pub mod library;
pub mod links;
pub mod measures;
pub mod memory;
#[cfg(test)]
pub mod mutants;
pub mod node;
pub mod observer;
pub mod queue;
pub mod random;
pub mod report;
pub mod rules;
pub mod scenario;
pub mod setup;
pub mod shell;
pub mod shrink;
pub mod trace;
pub mod twist;
pub mod workload;
pub mod world;

#[cfg(test)]
mod tests;
