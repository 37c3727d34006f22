//! Genesis: one TOML file defines a network; its hash is the network id.

use crate::{
    address::Address,
    hash::{Hash, NetworkId, Tag},
    keys::{InvalidKey, PublicKey},
    units::{Epoch, ShardId, SlotClock, Timestamp},
};
use borsh::{BorshDeserialize, BorshSerialize};
use kakera_cbc::Slot;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use thiserror::Error;

/// The contents of a genesis file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Genesis {
    /// For people.
    pub name: String,
    /// When slot 0 of every chain begins, in ms since the Unix epoch.
    pub genesis_time_ms: u64,
    /// 32 bytes of hexadecimal text that the first committees and leader schedules are drawn from.
    pub seed: String,
    /// Number of shard chains; 1 to 1,024.
    pub shards: u16,
    /// Seats in each shard's committee; 1 to 1,024.
    pub committee_seats: u32,
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
    /// Stake; nothing: seats cost nothing, and nobody joins or leaves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub staking: Option<Staking>,
    /// How likely a captured committee may be; nothing: the network starts whatever the odds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub risk: Option<RiskLimit>,
    /// The validator registry, in order.
    pub validators: Vec<GenesisValidator>,
    /// The first balances.
    pub accounts: Vec<GenesisAccount>,
}

/// A chain's timing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Timing {
    /// A slot's length, 20 to 600,000 ms.
    pub slot_ms: u64,
    /// The network delay that view merge and waiting assume; at most half a slot.
    pub delay_ms: u64,
    /// An idle chain makes an empty block after this many slots; at least 1.
    pub heartbeat_slots: u64,
}

/// Gas and fees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fees {
    /// Gas a block may use; at least 100,000.
    pub block_gas: u64,
    /// Bytes a block's body may have.
    pub block_bytes: u32,
    /// The first base fee, in the smallest unit per gas; at least 1.
    pub base_fee: u64,
    /// Share of a block's gas kept for receipts, in percent; 1 to 90.
    pub receipt_gas_percent: u8,
}

/// Lanes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lanes {
    /// Ordinary receipts not yet settled that a lane holds at most; at least 1.
    pub bound: u64,
    /// Beacon slots from the reference until a receipt expires; at least 1.
    pub lifetime_slots: u64,
}

/// Epochs: for how long committees stay, and how they change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, BorshSerialize, BorshDeserialize)]
#[serde(deny_unknown_fields)]
pub struct Epochs {
    /// Beacon slots an epoch; at least 4.
    pub slots: u64,
    /// A shard whose switch block is not recorded within so many beacon slots of the block that turned the epoch is given a
    /// new committee and goes on from its last recorded block; 1 to half an epoch.
    pub fallback_slots: u64,
    /// The part of each committee's seats that is drawn anew each epoch, in thousandths, rounded down but one at least.
    pub rotation_per_mille: u16,
    /// Seats of the beacon's committee; with no more seats than that, or nothing here, all beacon validators are in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub beacon_seats: Option<u32>,
    /// Epochs from leaving until the stake is paid out, and for which evidence is taken; of an era that goes on it is taken
    /// for longer. At least 2.
    pub unbonding: u64,
}

/// Stake, and what it earns and loses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Staking {
    /// What one seat costs, in the smallest unit; at least 1.
    pub seat: u64,
    /// Seats of each role that become active, and seats of both that begin to leave, in one epoch at most; at least 1.
    pub churn_seats: u32,
    /// What a seat that took part in everything earns in an epoch, in the smallest unit; it is minted.
    pub reward: u64,
    /// The part of a slashed stake that the reporter gets, in thousandths; the rest is burned.
    pub reporter_per_mille: u16,
}

/// How likely a captured committee may be: past this a network does not start.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RiskLimit {
    /// The part of all seats of a role that an adversary is assumed to hold, in thousandths.
    pub adversary_per_mille: u16,
    /// The greatest probability that any drawn committee is more than two thirds the adversary's.
    pub capture: f64,
    /// The greatest probability that any drawn committee is at least a third the adversary's.
    pub stall: f64,
}

