//! libFuzzer around one target: `KAKERA_FUZZ_TARGET` names it, the arguments are libFuzzer's own.
#![cfg_attr(not(test), no_main)]

use std::sync::LazyLock;

/// The target that the environment names.
static TARGET: LazyLock<fn(&[u8])> = LazyLock::new(|| {
    let name = std::env::var("KAKERA_FUZZ_TARGET").unwrap_or_default();
    match kakera_fuzz::target(&name) {
        Some(target) => target.run,
        None => panic!("KAKERA_FUZZ_TARGET={name:?} is no target; there are: {}", kakera_fuzz::names().join(", ")),
    }
});

// Built as a test it has nothing to test, and libFuzzer must not take over.
#[cfg(not(test))]
libfuzzer_sys::fuzz_target!(init: { LazyLock::force(&TARGET); }, |bytes: &[u8]| TARGET(bytes));

#[cfg(test)]
mod tests {
    #[test]
    #[should_panic(expected = "is no target; there are: ")]
    fn without_a_target_it_says_which_there_are() {
        std::sync::LazyLock::force(&super::TARGET);
    }
}
