//! Profiles: what a network consists of, before any key, port or time is chosen.

use crate::error::{Error, Result};
use kakera_chain::genesis::{Epochs, Fees, Lanes, RiskLimit, Role, Staking, Timing};
use serde::{Deserialize, Serialize};
use std::{fs, path::Path};

/// The shape of a network. Built in: `demo`, `small` and `rotation`; any other comes from a TOML file of this shape.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// For people; also the network's name.
    pub name: String,
    /// Number of shard chains.
    pub shards: u16,
    /// Seats in each shard's committee.
    pub committee_seats: u32,
    /// Each shard's faucet starts with this, in the smallest unit.
    pub faucet_balance: u64,
    /// The account that owns a validator, the one of the validator's own key, starts with this; nothing: there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner_balance: Option<u64>,
    /// The `tracing` filter of the processes.
    pub log: String,
    /// The beacon chain's timing.
    pub beacon: Timing,
    /// The shard chains' timing.
    pub shard: Timing,
    /// Gas and fees on the shards.
    pub fees: Fees,
    /// Lanes between shards.
    pub lanes: Lanes,
    /// Epochs; nothing: the first committees stay for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epochs: Option<Epochs>,
    /// Stake; nothing: nobody joins or leaves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub staking: Option<Staking>,
    /// How likely a captured committee may be; nothing: the network starts whatever the odds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub risk: Option<RiskLimit>,
    /// Validators, in the order of the registry.
    pub validators: Vec<ValidatorGroup>,
}

/// Validators that are alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ValidatorGroup {
    /// What they do.
    pub role: Role,
    /// How many; at least 1.
    pub count: u32,
    /// Seats of each; at least 1.
    pub seats: u32,
}

/// The names of the built-in profiles.
pub const BUILT_IN: [&str; 3] = ["demo", "small", "rotation"];

/// Processes that a network on one machine may have.
pub const MAX_PROCESSES: u32 = 256;

impl Profile {
    /// 4 beacon processes and 2 shards of 4 seats each held by one process: 12 processes, 200 ms slots.
    pub fn demo() -> Profile {
        // The delay is what view merge and waiting assume: loopback needs under 1 ms, a busy machine some tens.
        let timing = Timing { slot_ms: 200, delay_ms: 40, heartbeat_slots: 20 };
        Profile {
            name: "demo".to_owned(),
            shards: 2,
            committee_seats: 4,
            faucet_balance: 1_000_000_000_000_000,
            owner_balance: None,
            log: "info".to_owned(),
            beacon: timing,
            shard: timing,
            fees: Fees { block_gas: 20_000_000, block_bytes: 256 * 1024, base_fee: 1, receipt_gas_percent: 40 },
            lanes: Lanes { bound: 4096, lifetime_slots: 3000 },
            epochs: None,
            staking: None,
            risk: None,
            validators: vec![
                ValidatorGroup { role: Role::Beacon, count: 4, seats: 1 },
                ValidatorGroup { role: Role::Shard, count: 8, seats: 1 },
            ],
        }
    }

    /// The smallest network that shows everything but a second shard: 4 beacon and 4 shard processes.
    pub fn small() -> Profile {
        Profile {
            name: "small".to_owned(),
            shards: 1,
            validators: vec![
                ValidatorGroup { role: Role::Beacon, count: 4, seats: 1 },
                ValidatorGroup { role: Role::Shard, count: 4, seats: 1 },
            ],
            ..Profile::demo()
        }
    }

    /// Committees that change: 4 beacon processes, 3 shards of 4 seats, and 5 more validators that stand by; epochs of 20
    /// seconds. It shows the mechanism; so few seats are no security (`docs/committees.md`).
    pub fn rotation() -> Profile {
        Profile {
            name: "rotation".to_owned(),
            shards: 3,
            owner_balance: Some(10_000_000_000),
            epochs: Some(Epochs {
                slots: 100,
                fallback_slots: 30,
                rotation_per_mille: 250,
                beacon_seats: None,
                unbonding: 2,
            }),
            staking: Some(Staking { seat: 1_000_000_000, churn_seats: 4, reward: 1_000_000, reporter_per_mille: 100 }),
            validators: vec![
                ValidatorGroup { role: Role::Beacon, count: 4, seats: 1 },
                ValidatorGroup { role: Role::Shard, count: 17, seats: 1 },
            ],
            ..Profile::demo()
        }
    }

    /// A built-in profile by name, or one read from a TOML file.
    pub fn load(name_or_path: &str) -> Result<Profile> {
        match name_or_path {
            "demo" => return Ok(Profile::demo()),
            "small" => return Ok(Profile::small()),
            "rotation" => return Ok(Profile::rotation()),
            _ => {}
        }
        let refuse = |reason: String| Error::Profile { profile: name_or_path.to_owned(), reason };
        let text = fs::read_to_string(Path::new(name_or_path)).map_err(|error| {
            refuse(format!("neither built in ({}) nor a readable file: {error}", BUILT_IN.join(", ")))
        })?;
        Profile::parse(&text).map_err(refuse)
    }

    /// Parses a profile file; the reason it is refused is for a person.
    pub fn parse(text: &str) -> std::result::Result<Profile, String> {
        let profile: Profile = toml::from_str(text).map_err(|error| error.to_string())?;
        profile.check()?;
        Ok(profile)
    }

    /// The profile as a file that [`Profile::load`] reads.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("a profile is numbers, text and tables")
    }

    /// Processes in all.
    pub fn processes(&self) -> u32 {
        self.validators.iter().map(|group| group.count).fold(0, u32::saturating_add)
    }

    // Only what the genesis check cannot see: it judges the rest, with the reasons.
    fn check(&self) -> std::result::Result<(), String> {
        if self.validators.iter().any(|group| group.count == 0) {
            return Err("a group of validators has a count of 0; leave it out".to_owned());
        }
        if self.processes() > MAX_PROCESSES {
            return Err(format!("{} processes; one machine runs at most {MAX_PROCESSES}", self.processes()));
        }
        if u128::from(self.faucet_balance) * u128::from(self.shards) > u128::from(i64::MAX.unsigned_abs()) {
            return Err("faucet_balance times shards must stay below 2^63".to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
mod tests {
    use super::*;

    #[test]
    fn built_in_profiles_survive_being_written_and_read() {
        for name in BUILT_IN {
            let profile = Profile::load(name).unwrap();
            assert_eq!(profile.name, name);
            assert_eq!(Profile::parse(&profile.to_toml()), Ok(profile));
        }
        assert_eq!((Profile::demo().processes(), Profile::small().processes()), (12, 8));
        assert_eq!(Profile::rotation().processes(), 21);
        let risky = Profile {
            risk: Some(RiskLimit { adversary_per_mille: 250, capture: 1e-9, stall: 1.0 }),
            ..Profile::rotation()
        };
        assert_eq!(Profile::parse(&risky.to_toml()), Ok(risky));
    }

    #[test]
    fn unknown_keys_and_absurd_counts_are_refused_with_a_reason() {
        let typo = format!("speed = 3\n{}", Profile::demo().to_toml());
        assert!(Profile::parse(&typo).unwrap_err().contains("speed"));
        let mut profile = Profile::demo();
        profile.validators[0].count = 100_000;
        assert!(Profile::parse(&profile.to_toml()).unwrap_err().contains("256"));
        profile.validators[0].count = 0;
        assert!(Profile::parse(&profile.to_toml()).unwrap_err().contains("count of 0"));
        assert!(Profile::load("/nowhere/at-all.toml").unwrap_err().to_string().contains("demo, small, rotation"));
    }
}
