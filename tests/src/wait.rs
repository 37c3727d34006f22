//! Conditions with deadlines: generous, because a busy machine is no failure.

use std::{
    fmt::Display,
    thread,
    time::{Duration, Instant},
};

/// How long anything may take that takes a few seconds on an idle machine.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(60);

/// Looks until `probe` succeeds and returns what it found.
///
/// # Panics
/// After [`PATIENCE`], with `what` and the last look's words.
pub fn until<T, E: Display>(what: &str, probe: impl FnMut() -> Result<T, E>) -> T {
    until_within(PATIENCE, what, probe)
}

/// The same for what takes longer: some epochs.
///
/// # Panics
/// After `limit`, with `what` and the last look's words.
pub fn until_within<T, E: Display>(limit: Duration, what: &str, mut probe: impl FnMut() -> Result<T, E>) -> T {
    let started = Instant::now();
    loop {
        match probe() {
            Ok(found) => return found,
            Err(reason) => assert!(started.elapsed() < limit, "waited {limit:?} for {what}: {reason}"),
        }
        thread::sleep(PAUSE);
    }
}

/// `Ok` when `holds`, else what was seen instead.
///
/// # Errors
/// `seen`, in words, when the condition does not hold.
pub fn check(holds: bool, seen: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(seen()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_looks_again_until_the_condition_holds() {
        let mut looks = 0;
        let found = until("the third look", || {
            looks += 1;
            check(looks == 3, || format!("look {looks}")).map(|()| looks)
        });
        assert_eq!(found, 3);
    }
}