/// What a validator does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, BorshSerialize, BorshDeserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Runs the beacon chain.
    Beacon,
    /// Is drawn into shards.
    Shard,
}

/// One validator of the registry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GenesisValidator {
    /// For people; unique.
    pub name: String,
    /// What it does.
    pub role: Role,
    /// Its Ed25519 key.
    pub key: PublicKey,
    /// Its seats, at least 1.
    pub seats: u32,
    /// Where its process listens for gRPC: `host:port`.
    pub endpoint: String,
    /// The account that owns it.
    pub owner: Address,
    /// 32 bytes of hexadecimal text: the end of its SHA-256 hash chain of random numbers.
    pub commitment: String,
}

/// One account's first balance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GenesisAccount {
    /// The account.
    pub address: Address,
    /// In the smallest unit.
    pub balance: u64,
}

/// Why a genesis file is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidGenesis {
    /// Not TOML of this shape.
    #[error("the genesis file does not parse: {0}")]
    Toml(String),
    /// A number out of its range.
    #[error("{field} is {found}, but must be {allowed}")]
    Range {
        /// Which.
        field: &'static str,
        /// Its value.
        found: u64,
        /// The range in words.
        allowed: &'static str,
    },
    /// A probability that is none.
    #[error("{field} is {found}, but must be a probability, 0 to 1")]
    Probability {
        /// Which.
        field: &'static str,
        /// Its value as text, for two values that are not numbers equal nothing.
        found: String,
    },
    /// A hexadecimal field that is not 32 bytes.
    #[error("{field} must be 64 hexadecimal digits")]
    Hex {
        /// Which.
        field: &'static str,
    },
    /// A validator key that must not be registered.
    #[error("validator {name}: {reason}")]
    Key {
        /// Whose.
        name: String,
        /// Why.
        reason: InvalidKey,
    },
    /// Two validators with one name, key or endpoint, or one account twice.
    #[error("{what} appears twice: {value}")]
    Duplicate {
        /// What.
        what: &'static str,
        /// Which.
        value: String,
    },
    /// Balances past the range of amounts.
    #[error("the balances and stakes sum to more than 2^64 - 1")]
    Supply,
    /// Fewer shard seats than the committees need, or no beacon validator.
    #[error("{role:?} validators hold {found} seats, but {needed} are needed")]
    Seats {
        /// Which role.
        role: Role,
        /// Seats present.
        found: u64,
        /// Seats needed.
        needed: u64,
    },
}

/// A checked genesis and its network id.
#[derive(Clone, Debug)]
pub struct Network {
    /// The hash of the file's bytes.
    pub id: NetworkId,
    /// Its contents.
    pub genesis: Genesis,
}

impl Network {
    /// Parses and checks a genesis file. The network id is `SHA-256(tag ‖ file bytes)`.
    pub fn parse(text: &str) -> Result<Network, InvalidGenesis> {
        let genesis: Genesis = toml::from_str(text).map_err(|error| InvalidGenesis::Toml(error.to_string()))?;
        genesis.check()?;
        Ok(Network { id: NetworkId(Hash::of(&[Tag::GENESIS.bytes(), text.as_bytes()])), genesis })
    }

    /// The seed's bytes.
    pub fn seed(&self) -> Hash {
        Hash(crate::keys::parse_hex(&self.genesis.seed).expect("checked by parse()"))
    }

    /// A chain's timing.
    pub fn timing(&self, chain: crate::units::ChainId) -> Timing {
        match chain {
            crate::units::ChainId::Beacon => self.genesis.beacon,
            crate::units::ChainId::Shard(_) => self.genesis.shard,
        }
    }

    /// A chain's clock.
    pub fn clock(&self, chain: crate::units::ChainId) -> SlotClock {
        SlotClock { genesis: Timestamp(self.genesis.genesis_time_ms), slot_ms: self.timing(chain).slot_ms }
    }

