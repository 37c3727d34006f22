//! A network under load and a drawn schedule of faults: three minutes, or `KAKERA_SOAK_SECONDS`.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::{env, time::Duration};

const SECONDS: u64 = 180;

#[test]
fn a_loaded_network_under_faults_keeps_every_promise_and_goes_on_at_once() {
    let given = env::var("KAKERA_SOAK_SECONDS").ok();
    let seconds = given.map_or(SECONDS, |text| text.parse().expect("a number of seconds"));
    kakera_tests::soak::run(Duration::from_secs(seconds));
}
