//! libFuzzer around one target: `KAKERA_FUZZ_TARGET` names it, the arguments are libFuzzer's own.
#![no_main]

use std::sync::LazyLock;

/// The target that the environment names.
static TARGET: LazyLock<fn(&[u8])> = LazyLock::new(|| {
    let name = std::env::var("KAKERA_FUZZ_TARGET").unwrap_or_default();
    match kakera_fuzz::target(&name) {
        Some(target) => target.run,
        None => panic!("KAKERA_FUZZ_TARGET={name:?} is no target; there are: {}", kakera_fuzz::names().join(", ")),
    }
});

libfuzzer_sys::fuzz_target!(init: { LazyLock::force(&TARGET); }, |bytes: &[u8]| TARGET(bytes));
