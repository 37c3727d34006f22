//! Profiles of networks: refused with a reason, or written and read as the same.

use crate::{Target, heap};
use kakera_deploy::Profile;

pub(super) const TARGET: Target = Target {
    name: "profile",
    about: "Profile::parse: what passes is written and read as the same, within its limits",
    run,
    seeds,
    max_bytes: 4096,
    rounds: 2_000,
};

fn run(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match heap::bounded(text.len(), || Profile::parse(text)) {
        Ok(profile) => {
            assert_eq!(Profile::parse(&profile.to_toml()), Ok(profile.clone()));
            assert!(profile.processes() <= kakera_deploy::profiles::MAX_PROCESSES);
        }
        Err(reason) => assert!(!reason.is_empty()),
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let demo = Profile::demo().to_toml();
    let texts = [
        demo.clone(),
        Profile::small().to_toml(),
        demo.replace("count = 4", "count = 4294967295"),
        demo.replace("faucet_balance = ", "faucet_balance = 9223372036854775807 # "),
        demo.replace("[[validators]]", "[[validator]]"),
    ];
    texts.into_iter().map(String::into_bytes).collect()
}