    /// All balances and stakes at genesis.
    pub fn supply(&self) -> u64 {
        self.genesis.accounts.iter().map(|account| account.balance).sum::<u64>() + self.staked()
    }

    /// All stakes at genesis.
    pub fn staked(&self) -> u64 {
        self.genesis.validators.iter().map(|validator| self.stake_of(validator.seats)).sum()
    }

    /// What so many seats cost.
    pub fn stake_of(&self, seats: u32) -> u64 {
        self.genesis.staking.map_or(0, |staking| staking.seat * u64::from(seats))
    }

    /// The epoch of a beacon slot.
    pub fn epoch_of(&self, slot: Slot) -> Epoch {
        self.genesis.epochs.map_or(Epoch(0), |epochs| epochs.of(slot))
    }

    /// One shard's balances at genesis.
    pub fn allocation(&self, shard: ShardId) -> u64 {
        self.accounts_of(shard).map(|account| account.balance).sum()
    }

    /// The accounts of one shard.
    pub fn accounts_of(&self, shard: ShardId) -> impl Iterator<Item = &GenesisAccount> {
        let count = self.genesis.shards;
        self.genesis.accounts.iter().filter(move |account| account.address.shard(count) == shard)
    }
}

impl Epochs {
    /// The epoch of a beacon slot.
    pub fn of(&self, slot: Slot) -> Epoch {
        Epoch(slot.0 / self.slots)
    }

    /// The first slot of an epoch.
    pub fn start_of(&self, epoch: Epoch) -> Slot {
        Slot(epoch.0.saturating_mul(self.slots))
    }
}

fn in_range(
    field: &'static str,
    found: u64,
    range: std::ops::RangeInclusive<u64>,
    allowed: &'static str,
) -> Result<(), InvalidGenesis> {
    if range.contains(&found) { Ok(()) } else { Err(InvalidGenesis::Range { field, found, allowed }) }
}

impl Genesis {
    fn check(&self) -> Result<(), InvalidGenesis> {
        crate::keys::parse_hex(&self.seed).ok_or(InvalidGenesis::Hex { field: "seed" })?;
        in_range("shards", self.shards.into(), 1..=1024, "1 to 1024")?;
        // A certificate has room for 1,024 signers.
        in_range("committee_seats", self.committee_seats.into(), 1..=1024, "1 to 1024")?;
        for timing in [&self.beacon, &self.shard] {
            in_range("slot_ms", timing.slot_ms, 20..=600_000, "20 to 600000")?;
            in_range("delay_ms", timing.delay_ms, 1..=timing.slot_ms / 2, "1 to half of slot_ms")?;
            in_range("heartbeat_slots", timing.heartbeat_slots, 1..=100_000, "1 to 100000")?;
        }
        // A beacon block records at most 64 blocks of a shard: more a slot would put it behind for ever.
        in_range("beacon.slot_ms", self.beacon.slot_ms, 20..=32 * self.shard.slot_ms, "at most 32 shard slots")?;
        in_range("fees.block_gas", self.fees.block_gas, 100_000..=1 << 40, "100000 to 2^40")?;
        in_range("fees.block_bytes", self.fees.block_bytes.into(), 4096..=1 << 20, "4096 to 2^20")?;
        in_range("fees.base_fee", self.fees.base_fee, 1..=1 << 32, "1 to 2^32")?;
        in_range("fees.receipt_gas_percent", self.fees.receipt_gas_percent.into(), 1..=90, "1 to 90")?;
        in_range("lanes.bound", self.lanes.bound, 1..=1 << 20, "1 to 2^20")?;
        in_range("lanes.lifetime_slots", self.lanes.lifetime_slots, 1..=1 << 40, "1 to 2^40")?;
        self.check_epochs()?;
        self.check_validators()?;
        self.check_accounts()
    }

    fn check_epochs(&self) -> Result<(), InvalidGenesis> {
        if let Some(epochs) = &self.epochs {
            in_range("epochs.slots", epochs.slots, 4..=1 << 32, "4 to 2^32")?;
            let half = epochs.slots / 2;
            in_range("epochs.fallback_slots", epochs.fallback_slots, 1..=half, "1 to half of epochs.slots")?;
            in_range("epochs.rotation_per_mille", epochs.rotation_per_mille.into(), 0..=1000, "0 to 1000")?;
            in_range("epochs.beacon_seats", epochs.beacon_seats.unwrap_or(1).into(), 1..=1024, "1 to 1024")?;
            in_range("epochs.unbonding", epochs.unbonding, 2..=1 << 16, "2 to 65536")?;
            in_range("beacon.heartbeat_slots", self.beacon.heartbeat_slots, 1..=epochs.slots, "at most epochs.slots")?;
        }
        if let Some(staking) = &self.staking {
            // Bonded seats are activated at the turn of an epoch.
            in_range("staking without epochs", u64::from(self.epochs.is_none()), 0..=0, "with an [epochs] section")?;
            in_range("staking.seat", staking.seat, 1..=1 << 48, "1 to 2^48")?;
            in_range("staking.churn_seats", staking.churn_seats.into(), 1..=65_535, "1 to 65535")?;
            in_range("staking.reward", staking.reward, 0..=staking.seat, "at most staking.seat")?;
            in_range("staking.reporter_per_mille", staking.reporter_per_mille.into(), 0..=500, "0 to 500")?;
        }
        if let Some(risk) = &self.risk {
            in_range("risk.adversary_per_mille", risk.adversary_per_mille.into(), 0..=1000, "0 to 1000")?;
            for (field, limit) in [("risk.capture", risk.capture), ("risk.stall", risk.stall)] {
                // A NaN is in no range.
                if !(0.0..=1.0).contains(&limit) {
                    return Err(InvalidGenesis::Probability { field, found: format!("{limit:?}") });
                }
            }
        }
        Ok(())
    }

    fn check_validators(&self) -> Result<(), InvalidGenesis> {
        in_range("number of validators", self.validators.len() as u64, 2..=65_535, "2 to 65535")?;
        let beacon = self.validators.iter().filter(|validator| validator.role == Role::Beacon).count();
        in_range("number of beacon validators", beacon as u64, 0..=1024, "0 to 1024")?;
        let mut seen = BTreeSet::new();
        for validator in &self.validators {
            let key_text = validator.key.to_string();
            for (what, value) in
                [("validator name", &validator.name), ("validator key", &key_text), ("endpoint", &validator.endpoint)]
            {
                if !seen.insert((what, value.clone())) {
                    return Err(InvalidGenesis::Duplicate { what, value: value.clone() });
                }
            }
            in_range("seats", validator.seats.into(), 1..=65_535, "1 to 65535")?;
            crate::keys::parse_hex(&validator.commitment).ok_or(InvalidGenesis::Hex { field: "commitment" })?;
            let refuse = |reason| InvalidGenesis::Key { name: validator.name.clone(), reason };
            validator.key.check_strong().map_err(refuse)?;
        }
        let held = |role: Role| {
            self.validators
                .iter()
                .filter(|validator| validator.role == role)
                .map(|validator| u64::from(validator.seats))
                .sum()
        };
        for (role, needed) in
            [(Role::Beacon, 1), (Role::Shard, u64::from(self.shards) * u64::from(self.committee_seats))]
        {
            let found = held(role);
            if found < needed {
                return Err(InvalidGenesis::Seats { role, found, needed });
            }
        }
        Ok(())
    }

    fn check_accounts(&self) -> Result<(), InvalidGenesis> {
        let mut seen = BTreeSet::new();
        let mut supply = 0u64;
        for account in &self.accounts {
            if !seen.insert(account.address) {
                return Err(InvalidGenesis::Duplicate { what: "account", value: account.address.to_string() });
            }
            supply = supply.checked_add(account.balance).ok_or(InvalidGenesis::Supply)?;
        }
        for validator in &self.validators {
            let stake = self.staking.map_or(0, |staking| staking.seat * u64::from(validator.seats));
            supply = supply.checked_add(stake).ok_or(InvalidGenesis::Supply)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
